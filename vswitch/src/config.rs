//! The file a switch starts from.
//!
//! It is read once: whatever is changed later by the control socket is not written back. What may
//! stand in it, with its default:
//!
//! ```toml
//! socket = "/run/vswitch/vswitch.sock"
//! mode = 0o660                # who may connect
//! group = ""                  # the socket's group, by name or number; the process's own if empty
//! state = "/var/lib/vswitch/ports.json"   # remembers the numbers of ports; not at all if empty
//!
//! [workers]
//! cpus = []                   # a worker on each of these; one that goes anywhere if empty
//! busy_poll = "adaptive"      # or "always": never sleep
//! short_cuts = true           # known flows between pods go from veth to veth in the kernel
//!
//! [limits]
//! frames = 16384              # packet buffers of 2 KiB, at all ports together
//! flows = 1000000             # in one table
//! megaflows = 65536           # cached by one worker
//! sessions = 65536            # cached by one worker
//! connections = 1000000       # tracked by all of them together
//!
//! [connections]
//! tcp_seq_chk = true          # segments of TCP out of window are invalid
//! tcp_loose = true            # TCP may be met in its middle
//! limit = 0                   # connections of each zone; as many as there is room for if 0
//! timeouts = {}               # seconds; such as { tcp_established = 86400, udp_multiple = 60 }
//!
//! [nat]
//! reserved_ports = "61000-65535"   # what connections are given at addresses that the host has too
//!
//! [[bridge]]
//! name = "br0"
//! flows = ["priority=0,actions=normal"]
//! flow_file = "br0.flows"     # as `ofctl bundle` reads it; relative to this file
//!
//! [[bridge.port]]
//! name = "eth0"
//! type = "afxdp"              # or pod, internal, pcap, null, dummy
//! number = 1
//! vlan = { access = 10 }      # or "all", or { trunk = [10, 20] }
//! options = { mode = "native" }
//!
//! [bridge.port.queues.1]      # egress queue 1; what flows send by `set_queue:1`
//! max_rate = 100_000_000      # bits a second; also min_rate, burst, weight, depth, depth_bytes
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use api::request::{PortAdd, PortKind, PortVlan};
use api::{CtTimeouts, FlowError, QueueSettings};
use conntrack::{Connections, Settings};
use serde::{Deserialize, Deserializer, de};

use crate::reserved::ReservedPorts;

/// What the file says, or would.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen.
    pub socket: PathBuf,
    /// Who may connect, as the mode of the socket.
    pub mode: u32,
    /// The socket's group; the process's own if empty.
    pub group: String,
    /// Where the numbers of ports are remembered; nowhere if empty.
    pub state: PathBuf,
    /// The workers.
    pub workers: WorkersConfig,
    /// Sizes.
    pub limits: LimitsConfig,
    /// How connections are tracked.
    pub connections: ConnectionsConfig,
    /// How they are translated.
    pub nat: NatConfig,
    /// The bridges.
    #[serde(rename = "bridge")]
    pub bridges: Vec<BridgeConfig>,
}

/// Which workers there are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct WorkersConfig {
    /// A worker on each of these CPUs; one that goes anywhere if there is none.
    pub cpus: Vec<usize>,
    /// When they sleep.
    pub busy_poll: BusyPoll,
    /// Whether known flows between pods go from veth to veth in the kernel.
    pub short_cuts: bool,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self { cpus: Vec::new(), busy_poll: BusyPoll::Adaptive, short_cuts: true }
    }
}

/// When workers sleep.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum BusyPoll {
    /// When looking a little longer would not have found a packet.
    #[default]
    Adaptive,
    /// Never.
    Always,
}

/// How much there may be of what.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Packet buffers of 2 KiB, at all ports together.
    pub frames: u32,
    /// Flows in one table.
    pub flows: usize,
    /// Megaflows in the cache of one worker.
    pub megaflows: u32,
    /// Sessions in the cache of one worker; none are kept if 0.
    pub sessions: u32,
    /// Connections that all workers together track.
    pub connections: u32,
}

/// How connections are tracked in zones of which nothing else is said later.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// Whether segments of TCP out of window are invalid.
    pub tcp_seq_chk: bool,
    /// Whether TCP may be met in its middle.
    pub tcp_loose: bool,
    /// Connections of each zone; as many as there is room for if 0.
    pub limit: u32,
    /// How long they may be silent, where that is not as long as in the Linux kernel.
    pub timeouts: CtTimeouts,
}

impl ConnectionsConfig {
    /// Has connections be tracked so.
    pub(crate) fn apply(&self, connections: &Connections) {
        let Self { tcp_seq_chk, tcp_loose, limit, timeouts } = self;
        connections.set_settings(Settings { liberal: !tcp_seq_chk, picks_up: *tcp_loose });
        connections.zones().set_default_limit(*limit);
        connections.zones().set_default_timeouts(timeouts);
    }
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self { tcp_seq_chk: true, tcp_loose: true, limit: 0, timeouts: CtTimeouts::new() }
    }
}

