//! Receiving from a TAP.
//!
//! A read must offer room for the longest super-frame, 64 KiB in frames of 2, or the rest of a packet
//! is lost. So each of the *slots* has such a chain of frames ready; a packet takes those it fills, and
//! only they are replaced. How many slots are read at once follows the load: twice as many while all
//! come back full, as many as were full, and one more, when not. A TAP at rest keeps one.
#![expect(unsafe_code, reason = "the kernel writes into frames by address")]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use packet::{
    Batch, Chainer, Depot, FRAME_SIZE, Frame, FramePool, HEADROOM, Memory, Packet, PortId,
};

use super::calls::{Calls, NOT_NOW, Operation};
use super::device::Device;
use super::header::{self, Header};
use crate::port::{RxQueue, Wake};

/// Bytes of a packet in its first frame.
const FIRST_LEN: usize = FRAME_SIZE - HEADROOM as usize;
/// The longest packet: an IP packet of 65535 bytes, an Ethernet header, two VLAN tags.
const LONGEST: usize = 65_535 + 14 + 8;
/// Frames of a slot: enough for that.
const CHAIN: usize = 1 + (LONGEST - FIRST_LEN).div_ceil(FRAME_SIZE);
/// Empty reads after which a TAP is at rest.
const AT_REST: u32 = 32;

/// A worker's end of a TAP.
#[derive(Debug)]
pub(crate) struct TapRx {
    device: Arc<Device>,
    depot: Arc<Depot>,
    memory: Arc<Memory>,
    port: PortId,
    calls: Calls,
    /// [`CHAIN`] frames for each slot.
    frames: Vec<Frame>,
    /// Where their bytes lie, at the same places.
    vectors: Vectors,
    /// Slots to read next time.
    depth: usize,
    /// Reads in a row that found nothing.
    empty_reads: u32,
    /// The interface is gone for good.
    gone: bool,
    /// Answers to the last reads; here so that it is allocated once.
    results: Vec<i32>,
}

/// Addresses of frames that the same value holds.
#[derive(Debug)]
struct Vectors(Vec<libc::iovec>);

// SAFETY: the addresses lead into frames, which may be sent themselves.
unsafe impl Send for Vectors {}

impl TapRx {
    /// The end of `device`; `batched` if several reads may make one system call.
    pub(crate) fn new(
        device: &Arc<Device>,
        depot: &Arc<Depot>,
        port: PortId,
        batched: bool,
    ) -> Self {
        Self {
            device: Arc::clone(device),
            depot: Arc::clone(depot),
            memory: Arc::clone(depot.memory()),
            port,
            calls: Calls::new(device.as_fd(), batched),
            frames: Vec::new(),
            vectors: Vectors(Vec::new()),
            depth: 1,
            empty_reads: 0,
            gone: false,
            results: Vec::with_capacity(Calls::MOST),
        }
    }

    /// Provides up to `slots` slots, as far as there are frames, and answers how many there are.
    fn prepare(&mut self, slots: usize, pool: &mut FramePool) -> usize {
        while self.frames.len() < slots * CHAIN {
            let before = self.frames.len();
            self.frames.extend(std::iter::from_fn(|| pool.alloc()).take(CHAIN));
            if self.frames.len() < before + CHAIN {
                self.frames.drain(before..).for_each(|frame| pool.free(frame));
                break;
            }
            for at in before..before + CHAIN {
                let vector = self.vector(at);
                self.vectors.0.push(vector);
            }
        }
        slots.min(self.frames.len() / CHAIN)
    }

    /// Where the bytes of the frame at place `at` are to go.
    fn vector(&mut self, at: usize) -> libc::iovec {
        // The header stands in the headroom, right before the packet.
        let start = if at.is_multiple_of(CHAIN) { usize::from(HEADROOM - header::LEN) } else { 0 };
        let bytes = &mut self.memory.bytes_mut(&mut self.frames[at])[start..];
        libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
    }

    /// Reads into the first `slots` slots, and answers how many packets there were.
    fn read(&mut self, slots: usize) -> usize {
        let spans = self.vectors.0.chunks_exact(CHAIN).take(slots);
        // SAFETY: the vectors name frames that we hold, each once.
        let results = unsafe { self.calls.make(Operation::Read, self.device.as_fd(), spans) };
        self.results.clear();
        self.results.extend_from_slice(results);
        let full = self.results.iter().take_while(|result| **result >= 0).count();
        if self.results.get(full).is_some_and(|result| *result != NOT_NOW) {
            // EBADFD: the interface was deleted. Anything else is as final to a TAP.
            self.gone = true;
        }
        full
    }

