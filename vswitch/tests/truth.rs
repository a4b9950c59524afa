//! What a trace says is what happens then, and what caches hold is right for every packet they are
//! asked about.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;
#[path = "common/pipeline.rs"]
mod generators;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::reply::{Tier, Trace, TraceNode, Verdict};
use api::testing::any_flow_mod;
use api::{DropReason, Group, GroupMod, Meter, MeterBand, MeterMod};
use common::{BRIDGE, Bench, Options, Outcome};
use flowtable::{Aside, Frozen, PortView, Step, Tables, Tracked, Translation, VlanMode};
use generators::{Text, any_group, any_meter, any_pipeline_flow};
use packet::{Key, Span, compose, ethernet};
use proptest::collection::vec;
use proptest::prelude::*;
use testnet::packets::any_key;
use vswitch::describe::{self, Names, Vocabulary};
use vswitch::desk::Order;
use vswitch::dump::{CachedFlow, DumpRequest, Which};
use vswitch::trace::{Assumptions, Subject, trace};

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
    let subject = Subject::given(bytes, 1).unwrap();
    trace(&bench.generation(), &port(bench, 1), &subject, Assumptions::default())
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
    bench.desk.order([Order::Dump(DumpRequest { tier, which: Which::From(0), reply })]);
    bench.turn();
    page.try_recv().unwrap()
}

fn forget(bench: &mut Bench) {
    let (reply, forgotten) = std::sync::mpsc::sync_channel(1);
    bench.desk.order([Order::Flush(reply)]);
    bench.turn();
    forgotten.try_recv().unwrap();
}

/// A pipeline with groups and meters. None of them drops anything.
#[derive(Clone, Debug)]
struct Pipeline {
    groups: Vec<Group>,
    meters: Vec<Meter>,
    flows: Vec<Text>,
}

fn any_pipeline() -> impl Strategy<Value = Pipeline> {
    let generous = |meter: Meter| {
        let wide = |band| MeterBand { rate: u32::MAX, burst_size: u32::MAX, ..band };
        Meter { bands: meter.bands.into_iter().map(wide).collect(), ..meter }
    };
    let meters = vec(any_meter().prop_map(generous), 0..4);
    let flows = vec(any_pipeline_flow().prop_map(Text), 1..12);
    (vec(any_group(), 0..6), meters, flows).prop_map(|(groups, meters, flows)| Pipeline {
        groups,
        meters,
        flows,
    })
}

impl Pipeline {
    fn bench(&self) -> Bench {
        let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
        let mut bench = Bench::new(&vlans, Options::default());
        let groups = self.groups.iter().cloned().map(GroupMod::AddOrModify);
        groups.for_each(|group| bench.group_mod(&group));
        self.meters.iter().for_each(|meter| bench.meter_mod(&MeterMod::Add(meter.clone())));
        self.flows.iter().for_each(|flow| bench.flow_mods(std::slice::from_ref(&flow.0)));
        bench
    }
}

/// What a trace says each rule will have counted by then.
fn counted_by(said: &Trace, mut before: BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    for step in said.passes.iter().flat_map(|pass| &pass.steps) {
        if let TraceNode::Table { flow: Some(flow), .. } = &step.what {
            *before.entry(flow.id).or_default() += 1;
        }
    }
    before
}

/// How often each bucket was taken, by group and number.
fn taken(bench: &Bench) -> BTreeMap<(u32, u32), u64> {
    let groups = bench.counts().groups.into_iter();
    let each = groups.flat_map(|(group, _, buckets)| {
        (0..).zip(buckets).map(move |(bucket, packets)| ((group, bucket), packets))
    });
    each.filter(|(_, packets)| *packets > 0).collect()
}

/// The same by what a trace says.
fn taken_by(said: &Trace, mut before: BTreeMap<(u32, u32), u64>) -> BTreeMap<(u32, u32), u64> {
    for step in said.passes.iter().flat_map(|pass| &pass.steps) {
        if let TraceNode::Bucket { group, bucket } = &step.what {
            *before.entry((*group, *bucket)).or_default() += 1;
        }
    }
    before
}

/// The megaflows of a worker as match and actions.
fn megaflows(bench: &mut Bench) -> BTreeSet<(String, String)> {
    let tables = bench.generation();
    let entries = cached(bench, Tier::Megaflow);
    entries.iter().map(|flow| in_words(flow, &tables)).collect()
}

