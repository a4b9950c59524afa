//! A worker in this process, whose turns are told what time it is.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use api::{FlowMod, PortFlags};
use conntrack::Connections;
use flowtable::{PortView, Tables, VlanMode, paths};
use hw::{Null, Pcap, PcapOptions, Port as _, RxQueue, Wake};
use packet::{Batch, Chainer, Depot, FramePool, HEADROOM, Memory, Millis, PortId, Seed};
use vswitch::account::Account;
use vswitch::clock::Clock;
use vswitch::counters::WorkerCounters;
use vswitch::desk::{Desk, Order};
use vswitch::publish::Publication;
use vswitch::tracking::Tracker;
use vswitch::worker::{Setup, Worker};

use crate::clock;
use crate::harness::conntrack::lives::{self, LIMITS};

const SEED: Seed = Seed(9);
/// As many as there are if nothing is said.
const FRAMES: u32 = 16_384;
/// The ports: where all packets go, where those come from whose connections expire, and the others.
const OUT: PortId = PortId(2);
const NEW: PortId = PortId(lives::NEW.1);
const OLD: PortId = PortId(5);
/// When the first connection begins: far behind what the clock of the process says. So a worker that
/// reads it finds that nothing takes any time, and never that something has taken too much.
const START: Duration = Duration::from_secs(1_000_000);

/// How often turns are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pace {
    /// One a millisecond.
    Slow,
    /// Several.
    Brisk,
    /// The same, but for some milliseconds of each second in which there is none: behind them most is due.
    Jerky,
}

impl Pace {
    /// Of several a millisecond.
    const TURNS: u32 = 4;
    /// How long there is none: then much more is due than is done in one turn or two.
    const GAP: std::ops::Range<u64> = 500..515;

    /// How many in this millisecond.
    fn turns(self, millis: u64) -> u32 {
        match self {
            Self::Slow => 1,
            Self::Jerky if Self::GAP.contains(&(millis % 1000)) => 0,
            Self::Brisk | Self::Jerky => Self::TURNS,
        }
    }
}

/// What a turn was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Turn {
    pub(super) nanos: u64,
    /// Connections that have expired in it.
    pub(super) gone: u64,
}

/// A switch with one worker.
#[derive(Debug)]
pub(super) struct Switch {
    worker: Worker,
    desk: Arc<Desk>,
    connections: Arc<Connections>,
    /// Milliseconds since the start.
    now: u64,
}

impl Switch {
    /// With tables like those of a `vswitchd` with the same limits.
    pub(super) fn new() -> Result<Self> {
        let limits =
            flowtable::Limits { megaflows: LIMITS.megaflows, ..flowtable::Limits::default() };
        let connections = Arc::new(Connections::new(LIMITS.connections, 1, SEED));
        let desk = Arc::new(Desk::new()?);
        let worker = Worker::new(Setup {
            desk: Arc::clone(&desk),
            tables: Arc::new(Publication::new(Arc::new(tables()?))),
            depot: Depot::new(Memory::heap(FRAMES)),
            paths: paths(limits.megaflows, SEED).0,
            counters: Arc::new(WorkerCounters::default()),
            clock: Clock::start(),
            limits,
            sessions: LIMITS.sessions,
            busy_poll: true,
            cpu: None,
            generation: None,
            teller: vswitch::news::news().0,
            tracker: Tracker::new(Arc::clone(&connections), 0),
        })?;
        let (mut out, account) = (Null::new(), Arc::new(Account::default()));
        let (queue, capabilities) = (out.tx_queue()?, out.capabilities());
        desk.order([Order::Send { port: OUT, queue, capabilities, account }]);
        Ok(Self { worker, desk, connections, now: 0 })
    }

    /// Has it receive from a port.
    fn plug(&self, port: PortId, queue: Box<dyn RxQueue>) {
        let (account, busy_ns) = (Arc::new(Account::default()), Arc::default());
        let (number, unmarked_partial) = (0, false);
        let receive = Order::Receive { port, number, queue, unmarked_partial, account, busy_ns };
        self.desk.order([receive]);
    }

