//! Associations of SCTP through a translation, whole and in fragments.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod common;

use std::time::Duration;

use common::{Bench, Options};
use flowtable::VlanMode;
use packet::{Key, checksum, compose, ethernet, ipv4, parse, sctp};

const CLIENT: u32 = 0x0a00_0001;
const OUTSIDE: u32 = 0xc000_0264;
const SERVER: u32 = 0xc000_0209;
/// Behind the headers of Ethernet and IPv4.
const L4: usize = ethernet::LEN + ipv4::LEN;

/// From port 1 to port 2, as 192.0.2.100 from another port; what is invalid goes by port 3.
fn switch() -> Bench {
    let mut bench = Bench::new(&vec![VlanMode::Trunk(Vec::new()); 3], Options::default());
    let flows = [
        "table=0,ip,actions=ct(zone=5,nat,table=1)",
        "table=1,priority=2,ct_state=+inv+trk,actions=output:3",
        "table=1,in_port=1,ct_state=+new+trk,sctp,\
         actions=ct(commit,zone=5,nat(src=192.0.2.100:5000-5100)),output:2",
        "table=1,in_port=1,ct_state=+est+trk,actions=output:2",
        "table=1,in_port=2,ct_state=+est+rpl+trk,actions=output:1",
    ];
    bench.flow_mods(&flows.map(|flow| flow.parse().unwrap()));
    bench
}

/// CRC32c, bit by bit (RFC 9260 appendix A).
fn crc(bytes: &[u8]) -> [u8; 4] {
    let bit = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit));
    (!crc).to_le_bytes()
}

fn seal(transport: &mut [u8]) {
    transport[sctp::CHECKSUM..sctp::LEN].fill(0);
    let sum = crc(transport);
    transport[sctp::CHECKSUM..sctp::LEN].copy_from_slice(&sum);
}

/// A packet of one chunk, which has this behind its header.
fn packet(ends: [(u32, u16); 2], tag: u32, kind: u8, behind: &[u8]) -> Vec<u8> {
    let [src, dst] = ends;
    let key = Key::ZERO
        .with(Key::ETH_DST, 0x0200_0000_0002_u64)
        .with(Key::ETH_TYPE, ethernet::IPV4)
        .with(Key::NW_SRC, src.0)
        .with(Key::NW_DST, dst.0)
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_PROTO, sctp::PROTO)
        .with(Key::HAS_NETWORK, 1u8)
        .with(Key::HAS_TRANSPORT, 1u8)
        .with(Key::TTL_LEFT, 1u8)
        .with(Key::TP_SRC, src.1)
        .with(Key::TP_DST, dst.1);
    let mut bytes = compose(&key, L4 + sctp::LEN + 4 + behind.len());
    let transport = &mut bytes[L4..];
    transport[4..8].copy_from_slice(&tag.to_be_bytes());
    transport[sctp::LEN] = kind;
    let len = u16::try_from(4 + behind.len()).unwrap();
    transport[sctp::LEN + 2..][..2].copy_from_slice(&len.to_be_bytes());
    transport[sctp::LEN + 4..].copy_from_slice(behind);
    seal(transport);
    bytes
}

/// Where a packet comes from and goes.
fn ends(bytes: &[u8]) -> [(u32, u16); 2] {
    let mut key = Key::ZERO;
    parse(bytes, bytes.len(), &mut key).unwrap();
    let [src, dst] = [Key::NW_SRC, Key::NW_DST].map(|at| u32::try_from(key.get(at)).unwrap());
    let [from, to] = [Key::TP_SRC, Key::TP_DST].map(|at| u16::try_from(key.get(at)).unwrap());
    [(src, from), (dst, to)]
}

/// Carries packets; all that comes out.
fn carry(bench: &mut Bench, port: u16, packets: &[Vec<u8>]) -> Vec<(u16, Vec<u8>)> {
    packets.iter().for_each(|packet| bench.put(port, packet));
    bench.now += Duration::from_millis(1);
    bench.turn();
    bench.take()
}

