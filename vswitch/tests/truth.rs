//! What a trace says is what happens then, and what caches hold is right for every packet they are
//! asked about.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::collections::BTreeMap;

use api::reply::{Tier, Trace, TraceNode, Verdict};
use api::testing::any_flow_mod;
use common::{BRIDGE, Bench, Options, Outcome};
use flowtable::{PortView, Step, VlanMode};
use packet::{Key, compose, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use testnet::packets::any_key;
use vswitch::describe::{self, Names};
use vswitch::dump::{CachedFlow, DumpRequest};
use vswitch::trace::trace;

fn any_vlan() -> impl Strategy<Value = VlanMode> {
    prop_oneof![
        3 => Just(VlanMode::Trunk(Vec::new())),
        1 => Just(VlanMode::Trunk(vec![0, 5])),
        1 => prop_oneof![Just(5u16), Just(10)].prop_map(VlanMode::Access),
    ]
}

/// Four ports and flows, as text so that one can read them.
fn any_switch() -> impl Strategy<Value = (Vec<VlanMode>, Vec<String>)> {
    let flows = vec(any_flow_mod().prop_map(|flow| flow.to_string()), 1..24);
    (vec(any_vlan(), 4), flows)
}

fn bench((vlans, flows): &(Vec<VlanMode>, Vec<String>), options: Options) -> Bench {
    let mut bench = Bench::new(vlans, options);
    // One by one: those that are refused change nothing.
    for flow in flows {
        bench.flow_mods(&[flow.parse().unwrap()]);
    }
    bench
}

fn port(bench: &Bench, number: u16) -> PortView {
    PortView::clone(bench.generation().bridge(BRIDGE).unwrap().ports.get(number).unwrap())
}

fn traced(bench: &Bench, bytes: &[u8]) -> Trace {
    let port = port(bench, 1);
    let mut key = Key::ZERO.with(Key::IN_PORT, 1u8).with(Key::INGRESS, port.id.0);
    let headers = parse(bytes, bytes.len(), &mut key).ok();
    trace(&bench.generation(), &port, &key, headers)
}

/// How often each rule has counted.
fn counted(bench: &Bench) -> BTreeMap<u64, u64> {
    let tables = bench.generation();
    let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
    for rule in tables.bridge(BRIDGE).unwrap().rules() {
        *counted.entry(rule.id.0).or_default() += rule.stats.load().0;
    }
    bench.reader.for_each(|steps, count| {
        for step in steps {
            if let Step::Rule(id) = step {
                *counted.entry(id.0).or_default() += count.packets;
            }
        }
    });
    counted.retain(|_, packets| *packets > 0);
    counted
}

fn cached(bench: &mut Bench, tier: Tier) -> Vec<CachedFlow> {
    let (reply, page) = std::sync::mpsc::sync_channel(1);
    bench.desk.order([vswitch::desk::Order::Dump(DumpRequest { tier, skip: 0, reply })]);
    bench.turn();
    page.try_recv().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn what_a_trace_says_then_happens(
        switch in any_switch(),
        packets in vec((any_key(), 60..100usize), 1..6),
    ) {
        let mut bench = bench(&switch, Options::default());
        for (key, len) in packets {
            let bytes = compose(&key, len);
            let said = traced(&bench, &bytes);
            let before = counted(&bench);
            let known = cached(&mut bench, Tier::Megaflow).len();
            let (real, _) = bench.carry(1, std::slice::from_ref(&bytes));
            prop_assert_eq!(&outcome(&said), &real.in_words());
            let mut rules: BTreeMap<u64, u64> = before;
            for step in said.passes.iter().flat_map(|pass| &pass.steps) {
                if let TraceNode::Table { flow: Some(flow), .. } = &step.what {
                    *rules.entry(flow.id).or_default() += 1;
                }
            }
            prop_assert_eq!(rules, counted(&bench));
            let made = cached(&mut bench, Tier::Megaflow);
            // One that was made for another packet may know this one too.
            if let Some(entry) = said.entries.iter().find(|entry| entry.tier == Tier::Megaflow)
                && made.len() > known
            {
                let tables = bench.generation();
                let ports = &tables.bridge(BRIDGE).unwrap().ports;
                let name = |id| ports.by_id(id).map_or_else(String::new, |port| port.name.to_string());
                let made: Vec<_> = made
                    .iter()
                    .map(|flow| {
                        let matching = describe::megaflow(&flow.key, &flow.mask, &Names(ports));
                        (matching, describe::program(&flow.ops, &name))
                    })
                    .collect();
                let entry = (entry.matching.clone(), entry.actions.clone());
                prop_assert!(made.contains(&entry), "{entry:?} is not among {made:?}");
            }
        }
    }

    /// The packets are those of one connection, over and over: tier 1 has it. Then each differs from
    /// it in a single bit.
    #[test]
    fn a_bit_that_differs_is_never_answered_from_a_cache_that_looked_at_it(
        switch in any_switch(),
        key in any_key(),
        len in 60..100usize,
    ) {
        let mut bench = bench(&switch, Options { sessions: 4096, ..Options::default() });
        let bytes = compose(&key, len);
        let neighbours: Vec<_> = (0..8 * bytes.len())
            .map(|bit| {
                let mut other = bytes.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                other
            })
            .collect();
        let (real, expected) = bench.carry(1, &vec![bytes.clone(); 4]);
        prop_assert_eq!(real, expected);
        for neighbours in neighbours.chunks(64) {
            // The original in between, so that its session is the last thing that was met.
            let packets: Vec<_> =
                neighbours.iter().flat_map(|other| [bytes.clone(), other.clone()]).collect();
            let (real, expected) = bench.carry(1, &packets);
            prop_assert_eq!(real, expected);
        }
        bench.check();
        prop_assert_eq!(bench.counts(), bench.expected_counts());
    }

    /// No bit that a megaflow has wildcarded matters: with it flipped the tables say the same.
    #[test]
    fn a_wildcarded_bit_changes_nothing(switch in any_switch(), key in any_key()) {
        let bench = bench(&switch, Options::default());
        let (tables, port) = (bench.generation(), port(&bench, 1));
        let key = key.with(Key::IN_PORT, 1u8).with(Key::INGRESS, port.id.0);
        let mut translation = flowtable::Translation::new();
        translation.translate(&tables, &port, &key, &mut ());
        let (looked, ops) = (translation.looked, translation.ops.clone());
        let path = translation.path.clone();
        // Behind them are metadata and registers, which are 0 in every packet that comes in.
        for word in 1..Key::PARSED_WORDS {
            for bit in (0..64).filter(|bit| looked[word] >> bit & 1 == 0) {
                let mut other = key;
                other[word] ^= 1 << bit;
                if (other.word(Key::NW_TTL) > 1) != (other.word(Key::TTL_LEFT) == 1) {
                    // There is no such packet.
                    continue;
                }
                translation.translate(&tables, &port, &other, &mut ());
                prop_assert_eq!(&translation.ops, &ops, "word {}, bit {}", word, bit);
                prop_assert_eq!(&translation.path, &path);
            }
        }
    }
}

/// More of them where somebody waits: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

/// The verdict in the words of [`Outcome::in_words`].
fn outcome(said: &Trace) -> Vec<String> {
    match &said.verdict {
        Verdict::Dropped(reason) => vec![format!("dropped: {reason:?}")],
        Verdict::Sent(ports) => {
            let mut ports: Vec<_> = ports.iter().map(|port| format!("sent: {port}")).collect();
            ports.sort();
            ports
        }
    }
}

trait InWords {
    fn in_words(&self) -> Vec<String>;
}

impl InWords for Outcome {
    /// Where the packet went, or why it did not.
    fn in_words(&self) -> Vec<String> {
        let dropped = self.dropped.iter().map(|(_, reason, _)| format!("dropped: {reason:?}"));
        dropped.chain(self.sent.iter().map(|(port, _)| format!("sent: p{port}"))).collect()
    }
}

#[test]
fn a_trace_names_the_session_that_the_second_packet_makes() {
    let flows = [
        "priority=2,udp,tp_dst=0/0x8,actions=resubmit(,1)",
        "priority=1,udp,actions=output:2",
        "table=1,ip,nw_tos=0,actions=output:3",
    ];
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = bench(&(vlans, flows.map(str::to_owned).to_vec()), Options::default());
    let packet = |port: u16| {
        let key = Key::ZERO
            .with(Key::ETH_TYPE, 0x800_u16)
            .with(Key::NW_PROTO, 17_u8)
            .with(Key::NW_TTL, 64_u8)
            .with(Key::NW_SRC, 0x0a00_0001_u32)
            .with(Key::TP_DST, port);
        compose(&key, 60)
    };
    let said = traced(&bench, &packet(7));
    let [session, _] = said.entries.as_slice() else { panic!("{:?}", said.entries) };
    assert_eq!(session.tier, Tier::Session);
    assert_eq!(
        session.matching,
        "udp,in_port=p1,nw_src=10.0.0.1,nw_dst=0.0.0.0,nw_tos=0,tp_src=0,tp_dst=7"
    );
    // The other makes it worth while: now there are two masks.
    bench.carry(1, &[packet(8), packet(7)]);
    bench.carry(1, &[packet(7)]);
    bench.check();
    let tables = bench.generation();
    let names = Names(&tables.bridge(BRIDGE).unwrap().ports);
    let [made] = &cached(&mut bench, Tier::Session)[..] else { panic!("no session was made") };
    assert_eq!(describe::megaflow(&made.key, &made.mask, &names), session.matching);
    bench.carry(1, &[packet(7)]);
    bench.check();
    assert_eq!(bench.counters.session_hits.get(), 1);
}
