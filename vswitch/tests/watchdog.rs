//! A worker that does not come back from a port is named, and nobody waits for it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what a test's helpers cannot do fails the test"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use flowtable::{Limits, Tables};
use hw::{RxQueue, Wake};
use packet::{Batch, Depot, FramePool, Memory, PortId, Seed};
use vswitch::account::Account;
use vswitch::clock::Clock;
use vswitch::crew::{Common, Crew};
use vswitch::desk::Order;
use vswitch::watchdog::{Stuck, Watchdog};

/// Says that it is being served, and then does not come back until it is told to.
struct Tar {
    entered: Sender<()>,
    leave: Receiver<()>,
}

impl RxQueue for Tar {
    fn rx(&mut self, _: &mut Batch, _: usize, _: &mut FramePool) {
        // Whoever told or listened may have gone: then the test is over.
        let _ = self.entered.send(());
        let _ = self.leave.recv();
    }
    fn wake(&self) -> Wake<'_> {
        Wake::Always
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

const PORT: PortId = PortId(7);

fn crew() -> Crew {
    let common = Common {
        depot: Depot::new(Memory::heap(256)),
        clock: Clock::start(),
        limits: Limits { megaflows: 64, ..Limits::default() },
        sessions: 0,
        busy_poll: false,
        generation: None,
        connections: 64,
    };
    Crew::start(&[None, None], Tables::new(Seed(1)), &common).unwrap()
}

#[test]
fn a_worker_that_does_not_come_back_is_named_once() {
    let mut crew = crew();
    let ((entered, is_in), (let_go, leave)) = (channel(), channel());
    let receive = Order::Receive {
        port: PORT,
        number: 0,
        queue: Box::new(Tar { entered, leave }),
        unmarked_partial: false,
        account: Arc::new(Account::default()),
        busy_ns: Arc::default(),
    };
    crew.order(1, vec![receive]);
    is_in.recv().unwrap();
    // The other one has nothing to do, but may not have found out yet.
    while !crew.members()[0].desk.asleep.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
    }

    let (mut watchdog, second) = (Watchdog::default(), Duration::from_secs(1));
    assert!(Watchdog::is_needed(crew.members()));
    assert_eq!(watchdog.look(crew.members(), 10 * second), [], "nobody knows yet");
    assert_eq!(watchdog.look(crew.members(), 10 * second + second / 2), [], "too early");
    let stuck = Stuck { worker: 1, port: PORT, length: 2 * second };
    assert_eq!(watchdog.look(crew.members(), 12 * second), [stuck]);
    assert_eq!(watchdog.look(crew.members(), 13 * second), [], "it was said");

    // New tables are published, though not to that one; and it is waited for once only.
    let tables = || Tables::new(Seed(1));
    let begin = Instant::now();
    assert_eq!(crew.publish(tables()), [1]);
    let waited = begin.elapsed();
    assert_eq!(crew.publish(tables()), [1]);
    assert!(begin.elapsed() < waited + waited / 2, "waited {waited:?}, then too long again");

    // It comes back, and is stuck again: that is news.
    let_go.send(()).unwrap();
    is_in.recv().unwrap();
    assert_eq!(watchdog.look(crew.members(), 14 * second), []);
    assert_eq!(watchdog.look(crew.members(), 16 * second), [stuck]);
    drop(let_go);
    crew.stop();
}
