//! The changes of the generations that were, the near ones each by itself, the far ones in summaries.
//!
//! A cache entry is asked about when a packet meets it again, which may be after thousands of
//! generations: a controller changes flow after flow while a million entries wait for their packets.
//! So at most sixty-four generations make a block with a summary, and as many blocks a larger one. A
//! summary says more than has changed, never less; a question takes some two hundred looks at most.
//!
//! **Where a block ends.** A question from within a block is answered from all of it. So a block ends
//! with a large change: the entries that are made behind it, while the tables are as it left them, are
//! not to be asked about it ever again.

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
    /// The last generations, the last blocks of them, and the last blocks of those.
    levels: [Level; LEVELS],
}

/// How many of a level make one of the next at most.
const BLOCK: usize = 64;
/// So that the changes of 64 * 64 * 64 generations are known, one by one or in sum.
const LEVELS: usize = 3;

/// Some of the blocks of one size.
#[derive(Clone, Debug, Default)]
struct Level {
    /// The last ones. They are shared with earlier histories, since most changes add to the first
    /// level alone.
    blocks: Arc<VecDeque<Block>>,
    /// How many of them are not in a block of the next level yet.
    open: usize,
}

/// What changed in some generations.
#[derive(Clone, Debug)]
struct Block {
    /// How many came before them.
    first: u64,
    changes: Arc<[Change]>,
}

impl Level {
    /// Adds a block. Answers with the one of the next level that ends with it, if one does: for
    /// certain if it is to end `here`.
    fn push(&mut self, block: Block, here: bool) -> Option<Block> {
        let blocks = Arc::make_mut(&mut self.blocks);
        if blocks.len() == BLOCK {
            blocks.pop_front();
        }
        blocks.push_back(block);
        self.open += 1;
        if self.open < BLOCK && !here {
            return None;
        }
        let open = blocks.range(blocks.len() - std::mem::take(&mut self.open)..);
        let first = open.clone().next()?.first;
        let changes = Changes::summary(open.flat_map(|block| block.changes.iter())).into_list();
        Some(Block { first, changes })
    }
}

impl History {
    /// A history of which nothing is remembered but the number of its last generation.
    pub fn beginning_at(newest: u64) -> Self {
        Self { origin: newest, ..Self::default() }
    }

    /// Adds the next generation.
    pub(crate) fn push(&mut self, changes: Changes) {
        let is_large = changes.are_many();
        let mut next = Some(Block { first: self.count, changes: changes.into_list() });
        self.count += 1;
        for level in &mut self.levels {
            let Some(block) = next else { break };
            next = level.push(block, is_large);
        }
    }

    /// The number of the last generation.
    pub const fn newest(&self) -> u64 {
        self.origin + self.count
    }

    /// What has changed since `generation`, as long as each generation is known by itself.
    pub(crate) fn since(&self, generation: u64) -> Option<impl Iterator<Item = &Change>> {
        let since = generation.checked_sub(self.origin)?;
        let generations = usize::try_from(self.count.checked_sub(since)?).ok()?;
        let blocks = &self.levels[0].blocks;
        let oldest = blocks.len().checked_sub(generations)?;
        Some(blocks.range(oldest..).flat_map(|block| block.changes.iter()))
    }

    /// Whether anything since `generation` affects a program on this basis. Never wrong with "no".
    pub fn affects(&self, generation: u64, basis: &Basis, key: &Key, mask: &Key) -> bool {
        let Some(since) = generation.checked_sub(self.origin) else { return true };
        // What comes behind this place has been looked at.
        let mut rest = self.count;
        for Level { blocks, .. } in &self.levels {
            if rest <= since {
                return false;
            }
            let oldest = blocks.partition_point(|block| block.first <= since).saturating_sub(1);
            let behind = blocks.partition_point(|block| block.first < rest);
            let mut met = blocks.range(oldest..behind).flat_map(|block| block.changes.iter());
            if met.any(|change| change.affects(basis, key, mask)) {
                return true;
            }
            rest = blocks.get(oldest).map_or(rest, |block| block.first);
        }
        rest > since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Match;

    use crate::change::tests::host;
    use crate::mask::Mask;
    use crate::ports::BridgeId;

    fn changes_of(changes: &mut Changes, matching: &Match) {
        changes.rule(BridgeId(0), 3, matching, Mask::hash_of(matching));
    }

    fn to(host: u32) -> Changes {
        let mut changes = Changes::default();
        changes_of(&mut changes, &self::host(host));
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

    /// However long ago that was, and however much has changed since.
    #[test]
    fn who_was_asked_after_a_large_change_is_not_asked_about_it_again() {
        let mut history = History::default();
        (0..100).for_each(|n| history.push(to(n)));
        let mut large = Changes::default();
        for n in 0..1000 {
            changes_of(&mut large, &host(0x0a00_0000 + n));
        }
        history.push(large);
        let (exact, own) = (*host(u32::MAX).mask(), *host(0x0a00_0007).key());
        for n in 0..10_000u32 {
            assert!(history.affects(100, &basis(), &own, &exact), "{n}");
            assert!(!history.affects(101, &basis(), &own, &exact), "{n}");
            history.push(to(0x0b00_0000 + n % 100));
        }
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
