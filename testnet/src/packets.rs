//! Generated packets: every key that a packet can have, none that it cannot.

use packet::{Key, compose, ethernet, icmp, tcp, udp, vlan};
use proptest::prelude::*;

/// A number out of few, so that generated packets and rules meet often; now and then any.
pub fn few(bits: u32) -> impl Strategy<Value = u128> {
    let all = u128::MAX >> (128 - bits);
    prop_oneof![8 => 0..4u128, 1 => any::<u128>()].prop_map(move |value| value & all)
}

fn tag() -> impl Strategy<Value = Option<(u16, u16)>> {
    let tpid = prop_oneof![4 => Just(ethernet::VLAN), 1 => Just(ethernet::SERVICE_VLAN)];
    let tci = (0..3u16, prop_oneof![Just(0u16), Just(5), Just(10), Just(4095)]);
    prop::option::weighted(0.3, (tci.prop_map(|(pcp, vid)| pcp << 13 | vid | vlan::PRESENT), tpid))
}

fn ethernet_key() -> impl Strategy<Value = Key> {
    // Local unicast addresses, one group address, broadcast.
    let mac = prop_oneof![
        8 => (1..5u64).prop_map(|n| 0x0200_0000_0000 | n),
        1 => Just(0x0100_5e00_0001_u64),
        1 => Just(0xffff_ffff_ffff_u64),
    ];
    (mac.clone(), mac, tag(), tag()).prop_map(|(dst, src, outer, inner)| {
        let mut key = Key::ZERO.with(Key::ETH_DST, dst).with(Key::ETH_SRC, src);
        if let Some((tci, tpid)) = outer {
            key = key.with(Key::VLAN_TCI, tci).with(Key::VLAN_TPID, tpid);
            if let Some((tci, tpid)) = inner {
                key = key.with(Key::VLAN2_TCI, tci).with(Key::VLAN2_TPID, tpid);
            }
        }
        key
    })
}

fn transport(icmp: u8) -> impl Strategy<Value = (u8, u16, u16, u16)> {
    let port = || prop_oneof![4 => 1..4u16, 2 => Just(80u16), 1 => any::<u16>()];
    let ports = (port(), port());
    prop_oneof![
        4 => (ports.clone(), 0..0x1000u16).prop_map(|((s, d), flags)| (tcp::PROTO, s, d, flags)),
        4 => ports.clone().prop_map(|(s, d)| (udp::PROTO, s, d, 0)),
        1 => ports.prop_map(|(s, d)| (132, s, d, 0)),
        2 => (0..9u16, 0..3u16).prop_map(move |(kind, code)| (icmp, kind, code, 0)),
        1 => Just((47, 0, 0, 0)),
    ]
}

fn ip_key(icmp: u8) -> impl Strategy<Value = Key> {
    let frag = prop_oneof![12 => Just(0u8), 1 => Just(1), 1 => Just(3)];
    let ttl = prop_oneof![1 => Just(0u8), 1 => Just(1), 4 => Just(64), 1 => any::<u8>()];
    let tos = prop_oneof![3 => Just(0u8), 1 => any::<u8>()];
    (transport(icmp), tos, ttl, frag).prop_map(|((proto, src, dst, flags), tos, ttl, frag)| {
        let key = Key::ZERO
            .with(Key::NW_PROTO, proto)
            .with(Key::NW_TOS, tos)
            .with(Key::NW_TTL, ttl)
            .with(Key::NW_FRAG, frag)
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::TTL_LEFT, u8::from(ttl > 1));
        // A later fragment has no transport header, and neither has a protocol that nobody knows;
        // of the first fragment only the flags are looked at.
        match (frag, proto) {
            (3, _) | (_, 47) => return key,
            (1, _) => return key.with(Key::TCP_FLAGS, flags),
            _ => {}
        }
        key.with(Key::HAS_TRANSPORT, 1u8)
            .with(Key::TP_SRC, src)
            .with(Key::TP_DST, dst)
            .with(Key::TCP_FLAGS, flags)
    })
}

