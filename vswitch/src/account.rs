//! The accounts: what became of every packet, by the port it came in by.
//!
//! For each port, always:
//!
//! ```text
//! rx + copied + generated + split = tx + dropped (by reason) + consumed + merged + held
//! ```
//!
//! Every number is counted where the thing happens, none is computed from others. Each worker has
//! its own accounts and is their only writer; readers add up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use api::DropReason;

const REASONS: usize = DropReason::ALL.len();

/// A counter with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. For its one writer alone: a load and a store, nothing that locks.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    /// Takes from it, if it counts what is there now. For its one writer alone.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) - n, Relaxed);
    }

    /// Gives it a value that is kept elsewhere. For its one writer alone.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What became of the packets that came in by one port, as one worker has seen it; and what it sent
/// there.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Account {
    /// Packets received.
    pub rx: Counter,
    /// Their bytes.
    pub rx_bytes: Counter,
    /// Copies made for a second output.
    pub copied: Counter,
    /// Packets beyond the first that a super-frame was cut into.
    pub split: Counter,
    /// Packets that were given to the switch to be sent from here, and not received.
    pub generated: Counter,
    /// Packets that ended without being sent or dropped: of which copies went on, or which were
    /// shown to whoever watches.
    pub consumed: Counter,
    /// Packets of this account sent, by whatever port.
    pub tx: Counter,
    /// Packets of this account that wait now: in an egress queue, or for the rest of their datagram.
    pub held: Counter,
    /// Packets dropped, by reason.
    dropped: Dropped,
    /// Packets sent out by this port, wherever they came from.
    pub out: Counter,
    /// Their bytes.
    pub out_bytes: Counter,
}

/// A counter for each reason.
#[derive(Debug)]
struct Dropped([Counter; REASONS]);

impl Default for Dropped {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Account {
    /// The packets dropped for a reason.
    #[inline]
    pub const fn dropped(&self, reason: DropReason) -> &Counter {
        &self.dropped.0[reason as usize]
    }

    /// Reasons that have dropped packets, and how many.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        let all = DropReason::ALL.iter().map(|reason| (*reason, self.dropped(*reason).get()));
        all.filter(|(_, packets)| *packets > 0)
    }

    /// Both sides of the equation; nothing is merged yet.
    pub fn balance(&self) -> (u64, u64) {
        let sum = |counters: &[&Counter]| counters.iter().map(|counter| counter.get()).sum::<u64>();
        let dropped: u64 = self.dropped.0.iter().map(Counter::get).sum();
        let came = sum(&[&self.rx, &self.copied, &self.generated, &self.split]);
        (came, sum(&[&self.tx, &self.consumed, &self.held]) + dropped)
    }
}
