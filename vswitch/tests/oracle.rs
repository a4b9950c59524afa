//! The switch against the interpreter: the same packets leave with the same bytes, in the same
//! order, for the same reasons dropped, and the same rules have counted them - through all tiers,
//! across changes of flows in between.

mod common;

use api::testing::{any_flow, any_flow_mod};
use api::{DropReason, FlowMod};
use common::{Bench, Options};
use flowtable::VlanMode;
use packet::{Key, compose};
use proptest::prelude::*;
use testnet::packets::{any_garbage, any_key};

#[derive(Clone)]
enum Step {
    /// Changes of flows, as one transaction.
    Flows(Vec<FlowMod>),
    /// Packets into a port: each as often as it says.
    Packets(u16, Vec<(Vec<u8>, usize)>),
    /// Time passes.
    Wait(u64),
    /// Control folds counters.
    Fold,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flows(flows) => {
                let flows: Vec<_> = flows.iter().map(ToString::to_string).collect();
                write!(f, "flows {flows:?}")
            }
            Self::Packets(port, packets) => {
                write!(f, "into port {port}:")?;
                packets.iter().try_for_each(|(bytes, times)| {
                    let hex: String =
                        bytes.iter().take(54).map(|byte| format!("{byte:02x}")).collect();
                    write!(f, " {times}x{}:{hex}", bytes.len())
                })
            }
            Self::Wait(seconds) => write!(f, "wait {seconds}"),
            Self::Fold => write!(f, "fold"),
        }
    }
}

/// Flows that show as their text.
#[derive(Clone)]
struct Flows(Vec<FlowMod>);

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(ToString::to_string)).finish()
    }
}

/// Flows that come in one transaction.
const TOGETHER: usize = 24;

fn any_flows() -> impl Strategy<Value = Flows> {
    prop::collection::vec(any_flow_mod(), 0..TOGETHER).prop_map(Flows)
}

/// So many flows in a few tables that their rules share tuples.
fn many_flows() -> impl Strategy<Value = Flows> {
    let flow = any_flow().prop_map(|flow| FlowMod { table: flow.table.map(|n| n % 3), ..flow });
    prop::collection::vec(flow, 120..240).prop_map(Flows)
}

fn any_step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        8 => (any_key(), 60..120usize).prop_map(|(key, len)| compose(&key, len)),
        1 => any_garbage(),
    ];
    let packets = prop::collection::vec((bytes, 1..4usize), 1..8);
    prop_oneof![
        2 => prop::collection::vec(any_flow_mod(), 1..4).prop_map(Step::Flows),
        6 => (1..5u16, packets).prop_map(|(port, packets)| Step::Packets(port, packets)),
        1 => (0..30u64).prop_map(Step::Wait),
        1 => Just(Step::Fold),
    ]
}

fn any_vlan() -> impl Strategy<Value = VlanMode> {
    prop_oneof![
        3 => Just(VlanMode::Trunk(Vec::new())),
        1 => Just(VlanMode::Trunk(vec![0, 5])),
        1 => prop_oneof![Just(5u16), Just(10)].prop_map(VlanMode::Access),
    ]
}

fn run(
    vlans: &[VlanMode],
    flows: &[FlowMod],
    steps: &[Step],
    options: Options,
) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(vlans, options);
    // Of very many some would be refused, and with them all.
    let each = if flows.len() < TOGETHER { TOGETHER } else { 1 };
    flows.chunks(each).for_each(|flows| bench.flow_mods(flows));
    for step in steps {
        match step {
            Step::Flows(changes) => bench.flow_mods(changes),
            Step::Wait(seconds) => bench.now += std::time::Duration::from_secs(*seconds),
            Step::Fold => bench.fold(),
            Step::Packets(port, packets) => {
                let packets: Vec<_> = packets
                    .iter()
                    .flat_map(|(bytes, times)| std::iter::repeat_n(bytes.clone(), *times))
                    .collect();
                let (real, expected) = bench.carry(*port, &packets);
                if real.dropped.iter().any(|(_, reason, _)| *reason == DropReason::ProgramLimit) {
                    // A loop that sends so much that its program ends before it is too deep. The
                    // interpreter has no programs, and none of their limits.
                    return Ok(());
                }
                prop_assert_eq!(real, expected, "into port {}", port);
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
    fn all_tiers_agree_with_the_interpreter(
        vlans in prop::collection::vec(any_vlan(), 4),
        flows in any_flows(),
        steps in prop::collection::vec(any_step(), 1..12),
    ) {
        run(&vlans, &flows.0, &steps, Options::default())?;
    }

    /// With caches so small that something always has to go.
    #[test]
    fn small_caches_agree_too(
        vlans in prop::collection::vec(any_vlan(), 4),
        flows in any_flows(),
        steps in prop::collection::vec(any_step(), 1..12),
    ) {
        run(&vlans, &flows.0, &steps, Options { sessions: 8, megaflows: 8 })?;
    }

    #[test]
    fn without_sessions_it_is_the_same(
        vlans in prop::collection::vec(any_vlan(), 4),
        flows in any_flows(),
        steps in prop::collection::vec(any_step(), 1..12),
    ) {
        run(&vlans, &flows.0, &steps, Options { sessions: 0, megaflows: 1024 })?;
    }

    #[test]
    fn tables_of_many_masks_are_the_same(
        vlans in prop::collection::vec(any_vlan(), 4),
        flows in many_flows(),
        steps in prop::collection::vec(any_step(), 1..12),
    ) {
        run(&vlans, &flows.0, &steps, Options::default())?;
    }
}

/// It was where it had been seen before: what the same packet had taught meanwhile was not taken back.
#[test]
fn who_is_seen_elsewhere_and_back_is_where_it_was_seen_last() {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options::default());
    let twice = "in_port=4 actions=NORMAL,set_field:2->in_port,NORMAL,set_field:4->in_port,NORMAL";
    bench.flow_mods(&[twice.parse().unwrap()]);
    let own = Key::ZERO
        .with(Key::ETH_SRC, 0x0200_0000_0002_u64)
        .with(Key::ETH_DST, 0x0200_0000_0002_u64)
        .with(Key::ETH_TYPE, 0x88b5u16);
    for _ in 0..3 {
        let (real, expected) = bench.carry(4, &[compose(&own, 60)]);
        assert_eq!((real.sent.len(), real), (0, expected));
    }
    bench.check();
}
