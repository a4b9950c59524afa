//! The egress queues of a port, as one worker has them: whose packet goes next.
//!
//! A port has queues if somebody sets them; packets then wait here until the port takes them and
//! their queue's rate allows it. `Packet::queue` names the queue; what names none that there is goes
//! to the first one, number 0.
//!
//! **Whose turn it is.** Deficit round robin (Shreedhar and Varghese, SIGCOMM 1995): in each round, a
//! queue with packets may send its quantum, in bytes, and what it did not use of the last one. A
//! queue whose rate holds it back is passed over, and so is an empty one; neither saves anything up.
//! A queue with an assured rate comes before all others as long as it stays below that.
//!
//! **Rates** are kept by all workers together ([`Rates`](crate::queue::Rates)).
//!
//! **When the port is full** it gives packets back, which wait again at the head, and nothing more
//! is sent for a moment. So it is the port's own speed that is shared, whatever it is.
//!
//! **Limits.** As many packets wait in a queue as it was set to hold; room for them is made by
//! whoever makes the queues. In all queues of a worker together, so many frames wait as `Outputs`
//! was told.

use std::sync::Arc;
use std::time::Duration;

use packet::{Batch, Packet};

use crate::account::Account;
use crate::queue::{Part, Queue, Waiting};

/// The most queues of a port: a bit each.
pub const MOST: usize = 64;
/// Packets that are handed to the port at once, segments counted.
const RUN: u64 = 64;
/// How long a port that was full is left alone.
const PAUSE: Duration = Duration::from_micros(50);

/// The queues of a port.
#[derive(Debug)]
pub struct Queues {
    /// The first one is for all packets that name none of the others, which stand by number.
    queues: Box<[Queue]>,
    /// Those with packets.
    backlog: u64,
    /// Those of them that may send, as far as is known at this time.
    ready: u64,
    /// Those of them that may be below the rate they are assured of.
    owed: u64,
    /// Those with such a rate.
    assured: u64,
    /// The queue whose turn it is, and whether it goes on.
    turn: usize,
    goes_on: bool,
    /// The queue that sent last by its assured rate.
    favoured: usize,
    /// The port is left alone until then.
    pause: Duration,
    /// Whose packets the port was given last, and whether they went by assured rates.
    account: Option<Arc<Account>>,
    by_assured: bool,
}

impl Queues {
    /// Empty queues: `first` for all packets that name none of the others. Those beyond [`MOST`] are
    /// left out.
    pub fn new(first: Part, mut others: Vec<Part>) -> Self {
        others.sort_by_key(|part| part.number);
        let parts = std::iter::once(first).chain(others).take(MOST);
        let queues: Box<[_]> = parts.map(Queue::new).collect();
        let assured = queues.iter().enumerate().filter(|(_, queue)| queue.has_assured_rate());
        Self {
            assured: assured.fold(0, |bits, (at, _)| bits | 1 << at),
            queues,
            backlog: 0,
            ready: 0,
            owed: 0,
            turn: 0,
            goes_on: false,
            favoured: 0,
            pause: Duration::ZERO,
            account: None,
            by_assured: false,
        }
    }

    /// The queue of a number, or the one for all others.
    fn at(&self, number: u16) -> usize {
        let others = &self.queues[1..];
        others.binary_search_by_key(&number, |queue| queue.number).map_or(0, |at| at + 1)
    }

    /// Has a packet wait, for which `account` answers; it comes back if there is no room for its
    /// frames, or too many wait in its queue already.
    pub(crate) fn push(
        &mut self,
        packet: Packet,
        account: Arc<Account>,
        has_room: bool,
    ) -> Result<(), Waiting> {
        let at = self.at(packet.queue);
        self.queues[at].push(Waiting { packet, account }, has_room)?;
        self.backlog |= 1 << at;
        Ok(())
    }

    /// Begins to send at `now`.
    pub(crate) const fn begin(&mut self) {
        (self.ready, self.owed) = (self.backlog, self.assured);
    }

