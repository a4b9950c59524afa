//! Ethernet II and 802.3 headers.

use crate::mac::MacAddr;
use crate::{Truncated, split};

/// Bytes of a header without tags.
pub const LEN: usize = 14;
/// Where the source address begins.
pub const SRC: usize = 6;
/// Where the Ethertype stands in an untagged frame, and the first tag in a tagged one.
pub const TYPE: usize = 12;

/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ARP: u16 = 0x0806;
/// Ethertype of RARP, whose packets look like ARP's.
pub const RARP: u16 = 0x8035;
/// Ethertype of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// Ethertype of an 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;
/// Ethertype of IPv6.
pub const IPV6: u16 = 0x86dd;
/// What stands for the Ethertype of a frame with a length in its place
/// (`OFP_DL_TYPE_NOT_ETH_TYPE`).
pub const NOT_A_TYPE: u16 = 0x05ff;
/// The smallest Ethertype; what is below is a length (IEEE 802.3 §3.2.6).
pub const TYPE_MIN: u16 = 0x0600;

/// The two addresses of a frame, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a>(&'a [u8; 12]);

impl<'a> Ethernet<'a> {
    /// Splits the addresses off; what follows begins with a tag or the Ethertype.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Truncated> {
        split(bytes).map(|(head, rest)| (Self(head), rest))
    }

    /// Destination address.
    pub const fn dst(self) -> MacAddr {
        let &[a, b, c, d, e, f, ..] = self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// Source address.
    pub const fn src(self) -> MacAddr {
        let &[.., a, b, c, d, e, f] = self.0;
        MacAddr([a, b, c, d, e, f])
    }
}
