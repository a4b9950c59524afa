//! The commands about meters, and their arguments.

use clap::{Args, Subcommand};

use super::{BridgeArgs, OneBridgeArgs};

/// What to do with meters.
#[derive(Debug, Subcommand)]
pub enum MeterCommand {
    /// Add a meter: how much may pass, and what becomes of the rest
    #[command(override_usage = "ofctl add-meter [OPTIONS] [BRIDGE] METER")]
    #[command(after_help = "\
METER is `meter=N`, `kbps` or `pktps`, and `bands=` with a rate a second for
each type: `drop`, or `dscp_remark` with `prec_level=N`. With `burst` a band's
`burst_size` may pass at once, otherwise a second's worth. A lone argument is
the meter; with `-` meters are read from standard input, a line each.

Examples:
  ofctl add-meter 'meter=1,kbps,bands=type=drop,rate=100000'
  ofctl add-meter br0 'meter=2,pktps,burst,bands=type=drop,rate=1000,burst_size=200'
  ofctl add-flow 'in_port=1,actions=meter:1,normal'")]
    AddMeter(MeterArgs),

    /// Give a meter other rates
    #[command(override_usage = "ofctl mod-meter [OPTIONS] [BRIDGE] METER")]
    #[command(after_help = "\
Flows that use it stay; its counters begin anew. A lone argument is the meter.

Examples:
  ofctl mod-meter 'meter=1,kbps,bands=type=drop,rate=200000'")]
    ModMeter(MeterArgs),

    /// Remove a meter with the flows that use it
    #[command(override_usage = "ofctl del-meter [OPTIONS] [BRIDGE] METER")]
    #[command(after_help = "\
METER is a number, `controller`, `slowpath`, or `meter=` and one of these. A
lone argument is the meter. How many flows went with it is told on standard
error.

Examples:
  ofctl del-meter br0 meter=1
  ofctl del-meter 1")]
    DelMeter(MeterArgs),

    /// Remove all meters with the flows that use them
    #[command(after_help = "\
Examples:
  ofctl del-meters br0")]
    DelMeters(OneBridgeArgs),

    /// Show a meter
    #[command(override_usage = "ofctl dump-meter [OPTIONS] [BRIDGE] METER")]
    #[command(after_help = "\
METER is written as for del-meter. A lone argument is the meter.

Examples:
  ofctl dump-meter br0 meter=1")]
    DumpMeter(MeterArgs),

    /// Show meters
    #[command(after_help = "\
Prints what `ovs-ofctl -O OpenFlow15 dump-meters` prints, without its line of
heading, by number.

Examples:
  ofctl dump-meters
  ofctl dump-meters br0 -f json | jq -r '.meters[].meter'")]
    DumpMeters(OneBridgeArgs),

    /// Show what meters have counted
    #[command(override_usage = "ofctl meter-stats [OPTIONS] [BRIDGE] [METER]")]
    #[command(after_help = "\
Prints what `ovs-ofctl -O OpenFlow15 meter-stats` prints, without its line of
heading: what came to each meter, and of how much of it each band decided. A
lone argument is the bridge of that name, if there is one, and otherwise the
meter.

Examples:
  ofctl meter-stats
  ofctl meter-stats br0 meter=1")]
    MeterStats(ChosenMeterArgs),

    /// Show what meters can be
    #[command(after_help = "\
Prints what `ovs-ofctl -O OpenFlow15 meter-features` prints, without its line of
heading. It is the same for every bridge.

Examples:
  ofctl meter-features")]
    MeterFeatures(BridgeArgs),
}

/// A meter and perhaps its bridge.
#[derive(Debug, Args)]
pub struct MeterArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The meter
    pub meter: Option<String>,
}

/// A meter, or all.
#[derive(Debug, Args)]
pub struct ChosenMeterArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The meter; all of them if it is left out
    pub meter: Option<String>,
}
