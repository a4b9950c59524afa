//! The command line: every command, its arguments and its help, from which come the completions and
//! the manual pages too.

mod bundle;
mod cache;
mod capture;
mod compare;
mod connection;
mod fdb;
mod flow;
mod group;
mod meter;
mod mod_port;
mod mod_table;
mod monitor;
mod order;
mod port;
mod queue;
mod zone;

use std::path::PathBuf;
use std::time::Duration;

use api::Dialect;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use bundle::{BundleArgs, BundleCommand, PacketOutArgs, SaveArgs};
pub use cache::{CacheCommand, DetraceArgs, DumpCacheArgs, DumpSessionsArgs, TierName};
pub use capture::{CaptureArgs, DirectionName};
pub use compare::{
    CompareCommand, DiffFlowsArgs, ParseFileArgs, ParseFlowArgs, ParseGroupArgs, ReplaceFlowsArgs,
};
pub use connection::{
    ConnectionCommand, CtBenchArgs, CtBenchProtocol, CtFlushZoneArgs, CtStatsArgs,
    DumpConntrackArgs, DumpConntrackExpArgs, FlushConntrackArgs,
};
pub use fdb::{FdbAddArgs, FdbCommand, FdbDelArgs};
pub use flow::{AddFlowsArgs, DelFlowsArgs, DumpFlowsArgs, FlowArgs, FlowCommand, ModFlowsArgs};
pub use group::{
    ChosenGroupArgs, DumpGroupsArgs, GroupArgs, GroupCommand, GroupFileArgs, ModGroupArgs,
};
pub use meter::{ChosenMeterArgs, MeterArgs, MeterCommand};
pub use mod_port::ModPortArgs;
pub(crate) use mod_port::WORDS;
pub use mod_table::ModTableArgs;
pub use monitor::MonitorArgs;
#[cfg(test)]
pub(crate) use order::parse_key;
pub use order::{Key, OrderArgs};
pub use port::{AddPortArgs, AfxdpModeName, PortOptions, PortType, WhenAwayName};
pub use queue::{DelQueueArgs, QueueDumpArgs, SetQueueArgs};
pub use zone::{ChosenZonesArgs, SomeZonesArgs, ZoneCommand};

/// Programs the switch and asks it why.
///
/// Talks to a running `vswitchd` by its control socket. Flows are written as for ovs-ofctl. BRIDGE
/// may be left out wherever the switch has one bridge only.
#[derive(Debug, Parser)]
#[command(name = "ofctl", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// How to ask and how to answer.
    #[command(flatten)]
    pub options: Options,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What goes with every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options for all commands")]
pub struct Options {
    /// The control socket of the switch
    #[arg(long, global = true, value_name = "PATH")]
    #[arg(env = "VSWITCH_SOCKET", default_value = api::DEFAULT_SOCKET)]
    pub socket: PathBuf,

    /// Answer for people, or with one JSON document for programs
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value = "table")]
    pub format: Format,

    /// Whether to use colours; `auto` does on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value = "auto")]
    pub color: When,

    /// How long the switch may take for each answer
    #[arg(short, long, global = true, value_name = "SECONDS")]
    #[arg(default_value = "60", value_parser = parse_seconds)]
    pub timeout: Duration,

    /// The words in which flows and groups are printed: of OpenFlow10, or of a later one
    #[arg(short = 'O', long, global = true, value_name = "VERSIONS")]
    #[arg(default_value = "OpenFlow15", hide_default_value = true, value_parser = parse_versions)]
    pub protocols: Dialect,

    /// Read flows as Open vSwitch does: a field without what it needs in the match is left out
    #[arg(long, global = true)]
    pub lenient: bool,

    /// What ovs-ofctl takes in front of its commands.
    #[command(flatten)]
    pub old: OldOptions,
}

/// Options that belong to one command or mean nothing, and stand anywhere as with ovs-ofctl.
#[derive(Clone, Copy, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct OldOptions {
    /// Make changes of flows and groups a transaction, which they are anyway
    #[arg(long, global = true, hide = true)]
    pub bundle: bool,
    /// See the commands that have it.
    #[arg(long, global = true, hide = true)]
    pub strict: bool,
    /// See the commands that have it.
    #[arg(long, global = true, hide = true)]
    pub readd: bool,
    /// See the commands that have it.
    #[arg(long, global = true, hide = true)]
    pub may_create: bool,
    /// See the commands that have it.
    #[arg(long, global = true, hide = true)]
    pub names: bool,
    /// See the commands that have it.
    #[arg(long, global = true, hide = true)]
    pub no_names: bool,
    /// See the commands that have it.
    #[arg(long, global = true, hide = true)]
    pub stats: bool,
    /// See the commands that have it.
    #[arg(long, global = true, hide = true)]
    pub no_stats: bool,
}

