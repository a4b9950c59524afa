//! The commands about the workers' caches, and their arguments.

use clap::{Args, Subcommand, ValueEnum};

/// What to do with caches.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show the entries of the workers' caches
    #[command(after_help = "\
A line each: bridge, tier and match, counters, the flows it came from (their
`id` in `dump-flows --format json`) and what is done with such packets. Where
something is decided for each packet, actions end in `resume(N: DECISION)`, and
an entry of the next pass begins with `resume=N (what it has come to)`.
`ofctl detrace` says what has made an entry.

Examples:
  ofctl dump-cache
  ofctl dump-cache br0 --tier megaflow | grep nw_dst=10.1.1.1")]
    DumpCache(DumpCacheArgs),

    /// Show the sessions of the workers: one lookup for all that is done with a connection's packets
    #[command(after_help = "\
A line each, as `dump-cache --tier session` shows them. Where flows track
connections, a session stands for several passes through the tables, and says
how many (`passes=3`), which connections take each of its packets, by their zone
and their first packet (`ct(zone=1,...)`, with `reply` if its packets are the
answers), and what its packets become if they are translated (`to(...)`).

Only packets of settled connections have sessions: TCP that is established, UDP
that was answered. `ofctl trace` says of a packet why it has none.

Examples:
  ofctl dump-sessions
  ofctl dump-sessions br0 | grep zone=1,")]
    DumpSessions(DumpSessionsArgs),

    /// Show which flows, groups and buckets have made a cache entry
    #[command(after_help = "\
ENTRY is an entry's `id`, or a line of `dump-cache`, which has it; or the match
alone, and then every worker's entry of that match is shown. Counters are those
of the flows and groups, not of the entry alone.

Examples:
  ofctl detrace 0.m.17.203
  ofctl dump-cache | grep nw_dst=10.1.1.1 | head -1 | xargs -d '\\n' ofctl detrace
  ofctl detrace tcp,in_port=p1,nw_dst=10.1.1.1")]
    Detrace(DetraceArgs),

    /// Forget what the workers have cached of flows
    #[command(after_help = "\
The next packet of each kind is looked up in the tables again. Counters stay,
and no packet is lost. It is never needed for flows to be right; it is for
tests, and for measuring how long a look-up takes.

Examples:
  ofctl cache-flush")]
    CacheFlush,
}

/// Arguments of `dump-cache`.
#[derive(Debug, Args)]
pub struct DumpCacheArgs {
    /// The bridge by which packets come in; any if none is named
    pub bridge: Option<String>,
    /// Only entries of this tier
    #[arg(long, value_name = "TIER", value_enum)]
    pub tier: Option<TierName>,
}

/// Arguments of `dump-sessions`.
#[derive(Debug, Args)]
pub struct DumpSessionsArgs {
    /// The bridge by which packets come in; any if none is named
    pub bridge: Option<String>,
}

/// A cache.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TierName {
    /// Exact: one entry a connection
    Session,
    /// With masks: one entry for all packets that go the same way
    Megaflow,
}

/// Arguments of `detrace`.
#[derive(Debug, Args)]
pub struct DetraceArgs {
    /// The entry: its `id`, a line of `dump-cache`, or the match of one
    #[arg(required = true, num_args = 1.., value_name = "ENTRY")]
    pub entry: Vec<String>,
}
