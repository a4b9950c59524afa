//! The passes of a packet that meets decisions: about each packet a meter, the hash of a select
//! group, its length, or somebody who watches.
//!
//! A program with a decision ends in [`Op::Resume`]: once it is known what the decision comes to, the
//! packet is looked up anew with what it says by then, and the next program is carried out. Copies
//! that meet decisions of their own take their passes at once, before anything else is done with the
//! packet they were made of, so that all leaves in the order in which the flows say it.

use std::sync::Arc;
use std::time::Duration;

use api::{DropReason, PacketInReason};
use conntrack::Fragments;
use flowtable::{Aside, AsideId, Cache, Decision, Found, Metered, Op, PASSES, Resolved, Show};
use packet::{
    Fragment, FramePool, Headers, Key, Kind, Memory, Millis, Packet, PortId, parse, vlan,
};

use crate::account::Account;
use crate::act::{Exit, Verdict, act};
use crate::news::{Held, Teller};
use crate::outputs::Outputs;
use crate::queue::Waiting;
use crate::tracking::{Findings, Tracker};
use crate::trail::Trail;
use crate::worth::Worth;
use crate::zones::Zones;

/// Room for programs that are carried out within each other: while one is, the caches may change.
#[derive(Debug)]
pub(crate) struct Scratch {
    ops: [Vec<Op>; PASSES + 1],
    /// The way of the packet, if somebody wants to know it.
    pub(crate) trail: Trail,
    /// Where it has asked for its connection.
    pub(crate) zones: Zones,
    /// What the packet says that was parsed last, and on its passes what is known besides.
    pub(crate) key: Key,
    /// Where its headers are.
    headers: Headers,
    /// Whether the packet is as it was then.
    is_fresh: bool,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let ops = std::array::from_fn(|_| Vec::with_capacity(Op::MOST));
        Self {
            ops,
            trail: Trail::new(),
            zones: Zones::default(),
            key: Key::ZERO,
            headers: Headers::default(),
            is_fresh: false,
        }
    }

    /// Takes over what was found in a packet that begins its passes.
    pub(crate) fn know(&mut self, key: &Key, headers: Headers) {
        const PARSED: std::ops::Range<usize> = 1..Key::PARSED_WORDS;
        self.key.words_mut()[PARSED].copy_from_slice(&key.words()[PARSED]);
        (self.headers, self.is_fresh) = (headers, true);
    }
}

/// A packet on its passes.
#[derive(Debug)]
pub(crate) struct Passes<'a> {
    pub(crate) cache: &'a mut Cache,
    pub(crate) outputs: &'a mut Outputs,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) memory: &'a Memory,
    /// What it is worth to what it passes.
    pub(crate) worth: Worth,
    /// Where it came in.
    pub(crate) ingress: PortId,
    pub(crate) now: Duration,
    pub(crate) millis: Millis,
    pub(crate) teller: &'a mut Teller,
    pub(crate) tracker: &'a Tracker,
    /// Those that wait for the rest of their datagram.
    pub(crate) fragments: &'a mut Fragments<Waiting>,
    /// What has been found out about the packet.
    pub(crate) findings: Findings,
    /// Whether anybody wants to see packets.
    pub(crate) watched: bool,
    /// What decides which packets are samples.
    pub(crate) dice: &'a mut u64,
    /// Passes it has taken.
    pub(crate) depth: usize,
    /// Whether anything of it has gone somewhere.
    pub(crate) gone: bool,
}

