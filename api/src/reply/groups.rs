//! Groups and meters.

use serde::{Deserialize, Serialize};

use super::Cursor;
use crate::group::Group;
use crate::meter::Meter;

/// A page of groups.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Groups {
    /// By number.
    pub groups: Vec<GroupStats>,
    /// Where to go on, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A group and its counters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GroupStats {
    /// The group, as it would be added.
    pub group: Group,
    /// Flows that lead there.
    pub flows: u64,
    /// Packets that were led there since it was added or modified.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it has been there.
    pub duration_ms: u64,
    /// Its buckets, in their order.
    pub buckets: Vec<BucketStats>,
}

/// The counters of a bucket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BucketStats {
    /// Its number within the group.
    pub id: u32,
    /// Whether what it watches is live; one that watches nothing is, but for those of an `ff`
    /// group.
    pub live: bool,
    /// Packets that took it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What groups can be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GroupsFeatures {
    /// The types, in the words of their text.
    pub types: Vec<String>,
    /// In the words of OpenFlow 1.5 §7.3.5.9: `select_weight`, `select_liveness`, `chaining`,
    /// `chaining_checks`.
    pub capabilities: Vec<String>,
    /// The most groups of a bridge, of all types together.
    pub max_groups: u64,
    /// What their buckets can do, in OVS's words.
    pub actions: Vec<String>,
}

/// A page of meters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Meters {
    /// By number; those with names come last.
    pub meters: Vec<MeterStats>,
    /// Where to go on, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A meter and its counters.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MeterStats {
    /// The meter, as it would be added.
    pub meter: Meter,
    /// Flows that use it.
    pub flows: u64,
    /// Packets that came to it since it was added or modified.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it has been there.
    pub duration_ms: u64,
    /// Its bands, in their order.
    pub bands: Vec<BandStats>,
}

/// The counters of a band.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BandStats {
    /// Packets of which it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What meters can be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MetersFeatures {
    /// The most meters of a bridge.
    pub max_meters: u64,
    /// The most bands of a meter.
    pub max_bands: u64,
    /// The types of bands, in the words of their text.
    pub band_types: Vec<String>,
    /// In the words of their text: `kbps`, `pktps`, `burst`, `stats`.
    pub capabilities: Vec<String>,
}
