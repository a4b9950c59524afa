//! What became of numbered packets: received once, twice, out of order, or never.
//!
//! A window of bits behind the highest number seen says which numbers have arrived. A packet is
//! *reordered* if a later one of its flow came before it (RFC 4737 §3). A packet that is older than
//! the window cannot be told from a duplicate: it is counted as *stale*, which is loss and not
//! arrival.

use std::iter::Sum;

use serde::Serialize;

/// Packets counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Different packets that arrived.
    pub received: u64,
    /// Packets that never did.
    pub lost: u64,
    /// Packets that arrived again.
    pub duplicates: u64,
    /// Packets that arrived behind a later one of their flow.
    pub reordered: u64,
    /// Packets so late that nobody remembers whether they had arrived.
    pub stale: u64,
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            received: sum.received + one.received,
            lost: sum.lost + one.lost,
            duplicates: sum.duplicates + one.duplicates,
            reordered: sum.reordered + one.reordered,
            stale: sum.stale + one.stale,
        })
    }
}

/// The account of one stream.
#[derive(Clone, Debug)]
pub struct Tally {
    /// A bit for each of the last [`Tally::WINDOW`] numbers, at its place modulo that.
    seen: Vec<u64>,
    /// The next number after the highest seen; 0 before the first.
    next: u64,
    /// The same for each flow.
    flows: Vec<u64>,
    counts: Counts,
    announced: Option<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// So many numbers are remembered, half a second of what a machine can send.
    pub const WINDOW: u64 = 1 << 20;
    /// The most flows; packets of further ones count as of the last.
    pub const MOST_FLOWS: usize = 1 << 24;

    /// An empty account.
    pub fn new() -> Self {
        let words = usize::try_from(Self::WINDOW / 64).unwrap_or_default();
        let counts = Counts::default();
        Self { seen: vec![0; words], next: 0, flows: Vec::new(), counts, announced: None }
    }

    /// A packet has arrived, with the lower bits of its number.
    pub fn arrived(&mut self, flow: u32, sequence: u32) {
        let number = self.extend(sequence);
        if number + Self::WINDOW < self.next {
            self.counts.stale += 1;
            return;
        }
        // What the window leaves behind is forgotten, to make room for the numbers in front.
        let fresh = self.next.max((number + 1).saturating_sub(Self::WINDOW));
        (fresh..=number).for_each(|new| self.set(new, false));
        self.next = self.next.max(number + 1);
        if self.is_set(number) {
            self.counts.duplicates += 1;
            return;
        }
        self.set(number, true);
        self.counts.received += 1;
        let last = self.flow(flow);
        if number < *last {
            self.counts.reordered += 1;
        } else {
            *last = number + 1;
        }
    }

    /// The sender says how many packets there were, modulo 2³².
    pub fn announce(&mut self, sent: u32) {
        self.announced = Some(self.extend(sent));
    }

    /// How many packets were sent, as far as one can know: as many as the sender said, or else up
    /// to the highest number seen.
    pub fn sent(&self) -> u64 {
        self.announced.unwrap_or(0).max(self.next)
    }

    /// Whether the sender has said how many there were.
    pub const fn is_announced(&self) -> bool {
        self.announced.is_some()
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        let lost = self.sent() - self.counts.received;
        Counts { lost, ..self.counts }
    }

    /// The number that ends in these bits and is nearest to the next one expected.
    fn extend(&self, sequence: u32) -> u64 {
        let expected = self.next & u64::from(u32::MAX);
        let ahead = u64::from(sequence.wrapping_sub(u32::try_from(expected).unwrap_or_default()));
        let forward = self.next + ahead;
        // Half of all numbers are before the expected one, unless they would be below zero.
        let behind = ahead > u64::from(u32::MAX) / 2;
        if behind { forward.checked_sub(1 << 32).unwrap_or(forward) } else { forward }
    }

    fn place(number: u64) -> (usize, u64) {
        let at = number % Self::WINDOW;
        (usize::try_from(at / 64).unwrap_or_default(), 1 << (at % 64))
    }

