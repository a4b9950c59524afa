//! Packets that are shown, wait, go on, or are given to the switch; and flows that packets teach.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

#[path = "common/running.rs"]
mod running;

use std::time::Duration;

use api::reply::{Event, PacketIn};
use api::request::{EventsWatch, FlowChange, PacketResume};
use api::{HexBytes, NoNames, Watch, text};
use packet::compose;
use running::{Ask, Running};

fn udp(src: u8, sport: u16) -> Vec<u8> {
    let flow = format!(
        "in_port=1,udp,nw_src=10.0.0.{src},nw_dst=10.0.0.9,nw_ttl=9,tp_src={sport},tp_dst=53"
    );
    compose(&text::packet(&flow, &NoNames).unwrap(), 64)
}

/// Waits a moment until something is so.
fn eventually(is: impl Fn() -> bool) {
    let mut looks = 0;
    while !is() {
        looks += 1;
        assert!(looks < 1000, "it never came about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn packets(switch: &Running, watchers: &[u16]) -> Watch {
    let watch = EventsWatch { packets: Some(watchers.to_vec()), ..EventsWatch::default() };
    switch.client().watch(watch).unwrap()
}

fn next(watch: &mut Watch) -> PacketIn {
    match watch.next().unwrap().unwrap() {
        Event::PacketIn(packet) => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_packet_is_shown_with_what_the_pipeline_knows() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let mut watch = packets(&switch, &[7]);
    client
        .flows(&[
            "cookie=0x5,udp,actions=set_field:0x2a->reg3,\
             controller(reason=no_match,max_len=20,id=7,userdata=01.02),output:2",
            "arp,actions=controller(id=8)",
        ])
        .unwrap();
    client.receive("p1", &[udp(1, 1000)]);
    let shown = next(&mut watch);
    assert_eq!(shown.reason.name(), "no_match");
    assert_eq!((shown.watcher, shown.cookie, shown.in_port, shown.len), (7, 5, 1, 64));
    assert_eq!(shown.fields, "reg3=0x2a");
    assert_eq!(shown.userdata, HexBytes(vec![1, 2]));
    assert_eq!(shown.packet.0, udp(1, 1000)[..20]);
    assert_eq!(client.take("p2", 1), [udp(1, 1000)], "it goes on all the same");
}

#[test]
fn a_packet_is_shown_with_what_is_known_of_its_connection() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let mut watch = packets(&switch, &[]);
    client
        .flows(&[
            "in_port=1,udp,actions=controller(id=1),ct(zone=5,table=1),controller(id=2)",
            "in_port=2,udp,actions=ct(zone=5,nat,table=2)",
            "udp6,actions=ct(table=2)",
            "table=1,udp,actions=controller(id=3),ct(commit,zone=5,nat(src=10.0.0.7),\
             exec(load:0x2a->NXM_NX_CT_MARK[],load:1->NXM_NX_CT_LABEL[64..127]),table=2),\
             controller(id=2)",
            "table=2,actions=controller(id=4,max_len=0),ct_clear,load:9->NXM_NX_REG0[],\
             controller(id=5)",
        ])
        .unwrap();
    let mut shown = |port, packet: &str, times| {
        let packet = compose(&text::packet(packet, &NoNames).unwrap(), 64);
        switch.client().receive(port, &[packet]);
        let told = (0..times).map(|_| next(&mut watch));
        told.map(|shown| (shown.watcher, shown.fields)).collect::<Vec<_>>()
    };
    let own = "ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.9,ct_nw_proto=17,ct_tp_src=1000,ct_tp_dst=53,ip";
    let noted = "ct_zone=5,ct_mark=0x2a,ct_label=0x10000000000000000";
    let packet = "in_port=1,udp,nw_src=10.0.0.1,nw_dst=10.0.0.9,nw_ttl=9,tp_src=1000,tp_dst=53";
    let wanted = [
        (1, String::new()),
        (3, format!("ct_state=new|trk,ct_zone=5,{own}")),
        (4, format!("ct_state=new|trk|snat,{noted},{own}")),
        (5, "reg0=0x9".to_owned()),
        (2, String::new()),
        (2, String::new()),
    ];
    assert_eq!(shown("p1", packet, 6), wanted);

    let answer = "in_port=2,udp,nw_src=10.0.0.9,nw_dst=10.0.0.7,nw_ttl=9,tp_src=53,tp_dst=1000";
    let wanted =
        [(4, format!("ct_state=est|rpl|trk|snat,{noted},{own}")), (5, "reg0=0x9".to_owned())];
    assert_eq!(shown("p2", answer, 2), wanted);

    let packet = "in_port=3,udp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=9,tp_src=7,tp_dst=8";
    let known = "ct_state=new|trk,ct_ipv6_src=fd00::1,ct_ipv6_dst=fd00::2,\
                 ct_nw_proto=17,ct_tp_src=7,ct_tp_dst=8,ipv6";
    assert_eq!(shown("p3", packet, 1), [(4, known.to_owned())]);

    // One that waits is shown like others.
    client.flows(&["table=2,priority=40000,udp6,actions=controller(id=6,pause)"]).unwrap();
    assert_eq!(shown("p3", packet, 2), [(5, "reg0=0x9".to_owned()), (6, known.to_owned())]);
}

#[test]
fn a_packet_that_waits_goes_on_where_it_was_in_the_flows_of_then() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let mut watch = packets(&switch, &[]);
    client
        .flows(&[
            "udp,actions=set_field:5->reg1,controller(pause),resubmit(,1)",
            "table=1,reg1=5,actions=output:2",
        ])
        .unwrap();
    client.receive("p1", &[udp(1, 1000)]);
    let shown = next(&mut watch);
    assert_eq!(shown.packet.0, udp(1, 1000));
    client.flows(&["table=1,reg1=5,actions=output:3"]).unwrap();
    let resume = PacketResume { paused: shown.paused.unwrap(), packet: None };
    client.call(resume.clone()).unwrap();
    assert_eq!(client.take("p3", 1), [udp(1, 1000)]);
    let error = client.call(resume).unwrap_err().to_string();
    assert!(error.contains("no packet 1 waits"), "{error}");

    client.receive("p1", &[udp(1, 1001)]);
    let paused = next(&mut watch).paused.unwrap();
    let packet = Some(HexBytes(udp(2, 1001)));
    client.call(PacketResume { paused, packet }).unwrap();
    assert_eq!(client.take("p3", 1), [udp(2, 1001)], "with other bytes");
}

#[test]
fn nobody_watches_and_nothing_is_kept() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["udp,actions=controller(pause)", "arp,actions=controller"]).unwrap();
    client.receive("p1", &(0..100).map(|n| udp(1, n)).collect::<Vec<_>>());
    let unheard = || {
        let workers = switch.client().call(api::request::WorkerStats {}).unwrap();
        workers.workers[0].megaflow_hits + workers.workers[0].misses
    };
    eventually(|| unheard() >= 100);
    let mut watch = packets(&switch, &[]);
    client.receive("p1", &[udp(9, 9)]);
    assert_eq!(next(&mut watch).paused, Some(1), "the first one that waits");
}

