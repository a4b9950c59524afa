//! What has made a cache entry.

use packet::MacAddr;
use serde::{Deserialize, Serialize};

use super::FlowStats;
use super::cache::CacheEntry;
use crate::bytes::as_text;
use crate::flow::TableId;

/// A cache entry, and everything that has made it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Detrace {
    /// The entry.
    pub entry: CacheEntry,
    /// If it goes on behind an earlier pass: what that pass has left to be done, the innermost
    /// first.
    pub rests: Vec<Rest>,
    /// What its packets pass, in this order.
    pub passed: Vec<Passed>,
}

/// The rest of a list of actions.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rest {
    /// The actions, as text.
    pub actions: String,
    /// The flow they are part of, by [`FlowStats::id`]; none if they are a bucket's, an action set's
    /// or those of a packet that was given to the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// What it is, if it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<FlowStats>,
}

/// Something that packets pass.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "passed", rename_all = "snake_case")]
pub enum Passed {
    /// They meet a flow.
    Flow {
        /// Its number, as in [`FlowStats::id`].
        id: u64,
        /// What it is, if it is still there.
        #[serde(skip_serializing_if = "Option::is_none")]
        stats: Option<FlowStats>,
    },
    /// They meet no flow in a table.
    Miss {
        /// The table.
        table: TableId,
        /// All packets that have not.
        packets: u64,
    },
    /// They are led to a group; nothing is said of one that is gone or has been modified.
    Group {
        /// The group.
        #[serde(skip_serializing_if = "Option::is_none")]
        stats: Option<PassedGroup>,
    },
    /// They take a bucket of a group; likewise.
    Bucket {
        /// The bucket.
        #[serde(skip_serializing_if = "Option::is_none")]
        stats: Option<PassedBucket>,
    },
    /// They show that an address is still where it has been learned.
    Station {
        /// Its VLAN.
        vlan: u16,
        /// The address.
        #[serde(with = "as_text")]
        mac: MacAddr,
        /// The port's name.
        port: String,
    },
    /// They show that an address is still where it has been learned, which it no longer is.
    StationGone,
    /// They show that a learned flow is needed.
    Learned {
        /// Its number.
        id: u64,
        /// What it is, if it is still there.
        #[serde(skip_serializing_if = "Option::is_none")]
        stats: Option<FlowStats>,
    },
    /// They end a connection, and shorten the timeouts of a flow.
    Fin {
        /// Its number.
        id: u64,
        /// What it is, if it is still there.
        #[serde(skip_serializing_if = "Option::is_none")]
        stats: Option<FlowStats>,
    },
}

/// A group and its counters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PassedGroup {
    /// Its number.
    pub group: u32,
    /// The group, as it would be added.
    pub text: String,
    /// Packets that were led to it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A bucket and its counters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PassedBucket {
    /// The number of its group.
    pub group: u32,
    /// Its number in it.
    pub bucket: u32,
    /// What it does, as text.
    pub actions: String,
    /// Packets that took it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}
