//! Flows, programs and cache entries in words.

mod aside;

use std::fmt::Write as _;

use api::reply::{Behind, FlowStats};
use api::{Match, PortNames};
use flowtable::{Aside, AsideId, Count, Op, Ports, Rule, Tables};
use packet::{Key, MacAddr, Millis, PortId};

pub use aside::{behind, shown};

/// The names of a bridge's ports, both ways.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a>(pub &'a Ports);

impl PortNames for Names<'_> {
    fn number(&self, name: &str) -> Option<u16> {
        self.0.iter().find(|port| *port.name == *name).map(|port| port.number)
    }

    fn name(&self, number: u16) -> Option<&str> {
        self.0.get(number).map(|port| &*port.name)
    }
}

/// A rule, and what it has counted by `now`.
pub(crate) fn flow_stats(rule: &Rule, count: Count, now: Millis) -> FlowStats {
    FlowStats {
        id: rule.id.0,
        flow: rule.flow_mod(),
        packets: count.packets,
        bytes: count.bytes,
        duration_ms: now.since(rule.created),
        idle_ms: now.since(count.used.max(rule.created)),
        hard_ms: now.since(rule.modified),
    }
}

/// What words need to know beside what they are about.
#[derive(Clone, Copy)]
pub struct Vocabulary<'a> {
    /// The groups and meters.
    pub tables: &'a Tables,
    /// The name of a port.
    pub port: &'a dyn Fn(PortId) -> String,
    /// What programs say apart.
    pub aside: &'a dyn Fn(AsideId) -> Option<&'a Aside>,
}

impl std::fmt::Debug for Vocabulary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocabulary").finish_non_exhaustive()
    }
}

/// The packets that agree with `key` under `mask`, as the text of a match. What no match can say is
/// added in words of its own.
pub fn megaflow(key: &Key, mask: &Key, names: &dyn PortNames) -> String {
    let mut visible = *mask;
    let ours = [
        Key::INGRESS,
        Key::RESUME,
        Key::HAS_NETWORK,
        Key::HAS_TRANSPORT,
        Key::TTL_LEFT,
        Key::HAS_ND,
        Key::HAS_ND_SLL,
        Key::HAS_ND_TLL,
        Key::OUTCOME,
        Key::VLAN_TPID,
        Key::VLAN2_TCI,
        Key::VLAN2_TPID,
    ];
    for span in ours {
        visible.set(span, 0u8);
    }
    let mut text = Match::from_parts(*key, visible).print(names).to_string();
    let mut add = |looked: packet::Span, what: String| {
        if mask.get(looked) != 0 {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}{what}");
        }
    };
    let choose = |span, yes: &str, no: &str| if key.get(span) == 0 { no } else { yes }.to_owned();
    add(Key::TTL_LEFT, choose(Key::TTL_LEFT, "nw_ttl>1", "nw_ttl<2"));
    add(Key::HAS_NETWORK, choose(Key::HAS_NETWORK, "network_header", "no_network_header"));
    add(Key::HAS_TRANSPORT, choose(Key::HAS_TRANSPORT, "transport_header", "no_transport_header"));
    add(Key::VLAN_TPID, format!("vlan_tpid={:#x}", key.get(Key::VLAN_TPID)));
    add(Key::VLAN2_TCI, format!("vlan_tci1={:#06x}", key.get(Key::VLAN2_TCI)));
    add(Key::VLAN2_TPID, format!("vlan_tpid1={:#x}", key.get(Key::VLAN2_TPID)));
    text
}

/// The same for packets that go on behind the end of an earlier pass, if they do.
pub fn matching(key: &Key, mask: &Key, names: &dyn PortNames, behind: Option<&Behind>) -> String {
    let text = megaflow(key, mask, names);
    match behind {
        None => text,
        Some(Behind { resume, decision }) => {
            let comma = if text.is_empty() { "" } else { "," };
            format!("resume={resume} ({decision}){comma}{text}")
        }
    }
}

/// A program in words.
pub fn program(ops: &[Op], words: &Vocabulary<'_>) -> String {
    let mut parts = Vec::new();
    let mut ops = ops.iter();
    while let Some(op) = ops.next() {
        if let Op::Clone(len) = *op {
            let (part, rest) = ops.as_slice().split_at(usize::from(len).min(ops.len()));
            ops = rest.iter();
            parts.push(format!("clone({})", program(part, words)));
        } else {
            parts.push(one(*op, words));
        }
    }
    parts.join(",")
}

