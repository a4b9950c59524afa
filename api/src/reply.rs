//! What the switch answers: one type a method that has something to say, and
//! [`Reply`](crate::Reply) for all of them.
//!
//! Counters are whole numbers of 64 bits, in JSON too. Times are in milliseconds unless their name
//! says otherwise.

mod cache;
mod connections;
mod detrace;
mod drops;
mod events;
mod groups;
mod sizes;
mod stations;
mod trace;
mod workers;
mod zones;

use packet::MacAddr;
use serde::{Deserialize, Serialize};

use crate::bytes::{HexBytes, as_base64, as_text_if_any};
use crate::drop::DropReason;
use crate::flags::PortFlags;
use crate::flow::{FlowMod, TableId};
use crate::queue::QueueSettings;
use crate::request::{Direction, PortKind, PortVlan};
use crate::table::TableMiss;

pub use cache::{Behind, CacheEntries, CacheEntry, CacheFlushed, Tie, Tier, Ties};
pub use connections::{
    Connection, ConnectionKind, ConnectionTuple, Connections, CtCounts, CtFlushed, Expectation,
    Expectations,
};
pub use detrace::{Detrace, Passed, PassedBucket, PassedGroup, Rest};
pub use drops::{LastDrop, LastDrops, PassedFlow};
pub use events::{Event, FlowRemoved, PacketIn, RemovedReason, Sampled, WatchedFlow, WatchedPort};
pub use groups::{
    BandStats, BucketStats, GroupStats, Groups, GroupsFeatures, MeterStats, Meters, MetersFeatures,
};
pub use sizes::{Limit, Limits, Memory, MemoryUse};
pub use stations::{Fdb, FdbEntry, FdbTable, FdbTables, Flushed};
pub use trace::{Trace, TraceEntry, TraceFlow, TraceNode, TracePass, TraceStep, Verdict};
pub use workers::{Histogram, Histograms, WorkerHistograms};
pub use zones::{CtLimits, CtPolicies, CtTcp, ZoneCount, ZoneTimeouts};

/// Done, and nothing more to say.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Done {}

/// Which version answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Version {
    /// The release, such as `0.1.0`.
    pub version: String,
    /// Its [`VERSION`](crate::VERSION).
    pub api: u32,
}

/// A port was added.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PortAdded {
    /// Its OpenFlow number.
    pub number: u16,
}

/// Bridges, by name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Bridges {
    /// One after the other.
    pub bridges: Vec<Bridge>,
}

/// A bridge.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Its ports, by number.
    pub ports: Vec<Port>,
}

/// A port as it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Port {
    /// Its OpenFlow number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// What it is made of.
    #[serde(flatten)]
    pub kind: PortKind,
    /// Its VLANs, for `NORMAL`.
    #[serde(default)]
    pub vlan: PortVlan,
    /// How it is used.
    #[serde(default)]
    pub flags: PortFlags,
    /// Whether it carries packets.
    pub state: PortState,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The most bytes behind the Ethernet header and its tags.
    pub mtu: u32,
    /// Its Ethernet address, if it has one.
    #[serde(default, with = "as_text_if_any", skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Its receive queues.
    pub queues: Vec<Queue>,
    /// What it can do, and why not.
    pub capabilities: Vec<Capability>,
}

/// Whether a port carries packets.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum PortState {
    Up,
    Down,
}

/// A receive queue.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Queue {
    /// Its number.
    pub queue: u32,
    /// The worker that polls it, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// The mode it runs in: `zero-copy`, `native`, `generic`, `vnet_hdr`, `memory`.
    pub mode: String,
    /// Why it is no better mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something that a port can do or cannot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Capability {
    /// What: `checksum`, `segmentation`, `chains`, `zero_copy`.
    pub name: String,
    /// Whether it can.
    pub available: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Flows were changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Changed {
    /// The number of these flows; every change has a higher one.
    pub generation: u64,
    /// Workers that had not begun to use them when the answer could wait no longer; usually none.
    pub late: Vec<u32>,
    /// Flows that are gone because the groups or meters that they used are.
    #[serde(default, skip_serializing_if = "is_none")]
    pub orphans: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Flows were taken into the change that the connection collects.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Collected {
    /// How many it has now.
    pub flows: u64,
}

/// Where a page ended. Its text means something to the switch alone, and to no other dump.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// A page of flows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Flows {
    /// By table, then by priority from the highest on, then by age.
    pub flows: Vec<FlowStats>,
    /// Where to go on, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A flow and its counters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowStats {
    /// Its number, which no other flow has had since the switch began.
    pub id: u64,
    /// The flow, as it would be added.
    pub flow: FlowMod,
    /// Packets that met it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it has been there.
    pub duration_ms: u64,
    /// How long no packet has met it.
    pub idle_ms: u64,
    /// How long ago it was changed last.
    pub hard_ms: u64,
}

/// The sums of the counters of flows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Aggregate {
    /// Packets that met them: one that met two counts twice.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many flows there are.
    pub flows: u64,
}

