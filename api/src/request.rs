//! Everything one may ask the switch: one type a method, and [`Request`](crate::Request) for all of
//! them.
//!
//! Where a bridge may be named it may be left out as long as there is only one.

mod connections;
mod events;
mod groups;
mod port;
mod queue;
mod stations;
mod zones;

use serde::{Deserialize, Serialize};

use crate::bytes::HexBytes;
use crate::ct_next::CtNext;
use crate::reply::{Cursor, Tier};

pub use connections::{ConnectionFilter, CtDump, CtExpectDump, CtFlush, CtStats, TupleFilter};
pub use events::{EventsWatch, FlowWatch, PacketResume, RemovedFlows};
pub use groups::{GroupDump, GroupFeatures, MeterDump, MeterFeatures, TableChange};
pub use port::{
    AfxdpMode, AfxdpOptions, DummyOptions, InternalOptions, NullOptions, PcapOptions, PodOptions,
    PortAdd, PortDel, PortKind, PortMod, PortRef, PortStats, PortVlan, VlanId, WhenAway,
};
pub use queue::{QueueDel, QueueDump, QueueSet};
pub use stations::{FdbAdd, FdbDel, FdbFlush, FdbShow, FdbStats};
pub use zones::{
    CtLimitDel, CtLimitDump, CtLimitSet, CtTcpSet, CtTcpShow, CtTimeoutDel, CtTimeoutDump,
    CtTimeoutSet, ZoneLimit,
};

/// Asks which version answers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Version {}

/// Makes a bridge, without ports and flows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BridgeAdd {
    /// Its name.
    pub name: String,
}

/// Removes a bridge with its ports and flows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BridgeDel {
    /// Its name.
    pub name: String,
}

/// Asks for a bridge, or all of them, with their ports.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Show {
    /// The bridge; all if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
}

/// Changes flows: all of these changes or, if one is refused, none.
///
/// The answer comes when every worker uses the new flows, or names those that are late.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowChange {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The changes, each as [`text::change`](crate::text::change()) reads it: of flows, groups,
    /// meters and tables, and packets to be sent. Ports may go by their names.
    pub flows: Vec<String>,
    /// Whether they are read as OVS does: see [`Reading::lenient`](crate::text::Reading::lenient).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lenient: bool,
}

/// Begins a change that is too large for one line: it is collected by `flow.append` and takes place
/// with `flow.commit`, all or nothing.
///
/// A connection collects one change at a time; another `flow.begin` drops what was collected, and
/// so does the end of the connection.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowBegin {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// As in [`FlowChange`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lenient: bool,
}

/// Adds to the change that this connection collects. When one flow is refused so is the whole
/// change, and nothing is collected any more.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowAppend {
    /// As in [`FlowChange`].
    pub flows: Vec<String>,
}

/// Makes the change that this connection has collected.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowCommit {}

/// Asks for flows with their counters, a page at a time.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowDump {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Which flows, as [`text::filter`](crate::text::filter()) reads it; all if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// The most flows to answer with; the switch may answer with fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks for the sums of the counters of flows.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowAggregate {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Which flows, as in [`FlowDump`]; all if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// Asks for the counters of tables.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TableDump {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
}

/// Asks what would become of a packet, and why. Nothing is sent and nothing changes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Trace {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The packet.
    #[serde(flatten)]
    pub packet: TracePacket,
    /// Whether meters are taken to drop the packet; else they are taken to let it pass.
    #[serde(default, skip_serializing_if = "is_not")]
    pub metered: bool,
    /// Whether a select group is traced for each of its buckets; else for the one that the packet's
    /// hash leads to.
    #[serde(default, skip_serializing_if = "is_not")]
    pub all_buckets: bool,
    /// What the packet is taken to be each time its connection is asked for, in order; behind the last
    /// one it is taken to begin a connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ct_next: Vec<CtNext>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so serde calls it")]
const fn is_not(wish: &bool) -> bool {
    !*wish
}