const AFTER_HELP: &str = "\
Exit status: 0 if it is done, 1 if the switch refused or something failed, 2 if
the command line is wrong. What fails changes nothing, unless the message says
that it is not known.

Whoever knows Open vSwitch finds ofproto/trace in `trace`, ofproto/detrace in
`detrace`, fdb/show in `fdb show`, dpctl/dump-flows in `dump-cache`,
dpif-netdev/pmd-perf-show in `worker-stats`, dpif-netdev/pmd-rxq-show in
`rxq-show`, memory/show in `memory`, revalidator/purge in `cache-flush` and
dpctl/ct-stats-show in `ct-stats`.

Examples:
  ofctl show                                 what bridges and ports there are
  ofctl add-flow 'tcp,tp_dst=80,actions=2'   send packets to port 2
  ofctl trace in_port=1,tcp,tp_dst=80        why does a packet go where it goes
  ofctl capture --drops                      what is dropped, and why";

/// In which form to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// Lines and tables
    #[value(alias = "text")]
    Table,
    /// What the switch has answered
    Json,
}

/// When to do something.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum When {
    /// On a terminal
    Auto,
    /// In any case
    Always,
    /// In no case
    Never,
}

/// Reads `OpenFlow10` or a list of versions, of which the highest one counts.
fn parse_versions(text: &str) -> Result<Dialect, String> {
    const KNOWN: [&str; 6] =
        ["OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15"];
    let known = |word: &str| KNOWN.iter().position(|known| known.eq_ignore_ascii_case(word));
    let mut highest = 0;
    for word in text.split(',') {
        let place = known(word).ok_or_else(|| format!("`{word}` is none of OpenFlow10 to 15"))?;
        highest = highest.max(place);
    }
    Ok(if highest == 0 { Dialect::OpenFlow10 } else { Dialect::OpenFlow15 })
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_wrong| "no number of seconds".to_owned())?;
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| "the time must be more than nothing and less than for ever".to_owned())
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show bridges, their ports and what these can do
    #[command(after_help = "\
Examples:
  ofctl show
  ofctl show br0 --format json | jq '.bridges[].ports[].name'")]
    Show(BridgeArgs),

    /// Make a bridge, without ports and flows
    #[command(after_help = "\
Examples:
  ofctl add-br br0")]
    AddBr(BridgeNameArgs),

    /// Remove a bridge with all of its ports and flows
    #[command(after_help = "\
Examples:
  ofctl del-br br0")]
    DelBr(BridgeNameArgs),

    /// Add a port to a bridge and say its number
    #[command(override_usage = "ofctl add-port [OPTIONS] [BRIDGE] NAME")]
    #[command(after_help = port::EXAMPLES)]
    AddPort(AddPortArgs),

    /// Remove a port from its bridge
    #[command(override_usage = "ofctl del-port [OPTIONS] [BRIDGE] NAME")]
    #[command(after_help = "\
A lone argument is the port's name.

Examples:
  ofctl del-port eth1
  ofctl del-port br0 eth1")]
    DelPort(DelPortArgs),

    /// Change how a port is used: up, down, no-flood and more
    #[command(override_usage = "ofctl mod-port [OPTIONS] [BRIDGE] PORT WORD...")]
    #[command(after_help = mod_port::EXAMPLES)]
    ModPort(ModPortArgs),

    /// Show the counters of ports, and why packets were dropped
    #[command(after_help = "\
PORT is a name or a number. A lone argument is the bridge of that name, if
there is one, and otherwise the port. Drops are counted where a packet came in.

Examples:
  ofctl dump-ports
  ofctl dump-ports eth1
  ofctl dump-ports br0 2")]
    DumpPorts(DumpPortsArgs),

    /// Set an egress queue of a port: its rates, its weight, how many packets may wait
    #[command(override_usage = "ofctl set-queue [OPTIONS] [BRIDGE] PORT QUEUE [SETTING]...")]
    #[command(after_help = queue::SET_EXAMPLES)]
    SetQueue(SetQueueArgs),

    /// Remove an egress queue of a port, or all of them
    #[command(override_usage = "ofctl del-queue [OPTIONS] [BRIDGE] PORT [QUEUE]")]
    #[command(after_help = queue::DEL_EXAMPLES)]
    DelQueue(DelQueueArgs),

    /// Show the counters of egress queues
    #[command(override_usage = "ofctl queue-stats [OPTIONS] [BRIDGE] [PORT] [QUEUE]")]
    #[command(after_help = queue::STATS_EXAMPLES)]
    QueueStats(QueueDumpArgs),

    /// Show how egress queues were set
    #[command(override_usage = "ofctl queue-get-config [OPTIONS] [BRIDGE] [PORT] [QUEUE]")]
    #[command(after_help = queue::CONFIG_EXAMPLES)]
    QueueGetConfig(QueueDumpArgs),

    /// Flows.
    #[command(flatten)]
    Flow(FlowCommand),

    /// Compare flows, and read them without a switch.
    #[command(flatten)]
    Compare(CompareCommand),

    /// Add up the counters of flows
    #[command(after_help = "\
