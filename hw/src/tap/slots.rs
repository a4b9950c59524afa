//! Room for packets that are yet to come.
//!
//! A read must offer room for the longest super-frame, 64 KiB, or the rest of a packet is lost; most
//! packets are short. So there are two shapes of slots:
//!
//! * **short**: a frame, and behind it a landing place in ordinary memory. A packet that is longer than
//!   the frame is copied from there into further frames. Costs one frame and two vectors a slot.
//! * **long**: a chain of 33 frames. No packet is ever copied. Costs the kernel half a microsecond for
//!   reading the 33 vectors, which is nothing beside 64 KiB, and 33 frames a slot.
#![expect(unsafe_code, reason = "addresses of memory are sent to other threads")]

use std::sync::Arc;

use packet::{Chainer, FRAME_SIZE, Frame, FramePool, HEADROOM, Memory, Packet, PortId};

use super::header;

/// Bytes of a packet in its first frame.
pub(crate) const FIRST_LEN: usize = FRAME_SIZE - HEADROOM as usize;
/// The longest packet: an IP packet of 65535 bytes, an Ethernet header, two VLAN tags.
const LONGEST: usize = 65_535 + 14 + 8;
/// Frames of the longest packet.
const CHAIN: usize = 1 + (LONGEST - FIRST_LEN).div_ceil(FRAME_SIZE);
/// Bytes of a landing place.
const LANDING: usize = LONGEST - FIRST_LEN;

/// Slots of one shape.
#[derive(Debug)]
pub(crate) struct Slots {
    memory: Arc<Memory>,
    shape: Shape,
    /// [`Shape::frames`] for each slot.
    frames: Vec<Frame>,
    /// [`Shape::vectors`] for each slot: where its bytes lie.
    vectors: Vec<libc::iovec>,
    /// What lies behind the frames of short slots. Where no long packet lands it takes no memory.
    landing: Vec<u8>,
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
    const fn frames(self) -> usize {
        match self {
            Self::Short => 1,
            Self::Long => CHAIN,
        }
    }

