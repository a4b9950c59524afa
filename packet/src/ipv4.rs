//! IPv4 headers (RFC 791).

use std::net::Ipv4Addr;

use crate::{Truncated, split};

/// Bytes of a header without options.
pub const LEN: usize = 20;
/// Where the TOS byte (DSCP and ECN) stands.
pub const TOS: usize = 1;
/// Where the total length stands.
pub const TOTAL_LEN: usize = 2;
/// Where the identification stands.
pub const ID: usize = 4;
/// Where the TTL stands.
pub const TTL: usize = 8;
/// Where the protocol stands.
pub const PROTO: usize = 9;
/// Where the header checksum stands.
pub const CHECKSUM: usize = 10;
/// Where the source address stands.
pub const SRC: usize = 12;
/// Where the destination address stands.
pub const DST: usize = 16;

/// An IPv4 header without its options, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a>(&'a [u8; LEN]);

impl<'a> Ipv4<'a> {
    /// Splits the fixed part of a header off; options and payload follow.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Truncated> {
        split(bytes).map(|(head, rest)| (Self(head), rest))
    }

    /// 4, if this is one.
    pub const fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// Bytes of the header, options included; a lie if below 20.
    pub const fn header_len(self) -> usize {
        (self.0[0] & 0x0f) as usize * 4
    }

    /// DSCP and ECN.
    pub const fn tos(self) -> u8 {
        self.0[TOS]
    }

    /// Bytes of the packet from this header on, as it says itself.
    pub const fn total_len(self) -> usize {
        u16::from_be_bytes([self.0[TOTAL_LEN], self.0[TOTAL_LEN + 1]]) as usize
    }

    /// What its sender has numbered it with.
    pub const fn id(self) -> u16 {
        u16::from_be_bytes([self.0[ID], self.0[ID + 1]])
    }

    /// Offset of this fragment in bytes.
    pub const fn fragment_offset(self) -> usize {
        (u16::from_be_bytes([self.0[6], self.0[7]]) & 0x1fff) as usize * 8
    }

    /// Whether fragments follow this one.
    pub const fn more_fragments(self) -> bool {
        self.0[6] & 0x20 != 0
    }

    /// Hops left.
    pub const fn ttl(self) -> u8 {
        self.0[TTL]
    }

    /// What is inside.
    pub const fn proto(self) -> u8 {
        self.0[PROTO]
    }

    /// The header's checksum.
    pub const fn checksum(self) -> u16 {
        u16::from_be_bytes([self.0[CHECKSUM], self.0[CHECKSUM + 1]])
    }

    /// Source address.
    pub const fn src(self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[SRC], self.0[SRC + 1], self.0[SRC + 2], self.0[SRC + 3])
    }

    /// Destination address.
    pub const fn dst(self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[DST], self.0[DST + 1], self.0[DST + 2], self.0[DST + 3])
    }
}
