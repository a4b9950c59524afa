//! Datagrams that come in fragments, against the same datagrams that come whole.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::time::Duration;

use api::DropReason;
use common::{Bench, Options};
use flowtable::VlanMode;
use packet::{
    Key, Network, Seed, Transport, checksum, compose, ethernet, icmp, ipv4, ipv6, parse, tcp, udp,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Pipelines between a client at port 1 and a server at port 2.
const PIPELINES: [&[&str]; 4] = [
    // What is new is let through by its port, which only the first fragment has.
    &[
        "table=0,priority=1,ip,actions=ct(table=1)",
        "table=0,priority=1,ipv6,actions=ct(table=1)",
        "table=1,priority=1,in_port=1,udp,ct_state=+new+trk,tp_dst=80,nw_frag=no,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,udp6,ct_state=+new+trk,tp_dst=80,nw_frag=no,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,icmp,ct_state=+new+trk,icmp_type=8,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,ct_state=+est+trk,actions=output:2",
        "table=1,priority=1,in_port=2,ct_state=+est+rpl+trk,actions=output:1",
    ],
    // The client is hidden, the server another one, and a hop counted.
    &[
        "table=0,priority=1,ip,actions=ct(zone=1,nat,table=1)",
        "table=0,priority=1,ipv6,actions=ct(zone=1,nat,table=1)",
        "table=1,priority=1,in_port=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=10.0.0.7:8080),table=2)",
        "table=1,priority=1,in_port=1,ipv6,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=[fd00::7]:8080),table=2)",
        "table=1,priority=0,in_port=1,actions=resubmit(,2)",
        "table=2,priority=1,in_port=1,ip,actions=ct(commit,zone=2,nat(src=10.0.0.9:5000-5100),table=3)",
        "table=2,priority=1,in_port=1,ipv6,actions=ct(commit,zone=2,nat(src=[fd00::9]:5000-5100),table=3)",
        "table=3,priority=1,in_port=1,ip,actions=dec_ttl,mod_dl_dst:02:00:00:00:00:07,output:2",
        "table=3,priority=1,in_port=1,ipv6,actions=dec_ttl,output:2",
        "table=0,priority=2,in_port=2,ip,actions=ct(zone=2,nat,table=4)",
        "table=0,priority=2,in_port=2,ipv6,actions=ct(zone=2,nat,table=4)",
        "table=4,priority=1,ip,actions=ct(zone=1,nat,table=5)",
        "table=4,priority=1,ipv6,actions=ct(zone=1,nat,table=5)",
        "table=5,priority=1,ct_state=+est+rpl+trk,actions=mod_vlan_vid:7,output:1",
    ],
    // Ports are written without anybody's translation; copies go elsewhere.
    &[
        "table=0,priority=1,ip,actions=ct(commit,table=1)",
        "table=0,priority=1,ipv6,actions=ct(commit,table=1)",
        "table=1,priority=2,udp,actions=mod_tp_dst:99,mod_nw_tos:32,output:3,mod_tp_src:98,output:2",
        "table=1,priority=2,udp6,actions=mod_tp_dst:99,output:3,output:2",
        "table=1,priority=2,tcp,tcp_flags=+psh,actions=output:2",
        "table=1,priority=1,ip,actions=clone(ct(zone=5,commit,table=2)),output:2",
        "table=1,priority=1,ipv6,actions=output:2",
        "table=2,priority=1,ct_state=+new+trk,udp,actions=output:4",
        "table=2,priority=0,actions=output:3",
    ],
    // Whoever asks nothing about connections sees fragments.
    &[
        "table=0,priority=2,ip,nw_frag=later,actions=output:2",
        "table=0,priority=2,ip,nw_frag=first,actions=output:2",
        "table=0,priority=1,ip,actions=output:2",
        "table=0,priority=1,ipv6,actions=output:2",
    ],
];

/// What is sent.
#[derive(Clone, Debug)]
struct Datagram {
    /// Which talk it belongs to, and whether it is an answer.
    talk: u8,
    back: bool,
    len: usize,
    cuts: Vec<usize>,
    flags: u16,
}

fn any_datagram() -> impl Strategy<Value = Datagram> {
    let flags = select(vec![tcp::SYN, tcp::SYN | tcp::ACK, tcp::ACK, tcp::ACK | tcp::PSH]);
    let len = prop_oneof![60..200usize, 60..3000usize];
    (0..8u8, any::<bool>(), len, vec(any::<usize>(), 0..5), flags)
        .prop_map(|(talk, back, len, cuts, flags)| Datagram { talk, back, len, cuts, flags })
}

/// The client's part of a talk.
fn key_of(datagram: &Datagram) -> Key {
    let (proto, ports) = match datagram.talk % 4 {
        0 | 1 => (udp::PROTO, Some([2000 + u16::from(datagram.talk), 80])),
        2 => (tcp::PROTO, Some([3000, 80])),
        _ => (icmp::PROTO, Some([8, 0])),
    };
    let is_ipv6 = datagram.talk >= 4 && proto != icmp::PROTO;
    let mut key = Key::ZERO
        .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
        .with(Key::ETH_DST, 0x0200_0000_0002_u64)
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_PROTO, proto)
        .with(Key::HAS_NETWORK, 1u8)
        .with(Key::TTL_LEFT, 1u8);
    key = match is_ipv6 {
        false => key
            .with(Key::ETH_TYPE, ethernet::IPV4)
            .with(Key::NW_SRC, 0x0a00_0001u32)
            .with(Key::NW_DST, 0x0a00_0002u32),
        true => key
            .with(Key::ETH_TYPE, ethernet::IPV6)
            .with(Key::IPV6_SRC, 0xfd00 << 112 | 1u128)
            .with(Key::IPV6_DST, 0xfd00 << 112 | 2u128),
    };
    if let Some([src, dst]) = ports {
        key = key.with(Key::HAS_TRANSPORT, 1u8).with(Key::TP_SRC, src).with(Key::TP_DST, dst);
    }
    if proto == tcp::PROTO { key.with(Key::TCP_FLAGS, datagram.flags) } else { key }
}

