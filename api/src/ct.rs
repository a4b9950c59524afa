//! How connections are tracked.

use std::net::IpAddr;

use crate::action::{Action, Subfield};

/// How a packet's connection is tracked: `ct(...)`.
///
/// What only a new connection can be given goes with `commit`: without it `force` is off, `nat` is
/// none but `Existing`, and `exec` is empty.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ct {
    /// Whether the connection is kept, if it is new.
    pub commit: bool,
    /// Whether one that goes the other way makes room for it.
    pub force: bool,
    /// Where a copy of the packet goes on with what has been found out.
    pub table: Option<u8>,
    /// Connections of one zone are none of another's.
    pub zone: CtZone,
    /// Whether addresses and ports are translated.
    pub nat: Option<Nat>,
    /// What is written into the mark and the label of the connection: `SetField` and `Move` alone.
    pub exec: Vec<Action>,
    /// The protocol that is watched for connections which it announces.
    pub alg: Option<Alg>,
}

/// Which zone.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CtZone {
    /// This one.
    Number(u16),
    /// The one whose number a field of sixteen bits holds.
    Field(Subfield),
}

impl Default for CtZone {
    fn default() -> Self {
        Self::Number(0)
    }
}

/// How addresses and ports are translated: `nat(...)`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Nat {
    /// As was decided when the connection began.
    Existing,
    /// The source of a new connection becomes one of these.
    Src(NatRange),
    /// The destination of a new connection becomes one of these.
    Dst(NatRange),
}

impl Nat {
    /// What a new connection may be given.
    pub fn range(&self) -> Option<&NatRange> {
        match self {
            Self::Existing => None,
            Self::Src(range) | Self::Dst(range) => Some(range),
        }
    }
}

/// Addresses and ports that a connection may be given.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct NatRange {
    /// The first and the last address, both of one version of IP. None leaves the packet's own, and
    /// so does 0.0.0.0 or `::`, which stands alone and without ports.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The first and the last port, from 1 on, which go with addresses; the packet's own if it is
    /// free, or any, if none are given.
    pub ports: Option<(u16, u16)>,
    /// Whether a source gets the same address for all of its connections.
    pub persistent: bool,
    /// How one is chosen.
    pub choice: Option<NatChoice>,
}

/// How one of several addresses and ports is chosen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NatChoice {
    /// By a hash of the packet's own.
    Hash,
    /// At random.
    Random,
}

impl NatChoice {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Hash, Self::Random];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Random => "random",
        }
    }
}

/// A protocol that announces connections.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Alg {
    Ftp,
    Tftp,
}

impl Alg {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Ftp, Self::Tftp];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Tftp => "tftp",
        }
    }
}

/// The bits of `ct_state`.
pub mod ct_state {
    /// The packet begins a connection.
    pub const NEW: u32 = 0x01;
    /// Its connection is known.
    pub const EST: u32 = 0x02;
    /// Another connection has announced its own.
    pub const REL: u32 = 0x04;
    /// It goes the other way than the packet that began its connection.
    pub const RPL: u32 = 0x08;
    /// It can belong to no connection.
    pub const INV: u32 = 0x10;
    /// It has been tracked, without which nothing else is known.
    pub const TRK: u32 = 0x20;
    /// The source of its connection is translated.
    pub const SNAT: u32 = 0x40;
    /// The destination of its connection is translated.
    pub const DNAT: u32 = 0x80;
}
