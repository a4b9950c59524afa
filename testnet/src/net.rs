//! Network namespaces with real kernels' stacks in them: the peers of the tests.
//!
//! A [`TestNet`] is one namespace for the switch; each [`Host`] is one of its own, joined to it by
//! a veth pair. Names are unique, so that tests run side by side. Everything is taken down when it
//! is dropped, whatever happened before.
//!
//! Works with the programs `ip`, `ethtool` and, for some calls, `ping` and `iperf3`; needs root.

use std::fmt;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What went wrong, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

/// What steps of a test answer.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// The switch's side of a test network.
#[derive(Debug)]
pub struct TestNet {
    namespace: Namespace,
}

impl TestNet {
    /// An empty network.
    pub fn new() -> Result<Self> {
        Ok(Self { namespace: Namespace::new("sw")? })
    }

    /// A host with this address (`10.0.0.1/24`) on its interface `eth0`; the other end of the veth
    /// pair is in the switch's namespace and has the host's name.
    pub fn host(&self, name: &str, address: &str) -> Result<Host> {
        self.host_with(name, address, &HostOptions::default())
    }

    /// The same, with more wishes.
    pub fn host_with(&self, name: &str, address: &str, options: &HostOptions) -> Result<Host> {
        let namespace = Namespace::new(name)?;
        let (inside, outside) = (namespace.name.as_str(), self.namespace.name.as_str());
        let HostOptions { mtu, queues, address_v6 } = options;
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        run(&format!(
            "ip -n {inside} link add eth0 mtu {mtu} {queues} type veth \
             peer name {name} mtu {mtu} {queues} netns {outside}"
        ))?;
        if address_v6.is_none() {
            // No neighbour discovery where nobody asked for IPv6.
            namespace.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")?;
        }
        self.run(&format!("sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1"))?;
        for address in [Some(address), address_v6.as_deref()].into_iter().flatten() {
            run(&format!("ip -n {inside} address add {address} dev eth0 nodad"))?;
        }
        run(&format!("ip -n {inside} link set dev eth0 up"))?;
        run(&format!("ip -n {outside} link set dev {name} up"))?;
        let bare = address.split('/').next().unwrap_or(address);
        let address = bare.parse().map_err(|error| Error(format!("`{bare}`: {error}")))?;
        Ok(Host { namespace, name: name.to_owned(), address })
    }

    /// Runs `work` on a thread of its own in the switch's namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.inside(work)
    }

    /// Runs a command in the switch's namespace, and answers what it printed.
    pub fn run(&self, command: &str) -> Result<String> {
        self.namespace.run(command)
    }

    /// Starts a command in the switch's namespace; it is killed when the value is dropped.
    pub fn spawn(&self, command: &str) -> Result<Running> {
        self.namespace.spawn(command)
    }

    /// The namespace's name, as `ip netns` knows it.
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }
}

/// What a host may have beside an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostOptions {
    /// MTU of both ends of the pair.
    pub mtu: u32,
    /// Queues of both ends, each way.
    pub queues: u32,
    /// An IPv6 address with its prefix length; without one the host speaks no IPv6.
    pub address_v6: Option<String>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { mtu: 1500, queues: 1, address_v6: None }
    }
}

/// A host: a namespace with one interface, `eth0`.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    name: String,
    address: IpAddr,
}

impl Host {
    /// Its name, which is also that of the other end of its veth pair.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its (first) address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The namespace's name, as `ip netns` knows it.
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// Runs a command there, and answers what it printed. It must succeed.
    pub fn run(&self, command: &str) -> Result<String> {
        self.namespace.run(command)
    }

    /// Starts a command there; it is killed when the value is dropped.
    pub fn spawn(&self, command: &str) -> Result<Running> {
        self.namespace.spawn(command)
    }

