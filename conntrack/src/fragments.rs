//! Fragments that wait for the rest of their datagram.
//!
//! Nothing is put together: each fragment stays as it came. What a datagram is to its connection is
//! known when all of its parts are there, and they go on as they are.
//!
//! A datagram with parts that overlap is no datagram: all of it is lost, what comes later included (RFC
//! 5722). When there is no room the oldest parts go, whose rest is the least likely to come: those who
//! send parts and no rest cannot keep others' from being completed.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;

use packet::{Millis, Part, PortId};

/// What tells the fragments of one datagram from all others.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DatagramId {
    /// Who sends it.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// What its sender has numbered it with.
    pub id: u32,
    /// The protocol in it; 0 of IPv6, whose numbers are for all protocols.
    pub proto: u8,
    /// The zone: what is complete in one may not be in another.
    pub zone: u16,
    /// Where its fragments come in.
    pub port: PortId,
}

/// Fragments that wait, each a `T`.
#[derive(Debug)]
pub struct Fragments<T> {
    datagrams: HashMap<DatagramId, Datagram<T>>,
    /// Datagrams by age, the oldest first, each with the number it was begun as: it may have gone since.
    ages: VecDeque<(DatagramId, u64)>,
    begun: u64,
    waiting: usize,
    most: usize,
    /// Those that will never be complete, and why.
    lost: Vec<(T, Lost)>,
    spare: Vec<Vec<(Range<u32>, T)>>,
}

/// A datagram of which parts are there.
#[derive(Debug)]
struct Datagram<T> {
    number: u64,
    since: Millis,
    /// Those that are there, in the order in which they came, and which bytes each carries.
    parts: Vec<(Range<u32>, T)>,
    /// How long it is.
    len: Option<u32>,
    /// Whether none of it is wanted any more.
    is_refused: bool,
}

/// Why a fragment never became part of a whole datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// It overlaps another one, or the two contradict each other; or it would be one too many.
    Overlap,
    /// The rest did not come.
    Late,
    /// Too many waited.
    Crowded,
    /// There was nothing to keep it in.
    NoRoom,
}

/// The parts of a datagram whose last one has come.
#[derive(Debug)]
pub struct Gathered<T> {
    /// Those that waited, in the order in which they came, and which bytes each carries.
    pub waited: Vec<(Range<u32>, T)>,
    /// Bytes of all.
    pub len: u32,
}

/// Fragments of one datagram, at most: the longest one over the smallest usual MTU, 576 bytes.
const MOST_PARTS: usize = 128;
/// Milliseconds that a datagram may take to come. The Linux kernel's `ipfrag_time`.
const PATIENCE: u64 = 30_000;

