//! The groups of a bridge.

use std::sync::Arc;

use api::Action;
use rpds::RedBlackTreeMapSync;

use crate::group::GroupEntry;

/// Groups by number.
#[derive(Clone, Debug, Default)]
pub struct Groups(RedBlackTreeMapSync<u32, Arc<GroupEntry>>);

impl Groups {
    /// The most groups of a bridge.
    pub const MOST: usize = 65_536;

    /// The group of this number.
    pub fn get(&self, number: u32) -> Option<&GroupEntry> {
        self.0.get(&number).map(Arc::as_ref)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<GroupEntry>> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, entry: Arc<GroupEntry>) {
        self.0.insert_mut(entry.group.id, entry);
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<Arc<GroupEntry>> {
        let entry = self.0.get(&number).cloned()?;
        self.0.remove_mut(&number);
        Some(entry)
    }

    /// Whether the group of this number leads back to itself.
    pub(crate) fn has_loop(&self, number: u32) -> bool {
        let mut seen = vec![number];
        let mut next = self.led_to(number);
        while let Some(group) = next.pop() {
            if group == number {
                return true;
            }
            if !seen.contains(&group) {
                seen.push(group);
                next.extend(self.led_to(group));
            }
        }
        false
    }

    /// The groups that the buckets of one lead to.
    fn led_to(&self, number: u32) -> Vec<u32> {
        let buckets = self.get(number).into_iter().flat_map(|entry| &entry.group.buckets);
        let actions = buckets.flat_map(|bucket| &bucket.actions);
        let led = actions.filter_map(|action| match action {
            Action::Group(group) => Some(*group),
            _ => None,
        });
        led.collect()
    }
}
