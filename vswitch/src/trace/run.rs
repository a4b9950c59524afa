//! The passes of a traced packet and its copies.

use std::sync::Arc;

use api::reply::{Behind, Tier, Trace, TraceEntry, TracePass, Verdict};
use api::{CtNext, DropReason, PacketInReason, ct_state};
use flowtable::{
    Aside, AsideId, Bridge, Decision, Frozen, Op, PortView, Tables, Tracked, Translation,
};
use packet::{
    Chainer, Depot, Fragment, FramePool, HEADROOM, Headers, Key, Memory, Packet, PortId, parse,
};

use super::recorder::{Recorder, fail};
use super::{Assumptions, flow_text};
use crate::account::Account;
use crate::act::{Exit, Verdict as Fate, act};
use crate::describe::{self, Names, Vocabulary};
use crate::passes::{says_flow, wire_len};
use crate::session;
use crate::tracking;

/// Bytes of a trace: a packet may pass thousands of flows with thousands of actions each.
const MOST_TEXT: usize = 4 << 20;
/// Passes of a trace, those of copies included: a worker has no such limit.
const MOST_PASSES: usize = 64;
/// Room for the packet and its copies.
const FRAMES: u32 = 2048;

/// A packet as it comes in.
pub(super) struct Begin<'a> {
    pub(super) port: &'a PortView,
    pub(super) key: Key,
    pub(super) headers: Headers,
}

/// The trace of one packet in the making.
pub(super) struct Run<'a> {
    tables: &'a Tables,
    bridge: &'a Bridge,
    assumptions: Assumptions,
    /// Whether it is known how long the packet is.
    has_length: bool,
    memory: Arc<Memory>,
    translation: Translation,
    ingress: PortId,
    /// What passes have said apart, by its number from 1 on.
    asides: Vec<Aside>,
    /// What is taken for found out about the packet.
    tracked: Tracked,
    /// Passes that lie around the current one.
    depth: usize,
    /// Bytes of text that may still be written.
    room: usize,
    passes: Vec<TracePass>,
    entries: Vec<TraceEntry>,
    sent: Vec<String>,
    /// What has been sent, to be freed.
    done: Vec<Packet>,
    /// Whether it was shown to whoever watches.
    is_shown: bool,
    /// Why the packet, or the last copy that went nowhere, is dropped.
    dropped: DropReason,
    /// The same if that is not because the flows say so.
    lost: Option<DropReason>,
    /// Whether several outcomes of a decision were traced.
    several: bool,
    /// Whether packets like this one have sessions.
    session: &'static str,
}

