//! A table against a plain list: the same rule, and a mask that tells the truth.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use api::testing::any_match;
use api::{Action, Command, Field, FlowFlags, FlowMod, Match, PortRange};
use flowtable::{BridgeId, Edit, Mask, Overflow, Refused, Rule, RuleId, Table, TableLimit, Tables};
use packet::{Key, Millis, Seed};
use proptest::prelude::*;
use testnet::packets::any_key;

/// A rule of a match and a priority out of few, so that many are equal.
fn rule(id: u64, matching: &Match, priority: u16) -> Rule {
    let mask = Mask::of(matching);
    let values = mask.values_of(matching);
    Rule {
        id: RuleId(id),
        order: id,
        table: 0,
        priority,
        mask: Arc::new(mask),
        values,
        actions: Arc::new([]),
        cookie: 0,
        idle_timeout: 0,
        hard_timeout: 0,
        importance: 0,
        flags: FlowFlags::default(),
        created: Millis(0),
        modified: Millis(0),
        stats: Arc::default(),
    }
}

/// The rule that a list of them gives a packet, and the clauses that led there.
///
/// Literally: of the rules that are no clauses the best one, unless at some priority above its own
/// all clauses of a conjunctive match are met, and there is a rule for its number.
fn linear_search(rules: &[Arc<Rule>], key: &Key) -> (Option<RuleId>, Vec<RuleId>) {
    let hard = best(rules, key);
    let met = rules.iter().filter(|rule| rule.matching().covers(key));
    let mut matches = BTreeMap::<_, Vec<_>>::new();
    for rule in met {
        for action in rule.actions.iter() {
            if let Action::Conjunction { id, clause, clauses } = action {
                let place = (Reverse(rule.priority), *id, *clauses);
                matches.entry(place).or_default().push((*clause, rule.id));
            }
        }
    }
    for ((Reverse(priority), id, clauses), held) in matches {
        let is_complete = (0..clauses).all(|n| held.iter().any(|(clause, _)| *clause == n));
        if is_complete
            && hard.is_none_or(|hard| hard.priority < priority)
            && let Some(found) = best(rules, &key.with(Key::CONJ_ID, id))
        {
            let mut held: Vec<_> = held.into_iter().map(|(_, rule)| rule).collect();
            held.sort_unstable();
            held.dedup();
            return (Some(found.id), held);
        }
    }
    (hard.map(|rule| rule.id), Vec::new())
}

/// The best of the rules that are no clauses.
fn best<'a>(rules: &'a [Arc<Rule>], key: &Key) -> Option<&'a Arc<Rule>> {
    let hard = rules.iter().filter(|rule| !rule.is_clause() && rule.matching().covers(key));
    hard.min_by_key(|rule| (Reverse(rule.priority), rule.order))
}

#[derive(Clone, Debug)]
struct Given {
    matching: Match,
    priority: u16,
    actions: Vec<Action>,
}

impl Given {
    fn rule(&self, id: u64) -> Rule {
        Rule { actions: self.actions.clone().into(), ..rule(id, &self.matching, self.priority) }
    }
}

/// Rules of few priorities, among them clauses and those for the numbers of conjunctive matches.
fn any_rules() -> impl Strategy<Value = Vec<Given>> {
    let priority = prop_oneof![Just(0x8000u16), 0..4u16];
    let conjunction = prop::option::weighted(0.2, 1..4u32);
    let rule = (any_match_with_ranges(), priority, any_clauses(), conjunction).prop_map(
        |(mut matching, priority, actions, conjunction)| {
            if let Some(id) = conjunction {
                matching.set(Field::ConjId, id.into(), u32::MAX.into()).unwrap();
            }
            Given { matching, priority, actions }
        },
    );
    prop::collection::vec(rule, 0..40)
}

