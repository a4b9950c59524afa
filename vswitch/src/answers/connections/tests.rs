//! What is told of connections, and which ones are forgotten.

use std::net::IpAddr;

use conntrack::{Content, Ends, Kind, Message, Notes, Segment};
use packet::{tcp, udp};

use super::*;
use crate::control::Plan;

/// A switch without workers, with room for so many connections.
fn control(connections: u32) -> Control {
    let mut plan = Plan::without_packets(1);
    plan.common.connections = connections;
    Control::new(plan).unwrap()
}

fn message(
    addresses: [&str; 2],
    ports: [u16; 2],
    content: Content,
    proto: u8,
    zone: u16,
) -> Message {
    let [src, dst] = addresses.map(|address| address.parse::<IpAddr>().unwrap());
    let ends = Ends { src, dst, src_port: ports[0], dst_port: ports[1], proto };
    Message { tuple: Tuple::new(ends, zone).unwrap(), content }
}

fn segment(kind: Kind) -> Content {
    Content::Tcp(Segment {
        kind,
        has_ack: kind != Kind::Syn,
        seq: 1,
        end: 2,
        ack: if kind == Kind::Syn { 0 } else { 2 },
        sack: if kind == Kind::Syn { 0 } else { 2 },
        window: 1000,
        has_options: false,
        scale: None,
        allows_sack: false,
    })
}

/// Keeps the connection that a message begins.
fn begin(control: &Control, message: &Message, notes: &Notes) {
    control.crew.connections().commit(message, None, notes, control.clock.millis()).unwrap();
}

/// Connections of five kinds.
fn with_connections() -> Control {
    const HOSTS: [&str; 2] = ["10.0.0.1", "10.0.0.2"];
    let control = control(100);
    let (all, all_wide) = (u32::MAX, u128::MAX);
    let notes = Notes { mark: (0x12, all), label: (1 << 100, all_wide), ..Notes::default() };
    let syn = message(HOSTS, [40000, 80], segment(Kind::Syn), tcp::PROTO, 5);
    begin(&control, &syn, &notes);
    let answer =
        message(["10.0.0.2", "10.0.0.1"], [80, 40000], segment(Kind::SynAck), tcp::PROTO, 5);
    control.crew.connections().judge(&answer, control.clock.millis());
    let plain = Notes::default();
    begin(&control, &message(HOSTS, [40000, 53], Content::Udp, udp::PROTO, 0), &plain);
    begin(&control, &message(HOSTS, [77, 8 << 8], Content::Question, icmp::PROTO, 0), &plain);
    begin(&control, &message(HOSTS, [0, 0], Content::Other, 253, 5), &plain);
    let v6 = message(["fd00::1", "fd00::2"], [1, 53], Content::Udp, udp::PROTO, 0);
    begin(&control, &v6, &plain);
    control
}

fn dumped(control: &Control, filter: &ConnectionFilter) -> Vec<Connection> {
    let dump = CtDump { filter: filter.clone(), ..CtDump::default() };
    let page = control.dump_connections(&dump).unwrap();
    assert_eq!(page.next, None);
    page.connections
}

#[test]
fn all_is_told_that_is_known_of_a_connection() {
    let control = with_connections();
    let all = dumped(&control, &ConnectionFilter::default());
    let protos: Vec<_> = all.iter().map(|one| one.original.proto).collect();
    assert_eq!(protos, [6, 17, 1, 253, 17], "in the order of places, IPv6 behind");
    let first = &all[0];
    assert_eq!((first.zone, first.mark, first.labels), (5, 0x12, 1 << 100));
    assert_eq!((first.state.as_deref(), first.replied), (Some("SYN_RECV"), true));
    assert_eq!((first.original.src_port, first.reply.src_port), (Some(40000), Some(80)));
    assert!((59_000..=60_000).contains(&first.timeout_ms), "{}", first.timeout_ms);
    let query = &all[2];
    let icmp = |tuple: &ConnectionTuple| (tuple.icmp_id, tuple.icmp_type, tuple.icmp_code);
    assert_eq!(icmp(&query.original), (Some(77), Some(8), Some(0)));
    assert_eq!(icmp(&query.reply), (Some(77), Some(0), Some(0)));
    assert_eq!((query.original.src_port, query.state.as_deref()), (None, None));
    assert_eq!((all[3].original.src_port, all[3].original.icmp_id), (None, None));
}