/// What a decision is taken to come to, and why.
struct Outcome {
    value: u16,
    because: String,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        tables: &'a Tables,
        bridge: &'a Bridge,
        assumptions: Assumptions,
        has_length: bool,
    ) -> Self {
        Self {
            tables,
            bridge,
            assumptions,
            has_length,
            memory: Arc::new(Memory::heap(0)),
            translation: Translation::new(),
            ingress: PortId(0),
            asides: Vec::new(),
            tracked: Tracked::default(),
            depth: 0,
            room: MOST_TEXT,
            passes: Vec::new(),
            entries: Vec::new(),
            sent: Vec::new(),
            done: Vec::new(),
            is_shown: false,
            dropped: DropReason::FlowDrop,
            lost: None,
            several: false,
            session: "",
        }
    }

    /// Traces a packet of these bytes to its end.
    pub(super) fn trace(mut self, begin: Begin<'_>, bytes: &[u8]) -> Trace {
        let depot = Depot::new(Memory::heap(FRAMES));
        let (mut pool, account) = (FramePool::new(&depot), Account::default());
        self.memory = Arc::clone(pool.memory());
        self.ingress = begin.port.id;
        match Chainer::copy_of(bytes, HEADROOM, self.ingress, &mut pool) {
            Some(packet) => {
                let ops = self.first_pass(&begin);
                self.carry_out(&ops, packet, begin.headers, &mut pool, &account);
            }
            None => self.dropped = DropReason::NoFrames,
        }
        let verdict = match (self.sent.is_empty(), self.is_shown) {
            (false, _) => Verdict::Sent(self.sent),
            (true, true) => Verdict::Shown,
            (true, false) => Verdict::Dropped(self.lost.unwrap_or(self.dropped)),
        };
        let session = self.session.to_owned();
        let Self { passes, several, entries, .. } = self;
        Trace { passes, verdict, several, entries, session }
    }

    /// Writes down the way through the tables of a packet that comes in.
    fn first_pass(&mut self, begin: &Begin<'_>) -> Vec<Op> {
        let names = Names(&self.bridge.ports);
        let mut recorder = Recorder::new(self.tables, &names, None, &mut self.room);
        self.translation.translate(self.tables, begin.port, &begin.key, &mut recorder);
        let steps = recorder.steps;
        let pass = TracePass { steps, ..self.pass_of(&begin.key, None) };
        let looked = self.translation.looked;
        let compared = session::compared(&begin.key, begin.headers, &looked);
        let refused = self.refused_session(begin, compared.is_some());
        self.session = refused
            .unwrap_or("yes, where several masks tell packets apart, from the second one on");
        // What upper tiers have comes first, as packets meet it.
        let session = compared.filter(|_| refused.is_none());
        self.end_of_pass(pass, &begin.key, None, session)
    }

    /// Why packets like this one have no session, if they have none.
    fn refused_session(&self, begin: &Begin<'_>, fits: bool) -> Option<&'static str> {
        match session::refusal(&begin.key, begin.headers) {
            Some(why) => Some(why),
            None if !self.is_cached() => Some("no: it teaches something"),
            None if self.translation.tracks() => Some(match self.assumptions.ct_next.front() {
                None => "no: its connection would be new; one that is settled has sessions",
                Some(next) if next.bits() & ct_state::EST != 0 => {
                    "yes, if its connection is settled"
                }
                Some(_) => "no: only packets of connections that are settled have one",
            }),
            None => (!fits).then_some("no: flows look at more of it than a session compares"),
        }
    }

    /// The same where an earlier pass was frozen.
    fn later_pass(&mut self, number: u32, outcome: &Outcome, key: &Key) -> Vec<Op> {
        let Some(frozen) = self.frozen(number) else { return vec![Op::Drop(self.dropped)] };
        let behind = describe::behind(&frozen, number, outcome.value, self.tables);
        let names = Names(&self.bridge.ports);
        let words = format!("Resuming: {}", behind.decision);
        let mut recorder = Recorder::new(self.tables, &names, Some(&words), &mut self.room);
        self.translation.resume(self.tables, &frozen, key, &mut recorder);
        let steps = recorder.steps;
        let assumed = Some(outcome.because.clone());
        let pass = TracePass { steps, assumed, ..self.pass_of(key, Some(&behind)) };
        self.end_of_pass(pass, key, Some(&behind), None)
    }

    /// A pass without its steps.
    fn pass_of(&self, key: &Key, behind: Option<&Behind>) -> TracePass {
        let names = Names(&self.bridge.ports);
        let text = |key: &Key| match behind {
            None => flow_text(key, &names),
            Some(behind) => format!("resume={},{}", behind.resume, flow_text(key, &names)),
        };
        let looked = &self.translation.looked;
        TracePass {
            behind: behind.cloned(),
            assumed: None,
            flow: text(key),
            steps: Vec::new(),
            final_flow: text(&self.translation.last),
            megaflow: describe::matching(&(*key & *looked), looked, &names, behind),
            actions: String::new(),
        }
    }

    /// Adds a pass and the entries that real packets would make on it; answers with its program.
    fn end_of_pass(
        &mut self,
        mut pass: TracePass,
        key: &Key,
        behind: Option<&Behind>,
        session: Option<Key>,
    ) -> Vec<Op> {
        let ops = self.adopt();
        let is_cached = self.is_cached();
        let names = Names(&self.bridge.ports);
        pass.actions = self.in_words(&ops);
        let entry = |tier, mask: &Key| TraceEntry {
            tier,
            matching: describe::matching(&(*key & *mask), mask, &names, behind),
            actions: pass.actions.clone(),
        };
        self.entries.extend(session.map(|mask| entry(Tier::Session, &mask)));
        let looked = Some(self.translation.looked).filter(|_| is_cached);
        self.entries.extend(looked.map(|mask| entry(Tier::Megaflow, &mask)));
        self.passes.push(pass);
        ops
    }

    /// Whether a real packet would make a cache entry: one that teaches does not.
    fn is_cached(&self) -> bool {
        let Translation { lessons, flows, .. } = &self.translation;
        self.translation.is_cacheable() && lessons.is_empty() && flows.is_empty()
    }

    /// The program of the last translation, with what it says apart under the numbers of this
    /// trace.
    fn adopt(&mut self) -> Vec<Op> {
        let Self { translation, asides, .. } = self;
        let numbers: Vec<_> = translation
            .asides
            .drain(..)
            .map(|aside| {
                let at = asides.iter().position(|known| *known == aside).unwrap_or_else(|| {
                    asides.push(aside);
                    asides.len() - 1
                });
                AsideId(u32::try_from(at + 1).unwrap_or(u32::MAX))
            })
            .collect();
        let renamed = |op: &Op| match op.aside() {
            Some(AsideId(local)) => numbers.get(local as usize).map_or(*op, |to| op.renamed(*to)),
            None => *op,
        };
        translation.ops.iter().map(renamed).collect()
    }

    fn in_words(&self, ops: &[Op]) -> String {
        let port = |id| self.port_name(id);
        let aside = |number| self.aside(number);
        describe::program(ops, &Vocabulary { tables: self.tables, port: &port, aside: &aside })
    }

    fn port_name(&self, id: PortId) -> String {
        let port = self.bridge.ports.by_id(id);
        port.map_or_else(|| format!("port {id}"), |port| port.name.to_string())
    }

    fn aside(&self, AsideId(number): AsideId) -> Option<&Aside> {
        self.asides.get((number as usize).checked_sub(1)?)
    }

    fn frozen(&self, number: u32) -> Option<Arc<Frozen>> {
        match self.aside(AsideId(number))? {
            Aside::Frozen(frozen) => Some(Arc::clone(frozen)),
            Aside::Show(_) | Aside::Sample(_) => None,
        }
    }

    /// Carries out a program, and whatever comes behind it.
    fn carry_out(
        &mut self,
        ops: &[Op],
        mut packet: Packet,
        headers: Headers,
        pool: &mut FramePool,
        account: &Account,
    ) {
        if let [Op::Drop(reason)] = ops
            && !says_flow(*reason)
        {
            self.fail(*reason);
        }
        let memory = Arc::clone(&self.memory);
        match act(ops, &mut packet, headers, &memory, pool, account, self) {
            Fate::Send(port) => self.copy(port, packet),
            Fate::Consume | Fate::Hold => packet.free(pool),
            Fate::Drop(reason) => self.drop(packet, reason, pool, account),
            Fate::Resume(aside) => self.resume(aside, packet, pool, account),
        }
    }

    /// Takes a decision, and what comes behind it for each of its outcomes.
    fn decide(&mut self, number: u32, packet: Packet, pool: &mut FramePool, account: &Account) {
        let Some(frozen) = self.frozen(number) else { return packet.free(pool) };
        if self.depth >= flowtable::PASSES {
            self.fail(DropReason::PassLimit);
            return self.drop(packet, DropReason::PassLimit, pool, account);
        }
        let before = self.tracked;
        let outcomes = self.outcomes(&frozen, &packet);
        if outcomes.is_empty() {
            return self.drop(packet, DropReason::Metered, pool, account);
        }
        self.several |= outcomes.len() > 1;
        for outcome in outcomes {
            let copy = packet.duplicate(pool).filter(|_| self.passes.len() < MOST_PASSES);
            let Some(copy) = copy else {
                self.warn("there are more passes, and no room for them: the trace is cut here");
                break;
            };
            let (mut key, headers) = self.parse(&copy);
            frozen.complete(&mut key, &self.tracked, self.ingress.0, number, outcome.value);
            let ops = self.later_pass(number, &outcome, &key);
            self.depth += 1;
            self.carry_out(&ops, copy, headers, pool, account);
            self.depth -= 1;
        }
        self.tracked = before;
        packet.free(pool);
    }

    /// What a decision comes to; nothing if it drops the packet.
    fn outcomes(&mut self, frozen: &Frozen, packet: &Packet) -> Vec<Outcome> {
        let outcome = |value, because: &str| Outcome { value, because: because.to_owned() };
        let (parsed, headers) = self.parse(packet);
        match &frozen.decision {
            Decision::Meter(_) if self.assumptions.metered => {
                self.warn("the meter is assumed to drop the packet");
                Vec::new()
            }
            Decision::Meter(_) => vec![outcome(0, "the meter is assumed to let the packet pass")],
            Decision::Larger { len, .. } if self.has_length => {
                let has = wire_len(packet, headers);
                let is_larger = u16::from(has > usize::from(*len));
                vec![outcome(is_larger, &format!("the packet has {has} bytes without its tags"))]
            }
            Decision::Larger { .. } => {
                let unknown = "how long the packet is was not said: both ways are traced";
                vec![outcome(1, unknown), outcome(0, unknown)]
            }
            Decision::Select(selector) if self.assumptions.all_buckets => {
                let every = "every bucket that can be chosen is traced";
                selector.candidates().map(|at| outcome(at, every)).collect()
            }
            Decision::Select(selector) => {
                vec![outcome(selector.choose(&parsed), "the packet's hash chooses this bucket")]
            }
            Decision::Connect(connect) => {
                // As in OVS: only where flows are told.
                let next = frozen.shows.then(|| self.assumptions.ct_next.pop_front()).flatten();
                self.tracked = tracking::assume(&parsed, connect, next.unwrap_or(CtNext::NEW));
                let connection = match next {
                    Some(next) => format!("ct_state is assumed to be {next}"),
                    None => "the connection is assumed to be new".to_owned(),
                };
                let is_whole = headers.fragment == Fragment::No;
                let datagram = if is_whole { "" } else { ", and all of the datagram to be here" };
                vec![outcome(0, &format!("{connection}{datagram}"))]
            }
            Decision::Pause(_) => {
                vec![outcome(0, "whoever watches is assumed to let it go on at once")]
            }
            Decision::Nothing => vec![outcome(0, "there is nothing to decide")],
        }
    }

    fn parse(&self, packet: &Packet) -> (Key, Headers) {
        let mut parsed = Key::ZERO;
        let headers = parse(packet.head(&self.memory), packet.len(), &mut parsed);
        (parsed, headers.unwrap_or_default())
    }

    fn fail(&mut self, reason: DropReason) {
        if let Some(pass) = self.passes.last_mut() {
            fail(&mut pass.steps, reason);
        }
    }

    fn warn(&mut self, text: &str) {
        if let Some(pass) = self.passes.last_mut() {
            super::recorder::warn(&mut pass.steps, text);
        }
    }
}

