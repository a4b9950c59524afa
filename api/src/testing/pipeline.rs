//! Generated flows with every field and every action.

use packet::{ethernet, icmp, nd};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::{
    Said, added, any_flow_change, any_match, any_metadata, any_move, any_out_port, any_resubmit,
    any_set_field, changed, eth_type, few, legal, perhaps, usable_fields, writable,
};
use crate::action::{
    Action, Bundle, BundleAlgorithm, Controller, HashFields, Learn, LearnSource, LearnSpec,
    Multipath, MultipathAlgorithm, OutPort, PacketInReason, Sample, SampleDirection, Subfield,
};
use crate::field::Field;
use crate::flow::{FlowMod, Match, PortRange, TableId};
use crate::text::Assumed;

/// Any match at all.
pub fn any_pipeline_match() -> impl Strategy<Value = Match> {
    let bounds = (any::<u16>(), prop_oneof![3 => 1..20u16, 1 => any::<u16>()]);
    let range =
        bounds.prop_map(|(first, more)| PortRange { first, last: first.saturating_add(more) });
    let plain = (any_match(), weighted(0.3, range.clone()), weighted(0.3, range)).prop_map(
        |(mut matching, src, dst)| {
            let ports = [
                [(Field::TcpSrc, src), (Field::TcpDst, dst)],
                [(Field::UdpSrc, src), (Field::UdpDst, dst)],
                [(Field::SctpSrc, src), (Field::SctpDst, dst)],
            ];
            for (field, range) in ports.into_iter().flatten() {
                if let (Some(range), Ok(())) = (range, matching.require(field)) {
                    matching.put_range(field, range);
                }
            }
            matching
        },
    );
    let nd = said_of_nd().prop_filter_map("prerequisites", |nd| Match::from_fields(nd).ok());
    (prop_oneof![8 => plain.boxed(), 1 => nd.boxed()], said_of_scratch().boxed()).prop_map(
        |(mut matching, scratch)| {
            for (field, value, mask) in scratch {
                matching.put(field, value, mask);
            }
            matching
        },
    )
}

fn said_of_nd() -> impl Strategy<Value = Vec<Said>> {
    let fields = (
        perhaps(0.6, Field::NdTarget),
        perhaps(0.5, Field::NdSll),
        perhaps(0.5, Field::NdTll),
        weighted(0.5, Just((Field::Icmpv6Code, 0, 0xff))),
    );
    (any::<bool>(), fields).prop_map(|(solicits, (target, sll, tll, code))| {
        let (kind, address) =
            if solicits { (nd::SOLICITATION, sll) } else { (nd::ADVERTISEMENT, tll) };
        let proto = (Field::IpProto, icmp::PROTO_V6.into(), 0xff);
        let kind = (Field::Icmpv6Type, kind.into(), 0xff);
        let head = [eth_type(ethernet::IPV6), proto, kind];
        head.into_iter().chain([target, address, code].into_iter().flatten()).collect()
    })
}

fn said_of_scratch() -> impl Strategy<Value = Vec<Said>> {
    let fields = [
        Field::PktMark,
        Field::ConjId,
        Field::PacketType,
        Field::TunId,
        Field::Reg(3),
        Field::Reg(17),
        Field::Reg(31),
        Field::Xreg(4),
        Field::Xxreg(5),
    ];
    let fields: Vec<_> = fields.map(|field| perhaps(0.04, field).boxed()).into();
    fields.prop_map(|fields| fields.into_iter().flatten().collect())
}

/// Any action list at all of a flow in `table` with the match `matching`.
pub fn any_pipeline_actions(matching: Match, table: TableId) -> impl Strategy<Value = Vec<Action>> {
    any_list(matching, table, any_pipeline_action(&matching).boxed())
}

