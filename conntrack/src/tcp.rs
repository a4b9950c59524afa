//! A TCP connection, as a middlebox sees it.
//!
//! Its state is guessed from segments that may still be lost behind us, so the states are not those of
//! an endpoint (RFC 9293 §3.3.2): they say what has passed. What may open a connection anew is let
//! through without being believed, because the endpoints may be in step where we are not; the answer
//! tells.

use api::CtTimeout;

use crate::Direction;
use crate::Direction::{Original, Reply};
use crate::policies::Policy;
use crate::segment::{Kind, Segment, before};
use crate::settings::Settings;
use crate::window::{Fit, Side, check};

/// What has passed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// A SYN.
    SynSent,
    /// A SYN either way: both open at once.
    SynSent2,
    /// A SYN and its answer.
    SynRecv,
    /// An acknowledgement of that.
    Established,
    /// A FIN.
    FinWait,
    /// An acknowledgement behind it.
    CloseWait,
    /// A FIN either way.
    LastAck,
    /// An acknowledgement of the last one.
    TimeWait,
    /// A reset.
    Close,
}

impl State {
    /// Every state, in order.
    pub const ALL: [Self; 9] = [
        Self::SynSent,
        Self::SynSent2,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
    ];

    /// The name that `nf_conntrack` and ovs-dpctl have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "SYN_SENT",
            Self::SynSent2 => "SYN_SENT2",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
        }
    }

    /// How long it may last.
    const fn timeout(self) -> CtTimeout {
        match self {
            Self::SynSent => CtTimeout::TcpSynSent,
            Self::SynSent2 => CtTimeout::TcpSynSent2,
            Self::SynRecv => CtTimeout::TcpSynRecv,
            Self::Established => CtTimeout::TcpEstablished,
            Self::FinWait => CtTimeout::TcpFinWait,
            Self::CloseWait => CtTimeout::TcpCloseWait,
            Self::LastAck => CtTimeout::TcpLastAck,
            Self::TimeWait => CtTimeout::TcpTimeWait,
            Self::Close => CtTimeout::TcpClose,
        }
    }
}

/// What a connection makes of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It belongs to it.
    Valid {
        /// It shows that both sides are who they say.
        assures: bool,
    },
    /// It may belong to it, and changes nothing.
    Ignored,
    /// It cannot.
    Invalid,
    /// It opens another connection between the same ports: this one is over.
    Reopens,
    /// It belongs to it, and ends it before it has begun.
    Ends,
}

/// What is known of a connection besides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// A packet has come in the direction of replies.
    pub replied: bool,
    /// It has been established once: neither side is an impostor.
    pub assured: bool,
}

/// A TCP connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tcp {
    pub(crate) state: State,
    /// What is known of who began it, and of the other side.
    pub(crate) sides: [Side; 2],
    pub(crate) last: Last,
    /// Both sides have opened at once.
    pub(crate) is_simultaneous: bool,
}

/// The last segment that was let through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Last {
    pub(crate) kind: Kind,
    pub(crate) direction: Direction,
    /// Of the last acknowledgement that fitted, if nothing was ignored behind it.
    pub(crate) end: u32,
    /// What the last segment acknowledges, if it was ignored.
    pub(crate) ack: u32,
    /// What its sender would be if it had been believed: a SYN that was not.
    pub(crate) opening: Option<Side>,
    /// What answers it may be a challenge (RFC 5961 §4.2): it need not acknowledge the last FIN.
    pub(crate) is_challenging: bool,
}

impl Last {
    const fn of(direction: Direction, segment: &Segment) -> Self {
        let &Segment { kind, end, ack, .. } = segment;
        Self { kind, direction, end, ack, opening: None, is_challenging: false }
    }
}

/// Where a segment leads.
enum Next {
    To(State),
    Ignore,
    Refuse,
}

