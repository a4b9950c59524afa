//! The frames a packet's bytes live in: the one module of this crate with `unsafe`.
//!
//! [`Memory`] is one region cut into [`FRAME_SIZE`]-byte frames. A [`Frame`] is the right to one of
//! them: it cannot be copied, so whoever holds it may read and write those bytes and nobody else
//! can. Frames that a kernel ring or another process holds are simply not there as values; taking
//! one back from a ring is [`Memory::adopt`], the only way to make a value, and `unsafe` for that
//! reason.
//!
//! Frames of one packet are linked through a side table, never through the frames themselves: their
//! bytes may be shared with a kernel or a pod, which must not be able to bend our lists.
//!
//! Why raw memory at all: the kernel needs one registered region for all AF_XDP sockets, and a
//! packet that goes from port to port must not be copied (`docs/decisions/0003-packet-memory.md`).
#![expect(unsafe_code, reason = "frames are carved out of one region that the kernel shares")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::any::Any;
use std::fmt;
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Bytes of a frame: a 1500-byte packet with 256 bytes of headroom and room to spare, and the
/// smallest AF_XDP chunk size.
pub const FRAME_SIZE: usize = 2048;

/// Where a port puts a packet's first byte in its frame: what the kernel leaves free in front of an
/// AF_XDP packet, and room for every header we push.
pub const HEADROOM: u16 = 256;

/// The right to one frame of a [`Memory`].
///
/// Dropping one loses the frame until the process ends: give it back to a [`crate::FramePool`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a frame that is dropped is lost to its pool"]
pub struct Frame(NonZeroU32);

impl Frame {
    /// The frame's place in its memory, counted from 0.
    #[inline]
    pub const fn index(&self) -> u32 {
        self.0.get() - 1
    }
}

/// One region of memory cut into frames, and the links between them.
pub struct Memory {
    base: NonNull<u8>,
    /// `links[i]` says what follows frame `i` in its packet; zero for a frame that is in none. Only
    /// the holder of the frame touches its link, so that relaxed order is enough; handing the frame
    /// on synchronises.
    links: Box<[AtomicU64]>,
    /// Whether [`Memory::take_frames`] has been called.
    taken: AtomicBool,
    /// Keeps the region mapped.
    _region: Box<dyn Any + Send + Sync>,
}

// SAFETY: the region lives as long as `_region`, and its bytes are reached only through a `&Frame`
// or `&mut Frame`, of which there is one each.
unsafe impl Send for Memory {}
// SAFETY: as above; all other fields are `Sync`.
unsafe impl Sync for Memory {}

impl Memory {
    /// Takes over the region of `frames` frames at `base`; `region` is dropped with the memory.
    ///
    /// # Safety
    /// `base` is aligned to [`FRAME_SIZE`] and valid for reads and writes of `frames * FRAME_SIZE`
    /// initialised bytes until `region` is dropped, and nobody else touches those bytes except as
    /// the holder of a frame that was handed out.
    pub unsafe fn new(base: NonNull<u8>, frames: u32, region: Box<dyn Any + Send + Sync>) -> Self {
        let links = (0..frames).map(|_| AtomicU64::new(0)).collect();
        Self { base, links, taken: AtomicBool::new(false), _region: region }
    }

    /// Frames of the process's own heap: for tests, and for ports that no kernel ring touches.
    pub fn heap(frames: u32) -> Self {
        let region = HeapRegion::new(frames);
        // SAFETY: the region is aligned, zeroed, of that size, and touched by nobody else; it is
        // freed when the box is dropped.
        unsafe { Self::new(region.base, frames, Box::new(region)) }
    }

    /// How many frames there are.
    #[inline]
    pub fn frames(&self) -> u32 {
        u32::try_from(self.links.len()).unwrap_or(u32::MAX)
    }

    /// The region's first byte, for those who must register it with the kernel.
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// All frames of a memory that is new, once: a second call yields none.
    pub fn take_frames(&self) -> impl Iterator<Item = Frame> {
        let frames = if self.taken.swap(true, Relaxed) { 0 } else { self.frames() };
        // SAFETY: only the first call gets here with frames, and whoever adopts frames of this
        // memory by hand answers for not calling this as well.
        (0..frames).map(|index| unsafe { self.adopt(index) })
    }

    /// Makes the value that stands for frame `index`.
    ///
    /// # Safety
    /// No other value stands for this frame: it has just come back from a ring into which the value
    /// went, or [`Memory::take_frames`] is never called on this memory and the frame is fresh.
    ///
    /// # Panics
    /// If there is no such frame.
    #[inline]
    pub unsafe fn adopt(&self, index: u32) -> Frame {
        assert!((index as usize) < self.links.len(), "frame {index} of {}", self.links.len());
        Frame(NonZeroU32::MIN.saturating_add(index))
    }

