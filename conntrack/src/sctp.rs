//! An association of SCTP, as a middlebox sees it (RFC 9260).
//!
//! As of TCP the states say what has passed, not what an endpoint thinks. Each side names a tag when it
//! opens, which all packets to it bear from then on: who has not seen the beginning does not know it.
//! So nothing is picked up in its middle but by a heartbeat, which a side with several addresses sends
//! from each of them.

use api::CtTimeout;

use crate::Direction;
use crate::Direction::{Original, Reply};
use crate::bundle::{Bundle, Chunk, Tag};
use crate::tcp::Fate;

/// What has passed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// An INIT, or what ends: nothing that holds.
    #[default]
    Closed,
    /// An INIT and its answer.
    CookieWait,
    /// A COOKIE ECHO.
    CookieEchoed,
    /// Its answer, or that of a heartbeat.
    Established,
    /// A SHUTDOWN of who began.
    ShutdownSent,
    /// A SHUTDOWN of the other side.
    ShutdownRecd,
    /// Its answer.
    ShutdownAckSent,
    /// A heartbeat, which nobody has answered.
    HeartbeatSent,
}

impl State {
    /// Every state, in order.
    pub const ALL: [Self; 8] = [
        Self::Closed,
        Self::CookieWait,
        Self::CookieEchoed,
        Self::Established,
        Self::ShutdownSent,
        Self::ShutdownRecd,
        Self::ShutdownAckSent,
        Self::HeartbeatSent,
    ];

    /// The name that `nf_conntrack` has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::CookieWait => "COOKIE_WAIT",
            Self::CookieEchoed => "COOKIE_ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownSent => "SHUTDOWN_SENT",
            Self::ShutdownRecd => "SHUTDOWN_RECD",
            Self::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            Self::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }

    /// How long it may last.
    pub(crate) const fn timeout(self) -> CtTimeout {
        match self {
            Self::Closed => CtTimeout::SctpClosed,
            Self::CookieWait => CtTimeout::SctpCookieWait,
            Self::CookieEchoed => CtTimeout::SctpCookieEchoed,
            Self::Established => CtTimeout::SctpEstablished,
            Self::ShutdownSent => CtTimeout::SctpShutdownSent,
            Self::ShutdownRecd => CtTimeout::SctpShutdownRecd,
            Self::ShutdownAckSent => CtTimeout::SctpShutdownAckSent,
            Self::HeartbeatSent => CtTimeout::SctpHeartbeatSent,
        }
    }
}

/// An association.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sctp {
    pub(crate) state: State,
    /// What packets bear of each direction; 0 is: nobody knows yet.
    pub(crate) tags: [u32; 2],
    /// Which sides have sent an INIT that was not answered to the end.
    pub(crate) inits: [bool; 2],
    /// Which way the last heartbeat went, if it bore another tag.
    pub(crate) doubted: Option<Direction>,
}

/// Whether a heartbeat, or its answer, bears the tag that it has to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Beat {
    /// It does.
    Believed,
    /// Its answer will tell.
    InDoubt,
}

/// What comes of a chunk.
enum Step {
    /// This is the state now.
    To(State),
    /// It stays what it was, and the packet does not count for its time.
    Ignore,
}

impl Sctp {
    /// The association that a packet begins, if it begins one.
    pub(crate) fn open(bundle: &Bundle) -> Option<Self> {
        let mut opened = Self::default();
        if bundle.has_others || bundle.chunks().next().is_none() {
            return None;
        }
        for chunk in bundle.chunks() {
            match chunk {
                // There is nothing to be ended or answered (RFC 9260 §8.4).
                Chunk::Abort(_) | Chunk::ShutdownComplete(_) | Chunk::CookieAck => return None,
                Chunk::Init => {}
                Chunk::Heartbeat | Chunk::HeartbeatAck => {
                    opened.tags[Original as usize] = bundle.tag;
                }
                // What answers it bears the same one (§8.4).
                _ => opened.tags[Reply as usize] = bundle.tag,
            }
        }
        for (n, chunk) in bundle.chunks().enumerate() {
            let next = if n == 0 { first(chunk) } else { next(Original, chunk, opened.state) };
            opened.take(Original, chunk, bundle, next?)?;
        }
        Some(opened)
    }

