//! Meters as they stand in a bridge.

use std::sync::Arc;

use api::{DropReason, MeterId};
use rpds::RedBlackTreeMapSync;

use crate::frozen::Decision;
use crate::meter::Meter;
use crate::translate::{Record, Stop};
use crate::walk::Walk;

/// Where workers find a meter's state: a place in [`Tables::meter`](crate::Tables::meter).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MeterSlot(pub u32);

/// A meter in a bridge. Immutable, but for what it has let pass.
#[derive(Clone, Debug)]
pub struct MeterEntry {
    /// Where its state is found.
    pub slot: MeterSlot,
    /// The meter.
    pub meter: Arc<Meter>,
}

/// The meters of a bridge, by number.
#[derive(Clone, Debug, Default)]
pub struct Meters(RedBlackTreeMapSync<MeterId, Arc<MeterEntry>>);

impl Meters {
    /// The most meters of a bridge.
    pub const MOST: usize = 65_536;

    /// The meter of this number.
    pub fn get(&self, meter: MeterId) -> Option<&Arc<MeterEntry>> {
        self.0.get(&meter)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<MeterEntry>> {
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

    pub(crate) fn insert(&mut self, entry: MeterEntry) {
        self.0.insert_mut(entry.meter.meter().id, Arc::new(entry));
    }

    pub(crate) fn remove(&mut self, meter: MeterId) -> Option<Arc<MeterEntry>> {
        let entry = self.0.get(&meter).cloned()?;
        self.0.remove_mut(&meter);
        Some(entry)
    }
}

impl<R: Record> Walk<'_, R> {
    /// Goes on only if a meter lets the packet pass.
    pub(crate) fn meter(&mut self, number: u32) -> Result<(), Stop> {
        let found = self.bridge.meters.get(MeterId::Number(number)).map(|entry| entry.slot);
        match found {
            Some(slot) => self.freeze(Decision::Meter(slot)),
            None => {
                self.dropped(DropReason::NoSuchMeter);
                Err(Stop::Exit)
            }
        }
    }
}
