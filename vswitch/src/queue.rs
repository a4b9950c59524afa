//! One egress queue of a port, as one worker has it: packets that wait, and what they wait for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::QueueSettings;
use flowtable::TokenBucket;
use packet::Packet;
use packet::memory::FRAME_SIZE;

use crate::account::{Account, Counter};

/// The rates of a queue, which all workers that send by it keep together.
///
/// A worker *reserves* what the packet at the head of its queue takes, and sends it when that is
/// due. So it cannot take what another one waits for, however often it looks.
#[derive(Debug)]
pub struct Rates {
    max: Option<TokenBucket>,
    min: Option<TokenBucket>,
}

impl Rates {
    /// The rates of a queue that has not sent anything yet.
    pub fn new(settings: &QueueSettings, now: Duration) -> Self {
        let bucket = |rate: u64| TokenBucket::new(rate, burst_bits(settings, rate), now);
        Self { max: settings.max_rate.map(bucket), min: settings.min_rate.map(bucket) }
    }
}

/// What a queue of this rate may send at once: what was set, or enough for a worker that is some
/// milliseconds late, and for a few frames.
fn burst_bits(settings: &QueueSettings, rate: u64) -> u64 {
    const FEW_FRAMES: u64 = 16 << 10;
    settings.burst.map_or_else(|| (rate / 100).max(FEW_FRAMES * 8), |bytes| bytes * 8)
}

/// What a queue has done, as one worker has counted it; a super-frame counts as its segments.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct QueueCounters {
    /// Packets sent.
    pub packets: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Packets dropped because too many waited.
    pub dropped: Counter,
    /// Packets waiting now; a super-frame is one.
    pub waiting: Counter,
    /// Their bytes.
    pub waiting_bytes: Counter,
}

/// What a queue is made of.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its number.
    pub number: u16,
    /// How it was set.
    pub settings: QueueSettings,
    /// Its rates.
    pub rates: Arc<Rates>,
    /// What counts its packets in this worker.
    pub counters: Arc<QueueCounters>,
}

/// A packet that waits, and the account of the port it came in by.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) packet: Packet,
    pub(crate) account: Arc<Account>,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) number: u16,
    rates: Arc<Rates>,
    counters: Arc<QueueCounters>,
    depth: usize,
    depth_bytes: u64,
    waiting: VecDeque<Waiting>,
    bytes: u64,
    /// Bytes it may send in a round.
    quantum: u64,
    /// Bytes it may still send in this round.
    deficit: u64,
    /// Packets at the head that have reserved what they take of the rate.
    reserved: usize,
    /// When the last of these is due.
    due: Duration,
    /// Whether the packet at the head has taken what it takes of the rate that is assured.
    assured: bool,
    /// Packets and bytes sent that are not counted yet.
    sent: (u64, u64),
}

/// How many frames a packet takes, by and large.
pub(crate) const fn frames(packet: &Packet) -> usize {
    1 + packet.len() / FRAME_SIZE
}

impl Queue {
    /// The bytes that a queue of weight one sends in a round: an Ethernet frame.
    pub(crate) const QUANTUM: u64 = 1_514;
    /// Packets that may come back when the port is full, beyond those that may wait.
    pub(crate) const BACK: usize = 128;

    /// An empty queue.
    pub(crate) fn new(part: Part) -> Self {
        let Part { number, settings, rates, counters } = part;
        let depth = usize::try_from(settings.depth).unwrap_or(usize::MAX);
        Self {
            number,
            rates,
            counters,
            depth,
            depth_bytes: settings.depth_bytes.into(),
            waiting: VecDeque::with_capacity(depth + Self::BACK),
            bytes: 0,
            quantum: Self::QUANTUM * u64::from(settings.weight),
            deficit: 0,
            reserved: 0,
            due: Duration::ZERO,
            assured: false,
            sent: (0, 0),
        }
    }

    /// Adds a packet at the tail, unless there is no room or too many wait already; then it comes
    /// back.
    pub(crate) fn push(&mut self, waiting: Waiting, has_room: bool) -> Result<(), Waiting> {
        let bytes = waiting.packet.wire_bytes();
        if !has_room || self.waiting.len() >= self.depth || self.bytes + bytes > self.depth_bytes {
            self.counters.dropped.add(waiting.packet.packets());
            return Err(waiting);
        }
        self.bytes += bytes;
        self.waiting.push_back(waiting);
        Ok(())
    }

