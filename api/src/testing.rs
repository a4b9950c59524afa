//! Generated matches, actions and flows: every form that the text has, nothing that it refuses.
//!
//! Values are few and the same as in `testnet::packets`, so that rules overlap often and packets
//! hit them. [`any_flow`] and the others here keep to forwarding, rewriting and resubmitting;
//! [`any_pipeline_flow`] and its like have every field and every action, those of connection tracking
//! aside, which [`any_ct_flow`] and its like have too.

mod ct;
mod groups;
mod pipeline;

pub use ct::{any_ct_actions, any_ct_flow, any_ct_flow_mod, any_ct_group, any_ct_match};
pub use groups::{any_change, any_group, any_group_mod, any_meter, any_meter_mod};
pub use pipeline::{
    any_pipeline_actions, any_pipeline_flow, any_pipeline_flow_mod, any_pipeline_match,
};

use packet::{ethernet, icmp, tcp, udp, vlan};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use crate::action::{Action, Learn, OutPort, Subfield};
use crate::field::{Field, Format};
use crate::flow::{Command, FlowFlags, FlowMod, Match, TableId};
use crate::text::{Assumed, Tag};

const PRESENT: u128 = vlan::PRESENT as u128;
const SCTP: u8 = 132;

/// A field, its value and its mask, as [`Match::from_fields`] takes them.
type Said = (Field, u128, u128);

/// A number out of few, now and then any.
fn few(bits: u8) -> impl Strategy<Value = u128> {
    let all = u128::MAX >> (128 - u32::from(bits));
    prop_oneof![8 => 0..4u128, 1 => any::<u128>()].prop_map(move |value| value & all)
}

/// Any match that a flow can have.
pub fn any_match() -> impl Strategy<Value = Match> {
    let network = prop_oneof![
        3 => Just(Vec::new()),
        5 => said_of_ip(ethernet::IPV4, icmp::PROTO),
        4 => said_of_ip(ethernet::IPV6, icmp::PROTO_V6),
        1 => said_of_arp(),
        1 => said_of_other(),
    ];
    let all = (said_of_link(), network, said_of_pipeline());
    all.prop_filter_map("prerequisites", |(link, network, pipeline)| {
        Match::from_fields(link.into_iter().chain(network).chain(pipeline)).ok()
    })
}

fn said_of_other() -> impl Strategy<Value = Vec<Said>> {
    let types = vec![ethernet::NOT_A_TYPE, 0x88cc, 0x0600, 0x8847];
    select(types).prop_map(|other| vec![eth_type(other)])
}

fn eth_type(eth_type: u16) -> Said {
    (Field::EthType, eth_type.into(), 0xffff)
}

/// Something about a field, in `share` of all cases: mostly one of its few values, else one under a
/// mask.
fn perhaps(share: f64, field: Field) -> impl Strategy<Value = Option<Said>> {
    let mask = match field.is_maskable() {
        true => prop_oneof![3 => Just(field.ones()), 1 => few_masks(field)].boxed(),
        false => Just(field.ones()).boxed(),
    };
    weighted(share, (few_values(field), mask).prop_map(move |(value, mask)| (field, value, mask)))
}

fn said_of_link() -> impl Strategy<Value = Vec<Said>> {
    let fields =
        (perhaps(0.3, Field::InPort), perhaps(0.2, Field::EthSrc), perhaps(0.2, Field::EthDst));
    (fields, weighted(0.3, said_of_tag())).prop_map(|((port, src, dst), tag)| {
        [port, src, dst].into_iter().flatten().chain(tag.into_iter().flatten()).collect()
    })
}

fn said_of_tag() -> impl Strategy<Value = Vec<Said>> {
    let vid = || select(vec![0u128, 5, 10, 4095]);
    let vid_and_pcp = (vid(), weighted(0.3, 0..3u128)).prop_map(|(vid, pcp)| {
        let vid = (Field::VlanVid, vid | PRESENT, 0x1fff);
        std::iter::once(vid).chain(pcp.map(|pcp| (Field::VlanPcp, pcp, 7))).collect()
    });
    let masks = select(vec![0x1000, 0x1fff, 0xf000, 0x1ff0, 0xffff, 0x0fff, 0x000f]);
    prop_oneof![
        4 => vid_and_pcp,
        2 => select(vec![0x1fff, 0x1000]).prop_map(|mask| vec![(Field::VlanTci, 0, mask)]),
        2 => (vid(), 0..3u128, masks).prop_map(|(vid, pcp, mask)| {
            vec![(Field::VlanTci, pcp << 13 | vid | PRESENT, mask)]
        }),
    ]
}

