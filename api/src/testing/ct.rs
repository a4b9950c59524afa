//! Generated flows that track connections, besides all that others do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use packet::ethernet;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::groups::any_group_of;
use super::pipeline::{any_leaf, any_list, any_nested, any_part, any_pipeline_match};
use super::{
    Said, added, any_flow_change, any_move, any_set_field, changed, few, perhaps, usable_fields,
};
use crate::action::{Action, Subfield};
use crate::ct::{Alg, Ct, CtZone, Nat, NatChoice, NatRange};
use crate::field::Field;
use crate::flow::{FlowMod, Match, TableId};
use crate::group::Group;

/// Any match at all, mostly of packets that have been tracked.
pub fn any_ct_match() -> impl Strategy<Value = Match> {
    (any_pipeline_match(), said_of_state(), said_of_connection()).prop_map(
        |(mut matching, state, connection)| {
            for (field, value, mask) in state.into_iter().chain(connection) {
                if matching.require(field).is_ok() {
                    matching.put(field, value, mask);
                }
            }
            matching
        },
    )
}

fn said_of_state() -> impl Strategy<Value = Option<Said>> {
    // `+new+trk`, `+est+trk`, `-trk`, `+inv+trk` and `-inv+trk`.
    let usual = vec![(0x21, 0x21), (0x22, 0x22), (0, 0x20), (0x30, 0x30), (0x20, 0x30)];
    let flags = prop_oneof![
        6 => select(usual),
        1 => (0..0x100u128).prop_map(|state| (state, 0xff)),
        1 => (0..0x100u128, 1..0x100u128),
    ];
    weighted(0.8, flags.prop_map(|(state, mask)| (Field::CtState, state, mask)))
}

fn said_of_connection() -> impl Strategy<Value = Vec<Said>> {
    let shares = [
        (0.2, Field::CtZone),
        (0.2, Field::CtMark),
        (0.2, Field::CtLabel),
        (0.4, Field::CtNwProto),
        (0.2, Field::CtNwSrc),
        (0.2, Field::CtNwDst),
        (0.2, Field::CtIpv6Src),
        (0.2, Field::CtIpv6Dst),
        (0.2, Field::CtTpSrc),
        (0.3, Field::CtTpDst),
    ];
    let fields: Vec<_> = shares.map(|(share, field)| perhaps(share, field).boxed()).into();
    fields.prop_map(|fields| fields.into_iter().flatten().collect())
}

/// Any action list at all of a flow in `table` with the match `matching`.
pub fn any_ct_actions(matching: Match, table: TableId) -> impl Strategy<Value = Vec<Action>> {
    any_list(matching, table, any_ct_action(&matching).boxed())
}

/// Any action, of a flow with this match, that is no instruction.
fn any_ct_action(matching: &Match) -> impl Strategy<Value = Action> + use<> {
    let fields = usable_fields(matching, |_| true);
    let leaf = prop_oneof![
        4 => any_leaf(fields.clone()).boxed(),
        4 => any_ct(matching, fields).prop_map(|ct| Action::Ct(Box::new(ct))).boxed(),
        1 => Just(Action::CtClear),
    ];
    any_nested(leaf.boxed())
}

fn any_ct(matching: &Match, fields: Vec<Field>) -> impl Strategy<Value = Ct> + use<> {
    let table = prop_oneof![4 => 0..4u8, 1 => 0..=FlowMod::MAX_TABLE];
    let alg = weighted(0.1, select(Alg::ALL.to_vec()));
    let words = (any::<bool>(), any::<bool>(), weighted(0.5, table), any_zone(&fields), alg);
    let exec = vec(any_exec(fields), 0..3);
    (words, weighted(0.6, any_nat(matching)), exec).prop_map(|(words, nat, exec)| {
        let (commit, force, table, zone, alg) = words;
        match commit {
            true => Ct { commit, force, table, zone, nat, exec, alg },
            false => Ct { table, zone, nat: nat.map(|_| Nat::Existing), alg, ..Ct::default() },
        }
    })
}

