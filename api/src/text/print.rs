//! Printing, byte for byte as OVS does over OpenFlow 1.5 (`match_format`, `ofpacts_format`), with
//! the words of `dump-flows` for what stands around match and actions.

use std::fmt;

use packet::{Key, ethernet, icmp, vlan};

use super::flow::VERBS;
use super::ports::{NoNames, Port, PortNames};
use super::value::{Hex, Matched, Written};
use super::words;
use crate::action::{Action, OutPort, Subfield};
use crate::field::Field;
use crate::flow::{Command, FlowFilter, FlowFlags, FlowMod, Match, TableId};
use crate::reply::FlowStats;

/// Something to be printed with the names of ports instead of their numbers.
struct Named<'a, T: ?Sized> {
    what: &'a T,
    ports: &'a dyn PortNames,
}

macro_rules! printed {
    ($($type:ty)*) => { $(
        impl $type {
            /// Prints it with the names that `ports` knows; `NoNames` and `Display` print numbers.
            pub fn print<'a>(&'a self, ports: &'a dyn PortNames) -> impl fmt::Display + 'a {
                Named { what: self, ports }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Named { what: self, ports: &NoNames }.fmt(f)
            }
        }
    )* };
}

printed! { FlowMod FlowStats FlowFilter Match Action }

impl fmt::Display for Named<'_, FlowMod> {
    /// `[VERB ]cookie=0x5, table=2, idle_timeout=10, send_flow_rem priority=5,tcp
    /// actions=output:2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flow = self.what;
        let changes = !matches!(flow.command, Command::Delete | Command::DeleteStrict);
        if let Some((verb, _)) = VERBS.iter().find(|(_, command)| *command == flow.command)
            && flow.command != Command::Add
        {
            write!(f, "{verb} ")?;
        }
        if let Some(cookie) = flow.cookie {
            write!(f, "cookie={cookie:#x}, ")?;
        }
        fmt_choice(f, flow.cookie_filter, flow.table.filter(|table| *table != 0 || !changes))?;
        fmt_timeouts(f, flow)?;
        fmt_out_port(f, flow.out_port, self.ports)?;
        fmt_match_and_actions(f, flow, self.ports)
    }
}

impl fmt::Display for Named<'_, FlowStats> {
    /// `cookie=0x0, duration=1.5s, table=0, n_packets=3, n_bytes=294, idle_age=1, tcp
    /// actions=drop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlowStats { flow, packets, bytes, duration_ms, idle_ms, .. } = self.what;
        write!(f, "cookie={:#x}, duration={}", flow.cookie.unwrap_or(0), duration_ms / 1000)?;
        if duration_ms % 1000 != 0 {
            write!(f, ".{:03}", duration_ms % 1000)?;
        }
        let table = flow.table.unwrap_or(0);
        write!(f, "s, table={table}, n_packets={packets}, n_bytes={bytes}, ")?;
        fmt_timeouts(f, flow)?;
        write!(f, "idle_age={}, ", idle_ms / 1000)?;
        fmt_match_and_actions(f, flow, self.ports)
    }
}

impl fmt::Display for Named<'_, FlowFilter> {
    /// `cookie=0x5/0xff, table=2, out_port=3, tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = self.what;
        fmt_choice(f, filter.cookie, filter.table)?;
        fmt_out_port(f, filter.out_port, self.ports)?;
        filter.matching.print(self.ports).fmt(f)
    }
}

fn fmt_choice(
    f: &mut fmt::Formatter<'_>,
    cookie: Option<(u64, u64)>,
    table: Option<TableId>,
) -> fmt::Result {
    if let Some((cookie, mask)) = cookie {
        write!(f, "cookie={cookie:#x}/{mask:#x}, ")?;
    }
    match table {
        Some(table) => write!(f, "table={table}, "),
        None => Ok(()),
    }
}

fn fmt_out_port(
    f: &mut fmt::Formatter<'_>,
    port: Option<u16>,
    ports: &dyn PortNames,
) -> fmt::Result {
    match port {
        Some(number) => write!(f, "out_port={}, ", Port { number, ports }),
        None => Ok(()),
    }
}

/// What a dump says between the counters and the match.
fn fmt_timeouts(f: &mut fmt::Formatter<'_>, flow: &FlowMod) -> fmt::Result {
    let FlowMod { idle_timeout, hard_timeout, importance, .. } = *flow;
    let set = |f: &mut fmt::Formatter<'_>, name, value| match value {
        0 => Ok(()),
        _ => write!(f, "{name}={value}, "),
    };
    set(f, "idle_timeout", idle_timeout)?;
    set(f, "hard_timeout", hard_timeout)?;
    for (name, _) in flags(flow.flags).into_iter().filter(|(_, set)| *set) {
        write!(f, "{name} ")?;
    }
    set(f, "importance", importance)
}

