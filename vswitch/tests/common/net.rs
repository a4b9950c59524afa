//! The real `vswitchd` in a network of real stacks.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::allow_attributes, reason = "which part is unused differs between tests")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use api::reply::PortState;
use api::request::{
    FlowChange, FlowDump, PortAdd, PortDel, PortKind, PortRef, PortStats, PortVlan, Show,
    WorkerStats,
};
use api::{Client, DropReason, reply};
use rustix::process::{Pid, Signal, kill_process};
use testnet::{Host, HostOptions, TestNet};

/// What a test answers.
pub(crate) type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> =
    std::result::Result<T, E>;

/// What one says of a pod's port, and of one by AF_XDP.
pub(crate) const POD: &str = "type = 'pod'";
pub(crate) const AFXDP: &str = "type = 'afxdp'";
/// What one says of a bridge that behaves like one.
pub(crate) const NORMAL: &[&str] = &["priority=0,actions=normal"];

/// The file of a switch with one bridge, `br0`: its flows, and for each port a name and the lines
/// about it.
pub(crate) fn bridge(flows: &[&str], ports: &[(&str, &str)]) -> String {
    let mut text = format!("[[bridge]]\nname = 'br0'\nflows = {flows:?}\n");
    for (name, lines) in ports {
        text.push_str(&format!("[[bridge.port]]\nname = '{name}'\n{lines}\n"));
    }
    text
}

/// `vswitchd`. It is told to end with this value, and must then end well.
pub(crate) struct Daemon {
    folder: PathBuf,
    process: Child,
    ended: bool,
}

impl Daemon {
    /// A switch in the switch's namespace, as this file says; socket and log are its own.
    pub(crate) fn start(net: &TestNet, config: &str) -> Result<Self> {
        Self::start_by(net, &[Path::new(env!("CARGO_BIN_EXE_vswitchd"))], config)
    }

