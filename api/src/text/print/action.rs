//! Actions, printed.

use std::fmt;

use super::super::ports::PortNames;
use super::super::value::{Dotted, Hex, Matched, Written};
use super::{Commas, Dialect, Printed, Style};
use crate::action::{Action, OutPort, Subfield};
use crate::field::Field;

/// Prints a list of actions as behind `actions=`, with the names that `ports` knows.
pub fn print_actions<'a>(
    actions: &'a [Action],
    ports: &'a dyn PortNames,
) -> impl fmt::Display + 'a {
    print_actions_in(actions, Dialect::default(), ports)
}

/// The same in a dialect.
pub fn print_actions_in<'a>(
    actions: &'a [Action],
    dialect: Dialect,
    ports: &'a dyn PortNames,
) -> impl fmt::Display + 'a {
    List { actions, style: Style::new(dialect, ports) }
}

/// A list of actions.
pub(in super::super) struct List<'a> {
    pub(in super::super) actions: &'a [Action],
    pub(in super::super) style: Style<'a>,
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions.is_empty() {
            return f.write_str("drop");
        }
        let (mut list, mut rest) = (Commas::new(f), self.actions);
        while let [action, behind @ ..] = rest {
            if let Some((queue, port, behind)) = self.enqueue(rest) {
                list.item(format_args!("enqueue:{}:{queue}", self.style.port(port.number())))?;
                rest = behind;
                continue;
            }
            list.item(format_args!("{}", Printed { what: action, style: self.style }))?;
            rest = behind;
        }
        Ok(())
    }
}

impl List<'_> {
    /// Choosing a queue for one output, for which OpenFlow 1.0 has a word.
    fn enqueue<'l>(&self, list: &'l [Action]) -> Option<(u32, OutPort, &'l [Action])> {
        match list {
            [Action::SetQueue(queue), Action::Output(port), Action::PopQueue, behind @ ..]
                if self.style.is_old() =>
            {
                use OutPort::{InPort, Local, Port};
                matches!(port, Port(_) | InPort | Local).then_some((*queue, *port, behind))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Printed<'_, Action> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.style;
        match self.what {
            Action::Output(OutPort::Port(number)) => write!(f, "output:{}", style.port(*number)),
            Action::Output(port) => write!(f, "{}", style.port(port.number())),
            Action::OutputField(src) => write!(f, "output:{}", Bits(*src)),
            Action::OutputTruncated { port, max_len } => {
                let port = style.port(port.number());
                write!(f, "output(port={port},max_len={max_len})")
            }
            Action::Controller(controller) => controller.fmt(f),
            Action::Group(id) => write!(f, "group:{id}"),
            Action::Meter(id) => write!(f, "meter:{id}"),
            Action::SetQueue(queue) => write!(f, "set_queue:{queue}"),
            Action::PopQueue => f.write_str("pop_queue"),
            Action::SetField { field, value, mask } => {
                Write { field: *field, value: *value, mask: *mask, style }.fmt(f)
            }
            Action::Move { src, dst } => write!(f, "move:{}->{}", Bits(*src), Bits(*dst)),
            Action::Push(src) => write!(f, "push:{}", Bits(*src)),
            Action::Pop(dst) => write!(f, "pop:{}", Bits(*dst)),
            Action::PushVlan(ethertype) => write!(f, "push_vlan:{ethertype:#06x}"),
            Action::PopVlan => f.write_str(if style.is_old() { "strip_vlan" } else { "pop_vlan" }),
            Action::ModVlanVid(vid) => write!(f, "mod_vlan_vid:{vid}"),
            Action::ModVlanPcp(pcp) => write!(f, "mod_vlan_pcp:{pcp}"),
            Action::DecTtl(ids) => fmt_dec_ttl(f, ids),
            Action::CheckPktLarger { len, dst } => {
                write!(f, "check_pkt_larger({len})->{}", Bits(*dst))
            }
            Action::Resubmit { in_port, table } => fmt_resubmit(f, *in_port, *table, style),
            Action::GotoTable(table) => write!(f, "goto_table:{table}"),
            Action::Clone(actions) => write!(f, "clone({})", List { actions, style }),
            Action::Exit => f.write_str("exit"),
            Action::Learn(learn) => Printed { what: &**learn, style }.fmt(f),
            Action::FinTimeout { idle, hard } => fmt_fin_timeout(f, *idle, *hard),
            Action::Conjunction { id, clause, clauses } => {
                write!(f, "conjunction({id},{}/{clauses})", u16::from(*clause) + 1)
            }
            Action::Note(bytes) => write!(f, "note:{}", Dotted(bytes)),
            Action::Sample(sample) => Printed { what: sample, style }.fmt(f),
            Action::Multipath(multipath) => multipath.fmt(f),
            Action::Bundle(bundle) => Printed { what: &**bundle, style }.fmt(f),
            Action::Ct(ct) => Printed { what: &**ct, style }.fmt(f),
            Action::CtClear => f.write_str("ct_clear"),
            Action::ClearActions => f.write_str("clear_actions"),
            Action::WriteActions(actions) => {
                write!(f, "write_actions({})", List { actions, style })
            }
            Action::WriteMetadata { value, mask: u64::MAX } => {
                write!(f, "write_metadata:{}", Hex((*value).into()))
            }
            Action::WriteMetadata { value, mask } => {
                write!(f, "write_metadata:{}/{}", Hex((*value).into()), Hex((*mask).into()))
            }
        }
    }
}

fn fmt_dec_ttl(f: &mut fmt::Formatter<'_>, ids: &[u16]) -> fmt::Result {
    f.write_str("dec_ttl")?;
    if ids.is_empty() {
        return Ok(());
    }
    f.write_str("(")?;
    let mut list = Commas::new(f);
    ids.iter().try_for_each(|id| list.item(format_args!("{id}")))?;
    f.write_str(")")
}

fn fmt_resubmit(
    f: &mut fmt::Formatter<'_>,
    in_port: Option<u16>,
    table: Option<u8>,
    style: Style<'_>,
) -> fmt::Result {
    if let (Some(number), None) = (in_port, table) {
        return write!(f, "resubmit:{}", style.port(number));
    }
    f.write_str("resubmit(")?;
    if let Some(number) = in_port {
        write!(f, "{}", style.port(number))?;
    }
    match table {
        Some(table) => write!(f, ",{table})"),
        None => f.write_str(",)"),
    }
}

fn fmt_fin_timeout(f: &mut fmt::Formatter<'_>, idle: u16, hard: u16) -> fmt::Result {
    f.write_str("fin_timeout(")?;
    let mut list = Commas::new(f);
    for (name, seconds) in [("idle_timeout", idle), ("hard_timeout", hard)] {
        if seconds != 0 {
            list.item(format_args!("{name}={seconds}"))?;
        }
    }
    f.write_str(")")
}

/// Writing bits of a field.
struct Write<'a> {
    field: Field,
    value: u128,
    mask: u128,
    style: Style<'a>,
}

