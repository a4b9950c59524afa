//! Packets that begin connections, by openings, against the interpreter and against a worker without
//! tier 1.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::cell::Cell;
use std::time::Duration;

use common::{Bench, CONNECTIONS, Options};
use conntrack::Tuple;
use flowtable::VlanMode;
use packet::compose;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

/// Pipelines; and whether packets that begin connections there can leave an opening.
const PIPELINES: [(bool, &[&str]); 15] = [
    (
        true,
        &["table=0,ip,actions=ct(table=1)", "table=1,ip,ct_state=+new,actions=ct(commit),output:2"],
    ),
    (
        true,
        &[
            "table=0,ip,actions=ct(table=1,zone=3)",
            "table=1,ip,ct_state=+new,tp_dst=80,tcp,actions=drop",
        ],
    ),
    (
        true,
        &[
            "table=0,ip,actions=ct(table=1,zone=3)",
            "table=1,ip,ct_state=+new+trk-inv,actions=ct(commit,zone=3,exec(load:7->NXM_NX_CT_MARK[]),table=2)",
            "table=2,ip,ct_mark=7,ct_zone=3,actions=dec_ttl,mod_dl_dst:02:00:00:00:00:09,output:2",
        ],
    ),
    (true, &["table=0,ip,actions=ct(commit,zone=1,nat(src=10.9.0.1-10.9.0.2:2000-2003)),output:2"]),
    (
        true,
        &[
            "table=0,ip,actions=mod_dl_src:02:00:00:00:00:07,ct(table=1,zone=1,nat)",
            "table=1,ip,ct_state=+new,actions=ct(commit,zone=1,nat(src=10.9.0.1),table=2)",
            "table=2,ip,nw_dst=10.0.0.0/8,actions=ct_clear,ct(commit,zone=2),output:2",
        ],
    ),
    (
        true,
        &[
            "table=0,ip,actions=ct(table=1,zone=1)",
            "table=1,ip,ct_state=+new,actions=ct(commit,zone=2),output:2",
        ],
    ),
    (true, &["table=0,ip,actions=ct(commit,nat(dst=10.9.0.1:8080)),output:2"]),
    // What one zone is told decides about the next one.
    (
        true,
        &[
            "table=0,ip,actions=ct(table=1,zone=1)",
            "table=1,ip,ct_state=+new,ct_mark=0,actions=ct(commit,zone=1,exec(load:7->NXM_NX_CT_MARK[]),table=2)",
            "table=2,ip,actions=ct(commit,zone=2),output:2",
        ],
    ),
    (
        true,
        &[
            "table=0,ip,actions=ct(table=1,zone=1,nat)",
            "table=1,ip,ct_state=+new-dnat,actions=ct(commit,zone=1,nat(dst=10.9.0.1),table=2)",
            "table=2,ip,actions=ct(commit,zone=2),output:2",
        ],
    ),
    (
        false,
        &[
            "table=0,ip,actions=ct(commit,nat(dst=10.9.0.1-10.9.0.2),table=1)",
            "table=1,ip,nw_dst=10.9.0.1,actions=output:2",
            "table=1,ip,nw_dst=10.9.0.2,actions=output:3",
        ],
    ),
    (
        false,
        &[
            "table=0,ip,actions=ct(table=1)",
            "table=1,ip,ct_state=+trk-inv,ct_nw_src=10.0.0.1,actions=ct(commit),output:2",
            "table=1,priority=1,ip,actions=output:3",
        ],
    ),
    (
        false,
        &[
            "table=0,ip,actions=mod_nw_dst:10.0.0.9,ct(table=1)",
            "table=1,ip,ct_state=+new,actions=ct(commit),output:2",
        ],
    ),
    (
        false,
        &[
            "table=0,ip,actions=ct(commit,nat(src=10.9.0.1),table=1)",
            "table=1,ct_state=+snat,ip,actions=output:2",
        ],
    ),
    (false, &["table=0,tcp,actions=ct(commit,alg=ftp),output:2"]),
    (false, &["table=0,ip,actions=ct(commit),ct(commit),output:2"]),
];

fn bench(flows: &[&str], sessions: u32) -> Bench {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options { sessions, ..Options::default() });
    set(&mut bench, flows);
    bench
}

/// Has a bench have these flows, and no others.
fn set(bench: &mut Bench, flows: &[&str]) {
    let mut delete: api::FlowMod = "actions=drop".parse().unwrap();
    (delete.command, delete.table, delete.actions) = (api::Command::Delete, None, None);
    bench.flow_mods(&[delete]);
    let flows: Vec<_> = flows.iter().map(|flow| flow.parse().unwrap()).collect();
    bench.flow_mods(&flows);
}

fn packet(text: &str) -> Vec<u8> {
    compose(&api::text::packet(text, &api::NoNames).unwrap(), 60)
}

