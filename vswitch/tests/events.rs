//! Being told what happens: the end of flows with their last counters, changes of flows, ports.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

#[path = "common/running.rs"]
mod running;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use api::reply::{Connection, Event, RemovedReason};
use api::request::{
    BridgeDel, ConnectionFilter, CtFlush, EventsWatch, FlowChange, FlowWatch, PortDel, PortMod,
    PortRef, RemovedFlows,
};
use api::{ClientError, NoNames, PortFlagChanges, Watch, text};
use packet::compose;
use running::{Ask, Running, dummy};

fn udp(to: u8) -> Vec<u8> {
    let flow = format!("in_port=1,udp,nw_src=10.0.0.1,nw_dst=10.0.0.{to},nw_ttl=9");
    compose(&text::packet(&flow, &NoNames).unwrap(), 64)
}

fn listen(switch: &Running, watch: EventsWatch) -> Watch {
    switch.client().watch(watch).unwrap()
}

fn flows(filter: &str) -> EventsWatch {
    let flows = FlowWatch { filter: Some(filter.to_owned()), initial: true };
    EventsWatch { flows: Some(flows), ..EventsWatch::default() }
}

/// An event in a few words.
fn words(event: &Event) -> String {
    match event {
        Event::FlowRemoved(removed) => {
            let stats = &removed.stats;
            format!("removed {} {} {}", removed.reason, stats.flow.matching, stats.packets)
        }
        Event::FlowInitial(flow) => format!("initial {}", flow.flow.matching),
        Event::FlowsComplete {} => "complete".to_owned(),
        Event::FlowAdded(flow) => format!("added {}", flow.flow.matching),
        Event::FlowModified(flow) => format!("modified {}", flow.flow.matching),
        Event::FlowDeleted { flow, reason } => format!("deleted {} {reason}", flow.flow.matching),
        Event::PortAdded(port) => format!("port added {}", port.port.name),
        Event::PortDeleted(port) => format!("port deleted {}", port.port.name),
        Event::PortModified(port) => {
            let flags: Vec<_> = port.port.flags.names().collect();
            format!("port modified {} {flags:?} {:?}", port.port.name, port.port.state)
        }
        Event::PacketIn(packet) => format!("packet in {}", packet.reason),
        Event::Sampled(sampled) => format!("sampled {}", sampled.collector_set),
        Event::ConnectionNew(one) => format!("new {}", port(one)),
        Event::ConnectionUpdated(one) => {
            format!("update {} {} {} {:x}", port(one), one.replied, one.mark, one.labels)
        }
        Event::ConnectionDestroyed(one) => format!("destroy {} {}", port(one), one.timeout_ms),
        Event::Lost { .. } => "lost".to_owned(),
    }
}

/// What tells one connection from the others here.
fn port(one: &Connection) -> u16 {
    one.original.src_port.unwrap()
}

fn take(watch: &mut Watch, count: usize) -> Vec<String> {
    watch.take(count).map(|event| words(&event.unwrap())).collect()
}

#[test]
fn a_flow_that_ends_tells_why_and_what_it_has_counted() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let mut asked = listen(
        &switch,
        EventsWatch { removed: Some(RemovedFlows::Asked), ..EventsWatch::default() },
    );
    let all = EventsWatch { removed: Some(RemovedFlows::All), ..EventsWatch::default() };
    let mut all = listen(&switch, all);
    client
        .flows(&[
            "send_flow_rem,udp,nw_dst=10.0.0.1,actions=output:2",
            "udp,nw_dst=10.0.0.2,actions=output:2",
            "hard_timeout=1,udp,nw_dst=10.0.0.3,actions=output:2",
            "idle_timeout=1,send_flow_rem,udp,nw_dst=10.0.0.4,actions=output:2",
        ])
        .unwrap();
    let packets: Vec<_> = [1, 1, 1, 2, 3, 3, 4].map(udp).into();
    client.receive("p1", &packets);
    assert_eq!(client.take("p2", 7).len(), 7);
    client.flows(&["delete udp,nw_dst=10.0.0.1", "delete udp,nw_dst=10.0.0.2"]).unwrap();
    let first = "removed delete udp,nw_dst=10.0.0.1 3";
    assert_eq!(take(&mut all, 2), [first, "removed delete udp,nw_dst=10.0.0.2 1"]);
    let mut timeouts = take(&mut all, 2);
    timeouts.sort();
    let idle = "removed idle udp,nw_dst=10.0.0.4 1";
    assert_eq!(timeouts, ["removed hard udp,nw_dst=10.0.0.3 2", idle]);
    assert_eq!(take(&mut asked, 2), [first, idle], "only those that ask for it");
}