fn any_range() -> impl Strategy<Value = Option<PortRange>> {
    let port = || prop_oneof![3 => 0..6u16, 1 => 70..90u16, 1 => any::<u16>()];
    let range = (port(), port()).prop_filter_map("all ports", |(a, b)| {
        let (first, last) = (a.min(b), a.max(b));
        ((first, last) != (0, u16::MAX)).then_some(PortRange { first, last })
    });
    prop::option::weighted(0.7, range)
}

/// Any match, of ports sometimes by ranges, often wide.
fn any_match_with_ranges() -> impl Strategy<Value = Match> {
    let ranges = prop::option::weighted(0.5, (any_range(), any_range()));
    let wide = prop_oneof![4 => any_match().boxed(), 1 => Just(Match::ANY).boxed()];
    (wide, ranges).prop_map(|(matching, ranges)| {
        let fields = match matching.nw_proto() {
            Some(6) => [Field::TcpSrc, Field::TcpDst],
            Some(17) => [Field::UdpSrc, Field::UdpDst],
            Some(132) => [Field::SctpSrc, Field::SctpDst],
            _ => return matching,
        };
        let Some((src, dst)) = ranges else { return matching };
        if fields.iter().any(|field| matching.require(*field).is_err()) {
            return matching;
        }
        let mut wild = matching;
        for (field, range) in fields.into_iter().zip([src, dst]) {
            if range.is_some() {
                wild.set(field, 0, 0).unwrap();
            }
        }
        wild.with_ranges([src, dst])
    })
}

/// None, or clauses of few matches, of two or three each, in any order.
fn any_clauses() -> impl Strategy<Value = Vec<Action>> {
    let clause = (1..4u32, 2..4u8, 0..3u8).prop_map(|(id, clauses, clause)| {
        let clauses = if clauses == 3 && id != 3 { 2 } else { clauses };
        Action::Conjunction { id, clause: clause % clauses, clauses }
    });
    prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(clause, 0..4)]
}

/// The same key with some bits flipped that `looked` does not have.
fn flipped(key: &Key, looked: &Key, noise: &[u64]) -> Key {
    let mut flipped = *key;
    for ((word, looked), noise) in flipped.words_mut().iter_mut().zip(looked.words()).zip(noise) {
        *word ^= noise & !looked;
    }
    flipped
}

/// An address out of few, with what its neighbours share at every length.
fn any_address() -> impl Strategy<Value = u32> {
    (0..4u32, 0..4u32, 0..8u32, 0..8u32).prop_map(|(a, b, c, d)| a << 30 | b << 20 | c << 9 | d)
}

/// A rule of an access list: prefixes of any lengths, ports of any masks.
fn any_line() -> impl Strategy<Value = Match> {
    let prefix = || (any_address(), prop_oneof![Just(0u32), Just(32), 0..=32u32]);
    let port = || (0..8u16, prop_oneof![Just(0), Just(0xffff), Just(0xfffe), Just(0xfff0)]);
    let proto = prop_oneof![
        Just(None),
        Just(Some((6, [Field::TcpSrc, Field::TcpDst]))),
        Just(Some((17, [Field::UdpSrc, Field::UdpDst])))
    ];
    let tos = prop::option::weighted(0.1, 0..2u16);
    (prefix(), prefix(), proto, port(), port(), any_range(), tos).prop_map(
        |(src, dst, proto, src_port, dst_port, range, tos)| {
            let mut matching = Match::from_fields([(Field::EthType, 0x0800, 0xffff)]).unwrap();
            for (field, (address, len)) in [(Field::IpSrc, src), (Field::IpDst, dst)] {
                let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
                matching.set(field, (address & mask).into(), mask.into()).unwrap();
            }
            if let Some(tos) = tos {
                matching.set(Field::IpDscp, tos.into(), 0x3f).unwrap();
            }
            let Some((proto, fields)) = proto else { return matching };
            matching.set(Field::IpProto, proto, 0xff).unwrap();
            let [at_src, at_dst] = fields;
            let (value, mask) = src_port;
            matching.set(at_src, (value & mask).into(), mask.into()).unwrap();
            if range.is_some() {
                return matching.with_ranges([None, range]);
            }
            let (value, mask) = dst_port;
            matching.set(at_dst, (value & mask).into(), mask.into()).unwrap();
            matching
        },
    )
}

