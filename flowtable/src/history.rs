//! The changes of the generations that were, the near ones each by itself, the far ones in summaries.
//!
//! A cache entry is asked about when a packet meets it again, which may be after thousands of
//! generations: a controller changes flow after flow while a million entries wait for their packets.
//! So sixty-four generations make a block with a summary, and sixty-four blocks a larger one. A
//! summary says more than has changed, never less; a question takes some two hundred looks at most.

use std::collections::VecDeque;
use std::sync::Arc;

use packet::Key;

use crate::change::{Basis, Change, Changes};

/// The changes of the last generations.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The generation before the first that was remembered.
    origin: u64,
    /// Generations since then.
    count: u64,
    /// The last generations, the last blocks of [`BLOCK`] of them, and the last blocks of those.
    levels: [Level; LEVELS],
}

/// How many of a level make one of the next.
const BLOCK: u64 = 64;
/// So that the changes of 64 * 64 * 64 generations are known, one by one or in sum.
const LEVELS: usize = 3;

/// Some of the blocks of one size: the last ones. They are shared with earlier histories, since most
/// changes add to the first level alone.
type Level = Arc<VecDeque<Arc<[Change]>>>;

impl History {
    /// A history of which nothing is remembered but the number of its last generation.
    pub fn beginning_at(newest: u64) -> Self {
        Self { origin: newest, ..Self::default() }
    }

    /// Adds the next generation.
    pub(crate) fn push(&mut self, changes: Changes) {
        self.count += 1;
        let mut block = changes.into_list();
        let mut complete = self.count;
        for level in &mut self.levels {
            let level = Arc::make_mut(level);
            if level.len() as u64 == BLOCK {
                level.pop_front();
            }
            level.push_back(block);
            if !complete.is_multiple_of(BLOCK) {
                break;
            }
            // All of this level make the next block of the one above.
            complete /= BLOCK;
            block = Changes::summary(level.iter().flat_map(|changes| changes.iter())).into_list();
        }
    }

    /// The number of the last generation.
    pub const fn newest(&self) -> u64 {
        self.origin + self.count
    }

    /// Whether anything since `generation` affects a program on this basis. Never wrong with "no".
    pub fn affects(&self, generation: u64, basis: &Basis, key: &Key, mask: &Key) -> bool {
        let Some(since) = generation.checked_sub(self.origin) else { return true };
        // What comes behind this place has been looked at.
        let mut rest = self.count;
        let mut size = 1;
        for level in &self.levels {
            if rest <= since {
                return false;
            }
            // The blocks have numbers: the last is the one before `end`.
            let end = self.count / size;
            let oldest = end - level.len() as u64;
            let first = (since / size).max(oldest);
            let blocks = first..rest.div_ceil(size);
            let at = |number: u64| usize::try_from(number - oldest).unwrap_or(usize::MAX);
            let mut met = level.range(at(blocks.start)..at(blocks.end)).flat_map(|c| c.iter());
            if met.any(|change| change.affects(basis, key, mask)) {
                return true;
            }
            rest = first * size;
            size *= BLOCK;
        }
        rest > since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Field, Match};
    use packet::ethernet;

    use crate::mask::Mask;
    use crate::ports::BridgeId;

    fn host(host: u32) -> Match {
        let mut matching = Match::ANY;
        matching.set(Field::EthType, ethernet::IPV4.into(), 0xffff).unwrap();
        matching.set(Field::IpDst, host.into(), 0xffff_ffff).unwrap();
        matching
    }

    fn to(host: u32) -> Changes {
        let (mut changes, matching) = (Changes::default(), self::host(host));
        changes.rule(BridgeId(0), 3, &matching, Mask::hash_of(&matching));
        changes
    }

    fn basis() -> Basis {
        let mut basis = Basis { bridge: Some(BridgeId(0)), ..Basis::NOTHING };
        basis.note(3);
        basis
    }

    /// However far back, what changed is known to have changed, and what is far from all changes not
    /// to have; who was there before the beginning starts afresh.
    #[test]
    fn a_change_is_found_from_any_distance() {
        let mut history = History::beginning_at(1000);
        let (exact, far) = (*host(u32::MAX).mask(), *host(0x0b00_0001).key());
        for n in 0..300_000u32 {
            history.push(to(0x0a00_0000 + n % 250));
            let newest = 1000 + u64::from(n) + 1;
            assert_eq!(history.newest(), newest);
            if n % 997 != 0 && n > 200 {
                continue;
            }
            for back in [0u32, 1, 2, 63, 64, 65, 127, 128, 4000, 4095, 4096, 4097, 9000, 200_000] {
                let Some(of) = n.checked_sub(back) else { break };
                let changed = *host(0x0a00_0000 + of % 250).key();
                // Before the change of generation `of`, and after the last of all.
                let before = 1000 + u64::from(of);
                assert!(history.affects(before, &basis(), &changed, &exact), "{n} {back}");
                assert!(!history.affects(before, &basis(), &far, &exact), "{n} {back}");
                assert!(!history.affects(newest, &basis(), &changed, &exact), "{n} {back}");
            }
            assert!(history.affects(999, &basis(), &far, &exact), "before the beginning");
        }
        let far_back = history.newest() - 290_000;
        assert!(history.affects(far_back, &basis(), &far, &exact), "forgotten");
    }

    /// Of the last generations each is known by itself.
    #[test]
    fn what_changed_lately_is_told_apart() {
        let mut history = History::default();
        (0..1000).for_each(|n| history.push(to(0x0a00_0000 + n)));
        let exact = *host(u32::MAX).mask();
        let affects =
            |since, n: u32| history.affects(since, &basis(), host(0x0a00_0000 + n).key(), &exact);
        assert!(affects(937, 937) && !affects(938, 937) && !affects(937, 936) && !affects(937, 7));
    }
}
