//! The commands about connections, and their arguments.

use clap::{Args, Subcommand, ValueEnum};

/// What to do with connections.
#[derive(Debug, Subcommand)]
pub enum ConnectionCommand {
    /// Show the connections that flows have committed
    #[command(override_usage = "\
ofctl dump-conntrack [OPTIONS] [zone=N] [mark=X[/M]] [labels=Y[/M]] [ORIG [REPLY]]")]
    #[command(after_help = "\
A line each, as `ovs-appctl dpctl/dump-conntrack` has it; zone, mark and labels
where they are not 0. WORDs choose connections as those of flush-conntrack do,
so this shows what that would forget. The state is that of TCP or SCTP. A timeout is how
long the connection stays if no packet comes. A helper is the protocol by which a
connection announces others; with -m, those have the status EXPECTED and a parent.

Examples:
  ofctl dump-conntrack
  ofctl dump-conntrack -s zone=5
  ofctl dump-conntrack ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80
  ofctl dump-conntrack -f json | jq '.connections[] | select(.replied | not)'")]
    DumpConntrack(DumpConntrackArgs),

    /// Show the connections that others have announced and that have not come
    #[command(visible_alias = "dump-expectations")]
    #[command(override_usage = "ofctl dump-conntrack-exp [OPTIONS] [zone=N]")]
    #[command(after_help = "\
A line each, as `ovs-appctl dpctl/dump-conntrack-exp` has it. What FTP and TFTP
announce is waited for until it comes, for five minutes, or until the connection
goes that has announced it: the parent. It may come from any port, so the source
port is 0; in JSON there is none. Mark and labels are those that it will have. What
`conntrack -L expect` shows of the kernel is this.

Examples:
  ofctl dump-conntrack-exp
  ofctl dump-conntrack-exp -s zone=5
  ofctl dump-conntrack-exp -f json | jq '.expected[].timeout_ms'")]
    DumpConntrackExp(DumpConntrackExpArgs),

    /// Forget connections: all, or those that are chosen
    #[command(visible_alias = "ct-flush")]
    #[command(override_usage = "\
ofctl flush-conntrack [OPTIONS] [zone=N] [mark=X[/M]] [labels=Y[/M]] [ORIG [REPLY]]")]
    #[command(after_help = "\
Without a WORD all connections go, of all bridges: it is the zone that keeps them
apart. With WORDs those go for which all holds that is said. ORIG is about
packets that go as the first one did, and REPLY about those that come back: keys
and values with commas between them. For REPLY alone write '' as ORIG.

  ct_nw_src=A, ct_nw_dst=A             addresses of IPv4
  ct_ipv6_src=A, ct_ipv6_dst=A         addresses of IPv6
  ct_nw_proto=N                        the IP protocol: 6 is TCP, 17 UDP, 1 ICMP
  ct_tp_src=N, ct_tp_dst=N             ports of TCP, UDP and SCTP
  icmp_type=N, icmp_code=N, icmp_id=N  of the queries of ICMP and ICMPv6

To the flows, the next packet of a forgotten connection begins another one, also
in the middle of TCP, and whichever side sends it; an answer of ICMP is invalid.

Examples:
  ofctl flush-conntrack
  ofctl flush-conntrack zone=5
  ofctl flush-conntrack mark=0x10/0xf0 ct_nw_src=10.0.0.1
  ofctl flush-conntrack ct_nw_proto=17,ct_tp_dst=53
  ofctl flush-conntrack '' ct_nw_src=10.0.0.2")]
    FlushConntrack(FlushConntrackArgs),

    /// Forget all connections of a zone
    #[command(after_help = "\
The same as `flush-conntrack zone=ZONE`.

Examples:
  ofctl ct-flush-zone 5")]
    CtFlushZone(CtFlushZoneArgs),

    /// Count connections: how many there are and were, and why some are none
    #[command(after_help = "\
Expired are those that were silent for too long, and half-open ones that made
room for others. Packets of those for which there was no room are dropped as
ct-full, those of a zone that has as many as it may as ct-zone-limit, and as
ct-no-port if every port was taken that nat might have given. One
clashes with another that has a tuple of its own: if a second worker has just
made that one for the same ends the packet is judged again, else it is dropped
as ct-clash.

Reserved ports are those that nat gives at addresses that the host has, of which
so many are known.

Examples:
  ofctl ct-stats
  ofctl ct-stats -m
  ofctl ct-stats -f json | jq .full")]
    CtStats(CtStatsArgs),

    /// Measure what connection tracking achieves on this machine, without a switch
    #[command(after_help = "\
Runs in this process and asks no switch anything: what it says is about the
machine, and about connection tracking alone. Each thread makes its connections
in a table that all share, has them answered, and then sends packets of them in
no order and both ways, which no session takes: the cost of a packet that asks for
its connection. A worker of the switch is such a thread.

NS_OF_A_THREAD is what one item takes a thread, in nanoseconds. It grows with the
number of threads if they have fewer processors, or wait for the same memory; and
with the number of connections, as they no longer fit into caches. Memory is what
is held for each connection. It takes processors from whatever else runs here.

Examples:
  ofctl ct-bench
  ofctl ct-bench --threads 4 --connections 1000000 --packets 10000000
  ofctl ct-bench --protocol udp -f json | jq .phases[1].per_second")]
    CtBench(CtBenchArgs),
}

/// Arguments of `ct-bench`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CtBenchArgs {
    /// How many threads share the connections
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// How many connections each thread makes; all together make 16777216 at most
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub connections: u32,
    /// How many packets each thread sends then
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u32).range(1..))]
    pub packets: u32,
    /// How many packets come at once
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// What the connections are of
    #[arg(long, value_name = "NAME", value_enum, default_value = "tcp")]
    pub protocol: CtBenchProtocol,
}

/// What the connections of `ct-bench` are of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum CtBenchProtocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// Arguments of `dump-conntrack`.
#[derive(Clone, Debug, Default, Args)]
pub struct DumpConntrackArgs {
    /// Show how long each stays without a packet, too
    #[arg(short, long)]
    pub statistics: bool,
    /// Show what else is known of each: whether it was answered, is assured, is translated
    #[arg(short, long)]
    pub more: bool,
    /// Which connections; all of them if it is left out
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
}

/// Arguments of `dump-conntrack-exp`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DumpConntrackExpArgs {
    /// Show for how many seconds each is waited for, too
    #[arg(short, long)]
    pub statistics: bool,
    /// Show by which protocol each was announced, too
    #[arg(short, long)]
    pub more: bool,
    /// `zone=N`; those of all zones if it is left out
    #[arg(value_name = "WORD", value_parser = zone)]
    pub zone: Option<u16>,
}

/// Reads `zone=N`.
fn zone(word: &str) -> Result<u16, String> {
    let number = word.strip_prefix("zone=").and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("`{word}` is not zone=N, with a number up to 65535"))
}

/// Arguments of `flush-conntrack`.
#[derive(Debug, Args)]
pub struct FlushConntrackArgs {
    /// Which connections; all of them if it is left out
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
}

/// Arguments of `ct-flush-zone`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CtFlushZoneArgs {
    /// The zone's number
    pub zone: u16,
}

/// Arguments of `ct-stats`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CtStatsArgs {
    /// Count those there are by protocol and state, too, which looks at every one
    #[arg(short, long)]
    pub more: bool,
}