/// How connections are translated, whatever flows say.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct NatConfig {
    /// The ports, and identifiers of queries, that they are given at addresses that the host has too.
    pub reserved_ports: ReservedPorts,
}

/// A bridge.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct BridgeConfig {
    /// Its name.
    pub name: String,
    /// Its flows, a line each.
    #[serde(default)]
    pub flows: Vec<String>,
    /// A file of further ones.
    pub flow_file: Option<PathBuf>,
    /// Its ports.
    #[serde(default, rename = "port")]
    pub ports: Vec<PortConfig>,
}

/// A port.
#[derive(Clone, Debug, PartialEq)]
pub struct PortConfig {
    /// What it is, without its bridge.
    pub add: PortAdd,
    /// Its egress queues, by number.
    pub queues: BTreeMap<u16, QueueSettings>,
}

impl<'de> Deserialize<'de> for PortConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A [`PortAdd`] without its bridge, of which every member is known.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            name: String,
            number: Option<u16>,
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            options: serde_json::Map<String, serde_json::Value>,
            #[serde(default)]
            vlan: PortVlan,
            #[serde(default)]
            queues: BTreeMap<String, QueueSettings>,
        }
        let Written { name, number, kind, options, vlan, queues } =
            Written::deserialize(deserializer)?;
        // Keys are strings to TOML.
        let queues = queues.into_iter().map(|(number, settings)| {
            let wrong = |_| de::Error::custom(format!("port {name}: `{number}` is no queue"));
            Ok((number.parse().map_err(wrong)?, settings))
        });
        let queues = queues.collect::<Result<_, D::Error>>()?;
        let kind = serde_json::json!({ "type": kind, "options": options });
        let kind = serde_json::from_value::<PortKind>(kind)
            .map_err(|error| de::Error::custom(format!("port {name}: {error}")))?;
        Ok(Self { add: PortAdd { bridge: None, name, number, kind, vlan }, queues })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: api::DEFAULT_SOCKET.into(),
            mode: 0o660,
            group: String::new(),
            state: "/var/lib/vswitch/ports.json".into(),
            workers: WorkersConfig::default(),
            limits: LimitsConfig::default(),
            connections: ConnectionsConfig::default(),
            nat: NatConfig::default(),
            bridges: Vec::new(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            frames: 16_384,
            flows: flowtable::Tables::TABLE_LIMIT,
            megaflows: 65_536,
            sessions: 65_536,
            connections: 1_000_000,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// It is no TOML, or says what nobody knows.
    #[error("{}: {error}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What and where.
        error: Box<toml::de::Error>,
    },
    /// A value is out of bounds.
    #[error("{}: {what}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A flow cannot be read.
    #[error("{place}: byte {}: {error}\n  {flow}\n  {}", .error.at().start, Caret(.error))]
    Flow {
        /// Where it stands.
        place: String,
        /// The flow.
        flow: String,
        /// What is wrong with it.
        error: Box<FlowError>,
    },
}

/// The line below a text that points at what is wrong with it.
struct Caret<'a>(&'a FlowError);

impl fmt::Display for Caret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.at();
        write!(f, "{:start$}{:^<len$}", "", "", start = at.start, len = at.len().max(1))
    }
}

/// A line of flows, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlowLine {
    /// Such as `br0.flows:3`.
    pub place: String,
    /// The flow behind its verb.
    pub text: String,
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for bridge in &mut config.bridges {
            // `join` leaves an absolute path alone.
            bridge.flow_file = bridge.flow_file.take().map(|file| folder.join(file));
        }
        config.check().map_err(|what| ConfigError::Invalid { path: path.to_owned(), what })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let LimitsConfig { frames, megaflows, sessions, connections, .. } = self.limits;
        let between = |name: &str, value: u32, least: u32, most: u32| {
            let fits = (least..=most).contains(&value);
            fits.then_some(())
                .ok_or_else(|| format!("limits.{name} is {least} to {most}, not {value}"))
        };
        between("frames", frames, 1024, 1 << 22)?;
        between("megaflows", megaflows, 64, 1 << 22)?;
        between("sessions", sessions, 0, 1 << 22)?;
        between("connections", connections, 1, 1 << 26)?;
        if self.mode & !0o777 != 0 {
            return Err(format!("mode is 0o000 to 0o777, not {:#o}", self.mode));
        }
        let cpus = &self.workers.cpus;
        let most = 1024;
        if let Some(cpu) = cpus.iter().find(|cpu| **cpu >= most) {
            return Err(format!("workers.cpus: there is no CPU {cpu}"));
        }
        match cpus.iter().enumerate().find(|(n, cpu)| cpus[..*n].contains(cpu)) {
            Some((_, cpu)) => Err(format!("workers.cpus: CPU {cpu} stands there twice")),
            None => Ok(()),
        }
    }

    /// The CPU of each worker.
    pub fn cpus(&self) -> Vec<Option<usize>> {
        match &*self.workers.cpus {
            [] => vec![None],
            cpus => cpus.iter().copied().map(Some).collect(),
        }
    }
}

