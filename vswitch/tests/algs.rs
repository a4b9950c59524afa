//! Connections that others announce, packet by packet: FTP both ways and TFTP, through translations.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod common;

use std::net::IpAddr;
use std::time::Duration;

use api::DropReason;
use common::{Bench, Options};
use flowtable::VlanMode;
use packet::checksum::Sum;
use packet::{Key, compose, ethernet, parse, tcp, udp};

type End = (IpAddr, u16);

fn end(address: &str, port: u16) -> End {
    (address.parse().unwrap(), port)
}

/// What a packet says, as far as it matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Said {
    src: End,
    dst: End,
    /// Its number, and what it acknowledges; none of UDP.
    numbers: [u32; 2],
    blocks: Vec<u32>,
    text: String,
}

fn key(src: End, dst: End, proto: u8) -> Key {
    let key = Key::ZERO
        .with(Key::ETH_DST, 0x0200_0000_0002_u64)
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_PROTO, proto)
        .with(Key::HAS_NETWORK, 1u8)
        .with(Key::HAS_TRANSPORT, 1u8)
        .with(Key::TTL_LEFT, 1u8)
        .with(Key::TP_SRC, src.1)
        .with(Key::TP_DST, dst.1);
    match (src.0, dst.0) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => key
            .with(Key::ETH_TYPE, ethernet::IPV4)
            .with(Key::NW_SRC, src.to_bits())
            .with(Key::NW_DST, dst.to_bits()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => key
            .with(Key::ETH_TYPE, ethernet::IPV6)
            .with(Key::IPV6_SRC, src.to_bits())
            .with(Key::IPV6_DST, dst.to_bits()),
        mixed => panic!("{mixed:?}"),
    }
}

/// The sum over the transport header and what follows, and the addresses.
fn sum((src, dst): (IpAddr, IpAddr), proto: u8, bytes: &[u8]) -> u16 {
    let sum = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Sum::pseudo_v4(src, dst, proto, bytes.len()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Sum::pseudo_v6(src, dst, proto, bytes.len()),
        mixed => panic!("{mixed:?}"),
    };
    sum.bytes(bytes).finish()
}

