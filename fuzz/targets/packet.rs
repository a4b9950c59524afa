//! Any bytes as a packet: nothing panics, what is found lies within, and a packet made from the key
//! that was found says the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use packet::{Fragment, HEADER_WINDOW, Headers, Key, Network, Transport};
use packet::{compose, ethernet, icmp, ipv6, parse, sctp, tcp, udp};

const EXTENSIONS: [u8; 5] = [
    ipv6::HOP_BY_HOP,
    ipv6::ROUTING,
    ipv6::FRAGMENT,
    ipv6::AUTHENTICATION,
    ipv6::DESTINATION_OPTIONS,
];

fuzz_target!(|bytes: &[u8]| {
    let mut key = Key::ZERO;
    let Ok(headers) = parse(bytes, bytes.len(), &mut key) else {
        return assert!(bytes.len() < ethernet::LEN, "{} bytes are no runt", bytes.len());
    };
    lie_within(&headers, bytes.len());
    only_the_window_counts(bytes, headers, &key);
    if can_be_composed(&headers, &key) {
        let (composed, mut found) = (compose(&key, 60), Key::ZERO);
        parse(&composed, composed.len(), &mut found).expect("a packet that was composed");
        assert_eq!(found, key, "by way of {composed:02x?}");
    }
});

fn lie_within(headers: &Headers, len: usize) {
    let Headers { l3, l4, .. } = *headers;
    assert!(usize::from(l3) <= len.min(HEADER_WINDOW), "{headers:?} of {len} bytes");
    let transport = match headers.transport {
        Transport::None => return,
        Transport::Tcp => tcp::LEN,
        Transport::Udp => udp::LEN,
        Transport::Sctp => sctp::LEN,
        Transport::Icmp | Transport::Icmpv6 => icmp::LEN,
    };
    assert!(headers.network != Network::None && u16::from(l3) < l4, "{headers:?}");
    assert!(usize::from(l4) + transport <= len.min(HEADER_WINDOW), "{headers:?} of {len} bytes");
}

/// Neither what lies behind the window nor what was in the key before.
fn only_the_window_counts(bytes: &[u8], headers: Headers, key: &Key) {
    let window = &bytes[..bytes.len().min(HEADER_WINDOW)];
    let mut stale = Key::ZERO;
    stale.words_mut()[..Key::PARSED_WORDS].fill(u64::MAX);
    assert_eq!(parse(window, bytes.len(), &mut stale), Ok(headers));
    assert_eq!(stale[0], u64::MAX, "where a packet came in is not its own to say");
    assert_eq!(stale.words()[1..], key.words()[1..]);
}

/// Whether a whole packet can say what this one says: one cut short cannot be made from its key.
fn can_be_composed(headers: &Headers, key: &Key) -> bool {
    let ethertype = u16::try_from(key.word(Key::ETH_TYPE)).unwrap_or(0);
    let proto = u8::try_from(key.word(Key::NW_PROTO)).unwrap_or(0);
    match ethertype {
        // It ended within its tags.
        0 => return false,
        ethernet::VLAN | ethernet::SERVICE_VLAN if headers.vlans < 2 => return false,
        ethernet::IPV4 | ethernet::IPV6 | ethernet::ARP | ethernet::RARP
            if headers.network == Network::None =>
        {
            return false;
        }
        // A protocol that says "look behind me".
        ethernet::IPV6 if EXTENSIONS.contains(&proto) => return false,
        _ => {}
    }
    let has_transport = match proto {
        tcp::PROTO | udp::PROTO | sctp::PROTO => true,
        icmp::PROTO => headers.network == Network::Ipv4,
        icmp::PROTO_V6 => headers.network == Network::Ipv6,
        _ => false,
    };
    let is_ip = matches!(headers.network, Network::Ipv4 | Network::Ipv6);
    let is_cut = is_ip && has_transport && headers.transport == Transport::None;
    !is_cut || headers.fragment == Fragment::Later
}