/// What a reset is worth.
enum Reset {
    /// It leads there, whatever its numbers.
    Believe(State),
    /// It leads there if it fits.
    Check(State),
    Refuse,
}

impl Tcp {
    /// Whether a segment begins a connection.
    pub(crate) const fn opens(segment: &Segment, settings: Settings) -> bool {
        match segment.kind {
            Kind::Syn => true,
            Kind::Ack => settings.picks_up,
            _ => false,
        }
    }

    /// The connection that a segment begins; `None` if it begins none.
    pub(crate) fn open(segment: &Segment, settings: Settings) -> Option<Self> {
        let (state, sides) = match segment.kind {
            Kind::Syn => (State::SynSent, [Side::opening(segment), Side::default()]),
            Kind::Ack if Self::opens(segment, settings) => {
                (State::Established, [Side::guessed(segment), Side::unknown()])
            }
            _ => return None,
        };
        let last = Last { end: 0, ack: 0, ..Last::of(Original, segment) };
        let mut opened = Self { state, sides, last, is_simultaneous: false };
        if segment.kind == Kind::Ack
            && opened.check(Original, segment, settings.liberal) == Fit::Within
        {
            opened.last = Last { ack: 0, ..Last::of(Original, segment) };
        }
        Some(opened)
    }

    /// What has passed so far.
    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Seconds that it may be silent behind a segment of this kind.
    pub(crate) fn timeout(&self, kind: Kind, policy: &Policy) -> u32 {
        let timeout = policy.get(self.state.timeout());
        let is_owed = self.sides.iter().any(|side| side.is_owed);
        match kind {
            Kind::Rst => policy.get(CtTimeout::TcpClose),
            _ if is_owed => timeout.min(policy.get(CtTimeout::TcpUnack)),
            _ => timeout,
        }
    }

    /// Takes a segment. If it is `Invalid` or `Ignored`, nothing that matters has changed.
    pub(crate) fn track(
        &mut self,
        direction: Direction,
        segment: &Segment,
        known: Known,
        settings: Settings,
    ) -> Fate {
        let Segment { kind, .. } = *segment;
        let old = self.state;
        let next = match next(direction, kind, old) {
            Next::Refuse => return Fate::Invalid,
            Next::To(State::SynSent) if matches!(old, State::TimeWait | State::Close) => {
                if self.is_over(direction) {
                    return Fate::Reopens;
                }
                None
            }
            Next::To(state) => Some(state),
            Next::Ignore => None,
        };
        let Some(mut new) = next.or_else(|| self.fall_in_step(direction, segment)) else {
            self.disbelieve(direction, segment);
            return Fate::Ignored;
        };
        let (mut is_believed, mut is_exact) = (false, false);
        match (kind, new) {
            (Kind::Ack, State::TimeWait) if self.is_challenge(direction) => {
                // The next one counts.
                self.last.is_challenging = false;
                return Fate::Ignored;
            }
            (_, State::SynSent2) => self.is_simultaneous = true,
            (Kind::Ack, State::SynRecv) if direction == Reply && self.is_simultaneous => {
                new = State::Established;
            }
            (Kind::Rst, _) => match self.reset(direction, segment, known) {
                Reset::Refuse => return Fate::Invalid,
                Reset::Check(state) => new = state,
                Reset::Believe(state) => (new, is_believed) = (state, true),
            },
            _ => {}
        }
        if !is_believed {
            match self.check(direction, segment, settings.liberal) {
                Fit::Within => is_exact = true,
                Fit::Tolerated => {}
                Fit::Beside => return Fate::Ignored,
                Fit::Outside => {
                    self.doubt(direction, kind, known);
                    return Fate::Invalid;
                }
            }
        }
        let end = if kind == Kind::Ack && is_exact { segment.end } else { self.last.end };
        self.last = Last { end, ack: 0, ..Last::of(direction, segment) };
        self.state = new;
        if old != new && new == State::FinWait {
            self.side_mut(direction).closed_first = true;
        }
        if kind == Kind::Rst && !known.replied {
            return Fate::Ends;
        }
        let was_answered = matches!(old, State::SynRecv | State::Established);
        let is_new = known.replied && !known.assured;
        Fate::Valid { assures: is_new && was_answered && new == State::Established }
    }