/// So many rules of so many masks that they share tuples, a clause here and there.
fn any_list() -> impl Strategy<Value = Vec<Given>> {
    let clause = prop::option::weighted(0.03, (1..3u32, 0..2u8));
    let rule = (any_line(), 0..6u16, clause).prop_map(|(matching, priority, clause)| {
        let actions = clause.map(|(id, clause)| Action::Conjunction { id, clause, clauses: 2 });
        Given { matching, priority, actions: actions.into_iter().collect() }
    });
    prop::collection::vec(rule, 60..200)
}

/// A packet that rules of such a list may match.
fn any_packet() -> impl Strategy<Value = Key> {
    let proto = prop_oneof![Just(6u8), Just(17), Just(1)];
    (any_address(), any_address(), proto, 0..9u16, 0..90u16).prop_map(|(src, dst, proto, a, b)| {
        Key::ZERO
            .with(Key::ETH_TYPE, 0x0800u16)
            .with(Key::NW_SRC, src)
            .with(Key::NW_DST, dst)
            .with(Key::NW_PROTO, proto)
            .with(Key::TP_SRC, a)
            .with(Key::TP_DST, b)
    })
}

fn with_noise(key: impl Strategy<Value = Key>) -> impl Strategy<Value = (Key, Vec<u64>)> {
    (key, prop::collection::vec(any::<u64>(), Key::WORDS))
}

/// However rules are stored, added and removed, the answer is that of a plain list; and a packet
/// that differs only in bits that were not looked at gets the same one.
fn agrees_with_linear_search(
    rules: &[Given],
    removed: Vec<prop::sample::Index>,
    keys: Vec<(Key, Vec<u64>)>,
) -> Result<Table, TestCaseError> {
    let mut table = Table::new(Seed(42));
    let mut list: Vec<Arc<Rule>> = Vec::new();
    for (id, given) in (1..).zip(rules) {
        let rule = Arc::new(given.rule(id));
        prop_assert_eq!(rule.matching(), given.matching);
        let same =
            |old: &Arc<Rule>| old.priority == given.priority && old.matching() == given.matching;
        prop_assert_eq!(table.insert(Arc::clone(&rule)).is_some(), list.iter().any(same));
        list.retain(|old| !same(old));
        list.push(rule);
    }
    let before = table.clone();
    for at in removed {
        if !list.is_empty() {
            let rule = list.remove(at.index(list.len()));
            prop_assert_eq!(table.remove(&rule).map(|rule| rule.id), Some(rule.id));
        }
    }
    before.check();
    table.check();
    prop_assert_eq!(table.len(), list.len());
    for (key, noise) in keys {
        let (mut looked, mut clauses) = (Key::ZERO, Vec::new());
        let found = table.lookup_noting(&key, &mut looked, |rule| clauses.push(rule.id));
        let found = found.map(|rule| rule.id);
        clauses.sort_unstable();
        prop_assert_eq!((found, clauses), linear_search(&list, &key));
        let other = flipped(&key, &looked, &noise);
        let found_too = linear_search(&list, &other).0;
        prop_assert_eq!(found_too, found, "{:?} and {:?} differ beyond {:?}", key, other, looked);
        let mut looked_too = Key::ZERO;
        prop_assert_eq!(table.lookup(&key, &mut looked_too).map(|rule| rule.id), found);
        prop_assert_eq!(looked_too, looked);
    }
    Ok(before)
}