fn said_of_ip(version: u16, icmp: u8) -> impl Strategy<Value = Vec<Said>> {
    let addresses = match version {
        ethernet::IPV4 => {
            vec![perhaps(0.4, Field::IpSrc).boxed(), perhaps(0.5, Field::IpDst).boxed()]
        }
        _ => vec![
            perhaps(0.4, Field::Ipv6Src).boxed(),
            perhaps(0.5, Field::Ipv6Dst).boxed(),
            perhaps(0.1, Field::Ipv6Label).boxed(),
        ],
    };
    let tos =
        prop_oneof![Just(Field::IpTos), Just(Field::IpDscp)].prop_flat_map(|tos| perhaps(0.1, tos));
    let header = (
        tos,
        perhaps(0.1, Field::IpEcn),
        perhaps(0.2, Field::IpTtl),
        weighted(0.1, said_of_frag()),
    );
    (addresses, header, weighted(0.7, said_of_transport(icmp))).prop_map(
        move |(addresses, (tos, ecn, ttl, frag), transport)| {
            let network = addresses.into_iter().chain([tos, ecn, ttl, frag]).flatten();
            let all = std::iter::once(eth_type(version)).chain(network);
            all.chain(transport.into_iter().flatten()).collect()
        },
    )
}

fn said_of_frag() -> impl Strategy<Value = Said> {
    let forms = vec![(0, 1), (1, 1), (1, 3), (2, 2), (0, 2)];
    select(forms).prop_map(|(value, mask)| (Field::IpFrag, value, mask))
}

fn said_of_transport(icmp: u8) -> impl Strategy<Value = Vec<Said>> {
    let pair = |src, dst| vec![perhaps(0.3, src).boxed(), perhaps(0.5, dst).boxed()];
    let tcp = vec![
        perhaps(0.3, Field::TcpSrc).boxed(),
        perhaps(0.5, Field::TcpDst).boxed(),
        perhaps(0.3, Field::TcpFlags).boxed(),
    ];
    let (kind, code) = match icmp {
        icmp::PROTO => (Field::IcmpType, Field::IcmpCode),
        _ => (Field::Icmpv6Type, Field::Icmpv6Code),
    };
    let number = |proto: u8, fields: Vec<BoxedStrategy<Option<Said>>>| {
        fields.prop_map(move |fields| {
            let proto = (Field::IpProto, proto.into(), 0xff);
            std::iter::once(proto).chain(fields.into_iter().flatten()).collect()
        })
    };
    prop_oneof![
        4 => number(tcp::PROTO, tcp),
        4 => number(udp::PROTO, pair(Field::UdpSrc, Field::UdpDst)),
        1 => number(SCTP, pair(Field::SctpSrc, Field::SctpDst)),
        2 => number(icmp, pair(kind, code)),
        1 => number(47, Vec::new()),
    ]
}

fn said_of_arp() -> impl Strategy<Value = Vec<Said>> {
    let fields = [Field::ArpOp, Field::ArpSpa, Field::ArpTpa, Field::ArpSha, Field::ArpTha];
    let fields: Vec<_> = fields.map(|field| perhaps(0.3, field).boxed()).into();
    (select(vec![ethernet::ARP, ethernet::RARP]), fields).prop_map(|(arp, fields)| {
        std::iter::once(eth_type(arp)).chain(fields.into_iter().flatten()).collect()
    })
}

fn said_of_pipeline() -> impl Strategy<Value = Vec<Said>> {
    let fields = [Field::Metadata, Field::Reg(0), Field::Reg(1), Field::Reg(15)];
    let fields: Vec<_> = fields.map(|field| perhaps(0.07, field).boxed()).into();
    fields.prop_map(|fields| fields.into_iter().flatten().collect())
}