fn in_words(flow: &CachedFlow, tables: &Tables) -> (String, String) {
    let ports = &tables.bridge(BRIDGE).unwrap().ports;
    let port = |id| ports.by_id(id).map_or_else(String::new, |port| port.name.to_string());
    let aside = |number| flow.aside(number);
    let words = Vocabulary { tables, port: &port, aside: &aside };
    let behind = flow.behind.and_then(|number| match flow.aside(number)? {
        Aside::Frozen(frozen) => {
            let outcome = u16::try_from(flow.key.word(Key::OUTCOME)).unwrap();
            Some(describe::behind(frozen, number.0, outcome, tables))
        }
        _ => None,
    });
    let matching = describe::matching(&flow.key, &flow.mask, &Names(ports), behind.as_ref());
    (without_numbers(&matching), without_numbers(&describe::program(&flow.ops, &words)))
}

/// A trace numbers what goes on by itself.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split("resume");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("resume");
        plain.push_str(part[1..].trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    plain
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
            says_and_does(&mut bench, &compose(&key, len))?;
        }
    }

    #[test]
    fn what_a_trace_of_all_passes_says_then_happens(
        pipeline in any_pipeline(),
        packets in vec((any_key(), 60..120usize), 1..6),
    ) {
        let mut bench = pipeline.bench();
        for (key, len) in packets {
            says_and_does(&mut bench, &compose(&key, len))?;
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
        flip_all(&key, |key, into| into.translate(&tables, &port, key, &mut ()))?;
    }

    /// Nor does it on the passes behind.
    #[test]
    fn a_wildcarded_bit_changes_nothing_behind_a_decision(
        pipeline in any_pipeline(),
        key in any_key(),
    ) {
        let bench = pipeline.bench();
        let (tables, port) = (bench.generation(), port(&bench, 1));
        let key = key.with(Key::IN_PORT, 1u8).with(Key::INGRESS, port.id.0);
        let mut found = flip_all(&key, |key, into| into.translate(&tables, &port, key, &mut ()))?;
        // As many as can be looked at in the time there is.
        for _ in 0..6 {
            let Some(frozen) = found.pop() else { break };
            for outcome in 0..2 {
                let mut key = key;
                frozen.complete(&mut key, &Tracked::default(), port.id.0, 1, outcome);
                let resume = |key: &Key, into: &mut Translation| {
                    into.resume(&tables, &frozen, key, &mut ());
                };
                found.extend(flip_all(&key, resume)?);
            }
        }
    }
}

/// Flips every bit of a packet that its translation has not looked at: it must say the same. Answers
/// with how it goes on.
fn flip_all(
    key: &Key,
    translate: impl Fn(&Key, &mut Translation),
) -> Result<Vec<Arc<Frozen>>, TestCaseError> {
    let (mut translation, mut again) = (Translation::new(), Translation::new());
    translate(key, &mut translation);
    let Translation { looked, ops, path, asides, .. } = &translation;
    // Behind them are metadata and registers, which are 0 in every packet that comes in.
    for word in 1..Key::PARSED_WORDS {
        for bit in (0..64).filter(|bit| looked[word] >> bit & 1 == 0) {
            let mut other = *key;
            other[word] ^= 1 << bit;
            let Some(other) = possible(other, looked) else { continue };
            translate(&other, &mut again);
            prop_assert_eq!(&again.ops, ops, "word {}, bit {}", word, bit);
            prop_assert_eq!(&again.path, path);
            prop_assert_eq!(&again.asides, asides);
        }
    }
    let frozen = asides.iter().filter_map(|aside| match aside {
        Aside::Frozen(frozen) => Some(Arc::clone(frozen)),
        Aside::Show(_) | Aside::Sample(_) => None,
    });
    Ok(frozen.collect())
}

/// A packet that agrees with this one in all that was looked at; `None` if there is none.
fn possible(key: Key, looked: &Key) -> Option<Key> {
    const HEADERS: [Span; 5] =
        [Key::HAS_NETWORK, Key::HAS_TRANSPORT, Key::HAS_ND, Key::HAS_ND_SLL, Key::HAS_ND_TLL];
    if (key.word(Key::NW_TTL) > 1) != (key.word(Key::TTL_LEFT) == 1) {
        return None;
    }
    let networks = [ethernet::IPV4, ethernet::IPV6, ethernet::ARP].map(u64::from);
    if networks.contains(&key.word(Key::ETH_TYPE)) {
        return Some(key);
    }
    // Others have no header that could be found.
    let needs = |header: &Span| key.get(*header) & looked.get(*header) != 0;
    let without = HEADERS.into_iter().fold(key, |key, header| key.with(header, 0u8));
    (!HEADERS.iter().any(needs)).then_some(without)
}

