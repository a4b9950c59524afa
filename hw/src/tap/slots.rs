//! Room for packets that are yet to come.
//!
//! A read must offer room for the longest super-frame, 64 KiB, or the rest of a packet is lost;
//! most packets are short. So there are two shapes of slots:
//!
//! * **short**: 64 KiB of ordinary memory. The packet is copied from there into frames, which costs
//!   a short one less than the kernel's reading of a second vector would, and no frame lies
//!   waiting.
//! * **long**: a chain of 33 frames, for super-frames, which are never copied again.
#![expect(unsafe_code, reason = "addresses of memory are sent to other threads")]

use std::sync::Arc;

use packet::{Chainer, FRAME_SIZE, Frame, FramePool, HEADROOM, Memory, Packet, PortId};

use super::header::{self, Header};

/// Bytes of a packet in its first frame.
pub(crate) const FIRST_LEN: usize = FRAME_SIZE - HEADROOM as usize;
/// The longest packet: an IP packet of 65535 bytes, an Ethernet header, two VLAN tags.
const LONGEST: usize = 65_535 + 14 + 8;
/// Frames of the longest packet.
const CHAIN: usize = 1 + (LONGEST - FIRST_LEN).div_ceil(FRAME_SIZE);
/// Bytes of a short slot: no multiple of a page, since the beginnings of all slots are in use at
/// once and must not want the same places of the cache.
const LANDING: usize = (header::LEN as usize + LONGEST).next_multiple_of(64) + 64;

/// Slots of one shape.
#[derive(Debug)]
pub(crate) struct Slots {
    memory: Arc<Memory>,
    shape: Shape,
    /// The frames of long slots, [`CHAIN`] each.
    frames: Vec<Frame>,
    /// The memory of short slots, [`LANDING`] bytes each. What is never read into takes no memory.
    landing: Vec<u8>,
    /// Where the slots' bytes lie, [`Shape::vectors`] each.
    vectors: Vec<libc::iovec>,
}

// SAFETY: the addresses in `vectors` lead into frames and memory of the same value.
unsafe impl Send for Slots {}

/// See the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    Short,
    Long,
}

impl Shape {
    const fn vectors(self) -> usize {
        match self {
            Self::Short => 1,
            Self::Long => CHAIN,
        }
    }
}

/// There are not enough free frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NoFrames;

impl Slots {
    /// No slot yet.
    pub(crate) const fn new(memory: Arc<Memory>, shape: Shape) -> Self {
        Self { memory, shape, frames: Vec::new(), vectors: Vec::new(), landing: Vec::new() }
    }

    /// Provides up to `count` slots, as far as there are frames, and answers how many there are.
    #[inline]
    pub(crate) fn prepare(&mut self, count: usize, pool: &mut FramePool) -> usize {
        if self.vectors.len() < count * self.shape.vectors() {
            match self.shape {
                Shape::Short => self.grow_short(count),
                Shape::Long => self.grow_long(count, pool),
            }
        }
        count.min(self.vectors.len() / self.shape.vectors())
    }

    #[cold]
    fn grow_short(&mut self, count: usize) {
        // Elsewhere from now on: all addresses are new.
        self.landing = vec![0; count * LANDING];
        let slots = self.landing.chunks_exact_mut(LANDING);
        let vector = |slot: &mut [u8]| libc::iovec {
            iov_base: slot.as_mut_ptr().cast(),
            iov_len: slot.len(),
        };
        self.vectors = slots.map(vector).collect();
    }

    #[cold]
    fn grow_long(&mut self, count: usize, pool: &mut FramePool) {
        while self.frames.len() < count * CHAIN {
            let before = self.frames.len();
            self.frames.extend(std::iter::from_fn(|| pool.alloc()).take(CHAIN));
            if self.frames.len() < before + CHAIN {
                self.frames.drain(before..).for_each(|frame| pool.free(frame));
                break;
            }
            for at in before..before + CHAIN {
                let vector = self.vector(at);
                self.vectors.push(vector);
            }
        }
    }

    /// Where the bytes of the frame at place `at` are to go.
    fn vector(&mut self, at: usize) -> libc::iovec {
        // The header stands in the headroom, right before the packet.
        let first = at.is_multiple_of(CHAIN);
        let start = if first { usize::from(HEADROOM - header::LEN) } else { 0 };
        let bytes = &mut self.memory.bytes_mut(&mut self.frames[at])[start..];
        libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
    }

    /// What to read into, slot by slot: memory that this value holds, each byte named once.
    #[inline]
    pub(crate) fn spans(&self, count: usize) -> impl ExactSizeIterator<Item = &[libc::iovec]> {
        self.vectors.chunks_exact(self.shape.vectors()).take(count)
    }

    /// The packet of `len` bytes that was read into `slot`, and the header in front of it. If there
    /// are no frames for it, or to take the place of its own, it is lost, and the slot stays as it
    /// is.
    #[inline]
    pub(crate) fn take(
        &mut self,
        slot: usize,
        len: usize,
        port: PortId,
        pool: &mut FramePool,
    ) -> Result<(Packet, Header), NoFrames> {
        match self.shape {
            Shape::Short => self.take_copy(slot, len, port, pool),
            Shape::Long => self.take_chain(slot, len, port, pool),
        }
    }