#[test]
fn no_packet_is_missing_from_the_last_counters() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let all = EventsWatch { removed: Some(RemovedFlows::All), ..EventsWatch::default() };
    let mut all = listen(&switch, all);
    let mut counted = 0;
    for _ in 0..40 {
        client.flows(&["udp,actions=output:2"]).unwrap();
        let packets: Vec<_> = (0..200).map(udp).collect();
        client.receive("p1", &packets);
        // At whatever moment: what came before went by the flow, what comes behind is dropped.
        client.flows(&["delete udp"]).unwrap();
        let Some(Ok(Event::FlowRemoved(removed))) = all.next() else { panic!("no end") };
        counted += removed.stats.packets;
        assert_eq!(removed.stats.bytes, removed.stats.packets * 64);
    }
    testnet::eventually("all have come in", || client.stats("p1").rx_packets == 8_000);
    assert_eq!(client.stats("p2").tx_packets, counted);
}

#[test]
fn watched_flows_are_told_as_they_are_and_as_they_change() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["ip,actions=1", "table=1,arp,actions=1", "table=1,udp,actions=1"]).unwrap();
    let mut everything = listen(&switch, flows(""));
    let mut first = take(&mut everything, 4);
    first[..3].sort();
    assert_eq!(first, ["initial arp", "initial ip", "initial udp", "complete"]);
    let mut ip = listen(&switch, flows("ip"));
    assert_eq!(take(&mut ip, 3), ["initial ip", "initial udp", "complete"]);
    let mut port = listen(&switch, flows("table=1,out_port=p3"));
    assert_eq!(take(&mut port, 1), ["complete"]);
    client.flows(&["tcp,actions=2", "table=1,icmp,actions=3"]).unwrap();
    client.flows(&["modify ip,actions=3", "modify table=1,arp,actions=3"]).unwrap();
    client.flows(&["table=1,arp,actions=3"]).unwrap();
    client.flows(&["delete table=1"]).unwrap();
    let expected = [
        "added tcp",
        "added icmp",
        "modified ip",
        "modified tcp",
        "modified arp",
        "added arp",
        "deleted",
    ];
    let told = take(&mut everything, 9);
    let mut sorted = told[..5].to_vec();
    sorted.sort();
    let mut wanted = expected[..5].to_vec();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted);
    assert_eq!(told[5], "added arp");
    assert!(told[6..].iter().all(|word| word.starts_with("deleted ") && word.ends_with(" delete")));
    let told = take(&mut port, 4);
    assert_eq!(told[..3], ["added icmp", "modified arp", "added arp"]);
    let told = take(&mut ip, 6);
    assert!(told.iter().all(|word| !word.contains("arp")), "{told:?}");
    client.call(BridgeDel { name: "br0".to_owned() }).unwrap();
    let mut gone = take(&mut everything, 2);
    gone.sort();
    assert_eq!(gone, ["deleted ip delete", "deleted tcp delete"]);
}

#[test]
fn ports_are_told_when_they_come_turn_and_go() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let mut watch = listen(&switch, EventsWatch { ports: true, ..EventsWatch::default() });
    client.call(dummy("br0", 4)).unwrap();
    let modify = |flags| PortMod { bridge: None, port: PortRef::Number(4), flags };
    let down = PortFlagChanges { down: Some(true), ..PortFlagChanges::default() };
    client.call(modify(down)).unwrap();
    client.call(modify(down)).unwrap();
    let quiet =
        PortFlagChanges { down: Some(false), no_flood: Some(true), ..PortFlagChanges::default() };
    client.call(modify(quiet)).unwrap();
    client.call(PortDel { bridge: None, name: "p4".to_owned() }).unwrap();
    let expected = [
        "port added p4",
        r#"port modified p4 ["down"] Down"#,
        r#"port modified p4 ["no_flood"] Up"#,
        "port deleted p4",
    ];
    assert_eq!(take(&mut watch, 4), expected, "what changes nothing is not told");
}

