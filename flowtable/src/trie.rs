//! Prefixes in use, and how many bits of a value show which of them it can match.
//!
//! A table keeps one for each address field, a tuple one for its ports. A lookup learns two things
//! from it: which prefix lengths can match at all, so that tuples of other lengths are passed over,
//! and how many leading bits that took, so that a cache entry depends on those bits and not on the
//! longest prefix in the table. (Open vSwitch does the same, `lib/classifier.h`, "tries".)
//!
//! The nodes are shared between versions: inserting copies the path from the root, at most one node
//! a bit.

use std::sync::Arc;

/// A set of prefixes of values of up to 128 bits, each with the number of rules that have it.
///
/// Values are left-aligned: bit 127 is the first of a prefix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trie(Option<Arc<Node>>);

#[derive(Clone, Debug)]
struct Node {
    /// The first `len` bits; the others are zero.
    prefix: u128,
    len: u8,
    /// Rules with exactly this prefix; 0 for a node that only forks.
    rules: u32,
    children: [Trie; 2],
}

/// What a value can match.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// Bit `n - 1` is set if a prefix of length `n` matches.
    pub(crate) lengths: u128,
    /// How many leading bits decided that.
    pub(crate) bits: u8,
}

impl Found {
    /// Whether a prefix of this length matches; one of no length always does.
    pub(crate) const fn has(self, len: u8) -> bool {
        len == 0 || self.lengths >> (len - 1) & 1 == 1
    }
}

/// The leading `len` bits.
const fn leading(len: u8) -> u128 {
    match len {
        0 => 0,
        1..=127 => u128::MAX << (128 - len),
        _ => u128::MAX,
    }
}

/// Bit `at` of a value, the first being bit 0.
fn bit(value: u128, at: u8) -> usize {
    usize::from(value >> (127 - at) & 1 == 1)
}

/// How many leading bits two values share, at most `most`.
fn common(a: u128, b: u128, most: u8) -> u8 {
    u8::try_from((a ^ b).leading_zeros()).unwrap_or(128).min(most)
}

impl Trie {
    /// No prefix.
    pub(crate) const EMPTY: Self = Self(None);

    /// Notes one more rule with the first `len` bits of `value`; none for a prefix of no length.
    pub(crate) fn insert(&mut self, value: u128, len: u8) {
        if len > 0 {
            self.change(value & leading(len), len, 1);
        }
    }

    /// Forgets one rule with the first `len` bits of `value`.
    pub(crate) fn remove(&mut self, value: u128, len: u8) {
        if len > 0 {
            self.change(value & leading(len), len, -1);
        }
    }

    fn change(&mut self, prefix: u128, len: u8, by: i32) {
        let Some(node) = &mut self.0 else {
            if by > 0 {
                *self = Self::leaf(prefix, len);
            }
            return;
        };
        let shared = common(node.prefix, prefix, node.len.min(len));
        if shared < node.len {
            // The new prefix leaves the node's in the middle: a node for what they share goes
            // between.
            if by > 0 {
                let below = self.0.take();
                let mut fork = Node {
                    prefix: prefix & leading(shared),
                    len: shared,
                    rules: 0,
                    children: Default::default(),
                };
                let old = below.as_ref().map_or(0, |below| bit(below.prefix, shared));
                fork.children[old] = Self(below);
                self.0 = Some(Arc::new(fork));
                self.change(prefix, len, by);
            }
            return;
        }
        let node = Arc::make_mut(node);
        if len == node.len {
            node.rules = node.rules.saturating_add_signed(by);
        } else {
            node.children[bit(prefix, node.len)].change(prefix, len, by);
        }
        if by < 0 {
            self.tidy();
        }
    }

    fn leaf(prefix: u128, len: u8) -> Self {
        Self(Some(Arc::new(Node { prefix, len, rules: 1, children: Default::default() })))
    }

    /// Removes a root that neither stands for rules nor forks.
    fn tidy(&mut self) {
        let Some(node) = &self.0 else { return };
        if node.rules == 0 {
            match &node.children {
                [Self(None), only] | [only, Self(None)] => *self = only.clone(),
                _ => {}
            }
        }
    }

    /// What `value` can match.
    pub(crate) fn lookup(&self, value: u128) -> Found {
        let mut found = Found { lengths: 0, bits: 0 };
        let mut trie = self;
        while let Some(node) = &trie.0 {
            let shared = common(node.prefix, value, node.len);
            if shared < node.len {
                // The bit in which they differ has been looked at, too.
                found.bits = shared + 1;
                return found;
            }
            if node.rules > 0 {
                found.lengths |= 1 << (node.len - 1);
            }
            found.bits = node.len;
            if node.children.iter().all(|child| child.0.is_none()) {
                return found;
            }
            found.bits = node.len + 1;
            trie = &node.children[bit(value, node.len)];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_prefix() -> impl Strategy<Value = (u128, u8)> {
        (prop_oneof![any::<u16>(), 0..8u16], 0..=16u8)
            .prop_map(|(v, len)| (u128::from(v) << 112 & leading(len), len))
    }

    proptest! {
        /// The answer is that of a list of prefixes, and holds for every value with the same
        /// leading bits.
        #[test]
        fn it_agrees_with_a_list(
            prefixes in prop::collection::vec(any_prefix(), 0..20),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            value: u16, other: u128,
        ) {
            let mut list = prefixes;
            let mut trie = Trie::default();
            list.iter().for_each(|(prefix, len)| trie.insert(*prefix, *len));
            for at in removed {
                if !list.is_empty() {
                    let (prefix, len) = list.swap_remove(at.index(list.len()));
                    trie.remove(prefix, len);
                }
            }
            let value = u128::from(value) << 112;
            let found = trie.lookup(value);
            for len in 0..=16 {
                let expected = len == 0 || list.iter().any(|(prefix, l)| *l == len && value & leading(len) == *prefix);
                prop_assert_eq!(found.has(len), expected, "length {}", len);
            }
            let other = other & !leading(found.bits) | value & leading(found.bits);
            prop_assert_eq!(trie.lookup(other), found);
        }

        #[test]
        fn what_is_removed_leaves_nothing(prefixes in prop::collection::vec(any_prefix(), 0..20)) {
            let mut trie = Trie::default();
            prefixes.iter().for_each(|(prefix, len)| trie.insert(*prefix, *len));
            prefixes.iter().rev().for_each(|(prefix, len)| trie.remove(*prefix, *len));
            prop_assert!(trie.0.is_none());
        }
    }
}