fn any_zone(fields: &[Field]) -> impl Strategy<Value = CtZone> + use<> {
    let wide = fields.iter().copied().filter(|field| Subfield::whole(*field).bits >= 16);
    let field = any_part(wide.collect()).prop_map(|part| {
        let last = Subfield::whole(part.field).bits - 16;
        CtZone::Field(Subfield { first: part.first.min(last), bits: 16, ..part })
    });
    let number = few(16).prop_map(|zone| CtZone::Number(u16::try_from(zone).unwrap_or(0)));
    prop_oneof![3 => number, 1 => field]
}

/// A write into the mark or the label.
fn any_exec(fields: Vec<Field>) -> impl Strategy<Value = Action> {
    let written = vec![Field::CtMark, Field::CtLabel];
    prop_oneof![2 => any_set_field(written.clone()), 1 => any_move(fields, written)]
}

/// Any translation that packets with this match can have.
fn any_nat(matching: &Match) -> impl Strategy<Value = Nat> + use<> {
    let range = match matching.eth_type() {
        Some(ethernet::IPV4) => any_range(any_ipv4().boxed()).boxed(),
        Some(ethernet::IPV6) => any_range(any_ipv6().boxed()).boxed(),
        _ => prop_oneof![any_range(any_ipv4().boxed()), any_range(any_ipv6().boxed())].boxed(),
    };
    prop_oneof![
        1 => Just(Nat::Existing),
        2 => range.clone().prop_map(Nat::Src),
        2 => range.prop_map(Nat::Dst),
    ]
}

fn any_ipv4() -> impl Strategy<Value = IpAddr> {
    prop_oneof![4 => 0x0a00_0001..0x0a00_0005u32, 1 => any::<u32>()]
        .prop_map(|bits| Ipv4Addr::from_bits(bits).into())
}

fn any_ipv6() -> impl Strategy<Value = IpAddr> {
    prop_oneof![4 => 0xfd00_u128 << 112..(0xfd00 << 112) + 4, 1 => any::<u128>(), 1 => few(32)]
        .prop_map(|bits| Ipv6Addr::from_bits(bits).into())
}

fn any_range(address: BoxedStrategy<IpAddr>) -> impl Strategy<Value = NatRange> {
    let addresses = (address.clone(), weighted(0.5, address));
    let ports = (1..=u16::MAX, weighted(0.5, 1..=u16::MAX));
    let choice = weighted(0.3, select(NatChoice::ALL.to_vec()));
    let rest = (weighted(0.4, ports), any::<bool>(), choice);
    (weighted(0.8, addresses), rest).prop_map(|(addresses, (ports, persistent, choice))| {
        let addresses = addresses.map(in_order);
        // The zero address stands alone, and no ports without one.
        let zero = addresses.filter(|(first, _)| first.is_unspecified());
        let ports = ports.filter(|_| addresses.is_some() && zero.is_none()).map(in_order);
        let addresses = zero.map(|(first, _)| (first, first)).or(addresses);
        NatRange { addresses, ports, persistent, choice }
    })
}

/// From the lower to the higher of one or two values.
fn in_order<T: Copy + Ord>((one, other): (T, Option<T>)) -> (T, T) {
    let other = other.unwrap_or(one);
    (one.min(other), one.max(other))
}

/// Any flow at all to be added, to one of tables 0 to 3 and with one of few priorities.
pub fn any_ct_flow() -> impl Strategy<Value = FlowMod> {
    added(any_ct_change())
}

/// Any change at all to a table, groups aside.
pub fn any_ct_flow_mod() -> impl Strategy<Value = FlowMod> {
    changed(any_ct_change())
}

fn any_ct_change() -> impl Strategy<Value = FlowMod> {
    any_flow_change(any_ct_match().boxed(), |matching, table| {
        any_ct_actions(matching, table).boxed()
    })
}

/// Any group, mostly one of a few numbers.
pub fn any_ct_group() -> impl Strategy<Value = Group> {
    any_group_of(any_ct_action(&Match::ANY).boxed())
}