/// A list of such actions, and of instructions.
pub(super) fn any_list(
    matching: Match,
    table: TableId,
    action: BoxedStrategy<Action>,
) -> impl Strategy<Value = Vec<Action>> {
    let instructions = (
        weighted(0.1, (1..4u32).prop_map(Action::Meter)),
        weighted(0.05, Just(Action::ClearActions)),
        weighted(0.15, vec(action.clone(), 1..5).prop_map(Action::WriteActions)),
        weighted(0.15, any_metadata()),
        weighted(0.2, (table + 1..table + 4).prop_map(Action::GotoTable)),
    );
    let list = (instructions, vec(action, 0..6)).prop_map(
        |((meter, clear, write, metadata, goto), actions)| {
            let end = [clear, write, metadata, goto].into_iter().flatten();
            meter.into_iter().chain(actions).chain(end).collect::<Vec<_>>()
        },
    );
    let clauses = vec(prop_oneof![3 => any_conjunction(), 1 => any_note()], 1..4);
    prop_oneof![12 => list.boxed(), 1 => clauses.boxed()]
        .prop_map(move |list| legal(list, &mut Assumed::at_start(&matching, Some(table))))
}

/// Any action, of a flow with this match, that is no instruction.
pub(super) fn any_pipeline_action(matching: &Match) -> impl Strategy<Value = Action> + use<> {
    let all = usable_fields(matching, |field| !field.is_ct());
    any_nested(any_leaf(all).boxed())
}

/// Such an action, or some of them on a copy.
pub(super) fn any_nested(leaf: BoxedStrategy<Action>) -> impl Strategy<Value = Action> {
    let inner = prop_oneof![
        6 => leaf.clone(),
        1 => vec(leaf.clone(), 0..4).prop_map(Action::Clone),
    ];
    prop_oneof![12 => leaf, 1 => vec(inner, 0..4).prop_map(Action::Clone)]
}

/// Any action without others within it that reads none but these fields.
pub(super) fn any_leaf(fields: Vec<Field>) -> impl Strategy<Value = Action> {
    let ids = prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<u16>(), 1..4)];
    let to_one = prop_oneof![4 => (1..5u16).prop_map(OutPort::Port), 1 => select(vec![
        OutPort::InPort,
        OutPort::Local,
    ])];
    let sends = prop_oneof![
        4 => any_out_port().prop_map(Action::Output),
        1 => any_part(fields.clone()).prop_map(Action::OutputField),
        1 => (to_one, 14..2000u32)
            .prop_map(|(port, max_len)| Action::OutputTruncated { port, max_len }),
        2 => any_controller().prop_map(|controller| Action::Controller(Box::new(controller))),
        2 => (0..6u32).prop_map(Action::Group),
        2 => any_resubmit(),
        1 => any_bundle(&fields).prop_map(|bundle| Action::Bundle(Box::new(bundle))),
        1 => any_sample().prop_map(Action::Sample),
    ];
    let writes = prop_oneof![
        6 => any_set_field(writable(fields.clone())),
        2 => any_move(fields.clone(), writable(fields.clone())),
        1 => any_part(fields.clone()).prop_map(Action::Push),
        1 => any_written(&fields).prop_map(Action::Pop),
        1 => select(vec![ethernet::VLAN, ethernet::SERVICE_VLAN]).prop_map(Action::PushVlan),
        1 => Just(Action::PopVlan),
        1 => select(vec![0u16, 5, 10, 4095]).prop_map(Action::ModVlanVid),
        1 => (0..8u8).prop_map(Action::ModVlanPcp),
        1 => ids.prop_map(Action::DecTtl),
        1 => (any::<u16>(), any_written(&fields)).prop_map(|(len, dst)| {
            Action::CheckPktLarger { len, dst: Subfield { bits: 1, ..dst } }
        }),
        1 => any_multipath(&fields).prop_map(|choice| Action::Multipath(Box::new(choice))),
    ];
    let others = prop_oneof![
        2 => (0..4u32).prop_map(Action::SetQueue),
        1 => Just(Action::PopQueue),
        1 => Just(Action::Exit),
        2 => any_learn(fields).prop_map(|learn| Action::Learn(Box::new(learn))).boxed(),
        1 => (0..9u16, 0..9u16).prop_map(|(idle, hard)| Action::FinTimeout { idle, hard }),
        1 => any_note(),
    ];
    prop_oneof![4 => sends.boxed(), 5 => writes.boxed(), 3 => others.boxed()]
}

