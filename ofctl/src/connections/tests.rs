//! Lines, beside those that a real `ovs-appctl dpctl/dump-conntrack` has printed (3.1.0).

use super::*;

fn tuple(src: &str, dst: &str, proto: u8) -> ConnectionTuple {
    ConnectionTuple {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        proto,
        src_port: None,
        dst_port: None,
        icmp_id: None,
        icmp_type: None,
        icmp_code: None,
    }
}

fn with_ports(tuple: ConnectionTuple, src_port: u16, dst_port: u16) -> ConnectionTuple {
    ConnectionTuple { src_port: Some(src_port), dst_port: Some(dst_port), ..tuple }
}

fn query(tuple: ConnectionTuple, id: u16, kind: u8) -> ConnectionTuple {
    ConnectionTuple { icmp_id: Some(id), icmp_type: Some(kind), icmp_code: Some(0), ..tuple }
}

fn connection(original: ConnectionTuple, reply: ConnectionTuple) -> Connection {
    Connection {
        zone: 0,
        original,
        reply,
        mark: 0,
        labels: 0,
        state: None,
        replied: false,
        assured: false,
        timeout_ms: 58_999,
        helper: None,
        parent: None,
    }
}

fn line(connection: &Connection, statistics: bool, more: bool) -> String {
    let args = DumpConntrackArgs { statistics, more, words: Vec::new() };
    Line { connection, args: &args }.to_string()
}

#[test]
fn connections_are_printed_as_ovs_does() {
    let both = |proto| [tuple("10.0.0.1", "10.0.0.2", proto), tuple("10.0.0.2", "10.0.0.1", proto)];
    let [there, back] = both(6);
    let tcp = Connection {
        zone: 5,
        mark: 7,
        labels: 0x12345,
        state: Some("SYN_SENT".to_owned()),
        timeout_ms: 28_500,
        ..connection(with_ports(there, 1000, 80), with_ports(back, 80, 1000))
    };
    let expected = "tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1000,dport=80),reply=(src=10.0.0.2,\
                    dst=10.0.0.1,sport=80,dport=1000),zone=5,mark=7,labels=0x12345,\
                    protoinfo=(state=SYN_SENT)";
    assert_eq!(line(&tcp, false, false), expected);
    let expected = expected.replace(",zone=5", ",zone=5,timeout=28");
    assert_eq!(line(&tcp, true, false), expected);
    let watched = Connection { helper: Some("ftp".to_owned()), ..tcp.clone() };
    assert_eq!(line(&watched, true, false), format!("{expected},helper=ftp"));
    let announced = Connection { parent: Some(tcp.original), ..tcp };
    assert_eq!(line(&announced, true, false), expected);
    let parent = ",parent=(src=10.0.0.1,dst=10.0.0.2,sport=1000,dport=80)";
    let expected = expected.replace(",timeout", ",status=EXPECTED|CONFIRMED,timeout");
    assert_eq!(line(&announced, true, true), format!("{expected}{parent}"));
    let [there, back] = ["fd00::1", "fd00::2"].map(|one| (one, one));
    let v6 = connection(
        with_ports(tuple(there.0, back.0, 17), 1, 2),
        with_ports(tuple(back.1, there.1, 17), 2, 1),
    );
    let expected = "udp,orig=(src=fd00::1,dst=fd00::2,sport=1,dport=2),reply=(src=fd00::2,dst=fd00::1,\
                    sport=2,dport=1)";
    assert_eq!(line(&v6, false, false), expected);
    assert_eq!(line(&v6, true, false), format!("{expected},timeout=58"));
    let [there, back] = both(1);
    let icmp = connection(query(there, 0, 8), query(back, 0, 0));
    let expected = "icmp,orig=(src=10.0.0.1,dst=10.0.0.2,id=0,type=8,code=0),reply=(src=10.0.0.2,\
                    dst=10.0.0.1,id=0,type=0,code=0)";
    assert_eq!(line(&icmp, false, false), expected);
    let [there, back] = both(253);
    let expected = "253,orig=(src=10.0.0.1,dst=10.0.0.2,sport=0,dport=0),reply=(src=10.0.0.2,\
                    dst=10.0.0.1,sport=0,dport=0)";
    assert_eq!(line(&connection(there, back), false, false), expected);
}

#[test]
fn the_status_stands_behind_the_zone() {
    let [there, back] = [tuple("::1", "::2", 58), tuple("::2", "::1", 58)];
    let new = Connection { zone: 1, ..connection(query(there, 7, 128), query(back, 7, 129)) };
    let said = line(&new, true, true);
    assert!(
        said.starts_with("icmpv6,orig=(src=::1,dst=::2,id=7,type=128,code=0),reply="),
        "{said}"
    );
    assert!(said.ends_with("),zone=1,status=CONFIRMED,timeout=58"), "{said}");
    let assured = Connection { replied: true, assured: true, zone: 0, ..new };
    let said = line(&assured, false, true);
    assert!(said.ends_with("),status=SEEN_REPLY|ASSURED|CONFIRMED"), "{said}");
    let other = query(tuple("::2", "::3", 58), 7, 129);
    let translated = Connection { reply: other, ..assured };
    let said = line(&translated, false, true);
    assert!(said.ends_with("),status=SEEN_REPLY|ASSURED|CONFIRMED|SRC_NAT"), "{said}");
    let other = with_ports(tuple("10.0.0.2", "10.0.0.1", 6), 8080, 1000);
    let there = with_ports(tuple("10.0.0.1", "10.0.0.2", 6), 1000, 80);
    let said = line(&connection(there, other), false, true);
    assert!(said.ends_with("),status=CONFIRMED|DST_NAT"), "{said}");
}