    const fn vectors(self) -> usize {
        match self {
            Self::Short => 2,
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
        if self.frames.len() < count * self.shape.frames() {
            self.grow(count, pool);
        }
        count.min(self.frames.len() / self.shape.frames())
    }

    #[cold]
    fn grow(&mut self, count: usize, pool: &mut FramePool) {
        if self.shape == Shape::Short && self.landing.len() < count * LANDING {
            // Elsewhere from now on: all addresses are new.
            self.landing = vec![0; count * LANDING];
            self.vectors.clear();
        }
        let whole = self.shape.frames();
        while self.frames.len() < count * whole {
            let before = self.frames.len();
            self.frames.extend(std::iter::from_fn(|| pool.alloc()).take(whole));
            if self.frames.len() < before + whole {
                self.frames.drain(before..).for_each(|frame| pool.free(frame));
                break;
            }
        }
        self.vectors.clear();
        for at in 0..self.frames.len() {
            let vector = self.vector(at);
            self.vectors.push(vector);
            if self.shape == Shape::Short {
                let landing = &mut self.landing[at * LANDING..][..LANDING];
                let (iov_base, iov_len) = (landing.as_mut_ptr().cast(), landing.len());
                self.vectors.push(libc::iovec { iov_base, iov_len });
            }
        }
    }

    /// Where the bytes of the frame at place `at` are to go.
    fn vector(&mut self, at: usize) -> libc::iovec {
        // The header stands in the headroom, right before the packet.
        let first = at.is_multiple_of(self.shape.frames());
        let start = if first { usize::from(HEADROOM - header::LEN) } else { 0 };
        let bytes = &mut self.memory.bytes_mut(&mut self.frames[at])[start..];
        libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
    }

    /// What to read into, slot by slot: memory that this value holds, each byte named once.
    #[inline]
    pub(crate) fn spans(&self, count: usize) -> impl ExactSizeIterator<Item = &[libc::iovec]> {
        self.vectors.chunks_exact(self.shape.vectors()).take(count)
    }

    /// The packet of `len` bytes that was read into `slot`. Its frames are replaced; if there are none to
    /// do so, the packet is lost and the slot stays as it is.
    #[inline]
    pub(crate) fn take(
        &mut self,
        slot: usize,
        len: usize,
        port: PortId,
        pool: &mut FramePool,
    ) -> Result<Packet, NoFrames> {
        if len > FIRST_LEN {
            return match self.shape {
                Shape::Short => self.take_copied(slot, len, port, pool),
                Shape::Long => self.take_chain(slot, len, port, pool),
            };
        }
        let fresh = pool.alloc().ok_or(NoFrames)?;
        let frame = self.replace(slot * self.shape.frames(), fresh);
        Ok(Packet::new(frame, HEADROOM, short(len), port))
    }

    #[cold]
    fn take_copied(
        &mut self,
        slot: usize,
        len: usize,
        port: PortId,
        pool: &mut FramePool,
    ) -> Result<Packet, NoFrames> {
        let fresh = pool.alloc().ok_or(NoFrames)?;
        let landed = &self.landing[slot * LANDING..][..(len - FIRST_LEN).min(LANDING)];
        let mut copies = [const { None }; CHAIN];
        for (copy, bytes) in copies.iter_mut().zip(landed.chunks(FRAME_SIZE)) {
            let Some(mut frame) = pool.alloc() else {
                copies.into_iter().flatten().for_each(|(frame, _)| pool.free(frame));
                pool.free(fresh);
                return Err(NoFrames);
            };
            self.memory.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
            *copy = Some((frame, short(bytes.len())));
        }
        let mut chain = Chainer::default();
        let first = self.replace(slot, fresh);
        chain.push(&self.memory, first, HEADROOM, short(FIRST_LEN), port);
        for (frame, len) in copies.into_iter().flatten() {
            chain.push(&self.memory, frame, 0, len, port);
        }
        chain.finish().ok_or(NoFrames)
    }

    fn take_chain(
        &mut self,
        slot: usize,
        len: usize,
        port: PortId,
        pool: &mut FramePool,
    ) -> Result<Packet, NoFrames> {
        let used = (1 + (len - FIRST_LEN).div_ceil(FRAME_SIZE)).min(CHAIN);
        // All that will be replaced, or nothing: a slot never has less than its frames.
        let mut fresh = [const { None }; CHAIN];
        fresh.iter_mut().take(used).for_each(|place| *place = pool.alloc());
        if fresh.iter().take(used).any(Option::is_none) {
            fresh.into_iter().flatten().for_each(|frame| pool.free(frame));
            return Err(NoFrames);
        }
        let mut chain = Chainer::default();
        let mut left = len;
        let first = slot * CHAIN;
        for (at, fresh) in (first..).zip(fresh.into_iter().flatten()) {
            let (start, room) = if at == first { (HEADROOM, FIRST_LEN) } else { (0, FRAME_SIZE) };
            let here = left.min(room);
            left -= here;
            let frame = self.replace(at, fresh);
            chain.push(&self.memory, frame, start, short(here), port);
        }
        chain.finish().ok_or(NoFrames)
    }

    /// Puts `fresh` into place `at`, and answers what was there.
    #[inline]
    fn replace(&mut self, at: usize, fresh: Frame) -> Frame {
        let frame = std::mem::replace(&mut self.frames[at], fresh);
        let vector = match self.shape {
            Shape::Short => 2 * at,
            Shape::Long => at,
        };
        self.vectors[vector] = self.vector(at);
        frame
    }

    /// Keeps `count` slots, and gives the frames of the others back.
    pub(crate) fn keep(&mut self, count: usize, pool: &mut FramePool) {
        let keep = (count * self.shape.frames()).min(self.frames.len());
        self.frames.drain(keep..).for_each(|frame| pool.free(frame));
        self.vectors.truncate(count * self.shape.vectors());
    }
}

fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
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
                    let packet = slots.take(slot, len, PortId(1), &mut pool).unwrap();
                    let expected: Vec<u8> = (0..=250).cycle().take(len).collect();
                    assert_eq!(packet.to_vec(&memory), expected, "{shape:?} {len}");
                    packet.free(&mut pool);
                }
            }
            slots.keep(0, &mut pool);
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
            let packet = slots.take(0, 100, PortId(1), &mut pool).unwrap();
            packet.free(&mut pool);
            slots.keep(0, &mut pool);
            assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), frames as usize);
        }
    }

    #[test]
    fn without_frames_there_are_fewer_slots() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(LONG * 2 - 1)));
        let mut slots = Slots::new(Arc::clone(pool.memory()), Shape::Long);
        assert_eq!((CHAIN, slots.prepare(4, &mut pool)), (33, 1));
        slots.keep(0, &mut pool);
        assert_eq!(slots.prepare(1, &mut pool), 1);
        slots.keep(0, &mut pool);
    }
}