/// Any part of some field.
pub(super) fn any_part(fields: Vec<Field>) -> impl Strategy<Value = Subfield> {
    let place = || any::<prop::sample::Index>();
    (select(fields), place(), place(), any::<bool>()).prop_map(|(field, first, bits, whole)| {
        let all = Subfield::whole(field);
        if whole {
            return all;
        }
        let first = first.index(all.bits.into());
        let bits = 1 + bits.index(usize::from(all.bits) - first);
        let narrow = |count| u8::try_from(count).unwrap_or(1);
        Subfield { field, first: narrow(first), bits: narrow(bits) }
    })
}

fn any_written(fields: &[Field]) -> impl Strategy<Value = Subfield> + use<> {
    any_part(writable(fields.to_vec()))
}

fn any_controller() -> impl Strategy<Value = Controller> {
    let length = prop_oneof![2 => Just(u16::MAX), 1 => any::<u16>()];
    let words = (
        select(PacketInReason::ALL.to_vec()),
        prop_oneof![2 => Just(0u16), 1 => any::<u16>()],
        vec(any::<u8>(), 0..5),
        any::<bool>(),
        weighted(0.3, 1..4u32),
    );
    (length, weighted(0.6, words)).prop_map(|(max_len, words)| match words {
        None => Controller { max_len, ..Controller::default() },
        Some((reason, id, userdata, pause, meter)) => {
            Controller { reason, max_len, id, userdata, pause, meter }
        }
    })
}

fn any_conjunction() -> impl Strategy<Value = Action> {
    (0..4u32, 2..5u8, 0..2u8).prop_map(|(id, clauses, clause)| Action::Conjunction {
        id,
        clause,
        clauses,
    })
}

/// A remark of as many bytes as one can have.
fn any_note() -> impl Strategy<Value = Action> {
    (0..3usize).prop_flat_map(|more| vec(any::<u8>(), 6 + 8 * more)).prop_map(Action::Note)
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let directions = vec![SampleDirection::Ingress, SampleDirection::Egress];
    let numbers = (1..=u16::MAX, 0..4u32, 0..4u32, any::<u32>());
    (numbers, weighted(0.3, 1..5u16), weighted(0.3, select(directions))).prop_map(
        |((probability, collector_set, domain, point), sampling_port, direction)| Sample {
            probability,
            collector_set,
            domain,
            point,
            sampling_port,
            direction,
        },
    )
}

fn any_hash() -> impl Strategy<Value = HashFields> {
    select(HashFields::ALL.map(|(fields, _)| fields).to_vec())
}

fn any_bundle(fields: &[Field]) -> impl Strategy<Value = Bundle> + use<> {
    let wide: Vec<_> = fields.iter().copied().filter(|field| field.width() >= 32).collect();
    let dst = any_written(&wide).prop_map(|dst| Subfield { first: 0, bits: 16, ..dst });
    let algorithm = select(BundleAlgorithm::ALL.map(|(algorithm, _)| algorithm).to_vec());
    let members = vec(prop_oneof![4 => 1..5u16, 1 => Just(0xfffe)], 0..4);
    (any_hash(), any::<u16>(), algorithm, members, weighted(0.5, dst)).prop_map(
        |(fields, basis, algorithm, members, dst)| Bundle {
            fields,
            basis,
            algorithm,
            members,
            dst,
        },
    )
}

fn any_multipath(fields: &[Field]) -> impl Strategy<Value = Multipath> + use<> {
    let algorithm = select(MultipathAlgorithm::ALL.map(|(algorithm, _)| algorithm).to_vec());
    let numbers = (any::<u16>(), 1..=0x1_0000u32, any::<u16>());
    (any_hash(), algorithm, numbers, any_written(fields)).prop_map(
        |(fields, algorithm, (basis, links, arg), dst)| {
            let most = 1u32.checked_shl(dst.bits.into()).unwrap_or(0x1_0000);
            let links = 1 + (links - 1) % most.min(0x1_0000);
            Multipath { fields, basis, algorithm, links, arg: arg.into(), dst }
        },
    )
}

