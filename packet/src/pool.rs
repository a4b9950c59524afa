//! Where free frames wait: some in each worker's own [`FramePool`], the rest in the common
//! [`Depot`].
//!
//! Frames do not belong to workers: whoever frees a frame keeps it, and what is too much goes to
//! the depot in slabs of 64, so that the shared queue is touched once per 64 frames at most.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::ArrayQueue;

use crate::memory::{Frame, Memory};
use crate::packet::Packet;

/// Frames that change hands at once.
const SLAB: usize = 64;
/// Frames a pool keeps before it gives slabs back.
const KEEP: usize = 8 * SLAB;

type Slab = [Option<Frame>; SLAB];

/// The free frames that no worker holds; shared by all pools of one memory.
#[derive(Debug)]
pub struct Depot {
    memory: Arc<Memory>,
    slabs: ArrayQueue<Slab>,
    /// What pools that ended had beyond whole slabs: half-filled ones would need more room than
    /// there is. Looked at only when the slabs have run out.
    rest: Mutex<Vec<Frame>>,
    has_rest: AtomicBool,
}

impl Depot {
    /// Every frame of a new memory.
    pub fn new(memory: Memory) -> Arc<Self> {
        let memory = Arc::new(memory);
        let frames: Vec<_> = memory.take_frames().collect();
        Self::with_frames(memory, frames)
    }

    /// These frames of `memory`: those that no ring holds, when a memory is taken over in use.
    pub fn with_frames(memory: Arc<Memory>, frames: impl IntoIterator<Item = Frame>) -> Arc<Self> {
        let slabs = ArrayQueue::new((memory.frames() as usize).div_ceil(SLAB).max(1));
        let rest = Mutex::new(Vec::new());
        let mut frames = frames.into_iter().peekable();
        while frames.peek().is_some() {
            let mut slab = [const { None }; SLAB];
            slab.iter_mut().zip(&mut frames).for_each(|(place, frame)| *place = Some(frame));
            if slabs.push(slab).is_err() {
                unreachable!("a slab per {SLAB} frames was provided for");
            }
        }
        Arc::new(Self { memory, slabs, rest, has_rest: AtomicBool::new(false) })
    }

    /// The memory whose frames these are.
    pub const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Frames waiting here: exact only while nobody moves any.
    pub fn len(&self) -> usize {
        self.slabs.len() * SLAB
    }

    /// Whether no slab waits here.
    pub fn is_empty(&self) -> bool {
        self.slabs.is_empty()
    }

    /// Up to a slab of what pools have left behind, into `frames`.
    fn take_rest(&self, frames: &mut Vec<Frame>) {
        if self.has_rest.load(Relaxed) {
            let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            let keep = rest.len().saturating_sub(SLAB);
            frames.extend(rest.drain(keep..));
            self.has_rest.store(!rest.is_empty(), Relaxed);
        }
    }
}

/// One worker's free frames.
#[derive(Debug)]
pub struct FramePool {
    depot: Arc<Depot>,
    memory: Arc<Memory>,
    frames: Vec<Frame>,
}

impl FramePool {
    /// An empty pool that draws on `depot`.
    pub fn new(depot: &Arc<Depot>) -> Self {
        let memory = Arc::clone(depot.memory());
        Self { depot: Arc::clone(depot), memory, frames: Vec::with_capacity(KEEP + SLAB) }
    }

    /// The memory whose frames these are.
    #[inline]
    pub const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The depot behind this pool.
    pub const fn depot(&self) -> &Arc<Depot> {
        &self.depot
    }

    /// A free frame, the one freed last first; `None` if there is none here nor in the depot.
    #[inline]
    pub fn alloc(&mut self) -> Option<Frame> {
        if self.frames.is_empty() {
            self.refill();
        }
        self.frames.pop()
    }

