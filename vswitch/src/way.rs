//! The way of a packet, top to bottom: a batch from one queue is parsed, each packet's program is
//! found, and carried out; what is to be sent waits for the end of the batch and goes out together.
//!
//! How a program is found depends on what the port's packets are told apart by (its *lead*):
//!
//! * by nothing: one megaflow is for all of them, and they are not even parsed, if its program does
//!   not need the headers;
//! * by one mask: a hash and a probe of the megaflows (tier 2);
//! * by several masks: a session (tier 1) first, then the megaflows.
//!
//! Whatever misses goes through the tables (tier 3), which makes a megaflow of it. The steps of a
//! tier are done for up to `LANES` packets at a time, each asking for the memory that the next one
//! needs.

mod alike;
mod learn;
mod open;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::DropReason;
use api::request::Direction;
use conntrack::Fragments;
use flowtable::{Cache, Found, Lead, Limits, MaskId, MegaflowId, Op, Paths, Resolved, Tables};
use packet::{
    Batch, Chainer, Depot, FramePool, HEADROOM, Headers, Memory, Millis, Packet, PortId, Seed,
    ethernet, mark_partial,
};

use crate::account::Account;
use crate::act::{Verdict, act};
use crate::clock::millis;
use crate::desk::Desk;
use crate::gather;
use crate::histogram::Stopwatch;
use crate::inject::Injection;
use crate::lanes::{LANES, Lanes, look_ahead};
use crate::news::Teller;
use crate::opening::Openings;
use crate::outputs::Outputs;
use crate::passes::{Passes, Scratch};
use crate::queue::Waiting;
use crate::session::Sessions;
use crate::short_cuts::Proposal;
use crate::tracking::{Findings, Tracker};
use crate::who::Who;
use crate::worth::Worth;

/// Packets of a batch that are looked at whether they could have a short-cut.
const LOOKS: usize = 8;

/// Where a batch has come in.
#[derive(Debug)]
pub(crate) struct Ingress {
    /// The port.
    pub(crate) port: PortId,
    /// Whether its packets may have a checksum still to be made that nothing marks.
    pub(crate) unmarked_partial: bool,
    /// Whether its packets may have short-cuts.
    pub(crate) short_cuts: bool,
    /// What counts them.
    pub(crate) account: Arc<Account>,
}

/// Everything between receiving and sending.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) cache: Cache,
    pub(crate) sessions: Option<Sessions>,
    pub(crate) openings: Openings,
    pub(crate) outputs: Outputs,
    pub(crate) pool: FramePool,
    memory: Arc<Memory>,
    lanes: Box<Lanes>,
    /// What becomes of the first packets of the batch, as far as that is known.
    verdicts: Vec<Verdict>,
    /// Flows of this batch that could have a short-cut, each a user of its program and path; and how
    /// many more packets of the batch are looked at for that.
    pub(crate) proposals: Vec<Proposal>,
    looks: usize,
    /// Room for the programs that are carried out within each other.
    scratch: Scratch,
    /// The time of this batch.
    now: Duration,
    millis: Millis,
    /// Measures the first long way of each batch.
    pub(crate) stopwatch: Stopwatch,
    /// What counts packets that come from no port.
    own: Arc<Account>,
    /// What is told of packets that are shown, and whether anybody wants to see them.
    pub(crate) teller: Teller,
    pub(crate) tracker: Tracker,
    /// Those that wait for the rest of their datagram.
    pub(crate) fragments: Fragments<Waiting>,
    desk: Arc<Desk>,
    /// What decides which packets are samples.
    dice: u64,
}

impl Way {
    /// So many packets behind one that asks for connections those are fetched that they will ask for:
    /// while some are carried out, memory has time to answer.
    const AHEAD: usize = 2;

    /// A way that leads nowhere yet.
    pub(crate) fn new(
        tables: Arc<Tables>,
        depot: &Arc<Depot>,
        paths: Paths,
        limits: Limits,
        sessions: u32,
        tracker: Tracker,
        (teller, desk): (Teller, Arc<Desk>),
    ) -> Self {
        let seed = tables.seed();
        let pool = FramePool::new(depot);
        let memory = Arc::clone(pool.memory());
        let fragments = gather::room(memory.frames());
        Self {
            cache: Cache::new(tables, paths, limits),
            sessions: (sessions > 0).then(|| Sessions::new(sessions, Seed(seed.0 ^ 1))),
            openings: Openings::new(sessions > 0),
            outputs: Outputs::new(Arc::clone(&memory)),
            pool,
            memory,
            lanes: Box::new(Lanes::new()),
            verdicts: Vec::with_capacity(Batch::CAPACITY),
            proposals: Vec::with_capacity(LOOKS),
            looks: 0,
            scratch: Scratch::new(),
            now: Duration::ZERO,
            millis: Millis(0),
            own: Arc::default(),
            teller,
            tracker,
            fragments,
            desk,
            dice: Seed(seed.0 ^ 2).0,
            stopwatch: Stopwatch::default(),
        }
    }