/// What answers a packet that says this.
fn answer_to(frame: &[u8], datagram: &Datagram) -> Key {
    let mut key = Key::ZERO;
    parse(frame, frame.len(), &mut key).unwrap();
    let mut answer = key;
    for (to, from) in [
        (Key::ETH_SRC, Key::ETH_DST),
        (Key::ETH_DST, Key::ETH_SRC),
        (Key::IPV6_SRC, Key::IPV6_DST),
        (Key::IPV6_DST, Key::IPV6_SRC),
        (Key::NW_SRC, Key::NW_DST),
        (Key::NW_DST, Key::NW_SRC),
    ] {
        let is_ipv6 = key.word(Key::ETH_TYPE) == u64::from(ethernet::IPV6);
        let is_wide = to == Key::IPV6_SRC || to == Key::IPV6_DST;
        if is_wide == is_ipv6 || to == Key::ETH_SRC || to == Key::ETH_DST {
            answer.set(to, key.get(from));
        }
    }
    if key.word(Key::NW_PROTO) == u64::from(icmp::PROTO) {
        answer.set(Key::TP_SRC, 0u8);
    } else {
        answer.set(Key::TP_SRC, key.get(Key::TP_DST));
        answer.set(Key::TP_DST, key.get(Key::TP_SRC));
        if key.word(Key::NW_PROTO) == u64::from(tcp::PROTO) {
            answer.set(Key::TCP_FLAGS, datagram.flags);
        }
    }
    answer
}