    /// Takes a frame that is no longer needed.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        if self.frames.len() >= KEEP {
            self.spill();
        }
        self.frames.push(frame);
    }

    /// Takes the frames of packets that are no longer needed, as if one by one.
    #[inline]
    pub fn free_all(&mut self, packets: &mut Vec<Packet>) {
        if packets.iter().any(Packet::is_chained) {
            return packets.drain(..).for_each(|packet| packet.free(self));
        }
        let mut frames = packets.drain(..).map(Packet::into_first_frame);
        while frames.len() > 0 {
            if self.frames.len() >= KEEP {
                self.spill();
            }
            let room = KEEP.saturating_sub(self.frames.len()).max(1);
            self.frames.extend(frames.by_ref().take(room));
        }
    }

    /// Frames free without asking the depot.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether the next frame must come from the depot.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    #[cold]
    fn refill(&mut self) {
        match self.depot.slabs.pop() {
            Some(slab) => self.frames.extend(slab.into_iter().flatten()),
            None => self.depot.take_rest(&mut self.frames),
        }
    }

    /// Gives the slab that waited longest to the depot.
    #[cold]
    fn spill(&mut self) {
        let mut slab = [const { None }; SLAB];
        slab.iter_mut()
            .zip(self.frames.drain(..SLAB))
            .for_each(|(place, frame)| *place = Some(frame));
        if let Err(slab) = self.depot.slabs.push(slab) {
            // Half-filled slabs can make the queue too short for a moment; then the pool keeps
            // them.
            self.frames.extend(slab.into_iter().flatten());
        }
    }
}

impl Drop for FramePool {
    /// A worker that ends gives everything back.
    fn drop(&mut self) {
        while self.frames.len() >= SLAB {
            let before = self.frames.len();
            self.spill();
            if self.frames.len() == before {
                break;
            }
        }
        if !self.frames.is_empty() {
            let mut rest = self.depot.rest.lock().unwrap_or_else(PoisonError::into_inner);
            rest.append(&mut self.frames);
            self.depot.has_rest.store(true, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chainer, PortId};
    use std::collections::HashSet;

    #[test]
    fn every_frame_is_there_once() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(1000)));
        let mut seen = HashSet::new();
        while let Some(frame) = pool.alloc() {
            assert!(seen.insert(frame.index()), "frame {} twice", frame.index());
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn what_one_worker_frees_another_finds() {
        let depot = Depot::new(Memory::heap(2048));
        let (mut a, mut b) = (FramePool::new(&depot), FramePool::new(&depot));
        let frames: Vec<_> = std::iter::from_fn(|| a.alloc()).collect();
        assert_eq!(frames.len(), 2048);
        assert!(b.alloc().is_none(), "the first worker holds everything");
        frames.into_iter().for_each(|frame| a.free(frame));
        assert!(a.len() <= KEEP, "a pool keeps {} frames", a.len());
        let found = std::iter::from_fn(|| b.alloc()).count();
        assert_eq!(found + a.len(), 2048);
    }

    /// Also where more come than it keeps, and where some have followers.
    #[test]
    fn many_are_freed_as_one_by_one() {
        for is_chained in [false, true] {
            let pools = [(), ()].map(|()| FramePool::new(&Depot::new(Memory::heap(1024))));
            let packets = |pool: &mut FramePool| {
                let long = Chainer::copy_of(&[0; 3000], 0, PortId(1), pool);
                let frames = std::iter::from_fn(|| pool.alloc());
                let short = frames.map(|frame| Packet::new(frame, 0, 64, PortId(1)));
                long.filter(|_| is_chained).into_iter().chain(short).collect::<Vec<_>>()
            };
            let [mut together, mut alone] = pools;
            let mut all = packets(&mut together);
            together.free_all(&mut all);
            assert!(all.is_empty());
            for packet in packets(&mut alone) {
                packet.free(&mut alone);
            }
            assert_eq!(together.frames, alone.frames);
            assert_eq!(together.depot.len(), alone.depot.len());
        }
    }

    #[test]
    fn a_worker_that_ends_gives_its_frames_back() {
        let depot = Depot::new(Memory::heap(100));
        let mut pool = FramePool::new(&depot);
        let frame = pool.alloc().expect("a hundred are free");
        pool.free(frame);
        drop(pool);
        let mut next = FramePool::new(&depot);
        assert_eq!(std::iter::from_fn(|| next.alloc()).count(), 100);
    }

    #[test]
    fn pools_that_end_with_a_few_frames_each_lose_none() {
        let depot = Depot::new(Memory::heap(128));
        let mut pools: Vec<_> = (0..2).map(|_| FramePool::new(&depot)).collect();
        let mut frames: Vec<_> =
            pools.iter_mut().flat_map(|pool| std::iter::from_fn(|| pool.alloc())).collect();
        pools.extend((0..3).map(|_| FramePool::new(&depot)));
        for pool in &mut pools {
            frames.drain(..25).for_each(|frame| pool.free(frame));
        }
        drop(pools);
        let mut last = FramePool::new(&depot);
        frames.into_iter().for_each(|frame| last.free(frame));
        drop(last);
        let mut next = FramePool::new(&depot);
        assert_eq!(std::iter::from_fn(|| next.alloc()).count(), 128);
    }
}
