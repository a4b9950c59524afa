//! Receiving from a TAP.
//!
//! How many packets are asked for at once, and into what shape of slots, follows the load: twice as
//! many while all slots come back full; as many as were full, and one more, when not. Long slots
//! are used from the first long packet until many in a row were short. A TAP at rest keeps no
//! frames.
#![expect(unsafe_code, reason = "the kernel writes into frames by address")]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use packet::{Batch, Depot, FramePool, Memory, Packet, PortId};

use super::calls::{Calls, NOT_NOW, Operation};
use super::device::Device;
use super::header;
use super::slots::{FIRST_LEN, Shape, Slots};
use crate::port::{RxQueue, Wake};
use crate::shortcut::Table;

/// Long slots used at once: copying so much takes the kernel tens of microseconds, beside which the
/// system call is nothing.
const MOST_LONG: usize = 8;
/// Short packets in a row after which long slots are given up.
const ALL_SHORT: u32 = 64;
/// Empty reads in a row after which a TAP is at rest.
const AT_REST: u32 = 32;

/// A worker's end of a TAP.
#[derive(Debug)]
pub(crate) struct TapRx {
    device: Arc<Device>,
    depot: Arc<Depot>,
    memory: Arc<Memory>,
    port: PortId,
    calls: Calls,
    short: Slots,
    long: Slots,
    shape: Shape,
    /// Slots to read next time.
    depth: usize,
    short_packets: u32,
    empty_reads: u32,
    /// The interface is gone for good.
    gone: bool,
    /// Answers to the last reads; here so that it is allocated once.
    results: Vec<i32>,
    /// Until they are given out.
    pub(super) short_cuts: Option<Table>,
}

impl TapRx {
    /// The end of `device`; `batched` if several reads may make one system call.
    pub(crate) fn new(
        device: &Arc<Device>,
        depot: &Arc<Depot>,
        port: PortId,
        batched: bool,
    ) -> Self {
        let memory = Arc::clone(depot.memory());
        Self {
            device: Arc::clone(device),
            depot: Arc::clone(depot),
            port,
            calls: Calls::new(device.as_fd(), batched),
            short: Slots::new(Arc::clone(&memory), Shape::Short),
            long: Slots::new(Arc::clone(&memory), Shape::Long),
            memory,
            shape: Shape::Short,
            depth: 1,
            short_packets: 1,
            empty_reads: 0,
            gone: false,
            results: Vec::with_capacity(Calls::MOST),
            short_cuts: None,
        }
    }

    /// Reads into at most `limit` slots; answers how many there were, and how many are full.
    fn read(&mut self, limit: usize, pool: &mut FramePool) -> (usize, usize) {
        let (slots, most) = match self.shape {
            Shape::Short => (&mut self.short, Calls::MOST),
            Shape::Long => (&mut self.long, MOST_LONG),
        };
        let count = slots.prepare(limit.min(self.depth).min(most), pool);
        // SAFETY: the spans name memory that the slots hold and nobody else uses.
        let results =
            unsafe { self.calls.make(Operation::Read, self.device.as_fd(), slots.spans(count)) };
        self.results.clear();
        self.results.extend_from_slice(results);
        if self.results.iter().any(|result| *result < 0 && *result != NOT_NOW) {
            // EBADFD: the interface was deleted. Anything else is as final to a TAP.
            self.gone = true;
        }
        let full = self.results.iter().filter(|result| **result >= 0).count();
        (count, full)
    }

    /// Takes the packet of `len` bytes, header included, out of `slot`.
    #[inline]
    fn take(&mut self, slot: usize, len: usize, pool: &mut FramePool) -> Option<Packet> {
        const ETHERNET_LEN: usize = 14;
        let len = len.saturating_sub(header::LEN.into());
        if len < ETHERNET_LEN {
            self.device.rx_invalid.fetch_add(1, Relaxed);
            return None;
        }
        self.short_packets = if len <= FIRST_LEN { self.short_packets + 1 } else { 0 };
        let slots = match self.shape {
            Shape::Short => &mut self.short,
            Shape::Long => &mut self.long,
        };
        let Ok((mut packet, header)) = slots.take(slot, len, self.port, pool) else {
            self.device.rx_no_frames.fetch_add(1, Relaxed);
            return None;
        };
        if header.describe(&mut packet, &self.memory).is_ok() {
            return Some(packet);
        }
        self.device.rx_invalid.fetch_add(1, Relaxed);
        packet.free(pool);
        None
    }

    /// Chooses the shape of the next slots by the packets seen.
    #[inline]
    fn adapt(&mut self, pool: &mut FramePool) {
        match self.shape {
            Shape::Short if self.short_packets == 0 => self.shape = Shape::Long,
            Shape::Long if self.short_packets >= ALL_SHORT => {
                self.shape = Shape::Short;
                self.long.clear(pool);
            }
            _ => {}
        }
    }
}

impl RxQueue for TapRx {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        let end = batch.len() + limit;
        while batch.len() < end && !self.gone {
            let (slots, full) = self.read(end - batch.len(), pool);
            if slots == 0 {
                self.device.rx_no_frames.fetch_add(1, Relaxed);
                return;
            }
            for slot in 0..self.results.len() {
                // A packet may have come behind a read that found none.
                if let Ok(len) = usize::try_from(self.results[slot]) {
                    batch.extend(self.take(slot, len, pool));
                }
            }
            if full < slots {
                self.depth = full + 1;
                self.empty_reads = if full == 0 { self.empty_reads + 1 } else { 0 };
                if self.empty_reads == AT_REST {
                    self.long.clear(pool);
                    self.shape = Shape::Short;
                    self.short_packets = 1;
                } else if full > 0 {
                    self.adapt(pool);
                }
                return;
            }
            if slots >= self.depth {
                self.depth = (2 * self.depth).min(Calls::MOST);
            }
            self.adapt(pool);
        }
    }

    fn wake(&self) -> Wake<'_> {
        if self.gone { Wake::Never } else { Wake::Readable(self.device.as_fd()) }
    }

    fn syscalls(&self) -> u64 {
        self.calls.syscalls()
    }

    fn short_cuts(&mut self) -> Option<Table> {
        self.short_cuts.take()
    }
}

impl Drop for TapRx {
    fn drop(&mut self) {
        let mut pool = FramePool::new(&self.depot);
        self.long.clear(&mut pool);
    }
}
