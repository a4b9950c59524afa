//! A switch that runs: workers, control thread and socket, with its packets in ordinary memory.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use api::request::{
    BridgeAdd, DummyOptions, DummyReceive, DummyTake, FlowChange, FlowDump, PortAdd, PortKind,
    PortStats, PortVlan,
};
use api::{Client, ClientError, HexBytes, reply};
use packet::{Depot, Memory, Seed};
use vswitch::clock::Clock;
use vswitch::control::{Control, Plan};
use vswitch::crew::Common;
use vswitch::numbers::Numbers;
use vswitch::server::{Listener, Server};

/// A running switch; it ends with its value.
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) path: PathBuf,
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// A switch with so many workers and no bridge.
    pub(crate) fn with_workers(workers: usize) -> Self {
        Self::with(workers, 0o600)
    }

    /// The same with another mode of its socket.
    pub(crate) fn with(workers: usize, mode: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("vswitch-{}-{number}", std::process::id()));
        let path = folder.join("s.sock");
        let listener = Listener::bind(&path, mode, None).unwrap();
        let links = hw::LinkMonitor::open().unwrap();
        let (end, told) = UnixStream::pair().unwrap();
        let mut control = Control::new(plan(workers)).unwrap();
        let body = move || {
            Server::new(listener, links, told).run(&mut control).unwrap();
            control.stop();
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(body).unwrap();
        Self { path, end: Some(end), thread: Some(thread) }
    }

    /// A switch with one worker, and a bridge `br0` whose dummy ports are `p1` to `p3`.
    pub(crate) fn with_ports() -> Self {
        let switch = Self::with_workers(1);
        switch.make_bridge("br0", 3);
        switch
    }

    pub(crate) fn make_bridge(&self, name: &str, ports: u16) {
        let mut client = self.client();
        client.call(BridgeAdd { name: name.to_owned() }).unwrap();
        for number in 1..=ports {
            client.call(dummy(name, number)).unwrap();
        }
    }

    /// A client.
    pub(crate) fn client(&self) -> Client {
        connect(&self.path)
    }
}

fn plan(workers: usize) -> Plan {
    let depot: Arc<Depot> = Depot::new(Memory::heap(4096));
    let limits = flowtable::Limits { megaflows: 4096, ..flowtable::Limits::default() };
    let clock = Clock::start();
    Plan {
        cpus: vec![None; workers],
        common: Common {
            depot,
            clock,
            limits,
            sessions: 1024,
            busy_poll: false,
            generation: None,
            connections: 1024,
        },
        seed: Seed(5),
        table_limit: 100_000,
        numbers: Numbers::default(),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        if let Some(folder) = self.path.parent() {
            let _ = std::fs::remove_dir_all(folder);
        }
        assert!(ended || std::thread::panicking(), "the control thread panicked");
    }
}

pub(crate) fn connect(path: &Path) -> Client {
    Client::connect(path, Duration::from_secs(20)).unwrap()
}

/// The request for a dummy port called after its number.
pub(crate) fn dummy(bridge: &str, number: u16) -> PortAdd {
    let prefix = if bridge == "br0" { String::new() } else { format!("{bridge}-") };
    PortAdd {
        bridge: Some(bridge.to_owned()),
        name: format!("{prefix}p{number}"),
        number: Some(number),
        kind: PortKind::Dummy(DummyOptions {}),
        vlan: PortVlan::All,
    }
}

/// What one does again and again.
pub(crate) trait Ask {
    fn flows(&mut self, flows: &[&str]) -> Result<reply::Changed, ClientError>;
    fn dump(&mut self) -> Vec<reply::FlowStats>;
    fn receive(&mut self, port: &str, packets: &[Vec<u8>]);
    fn take(&mut self, port: &str, count: usize) -> Vec<Vec<u8>>;
    fn stats(&mut self, port: &str) -> reply::PortStats;
}

impl Ask for Client {
    fn flows(&mut self, flows: &[&str]) -> Result<reply::Changed, ClientError> {
        let flows = flows.iter().map(|flow| (*flow).to_owned()).collect();
        self.call(FlowChange { bridge: None, flows, lenient: false })
    }

    fn dump(&mut self) -> Vec<reply::FlowStats> {
        let (mut flows, mut after) = (Vec::new(), None);
        loop {
            let page = self.call(FlowDump { after, ..FlowDump::default() }).unwrap();
            flows.extend(page.flows);
            match page.next {
                Some(next) => after = Some(next),
                None => return flows,
            }
        }
    }

    fn receive(&mut self, port: &str, packets: &[Vec<u8>]) {
        let packets = packets.iter().cloned().map(HexBytes).collect();
        self.call(DummyReceive { bridge: None, port: port.to_owned(), packets }).unwrap();
    }

    /// Waits a moment for so many packets, and answers with what there is.
    fn take(&mut self, port: &str, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for _ in 0..100 {
            let taken = self.call(DummyTake { bridge: None, port: port.to_owned() }).unwrap();
            packets.extend(taken.packets.into_iter().map(|packet| packet.0));
            if packets.len() >= count {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        packets
    }

    fn stats(&mut self, port: &str) -> reply::PortStats {
        let port = Some(api::request::PortRef::Name(port.to_owned()));
        self.call(PortStats { bridge: None, port }).unwrap().ports.remove(0)
    }
}
