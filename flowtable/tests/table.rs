//! A table against a plain list: the same rule, and a mask that tells the truth.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::sync::Arc;

use api::testing::any_match;
use api::{FlowFlags, Match};
use flowtable::{Mask, Millis, Refused, Rule, RuleId, Seed, Table, Tables};
use packet::Key;
use proptest::prelude::*;
use testnet::packets::any_key;

/// A rule of a match and a priority out of few, so that many are equal.
fn rule(id: u64, matching: &Match, priority: u16) -> Rule {
    let mask = Mask::new(*matching.mask());
    let values = mask.values(matching.key()).collect();
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

/// The rule that a list of them gives a packet.
fn linear_search<'a>(rules: &'a [Arc<Rule>], key: &Key) -> Option<&'a Arc<Rule>> {
    let mut best: Option<&Arc<Rule>> = None;
    for rule in rules.iter().filter(|rule| rule.matching().covers(key)) {
        if best.is_none_or(|best| rule.priority > best.priority) {
            best = Some(rule);
        }
    }
    best
}

fn any_rules() -> impl Strategy<Value = Vec<(Match, u16)>> {
    let priority = prop_oneof![Just(0x8000u16), 0..4u16];
    prop::collection::vec((any_match(), priority), 0..40)
}

/// The same key with some bits flipped that `looked` does not have.
fn flipped(key: &Key, looked: &Key, noise: &[u64]) -> Key {
    let mut flipped = *key;
    for ((word, looked), noise) in flipped.words_mut().iter_mut().zip(looked.words()).zip(noise) {
        *word ^= noise & !looked;
    }
    flipped
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// However rules are stored, added and removed, the answer is that of a plain list; and a
    /// packet that differs only in bits that were not looked at gets the same one.
    #[test]
    fn lookup_agrees_with_linear_search(
        rules in any_rules(),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        keys in prop::collection::vec((any_key(), prop::collection::vec(any::<u64>(), Key::WORDS)), 1..12),
    ) {
        let mut table = Table::new(Seed(42));
        let mut list: Vec<Arc<Rule>> = Vec::new();
        for (id, (matching, priority)) in (1..).zip(&rules) {
            let rule = Arc::new(rule(id, matching, *priority));
            let same = |old: &Arc<Rule>| old.priority == *priority && old.matching() == *matching;
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
            let mut looked = Key::ZERO;
            let found = table.lookup(&key, &mut looked).map(|rule| rule.id);
            prop_assert_eq!(found, linear_search(&list, &key).map(|rule| rule.id));
            let other = flipped(&key, &looked, &noise);
            let found_too = linear_search(&list, &other).map(|rule| rule.id);
            prop_assert_eq!(found_too, found, "{:?} and {:?} differ beyond {:?}", key, other, looked);
        }
    }
}

fn route(id: u64, prefix: u32, len: u32, priority: u16) -> Arc<Rule> {
    use api::Field;
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
    use api::Field;
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