    /// Whether a segment fits what is known of both sides, which is known better afterwards.
    fn check(&mut self, direction: Direction, segment: &Segment, liberal: bool) -> Fit {
        let [original, reply] = &mut self.sides;
        let (sender, receiver) = match direction {
            Original => (original, reply),
            Reply => (reply, original),
        };
        check(sender, receiver, direction, segment, self.state, liberal)
    }

    const fn side(&self, direction: Direction) -> &Side {
        &self.sides[direction as usize]
    }

    const fn side_mut(&mut self, direction: Direction) -> &mut Side {
        &mut self.sides[direction as usize]
    }

    /// Notes an end that does not fit: if it is real, the other side's will not fit either.
    fn doubt(&mut self, direction: Direction, kind: Kind, known: Known) {
        let ends = |kind| matches!(kind, Kind::Fin | Kind::Rst);
        let is_second = self.last.direction != direction && ends(self.last.kind);
        if known.assured && ends(kind) && !is_second {
            (self.last.kind, self.last.direction) = (kind, direction);
        }
    }

    /// Whether a SYN may take its place: both sides know that it is over (RFC 1122 §4.2.2.13).
    fn is_over(&self, direction: Direction) -> bool {
        self.sides.iter().any(|side| side.closed_first)
            || self.last.direction == direction && self.last.kind == Kind::Rst
    }

    /// If a segment answers a SYN that was not believed, the endpoints are in step and we were not: as
    /// if that SYN had begun the connection.
    fn fall_in_step(&mut self, direction: Direction, segment: &Segment) -> Option<State> {
        let Last { kind, direction: of, end, opening, .. } = self.last;
        let is_answer = segment.kind == Kind::SynAck && kind == Kind::Syn;
        if !is_answer || of == direction || segment.ack != end {
            return None;
        }
        *self.side_mut(of) = opening?;
        let answering = self.side_mut(direction);
        *answering = Side { is_guessed: answering.is_guessed, ..Side::default() };
        self.is_simultaneous = false;
        Some(State::SynRecv)
    }

    /// Notes a segment that may be of a connection we do not know.
    fn disbelieve(&mut self, direction: Direction, segment: &Segment) {
        self.last = Last::of(direction, segment);
        if segment.kind == Kind::Syn && direction == Original {
            self.last.opening = Some(Side::opening(segment));
            self.last.is_challenging = self.state == State::LastAck;
            // If it is real, only one side has opened.
            self.is_simultaneous = false;
        }
    }

    /// Whether an acknowledgement may answer a SYN that was not believed, rather than the last FIN.
    fn is_challenge(&self, direction: Direction) -> bool {
        let Last { kind, direction: of, is_challenging, .. } = self.last;
        self.state == State::LastAck && is_challenging && kind == Kind::Syn && of != direction
    }

    fn reset(&self, direction: Direction, segment: &Segment, known: Known) -> Reset {
        use State::{Close, CloseWait, Established, FinWait, LastAck, SynSent, TimeWait};
        if matches!(self.state, FinWait | CloseWait | LastAck | TimeWait | Close) {
            // What is known may be of an earlier connection between these ports.
            return Reset::Believe(Close);
        }
        let Last { kind: last, direction: of, end, ack, .. } = self.last;
        let mut to = Close;
        if last != Kind::Syn
            && let Some(max_ack) = self.side(direction.reversed()).max_ack
        {
            let is_established = self.state == Established && known.assured;
            if segment.seq == 0 && !is_established {
                return Reset::Check(Close);
            }
            if before(segment.seq, max_ack) {
                return Reset::Refuse;
            }
            let is_exact =
                segment.seq == max_ack || (last, of, end) == (Kind::Ack, direction, segment.seq);
            if !is_established || is_exact {
                return Reset::Check(Close);
            }
            // The other side may challenge it (RFC 5961 §3.2) and go on.
            to = self.state;
        }
        let answers_syn = known.replied && last == Kind::Syn && of != direction;
        let answers_ack = !known.assured && last == Kind::Ack;
        let answers_challenge = self.state == SynSent && (last, of) == (Kind::Ack, Reply);
        if (answers_syn || answers_ack) && segment.ack == end
            || answers_challenge && segment.seq == ack
        {
            return Reset::Believe(to);
        }
        Reset::Check(to)
    }
}

