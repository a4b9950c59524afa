//! The arguments of `fdb`.

use clap::{Args, Subcommand};

use super::BridgeArgs;

/// What to do with addresses.
#[derive(Debug, Subcommand)]
pub enum FdbCommand {
    /// Show the addresses that NORMAL goes by, learned and static ones
    #[command(after_help = "\
Examples:
  ofctl fdb show
  ofctl fdb show br0")]
    Show(BridgeArgs),

    /// Say where an address is: it neither ages nor moves
    #[command(override_usage = "ofctl fdb add [OPTIONS] [BRIDGE] PORT VLAN ADDRESS")]
    #[command(after_help = "\
VLAN is 0 for packets without a tag. What was learned of the address before is
forgotten. `fdb del` takes it back, and so does the end of the port or of the
switch.

Examples:
  ofctl fdb add br0 eth1 0 02:00:00:00:00:01
  ofctl fdb add eth1 10 02:00:00:00:00:01")]
    Add(FdbAddArgs),

    /// Forget one address, static or learned
    #[command(override_usage = "ofctl fdb del [OPTIONS] [BRIDGE] VLAN ADDRESS")]
    #[command(after_help = "\
Examples:
  ofctl fdb del br0 0 02:00:00:00:00:01")]
    Del(FdbDelArgs),

    /// Forget the addresses that NORMAL has learned; static ones stay
    #[command(after_help = "\
Examples:
  ofctl fdb flush
  ofctl fdb flush br0")]
    Flush(BridgeArgs),

    /// Count addresses, and show their limits and when they age
    #[command(after_help = "\
Examples:
  ofctl fdb stats
  ofctl fdb stats br0")]
    Stats(BridgeArgs),
}

/// Arguments of `fdb add`.
#[derive(Debug, Args)]
pub struct FdbAddArgs {
    /// The bridge, the port's name or number, the VLAN and the address
    #[arg(required = true, num_args = 3..=4, value_name = "WORD")]
    pub words: Vec<String>,
}

/// Arguments of `fdb del`.
#[derive(Debug, Args)]
pub struct FdbDelArgs {
    /// The bridge, the VLAN and the address
    #[arg(required = true, num_args = 2..=3, value_name = "WORD")]
    pub words: Vec<String>,
}
