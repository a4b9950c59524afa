//! ICMP (RFC 792) and ICMPv6 (RFC 4443) headers.

use crate::{Truncated, split};

/// The protocol's number over IPv4.
pub const PROTO: u8 = 1;
/// The protocol's number over IPv6.
pub const PROTO_V6: u8 = 58;
/// Bytes of a header.
pub const LEN: usize = 8;
/// Where the checksum stands.
pub const CHECKSUM: usize = 2;

/// The head of a message of either version, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a>(&'a [u8; LEN]);

impl<'a> Icmp<'a> {
    /// Splits a header off.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Truncated> {
        split(bytes).map(|(head, rest)| (Self(head), rest))
    }

    /// The message's type.
    pub const fn kind(self) -> u8 {
        self.0[0]
    }

    /// The message's code.
    pub const fn code(self) -> u8 {
        self.0[1]
    }

    /// What tells a query and its answer from others (RFC 792, Echo).
    pub const fn identifier(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }
}
