//! Pipelines with groups, meters, copies, action sets, the stack, and whatever else is decided for
//! each packet.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::allow_attributes, reason = "which part is unused differs between tests")]

use api::testing::any_match;
use api::{
    Action, Bucket, Bundle, BundleAlgorithm, Field, FlowMod, Group, GroupKind, HashFields, Meter,
    MeterBand, MeterId, MeterUnit, Multipath, MultipathAlgorithm, OutPort, Selection, Subfield,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) const GROUPS: u32 = 5;
const METERS: u32 = 3;
/// The last table, whose flows lead nowhere else: so there are no loops.
pub(crate) const LAST: u8 = 3;

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
pub(crate) fn any_pipeline_flow() -> impl Strategy<Value = FlowMod> {
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

pub(crate) fn any_group() -> impl Strategy<Value = Group> {
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

pub(crate) fn any_meter() -> impl Strategy<Value = Meter> {
    (1..=METERS, 1..4u32).prop_map(|(id, burst_size)| Meter {
        id: MeterId::Number(id),
        unit: MeterUnit::Pktps,
        burst: true,
        stats: false,
        bands: vec![MeterBand { kind: api::BandKind::Drop, rate: 1, burst_size }],
    })
}

/// A flow that shows as its actions.
#[derive(Clone)]
pub(crate) struct Text(pub(crate) FlowMod);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FlowMod { table, priority, matching, actions, .. } = &self.0;
        write!(f, "table {table:?} priority {priority} {matching} -> {actions:?}")
    }
}
