//! Connections: which there are, how many there were, and forgetting them.

use serde_json::json;

use crate::ovs::Ovs;
use crate::switch::{Said, Switch, ofctl};

/// The zone 5 is that of TCP, whose connections are marked.
const FLOWS: [&str; 3] = [
    "priority=40000,tcp,actions=ct(commit,zone=5,exec(set_field:0x12->ct_mark,set_field:0xabc->ct_label)),2",
    "ip,actions=ct(commit),2",
    "ipv6,actions=ct(commit),2",
];

/// A packet of this Ethertype between the hosts 1 and 2, forth or back.
fn packet(ethertype: [u8; 2], behind: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    packet.extend(ethertype);
    packet.extend(behind.concat());
    packet.resize(packet.len().max(60), 0);
    packet
}

/// A checksum of bytes, even in number (RFC 1071).
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!u16::try_from(folded).unwrap()).to_be_bytes()
}

/// A payload with the checksum of its protocol, which includes the addresses but for ICMP.
fn sealed(proto: u8, addresses: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    let (at, pseudo) = match proto {
        1 => (2, vec![]),
        6 => (16, [addresses, &[0, proto, 0, len]].concat()),
        17 => (6, [addresses, &[0, proto, 0, len]].concat()),
        _ => return payload.to_vec(),
    };
    let mut sealed = payload.to_vec();
    sealed[at..at + 2].copy_from_slice(&checksum(&[&pseudo, payload]));
    sealed
}

pub(crate) fn ipv4(proto: u8, hosts: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let len = 20 + u8::try_from(payload.len()).unwrap();
    let mut header = [0x45, 0, 0, len, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, 0, 10, 0, 0, 0];
    (header[15], header[19]) = (hosts[0], hosts[1]);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    packet([8, 0], &[&header, &sealed(proto, &header[12..], payload)])
}

/// A segment between the ports 40000 and 80: of the one who begins, or of the other.
pub(crate) fn tcp(is_answer: bool, flags: u8) -> Vec<u8> {
    let (hosts, ports) = match is_answer {
        false => ([1, 2], [0x9c, 0x40, 0, 80]),
        true => ([2, 1], [0, 80, 0x9c, 0x40]),
    };
    // The SYNs have the number 0.
    let [seq, ack] = [u8::from(flags & SYN == 0), u8::from(flags & ACK != 0)];
    let rest = [0, 0, 0, seq, 0, 0, 0, ack, 0x50, flags, 0x10, 0, 0, 0, 0, 0];
    ipv4(6, hosts, &[&ports[..], &rest].concat())
}

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;

pub(crate) fn udp(port: u8) -> Vec<u8> {
    ipv4(17, [1, 2], &[0x30, port, 0, 53, 0, 8, 0, 0])
}

/// A datagram between fd00::1 and fd00::2, from port 1 to port 2.
fn udp6() -> Vec<u8> {
    let host = |number: u8| [&[0xfd][..], &[0; 14], &[number]].concat();
    let header = [0x60, 0, 0, 0, 0, 8, 17, 64];
    let addresses = [host(1), host(2)].concat();
    let datagram = sealed(17, &addresses, &[0, 1, 0, 2, 0, 8, 0, 0]);
    packet([0x86, 0xdd], &[&header, &addresses, &datagram])
}

/// A packet of each protocol, and an answer of TCP.
fn packets() -> [Vec<u8>; 5] {
    [
        tcp(false, SYN),
        udp(0),
        ipv4(1, [1, 2], &[8, 0, 0, 0, 0, 77, 0, 0]),
        ipv4(253, [1, 2], &[]),
        udp6(),
    ]
}

fn with_connections() -> Switch {
    let switch = Switch::with_ports();
    FLOWS.iter().for_each(|flow| drop(switch.ofctl(&["add-flow", flow]).done()));
    switch.receive("p1", &packets());
    // Whoever answers comes in by another port.
    switch.receive("p2", &[tcp(true, SYN | ACK)]);
    switch
}

