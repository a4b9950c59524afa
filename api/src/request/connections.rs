//! Connections that are tracked.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::bits::Bits;
use crate::bytes::as_text_if_any;
use crate::reply::Cursor;

/// Asks for connections, a page at a time.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtDump {
    /// Which connections; all if nothing is said.
    #[serde(default, skip_serializing_if = "ConnectionFilter::is_empty")]
    pub filter: ConnectionFilter,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// The most connections to answer with; the switch may answer with fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Forgets connections: the next packet of each begins another one, or belongs to none.
///
/// A member that nobody knows is refused, here and in the filter: to ignore it might be to forget
/// more than was meant.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CtFlush {
    /// Which connections; all if nothing is said.
    #[serde(default, skip_serializing_if = "ConnectionFilter::is_empty")]
    pub filter: ConnectionFilter,
}

/// Asks how many connections there are and were.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtStats {
    /// Whether they are counted by protocol and state, too. Cost: a look at every connection.
    #[serde(default, skip_serializing_if = "super::is_not")]
    pub kinds: bool,
}

/// Asks for connections that others have announced and that have not come, a page at a time.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CtExpectDump {
    /// The zone; all if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// The most to answer with; the switch may answer with fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Chooses connections: those for which all holds that is said.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionFilter {
    /// The zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<u16>,
    /// Bits of the mark.
    #[serde(default, with = "as_text_if_any", skip_serializing_if = "Option::is_none")]
    pub mark: Option<Bits<u32>>,
    /// Bits of the label.
    #[serde(default, with = "as_text_if_any", skip_serializing_if = "Option::is_none")]
    pub labels: Option<Bits<u128>>,
    /// What packets have that go as the first one did.
    #[serde(default, skip_serializing_if = "TupleFilter::is_empty")]
    pub original: TupleFilter,
    /// What packets have that come back.
    #[serde(default, skip_serializing_if = "TupleFilter::is_empty")]
    pub reply: TupleFilter,
}

impl ConnectionFilter {
    /// Whether it says nothing, and so takes all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Chooses connections by the packets of one direction. The members are those of
/// [`ConnectionTuple`](crate::reply::ConnectionTuple).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TupleFilter {
    /// Where they come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<IpAddr>,
    /// Where they go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst: Option<IpAddr>,
    /// The IP protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<u8>,
    /// The port they come from; only TCP, UDP and SCTP have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// The port they go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// The identifier of a query; only ICMP and ICMPv6 have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
    /// Its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
}

impl TupleFilter {
    /// Whether it says nothing, and so takes all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
