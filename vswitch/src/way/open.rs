//! The way of packets that begin connections, if others before them have begun theirs alike.

use std::ops::Range;

use api::DropReason;
use conntrack::Awaited;
use packet::{Batch, ethernet, mark_partial};

use super::{Ingress, Way, is_turn};
use crate::act::Verdict;
use crate::asked::{Asked, NotOpened};
use crate::lanes::Lanes;
use crate::worth::Worth;

/// So many packets behind the one that opens its connections those of others are awaited: while some are
/// made, memory has time to answer.
const AHEAD: usize = 5;
/// So many behind it what was fetched for one of them is looked at.
const SOON: usize = 2;
/// Room for what is awaited, a power of two.
const ROOM: usize = 8;

impl Way {
    /// Carries packets on that have no session as far as is known, from the one whose turn it is on:
    /// together those in a row that open connections alike, or else that one the long way. Answers with
    /// the lane behind them.
    #[inline]
    pub(super) fn deliver_unknown(
        &mut self,
        batch: &mut Batch,
        lanes: Range<usize>,
        ingress: &Ingress,
    ) -> usize {
        let (end, refused) = self.open_row(batch, lanes.clone(), ingress);
        self.deliver_found(batch, lanes.start..end, ingress);
        match refused {
            Some(reason) => self.verdicts.push(Verdict::Drop(reason)),
            None if end == lanes.start => self.deliver(batch, end, None, ingress),
            None => return end,
        }
        end + 1
    }

    /// Has packets in a row open their connections, from the one whose turn it is on, as long as they go
    /// by one opening. Answers with the lane of the first that does not, and why it is dropped, if it is.
    #[inline(never)]
    fn open_row(
        &mut self,
        batch: &mut Batch,
        lanes: Range<usize>,
        ingress: &Ingress,
    ) -> (usize, Option<DropReason>) {
        let Self { lanes: known, openings, cache, tracker, memory, millis, verdicts, .. } = self;
        let Lanes { keys, headers, meetings, found, .. } = &mut **known;
        let Some((at, opening)) = openings.find(&keys[lanes.start], cache) else {
            return (lanes.start, None);
        };
        let Some(asked) = Asked::new(tracker.connections(), opening.asked()) else {
            return (lanes.start, None);
        };
        let does = Some(opening.found());
        let last = if is_turn(does, cache) { lanes.start + 1 } else { lanes.end };
        let mut ahead = [None; ROOM];
        for lane in lanes.start..last.min(lanes.start + AHEAD) {
            ahead[lane % ROOM] = asked.awaited(&keys[lane]);
        }
        let (mut end, mut refused) = (last, None);
        for (lane, packet) in (lanes.start..last).zip(&mut batch[verdicts.len()..]) {
            if packet.len() < ethernet::LEN || !opening.agrees(&keys[lane]) {
                end = lane;
                break;
            }

            if lane + AHEAD < last {
                ahead[(lane + AHEAD) % ROOM] = asked.awaited(&keys[lane + AHEAD]);
            }
            if lane + SOON < last && asked.is_translated() {
                let before = (lane..lane + SOON).filter(|lane| is_contested(&ahead[lane % ROOM]));
                let before = before.count();
                asked.look_ahead(&mut ahead[(lane + SOON) % ROOM], before);
                asked.look_again(&ahead[(lane + 1) % ROOM]);
            }
            if ingress.unmarked_partial {
                mark_partial(packet, headers[lane], memory);
            }
            let awaited = ahead[lane % ROOM].as_ref();
            let said = (&keys[lane], headers[lane]);
            if let Err(why) = asked.open(awaited, said, (packet, memory), *millis) {
                (end, refused) = (lane, Some((why, Worth::of(packet))));
                break;
            }
            (found[lane], meetings[lane].is_tied) = (does, true);
        }
        if end > lanes.start {
            openings.hit(at, end - lanes.start, cache);
        }
        match refused {
            Some((NotOpened::Refused(n, reason), worth)) => {
                openings.hit_in_part(at, n, worth, cache);
                (end, Some(reason))
            }
            Some((NotOpened::Other, _)) | None => (end, None),
        }
    }
}

/// Whether what is awaited may have to be translated otherwise than is tried first.
fn is_contested(awaited: &Option<Awaited>) -> bool {
    awaited.as_ref().is_some_and(Awaited::is_contested)
}