impl fmt::Display for Write<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, mask, style } = *self;
        if let (true, Some(word)) = (style.is_old(), self.old_word()) {
            return match field {
                // The whole byte, and the VID without the bit that says there is one.
                Field::IpDscp => write!(f, "{word}:{}", value << 2),
                Field::VlanVid => write!(f, "{word}:{}", value & 0xfff),
                _ => {
                    let written = Written(Matched { field, value, mask, ports: style.ports });
                    write!(f, "{word}:{written}")
                }
            };
        }
        match self.run() {
            Some(_) if style.is_old() && mask == field.ones() => {
                return write!(f, "load:{}->{}[]", Hex(value), field.nxm_name());
            }
            Some(part) if style.is_old() => {
                return write!(f, "load:{}->{}", Hex(value >> part.first), Bits(part));
            }
            _ => {}
        }
        let written = Written(Matched { field, value, mask, ports: style.ports });
        write!(f, "set_field:{written}->{field}")
    }
}

impl Write<'_> {
    /// The word that OpenFlow 1.0 has for it, if it says the same.
    fn old_word(&self) -> Option<&'static str> {
        let is_wide = self.value >> 32 != 0;
        let word = match self.field {
            Field::EthSrc => "mod_dl_src",
            Field::EthDst => "mod_dl_dst",
            Field::IpSrc => "mod_nw_src",
            Field::IpDst => "mod_nw_dst",
            Field::IpDscp => "mod_nw_tos",
            // Without a match the usual words mean the ports of TCP, and push a tag.
            Field::UdpSrc | Field::UdpDst if self.style.in_bucket => return None,
            Field::VlanVid if self.style.in_bucket => "set_vlan_vid",
            Field::VlanPcp if self.style.in_bucket => "set_vlan_pcp",
            Field::TcpSrc | Field::UdpSrc => "mod_tp_src",
            Field::TcpDst | Field::UdpDst => "mod_tp_dst",
            Field::VlanVid => "mod_vlan_vid",
            Field::VlanPcp => "mod_vlan_pcp",
            Field::TunId if is_wide => "set_tunnel64",
            Field::TunId => "set_tunnel",
            _ => return None,
        };
        (self.mask == self.field.ones()).then_some(word)
    }

    /// The bits of it, if a single `load` can write them: up to 64 in a row. Fields that have a word
    /// of their own OVS writes by that word, mask or not.
    fn run(&self) -> Option<Subfield> {
        let Self { field, mask, .. } = *self;
        let has_word = Write { mask: field.ones(), ..*self }.old_word().is_some();
        let lossy = matches!(field, Field::IpTos | Field::VlanTci);
        if lossy || has_word && field != Field::TunId {
            return None;
        }
        let (first, bits) = (mask.trailing_zeros(), mask.count_ones());
        let is_run = first + bits + mask.leading_zeros() == 128 && bits <= 64;
        let narrow = |count: u32| u8::try_from(count).ok();
        is_run.then_some(Subfield { field, first: narrow(first)?, bits: narrow(bits)? })
    }
}

/// A part of a field by the field's NXM name, with brackets always.
pub(in super::super) struct Bits(pub(in super::super) Subfield);

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