impl Exit for Run<'_> {
    fn copy(&mut self, port: PortId, copy: Packet) {
        self.sent.push(self.port_name(port));
        self.done.push(copy);
    }

    fn duplicate(&mut self, packet: &Packet, pool: &mut FramePool, _: &Account) -> Option<Packet> {
        self.done.drain(..).for_each(|done| done.free(pool));
        let copy = packet.duplicate(pool);
        if copy.is_none() {
            self.warn("there are more copies, and no room for them: the trace is cut here");
        }
        copy
    }

    fn drop(&mut self, copy: Packet, reason: DropReason, pool: &mut FramePool, _: &Account) {
        self.dropped = reason;
        self.lost = Some(reason).filter(|reason| !says_flow(*reason)).or(self.lost);
        copy.free(pool);
    }

    fn resume(&mut self, aside: AsideId, copy: Packet, pool: &mut FramePool, account: &Account) {
        let frozen = self.frozen(aside.0);
        let pauses = |frozen: &Arc<Frozen>| matches!(frozen.decision, Decision::Pause(_));
        self.is_shown |= frozen.as_ref().is_some_and(pauses);
        self.decide(aside.0, copy, pool, account);
    }

    fn show(&mut self, aside: AsideId, _: &Packet) {
        if let Some(Aside::Show(show)) = self.aside(aside) {
            // One without a hop left is only shown: it is dropped all the same.
            self.is_shown |= show.controller.reason != PacketInReason::InvalidTtl;
        }
    }
}
