//! A plain packet, which nearly all are: in one frame, untagged, and behind IPv4 without options. Its
//! bounds are looked at once.

use crate::headers::{Fragment, Headers, Transport};
use crate::{ipv4, tcp, udp};

const L3: usize = Headers::PLAIN[0];
const L4: usize = Headers::PLAIN[1];

/// A plain packet of TCP or UDP, up to where IP ends; its transport header is `LEN` bytes long, without
/// options.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a, const LEN: usize> {
    ip: &'a [u8; ipv4::LEN],
    header: &'a [u8; LEN],
    rest: &'a [u8],
    /// Both of them, and the last bytes of that.
    carried: &'a [u8],
    last: &'a [u8; 8],
}

/// A plain packet of TCP.
pub type PlainTcp<'a> = Plain<'a, { tcp::LEN }>;

/// A plain packet of UDP.
pub type PlainUdp<'a> = Plain<'a, { udp::LEN }>;

impl<'a> PlainTcp<'a> {
    /// That of a packet of `len` bytes, of which these are in the first frame; `None` if it is no plain
    /// one of TCP.
    #[inline]
    pub fn read(headers: Headers, bytes: &'a [u8], len: usize) -> Option<Self> {
        Self::of(Transport::Tcp, headers, bytes, len)
    }
}

impl<'a> PlainUdp<'a> {
    /// The same of UDP.
    #[inline]
    pub fn read(headers: Headers, bytes: &'a [u8], len: usize) -> Option<Self> {
        Self::of(Transport::Udp, headers, bytes, len)
    }
}

impl<'a, const LEN: usize> Plain<'a, LEN> {
    #[inline]
    fn of(transport: Transport, headers: Headers, bytes: &'a [u8], len: usize) -> Option<Self> {
        // In this order both are one comparison.
        if !headers.are_plain_of(transport) || headers.fragment != Fragment::No {
            return None;
        }
        if bytes.len() != len {
            return None;
        }
        let front: &[u8; L4] = bytes.first_chunk()?;
        let says = [front[L3 + ipv4::TOTAL_LEN], front[L3 + ipv4::TOTAL_LEN + 1]];
        // What follows is padding.
        let bytes = bytes.get(..L3 + usize::from(u16::from_be_bytes(says)))?;
        let carried = bytes.get(L4..)?;
        let (header, rest) = carried.split_first_chunk()?;
        Some(Self { ip: front.last_chunk()?, header, rest, carried, last: carried.last_chunk()? })
    }

    /// What IP carries.
    #[inline]
    pub const fn carried(self) -> &'a [u8] {
        self.carried
    }

    /// The transport header without options, and what follows.
    #[inline]
    pub const fn split(self) -> (&'a [u8; LEN], &'a [u8]) {
        (self.header, self.rest)
    }

    /// The header of IP.
    #[inline]
    pub(crate) const fn ip(self) -> &'a [u8; ipv4::LEN] {
        self.ip
    }

    /// The last bytes.
    #[inline]
    pub(crate) const fn last(self) -> &'a [u8; 8] {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use proptest::prelude::*;

    fn bytes_of(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), len)
    }

    proptest! {
        /// However it is cut, and whatever is said about it.
        #[test]
        fn what_is_plain_lies_where_it_should(
            mut bytes in prop_oneof![1 => bytes_of(0..80), 3 => bytes_of(60..80)],
            total in prop_oneof![4 => 20..66u16, 1 => any::<u16>()],
            more in prop_oneof![4 => Just(0), 1 => 0..9usize],
            network in prop::sample::select(vec![Network::Ipv4, Network::Ipv4, Network::Ipv6]),
            transport in prop::sample::select(vec![Transport::Tcp, Transport::Udp, Transport::Sctp]),
            fragment in prop_oneof![4 => Just(Fragment::No), 1 => Just(Fragment::First)],
            (l3, l4) in prop_oneof![4 => Just((14u8, 34u16)), 1 => any::<(u8, u16)>()],
        ) {
            if let Some(place) = bytes.get_mut(16..18) {
                place.copy_from_slice(&total.to_be_bytes());
            }
            let headers = Headers { network, transport, fragment, l3, l4, ..Headers::default() };
            let is_plain = (network, fragment, l3, l4) == (Network::Ipv4, Fragment::No, 14, 34);
            let end = 14 + usize::from(total);
            let carried = bytes.get(34..end).filter(|_| is_plain && more == 0);
            let of = |of, least| carried.filter(|bytes| transport == of && bytes.len() >= least);
            let len = bytes.len() + more;
            let tcp = PlainTcp::read(headers, &bytes, len);
            let udp = PlainUdp::read(headers, &bytes, len);
            prop_assert_eq!(tcp.map(Plain::carried), of(Transport::Tcp, 20));
            prop_assert_eq!(udp.map(Plain::carried), of(Transport::Udp, 8));
            if let Some(tcp) = tcp {
                let (header, rest) = tcp.split();
                prop_assert_eq!([&header[..], rest].concat(), tcp.carried());
                prop_assert_eq!((&tcp.ip()[..], &tcp.last()[..]), (&bytes[14..34], &bytes[end - 8..end]));
            }
        }
    }
}