impl<T> Fragments<T> {
    /// None, with room for so many.
    pub fn new(most: usize) -> Self {
        Self {
            datagrams: HashMap::with_capacity(most),
            ages: VecDeque::with_capacity(2 * most + 1),
            begun: 0,
            waiting: 0,
            most,
            lost: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// How many wait.
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Takes a fragment, which `item` makes if it has to wait. Answers with those that waited if it was
    /// the last one missing: that one itself is not taken then.
    ///
    /// Others may be lost by this: [`Fragments::take_lost`].
    pub fn add(
        &mut self,
        datagram: DatagramId,
        part: &Part,
        now: Millis,
        item: impl FnOnce() -> Option<T>,
    ) -> Result<Option<Gathered<T>>, Lost> {
        self.expire(now);
        if !self.datagrams.contains_key(&datagram) {
            self.begin(datagram, now);
        }
        let Some(known) = self.datagrams.get_mut(&datagram) else { return Err(Lost::NoRoom) };
        if known.is_refused {
            return Err(Lost::Overlap);
        }
        let Some(is_whole) = known.fits(part) else {
            known.is_refused = true;
            self.waiting -= known.parts.len();
            self.lost.extend(known.parts.drain(..).map(|(_, item)| (item, Lost::Overlap)));
            return Err(Lost::Overlap);
        };
        if is_whole {
            let len = known.len.unwrap_or(part.bytes.end);
            let waited = std::mem::take(&mut known.parts);
            self.datagrams.remove(&datagram);
            self.waiting -= waited.len();
            return Ok(Some(Gathered { waited, len }));
        }
        known.parts.push((part.bytes.clone(), item().ok_or(Lost::NoRoom)?));
        if part.is_last {
            known.len = Some(part.bytes.end);
        }
        self.waiting += 1;
        while self.waiting > self.most && self.lose_oldest(Lost::Crowded) {}
        Ok(None)
    }

    fn begin(&mut self, datagram: DatagramId, now: Millis) {
        if self.datagrams.len() >= self.most {
            self.lose_oldest(Lost::Crowded);
        }
        if self.ages.len() >= 2 * self.most {
            let datagrams = &self.datagrams;
            let is_there =
                |id: &DatagramId, number| datagrams.get(id).is_some_and(|one| one.number == number);
            self.ages.retain(|(id, number)| is_there(id, *number));
        }
        self.begun += 1;
        self.ages.push_back((datagram, self.begun));
        let (number, parts) = (self.begun, self.spare.pop().unwrap_or_default());
        let begun = Datagram { number, since: now, parts, len: None, is_refused: false };
        self.datagrams.insert(datagram, begun);
    }

    /// Gives back what the parts of a whole datagram were in.
    pub fn give_back(&mut self, mut waited: Vec<(Range<u32>, T)>) {
        waited.clear();
        if self.spare.len() < self.most / MOST_PARTS {
            self.spare.push(waited);
        }
    }

    /// Those that have waited too long are lost.
    pub fn expire(&mut self, now: Millis) {
        while let Some((oldest, number)) = self.ages.front() {
            match self.datagrams.get(oldest).filter(|known| known.number == *number) {
                Some(known) if now.since(known.since) < PATIENCE => return,
                Some(_) => drop(self.lose_oldest(Lost::Late)),
                None => drop(self.ages.pop_front()),
            }
        }
    }

    /// Answers whether there was one.
    fn lose_oldest(&mut self, why: Lost) -> bool {
        while let Some((oldest, number)) = self.ages.pop_front() {
            let Some(known) = self.datagrams.get(&oldest) else { continue };
            if known.number == number {
                self.lose(&oldest, why);
                return true;
            }
        }
        false
    }

    fn lose(&mut self, datagram: &DatagramId, why: Lost) {
        let Some(mut known) = self.datagrams.remove(datagram) else { return };
        self.waiting -= known.parts.len();
        self.lost.extend(known.parts.drain(..).map(|(_, item)| (item, why)));
        self.give_back(known.parts);
    }

    /// All that have come in by a port are lost.
    pub fn close(&mut self, port: PortId) {
        let all = self.datagrams.keys().filter(|datagram| datagram.port == port).copied();
        for datagram in all.collect::<Vec<_>>() {
            self.lose(&datagram, Lost::Late);
        }
    }

    /// Takes one that was lost, if there is one.
    pub fn take_lost(&mut self) -> Option<(T, Lost)> {
        self.lost.pop()
    }
}

impl<T> Datagram<T> {
    /// Whether a part is the last one missing; `None` if it cannot be one.
    fn fits(&self, part: &Part) -> Option<bool> {
        let Range { start, end } = part.bytes;
        let len = match (self.len, part.is_last) {
            (Some(_), true) => return None,
            (Some(len), false) => Some(len),
            (None, true) => Some(end),
            (None, false) => None,
        };
        let overlaps = |there: &Range<u32>| start < there.end && there.start < end;
        let lies_behind = |end| len.is_some_and(|len| end > len);
        let mut there = self.parts.iter().map(|(there, _)| there);
        let contradicts = there.any(|there| overlaps(there) || lies_behind(there.end));
        if contradicts || lies_behind(end) || self.parts.len() + 1 > MOST_PARTS {
            return None;
        }
        let there: u32 = self.parts.iter().map(|(there, _)| there.end - there.start).sum();
        Some(len == Some(there + end - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn datagram(id: u32) -> DatagramId {
        let [src, dst] = [1, 2].map(|n| std::net::Ipv4Addr::new(10, 0, 0, n).into());
        DatagramId { src, dst, id, proto: 17, zone: 0, port: PortId(1) }
    }

    fn part(bytes: Range<u32>, is_last: bool) -> Part {
        Part { id: 0, bytes, is_last, at: 0 }
    }

    /// Gives a part to its datagram, as the number of that.
    fn add(
        fragments: &mut Fragments<u32>,
        id: u32,
        part: &Part,
        now: Millis,
    ) -> Result<Option<Gathered<u32>>, Lost> {
        fragments.add(datagram(id), part, now, || Some(id))
    }

    /// What is lost of datagrams, each with its reason.
    fn lost(fragments: &mut Fragments<u32>) -> Vec<(u32, Lost)> {
        std::iter::from_fn(|| fragments.take_lost()).collect()
    }

    proptest! {
        /// In whatever order parts of several datagrams come, each is whole when its last one does.
        #[test]
        fn datagrams_become_whole_in_any_order(
            cuts in prop::collection::vec(prop::collection::vec(1..20u32, 1..12), 1..6),
            order in any::<u64>().prop_map(packet::Seed),
        ) {
            let mut parts = Vec::new();
            for (id, lens) in (0..).zip(&cuts) {
                let mut start = 0;
                for (n, len) in lens.iter().enumerate() {
                    parts.push((id, part(start..start + len, n + 1 == lens.len())));
                    start += len;
                }
            }
            parts.sort_by_key(|(id, part)| order.hash([u64::from(*id), part.bytes.start.into()]));
            let mut fragments = Fragments::new(100);
            let mut came: HashMap<u32, Vec<Range<u32>>> = HashMap::new();
            for (id, part) in parts {
                let lens = &cuts[id as usize];
                let before = came.entry(id).or_default();
                match add(&mut fragments, id, &part, Millis(0)).unwrap() {
                    None => prop_assert!(before.len() + 1 < lens.len()),
                    Some(Gathered { waited, len }) => {
                        prop_assert_eq!(before.len() + 1, lens.len());
                        prop_assert_eq!(len, lens.iter().sum::<u32>());
                        let waited: Vec<_> = waited.into_iter().map(|(bytes, _)| bytes).collect();
                        prop_assert_eq!(&waited, &*before);
                    }
                }
                before.push(part.bytes);
            }
            prop_assert!(fragments.is_empty());
            prop_assert_eq!(fragments.take_lost(), None);
        }

        /// Whatever comes: what waits is no more than there is room for, nothing is both lost and kept,
        /// and a datagram that is whole has each of its bytes once.
        #[test]
        fn nothing_is_kept_beyond_its_bounds(
            parts in prop::collection::vec((0..6u32, 0..10u32, 1..6u32, any::<bool>()), 0..200),
        ) {
            let mut fragments = Fragments::new(8);
            let (mut waiting, mut now) = (0, 0);
            for (id, start, len, is_last) in parts {
                now += 1;
                let part = part(start..start + len, is_last);
                match add(&mut fragments, id, &part, Millis(now)) {
                    Ok(None) => waiting += 1,
                    Ok(Some(Gathered { mut waited, len, .. })) => {
                        waiting -= waited.len();
                        waited.push((part.bytes, id));
                        waited.sort_by_key(|(bytes, _)| bytes.start);
                        let end = waited.iter().try_fold(0, |end, (bytes, _)| {
                            (bytes.start == end).then_some(bytes.end)
                        });
                        prop_assert_eq!(end, Some(len));
                    }
                    Err(why) => prop_assert_eq!(why, Lost::Overlap),
                }
                waiting -= lost(&mut fragments).len();
                prop_assert_eq!(fragments.len(), waiting);
                prop_assert!(fragments.len() <= 8 && fragments.datagrams.len() <= 8);
                prop_assert!(fragments.ages.len() <= 17);
            }
        }
    }

    #[test]
    fn an_overlap_ends_a_datagram_and_what_comes_of_it_later() {
        let mut fragments = Fragments::new(100);
        let now = Millis(0);
        assert!(add(&mut fragments, 1, &part(0..16, false), now).unwrap().is_none());
        assert_eq!(add(&mut fragments, 1, &part(8..24, true), now).unwrap_err(), Lost::Overlap);
        assert_eq!(lost(&mut fragments), [(1, Lost::Overlap)]);
        assert_eq!(add(&mut fragments, 1, &part(16..24, true), now).unwrap_err(), Lost::Overlap);
        // Another one of its kind is not concerned.
        assert!(add(&mut fragments, 2, &part(0..16, false), now).unwrap().is_none());
        assert!(add(&mut fragments, 2, &part(16..24, true), now).unwrap().is_some());
    }

    #[test]
    fn two_ends_contradict_each_other() {
        for (first, second) in [
            (part(8..16, true), part(16..24, true)),
            (part(8..16, true), part(16..24, false)),
            (part(16..24, false), part(8..16, true)),
        ] {
            let mut fragments = Fragments::new(100);
            assert!(add(&mut fragments, 1, &first, Millis(0)).unwrap().is_none());
            assert_eq!(add(&mut fragments, 1, &second, Millis(0)).unwrap_err(), Lost::Overlap);
        }
    }

    #[test]
    fn who_sends_parts_and_no_rest_does_not_keep_others_out() {
        let mut fragments = Fragments::new(100);
        for id in 0..1000 {
            let now = Millis(u64::from(id));
            assert!(add(&mut fragments, id, &part(0..8, false), now).unwrap().is_none());
            lost(&mut fragments);
        }
        assert!(add(&mut fragments, 5000, &part(0..8, false), Millis(1000)).unwrap().is_none());
        assert_eq!(lost(&mut fragments), [(900, Lost::Crowded)]);
        assert!(add(&mut fragments, 5000, &part(8..16, true), Millis(1000)).unwrap().is_some());
    }

    #[test]
    fn the_rest_may_take_half_a_minute() {
        let mut fragments = Fragments::new(100);
        assert!(add(&mut fragments, 1, &part(0..8, false), Millis(0)).unwrap().is_none());
        fragments.expire(Millis(29_999));
        assert_eq!(lost(&mut fragments), []);
        fragments.expire(Millis(30_000));
        assert_eq!(lost(&mut fragments), [(1, Lost::Late)]);
        assert!(fragments.is_empty());
    }
}
