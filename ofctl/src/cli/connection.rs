//! The commands about connections, and their arguments.

use clap::{Args, Subcommand};

/// What to do with connections.
#[derive(Debug, Subcommand)]
pub enum ConnectionCommand {
    /// Show the connections that flows have committed
    #[command(override_usage = "\
ofctl dump-conntrack [OPTIONS] [zone=N] [mark=X[/M]] [labels=Y[/M]] [ORIG [REPLY]]")]
    #[command(after_help = "\
A line each, as `ovs-appctl dpctl/dump-conntrack` has it; zone, mark and labels
where they are not 0. WORDs choose connections as those of flush-conntrack do,
so this shows what that would forget. The state is that of TCP. A timeout is how
long the connection stays if no packet comes. A helper is the protocol by which a
connection announces others; with -m, those have the status EXPECTED and a parent.

Examples:
  ofctl dump-conntrack
  ofctl dump-conntrack -s zone=5
  ofctl dump-conntrack ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80
  ofctl dump-conntrack -f json | jq '.connections[] | select(.replied | not)'")]
    DumpConntrack(DumpConntrackArgs),

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

Examples:
  ofctl ct-stats
  ofctl ct-stats -m
  ofctl ct-stats -f json | jq .full")]
    CtStats(CtStatsArgs),
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
