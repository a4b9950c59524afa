//! What happens, as it happens: `monitor`.

use std::collections::HashMap;
use std::io::{self, Write as _};

use anyhow::Result;
use api::reply::{
    Connection, Event, FlowRemoved, PacketIn, Port, PortState, RemovedReason, Sampled, WatchedFlow,
    WatchedPort,
};
use api::request::{EventsWatch, FlowWatch, RemovedFlows};
use api::{Client, ClientError, Dialect, FlowFlags, FlowMod, NoNames, Notification, PortNames};
use clap::error::ErrorKind;

use crate::arguments::{bridges, misuse};
use crate::cli::{DumpConntrackArgs, MonitorArgs, Options};
use crate::connections::{Line, chosen};
use crate::desk::Desk;
use crate::notices::{Next, Notices};
use crate::output::{BAD, DOUBTFUL, FAINT, GOOD, Output, STRONG};
use crate::problem::{Problem, Quote, explain};

pub(crate) fn run(args: &MonitorArgs, desk: &mut Desk) -> Result<()> {
    let wanted = Wanted::read(args)?;
    let (client, out) = desk.open()?;
    let with_names = args.names.names || out.is_terminal() && !args.names.no_names;
    let mut names = Names::default();
    if with_names && !out.is_json() {
        names.learn(client)?;
    }
    let Options { socket, timeout, protocols: dialect, .. } = desk.options.clone();
    let filter = wanted.filter.clone().unwrap_or_default();
    let refused = |error| explain(error, Quote::argument(&filter), 0);
    let mut notices = Notices::begin(socket, timeout, wanted.watch).map_err(refused)?;
    if !desk.out.is_json() {
        // Nobody waits for it.
        let _ = writeln!(io::stderr(), "monitoring, until Ctrl-C");
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        match notices.next()? {
            Next::Told(Notification::Event(event)) => {
                names.follow(&event);
                let nobody = Names::default();
                let words = Words { names: if with_names { &names } else { &nobody }, dialect };
                tell(&mut desk.out, &event, words)?;
                left -= u64::from(!matches!(event, Event::FlowsComplete {}));
            }
            Next::Told(_) => {}
            Next::Stop => return Ok(()),
            Next::Over => {
                let title = "the switch has ended the connection: it ends".to_owned();
                return Err(Problem { title, ..Problem::default() }.into());
            }
        }
    }
    Ok(())
}

/// What is asked for.
struct Wanted {
    watch: EventsWatch,
    filter: Option<String>,
}

impl Wanted {
    fn read(args: &MonitorArgs) -> Result<Self> {
        let (bridge, words) = match &*args.words {
            [first, rest @ ..] if !is_kind(first) => (Some(first.clone()), rest),
            words => (None, words),
        };
        let mut watch = EventsWatch { bridge, ..EventsWatch::default() };
        let mut filter = None;
        let everything = ["flows", "removed", "ports"].map(str::to_owned);
        for word in if words.is_empty() { &everything } else { words } {
            match word.split_once('=').unwrap_or((word, "")) {
                // As `ovs-ofctl monitor` has it.
                ("flows", text) => filter = Some(text.to_owned()),
                ("removed", "") => watch.removed = watch.removed.or(Some(RemovedFlows::Asked)),
                ("removed", "all") => watch.removed = Some(RemovedFlows::All),
                ("ports", "") => watch.ports = true,
                ("packets", "") => watch.packets = Some(Vec::new()),
                ("packets", watcher) => match watcher.parse() {
                    Ok(watcher) => watch.packets.get_or_insert_default().push(watcher),
                    Err(_) => {
                        let wrong = format!("`{watcher}` is no number of a watcher");
                        return Err(misuse("monitor", ErrorKind::InvalidValue, &wrong));
                    }
                },
                ("connections", "") => {
                    watch.connections.get_or_insert_default();
                }
                ("connections", text) => {
                    let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
                    watch.connections = Some(chosen("monitor", &words)?);
                }
                _ => {
                    let wrong = format!(
                        "`{word}` is none of flows, flows=MATCH, removed, removed=all, ports, packets, \
                         packets=WATCHER, connections and connections=WORDS"
                    );
                    return Err(misuse("monitor", ErrorKind::InvalidValue, &wrong));
                }
            }
        }
        watch.flows = filter.as_ref().map(|filter| FlowWatch {
            filter: Some(filter.clone()).filter(|filter| !filter.is_empty()),
            initial: !args.no_initial,
        });
        Ok(Self { watch, filter })
    }
}

fn is_kind(word: &str) -> bool {
    let kind = word.split('=').next().unwrap_or(word);
    ["flows", "removed", "ports", "packets", "connections"].contains(&kind)
}

/// The names of ports, by bridge.
#[derive(Default)]
struct Names(HashMap<String, Vec<(u16, String)>>);

impl Names {
    fn learn(&mut self, client: &mut Client) -> Result<(), ClientError> {
        for bridge in bridges(client)? {
            let ports = bridge.ports.into_iter().map(|port| (port.number, port.name));
            self.0.insert(bridge.name, ports.collect());
        }
        Ok(())
    }

