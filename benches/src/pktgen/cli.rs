//! The command line of `pktgen`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::pktgen::address::Mac;
use crate::pktgen::link::Backend;

/// Sends numbered packets and says what became of them.
///
/// A sender at one end and a sink at the other, in network namespaces or on machines; or two ends
/// that play pingpong. Ends at SIGINT, after --count packets or --seconds, and then prints what it
/// has seen. Works on whole Ethernet frames, past the kernel's network stack; needs CAP_NET_RAW,
/// and for AF_XDP CAP_NET_ADMIN, CAP_BPF and CAP_IPC_LOCK.
#[derive(Debug, Parser)]
#[command(name = "pktgen", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send packets of UDP that carry their number and when they were sent
    Send(SendOptions),
    /// Send the packets of a capture again and again, as they are
    Replay(ReplayOptions),
    /// Receive them, and count what is lost, doubled, reordered and damaged
    Sink(SinkOptions),
    /// Send one packet after the other, each when the one before has come back
    Pingpong(PingpongOptions),
}

/// Where to send and receive.
#[derive(Clone, Debug, Args)]
pub struct EndOptions {
    /// The interface
    #[arg(short, long, value_name = "NAME")]
    pub interface: String,

    /// How to reach it
    #[arg(short, long, value_name = "HOW", value_enum, default_value_t = Backend::Packet)]
    pub backend: Backend,

    /// The queue of the interface, for AF_XDP
    #[arg(short, long, value_name = "NUMBER", default_value_t = 0)]
    pub queue: u32,

    /// Keep the kernel from answering that nobody listens at this UDP port
    #[arg(long, value_name = "PORT")]
    pub hush: Option<u16>,

    /// How to print the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// When to end.
#[derive(Clone, Copy, Debug, Args)]
pub struct EndingOptions {
    /// End after so many packets
    #[arg(short, long, value_name = "PACKETS")]
    pub count: Option<u64>,

    /// End after so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = positive)]
    pub seconds: Option<f64>,
}

/// What packets look like.
#[derive(Clone, Debug, Args)]
pub struct PacketOptions {
    /// The receiver's address, IPv4 or IPv6
    #[arg(short, long, value_name = "ADDRESS")]
    pub dst: IpAddr,

    /// The sender's address, of the same kind
    #[arg(long, value_name = "ADDRESS")]
    pub src: IpAddr,

    /// The receiver's Ethernet address; asked for by ARP if it is not given
    #[arg(long, value_name = "MAC")]
    pub dst_mac: Option<Mac>,

    /// The sender's Ethernet address; that of the interface if it is not given
    #[arg(long, value_name = "MAC")]
    pub src_mac: Option<Mac>,

    /// The source port of the first flow
    #[arg(long, value_name = "PORT", default_value_t = 1024)]
    pub src_port: u16,

    /// The destination port
    #[arg(long, value_name = "PORT", default_value_t = 9)]
    pub dst_port: u16,

    /// Bytes of a packet, from its Ethernet header on: 60 and more, 80 for IPv6
    #[arg(long, value_name = "BYTES", default_value_t = 60, value_parser = clap::value_parser!(u16).range(60..=65_535))]
    pub size: u16,
}

/// Options of `pktgen send`.
#[derive(Clone, Debug, Args)]
pub struct SendOptions {
    /// Where.
    #[command(flatten)]
    pub end: EndOptions,
    /// When to end.
    #[command(flatten)]
    pub ending: EndingOptions,
    /// What.
    #[command(flatten)]
    pub packets: PacketOptions,

    /// Packets a second; as fast as the interface takes them if it is not given
    #[arg(short, long, value_name = "PPS", value_parser = positive)]
    pub rate: Option<f64>,

    /// Different flows: source ports and addresses count up from the first ones
    #[arg(short, long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub flows: u32,

    /// Puts the flows into another order, each once a round
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// Options of `pktgen replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    /// Where.
    #[command(flatten)]
    pub end: EndOptions,
    /// When to end.
    #[command(flatten)]
    pub ending: EndingOptions,

    /// The capture, in the classic pcap format
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,

    /// Packets a second; as fast as the interface takes them if it is not given
    #[arg(short, long, value_name = "PPS", value_parser = positive)]
    pub rate: Option<f64>,
}

/// Options of `pktgen sink`.
#[derive(Clone, Debug, Args)]
pub struct SinkOptions {
    /// Where.
    #[command(flatten)]
    pub end: EndOptions,
    /// When to end.
    #[command(flatten)]
    pub ending: EndingOptions,

    /// Do not end when the senders have ended
    #[arg(long)]
    pub stay: bool,

    /// Believe checksums without adding them up
    #[arg(long)]
    pub trust: bool,
}

/// Options of `pktgen pingpong`.
#[derive(Clone, Debug, Args)]
pub struct PingpongOptions {
    /// Where.
    #[command(flatten)]
    pub end: EndOptions,
    /// When to end.
    #[command(flatten)]
    pub ending: EndingOptions,
    /// What.
    #[command(flatten)]
    pub packets: Option<PacketOptions>,

    /// Be the other end: send everything back
    #[arg(long, conflicts_with = "PacketOptions")]
    pub serve: bool,

    /// Look for packets without sleeping
    #[arg(long)]
    pub spin: bool,
}

/// How to print a result.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// An object on a line
    Json,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err(format!("`{text}` is no number above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |line: &str| {
            Arguments::try_parse_from(line.split(' ')).unwrap_err().render().to_string()
        };
        assert!(error("pktgen send -i e --src ::1 --dst ::2 --rate 0").contains("no number above"));
        assert!(error("pktgen send -i e --src ::1 --dst ::2 --size 59").contains("59"));
        assert!(error("pktgen sink").contains("--interface"));
        assert!(error("pktgen pingpong -i e --serve --src ::1 --dst ::2").contains("--serve"));
    }

    #[test]
    fn the_serving_end_needs_no_addresses() {
        let line = "pktgen pingpong -i e --serve";
        assert!(Arguments::try_parse_from(line.split(' ')).is_ok());
    }
}