fn any_learn(fields: Vec<Field>) -> impl Strategy<Value = Learn> {
    let seconds = || prop_oneof![2 => Just(0u16), 1 => 1..20u16];
    let timeouts = (seconds(), seconds(), seconds(), seconds());
    let flow = (
        0..4u8,
        prop_oneof![Just(FlowMod::DEFAULT_PRIORITY), 0..9u16],
        prop_oneof![2 => Just(0u64), 1 => any::<u64>()],
        0..3u32,
    );
    let result = any_written(&fields).prop_map(|dst| Subfield { bits: 1, ..dst });
    let head = vec![
        Vec::new(),
        vec![(Field::EthType, 0x0800u128), (Field::IpProto, 6)],
        vec![(Field::EthType, 0x86dd), (Field::IpProto, 17)],
    ];
    let constants = |said: Vec<(Field, u128)>| said.into_iter().map(constant).collect::<Vec<_>>();
    let specs = (select(head).prop_map(constants), vec(any_spec(fields), 0..4));
    let rest = (any::<bool>(), any::<bool>(), weighted(0.2, result), specs);
    (timeouts, flow, rest).prop_map(|(timeouts, flow, rest)| {
        let (idle_timeout, hard_timeout, fin_idle_timeout, fin_hard_timeout) = timeouts;
        let (table, priority, cookie, limit) = flow;
        let (send_flow_rem, delete_learned, result_dst, (mut specs, more)) = rest;
        specs.extend(more);
        Learn {
            table,
            idle_timeout,
            hard_timeout,
            fin_idle_timeout,
            fin_hard_timeout,
            priority,
            cookie,
            send_flow_rem,
            delete_learned,
            limit,
            result_dst,
            specs,
        }
    })
}

fn constant((field, value): (Field, u128)) -> LearnSpec {
    LearnSpec::Match { dst: Subfield::whole(field), src: LearnSource::Value(value) }
}

fn any_spec(fields: Vec<Field>) -> impl Strategy<Value = LearnSpec> {
    // Those that have no word for every value.
    let odd = |field: &Field| {
        matches!(field, Field::VlanVid | Field::IpFrag | Field::IpTos | Field::PacketType)
            || *field == Field::CtState
    };
    let known = |field: &Field| !field.is_ct() || fields.contains(field);
    let matched = Field::all().filter(|field| !odd(field) && known(field)).collect();
    let copied = any_part(fields.clone()).prop_map(|part| (part, LearnSource::Field(part))).boxed();
    let given = (any_part(matched), few(128)).prop_map(|(part, value)| {
        let value = value & (u128::MAX >> (128 - u32::from(part.bits)));
        (part, LearnSource::Value(value))
    });
    let given = given.boxed();
    prop_oneof![
        3 => copied.clone().prop_map(|(dst, src)| LearnSpec::Match { dst, src }),
        3 => given.clone().prop_map(|(dst, src)| LearnSpec::Match { dst, src }),
        1 => copied.prop_map(|(dst, src)| LearnSpec::Load { dst, src }),
        2 => given.prop_map(|(dst, src)| LearnSpec::Load { dst, src }),
        1 => any_part(fields).prop_map(LearnSpec::Output),
    ]
}

/// Any flow at all to be added, to one of tables 0 to 3 and with one of few priorities.
pub fn any_pipeline_flow() -> impl Strategy<Value = FlowMod> {
    added(any_pipeline_change())
}

/// Any change at all to a table.
pub fn any_pipeline_flow_mod() -> impl Strategy<Value = FlowMod> {
    changed(
        (any_pipeline_change(), weighted(0.1, 0..6u32))
            .prop_map(|(flow, out_group)| FlowMod { out_group, ..flow }),
    )
}

fn any_pipeline_change() -> impl Strategy<Value = FlowMod> {
    any_flow_change(any_pipeline_match().boxed(), |matching, table| {
        any_pipeline_actions(matching, table).boxed()
    })
}
