//! Sequence numbers of a side whose text was rewritten: what the other side has received is longer or
//! shorter than what was sent.

use crate::segment::before;

/// So many lines are remembered that were rewritten; what was sent before them has arrived.
const MOST: usize = 4;
/// What lies so far back is over: numbers are compared by half of all.
const OVER: u32 = 1 << 30;

/// A line that was rewritten, by the numbers that its sender gave it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Change {
    /// Its first number.
    pub(crate) start: u32,
    /// The number behind it.
    pub(crate) end: u32,
    /// What is added to numbers in front of it.
    before: u32,
    /// What is added to those behind it.
    after: u32,
    /// The port that it says now.
    pub(crate) port: u16,
}

impl Change {
    /// By how much it has grown: negative numbers wrap.
    pub(crate) const fn growth(&self) -> u32 {
        self.after.wrapping_sub(self.before)
    }
}

/// What the lines of one side that were rewritten make of its sequence numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Shifts {
    /// Of those that are remembered, the oldest first.
    changes: [Change; MOST],
    len: u8,
    /// What is added to numbers, if none is remembered.
    base: u32,
}

impl Shifts {
    fn changes(&self) -> &[Change] {
        &self.changes[..usize::from(self.len).min(MOST)]
    }

    /// Whether all numbers stay as they are.
    pub(crate) fn is_none(&self) -> bool {
        self.base == 0 && self.changes().iter().all(|change| change.after == 0)
    }

    /// What is added to numbers behind all changes.
    fn last(&self) -> u32 {
        self.changes().last().map_or(self.base, |change| change.after)
    }

    /// The number that the other side sees where its sender has written this one.
    pub(crate) fn forth(&self, number: u32) -> u32 {
        for change in self.changes().iter().rev() {
            if !before(number, change.end) {
                return number.wrapping_add(change.after);
            }
            if before(change.start, number) {
                return number.wrapping_add(change.before);
            }
        }
        number.wrapping_add(self.first())
    }

    /// The number that the sender knows where the other side has acknowledged this one. Of a line that
    /// was rewritten nothing has arrived until all of it has: so it is sent again as a whole.
    pub(crate) fn back(&self, number: u32) -> u32 {
        for change in self.changes().iter().rev() {
            if !before(number, change.end.wrapping_add(change.after)) {
                return number.wrapping_sub(change.after);
            }
            if before(change.start.wrapping_add(change.before), number) {
                return change.start;
            }
        }
        number.wrapping_sub(self.first())
    }

    /// What is added to numbers in front of all changes.
    fn first(&self) -> u32 {
        self.changes().first().map_or(self.base, |change| change.before)
    }

    /// The change of the line that begins here, if there was one.
    pub(crate) fn at(&self, start: u32) -> Option<Change> {
        self.changes().iter().copied().find(|change| change.start == start)
    }

    /// The number behind the last change.
    pub(crate) fn end(&self) -> Option<u32> {
        self.changes().last().map(|change| change.end)
    }

    /// Notes that the line of these numbers, which comes behind all others, has grown by so much, and
    /// says this port.
    pub(crate) fn push(&mut self, start: u32, end: u32, growth: u32, port: u16) {
        let before = self.last();
        let change = Change { start, end, before, after: before.wrapping_add(growth), port };
        if usize::from(self.len) == MOST {
            self.forget_first();
        }
        if let Some(place) = self.changes.get_mut(usize::from(self.len)) {
            *place = change;
            self.len += 1;
        }
    }

    /// Forgets changes that lie far behind a number.
    pub(crate) fn go_on(&mut self, number: u32) {
        while self.changes().first().is_some_and(|change| {
            let behind = number.wrapping_sub(change.end);
            behind > OVER && behind < 1 << 31
        }) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        self.base = self.changes[0].after;
        self.changes.rotate_left(1);
        self.len = self.len.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines: how long they are, and how long they become.
    fn any_lines() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let line = prop_oneof![(1..60u32).prop_map(|len| (len, len)), (20..60u32, 20..60u32),];
        prop::collection::vec(line, 1..12)
    }

    proptest! {
        #[test]
        fn both_sides_agree_about_where_lines_begin(first: u32, lines in any_lines()) {
            let mut shifts = Shifts::default();
            let (mut sent, mut seen) = (first, first);
            let mut ends = vec![(sent, seen)];
            for (len, becomes) in lines {
                if len != becomes {
                    shifts.push(sent, sent.wrapping_add(len), becomes.wrapping_sub(len), 7);
                }
                (sent, seen) = (sent.wrapping_add(len), seen.wrapping_add(becomes));
                ends.push((sent, seen));
                prop_assert_eq!((shifts.forth(sent), shifts.back(seen)), (sent, seen).swapped());
            }
            // Those that are remembered still know what was in front of them.
            let known = shifts.changes().first().map_or(sent, |change| change.start);
            for (sent, seen) in ends.into_iter().filter(|(sent, _)| !before(*sent, known)) {
                prop_assert_eq!((shifts.forth(sent), shifts.back(seen)), (sent, seen).swapped());
            }
        }

        #[test]
        fn what_is_acknowledged_was_sent_and_never_goes_back(first: u32, lines in any_lines()) {
            let mut shifts = Shifts::default();
            let (mut sent, mut seen) = (first, first);
            for (len, becomes) in lines {
                shifts.push(sent, sent.wrapping_add(len), becomes.wrapping_sub(len), 7);
                (sent, seen) = (sent.wrapping_add(len), seen.wrapping_add(becomes));
                let mut last = None;
                for ack in (0..=becomes).rev().map(|n| shifts.back(seen.wrapping_sub(n))) {
                    prop_assert!(!before(sent, ack));
                    prop_assert!(last.is_none_or(|last| !before(ack, last)));
                    last = Some(ack);
                }
            }
        }
    }

    trait Swapped {
        fn swapped(self) -> Self;
    }

    impl Swapped for (u32, u32) {
        fn swapped(self) -> Self {
            (self.1, self.0)
        }
    }

    #[test]
    fn what_lies_far_back_is_forgotten_and_still_counts() {
        let mut shifts = Shifts::default();
        shifts.push(100, 130, 5, 7);
        shifts.go_on(1 << 30);
        assert_eq!(shifts.at(100).map(|change| change.growth()), Some(5));
        shifts.go_on((1 << 30) + 1000);
        assert_eq!(shifts.at(100), None);
        assert_eq!((shifts.forth(1 << 30), shifts.is_none()), ((1 << 30) + 5, false));
    }
}