    /// Moves packets that go next to `run`, all from one port, and answers with its account; `None` if
    /// none may go now.
    pub(crate) fn take_run(&mut self, run: &mut Batch, now: Duration) -> Option<Arc<Account>> {
        if now < self.pause {
            return None;
        }
        self.account = None;
        let mut packets = 0;
        while packets < RUN
            && let Some(at) = self.choose(now)
        {
            let Some(head) = self.queues[at].head() else { break };
            let by_assured = self.queues[at].is_assured();
            match &self.account {
                // What the port does not take must go back to where it came from.
                Some(of) if !Arc::ptr_eq(of, &head.account) || by_assured != self.by_assured => {
                    break;
                }
                Some(_) => {}
                None => {
                    (self.account, self.by_assured) = (Some(Arc::clone(&head.account)), by_assured);
                }
            }
            let Some(waiting) = self.pop(at) else { break };
            packets += waiting.packet.packets();
            run.push(waiting.packet);
        }
        self.account.clone()
    }

    /// The queue whose packet goes next, if one may go now. Asked again before that has gone, it
    /// answers the same.
    fn choose(&mut self, now: Duration) -> Option<usize> {
        self.choose_favoured(now).or_else(|| self.choose_in_turn(now))
    }

    fn choose_favoured(&mut self, now: Duration) -> Option<usize> {
        while let Some(at) = next_of(self.ready & self.owed, self.favoured) {
            let queue = &mut self.queues[at];
            if !queue.may_go(now) {
                self.ready &= !(1 << at);
                queue.end_turn();
            } else if queue.claim_assured(now) {
                return Some(at);
            } else {
                self.owed &= !(1 << at);
            }
        }
        None
    }

    fn choose_in_turn(&mut self, now: Duration) -> Option<usize> {
        loop {
            if !self.goes_on || self.ready & (1 << self.turn) == 0 {
                self.turn = next_of(self.ready, self.turn)?;
                self.goes_on = true;
                self.queues[self.turn].begin_turn();
            }
            let queue = &mut self.queues[self.turn];
            if !queue.may_go(now) {
                self.ready &= !(1 << self.turn);
                queue.end_turn();
            } else if queue.fits_turn() {
                return Some(self.turn);
            } else {
                self.goes_on = false;
            }
        }
    }

    fn pop(&mut self, at: usize) -> Option<Waiting> {
        let queue = &mut self.queues[at];
        if queue.is_assured() {
            self.favoured = at;
        }
        let waiting = queue.pop();
        if queue.is_empty() {
            queue.end_turn();
            self.backlog &= !(1 << at);
            self.ready &= !(1 << at);
        }
        waiting
    }

    /// Notes packets that the port is given.
    pub(crate) fn given(&mut self, packets: &Batch) {
        for packet in packets.iter() {
            let at = self.at(packet.queue);
            self.queues[at].given(packet);
        }
    }

    /// Notes that the port refused one of these.
    pub(crate) fn refused(&mut self, packet: &Packet) {
        let at = self.at(packet.queue);
        self.queues[at].refused(packet);
    }

    /// Has a packet wait again that the port was too full to take at `now`; the last one first. It
    /// comes back if there is no room.
    pub(crate) fn put_back(&mut self, packet: Packet, now: Duration) -> Result<(), Packet> {
        self.pause = now + PAUSE;
        let at = self.at(packet.queue);
        let Some(account) = &self.account else { return Err(packet) };
        let waiting = Waiting { packet, account: Arc::clone(account) };
        let back = self.queues[at].put_back(waiting, self.by_assured);
        back.map_err(|waiting| waiting.packet)?;
        account.held.add(1);
        self.backlog |= 1 << at;
        if !self.by_assured {
            // It goes on with the first one that the port did not take.
            (self.turn, self.goes_on) = (at, true);
        }
        Ok(())
    }

    /// Ends sending: brings the counters up to date.
    pub(crate) fn end(&mut self) {
        self.account = None;
        self.queues.iter_mut().for_each(Queue::report);
    }

    /// When the next packet may go, if one waits.
    pub(crate) fn due(&self) -> Option<Duration> {
        let waiting = self.queues.iter().filter(|queue| !queue.is_empty());
        Some(waiting.map(Queue::due).min()?.max(self.pause))
    }

    /// Takes all packets out, those of each queue in order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Waiting> + '_ {
        self.backlog = 0;
        self.queues.iter_mut().flat_map(|queue| std::iter::from_fn(|| queue.pop()))
    }
}

