//! 802.1Q and 802.1ad tags.

use crate::{Truncated, ethernet, split};

/// Bytes of a tag.
pub const LEN: usize = 4;
/// In a tag control field of ours: there is a tag. The wire has the drop-eligible bit there.
pub const PRESENT: u16 = 0x1000;
/// The VLAN identifier.
pub const VID: u16 = 0x0fff;
/// The priority code point.
pub const PCP: u16 = 0xe000;

/// A tag, read in place: its Ethertype, then its control field.
#[derive(Clone, Copy, Debug)]
pub struct Vlan<'a>(&'a [u8; LEN]);

impl<'a> Vlan<'a> {
    /// Splits a tag off; `None` if `bytes` do not begin with one.
    pub fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, Truncated> {
        let Some((tpid, _)) = bytes.split_first_chunk() else { return Ok(None) };
        if !is_tag(u16::from_be_bytes(*tpid)) {
            return Ok(None);
        }
        split(bytes).map(|(head, rest)| Some((Self(head), rest)))
    }

    /// The tag's Ethertype.
    pub const fn tpid(self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Priority and identifier, and [`PRESENT`].
    pub const fn tci(self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]]) | PRESENT
    }
}

/// Whether an Ethertype announces a tag.
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethernet::VLAN | ethernet::SERVICE_VLAN)
}
