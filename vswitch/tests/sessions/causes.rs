//! What brings a session to its end, or has packets pass it by: each is brought about behind a packet
//! that has met its session, and counts if the next one does not.

use std::collections::BTreeMap;

use api::{Action, Command, Field, FlowMod};
use conntrack::{ConnectionId, Notes};
use packet::tcp;
use proptest::prelude::*;

use crate::pipelines::PIPELINES;
use crate::stage::{SPARE, Stage};
use crate::talk::{Odd, Say, USUAL};

macro_rules! causes {
    ($($name:ident $sentence:literal,)*) => {
        /// Why a packet does not meet the session that the one before has met.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub(crate) enum Cause {
            $(#[doc = $sentence] $name,)*
        }

        impl Cause {
            /// All of them.
            pub(crate) const ALL: [Self; [$($sentence,)*].len()] = [$(Self::$name,)*];
        }
    };
}

causes! {
    FirstFlowAdded "There is another flow for the first pass.",
    FirstFlowChanged "The flow of the first pass does something else.",
    FirstFlowDeleted "The flow of the first pass is gone.",
    LaterFlowAdded "There is another flow for a later pass.",
    LaterFlowChanged "A flow of a later pass does something else.",
    LaterFlowDeleted "A flow of a later pass is gone.",
    Flushed "The connections are gone.",
    LaterGone "The connection of a later pass is gone, the first one is there.",
    Expired "The connection was silent for too long.",
    ExpiredYoung "The same of one of UDP that was not assured.",
    PlaceUsedAnew "Another connection is where it was.",
    MarkChanged "It has another mark.",
    LabelChanged "It has another label.",
    NotedBack "What is noted about it has changed, and is the same again.",
    Fin "The packet ends its side.",
    Rst "The packet resets the connection.",
    Syn "The packet begins a connection.",
    BehindFin "A side has ended.",
    BehindRst "The connection was reset.",
    BehindSyn "Somebody has begun it again, and nobody has answered.",
    SeqOutside "The packet lies outside of the window.",
    AckOutside "What the packet acknowledges was not sent.",
    AckOld "What the packet acknowledges was acknowledged long ago.",
    LaterOutside "It lies outside of the window that the connection of a later pass knows.",
    NoFlags "The packet acknowledges nothing.",
    Cut "There is less of the packet than it says.",
    Sum "The packet's checksum is wrong.",
    OtherDscp "The flows look at the DSCP, and it has another one.",
    OtherTtl "The flows look at the TTL, and it has another one.",
    OtherMac "The flows look at the MAC address, and it has another one.",
    OtherFlags "The flows look at its flags, and it has others.",
    LastHop "The packet has no hop left.",
    Options "The packet has options of IP.",
    Fragment "The packet is a fragment.",
    MadeRoom "The session has made room for another one.",
    Idle "The session had no packet for long.",
    SessionsFlushed "What is cached is to be forgotten.",
    Assured "None: the session is met, and the connection is assured by that.",
}

impl Cause {
    /// Whether packets meet the session all the same.
    fn spares(self) -> bool {
        self == Self::Assured
    }
}

/// How often each has come to something.
pub(crate) type Fired = BTreeMap<Cause, u32>;

/// A cause that is to be brought about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) cause: Cause,
    pub(crate) talk: usize,
    pub(crate) back: bool,
    /// Whether no connection is known before.
    pub(crate) fresh: bool,
    /// Which flow, of those in question.
    pub(crate) nth: usize,
}

/// The packet that is to miss the session; and whether what was brought about is so.
struct Probe(Option<Say>, bool);

impl Stage {
    /// Brings a cause about, and counts it if it has come to something.
    pub(crate) fn end(&mut self, end: &End) -> Result<(), TestCaseError> {
        let End { cause, talk, back, .. } = *end;
        let (original, other) = self.flows(end);
        let is_deleted = matches!(cause, Cause::FirstFlowDeleted | Cause::LaterFlowDeleted);
        if is_deleted {
            self.switch.flow_mods(std::slice::from_ref(&other));
        }
        if end.fresh {
            self.remove(|_| true);
        }
        self.settle(talk)?;
        let (met, assured) = (self.meets(talk, back, USUAL)?, self.assured());
        let Probe(say, mut is_so) = self.bring_about(end, [&original, &other])?;
        let meets = match say {
            Some(say) => self.meets(talk, back, say)?,
            None => self.meets_in_fragments(talk, back)?,
        };
        is_so &= cause != Cause::Assured || self.assured() > assured;
        if met && is_so && meets == cause.spares() {
            *self.fired.entry(cause).or_default() += 1;
        }
        // As it was before.
        match cause {
            Cause::FirstFlowAdded | Cause::LaterFlowAdded => self.delete(&other),
            Cause::FirstFlowChanged | Cause::LaterFlowChanged => self.modify(&original),
            _ => {}
        }
        Ok(())
    }

