//! How many connections a zone may have, and how long they may be silent.
//!
//! A member that nobody knows is refused wherever something is set: to ignore it might be to set
//! what holds for all zones.

use serde::{Deserialize, Serialize};

use crate::ct_timeout::CtTimeouts;

/// Sets how many connections zones may have: all of this or, if it is refused, nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CtLimitSet {
    /// The limit of each zone that has none of its own; there is none if it is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<u32>,
    /// Limits of zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<ZoneLimit>,
}

/// How many connections a zone may have.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneLimit {
    /// The zone.
    pub zone: u16,
    /// The most; as many as there is room for if it is 0.
    pub limit: u32,
}

/// Has zones go by the default limit again.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CtLimitDel {
    /// Whether the default limit goes as well.
    #[serde(default, skip_serializing_if = "super::is_not")]
    pub default: bool,
    /// The zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<u16>,
}

/// Asks how many connections zones have, and may have.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtLimitDump {
    /// Which zones; those that have a limit of their own if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<u16>,
}

/// Sets how long connections may be silent; what is not named stays as it is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CtTimeoutSet {
    /// The zone whose connections are meant; those of all zones that have nothing of their own if
    /// none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
    /// How long, in seconds.
    pub timeouts: CtTimeouts,
}

/// Has a zone go by the default timeouts again, or the default by those of the Linux kernel.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CtTimeoutDel {
    /// The zone; the default if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
}

/// Asks how long connections may be silent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtTimeoutDump {
    /// The zone; all that have timeouts of their own if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
}

/// Sets how strict the tracking of TCP is; what is not named stays as it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CtTcpSet {
    /// Whether segments out of window are invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq_chk: Option<bool>,
    /// Whether a connection may be met in its middle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loose: Option<bool>,
}

/// Asks how strict the tracking of TCP is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtTcpShow {}
