//! Learned and static addresses.

use packet::MacAddr;
use serde::{Deserialize, Serialize};

use crate::bytes::as_text;

/// Addresses.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fdb {
    /// By bridge, VLAN and address.
    pub entries: Vec<FdbEntry>,
}

/// An address, learned or static.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FdbEntry {
    /// The bridge.
    pub bridge: String,
    /// The number of the port where it is.
    pub port: u16,
    /// The VLAN; 0 is none.
    pub vlan: u16,
    /// The address.
    #[serde(with = "as_text")]
    pub mac: MacAddr,
    /// How long ago it was seen, in seconds; 0 if it is static.
    pub age_s: u64,
    /// Whether it was added by hand: it neither ages nor moves.
    #[serde(rename = "static", default)]
    pub is_static: bool,
}

/// Addresses were forgotten.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Flushed {
    /// How many.
    pub entries: u64,
}

/// The addresses of bridges, counted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FdbTables {
    /// By name.
    pub bridges: Vec<FdbTable>,
}

/// The addresses of one bridge, counted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FdbTable {
    /// The bridge.
    pub bridge: String,
    /// Addresses there are.
    pub entries: u64,
    /// Those of them that are static.
    pub static_entries: u64,
    /// The most there may be.
    pub limit: u64,
    /// The most that one port may have learned.
    pub port_limit: u64,
    /// Seconds without a packet after which a learned one goes.
    pub age_limit_s: u64,
    /// Addresses learned so far.
    pub learned: u64,
    /// Learned ones that have moved to another port.
    pub moved: u64,
    /// Those that went since they were not seen for long.
    pub expired: u64,
    /// Those that made room for others of their port.
    pub evicted: u64,
    /// Times that there was no room to learn.
    pub refused: u64,
}