    /// A batch begins, or a packet alone.
    fn begin(&mut self, now: Duration) {
        self.outputs.capture.now = now;
        self.outputs.last_drops.begin(now);
        (self.now, self.millis) = (now, millis(now));
        self.tracker.begin();
        self.openings.begin(self.millis);
        if let Some(sessions) = &mut self.sessions {
            sessions.begin(self.millis);
        }
    }

    /// Carries a batch from one queue to wherever its packets go.
    #[inline]
    pub(crate) fn carry(&mut self, batch: &mut Batch, ingress: &Ingress, now: Duration) {
        let account: &Account = &ingress.account;
        account.rx.add(batch.len() as u64);
        account.rx_bytes.add(batch.iter().map(|packet| packet.len() as u64).sum());
        self.begin(now);
        if self.outputs.capture.sees(ingress.port, Direction::Rx) {
            for packet in batch.iter() {
                self.outputs.capture.packet(ingress.port, Direction::Rx, packet, &self.memory);
            }
        }
        self.cache.begin();
        self.lanes.want_sessions = false;
        self.stopwatch.arm();
        self.looks = if ingress.short_cuts { LOOKS } else { 0 };
        match self.cache.lead(ingress.port) {
            Lead::All(flow) if self.cache.may_change(flow) => {
                self.by_sessions(batch, ingress);
            }
            Lead::All(flow) => match self.cache.hit(flow, batch.len(), self.millis) {
                Some(found) => self.all_alike(batch, ingress, found),
                None => self.by_sessions(batch, ingress),
            },
            Lead::One(mask) => self.by_one_mask(batch, ingress, mask),
            Lead::Many => self.by_sessions(batch, ingress),
        }
        self.cache.paths_mut().settle();
        self.outputs.dispatch(batch, &mut self.verdicts, &mut self.pool, account);
        self.outputs.flush(&mut self.pool, account);
    }

    /// One program for all. If it looks at nothing but the addresses, the packets are not parsed.
    fn all_alike(&mut self, batch: &mut Batch, ingress: &Ingress, found: Found) {
        let unread = matches!(found, Found::Cached(program, _) if !program.needs_headers());
        while let Some(first) = self.next_lanes(batch) {
            let lanes = (batch.len() - first).min(LANES);
            if unread && !ingress.unmarked_partial {
                self.lanes.headers[..lanes].fill(Headers::default());
            } else {
                self.parse(&batch[first..first + lanes], ingress.port);
            }
            self.lanes.found[..lanes].fill(Some(found));
            self.deliver_found(batch, 0..lanes, ingress);
        }
    }

    /// Each packet's program by the one mask that tells this port's packets apart.
    fn by_one_mask(&mut self, batch: &mut Batch, ingress: &Ingress, mask: MaskId) {
        let mut last = None;
        while let Some(first) = self.next_lanes(batch) {
            let lanes = (batch.len() - first).min(LANES);
            self.parse(&batch[first..first + lanes], ingress.port);
            if let Some(flow) = last
                && !self.cache.may_change(flow)
                && self.lanes.all_agree(self.cache.megaflows(), flow, mask, lanes)
                && let Some(found) = self.cache.hit(flow, lanes, self.millis)
            {
                self.lanes.found[..lanes].fill(Some(found));
                self.deliver_found(batch, 0..lanes, ingress);
                continue;
            }
            self.lanes.find_guesses(self.cache.megaflows(), mask, lanes);
            let mut next = 0;
            while next < lanes {
                // What was found out before is right until something changes in the cache.
                let (end, flow) = self.find_megaflows(mask, next..lanes, next == 0);
                self.deliver_found(batch, next..end, ingress);
                (next, last) = (end, flow);
            }
        }
    }