#[test]
fn connections_are_shown_as_ovs_has_them() {
    let switch = with_connections();
    let expected = "\
tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=40000,dport=80),reply=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport=40000),zone=5,mark=18,labels=0xabc,protoinfo=(state=SYN_RECV)
udp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=12288,dport=53),reply=(src=10.0.0.2,dst=10.0.0.1,sport=53,dport=12288)
icmp,orig=(src=10.0.0.1,dst=10.0.0.2,id=77,type=8,code=0),reply=(src=10.0.0.2,dst=10.0.0.1,id=77,type=0,code=0)
253,orig=(src=10.0.0.1,dst=10.0.0.2,sport=0,dport=0),reply=(src=10.0.0.2,dst=10.0.0.1,sport=0,dport=0)
udp,orig=(src=fd00::1,dst=fd00::2,sport=1,dport=2),reply=(src=fd00::2,dst=fd00::1,sport=2,dport=1)
";
    assert_eq!(switch.ofctl(&["dump-conntrack"]).done(), expected);
    let first = expected.lines().next().unwrap();
    for words in [&["zone=5"][..], &["mark=0x10/0xf0"], &["", "ct_tp_src=80"], &["labels=0xabc"]] {
        let said = switch.ofctl(&[&["dump-conntrack"], words].concat()).done();
        assert_eq!(said.trim_end(), first, "{words:?}");
    }
    assert_eq!(switch.ofctl(&["dump-conntrack", "zone=7"]).done(), "");
    let said = switch.ofctl(&["dump-conntrack", "-s", "-m", "zone=5"]).done();
    let (status, timeout) =
        said.split_once(",zone=5,status=SEEN_REPLY|CONFIRMED,timeout=").unwrap();
    assert!(first.starts_with(status), "{said}");
    let (seconds, rest) = timeout.split_once(',').unwrap();
    assert!((50..=60).contains(&seconds.parse::<u32>().unwrap()), "{said}");
    assert_eq!(rest, "mark=18,labels=0xabc,protoinfo=(state=SYN_RECV)\n");
    let json = switch.ofctl(&["dump-conntrack", "zone=5", "-f", "json"]).json();
    let one = &json["connections"][0];
    assert_eq!(
        (&one["zone"], &one["state"], &one["replied"]),
        (&json!(5), &json!("SYN_RECV"), &json!(true))
    );
    assert_eq!(one["reply"]["dst_port"], 40000);
    assert_eq!(json["connections"].as_array().unwrap().len(), 1);
}

#[test]
fn connections_are_forgotten_and_begin_anew() {
    let switch = with_connections();
    let flush = |words: &[&str]| switch.ofctl(&[&["flush-conntrack"], words].concat()).done();
    assert_eq!(flush(&["zone=7"]), "0 connections forgotten\n");
    assert_eq!(flush(&["ct_nw_src=10.0.0.1,ct_nw_proto=17"]), "1 connection forgotten\n");
    assert_eq!(flush(&["", "ct_ipv6_dst=fd00::1"]), "1 connection forgotten\n");
    assert_eq!(switch.ofctl(&["ct-flush-zone", "5"]).done(), "1 connection forgotten\n");
    assert_eq!(switch.ofctl(&["ct-flush", "icmp_id=77"]).done(), "1 connection forgotten\n");
    let left = switch.ofctl(&["flush-conntrack", "-f", "json"]).json();
    assert_eq!(left, json!({"connections": 1}));
    assert_eq!(switch.ofctl(&["dump-conntrack"]).done(), "");
    // What comes next is new, although it is not a first packet.
    switch.receive("p1", &[tcp(false, ACK)]);
    let said = switch.ofctl(&["dump-conntrack"]).done();
    assert!(said.ends_with(",protoinfo=(state=ESTABLISHED)\n"), "{said}");
}

#[test]
fn connections_are_counted() {
    let switch = with_connections();
    // An answer that nobody has asked for.
    switch.receive("p2", &[ipv4(1, [2, 1], &[0, 0, 0, 0, 0, 78, 0, 0])]);
    switch.ofctl(&["flush-conntrack", "ct_nw_proto=253"]).done();
    let said = switch.ofctl(&["ct-stats"]).done();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "connections      4 of 1000000");
    assert!(lines[1].starts_with("bytes            "), "{said}");
    let rest = [
        "made             5",
        "expired          0",
        "no room          0",
        "zone limit       0",
        "no port          0",
        "clashed          0",
        "invalid packets  1",
    ];
    assert_eq!(lines[2..9], rest);
    assert_eq!(lines[9], "reserved ports   61000-65535");
    // As many as the machine has.
    assert!(lines.len() == 11 && lines[10].starts_with("host addresses   "), "{said}");
    let more = switch.ofctl(&["ct-stats", "-m"]).done();
    let kinds = "
