//! The commands about flows, and their arguments.

use clap::{Args, Subcommand};

use super::{NamesArgs, OrderArgs};

/// What to do with flows.
#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// Add a flow; one of the same table, match and priority is replaced
    #[command(override_usage = "ofctl add-flow [OPTIONS] [BRIDGE] FLOW")]
    #[command(after_help = "\
A lone argument is the flow. Quote it: a shell takes parentheses and blanks for
its own. With `-` as the flow, flows are read from standard input, a line each:
all are added or none is.

Examples:
  ofctl add-flow 'priority=100,ip,nw_dst=10.0.0.0/8,actions=output:2'
  ofctl add-flow br0 'in_port=eth1,actions=mod_vlan_vid:10,normal'
  ofctl add-flow br0 'actions=resubmit(,1)'")]
    AddFlow(FlowArgs),

    /// Make the changes that a file lists: all of them or, if one is refused, none
    #[command(override_usage = "ofctl add-flows [OPTIONS] [BRIDGE] FILE")]
    #[command(after_help = "\
A lone argument is the file; `-` is standard input. A line is a flow behind one
of the words add, modify, modify_strict, delete and delete_strict; without one
of them it is added. What follows `#` is a comment. What dump-flows prints can
be read back. Packets meet all of the changes at once: the last example puts
these flows in the place of all others without a gap.

Examples:
  ofctl add-flows flows.txt
  ofctl add-flows br0 flows.txt
  ofctl dump-flows br0 | ofctl add-flows br1 -
  (echo delete; cat flows.txt) | ofctl add-flows br0 -")]
    AddFlows(AddFlowsArgs),

    /// Give flows other actions
    #[command(override_usage = "ofctl mod-flows [OPTIONS] [BRIDGE] FLOW")]
    #[command(after_help = "\
Changes every flow that the match covers, whatever its priority; with --strict
the one of exactly this match and priority. Counters go on. A flow that is not
there is not added. A lone argument is the flow; `-` reads flows from standard
input.

Examples:
  ofctl mod-flows 'ip,nw_dst=10.0.0.0/8,actions=output:3'
  ofctl mod-flows --strict br0 'priority=100,ip,nw_dst=10.0.0.0/8,actions=drop'")]
    ModFlows(ModFlowsArgs),

    /// Remove flows
    #[command(after_help = "\
Removes every flow that the match covers, whatever its priority and, unless a
table is named, in all tables; with --strict the one of exactly this match and
priority. A lone argument is the bridge of that name, if there is one, and
otherwise the match. To remove all flows, name the bridge. With `-` as the
match, matches are read from standard input.

Examples:
  ofctl del-flows br0
  ofctl del-flows table=1,ip,nw_dst=10.0.0.0/8
  ofctl del-flows br0 cookie=0x5/-1
  ofctl del-flows --strict priority=100,arp")]
    DelFlows(DelFlowsArgs),

    /// Show flows with their counters
    #[command(after_help = "\
Prints what `ovs-ofctl dump-flows` prints, without its line of heading. MATCH
chooses flows that lie within it; `table`, `cookie=V/MASK` and `out_port`
choose, too. A lone argument is the bridge of that name, if there is one, and
otherwise the match. Flows that do not match a field to sort by come behind
those that do; --sort and --rsort may stand several times.

Examples:
  ofctl dump-flows
  ofctl dump-flows br0 table=1,tcp
  ofctl dump-flows out_port=2
  ofctl dump-flows --sort=nw_dst --rsort
  ofctl dump-flows --no-stats > flows.txt")]
    DumpFlows(DumpFlowsArgs),
}

/// Arguments of `add-flow`.
#[derive(Debug, Args)]
pub struct FlowArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The flow
    pub flow: Option<String>,
}

/// Arguments of `mod-flows`.
#[derive(Debug, Args)]
pub struct ModFlowsArgs {
    /// Only the flow of exactly this match and priority
    #[arg(long)]
    pub strict: bool,
    /// The flows, with their new actions.
    #[command(flatten)]
    pub flow: FlowArgs,
}

/// Arguments of `add-flows`.
#[derive(Debug, Args)]
pub struct AddFlowsArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The file of flows
    pub file: Option<String>,
}

/// Arguments of `del-flows`.
#[derive(Debug, Args)]
pub struct DelFlowsArgs {
    /// Only the flow of exactly this match and priority
    #[arg(long)]
    pub strict: bool,
    /// The bridge
    pub bridge: Option<String>,
    /// Which flows
    #[arg(value_name = "MATCH")]
    pub matching: Option<String>,
}

/// Arguments of `dump-flows`.
#[derive(Debug, Args)]
pub struct DumpFlowsArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// Which flows; all of them if it is left out
    #[arg(value_name = "MATCH")]
    pub matching: Option<String>,
    /// Leave out counters and times
    #[arg(long, overrides_with = "stats")]
    pub no_stats: bool,
    /// Show counters and times, as without this option
    #[arg(long, overrides_with = "no_stats", hide = true)]
    pub stats: bool,
    /// In which order.
    #[command(flatten)]
    pub order: OrderArgs,
    /// How ports are called.
    #[command(flatten)]
    pub names: NamesArgs,
}
