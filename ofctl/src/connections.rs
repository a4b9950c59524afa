//! Connections that are tracked: `dump-conntrack`, `flush-conntrack`, `ct-stats`, and those that are
//! waited for: `dump-conntrack-exp`.

mod expected;
mod filter;

pub(crate) use filter::number;

use std::fmt;
use std::io;

use anyhow::Result;
use api::reply::{Connection, ConnectionKind, ConnectionTuple, CtCounts};
use api::request::{ConnectionFilter, CtDump, CtFlush, CtStats};
use clap::error::ErrorKind;

use crate::arguments::misuse;
use crate::cli::{ConnectionCommand, DumpConntrackArgs};
use crate::ct_bench;
use crate::desk::Desk;
use crate::grid::Grid;
use crate::output::Output;
use crate::progress::Progress;

pub(crate) fn run(command: ConnectionCommand, desk: &mut Desk) -> Result<()> {
    match command {
        ConnectionCommand::DumpConntrack(args) => dump(&args, desk),
        ConnectionCommand::DumpConntrackExp(args) => expected::dump(args, desk),
        ConnectionCommand::FlushConntrack(args) => {
            flush(chosen("flush-conntrack", &args.words)?, desk)
        }
        ConnectionCommand::CtFlushZone(args) => {
            flush(ConnectionFilter { zone: Some(args.zone), ..ConnectionFilter::default() }, desk)
        }
        ConnectionCommand::CtStats(args) => stats(args.more, desk),
        ConnectionCommand::CtBench(args) => ct_bench::run(&args, desk),
    }
}

/// What the words of a command choose.
pub(crate) fn chosen(command: &str, words: &[String]) -> Result<ConnectionFilter> {
    filter::read(words).map_err(|wrong| misuse(command, ErrorKind::InvalidValue, &wrong))
}

fn dump(args: &DumpConntrackArgs, desk: &mut Desk) -> Result<()> {
    let filter = chosen("dump-conntrack", &args.words)?;
    let (client, out) = desk.open()?;
    let mut progress = Progress::of("connections", out.is_terminal());
    let mut count = 0;
    let page = |after| {
        let page = client.call(CtDump { filter: filter.clone(), after, limit: None })?;
        count += page.connections.len();
        if page.next.is_some() {
            progress.at(count, None);
        }
        Ok((page.connections, page.next))
    };
    out.pages("connections", page, |out, connection| out.line(Line { connection, args }))
}

fn flush(filter: ConnectionFilter, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let flushed = client.call(CtFlush { filter })?;
    out.answer(&flushed, |out, flushed| match flushed.connections {
        1 => out.line("1 connection forgotten"),
        count => out.line(format_args!("{count} connections forgotten")),
    })
}

fn stats(kinds: bool, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let counts = client.call(CtStats { kinds })?;
    out.answer(&counts, print_counts)
}

fn print_counts(out: &mut Output, counts: &CtCounts) -> io::Result<()> {
    let CtCounts { connections, limit, bytes, made, expired, full, .. } = counts;
    let CtCounts { over_limit, clashed, without_port, invalid, .. } = counts;
    out.line(format_args!("{:<16} {connections} of {limit}", "connections"))?;
    let lines = [
        ("bytes", bytes),
        ("made", made),
        ("expired", expired),
        ("no room", full),
        ("zone limit", over_limit),
        ("no port", without_port),
        ("clashed", clashed),
        ("invalid packets", invalid),
    ];
    lines.iter().try_for_each(|(what, count)| out.line(format_args!("{what:<16} {count}")))?;
    let [first, last] = counts.reserved_ports;
    out.line(format_args!("{:<16} {first}-{last}", "reserved ports"))?;
    out.line(format_args!("{:<16} {}", "host addresses", counts.host_addresses))?;
    match counts.kinds.as_deref() {
        None | Some([]) => Ok(()),
        Some(kinds) => print_kinds(out, kinds),
    }
}

fn print_kinds(out: &mut Output, kinds: &[ConnectionKind]) -> io::Result<()> {
    let mut grid = Grid::new(&["PROTOCOL", "STATE", "CONNECTIONS"]);
    for ConnectionKind { proto, state, connections } in kinds {
        grid.row([
            Protocol(*proto).to_string(),
            state.clone().unwrap_or_else(|| "-".to_owned()),
            connections.to_string(),
        ]);
    }
    out.end()?;
    grid.print(out, "")
}

/// A connection as `ovs-appctl dpctl/dump-conntrack` has it.
pub(crate) struct Line<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) args: &'a DumpConntrackArgs,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connection { zone, original, reply, mark, labels, state, timeout_ms, .. } =
            self.connection;
        let Connection { helper, parent, .. } = self.connection;
        let (proto, [original, reply]) = (Protocol(original.proto), [original, reply].map(Tuple));
        write!(f, "{proto},orig=({original}),reply=({reply})")?;
        if *zone != 0 {
            write!(f, ",zone={zone}")?;
        }
        if self.args.more {
            write!(f, ",status={}", status(self.connection))?;
        }
        if self.args.statistics {
            write!(f, ",timeout={}", timeout_ms / 1000)?;
        }
        if *mark != 0 {
            write!(f, ",mark={mark}")?;
        }
        if *labels != 0 {
            write!(f, ",labels={labels:#x}")?;
        }
        if let Some(state) = state {
            write!(f, ",protoinfo=(state={state})")?;
        }
        if let Some(helper) = helper {
            write!(f, ",helper={helper}")?;
        }
        match parent {
            Some(parent) if self.args.more => write!(f, ",parent=({})", Tuple(parent)),
            _ => Ok(()),
        }
    }
}

/// What is known of a connection besides, in the words that the kernel has for it. All that are shown
/// are confirmed: their first packet has passed.
fn status(connection: &Connection) -> String {
    let Connection { original, reply, .. } = connection;
    let sources = [
        (original.src, original.src_port, original.icmp_id),
        (reply.dst, reply.dst_port, reply.icmp_id),
    ];
    let destinations = [(original.dst, original.dst_port), (reply.src, reply.src_port)];
    let words = [
        (connection.parent.is_some(), "EXPECTED"),
        (connection.replied, "SEEN_REPLY"),
        (connection.assured, "ASSURED"),
        (true, "CONFIRMED"),
        // What answers does not go where it came from.
        (sources[0] != sources[1], "SRC_NAT"),
        (destinations[0] != destinations[1], "DST_NAT"),
    ];
    let words: Vec<_> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    words.join("|")
}

/// One direction of a connection. Where there are no ports OVS has them be 0.
pub(crate) struct Tuple<'a>(pub(crate) &'a ConnectionTuple);

impl fmt::Display for Tuple<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectionTuple { src, dst, src_port, dst_port, icmp_id, icmp_type, icmp_code, .. } =
            self.0;
        write!(f, "src={src},dst={dst}")?;
        if let (Some(id), Some(kind), Some(code)) = (icmp_id, icmp_type, icmp_code) {
            return write!(f, ",id={id},type={kind},code={code}");
        }
        let [src_port, dst_port] = [src_port, dst_port].map(|port| port.unwrap_or(0));
        write!(f, ",sport={src_port},dport={dst_port}")
    }
}

/// An IP protocol: its name, where OVS knows it.
struct Protocol(u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u8, &str); 8] = [
            (1, "icmp"),
            (2, "igmp"),
            (6, "tcp"),
            (17, "udp"),
            (33, "dccp"),
            (58, "icmpv6"),
            (132, "sctp"),
            (136, "udplite"),
        ];
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests;
