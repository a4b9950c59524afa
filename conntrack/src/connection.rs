//! One connection, as all threads see it.

#[cfg(not(loom))]
use bytemuck::Zeroable;

use api::CtTimeout;

use crate::Direction;
use crate::bundle::Bundle;
use crate::kin::Kin;
use crate::message::Content;
use crate::opened::{Opened, State, first_timeout};
use crate::policies::{Policies, Policy};
use crate::quick::Ack;
use crate::settings::Settings;
use crate::shared_tcp::{Judged, SharedTcp, Words};
use crate::sync::{AtomicU32, Ordering};
use crate::tcp::{Fate, Known};

/// A connection: what every packet needs, in one line. What few packets need lies apart, at the same
/// place: its [marks](crate::marks) and its [link](crate::link).
#[cfg_attr(not(loom), derive(Zeroable))]
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Connection {
    /// A [`Stage`], and which use of this place it is.
    stage: AtomicU32,
    /// When it goes, if it is silent until then: milliseconds, wrapping.
    deadline: AtomicU32,
    /// Of SCTP two of its words are used for that; of other protocols one, for when it began:
    /// milliseconds, wrapping.
    tcp: SharedTcp,
    /// What is [`Known`] of other protocols' than TCP, whether it has to do with other connections,
    /// whether it may have a mark or a label, and the number of its policy.
    known: AtomicU32,
    /// How often what was noted about it has changed.
    version: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Connection>() == 64);

/// What is at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// Nothing, or what one thread alone is making.
    Free,
    /// A connection.
    Live,
    /// One that was taken away, and that somebody may still see.
    Gone,
}

/// One use of a place: the stage word of a connection that lives.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, bytemuck::Zeroable)]
#[repr(transparent)]
pub(crate) struct Use(u32);

const STAGE: u32 = 0b11;

const fn stage_of(word: u32) -> Stage {
    match word & STAGE {
        0 => Stage::Free,
        1 => Stage::Live,
        _ => Stage::Gone,
    }
}

impl Connection {
    /// What is here.
    #[inline]
    pub(crate) fn stage(&self) -> Stage {
        stage_of(self.stage.load(Ordering::Acquire))
    }

    /// The use of this place, if a connection lives here.
    #[inline]
    pub(crate) fn in_use(&self) -> Option<Use> {
        let word = self.stage.load(Ordering::Acquire);
        (stage_of(word) == Stage::Live).then_some(Use(word))
    }

    /// Makes what was written here a connection that all threads see. Only for who has taken the place.
    pub(crate) fn live(&self) -> Use {
        let word = self.stage.load(Ordering::Relaxed) & !STAGE | 1;
        self.stage.store(word, Ordering::Release);
        Use(word)
    }