/// A value of a field, out of those that packets have.
fn few_values(field: Field) -> BoxedStrategy<u128> {
    let bits = field.span().bits();
    match field {
        Field::InPort => (1..5u128).boxed(),
        Field::EthSrc | Field::EthDst => prop_oneof![
            8 => (1..5u128).prop_map(|n| 0x0200_0000_0000 | n),
            1 => Just(0x0100_5e00_0001u128),
            1 => Just(0xffff_ffff_ffffu128),
        ]
        .boxed(),
        Field::VlanTci => (0..3u128, select(vec![0u128, 5, 10, 4095]))
            .prop_map(|(pcp, vid)| pcp << 13 | PRESENT | vid)
            .boxed(),
        Field::VlanVid => select(vec![0u128, 5, 10, 4095]).prop_map(|vid| PRESENT | vid).boxed(),
        Field::IpSrc | Field::IpDst | Field::CtNwSrc | Field::CtNwDst => {
            few(bits).prop_map(|host| 0x0a00_0000 ^ host).boxed()
        }
        Field::Ipv6Src | Field::Ipv6Dst | Field::CtIpv6Src | Field::CtIpv6Dst => {
            few(bits).prop_map(|host| 0xfd00 << 112 ^ host).boxed()
        }
        Field::IpTos => few(6).prop_map(|dscp| dscp << 2).boxed(),
        Field::IpTtl => prop_oneof![Just(0u128), Just(1), Just(64), few(8)].boxed(),
        Field::ArpOp => (1..3u128).boxed(),
        Field::TcpFlags => (0..0x1000u128).boxed(),
        Field::CtNwProto => select(vec![0u128, 1, 6, 6, 17, 17, 47, 58, 132]).boxed(),
        Field::IcmpType | Field::Icmpv6Type => (0..9u128).boxed(),
        Field::IcmpCode | Field::Icmpv6Code | Field::VlanPcp => (0..3u128).boxed(),
        _ if field.format() == Format::Decimal && bits == 16 => {
            prop_oneof![4 => 1..4u128, 2 => Just(80u128), 1 => few(16)].boxed()
        }
        _ => few(bits).boxed(),
    }
}

/// A mask that leaves some of a field open: a prefix, the low bits, one bit, now and then any.
fn few_masks(field: Field) -> impl Strategy<Value = u128> {
    let (bits, ones) = (u32::from(field.span().bits()), field.ones());
    let forms = vec![
        ones << (bits / 4) & ones,
        ones << (bits / 2) & ones,
        ones >> (bits / 2),
        ones >> (bits - 1),
        1 << (bits - 1),
    ];
    prop_oneof![8 => select(forms), 1 => 1..=ones].prop_map(move |mask| match mask & ones {
        0 => ones,
        mask => mask,
    })
}

/// Any action list of a flow in `table` with the match `matching`.
pub fn any_actions(matching: Match, table: TableId) -> impl Strategy<Value = Vec<Action>> {
    let end = (weighted(0.15, any_metadata()), weighted(0.2, table + 1..table + 4));
    (vec(any_action(&matching), 0..8), end).prop_map(move |(mut actions, (metadata, goto))| {
        actions.extend(metadata);
        actions.extend(goto.map(Action::GotoTable));
        legal(actions, &mut Assumed::at_start(&matching, Some(table)))
    })
}

/// Those of `actions` that may stand there.
pub(crate) fn legal(actions: Vec<Action>, assumed: &mut Assumed<'_>) -> Vec<Action> {
    let mut list = Vec::with_capacity(actions.len());
    for action in actions {
        let action = match action {
            Action::Clone(inner) => Action::Clone(legal(inner, &mut assumed.in_copy())),
            Action::WriteActions(inner) => match legal(inner, &mut assumed.in_set()) {
                inner if inner.is_empty() => continue,
                inner => Action::WriteActions(inner),
            },
            // Text knows these only where it does not know better.
            Action::ModVlanVid(_) | Action::ModVlanPcp(_) if assumed.tag() != Tag::Perhaps => {
                continue;
            }
            Action::Learn(learn) => Action::Learn(Box::new(legal_learn(*learn, assumed))),
            Action::Ct(mut ct) => {
                ct.exec = legal(ct.exec, &mut assumed.in_exec());
                Action::Ct(ct)
            }
            action => action,
        };
        if assumed.admit(&action) {
            list.push(action);
        }
    }
    list
}

/// What may be learned there.
fn legal_learn(learn: Learn, assumed: &Assumed<'_>) -> Learn {
    let mut legal = Learn { specs: Vec::new(), ..learn };
    for spec in learn.specs {
        legal.specs.push(spec);
        if !assumed.clone().admit(&Action::Learn(Box::new(legal.clone()))) {
            legal.specs.pop();
        }
    }
    legal
}

