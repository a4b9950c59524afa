//! The whole pipeline against the interpreter: groups, meters, copies, action sets, the stack, and
//! whatever else is decided for each packet, through all passes and tiers, across changes.
//!
//! Of the limits that of passes is among it, which stops one packet. What breaks another ends a pass
//! with all that it would have done, and the interpreter knows no passes: the other oracle has it.

mod common;
#[path = "common/pipeline.rs"]
mod generators;

use api::{Action, FlowMod, Group, GroupMod, Meter, MeterMod, TableMiss, TableMod};
use common::{Bench, Options};
use flowtable::VlanMode;
use generators::{GROUPS, Text, any_group, any_meter, any_pipeline_flow};
use packet::compose;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use testnet::packets::{any_garbage, any_key};

/// What becomes of packets that no flow matches, there or everywhere.
fn any_miss() -> impl Strategy<Value = TableMod> {
    let miss = select(TableMiss::ALL.map(|(miss, _)| miss).to_vec());
    (prop::option::weighted(0.8, 0..4u8), miss).prop_map(|(table, miss)| TableMod {
        table,
        miss: Some(miss),
        ..TableMod::default()
    })
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
enum Step {
    Flow(Text),
    Group(GroupMod),
    Meter(MeterMod),
    Table(TableMod),
    Packets(u16, Vec<(Vec<u8>, usize)>),
    Wait(u64),
    Fold,
}

fn any_step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        8 => (any_key(), 60..120usize).prop_map(|(key, len)| compose(&key, len)),
        1 => any_garbage(),
    ];
    let packets = vec((bytes, 1..4usize), 1..8);
    prop_oneof![
        2 => any_pipeline_flow().prop_map(|flow| Step::Flow(Text(flow))),
        1 => any_group().prop_map(|group| Step::Group(GroupMod::AddOrModify(group))),
        1 => prop::option::of(1..=GROUPS).prop_map(|id| Step::Group(GroupMod::Delete(id))),
        1 => any_meter().prop_map(|meter| Step::Meter(MeterMod::Modify(meter))),
        1 => any_miss().prop_map(Step::Table),
        8 => (1..5u16, packets).prop_map(|(port, packets)| Step::Packets(port, packets)),
        1 => (0..30u64).prop_map(Step::Wait),
        1 => Just(Step::Fold),
    ]
}