    /// Ports that come have names, too, if ports are told.
    fn follow(&mut self, event: &Event) {
        if let Event::PortAdded(WatchedPort { bridge, port }) = event {
            let ports = self.0.entry(bridge.clone()).or_default();
            ports.push((port.number, port.name.clone()));
        }
    }

    fn of(&self, bridge: &str) -> &dyn PortNames {
        self.0.get(bridge).map_or(&NoNames, |names| names)
    }
}

/// How flows are printed.
#[derive(Clone, Copy)]
struct Words<'a> {
    names: &'a Names,
    dialect: Dialect,
}

/// Tells at once.
fn tell(out: &mut Output, event: &Event, words: Words<'_>) -> Result<()> {
    if out.is_json() {
        out.json(event)?;
    } else {
        print(out, event, words)?;
    }
    Ok(out.flush()?)
}

fn print(out: &mut Output, event: &Event, words: Words<'_>) -> io::Result<()> {
    match event {
        Event::FlowRemoved(removed) => print_removed(out, removed, words.names),
        // OVS calls what is there already added.
        Event::FlowInitial(flow) | Event::FlowAdded(flow) => {
            print_flow(out, "ADDED", None, flow, words)
        }
        Event::FlowModified(flow) => print_flow(out, "MODIFIED", None, flow, words),
        Event::FlowDeleted { flow, reason } => {
            print_flow(out, "DELETED", Some(*reason), flow, words)
        }
        Event::FlowsComplete {} => Ok(()),
        Event::PortAdded(port) => print_port(out, "ADD", port),
        Event::PortDeleted(port) => print_port(out, "DEL", port),
        Event::PortModified(port) => print_port(out, "MOD", port),
        Event::PacketIn(packet) => print_packet(out, packet),
        Event::Sampled(sampled) => print_sampled(out, sampled),
        Event::ConnectionNew(one) => print_connection(out, GOOD, "NEW", one),
        Event::ConnectionUpdated(one) => print_connection(out, STRONG, "UPDATE", one),
        Event::ConnectionDestroyed(one) => print_connection(out, DOUBTFUL, "DESTROY", one),
        Event::Lost { events } => {
            let what = "events happened too fast to be told here; watched flows are told anew";
            out.styled(BAD, format_args!("({events} {what})"))?;
            out.end()
        }
    }
}

/// ` event=DELETED reason=delete table=0 cookie=0x5 tcp actions=output:2`.
fn print_flow(
    out: &mut Output,
    event: &str,
    reason: Option<RemovedReason>,
    watched: &WatchedFlow,
    words: Words<'_>,
) -> io::Result<()> {
    let flow = &watched.flow;
    let style = if reason.is_some() { DOUBTFUL } else { GOOD };
    out.put(" event=")?;
    out.styled(style, event)?;
    if let Some(reason) = reason {
        out.put(format_args!(" reason={reason}"))?;
    }
    out.put(format_args!(" table={}", flow.table.unwrap_or(0)))?;
    for (name, value) in [("idle_timeout", flow.idle_timeout), ("hard_timeout", flow.hard_timeout)]
    {
        if value > 0 {
            out.put(format_args!(" {name}={value}"))?;
        }
    }
    match flow.cookie.unwrap_or(0) {
        0 => out.put(" cookie=0 ")?,
        cookie => out.put(format_args!(" cookie={cookie:#x} "))?,
    }
    out.line(bare(flow).print_in(words.dialect, words.names.of(&watched.bridge)))
}

/// A flow of which only match, priority and actions are left.
fn bare(flow: &FlowMod) -> FlowMod {
    FlowMod {
        table: Some(0),
        cookie: None,
        idle_timeout: 0,
        hard_timeout: 0,
        importance: 0,
        flags: FlowFlags::default(),
        ..flow.clone()
    }
}

/// In the words of `ovs-ofctl monitor`, and then the bytes.
fn print_packet(out: &mut Output, packet: &PacketIn) -> io::Result<()> {
    let PacketIn { table, cookie, len, in_port, reason, fields, .. } = packet;
    let fields = if fields.is_empty() { String::new() } else { format!(" {fields}") };
    let userdata = match packet.userdata.0.is_empty() {
        true => String::new(),
        false => format!(" userdata={}", packet.userdata),
    };
    let paused = packet.paused.map_or_else(String::new, |paused| format!(" paused={paused}"));
    out.styled(STRONG, format_args!("PACKET_IN"))?;
    out.line(format_args!(
        " table_id={table} cookie={cookie:#x} total_len={len} in_port={in_port}{fields} \
         (via {reason}) id={}{userdata}{paused} data_len={}",
        packet.watcher,
        packet.packet.0.len(),
    ))?;
    out.line(format_args!(" {}", packet.packet))
}

