//! The short-cuts of one pod's packets: which flows have one, and what they have carried.
//!
//! A flow between two pods whose program does nothing but send may take the short-cut that the
//! kernel has for it ([`hw::shortcut`]). It is offered one when its packets come here for the second
//! time; from then on they no longer do. What they would have counted here is settled from the
//! kernel's counts: now and then, and whenever somebody is about to look.

use std::sync::Arc;

use flowtable::{Cache, Found, PathId, ProgramId};
use hw::shortcut::{Carried, Flow, Table, Target};
use packet::{Millis, PortId};

use crate::account::Account;

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
    /// What counts the packets of the port it leads to.
    to: Arc<Account>,
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
    /// Frames that were settled.
    frames: u64,
    /// When and at how many frames the rate was looked at last.
    rated: (Millis, u64),
}

/// Where a proposal leads.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) target: Target,
    /// What counts the packets of that port.
    pub(crate) to: Arc<Account>,
    /// The generation under which that is right.
    pub(crate) generation: u32,
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
    /// Milliseconds over which that is measured, at least.
    const WINDOW: u64 = 40;

    /// None yet, for a worker on `cpu`.
    pub(crate) fn new(table: Table, cpu: Option<usize>) -> Self {
        Self {
            table,
            entries: (0..Table::SLOTS).map(|_| None).collect(),
            used: Vec::with_capacity(Table::SLOTS),
            seen: vec![0; 4 * Table::SLOTS].into_boxed_slice(),
            cpu,
            frames: 0,
            rated: (Millis(0), 0),
        }
    }

    /// Frames carried, as far as they are settled.
    pub(crate) const fn frames(&self) -> u64 {
        self.frames
    }

    /// How many slots are in use.
    pub(crate) const fn len(&self) -> usize {
        self.used.len()
    }

    /// Makes a short-cut of a proposal, or renews the one there is. Answers whether it has; if so,
    /// program and path have the short-cut as their user now. `account` is that of the port that the
    /// flow comes in by.
    pub(crate) fn take_up(
        &mut self,
        proposal: &Proposal,
        destination: Destination,
        cache: &mut Cache,
        account: &Account,
        now: Millis,
    ) -> bool {
        let Proposal { flow, program, path, .. } = *proposal;
        let Destination { target, to, generation } = destination;
        let places = Table::places(&flow);
        let is_its = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.flow == flow);
        if let Some(slot) = places.clone().find(|slot| is_its(&self.entries[*slot])) {
            if self.has_ended(slot) || self.table.is_right(slot) {
                return false;
            }
            self.settle(slot, cache, account, now);
            if let Some(entry) = &mut self.entries[slot] {
                cache.release(entry.program, entry.path);
                (entry.program, entry.path, entry.to) = (program, path, to);
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
            Some(Entry { flow, program, path, to, settled, used: now, ended: None });
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
        // Its upper bits: the lower ones know little of what the upper bytes of a word say.
        let at = usize::try_from(hash >> 32).unwrap_or(0) % self.seen.len();
        let tag = u16::try_from(hash >> 48).unwrap_or(0) | 1;
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

    /// Credits all that was carried since the last time. Ends what has carried nothing for long.
    /// `is_idle`: whether the worker has little else to do.
    pub(crate) fn settle_all(
        &mut self,
        cache: &mut Cache,
        account: &Account,
        is_idle: bool,
        now: Millis,
    ) {
        for at in (0..self.used.len()).rev() {
            let slot = self.used[at];
            self.settle(slot, cache, account, now);
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
        self.steer(is_idle, now);
    }

    /// Has the worker's processor share the work while there is much of it, and the worker itself
    /// has little to do.
    fn steer(&mut self, is_idle: bool, now: Millis) {
        const MILLISECONDS: u64 = 1000;
        let (since, before) = self.rated;
        let passed = now.since(since);
        if passed < Self::WINDOW {
            return;
        }
        self.rated = (now, self.frames);
        let rate = (self.frames - before) * MILLISECONDS / passed;
        let wish = match rate {
            Self::BUSY.. if is_idle => self.cpu,
            Self::CALM..Self::BUSY if is_idle => return,
            _ => None,
        };
        // Where that is not allowed, packets go as fast as one processor carries them.
        let _ = self.table.steer(wish);
    }

    /// Credits what one slot has carried.
    fn settle(&mut self, slot: usize, cache: &Cache, account: &Account, now: Millis) {
        let carried = self.table.carried(slot);
        let Some(entry) = &mut self.entries[slot] else { return };
        let frames = carried.frames.wrapping_sub(entry.settled.frames);
        if frames == 0 {
            // A packet that is only half counted belongs to the next time.
            return;
        }
        let before = std::mem::replace(&mut entry.settled, carried);
        self.frames += frames;
        let bytes = carried.bytes.wrapping_sub(before.bytes);
        let packets = frames + carried.more_packets.wrapping_sub(before.more_packets);
        let wire_bytes = bytes + carried.more_bytes.wrapping_sub(before.more_bytes);
        entry.used = now;
        cache.paths().credit(entry.path, packets, wire_bytes, now);
        account.rx.add(frames);
        account.rx_bytes.add(bytes);
        account.tx.add(frames);
        entry.to.out.add(frames);
        entry.to.out_bytes.add(bytes);
    }

    /// Ends all of them, at the end of their queue, and settles what they have carried.
    pub(crate) fn close(&mut self, cache: &mut Cache, account: &Account, now: Millis) {
        self.used.iter().for_each(|slot| self.table.end(*slot));
        for slot in std::mem::take(&mut self.used) {
            self.settle(slot, cache, account, now);
            if let Some(entry) = self.entries[slot].take() {
                cache.release(entry.program, entry.path);
            }
        }
    }
}
