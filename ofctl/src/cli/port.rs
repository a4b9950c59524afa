//! The arguments of `add-port`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::vlan::parse_vlan;

pub(super) const EXAMPLES: &str = "\
A lone argument is the port's name. A port of type afxdp has the name of its
network interface. Files are read and written by the switch.

Examples:
  ofctl add-port br0 eth1
  ofctl add-port br0 eth2 --number 7 --queues 2 --mode native
  ofctl add-port br0 web --type internal --vlan access=10
  ofctl add-port br0 trunk0 --type pcap --tx /tmp/out.pcap --vlan trunk=10,20";

/// Arguments of `add-port`.
#[derive(Debug, Args)]
pub struct AddPortArgs {
    /// The bridge
    pub bridge: Option<String>,
    /// The port's name
    pub name: Option<String>,
    /// What the port is made of
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "afxdp")]
    pub kind: PortType,
    /// Its OpenFlow number, 1 to 65279; one that is free unless given
    #[arg(long, value_name = "N")]
    pub number: Option<u16>,
    /// Its VLANs for NORMAL: `all` tagged, one untagged as `access=10`, or some as `trunk=10,20`
    #[arg(long, value_name = "VLANS", default_value = "all", value_parser = parse_vlan)]
    pub vlan: api::request::PortVlan,
    /// What belongs to its type alone.
    #[command(flatten)]
    pub options: PortOptions,
}

/// What a port is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PortType {
    /// A network interface by AF_XDP
    Afxdp,
    /// A pod's interface
    Pod,
    /// An interface of the host's own
    Internal,
    /// Files of packets
    Pcap,
    /// Nothing: what is sent there is gone
    Null,
    /// A port for tests
    Dummy,
}

/// Options of the types of ports. They are named as on the socket.
#[derive(Debug, Args, Serialize)]
pub struct PortOptions {
    /// Receive queues; as many as the interface has unless given
    #[arg(long, value_name = "N", help_heading = "Options of type afxdp")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<u32>,
    /// How the XDP program is attached; the best way that works unless given
    #[arg(long, value_name = "MODE", value_enum, help_heading = "Options of type afxdp")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<AfxdpModeName>,
    /// What becomes of packets while no switch runs; they are dropped unless given
    #[arg(long, value_name = "WHAT", value_enum, help_heading = "Options of type afxdp")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_away: Option<WhenAwayName>,
    /// The interface's MTU; 1500 unless given
    #[arg(long, value_name = "BYTES", help_heading = "Options of type internal")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its Ethernet address; a random one unless given
    #[arg(long, value_name = "ADDRESS", help_heading = "Options of type internal")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The file whose packets come in
    #[arg(long, value_name = "FILE", value_parser = parse_path)]
    #[arg(help_heading = "Options of type pcap")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx: Option<PathBuf>,
    /// Begin again at the end of that file
    #[arg(long = "loop", requires = "rx", help_heading = "Options of type pcap")]
    #[serde(rename = "loop", skip_serializing_if = "std::ops::Not::not")]
    pub repeat: bool,
    /// The file that takes what is sent
    #[arg(long, value_name = "FILE", value_parser = parse_path)]
    #[arg(help_heading = "Options of type pcap")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx: Option<PathBuf>,
    /// The most packets that file takes
    #[arg(long, value_name = "N", requires = "tx", help_heading = "Options of type pcap")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// The switch is somewhere else and takes whole paths.
fn parse_path(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|error| error.to_string())
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AfxdpModeName {
    /// In the driver, or not at all
    Native,
    /// In the kernel's own receive path, which is slow and takes every driver
    Generic,
    /// The best that works
    Auto,
}

/// What becomes of packets while no switch runs.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WhenAwayName {
    /// They are dropped
    Drop,
    /// The kernel has them
    Pass,
}