PROTOCOL  STATE     CONNECTIONS
icmp      -                   1
tcp       SYN_RECV            1
udp       -                   2
";
    assert_eq!(more, said + kinds);
    let memory = switch.ofctl(&["memory"]).done();
    let row = memory.lines().find(|line| line.starts_with("connections ")).unwrap();
    assert!(row.ends_with(" 4  connections"), "{memory}");
    let json = switch.ofctl(&["ct-stats", "-m", "-f", "json"]).json();
    assert_eq!(json["kinds"][1], json!({"proto": 6, "state": "SYN_RECV", "connections": 1}));
}

#[test]
fn many_connections_come_in_pages() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "ip,actions=ct(commit),2"]).done();
    let from = |n: usize| {
        let mut packet = udp(0);
        packet[34..36].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
        // It bears no checksum, which would be another one.
        packet[40..42].fill(0);
        packet
    };
    for start in (0..4500).step_by(500) {
        switch.receive("p1", &(start..start + 500).map(from).collect::<Vec<_>>());
    }
    let said = switch.ofctl(&["dump-conntrack"]).done();
    let port = |line: &str| -> u32 {
        let behind = line.split_once("sport=").unwrap().1;
        behind.split(',').next().unwrap().parse().unwrap()
    };
    let mut ports: Vec<_> = said.lines().map(port).collect();
    ports.sort_unstable();
    assert_eq!(ports, (0..4500).collect::<Vec<_>>());
    let json = switch.ofctl(&["dump-conntrack", "-f", "json"]).json();
    assert_eq!(json["connections"].as_array().unwrap().len(), 4500);
    assert_eq!(switch.ofctl(&["flush-conntrack"]).done(), "4500 connections forgotten\n");
}

#[test]
fn wrong_words_are_explained() {
    let misused = |arguments: &[&str]| Said::from(ofctl(arguments).output().unwrap()).misused();
    let said = misused(&["flush-conntrack", "ct_nw_scr=10.0.0.1"]);
    assert!(said.contains("unknown key `ct_nw_scr`: did you mean `ct_nw_src`? "), "{said}");
    assert!(said.contains("Usage: ofctl flush-conntrack [OPTIONS] [zone=N] "), "{said}");
    let said = misused(&["ct-flush", "br0"]);
    assert!(said.contains("`br0` is no KEY=VALUE, and connections belong to no bridge"), "{said}");
    // Nothing must be forgotten because a variable was not set.
    let said = misused(&["flush-conntrack", ""]);
    assert!(said.contains("nothing is chosen"), "{said}");
    assert!(misused(&["dump-conntrack", "zone=x"]).contains("`zone` takes a number"));
    assert!(misused(&["ct-flush-zone"]).contains("<ZONE>"));
    assert!(misused(&["dump-contrack"]).contains("'dump-conntrack'"));
}

/// Lines without the states of TCP, which are each one's own, sorted: OVS has them in no order.
fn lines(dump: &str) -> Vec<&str> {
    let mut lines: Vec<_> =
        dump.lines().map(|line| line.split(",protoinfo=").next().unwrap_or(line)).collect();
    lines.sort_unstable();
    lines
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn dumps_have_the_shape_of_ovs() {
    let (switch, ovs) = (with_connections(), Ovs::start());
    ovs.flows(&FLOWS.map(str::to_owned));
    packets().iter().for_each(|packet| ovs.receive(1, packet));
    ovs.receive(2, &tcp(true, SYN | ACK));
    let theirs = ovs.run(&["ovs-appctl", "dpctl/dump-conntrack"]);
    assert_eq!(lines(&switch.ofctl(&["dump-conntrack"]).done()), lines(&theirs));
    for words in [&["zone=5", ""][..], &["ct_nw_src=10.0.0.1,ct_nw_proto=17,ct_tp_dst=53"]] {
        ovs.run(&[&["ovs-ofctl", "ct-flush", "br0"], words].concat());
        let words: Vec<_> = words.iter().copied().filter(|word| !word.is_empty()).collect();
        switch.ofctl(&[&["ct-flush"][..], &words].concat()).done();
        let theirs = ovs.run(&["ovs-appctl", "dpctl/dump-conntrack"]);
        let ours = switch.ofctl(&["dump-conntrack"]).done();
        assert_eq!(lines(&ours), lines(&theirs), "{words:?}");
    }
}
