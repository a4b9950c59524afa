//! The short-cuts of one pod's packets: which flows have one, and what they have carried.
//!
//! A flow between two pods whose program does nothing but send may take the short-cut that the
//! kernel has for it ([`hw::shortcut`]). It is offered one when its packets come here for the second
//! time; from then on they no longer do. What they would have counted here is settled from the
//! kernel's counts: now and then, and whenever somebody is about to look.

use flowtable::{Cache, Found, Millis, PathId, ProgramId};
use hw::shortcut::{Carried, Flow, Table, Target};
use packet::PortId;

use crate::account::Account;
use crate::outputs::Outputs;

/// A flow that could have a short-cut. It counts among the users of its program and path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proposal {
    pub(crate) flow: Flow,
    /// What the cache says of it.
    pub(crate) program: ProgramId,
    pub(crate) path: PathId,
    /// The port that its packets are sent to.
    pub(crate) port: PortId,
}

impl Proposal {
    /// What was found for `flow`, if a cache entry knows.
    pub(crate) const fn new(flow: Flow, found: Found, port: PortId) -> Option<Self> {
        match found {
            Found::Cached(program, path) => Some(Self { flow, program, path, port }),
            Found::Once => None,
        }
    }
}

/// A slot in use.
#[derive(Debug)]
struct Entry {
    flow: Flow,
    program: ProgramId,
    path: PathId,
    port: PortId,
    /// What has been settled.
    settled: Carried,
    /// When something was settled last.
    used: Millis,
    /// Since when it is no short-cut any more.
    ended: Option<Millis>,
}

/// The short-cuts of one queue's packets.
#[derive(Debug)]
pub(crate) struct ShortCuts {
    table: Table,
    entries: Box<[Option<Entry>]>,
    /// The slots in use.
    used: Vec<usize>,
    /// The tags of flows that were proposed, each where its hash leads.
    seen: Box<[u16]>,
    /// The processor of this worker, which may take over the kernel's work.
    cpu: Option<usize>,
    /// When all were settled last.
    settled: Millis,
}

/// What short-cuts have done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ShortCutStats {
    /// Frames carried.
    pub(crate) frames: u64,
    /// Short-cuts made.
    pub(crate) made: u64,
}

impl ShortCuts {
    /// Milliseconds without a packet after which a short-cut ends.
    const IDLE: u64 = 10_000;
    /// Milliseconds after the end of a short-cut until its slot may have another: by then no
    /// program is in the middle of using it.
    const GRACE: u64 = 1_000;
    /// Frames a second at which another processor takes over, and at which it is left alone again.
    const BUSY: u64 = 200_000;
    const CALM: u64 = 100_000;

    /// None yet, for a worker on `cpu`.
    pub(crate) fn new(table: Table, cpu: Option<usize>) -> Self {
        Self {
            table,
            entries: (0..Table::SLOTS).map(|_| None).collect(),
            used: Vec::with_capacity(Table::SLOTS),
            seen: vec![0; 4 * Table::SLOTS].into_boxed_slice(),
            cpu,
            settled: Millis(0),
        }
    }

    /// How many slots are in use.
    pub(crate) const fn len(&self) -> usize {
        self.used.len()
    }