fn network_key() -> impl Strategy<Value = Key> {
    let v4 = (ip_key(icmp::PROTO), few(32), few(32)).prop_map(|(key, src, dst)| {
        key.with(Key::ETH_TYPE, ethernet::IPV4)
            .with(Key::NW_SRC, 0x0a00_0000 ^ src)
            .with(Key::NW_DST, 0x0a00_0000 ^ dst)
    });
    let v6 =
        (ip_key(icmp::PROTO_V6), few(128), few(128), few(20)).prop_map(|(key, src, dst, label)| {
            key.with(Key::ETH_TYPE, ethernet::IPV6)
                .with(Key::IPV6_SRC, 0xfd00 << 112 ^ src)
                .with(Key::IPV6_DST, 0xfd00 << 112 ^ dst)
                .with(Key::IPV6_LABEL, label)
        });
    let addresses = (prop::option::of(few(48)), prop::option::of(few(48)));
    let nd = (few(128), few(128), 135..137u8, few(128), addresses).prop_map(
        |(src, dst, kind, target, (sll, tll))| {
            let address = |key: Key, has, place, address: Option<u128>| match address {
                Some(address) => key.with(has, 1u8).with(place, address),
                None => key,
            };
            let key = Key::ZERO
                .with(Key::ETH_TYPE, ethernet::IPV6)
                .with(Key::IPV6_SRC, 0xfd00 << 112 ^ src)
                .with(Key::IPV6_DST, 0xfd00 << 112 ^ dst)
                .with(Key::NW_PROTO, icmp::PROTO_V6)
                .with(Key::NW_TTL, 255u8)
                .with(Key::HAS_NETWORK, 1u8)
                .with(Key::TTL_LEFT, 1u8)
                .with(Key::HAS_TRANSPORT, 1u8)
                .with(Key::TP_SRC, kind)
                .with(Key::HAS_ND, 1u8)
                .with(Key::ND_TARGET, 0xfd00 << 112 ^ target);
            let key = address(key, Key::HAS_ND_SLL, Key::ARP_SHA, sll);
            address(key, Key::HAS_ND_TLL, Key::ARP_THA, tll)
        },
    );
    let arp = (1..3u8, few(32), few(32), few(48), few(48)).prop_map(|(op, spa, tpa, sha, tha)| {
        Key::ZERO
            .with(Key::ETH_TYPE, ethernet::ARP)
            .with(Key::NW_PROTO, op)
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::NW_SRC, spa)
            .with(Key::NW_DST, tpa)
            .with(Key::ARP_SHA, sha)
            .with(Key::ARP_THA, tha)
    });
    let other = prop_oneof![Just(ethernet::NOT_A_TYPE), Just(0x88cc_u16), Just(0x0600)]
        .prop_map(|ethertype| Key::ZERO.with(Key::ETH_TYPE, ethertype));
    prop_oneof![6 => v4, 4 => v6, 1 => nd, 1 => arp, 1 => other]
}

/// Any key that [`packet::parse`] can produce, but for where the packet came in (word 0).
pub fn any_key() -> impl Strategy<Value = Key> {
    (ethernet_key(), network_key()).prop_map(|(ethernet, network)| {
        let mut key = network;
        for (word, link) in key.words_mut().iter_mut().zip(ethernet.words()) {
            *word |= link;
        }
        key
    })
}

/// Any well-formed packet, as bytes.
pub fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    (any_key(), prop_oneof![3 => Just(60usize), 1 => 14..200usize, 1 => 1000..1514usize])
        .prop_map(|(key, len)| compose(&key, len))
}

/// A packet with something wrong: bytes flipped, cut short, or nothing but noise.
pub fn any_garbage() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let damaged = (any_packet(), damage, prop::option::of(any::<prop::sample::Index>()));
    let damaged = damaged.prop_map(|(mut bytes, damage, cut)| {
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes
    });
    prop_oneof![5 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}
