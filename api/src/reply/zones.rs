//! How many connections zones have and may have, and how long they may be silent.

use serde::{Deserialize, Serialize};

use crate::ct_timeout::CtTimeouts;

/// Limits of zones.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtLimits {
    /// The limit of each zone that has none of its own; there is none if it is 0.
    pub default: u32,
    /// By their numbers.
    pub zones: Vec<ZoneCount>,
}

/// What a zone has of connections.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ZoneCount {
    /// The zone.
    pub zone: u16,
    /// The most it may have, which may be the default; as many as there is room for if it is 0.
    pub limit: u32,
    /// How many it has. They are more than the limit if that came after them.
    pub count: u32,
}

/// How long connections may be silent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtPolicies {
    /// Where nothing else is said: all timeouts.
    pub default: CtTimeouts,
    /// Zones that have timeouts of their own, by their numbers.
    pub zones: Vec<ZoneTimeouts>,
}

/// Timeouts of a zone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ZoneTimeouts {
    /// The zone.
    pub zone: u16,
    /// Its own; the others are the default's.
    pub timeouts: CtTimeouts,
}

/// How strict the tracking of TCP is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtTcp {
    /// Whether segments out of window are invalid.
    pub seq_chk: bool,
    /// Whether a connection may be met in its middle.
    pub loose: bool,
}