/// Where a segment leads from a state, if its numbers allow it.
const fn next(direction: Direction, kind: Kind, state: State) -> Next {
    use State::{
        Close, CloseWait, Established, FinWait, LastAck, SynRecv, SynSent, SynSent2, TimeWait,
    };
    match (kind, direction, state) {
        // Opens, or is sent once more, or opens what is over anew.
        (Kind::Syn, Original, SynSent | TimeWait | Close) => Next::To(SynSent),
        (Kind::Syn, Original, SynSent2) => Next::To(SynSent2),
        (Kind::Syn, Original, _) => Next::Ignore,
        (Kind::Syn, Reply, SynSent | SynSent2) => Next::To(SynSent2),
        (Kind::Syn, Reply, TimeWait) => Next::To(SynSent),
        (Kind::Syn, Reply, _) => Next::Refuse,

        (Kind::SynAck, _, SynSent2) => Next::To(SynRecv),
        (Kind::SynAck, Original, SynRecv) => Next::To(SynRecv),
        (Kind::SynAck, Original, _) => Next::Refuse,
        (Kind::SynAck, Reply, SynSent) => Next::To(SynRecv),
        (Kind::SynAck, Reply, _) => Next::Ignore,

        (Kind::Fin, _, SynSent | SynSent2) => Next::Refuse,
        (Kind::Fin, _, SynRecv | Established) => Next::To(FinWait),
        (Kind::Fin, _, FinWait | CloseWait | LastAck) => Next::To(LastAck),
        (Kind::Fin, _, TimeWait | Close) => Next::To(state),

        (Kind::Ack, Original, SynSent | SynSent2) => Next::Refuse,
        // It may be of a connection that the other side has half open.
        (Kind::Ack, Reply, SynSent | SynSent2) => Next::Ignore,
        (Kind::Ack, Original, SynRecv) | (Kind::Ack, _, Established) => Next::To(Established),
        (Kind::Ack, Reply, SynRecv) => Next::To(SynRecv),
        (Kind::Ack, _, FinWait | CloseWait) => Next::To(CloseWait),
        (Kind::Ack, _, LastAck | TimeWait) => Next::To(TimeWait),
        (Kind::Ack, _, Close) => Next::To(Close),

        (Kind::Rst, _, _) => Next::To(Close),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { liberal: false, picks_up: true };

    /// A segment without data.
    fn segment(kind: Kind, seq: u32, ack: u32) -> Segment {
        let numbered = matches!(kind, Kind::Syn | Kind::SynAck | Kind::Fin);
        Segment {
            kind,
            has_ack: kind != Kind::Syn,
            seq,
            end: seq.wrapping_add(u32::from(numbered)),
            ack,
            sack: ack,
            window: 1000,
            has_options: false,
            scale: None,
            allows_sack: false,
        }
    }

    /// What becomes of segments behind a handshake from 100 to 500.
    fn established(segments: &[(Direction, Segment)]) -> (Vec<Fate>, State) {
        let mut tcp = Tcp::open(&segment(Kind::Syn, 100, 0), SETTINGS).unwrap();
        let mut known = Known::default();
        let handshake =
            [(Reply, segment(Kind::SynAck, 500, 101)), (Original, segment(Kind::Ack, 101, 501))];
        let mut fates = Vec::new();
        for (direction, segment) in handshake.iter().chain(segments) {
            let fate = tcp.track(*direction, segment, known, SETTINGS);
            known.replied |= *direction == Reply;
            known.assured |= fate == Fate::Valid { assures: true };
            fates.push(fate);
        }
        assert!(known.assured);
        (fates.split_off(2), tcp.state())
    }

    #[test]
    fn a_syn_that_is_sent_again_establishes_nothing() {
        let syn = segment(Kind::Syn, 100, 0);
        let mut tcp = Tcp::open(&syn, SETTINGS).unwrap();
        for _ in 0..3 {
            let fate = tcp.track(Original, &syn, Known::default(), SETTINGS);
            assert_eq!((fate, tcp.state()), (Fate::Valid { assures: false }, State::SynSent));
        }
    }

    #[test]
    fn a_reset_that_does_not_fit_exactly_is_left_to_a_challenge() {
        let valid = Fate::Valid { assures: false };
        let reset = |seq| established(&[(Reply, segment(Kind::Rst, seq, 101))]);
        assert_eq!(reset(501), (vec![valid], State::Close));
        assert_eq!(reset(600), (vec![valid], State::Established));
        assert_eq!(reset(500), (vec![Fate::Invalid], State::Established));
    }

    #[test]
    fn an_answer_to_a_syn_that_was_not_believed_brings_one_in_step() {
        let (fates, state) = established(&[
            (Original, segment(Kind::Syn, 9_000_000, 0)),
            (Reply, segment(Kind::SynAck, 7_000_000, 9_000_001)),
            (Original, segment(Kind::Ack, 9_000_001, 7_000_001)),
        ]);
        let valid = Fate::Valid { assures: false };
        assert_eq!((&*fates, state), (&[Fate::Ignored, valid, valid][..], State::Established));
    }

    #[test]
    fn a_syn_that_is_not_believed_means_that_one_side_opened_after_all() {
        let syn = segment(Kind::Syn, 100, 0);
        let syn_ack = segment(Kind::SynAck, 100, 501);
        let (syn_reply, ack) = (segment(Kind::Syn, 500, 0), segment(Kind::Ack, 501, 101));
        let opened = |segments: &[(Direction, Segment)]| {
            let mut tcp = Tcp::open(&syn, SETTINGS).unwrap();
            let known = Known { replied: true, assured: false };
            for (direction, segment) in segments {
                tcp.track(*direction, segment, known, SETTINGS);
            }
            tcp.state()
        };
        let both = [(Reply, syn_reply), (Original, syn_ack)];
        let last = [(Reply, ack)];
        assert_eq!(opened(&[&both[..], &last].concat()), State::Established);
        let again = [(Original, syn)];
        assert_eq!(opened(&[&both[..], &again, &last].concat()), State::SynRecv);
    }

    #[test]
    fn what_is_over_is_opened_anew() {
        let (fates, state) = established(&[
            (Original, segment(Kind::Fin, 101, 501)),
            (Reply, segment(Kind::Fin, 501, 102)),
            (Original, segment(Kind::Ack, 102, 502)),
            (Original, segment(Kind::Syn, 8000, 0)),
        ]);
        assert_eq!((fates.last(), state), (Some(&Fate::Reopens), State::TimeWait));
    }

    #[test]
    fn who_is_strict_picks_nothing_up() {
        let ack = segment(Kind::Ack, 100, 500);
        assert!(Tcp::open(&ack, Settings { picks_up: false, ..SETTINGS }).is_none());
        assert_eq!(Tcp::open(&ack, SETTINGS).unwrap().state(), State::Established);
        assert!(Tcp::open(&segment(Kind::Fin, 100, 500), SETTINGS).is_none());
    }
}
