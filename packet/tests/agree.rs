//! The parser against its inverse, against another parser, and against noise.

use packet::{HEADER_WINDOW, Key, Network, Transport, compose, ethernet, parse};
use proptest::prelude::*;
use testnet::packets::{any_garbage, any_key, any_packet};

fn parsed(bytes: &[u8]) -> Option<(Key, packet::Headers)> {
    let mut key = Key::ZERO;
    parse(bytes, bytes.len(), &mut key).ok().map(|headers| (key, headers))
}

/// What etherparse finds in the same bytes: addresses, protocol and ports.
fn second_opinion(bytes: &[u8]) -> Option<(Key, etherparse::SlicedPacket<'_>)> {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    let sliced = SlicedPacket::from_ethernet(bytes).ok()?;
    let mut key = Key::ZERO;
    match sliced.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            key.set(Key::NW_SRC, u32::from_be_bytes(ip.header().source()));
            key.set(Key::NW_DST, u32::from_be_bytes(ip.header().destination()));
            key.set(Key::NW_TTL, ip.header().ttl());
            key.set(Key::NW_PROTO, ip.payload_ip_number().0);
        }
        NetSlice::Ipv6(ip) => {
            key.set(Key::IPV6_SRC, u128::from_be_bytes(ip.header().source()));
            key.set(Key::IPV6_DST, u128::from_be_bytes(ip.header().destination()));
            key.set(Key::NW_TTL, ip.header().hop_limit());
            key.set(Key::NW_PROTO, ip.payload().ip_number.0);
        }
        _ => return None,
    }
    let (src, dst) = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Icmpv4(icmp)) => (icmp.type_u8().into(), icmp.code_u8().into()),
        Some(TransportSlice::Icmpv6(icmp)) => (icmp.type_u8().into(), icmp.code_u8().into()),
        _ => (0, 0),
    };
    key.set(Key::TP_SRC, src);
    key.set(Key::TP_DST, dst);
    Some((key, sliced))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_composed_packet_says_what_it_was_made_from(key in any_key(), len in 0usize..300) {
        let bytes = compose(&key, len);
        let (found, _) = parsed(&bytes).unwrap();
        prop_assert_eq!(found, key);
    }

    #[test]
    fn another_parser_finds_the_same(bytes in any_packet()) {
        let Some((theirs, sliced)) = second_opinion(&bytes) else { return Ok(()) };
        let (ours, headers) = parsed(&bytes).unwrap();
        for span in [Key::NW_SRC, Key::NW_DST, Key::IPV6_SRC, Key::IPV6_DST, Key::NW_TTL, Key::NW_PROTO] {
            prop_assert_eq!(ours.get(span), theirs.get(span), "{:?} of {:02x?}", span, &bytes);
        }
        // It leaves SCTP and the transport header of first fragments alone.
        if headers.transport != Transport::Sctp && headers.fragment == packet::Fragment::No {
            prop_assert_eq!(ours.get(Key::TP_SRC), theirs.get(Key::TP_SRC));
            prop_assert_eq!(ours.get(Key::TP_DST), theirs.get(Key::TP_DST));
        }
        prop_assert_eq!(usize::from(headers.vlans), sliced.link_exts.len());
    }

    /// Whatever the bytes: no panic, offsets inside the packet, nothing said that is not there.
    #[test]
    fn garbage_is_survived(bytes in any_garbage(), stale in any_key()) {
        let mut key = stale;
        let Ok(headers) = parse(&bytes, bytes.len(), &mut key) else {
            prop_assert!(bytes.len() < ethernet::LEN);
            return Ok(());
        };
        prop_assert!(usize::from(headers.l3) <= bytes.len());
        if headers.transport != Transport::None {
            prop_assert!(usize::from(headers.l4) + 8 <= bytes.len());
        }
        if headers.network == Network::None {
            prop_assert_eq!(&key.words()[4..Key::PARSED_WORDS], &[0; Key::PARSED_WORDS - 4], "stale fields");
        }
    }

    /// How a packet is spread over frames does not change what is found.
    #[test]
    fn only_the_window_counts(bytes in any_packet(), cut in 0usize..2000) {
        let cut = cut.max(HEADER_WINDOW).min(bytes.len());
        let (mut whole, mut part) = (Key::ZERO, Key::ZERO);
        let found = parse(&bytes, bytes.len(), &mut whole).unwrap();
        prop_assert_eq!(parse(&bytes[..cut], bytes.len(), &mut part).unwrap(), found);
        prop_assert_eq!(whole, part);
    }
}