MATCH chooses flows as in dump-flows. A packet that met two of them counts
twice. A lone argument is the bridge of that name, if there is one, and
otherwise the match.

Examples:
  ofctl dump-aggregate
  ofctl dump-aggregate br0 table=1,tcp
  ofctl dump-aggregate cookie=0x5/-1 -f json | jq .packets")]
    DumpAggregate(DumpAggregateArgs),

    /// Show how many flows each table has and how often it was looked up
    #[command(after_help = "\
Prints what `ovs-ofctl -O OpenFlow13 dump-tables` prints, without its line of
heading, and for tables that mod-table has changed what was set. Tables that are
like the one before are named together.

Examples:
  ofctl dump-tables
  ofctl dump-tables br0")]
    DumpTables(OneBridgeArgs),

    /// Say what a table does with packets that no flow matches, and when it is full
    #[command(override_usage = "ofctl mod-table [OPTIONS] [BRIDGE] TABLE SETTING...")]
    #[command(after_help = mod_table::EXAMPLES)]
    ModTable(ModTableArgs),

    /// Groups.
    #[command(flatten)]
    Group(GroupCommand),

    /// Meters.
    #[command(flatten)]
    Meter(MeterCommand),

    /// Everything at once.
    #[command(flatten)]
    Bundle(BundleCommand),

    /// Show what would become of a packet, step by step
    #[command(override_usage = "\
ofctl trace [OPTIONS] [BRIDGE] FLOW
       ofctl trace [OPTIONS] --in-port PORT [BRIDGE] HEX")]
    #[command(after_help = "\
Nothing is sent, learned or counted. FLOW describes a packet by its fields;
what is not named is zero. HEX is a whole packet in hexadecimal digits, as
`ofctl capture` shows it. A lone argument is the packet.

What is decided for each packet is a pass of its own: a meter lets it pass, a
select group takes the bucket that its hash leads to, whoever it waits for lets
it go on; whether it is longer than some length depends on its bytes if these
were given, and is traced both ways if not.

Where flows ask for its connection (ct) it begins one, unless --ct-next says what
it is instead: est, rel, rpl, inv, snat, dnat, several with commas. Given more than
once, the first is for the first time, and so on.

Examples:
  ofctl trace in_port=1,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=80
  ofctl trace br0 in_port=eth1,arp
  ofctl trace in_port=2,udp,nw_src=10.0.0.2,tp_src=53 --ct-next est,rpl
  ofctl trace br0 --in-port 1 02000000000202000000000108060001080006040001")]
    Trace(TraceArgs),

    /// What the workers have cached
    #[command(flatten)]
    Cache(CacheCommand),

    /// Show why packets were dropped last, and what they were
    #[command(after_help = "\
The last 64 drops of each port are kept by each worker, and of a flood the first
16 of each batch. Shown are the reason, the packet as it was then, and the last
eight flows that it had passed, as far as a cache entry knew. PORT is where
packets came in, by name or number. A lone argument is the bridge of that name,
if there is one, and otherwise the port. `ofctl capture --drops` shows drops as
they happen.

Examples:
  ofctl explain-drop
  ofctl explain-drop eth1 -n 3
  ofctl explain-drop br0 -f json | jq '.drops[].reason'")]
    ExplainDrop(ExplainDropArgs),

    /// Show what memory is used for
    #[command(after_help = "\
Of a table that is reserved as a whole, what was never used may not be in place:
what is held may be more than what is resident. Programs, libraries and what has
no line here are the difference the other way.

Examples:
  ofctl memory
  ofctl memory -f json | jq '.uses[] | select(.name == \"flows\")'")]
    Memory,

    /// Show how much there may be of everything, and is
    #[command(after_help = "\
AT is the one that has most. What happens when a limit is reached stands behind
it; most of them are configured under `[limits]`.

Examples:
  ofctl limits
  ofctl limits -f json | jq '.limits[] | select(.now == .limit)'")]
    Limits,

    /// Show what each worker has done
    #[command(after_help = "\
With --histograms, how the work is spread: a line for each power of two, from
there up to the next, with how often it was and how much of all.