    /// Makes a short-cut of a proposal, as was right at `generation`; or renews the one there is.
    /// Answers whether it has; if so, program and path have the short-cut as their user now.
    pub(crate) fn take_up(
        &mut self,
        proposal: &Proposal,
        target: Target,
        generation: u32,
        cache: &mut Cache,
        (now, account, outputs): (Millis, &Account, &mut Outputs),
    ) -> bool {
        let Proposal { flow, program, path, port } = *proposal;
        let places = Table::places(&flow);
        let is_its = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.flow == flow);
        if let Some(slot) = places.clone().find(|slot| is_its(&self.entries[*slot])) {
            if self.has_ended(slot) || self.table.is_right(slot) {
                return false;
            }
            self.settle(slot, cache, (now, account, outputs));
            if let Some(entry) = &mut self.entries[slot] {
                cache.release(entry.program, entry.path);
                (entry.program, entry.path, entry.port) = (program, path, port);
            }
            self.table.renew(slot, target, generation);
            return true;
        }
        if !self.is_seen_again(&flow) {
            return false;
        }
        let Some(slot) = places.clone().find(|slot| self.entries[*slot].is_none()) else {
            self.end_oldest(places, now);
            return false;
        };
        let settled = self.table.carried(slot);
        self.entries[slot] =
            Some(Entry { flow, program, path, port, settled, used: now, ended: None });
        self.used.push(slot);
        self.table.begin(slot, &flow, target, generation);
        true
    }

    fn has_ended(&self, slot: usize) -> bool {
        self.entries[slot].as_ref().is_none_or(|entry| entry.ended.is_some())
    }

    /// Whether a flow was proposed before; from now on it was.
    fn is_seen_again(&mut self, flow: &Flow) -> bool {
        let hash = flow.hash();
        let at = usize::try_from(hash & 0xffff_ffff).unwrap_or(0) % self.seen.len();
        let tag = u16::try_from(hash >> 32 & 0xffff).unwrap_or(0) | 1;
        std::mem::replace(&mut self.seen[at], tag) == tag
    }

    /// Makes room among these, for the next time.
    fn end_oldest(&mut self, places: std::ops::Range<usize>, now: Millis) {
        let used = |slot: &usize| self.entries[*slot].as_ref().map(|entry| entry.used);
        let waits = places.clone().any(|slot| self.has_ended(slot));
        let Some(oldest) = places.min_by_key(used).filter(|_| !waits) else { return };
        if used(&oldest).is_some_and(|used| now.since(used) >= Self::GRACE) {
            self.end(oldest, now);
        }
    }

    fn end(&mut self, slot: usize, now: Millis) {
        self.table.end(slot);
        if let Some(entry) = &mut self.entries[slot] {
            entry.ended = Some(now);
        }
    }

    /// Credits all that was carried since the last time; answers how many frames. Ends what has
    /// carried nothing for long.
    pub(crate) fn settle_all(
        &mut self,
        cache: &mut Cache,
        (now, account, outputs): (Millis, &Account, &mut Outputs),
    ) -> u64 {
        let mut frames = 0;
        for at in (0..self.used.len()).rev() {
            let slot = self.used[at];
            frames += self.settle(slot, cache, (now, account, outputs));
            let Some(entry) = &self.entries[slot] else { continue };
            match entry.ended {
                Some(ended) if now.since(ended) >= Self::GRACE => {
                    cache.release(entry.program, entry.path);
                    self.entries[slot] = None;
                    self.used.swap_remove(at);
                }
                None if now.since(entry.used) >= Self::IDLE => self.end(slot, now),
                _ => {}
            }
        }
        self.steer(frames, now);
        frames
    }

    /// Has the worker's processor share the work while there is much of it. The worker itself has
    /// nothing to do with these packets, so its processor has time.
    fn steer(&mut self, frames: u64, now: Millis) {
        const MILLISECONDS: u64 = 1000;
        let passed = now.since(self.settled);
        if passed == 0 {
            return;
        }
        self.settled = now;
        let rate = frames * MILLISECONDS / passed;
        let wish = match rate {
            Self::BUSY.. => self.cpu,
            ..Self::CALM => None,
            _ => return,
        };
        // Where that is not allowed, packets go as fast as one processor carries them.
        let _ = self.table.steer(wish);
    }

    /// Credits what one slot has carried; answers how many frames.
    fn settle(
        &mut self,
        slot: usize,
        cache: &Cache,
        (now, account, outputs): (Millis, &Account, &mut Outputs),
    ) -> u64 {
        let carried = self.table.carried(slot);
        let Some(entry) = &mut self.entries[slot] else { return 0 };
        let before = std::mem::replace(&mut entry.settled, carried);
        let frames = carried.frames.wrapping_sub(before.frames);
        if frames == 0 {
            return 0;
        }
        let bytes = carried.bytes.wrapping_sub(before.bytes);
        let packets = frames + carried.more_packets.wrapping_sub(before.more_packets);
        let wire_bytes = bytes + carried.more_bytes.wrapping_sub(before.more_bytes);
        entry.used = now;
        cache.paths().credit(entry.path, packets, wire_bytes, now);
        account.rx.add(frames);
        account.rx_bytes.add(bytes);
        account.tx.add(frames);
        outputs.credit(entry.port, frames, bytes);
        frames
    }

    /// Ends all of them, at the end of their queue, and settles what they have carried.
    pub(crate) fn close(
        &mut self,
        cache: &mut Cache,
        (now, account, outputs): (Millis, &Account, &mut Outputs),
    ) {
        self.used.iter().for_each(|slot| self.table.end(*slot));
        for slot in std::mem::take(&mut self.used) {
            self.settle(slot, cache, (now, account, outputs));
            if let Some(entry) = self.entries[slot].take() {
                cache.release(entry.program, entry.path);
            }
        }
    }
}