    /// Takes a packet. If it is `Invalid`, nothing has changed.
    pub(crate) fn track(&mut self, direction: Direction, bundle: &Bundle) -> Fate {
        let before = *self;
        match self.take_all(direction, bundle) {
            Some(Step::Ignore) => Fate::Ignored,
            Some(Step::To(state)) => {
                let is_new = state == State::Established && before.state != state;
                Fate::Valid { assures: is_new }
            }
            None => {
                *self = before;
                Fate::Invalid
            }
        }
    }

    /// Takes all chunks, or answers nothing.
    fn take_all(&mut self, direction: Direction, bundle: &Bundle) -> Option<Step> {
        let mut is_ignored = false;
        if bundle.chunks().next().is_none() && !self.bears(direction, bundle) {
            return None;
        }
        for chunk in bundle.chunks() {
            let next = next(direction, chunk, self.state)?;
            match self.take(direction, chunk, bundle, next)? {
                // Only one heartbeat of a packet may be in doubt, and no data comes with it.
                Step::Ignore if is_ignored || bundle.has_data => return None,
                Step::Ignore => is_ignored = true,
                Step::To(_) => {}
            }
        }
        Some(if is_ignored { Step::Ignore } else { Step::To(self.state) })
    }

    /// Takes a chunk that leads to this state, if its packet bears the tag that it has to (RFC 9260
    /// §8.5).
    fn take(
        &mut self,
        direction: Direction,
        chunk: Chunk,
        bundle: &Bundle,
        next: State,
    ) -> Option<Step> {
        let old = self.state;
        match chunk {
            Chunk::Init => {
                self.init(direction, bundle)?;
                // Who opens again and again keeps nothing from going that is over.
                if (old, next) == (State::Closed, State::Closed) {
                    return Some(Step::Ignore);
                }
            }
            Chunk::Heartbeat | Chunk::HeartbeatAck => {
                if self.beat(direction, chunk, bundle)? == Beat::InDoubt {
                    return Some(Step::Ignore);
                }
            }
            // Who has lost everything answers it by the tag that it bears (§8.4).
            Chunk::ShutdownAck => {}
            Chunk::Abort(Tag::Sender) | Chunk::ShutdownComplete(Tag::Sender) => {
                self.bears(direction.reversed(), bundle).then_some(())?;
            }
            _ => self.bears(direction, bundle).then_some(())?,
        }
        match chunk {
            Chunk::InitAck => self.answer_init(direction, bundle)?,
            Chunk::CookieAck => self.inits = [false; 2],
            _ => {}
        }
        self.state = next;
        Some(Step::To(next))
    }

    /// Whether a packet bears the tag of those that go this way.
    const fn bears(&self, direction: Direction, bundle: &Bundle) -> bool {
        bundle.tag == self.tags[direction as usize]
    }

    /// Takes an INIT: it names the tag of what comes back.
    const fn init(&mut self, direction: Direction, bundle: &Bundle) -> Option<()> {
        if bundle.tag != 0 {
            return None;
        }
        let (own, other) = (direction as usize, direction.reversed() as usize);
        // One that is sent again is no other.
        if self.tags[other] != bundle.named {
            // Of two that have met, one is given up.
            self.inits[other] &= !self.inits[own];
            self.inits[own] = true;
            self.tags[other] = bundle.named;
        }
        Some(())
    }

    /// Takes an INIT ACK, which names the tag of what comes back, unless another one is known.
    const fn answer_init(&mut self, direction: Direction, bundle: &Bundle) -> Option<()> {
        let (own, other) = (direction as usize, direction.reversed() as usize);
        let is_another = self.tags[other] != bundle.named;
        // That of an older INIT than the one which it answers may be another one.
        let is_known = !self.inits[other] && self.tags[other] != 0;
        let have_met = self.inits[own] && self.inits[other];
        if is_another && (is_known || have_met) {
            return None;
        }
        self.tags[other] = bundle.named;
        Some(())
    }

