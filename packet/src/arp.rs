//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use crate::mac::MacAddr;
use crate::{Truncated, split};

/// Bytes of a packet.
pub const LEN: usize = 28;
/// Where the operation stands.
pub const OP: usize = 6;
/// Where the sender's hardware address stands.
pub const SHA: usize = 8;
/// Where the sender's protocol address stands.
pub const SPA: usize = 14;
/// Where the target's hardware address stands.
pub const THA: usize = 18;
/// Where the target's protocol address stands.
pub const TPA: usize = 24;

/// The operation that asks.
pub const REQUEST: u16 = 1;
/// The operation that answers.
pub const REPLY: u16 = 2;

/// The first eight bytes up to the operation: Ethernet (1), IPv4, address lengths 6 and 4.
pub const PREFIX: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// An ARP packet, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Arp<'a>(&'a [u8; LEN]);

impl<'a> Arp<'a> {
    /// Splits a packet off; `None` if it is not about IPv4 over Ethernet.
    pub fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, Truncated> {
        let (head, rest) = split::<LEN>(bytes)?;
        Ok((head[..6] == PREFIX).then_some((Self(head), rest)))
    }

    /// What is asked or answered.
    pub const fn op(self) -> u16 {
        u16::from_be_bytes([self.0[OP], self.0[OP + 1]])
    }

    /// Sender's hardware address.
    pub const fn sha(self) -> MacAddr {
        let &[_, _, _, _, _, _, _, _, a, b, c, d, e, f, ..] = self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// Sender's protocol address.
    pub const fn spa(self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[SPA], self.0[SPA + 1], self.0[SPA + 2], self.0[SPA + 3])
    }

    /// Target's hardware address.
    pub const fn tha(self) -> MacAddr {
        let &[.., a, b, c, d, e, f, _, _, _, _] = self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// Target's protocol address.
    pub const fn tpa(self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[TPA], self.0[TPA + 1], self.0[TPA + 2], self.0[TPA + 3])
    }
}
