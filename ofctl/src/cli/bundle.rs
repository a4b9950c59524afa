//! The commands about everything of a bridge at once, and their arguments.

use clap::{Args, Subcommand};

/// What to do with flows, groups, meters, tables and packets together.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Make all changes that a file lists, of flows, groups, meters and tables, or none
    #[command(override_usage = "ofctl bundle [OPTIONS] [BRIDGE] FILE")]
    #[command(after_help = "\
A lone argument is the file; `-` is standard input. A line is one of these:

  flow [VERB] FLOW            as for add-flows; `flow` may be left out
  group [VERB] GROUP          as for add-groups
  meter [VERB] METER          VERB is add, modify or delete
  table TABLE SETTING,...     as for mod-table
  packet-out PACKET           as for packet-out

Packets meet all of the changes or none of them. Packets that are to be sent
are, when the changes have taken place.

Examples:
  ofctl bundle br0 pipeline.txt
  printf 'group delete\\ngroup group_id=1,type=all,bucket=2\\nip,actions=group:1\\n' |
      ofctl bundle br0 -")]
    Bundle(BundleArgs),

    /// Send a packet as if it had come in
    #[command(override_usage = "\
ofctl packet-out [OPTIONS] [BRIDGE] 'in_port=PORT packet=HEX [FIELDS] actions=LIST'
       ofctl packet-out [OPTIONS] [BRIDGE] PORT LIST HEX...")]
    #[command(after_help = "\
PORT is where it seems to come from: a number, a name, LOCAL, or NONE. LIST are
actions, of which `TABLE` takes it through the tables. FIELDS are registers,
`metadata`, `tun_id` and `pkt_mark` as they are to be at first. In the second
form there may be several packets; all are sent or none.

Examples:
  ofctl packet-out br0 'in_port=NONE packet=020000000001020000000002080600 actions=2'
  ofctl packet-out br0 eth1 TABLE 020000000001020000000002080600
  ofctl packet-out 'in_port=1,reg0=5,packet=020000000001020000000002080600,actions=resubmit(,3)'")]
    PacketOut(PacketOutArgs),

    /// Write all of a bridge that `restore` can bring back
    #[command(after_help = "\
Writes a bundle: what tables do as such, meters, groups in an order in which
each finds those that it leads to, and flows with all of their attributes.
Counters and ages are not in it. Ports, their egress queues and static addresses
stand in it as comments, with the commands: a bundle cannot make them. Ports go
by their numbers, or with --names by their names. What changes meanwhile may be
in it or not.

Examples:
  ofctl save > br0.ofctl
  ofctl save br0 | ofctl restore br1 -
  ofctl save --all > all.ofctl")]
    Save(SaveArgs),

    /// Make a bridge what a file says that `save` has written
    #[command(override_usage = "ofctl restore [OPTIONS] [BRIDGE] FILE")]
    #[command(after_help = "\
A lone argument is the file; `-` is standard input. It must be one that `save`
has written, which its first line says. Flows, groups and meters that are there
go, and those of the file come, in one transaction: packets meet the old or the
new. A file of `save --all` names its bridges, which must be there; each of them
is a transaction of its own. Counters begin anew.

Examples:
  ofctl restore br0.ofctl
  ofctl restore br1 br0.ofctl
  ofctl restore all.ofctl")]
    Restore(BundleArgs),
}

/// A file and perhaps its bridge.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The file
    pub file: Option<String>,
}

/// Arguments of `packet-out`.
#[derive(Debug, Args)]
pub struct PacketOutArgs {
    /// The bridge, and the packet with what to do with it
    #[arg(required = true, value_name = "WORD")]
    pub words: Vec<String>,
}

/// Arguments of `save`.
#[derive(Debug, Args)]
pub struct SaveArgs {
    /// The bridge
    #[arg(conflicts_with = "all")]
    pub bridge: Option<String>,
    /// Every bridge
    #[arg(long)]
    pub all: bool,
    /// Call ports by their names
    #[arg(long, overrides_with = "no_names")]
    pub names: bool,
    /// Call ports by their numbers, as without this option
    #[arg(long, overrides_with = "names", hide = true)]
    pub no_names: bool,
}