fn any_action(matching: &Match) -> impl Strategy<Value = Action> + use<> {
    let fields = usable_fields(matching, |field| {
        let marks = matches!(field, Field::PktMark | Field::TunId | Field::ConjId);
        let nd = matches!(field, Field::NdTarget | Field::NdSll | Field::NdTll);
        let regs = matches!(field, Field::Reg(2..=14 | 16..));
        let others = field.is_view() || field.is_ct() || field == Field::PacketType;
        !(marks || nd || regs || others)
    });
    let leaf = prop_oneof![
        6 => any_out_port().prop_map(Action::Output),
        6 => any_set_field(writable(fields.clone())),
        2 => any_move(fields.clone(), writable(fields)),
        1 => select(vec![ethernet::VLAN, ethernet::SERVICE_VLAN]).prop_map(Action::PushVlan),
        1 => Just(Action::PopVlan),
        1 => select(vec![0u16, 5, 10, 4095]).prop_map(Action::ModVlanVid),
        1 => (0..8u8).prop_map(Action::ModVlanPcp),
        1 => Just(Action::DecTtl(Vec::new())),
        2 => any_resubmit(),
    ];
    let leaf = leaf.boxed();
    let inner = prop_oneof![
        8 => leaf.clone(),
        1 => vec(leaf.clone(), 0..4).prop_map(Action::Clone),
    ];
    prop_oneof![12 => leaf, 1 => vec(inner, 0..4).prop_map(Action::Clone)]
}

/// The fields that a list with this match may use, and those that a pushed tag makes usable.
fn usable_fields(matching: &Match, wanted: impl Fn(Field) -> bool) -> Vec<Field> {
    let usable = |field: &Field| matching.require(*field).is_ok() || *field == Field::VlanPcp;
    Field::all().filter(usable).filter(|field| wanted(*field)).collect()
}

fn any_out_port() -> impl Strategy<Value = OutPort> {
    use OutPort::{All, Flood, InPort, Local, Normal, Port};
    prop_oneof![
        8 => (1..5u16).prop_map(Port),
        4 => select(vec![InPort, Normal, Flood, All, Local]),
        1 => (1..=0xfeffu16).prop_map(Port),
    ]
}

/// Those of `fields` that actions may write.
fn writable(fields: Vec<Field>) -> Vec<Field> {
    fields.into_iter().filter(|field| field.is_writable()).collect()
}

/// A write into one of `fields`.
fn any_set_field(fields: Vec<Field>) -> impl Strategy<Value = Action> {
    select(fields).prop_flat_map(|field| {
        let mask = prop_oneof![3 => Just(field.ones()), 1 => few_masks(field)];
        (few_values(field), mask).prop_map(move |(value, mask)| Action::SetField {
            field,
            value: value & mask,
            mask,
        })
    })
}

/// A copy from one of `fields` to one of `writable`, often of as many bits as fit both.
fn any_move(fields: Vec<Field>, writable: Vec<Field>) -> impl Strategy<Value = Action> {
    let place = || any::<prop::sample::Index>();
    let bits = weighted(0.5, place());
    (select(fields), select(writable), bits, place(), place()).prop_map(|(src, dst, bits, a, b)| {
        let width = |field| usize::from(Subfield::whole(field).bits);
        let most = width(src).min(width(dst));
        let bits = bits.map_or(most, |bits| 1 + bits.index(most));
        let part = |field, at: prop::sample::Index| Subfield {
            field,
            first: u8::try_from(at.index(width(field) - bits + 1)).unwrap_or(0),
            bits: u8::try_from(bits).unwrap_or(1),
        };
        Action::Move { src: part(src, a), dst: part(dst, b) }
    })
}

fn any_resubmit() -> impl Strategy<Value = Action> {
    let in_port = prop_oneof![3 => 0..5u16, 1 => Just(0xfffe)];
    prop_oneof![
        4 => (0..4u8).prop_map(|table| (None, Some(table))),
        1 => in_port.clone().prop_map(|port| (Some(port), None)),
        1 => (in_port, 0..4u8).prop_map(|(port, table)| (Some(port), Some(table))),
    ]
    .prop_map(|(in_port, table)| Action::Resubmit { in_port, table })
}