/// The tables of a bridge that have flows, have been looked into, or are not as tables usually
/// are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tables {
    /// By number.
    pub tables: Vec<TableStats>,
}

/// The counters of a table.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TableStats {
    /// Its number.
    pub table: TableId,
    /// Flows in it.
    pub active: u64,
    /// Packets looked up in it.
    pub lookups: u64,
    /// Those that met a flow.
    pub matched: u64,
    /// What becomes of the others.
    #[serde(default)]
    pub miss: TableMiss,
    /// The most flows that it holds, if that is less than what every table holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Whether a flow with a timeout makes room for a new one when there is none.
    #[serde(default)]
    pub evict: bool,
}

/// Counters of ports.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ports {
    /// By bridge and number.
    pub ports: Vec<PortStats>,
}

/// The counters of a port.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PortStats {
    /// Its bridge.
    pub bridge: String,
    /// Its OpenFlow number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// Packets that came in; a super-frame counts as one here, and as its segments in the counters
    /// of flows.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets that were lost or useless before the switch had them.
    pub rx_errors: u64,
    /// Packets that were sent out.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that were handed on and refused.
    pub tx_errors: u64,
    /// Packets that came in by this port and were dropped, by reason; reasons without a packet are
    /// left out.
    pub drops: Vec<Dropped>,
}

/// Packets dropped for one reason.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Dropped {
    /// The reason.
    pub reason: DropReason,
    /// How many.
    pub packets: u64,
}

/// Egress queues.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EgressQueues {
    /// By bridge, port and number.
    pub queues: Vec<EgressQueue>,
}

/// An egress queue and its counters, in which a super-frame counts as its segments.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EgressQueue {
    /// The port's bridge.
    pub bridge: String,
    /// The port's OpenFlow number.
    pub number: u16,
    /// The port's name.
    pub name: String,
    /// The queue's number.
    pub queue: u16,
    /// How it was set.
    pub settings: QueueSettings,
    /// Packets sent.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets dropped because too many waited.
    pub drops: u64,
    /// Packets waiting now; a super-frame is one.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// How long it has been there.
    pub duration_ms: u64,
}

/// Counters of workers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Workers {
    /// By number.
    pub workers: Vec<Worker>,
}

/// A worker and its counters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Worker {
    /// Its number.
    pub worker: u32,
    /// The CPU it is pinned to, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The flows it uses, as in [`Changed::generation`].
    pub generation: u64,
    /// Whether it sleeps until a packet comes.
    pub asleep: bool,
    /// Time spent with packets, in nanoseconds.
    pub busy_ns: u64,
    /// Time spent looking for packets in vain, in nanoseconds.
    pub idle_ns: u64,
    /// Its longest turn in the last second or two that it was awake, in nanoseconds, with all it did
    /// between packets.
    pub longest_turn_ns: u64,
    /// How often it went to sleep.
    pub sleeps: u64,
    /// System calls made to receive and send.
    pub syscalls: u64,
    /// Batches that had a packet.
    pub batches: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that met a session.
    pub session_hits: u64,
    /// Packets that met an opening, and began their connections by that.
    pub opening_hits: u64,
    /// Packets that met a megaflow.
    pub megaflow_hits: u64,
    /// Packets that had to be looked up in the tables.
    pub misses: u64,
    /// Sessions there are.
    pub sessions: u64,
    /// Megaflows there are.
    pub megaflows: u64,
    /// Different masks among them.
    pub masks: u64,
    /// Packet buffers that are free.
    pub free_frames: u64,
    /// Flows between pods whose packets go from veth to veth in the kernel.
    pub short_cuts: u64,
    /// Packets that did, and did not come to the worker.
    pub short_cut_packets: u64,
}

/// Which worker polls what.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RxQueues {
    /// By worker, port and queue.
    pub queues: Vec<RxQueue>,
}

/// A receive queue and its worker.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RxQueue {
    /// The worker, if one polls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// The port's bridge.
    pub bridge: String,
    /// The port's name.
    pub port: String,
    /// The queue's number.
    pub queue: u32,
    /// Whether it stays with this worker whatever the load.
    pub pinned: bool,
    /// The share of its worker's time that it took of late, in thousandths.
    pub load_permille: u16,
}

/// Packets that a dummy port was given to send.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Taken {
    /// In the order in which they were sent.
    pub packets: Vec<HexBytes>,
}

/// A captured packet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Captured {
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The name of the port it passed; for a dropped packet the one it came in by.
    pub port: String,
    /// Which way it passed; never `both`.
    pub direction: Direction,
    /// Why it was dropped, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DropReason>,
    /// How long it was, in bytes.
    pub len: u32,
    /// Packets just before it that passed too fast to be shown.
    #[serde(default)]
    pub lost: u32,
    /// Its bytes, or as many as were asked for; 2048 at most.
    #[serde(with = "as_base64")]
    pub data: Vec<u8>,
}