    fn bring_about(
        &mut self,
        end: &End,
        [original, other]: [&FlowMod; 2],
    ) -> Result<Probe, TestCaseError> {
        let End { cause, talk, nth, .. } = *end;
        let flagged = |flags| Say { flags, len: 0, ..USUAL };
        let [fin, rst, syn] = [tcp::FIN | tcp::ACK, tcp::RST | tcp::ACK, tcp::SYN].map(flagged);
        let is = |say| Ok(Probe(Some(say), true));
        match cause {
            Cause::FirstFlowAdded | Cause::LaterFlowAdded => {
                self.switch.flow_mods(std::slice::from_ref(other));
            }
            Cause::FirstFlowChanged | Cause::LaterFlowChanged => {
                self.modify(&FlowMod { actions: other.actions.clone(), ..original.clone() });
            }
            Cause::FirstFlowDeleted | Cause::LaterFlowDeleted => self.delete(other),
            Cause::Flushed => self.remove(|_| true),
            Cause::LaterGone => self.remove(|zone| zone == 2),
            Cause::Expired | Cause::ExpiredYoung => return self.expire(end),
            Cause::PlaceUsedAnew => return self.use_anew(talk),
            Cause::MarkChanged => self.note(|n| Notes { mark: (n, u32::MAX), ..Notes::default() }),
            Cause::LabelChanged => self.note(|n| {
                let label = (u128::from(n) << 64, 0xffff << 64);
                Notes { label, ..Notes::default() }
            }),
            Cause::NotedBack => {
                const BIT: u32 = 1 << 31;
                self.note(|_| Notes { mark: (BIT, BIT), ..Notes::default() });
                self.note(|_| Notes { mark: (0, BIT), ..Notes::default() });
            }
            Cause::Fin => return is(fin),
            Cause::Rst => return is(rst),
            Cause::Syn => return is(syn),
            Cause::BehindFin => self.say(talk, nth % 2 == 0, &[fin])?,
            Cause::BehindRst => self.say(talk, nth % 2 == 0, &[rst])?,
            Cause::BehindSyn => self.say(talk, nth % 2 == 0, &[syn])?,
            Cause::SeqOutside => return is(Say { seq: 200_000, ..USUAL }),
            Cause::AckOutside => return is(Say { ack: 200_000, ..USUAL }),
            Cause::AckOld => return is(Say { ack: -200_000, ..USUAL }),
            Cause::LaterOutside => return self.narrow(end),
            Cause::NoFlags => return is(Say { flags: 0, ..USUAL }),
            Cause::Cut => return is(Say { odd: Some(Odd::Cut), ..USUAL }),
            Cause::Sum => return is(Say { odd: Some(Odd::Sum), ..USUAL }),
            Cause::OtherDscp => return is(Say { tos: 32, ..USUAL }),
            Cause::OtherTtl => return is(Say { ttl: 63, ..USUAL }),
            Cause::OtherMac => return is(Say { odd: Some(Odd::Mac), ..USUAL }),
            Cause::OtherFlags => return is(Say { flags: tcp::ACK | tcp::PSH, ..USUAL }),
            Cause::LastHop => return is(Say { ttl: 1, ..USUAL }),
            Cause::Options => return is(Say { odd: Some(Odd::Options), ..USUAL }),
            Cause::Fragment => return Ok(Probe(None, true)),
            Cause::MadeRoom => return self.crowd(),
            Cause::Idle => return Ok(self.idle()),
            Cause::SessionsFlushed => {
                let is_so = self.switch.flush() > 0;
                return Ok(Probe(Some(USUAL), is_so));
            }
            Cause::Assured => self.switch.wait(3),
        }
        is(USUAL)
    }

