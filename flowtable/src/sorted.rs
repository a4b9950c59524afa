//! A map in the order of its keys, whose versions share what is the same.
//!
//! A B-tree of reference-counted nodes. Cloning it costs a count; a change copies the nodes on the
//! way to the place it changes, unless nobody else has them: of a thousand changes in one go, each
//! node is copied once. Letting go of an old version frees what only it had, which is as much as
//! was copied for the new one.
//!
//! **Size.** Keys and values stand side by side in the node itself: a step down is one line of memory
//! that is not near, not two. Nodes are full if keys come in ascending order, and two thirds full if
//! they come in any other. They are small, since copying one counts every value in it once more, and
//! each of those counts is elsewhere in memory.

use arrayvec::ArrayVec;
use packet::memory::{prefetch, prefetch_whole};
use triomphe::Arc;

/// Entries of a node at most.
const MOST: usize = 16;
/// A node with fewer entries joins a neighbour if they fit into one.
const FEW: usize = MOST / 4;

/// Nodes above a leaf at most: there is no memory for more.
const DEPTH: usize = 24;

/// What a leaf holds.
pub(crate) trait Value: Clone {
    /// Asks the processor for what a clone will write to, if that is elsewhere.
    fn prefetch(&self) {}
}

impl Value for u32 {}

/// A map in the order of its keys.
#[derive(Debug)]
pub(crate) struct Sorted<K, V>(Option<Arc<Node<K, V>>>);

#[derive(Debug)]
enum Node<K, V> {
    /// The entries themselves.
    Leaf(Entries<(K, V)>),
    /// Nodes, each with a key that is not above its own and above all of the node before it. (That
    /// of the first one means nothing.)
    Fork(Entries<Child<K, V>>),
}

/// What is in a node, without a way to it.
type Entries<T> = ArrayVec<T, MOST>;

/// A node with its key.
type Child<K, V> = (K, Arc<Node<K, V>>);

impl<K: Copy, V: Value> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(entries) => {
                entries.iter().for_each(|(_, value)| value.prefetch());
                Self::Leaf(entries.clone())
            }
            Self::Fork(children) => {
                children.iter().for_each(|(_, child)| prefetch(&**child));
                Self::Fork(children.clone())
            }
        }
    }
}

impl<K, V> Clone for Sorted<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<K, V> Sorted<K, V> {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self(None);