fn flags(flags: FlowFlags) -> [(&'static str, bool); 5] {
    [
        ("send_flow_rem", flags.send_flow_rem),
        ("check_overlap", flags.check_overlap),
        ("reset_counts", flags.reset_counts),
        ("no_packet_counts", flags.no_packet_counts),
        ("no_byte_counts", flags.no_byte_counts),
    ]
}

/// Priority and match, a blank if these print anything, and what is done.
fn fmt_match_and_actions(
    f: &mut fmt::Formatter<'_>,
    flow: &FlowMod,
    ports: &dyn PortNames,
) -> fmt::Result {
    let mut list = Commas { f, first: true };
    if flow.priority != FlowMod::DEFAULT_PRIORITY {
        list.item(format_args!("priority={}", flow.priority))?;
    }
    fmt_fields(&mut list, &flow.matching, ports)?;
    if !list.first {
        f.write_str(" ")?;
    }
    match &flow.actions {
        Some(actions) => write!(f, "actions={}", List { actions, ports }),
        None => Ok(()),
    }
}

impl fmt::Display for Named<'_, Match> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_fields(&mut Commas { f, first: true }, self.what, self.ports)
    }
}

/// Writes items with commas between them.
struct Commas<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl Commas<'_, '_> {
    fn item(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        if !self.first {
            self.f.write_str(",")?;
        }
        self.first = false;
        self.f.write_fmt(item)
    }
}

/// Prints a match in the order of OVS, which is neither that of the packet nor of the fields'
/// numbers.
fn fmt_fields(list: &mut Commas<'_, '_>, matching: &Match, ports: &dyn PortNames) -> fmt::Result {
    let (eth_type, nw_proto) = (matching.eth_type(), matching.nw_proto());
    // A word for both, or for the Ethertype alone, the rest being said by the fields.
    let both = eth_type.and_then(|eth_type| words::protocol_name(eth_type, Some(nw_proto?)));
    let alone = eth_type.and_then(|eth_type| words::protocol_name(eth_type, None));
    if let Some(word) = both.or(alone) {
        list.item(format_args!("{word}"))?;
    }
    let field = |list: &mut Commas<'_, '_>, name: &str, field: Field| {
        let value = matching.key().get(field.span()) & field.ones();
        let mask = matching.mask().get(field.span()) & field.ones();
        match mask {
            0 => Ok(()),
            _ => list.item(format_args!("{name}={}", Matched { field, value, mask, ports })),
        }
    };
    for reg in (0..Key::REGS).filter_map(|reg| u8::try_from(reg).ok()).map(Field::Reg) {
        field(list, reg.name(), reg)?;
    }
    field(list, "metadata", Field::Metadata)?;
    field(list, "in_port", Field::InPort)?;
    fmt_vlan(list, matching)?;
    field(list, "dl_src", Field::EthSrc)?;
    field(list, "dl_dst", Field::EthDst)?;
    match eth_type {
        Some(eth_type) if alone.is_none() => list.item(format_args!("dl_type={eth_type:#06x}"))?,
        Some(_) => {}
        None => field(list, "dl_type", Field::EthType)?,
    }
    let arp = matches!(eth_type, Some(ethernet::ARP | ethernet::RARP));
    match eth_type {
        Some(ethernet::IPV6) => {
            field(list, "ipv6_src", Field::Ipv6Src)?;
            field(list, "ipv6_dst", Field::Ipv6Dst)?;
            field(list, "ipv6_label", Field::Ipv6Label)?;
        }
        _ if arp => {
            field(list, "arp_spa", Field::ArpSpa)?;
            field(list, "arp_tpa", Field::ArpTpa)?;
        }
        _ => {
            field(list, "nw_src", Field::IpSrc)?;
            field(list, "nw_dst", Field::IpDst)?;
        }
    }
    if both.is_none() {
        field(list, if arp { "arp_op" } else { "nw_proto" }, Field::IpProto)?;
    }
    field(list, "arp_sha", Field::ArpSha)?;
    field(list, "arp_tha", Field::ArpTha)?;
    field(list, "nw_tos", Field::IpTos)?;
    field(list, "nw_ecn", Field::IpEcn)?;
    field(list, "nw_ttl", Field::IpTtl)?;
    field(list, "nw_frag", Field::IpFrag)?;
    let icmp = match eth_type {
        Some(ethernet::IPV4) => nw_proto == Some(icmp::PROTO),
        Some(ethernet::IPV6) => nw_proto == Some(icmp::PROTO_V6),
        _ => false,
    };
    if icmp {
        field(list, "icmp_type", Field::IcmpType)?;
        field(list, "icmp_code", Field::IcmpCode)?;
    } else {
        field(list, "tp_src", Field::TcpSrc)?;
        field(list, "tp_dst", Field::TcpDst)?;
    }
    field(list, "tcp_flags", Field::TcpFlags)
}

