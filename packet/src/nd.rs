//! Neighbour solicitations and advertisements of IPv6 (RFC 4861 §4.3, §4.4).

use std::net::Ipv6Addr;

use crate::MacAddr;

/// The ICMPv6 type of a solicitation.
pub const SOLICITATION: u8 = 135;
/// The ICMPv6 type of an advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// Where the target stands, counted from the ICMPv6 header.
pub const TARGET: usize = 8;
/// Bytes up to the options.
pub const LEN: usize = TARGET + 16;

/// The option that carries the sender's link-layer address.
pub const SOURCE: u8 = 1;
/// The option that carries the target's link-layer address.
pub const TARGET_ADDRESS: u8 = 2;
/// Bytes of an option with an Ethernet address; their number in units of eight is 1.
pub const OPTION_LEN: usize = 8;

/// A message about a neighbour, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Nd<'a> {
    head: &'a [u8; LEN],
    /// Where the options with the two addresses begin, counted from the ICMPv6 header.
    source: Option<usize>,
    target: Option<usize>,
    bytes: &'a [u8],
}

impl<'a> Nd<'a> {
    /// Reads what begins with an ICMPv6 header; `None` if it is no such message, or cut short, or
    /// one of its options has no length or is there twice: then nothing of it can be relied on.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<LEN>()?;
        if !matches!(head[0], SOLICITATION | ADVERTISEMENT) || head[1] != 0 {
            return None;
        }
        let (mut source, mut target) = (None, None);
        while let Some((&[kind, units], _)) = rest.split_first_chunk() {
            let len = usize::from(units) * 8;
            if len == 0 || len > rest.len() {
                return None;
            }
            let place = match kind {
                SOURCE if len == OPTION_LEN => Some(&mut source),
                TARGET_ADDRESS if len == OPTION_LEN => Some(&mut target),
                _ => None,
            };
            if let Some(place) = place
                && place.replace(bytes.len() - rest.len()).is_some()
            {
                return None;
            }
            rest = &rest[len..];
        }
        // What is left is no option, and none of ours.
        Some(Self { head, source, target, bytes })
    }

    /// The address that is asked for or advertised.
    pub fn target(self) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.head[TARGET..]);
        Ipv6Addr::from(octets)
    }

    /// Where the sender's link-layer address stands, counted from the ICMPv6 header.
    pub fn source_at(self) -> Option<usize> {
        self.source.map(|option| option + 2)
    }

    /// Where the target's link-layer address stands, counted from the ICMPv6 header.
    pub fn target_address_at(self) -> Option<usize> {
        self.target.map(|option| option + 2)
    }

    /// The sender's link-layer address.
    pub fn source(self) -> Option<MacAddr> {
        self.address(self.source_at()?)
    }

    /// The target's link-layer address.
    pub fn target_address(self) -> Option<MacAddr> {
        self.address(self.target_address_at()?)
    }

    fn address(self, at: usize) -> Option<MacAddr> {
        self.bytes.get(at..)?.first_chunk().map(|address| MacAddr(*address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solicitation(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![SOLICITATION, 0, 0xab, 0xcd, 0, 0, 0, 0];
        bytes.extend((0..16).map(|n| 0x20 + n));
        bytes.extend_from_slice(options);
        bytes
    }

    #[test]
    fn options_are_found_behind_others() {
        let bytes = solicitation(&[14, 1, 1, 2, 3, 4, 5, 6, 1, 1, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf]);
        let nd = Nd::read(&bytes).unwrap();
        assert_eq!(nd.target().octets()[15], 0x2f);
        assert_eq!(nd.source(), Some(MacAddr([0xa, 0xb, 0xc, 0xd, 0xe, 0xf])));
        assert_eq!((nd.source_at(), nd.target_address()), (Some(LEN + 10), None));
    }

    #[test]
    fn what_contradicts_itself_is_no_message() {
        let twice = [1, 1, 1, 2, 3, 4, 5, 6, 1, 1, 1, 2, 3, 4, 5, 6];
        for options in [&twice[..], &[1, 0, 0, 0, 0, 0, 0, 0], &[1, 2, 0, 0, 0, 0, 0, 0]] {
            assert!(Nd::read(&solicitation(options)).is_none(), "{options:?}");
        }
        assert!(Nd::read(&solicitation(&[])[..23]).is_none());
        let mut other = solicitation(&[]);
        other[1] = 1;
        assert!(Nd::read(&other).is_none(), "another code");
    }
}
