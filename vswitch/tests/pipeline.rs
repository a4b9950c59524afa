//! The whole pipeline against the interpreter: groups, meters, copies, action sets, the stack, and
//! whatever else is decided for each packet, through all passes and tiers, across changes.
//!
//! What breaks a limit is not among it: that ends a pass with all that it would have done, and the
//! interpreter knows no passes. The other oracle has it.

mod common;

use api::testing::any_match;
use api::{
    Action, Bucket, Bundle, BundleAlgorithm, Field, FlowMod, Group, GroupKind, GroupMod,
    HashFields, Meter, MeterBand, MeterId, MeterMod, MeterUnit, Multipath, MultipathAlgorithm,
    OutPort, Selection, Subfield, TableMiss, TableMod,
};
use common::{Bench, Options};
use flowtable::VlanMode;
use packet::compose;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use testnet::packets::{any_garbage, any_key};

const GROUPS: u32 = 5;
const METERS: u32 = 3;
/// The last table, whose flows lead nowhere else: so there are no loops.
const LAST: u8 = 3;

fn reg(n: u8) -> Subfield {
    Subfield::whole(Field::Reg(n))
}

fn any_port() -> impl Strategy<Value = OutPort> {
    prop_oneof![
        4 => (1..5u16).prop_map(OutPort::Port),
        1 => Just(OutPort::InPort),
        1 => Just(OutPort::Flood),
    ]
}

fn any_subfield() -> impl Strategy<Value = Subfield> {
    let whole = [Field::Reg(0), Field::Reg(1), Field::Xreg(1), Field::EthSrc, Field::EthDst];
    prop_oneof![
        4 => select(whole.to_vec()).prop_map(Subfield::whole),
        1 => (0..16u8, 1..16u8)
            .prop_map(|(first, bits)| Subfield { field: Field::Reg(2), first, bits }),
    ]
}

/// An action that may stand in a flow whatever it matches; `depth` more lists may be in it.
fn any_action(table: u8, depth: u32) -> BoxedStrategy<Action> {
    let hash = select(HashFields::ALL.map(|(fields, _)| fields).to_vec());
    let multipath = (hash.clone(), select(MultipathAlgorithm::ALL.to_vec()), 1..9u32);
    let multipath = multipath.prop_map(|(fields, (algorithm, _), links)| {
        let (basis, arg, dst) = (50, 9, reg(1));
        Action::Multipath(Box::new(Multipath { fields, basis, algorithm, links, arg, dst }))
    });
    let bundle = (hash, select(BundleAlgorithm::ALL.to_vec()), vec(1..7u16, 1..4), any::<bool>());
    let bundle = bundle.prop_map(|(fields, (algorithm, _), members, load)| {
        let dst = load.then_some(reg(0));
        Action::Bundle(Box::new(Bundle { fields, basis: 7, algorithm, members, dst }))
    });
    let simple = prop_oneof![
        6 => any_port().prop_map(Action::Output),
        1 => Just(Action::OutputField(Subfield { field: Field::Reg(0), first: 0, bits: 16 })),
        1 => (1..5u16, 14..90u32).prop_map(|(port, max_len)| {
            Action::OutputTruncated { port: OutPort::Port(port), max_len }
        }),
        1 => Just(Action::Controller(Box::default())),
        4 => (1..=GROUPS).prop_map(move |group| match table {
            LAST => Action::Output(OutPort::Port(2)),
            _ => Action::Group(group),
        }),
        3 => (1..=METERS).prop_map(Action::Meter),
        3 => (0..6u128, any::<bool>()).prop_map(|(value, which)| {
            let field = Field::Reg(u8::from(which));
            Action::SetField { field, value, mask: field.ones() }
        }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(value, source)| {
            let field = if source { Field::EthSrc } else { Field::EthDst };
            Action::SetField { field, value: value.into(), mask: 0xff }
        }),
        1 => any_subfield().prop_map(Action::Push),
        1 => any_subfield().prop_map(Action::Pop),
        1 => (0..8u16).prop_map(Action::ModVlanVid),
        2 => (50..110u16).prop_map(|len| {
            let dst = Subfield { field: Field::Reg(0), first: 3, bits: 1 };
            Action::CheckPktLarger { len, dst }
        }),
        4 => (0..2u8).prop_map(move |more| match table {
            LAST => Action::Output(OutPort::Port(3)),
            _ => Action::Resubmit { in_port: None, table: Some((table + 1 + more).min(LAST)) },
        }),
        1 => Just(Action::Exit),
        1 => Just(Action::Note(vec![0; 6])),
        1 => (0..3u32).prop_map(Action::SetQueue),
        1 => multipath,
        1 => bundle,
    ];
    if depth == 0 {
        return simple.boxed();
    }
    let clone = vec(any_action(table, depth - 1), 0..4).prop_map(Action::Clone);
    prop_oneof![12 => simple, 2 => clone].boxed()
}