#[test]
fn a_slow_listener_is_told_of_the_gap_and_then_all_flows_anew() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let mut stream = UnixStream::connect(&switch.path).unwrap();
    let watch = r#"{"jsonrpc":"2.0","id":1,"method":"events.watch","params":{"flows":{}}}"#;
    writeln!(stream, "{watch}").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains(r#""result":{}"#));
    assert!(lines.next().unwrap().contains("flows_complete"));
    let flow = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        format!("udp,nw_dst=10.{a}.{b}.{c},actions=output:2")
    };
    let (many, rounds) = (10_000, 6);
    for round in 0..rounds {
        let flows = (round * many..(round + 1) * many).map(flow).collect();
        client.call(FlowChange { bridge: None, flows, lenient: false }).unwrap();
    }
    let mut added = 0;
    let gap = loop {
        let line = lines.next().unwrap();
        if line.contains("lost") {
            break line;
        }
        assert!(line.contains("flow_added"), "{line}");
        added += 1;
    };
    let events: u32 =
        gap.split_once("\"events\":").unwrap().1.trim_end_matches('}').parse().unwrap();
    assert_eq!(added + events, many * rounds, "{gap}");
    let mut initial = 0;
    for line in lines.by_ref().take_while(|line| !line.contains("flows_complete")) {
        assert!(line.contains("flow_initial"), "{line}");
        initial += 1;
    }
    assert_eq!(initial, many * rounds);
    client.flows(&["arp,actions=drop"]).unwrap();
    assert!(lines.next().unwrap().contains("flow_added"), "it goes on");
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let switch = Running::with_ports();
    let refused = |watch| match switch.client().watch(watch) {
        Err(ClientError::Refused(failure)) => failure.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused(EventsWatch::default()).starts_with("nothing is to be told"));
    assert!(refused(flows("ipp")).contains("filter, byte 0: unknown word `ipp`"));
    let elsewhere = EventsWatch { bridge: Some("br7".to_owned()), ports: true, ..flows("") };
    assert!(refused(elsewhere).contains("no bridge `br7`"));
}

#[test]
fn who_listens_may_ask_other_things_meanwhile() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.call(flows("arp")).unwrap();
    client.flows(&["arp,actions=drop"]).unwrap();
    assert_eq!(client.dump().len(), 1);
    // Asked again, it hears of something else.
    client.call(EventsWatch { ports: true, ..EventsWatch::default() }).unwrap();
    let mut watch = client.watch(flows("udp")).unwrap();
    switch.client().flows(&["arp,actions=drop", "udp,actions=drop"]).unwrap();
    let told = loop {
        let told = words(&watch.next().unwrap().unwrap());
        if told.starts_with("added") {
            break told;
        }
    };
    assert_eq!(told, "added udp");
}

#[test]
fn reasons_have_the_words_of_ovs() {
    use RemovedReason::{Delete, Eviction, GroupDelete, Hard, Idle, MeterDelete};
    let words = [Idle, Hard, Delete, GroupDelete, MeterDelete, Eviction].map(|r| r.to_string());
    assert_eq!(words.join(" "), "idle hard delete group_delete meter_delete eviction");
}

/// A datagram from one of two hosts to the other.
fn datagram(from: (u8, u16), to: (u8, u16)) -> Vec<u8> {
    let flow = format!(
        "in_port=1,udp,nw_src=10.0.0.{},tp_src={},nw_dst=10.0.0.{},tp_dst={},nw_ttl=9",
        from.0, from.1, to.0, to.1
    );
    compose(&text::packet(&flow, &NoNames).unwrap(), 64)
}

#[test]
fn connections_are_told_when_they_are_made_change_and_go() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client
        .flows(&[
            "table=0,udp,actions=ct(table=1,zone=5)",
            "table=1,priority=40000,udp,ct_state=+new,tp_src=9,actions=ct(commit,zone=6)",
            "table=1,udp,ct_state=+new,actions=ct(commit,zone=5)",
            "table=1,udp,ct_state=+est,actions=ct(commit,zone=5,exec(set_field:7->ct_mark))",
        ])
        .unwrap();
    let of_zone = |zone| EventsWatch {
        connections: Some(ConnectionFilter { zone: Some(zone), ..ConnectionFilter::default() }),
        ..EventsWatch::default()
    };
    let [mut fifth, mut sixth] = [5, 6].map(|zone| listen(&switch, of_zone(zone)));
    let [asks, answers] = [((1, 1000), (2, 53)), ((2, 53), (1, 1000))].map(|(a, b)| datagram(a, b));
    client.receive("p1", &[asks.clone(), asks.clone(), answers.clone(), asks]);
    client.receive("p1", &[datagram((1, 9), (2, 53)), answers]);
    let expected = ["new 1000", "update 1000 true 0 0", "update 1000 true 7 0"];
    assert_eq!(take(&mut fifth, 3), expected, "a packet that changes nothing is not told");
    assert_eq!(take(&mut sixth, 1), ["new 9"]);
    client.call(CtFlush::default()).unwrap();
    assert_eq!(take(&mut fifth, 1), ["destroy 1000 0"]);
    assert_eq!(take(&mut sixth, 1), ["destroy 9 0"]);
}
