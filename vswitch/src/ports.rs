//! The ports of all bridges, as the control thread keeps them: what they are, which worker polls
//! which queue, and why one does not work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::PortFlags;
use api::request::{AfxdpMode, PortKind, PortVlan, WhenAway};
use flowtable::{BridgeId, PortView, VlanMode};
use hw::{AfXdpOptions, BindPreference, DummyHandle, Port, PortCounters};
use packet::{Depot, PortId};

use crate::account::{Account, Counter};
use crate::crew::Crew;
use crate::desk::Order;
use crate::egress::Egress;

/// A port of a bridge.
pub struct Entry {
    /// Its switch-wide number.
    pub id: PortId,
    /// Its OpenFlow number.
    pub number: u16,
    /// The bridge it belongs to.
    pub bridge: BridgeId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is made of.
    pub kind: PortKind,
    /// Its VLANs.
    pub vlan: PortVlan,
    /// How it is used.
    pub flags: PortFlags,
    /// Whether it was up when that was told last.
    pub was_up: bool,
    /// The port itself, while it works; the reason in words while it does not.
    pub port: Result<Box<dyn Port>, String>,
    /// What each worker has counted for it.
    pub accounts: Vec<Arc<Account>>,
    /// Its receive queues, and who polls them.
    pub queues: Vec<Assigned>,
    /// Its egress queues.
    pub egress: Egress,
    /// What was lost below us by devices it had before this one.
    pub lost_before: PortCounters,
    /// The test's side of a dummy port.
    pub dummy: Option<DummyHandle>,
}

impl Entry {
    /// What flows know of it.
    pub fn view(&self) -> PortView {
        PortView {
            id: self.id,
            number: self.number,
            bridge: self.bridge,
            name: Arc::clone(&self.name),
            vlan: vlan_mode(&self.vlan),
            flags: self.flags,
            is_up: self.why_down().is_none(),
        }
    }

    /// Why it carries no packets, if it does not.
    pub fn why_down(&self) -> Option<String> {
        match &self.port {
            Ok(_) if self.flags.down => Some("`ofctl mod-port` has set it down".to_owned()),
            Ok(port) => port.why_down(),
            Err(reason) => Some(reason.clone()),
        }
    }

    /// What was lost below us, as the kernel tells it.
    pub fn lost(&self) -> PortCounters {
        let (before, now) = (&self.lost_before, self.port.as_ref().map(|port| port.counters()));
        let now = now.unwrap_or_default();
        PortCounters {
            rx_ring_full: before.rx_ring_full + now.rx_ring_full,
            rx_dropped: before.rx_dropped + now.rx_dropped,
            rx_invalid: before.rx_invalid + now.rx_invalid,
            rx_no_frames: before.rx_no_frames + now.rx_no_frames,
            tx_invalid: before.tx_invalid + now.tx_invalid,
        }
    }

    /// Whether it stands on this interface, or would.
    fn is_on(&self, interface: &str) -> bool {
        matches!(self.kind, PortKind::Afxdp(_) | PortKind::Pod(_)) && *self.name == *interface
    }
}

/// A receive queue and the worker that polls it.
#[derive(Debug)]
pub struct Assigned {
    /// The queue's number within its port.
    pub number: u32,
    /// The worker.
    pub worker: usize,
    busy_ns: Arc<Counter>,
    /// The time and `busy_ns` some seconds ago, and some more seconds ago.
    samples: [(Duration, u64); 2],
}

impl Assigned {
    fn new(number: u32, worker: usize, now: Duration) -> Self {
        Self { number, worker, busy_ns: Arc::default(), samples: [(now, 0); 2] }
    }

    /// Takes a sample, if the last one is old enough.
    fn sample(&mut self, now: Duration) {
        const WINDOW: Duration = Duration::from_secs(5);
        if now.saturating_sub(self.samples[1].0) >= WINDOW {
            self.samples = [self.samples[1], (now, self.busy_ns.get())];
        }
    }