/// The next bit behind `last`, going round.
const fn next_of(bits: u64, last: usize) -> Option<usize> {
    if bits == 0 {
        return None;
    }
    let first = (last + 1) % MOST;
    #[expect(clippy::cast_possible_truncation, reason = "there are 64 queues")]
    let behind = bits.rotate_right(first as u32).trailing_zeros() as usize;
    Some((first + behind) % MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{QueueCounters, Rates};
    use api::QueueSettings;
    use packet::{Chainer, Depot, FramePool, Memory, PortId};
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn part(number: u16, settings: QueueSettings) -> Part {
        Part {
            number,
            settings,
            rates: Arc::new(Rates::new(&settings, Duration::ZERO)),
            counters: Arc::new(QueueCounters::default()),
        }
    }

    /// Queues, somebody's account and frames.
    struct Case {
        queues: Queues,
        account: Arc<Account>,
        pool: FramePool,
    }

    impl Case {
        fn new(settings: &[QueueSettings]) -> Self {
            let mut parts = (0..).zip(settings).map(|(number, settings)| part(number, *settings));
            let first = parts.next().unwrap();
            Self {
                queues: Queues::new(first, parts.collect()),
                account: Arc::default(),
                pool: FramePool::new(&Depot::new(Memory::heap(2048))),
            }
        }

        fn push(&mut self, queue: u16, len: usize) -> bool {
            let bytes = vec![0; len];
            let mut packet = Chainer::copy_of(&bytes, 0, PortId(1), &mut self.pool).unwrap();
            packet.queue = queue;
            let account = Arc::clone(&self.account);
            let pushed = self.queues.push(packet, account, true);
            pushed.map_err(|waiting| waiting.packet.free(&mut self.pool)).is_ok()
        }

        /// What goes at `now`: its queue and length.
        fn run(&mut self, now: Duration) -> Vec<(u16, usize)> {
            let (mut sent, mut run) = (Vec::new(), Batch::new());
            self.queues.begin();
            while self.queues.take_run(&mut run, now).is_some() {
                for packet in run.drain(..) {
                    sent.push((packet.queue, packet.len()));
                    packet.free(&mut self.pool);
                }
            }
            self.queues.end();
            sent
        }
    }

    fn weighing(weight: u16) -> QueueSettings {
        QueueSettings { weight, ..QueueSettings::default() }
    }

    /// Deficit round robin as the paper has it, over lists of lengths.
    fn plainly(weights: &[u16], mut lists: Vec<VecDeque<usize>>) -> Vec<(u16, usize)> {
        let (mut deficits, mut sent) = (vec![0; lists.len()], Vec::new());
        // The round begins behind the first queue.
        let mut at = 0;
        while lists.iter().any(|list| !list.is_empty()) {
            at = (at + 1) % lists.len();
            if lists[at].is_empty() {
                continue;
            }
            deficits[at] += usize::from(weights[at]) * 1514;
            while let Some(len) = lists[at].front().copied().filter(|len| *len <= deficits[at]) {
                lists[at].pop_front();
                deficits[at] -= len;
                sent.push((u16::try_from(at).unwrap(), len));
            }
            if lists[at].is_empty() {
                deficits[at] = 0;
            }
        }
        sent
    }

    proptest! {
        #[test]
        fn turns_are_those_of_deficit_round_robin(
            weights in prop::collection::vec(1u16..6, 1..6),
            packets in prop::collection::vec((0u16..6, 60usize..4000), 0..200),
        ) {
            let settings: Vec<_> = weights.iter().map(|weight| weighing(*weight)).collect();
            let mut case = Case::new(&settings);
            let mut lists = vec![VecDeque::new(); weights.len()];
            for (queue, len) in packets {
                // What names no queue that there is goes to the first one.
                let at = if usize::from(queue) < weights.len() { usize::from(queue) } else { 0 };
                lists[at].push_back(len);
                prop_assert!(case.push(u16::try_from(at).unwrap(), len));
            }
            prop_assert_eq!(case.run(Duration::ZERO), plainly(&weights, lists));
            prop_assert_eq!(case.queues.due(), None);
        }
    }

    /// How many bytes of each queue go in ten seconds, looked at once a millisecond, if `at_once` of
    /// 1000 bytes may go each time and all queues always have some; in bits a second.
    fn rates(settings: &[QueueSettings], at_once: usize) -> Vec<u64> {
        let mut case = Case::new(settings);
        let mut bytes = vec![0; settings.len()];
        let mut run = Batch::new();
        // Nothing that was saved up before counts.
        for ms in 0..11_000 {
            let now = Duration::from_secs(1) + Duration::from_millis(ms);
            for queue in 0..settings.len() {
                while case.push(u16::try_from(queue).unwrap(), 1000) {}
            }
            case.queues.begin();
            let mut left = at_once;
            while case.queues.take_run(&mut run, now).is_some() {
                let taken = run.len().min(left);
                for packet in run.drain(taken..).rev() {
                    case.queues.put_back(packet, now).unwrap();
                }
                left -= run.len();
                for packet in run.drain(..) {
                    if ms >= 1_000 {
                        bytes[usize::from(packet.queue)] += packet.len() as u64;
                    }
                    packet.free(&mut case.pool);
                }
            }
        }
        bytes.into_iter().map(|bytes| bytes * 8 / 10).collect()
    }

    fn is_about(rate: u64, expected: u64) -> bool {
        rate.abs_diff(expected) <= expected / 50
    }

    #[test]
    fn a_rate_is_kept_within_two_percent() {
        let limit = |max_rate| QueueSettings {
            max_rate: Some(max_rate),
            depth: 64,
            ..QueueSettings::default()
        };
        for rate in [100_000, 1_000_000, 10_000_000, 100_000_000] {
            let rates = rates(&[limit(rate), limit(3 * rate)], usize::MAX);
            assert!(is_about(rates[0], rate), "{rates:?}");
            assert!(is_about(rates[1], 3 * rate), "{rates:?}");
        }
    }

    /// A port of 80 Mbit/s, of which one queue may have 8, and the others share the rest by weight.
    #[test]
    fn a_full_port_is_shared_by_weight() {
        let shallow = QueueSettings { depth: 64, ..QueueSettings::default() };
        let settings = [
            QueueSettings { weight: 1, ..shallow },
            QueueSettings { weight: 2, ..shallow },
            QueueSettings { weight: 5, max_rate: Some(8_000_000), ..shallow },
        ];
        let rates = rates(&settings, 10);
        assert!(is_about(rates[0], 24_000_000), "{rates:?}");
        assert!(is_about(rates[1], 48_000_000), "{rates:?}");
        assert!(is_about(rates[2], 8_000_000), "{rates:?}");
    }

    #[test]
    fn an_assured_rate_comes_first() {
        let shallow = QueueSettings { depth: 64, ..QueueSettings::default() };
        let settings = [
            QueueSettings { weight: 9, ..shallow },
            QueueSettings { min_rate: Some(60_000_000), ..shallow },
        ];
        // It has 60 of 80, and one of ten parts of the rest.
        let rates = rates(&settings, 10);
        assert!(rates[1] >= 60_000_000 && rates[1] <= 64_000_000, "{rates:?}");
        assert!(is_about(rates[0] + rates[1], 80_000_000), "{rates:?}");
    }

    /// Two workers with queues of one rate, one of which looks all the time.
    #[test]
    fn workers_share_a_rate_alike() {
        let settings =
            QueueSettings { max_rate: Some(8_000_000), depth: 64, ..QueueSettings::default() };
        let [mut eager, mut calm] = [(); 2].map(|()| Case::new(&[settings]));
        let rates = Arc::new(Rates::new(&settings, Duration::ZERO));
        for case in [&mut eager, &mut calm] {
            let shared = Part { rates: Arc::clone(&rates), ..part(0, settings) };
            case.queues = Queues::new(shared, Vec::new());
        }
        let mut sent = [0; 2];
        let mut due = Duration::ZERO;
        for micros in (0..10_000_000).step_by(50) {
            let now = Duration::from_micros(micros);
            while eager.push(0, 1000) {}
            while calm.push(0, 1000) {}
            sent[0] += eager.run(now).len();
            // A sleeper wakes 100 microseconds late.
            if now >= due + Duration::from_micros(100) {
                sent[1] += calm.run(now).len();
                due = calm.queues.due().unwrap();
            }
        }
        let (all, apart) = (sent[0] + sent[1], sent[0].abs_diff(sent[1]));
        assert!(all.abs_diff(10_000) <= 200, "{sent:?}");
        assert!(apart <= 500, "{sent:?}");
    }

    #[test]
    fn what_waits_knows_when_it_may_go() {
        let settings = QueueSettings {
            max_rate: Some(8_000_000),
            burst: Some(2_000),
            ..QueueSettings::default()
        };
        let mut case = Case::new(&[settings]);
        (0..4).for_each(|_| assert!(case.push(0, 1000)));
        assert_eq!(case.run(Duration::ZERO).len(), 2);
        let due = case.queues.due().unwrap();
        assert!((1_000_000..1_000_010).contains(&due.as_nanos()), "{due:?}");
        assert_eq!(case.run(due - Duration::from_micros(1)).len(), 0);
        assert_eq!(case.run(due).len(), 1);
    }
}