#[test]
fn packets_are_given_to_the_switch_when_the_changes_beside_them_have_taken_place() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let hex = HexBytes(udp(3, 77));
    let lines = [
        "flow add table=0,udp,actions=output:3".to_owned(),
        format!("packet-out in_port=1 packet={hex} actions=output:2,table"),
    ];
    client.call(FlowChange { bridge: None, flows: lines.to_vec(), lenient: false }).unwrap();
    assert_eq!(client.take("p2", 1), [udp(3, 77)]);
    assert_eq!(client.take("p3", 1), [udp(3, 77)], "by the flow of the same transaction");
    assert_eq!(client.stats("p1").rx_packets, 0, "it has not come in");

    let lines = [
        "flow add table=0,arp,actions=output:3".to_owned(),
        format!("packet-out in_port=9 packet={hex} actions=output:2"),
    ];
    let error = client
        .call(FlowChange { bridge: None, flows: lines.to_vec(), lenient: false })
        .unwrap_err();
    assert!(error.to_string().contains("there is no port 9"), "{error}");
    assert_eq!(client.dump().len(), 1, "nothing has changed");
}

#[test]
fn a_flow_that_a_packet_teaches_is_there_for_the_next_one_and_in_the_dump() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client
        .flows(&[
            "table=0,udp,actions=learn(table=1,idle_timeout=60,priority=9,cookie=0x77,\
             eth_type=0x0800,NXM_OF_IP_SRC[],load:2->reg0[0..15]),\
             resubmit(,1),output:reg0[0..15]",
            "table=1,priority=1,actions=set_field:3->reg0",
        ])
        .unwrap();
    client.receive("p1", &[udp(1, 1), udp(1, 2)]);
    assert_eq!(client.take("p3", 1), [udp(1, 1)], "the first one is not there for itself");
    assert_eq!(client.take("p2", 1), [udp(1, 2)], "in the same batch");
    eventually(|| {
        let dump = switch.client().dump();
        let learned = dump.iter().find(|flow| flow.flow.cookie == Some(0x77));
        learned.is_some_and(|learned| {
            learned.packets == 1
                && learned.flow.matching.to_string() == "ip,nw_src=10.0.0.1"
                && learned.flow.idle_timeout == 60
        })
    });
    client.flows(&["delete table=1,cookie=0x77/-1"]).unwrap();
    client.receive("p1", &[udp(1, 3)]);
    assert_eq!(client.take("p3", 1), [udp(1, 3)], "forgotten, and learned again");
    std::thread::sleep(Duration::from_millis(20));
    client.receive("p1", &[udp(1, 4)]);
    assert_eq!(client.take("p2", 1), [udp(1, 4)]);
}