    /// Runs `work` on a thread of its own there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.inside(work)
    }

    /// Sends `count` pings of `len` payload bytes that must not be fragmented, a hundred a second,
    /// and answers how many came back.
    pub fn ping_with(&self, to: IpAddr, count: u32, len: u32) -> Result<u32> {
        let command = format!("ping -M do -s {len} -c {count} -i 0.01 -W 1 {to}");
        // It fails if none comes back, which is an answer.
        let output = self.namespace.output(&command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let received = text.split(" received").next().and_then(|text| text.rsplit(' ').next());
        let received = received.and_then(|number| number.parse().ok());
        let received: u32 = received.ok_or_else(|| failure(&command, &output))?;
        // Once something has come back, it waits for the last answer twice as long as any before
        // took, no longer: less than the pauses of a busy machine. Another one stands for it.
        let only_the_last = !text.contains(&format!("icmp_seq={count} "));
        if received > 0 && received + 1 == count && only_the_last {
            return Ok(received + self.ping_with(to, 1, len)?);
        }
        Ok(received)
    }

    /// Sends `count` ordinary pings, and answers how many came back.
    pub fn ping(&self, to: &Self, count: u32) -> Result<u32> {
        self.ping_with(to.address, count, 56)
    }

    /// Starts an iperf3 server.
    pub fn iperf3_server(&self) -> Result<Running> {
        let server = self.spawn("iperf3 -s")?;
        let mut listening = false;
        for _ in 0..100 {
            listening = self.run("ss -Hltn sport = 5201")?.contains("5201");
            if listening {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        if listening { Ok(server) } else { Err(Error("iperf3 does not listen".to_owned())) }
    }

    /// Sends one TCP stream to the iperf3 server at `to` for some seconds, with further options,
    /// and answers what was received, in Mbit/s.
    pub fn iperf3(&self, to: IpAddr, seconds: u32, options: &str) -> Result<f64> {
        let command = format!("iperf3 -c {to} -t {seconds} -f m {options}");
        // Between two clients the server listens anew.
        let is_refused = |error: &Error| error.to_string().contains("Connection refused");
        let mut answer = self.run(&command);
        for _ in 0..50 {
            if !answer.as_ref().is_err_and(is_refused) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
            answer = self.run(&command);
        }
        let text = answer?;
        let line = text.lines().find(|line| line.contains("receiver"));
        let rate = line.and_then(|line| line.split(" Mbits/sec").next()?.rsplit(' ').next());
        let rate = rate.and_then(|rate| rate.parse().ok());
        rate.ok_or_else(|| Error(format!("`{command}` printed {text}")))
    }
}

/// A process that ends with this value.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// The process's number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it ends by itself, and answers whether it succeeded, and what it printed.
    pub fn wait(&mut self) -> Result<(bool, String)> {
        use std::io::Read;
        let mut text = String::new();
        let ended = match self.0.stdout.take() {
            Some(mut out) => out.read_to_string(&mut text).and_then(|_| self.0.wait()),
            None => self.0.wait(),
        };
        ended.map(|status| (status.success(), text)).map_err(|error| Error(error.to_string()))
    }

    /// Kills it at once, without a chance to tidy up.
    pub fn kill(&mut self) -> Result {
        let killed = self.0.kill().and_then(|()| self.0.wait());
        killed.map(drop).map_err(|error| Error(format!("killing {}: {error}", self.0.id())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("testnet: {error}");
        }
    }
}

/// A network namespace, deleted with this value.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(label: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vs{}-{count}-{label}", std::process::id());
        run(&format!("ip netns add {name}"))?;
        // From here on it is deleted whatever happens.
        let namespace = Self { name };
        run(&format!("ip -n {} link set dev lo up", namespace.name))?;
        Ok(namespace)
    }

    fn prefixed(&self, command: &str) -> String {
        format!("ip netns exec {} {command}", self.name)
    }

    fn run(&self, command: &str) -> Result<String> {
        run(&self.prefixed(command))
    }

    fn output(&self, command: &str) -> Result<Output> {
        output(&self.prefixed(command))
    }

    fn spawn(&self, command: &str) -> Result<Running> {
        let command = self.prefixed(command);
        let child = parse(&command)?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        child.map(Running).map_err(|error| Error(format!("`{command}`: {error}")))
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let enter = || {
            let file = File::open(format!("/run/netns/{}", self.name))?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        };
        thread::scope(|scope| {
            // A thread of its own: a namespace belongs to a thread, and this one's ends with it.
            let thread = thread::Builder::new().name(self.name.clone()).spawn_scoped(scope, || {
                enter().map(|()| work()).map_err(|error: std::io::Error| {
                    Error(format!("entering {}: {error}", self.name))
                })
            });
            let thread = thread.map_err(|error| Error(format!("starting a thread: {error}")))?;
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run(&format!("ip netns delete {}", self.name)) {
            eprintln!("testnet: {error}");
        }
    }
}

/// Runs a command that must succeed, and answers what it printed.
pub fn run(command: &str) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        return Err(failure(command, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn output(command: &str) -> Result<Output> {
    let output = parse(command)?.stdin(Stdio::null()).output();
    output.map_err(|error| Error(format!("`{command}`: {error}")))
}

fn parse(command: &str) -> Result<Command> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Error("an empty command".to_owned()))?;
    let mut command = Command::new(program);
    command.args(words);
    Ok(command)
}

fn failure(command: &str, output: &Output) -> Error {
    let said = String::from_utf8_lossy(if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    });
    Error(format!("`{command}`: {}: {}", output.status, said.trim()))
}
