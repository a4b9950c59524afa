//! What would become of a packet.

use serde::{Deserialize, Serialize};

use super::cache::{Behind, Tier};
use crate::drop::DropReason;
use crate::flow::TableId;

/// What becomes of a packet, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Trace {
    /// Each way through the tables, in the order in which they are taken. There is another one behind
    /// every decision that is taken for each packet, and for each copy that meets one.
    pub passes: Vec<TracePass>,
    /// What becomes of it in the end, all passes and copies included.
    pub verdict: Verdict,
    /// Whether one packet takes some of the passes only: where several outcomes of a decision were
    /// traced. Then the verdict says what becomes of any of them.
    #[serde(default)]
    pub several: bool,
    /// The cache entries that real packets would make: of tier 2 the first one, of tier 1 the second
    /// one of its connection, and only where several masks tell packets apart.
    pub entries: Vec<TraceEntry>,
    /// Whether packets like this one would have a session, in words: which ones, or why not.
    #[serde(default)]
    pub session: String,
}

/// One way through the tables.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TracePass {
    /// The end of the pass that it goes on behind; none if the packet has come in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// Why the decision is taken to have come to that, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed: Option<String>,
    /// The packet as it begins, as the text of a match.
    pub flow: String,
    /// What happens, in order.
    pub steps: Vec<TraceStep>,
    /// The packet as it ends, as the text of a match.
    pub final_flow: String,
    /// The packets that would go the same way, as the text of a match.
    pub megaflow: String,
    /// What is done with them, as text.
    pub actions: String,
}

/// A step of a trace. Steps form a tree: those that belong to one follow it at a greater depth.
///
/// It is not nested, so that a deep pipeline is no deep JSON.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TraceStep {
    /// How deep it lies, the outermost at 0.
    pub depth: u32,
    /// What it is.
    #[serde(flatten)]
    pub what: TraceNode,
}

/// What a step of a trace is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "node", rename_all = "snake_case")]
pub enum TraceNode {
    /// A bridge is entered.
    Bridge {
        /// Its name.
        name: String,
    },
    /// A table is looked into.
    Table {
        /// Its number.
        table: TableId,
        /// The flow that is met; none if there is no match.
        #[serde(skip_serializing_if = "Option::is_none")]
        flow: Option<TraceFlow>,
    },
    /// A bucket of a group is taken.
    Bucket {
        /// The group's number.
        group: u32,
        /// The bucket's number in it.
        bucket: u32,
    },
    /// The action set is executed.
    ActionSet,
    /// What an earlier pass has left goes on.
    Thaw {
        /// Behind what, in words.
        text: String,
    },
    /// An action is executed.
    Action {
        /// The action's text.
        text: String,
    },
    /// Something worth knowing.
    Detail {
        /// In words.
        text: String,
    },
    /// Something is perhaps not as intended.
    Warning {
        /// In words.
        text: String,
    },
    /// The packet cannot go on.
    Error {
        /// In words.
        text: String,
    },
}

/// A flow that a traced packet meets.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TraceFlow {
    /// Its number, as in [`FlowStats::id`](super::FlowStats::id).
    pub id: u64,
    /// Its match, as text.
    pub matching: String,
    /// Its priority.
    pub priority: u16,
    /// Its cookie.
    pub cookie: u64,
}

/// What becomes of a packet in the end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is sent out of these ports, by name, in this order.
    Sent(Vec<String>),
    /// It is shown to whoever watches, and goes nowhere else.
    Shown,
    /// It is dropped.
    Dropped(DropReason),
}

/// A cache entry that a real packet would make.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TraceEntry {
    /// Where.
    pub tier: Tier,
    /// For which packets, as text.
    pub matching: String,
    /// What is done with them, as text.
    pub actions: String,
}
