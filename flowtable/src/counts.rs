//! How many rules have each of some keys.
//!
//! Rules come by the hundred thousand, in any order, and each of them has its keys in several of
//! these. To look for the place of each at once is a walk through memory that is not near. So keys
//! wait until the change is complete, are sorted, and come in one after the other, or, if they are
//! many, make a new tree together with those that are there.

use crate::sorted::Sorted;

/// Keys, each with the number of rules that have it.
#[derive(Clone, Debug)]
pub(crate) struct Counts<K> {
    counts: Sorted<K, u32>,
    /// What all of them sum up to, those that wait included.
    sum: usize,
    /// What is not counted yet: nothing, whenever packets are looked up.
    waiting: Vec<K>,
}

impl<K> Counts<K> {
    /// No keys.
    pub(crate) const EMPTY: Self = Self { counts: Sorted::EMPTY, sum: 0, waiting: Vec::new() };
}

impl<K: Copy + Ord> Counts<K> {
    /// Counts one more of `key`, as soon as it is settled.
    pub(crate) fn add(&mut self, key: K) {
        self.waiting.push(key);
        self.sum += 1;
    }

    /// Counts one less of `key`; what is counted as often as not is not there.
    pub(crate) fn remove(&mut self, key: K) {
        self.settle();
        self.counts.discount(key);
        self.sum -= 1;
    }

    /// Counts what waits.
    pub(crate) fn settle(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable();
        // To copy an entry takes a tenth of the time that its place takes to be found.
        if waiting.len() > self.sum / 8 {
            self.counts = Sorted::of_ascending(merge(&self.counts, &waiting));
        } else {
            waiting.into_iter().for_each(|key| self.counts.count(key));
        }
    }

    /// Whether there is such a key.
    #[inline]
    pub(crate) fn has(&self, key: K) -> bool {
        debug_assert!(self.waiting.is_empty(), "nothing waits when packets are looked up");
        self.counts.get(key).is_some()
    }

    /// The last key that is `key` or below, and the first above.
    #[inline]
    pub(crate) fn around(&self, key: K) -> (Option<K>, Option<K>) {
        debug_assert!(self.waiting.is_empty(), "nothing waits when packets are looked up");
        self.counts.around(key)
    }
}

/// What there is when these keys, which ascend, are counted as well.
fn merge<'a, K: Copy + Ord>(
    counts: &'a Sorted<K, u32>,
    more: &'a [K],
) -> impl Iterator<Item = (K, u32)> + 'a {
    let (mut known, mut more) = (counts.iter().peekable(), more.iter().copied().peekable());
    std::iter::from_fn(move || {
        let key = match (known.peek(), more.peek()) {
            (Some((known, _)), Some(other)) => *known.min(other),
            (Some((known, _)), None) => *known,
            (None, Some(other)) => *other,
            (None, None) => return None,
        };
        let mut count = known.next_if(|(known, _)| *known == key).map_or(0, |(_, count)| *count);
        while more.next_if_eq(&key).is_some() {
            count += 1;
        }
        Some((key, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

        /// However many come at once, they are counted as if they came one by one.
        #[test]
        fn it_agrees_with_a_btree_map(
            bundles in prop::collection::vec(
                (prop::collection::vec(0..400u16, 0..300), prop::collection::vec(any::<prop::sample::Index>(), 0..100)),
                1..8,
            ),
        ) {
            let (mut counts, mut map) = (Counts::EMPTY, BTreeMap::new());
            for (added, removed) in bundles {
                for key in added {
                    counts.add(key);
                    *map.entry(key).or_insert(0u32) += 1;
                }
                for which in removed.into_iter().take(map.len()) {
                    let keys: Vec<_> = map.keys().copied().collect();
                    if keys.is_empty() {
                        break;
                    }
                    let key = *which.get(&keys);
                    counts.remove(key);
                    match map.get_mut(&key) {
                        Some(count) if *count > 1 => *count -= 1,
                        _ => drop(map.remove(&key)),
                    }
                }
                counts.settle();
                prop_assert!(counts.counts.iter().map(|(k, n)| (k, n)).eq(&map));
                prop_assert_eq!(counts.sum, map.values().sum::<u32>() as usize);
                for key in 0..400 {
                    prop_assert_eq!(counts.has(key), map.contains_key(&key));
                }
            }
        }
    }
}