    /// The share of its worker's time that went to its packets of late, in thousandths.
    pub fn load(&self, now: Duration) -> u16 {
        let (then, before) = self.samples[0];
        let busy = Duration::from_nanos(self.busy_ns.get().saturating_sub(before));
        let share = busy.as_nanos() * 1000 / now.saturating_sub(then).as_nanos().max(1);
        u16::try_from(share.min(1000)).unwrap_or(1000)
    }
}

fn vlan_mode(vlan: &PortVlan) -> VlanMode {
    match vlan {
        PortVlan::All => VlanMode::Trunk(Vec::new()),
        PortVlan::Access(vid) => VlanMode::Access((*vid).into()),
        PortVlan::Trunk(vids) => VlanMode::Trunk(vids.iter().map(|vid| (*vid).into()).collect()),
    }
}

/// All ports, by their switch-wide numbers.
#[derive(Default)]
pub struct Ports {
    entries: BTreeMap<PortId, Entry>,
}

impl Ports {
    /// Most ports of a switch.
    pub const MOST: u16 = 4096;

    /// The lowest number that no port has; 0 is none's.
    pub fn free_id(&self) -> Option<PortId> {
        (1..Self::MOST).map(PortId).find(|id| !self.entries.contains_key(id))
    }

    /// All ports.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The ports of one bridge.
    pub fn of(&self, bridge: BridgeId) -> impl Iterator<Item = &Entry> {
        self.iter().filter(move |entry| entry.bridge == bridge)
    }

    /// A port.
    pub fn get(&self, id: PortId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// A port, to be changed.
    pub fn get_mut(&mut self, id: PortId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// The port of this name.
    pub fn named(&self, bridge: BridgeId, name: &str) -> Option<&Entry> {
        self.of(bridge).find(|entry| *entry.name == *name)
    }

    /// Adds a port.
    pub fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.id, entry);
    }

    /// Removes a port.
    pub fn remove(&mut self, id: PortId) -> Option<Entry> {
        self.entries.remove(&id)
    }

    /// Opens the device of a port and hands its ends to the workers.
    pub fn open(
        &mut self,
        id: PortId,
        depot: &Arc<Depot>,
        crew: &Crew,
        now: Duration,
    ) -> Result<(), String> {
        let loads = self.loads(crew.members().len());
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        let spec = hw::PortSpec { id, kind: kind_of(entry) };
        let context =
            hw::Context { depot: Arc::clone(depot), generation: crew.generation().cloned() };
        let in_words = |error: hw::Error| error.to_string();
        let mut port = hw::open(&spec, &context).map_err(in_words)?;
        let mut ways_out = Vec::new();
        for _ in crew.members() {
            ways_out.push(port.tx_queue().map_err(in_words)?);
        }
        hand_out(entry, &mut *port, ways_out, loads, (crew, now));
        if !entry.egress.is_empty() {
            crew.order_queues(id, |worker| entry.egress.queues(worker), depot);
        }
        entry.port = Ok(port);
        Ok(())
    }

    /// How many queues each worker polls.
    fn loads(&self, workers: usize) -> Vec<usize> {
        let mut loads = vec![0; workers];
        for queue in self.iter().flat_map(|entry| &entry.queues) {
            loads[queue.worker] += 1;
        }
        loads
    }

