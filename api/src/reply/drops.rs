//! The last packets that were dropped.

use serde::{Deserialize, Serialize};

use crate::bytes::HexBytes;
use crate::drop::DropReason;
use crate::flow::FlowMod;

/// The last packets that were dropped.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LastDrops {
    /// From the oldest on.
    pub drops: Vec<LastDrop>,
}

/// A packet that was dropped.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LastDrop {
    /// The bridge by which it came in.
    pub bridge: String,
    /// The name of the port by which it did.
    pub port: String,
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// How long ago.
    pub age_ms: u64,
    /// The worker that dropped it.
    pub worker: u32,
    /// Why.
    pub reason: DropReason,
    /// How long it was, in bytes.
    pub len: u32,
    /// What it was when it was dropped, as the text of a match; nothing if it is no Ethernet frame.
    pub flow: String,
    /// Its first bytes then, 128 at most.
    pub head: HexBytes,
    /// How many flows it had passed before those in `passed`.
    pub earlier: u32,
    /// The last flows it had passed, 8 at most; none where that was not known any more.
    pub passed: Vec<PassedFlow>,
    /// Drops between the one before and this one, of the same port and worker, that were not kept.
    pub between: u64,
}

/// A flow that a dropped packet had passed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PassedFlow {
    /// Its number, as in [`FlowStats::id`](super::FlowStats::id).
    pub id: u64,
    /// The flow as it is now, if it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowMod>,
}
