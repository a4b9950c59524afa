//! What the workers have cached.

use serde::{Deserialize, Serialize};

use super::{ConnectionTuple, Cursor};

/// A cache.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Exact: one entry a connection.
    Session,
    /// With masks: one entry for all packets that go the same way.
    Megaflow,
}

/// The end of a pass, behind which packets are looked up again: a decision that is taken for each of
/// them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Behind {
    /// The number that actions have in `resume(...)`: of one worker, or of one trace.
    pub resume: u32,
    /// The decision and what it has come to, in words: `select group 5, bucket 1`.
    pub decision: String,
}

/// A page of cache entries.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheEntries {
    /// By worker and tier.
    pub entries: Vec<CacheEntry>,
    /// Where to go on, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A cache entry.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheEntry {
    /// Which it is, for `cache.detrace`: no other entry of this worker has or will have the same.
    #[serde(default)]
    pub id: String,
    /// Whose.
    pub worker: u32,
    /// Where.
    pub tier: Tier,
    /// The bridge by which its packets come in.
    pub bridge: String,
    /// The end of the pass that its packets go on behind; none if they have come in by a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// For which packets, as text.
    pub matching: String,
    /// What is done with them, as text.
    pub actions: String,
    /// Packets that met it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long no packet has met it.
    pub idle_ms: u64,
    /// The flows it came from, by [`FlowStats::id`](super::FlowStats::id).
    pub flows: Vec<u64>,
    /// What a session is tied to whose packets are tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ties: Option<Box<Ties>>,
}

/// What a session of tracked packets is tied to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ties {
    /// The passes that it stands for.
    pub passes: u32,
    /// The connections that take each of its packets, in the order in which flows ask for them.
    pub connections: Vec<Tie>,
    /// What its packets become, if they are translated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<ConnectionTuple>,
}

/// A connection that takes each packet of a session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tie {
    /// Its zone.
    pub zone: u16,
    /// Whether the packets are replies.
    pub reply: bool,
    /// Its first packet.
    pub original: ConnectionTuple,
}

/// Cache entries were forgotten.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheFlushed {
    /// Megaflows that there were.
    pub megaflows: u64,
    /// Sessions that there were.
    pub sessions: u64,
}