/// The fragments of a frame, cut where they may be cut: the places count from behind the headers that
/// each repeats.
fn cut(frame: &[u8], cuts: &[usize], id: u16) -> Vec<Vec<u8>> {
    let headers = parse(frame, frame.len(), &mut Key::ZERO.clone()).unwrap();
    let l3 = usize::from(headers.l3);
    let (payload, head) = match headers.network {
        Network::Ipv4 => (l3 + ipv4::LEN, ipv4::LEN),
        _ => (l3 + ipv6::LEN, ipv6::LEN + 8),
    };
    let len = frame.len() - payload;
    // The transport header stays in one piece.
    let least = if headers.transport == Transport::Tcp { 24 } else { 8 };
    let mut at: Vec<_> = cuts.iter().map(|cut| (cut % len / 8 * 8).max(least)).collect();
    at.retain(|at| *at < len);
    at.extend([0, len]);
    at.sort_unstable();
    at.dedup();
    if at.len() == 2 {
        return vec![frame.to_vec()];
    }
    at.windows(2)
        .map(|part| {
            let more = u16::from(part[1] < len);
            let mut fragment = frame[..payload].to_vec();
            let total = u16::try_from(head + part[1] - part[0]).unwrap();
            let offset = u16::try_from(part[0]).unwrap();
            if headers.network == Network::Ipv4 {
                let ip = &mut fragment[l3..];
                ip[ipv4::TOTAL_LEN..][..2].copy_from_slice(&total.to_be_bytes());
                ip[ipv4::ID..][..2].copy_from_slice(&id.to_be_bytes());
                ip[6..8].copy_from_slice(&((more << 13) + offset / 8).to_be_bytes());
                ip[ipv4::CHECKSUM..][..2].fill(0);
                let sum = checksum::of(ip);
                ip[ipv4::CHECKSUM..][..2].copy_from_slice(&sum.to_be_bytes());
            } else {
                let ip = &mut fragment[l3..];
                let total = total - 40;
                ip[ipv6::PAYLOAD_LEN..][..2].copy_from_slice(&total.to_be_bytes());
                let next = std::mem::replace(&mut ip[ipv6::NEXT], ipv6::FRAGMENT);
                fragment.extend([next, 0]);
                fragment.extend((offset | more).to_be_bytes());
                fragment.extend([0, 0]);
                fragment.extend(id.to_be_bytes());
            }
            fragment.extend(&frame[payload..][part[0]..part[1]]);
            fragment
        })
        .collect()
}

/// Sends groups of datagrams, whole to one switch and in fragments to another, and compares.
fn run(pipeline: &[&str], groups: &[(Vec<Datagram>, u64)]) -> Result<(), TestCaseError> {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let [mut whole, mut parts] = [(); 2].map(|()| Bench::new(&vlans, Options::default()));
    for bench in [&mut whole, &mut parts] {
        let flows: Vec<_> = pipeline.iter().map(|flow| flow.parse().unwrap()).collect();
        bench.flow_mods(&flows);
    }
    let mut last: [Option<Vec<u8>>; 8] = Default::default();
    for (n, (group, order)) in groups.iter().enumerate() {
        // Those of a group come mixed.
        let mut sent = Vec::new();
        for (m, datagram) in group.iter().enumerate() {
            let (port, key) = match &last[usize::from(datagram.talk)] {
                Some(frame) if datagram.back => (2, answer_to(frame, datagram)),
                _ => (1, key_of(datagram)),
            };
            let frame = compose(&key, datagram.len);
            let id = u16::try_from(100 * n + m).unwrap();
            for (k, part) in cut(&frame, &datagram.cuts, id).into_iter().enumerate() {
                let place = Seed(*order).hash([m as u64, k as u64]);
                sent.push((place, port, part, m, frame.clone()));
            }
        }
        sent.sort_by_key(|(place, ..)| *place);
        // A port's packets come in its order; those of port 1 first.
        sent.sort_by_key(|(_, port, ..)| *port);
        let mut expected = Vec::new();
        for (at, (_, port, part, m, frame)) in sent.iter().enumerate() {
            parts.put(*port, part);
            if !sent[at + 1..].iter().any(|(.., other, _)| other == m) {
                whole.put(*port, frame);
                whole.turn();
                for (to, out) in whole.take() {
                    let datagram = &group[*m];
                    if to == 2 && *port == 1 {
                        last[usize::from(datagram.talk)] = Some(out.clone());
                    }
                    let id = u16::try_from(100 * n + m).unwrap();
                    expected
                        .extend(cut(&out, &datagram.cuts, id).into_iter().map(|part| (to, part)));
                }
            }
        }
        parts.turn();
        let mut real = parts.take();
        real.sort();
        expected.sort();
        prop_assert_eq!(real, expected, "group {}", n);
        whole.check();
        parts.check();
    }
    Ok(())
}

