//! The last packets that a worker has dropped, by the port they came in by: kept for whoever asks
//! why, whether or not somebody captured at the time.
//!
//! Noting a drop copies the packet's head and a few numbers into a slot that is there already: no
//! allocation, no lock. Of a flood only the first drops of each batch are noted, and how many there
//! were between them. Cost: some 20 ns for a drop that is noted; 4 ns each when a whole batch is
//! dropped.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use api::DropReason;
use flowtable::Step;
use packet::{Memory, Packet, PortId};

/// Bytes of a packet that are kept: all headers of nearly every one.
const HEAD: usize = 128;
/// Flows that are kept of what a packet has passed.
const RULES: usize = 8;
/// Drops that are noted of one batch.
const NOTED: usize = 16;

/// A packet that was dropped.
#[derive(Clone, Copy, Debug)]
pub struct LastDrop {
    /// The port it came in by.
    pub port: PortId,
    /// When its batch was received.
    pub time: Duration,
    /// Why it was dropped.
    pub reason: DropReason,
    /// How long it was.
    pub len: u32,
    /// Drops between the one before and this one, which were not noted.
    pub between: u32,
    rules: Rules,
    kept: u8,
    head: [u8; HEAD],
}

impl LastDrop {
    const EMPTY: Self = Self {
        port: PortId(0),
        time: Duration::ZERO,
        reason: DropReason::TableMiss,
        len: 0,
        between: 0,
        rules: Rules { count: 0, ids: [0; RULES] },
        kept: 0,
        head: [0; HEAD],
    };

    /// Its first bytes, as they were when it was dropped.
    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.kept)]
    }

    /// The numbers of the last flows it had passed, as far as that was known.
    pub fn rules(&self) -> &[u64] {
        let kept = RULES.min(usize::from(self.rules.count));
        &self.rules.ids[RULES - kept..]
    }

    /// How many it had passed before those.
    pub fn earlier(&self) -> u32 {
        let kept = u32::try_from(self.rules().len()).unwrap_or(0);
        u32::from(self.rules.count) - kept
    }
}

/// The last flows of a path.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    /// How many flows the path has.
    count: u16,
    /// The last of them, at the end.
    ids: [u64; RULES],
}

/// The last drops of one port.
#[derive(Debug)]
struct Ring {
    slots: Box<[LastDrop; LastDrops::KEPT]>,
    /// Drops noted so far.
    noted: usize,
    /// Drops since the last one that was noted.
    between: u32,
}

/// The last drops of one worker.
#[derive(Debug, Default)]
pub struct LastDrops {
    /// By the switch-wide number of the port.
    ports: Vec<Option<Ring>>,
    /// How many of those there are.
    rings: usize,
    now: Duration,
    /// Drops noted of this batch.
    noted: usize,
    /// What packets of this batch have passed that will be dropped, in order: each by its frame.
    passing: [(u32, Rules); NOTED],
    /// The first of those that has not been dropped yet, and the end.
    next: usize,
    end: usize,
}

impl LastDrops {
    /// Drops that are kept of each port.
    pub const KEPT: usize = 64;

    /// Keeps the last drops of a port from now on. Allocates: for the moment of a change.
    pub fn add(&mut self, port: PortId) {
        let at = usize::from(port.0);
        while self.ports.len() <= at {
            self.ports.push(None);
        }
        if self.ports[at].is_none() {
            let slots = Box::new([LastDrop::EMPTY; Self::KEPT]);
            self.ports[at] = Some(Ring { slots, noted: 0, between: 0 });
            self.rings += 1;
        }
    }

    /// Forgets those of a port.
    pub fn remove(&mut self, port: PortId) {
        let ring = self.ports.get_mut(usize::from(port.0)).and_then(Option::take);
        self.rings -= usize::from(ring.is_some());
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.rings * size_of::<[LastDrop; Self::KEPT]>()
    }

    /// A batch begins.
    #[inline]
    pub fn begin(&mut self, now: Duration) {
        self.now = now;
        (self.noted, self.next, self.end) = (0, 0, 0);
    }

    /// A packet that will be dropped has passed this.
    pub fn passed(&mut self, packet: &Packet, steps: impl DoubleEndedIterator<Item = Step>) {
        let Some((frame, rules)) = self.passing.get_mut(self.end) else { return };
        self.end += 1;
        *frame = packet.frame().index();
        rules.count = 0;
        let mut places = rules.ids.iter_mut().rev();
        for step in steps.rev() {
            let Step::Rule(id) = step else { continue };
            rules.count = rules.count.saturating_add(1);
            if let Some(place) = places.next() {
                *place = id.0;
            }
        }
    }

