//! The table of one pod's short-cuts, in memory that its program reads.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release};

use super::Generation;
use super::flow::{Flow, WORDS};
use super::steering::Steering;
use crate::bpf::SharedArray;
use crate::error::Error;
use crate::links::Link;

/// Slots of one set: a flow stands in any slot of the set that its hash names.
pub(super) const WAYS: usize = 4;
/// The table has so many sets, as a power of two.
pub(super) const SET_BITS: u32 = 7;
/// Bytes of a slot.
pub(super) const SLOT: i32 = 128;

/// A slot: one line that is compared, one that is counted in.
#[derive(Debug)]
#[repr(C, align(128))]
struct Slot {
    /// The generation it is right for; 0 is none.
    generation: AtomicU32,
    target: AtomicU32,
    max_frame: AtomicU32,
    padding: AtomicU32,
    flow: [AtomicU64; WORDS],
    frames: AtomicU64,
    bytes: AtomicU64,
    more_packets: AtomicU64,
    more_bytes: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == SLOT.cast_unsigned() as usize);

/// Where the fields of a slot stand, for the program.
pub(super) mod field {
    use super::Slot;
    use std::mem::offset_of;

    pub(crate) const GENERATION: i16 = at(offset_of!(Slot, generation));
    pub(crate) const TARGET: i16 = at(offset_of!(Slot, target));
    pub(crate) const MAX_FRAME: i16 = at(offset_of!(Slot, max_frame));
    pub(crate) const FLOW: i16 = at(offset_of!(Slot, flow));
    pub(crate) const FRAMES: i16 = at(offset_of!(Slot, frames));
    pub(crate) const BYTES: i16 = at(offset_of!(Slot, bytes));
    pub(crate) const MORE_PACKETS: i16 = at(offset_of!(Slot, more_packets));
    pub(crate) const MORE_BYTES: i16 = at(offset_of!(Slot, more_bytes));

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "a slot has 128 bytes"
    )]
    const fn at(offset: usize) -> i16 {
        offset as i16
    }
}

/// Where a short-cut leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target {
    /// The host's end of the veth into whose other end packets go.
    pub ifindex: u32,
    /// The longest frame that it takes.
    pub max_frame: u32,
}

/// What a slot has carried since it was made, whatever flows it had.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Carried {
    /// Frames, and super-frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many packets more than that they stand for.
    pub more_packets: u64,
    /// The bytes these have more on the wire: headers.
    pub more_bytes: u64,
}

/// The short-cuts of one pod. The worker that serves the pod has it.
///
/// **Rules.** A slot whose short-cut was ended keeps its flow and target for a while ([`Table::end`]
/// says how long): a program may be in the middle of using them. So nothing that a program has found
/// valid changes under its eyes, but for the target of a short-cut that is renewed.
#[derive(Debug)]
pub struct Table {
    memory: SharedArray,
    generation: Arc<Generation>,
    steering: Steering,
}

impl Table {
    /// Slots of a table.
    pub const SLOTS: usize = WAYS << SET_BITS;

    /// An empty table for what comes in by `veth`, which a predecessor of ours may have had. Needs
    /// CAP_BPF.
    pub fn new(generation: &Arc<Generation>, veth: &Link, was_ours: bool) -> Result<Self, Error> {
        let memory = SharedArray::new("vswitch_cuts", 1 << SET_BITS, SET_LEN)?;
        Ok(Self {
            memory,
            generation: Arc::clone(generation),
            steering: Steering::new(veth, was_ours),
        })
    }

    /// The slots in which a flow may stand.
    pub fn places(flow: &Flow) -> Range<usize> {
        let set = usize::try_from(flow.hash() >> (64 - SET_BITS)).unwrap_or(0);
        set * WAYS..(set + 1) * WAYS
    }

    /// Makes a short-cut of a slot that has none: right for what was true at `generation`.
    pub fn begin(&self, slot: usize, flow: &Flow, target: Target, generation: u32) {
        let Some(place) = self.slot(slot) else { return };
        debug_assert_eq!(place.generation.load(Relaxed), 0, "a short-cut that has not ended");
        place.flow.iter().zip(flow.0).for_each(|(place, word)| place.store(word, Relaxed));
        self.renew(slot, target, generation);
    }

    /// The slot's flow leads to `target` now, which is right for what was true at `generation`.
    pub fn renew(&self, slot: usize, target: Target, generation: u32) {
        let Some(place) = self.slot(slot) else { return };
        place.target.store(target.ifindex, Relaxed);
        place.max_frame.store(target.max_frame, Relaxed);
        // Release: a program that sees the generation sees what belongs to it.
        place.generation.store(generation, Release);
    }

    /// Ends a slot's short-cut. A program that is in the middle of it may still count a packet; the
    /// slot may have another flow when none can be, which is the caller's care: a second later.
    pub fn end(&self, slot: usize) {
        if let Some(place) = self.slot(slot) {
            place.generation.store(0, Release);
        }
    }

    /// Whether the slot's short-cut is in use: nothing has changed since it was made.
    pub fn is_right(&self, slot: usize) -> bool {
        let generation = self.generation.get();
        self.slot(slot).is_some_and(|place| place.generation.load(Relaxed) == generation)
    }

    /// What the slot has carried.
    pub fn carried(&self, slot: usize) -> Carried {
        self.slot(slot).map_or_else(Carried::default, |place| Carried {
            frames: place.frames.load(Relaxed),
            bytes: place.bytes.load(Relaxed),
            more_packets: place.more_packets.load(Relaxed),
            more_bytes: place.more_bytes.load(Relaxed),
        })
    }

    /// Has the kernel do its part of the work on `cpu`, or, if there is none, wherever the pod sends.
    ///
    /// Errors: the kernel's. A choice that somebody else has made is left alone.
    pub fn steer(&mut self, cpu: Option<usize>) -> io::Result<()> {
        self.steering.steer(cpu)
    }

    /// The generation that all tables share.
    pub const fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    fn slot(&self, slot: usize) -> Option<&Slot> {
        let place: NonNull<Slot> = self.memory.at((slot * size_of::<Slot>()) as u64)?;
        // SAFETY: it lies inside the mapping, which lives as long as `self`, and is made of atomics.
        Some(unsafe { place.as_ref() })
    }
}

/// Bytes of a set.
const SET_LEN: u32 = SLOT.cast_unsigned() * 4;
const _: () = assert!(WAYS == 4);

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}