impl Passes<'_> {
    /// Carries out what was found, and whatever comes behind it; says what becomes of the packet in
    /// the end.
    pub(crate) fn carry_out(
        &mut self,
        packet: &mut Packet,
        headers: Headers,
        found: Found,
        pool: &mut FramePool,
        account: &Account,
    ) -> Verdict {
        self.cache.hold();
        let verdict = self.all_passes(packet, headers, found, pool, account);
        self.cache.let_go();
        match verdict {
            // That it goes nowhere itself is nothing lost if a copy of it did.
            Verdict::Drop(reason) if self.gone && says_flow(reason) => Verdict::Consume,
            verdict => verdict,
        }
    }

    /// Has a packet go on where a walk was frozen, and with whatever comes behind; says what becomes
    /// of it in the end.
    pub(crate) fn carry_on(
        &mut self,
        packet: &mut Packet,
        Held { frozen, tracked }: &Held,
        pool: &mut FramePool,
        account: &Account,
    ) -> Verdict {
        self.cache.hold();
        self.findings = Findings::again(*tracked);
        let next = match self.cache.take_up(frozen) {
            Some(aside) => {
                let headers = self.parse_anew(packet);
                self.go_on(headers, aside, 0)
            }
            None => Err(Verdict::Drop(DropReason::DecisionLimit)),
        };
        let verdict = match next {
            Ok((found, headers)) => self.carry_out(packet, headers, found, pool, account),
            Err(verdict) => verdict,
        };
        self.cache.let_go();
        verdict
    }

    pub(crate) fn all_passes(
        &mut self,
        packet: &mut Packet,
        mut headers: Headers,
        mut found: Found,
        pool: &mut FramePool,
        account: &Account,
    ) -> Verdict {
        let before = self.depth;
        let verdict = loop {
            let aside = match self.pass(packet, headers, found, pool, account) {
                Verdict::Resume(aside) => aside,
                verdict => break verdict,
            };
            match self.next(packet, aside, pool, account) {
                Ok(next) => (found, headers) = next,
                Err(verdict) => {
                    self.scratch.trail.lose();
                    break verdict;
                }
            }
            self.depth += 1;
        };
        self.depth = before;
        verdict
    }

    /// What comes behind a decision: the next program, and where the packet's headers are. Or the end
    /// of the packet.
    fn next(
        &mut self,
        packet: &mut Packet,
        aside: AsideId,
        pool: &mut FramePool,
        account: &Account,
    ) -> Result<(Found, Headers), Verdict> {
        if self.depth >= PASSES {
            return Err(Verdict::Drop(DropReason::PassLimit));
        }
        let mut headers = self.parse(packet);
        let outcome = self.decide(packet, &mut headers, aside, pool, account)?;
        self.go_on(headers, aside, outcome)
    }

    /// What comes when a decision has come to `outcome`, for the packet that was parsed last.
    pub(crate) fn go_on(
        &mut self,
        headers: Headers,
        aside: AsideId,
        outcome: u16,
    ) -> Result<(Found, Headers), Verdict> {
        let gone = Verdict::Drop(DropReason::DecisionLimit);
        let frozen = self.cache.asides().frozen(aside).ok_or(gone)?;
        let (Scratch { key, trail, .. }, tracked) = (&mut *self.scratch, &self.findings.tracked);
        frozen.complete(key, tracked, self.ingress.0, aside.0, outcome);
        let Worth { packets, bytes } = self.worth;
        let resolved = self.cache.resume(aside, key, packets, bytes, self.millis);
        let found = match resolved {
            Resolved::Cached(flow, found) => {
                trail.pass(flow, self.cache.megaflows().serial(flow));
                found
            }
            Resolved::Once => {
                trail.lose();
                Found::Once
            }
        };
        Ok((found, headers))
    }

    /// Whether the meters of what is shown let a packet pass.
    fn may_show(&self, show: &Show, packet: &Packet) -> bool {
        let (packets, bytes) = (packet.packets(), packet.wire_bytes());
        let meters =
            show.meters.iter().flatten().filter_map(|slot| self.cache.tables().meter(*slot));
        // All of them count it.
        meters.fold(true, |may, meter| {
            may & (meter.admit(packets, bytes, self.now) != Metered::Dropped)
        })
    }

    /// Finds the headers of a packet; its key is that of the packet alone then.
    pub(crate) fn parse_anew(&mut self, packet: &Packet) -> Headers {
        self.scratch.is_fresh = false;
        self.parse(packet)
    }

    /// The same, unless nothing has changed the packet since.
    fn parse(&mut self, packet: &Packet) -> Headers {
        let Scratch { key, headers, is_fresh, .. } = &mut *self.scratch;
        key.words_mut()[0] = 0;
        key.words_mut()[Key::PARSED_WORDS..].fill(0);
        if !*is_fresh {
            *headers = parse(packet.head(self.memory), packet.len(), key).unwrap_or_default();
            if let Some(whole) = self.findings.whole {
                whole.write(key);
            }
            *is_fresh = true;
        }
        *headers
    }

    /// Carries out one program.
    fn pass(
        &mut self,
        packet: &mut Packet,
        headers: Headers,
        found: Found,
        pool: &mut FramePool,
        account: &Account,
    ) -> Verdict {
        let mut ops = std::mem::take(&mut self.scratch.ops[self.depth]);
        ops.clear();
        match found {
            Found::Cached(program, path) => {
                let Worth { packets, bytes } = self.worth;
                self.cache.paths_mut().count(path, packets, bytes, self.millis);
                ops.extend_from_slice(self.cache.programs().exactly(program));
            }
            Found::Once => ops.extend_from_slice(self.cache.once()),
        }
        let changes_nothing = matches!(ops[..], [Op::Resume(_)]);
        self.scratch.is_fresh &= changes_nothing;
        let verdict = act(&ops, packet, headers, self.memory, pool, account, self);
        // If copies have taken passes meanwhile, they were parsed.
        self.scratch.is_fresh &= changes_nothing;
        self.scratch.ops[self.depth] = ops;
        verdict
    }

    /// Takes the decision that the packet waits for which was parsed last, also when it is taken.
    /// Answers with what it comes to, or with the end of the packet.
    fn decide(
        &mut self,
        packet: &mut Packet,
        headers: &mut Headers,
        aside: AsideId,
        pool: &mut FramePool,
        account: &Account,
    ) -> Result<u16, Verdict> {
        let gone = Verdict::Drop(DropReason::DecisionLimit);
        let frozen = self.cache.asides().frozen(aside).ok_or(gone)?;
        if frozen.forgets {
            self.findings.forget();
        }
        let outcome = match &frozen.decision {
            Decision::Meter(slot) => {
                let meter = self.cache.tables().meter(*slot);
                let meter = meter.ok_or(Verdict::Drop(DropReason::NoSuchMeter))?;
                match meter.admit(packet.packets(), packet.wire_bytes(), self.now) {
                    Metered::Passes => 0,
                    Metered::Remarked(levels) => u16::from(levels),
                    Metered::Dropped => return Err(Verdict::Drop(DropReason::Metered)),
                }
            }
            Decision::Larger { len, .. } => {
                u16::from(wire_len(packet, *headers) > usize::from(*len))
            }
            Decision::Select(selector) => selector.choose(&self.scratch.key),
            Decision::Connect(connect) if headers.fragment != Fragment::No => {
                let connect = connect.clone();
                self.gather(packet, &connect, aside, pool, account)?;
                *headers = self.parse_anew(packet);
                return Ok(0);
            }
            Decision::Connect(connect) => {
                self.scratch.zones.ask(connect.zone);
                let (findings, place) = (&mut self.findings, (&mut *packet, self.memory));
                let said = (&self.scratch.key, *headers);
                let turn = self.tracker.connect(findings, connect, place, said, self.millis);
                let turn = turn.map_err(Verdict::Drop)?;
                self.scratch.trail.turn(&turn, connect);
                if turn.changed {
                    *headers = self.parse_anew(packet);
                }
                return Ok(0);
            }
            Decision::Pause(show) => {
                let (show, frozen) = (Arc::clone(show), Arc::clone(frozen));
                let held = Held { frozen, tracked: self.findings.tracked };
                if self.may_show(&show, packet) {
                    let shown = (&show, &self.findings.tracked);
                    self.teller.show(self.watched, shown, Some(held), packet, self.memory);
                }
                return Err(Verdict::Consume);
            }
            Decision::Nothing => 0,
        };
        // It may come to something else for another packet.
        self.scratch.trail.lose();
        Ok(outcome)
    }
}