    /// What the megaflows say of packets, up to the first that is not known, or whose program may
    /// change what is right for those behind it; answers where they end, and with the last one's.
    #[inline]
    fn find_megaflows(
        &mut self,
        mask: MaskId,
        lanes: Range<usize>,
        is_guess_right: bool,
    ) -> (usize, Option<MegaflowId>) {
        let mut flow = None;
        for lane in lanes.clone() {
            let Lanes { keys, hashes, guesses, agreed, found, .. } = &mut *self.lanes;
            flow = match is_guess_right && agreed[lane] {
                true => guesses[lane],
                false => {
                    let megaflows = self.cache.megaflows();
                    megaflows.find(mask, hashes[lane], guesses[lane], &keys[lane])
                }
            };
            found[lane] = flow.and_then(|flow| self.cache.hit(flow, 1, self.millis));
            if is_turn(found[lane], &self.cache) {
                return (lane + 1, flow);
            }
        }
        (lanes.end, flow)
    }

    /// Each packet's program by its session, or the long way.
    fn by_sessions(&mut self, batch: &mut Batch, ingress: &Ingress) {
        while let Some(first) = self.next_lanes(batch) {
            let lanes = (batch.len() - first).min(LANES);
            self.parse(&batch[first..first + lanes], ingress.port);
            let mut are_met_again = false;
            if let Some(sessions) = &mut self.sessions {
                self.lanes.want_sessions = true;
                are_met_again = sessions.are_met_again(lanes);
                if !are_met_again {
                    self.lanes.guess_sessions(sessions, self.tracker.connections(), lanes);
                }
            }
            let mut next = 0;
            while next < lanes {
                let end = match are_met_again {
                    true => self.meet_again(batch, next..lanes, ingress),
                    false => self.find_sessions(batch, next..lanes, ingress),
                };
                let known = end - usize::from(self.lanes.found[end - 1].is_none());
                self.deliver_found(batch, next..known, ingress);
                next = end;
                if known < end {
                    next = self.deliver_unknown(batch, known..lanes, ingress);
                }
            }
        }
    }

    /// The first packet of the batch that has no verdict yet: where the next lanes begin.
    fn next_lanes(&self, batch: &Batch) -> Option<usize> {
        (self.verdicts.len() < batch.len()).then_some(self.verdicts.len())
    }

    /// Finds the headers of packets.
    #[inline]
    fn parse(&mut self, packets: &[Packet], port: PortId) {
        let number = self.cache.port(port).map_or(0, |port| port.number);
        self.lanes.parse(packets, u64::from(port.0) << 16 | u64::from(number), &self.memory);
    }

    /// As [`Way::find_megaflows`], by sessions. One that has ties takes its packet: it is tracked and
    /// translated then.
    #[inline(never)]
    fn find_sessions(
        &mut self,
        batch: &mut Batch,
        lanes: Range<usize>,
        ingress: &Ingress,
    ) -> usize {
        let Self { lanes: known, cache, memory, millis, tracker, sessions, verdicts, .. } = self;
        let Lanes { keys, headers, meetings, found, .. } = &mut **known;
        let Some(sessions) = sessions else {
            found[lanes.start] = None;
            return lanes.start + 1;
        };
        for (lane, packet) in lanes.clone().zip(&mut batch[verdicts.len()..]) {
            look_ahead(&mut meetings[..lanes.end], lane, sessions, tracker.connections());
            // Of several arrays one number leads to what each has of a packet.
            let lane = lane % LANES;
            let meeting = &mut meetings[lane];
            let place = (meeting.hash, meeting.guess);
            let met = meeting.who.and_then(|who| {
                sessions.meet(who, place, &keys[lane], cache, |ties| {
                    meeting.is_tied = true;
                    let headers = headers[lane];
                    if ingress.unmarked_partial {
                        mark_partial(packet, headers, memory);
                    }
                    ties.take(tracker.connections(), packet, headers, memory, *millis)
                })
            });
            let Some(met) = met else {
                found[lane] = None;
                return lane + 1;
            };
            found[lane] = Some(met);
            if is_turn(Some(met), cache) {
                return lane + 1;
            }
        }
        lanes.end
    }