    /// Whether there is no entry.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl<K: Copy + Ord, V: Value> Sorted<K, V> {
    /// The value of `key`.
    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        let mut node = self.0.as_deref()?;
        loop {
            prefetch_whole(node);
            match node {
                Node::Fork(children) => node = &children[child_of(children, key)].1,
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(other, _)| *other < key);
                    return entries.get(at).filter(|(other, _)| *other == key).map(|(_, v)| v);
                }
            }
        }
    }

    /// The first entry.
    pub(crate) fn first(&self) -> Option<&(K, V)> {
        self.0.as_ref()?.first()
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<&(K, V)> {
        self.0.as_ref()?.last()
    }

    /// The first entry whose key is `key` or above.
    pub(crate) fn from(&self, key: K) -> Option<&(K, V)> {
        self.0.as_ref()?.from(key)
    }

    /// The last key that is `key` or below, and the first above.
    pub(crate) fn around(&self, key: K) -> (Option<K>, Option<K>) {
        self.0.as_ref().map_or((None, None), |root| root.around(key))
    }

    /// The entries whose key is `key` or above, in order.
    pub(crate) fn iter_from(&self, key: K) -> Iter<'_, K, V> {
        let mut iter = Iter { above: ArrayVec::new(), leaf: [].iter() };
        if let Some(root) = &self.0 {
            iter.descend(root, |children| child_of(children, key));
            let entries = iter.leaf.as_slice();
            iter.leaf = entries[entries.partition_point(|(other, _)| *other < key)..].iter();
        }
        iter
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { above: ArrayVec::new(), leaf: [].iter() };
        if let Some(root) = &self.0 {
            iter.descend(root, |_| 0);
        }
        iter
    }

    /// Of entries whose keys ascend. Nodes are full.
    pub(crate) fn of_ascending(entries: impl Iterator<Item = (K, V)>) -> Self {
        let leaf = |entries: Entries<(K, V)>| (entries[0].0, Arc::new(Node::Leaf(entries)));
        let fork = |nodes: Entries<Child<K, V>>| (nodes[0].0, Arc::new(Node::Fork(nodes)));
        let mut nodes: Vec<_> = full(entries).map(leaf).collect();
        while nodes.len() > 1 {
            nodes = full(nodes.into_iter()).map(fork).collect();
        }
        Self(nodes.pop().map(|(_, root)| root))
    }

    /// Gives `key` the value that `value` makes of the one it has.
    pub(crate) fn insert_with(&mut self, key: K, value: impl FnOnce(Option<&V>) -> V) {
        let Some(root) = &mut self.0 else {
            self.0 = Some(Arc::new(Node::Leaf(Entries::from_iter([(key, value(None))]))));
            return;
        };
        if root.is_full() {
            let right = Arc::make_mut(root).split(key);
            let left = (right.0.min(key), Arc::clone(root));
            *root = Arc::new(Node::Fork(Entries::from_iter([left, right])));
        }
        let mut node = Arc::make_mut(root);
        // Full nodes are split on the way down, so that there is room for what that brings.
        while let Node::Fork(children) = node {
            let mut at = child_of(children, key);
            if children[at].1.is_full() {
                let right = Arc::make_mut(&mut children[at].1).split(key);
                let is_right = right.0 <= key;
                children.insert(at + 1, right);
                at += usize::from(is_right);
            }
            node = Arc::make_mut(&mut children[at].1);
        }
        let Node::Leaf(entries) = node else { return };
        let at = entries.partition_point(|(other, _)| *other < key);
        match entries.get_mut(at) {
            Some((other, old)) if *other == key => *old = value(Some(old)),
            _ => entries.insert(at, (key, value(None))),
        }
    }

    /// Gives `key` a value.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.insert_with(key, |_| value);
    }

    /// Removes `key`; answers with its value.
    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        // Nothing is copied for a key that is not there.
        self.get(key)?;
        let root = self.0.as_mut()?;
        let removed = Arc::make_mut(root).remove(key);
        while let Node::Fork(children) = &**root
            && let [(_, only)] = &children[..]
        {
            *root = Arc::clone(only);
        }
        if root.len() == 0 {
            self.0 = None;
        }
        removed
    }
}

impl<K: Copy + Ord> Sorted<K, u32> {
    /// Counts one more of `key`.
    pub(crate) fn count(&mut self, key: K) {
        self.insert_with(key, |count| count.map_or(1, |count| count + 1));
    }

    /// Counts one less of `key`; what is counted as often as not is not there.
    pub(crate) fn discount(&mut self, key: K) {
        match self.get(key) {
            None | Some(1) => drop(self.remove(key)),
            Some(count) => {
                let count = count - 1;
                self.insert(key, count);
            }
        }
    }
}

/// The child that `key` belongs to.
#[inline]
fn child_of<K: Ord + Copy, V>(children: &[Child<K, V>], key: K) -> usize {
    children.partition_point(|(first, _)| *first <= key).saturating_sub(1)
}