/// A segment of TCP, as its sender makes it.
fn segment(
    src: End,
    dst: End,
    flags: u16,
    numbers: [u32; 2],
    blocks: &[u32],
    text: &str,
) -> Vec<u8> {
    let key = key(src, dst, tcp::PROTO).with(Key::TCP_FLAGS, flags);
    let (l4, options) = (if src.0.is_ipv4() { 34 } else { 54 }, 4 * blocks.len());
    let options = if blocks.is_empty() { 0 } else { options + 4 };
    let mut bytes = compose(&key, l4 + tcp::LEN + options + text.len());
    let segment = &mut bytes[l4..];
    segment[4..8].copy_from_slice(&numbers[0].to_be_bytes());
    segment[8..12].copy_from_slice(&numbers[1].to_be_bytes());
    segment[14..16].copy_from_slice(&8000u16.to_be_bytes());
    if !blocks.is_empty() {
        segment[12] = u8::try_from((tcp::LEN + options) * 4).unwrap();
        // Where none of their words begins.
        segment[20..23].copy_from_slice(&[1, 5, u8::try_from(2 + 4 * blocks.len()).unwrap()]);
        for (place, block) in segment[23..].chunks_mut(4).zip(blocks) {
            place.copy_from_slice(&block.to_be_bytes());
        }
        segment[tcp::LEN + options - 1] = 0;
    }
    segment[tcp::LEN + options..].copy_from_slice(text.as_bytes());
    segment[16..18].fill(0);
    let sum = sum((src.0, dst.0), tcp::PROTO, segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn datagram(src: End, dst: End, text: &str) -> Vec<u8> {
    let l4 = if src.0.is_ipv4() { 34 } else { 54 };
    let mut bytes = compose(&key(src, dst, udp::PROTO), l4 + udp::LEN + text.len());
    bytes[l4 + udp::LEN..].copy_from_slice(text.as_bytes());
    bytes[l4 + 6..l4 + 8].fill(0);
    let sum = sum((src.0, dst.0), udp::PROTO, &bytes[l4..]);
    bytes[l4 + 6..l4 + 8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Reads a packet whose checksums and lengths must be right.
fn read(bytes: &[u8]) -> Said {
    let mut key = Key::ZERO;
    let headers = parse(bytes, bytes.len(), &mut key).unwrap();
    let address = |v4, v6| match key.get(v4) {
        0 => IpAddr::from(key.get(v6).to_be_bytes()),
        word => IpAddr::from(u32::try_from(word).unwrap().to_be_bytes()),
    };
    let port = |span| u16::try_from(key.get(span)).unwrap();
    let src = (address(Key::NW_SRC, Key::IPV6_SRC), port(Key::TP_SRC));
    let dst = (address(Key::NW_DST, Key::IPV6_DST), port(Key::TP_DST));
    let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
    let half = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    if src.0.is_ipv4() {
        assert_eq!(half(l3 + 2), bytes.len() - l3, "length of IPv4");
        assert_eq!(packet::checksum::of(&bytes[l3..l4]), 0, "its checksum");
    } else {
        assert_eq!(half(l3 + 4), bytes.len() - l4, "length of IPv6");
    }
    let transport = &bytes[l4..];
    let proto = u8::try_from(key.get(Key::NW_PROTO)).unwrap();
    assert_eq!(sum((src.0, dst.0), proto, transport), 0, "the checksum of {proto}");
    if proto == udp::PROTO {
        let text = String::from_utf8_lossy(&transport[udp::LEN..]).into_owned();
        return Said { src, dst, numbers: [0; 2], blocks: Vec::new(), text };
    }
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let header = usize::from(transport[12] >> 4) * 4;
    let blocks = match &transport[tcp::LEN..header] {
        [1, 5, len, rest @ ..] => rest[..usize::from(*len) - 2].chunks(4).map(word).collect(),
        _ => Vec::new(),
    };
    let numbers = [word(&transport[4..8]), word(&transport[8..12])];
    let text = String::from_utf8_lossy(&transport[header..]).into_owned();
    Said { src, dst, numbers, blocks, text }
}

/// Port 1 is inside, port 2 outside; what is related goes by 3 while it is new, and by 4 behind that.
struct Switch(Bench);

impl Switch {
    fn new(flows: &[&str]) -> Self {
        let mut bench = Bench::new(&vec![VlanMode::Trunk(Vec::new()); 4], Options::default());
        for flow in flows {
            bench.flow_mods(&[flow.parse().unwrap()]);
        }
        Self(bench)
    }

    /// What becomes of a packet that comes in by a port: where it goes out, and what it says.
    fn carry(&mut self, port: u16, bytes: &[u8]) -> Option<(u16, Said)> {
        self.0.put(port, bytes);
        self.0.now += Duration::from_millis(1);
        self.0.turn();
        let mut sent = self.0.take();
        assert!(sent.len() <= 1, "{} packets", sent.len());
        sent.pop().map(|(port, bytes)| (port, read(&bytes)))
    }

    fn dropped(&self) -> Vec<(u16, DropReason, u64)> {
        self.0.drops().into_iter().filter(|(_, _, packets)| *packets > 0).collect()
    }
}

/// A control connection: the ends as either side knows them, and what each has sent and received.
struct Control {
    /// The client's own, and the server as it knows it.
    inside: [End; 2],
    /// The client as the server knows it, and the server's own.
    outside: [End; 2],
    /// By which ports the client and the server are reached.
    ports: [u16; 2],
    /// What the client has sent, and what has arrived; the same of the server.
    sent: [u32; 2],
    arrived: [u32; 2],
}

impl Control {
    /// Opens one.
    fn open(switch: &mut Switch, ports: [u16; 2], inside: [End; 2], outside: [End; 2]) -> Self {
        let (sent, arrived) = ([u32::MAX - 9, 7000], [u32::MAX - 9, 7000]);
        let mut control = Self { inside, outside, ports, sent, arrived };
        for (side, flags) in [(0, tcp::SYN), (1, tcp::SYN | tcp::ACK)] {
            control.say(switch, side, flags, "", "");
            (control.sent[side], control.arrived[side]) =
                (control.sent[side].wrapping_add(1), control.arrived[side].wrapping_add(1));
        }
        control.say(switch, 0, tcp::ACK, "", "");
        control
    }

    fn frame(&self, side: usize, flags: u16, text: &str) -> Vec<u8> {
        let ack = if flags & tcp::ACK == 0 { 0 } else { self.arrived[1 - side] };
        let numbers = [self.sent[side], ack];
        let [src, dst] = match side {
            0 => self.inside,
            _ => [self.outside[1], self.outside[0]],
        };
        segment(src, dst, flags, numbers, &[], text)
    }

    /// A side says something, of which the other one is told this; both agree about the numbers.
    fn say(&mut self, switch: &mut Switch, side: usize, flags: u16, text: &str, told: &str) {
        let came = switch.carry(self.ports[side], &self.frame(side, flags, text));
        let (port, said) = came.unwrap_or_else(|| panic!("{text:?}: {:?}", switch.dropped()));
        let [src, dst] = match side {
            0 => self.outside,
            _ => [self.inside[1], self.inside[0]],
        };
        assert_eq!((port, &*said.text), (self.ports[1 - side], told));
        assert_eq!((said.src, said.dst), (src, dst), "{text:?}");
        let ack = if flags & tcp::ACK == 0 { 0 } else { self.sent[1 - side] };
        assert_eq!(said.numbers, [self.arrived[side], ack], "{text:?}");
        let len = |text: &str| u32::try_from(text.len()).unwrap();
        self.sent[side] = self.sent[side].wrapping_add(len(text));
        self.arrived[side] = self.arrived[side].wrapping_add(len(told));
    }
}

const ACK: u16 = tcp::ACK | tcp::PSH;

/// Whose source is another one outside: 192.0.2.100 and 2001:db8::100.
const SNAT: [&str; 9] = [
    "table=0,ip,actions=ct(zone=5,nat,table=1)",
    "table=0,ipv6,actions=ct(zone=5,nat,table=1)",
    "table=1,priority=9,ct_state=+trk+new-rel,tcp,in_port=1,tp_dst=21,\
     actions=ct(commit,zone=5,alg=ftp,nat(src=192.0.2.100),exec(load:7->NXM_NX_CT_MARK[])),output:2",
    "table=1,priority=9,ct_state=+trk+new-rel,tcp6,in_port=1,tp_dst=21,\
     actions=ct(commit,zone=5,alg=ftp,nat(src=2001:db8::100),exec(load:7->NXM_NX_CT_MARK[])),output:2",
    "table=1,priority=8,ct_state=+trk+new+rel-est,ct_mark=7,ip,ct_nw_proto=6,ct_tp_dst=21,actions=ct(commit,zone=5,nat),output:3",
    "table=1,priority=8,ct_state=+trk+new+rel-est,ct_mark=7,ipv6,ct_nw_proto=6,ct_tp_dst=21,actions=ct(commit,zone=5,nat),output:3",
    "table=1,priority=7,ct_state=+trk+est+rel-new,ct_mark=7,ip,ct_nw_proto=6,ct_tp_dst=21,actions=output:4",
    "table=1,priority=7,ct_state=+trk+est+rel-new,ct_mark=7,ipv6,ct_nw_proto=6,ct_tp_dst=21,actions=output:4",
    "table=1,priority=6,ct_state=+trk+est-rel,actions=resubmit(,2)",
];

const BETWEEN: [&str; 2] = [
    "table=2,priority=6,in_port=1,actions=output:2",
    "table=2,priority=6,in_port=2,actions=output:1",
];

fn snat() -> Switch {
    Switch::new(&[&SNAT[..], &BETWEEN].concat())
}

/// A child's handshake and some data: from where it comes, the client as it knows it, and the client's
/// own.
fn child(switch: &mut Switch, from: End, to: End, own: End) {
    let there = |flags, numbers, text: &str| segment(from, to, flags, numbers, &[], text);
    let (port, said) = switch.carry(2, &there(tcp::SYN, [1, 0], "")).unwrap();
    assert_eq!((port, said.src, said.dst), (3, from, own), "+new+rel");
    let answer = segment(own, from, tcp::SYN | tcp::ACK, [50, 2], &[], "");
    let (port, said) = switch.carry(1, &answer).unwrap();
    assert_eq!((port, said.src, said.dst), (4, to, from), "+est+rel");
    for n in 0..3 {
        let (port, said) = switch.carry(2, &there(tcp::ACK, [2 + n, 51], "x")).unwrap();
        assert_eq!((port, said.dst, &*said.text), (4, own, "x"), "+est+rel");
        let answer = segment(own, from, tcp::ACK, [51, 3 + n], &[], "");
        assert_eq!(switch.carry(1, &answer).unwrap().0, 4);
    }
}

#[test]
fn a_server_comes_to_the_address_that_it_was_told() {
    let (own, outside) = (end("10.0.0.1", 40_000), end("192.0.2.100", 40_000));
    let server = end("198.51.100.9", 21);
    let mut switch = snat();
    let mut control = Control::open(&mut switch, [1, 2], [own, server], [outside, server]);
    control.say(&mut switch, 1, ACK, "220 hello\r\n", "220 hello\r\n");
    let command = |control: &Control| control.frame(0, ACK, "PORT 10,0,0,1,156,65\r\n");
    let first = command(&control);
    control.say(&mut switch, 0, ACK, "PORT 10,0,0,1,156,65\r\n", "PORT 192,0,2,100,156,65\r\n");
    // Sent again it is the same again.
    let again = switch.carry(1, &first).unwrap().1;
    assert_eq!(again.text, "PORT 192,0,2,100,156,65\r\n");
    assert_eq!(again.numbers[0].wrapping_add(25), control.arrived[0]);
    control.say(&mut switch, 1, ACK, "200 ok\r\n", "200 ok\r\n");
    let server_data = end("198.51.100.9", 20);
    child(&mut switch, server_data, end("192.0.2.100", 40_001), end("10.0.0.1", 40_001));
    // Another one is not what was announced, not even from the same server.
    let other =
        segment(end("198.51.100.9", 22), end("192.0.2.100", 40_001), tcp::SYN, [1, 0], &[], "");
    assert_eq!(switch.carry(2, &other), None);
    let hits = switch.0.counters.session_hits.get();
    // And so on: each makes the stream a little longer.
    for port in [1025u16, 2049, 300, 65_535, 1025, 8000] {
        let [high, low] = port.to_be_bytes();
        let text = format!("PORT 10,0,0,1,{high},{low}\r\n");
        let told = format!("PORT 192,0,2,100,{high},{low}\r\n");
        control.say(&mut switch, 0, ACK, &text, &told);
        control.say(&mut switch, 1, ACK, "200 ok\r\n", "200 ok\r\n");
        control.say(&mut switch, 0, ACK, "NOOP\r\n", "NOOP\r\n");
        control.say(&mut switch, 1, ACK, "200 ok\r\n", "200 ok\r\n");
    }
    // What arrived behind a gap is named by numbers, too.
    let arrived = control.arrived[0];
    let blocks = [arrived.wrapping_add(10), arrived.wrapping_add(20)];
    let gap = segment(server, outside, ACK, [control.sent[1], arrived], &blocks, "");
    let (_, said) = switch.carry(2, &gap).unwrap();
    let sent = control.sent[0];
    assert_eq!(said.numbers[1], sent);
    assert_eq!(said.blocks, [sent.wrapping_add(10), sent.wrapping_add(20)]);
    assert_eq!(switch.0.counters.session_hits.get(), hits, "tier 1 has no control connection");
    assert_eq!(switch.dropped(), [(2, DropReason::TableMiss, 1)]);
    switch.0.check();
}

#[test]
fn what_goes_with_its_connection_is_expected_no_more() {
    let (own, outside) = (end("10.0.0.1", 40_000), end("192.0.2.100", 40_000));
    let server = end("198.51.100.9", 21);
    let mut switch = snat();
    let mut control = Control::open(&mut switch, [1, 2], [own, server], [outside, server]);
    control.say(&mut switch, 1, ACK, "220 hello\r\n", "220 hello\r\n");
    // Nobody opens anything for others.
    let other = "PORT 10,0,0,2,4,1\r\n";
    control.say(&mut switch, 0, ACK, other, other);
    assert_eq!(switch.0.connections.expected(), 0);
    control.say(&mut switch, 0, ACK, "PORT 10,0,0,1,4,1\r\n", "PORT 192,0,2,100,4,1\r\n");
    let connections = &switch.0.connections;
    assert_eq!(connections.expected(), 1);
    connections.iter().for_each(|id| assert!(connections.remove(id)));
    assert_eq!(connections.expected(), 0);
    let syn = segment(end("198.51.100.9", 20), end("192.0.2.100", 1025), tcp::SYN, [1, 0], &[], "");
    assert_eq!(switch.carry(2, &syn), None);
}

#[test]
fn two_clients_that_announce_one_port_are_known_by_two() {
    let server = end("198.51.100.9", 21);
    let mut switch = snat();
    let mut clients = [("10.0.0.1", 40_000), ("10.0.0.2", 40_001)].map(|(address, port)| {
        let (own, outside) = (end(address, port), end("192.0.2.100", port));
        Control::open(&mut switch, [1, 2], [own, server], [outside, server])
    });
    for control in &mut clients {
        control.say(&mut switch, 1, ACK, "220 hello\r\n", "220 hello\r\n");
    }
    clients[0].say(&mut switch, 0, ACK, "PORT 10,0,0,1,9,9\r\n", "PORT 192,0,2,100,9,9\r\n");
    let second = clients[1].frame(0, ACK, "PORT 10,0,0,2,9,9\r\n");
    let (_, said) = switch.carry(1, &second).unwrap();
    let numbers: Vec<u16> =
        said.text[5..].trim_end().split(',').map(|n| n.parse().unwrap()).collect();
    let [192, 0, 2, 100, high, low] = *numbers else { panic!("{said:?}") };
    let port = high << 8 | low;
    assert!(port != 9 << 8 | 9 && port >= 1024, "{port}");
    child(&mut switch, end("198.51.100.9", 20), end("192.0.2.100", port), end("10.0.0.2", 0x0909));
    child(
        &mut switch,
        end("198.51.100.9", 20),
        end("192.0.2.100", 0x0909),
        end("10.0.0.1", 0x0909),
    );
}

#[test]
fn eprt_and_epsv_are_heard_on_ipv6() {
    let (own, outside) = (end("fd00::1", 40_000), end("2001:db8::100", 40_000));
    let server = end("2001:db8::9", 21);
    let mut switch = snat();
    let mut control = Control::open(&mut switch, [1, 2], [own, server], [outside, server]);
    control.say(&mut switch, 1, ACK, "220 hello\r\n", "220 hello\r\n");
    let (said, told) = ("EPRT |2|fd00::1|1025|\r\n", "EPRT |2|2001:db8::100|1025|\r\n");
    control.say(&mut switch, 0, ACK, said, told);
    control.say(&mut switch, 1, ACK, "200 ok\r\n", "200 ok\r\n");
    child(&mut switch, end("2001:db8::9", 20), end("2001:db8::100", 1025), end("fd00::1", 1025));
    // The other way round: the client comes, and its address is translated as before.
    control.say(&mut switch, 0, ACK, "EPSV\r\n", "EPSV\r\n");
    let entering = "229 Entering Extended Passive Mode (|||6446|)\r\n";
    control.say(&mut switch, 1, ACK, entering, entering);
    let syn = segment(end("fd00::1", 50_000), end("2001:db8::9", 6446), tcp::SYN, [1, 0], &[], "");
    let (port, said) = switch.carry(1, &syn).unwrap();
    assert_eq!((port, said.src, said.dst.1), (3, end("2001:db8::100", 50_000), 6446));
}

#[test]
fn a_port_is_announced_again_while_its_last_connection_is_not_forgotten() {
    let flows = [
        "table=0,ip,actions=ct(zone=5,table=1)",
        "table=1,priority=9,ct_state=+trk+new-rel,tcp,tp_dst=21,actions=ct(commit,zone=5,alg=ftp),output:2",
        "table=1,priority=8,ct_state=+trk+new+rel,ip,actions=ct(commit,zone=5),output:3",
        "table=1,priority=7,ct_state=+trk+est+rel,ip,actions=output:4",
        "table=1,priority=6,ct_state=+trk+est,actions=resubmit(,2)",
    ];
    let (own, server) = (end("10.0.0.1", 40_000), end("198.51.100.9", 21));
    let (from, to) = (end("198.51.100.9", 20), end("10.0.0.1", 1025));
    let mut switch = Switch::new(&[&flows[..], &BETWEEN].concat());
    let mut control = Control::open(&mut switch, [1, 2], [own, server], [own, server]);
    for n in 0..3 {
        let text = "PORT 10,0,0,1,4,1\r\n";
        control.say(&mut switch, 0, ACK, text, text);
        let first = 1000 * n;
        let syn = segment(from, to, tcp::SYN, [first, 0], &[], "");
        assert_eq!(switch.carry(2, &syn).unwrap().0, 3, "{n}");
        let steps = [
            (1, to, from, tcp::SYN | tcp::ACK, [first, first + 1]),
            (2, from, to, tcp::FIN | tcp::ACK, [first + 1, first + 1]),
            (1, to, from, tcp::FIN | tcp::ACK, [first + 1, first + 2]),
            (2, from, to, tcp::ACK, [first + 2, first + 2]),
        ];
        for (port, src, dst, flags, numbers) in steps {
            let bytes = segment(src, dst, flags, numbers, &[], "");
            assert_eq!(switch.carry(port, &bytes).map(|it| it.0), Some(4), "{n} {flags:#x}");
        }
    }
}

/// A service at 10.0.0.50 whose server is 10.0.0.2: port 1 is the server's, port 2 that of clients.
const DNAT: [&str; 4] = [
    "table=0,ip,actions=ct(zone=5,nat,table=1)",
    "table=1,priority=9,ct_state=+trk+new-rel,tcp,in_port=2,nw_dst=10.0.0.50,tp_dst=21,\
     actions=ct(commit,zone=5,alg=ftp,nat(dst=10.0.0.2)),output:1",
    "table=1,priority=8,ct_state=+trk+new+rel,ip,actions=ct(commit,zone=5,nat),output:3",
    "table=1,priority=6,ct_state=+trk+est,actions=resubmit(,2)",
];

#[test]
fn a_client_comes_to_the_service_that_it_knows() {
    let (client, service, server) =
        (end("192.0.2.7", 40_000), end("10.0.0.50", 21), end("10.0.0.2", 21));
    let mut switch = Switch::new(&[&DNAT[..], &BETWEEN].concat());
    let ends = [[client, service], [client, server]];
    let mut control = Control::open(&mut switch, [2, 1], ends[0], ends[1]);
    control.say(&mut switch, 1, ACK, "220 hello\r\n", "220 hello\r\n");
    control.say(&mut switch, 0, ACK, "PASV\r\n", "PASV\r\n");
    let said = "227 Entering Passive Mode (10,0,0,2,200,10).\r\n";
    control.say(&mut switch, 1, ACK, said, &said.replace("0,2,", "0,50,"));
    control.say(&mut switch, 0, ACK, "RETR x\r\n", "RETR x\r\n");
    control.say(&mut switch, 1, ACK, "150 here\r\n", "150 here\r\n");
    let (from, to) = (end("192.0.2.7", 40_002), end("10.0.0.50", 51_210));
    let (port, said) = switch.carry(2, &segment(from, to, tcp::SYN, [1, 0], &[], "")).unwrap();
    assert_eq!((port, said.src, said.dst), (3, from, end("10.0.0.2", 51_210)));
    let answer = segment(end("10.0.0.2", 51_210), from, tcp::SYN | tcp::ACK, [9, 2], &[], "");
    let (port, said) = switch.carry(1, &answer).unwrap();
    assert_eq!((port, said.src, said.dst), (2, to, from));
    // Once.
    let syn = segment(end("192.0.2.7", 40_003), to, tcp::SYN, [1, 0], &[], "");
    assert_eq!(switch.carry(2, &syn), None);
}

#[test]
fn what_answers_a_request_of_tftp_comes_from_any_port() {
    let flows = [
        "table=0,ip,actions=ct(zone=5,nat,table=1)",
        "table=1,priority=9,ct_state=+trk+new-rel,udp,in_port=1,tp_dst=69,\
         actions=ct(commit,zone=5,alg=tftp,nat(src=192.0.2.100:7000)),output:2",
        "table=1,priority=8,ct_state=+trk+new+rel,ip,ct_nw_proto=17,ct_tp_dst=69,actions=ct(commit,zone=5,nat),output:3",
        "table=1,priority=7,ct_state=+trk+est+rel,actions=output:4",
    ];
    let (own, outside, server) =
        (end("10.0.0.1", 5000), end("192.0.2.100", 7000), end("198.51.100.9", 69));
    for request in ["\0\x01file\0octet\0", "\0\x02file\0octet\0"] {
        let mut switch = Switch::new(&flows);
        let (port, said) = switch.carry(1, &datagram(own, server, request)).unwrap();
        assert_eq!((port, said.src, &*said.text), (2, outside, request));
        let from = end("198.51.100.9", 50_505);
        let data = |from| datagram(from, outside, "\0\x03\0\x01data");
        let (port, said) = switch.carry(2, &data(from)).unwrap();
        assert_eq!((port, said.src, said.dst), (3, from, own));
        let (port, said) = switch.carry(1, &datagram(own, from, "\0\x04\0\x01")).unwrap();
        assert_eq!((port, said.src, said.dst), (4, outside, from));
        for n in 0..4 {
            let (port, said) = switch.carry(2, &data(from)).unwrap();
            assert_eq!((port, said.dst), (4, own), "{n}");
        }
        assert_eq!(switch.carry(2, &data(end("198.51.100.9", 50_506))), None);
        assert_eq!(switch.carry(2, &data(end("198.51.100.8", 50_505))), None);
    }
    let mut switch = Switch::new(&flows);
    assert!(switch.carry(1, &datagram(own, server, "\0\x05\0\x01")).is_some());
    assert_eq!(switch.0.connections.expected(), 0);
}

#[test]
fn children_are_carried_by_tier_1() {
    let (own, outside) = (end("10.0.0.1", 40_000), end("192.0.2.100", 40_000));
    let server = end("198.51.100.9", 21);
    let mut switch = snat();
    let mut control = Control::open(&mut switch, [1, 2], [own, server], [outside, server]);
    control.say(&mut switch, 1, ACK, "220 hello\r\n", "220 hello\r\n");
    control.say(&mut switch, 0, ACK, "PORT 10,0,0,1,4,1\r\n", "PORT 192,0,2,100,4,1\r\n");
    child(&mut switch, end("198.51.100.9", 20), end("192.0.2.100", 1025), end("10.0.0.1", 1025));
    let (from, to) = (end("198.51.100.9", 20), end("192.0.2.100", 1025));
    for n in 0..20 {
        let data = segment(from, to, tcp::ACK, [5 + n, 51], &[], "x");
        assert_eq!(switch.carry(2, &data).unwrap().0, 4, "still +rel");
    }
    assert!(switch.0.counters.session_hits.get() > 10, "{:?}", switch.0.counters);
}