    #[inline]
    fn take_copy(
        &mut self,
        slot: usize,
        len: usize,
        port: PortId,
        pool: &mut FramePool,
    ) -> Result<(Packet, Header), NoFrames> {
        let landed = &self.landing[slot * LANDING..][..LANDING];
        let Some((header, bytes)) = landed.split_first_chunk() else { return Err(NoFrames) };
        let bytes = &bytes[..len.min(LONGEST)];
        let packet = Chainer::copy_of(bytes, HEADROOM, port, pool).ok_or(NoFrames)?;
        Ok((packet, Header::from_bytes(*header)))
    }

    fn take_chain(
        &mut self,
        slot: usize,
        len: usize,
        port: PortId,
        pool: &mut FramePool,
    ) -> Result<(Packet, Header), NoFrames> {
        let first = slot * CHAIN;
        let before = &self.memory.bytes(&self.frames[first])[usize::from(HEADROOM - header::LEN)..];
        let header = before.first_chunk().copied().map(Header::from_bytes).unwrap_or_default();
        let used = (1 + len.saturating_sub(FIRST_LEN).div_ceil(FRAME_SIZE)).min(CHAIN);
        // All that will be replaced, or nothing: a slot never has less than its frames.
        let mut fresh = [const { None }; CHAIN];
        fresh.iter_mut().take(used).for_each(|place| *place = pool.alloc());
        if fresh.iter().take(used).any(Option::is_none) {
            fresh.into_iter().flatten().for_each(|frame| pool.free(frame));
            return Err(NoFrames);
        }
        let mut chain = Chainer::default();
        let mut left = len;
        for (at, fresh) in (first..).zip(fresh.into_iter().flatten()) {
            let (start, room) = if at == first { (HEADROOM, FIRST_LEN) } else { (0, FRAME_SIZE) };
            let here = left.min(room);
            left -= here;
            let frame = std::mem::replace(&mut self.frames[at], fresh);
            self.vectors[at] = self.vector(at);
            let here = u16::try_from(here).unwrap_or(0);
            chain.push(&self.memory, frame, start, here, port);
        }
        chain.finish().map(|packet| (packet, header)).ok_or(NoFrames)
    }

    /// Gives the frames of all slots back.
    pub(crate) fn clear(&mut self, pool: &mut FramePool) {
        self.frames.drain(..).for_each(|frame| pool.free(frame));
        if self.shape == Shape::Long {
            self.vectors.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Depot;

    /// Writes what the kernel would: a header, and bytes that count up.
    fn fill(slots: &Slots, slot: usize, len: usize) {
        let mut next = (0..=250).cycle().take(len);
        let mut skip = usize::from(header::LEN);
        for vector in slots.spans(slot + 1).nth(slot).unwrap() {
            for n in skip..vector.iov_len {
                let Some(byte) = next.next() else { return };
                // SAFETY: inside the vector, whose memory the slots hold.
                let place = unsafe { vector.iov_base.cast::<u8>().add(n) };
                // SAFETY: as above, and nobody else looks.
                unsafe { place.write(byte) }
            }
            skip = 0;
        }
        assert_eq!(next.next(), None, "no room for {len} bytes");
    }

    #[test]
    fn packets_of_every_length_come_out_whole() {
        for shape in [Shape::Short, Shape::Long] {
            let mut pool = FramePool::new(&Depot::new(Memory::heap(256)));
            let memory = Arc::clone(pool.memory());
            let mut slots = Slots::new(Arc::clone(&memory), shape);
            assert_eq!(slots.prepare(1, &mut pool), 1);
            assert_eq!(slots.prepare(3, &mut pool), 3);
            for len in [14, FIRST_LEN, FIRST_LEN + 1, FIRST_LEN + FRAME_SIZE, LONGEST] {
                for slot in [2, 0, 2] {
                    fill(&slots, slot, len);
                    let (packet, _) = slots.take(slot, len, PortId(1), &mut pool).unwrap();
                    let expected: Vec<u8> = (0..=250).cycle().take(len).collect();
                    assert_eq!(packet.to_vec(&memory), expected, "{shape:?} {len}");
                    packet.free(&mut pool);
                }
            }
            slots.clear(&mut pool);
            assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), 256, "{shape:?}");
        }
    }

    const LONG: u32 = 33;

    #[test]
    fn a_packet_that_cannot_be_replaced_is_lost_and_its_slot_is_not() {
        for (shape, frames) in [(Shape::Short, 20), (Shape::Long, LONG + 20)] {
            let mut pool = FramePool::new(&Depot::new(Memory::heap(frames)));
            let mut slots = Slots::new(Arc::clone(pool.memory()), shape);
            assert_eq!(slots.prepare(1, &mut pool), 1);
            assert_eq!(slots.take(0, LONGEST, PortId(1), &mut pool).unwrap_err(), NoFrames);
            let (packet, _) = slots.take(0, 100, PortId(1), &mut pool).unwrap();
            packet.free(&mut pool);
            slots.clear(&mut pool);
            assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), frames as usize);
        }
    }

    #[test]
    fn without_frames_there_are_fewer_slots() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(LONG * 2 - 1)));
        let mut slots = Slots::new(Arc::clone(pool.memory()), Shape::Long);
        assert_eq!((CHAIN, slots.prepare(4, &mut pool)), (33, 1));
        slots.clear(&mut pool);
        assert_eq!(slots.prepare(1, &mut pool), 1);
        slots.clear(&mut pool);
    }
}