impl<K: Copy + Ord, V: Value> Node<K, V> {
    const fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Fork(children) => children.len(),
        }
    }

    fn first(&self) -> Option<&(K, V)> {
        match self {
            Self::Leaf(entries) => entries.first(),
            Self::Fork(children) => children.first()?.1.first(),
        }
    }

    fn last(&self) -> Option<&(K, V)> {
        match self {
            Self::Leaf(entries) => entries.last(),
            Self::Fork(children) => children.last()?.1.last(),
        }
    }

    fn from(&self, key: K) -> Option<&(K, V)> {
        match self {
            Self::Leaf(entries) => entries.get(entries.partition_point(|(other, _)| *other < key)),
            Self::Fork(children) => {
                let at = child_of(children, key);
                children[at].1.from(key).or_else(|| children.get(at + 1)?.1.first())
            }
        }
    }

    fn around(&self, key: K) -> (Option<K>, Option<K>) {
        match self {
            Self::Leaf(entries) => {
                let at = entries.partition_point(|(other, _)| *other <= key);
                let before = at.checked_sub(1).map(|before| entries[before].0);
                (before, entries.get(at).map(|(after, _)| *after))
            }
            Self::Fork(children) => {
                let at = child_of(children, key);
                let (before, after) = children[at].1.around(key);
                let earlier = || Some(children[at.checked_sub(1)?].1.last()?.0);
                let later = || Some(children.get(at + 1)?.1.first()?.0);
                (before.or_else(earlier), after.or_else(later))
            }
        }
    }

    const fn is_full(&self) -> bool {
        match self {
            Self::Leaf(entries) => entries.is_full(),
            Self::Fork(children) => children.is_full(),
        }
    }

    /// Takes the entries of the upper half off, into a node of their own, with its first key. Who
    /// adds in ascending order leaves full nodes behind: if `key` is to be the last, only one entry
    /// is taken.
    fn split(&mut self, key: K) -> (K, Arc<Self>) {
        match self {
            Self::Leaf(entries) => {
                let right = upper(entries, key);
                (right[0].0, Arc::new(Self::Leaf(right)))
            }
            Self::Fork(children) => {
                let right = upper(children, key);
                (right[0].0, Arc::new(Self::Fork(right)))
            }
        }
    }

    fn remove(&mut self, key: K) -> Option<V> {
        match self {
            Self::Leaf(entries) => {
                let at = entries.binary_search_by(|(other, _)| other.cmp(&key)).ok()?;
                Some(entries.remove(at).1)
            }
            Self::Fork(children) => {
                let at = child_of(children, key);
                let removed = Arc::make_mut(&mut children[at].1).remove(key);
                match children[at].1.len() {
                    0 => drop(children.remove(at)),
                    1..FEW => join(children, at),
                    _ => {}
                }
                removed
            }
        }
    }

    /// Takes over the entries of the node behind this one.
    fn append(&mut self, first: K, behind: &Self) {
        match (self, behind) {
            (Self::Leaf(entries), Self::Leaf(others)) => entries.extend(others.iter().cloned()),
            (Self::Fork(children), Self::Fork(others)) => {
                let own = children.len();
                children.extend(others.iter().cloned());
                // It was the first of its node, so its key meant nothing.
                children[own].0 = first;
            }
            _ => debug_assert!(false, "all leaves have the same depth"),
        }
    }
}

/// As many as go into a node, again and again.
fn full<T>(mut items: impl Iterator<Item = T>) -> impl Iterator<Item = Entries<T>> {
    let next = move || Some(Entries::from_iter(items.by_ref().take(MOST)));
    std::iter::from_fn(next).take_while(|node| !node.is_empty())
}

/// Takes off the upper half of a node's entries, or the last one if `key` is above it.
fn upper<K: Ord, T>(entries: &mut Entries<(K, T)>, key: K) -> Entries<(K, T)> {
    let is_last = entries.last().is_some_and(|(last, _)| *last < key);
    let middle = if is_last { entries.len() - 1 } else { entries.len() / 2 };
    entries.drain(middle..).collect()
}

/// Joins the child at `at` with one of its neighbours if both fit into one node.
fn join<K: Copy + Ord, V: Value>(children: &mut Entries<Child<K, V>>, at: usize) {
    let fit = |left: usize| {
        let pair = children.get(left..left + 2)?;
        (pair[0].1.len() + pair[1].1.len() <= MOST).then_some(left)
    };
    if let Some(left) = at.checked_sub(1).and_then(fit).or_else(|| fit(at)) {
        let (first, behind) = children.remove(left + 1);
        Arc::make_mut(&mut children[left].1).append(first, &behind);
    }
}