fn print_sampled(out: &mut Output, sampled: &Sampled) -> io::Result<()> {
    let Sampled { collector_set, domain, point, in_port, len, packet, .. } = sampled;
    out.styled(STRONG, format_args!("SAMPLE"))?;
    out.line(format_args!(
        " collector_set={collector_set} domain={domain} point={point} in_port={in_port} \
         total_len={len}",
    ))?;
    out.line(format_args!(" {packet}"))
}

/// `[NEW] udp,orig=(...),reply=(...),zone=5,status=CONFIRMED`: the words of `conntrack -E`, and behind
/// them a line of `dump-conntrack -m`.
fn print_connection(
    out: &mut Output,
    style: anstyle::Style,
    what: &str,
    connection: &Connection,
) -> io::Result<()> {
    let args = DumpConntrackArgs { more: true, ..DumpConntrackArgs::default() };
    out.styled(style, format_args!("[{what}]"))?;
    out.line(format_args!(" {}", Line { connection, args: &args }))
}

/// `OFPT_FLOW_REMOVED: priority=9,arp reason=hard table_id=3 cookie:0x5 duration1.004s idle0 hard1
/// pkts0 bytes0`.
fn print_removed(out: &mut Output, removed: &FlowRemoved, names: &Names) -> io::Result<()> {
    let FlowRemoved { bridge, reason, stats } = removed;
    let flow = &stats.flow;
    out.styled(STRONG, "OFPT_FLOW_REMOVED")?;
    out.put(": ")?;
    if flow.priority != FlowMod::DEFAULT_PRIORITY {
        out.put(format_args!("priority={}", flow.priority))?;
    }
    let matching = flow.matching.print(names.of(bridge)).to_string();
    let comma = flow.priority != FlowMod::DEFAULT_PRIORITY && !matching.is_empty();
    out.put(format_args!("{}{matching} reason=", if comma { "," } else { "" }))?;
    out.styled(DOUBTFUL, reason)?;
    out.put(format_args!(" table_id={}", flow.table.unwrap_or(0)))?;
    if let Some(cookie) = flow.cookie.filter(|cookie| *cookie != 0) {
        out.put(format_args!(" cookie:{cookie:#x}"))?;
    }
    out.put(format_args!(" duration{}", seconds(stats.duration_ms)))?;
    out.put(format_args!(" idle{}", flow.idle_timeout))?;
    if flow.hard_timeout > 0 {
        out.put(format_args!(" hard{}", flow.hard_timeout))?;
    }
    out.line(format_args!(" pkts{} bytes{}", stats.packets, stats.bytes))
}

/// `1.5s`, as OVS writes durations.
fn seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => format!("{}s", ms / 1000),
        rest => format!("{}.{}s", ms / 1000, format!("{rest:03}").trim_end_matches('0')),
    }
}

/// `OFPT_PORT_STATUS: MOD: 1(p1): dummy, up, config: no_flood`.
fn print_port(out: &mut Output, what: &str, watched: &WatchedPort) -> io::Result<()> {
    let Port { number, name, kind, state, flags, reason, .. } = &watched.port;
    out.styled(STRONG, "OFPT_PORT_STATUS")?;
    out.put(format_args!(
        ": {what}: {number}({name}): bridge {}, {}, ",
        watched.bridge,
        kind.name()
    ))?;
    match state {
        PortState::Up => out.styled(GOOD, "up")?,
        PortState::Down => out.styled(BAD, "down")?,
    }
    if let Some(reason) = reason {
        out.styled(FAINT, format_args!(" ({reason})"))?;
    }
    let flags: Vec<_> = flags.names().collect();
    let config = if flags.is_empty() { "0".to_owned() } else { flags.join(" ") };
    out.line(format_args!(", config: {config}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str]) -> Result<Wanted> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let names = crate::cli::NamesArgs { names: false, no_names: false };
        Wanted::read(&MonitorArgs { words, no_initial: true, count: None, names })
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let all = wanted(&[]).unwrap().watch;
        assert!(all.ports && all.removed.is_some() && all.flows.is_some() && all.bridge.is_none());
        let some = wanted(&["br0", "flows=table=1,ip", "removed=all"]).unwrap();
        let flows = FlowWatch { filter: Some("table=1,ip".to_owned()), initial: false };
        let expected = EventsWatch {
            bridge: Some("br0".to_owned()),
            removed: Some(RemovedFlows::All),
            flows: Some(flows),
            ports: false,
            packets: None,
            connections: None,
        };
        assert_eq!(some.watch, expected);
        let zone =
            wanted(&["connections=zone=5 ct_nw_proto=6"]).unwrap().watch.connections.unwrap();
        assert_eq!((zone.zone, zone.original.proto), (Some(5), Some(6)));
        let error = wanted(&["connections=zone=x"]).err().unwrap().to_string();
        assert!(error.contains("zone"), "{error}");
        let error = wanted(&["br0", "flow"]).err().unwrap().to_string();
        assert!(error.contains("`flow` is none of flows, flows=MATCH"), "{error}");
    }

    #[test]
    fn durations_are_those_of_ovs() {
        assert_eq!([0, 1_000, 1_500, 1_004].map(seconds), ["0s", "1s", "1.5s", "1.004s"]);
    }
}
