//! What happens, as it is told to whoever asked for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Connection, FlowStats, Port};
use crate::action::PacketInReason;
use crate::bytes::{HexBytes, as_text};
use crate::flow::{FlowMod, TableId};

/// Something that has happened: `"event"` says what.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A flow has ended.
    FlowRemoved(FlowRemoved),
    /// A watched flow that was there before.
    FlowInitial(WatchedFlow),
    /// All flows that were there before have been told.
    FlowsComplete {},
    /// A watched flow is there now, or has been put in the place of one of the same match.
    FlowAdded(WatchedFlow),
    /// A watched flow has other actions or another cookie.
    FlowModified(WatchedFlow),
    /// A watched flow is gone.
    FlowDeleted {
        /// The flow as it was.
        #[serde(flatten)]
        flow: WatchedFlow,
        /// Why.
        reason: RemovedReason,
    },
    /// A port is there now.
    PortAdded(WatchedPort),
    /// A port is gone.
    PortDeleted(WatchedPort),
    /// A port has come up, gone down, or is used in another way.
    PortModified(WatchedPort),
    /// A packet is shown, or waits to be let go on.
    PacketIn(PacketIn),
    /// One packet of many.
    Sampled(Sampled),
    /// A connection was made.
    ConnectionNew(Connection),
    /// A connection has another state, was answered or is assured now, or has another mark or label.
    /// That nothing but its timeout has changed is not told.
    ConnectionUpdated(Connection),
    /// A connection is gone, which was so in the end: it was silent for too long, was replaced or was
    /// forgotten.
    ConnectionDestroyed(Connection),
    /// More has happened than was read in time, and here is a gap. If flows are watched with
    /// those that are there, all of them are told anew behind it.
    Lost {
        /// How many events are missing.
        events: u64,
    },
}

/// A packet that is shown.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PacketIn {
    /// Its bridge.
    pub bridge: String,
    /// Why it is shown.
    #[serde(with = "as_text")]
    pub reason: PacketInReason,
    /// To whom: the `id` of the action.
    pub watcher: u16,
    /// The table of the flow that shows it.
    pub table: TableId,
    /// The cookie of that flow.
    pub cookie: u64,
    /// The port it seems to come from.
    pub in_port: u16,
    /// What the pipeline knows of it, and of its connection, as the text of a match.
    pub fields: String,
    /// What the action has to say.
    #[serde(with = "as_text")]
    pub userdata: HexBytes,
    /// The number by which it is let go on, if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<u64>,
    /// How long it is, in bytes.
    pub len: u64,
    /// Its bytes, or as many as the action shows.
    #[serde(with = "as_text")]
    pub packet: HexBytes,
}

/// One packet of many.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sampled {
    /// Its bridge.
    pub bridge: String,
    /// For which collectors.
    pub collector_set: u32,
    /// The observation domain.
    pub domain: u32,
    /// The observation point.
    pub point: u32,
    /// How many of 65535 packets are shown.
    pub probability: u16,
    /// The port it seems to come from.
    pub in_port: u16,
    /// How long it is, in bytes.
    pub len: u64,
    /// Its first bytes.
    #[serde(with = "as_text")]
    pub packet: HexBytes,
}

/// A flow that has ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowRemoved {
    /// Its bridge.
    pub bridge: String,
    /// Why it has ended.
    pub reason: RemovedReason,
    /// The flow, and what it has counted in all.
    #[serde(flatten)]
    pub stats: FlowStats,
}

/// A flow that is watched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WatchedFlow {
    /// Its bridge.
    pub bridge: String,
    /// Its number, as in [`FlowStats::id`].
    pub id: u64,
    /// The flow, as it would be added.
    pub flow: FlowMod,
}

/// A port that is watched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WatchedPort {
    /// Its bridge.
    pub bridge: String,
    /// The port as it is, or was.
    pub port: Port,
}

/// Why a flow has ended (OpenFlow 1.5 §7.4.2, `OFPRR_*`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovedReason {
    /// No packet met it for its `idle_timeout`.
    Idle,
    /// Its `hard_timeout` is over.
    Hard,
    /// Somebody deleted it.
    Delete,
    /// The group it leads to was deleted.
    GroupDelete,
    /// The meter it uses was deleted.
    MeterDelete,
    /// It made room for another one.
    Eviction,
}

impl fmt::Display for RemovedReason {
    /// The word that OVS has for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Hard => "hard",
            Self::Delete => "delete",
            Self::GroupDelete => "group_delete",
            Self::MeterDelete => "meter_delete",
            Self::Eviction => "eviction",
        })
    }
}