    /// The packet of `len` bytes, header included, that was read into `slot`, out of which it is taken.
    #[inline]
    fn take(&mut self, slot: usize, len: usize, pool: &mut FramePool) -> Option<Packet> {
        const ETHERNET_LEN: usize = 14;
        let len = len.saturating_sub(header::LEN.into());
        if len < ETHERNET_LEN {
            self.device.rx_invalid.fetch_add(1, Relaxed);
            return None;
        }
        let mut packet = if len <= FIRST_LEN {
            let fresh = pool.alloc();
            let Some(fresh) = fresh else { return self.starve() };
            let frame = self.replace(slot * CHAIN, fresh);
            Packet::new(frame, HEADROOM, u16::try_from(len).unwrap_or(0), self.port)
        } else {
            self.take_chain(slot, len, pool)?
        };
        let at = usize::from(HEADROOM - header::LEN);
        let before = &self.memory.bytes(packet.frame())[at..];
        let header = before.first_chunk().copied().map(Header::from_bytes).unwrap_or_default();
        if header.describe(&mut packet, &self.memory).is_ok() {
            return Some(packet);
        }
        self.device.rx_invalid.fetch_add(1, Relaxed);
        packet.free(pool);
        None
    }

    fn take_chain(&mut self, slot: usize, len: usize, pool: &mut FramePool) -> Option<Packet> {
        let used = 1 + (len - FIRST_LEN).div_ceil(FRAME_SIZE);
        // All that will be replaced, or nothing: what the slots hold is never less.
        let mut chain = Chainer::default();
        let first = slot * CHAIN;
        let mut spare = [const { None }; CHAIN];
        for place in spare.iter_mut().take(used) {
            *place = pool.alloc();
        }
        if spare.iter().take(used).any(Option::is_none) {
            spare.into_iter().flatten().for_each(|frame| pool.free(frame));
            return self.starve();
        }
        let mut left = len;
        for (at, fresh) in (first..).zip(spare.into_iter().flatten()) {
            let (start, room) = if at == first { (HEADROOM, FIRST_LEN) } else { (0, FRAME_SIZE) };
            let here = left.min(room);
            left -= here;
            let frame = self.replace(at, fresh);
            chain.push(&self.memory, frame, start, u16::try_from(here).unwrap_or(0), self.port);
        }
        chain.finish()
    }

    /// Puts `fresh` into place `at`, and answers what was there.
    #[inline]
    fn replace(&mut self, at: usize, fresh: Frame) -> Frame {
        let frame = std::mem::replace(&mut self.frames[at], fresh);
        self.vectors.0[at] = self.vector(at);
        frame
    }

    #[cold]
    fn starve(&self) -> Option<Packet> {
        self.device.rx_no_frames.fetch_add(1, Relaxed);
        None
    }

    /// Gives back the frames of all slots but the first.
    #[cold]
    fn rest(&mut self, pool: &mut FramePool) {
        self.vectors.0.truncate(CHAIN);
        let keep = CHAIN.min(self.frames.len());
        self.frames.drain(keep..).for_each(|frame| pool.free(frame));
    }
}

impl RxQueue for TapRx {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        let mut left = limit;
        while left > 0 && !self.gone {
            let slots = self.prepare(self.depth.min(left), pool);
            if slots == 0 {
                self.starve();
                return;
            }
            let full = self.read(slots);
            for slot in 0..full {
                let len = usize::try_from(self.results[slot]).unwrap_or(0);
                if let Some(packet) = self.take(slot, len, pool) {
                    batch.push(packet);
                    left -= 1;
                }
            }
            if full < slots {
                self.depth = full + 1;
                self.empty_reads = if full == 0 { self.empty_reads + 1 } else { 0 };
                if self.empty_reads == AT_REST {
                    self.rest(pool);
                }
                return;
            }
            if slots == self.depth {
                self.depth = (2 * self.depth).min(Calls::MOST);
            }
        }
    }

    fn wake(&self) -> Wake<'_> {
        if self.gone { Wake::Never } else { Wake::Readable(self.device.as_fd()) }
    }

    fn syscalls(&self) -> u64 {
        self.calls.syscalls()
    }
}

impl Drop for TapRx {
    fn drop(&mut self) {
        let mut pool = FramePool::new(&self.depot);
        self.frames.drain(..).for_each(|frame| pool.free(frame));
    }
}