/// More of them where somebody waits: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn fragments_leave_as_their_datagram_would(
        pipeline in 0..PIPELINES.len(),
        groups in vec((vec(any_datagram(), 1..4), any::<u64>()), 1..8),
    ) {
        run(PIPELINES[pipeline], &groups)?;
    }
}

/// A switch that asks for connections, and a datagram in three parts.
fn three() -> (Bench, Vec<Vec<u8>>) {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 2];
    let mut bench = Bench::new(&vlans, Options::default());
    bench.flow_mods(&[
        "table=0,ip,actions=ct(commit,table=1)".parse().unwrap(),
        "table=1,udp,tp_dst=80,actions=output:2".parse().unwrap(),
    ]);
    let datagram = Datagram { talk: 0, back: false, len: 1000, cuts: vec![320, 640], flags: 0 };
    let parts = cut(&compose(&key_of(&datagram), datagram.len), &datagram.cuts, 7);
    assert_eq!(parts.len(), 3);
    (bench, parts)
}

#[test]
fn the_rest_of_a_datagram_does_not_come() {
    let (mut bench, parts) = three();
    for part in &parts[..2] {
        bench.put(1, part);
    }
    bench.turn();
    assert_eq!((bench.take().len(), bench.drops()), (0, Vec::new()));
    bench.wait(Duration::from_secs(29));
    assert_eq!(bench.drops(), []);
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.drops(), [(1, DropReason::FragmentTimeout, 2)]);
    bench.check();
}

#[test]
fn a_part_that_comes_twice_ends_its_datagram() {
    let (mut bench, parts) = three();
    for n in [0, 1, 1, 2] {
        bench.put(1, &parts[n]);
    }
    bench.turn();
    assert_eq!((bench.take().len(), bench.drops()), (0, vec![(1, DropReason::FragmentOverlap, 4)]));
    bench.check();
}

#[test]
fn many_parts_without_a_rest_keep_nobody_waiting() {
    let (mut bench, parts) = three();
    for id in 0..2000u16 {
        let mut part = parts[0].clone();
        part[ethernet::LEN + ipv4::ID..][..2].copy_from_slice(&(1000 + id).to_be_bytes());
        common::checksums::make(&mut part);
        bench.put(1, &part);
        bench.turn();
    }
    let lost: u64 = bench.drops().iter().map(|(.., packets)| packets).sum();
    assert!(bench.drops().iter().all(|(_, reason, _)| *reason == DropReason::FragmentLimit));
    assert_eq!(lost, 2000 - 4096 / 8, "an eighth of the frames may wait");
    for part in &parts {
        bench.put(1, part);
    }
    bench.turn();
    assert_eq!(bench.take().len(), 3);
    bench.wait(Duration::from_secs(31));
    bench.check();
}

/// Nobody looked at the header of a part.
#[test]
fn a_part_whose_header_is_wrong_is_invalid() {
    let (mut bench, parts) = three();
    bench.flow_mods(&["table=1,priority=40000,ip,ct_state=+inv,actions=in_port".parse().unwrap()]);
    for n in 0..3 {
        let mut wrong = parts.clone();
        // The time to live: what else the datagram says is right.
        wrong[n][ethernet::LEN + ipv4::TTL] ^= 1;
        wrong.iter().for_each(|part| bench.put(1, part));
        bench.turn();
        let came: Vec<_> = bench.take().into_iter().collect();
        assert_eq!(came, [(1, wrong[n].clone())]);
        bench.wait(Duration::from_secs(31));
        assert_eq!(bench.connections.len(), 0);
    }
    bench.check();
}

#[test]
fn a_part_that_no_datagram_can_have_says_so() {
    let (mut bench, parts) = three();
    let mut part = parts[2].clone();
    // Beyond the longest datagram.
    part[ethernet::LEN + 6..][..2].copy_from_slice(&0x1fffu16.to_be_bytes());
    common::checksums::make(&mut part);
    bench.put(1, &part);
    bench.turn();
    assert_eq!(bench.drops(), [(1, DropReason::FragmentBad, 1)]);
    bench.check();
}
