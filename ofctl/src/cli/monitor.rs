//! The arguments of `monitor`.

use clap::Args;

pub(super) const EXAMPLES: &str = "\
WHAT says what to tell of, and stands as often as there is something:

  flows          flows that come, change and go; those there are come first
  flows=MATCH    of those only the ones that lie within MATCH, as in dump-flows
  removed        flows with send_flow_rem that end: why, and what they counted
  removed=all    all flows that end
  ports          ports that come, go up, go down, change and go
  packets        packets that flows show (the actions controller and sample)
  packets=ID     of those only the ones shown to this id; may stand repeatedly
  connections    connections that are made, change and go, of all bridges
  connections=WORDS
                 of those only the ones that WORDS choose, as in dump-conntrack

Without WHAT it is flows, removed and ports. A first word that is none of these
is the bridge. Flows are printed as by `ovs-ofctl monitor BRIDGE watch:`, with
their priority, and with -O in the words of that version; ends and ports as by
`ovs-ofctl monitor`; connections as by dump-conntrack -m, behind the words of
`conntrack -E`: a change is one of state, mark, label, or that it was answered or
is assured. With --format json there is an object a line, as on the
control socket. What happens faster than it is read is counted and told as a
gap; behind it all flows are told anew. Ends at Ctrl-C.

Examples:
  ofctl monitor
  ofctl monitor br0 flows
  ofctl monitor br0 flows=table=3,tcp --no-initial
  ofctl monitor removed=all ports -c 10
  ofctl monitor packets=7
  ofctl monitor 'connections=zone=5 ct_nw_proto=6'
  ofctl monitor removed=all -f json | jq 'select(.reason == \"idle\").packets'";

/// Arguments of `monitor`.
#[derive(Debug, Args)]
pub struct MonitorArgs {
    /// The bridge, and what to tell of: flows, flows=MATCH, removed, removed=all, ports, packets,
    /// connections
    #[arg(value_name = "WHAT")]
    pub words: Vec<String>,
    /// Leave out the flows that are there already
    #[arg(long)]
    pub no_initial: bool,
    /// End after so many events
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// How ports are called.
    #[command(flatten)]
    pub names: super::NamesArgs,
}