    /// The same by another command: the program, and before it what starts it.
    pub(crate) fn start_by(net: &TestNet, command: &[&Path], config: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("vswitchd-{}", net.namespace()));
        std::fs::create_dir_all(&folder)?;
        // Whoever it runs as.
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&folder, everybody)?;
        let file = folder.join("config.toml");
        std::fs::write(&file, format!("state = ''\n{config}"))?;
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log"))?;
        let process = Command::new("ip")
            .args(["netns", "exec", net.namespace()])
            .args(command)
            .arg("--config")
            .arg(&file)
            .arg("--socket")
            .arg(folder.join("s.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut daemon = Self { folder, process, ended: false };
        daemon.wait_for_answer()?;
        Ok(daemon)
    }

    fn wait_for_answer(&mut self) -> Result {
        for _ in 0..500 {
            if let Ok(mut client) = Client::connect(&self.socket(), Duration::from_secs(20)) {
                client.call(api::request::Version {})?;
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                self.ended = true;
                return Err(format!("it ended by itself: {status}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("it does not answer".into())
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("s.sock")
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A client.
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.socket(), Duration::from_secs(20))?)
    }

    /// Changes flows.
    pub(crate) fn flows(&self, flows: &[&str]) -> Result {
        let flows = flows.iter().map(|flow| (*flow).to_owned()).collect();
        self.client()?.call(FlowChange { bridge: None, flows, lenient: false })?;
        Ok(())
    }

    /// Packets that have met the flows that `filter` names.
    pub(crate) fn met(&self, filter: &str) -> Result<u64> {
        let dump = FlowDump { filter: Some(filter.to_owned()), ..FlowDump::default() };
        let page = self.client()?.call(dump)?;
        assert!(!page.flows.is_empty(), "there is no flow {filter}");
        Ok(page.flows.iter().map(|flow| flow.packets).sum())
    }

    /// A port as it is.
    pub(crate) fn port(&self, name: &str) -> Result<reply::Port> {
        let shown = self.client()?.call(Show { bridge: None })?;
        let mut ports = shown.bridges.into_iter().flat_map(|bridge| bridge.ports);
        ports.find(|port| port.name == name).ok_or_else(|| format!("no port {name}").into())
    }

    /// Adds a port of this kind.
    pub(crate) fn add(&self, name: &str, kind: PortKind) -> Result {
        let (number, vlan) = (None, PortVlan::All);
        self.client()?.call(PortAdd { bridge: None, name: name.to_owned(), number, kind, vlan })?;
        Ok(())
    }

    /// Whether a port carries packets, and the reason if it does not.
    pub(crate) fn state(&self, name: &str) -> Result<(PortState, String)> {
        let port = self.port(name)?;
        Ok((port.state, port.reason.unwrap_or_default()))
    }

    /// Waits until a port carries packets.
    pub(crate) fn until_up(&self, name: &str) -> Result {
        let mut last = String::new();
        let waited = eventually("the port is up", || {
            let (state, reason) = self.state(name)?;
            last = reason;
            Ok(state == PortState::Up)
        });
        waited.map_err(|error| format!("{name}: {error}: {last}").into())
    }

    /// Waits until a port carries none, and answers why.
    pub(crate) fn until_down(&self, name: &str) -> Result<String> {
        eventually("the port is down", || Ok(self.state(name)?.0 == PortState::Down))?;
        Ok(self.state(name)?.1)
    }

    /// Removes a port.
    pub(crate) fn remove(&self, name: &str) -> Result {
        self.client()?.call(PortDel { bridge: None, name: name.to_owned() })?;
        Ok(())
    }

    /// A port's counters.
    pub(crate) fn stats(&self, name: &str) -> Result<reply::PortStats> {
        let port = Some(PortRef::Name(name.to_owned()));
        let mut stats = self.client()?.call(PortStats { bridge: None, port })?;
        Ok(stats.ports.remove(0))
    }

    /// Packets that came in by a port and were dropped for a reason.
    pub(crate) fn drops(&self, name: &str, reason: DropReason) -> Result<u64> {
        let stats = self.stats(name)?;
        let found = stats.drops.iter().find(|dropped| dropped.reason == reason);
        Ok(found.map_or(0, |dropped| dropped.packets))
    }

    /// Its workers' counters.
    pub(crate) fn workers(&self) -> Result<Vec<reply::Worker>> {
        Ok(self.client()?.call(WorkerStats {})?.workers)
    }

    /// Fails unless it rests when there is nothing to do: it may use a fifth of a processor.
    pub(crate) fn assert_rests(&self) -> Result {
        // What is on its way may come to an end first.
        std::thread::sleep(Duration::from_millis(200));
        let before = self.processor_time()?;
        std::thread::sleep(Duration::from_millis(500));
        let used = self.processor_time()? - before;
        assert!(used <= 10, "{used} ticks in half a second, {:?}", self.workers()?);
        Ok(())
    }

    /// Ticks, of which a second has a hundred, that it has used by now.
    fn processor_time(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let (_, numbers) = stat.rsplit_once(')').ok_or("no name")?;
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        let [user, system] = [11, 12].map(|at| numbers.get(at).and_then(|n| n.parse::<u64>().ok()));
        Ok(user.ok_or("no user time")? + system.ok_or("no system time")?)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result {
        let id = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(id.ok_or("no process number")?, signal)?)
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        for _ in 0..500 {
            if let Some(status) = self.process.try_wait()? {
                self.ended = true;
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()?;
        Err("it does not end by SIGTERM".into())
    }

    /// Ends it at once, without a chance to tidy up.
    pub(crate) fn kill(&mut self) -> Result {
        self.process.kill()?;
        self.process.wait()?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = if self.ended { None } else { Some(self.stop()) };
        // Seen only if the test fails.
        eprintln!("vswitchd said:\n{}", self.log());
        let _ = std::fs::remove_dir_all(&self.folder);
        let well = ended.as_ref().is_none_or(|end| end.as_ref().is_ok_and(ExitStatus::success));
        assert!(well || std::thread::panicking(), "vswitchd: {ended:?}");
    }
}

/// A host called `name` with the addresses `10.0.0.n/24` and `fd00::n/64`.
pub(crate) fn host(net: &TestNet, name: &str, n: u8) -> Result<Host> {
    host_with(net, name, n, HostOptions::default())
}

/// The same with more wishes.
pub(crate) fn host_with(net: &TestNet, name: &str, n: u8, options: HostOptions) -> Result<Host> {
    let options = HostOptions { address_v6: Some(format!("fd00::{n}/64")), ..options };
    Ok(net.host_with(name, &format!("10.0.0.{n}/24"), &options)?)
}

/// The IPv6 address of a host from [`host`].
pub(crate) fn v6(host: &Host) -> IpAddr {
    match host.address() {
        IpAddr::V4(v4) => format!("fd00::{}", v4.octets()[3]).parse().unwrap_or(IpAddr::V4(v4)),
        v6 => v6,
    }
}

/// Waits until a ping comes back, which ports that were just opened may take a moment for.
pub(crate) fn until_reached(from: &Host, to: IpAddr) -> Result {
    for _ in 0..8 {
        if from.ping_with(to, 1, 56)? == 1 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("{} does not reach {to}", from.name()).into())
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result {
    for _ in 0..400 {
        if is_so()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    Err(format!("not within ten seconds: {what}").into())
}

/// Where a socket can be opened.
pub(crate) trait Place {
    fn run_inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> testnet::net::Result<T>;
}

impl Place for Host {
    fn run_inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> testnet::net::Result<T> {
        self.inside(work)
    }
}

impl Place for TestNet {
    fn run_inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> testnet::net::Result<T> {
        self.inside(work)
    }
}

/// A TCP connection from one place to an address of another, which goes by `name` there: both its
/// ends.
pub(crate) fn connection(
    from: &impl Place,
    to: &impl Place,
    address: IpAddr,
    name: IpAddr,
) -> Result<(TcpStream, TcpStream)> {
    let listener = to.run_inside(|| TcpListener::bind((address, 0)))??;
    let port = listener.local_addr()?.port();
    let connect = || TcpStream::connect_timeout(&SocketAddr::new(name, port), PATIENCE);
    let near = from.run_inside(connect)?.map_err(|error| format!("to {name}: {error}"))?;
    Ok((near, listener.accept()?.0))
}

/// Sends random bytes by TCP both ways at once between a place and an address of another, and
/// compares each with what was sent.
pub(crate) fn stream(
    from: &impl Place,
    to: &impl Place,
    address: IpAddr,
    mebibytes: usize,
) -> Result {
    stream_by(from, to, address, address, mebibytes)
}

/// The same to an address that is another one at the place it is at.
pub(crate) fn stream_by(
    from: &impl Place,
    to: &impl Place,
    address: IpAddr,
    name: IpAddr,
    mebibytes: usize,
) -> Result {
    let (near, far) = &connection(from, to, address, name)?;
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(move || send(near, 1, mebibytes)),
            scope.spawn(move || receive(far, 1, mebibytes)),
            scope.spawn(move || send(far, 2, mebibytes)),
            scope.spawn(move || receive(near, 2, mebibytes)),
        ];
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
}

/// So long a stream may rest.
const PATIENCE: Duration = Duration::from_secs(5);
const CHUNK: usize = 1 << 16;

fn send(mut stream: &TcpStream, seed: u64, mebibytes: usize) -> Result {
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut noise, mut chunk) = (Noise(seed), vec![0; CHUNK]);
    for _ in 0..mebibytes * 16 {
        noise.fill(&mut chunk);
        stream.write_all(&chunk).map_err(|error| format!("sending: {error}"))?;
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, seed: u64, mebibytes: usize) -> Result {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut noise, mut chunk, mut expected) = (Noise(seed), vec![0; CHUNK], vec![0; CHUNK]);
    for at in 0..mebibytes * 16 {
        stream.read_exact(&mut chunk).map_err(|error| format!("receiving: {error}"))?;
        noise.fill(&mut expected);
        if chunk != expected {
            return Err(format!("other bytes arrive than were sent, in chunk {at}").into());
        }
    }
    Ok(())
}

/// Bytes that look random and can be made again (xorshift64).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_ne_bytes()[..word.len()]);
        }
    }
}

/// Packets whose checksum a host has found wrong, of all protocols.
fn wrong_checksums(host: &Host) -> Result<u64> {
    let text = host.run("nstat -asz")?;
    let lines = text.lines().filter(|line| line.contains("CsumErrors"));
    let numbers = lines.map(|line| line.split_whitespace().nth(1).and_then(|n| n.parse().ok()));
    let numbers: Option<Vec<u64>> = numbers.collect();
    let numbers = numbers.ok_or("nstat printed no numbers")?;
    assert!(numbers.len() >= 3, "nstat counts for TCP, UDP and ICMP: {text}");
    Ok(numbers.iter().sum())
}

/// Pings and streams both ways, by IPv4 and IPv6.
pub(crate) fn understand(a: &Host, b: &Host, mebibytes: usize) -> Result {
    for (from, to, address) in [(a, b, b.address()), (b, a, v6(a))] {
        until_reached(from, address)?;
        assert_eq!(from.ping_with(address, 20, 56)?, 20, "{address}");
        stream(from, to, address, mebibytes)?;
    }
    Ok(())
}

/// Asserts that no host has found a checksum wrong.
pub(crate) fn sums_are_right(hosts: &[&Host]) -> Result {
    for host in hosts {
        assert_eq!(wrong_checksums(host)?, 0, "at {}", host.name());
    }
    Ok(())
}