fn syn(src_port: u16) -> Vec<u8> {
    packet(&format!(
        "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_src={src_port},tp_dst=80,tcp_flags=2"
    ))
}

fn hits(bench: &mut Bench) -> u64 {
    bench.check();
    bench.counters.opening_hits.get()
}

#[test]
fn what_the_first_have_left_is_met_by_those_behind() {
    for (n, (is_open, flows)) in PIPELINES.into_iter().enumerate() {
        let mut bench = bench(flows, 64);
        for first in [1000, 1010, 1020] {
            let syns: Vec<_> = (first..first + 3).map(syn).collect();
            let (real, expected) = bench.carry(1, &syns);
            assert_eq!(real, expected, "{n}");
        }
        bench.check();
        assert_eq!(bench.counts(), bench.expected_counts(), "{n}");
        assert_eq!(hits(&mut bench), if is_open { 8 } else { 0 }, "{n}: {flows:?}");
    }
}

#[test]
fn who_is_known_takes_its_passes() {
    let (_, flows) = PIPELINES[0];
    let mut bench = bench(flows, 64);
    (1..4).for_each(|port| assert!(bench.carry(1, &[syn(port)]).0.sent.len() == 1));
    assert_eq!(hits(&mut bench), 2);
    let (real, expected) = bench.carry(1, &[syn(1), syn(2)]);
    bench.check();
    assert_eq!((real, hits(&mut bench)), (expected, 2), "both are sent once more");
}

#[test]
fn a_change_of_flows_holds_for_the_next_one() {
    let (_, flows) = PIPELINES[0];
    let mut bench = bench(flows, 64);
    (1..4).for_each(|port| assert!(bench.carry(1, &[syn(port)]).0.sent.len() == 1));
    bench.flow_mods(&["table=1,priority=40000,tcp,tp_dst=80,actions=drop".parse().unwrap()]);
    let (real, expected) = bench.carry(1, &[syn(4), syn(5)]);
    assert_eq!((real.sent.len(), real), (0, expected));
    assert_eq!(bench.connections.len(), 3);
    bench.check();
    assert_eq!(bench.counts(), bench.expected_counts());
}

#[test]
fn what_is_refused_is_counted_where_it_is_refused() {
    let (_, flows) = PIPELINES[2];
    let mut bench = bench(flows, 64);
    for connections in [&bench.connections, &bench.literal_connections] {
        connections.zones().set_limit(3, Some(4));
    }
    for first in [1, 4, 7] {
        let (real, expected) = bench.carry(1, &[syn(first), syn(first + 1), syn(first + 2)]);
        assert_eq!(real, expected);
    }
    bench.check();
    assert_eq!((bench.connections.len(), hits(&mut bench)), (4, 8));
    assert_eq!(bench.drops(), [(1, api::DropReason::CtZoneLimit, 5)]);
    assert_eq!(bench.counts(), bench.expected_counts());
    assert_eq!(bench.connections.stats(), bench.literal_connections.stats());
}

#[test]
fn who_comes_again_too_late_left_another_opening() {
    let (_, flows) = PIPELINES[0];
    let mut bench = bench(flows, 64);
    let second = 1.try_into().unwrap();
    let timeouts = api::CtTimeouts::from([(api::CtTimeout::TcpSynSent, second)]);
    bench.connections.zones().set_default_timeouts(&timeouts);
    (1..9).for_each(|port| assert!(bench.carry(1, &[syn(port)]).0.sent.len() == 1));
    for port in 1..9 {
        // Their time is over, and nobody has looked yet.
        bench.now += Duration::from_millis(1100);
        assert!(bench.send(1, &[syn(port)]).sent.len() == 1);
    }
    bench.check();
    assert_eq!(bench.counters.openings_made.get(), 1);
}

/// The first zone kept its connection, and the packet met that on its passes.
#[test]
fn who_is_known_in_the_second_zone_has_opened_nothing_in_the_first() {
    for (_, flows) in &PIPELINES[7..9] {
        let mut bench = bench(flows, 64);
        (1..4).for_each(|port| assert!(bench.carry(1, &[syn(port)]).0.sent.len() == 1));
        for connections in [&bench.connections, &bench.literal_connections] {
            let of_first = |id: &conntrack::ConnectionId| {
                let seen = connections.seen(*id);
                seen.is_some_and(|seen| seen.tuples.original.zone() == 1)
            };
            let ids: Vec<_> = connections.iter().filter(of_first).collect();
            ids.iter().for_each(|id| assert!(connections.remove(*id)));
            assert_eq!((ids.len(), connections.len()), (3, 3));
        }
        let (real, expected) = bench.carry(1, &[syn(1), syn(2), syn(4)]);
        assert_eq!((real.sent.len(), real), (3, expected), "{flows:?}");
        bench.check();
        assert_eq!(bench.counts(), bench.expected_counts());
    }
}