Examples:
  ofctl worker-stats
  ofctl worker-stats --histograms
  ofctl worker-stats --format json | jq '.workers[].misses'")]
    WorkerStats(WorkerStatsArgs),

    /// Show which worker polls which receive queue
    #[command(after_help = "\
LOAD is the share of its worker's time that a queue took of late.

Examples:
  ofctl rxq-show")]
    RxqShow,

    /// Show, add or forget the addresses that NORMAL goes by
    #[command(after_help = "\
Examples:
  ofctl fdb show br0
  ofctl fdb add br0 eth1 0 02:00:00:00:00:01
  ofctl fdb flush br0")]
    #[command(subcommand)]
    Fdb(FdbCommand),

    /// Connections.
    #[command(flatten)]
    Connection(ConnectionCommand),

    /// What zones may have of them.
    #[command(flatten)]
    Zone(ZoneCommand),

    /// Tell what happens: flows that come, change and end, and ports
    #[command(override_usage = "ofctl monitor [OPTIONS] [BRIDGE] [WHAT]...")]
    #[command(after_help = monitor::EXAMPLES)]
    Monitor(MonitorArgs),

    /// Show packets as they pass a port or are dropped
    #[command(override_usage = "\
ofctl capture [OPTIONS] [BRIDGE] PORT
       ofctl capture [OPTIONS] --drops")]
    #[command(after_help = capture::EXAMPLES)]
    Capture(CaptureArgs),

    /// Say which version this is, and which one the switch has
    #[command(after_help = "\
Examples:
  ofctl version
  ofctl --version                                   without asking the switch")]
    Version,

    /// Write a script that completes this command line in a shell
    #[command(after_help = "\
Examples:
  ofctl completions bash > /etc/bash_completion.d/ofctl
  ofctl completions zsh > ~/.zfunc/_ofctl")]
    Completions {
        /// Which shell
        shell: Shell,
    },

    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory, which must exist
        directory: PathBuf,
    },
}

/// A bridge, or all.
#[derive(Debug, Args)]
pub struct BridgeArgs {
    /// The bridge; all of them if none is named
    pub bridge: Option<String>,
}

/// A bridge, which need not be named if it is the only one.
#[derive(Debug, Args)]
pub struct OneBridgeArgs {
    /// The bridge; the only one if none is named
    pub bridge: Option<String>,
}

/// A bridge, certainly.
#[derive(Debug, Args)]
pub struct BridgeNameArgs {
    /// The bridge's name
    pub bridge: String,
}

/// Arguments of `del-port`.
#[derive(Debug, Args)]
pub struct DelPortArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The port's name
    pub name: Option<String>,
}

/// Arguments of `dump-ports`.
#[derive(Debug, Args)]
pub struct DumpPortsArgs {
    /// The bridge; all of them if none is named
    pub bridge: Option<String>,
    /// The port; all of them if none is named
    pub port: Option<String>,
}

/// How ports are called.
#[derive(Clone, Copy, Debug, Args)]
pub struct NamesArgs {
    /// Call ports by their names, as on a terminal
    #[arg(long, overrides_with = "no_names")]
    pub names: bool,
    /// Call ports by their numbers, as in a pipe
    #[arg(long, overrides_with = "names")]
    pub no_names: bool,
}

/// Arguments of `dump-aggregate`.
#[derive(Debug, Args)]
pub struct DumpAggregateArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// Which flows; all of them if it is left out
    #[arg(value_name = "MATCH")]
    pub matching: Option<String>,
}

/// Arguments of `explain-drop`.
#[derive(Debug, Args)]
pub struct ExplainDropArgs {
    /// The bridge; any if none is named
    pub bridge: Option<String>,
    /// The port by which packets came in; any if none is named
    pub port: Option<String>,
    /// The last so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub last: u32,
}

/// Arguments of `worker-stats`.
#[derive(Clone, Copy, Debug, Args)]
pub struct WorkerStatsArgs {
    /// Show how the work is spread
    #[arg(long)]
    pub histograms: bool,
}

/// Arguments of `trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The packet, by its fields or in hexadecimal digits
    pub flow: Option<String>,
    /// The port by which a packet in hexadecimal digits comes in: its name or number
    #[arg(long, value_name = "PORT")]
    pub in_port: Option<String>,
    /// Take meters to drop the packet
    #[arg(long)]
    pub metered: bool,
    /// Trace select groups for each of their buckets
    #[arg(long)]
    pub all_buckets: bool,
    /// What the packet is where its connection is asked for; new unless given
    #[arg(long, value_name = "STATE")]
    pub ct_next: Vec<api::CtNext>,
}