impl BridgeConfig {
    /// All its flows, in order.
    pub fn flow_lines(&self) -> Result<Vec<FlowLine>, ConfigError> {
        let written = self.flows.iter().enumerate().map(|(n, flow)| FlowLine {
            place: format!("bridge {}, flow {n}", self.name),
            text: flow.clone(),
        });
        let mut lines: Vec<_> = written.collect();
        if let Some(path) = &self.flow_file {
            let text = read(path)?;
            lines.extend(api::text::lines(&text).map(|(number, flow)| FlowLine {
                place: format!("{}:{number}", path.display()),
                text: flow.to_owned(),
            }));
        }
        Ok(lines)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::CtTimeout;
    use api::request::AfxdpMode;

    fn written(text: &str) -> Result<Config, ConfigError> {
        let file = std::env::temp_dir().join(format!(
            "vswitch-config-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file);
        std::fs::remove_file(file).unwrap();
        config
    }

    /// What the documentation above says can be read, and its defaults are the defaults.
    #[test]
    fn the_example_is_true() {
        let module = include_str!("config.rs");
        let example = module.split("//! ```").nth(1).unwrap().strip_prefix("toml").unwrap();
        let example = example.replace("//!", "");
        let config = written(&example).unwrap();
        let [bridge] = &*config.bridges else { panic!("one bridge") };
        let PortKind::Afxdp(options) = &bridge.ports[0].add.kind else { panic!("a port") };
        assert_eq!(options.mode, AfxdpMode::Native);
        assert!(matches!(bridge.ports[0].add.vlan, PortVlan::Access(_)));
        assert_eq!(bridge.ports[0].queues[&1].max_rate, Some(100_000_000));
        assert_eq!(Config { bridges: Vec::new(), ..config }, Config::default());
    }

    #[test]
    fn connections_are_tracked_as_the_file_says() {
        let text = "[connections]\ntcp_seq_chk = false\nlimit = 7\ntimeouts = { generic = 5 }";
        let connections = Connections::new(1, 0, packet::Seed(7));
        written(text).unwrap().connections.apply(&connections);
        let zones = connections.zones();
        let timeouts = zones.default_timeouts();
        assert_eq!(connections.settings(), Settings { liberal: true, picks_up: true });
        assert_eq!(zones.default_limit(), 7);
        assert_eq!(u32::from(timeouts[&CtTimeout::Generic]), 5);
        assert_eq!(u32::from(timeouts[&CtTimeout::TcpEstablished]), 432_000);
    }

    #[test]
    fn what_nobody_knows_is_named() {
        let error = |text: &str| written(text).unwrap_err().to_string();
        assert!(error("sockt = 'x'").contains("sockt"));
        assert!(error("[limits]\nframes = 3").contains("limits.frames is 1024 to"));
        let seconds = error("[connections]\nlimit = 5\ntimeouts = { udp_first = 0 }");
        assert!(seconds.contains("line 3") && seconds.contains("not 0"), "{seconds}");
        let key = error("[connections.timeouts]\ntcp_estab = 5");
        assert!(key.contains("line 2") && key.contains("`tcp_estab` is none of tcp_syn_sent,"));
        assert!(error("[connections]\nlimit = -1").contains("line 2"));
        let ports = error("[nat]\nreserved_ports = '70000-5'");
        assert!(ports.contains("line 2") && ports.contains("`70000-5` is no range"), "{ports}");
        assert!(error("[workers]\ncpus = [1, 1]").contains("CPU 1 stands there twice"));
        let port =
            |rest: &str| error(&format!("[[bridge]]\nname='b'\n[[bridge.port]]\nname='p'\n{rest}"));
        assert!(port("type='afxpd'").contains("`afxpd` is none of"));
        assert!(port("type='afxdp'\noptions={quues=1}").contains("quues"));
        assert!(port("type='null'\nvlan={access=5000}").contains("5000 is no VLAN"));
        assert!(port("typ='null'").contains("typ"));
        assert!(port("type='null'\nqueues.x={}").contains("`x` is no queue"));
        assert!(port("type='null'\nqueues.1={rate=1}").contains("rate"));
    }

    #[test]
    fn a_missing_flow_file_is_named() {
        let config = written("[[bridge]]\nname='b'\nflow_file='/nowhere/f'").unwrap();
        let error = config.bridges[0].flow_lines().unwrap_err().to_string();
        assert!(error.contains("/nowhere/f"), "{error}");
    }
}