    /// The frame's bytes.
    #[inline]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8; FRAME_SIZE] {
        let address = self.address(frame.index());
        // SAFETY: in bounds and initialised (`new`), and not written while the shared borrow of the
        // frame's only value lasts.
        unsafe { &*address }
    }

    /// The frame's bytes, to be changed.
    #[inline]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8; FRAME_SIZE] {
        let address = self.address(frame.index());
        // SAFETY: as in `bytes`, and the exclusive borrow of the only value makes the access
        // exclusive.
        unsafe { &mut *address }
    }

    #[inline]
    fn address(&self, index: u32) -> *mut [u8; FRAME_SIZE] {
        debug_assert!((index as usize) < self.links.len(), "a frame of another memory");
        // SAFETY: a frame's index is below `frames` (`adopt`), so the offset stays inside the
        // region.
        unsafe { self.base.as_ptr().add(index as usize * FRAME_SIZE).cast() }
    }

    /// Notes what follows frame `index` in its packet, which the caller holds.
    #[inline]
    pub(crate) fn link(&self, index: u32, link: Link) {
        self.links[index as usize].store(link.into_word(), Relaxed);
    }

    /// What follows `frame` in its packet; from then on nothing does.
    #[inline]
    pub(crate) fn unlink(&self, frame: &mut Frame) -> Link {
        let cell = &self.links[frame.index() as usize];
        let word = cell.load(Relaxed);
        cell.store(0, Relaxed);
        Link::from_word(word)
    }

    /// The bytes of a packet, frame by frame, beginning with `start..start + len` of `frame`.
    #[inline]
    pub(crate) const fn chain<'a>(&'a self, frame: &'a Frame, start: u16, len: u16) -> Chain<'a> {
        Chain { memory: self, frame: Some(frame.0), start, len }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("base", &self.base)
            .field("frames", &self.links.len())
            .finish()
    }
}

/// What follows a frame in its packet: the next frame, and where in it the bytes lie.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) next: Option<Frame>,
    pub(crate) start: u16,
    pub(crate) len: u16,
}

impl Link {
    fn into_word(self) -> u64 {
        let next = self.next.map_or(0, |next| next.0.get());
        u64::from(next) << 32 | u64::from(self.start) << 16 | u64::from(self.len)
    }

    fn from_word(word: u64) -> Self {
        let [a, b, c, d, start_high, start_low, len_high, len_low] = word.to_be_bytes();
        Self {
            next: NonZeroU32::new(u32::from_be_bytes([a, b, c, d])).map(Frame),
            start: u16::from_be_bytes([start_high, start_low]),
            len: u16::from_be_bytes([len_high, len_low]),
        }
    }
}

/// The bytes of a chain of frames, frame by frame; the chain is borrowed through its first frame.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    memory: &'a Memory,
    frame: Option<NonZeroU32>,
    start: u16,
    len: u16,
}

impl<'a> Iterator for Chain<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let frame = self.frame?;
        let index = frame.get() - 1;
        let address = self.memory.address(index);
        // SAFETY: in bounds and initialised; the values of all frames of a chain are held by its
        // first frame, which is borrowed for `'a`, so that nobody writes meanwhile.
        let bytes: &'a [u8; FRAME_SIZE] = unsafe { &*address };
        let piece = bytes.get(usize::from(self.start)..)?.get(..usize::from(self.len))?;
        let word = self.memory.links[index as usize].load(Relaxed);
        // Only read: the values stay in the links.
        let link = std::mem::ManuallyDrop::new(Link::from_word(word));
        self.frame = link.next.as_ref().map(|next| next.0);
        (self.start, self.len) = (link.start, link.len);
        Some(piece)
    }
}

/// A zeroed, aligned block of the heap.
struct HeapRegion {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain memory; see `Memory` for who may touch it.
unsafe impl Send for HeapRegion {}
// SAFETY: as above.
unsafe impl Sync for HeapRegion {}

impl HeapRegion {
    fn new(frames: u32) -> Self {
        let size = (frames.max(1) as usize) * FRAME_SIZE;
        let Ok(layout) = Layout::from_size_align(size, FRAME_SIZE) else {
            unreachable!("{size} bytes is a legal size on a 64-bit machine")
        };
        // SAFETY: the size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        match NonNull::new(base) {
            Some(base) => Self { base, layout },
            None => handle_alloc_error(layout),
        }
    }
}

impl Drop for HeapRegion {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// Asks the processor to fetch the cache line where `value` begins; costs nothing where it is already
/// near.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    fetch(std::ptr::from_ref(value).cast());
}

/// Asks the processor to fetch all cache lines of `value` at once: otherwise one is waited for after
/// the other.
#[inline(always)]
pub fn prefetch_whole<T>(value: &T) {
    const LINE: usize = 64;
    let first = std::ptr::from_ref(value).cast::<u8>();
    (0..size_of::<T>()).step_by(LINE).for_each(|at| fetch(first.wrapping_add(at)));
}

#[inline(always)]
fn fetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults and changes nothing that can be observed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_apart() {
        let memory = Memory::heap(3);
        let mut frames: Vec<_> = memory.take_frames().collect();
        assert_eq!(memory.take_frames().count(), 0, "a second set of the same frames");
        for (frame, fill) in frames.iter_mut().zip(1..) {
            memory.bytes_mut(frame).fill(fill);
        }
        for (frame, fill) in frames.iter().zip(1..) {
            assert_eq!(memory.bytes(frame), &[fill; FRAME_SIZE]);
        }
    }

    #[test]
    #[should_panic(expected = "frame 3 of 3")]
    fn a_frame_beyond_the_end_is_refused() {
        let memory = Memory::heap(3);
        // SAFETY: it panics before there is a value.
        let _ = unsafe { memory.adopt(3) };
    }

    #[test]
    fn a_link_survives_its_word() {
        let memory = Memory::heap(2);
        let [mut first, second] = memory.take_frames().collect::<Vec<_>>().try_into().unwrap();
        memory.link(first.index(), Link { next: Some(second), start: 7, len: 2041 });
        let link = memory.unlink(&mut first);
        assert_eq!((link.next.map(|f| f.index()), link.start, link.len), (Some(1), 7, 2041));
        assert!(memory.unlink(&mut first).next.is_none());
    }
}