/// The entries of a [`Sorted`] from some key on.
#[derive(Debug)]
pub(crate) struct Iter<'a, K, V> {
    /// What is still to come of the nodes above the leaf.
    above: ArrayVec<std::slice::Iter<'a, Child<K, V>>, DEPTH>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    /// Goes down to a leaf by the children that `choose` says.
    fn descend(&mut self, mut node: &'a Node<K, V>, choose: impl Fn(&[Child<K, V>]) -> usize) {
        while let Node::Fork(children) = node {
            let mut rest = children[choose(children)..].iter();
            let Some((_, next)) = rest.next() else { return };
            self.above.push(rest);
            node = next;
        }
        if let Node::Leaf(entries) = node {
            self.leaf = entries.iter();
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = &'a (K, V);

    fn next(&mut self) -> Option<&'a (K, V)> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(entry);
            }
            match self.above.last_mut()?.next() {
                Some((_, node)) => self.descend(node, |_| 0),
                None => drop(self.above.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Value for usize {}
    impl Value for () {}

    /// Asserts that all leaves have one depth and no node is empty or too large; answers with it.
    fn depth<V>(node: &Node<u16, V>) -> usize {
        match node {
            Node::Leaf(entries) => {
                assert!((1..=MOST).contains(&entries.len()));
                0
            }
            Node::Fork(children) => {
                assert!((1..=MOST).contains(&children.len()));
                let depths: Vec<_> = children.iter().map(|(_, child)| depth(child)).collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    fn any_changes() -> impl Strategy<Value = Vec<(bool, u16)>> {
        let key = prop_oneof![0..300u16, any::<u16>()];
        let mixed = prop::collection::vec((prop::bool::weighted(0.6), key), 0..1500);
        let ascending = (0..2000u16).prop_map(|n| (0..n).map(|key| (true, key)).collect());
        (prop_oneof![mixed.clone(), ascending], mixed)
            .prop_map(|(a, b): (Vec<_>, _)| [a, b].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

        /// It answers as a map of the standard library does, and so do versions that were kept.
        #[test]
        fn it_agrees_with_a_btree_map(changes in any_changes(), asked: [u16; 8]) {
            let mut sorted = Sorted::EMPTY;
            let mut map = BTreeMap::new();
            let mut kept = Vec::new();
            for (n, (add, key)) in changes.into_iter().enumerate() {
                if n % 500 == 0 {
                    kept.push((sorted.clone(), map.clone()));
                }
                if add {
                    sorted.insert(key, n);
                    map.insert(key, n);
                } else {
                    prop_assert_eq!(sorted.remove(key), map.remove(&key));
                }
            }
            kept.push((sorted, map));
            for (sorted, map) in kept {
                sorted.0.as_deref().map(depth);
                prop_assert!(sorted.iter().map(|(k, v)| (k, v)).eq(map.iter()));
                prop_assert_eq!(sorted.is_empty(), map.is_empty());
                prop_assert_eq!(sorted.first().map(|(k, _)| k), map.keys().next());
                prop_assert_eq!(sorted.last().map(|(k, _)| k), map.keys().last());
                for key in asked.iter().copied().chain(0..40) {
                    prop_assert_eq!(sorted.get(key), map.get(&key));
                    let mut above = map.range(key..).map(|(k, v)| (*k, *v));
                    prop_assert!(sorted.iter_from(key).copied().eq(above.clone()));
                    prop_assert_eq!(sorted.from(key).copied(), above.next());
                    let before = map.range(..=key).next_back().map(|(k, _)| *k);
                    let after = map.range(key..).map(|(k, _)| *k).find(|k| *k > key);
                    prop_assert_eq!(sorted.around(key), (before, after));
                }
            }
        }
    }

    #[test]
    fn it_can_be_made_of_what_is_in_order() {
        for len in (0..600).chain([16 * 16 * 16, 10_000]) {
            let mut sorted =
                Sorted::of_ascending((0..len).map(|key: u16| (2 * key, usize::from(key))));
            sorted.0.as_deref().map(depth);
            assert!(sorted.iter().map(|(key, _)| *key).eq((0..len).map(|key| 2 * key)));
            sorted.insert(3, 0);
            sorted.0.as_deref().map(depth);
            assert_eq!(sorted.iter().count(), usize::from(len) + 1);
        }
    }

    #[test]
    fn what_is_counted_as_often_as_not_is_not_there() {
        let mut counts = Sorted::EMPTY;
        for key in [3u16, 3, 5] {
            counts.count(key);
        }
        counts.discount(3);
        counts.discount(5);
        assert_eq!(counts.iter().collect::<Vec<_>>(), [&(3, 1)]);
        counts.discount(3);
        assert!(counts.is_empty());
    }

    #[test]
    fn a_change_leaves_what_it_does_not_touch_to_both_versions() {
        let mut new = Sorted::EMPTY;
        (0..1000u16).for_each(|key| new.insert(key, ()));
        let old = new.clone();
        new.insert(2000, ());
        let (Some(Node::Fork(before)), Some(Node::Fork(after))) =
            (old.0.as_deref(), new.0.as_deref())
        else {
            panic!("a thousand entries do not fit into a leaf")
        };
        let shared = before.iter().zip(after).filter(|(a, b)| Arc::ptr_eq(&a.1, &b.1)).count();
        assert_eq!(shared, before.len() - 1);
    }
}
