//! Requests about egress queues.

use serde::{Deserialize, Serialize};

use crate::queue::QueueSettings;
use crate::request::PortRef;

/// Sets an egress queue of a port; one of the same number is changed, and goes on counting.
///
/// With its first queue, a port also has queue 0, of packets that no flow chooses a queue for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct QueueSet {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port.
    pub port: PortRef,
    /// The queue's number.
    pub queue: u16,
    /// How it is to be.
    #[serde(default)]
    pub settings: QueueSettings,
}

/// Removes an egress queue. What waits there goes to queue 0.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct QueueDel {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port.
    pub port: PortRef,
    /// The queue's number; all queues of the port if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u16>,
}

/// Asks for egress queues and their counters.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct QueueDump {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port; all if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortRef>,
    /// The queue; all if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u16>,
}
