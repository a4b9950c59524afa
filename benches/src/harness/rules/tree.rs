//! Addresses that branch as those of networks do.

use crate::pktgen::order::Random;

/// A binary tree of addresses. At some places it branches, and then one side is heavier; everywhere
/// else there is one way on. Which is where follows from the seed: nothing is stored.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// Tells one tree from another.
    pub seed: u64,
    /// How many places of a thousand branch, within the first 8 bits and for each 8 bits behind.
    pub branching: [u16; 4],
    /// How many of a thousand addresses go the heavier way: 500 to 1000.
    pub skew: u16,
}

impl Tree {
    /// An address in it, its first `len` bits; the others are zero.
    pub fn draw(&self, len: u8, random: &mut Random) -> u32 {
        (0..u32::from(len.min(32))).fold(0, |address, depth| {
            let bit = self.bit(address, depth, random);
            address | u32::from(bit) << (31 - depth)
        })
    }

    /// Where to go at the place that the first `depth` bits of `address` lead to.
    fn bit(&self, address: u32, depth: u32, random: &mut Random) -> bool {
        let place = u64::from(address) << 8 | u64::from(depth);
        let mut place = Random::new(self.seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let heavy = place.below(2) == 1;
        let level = (depth / 8) as usize;
        let branches = place.below(1000) < usize::from(self.branching[level]);
        let lighter = branches && random.below(1000) >= usize::from(self.skew);
        heavy != lighter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_tree_that_never_branches_has_one_address() {
        let tree = Tree { seed: 3, branching: [0; 4], skew: 500 };
        let mut random = Random::new(1);
        let first = tree.draw(32, &mut random);
        assert!((0..100).all(|_| tree.draw(32, &mut random) == first));
        assert_eq!(tree.draw(8, &mut random), first & 0xff00_0000, "a prefix leads the same way");
    }

    #[test]
    fn the_heavier_side_has_its_share() {
        let tree = Tree { seed: 3, branching: [1000, 0, 0, 0], skew: 800 };
        let mut random = Random::new(1);
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            *counts.entry(tree.draw(1, &mut random)).or_default() += 1;
        }
        assert_eq!(counts.len(), 2);
        let most = counts.into_values().max().unwrap();
        assert!((7800..8200).contains(&most), "{most}");
    }
}