fn any_metadata() -> impl Strategy<Value = Action> {
    let mask = prop_oneof![Just(u64::MAX), Just(0xff), Just(0), any::<u64>()];
    (prop_oneof![0..4u64, any::<u64>()], mask)
        .prop_map(|(value, mask)| Action::WriteMetadata { value: value & mask, mask })
}

/// Any flow to be added, to one of tables 0 to 3 and with one of few priorities.
pub fn any_flow() -> impl Strategy<Value = FlowMod> {
    added(any_flow_change(any_match().boxed(), |matching, table| {
        any_actions(matching, table).boxed()
    }))
}

/// Any change to a table.
pub fn any_flow_mod() -> impl Strategy<Value = FlowMod> {
    changed(any_flow_change(any_match().boxed(), |matching, table| {
        any_actions(matching, table).boxed()
    }))
}

/// The same as flows to be added.
fn added(changes: impl Strategy<Value = FlowMod>) -> impl Strategy<Value = FlowMod> {
    changes.prop_map(|flow| FlowMod {
        command: Command::Add,
        cookie_filter: None,
        out_port: None,
        out_group: None,
        ..flow
    })
}

/// The same by any command, each saying what that command may.
fn changed(changes: impl Strategy<Value = FlowMod>) -> impl Strategy<Value = FlowMod> {
    let commands = vec![
        Command::Add,
        Command::Add,
        Command::Add,
        Command::Modify,
        Command::ModifyStrict,
        Command::Delete,
        Command::DeleteStrict,
    ];
    (changes, select(commands), weighted(0.7, Just(()))).prop_map(|(flow, command, one_table)| {
        let deleted = FlowMod {
            command,
            table: one_table.and(flow.table),
            matching: flow.matching,
            cookie_filter: flow.cookie_filter,
            out_port: flow.out_port,
            out_group: flow.out_group,
            actions: None,
            ..FlowMod::default()
        };
        let kept = FlowMod { command, out_port: None, out_group: None, ..flow };
        match command {
            Command::Add => FlowMod { cookie_filter: None, ..kept },
            Command::Modify | Command::ModifyStrict => FlowMod { importance: 0, ..kept },
            Command::Delete => deleted,
            Command::DeleteStrict => FlowMod { priority: flow.priority, ..deleted },
        }
    })
}

/// Everything that a change may say, more than one command alone may; no group that it leads to.
fn any_flow_change(
    matches: BoxedStrategy<Match>,
    actions: impl Fn(Match, TableId) -> BoxedStrategy<Vec<Action>>,
) -> impl Strategy<Value = FlowMod> {
    let priority = prop_oneof![
        4 => select(vec![0u16, 1, 5, 100, 65535]),
        2 => Just(FlowMod::DEFAULT_PRIORITY),
    ];
    let cookie = || prop_oneof![4 => 0..4u64, 1 => 0..u64::MAX];
    let filter = (cookie(), prop_oneof![Just(u64::MAX), Just(1), 1..=u64::MAX]);
    let filter = filter.prop_map(|(cookie, mask)| (cookie & mask, mask));
    let seconds = || prop_oneof![6 => Just(0u16), 1 => 1..20u16, 1 => any::<u16>()];
    let head = (0..4u8, priority, weighted(0.3, cookie()), weighted(0.3, filter));
    let rest = (
        seconds(),
        seconds(),
        seconds(),
        any_flags(),
        weighted(0.2, prop_oneof![1..5u16, Just(0xfffe)]),
    );
    (matches, head, rest).prop_flat_map(
        move |(matching, (table, priority, cookie, cookie_filter), rest)| {
            let (idle_timeout, hard_timeout, importance, flags, out_port) = rest;
            actions(matching, table).prop_map(move |actions| FlowMod {
                command: Command::Add,
                table: Some(table),
                priority,
                matching,
                cookie,
                cookie_filter,
                idle_timeout,
                hard_timeout,
                importance,
                flags,
                out_port,
                out_group: None,
                actions: Some(actions),
            })
        },
    )
}

fn any_flags() -> impl Strategy<Value = FlowFlags> {
    let flag = || prop_oneof![6 => Just(false), 1 => Just(true)];
    (flag(), flag(), flag(), flag(), flag()).prop_map(
        |(send_flow_rem, check_overlap, reset_counts, no_packet_counts, no_byte_counts)| {
            FlowFlags {
                send_flow_rem,
                check_overlap,
                reset_counts,
                no_packet_counts,
                no_byte_counts,
            }
        },
    )
}