/// What lies within a match, and what overlaps it, is what a plain list says.
fn commands_agree_with_a_list(
    rules: &[Given],
    asked: Match,
    priority: u16,
) -> Result<(), TestCaseError> {
    let mut table = Table::new(Seed(42));
    for (id, given) in (1..).zip(rules) {
        table.insert(Arc::new(given.rule(id)));
    }
    let list: Vec<_> = table.rules().cloned().collect();
    prop_assert!(list.is_sorted_by_key(|rule| rule.rank()));
    for asked in rules.iter().map(|given| given.matching).chain([asked, Match::ANY]) {
        let within: Vec<_> = table.within(&asked).iter().map(|rule| rule.id).collect();
        let expected = list.iter().filter(|rule| asked.contains(&rule.matching()));
        prop_assert_eq!(within, expected.map(|rule| rule.id).collect::<Vec<_>>());
        let overlaps =
            |rule: &Arc<Rule>| rule.priority == priority && rule.matching().overlaps(&asked);
        let found = table.overlapping(&asked, priority);
        prop_assert_eq!(found.is_some(), list.iter().any(overlaps));
        prop_assert!(found.is_none_or(overlaps));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn lookup_agrees_with_linear_search(
        rules in any_rules(),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        keys in prop::collection::vec(with_noise(any_key()), 1..12),
    ) {
        agrees_with_linear_search(&rules, removed, keys)?;
    }

    #[test]
    fn what_a_command_is_about_agrees_with_a_list(
        rules in any_rules(), asked in any_match_with_ranges(), priority in 0..4u16,
    ) {
        commands_agree_with_a_list(&rules, asked, priority)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn long_lists_agree_with_linear_search(
        rules in any_list(),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..150),
        keys in prop::collection::vec(with_noise(any_packet()), 1..30),
    ) {
        let table = agrees_with_linear_search(&rules, removed, keys)?;
        let masks: HashSet<_> = rules.iter().map(|given| *given.matching.mask()).collect();
        prop_assert!(masks.len() <= 60 || table.tuples() < masks.len(), "no tuple is shared");
    }

    #[test]
    fn what_a_command_is_about_agrees_with_a_long_list(
        rules in any_list(), asked in any_line(), priority in 0..6u16,
    ) {
        commands_agree_with_a_list(&rules, asked, priority)?;
    }
}

/// Clauses as text has them: the third of `conjunction(7,3/3)` is number 2.
fn clause(id: u32, clause: u8, clauses: u8) -> Action {
    Action::Conjunction { id, clause, clauses }
}

fn from(host: u32) -> Match {
    Match::from_fields([(Field::EthType, 0x0800, 0xffff), (Field::IpSrc, host.into(), !0)]).unwrap()
}

fn to(host: u32) -> Match {
    Match::from_fields([(Field::EthType, 0x0800, 0xffff), (Field::IpDst, host.into(), !0)]).unwrap()
}

/// Sources 0 to 99, destinations 100 to 199: two hundred rules and one for the number, in place of
/// ten thousand.
fn policy() -> Table {
    let mut table = Table::new(Seed(1));
    let given = |matching, action| Given { matching, priority: 200, actions: vec![action] };
    let clauses = (0..100).map(|host| given(from(host), clause(9, 0, 2)));
    let clauses = clauses.chain((100..200).map(|host| given(to(host), clause(9, 1, 2))));
    let number = Match::from_fields([(Field::ConjId, 9, 0xffff_ffff)]).unwrap();
    let allow = Given { matching: number, priority: 200, actions: Vec::new() };
    let deny = Given { matching: Match::ANY, priority: 1, actions: Vec::new() };
    for (id, given) in (1..).zip(clauses.chain([allow, deny])) {
        table.insert(Arc::new(given.rule(id)));
    }
    table
}

#[test]
fn a_policy_of_two_clauses_needs_no_products() {
    let table = policy();
    let packet = |src: u32, dst: u32| {
        let ip = Key::ZERO.with(Key::ETH_TYPE, 0x0800u16);
        ip.with(Key::NW_SRC, src).with(Key::NW_DST, dst)
    };
    let found = |src, dst| {
        let mut clauses = Vec::new();
        let note = |rule: &Arc<Rule>| clauses.push(rule.id.0);
        let found = table.lookup_noting(&packet(src, dst), &mut Key::ZERO.clone(), note);
        clauses.sort_unstable();
        (found.unwrap().id.0, clauses)
    };
    assert_eq!(found(7, 142), (201, vec![8, 143]));
    assert_eq!(found(7, 42), (202, vec![]), "no such destination");
    assert_eq!(found(107, 142), (202, vec![]), "no such source");
}

fn to_port(first: u16, last: u16) -> Match {
    let fields = [(Field::EthType, 0x0800, 0xffff), (Field::IpProto, 6, 0xff)];
    Match::from_fields(fields).unwrap().with_ranges([None, Some(PortRange { first, last })])
}

#[test]
fn a_range_of_ports_is_one_rule_and_needs_few_bits() {
    let mut table = Table::new(Seed(1));
    for (id, (first, last)) in (1..).zip([(80, 95), (1024, 65535), (80, 90)]) {
        table.insert(Arc::new(rule(id, &to_port(first, last), 100 + u16::try_from(id).unwrap())));
    }
    assert_eq!((table.len(), table.tuples()), (3, 1));
    let lookup = |port: u16| {
        let (tcp, mut looked) = (Key::ZERO.with(Key::ETH_TYPE, 0x0800u16), Key::ZERO);
        let key = tcp.with(Key::NW_PROTO, 6u8).with(Key::TP_SRC, 7u16).with(Key::TP_DST, port);
        let found = table.lookup(&key, &mut looked).map(|rule| rule.id.0);
        assert_eq!(looked.get(Key::TP_SRC), 0);
        (found, looked.word(Key::TP_DST))
    };
    assert_eq!(lookup(85), (Some(3), 0xfff8));
    assert_eq!(lookup(92), (Some(1), 0xfffc));
    assert_eq!(lookup(40_000), (Some(2), 0x8000));
    assert_eq!(lookup(1500), (Some(2), 0xfc00));
    assert_eq!(lookup(200), (None, 0xff80));
    assert_eq!(lookup(1023), (None, 0xfe00));
}

fn route(id: u64, prefix: u32, len: u32, priority: u16) -> Arc<Rule> {
    let mut matching = Match::ANY;
    matching.set(Field::EthType, 0x0800, 0xffff).unwrap();
    let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
    matching.set(Field::IpDst, prefix.into(), mask.into()).unwrap();
    Arc::new(rule(id, &matching, priority))
}

#[test]
fn a_far_address_is_told_apart_by_few_bits() {
    let mut table = Table::new(Seed(1));
    for host in 0..100 {
        table.insert(route(host.into(), 0x0a00_0000 | host, 32, 100));
    }
    table.insert(route(200, 0, 0, 1));
    let mut looked = Key::ZERO;
    let key = Key::ZERO.with(Key::ETH_TYPE, 0x0800u16).with(Key::NW_DST, 0xc0a8_0101u32);
    assert_eq!(table.lookup(&key, &mut looked).map(|rule| rule.id), Some(RuleId(200)));
    assert_eq!(looked.word(Key::NW_DST), 0x8000_0000, "the first bit differs from all hosts");
}

#[test]
fn a_port_that_nobody_has_is_told_apart_by_few_bits() {
    let mut table = Table::new(Seed(1));
    for port in [80u16, 81, 443] {
        let fields = [(Field::EthType, 0x0800, 0xffff), (Field::IpProto, 6, 0xff)];
        let mut matching = Match::from_fields(fields).unwrap();
        matching.set(Field::TcpDst, port.into(), 0xffff).unwrap();
        table.insert(Arc::new(rule(port.into(), &matching, 100)));
    }
    let mut looked = Key::ZERO;
    let key = Key::ZERO
        .with(Key::ETH_TYPE, 0x0800u16)
        .with(Key::NW_PROTO, 6u8)
        .with(Key::TP_SRC, 5555u16)
        .with(Key::TP_DST, 0x8000u16);
    assert!(table.lookup(&key, &mut looked).is_none());
    assert_eq!(looked.word(Key::TP_DST), 0x8000, "the first bit differs from all ports");
    assert_eq!(looked.word(Key::TP_SRC), 0);
}

#[test]
fn a_table_that_is_full_takes_no_more_and_keeps_what_it_has() {
    let mut edit = Tables::new(Seed(1)).with_table_limit(3).edit();
    let bridge = edit.add_bridge("br0".into()).unwrap();
    let mut add = |flow: &str| edit.flow_mod(bridge, &flow.parse().unwrap(), Millis(1));
    for port in 1..=3 {
        add(&format!("in_port={port},actions=drop")).unwrap();
    }
    let full = Err(Refused::TableFull { table: 0, limit: 3 });
    assert_eq!(add("in_port=4,actions=drop"), full);
    add("in_port=3,actions=output:1").unwrap();
    add("table=1,in_port=4,actions=drop").unwrap();
    add("delete in_port=1").unwrap();
    add("in_port=4,actions=drop").unwrap();
    let tables = edit.finish().0;
    assert_eq!(tables.bridge(bridge).unwrap().rules().count(), 4);
}

/// Tables with a bridge whose table 0 holds so many flows and evicts others for the next.
fn evicting(flows: usize) -> (Edit, BridgeId) {
    let mut edit = Tables::new(Seed(1)).edit();
    let bridge = edit.add_bridge("br0".into()).unwrap();
    let limit = TableLimit { flows, overflow: Overflow::Evict };
    edit.limit_table(bridge, 0, Some(limit)).unwrap();
    (edit, bridge)
}

fn add(edit: &mut Edit, bridge: BridgeId, flow: &str) -> Result<(), Refused> {
    edit.flow_mod(bridge, &flow.parse().unwrap(), Millis(1000))
}

fn ports_in(edit: &Edit, bridge: BridgeId) -> Vec<u64> {
    let rules = edit.tables().bridge(bridge).unwrap().rules();
    let mut ports: Vec<_> = rules.map(|rule| rule.matching().key().word(Key::IN_PORT)).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn a_table_that_evicts_gives_up_what_matters_least_and_ends_soonest() {
    let (mut edit, bridge) = evicting(4);
    for flow in [
        "in_port=1,importance=1,hard_timeout=90,actions=drop",
        "in_port=2,importance=1,idle_timeout=30,actions=drop",
        "in_port=3,importance=7,hard_timeout=5,actions=drop",
        "in_port=4,actions=drop",
    ] {
        add(&mut edit, bridge, flow).unwrap();
    }
    for (flow, left) in [
        ("in_port=5,actions=drop", [1, 3, 4, 5]),
        ("in_port=6,actions=drop", [3, 4, 5, 6]),
        ("in_port=6,importance=9,hard_timeout=1,actions=drop", [3, 4, 5, 6]),
        ("in_port=7,actions=drop", [4, 5, 6, 7]),
        ("in_port=8,actions=drop", [4, 5, 7, 8]),
    ] {
        add(&mut edit, bridge, flow).unwrap();
        assert_eq!(ports_in(&edit, bridge), left, "{flow}");
    }
    let full = Err(Refused::TableFull { table: 0, limit: 4 });
    assert_eq!(add(&mut edit, bridge, "in_port=9,actions=drop"), full, "no timeout, no eviction");
    let (tables, applied) = edit.finish();
    assert_eq!(applied.evicted.len(), 4);
    let is_removed = |id: &RuleId| applied.removed.iter().any(|rule| rule.id == *id);
    assert!(applied.evicted.iter().all(is_removed));
    assert!(applied.evicted.iter().all(|id| tables.rule(*id).is_none()));
}

#[test]
fn a_flow_that_was_used_ends_later_than_one_that_was_not() {
    let (mut edit, bridge) = evicting(2);
    add(&mut edit, bridge, "in_port=1,idle_timeout=30,actions=drop").unwrap();
    add(&mut edit, bridge, "in_port=2,idle_timeout=30,actions=drop").unwrap();
    let first = edit.tables().bridge(bridge).unwrap().rules().next().unwrap();
    first.stats.credit(1, 60, Millis(9000));
    add(&mut edit, bridge, "in_port=3,actions=drop").unwrap();
    assert_eq!(ports_in(&edit, bridge), [1, 3]);
}

/// To modify it counted as to use it, here and not where flows end.
#[test]
fn a_flow_that_was_modified_ends_no_later_for_it() {
    let (mut edit, bridge) = evicting(2);
    add(&mut edit, bridge, "in_port=1,idle_timeout=30,actions=drop").unwrap();
    let mut later = |flow: &str, change: Command, now| {
        let flow = flow.parse::<FlowMod>().unwrap();
        edit.flow_mod(bridge, &FlowMod { command: change, ..flow }, Millis(now)).unwrap();
    };
    later("in_port=2,idle_timeout=30,actions=drop", Command::Add, 2000);
    later("in_port=1,actions=output:2", Command::Modify, 9000);
    later("in_port=3,actions=drop", Command::Add, 9500);
    assert_eq!(ports_in(&edit, bridge), [2, 3]);
}

#[test]
fn a_lower_limit_evicts_what_is_too_many_and_refusing_leaves_it() {
    let mut edit = Tables::new(Seed(1)).edit();
    let bridge = edit.add_bridge("br0".into()).unwrap();
    for port in 1..=5 {
        let flow = format!("in_port={port},importance={port},idle_timeout=9,actions=drop");
        add(&mut edit, bridge, &flow).unwrap();
    }
    let limit = |overflow| Some(TableLimit { flows: 2, overflow });
    edit.limit_table(bridge, 0, limit(Overflow::Refuse)).unwrap();
    assert_eq!(ports_in(&edit, bridge), [1, 2, 3, 4, 5]);
    let full = Err(Refused::TableFull { table: 0, limit: 2 });
    assert_eq!(add(&mut edit, bridge, "in_port=6,actions=drop"), full);
    edit.limit_table(bridge, 0, limit(Overflow::Evict)).unwrap();
    assert_eq!(ports_in(&edit, bridge), [4, 5]);
    edit.limit_table(bridge, 0, None).unwrap();
    add(&mut edit, bridge, "in_port=6,actions=drop").unwrap();
    assert_eq!(ports_in(&edit, bridge), [4, 5, 6]);
}

#[test]
fn flows_that_overlap_are_told_by_the_tuple_or_by_their_priority() {
    let mut edit = Tables::new(Seed(1)).edit();
    let bridge = edit.add_bridge("br0".into()).unwrap();
    add(&mut edit, bridge, "priority=5,cookie=0x5,ip,nw_dst=10.0.0.0/8,actions=drop").unwrap();
    let overlap = Err(Refused::Overlap { cookie: 5 });
    for (flow, expected) in [
        ("priority=5,tcp,nw_dst=10.1.0.0/16,check_overlap,actions=drop", overlap.clone()),
        ("priority=5,in_port=1,check_overlap,actions=drop", overlap),
        ("priority=6,in_port=1,check_overlap,actions=drop", Ok(())),
        ("priority=5,tcp,nw_dst=11.1.0.0/16,check_overlap,actions=drop", Ok(())),
    ] {
        assert_eq!(add(&mut edit, bridge, flow), expected, "{flow}");
    }
}
