//! Connections that are tracked.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Cursor;
use crate::bytes::as_hex;

/// A page of connections.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Connections {
    /// In the order of the places where they are kept.
    pub connections: Vec<Connection>,
    /// Where to go on, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Connection {
    /// Its zone.
    pub zone: u16,
    /// What its packets have that go as the first one did.
    pub original: ConnectionTuple,
    /// What those have that come back.
    pub reply: ConnectionTuple,
    /// Its mark.
    pub mark: u32,
    /// Its label.
    #[serde(with = "as_hex")]
    pub labels: u128,
    /// Its state, if it is of TCP: `SYN_SENT`, `ESTABLISHED` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whether a packet has come back.
    pub replied: bool,
    /// Whether both sides have shown that they mean it: then it does not have to make room for others.
    pub assured: bool,
    /// How long it stays without a packet.
    pub timeout_ms: u64,
    /// The protocol by which it announces others, if it is watched for that: `ftp` or `tftp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<String>,
    /// What the connection has that has announced it, as its first packet had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ConnectionTuple>,
}

/// What all packets of a connection have that go one way.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConnectionTuple {
    /// Where they come from.
    pub src: IpAddr,
    /// Where they go.
    pub dst: IpAddr,
    /// The IP protocol.
    pub proto: u8,
    /// The port they come from, of TCP, UDP and SCTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// The port they go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// The identifier of a query, of ICMP and ICMPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
    /// Its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
}

/// A page of connections that are waited for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Expectations {
    /// In an order that stays.
    pub expected: Vec<Expectation>,
    /// Where to go on, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A connection that another one has announced and that has not come.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Expectation {
    /// Its zone.
    pub zone: u16,
    /// What its first packet will have; it may come from any port, so there is no `src_port`.
    pub original: ConnectionTuple,
    /// What the connection has that has announced it, as its first packet had.
    pub parent: ConnectionTuple,
    /// The protocol by which it did: `ftp` or `tftp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<String>,
    /// The mark that it will have: that of its parent.
    pub mark: u32,
    /// The label.
    #[serde(with = "as_hex")]
    pub labels: u128,
    /// How long it is waited for.
    pub timeout_ms: u64,
}

/// Connections were forgotten.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtFlushed {
    /// How many.
    pub connections: u64,
}

/// Connections, counted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtCounts {
    /// How many there are.
    pub connections: u64,
    /// The most there may be.
    pub limit: u64,
    /// Bytes that are held for them.
    pub bytes: u64,
    /// Connections that were made so far.
    pub made: u64,
    /// Those that went because they were silent for too long, or to make room for others.
    pub expired: u64,
    /// Connections that were not made because there was no room.
    pub full: u64,
    /// Those that were not made because their zone had as many as it may have.
    pub over_limit: u64,
    /// Those that were not made because another one has a tuple of theirs.
    pub clashed: u64,
    /// Those that were not made because every port that they might have been given was taken.
    pub without_port: u64,
    /// Packets that could belong to none.
    pub invalid: u64,
    /// The first and the last port that they are given at addresses of the host.
    pub reserved_ports: [u16; 2],
    /// How many addresses of the host are known.
    pub host_addresses: u64,
    /// Those there are, by protocol and state, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<ConnectionKind>>,
}

/// The connections of one protocol and state, counted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConnectionKind {
    /// The IP protocol.
    pub proto: u8,
    /// The state, if it is TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How many.
    pub connections: u64,
}
