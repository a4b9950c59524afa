//! Flows that ask what packets are to their connections, against the interpreter: through all passes
//! and tiers, across changes.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;
#[path = "common/pipeline.rs"]
mod generators;

use std::net::IpAddr;

use api::{
    Action, Alg, Ct, CtZone, Field, FlowMod, GroupMod, Match, Nat, NatChoice, NatRange, OutPort,
    Subfield,
};
use common::{Bench, CONNECTIONS, Options};
use flowtable::VlanMode;
use generators::{LAST, Text, any_pipeline_flow};
use packet::{Key, compose, ethernet, icmp, tcp, udp};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A write to the mark or the label of a connection.
fn any_exec() -> impl Strategy<Value = Action> {
    let whole = |field| Subfield::whole(field);
    prop_oneof![
        (0..3u128, select(vec![0xffff_ffffu128, 1, 0xff00])).prop_map(|(value, mask)| {
            Action::SetField { field: Field::CtMark, value: value & mask, mask }
        }),
        (0..3u128).prop_map(|value| {
            let (field, mask) = (Field::CtLabel, Field::CtLabel.ones());
            Action::SetField { field, value: value << 70, mask }
        }),
        Just(Action::Move { src: whole(Field::Reg(1)), dst: whole(Field::CtMark) }),
        Just(Action::Move { src: whole(Field::CtMark), dst: whole(Field::CtMark) }),
    ]
}

/// Addresses that are those of ends, and others; ports that are soon all taken.
fn any_nat() -> impl Strategy<Value = Nat> {
    let addresses = prop_oneof![
        3 => (1..6u8).prop_map(|n| Some(IpAddr::from([10, 0, 0, n]))),
        1 => (1..6u16).prop_map(|n| Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]))),
        1 => Just(Some(IpAddr::from([0; 4]))),
        1 => Just(None),
    ];
    let ports = weighted(0.5, (select(vec![80, 1000, 2000]), 0..3u16));
    (addresses, ports, any::<bool>(), any::<bool>()).prop_map(|(address, ports, is_src, random)| {
        let range = NatRange {
            addresses: address.map(|address| (address, address)),
            ports: ports.map(|(first, more)| (first, first + more)),
            persistent: false,
            choice: random.then_some(NatChoice::Random),
        };
        if is_src { Nat::Src(range) } else { Nat::Dst(range) }
    })
}

fn any_ct(table: u8) -> impl Strategy<Value = Action> {
    let zone = prop_oneof![
        6 => (0..2u16).prop_map(CtZone::Number),
        1 => Just(CtZone::Field(Subfield { field: Field::Reg(0), first: 0, bits: 16 })),
    ];
    let next = weighted(0.6, 0..3u8)
        .prop_map(move |more| more.map(|more| table + 1 + more).filter(|next| *next <= LAST));
    let ct = (any::<bool>(), weighted(0.2, Just(())), next, zone, vec(any_exec(), 0..3));
    let rest = (weighted(0.5, any_nat()), weighted(0.2, select(Alg::ALL.to_vec())));
    (ct, rest).prop_map(|((commit, force, table, zone, exec), (nat, alg))| {
        let nat = nat.map(|nat| if commit { nat } else { Nat::Existing });
        let exec = if commit { exec } else { Vec::new() };
        let force = commit && force.is_some();
        Action::Ct(Box::new(Ct { commit, force, table, zone, nat, exec, alg }))
    })
}

/// What is asked of a connection, in text: the match is of IP then.
fn any_asked() -> impl Strategy<Value = String> {
    let state = select(vec![
        "ct_state=+new+trk",
        "ct_state=+est+trk",
        "ct_state=+est+rpl+trk",
        "ct_state=+inv+trk",
        "ct_state=-trk",
        "ct_state=+trk",
        "ct_state=-rpl",
    ]);
    let rest = select(vec![
        "",
        ",ct_mark=1",
        ",ct_mark=0/1",
        ",ct_label=0x400000000000000000",
        ",ct_zone=1",
    ]);
    (state, rest).prop_map(|(state, rest)| format!("{state}{rest}"))
}

/// An action after which it shows what has been found out; `depth` more lists may be in it.
fn any_action(table: u8, depth: u32) -> BoxedStrategy<Action> {
    let larger = Subfield { field: Field::Reg(0), first: 3, bits: 1 };
    let simple = prop_oneof![
        4 => any_ct(table),
        3 => (1..3u8).prop_map(move |more| match table + more {
            next @ ..=LAST => Action::Resubmit { in_port: None, table: Some(next) },
            _ => Action::Output(OutPort::Port(2)),
        }),
        2 => (1..5u16).prop_map(|port| Action::Output(OutPort::Port(port))),
        1 => Just(Action::CheckPktLarger { len: 70, dst: larger }),
        1 => Just(Action::CtClear),
        1 => Just(Action::Move {
            src: Subfield::whole(Field::CtMark),
            dst: Subfield::whole(Field::Reg(1)),
        }),
    ];
    if depth == 0 {
        return simple.boxed();
    }
    let clone = vec(any_action(table, depth - 1), 1..4).prop_map(Action::Clone);
    prop_oneof![6 => simple, 1 => clone].boxed()
}