/// Traces a packet, then carries it.
fn says_and_does(bench: &mut Bench, bytes: &[u8]) -> Result<(), TestCaseError> {
    // Megaflows that were made for other packets may know this one too.
    forget(bench);
    let said = traced(bench, bytes);
    let (rules, buckets) = (counted(bench), taken(bench));
    let (real, _) = bench.carry(1, &[bytes.to_vec()]);
    let real = real.in_words();
    let nothing = real.is_empty() && matches!(said.verdict, Verdict::Dropped(_) | Verdict::Shown);
    prop_assert!(nothing || outcome(&said) == real, "{real:?}, and it said {said:#?}");
    prop_assert_eq!(counted_by(&said, rules), counted(bench), "{:#?}", said);
    prop_assert_eq!(taken_by(&said, buckets), taken(bench), "{:#?}", said);
    let made = megaflows(bench);
    for entry in said.entries.iter().filter(|entry| entry.tier == Tier::Megaflow) {
        let entry = (without_numbers(&entry.matching), without_numbers(&entry.actions));
        prop_assert!(made.contains(&entry), "{entry:?} is not among {made:#?}");
    }
    Ok(())
}

/// More of them where somebody waits: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

/// The verdict in the words of [`Outcome::in_words`].
fn outcome(said: &Trace) -> Vec<String> {
    match &said.verdict {
        Verdict::Dropped(reason) => vec![format!("dropped: {reason:?}")],
        Verdict::Shown => Vec::new(),
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

/// A switch with a meter and these flows.
fn metered(flows: &[String]) -> Bench {
    let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
    let mut bench = Bench::new(&vlans, Options::default());
    let meter = "meter=1,pktps,bands=type=drop,rate=1000000".parse().unwrap();
    bench.meter_mod(&MeterMod::Add(meter));
    flows.iter().for_each(|flow| bench.flow_mods(&[flow.parse().unwrap()]));
    bench
}

#[test]
fn a_trace_takes_as_many_passes_as_a_packet() {
    let flow = |table: u32| format!("table={table},actions=meter:1,resubmit(,{})", table + 1);
    let mut bench = metered(&(0..12).map(flow).collect::<Vec<_>>());
    let packet = vec![0; 60];
    let said = traced(&bench, &packet);
    assert_eq!(said.passes.len(), 9);
    assert_eq!(said.verdict, Verdict::Dropped(DropReason::PassLimit));
    assert!(matches!(said.passes[8].steps.last().unwrap().what, TraceNode::Error { .. }));
    let (real, _) = bench.carry(1, &[packet]);
    assert_eq!(real.in_words(), outcome(&said));
}

/// A packet may make thousands of copies that each take passes of their own.
#[test]
fn a_trace_of_too_many_passes_is_cut() {
    let copies = "clone(resubmit(,1)),".repeat(500);
    let flows =
        [format!("actions={copies}output:3"), "table=1,actions=meter:1,output:2".to_owned()];
    let bench = metered(&flows);
    let said = traced(&bench, &[0; 60]);
    assert_eq!(said.passes.len(), 64);
    let last = &said.passes[63].steps.last().unwrap().what;
    assert!(matches!(last, TraceNode::Warning { text } if text.contains("cut here")), "{last:?}");
    assert!(matches!(&said.verdict, Verdict::Sent(ports) if ports.len() == 64));
}

#[test]
fn a_trace_of_a_long_packet_copies_all_of_it() {
    let outputs = "output:2,".repeat(200);
    let bench = metered(&[format!("actions={outputs}output:3")]);
    let said = traced(&bench, &vec![0; 65_535]);
    assert!(matches!(&said.verdict, Verdict::Sent(ports) if ports.len() == 201));
}

/// What a meter would drop goes nowhere, and what was done before is done.
#[test]
fn a_meter_may_be_assumed_to_drop() {
    let flows =
        ["actions=output:2,clone(resubmit(,1)),output:4", "table=1,actions=meter:1,output:3"];
    let bench = metered(&flows.map(str::to_owned));
    let subject = Subject::given(&[0; 60], 1).unwrap();
    let metered = Assumptions { metered: true, ..Assumptions::default() };
    let said = trace(&bench.generation(), &port(&bench, 1), &subject, metered);
    assert_eq!(said.passes.len(), 1);
    assert_eq!(said.verdict, Verdict::Sent(vec!["p2".to_owned(), "p4".to_owned()]));
}