    /// Closes the device of a port, which then does not work for `reason`. With `release`, what
    /// would outlive us is taken off its interfaces.
    pub fn close(&mut self, id: PortId, reason: String, release: bool, crew: &mut Crew) {
        let late = crew.leave(id);
        if !late.is_empty() {
            tracing::warn!(port = %id, workers = ?late, "workers still hold ends of the port");
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.queues.clear();
        if let Ok(port) = &mut entry.port
            && release
            && let Err(error) = port.release()
        {
            tracing::warn!(port = %entry.name, %error, "the port leaves something behind");
        }
        entry.lost_before = entry.lost();
        entry.port = Err(reason);
    }

    /// Notes how busy each queue is by now.
    pub fn sample(&mut self, now: Duration) {
        self.entries
            .values_mut()
            .flat_map(|entry| &mut entry.queues)
            .for_each(|queue| queue.sample(now));
    }

    /// The ports that stand on interface `ifindex`.
    pub fn on_interface(&self, ifindex: u32) -> Vec<PortId> {
        let is_on = |entry: &&Entry| {
            entry.port.as_ref().is_ok_and(|port| port.interfaces().contains(&ifindex))
        };
        self.iter().filter(is_on).map(|entry| entry.id).collect()
    }

    /// The ports that wait for an interface of this name.
    pub fn waiting_for(&self, interface: &str) -> Vec<PortId> {
        let waits = |entry: &&Entry| entry.port.is_err() && entry.is_on(interface);
        self.iter().filter(waits).map(|entry| entry.id).collect()
    }

    /// Lets a port look at its interfaces anew and tells the workers what it can do now; or the
    /// reason why it can no longer work.
    pub fn refresh(&mut self, id: PortId, crew: &Crew) -> Result<(), hw::Error> {
        let Some(Entry { port: Ok(port), .. }) = self.entries.get_mut(&id) else { return Ok(()) };
        port.refresh()?;
        let capabilities = port.capabilities();
        for worker in 0..crew.members().len() {
            crew.order(worker, vec![Order::Change(id, capabilities.clone())]);
        }
        Ok(())
    }
}

/// Gives every worker a way out, and each queue to the worker that polls the fewest.
fn hand_out(
    entry: &mut Entry,
    port: &mut dyn Port,
    ways_out: Vec<Box<dyn hw::TxQueue>>,
    mut loads: Vec<usize>,
    (crew, now): (&Crew, Duration),
) {
    let capabilities = port.capabilities();
    for (worker, queue) in ways_out.into_iter().enumerate() {
        let account = Arc::clone(&entry.accounts[worker]);
        let capabilities = capabilities.clone();
        crew.order(worker, vec![Order::Send { port: entry.id, queue, capabilities, account }]);
    }
    entry.queues.clear();
    for (number, queue) in (0..).zip(port.rx_queues()) {
        let Some(worker) = (0..loads.len()).min_by_key(|worker| loads[*worker]) else { return };
        loads[worker] += 1;
        let assigned = Assigned::new(number, worker, now);
        let busy_ns = Arc::clone(&assigned.busy_ns);
        entry.queues.push(assigned);
        let order = Order::Receive {
            port: entry.id,
            number,
            queue,
            unmarked_partial: capabilities.unmarked_partial,
            account: Arc::clone(&entry.accounts[worker]),
            busy_ns,
        };
        crew.order(worker, vec![order]);
    }
}

/// A port's description in the words of `hw`.
fn kind_of(entry: &Entry) -> hw::PortKind {
    let interface = || entry.name.to_string();
    match &entry.kind {
        PortKind::Afxdp(options) => {
            let mut wanted = AfXdpOptions::new(&entry.name);
            wanted.bind = match options.mode {
                AfxdpMode::Auto => BindPreference::Best,
                AfxdpMode::Native => BindPreference::Native,
                AfxdpMode::Generic => BindPreference::Generic,
            };
            wanted.queues = options.queues;
            wanted.when_away = match options.when_away {
                WhenAway::Drop => hw::WhenAway::Drop,
                WhenAway::Pass => hw::WhenAway::Pass,
            };
            hw::PortKind::AfXdp(wanted)
        }
        PortKind::Pod(_) => hw::PortKind::Pod(hw::PodOptions::new(&entry.name)),
        PortKind::Internal(options) => hw::PortKind::Internal(hw::InternalOptions {
            mtu: options.mtu.unwrap_or(1500),
            mac: options.mac,
            ..hw::InternalOptions::new(&interface())
        }),
        PortKind::Pcap(options) => hw::PortKind::Pcap(hw::PcapOptions {
            receive: options.rx.clone(),
            repeat: options.repeat,
            send: options.tx.clone(),
            limit: options.limit,
        }),
        PortKind::Null(_) => hw::PortKind::Null,
        PortKind::Dummy(_) => match &entry.dummy {
            Some(handle) => hw::PortKind::Dummy(handle.clone()),
            None => hw::PortKind::Null,
        },
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|entry| (entry.id, &entry.name))).finish()
    }
}
