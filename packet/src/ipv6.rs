//! IPv6 headers and the extension headers in front of the transport (RFC 8200).

use std::net::Ipv6Addr;

use crate::{Truncated, split};

/// Bytes of the fixed header.
pub const LEN: usize = 40;
/// Where the payload length stands.
pub const PAYLOAD_LEN: usize = 4;
/// Where the next header's number stands.
pub const NEXT: usize = 6;
/// Where the hop limit stands.
pub const HOP_LIMIT: usize = 7;
/// Where the source address stands.
pub const SRC: usize = 8;
/// Where the destination address stands.
pub const DST: usize = 24;

/// Hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Routing header.
pub const ROUTING: u8 = 43;
/// Fragment header.
pub const FRAGMENT: u8 = 44;
/// Authentication header.
pub const AUTHENTICATION: u8 = 51;
/// Destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// The fixed IPv6 header, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a>(&'a [u8; LEN]);

impl<'a> Ipv6<'a> {
    /// Splits the fixed header off.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Truncated> {
        split(bytes).map(|(head, rest)| (Self(head), rest))
    }

    /// 6, if this is one.
    pub const fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// DSCP and ECN.
    pub const fn traffic_class(self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// The flow label, 20 bits.
    pub const fn flow_label(self) -> u32 {
        u32::from_be_bytes([0, self.0[1] & 0x0f, self.0[2], self.0[3]])
    }

    /// Bytes behind this header, as it says itself.
    pub const fn payload_len(self) -> usize {
        u16::from_be_bytes([self.0[PAYLOAD_LEN], self.0[PAYLOAD_LEN + 1]]) as usize
    }

    /// What follows this header.
    pub const fn next_header(self) -> u8 {
        self.0[NEXT]
    }

    /// Hops left.
    pub const fn hop_limit(self) -> u8 {
        self.0[HOP_LIMIT]
    }

    /// Source address.
    pub fn src(self) -> Ipv6Addr {
        self.address(SRC)
    }

    /// Destination address.
    pub fn dst(self) -> Ipv6Addr {
        self.address(DST)
    }

    fn address(self, at: usize) -> Ipv6Addr {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[at..at + 16]);
        bytes.into()
    }
}

/// What the extension headers lead to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Upper {
    /// The protocol behind them, or the header this parser does not pass.
    pub proto: u8,
    /// Bytes they take.
    pub len: usize,
    /// What the fragment header says, if one of them is one.
    pub fragment: Option<FragmentHeader>,
}

/// A fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FragmentHeader {
    /// Where in the datagram's payload this part of it begins.
    pub offset: usize,
    /// Whether parts follow this one.
    pub more: bool,
    /// What its sender has numbered the datagram with.
    pub id: u32,
    /// Bytes of extension headers up to its own end: what follows is payload.
    pub end: usize,
}

/// Walks the extension headers at the head of `bytes`, the first of which is a `next`.
///
/// Stops behind a fragment header that is not the first: what follows is the middle of something.
/// Cost: one step a header, and a header takes 8 bytes at least.
pub fn skip_extensions(mut next: u8, bytes: &[u8]) -> Result<Upper, Truncated> {
    let mut rest = bytes;
    let mut fragment = None;
    loop {
        let units = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION | FRAGMENT => {
                split::<8>(rest)?.0
            }
            proto => return Ok(Upper { proto, len: bytes.len() - rest.len(), fragment }),
        };
        let len = match next {
            FRAGMENT => {
                let &[_, _, high, low, a, b, c, d] = units;
                let word = u16::from_be_bytes([high, low]);
                // A fragment header that says "all of it" makes no fragment (RFC 6946).
                if word & 0xfff9 != 0 {
                    fragment = Some(FragmentHeader {
                        offset: usize::from(word & 0xfff8),
                        more: word & 1 != 0,
                        id: u32::from_be_bytes([a, b, c, d]),
                        end: bytes.len() - rest.len() + 8,
                    });
                }
                8
            }
            AUTHENTICATION => (usize::from(units[1]) + 2) * 4,
            _ => (usize::from(units[1]) + 1) * 8,
        };
        let short = Truncated { need: len, have: rest.len() };
        rest = rest.get(len..).ok_or(short)?;
        next = units[0];
        if fragment.is_some_and(|fragment| fragment.offset > 0) {
            return Ok(Upper { proto: next, len: bytes.len() - rest.len(), fragment });
        }
    }
}