fn any_in_set() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (1..5u16).prop_map(|port| Action::Output(OutPort::Port(port))),
        1 => (1..=GROUPS).prop_map(Action::Group),
        1 => Just(Action::Resubmit { in_port: None, table: Some(LAST) }),
        2 => (0..4u128).prop_map(|value| {
            Action::SetField { field: Field::Reg(0), value, mask: Field::Reg(0).ones() }
        }),
        1 => (0..8u16).prop_map(Action::ModVlanVid),
    ]
}

/// Actions of a flow, instructions in their order.
fn any_actions(table: u8) -> impl Strategy<Value = Vec<Action>> {
    let (meter, list) = (prop::option::weighted(0.1, 1..=METERS), vec(any_action(table, 2), 0..6));
    let set = prop::option::weighted(0.2, vec(any_in_set(), 1..4));
    let set = set.prop_map(move |set| set.filter(|_| table < LAST));
    let rest = (any::<u8>(), prop::option::weighted(0.3, Just(()))).prop_map(move |(n, goes)| {
        let next = table + 1 + n % 2;
        goes.filter(|()| next < 4).map(|()| Action::GotoTable(next))
    });
    (meter, list, any::<u8>(), set, rest).prop_map(|(meter, list, clear, set, goto)| {
        let mut actions: Vec<_> = meter.into_iter().map(Action::Meter).collect();
        actions.extend(list);
        actions.extend((clear < 20).then_some(Action::ClearActions));
        actions.extend(set.map(Action::WriteActions));
        actions.extend(goto);
        actions
    })
}

/// A flow for some packets, or for all of a table.
fn any_pipeline_flow() -> impl Strategy<Value = FlowMod> {
    let ours = (any_match(), 0..4u8, select(vec![1u16, 5, 100])).prop_flat_map(
        |(matching, table, priority)| {
            any_actions(table).prop_map(move |actions| FlowMod {
                table: Some(table),
                priority,
                matching,
                actions: Some(actions),
                ..FlowMod::default()
            })
        },
    );
    let catch_all = (0..4u8).prop_flat_map(|table| {
        any_actions(table).prop_map(move |actions| FlowMod {
            table: Some(table),
            priority: 0,
            actions: Some(actions),
            ..FlowMod::default()
        })
    });
    prop_oneof![4 => ours, 3 => catch_all]
}

fn any_bucket(id: u32) -> impl Strategy<Value = Bucket> {
    let watch_port = prop::option::weighted(0.5, 1..7u16);
    let watch_group = prop::option::weighted(0.2, 1..=GROUPS);
    (0..4u16, watch_port, watch_group, vec(any_in_set(), 1..4)).prop_map(
        move |(weight, watch_port, watch_group, actions)| Bucket {
            id,
            weight,
            watch_port,
            watch_group,
            actions,
        },
    )
}

fn any_group() -> impl Strategy<Value = Group> {
    let kinds = GroupKind::ALL.map(|(kind, _)| kind).to_vec();
    let selections = vec![
        Selection::Default,
        Selection::DpHash { param: 7 },
        Selection::Hash { param: 1, fields: vec![(Field::EthSrc, Field::EthSrc.ones())] },
    ];
    let buckets = (any_bucket(0), any_bucket(1), any_bucket(2), 1..4usize);
    (1..=GROUPS, select(kinds), select(selections), buckets).prop_map(
        |(id, kind, selection, (a, b, c, count))| {
            let count = if kind == GroupKind::Indirect { 1 } else { count };
            let mut buckets = vec![a, b, c];
            buckets.truncate(count);
            let selection = if kind == GroupKind::Select { selection } else { Selection::Default };
            Group { id, kind, selection, buckets }
        },
    )
}

fn any_meter() -> impl Strategy<Value = Meter> {
    (1..=METERS, 1..4u32).prop_map(|(id, burst_size)| Meter {
        id: MeterId::Number(id),
        unit: MeterUnit::Pktps,
        burst: true,
        stats: false,
        bands: vec![MeterBand { kind: api::BandKind::Drop, rate: 1, burst_size }],
    })
}

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

/// A flow that shows as its actions.
#[derive(Clone)]
struct Text(FlowMod);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FlowMod { table, priority, matching, actions, .. } = &self.0;
        write!(f, "table {table:?} priority {priority} {matching} -> {actions:?}")
    }
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