fn any_tracking_flow() -> impl Strategy<Value = FlowMod> {
    let flow = (any_pipeline_flow(), any::<u8>(), weighted(0.6, any_asked()));
    flow.prop_flat_map(|(flow, family, asked)| {
        let actions = vec(any_action(flow.table.unwrap_or(0), 2), 0..5);
        (weighted(0.7, actions), any::<Index>()).prop_map(move |(actions, at)| {
            let mut flow = flow.clone();
            if let Some(new) = actions {
                // Among what it does already: what comes last may have to.
                let actions = flow.actions.get_or_insert_default();
                actions.truncate(usize::from(family % 4));
                let at = at.index(actions.len().max(1)).min(actions.len());
                actions.splice(at..at, new);
            }
            if let Some(asked) = &asked {
                let family = if family % 8 == 0 { "ipv6" } else { "ip" };
                flow.matching = format!("{family},{asked}").parse::<Match>().unwrap();
            }
            flow
        })
    })
}

/// A packet between two of a few ends.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let flags = [tcp::SYN, tcp::SYN | tcp::ACK, tcp::ACK, tcp::FIN | tcp::ACK, tcp::RST, 0];
    let spoken = prop_oneof![
        4 => select(flags.to_vec()).prop_map(|flags| (tcp::PROTO, [1000u16, 80], flags)),
        4 => Just((udp::PROTO, [1000u16, 80], 0)),
        2 => select(vec![0, 8, 3]).prop_map(|kind| (icmp::PROTO, [kind, 0u16], 0)),
        1 => Just((47, [0u16, 0], 0)),
    ];
    (spoken, any::<bool>(), any::<bool>()).prop_map(|((proto, ports, flags), back, is_ipv6)| {
        let ([src, dst], [src_port, dst_port]) = match back {
            true if proto != icmp::PROTO => ([2u8, 1], [ports[1], ports[0]]),
            true => ([2, 1], ports),
            false => ([1, 2], ports),
        };
        let mut key = Key::ZERO
            .with(Key::ETH_SRC, 0x0200_0000_0000_u64 | u64::from(src))
            .with(Key::ETH_DST, 0x0200_0000_0000_u64 | u64::from(dst))
            .with(Key::NW_TTL, 64u8)
            .with(Key::NW_PROTO, proto)
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::TTL_LEFT, 1u8);
        key = match is_ipv6 && proto != icmp::PROTO {
            false => key
                .with(Key::ETH_TYPE, ethernet::IPV4)
                .with(Key::NW_SRC, 0x0a00_0000 | u32::from(src))
                .with(Key::NW_DST, 0x0a00_0000 | u32::from(dst)),
            true => key
                .with(Key::ETH_TYPE, ethernet::IPV6)
                .with(Key::IPV6_SRC, 0xfd00 << 112 | u128::from(src))
                .with(Key::IPV6_DST, 0xfd00 << 112 | u128::from(dst)),
        };
        if proto != 47 {
            key = key
                .with(Key::HAS_TRANSPORT, 1u8)
                .with(Key::TP_SRC, src_port)
                .with(Key::TP_DST, dst_port)
                .with(Key::TCP_FLAGS, flags);
        }
        compose(&key, 80)
    })
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
enum Step {
    Flow(Text),
    Packets(u16, Vec<Vec<u8>>),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any_tracking_flow().prop_map(|flow| Step::Flow(Text(flow))),
        8 => (1..5u16, vec(any_packet(), 1..10)).prop_map(|(port, packets)| {
            Step::Packets(port, packets)
        }),
        1 => select(vec![1, 29, 31, 119, 121, 599, 601]).prop_map(Step::Wait),
    ]
}

/// Flows by which what has been found out, and what not, leads elsewhere: random ones lie between.
const BASE: [&str; 8] = [
    "table=0,priority=2,udp,in_port=2,actions=group:1,output:4",
    "table=0,priority=2,ip,actions=ct(table=1),output:1",
    "table=0,priority=2,ipv6,actions=ct(commit,zone=1,table=1)",
    "table=1,priority=2,ip,ct_state=+new,actions=ct(commit,exec(load:1->NXM_NX_CT_MARK[]),table=2),resubmit(,3)",
    "table=2,priority=2,ct_state=+trk,ip,actions=clone(ct(zone=1,table=3)),resubmit(,3)",
    "table=3,priority=2,ct_state=-trk,ip,actions=output:4",
    "table=3,priority=2,ct_state=+trk,ct_zone=1,ip,actions=output:3",
    "table=3,priority=2,ct_state=+trk,ct_mark=1,ip,actions=check_pkt_larger(9)->reg0[3],output:2",
];

/// A group that asks, too.
const GROUP: &str = "group_id=1,type=all,bucket=actions=ct(commit,zone=1,nat(src=10.0.0.5),table=2),\
                     bucket=actions=mod_nw_tos:4,ct(zone=1,table=3)";