    /// Takes the packet at the head.
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        let bytes = waiting.packet.wire_bytes();
        self.bytes -= bytes;
        self.reserved = self.reserved.saturating_sub(1);
        if !std::mem::take(&mut self.assured) {
            self.deficit = self.deficit.saturating_sub(bytes);
        }
        Some(waiting)
    }

    /// Puts a packet back at the head, which its port did not take, and which had gone by the rate that
    /// is assured or in turn; it comes back itself if there is no room.
    pub(crate) fn put_back(&mut self, waiting: Waiting, was_assured: bool) -> Result<(), Waiting> {
        // Never more than there is room for: that would take memory from the allocator.
        if self.waiting.len() >= self.waiting.capacity() {
            return Err(waiting);
        }
        let bytes = waiting.packet.wire_bytes();
        self.bytes += bytes;
        self.reserved += 1;
        match &self.rates.min {
            Some(min) if was_assured => min.give_back(bytes * 8),
            // No more than one turn is worth: it may have been given several, with nobody else there.
            _ => self.deficit = (self.deficit + bytes).min(self.quantum.max(bytes)),
        }
        self.waiting.push_front(waiting);
        Ok(())
    }

    /// The packet at the head.
    pub(crate) fn head(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the packet at the head may go, as far as that is known.
    pub(crate) const fn due(&self) -> Duration {
        self.due
    }

    /// Whether its rate lets the packet at the head go at `now`; if not yet, it is known when.
    pub(crate) fn may_go(&mut self, now: Duration) -> bool {
        if self.reserved == 0
            && let Some(waiting) = self.waiting.front()
        {
            self.reserved = 1;
            let bits = waiting.packet.wire_bytes() * 8;
            let wait = self.rates.max.as_ref().map(|max| max.reserve(bits, bits, now));
            self.due = now + wait.unwrap_or_default();
        }
        self.due <= now
    }

    /// Whether the packet at the head goes before others, by the rate that is assured: if so, it has
    /// taken its part of that.
    pub(crate) fn claim_assured(&mut self, now: Duration) -> bool {
        if let Some(min) = &self.rates.min
            && let Some(waiting) = self.waiting.front()
            && !self.assured
        {
            // Of a super-frame, the first segment; it owes the others.
            let bits = waiting.packet.wire_bytes() * 8;
            self.assured = min.take(bits, bits.div_ceil(waiting.packet.packets()), now);
        }
        self.assured
    }

    /// Whether the packet at the head has done so.
    pub(crate) const fn is_assured(&self) -> bool {
        self.assured
    }

    /// Whether a rate is assured at all.
    pub(crate) fn has_assured_rate(&self) -> bool {
        self.rates.min.is_some()
    }

    /// Its turn comes: it may send a quantum more.
    pub(crate) const fn begin_turn(&mut self) {
        self.deficit += self.quantum;
    }

    /// It has nothing to send for now, and keeps no right to send more later.
    pub(crate) const fn end_turn(&mut self) {
        self.deficit = 0;
    }

    /// Whether the packet at the head fits what it may still send in this turn.
    pub(crate) fn fits_turn(&self) -> bool {
        self.waiting.front().is_some_and(|waiting| waiting.packet.wire_bytes() <= self.deficit)
    }

    /// Notes a packet that the port is given.
    #[inline]
    pub(crate) const fn given(&mut self, packet: &Packet) {
        self.sent.0 += packet.packets();
        self.sent.1 += packet.wire_bytes();
    }

    /// Notes that the port refused one of these.
    #[inline]
    pub(crate) const fn refused(&mut self, packet: &Packet) {
        self.sent.0 -= packet.packets();
        self.sent.1 -= packet.wire_bytes();
    }

    /// Brings the counters up to date.
    pub(crate) fn report(&mut self) {
        let (packets, bytes) = std::mem::take(&mut self.sent);
        self.counters.packets.add(packets);
        self.counters.bytes.add(bytes);
        self.counters.waiting.set(self.waiting.len() as u64);
        self.counters.waiting_bytes.set(self.bytes);
    }
}
