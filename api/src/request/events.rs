//! Being told what happens.

use serde::{Deserialize, Serialize};

use super::ConnectionFilter;
use crate::bytes::HexBytes;

/// Asks to be told what happens from now on: an [`Event`](crate::reply::Event) comes as a
/// [`Notification`](crate::Notification) each time. The connection can ask other things meanwhile;
/// asked again, this is put in the place of what it was told before.
///
/// What the client does not read waits in bounded memory. What finds no room is counted, and told
/// as [`Event::Lost`](crate::reply::Event::Lost).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct EventsWatch {
    /// Only of this bridge; of all if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The end of flows, with their last counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<RemovedFlows>,
    /// Flows that come, change and go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowWatch>,
    /// Ports that come, change and go.
    #[serde(default)]
    pub ports: bool,
    /// Packets that are shown and samples; those of these watchers only, of all if the list is
    /// empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<Vec<u16>>,
    /// What becomes of connections, of all bridges: of those that this takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionFilter>,
}

/// Lets a packet go on that was shown and waits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PacketResume {
    /// Its number, as [`PacketIn::paused`](crate::reply::PacketIn::paused) has told it.
    pub paused: u64,
    /// What it is by now, if it is not as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<HexBytes>,
}

/// The end of which flows is told.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovedFlows {
    /// Those that were added with `send_flow_rem`.
    Asked,
    /// All of them.
    All,
}

/// Which flows are watched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowWatch {
    /// These, as [`text::filter`](crate::text::filter()) reads it; all if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether those that are there already are told first; they are unless said.
    #[serde(default = "yes")]
    pub initial: bool,
}

impl Default for FlowWatch {
    /// All of them, and first those that are there.
    fn default() -> Self {
        Self { filter: None, initial: true }
    }
}

const fn yes() -> bool {
    true
}