fn run(flows: &[Text], steps: &[Step], options: Options) -> Result<(), TestCaseError> {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, options);
    bench.group_mod(&GroupMod::Add(GROUP.parse().unwrap()));
    bench.flow_mods(&BASE.map(|flow| flow.parse().unwrap()));
    for flow in flows {
        bench.flow_mods(std::slice::from_ref(&flow.0));
    }
    for step in steps {
        match step {
            Step::Flow(flow) => bench.flow_mods(std::slice::from_ref(&flow.0)),
            Step::Wait(seconds) => bench.now += std::time::Duration::from_secs(*seconds),
            Step::Packets(port, packets) => {
                let (real, expected) = bench.carry(*port, packets);
                prop_assert_eq!(real.told_apart(), expected.told_apart(), "into port {}", port);
            }
        }
        bench.turn();
        bench.check();
        prop_assert_eq!(bench.counts(), bench.expected_counts());
    }
    Ok(())
}

/// More of them where somebody waits: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn connections_are_told_as_the_interpreter_tells_them(
        flows in vec(any_tracking_flow().prop_map(Text), 1..12),
        steps in vec(any_step(), 1..12),
    ) {
        run(&flows, &steps, Options::default())?;
    }

    #[test]
    fn small_caches_tell_the_same(
        flows in vec(any_tracking_flow().prop_map(Text), 1..12),
        steps in vec(any_step(), 1..12),
    ) {
        run(&flows, &steps, Options { sessions: 8, megaflows: 8 })?;
    }
}

#[test]
fn what_a_bucket_asks_about_connections_was_not_asked() {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options::default());
    let group = "group_id=1,type=select,bucket=actions=ct(commit,nat(dst=10.0.0.7),table=1)";
    bench.group_mod(&GroupMod::Add(group.parse().unwrap()));
    bench.flow_mods(&[
        "table=0,ip,actions=group:1".parse().unwrap(),
        "table=1,ip,ct_state=+new+trk,nw_dst=10.0.0.7,actions=output:2".parse().unwrap(),
    ]);
    let key = "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_src=1,tp_dst=2";
    let packet = compose(&api::text::packet(key, &api::NoNames).unwrap(), 60);
    let (real, expected) = bench.carry(1, &[packet]);
    assert_eq!((real.sent.len(), real), (1, expected));
}

/// If the passes of the first one had ended early: here since it finds no port.
#[test]
fn the_second_copy_was_taken_for_the_first() {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options::default());
    bench.flow_mods(&[
        "table=0,ip,actions=ct(commit,nat(src=10.0.0.5:7),table=1),mod_nw_dst:10.0.0.9,\
         ct(zone=1,table=1),output:4"
            .parse()
            .unwrap(),
        "table=1,ip,nw_dst=10.0.0.2,actions=output:2".parse().unwrap(),
        "table=1,ip,nw_dst=10.0.0.9,actions=output:3".parse().unwrap(),
    ]);
    for (port, sent) in [(1, 3), (2, 2)] {
        let key = format!("udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_src={port},tp_dst=2");
        let packet = compose(&api::text::packet(&key, &api::NoNames).unwrap(), 60);
        let (real, expected) = bench.carry(1, &[packet]);
        assert_eq!((real.sent.len(), real), (sent, expected));
    }
}

#[test]
fn what_a_copy_had_begun_was_new_to_its_packet() {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options::default());
    bench.flow_mods(&[
        "table=0,ip,actions=ct(table=1)".parse().unwrap(),
        "table=1,ip,actions=ct(commit,exec(load:1->NXM_NX_CT_MARK[]),table=2),ct(table=3)"
            .parse()
            .unwrap(),
        "table=3,ip,ct_mark=1,actions=output:2".parse().unwrap(),
    ]);
    let key = "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_src=1,tp_dst=2";
    let packet = compose(&api::text::packet(key, &api::NoNames).unwrap(), 60);
    let (real, expected) = bench.carry(1, &[packet]);
    assert_eq!((real.sent.len(), real), (1, expected));
}

#[test]
fn a_worker_without_packets_held_back_what_had_gone() {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options::default());
    bench.flow_mods(&["ip,actions=ct(commit),output:2".parse().unwrap()]);
    let packet = |port: u32| {
        let key = format!("udp,nw_src=10.0.0.1,nw_ttl=64,tp_src={port}");
        compose(&api::text::packet(&key, &api::NoNames).unwrap(), 60)
    };
    for first in [1, 1001] {
        (first..first + CONNECTIONS).for_each(|port| bench.put(1, &packet(port)));
        bench.turn();
        assert_eq!((bench.take().len(), bench.drops()), (CONNECTIONS as usize, Vec::new()));
        bench.connections.iter().for_each(|id| assert!(bench.connections.remove(id)));
        for _ in 0..30 {
            bench.now += std::time::Duration::from_secs(1);
            bench.turn();
        }
    }
}
