//! UDP headers (RFC 768).

use crate::{Truncated, split};

/// The protocol's number.
pub const PROTO: u8 = 17;
/// Bytes of a header.
pub const LEN: usize = 8;
/// Where the length stands.
pub const LENGTH: usize = 4;
/// Where the checksum stands.
pub const CHECKSUM: usize = 6;

/// A UDP header, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a>(&'a [u8; LEN]);

impl<'a> Udp<'a> {
    /// Splits a header off.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Truncated> {
        split(bytes).map(|(head, rest)| (Self(head), rest))
    }

    /// Source port.
    pub const fn src(self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Destination port.
    pub const fn dst(self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Bytes of the datagram from this header on, as it says itself.
    pub const fn length(self) -> usize {
        u16::from_be_bytes([self.0[LENGTH], self.0[LENGTH + 1]]) as usize
    }
}
