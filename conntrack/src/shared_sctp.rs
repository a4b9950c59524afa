//! An association of SCTP that several threads track at once.
//!
//! What is known lies in two of the words that TCP has for its own connections: the tags in one, the
//! rest in the other. A thread reads both, judges a packet by what it has read, and writes back what has
//! changed: first the word of the state, by compare-and-swap, then the tags that the packet has named. If
//! another thread was faster with the state, nothing is written and the packet is judged again. What
//! comes back bears a tag only when the packet that names it has been let through, so it finds it here.

use crate::Direction;
use crate::bundle::Bundle;
use crate::sctp::{Sctp, State};
use crate::sync::{AtomicU64, Ordering};
use crate::tcp::Fate;

/// Two words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedSctp<'a> {
    /// The state, and whatever else is short.
    pub(crate) short: &'a AtomicU64,
    /// What packets bear of each direction.
    pub(crate) tags: &'a AtomicU64,
}

/// So often a packet is judged again because others were faster; then it counts for nothing.
const TRIES: u32 = 64;

/// There is an association: no bit that TCP has.
const THERE: u64 = 1 << 63;
/// Where the rest lies, behind the state.
const INITS: u32 = 4;
const DOUBTED: u32 = 6;

impl SharedSctp<'_> {
    /// Begins with what one thread alone knows.
    pub(crate) fn begin(self, sctp: &Sctp) {
        let [short, tags] = words(sctp);
        self.tags.store(tags, Ordering::Relaxed);
        self.short.store(short, Ordering::Release);
    }

    /// What is known by now, if there is one.
    pub(crate) fn get(self) -> Option<Sctp> {
        let words = self.words();
        (words[0] & THERE != 0).then(|| read(words))
    }

    /// Takes a packet: [`Sctp::track`]. Answers also with the association as it is then.
    pub(crate) fn track(self, direction: Direction, bundle: &Bundle) -> (Fate, Sctp) {
        let mut tries = 0..TRIES;
        loop {
            let before = self.words();
            let mut sctp = read(before);
            let fate = sctp.track(direction, bundle);
            if self.replace(before, words(&sctp)) || tries.next().is_none() {
                return (fate, sctp);
            }
        }
    }

    fn words(self) -> [u64; 2] {
        [self.short, self.tags].map(|word| word.load(Ordering::Acquire))
    }

    /// Writes what has changed; answers whether nobody else has changed the state meanwhile. If not,
    /// nothing is written.
    fn replace(self, [old_short, old_tags]: [u64; 2], [short, tags]: [u64; 2]) -> bool {
        let is_ours = old_short == short
            || self
                .short
                .compare_exchange(old_short, short, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if is_ours && old_tags != tags {
            let changed = [u64::from(u32::MAX) << 32, u64::from(u32::MAX)];
            let changed =
                changed.into_iter().filter(|half| (old_tags ^ tags) & half != 0).sum::<u64>();
            let write = |seen| Some(seen & !changed | tags & changed);
            // It always succeeds.
            let _ = self.tags.fetch_update(Ordering::AcqRel, Ordering::Acquire, write);
        }
        is_ours
    }
}

fn words(sctp: &Sctp) -> [u64; 2] {
    let Sctp { state, tags: [one, other], inits, doubted } = sctp;
    let inits = u64::from(inits[0]) | u64::from(inits[1]) << 1;
    let doubted = doubted.map_or(0, |direction| direction as u64 + 1);
    let short = THERE | *state as u64 | inits << INITS | doubted << DOUBTED;
    [short, u64::from(*one) << 32 | u64::from(*other)]
}

#[expect(clippy::cast_possible_truncation, reason = "a few bits, and the halves of a word")]
fn read([short, tags]: [u64; 2]) -> Sctp {
    let doubted = match short >> DOUBTED & 0b11 {
        1 => Some(Direction::Original),
        2 => Some(Direction::Reply),
        _ => None,
    };
    Sctp {
        state: State::ALL[(short & 0b111) as usize],
        tags: [(tags >> 32) as u32, tags as u32],
        inits: [0, 1].map(|side| short >> (INITS + side) & 1 == 1),
        doubted,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_words_say_all_of_an_association(
            state in prop::sample::select(&State::ALL[..]),
            tags: [u32; 2],
            inits: [bool; 2],
            doubted in prop::sample::select(vec![None, Some(Direction::Original), Some(Direction::Reply)]),
        ) {
            let sctp = Sctp { state, tags, inits, doubted };
            let [short, tags] = [(); 2].map(|()| AtomicU64::new(0));
            let shared = SharedSctp { short: &short, tags: &tags };
            prop_assert_eq!(shared.get(), None);
            shared.begin(&sctp);
            prop_assert_eq!(shared.get(), Some(sctp));
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::bundle::{Chunk, Tag};
    use loom::sync::Arc;
    use loom::thread;

    const A: u32 = 0xa;
    const B: u32 = 0xb;

    /// What has become of an association when two threads have each tracked a packet of it.
    fn raced(
        known: Sctp,
        one: (Direction, Bundle),
        other: (Direction, Bundle),
    ) -> ([Fate; 2], Sctp) {
        let words = Arc::new([(); 2].map(|()| AtomicU64::new(0)));
        SharedSctp { short: &words[0], tags: &words[1] }.begin(&known);
        let theirs = Arc::clone(&words);
        let track = |words: &[AtomicU64; 2], (direction, bundle): (Direction, Bundle)| {
            SharedSctp { short: &words[0], tags: &words[1] }.track(direction, &bundle).0
        };
        let thread = thread::spawn(move || track(&theirs, other));
        let own = track(&words, one);
        let fates = [own, thread.join().unwrap()];
        let shared = SharedSctp { short: &words[0], tags: &words[1] };
        (fates, shared.get().unwrap())
    }

    #[test]
    fn what_has_ended_is_not_established_by_who_was_slower() {
        loom::model(|| {
            let tags = [B, A];
            let known = Sctp { state: State::CookieEchoed, tags, inits: [true; 2], doubted: None };
            let abort = Bundle::of(B, 0, &[Chunk::Abort(Tag::Receiver)]);
            let ack = Bundle::of(A, 0, &[Chunk::CookieAck]);
            let (_, sctp) = raced(known, (Direction::Original, abort), (Direction::Reply, ack));
            assert_eq!((sctp.state, sctp.inits, sctp.tags), (State::Closed, [false; 2], tags));
        });
    }

    #[test]
    fn two_that_open_at_once_both_name_their_tags() {
        loom::model(|| {
            let init = |named| Bundle::of(0, named, &[Chunk::Init]);
            let (fates, sctp) =
                raced(Sctp::default(), (Direction::Original, init(A)), (Direction::Reply, init(B)));
            assert_eq!((fates, sctp.tags, sctp.inits), ([Fate::Ignored; 2], [B, A], [true; 2]));
        });
    }
}