    /// Gives it packets, each once, within a second.
    pub(super) fn begin(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        let frames: VecDeque<_> = frames.iter().cloned().collect();
        self.plug(NEW, Box::new(Once(frames)));
        self.take_turns(1, Pace::Brisk);
        self.desk.order([Order::Leave(NEW)]);
        Ok(())
    }

    /// From here on a full batch of packets of a file always waits.
    pub(super) fn receive(&mut self, file: &Path) -> Result<()> {
        let from =
            PcapOptions { receive: Some(file.into()), repeat: true, ..PcapOptions::default() };
        let queue = Pcap::open(&from, OLD)?.rx_queues().pop().context("a file without packets")?;
        self.plug(OLD, queue);
        Ok(())
    }

    /// Takes turns until so many seconds are over since the start.
    pub(super) fn take_turns(&mut self, seconds: u64, pace: Pace) -> Vec<Turn> {
        let (mut turns, end) = (Vec::with_capacity(1 << 16), 1000 * seconds);
        let mut gone = self.expired();
        for millis in self.now..end {
            let count = pace.turns(millis);
            for n in 0..count {
                let now =
                    START + Duration::from_millis(millis) + Duration::from_millis(1) * n / count;
                let begun = clock::now_ns();
                self.worker.turn(now);
                let nanos = clock::now_ns().saturating_sub(begun);
                let before = std::mem::replace(&mut gone, self.expired());
                turns.push(Turn { nanos, gone: gone - before });
            }
        }
        self.now = end;
        self.desk.take_returned();
        turns
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many have expired.
    pub(super) fn expired(&self) -> u64 {
        self.connections.stats().expired
    }
}

/// Its bridge, and the flows of `vswitchd` there.
fn tables() -> Result<Tables> {
    let most = usize::try_from(LIMITS.flows)?;
    let mut edit = Tables::new(SEED).with_table_limit(most).edit();
    let bridge = edit.add_bridge("br0".into()).context("no bridge")?;
    for id in [OUT, NEW, OLD] {
        let (vlan, name) = (VlanMode::Trunk(Vec::new()), format!("p{id}").into());
        let flags = PortFlags::default();
        let port = PortView { id, number: id.0, bridge, name, vlan, flags, is_up: true };
        edit.set_port(port).context("no port")?;
    }
    for flow in lives::flows() {
        edit.flow_mod(bridge, &flow.parse::<FlowMod>()?, Millis(1))?;
    }
    Ok(edit.finish().0)
}

/// Receives each packet once.
#[derive(Debug)]
struct Once(VecDeque<Vec<u8>>);

impl RxQueue for Once {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        while batch.len() < limit
            && let Some(bytes) = self.0.pop_front()
        {
            batch.extend(Chainer::copy_of(&bytes, HEADROOM, NEW, pool));
        }
    }

    fn wake(&self) -> Wake<'_> {
        Wake::Always
    }

    fn syscalls(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::beginnings;

    #[test]
    fn a_second_has_a_gap_in_which_much_becomes_due() {
        let turns = |pace: Pace| (3000..4000).map(|millis| pace.turns(millis)).sum::<u32>();
        assert_eq!([Pace::Slow, Pace::Brisk, Pace::Jerky].map(turns), [1000, 4000, 3940]);
        assert_eq!([499, 500, 514, 515].map(|millis| Pace::Jerky.turns(millis)), [4, 0, 0, 4]);
    }

    #[test]
    fn all_that_begin_expire_behind_their_time() {
        let mut switch = Switch::new().unwrap();
        switch.begin(&beginnings::datagrams(0..700, true)).unwrap();
        assert_eq!((switch.connections(), switch.expired()), (700, 0));
        switch.take_turns(29, Pace::Slow);
        assert_eq!(switch.expired(), 0);
        let turns = switch.take_turns(43, Pace::Jerky);
        assert_eq!((switch.connections(), switch.expired()), (0, 700));
        assert_eq!(turns.iter().map(|turn| turn.gone).sum::<u64>(), 700);
    }
}