    /// Ends a connection; answers whether this thread did.
    pub(crate) fn end(&self, Use(word): Use) -> bool {
        let gone = word & !STAGE | 2;
        self.stage.compare_exchange(word, gone, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Makes this place, whose connection was taken away, free for another use. Only for who frees
    /// places.
    pub(crate) fn free(&self) {
        let word = self.stage.load(Ordering::Relaxed);
        self.stage.store((word & !STAGE).wrapping_add(STAGE + 1), Ordering::Release);
    }

    /// Writes what is known when a connection begins. Only for who has taken the place.
    #[expect(clippy::inline_always, reason = "what it is given is at hand where it is called")]
    #[inline(always)]
    pub(crate) fn begin(&self, opened: &Opened, kin: &Kin, is_marked: bool, policy: u8, now: u32) {
        match opened {
            Opened::Syn(words) => self.tcp.begin(words),
            Opened::Midstream(tcp) => self.tcp.begin(&Words::of(tcp, Known::default())),
            Opened::Sctp(sctp) => self.tcp.as_sctp().begin(sctp),
            Opened::Other => self.tcp.begin_other(now),
        }
        let watched = if kin.alg.is_some() { WATCHED } else { 0 };
        let announced = if kin.master.is_some() { ANNOUNCED } else { 0 };
        let marked = if is_marked { MARKED } else { 0 };
        let known = watched | announced | marked | u32::from(policy) << POLICY;
        self.known.store(known, Ordering::Relaxed);
        // Nobody else writes it yet.
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        self.version.store(version, Ordering::Release);
    }

    /// The number of its policy.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "eight bits")]
    pub(crate) fn policy(&self) -> u8 {
        (self.known.load(Ordering::Relaxed) >> POLICY) as u8
    }

    /// What is known of it.
    #[inline]
    pub(crate) fn known(&self) -> Known {
        if self.tcp.is_there() {
            return self.tcp.get().1;
        }
        let bits = self.known.load(Ordering::Relaxed);
        Known { replied: bits & REPLIED != 0, assured: bits & ASSURED != 0 }
    }

    /// Whether it announces others: all of its packets are to be heard.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.known.load(Ordering::Relaxed) & WATCHED != 0
    }

    /// Whether another one has announced it.
    #[inline]
    pub(crate) fn is_announced(&self) -> bool {
        self.known.load(Ordering::Relaxed) & ANNOUNCED != 0
    }

    /// Whether it may have a mark or a label. Of a place that was taken: whether its last connection may.
    pub(crate) fn is_marked(&self) -> bool {
        self.known.load(Ordering::Relaxed) & MARKED != 0
    }

    /// From now on it may.
    pub(crate) fn set_marked(&self) {
        if !self.is_marked() {
            self.known.fetch_or(MARKED, Ordering::Relaxed);
        }
    }

    /// Its state, if its protocol has some.
    pub(crate) fn state(&self) -> Option<State> {
        if self.tcp.is_there() {
            return Some(State::Tcp(self.tcp.get().0.state()));
        }
        self.tcp.as_sctp().get().map(|sctp| State::Sctp(sctp.state))
    }

    /// How far it has come: when that changes, it is told.
    pub(crate) fn progress(&self) -> (Option<State>, Known) {
        (self.state(), self.known())
    }

    /// Takes a packet of it; says also what was known of the connection before.
    pub(crate) fn track(
        &self,
        direction: Direction,
        content: &Content,
        settings: Settings,
        policies: &Policies,
        now: u32,
    ) -> (Fate, Known) {
        let policy = policies.get(self.policy());
        if let Content::Tcp(segment) = content {
            let (fate, tcp, before) = self.tcp.track(direction, segment, settings);
            if matches!(fate, Fate::Valid { .. }) {
                self.prolong(tcp.timeout(segment.kind, policy), now);
            }
            return (fate, before);
        }
        let before = self.known();
        if let Content::Sctp(bundle) = content {
            return (self.track_bundle((direction, bundle), before, policy, now), before);
        }
        let replied = before.replied || direction == Direction::Reply;
        let is_udp = matches!(content, Content::Udp);
        // Of other protocols nobody knows whether both sides are who they say.
        let assured = before.assured || is_udp && before.replied && self.has_lasted(now);
        if (replied, assured) != (before.replied, before.assured) {
            let bits = if assured { REPLIED | ASSURED } else { REPLIED };
            self.known.fetch_or(bits, Ordering::Relaxed);
        }
        let timeout = match content {
            Content::Udp if assured => CtTimeout::UdpMultiple,
            Content::Udp => CtTimeout::UdpSingle,
            Content::Question | Content::Answer if replied => CtTimeout::IcmpReply,
            _ => first_timeout(content),
        };
        self.prolong(policy.get(timeout), now);
        (Fate::Valid { assures: assured && !before.assured }, before)
    }

    /// Takes a packet of SCTP.
    fn track_bundle(
        &self,
        (direction, bundle): (Direction, &Bundle),
        known: Known,
        policy: &Policy,
        now: u32,
    ) -> Fate {
        let (fate, sctp) = self.tcp.as_sctp().track(direction, bundle);
        if fate == Fate::Invalid {
            return fate;
        }
        let replied = known.replied || direction == Direction::Reply;
        let assured = known.assured || fate == Fate::Valid { assures: true };
        if (replied, assured) != (known.replied, known.assured) {
            let [replied, assured] =
                [(replied, REPLIED), (assured, ASSURED)].map(|(is, bit)| if is { bit } else { 0 });
            self.known.fetch_or(replied | assured, Ordering::Relaxed);
        }
        if fate != Fate::Ignored {
            self.prolong(policy.get(sctp.state.timeout()), now);
        }
        fate
    }

    /// Whether one of UDP has gone on for so long that it is no mere question and its answer.
    fn has_lasted(&self, now: u32) -> bool {
        /// That of the Linux kernel.
        const LONG: u32 = 2000;
        let age = now.wrapping_sub(self.tcp.began());
        // The clocks of two threads may differ a little.
        age > LONG && age < u32::MAX / 2
    }

    /// Judges an acknowledgement; `None` if it may change what anybody is told. Nothing has changed yet.
    #[expect(clippy::inline_always, reason = "of what it needs and finds, most stays in registers")]
    #[inline(always)]
    pub(crate) fn judge_ack(&self, direction: Direction, ack: Ack) -> Option<Judged> {
        self.tcp.judge_ack(direction, ack)
    }

    /// Takes an acknowledgement that was judged; answers whether it has. If not, nothing has changed.
    #[expect(clippy::inline_always, reason = "of what it needs and finds, most stays in registers")]
    #[inline(always)]
    pub(crate) fn take_ack(
        &self,
        direction: Direction,
        judged: &Judged,
        ack: Ack,
        policies: &Policies,
        now: u32,
    ) -> bool {
        let is_owed = self.tcp.take_ack(direction, judged, ack);
        if let Some(is_owed) = is_owed {
            self.prolong(policies.get(self.policy()).established(is_owed), now);
        }
        is_owed.is_some()
    }

    /// Takes a datagram of UDP, if it was answered; answers whether it is assured only now.
    #[inline]
    pub(crate) fn take_datagram(&self, policies: &Policies, now: u32) -> bool {
        let policy = policies.get(self.policy());
        if self.known.load(Ordering::Relaxed) & ASSURED == 0 {
            return self.take_early(policy, now);
        }
        self.prolong(policy.get(CtTimeout::UdpMultiple), now);
        false
    }

    /// The same of one that was young the last time.
    #[cold]
    fn take_early(&self, policy: &Policy, now: u32) -> bool {
        let has_lasted = self.has_lasted(now);
        if has_lasted {
            self.known.fetch_or(ASSURED, Ordering::Relaxed);
        }
        let timeout = if has_lasted { CtTimeout::UdpMultiple } else { CtTimeout::UdpSingle };
        self.prolong(policy.get(timeout), now);
        has_lasted
    }

    /// Whether packets find nothing new, if they are as usual.
    pub(crate) fn is_settled(&self) -> bool {
        if self.is_watched() {
            return false;
        }
        if self.tcp.is_there() { self.tcp.is_calm() } else { self.known().replied }
    }

    /// How often what was noted about it has changed.
    #[inline]
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    /// Tells those who have read what was noted about it that it has changed.
    pub(crate) fn renew_version(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// From now on it may be silent for so many seconds, as a [`Policy`] says.
    #[inline]
    pub(crate) fn prolong(&self, seconds: u32, now: u32) {
        let deadline = now.wrapping_add(seconds * 1000);
        if self.deadline.load(Ordering::Relaxed) != deadline {
            self.deadline.store(deadline, Ordering::Relaxed);
        }
    }

    /// Milliseconds until it goes; `None` if it should have gone.
    #[inline]
    pub(crate) fn left(&self, now: u32) -> Option<u32> {
        let left = self.deadline.load(Ordering::Relaxed).wrapping_sub(now);
        // Half of all is far more than a connection has.
        (left.wrapping_sub(1) < u32::MAX / 2).then_some(left)
    }
}

/// What is known of a connection other than TCP's, as bits.
const REPLIED: u32 = 1;
const ASSURED: u32 = 2;
/// What it has to do with other connections.
const WATCHED: u32 = 4;
const ANNOUNCED: u32 = 8;
/// It may have a mark or a label.
const MARKED: u32 = 16;
/// Where the number of its policy lies beside them.
const POLICY: u32 = 8;
