//! Learned and static addresses.

use packet::MacAddr;
use serde::{Deserialize, Serialize};

use super::PortRef;
use crate::bytes::as_text;

/// Asks for the addresses that `NORMAL` goes by.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FdbShow {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
}

/// Forgets the addresses that `NORMAL` has learned. Static ones stay.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FdbFlush {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
}

/// Says where an address is: it stays there, whatever packets show, until it is deleted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FdbAdd {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port where it is.
    pub port: PortRef,
    /// The VLAN; 0, which goes without saying, is none.
    #[serde(default)]
    pub vlan: u16,
    /// The address.
    #[serde(with = "as_text")]
    pub mac: MacAddr,
}

/// Forgets one address, static or learned.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FdbDel {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The VLAN; 0, which goes without saying, is none.
    #[serde(default)]
    pub vlan: u16,
    /// The address.
    #[serde(with = "as_text")]
    pub mac: MacAddr,
}

/// Asks how many addresses there are and were.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FdbStats {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
}