/// An association, and the end that the server sees.
fn associated(bench: &mut Bench) -> (u16, u32) {
    const KINDS: [u8; 4] = [1, 2, 10, 11];
    const TAGS: [u32; 4] = [0, 0xa, 0xb, 0xa];
    let mut port = 0;
    for (n, (kind, tag)) in KINDS.into_iter().zip(TAGS).enumerate() {
        let mut behind = [0; 16];
        behind[3] = if n % 2 == 0 { 0xa } else { 0xb };
        let (from, between) = match n % 2 {
            0 => (1, [(CLIENT, 2000), (SERVER, 80)]),
            _ => (2, [(SERVER, 80), (OUTSIDE, port)]),
        };
        let sent = carry(bench, from, &[packet(between, tag, kind, &behind)]);
        let [(to, bytes)] = &*sent else { panic!("{n}: {sent:?}") };
        assert_eq!(*to, 3 - from);
        let between = ends(bytes);
        let expected = packet(between, tag, kind, &behind);
        assert_eq!(bytes[L4..], expected[L4..], "{n}");
        if n == 0 {
            assert_eq!([between[0].0, between[1].0], [OUTSIDE, SERVER]);
            port = between[0].1;
            assert!((5000..=5100).contains(&port), "{port}");
        } else if n % 2 == 1 {
            assert_eq!(between, [(SERVER, 80), (CLIENT, 2000)]);
        }
    }
    (port, 0xb)
}

#[test]
fn an_association_is_translated_with_its_checksum() {
    let mut bench = switch();
    let (port, tag) = associated(&mut bench);
    let data = packet([(CLIENT, 2000), (SERVER, 80)], tag, 0, &[7; 100]);
    let sent = carry(&mut bench, 1, &[data]);
    let expected = packet([(OUTSIDE, port), (SERVER, 80)], tag, 0, &[7; 100]);
    let [(2, bytes)] = &*sent else { panic!("{sent:?}") };
    assert_eq!(bytes[L4..], expected[L4..]);
    // Who does not know the tag ends nothing.
    for (tag, port) in [(7, 3), (tag, 2)] {
        let abort = packet([(CLIENT, 2000), (SERVER, 80)], tag, 6, &[]);
        let sent = carry(&mut bench, 1, &[abort]);
        assert_eq!(sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [port]);
    }
    bench.check();
}

/// The checksum was made as if nothing came behind the first fragment.
#[test]
fn an_association_in_fragments_is_translated_with_its_checksum() {
    let mut bench = switch();
    let (port, tag) = associated(&mut bench);
    let whole = packet([(CLIENT, 2000), (SERVER, 80)], tag, 0, &[7; 500]);
    let cut = |range: std::ops::Range<usize>| {
        let mut part = whole[..L4].to_vec();
        part.extend(&whole[L4 + range.start..L4 + range.end]);
        let ip = &mut part[ethernet::LEN..];
        let len = u16::try_from(ip.len()).unwrap();
        let more = u16::from(range.end + L4 < whole.len()) << 13;
        let field = more | u16::try_from(range.start / 8).unwrap();
        ip[ipv4::TOTAL_LEN..][..2].copy_from_slice(&len.to_be_bytes());
        ip[6..8].copy_from_slice(&field.to_be_bytes());
        ip[ipv4::CHECKSUM..][..2].fill(0);
        let sum = checksum::of(&ip[..ipv4::LEN]);
        ip[ipv4::CHECKSUM..][..2].copy_from_slice(&sum.to_be_bytes());
        part
    };
    let end = whole.len() - L4;
    for order in [[0, 1, 2], [2, 0, 1]] {
        let parts = order.map(|n: usize| [cut(0..48), cut(48..320), cut(320..end)][n].clone());
        let mut sent = carry(&mut bench, 1, &parts);
        assert!(sent.iter().all(|(port, _)| *port == 2));
        sent.sort_by_key(|(_, part)| part[ethernet::LEN + 7]);
        let transport: Vec<_> = sent.iter().flat_map(|(_, part)| part[L4..].to_vec()).collect();
        let expected = packet([(OUTSIDE, port), (SERVER, 80)], tag, 0, &[7; 500]);
        assert_eq!(transport, expected[L4..], "{order:?}");
    }
    bench.check();
}
