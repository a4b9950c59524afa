//! The arguments of `mod-table`.

use clap::Args;

pub(super) const EXAMPLES: &str = "\
TABLE is a number from 0 to 253, or `all`. What is not set stays as it is:

  drop, continue, controller   a packet that no flow matches is dropped, goes on
                               in the next table, or is shown to controllers
  limit=N                      it holds N flows at most
  evict, noevict               when it is full, a flow with a timeout makes room
                               for a new one, or the new one is refused

The first three hold where packets enter the pipeline and behind goto_table; to
resubmit, a table without a flow for the packet is one that does nothing. Unlike
ovs-ofctl this needs no -O. dump-tables shows what was set.

Examples:
  ofctl mod-table br0 0 continue
  ofctl mod-table 7 limit=10000,evict
  ofctl mod-table br0 all drop";

/// Arguments of `mod-table`.
#[derive(Debug, Args)]
pub struct ModTableArgs {
    /// The bridge, the table, and what is to be said of it
    #[arg(required = true, num_args = 2.., value_name = "WORD")]
    pub words: Vec<String>,
}