    /// The same where most were met lately: who it is, is found out with the rest, and nothing is fetched
    /// beforehand.
    #[inline(never)]
    fn meet_again(&mut self, batch: &mut Batch, lanes: Range<usize>, ingress: &Ingress) -> usize {
        let Self { lanes: known, cache, memory, millis, tracker, sessions, verdicts, .. } = self;
        let Lanes { keys, headers, meetings, found, .. } = &mut **known;
        let Some(sessions) = sessions else { return lanes.end };
        let (connections, memory): (_, &Memory) = (tracker.connections(), memory);
        for (lane, packet) in lanes.clone().zip(&mut batch[verdicts.len()..]) {
            let lane = lane % LANES;
            let (key, headers, mut is_tied) = (&keys[lane], headers[lane], false);
            let met = Who::of(key, headers).and_then(|who| {
                sessions.meet_again(who, key, cache, |ties| {
                    is_tied = true;
                    if ingress.unmarked_partial {
                        mark_partial(packet, headers, memory);
                    }
                    ties.take(connections, packet, headers, memory, *millis)
                })
            });
            let meeting = &mut meetings[lane];
            meeting.is_tied = is_tied;
            found[lane] = met;
            let Some(Found::Cached(program, _)) = met else {
                // Another one may be made.
                meeting.is_of(Who::hashed(key, &headers, sessions.seed()));
                return lane + 1;
            };
            if program.has_asides() {
                return lane + 1;
            }
        }
        lanes.end
    }

    /// Carries out what was found for the packet whose turn it is, or finds it the long way.
    #[inline]
    fn deliver(&mut self, batch: &mut Batch, lane: usize, found: Option<Found>, ingress: &Ingress) {
        if batch[self.verdicts.len()].len() < ethernet::LEN {
            return self.verdicts.push(Verdict::Drop(DropReason::Runt));
        }
        let headers = self.lanes.headers[lane];
        // It has been marked then, and tracked, which nobody does on a short-cut.
        let is_tied = self.lanes.want_sessions && self.lanes.meetings[lane].is_tied;
        if ingress.unmarked_partial && !is_tied {
            mark_partial(&mut batch[self.verdicts.len()], headers, &self.memory);
        }
        let found = match found {
            Some(found) => found,
            None => self.resolve(&batch[self.verdicts.len()], lane, ingress.port),
        };
        let sent = self.perform(batch, lane, found, &ingress.account);
        if self.looks > 0 {
            self.looks -= 1;
            if let Some(port) = sent.filter(|_| !is_tied) {
                self.propose(&batch[self.verdicts.len() - 1], found, port);
            }
        }
        if self.scratch.trail.is_followed() {
            self.learn_trail(lane);
        }
    }

    /// Carries out what was found for packets in a row: together those that share a program.
    #[inline]
    fn deliver_found(&mut self, batch: &mut Batch, lanes: Range<usize>, ingress: &Ingress) {
        let mut lane = lanes.start;
        while lane < lanes.end {
            let found = self.lanes.found[lane];
            let is_plain = self.looks == 0 && !ingress.unmarked_partial;
            if let Some(Found::Cached(program, _)) = found
                && is_plain
                && !program.has_asides()
            {
                let is_same = |found: &&Option<Found>| matches!(found, Some(Found::Cached(other, _)) if *other == program);
                let alike = self.lanes.found[lane..lanes.end].iter().take_while(is_same).count();
                self.deliver_alike(batch, lane..lane + alike, program, &ingress.account);
                lane += alike;
            } else {
                self.deliver(batch, lane, found, ingress);
                lane += 1;
            }
        }
    }

    /// The long way.
    #[cold]
    fn resolve(&mut self, packet: &Packet, lane: usize, port: PortId) -> Found {
        let key = &self.lanes.keys[lane];
        let begin = self.stopwatch.begin();
        let resolved =
            self.cache.resolve(port, key, packet.packets(), packet.wire_bytes(), self.millis);
        self.stopwatch.end(begin);
        match resolved {
            Resolved::Cached(flow, found) => {
                match self.cache.megaflows().tracks(flow) {
                    true => self.follow(lane, flow),
                    false => self.learn_session(lane, flow),
                }
                found
            }
            Resolved::Once => Found::Once,
        }
    }

