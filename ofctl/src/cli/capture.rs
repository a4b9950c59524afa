//! The arguments of `capture`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub(super) const EXAMPLES: &str = "\
A lone argument is the port. Prints a line a packet: its time in seconds since
1970, the port, which way it went, its length, why it was dropped, and its
bytes, which `ofctl trace --in-port PORT` takes to say more. With -w a pcapng
file is written, with the port as the interface and why a packet was dropped as
its comment. Both count what passed too fast to be shown. Ends at Ctrl-C, or
when the port is removed; the file is whole at any time. At most 2048 bytes of
a packet are shown.

Examples:
  ofctl capture eth1
  ofctl capture br0 eth1 --direction rx -c 10
  ofctl capture --drops
  ofctl capture eth1 -w - | tcpdump -n -r -
  ofctl capture --drops -w drops.pcapng";

/// Arguments of `capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The bridge
    #[arg(conflicts_with = "drops")]
    pub bridge: Option<String>,
    /// The port's name
    #[arg(conflicts_with = "drops")]
    pub port: Option<String>,
    /// Show what is dropped on all bridges, with the reason
    #[arg(long, conflicts_with = "direction")]
    pub drops: bool,
    /// Which way packets pass the port, seen from the switch
    #[arg(short = 'Q', long, value_name = "WAY", value_enum, default_value = "both")]
    pub direction: DirectionName,
    /// Write a pcapng file; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// End after so many packets
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Keep so many bytes of each packet
    #[arg(short, long, value_name = "BYTES", default_value_t = 2048)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2048))]
    pub snaplen: u32,
}

/// Which way packets pass a port.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DirectionName {
    /// Into the switch
    Rx,
    /// Out of it
    Tx,
    /// Either
    Both,
}