    /// A flow of the first pass, or of a later one, and one that does more with packets and comes before
    /// it.
    fn flows(&self, end: &End) -> (FlowMod, FlowMod) {
        use Cause::{FirstFlowAdded, FirstFlowChanged, FirstFlowDeleted};
        let is_first = matches!(end.cause, FirstFlowAdded | FirstFlowChanged | FirstFlowDeleted);
        let flows = PIPELINES[self.pipeline].iter().map(|flow| flow.parse::<FlowMod>().unwrap());
        let flows: Vec<_> = flows.filter(|flow| (flow.table == Some(0)) == is_first).collect();
        let original = flows[end.nth % flows.len()].clone();
        let mut other = FlowMod { priority: 50, ..original.clone() };
        let field = Field::EthSrc;
        let more = Action::SetField { field, value: 0x0200_0000_000b, mask: field.ones() };
        other.actions.get_or_insert_default().insert(0, more);
        (original, other)
    }

    fn delete(&mut self, flow: &FlowMod) {
        let command = Command::DeleteStrict;
        self.switch.flow_mods(&[FlowMod { command, actions: None, ..flow.clone() }]);
    }

    fn modify(&mut self, flow: &FlowMod) {
        self.switch.flow_mods(&[FlowMod { command: Command::ModifyStrict, ..flow.clone() }]);
    }

    /// Has every connection here and there noted differently.
    fn note(&mut self, notes: impl Fn(u32) -> Notes) {
        self.noted += 1;
        let (notes, now) = (notes(self.noted), self.switch.now());
        for connections in [self.switch.connections(), self.switch.literal_connections()] {
            connections.iter().for_each(|id| connections.note(id, &notes, now));
        }
    }

    /// Has the connections of later passes know less of the windows than the first one does, which both
    /// sides have opened wide before.
    fn narrow(&mut self, end: &End) -> Result<Probe, TestCaseError> {
        let End { talk, back, .. } = *end;
        let wide = Say { window: 60_000, ..USUAL };
        self.say(talk, false, &[wide])?;
        self.say(talk, true, &[wide])?;
        self.remove(|zone| zone == 2);
        self.talk(talk)?;
        let is_so = self.meets(talk, back, USUAL)?;
        Ok(Probe(Some(Say { seq: 5000, ..USUAL }), is_so))
    }

    /// Waits until the connections are gone whose packets are not waited for any longer.
    fn expire(&mut self, end: &End) -> Result<Probe, TestCaseError> {
        let is_young = end.cause == Cause::ExpiredYoung;
        let is_tcp = self.talks[end.talk].is_tcp();
        if !is_young && !is_tcp {
            self.switch.wait(3);
            self.say(end.talk, false, &[USUAL])?;
            self.say(end.talk, true, &[USUAL])?;
        }
        let (before, assured) = (self.connections().len(), self.assured());
        let seconds = if is_tcp {
            301
        } else if is_young {
            31
        } else {
            121
        };
        // Nothing is looked at before the next packet comes: the session is still there.
        self.switch.wait(seconds);
        let is_as_said = is_young == (assured == 0);
        Ok(Probe(Some(USUAL), is_as_said && self.connections().len() < before))
    }

    /// Has other connections take the places of those that there are.
    fn use_anew(&mut self, talk: usize) -> Result<Probe, TestCaseError> {
        let old: Vec<_> = self.switch.connections().iter().collect();
        self.remove(|_| true);
        // Less than a session is kept that has no packets.
        for _ in 0..2 {
            self.switch.wait(4);
            self.switch.check();
        }
        self.settle(1 - talk)?;
        let new: Vec<_> = self.switch.connections().iter().collect();
        let is_anew = |id: &ConnectionId| {
            let is_there = |new: &ConnectionId| new.place() == id.place() && new != id;
            old.contains(id) && new.iter().any(is_there)
        };
        let flows = self.switch.cached();
        let mut ties = flows.iter().filter_map(|flow| flow.ties.as_ref());
        let is_so = ties.any(|ties| ties.standings.iter().any(|tie| is_anew(&tie.id())));
        Ok(Probe(Some(USUAL), is_so))
    }

    /// Waits until no session is left, while the connections are there.
    fn idle(&mut self) -> Probe {
        let before = self.connections().len();
        self.switch.wait(11);
        // A few sessions are looked at each time.
        (0..10).for_each(|_| self.switch.check());
        Probe(
            Some(USUAL),
            self.switch.sessions().iter().all(|sessions| *sessions == 0)
                && self.connections().len() == before,
        )
    }

    /// More talk than there is room for.
    fn crowd(&mut self) -> Result<Probe, TestCaseError> {
        self.switch.wait(1);
        for talk in 2..2 + SPARE {
            self.settle(talk)?;
        }
        Ok(Probe(
            Some(USUAL),
            self.switch.sessions().iter().all(|sessions| *sessions >= self.room.into()),
        ))
    }
}