    /// Carries out the program of the packet whose turn it is, and sees to the credit for it. If
    /// nothing is done with the packet but sending it, answers where.
    #[inline]
    fn perform(
        &mut self,
        batch: &mut Batch,
        lane: usize,
        found: Found,
        account: &Account,
    ) -> Option<PortId> {
        let headers = self.lanes.headers[lane];
        if self.outputs.begin(self.verdicts.len()) {
            self.outputs.dispatch(batch, &mut self.verdicts, &mut self.pool, account);
            self.outputs.begin(0);
        }
        if self.cache.has_asides(found) {
            self.fetch_connections(batch.len() - self.verdicts.len(), lane);
            self.scratch.know(&self.lanes.keys[lane], headers);
            self.pass_on(batch, headers, found, account);
            return None;
        }
        let packet = &mut batch[self.verdicts.len()];
        let ops: &[Op] = match found {
            Found::Cached(program, path) => {
                let Worth { packets, bytes } = Worth::of(packet);
                self.cache.paths_mut().count(path, packets, bytes, self.millis);
                self.cache.programs().ops(program)
            }
            Found::Once => self.cache.once(),
        };
        let verdict =
            act(ops, packet, headers, &self.memory, &mut self.pool, account, &mut self.outputs);
        let only = ops.first().copied();
        if let (Verdict::Drop(_), Found::Cached(_, path)) = (verdict, found) {
            self.outputs.last_drops.passed(packet, self.cache.paths().steps(path));
        }
        self.verdicts.push(verdict);
        match only {
            Some(Op::Send(port)) => Some(port),
            _ => None,
        }
    }

    /// Fetches what a packet behind the one in `lane` asks connections for, if it does as the one before
    /// did; there are so many `left` of the batch.
    #[inline]
    fn fetch_connections(&mut self, left: usize, lane: usize) {
        let zones = self.scratch.zones.begin();
        if Self::AHEAD < left
            && let Some(key) = self.lanes.keys.get(lane + Self::AHEAD)
        {
            self.tracker.prefetch(zones, key);
        }
    }

    /// Carries out what was found for the packet whose turn it is, as many passes as that takes.
    #[cold]
    fn pass_on(&mut self, batch: &mut Batch, headers: Headers, found: Found, account: &Account) {
        let packet = &mut batch[self.verdicts.len()];
        let (mut passes, pool) = self.passes(packet);
        let verdict = passes.carry_out(packet, headers, found, pool, account);
        self.verdicts.push(verdict);
    }

    /// A packet's passes, before the first one; and where frames come from.
    fn passes(&mut self, packet: &Packet) -> (Passes<'_>, &mut FramePool) {
        let passes = Passes {
            cache: &mut self.cache,
            outputs: &mut self.outputs,
            scratch: &mut self.scratch,
            memory: &self.memory,
            worth: Worth::of(packet),
            ingress: packet.ingress,
            now: self.now,
            millis: self.millis,
            teller: &mut self.teller,
            tracker: &self.tracker,
            fragments: &mut self.fragments,
            findings: Findings::default(),
            watched: self.desk.watched.load(Ordering::Relaxed),
            dice: &mut self.dice,
            depth: 0,
            gone: false,
        };
        (passes, &mut self.pool)
    }

    /// Drops the fragments whose rest has not come in time.
    pub(crate) fn expire_fragments(&mut self, now: Millis) {
        self.fragments.expire(now);
        gather::drop_lost(&mut self.fragments, &mut self.outputs, &mut self.pool);
    }

    /// Drops the fragments that have come in by a port.
    pub(crate) fn close_fragments(&mut self, port: PortId) {
        self.fragments.close(port);
        gather::drop_lost(&mut self.fragments, &mut self.outputs, &mut self.pool);
    }

    /// Carries on a packet that has not come in by a queue.
    pub(crate) fn inject(&mut self, injection: &Injection, now: Duration) {
        let account = injection.account.as_ref().unwrap_or(&self.own).clone();
        account.generated.add(1);
        self.begin(now);
        self.cache.begin();
        let bytes = &injection.bytes;
        let Some(mut packet) = Chainer::copy_of(bytes, HEADROOM, injection.ingress, &mut self.pool)
        else {
            return account.dropped(DropReason::NoFrames).add(1);
        };
        self.outputs.begin(0);
        let (mut passes, pool) = self.passes(&packet);
        let verdict = passes.carry_on(&mut packet, &injection.held, pool, &account);
        self.cache.paths_mut().settle();
        let mut batch = Batch::new();
        batch.push(packet);
        self.verdicts.push(verdict);
        self.outputs.dispatch(&mut batch, &mut self.verdicts, &mut self.pool, &account);
        self.outputs.flush(&mut self.pool, &account);
    }
}

/// Whether a packet of which this was found has to be carried out before those behind it are looked up;
/// if not, what counts it is fetched.
#[inline]
fn is_turn(found: Option<Found>, cache: &Cache) -> bool {
    match found {
        Some(Found::Cached(program, path)) if !program.has_asides() => {
            cache.paths().prefetch(path);
            false
        }
        _ => true,
    }
}