#[test]
fn there_are_none_without_tier_1() {
    let (_, flows) = PIPELINES[0];
    let mut bench = bench(flows, 0);
    (1..9).for_each(|port| assert!(bench.carry(1, &[syn(port)]).0.sent.len() == 1));
    bench.check();
    assert_eq!(hits(&mut bench), 0);
}

#[derive(Clone, Debug)]
enum Step {
    /// Other flows.
    Flows(usize),
    /// Packets into a port.
    Packets(u16, Vec<String>),
    /// Milliseconds.
    Wait(u64),
    /// Connections of a zone are forgotten.
    Flush(u16),
}

fn any_packet() -> impl Strategy<Value = String> {
    let said = prop_oneof![
        5 => select(vec![2, 18, 16, 17, 4])
            .prop_map(|flags| format!("tcp,tp_dst=80,tcp_flags={flags},")),
        3 => Just("udp,tp_dst=53,".to_owned()),
        1 => Just("sctp,tp_dst=80,".to_owned()),
    ];
    (said, 1..9u16, 1..3u8, 1..4u8, select(vec![1, 2, 64])).prop_map(
        |(said, port, src, dst, ttl)| {
            format!("{said}nw_src=10.0.0.{src},nw_dst=10.0.0.{dst},nw_ttl={ttl},tp_src={port}")
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..PIPELINES.len()).prop_map(Step::Flows),
        8 => (1..3u16, vec(any_packet(), 1..12)).prop_map(|(port, packets)| {
            Step::Packets(port, packets)
        }),
        1 => select(vec![1, 1500, 31_000, 121_000]).prop_map(Step::Wait),
        2 => (0..4u16).prop_map(Step::Flush),
    ]
}

/// Each connection's tuples, and what is known of it.
fn known(connections: &conntrack::Connections, now: Duration) -> Vec<String> {
    let now = packet::Millis(u64::try_from(now.as_millis()).unwrap());
    let mut all: Vec<_> = connections
        .iter()
        .filter_map(|id| Some(format!("{:?}", connections.describe(id, now)?)))
        .collect();
    all.sort();
    all
}

fn run(steps: &[Step]) -> Result<u64, TestCaseError> {
    let mut bench = bench(PIPELINES[0].1, 64);
    for step in steps {
        match step {
            Step::Flows(n) => set(&mut bench, PIPELINES[*n].1),
            Step::Wait(millis) => bench.wait(Duration::from_millis(*millis)),
            Step::Packets(port, packets) => {
                let packets: Vec<_> = packets.iter().map(|text| packet(text)).collect();
                let (real, expected) = bench.carry(*port, &packets);
                prop_assert_eq!(real.told_apart(), expected.told_apart(), "into port {}", port);
            }
            Step::Flush(zone) => {
                let in_zone = |tuple: &Tuple| tuple.zone() == *zone;
                for connections in [&bench.connections, &bench.literal_connections] {
                    let ids = connections.iter().filter(|id| {
                        connections.seen(*id).is_some_and(|seen| in_zone(&seen.tuples.original))
                    });
                    ids.for_each(|id| assert!(connections.remove(id)));
                }
            }
        }
        bench.turn();
        bench.check();
        prop_assert_eq!(bench.counts(), bench.expected_counts());
        // The literal ones are not swept.
        let stats = |connections: &conntrack::Connections| conntrack::Stats {
            expired: 0,
            ..connections.stats()
        };
        prop_assert_eq!(stats(&bench.connections), stats(&bench.literal_connections));
        let now = bench.now;
        prop_assert_eq!(known(&bench.connections, now), known(&bench.literal_connections, now));
    }
    Ok(hits(&mut bench))
}

/// More of them where somebody waits: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

#[test]
fn packets_that_begin_connections_go_as_the_interpreter_has_them() {
    let config =
        ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(cases()) };
    let all = Cell::new(0);
    let run = |steps: Vec<Step>| run(&steps).map(|hits| all.set(all.get() + hits));
    TestRunner::new(config).run(&vec(any_step(), 1..30), run).unwrap_or_else(|why| panic!("{why}"));
    assert!(all.get() > u64::from(cases()), "{all:?} packets went by openings");
}

#[test]
fn there_is_room_for_all_that_begin() {
    let (_, flows) = PIPELINES[0];
    let mut bench = bench(flows, 64);
    let count = u16::try_from(CONNECTIONS).unwrap();
    for first in (0..count).step_by(16) {
        let syns: Vec<_> = (first..count.min(first + 16)).map(syn).collect();
        assert_eq!(bench.send(1, &syns).sent.len(), syns.len());
    }
    assert_eq!(bench.connections.len(), usize::from(count));
    let more = bench.send(1, &[syn(count + 1)]);
    assert_eq!(more.sent.len() + bench.connections.len(), usize::from(count));
    assert_eq!(bench.drops(), [(1, api::DropReason::CtFull, 1)]);
}
