//! What flows have noted about connections: their marks and labels.
//!
//! Most connections have neither, so they lie apart, and take no memory before there is one. A bit in the
//! connection says whether there may be something: without it both are 0, and nobody reads what is here.
//!
//! Whoever makes a connection without a mark at a place whose last one had the bit sets both to 0. So they
//! are 0 wherever the bit is not set; two threads may be the first to write one, and neither has to
//! clear anything.

use std::sync::atomic::AtomicBool;

#[cfg(not(loom))]
use bytemuck::Zeroable;

use crate::sync::{AtomicU32, AtomicU64, Ordering, spin_loop, zeroed};
use crate::table::Table;

/// Those of one connection.
#[cfg_attr(not(loom), derive(Zeroable))]
#[derive(Debug, Default)]
pub(crate) struct Marks {
    mark: AtomicU32,
    /// Even, or odd while the label is being written.
    label_version: AtomicU32,
    label: [AtomicU64; 2],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Marks>() == 24);

impl Marks {
    /// Writes both when a connection begins. Only for who has taken its place.
    fn begin(&self, mark: u32, label: u128) {
        self.mark.store(mark, Ordering::Relaxed);
        for (half, shift) in self.label.iter().zip([64, 0]) {
            half.store(low_half(label >> shift), Ordering::Relaxed);
        }
    }

    fn mark(&self) -> u32 {
        self.mark.load(Ordering::Relaxed)
    }

    fn set_mark(&self, value: u32, bits: u32) {
        let set = |mark| Some(mark & !bits | value & bits);
        // It always succeeds.
        let _ = self.mark.fetch_update(Ordering::AcqRel, Ordering::Acquire, set);
    }

    fn label(&self) -> u128 {
        loop {
            let version = self.label_version.load(Ordering::Acquire);
            let [high, low] = self.label.each_ref().map(|half| half.load(Ordering::Acquire));
            if version.is_multiple_of(2) && self.label_version.load(Ordering::Acquire) == version {
                return u128::from(high) << 64 | u128::from(low);
            }
            spin_loop();
        }
    }

    fn set_label(&self, value: u128, bits: u128) {
        let claim = |version: u32| version.is_multiple_of(2).then(|| version.wrapping_add(1));
        let version = loop {
            let claimed =
                self.label_version.fetch_update(Ordering::AcqRel, Ordering::Acquire, claim);
            match claimed {
                Ok(version) => break version,
                Err(_) => spin_loop(),
            }
        };
        for (half, shift) in self.label.iter().zip([64, 0]) {
            let [value, bits] = [value, bits].map(|wide| low_half(wide >> shift));
            half.store(half.load(Ordering::Relaxed) & !bits | value & bits, Ordering::Release);
        }
        self.label_version.store(version.wrapping_add(2), Ordering::Release);
    }
}

/// Those of all connections, by place.
#[derive(Debug)]
pub(crate) struct AllMarks {
    places: Box<[Marks]>,
    /// Whether anything was ever noted: until then they take no memory.
    are_used: AtomicBool,
}

impl AllMarks {
    pub(crate) fn new(places: usize) -> Self {
        Self { places: zeroed(places), are_used: AtomicBool::new(false) }
    }

    /// Those at a place, to be written.
    fn used(&self, place: u32) -> &Marks {
        if !self.are_used.load(Ordering::Relaxed) {
            self.are_used.store(true, Ordering::Relaxed);
        }
        &self.places[place as usize]
    }

    /// Bytes in use for each place that was ever in use, at most.
    pub(crate) fn bytes_each(&self) -> usize {
        if self.are_used.load(Ordering::Relaxed) { size_of::<Marks>() } else { 0 }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(wide: u128) -> u64 {
    wide as u64
}

impl Table {
    /// The mark of the connection at a place.
    pub(crate) fn mark(&self, place: u32) -> u32 {
        self.marks(place).map_or(0, Marks::mark)
    }

    /// Its label, as some thread has written it.
    pub(crate) fn label(&self, place: u32) -> u128 {
        self.marks(place).map_or(0, Marks::label)
    }

    /// Writes bits of its mark.
    pub(crate) fn set_mark(&self, place: u32, value: u32, bits: u32) {
        self.write_marks(place, |marks| marks.set_mark(value, bits));
    }

    /// Writes bits of its label.
    pub(crate) fn set_label(&self, place: u32, value: u128, bits: u128) {
        self.write_marks(place, |marks| marks.set_label(value, bits));
    }

    /// Writes both of a connection that is about to begin at a place; answers whether it has any.
    pub(crate) fn begin_marks(&self, place: u32, mark: u32, label: u128) -> bool {
        let is_marked = (mark, label) != (0, 0);
        if is_marked || self.connection(place).is_marked() {
            self.marks.used(place).begin(mark, label);
        }
        is_marked
    }

    fn marks(&self, place: u32) -> Option<&Marks> {
        self.connection(place).is_marked().then(|| &self.marks.places[place as usize])
    }

    fn write_marks(&self, place: u32, write: impl FnOnce(&Marks)) {
        let connection = self.connection(place);
        // First: where the bit is not set, nothing is ever written.
        connection.set_marked();
        write(self.marks.used(place));
        // Last: who has seen this sees what was written.
        connection.renew_version();
    }
}