fn run(
    groups: &[Group],
    meters: &[Meter],
    flows: &[Text],
    steps: &[Step],
    options: Options,
) -> Result<(), TestCaseError> {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, options);
    groups.iter().for_each(|group| bench.group_mod(&GroupMod::AddOrModify(group.clone())));
    meters.iter().for_each(|meter| bench.meter_mod(&MeterMod::Add(meter.clone())));
    for flow in flows {
        bench.flow_mods(std::slice::from_ref(&flow.0));
    }
    for step in steps {
        match step {
            Step::Flow(flow) => bench.flow_mods(std::slice::from_ref(&flow.0)),
            Step::Group(change) => bench.group_mod(change),
            Step::Meter(change) => bench.meter_mod(change),
            Step::Table(change) => bench.table_mod(change),
            Step::Wait(seconds) => bench.now += std::time::Duration::from_secs(*seconds),
            Step::Fold => bench.fold(),
            Step::Packets(port, packets) => {
                let packets: Vec<_> = packets
                    .iter()
                    .flat_map(|(bytes, times)| std::iter::repeat_n(bytes.clone(), *times))
                    .collect();
                let (real, expected) = bench.carry(*port, &packets);
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
    fn every_action_does_what_the_interpreter_does(
        groups in vec(any_group(), 0..6),
        meters in vec(any_meter(), 0..4),
        flows in vec(any_pipeline_flow().prop_map(Text), 1..12),
        steps in vec(any_step(), 1..10),
    ) {
        run(&groups, &meters, &flows, &steps, Options::default())?;
    }

    #[test]
    fn small_caches_agree_too(
        groups in vec(any_group(), 0..6),
        meters in vec(any_meter(), 0..4),
        flows in vec(any_pipeline_flow().prop_map(Text), 1..12),
        steps in vec(any_step(), 1..10),
    ) {
        run(&groups, &meters, &flows, &steps, Options { sessions: 8, megaflows: 8 })?;
    }
}

#[test]
fn a_controller_without_watchers_is_no_drop() {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options::default());
    let flow =
        FlowMod { actions: Some(vec![Action::Controller(Box::default())]), ..FlowMod::default() };
    bench.flow_mods(&[flow]);
    let (real, expected) = bench.carry(1, &[vec![0; 60]]);
    assert_eq!(real, expected);
    bench.check();
}

/// As Open vSwitch 3.1 does after `ovs-ofctl -O OpenFlow11 mod-table`.
#[test]
fn a_table_without_a_flow_for_a_packet_does_what_is_said_of_it() {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options::default());
    let flows = ["table=2,in_port=1,actions=2", "in_port=3,actions=resubmit(,1),goto_table:1"];
    bench.flow_mods(&flows.map(|flow| flow.parse::<FlowMod>().unwrap()));
    let miss = |table, miss| TableMod { table, miss: Some(miss), ..TableMod::default() };
    let carried = |bench: &mut Bench, port| {
        let (real, expected) = bench.carry(port, &[vec![0; 60]]);
        assert_eq!(real, expected);
        bench.check();
        assert_eq!(bench.counts(), bench.expected_counts());
        let ports = real.sent.iter().map(|(port, _)| *port).collect::<Vec<_>>();
        (ports, real.dropped.len())
    };
    assert_eq!(carried(&mut bench, 1), (vec![], 1), "dropped in table 0");
    bench.table_mod(&miss(Some(0), TableMiss::Continue));
    assert_eq!(carried(&mut bench, 1), (vec![], 1), "dropped in table 1");
    bench.table_mod(&miss(Some(1), TableMiss::Continue));
    assert_eq!(carried(&mut bench, 1), (vec![2], 0), "goes on in table 2");
    bench.flow_mods(&["table=2,in_port=3,actions=4".parse().unwrap()]);
    assert_eq!(carried(&mut bench, 3), (vec![4], 0), "goto goes on, and resubmit does not");
    bench.table_mod(&miss(Some(1), TableMiss::Controller));
    assert_eq!(carried(&mut bench, 1), (vec![], 0), "shown");
    bench.table_mod(&miss(None, TableMiss::Continue));
    assert_eq!(carried(&mut bench, 2), (vec![], 1), "behind the last table there is none");
}

/// The ninth decision ends a packet where it stands. A copy brings those of the packet it was made
/// of, and gives none back.
#[test]
fn the_oracle_knew_no_limit_of_passes() {
    let check = |times| "check_pkt_larger(50)->reg0[3],".repeat(times);
    let group = "group_id=1,type=select,bucket=actions=output:3,bucket=actions=output:3";
    let cases = [
        (format!("output:2,{}output:3", check(8)), vec![2, 3], 0),
        (format!("output:2,{}output:3", check(9)), vec![2], 1),
        (format!("clone({}output:2),output:3", check(9)), vec![3], 1),
        (format!("{}clone({}output:2),{}output:3", check(4), check(4), check(4)), vec![2, 3], 0),
        (format!("{}clone({}output:2),{}output:3", check(4), check(5), check(5)), vec![], 2),
        (format!("{}group:1,output:2", check(7)), vec![2, 3], 0),
        (format!("{}group:1,output:2", check(8)), vec![2], 1),
    ];
    for (actions, ports, limited) in cases {
        let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
        let mut bench = Bench::new(&vlans, Options::default());
        bench.group_mod(&GroupMod::Add(group.parse().unwrap()));
        bench.flow_mods(&[format!("actions={actions}").parse().unwrap()]);
        let (real, expected) = bench.carry(1, &[vec![0; 60]]);
        assert_eq!(real, expected, "{actions}");
        bench.check();
        let sent: Vec<_> = real.sent.iter().map(|(port, _)| *port).collect();
        let dropped: u64 = real.dropped.iter().map(|(.., packets)| packets).sum();
        assert_eq!((sent, dropped), (ports, limited), "{actions}");
    }
}
