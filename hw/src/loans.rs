//! Which frames a port has lent to the kernel.
//!
//! A frame that goes into a kernel ring stops being a value; only its number is left, in memory
//! that the kernel writes. [`Loans`] keeps one byte for each frame of the memory, so that a number
//! that comes back is believed only if that frame is out, and so that nothing is lost when a socket
//! closes with frames inside.
#![expect(unsafe_code, reason = "a frame that comes back becomes a value again")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use packet::{Frame, Memory};

/// The frames that are out.
///
/// # Threads
/// Any may lend and take back; the same number must not be taken back by two at once, and is not,
/// since a descriptor comes out of one ring once and each ring has one reader at a time. A byte and
/// a plain store, rather than an atomic exchange, keep that to about a nanosecond a packet.
#[derive(Debug)]
pub(crate) struct Loans {
    memory: Arc<Memory>,
    out: Box<[AtomicBool]>,
}

impl Loans {
    /// No frame is out.
    pub(crate) fn new(memory: &Arc<Memory>) -> Self {
        let out = (0..memory.frames()).map(|_| AtomicBool::new(false)).collect();
        Self { memory: Arc::clone(memory), out }
    }

    /// The memory whose frames these are.
    pub(crate) const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Turns a frame into its number, for the kernel.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the value must be gone afterwards")]
    pub(crate) fn lend(&self, frame: Frame) -> u32 {
        let index = frame.index();
        self.out[index as usize].store(true, Relaxed);
        index
    }

    /// Turns a number from the kernel into a frame; `None` if that frame is not out.
    #[inline]
    pub(crate) fn take_back(&self, index: u64) -> Option<Frame> {
        let out = self.out.get(usize::try_from(index).ok()?)?;
        if !out.load(Relaxed) {
            return None;
        }
        out.store(false, Relaxed);
        let index = u32::try_from(index).ok()?;
        // SAFETY: the value went into `lend` and has not come back since: it was out.
        Some(unsafe { self.memory.adopt(index) })
    }

    /// Every frame that is out, once no ring holds one any more.
    pub(crate) fn take_back_all(&self) -> impl Iterator<Item = Frame> {
        (0..self.out.len() as u64).filter_map(|index| self.take_back(index))
    }

    /// The numbers of the frames that are out.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.out).filter(|(_, out)| out.load(Relaxed)).map(|(index, _)| index)
    }

    /// Notes that the kernel holds frame `index`, as a predecessor says: its value has never
    /// existed in this process.
    pub(crate) fn inherit(&self, index: u32) -> bool {
        self.out.get(index as usize).is_some_and(|out| !out.swap(true, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_once() {
        let memory = Arc::new(Memory::heap(3));
        let loans = Loans::new(&memory);
        let numbers: Vec<_> = memory.take_frames().map(|frame| loans.lend(frame)).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(loans.take_back(1).map(|frame| frame.index()), Some(1));
        assert!(loans.take_back(1).is_none(), "a second time");
        assert!(
            loans.take_back(3).is_none() && loans.take_back(u64::MAX).is_none(),
            "no such frame"
        );
        assert_eq!(loans.outstanding().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(loans.take_back_all().map(|frame| frame.index()).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(loans.take_back_all().count(), 0);
    }
}