/// How long the frame is that a packet makes on the wire, or the longest of several, without its
/// tags.
pub(crate) fn wire_len(packet: &Packet, headers: Headers) -> usize {
    let len = match packet.segmentation.kind {
        Kind::None => packet.len(),
        _ => usize::from(packet.segmentation.header) + usize::from(packet.segmentation.size),
    };
    len - usize::from(headers.vlans) * vlan::LEN
}

/// Whether a packet is dropped because the flows say so, and nothing is wrong.
pub(crate) const fn says_flow(reason: DropReason) -> bool {
    !matches!(
        reason,
        DropReason::Metered
            | DropReason::ResubmitDepth
            | DropReason::ResubmitLimit
            | DropReason::StackLimit
            | DropReason::PassLimit
            | DropReason::DecisionLimit
            | DropReason::ProgramLimit
            | DropReason::CtFull
            | DropReason::CtZoneLimit
            | DropReason::FragmentBad
            | DropReason::FragmentOverlap
            | DropReason::FragmentTimeout
            | DropReason::FragmentLimit
            | DropReason::CtNoPort
            | DropReason::CtClash
            | DropReason::CtExpectFull
            | DropReason::CtLineCut
            | DropReason::CtRewrite
            | DropReason::VlanTags
            | DropReason::NoHeadroom
            | DropReason::NoFrames
            | DropReason::Closed
    )
}