    /// Takes a heartbeat or its answer. The side that it goes to may have begun anew, over other
    /// addresses: then the answer to a heartbeat with another tag shows which tags they have now.
    fn beat(&mut self, direction: Direction, chunk: Chunk, bundle: &Bundle) -> Option<Beat> {
        let (own, other) = (direction as usize, direction.reversed() as usize);
        if self.tags[own] == 0 {
            self.tags[own] = bundle.tag;
        } else if self.bears(direction, bundle) {
            self.doubted = None;
        } else if bundle.has_data {
            return None;
        } else if chunk == Chunk::Heartbeat {
            self.doubted = Some(direction);
            return Some(Beat::InDoubt);
        } else if self.doubted == Some(direction.reversed()) {
            self.doubted = None;
            (self.tags[own], self.tags[other]) = (bundle.tag, 0);
        } else {
            return None;
        }
        Some(Beat::Believed)
    }
}

/// Where the first chunk leads.
const fn first(chunk: Chunk) -> Option<State> {
    match chunk {
        Chunk::Heartbeat => Some(State::HeartbeatSent),
        Chunk::ShutdownAck => Some(State::ShutdownAckSent),
        _ => Some(State::Closed),
    }
}

/// Where a chunk leads from a state; `None` if nobody sends it then.
const fn next(direction: Direction, chunk: Chunk, state: State) -> Option<State> {
    use State::{
        Closed, CookieEchoed, CookieWait, Established, HeartbeatSent, ShutdownAckSent,
        ShutdownRecd, ShutdownSent,
    };
    Some(match (chunk, direction, state) {
        (Chunk::Heartbeat, ..) | (Chunk::HeartbeatAck, Original, _) => state,
        (Chunk::HeartbeatAck, Reply, HeartbeatSent) => Established,
        (Chunk::HeartbeatAck, Reply, _) => state,
        // Whoever was asked by a heartbeat answers it and nothing else.
        (_, Reply, HeartbeatSent) => return None,

        // It begins anew.
        (Chunk::Init, Original, ShutdownSent | ShutdownRecd) => Closed,
        (Chunk::Init, Original, HeartbeatSent) => CookieWait,
        (Chunk::InitAck, Reply, Closed) => CookieWait,
        (Chunk::CookieEcho, _, CookieWait) => CookieEchoed,
        (Chunk::CookieAck, _, CookieEchoed) => Established,
        // The cookie is too old.
        (Chunk::Error, Reply, CookieEchoed) => Closed,

        (Chunk::Shutdown, Original, Established) => ShutdownSent,
        (Chunk::Shutdown, Reply, Established) => ShutdownRecd,
        (Chunk::ShutdownAck, _, ShutdownSent | ShutdownRecd | HeartbeatSent) => ShutdownAckSent,
        (Chunk::ShutdownComplete(_), _, ShutdownAckSent) => Closed,
        (Chunk::Abort(_), ..) => Closed,

        (_, _, HeartbeatSent) => Closed,
        _ => state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: Fate = Fate::Valid { assures: false };
    /// The tags that both sides name: packets of the other direction bear them.
    const A: u32 = 0xa;
    const B: u32 = 0xb;

    /// What becomes of these behind an INIT that names A.
    fn opened(packets: &[(Direction, Bundle)]) -> (Vec<Fate>, Sctp) {
        let mut sctp = Sctp::open(&Bundle::of(0, A, &[Chunk::Init])).unwrap();
        let track = |(direction, bundle): &(Direction, Bundle)| sctp.track(*direction, bundle);
        let fates = packets.iter().map(track).collect();
        (fates, sctp)
    }

    fn handshake() -> [(Direction, Bundle); 3] {
        [
            (Reply, Bundle::of(A, B, &[Chunk::InitAck])),
            (Original, Bundle::of(B, 0, &[Chunk::CookieEcho])),
            (Reply, Bundle::of(A, 0, &[Chunk::CookieAck])),
        ]
    }

    /// The same behind a handshake.
    fn established(packets: &[(Direction, Bundle)]) -> (Vec<Fate>, State) {
        let (mut fates, sctp) = opened(&[&handshake()[..], packets].concat());
        (fates.split_off(3), sctp.state)
    }

    #[test]
    fn a_handshake_establishes() {
        let states: Vec<_> = (0..4).map(|count| opened(&handshake()[..count]).1.state).collect();
        let expected = [State::Closed, State::CookieWait, State::CookieEchoed, State::Established];
        assert_eq!(states, expected);
        let (fates, sctp) = opened(&handshake());
        assert_eq!(fates, [VALID, VALID, Fate::Valid { assures: true }]);
        assert_eq!((sctp.tags, sctp.inits), ([B, A], [false; 2]));
    }

    #[test]
    fn either_side_closes() {
        for (closes, state) in [(Original, State::ShutdownSent), (Reply, State::ShutdownRecd)] {
            let [own, other] = if closes == Original { [B, A] } else { [A, B] };
            let complete = Chunk::ShutdownComplete(Tag::Receiver);
            let packets = [
                (closes, Bundle::of(own, 0, &[Chunk::Shutdown])),
                (closes.reversed(), Bundle::of(other, 0, &[Chunk::ShutdownAck])),
                (closes, Bundle::of(own, 0, &[complete])),
            ];
            let states = [1, 2, 3].map(|count| established(&packets[..count]).1);
            assert_eq!(states, [state, State::ShutdownAckSent, State::Closed]);
            assert_eq!(established(&packets).0, [VALID; 3]);
        }
    }

    #[test]
    fn who_does_not_know_the_tag_changes_nothing() {
        let chunks = [
            Chunk::InitAck,
            Chunk::Abort(Tag::Receiver),
            Chunk::Abort(Tag::Sender),
            Chunk::Shutdown,
            Chunk::ShutdownComplete(Tag::Receiver),
            Chunk::ShutdownComplete(Tag::Sender),
            Chunk::Error,
            Chunk::CookieEcho,
            Chunk::CookieAck,
            Chunk::HeartbeatAck,
        ];
        for chunk in chunks {
            for direction in [Original, Reply] {
                let packet = (direction, Bundle::of(7, 8, &[chunk]));
                let judged = established(&[packet]);
                assert_eq!(judged, (vec![Fate::Invalid], State::Established), "{chunk:?}");
            }
        }
        let data = Bundle { has_data: true, has_others: true, ..Bundle::of(7, 0, &[]) };
        assert_eq!(established(&[(Original, data)]).0, [Fate::Invalid]);
        let data = Bundle { tag: B, ..data };
        assert_eq!(established(&[(Original, data)]).0, [VALID]);
        // An INIT has none, and no other tag.
        let init = |tag| (Original, Bundle::of(tag, A, &[Chunk::Init]));
        assert_eq!(established(&[init(0), init(B)]).0, [VALID, Fate::Invalid]);
    }

    /// The kernel believes the first, because the second may bear another tag.
    #[test]
    fn a_chunk_is_not_believed_for_its_company() {
        for company in [Chunk::Heartbeat, Chunk::ShutdownAck, Chunk::Abort(Tag::Receiver)] {
            let packet = (Original, Bundle::of(7, 0, &[Chunk::Shutdown, company]));
            let (fates, state) = established(&[packet]);
            assert_eq!((&*fates, state), (&[Fate::Invalid][..], State::Established), "{company:?}");
        }
        let both = (Original, Bundle::of(B, 0, &[Chunk::Shutdown, Chunk::Heartbeat]));
        assert_eq!(established(&[both]), (vec![VALID], State::ShutdownSent));
        // Nothing stays of what is refused.
        let two = Bundle::of(7, 0, &[Chunk::Heartbeat, Chunk::Heartbeat]);
        let (_, before) = opened(&handshake());
        let mut after = before;
        assert_eq!((after.track(Original, &two), after), (Fate::Invalid, before));
    }

    #[test]
    fn an_end_may_bear_the_tag_of_its_sender() {
        let abort = |tag, whose| (Original, Bundle::of(tag, 0, &[Chunk::Abort(whose)]));
        for (tag, whose) in [(B, Tag::Receiver), (A, Tag::Sender)] {
            assert_eq!(established(&[abort(tag, whose)]), (vec![VALID], State::Closed));
        }
        for (tag, whose) in [(A, Tag::Receiver), (B, Tag::Sender)] {
            assert_eq!(established(&[abort(tag, whose)]).0, [Fate::Invalid]);
        }
    }

    #[test]
    fn the_answer_to_a_heartbeat_tells_who_is_there() {
        let beat = Bundle::of(7, 0, &[Chunk::Heartbeat]);
        let answer = Bundle::of(8, 0, &[Chunk::HeartbeatAck]);
        let data = Bundle { has_data: true, has_others: true, ..Bundle::of(8, 0, &[]) };
        let (fates, state) = established(&[(Original, beat), (Reply, answer), (Reply, data)]);
        assert_eq!((&*fates, state), (&[Fate::Ignored, VALID, VALID][..], State::Established));
        // Nobody has asked.
        assert_eq!(established(&[(Reply, answer)]).0, [Fate::Invalid]);
        assert_eq!(
            established(&[(Reply, beat), (Reply, answer)]).0,
            [Fate::Ignored, Fate::Invalid]
        );
        let loaded = Bundle { has_data: true, has_others: true, ..beat };
        assert_eq!(established(&[(Original, loaded)]).0, [Fate::Invalid]);
    }

    #[test]
    fn what_begins_is_an_opening_or_an_answer_to_one() {
        let state = |bundle: Bundle| Sctp::open(&bundle).map(|sctp| (sctp.state, sctp.tags));
        let one = |tag, chunk| state(Bundle::of(tag, A, &[chunk]));
        assert_eq!(one(0, Chunk::Init), Some((State::Closed, [0, A])));
        assert_eq!(one(7, Chunk::Init), None);
        assert_eq!(one(7, Chunk::Heartbeat), Some((State::HeartbeatSent, [7, 0])));
        assert_eq!(one(7, Chunk::ShutdownAck), Some((State::ShutdownAckSent, [0, 7])));
        for chunk in [Chunk::InitAck, Chunk::Shutdown, Chunk::CookieEcho, Chunk::CookieAck] {
            assert_eq!(one(7, chunk), None, "{chunk:?}");
        }
        let data = Bundle { has_data: true, has_others: true, ..Bundle::of(7, 0, &[]) };
        assert_eq!(state(data), None);
        assert_eq!(
            state(Bundle { has_others: true, ..Bundle::of(7, 0, &[Chunk::Heartbeat]) }),
            None
        );
        let beat = Sctp::open(&Bundle::of(7, 0, &[Chunk::Heartbeat])).unwrap();
        let after = |chunk| {
            let mut sctp = beat;
            (sctp.track(Reply, &Bundle::of(9, 0, &[chunk])), sctp.state)
        };
        let established = (Fate::Valid { assures: true }, State::Established);
        assert_eq!(after(Chunk::HeartbeatAck), established);
        assert_eq!(after(Chunk::Shutdown).0, Fate::Invalid);
    }

    #[test]
    fn what_is_over_is_not_kept_by_another_opening() {
        let init = |named| (Original, Bundle::of(0, named, &[Chunk::Init]));
        assert_eq!(opened(&[init(A), init(9)]).0, [Fate::Ignored; 2]);
        assert_eq!(opened(&[init(9)]).1.tags, [0, 9]);
    }

    #[test]
    fn two_that_open_at_once_know_each_other() {
        let init = (Reply, Bundle::of(0, B, &[Chunk::Init]));
        let answers = |named| (Original, Bundle::of(B, named, &[Chunk::InitAck]));
        assert_eq!(opened(&[init, answers(A)]).0[1..], [VALID]);
        assert_eq!(opened(&[init, answers(9)]).0[1..], [Fate::Invalid]);
        // Another INIT of one of them is one for itself.
        let other = (Reply, Bundle::of(0, 6, &[Chunk::Init]));
        let answer = (Original, Bundle::of(6, 9, &[Chunk::InitAck]));
        assert_eq!(opened(&[init, other, answer]).0[2..], [VALID]);
    }
}