    fn set(&mut self, number: u64, value: bool) {
        let (word, bit) = Self::place(number);
        let word = &mut self.seen[word];
        *word = if value { *word | bit } else { *word & !bit };
    }

    fn is_set(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.seen[word] & bit != 0
    }

    fn flow(&mut self, flow: u32) -> &mut u64 {
        let at = usize::try_from(flow).unwrap_or(usize::MAX).min(Self::MOST_FLOWS - 1);
        if at >= self.flows.len() {
            self.flows.resize(at + 1, 0);
        }
        &mut self.flows[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    /// The same, remembering everything.
    fn plain(arrivals: &[(u32, u64)], sent: u64) -> Counts {
        let (mut seen, mut flows) = (HashSet::new(), HashMap::new());
        let mut counts = Counts::default();
        for (flow, number) in arrivals {
            if !seen.insert(*number) {
                counts.duplicates += 1;
                continue;
            }
            counts.received += 1;
            let last: &mut u64 = flows.entry(*flow).or_default();
            counts.reordered += u64::from(number < last);
            *last = (*last).max(number + 1);
        }
        counts.lost = sent - counts.received;
        counts
    }

    /// Packets sent in order, of which some are lost, doubled or late.
    fn any_arrivals() -> impl Strategy<Value = Vec<(u32, u64)>> {
        let fate = prop_oneof![
            8 => Just(vec![0u64]),
            1 => Just(vec![]),
            1 => (0..40u64).prop_map(|late| vec![late]),
            1 => (0..40u64, 0..40u64).prop_map(|(one, other)| vec![one, other]),
        ];
        prop::collection::vec((0..4u32, fate), 0..400).prop_map(|sent| {
            let mut arrivals = Vec::new();
            for ((flow, fates), number) in sent.into_iter().zip(0u64..) {
                arrivals.extend(fates.into_iter().map(|late| (number + late, flow, number)));
            }
            arrivals.sort_by_key(|(when, ..)| *when);
            arrivals.into_iter().map(|(_, flow, number)| (flow, number)).collect()
        })
    }

    proptest! {
        /// With a window, and numbers of 32 bits, the account is that of somebody who remembers
        /// all.
        #[test]
        fn the_account_is_right(arrivals in any_arrivals(), more in 0..50u64) {
            let highest = arrivals.iter().map(|(_, number)| number + 1).max().unwrap_or(0);
            let mut tally = Tally::new();
            for (flow, number) in &arrivals {
                tally.arrived(*flow, u32::try_from(*number).unwrap());
            }
            prop_assert_eq!(tally.counts(), plain(&arrivals, highest));
            tally.announce(u32::try_from(highest + more).unwrap());
            prop_assert_eq!(tally.counts(), plain(&arrivals, highest + more));
        }
    }

    #[test]
    fn numbers_go_on_behind_the_last_one_of_32_bits() {
        let mut tally = Tally { next: u64::from(u32::MAX) - 1, ..Tally::new() };
        for sequence in [u32::MAX - 1, 1, u32::MAX, 0, 1] {
            tally.arrived(0, sequence);
        }
        tally.announce(4);
        let counts = tally.counts();
        assert_eq!(tally.sent(), (1 << 32) + 4);
        assert_eq!((counts.received, counts.duplicates, counts.reordered), (4, 1, 2));
    }

    #[test]
    fn what_is_older_than_the_window_is_stale() {
        let mut tally = Tally::new();
        let window = u32::try_from(Tally::WINDOW).unwrap();
        for sequence in [0, 5, window + 1, 1, 2, 5] {
            tally.arrived(0, sequence);
        }
        let counts = tally.counts();
        // 1 lies just outside, 2 just inside, and 5 is remembered.
        assert_eq!((counts.received, counts.stale, counts.duplicates), (4, 1, 1));
        tally.arrived(0, 10 * window);
        assert_eq!(tally.counts().received, 5, "a leap over the whole window");
    }

    #[test]
    fn many_flows_take_no_more_room_than_they_may() {
        let mut tally = Tally::new();
        tally.arrived(u32::MAX, 1);
        assert_eq!(tally.flows.len(), Tally::MOST_FLOWS);
    }
}