impl Exit for Passes<'_> {
    fn copy(&mut self, port: PortId, copy: Packet) {
        self.gone = true;
        self.outputs.copy(port, copy);
    }

    fn drop(&mut self, copy: Packet, reason: DropReason, pool: &mut FramePool, account: &Account) {
        if says_flow(reason) {
            self.outputs.consume(copy, pool, account);
        } else {
            // That counts for the packet, too.
            self.gone = true;
            self.outputs.drop(copy, reason, pool, account);
        }
    }

    fn resume(
        &mut self,
        aside: AsideId,
        mut copy: Packet,
        pool: &mut FramePool,
        account: &Account,
    ) {
        // What is found out about a copy concerns it alone, and it says what it says.
        let findings = self.findings;
        self.scratch.is_fresh = false;
        self.scratch.trail.lose();
        let verdict = match self.next(&mut copy, aside, pool, account) {
            Ok((found, headers)) => {
                self.depth += 1;
                let verdict = self.all_passes(&mut copy, headers, found, pool, account);
                self.depth -= 1;
                verdict
            }
            Err(verdict) => verdict,
        };
        self.findings = findings.behind_others();
        match verdict {
            Verdict::Send(port) => self.copy(port, copy),
            Verdict::Consume => self.consume(copy, pool, account),
            Verdict::Hold => copy.free(pool),
            Verdict::Drop(reason) => self.drop(copy, reason, pool, account),
            Verdict::Resume(_) => self.drop(copy, DropReason::PassLimit, pool, account),
        }
    }

    fn show(&mut self, aside: AsideId, packet: &Packet) {
        match self.cache.asides().get(aside) {
            Some(Aside::Show(show)) => {
                let show = Arc::clone(show);
                // One without a hop left is only shown: it is dropped all the same.
                self.gone |= show.controller.reason != PacketInReason::InvalidTtl;
                if self.may_show(&show, packet) {
                    let shown = (&show, &self.findings.tracked);
                    self.teller.show(self.watched, shown, None, packet, self.memory);
                }
            }
            Some(Aside::Sample(sample)) => {
                // A linear congruence (Knuth's MMIX): good enough to choose packets by.
                *self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if *self.dice >> 48 < u64::from(sample.sample.probability) {
                    self.teller.sample(self.watched, &Arc::clone(sample), packet, self.memory);
                }
            }
            _ => {}
        }
    }
}