#[test]
fn a_filter_takes_what_has_all_that_it_says() {
    let control = with_connections();
    let any = ConnectionFilter::default;
    let tuple = TupleFilter::default();
    let original = |original| ConnectionFilter { original, ..any() };
    let [first, second] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().ok());
    for (filter, count) in [
        (any(), 5),
        (ConnectionFilter { zone: Some(5), ..any() }, 2),
        (ConnectionFilter { zone: Some(7), ..any() }, 0),
        (ConnectionFilter { mark: "0x10/0xf0".parse().ok(), ..any() }, 1),
        (ConnectionFilter { mark: "0x10".parse().ok(), ..any() }, 0),
        (ConnectionFilter { mark: "0".parse().ok(), ..any() }, 4),
        (ConnectionFilter { labels: format!("{:#x}", 1u128 << 100).parse().ok(), ..any() }, 1),
        (original(TupleFilter { src: first, ..tuple }), 4),
        (original(TupleFilter { src: second, ..tuple }), 0),
        (ConnectionFilter { reply: TupleFilter { src: second, ..tuple }, ..any() }, 4),
        (original(TupleFilter { dst: second, proto: Some(udp::PROTO), ..tuple }), 1),
        (original(TupleFilter { dst_port: Some(53), ..tuple }), 2),
        (original(TupleFilter { src_port: Some(77), ..tuple }), 0),
        (original(TupleFilter { src_port: Some(0), ..tuple }), 0),
        (original(TupleFilter { icmp_id: Some(77), icmp_type: Some(8), ..tuple }), 1),
        (original(TupleFilter { icmp_code: Some(80), ..tuple }), 0),
    ] {
        assert_eq!(dumped(&control, &filter).len(), count, "{filter:?}");
    }
}

#[test]
fn pages_have_each_connection_once() {
    let control = control(100);
    for n in 0..30 {
        let hosts = if n % 3 == 0 { ["fd00::1", "fd00::2"] } else { ["10.0.0.1", "10.0.0.2"] };
        let udp = message(hosts, [n, 53], Content::Udp, udp::PROTO, 0);
        begin(&control, &udp, &Notes::default());
    }
    let filter = ConnectionFilter {
        original: TupleFilter { dst_port: Some(53), ..TupleFilter::default() },
        ..ConnectionFilter::default()
    };
    let (mut ports, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let dump = CtDump { filter: filter.clone(), after, limit: Some(7) };
        let page = control.dump_connections(&dump).unwrap();
        pages += 1;
        // One that goes meanwhile does not shift the others.
        let first = page.connections[0].original;
        let gone =
            TupleFilter { src: Some(first.src), src_port: first.src_port, ..filter.original };
        control.flush_connections(&CtFlush {
            filter: ConnectionFilter { original: gone, ..ConnectionFilter::default() },
        });
        ports.extend(page.connections.into_iter().filter_map(|one| one.original.src_port));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    ports.sort_unstable();
    assert_eq!((ports, pages), ((0..30).collect(), 5));
    for wrong in ["", "x", "-1", "4294967295", "1.1"] {
        let after = Some(Cursor(wrong.to_owned()));
        let dump = CtDump { after, ..CtDump::default() };
        assert_eq!(control.dump_connections(&dump), Err(bad_cursor()), "{wrong}");
    }
}

#[test]
fn those_are_forgotten_that_are_meant() {
    let control = with_connections();
    let zone =
        CtFlush { filter: ConnectionFilter { zone: Some(5), ..ConnectionFilter::default() } };
    assert_eq!(control.flush_connections(&zone).connections, 2);
    assert_eq!(control.flush_connections(&zone).connections, 0, "they are gone");
    assert_eq!(control.crew.connections().len(), 3);
    assert_eq!(control.flush_connections(&CtFlush::default()).connections, 3);
    assert_eq!(dumped(&control, &ConnectionFilter::default()), []);
}

#[test]
fn connections_are_counted() {
    let control = with_connections();
    let counts = control.connection_stats(&CtStats { kinds: true });
    assert_eq!((counts.connections, counts.limit, counts.made), (5, 100, 5));
    assert!(counts.bytes > 0);
    let kinds: Vec<_> = counts.kinds.unwrap();
    let kinds = kinds.iter().map(|kind| (kind.proto, kind.state.as_deref(), kind.connections));
    let expected = [(1, None, 1), (6, Some("SYN_RECV"), 1), (17, None, 2), (253, None, 1)];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    assert_eq!(control.connection_stats(&CtStats::default()).kinds, None);
}
