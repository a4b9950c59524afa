//! Printing, byte for byte as OVS does (`match_format`, `ofpacts_format`), with the words of
//! `dump-flows` for what stands around match and actions.

mod action;
mod ct;
mod matching;

use std::fmt;

pub(super) use action::{Bits, List};
pub use action::{print_actions, print_actions_in};
pub(super) use matching::fmt_fields;

use super::flow::VERBS;
use super::ports::{NoNames, Port, PortNames};
use crate::action::Action;
use crate::change::Change;
use crate::flow::{Command, FlowFilter, FlowFlags, FlowMod, Match, TableId};
use crate::group::{Group, GroupMod};
use crate::meter::{Meter, MeterMod};
use crate::reply::FlowStats;
use crate::table::TableMod;

/// In which words flows and groups are printed. What is printed in either is read back as the same.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Dialect {
    /// Those of OVS over OpenFlow 1.5, such as `set_field:0x5->reg0`.
    #[default]
    OpenFlow15,
    /// Those of OVS over OpenFlow 1.0, such as `load:0x5->NXM_NX_REG0[]`; the others where OVS has
    /// none that say the same.
    OpenFlow10,
}

/// How something is printed.
#[derive(Clone, Copy)]
pub(super) struct Style<'a> {
    pub(super) ports: &'a dyn PortNames,
    pub(super) dialect: Dialect,
    /// There is no match that says of which protocol a port is.
    pub(super) in_bucket: bool,
}

impl<'a> Style<'a> {
    fn new(dialect: Dialect, ports: &'a dyn PortNames) -> Self {
        Self { ports, dialect, in_bucket: false }
    }

    pub(super) fn port(self, number: u16) -> Port<'a> {
        Port { number, ports: self.ports }
    }

    pub(super) fn is_old(self) -> bool {
        self.dialect == Dialect::OpenFlow10
    }
}

/// Something to be printed in some style.
pub(super) struct Printed<'a, T: ?Sized> {
    pub(super) what: &'a T,
    pub(super) style: Style<'a>,
}

macro_rules! printed {
    ($($type:ty)*) => { $(
        impl $type {
            /// Prints it with the names that `ports` knows; `NoNames` and `Display` print numbers.
            pub fn print<'a>(&'a self, ports: &'a dyn PortNames) -> impl fmt::Display + 'a {
                self.print_in(Dialect::default(), ports)
            }

            /// The same in a dialect.
            pub fn print_in<'a>(
                &'a self,
                dialect: Dialect,
                ports: &'a dyn PortNames,
            ) -> impl fmt::Display + 'a {
                Printed { what: self, style: Style::new(dialect, ports) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.print(&NoNames).fmt(f)
            }
        }
    )* };
}

printed! { FlowMod FlowStats FlowFilter Match Action Group GroupMod Meter MeterMod TableMod Change }

impl fmt::Display for Printed<'_, FlowMod> {
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
        fmt_out(f, flow.out_port, flow.out_group, self.style)?;
        fmt_match_and_actions(f, flow, self.style)
    }
}

impl fmt::Display for Printed<'_, FlowStats> {
    /// `cookie=0x0, duration=1.5s, table=0, n_packets=3, n_bytes=294, idle_age=1, tcp
    /// actions=drop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlowStats { flow, packets, bytes, duration_ms, idle_ms, hard_ms, .. } = self.what;
        write!(f, "cookie={:#x}, duration={}", flow.cookie.unwrap_or(0), duration_ms / 1000)?;
        if duration_ms % 1000 != 0 {
            write!(f, ".{:03}", duration_ms % 1000)?;
        }
        let table = flow.table.unwrap_or(0);
        write!(f, "s, table={table}, n_packets={packets}, n_bytes={bytes}, ")?;
        fmt_timeouts(f, flow)?;
        write!(f, "idle_age={}, ", idle_ms / 1000)?;
        if self.style.is_old() && hard_ms / 1000 != duration_ms / 1000 {
            write!(f, "hard_age={}, ", hard_ms / 1000)?;
        }
        fmt_match_and_actions(f, flow, self.style)
    }
}

impl fmt::Display for Printed<'_, FlowFilter> {
    /// `cookie=0x5/0xff, table=2, out_port=3, tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = self.what;
        fmt_choice(f, filter.cookie, filter.table)?;
        fmt_out(f, filter.out_port, filter.out_group, self.style)?;
        fmt_fields(&mut Commas::new(f), &filter.matching, self.style)
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

fn fmt_out(
    f: &mut fmt::Formatter<'_>,
    port: Option<u16>,
    group: Option<u32>,
    style: Style<'_>,
) -> fmt::Result {
    if let Some(number) = port {
        write!(f, "out_port={}, ", style.port(number))?;
    }
    match group {
        Some(group) => write!(f, "out_group={group}, "),
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
    style: Style<'_>,
) -> fmt::Result {
    let mut list = Commas::new(f);
    if flow.priority != FlowMod::DEFAULT_PRIORITY {
        list.item(format_args!("priority={}", flow.priority))?;
    }
    fmt_fields(&mut list, &flow.matching, style)?;
    if !list.first {
        f.write_str(" ")?;
    }
    match &flow.actions {
        Some(actions) => write!(f, "actions={}", List { actions, style }),
        None => Ok(()),
    }
}

/// Writes items with commas between them.
pub(super) struct Commas<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl<'a, 'f> Commas<'a, 'f> {
    pub(super) fn new(f: &'a mut fmt::Formatter<'f>) -> Self {
        Self { f, first: true }
    }

    pub(super) fn item(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        if !self.first {
            self.f.write_str(",")?;
        }
        self.first = false;
        self.f.write_fmt(item)
    }
}