/// The tag by the words for its parts where they say it all, else as its 16 bits.
fn fmt_vlan(list: &mut Commas<'_, '_>, matching: &Match) -> fmt::Result {
    let half = |key: &Key| u16::try_from(key.word(Key::VLAN_TCI)).unwrap_or(0);
    let (tci, mask) = (half(matching.key()), half(matching.mask()));
    let (vid, pcp) = (mask & vlan::VID, mask & vlan::PCP);
    let tagged = mask & tci & vlan::PRESENT != 0;
    let whole = [0, vlan::VID].contains(&vid) && [0, vlan::PCP].contains(&pcp);
    match mask {
        0 => Ok(()),
        _ if tagged && whole && vid | pcp != 0 => {
            if vid != 0 {
                list.item(format_args!("dl_vlan={}", tci & vlan::VID))?;
            }
            if pcp == 0 {
                return Ok(());
            }
            list.item(format_args!("dl_vlan_pcp={}", tci >> 13))
        }
        0xffff => list.item(format_args!("vlan_tci={tci:#06x}")),
        _ => list.item(format_args!("vlan_tci={tci:#06x}/{mask:#06x}")),
    }
}

/// A list of actions.
struct List<'a> {
    actions: &'a [Action],
    ports: &'a dyn PortNames,
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions.is_empty() {
            return f.write_str("drop");
        }
        let mut list = Commas { f, first: true };
        for action in self.actions {
            list.item(format_args!("{}", Named { what: action, ports: self.ports }))?;
        }
        Ok(())
    }
}

/// Prints a list of actions as behind `actions=`, with the names that `ports` knows.
pub fn print_actions<'a>(
    actions: &'a [Action],
    ports: &'a dyn PortNames,
) -> impl fmt::Display + 'a {
    List { actions, ports }
}

impl fmt::Display for Named<'_, Action> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.ports;
        match self.what {
            Action::Output(OutPort::Port(number)) => {
                write!(f, "output:{}", Port { number: *number, ports })
            }
            Action::Output(port) => write!(f, "{}", Port { number: port.number(), ports }),
            Action::SetField { field, value, mask } => {
                let (field, value, mask) = (*field, *value, *mask);
                let written = Written(Matched { field, value, mask, ports });
                write!(f, "set_field:{written}->{field}")
            }
            Action::Move { src, dst } => write!(f, "move:{}->{}", Bits(*src), Bits(*dst)),
            Action::PushVlan(ethertype) => write!(f, "push_vlan:{ethertype:#06x}"),
            Action::PopVlan => f.write_str("pop_vlan"),
            Action::ModVlanVid(vid) => write!(f, "mod_vlan_vid:{vid}"),
            Action::ModVlanPcp(pcp) => write!(f, "mod_vlan_pcp:{pcp}"),
            Action::DecTtl(_) => f.write_str("dec_ttl"),
            Action::Resubmit { in_port: Some(number), table: None } => {
                write!(f, "resubmit:{}", Port { number: *number, ports })
            }
            Action::Resubmit { in_port, table } => {
                f.write_str("resubmit(")?;
                if let Some(number) = *in_port {
                    write!(f, "{}", Port { number, ports })?;
                }
                match table {
                    Some(table) => write!(f, ",{table})"),
                    None => f.write_str(",)"),
                }
            }
            Action::GotoTable(table) => write!(f, "goto_table:{table}"),
            Action::Clone(actions) => write!(f, "clone({})", List { actions, ports }),
            Action::WriteMetadata { value, mask: u64::MAX } => {
                write!(f, "write_metadata:{}", Hex((*value).into()))
            }
            Action::WriteMetadata { value, mask } => {
                write!(f, "write_metadata:{}/{}", Hex((*value).into()), Hex((*mask).into()))
            }
            _ => Ok(()),
        }
    }
}

/// A part of a field by the field's NXM name, with brackets always.
struct Bits(Subfield);

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subfield { field, first, bits } = self.0;
        f.write_str(field.nxm_name())?;
        match bits {
            _ if first == 0 && bits == field.width() => f.write_str("[]"),
            1 => write!(f, "[{first}]"),
            _ => write!(f, "[{first}..{}]", first + bits - 1),
        }
    }
}
