//! TCP headers (RFC 9293).

use crate::{Truncated, split};

/// The protocol's number.
pub const PROTO: u8 = 6;
/// Bytes of a header without options.
pub const LEN: usize = 20;
/// Where the sequence number stands.
pub const SEQ: usize = 4;
/// Where data offset and flags stand.
pub const FLAGS: usize = 12;
/// Where the checksum stands.
pub const CHECKSUM: usize = 16;

/// No more data from the sender.
pub const FIN: u16 = 0x01;
/// Synchronise sequence numbers.
pub const SYN: u16 = 0x02;
/// Reset the connection.
pub const RST: u16 = 0x04;
/// Push.
pub const PSH: u16 = 0x08;
/// The acknowledgement field counts.
pub const ACK: u16 = 0x10;

/// A TCP header without its options, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a>(&'a [u8; LEN]);

impl<'a> Tcp<'a> {
    /// Splits the fixed part of a header off.
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

    /// Sequence number.
    pub const fn seq(self) -> u32 {
        u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// Acknowledgement number.
    pub const fn ack(self) -> u32 {
        u32::from_be_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// The window it offers, unscaled.
    pub const fn window(self) -> u16 {
        u16::from_be_bytes([self.0[14], self.0[15]])
    }

    /// Bytes of the header, options included; a lie if below 20.
    pub const fn header_len(self) -> usize {
        (self.0[FLAGS] >> 4) as usize * 4
    }

    /// The twelve flag bits, reserved ones included.
    pub const fn flags(self) -> u16 {
        u16::from_be_bytes([self.0[FLAGS], self.0[FLAGS + 1]]) & 0x0fff
    }
}
