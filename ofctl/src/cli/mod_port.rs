//! The arguments of `mod-port`.

use api::PortFlagChanges;
use clap::Args;

pub(super) const EXAMPLES: &str = "\
WORD says how the port is used from now on, and what is not said stays:

  up, down                   it carries packets, or nothing either way
  receive, no-receive        what comes in by it is taken, or dropped
  forward, no-forward        what is sent to it leaves, or is dropped
  flood, no-flood            flooding reaches it, or leaves it out
  packet-in, no-packet-in    packets from it may go to controllers, or never

What is dropped is counted where it came in, as `no-receive` or `no-forward`.
`ofctl show` has the words that hold. They last until the port is removed or the
switch ends.

Examples:
  ofctl mod-port eth1 down
  ofctl mod-port br0 eth1 up no-flood
  ofctl mod-port br0 2 no-receive";

/// Arguments of `mod-port`.
#[derive(Debug, Args)]
pub struct ModPortArgs {
    /// The bridge, the port's name or number, and how it is used
    #[arg(required = true, num_args = 2.., value_name = "WORD")]
    pub words: Vec<String>,
}

/// One of the flags.
type Flag = fn(&mut PortFlagChanges) -> &mut Option<bool>;

/// Every word, with what it sets.
pub(crate) const WORDS: [(&str, Flag, bool); 10] = [
    ("up", |flags| &mut flags.down, false),
    ("down", |flags| &mut flags.down, true),
    ("receive", |flags| &mut flags.no_receive, false),
    ("no-receive", |flags| &mut flags.no_receive, true),
    ("forward", |flags| &mut flags.no_forward, false),
    ("no-forward", |flags| &mut flags.no_forward, true),
    ("flood", |flags| &mut flags.no_flood, false),
    ("no-flood", |flags| &mut flags.no_flood, true),
    ("packet-in", |flags| &mut flags.no_packet_in, false),
    ("no-packet-in", |flags| &mut flags.no_packet_in, true),
];