    /// A packet is dropped.
    pub fn note(&mut self, reason: DropReason, packet: &Packet, memory: &Memory) {
        let rules = self.take_passed(packet);
        let ring = self.ports.get_mut(usize::from(packet.ingress.0));
        let Some(ring) = ring.and_then(Option::as_mut) else { return };
        if self.noted >= NOTED {
            ring.between = ring.between.saturating_add(1);
            return;
        }
        self.noted += 1;
        let slot = &mut ring.slots[ring.noted % Self::KEPT];
        ring.noted += 1;
        let head = packet.head(memory);
        let kept = head.len().min(HEAD);
        slot.head[..kept].copy_from_slice(&head[..kept]);
        slot.kept = u8::try_from(kept).unwrap_or(0);
        slot.port = packet.ingress;
        slot.time = self.now;
        slot.reason = reason;
        slot.len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        slot.between = std::mem::take(&mut ring.between);
        slot.rules = rules;
    }

    /// What this packet has passed, if it is the next of which that is known.
    #[inline]
    fn take_passed(&mut self, packet: &Packet) -> Rules {
        match self.passing.get(self.next) {
            Some((frame, rules)) if self.next < self.end && *frame == packet.frame().index() => {
                self.next += 1;
                *rules
            }
            _ => Rules::default(),
        }
    }

    /// The last drops of one port, or of all, each port's from the oldest on.
    fn of(&self, port: Option<PortId>) -> Vec<LastDrop> {
        let rings = self.ports.iter().zip(0u16..).filter_map(|(ring, number)| {
            ring.as_ref().filter(|_| port.is_none_or(|port| port.0 == number))
        });
        rings.flat_map(Ring::drops).collect()
    }
}

impl Ring {
    fn drops(&self) -> impl Iterator<Item = LastDrop> + '_ {
        let kept = self.noted.min(LastDrops::KEPT);
        (self.noted - kept..self.noted).map(|at| self.slots[at % LastDrops::KEPT])
    }
}

/// A request for the last drops.
#[derive(Debug)]
pub struct DropsRequest {
    /// Of this port alone.
    pub port: Option<PortId>,
    /// Where they go. Whoever waits for them has room for one answer.
    pub reply: SyncSender<Vec<LastDrop>>,
}

impl DropsRequest {
    /// Answers.
    pub fn answer(self, drops: &LastDrops) {
        // Whoever asked may have gone.
        let _ = self.reply.try_send(drops.of(self.port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowtable::RuleId;
    use packet::{Chainer, Depot, FramePool, HEADROOM};

    const PORT: PortId = PortId(3);

    fn packet(pool: &mut FramePool, mark: u8) -> Packet {
        Chainer::copy_of(&[mark; 200], HEADROOM, PORT, pool).unwrap()
    }

    #[test]
    fn the_last_ones_are_kept_and_of_a_flood_the_first_of_each_batch() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(64)));
        let memory = std::sync::Arc::clone(pool.memory());
        let mut drops = LastDrops::default();
        drops.add(PORT);
        for batch in 0..10 {
            drops.begin(Duration::from_secs(batch.into()));
            for _ in 0..100 {
                let packet = packet(&mut pool, batch);
                drops.note(DropReason::TxFull, &packet, &memory);
                packet.free(&mut pool);
            }
        }
        let kept = drops.of(Some(PORT));
        assert_eq!(kept.len(), LastDrops::KEPT);
        let times: Vec<_> = kept.iter().map(|drop| drop.time.as_secs()).collect();
        assert_eq!((times[0], times[63]), (6, 9), "the last four batches");
        for drop in &kept {
            assert_eq!((drop.len, drop.head().len()), (200, HEAD));
            assert_eq!(u64::from(drop.head()[0]), drop.time.as_secs());
        }
        let between: u32 = kept.iter().map(|drop| drop.between).sum();
        assert_eq!(between, 4 * (100 - 16), "so many were passed over");
        assert!(drops.of(Some(PortId(4))).is_empty());
        drops.remove(PORT);
        assert!(drops.of(None).is_empty() && drops.bytes() == 0);
    }

    #[test]
    fn what_a_packet_has_passed_stays_with_it() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(64)));
        let memory = std::sync::Arc::clone(pool.memory());
        let mut drops = LastDrops::default();
        drops.add(PORT);
        drops.begin(Duration::ZERO);
        let packets: Vec<_> = (0..3).map(|mark| packet(&mut pool, mark)).collect();
        let steps = |ids: std::ops::Range<u64>| ids.map(|id| Step::Rule(RuleId(id)));
        drops.passed(&packets[0], steps(1..3));
        drops.passed(&packets[2], steps(5..50));
        // The one between is sent, and finds its port's ring full.
        for packet in packets {
            drops.note(DropReason::FlowDrop, &packet, &memory);
            packet.free(&mut pool);
        }
        let rules: Vec<_> = drops.of(None).iter().map(|drop| drop.rules().to_vec()).collect();
        assert_eq!(rules[..2], [vec![1, 2], vec![]]);
        assert_eq!(rules[2], (50 - RULES as u64..50).collect::<Vec<_>>(), "the last of them");
        let earlier: Vec<_> = drops.of(None).iter().map(LastDrop::earlier).collect();
        assert_eq!(earlier, [0, 0, 37]);
    }
}