fn one(op: Op, words: &Vocabulary<'_>) -> String {
    let port = words.port;
    match op {
        Op::Eth([a, b, c, d, e, f, g, h, i, j, k, l]) => {
            let (dst, src) = (MacAddr([a, b, c, d, e, f]), MacAddr([g, h, i, j, k, l]));
            format!("set(eth(src={src},dst={dst}))")
        }
        Op::EthDst { value, mask } => format!("set(eth(dst={}))", mac(value, mask)),
        Op::EthSrc { value, mask } => format!("set(eth(src={}))", mac(value, mask)),
        Op::VlanTci { value, mask } => format!("set(vlan(tci={}))", hex(value, mask, u16::MAX)),
        Op::PushVlan { tpid } => format!("push_vlan(tpid={tpid:#06x})"),
        Op::PopVlan => "pop_vlan".to_owned(),
        Op::Ipv4Src { value, mask } => format!("set(ipv4(src={}))", ipv4(value, mask)),
        Op::Ipv4Dst { value, mask } => format!("set(ipv4(dst={}))", ipv4(value, mask)),
        Op::Ipv6 { word, value, mask } => {
            let field = if word < 4 { "src" } else { "dst" };
            format!("set(ipv6({field}[{}]={}))", word % 4, hex(value, mask, u32::MAX))
        }
        Op::Ipv6Label { value, mask } => format!("set(ipv6(label={}))", hex(value, mask, 0xf_ffff)),
        Op::Tos { value, mask } => format!("set(ip(tos={}))", hex(value, mask, u8::MAX)),
        Op::Ttl(ttl) => format!("set(ip(ttl={ttl}))"),
        Op::DecTtl => "dec_ttl".to_owned(),
        Op::TpSrc { value, mask } => format!("set(transport(src={}))", decimal(value, mask)),
        Op::TpDst { value, mask } => format!("set(transport(dst={}))", decimal(value, mask)),
        Op::IcmpType(kind) => format!("set(icmp(type={kind}))"),
        Op::IcmpCode(code) => format!("set(icmp(code={code}))"),
        Op::ArpOp(op) => format!("set(arp(op={op}))"),
        Op::ArpSpa { value, mask } => format!("set(arp(sip={}))", ipv4(value, mask)),
        Op::ArpTpa { value, mask } => format!("set(arp(tip={}))", ipv4(value, mask)),
        Op::ArpSha { value, mask } => format!("set(arp(sha={}))", mac(value, mask)),
        Op::ArpTha { value, mask } => format!("set(arp(tha={}))", mac(value, mask)),
        Op::NdTarget { word, value, mask } => {
            format!("set(nd(target[{word}]={}))", hex(value, mask, u32::MAX))
        }
        Op::NdSll { value, mask } => format!("set(nd(sll={}))", mac(value, mask)),
        Op::NdTll { value, mask } => format!("set(nd(tll={}))", mac(value, mask)),
        Op::SetQueue(queue) => format!("set_queue({queue})"),
        Op::OutputTruncated { port: to, max_len } => format!("trunc({max_len}),{}", port(to)),
        Op::Show(aside) | Op::Sample(aside) | Op::Resume(aside) => aside::op(op, aside, words),
        Op::Consume => "consume".to_owned(),
        Op::Output(to) | Op::Send(to) => port(to),
        Op::Drop(reason) => format!("drop({reason})"),
        Op::Clone(_) => String::new(),
    }
}

fn mac(value: [u8; 6], mask: [u8; 6]) -> String {
    match MacAddr(mask) {
        MacAddr::BROADCAST => MacAddr(value).to_string(),
        mask => format!("{}/{mask}", MacAddr(value)),
    }
}

fn ipv4(value: u32, mask: u32) -> String {
    let value = std::net::Ipv4Addr::from(value);
    match mask {
        u32::MAX => value.to_string(),
        mask => format!("{value}/{}", std::net::Ipv4Addr::from(mask)),
    }
}

fn hex<T: std::fmt::LowerHex + PartialEq>(value: T, mask: T, whole: T) -> String {
    if mask == whole { format!("{value:#x}") } else { format!("{value:#x}/{mask:#x}") }
}

fn decimal(value: u16, mask: u16) -> String {
    if mask == u16::MAX { value.to_string() } else { hex(value, mask, u16::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{DropReason, NoNames};
    use packet::Seed;

    #[test]
    fn a_program_reads_as_what_it_does() {
        let ops = [
            Op::Clone(2),
            Op::PopVlan,
            Op::Send(PortId(3)),
            Op::Eth([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]),
            Op::Ipv4Dst { value: 0x0a00_0000, mask: 0xff00_0000 },
            Op::DecTtl,
            Op::Send(PortId(4)),
        ];
        let tables = Tables::new(Seed(1));
        let port = |port| format!("p{port}");
        let words = Vocabulary { tables: &tables, port: &port, aside: &|_| None };
        let text = program(&ops, &words);
        let eth = "set(eth(src=02:00:00:00:00:02,dst=02:00:00:00:00:01))";
        assert_eq!(
            text,
            format!("clone(pop_vlan,p3),{eth},set(ipv4(dst=10.0.0.0/255.0.0.0)),dec_ttl,p4")
        );
        assert_eq!(program(&[Op::Drop(DropReason::TableMiss)], &words), "drop(table-miss)");
    }

    #[test]
    fn a_megaflow_reads_as_a_match_and_what_no_match_can_say() {
        let key = Key::ZERO
            .with(Key::IN_PORT, 1u8)
            .with(Key::ETH_TYPE, 0x0800u16)
            .with(Key::TTL_LEFT, 1u8);
        let mut mask = Key::ZERO;
        for span in [Key::IN_PORT, Key::INGRESS, Key::ETH_TYPE, Key::TTL_LEFT] {
            mask.set_all(span);
        }
        assert_eq!(megaflow(&key, &mask, &NoNames), "ip,in_port=1,nw_ttl>1");
    }
}