/// A packet to be traced: `"flow": "in_port=1,tcp,..."`, or `"packet": "0200...", "in_port": 1`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "FlowOrPacket", into = "FlowOrPacket")]
pub enum TracePacket {
    /// Described by its fields, as [`text::packet`](crate::text::packet()) reads them.
    Flow(String),
    /// Given by its bytes.
    Bytes {
        /// Ethernet header and on.
        packet: HexBytes,
        /// Where it comes in.
        in_port: PortRef,
    },
}

/// A [`TracePacket`] as it is written.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct FlowOrPacket {
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet: Option<HexBytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_port: Option<PortRef>,
}

impl TryFrom<FlowOrPacket> for TracePacket {
    type Error = &'static str;

    fn try_from(written: FlowOrPacket) -> Result<Self, &'static str> {
        match (written.flow, written.packet, written.in_port) {
            (Some(flow), None, None) => Ok(Self::Flow(flow)),
            (None, Some(packet), Some(in_port)) => Ok(Self::Bytes { packet, in_port }),
            (None, Some(_), None) => Err("in_port: a packet needs the port it comes in by"),
            (Some(_), None, Some(_)) => Err("in_port: a flow names it in its text"),
            (Some(_), Some(_), _) => Err("packet: give either a flow or a packet"),
            (None, None, _) => Err("flow: give either a flow or a packet"),
        }
    }
}

impl From<TracePacket> for FlowOrPacket {
    fn from(packet: TracePacket) -> Self {
        match packet {
            TracePacket::Flow(flow) => Self { flow: Some(flow), ..Self::default() },
            TracePacket::Bytes { packet, in_port } => {
                Self { packet: Some(packet), in_port: Some(in_port), ..Self::default() }
            }
        }
    }
}

/// Asks for the entries of caches, a page at a time.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheDump {
    /// Only entries of packets that came in by this bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Only entries of this tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// The most entries to answer with; the switch may answer with fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks what has made a cache entry: which flows, groups and buckets.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheDetrace {
    /// The entry, by its [`id`](crate::reply::CacheEntry::id).
    pub id: String,
}

/// Forgets what workers have cached of flows: the next packet of each kind is looked up in the
/// tables again. Counters stay.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheFlush {}

/// Asks for the last packets that were dropped: 64 are kept of each port by each worker, and of a
/// flood the first 16 of each batch.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DropsExplain {
    /// The bridge by which they came in; any if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port by which they did; any if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortRef>,
    /// The most to answer with; 10 if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks how the work of workers is spread.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkerHistograms {}

/// Asks what memory is used for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MemoryShow {}

/// Asks how much there may be of everything, and is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LimitsShow {}

/// Asks for the counters of workers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkerStats {}

/// Asks which worker polls which receive queue.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RxqShow {}

/// Begins a capture. The answer comes first; from then on the connection carries
/// [`Notification`](crate::Notification)s and nothing else, until the client closes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CaptureStart {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// What to capture.
    pub source: CaptureSource,
    /// The most bytes of a packet to keep; 2048 if none is given, and at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
    /// After how many packets to end, the switch then closing the connection; never if none is
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What to capture: `"drops"` or `{"port": {"name": "eth0", "direction": "rx"}}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptureSource {
    /// What passes a port.
    Port {
        /// The port's name.
        name: String,
        /// Which way.
        #[serde(default)]
        direction: Direction,
    },
    /// What is dropped, with the reason.
    Drops,
}

/// Which way packets pass a port, seen from the switch.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the switch.
    Rx,
    /// Out of it.
    Tx,
    /// Either.
    #[default]
    Both,
}

/// Lets packets come in by a dummy port.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DummyReceive {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port's name.
    pub port: String,
    /// The packets, Ethernet header and on.
    pub packets: Vec<HexBytes>,
}

/// Takes what has been sent out of a dummy port since it was last asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DummyTake {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port's name.
    pub port: String,
}
