//! The commands that compare flows or only read them, and their arguments.

use clap::{Args, Subcommand};

/// What to do with flows that are somewhere.
#[derive(Debug, Subcommand)]
pub enum CompareCommand {
    /// Make the flows of a bridge those of a file, and leave alone what is equal
    #[command(override_usage = "ofctl replace-flows [OPTIONS] [BRIDGE] FILE")]
    #[command(after_help = "\
Flows that the file does not have are removed, those that differ in anything
but their counters are replaced, and the others stay as they are, counters and
ages included: all in one transaction. A lone argument is the file; `-` is
standard input. A line is a flow without a verb.

Examples:
  ofctl replace-flows br0 flows.txt
  ofctl replace-flows --readd br0 flows.txt")]
    ReplaceFlows(ReplaceFlowsArgs),

    /// Show how the flows of two files or bridges differ
    #[command(after_help = "\
A source that begins with `/` or `.` is a file; any other one is a file if there
is one of that name, and otherwise a bridge. `-flow` is only in the first,
`+flow` only in the second; one with the same match and priority that differs
in actions, cookie, timeouts or importance stands there twice. With --strict
flags as `send_flow_rem` count, too; with --loose nothing but actions does.

Exit status: 0 if they are equal, 1 if something failed, 2 if they differ.

Examples:
  ofctl diff-flows br0 flows.txt
  ofctl diff-flows br0 br1
  ofctl diff-flows --loose before.txt after.txt")]
    DiffFlows(DiffFlowsArgs),

    /// Say how a flow is read, without a switch
    #[command(after_help = "\
Prints the flow as it would be printed by dump-flows --no-stats; what is wrong
is shown with a caret below it. A verb may stand in front. With -O OpenFlow10
the words are those of OpenFlow 1.0. Ports go by their numbers: only a switch
knows names.

Examples:
  ofctl parse-flow 'tcp,tp_dst=80,actions=mod_nw_src:10.0.0.1,2'
  ofctl parse-flow --lenient 'nw_dst=10.0.0.1,actions=drop'")]
    ParseFlow(ParseFlowArgs),

    /// Say how the flows of a file are read, without a switch
    #[command(after_help = "\
`-` is standard input. Every line that is wrong is shown, and the others are
printed as by parse-flow.

Examples:
  ofctl parse-flows flows.txt > /dev/null && echo all right
  ofctl parse-flows -O OpenFlow10 flows.txt")]
    ParseFlows(ParseFileArgs),

    /// Say how a group is read, without a switch
    #[command(after_help = "\
A verb may stand in front, as for add-groups.

Examples:
  ofctl parse-group 'group_id=1,type=select,bucket=weight:2,2,bucket=3'")]
    ParseGroup(ParseGroupArgs),
}

/// Arguments of `replace-flows`.
#[derive(Debug, Args)]
pub struct ReplaceFlowsArgs {
    /// Add flows anew that are equal, too
    #[arg(long)]
    pub readd: bool,
    /// The bridge
    pub bridge: Option<String>,
    /// The file of flows
    pub file: Option<String>,
}

/// Arguments of `diff-flows`.
#[derive(Debug, Args)]
pub struct DiffFlowsArgs {
    /// A file or a bridge
    #[arg(value_name = "SOURCE1")]
    pub first: String,
    /// Another one
    #[arg(value_name = "SOURCE2")]
    pub second: String,
    /// Let flags count, too
    #[arg(long, conflicts_with = "loose")]
    pub strict: bool,
    /// Let nothing count but actions
    #[arg(long)]
    pub loose: bool,
}

/// Arguments of `parse-flow`.
#[derive(Debug, Args)]
pub struct ParseFlowArgs {
    /// The flow
    pub flow: String,
}

/// Arguments of `parse-flows`.
#[derive(Debug, Args)]
pub struct ParseFileArgs {
    /// The file of flows
    pub file: String,
}

/// Arguments of `parse-group`.
#[derive(Debug, Args)]
pub struct ParseGroupArgs {
    /// The group
    pub group: String,
}
