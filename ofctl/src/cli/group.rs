//! The commands about groups, and their arguments.

use clap::{Args, Subcommand};

use super::{BridgeArgs, NamesArgs};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Add a group: several ways for a packet, of which all or one is taken
    #[command(override_usage = "ofctl add-group [OPTIONS] [BRIDGE] GROUP")]
    #[command(after_help = "\
GROUP is `group_id=N,type=KIND` and a `bucket=` for each way. KIND is `all`,
`select`, `indirect` or `ff`, which is the first that is live. A lone argument
is the group; with `-` groups are read from standard input, a line each. One
that is there already is refused: mod-group changes it.

Examples:
  ofctl add-group 'group_id=1,type=all,bucket=output:2,bucket=output:3'
  ofctl add-group br0 'group_id=2,type=select,bucket=weight:2,output:2,bucket=output:3'
  ofctl add-group 'group_id=3,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:3,output:3'
  ofctl add-flow 'ip,actions=group:1'")]
    AddGroup(GroupArgs),

    /// Make the changes of groups that a file lists: all of them or none
    #[command(override_usage = "ofctl add-groups [OPTIONS] [BRIDGE] FILE")]
    #[command(after_help = "\
A lone argument is the file; `-` is standard input. A line is a group behind one
of the words add, modify, add_or_mod, delete, insert_bucket and remove_bucket;
without one of them it is added. What dump-groups prints can be read back.

Examples:
  ofctl add-groups groups.txt
  ofctl dump-groups br0 | ofctl add-groups br1 -
  (echo delete group_id=1; cat groups.txt) | ofctl add-groups br0 -")]
    AddGroups(GroupFileArgs),

    /// Give a group another type or other buckets
    #[command(override_usage = "ofctl mod-group [OPTIONS] [BRIDGE] GROUP")]
    #[command(after_help = "\
Flows that lead there stay; the counters of the group begin anew. A lone
argument is the group.

Examples:
  ofctl mod-group 'group_id=1,type=all,bucket=output:3'
  ofctl mod-group --may-create br0 'group_id=9,type=indirect,bucket=output:3'")]
    ModGroup(ModGroupArgs),

    /// Remove a group, or all, with the flows that lead there
    #[command(override_usage = "ofctl del-groups [OPTIONS] [BRIDGE] [GROUP]")]
    #[command(after_help = "\
GROUP is a number or `group_id=N`. A lone argument is the bridge of that name,
if there is one, and otherwise the group. To remove all groups, name the bridge.
How many flows went with them is told on standard error.

Examples:
  ofctl del-groups br0
  ofctl del-groups br0 group_id=1
  ofctl del-groups 1")]
    DelGroups(ChosenGroupArgs),

    /// Put buckets into a group
    #[command(override_usage = "ofctl insert-buckets [OPTIONS] [BRIDGE] GROUP")]
    #[command(after_help = "\
`command_bucket_id` says where: `first`, `last`, or before the bucket of a
number. A lone argument is the group.

Examples:
  ofctl insert-buckets 'group_id=1,command_bucket_id=last,bucket=bucket_id:7,output:4'
  ofctl insert-buckets br0 'group_id=1,command_bucket_id=7,bucket=bucket_id:8,output:5'")]
    InsertBuckets(GroupArgs),

    /// Take buckets out of a group
    #[command(override_usage = "ofctl remove-buckets [OPTIONS] [BRIDGE] GROUP")]
    #[command(after_help = "\
`command_bucket_id` says which: `first`, `last`, `all`, or the one of a number.
A lone argument is the group.

Examples:
  ofctl remove-buckets group_id=1,command_bucket_id=7
  ofctl remove-buckets br0 group_id=1,command_bucket_id=all")]
    RemoveBuckets(GroupArgs),

    /// Show groups
    #[command(override_usage = "ofctl dump-groups [OPTIONS] [BRIDGE] [GROUP]")]
    #[command(after_help = "\
Prints what `ovs-ofctl -O OpenFlow15 dump-groups` prints, without its line of
heading, by number; add-groups can read it back. With --format json each bucket
also says whether it is live. A lone argument is the bridge of that name, if
there is one, and otherwise the group.

Examples:
  ofctl dump-groups
  ofctl dump-groups br0 1
  ofctl dump-groups -f json | jq '.groups[] | select(any(.buckets[]; .live | not)).group'")]
    DumpGroups(DumpGroupsArgs),

    /// Show what groups have counted
    #[command(override_usage = "ofctl dump-group-stats [OPTIONS] [BRIDGE] [GROUP]")]
    #[command(after_help = "\
Prints what `ovs-ofctl dump-group-stats` prints, without its line of heading:
`ref_count` is how many flows lead there. A lone argument is the bridge of that
name, if there is one, and otherwise the group.

Examples:
  ofctl dump-group-stats
  ofctl dump-group-stats br0 group_id=1")]
    DumpGroupStats(ChosenGroupArgs),

    /// Show what groups can be
    #[command(after_help = "\
Prints what `ovs-ofctl dump-group-features` prints, without its line of heading.
It is the same for every bridge.

Examples:
  ofctl dump-group-features")]
    DumpGroupFeatures(BridgeArgs),
}

/// A group and perhaps its bridge.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The group
    pub group: Option<String>,
}

/// Arguments of `add-groups`.
#[derive(Debug, Args)]
pub struct GroupFileArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The file of groups
    pub file: Option<String>,
}

/// Arguments of `mod-group`.
#[derive(Debug, Args)]
pub struct ModGroupArgs {
    /// Add it if it is not there
    #[arg(long)]
    pub may_create: bool,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// A group, or all.
#[derive(Debug, Args)]
pub struct ChosenGroupArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The group; all of them if it is left out
    pub group: Option<String>,
}

/// Arguments of `dump-groups`.
#[derive(Debug, Args)]
pub struct DumpGroupsArgs {
    /// Which groups.
    #[command(flatten)]
    pub group: ChosenGroupArgs,
    /// How ports are called.
    #[command(flatten)]
    pub names: NamesArgs,
}
