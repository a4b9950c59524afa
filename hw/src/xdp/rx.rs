//! Receiving from one queue.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use packet::memory::prefetch;
use packet::{Batch, Chainer, FRAME_SIZE, Frame, FramePool, Memory, Packet, PortId};

use super::program::METADATA_LEN;
use super::ring::{Consumer, Producer};
use super::shared::Shared;
use super::socket::{Descriptor, Socket};
use crate::port::{RxQueue, Wake};

/// Free slots of the fill ring that make filling it worth while.
const REFILL: u32 = 64;
/// The headers of a packet of several frames lie in the first, which thus holds so many bytes at
/// least.
const HEADER_WINDOW: u16 = 256;

/// A worker's end of one queue.
#[derive(Debug)]
pub(crate) struct Rx {
    // Before `shared`: the rings must be unmapped when it closes the sockets.
    fill: Producer<u64>,
    ring: Consumer<Descriptor>,
    socket: Arc<Socket>,
    shared: Arc<Shared>,
    port: PortId,
    /// Whether each packet has metadata in front of it.
    tags: bool,
    /// The frames so far of a packet whose last has not come yet.
    partial: Chainer,
    /// Frames up to the next last one belong to a packet that is no good.
    skipping: bool,
    /// There was no frame to be had for the kernel when it had none left.
    starved: bool,
    syscalls: u64,
}

impl Rx {
    /// The end of `socket`, with its rings.
    pub(crate) fn new(
        (fill, ring): (Producer<u64>, Consumer<Descriptor>),
        socket: &Arc<Socket>,
        shared: &Arc<Shared>,
        port: PortId,
        tags: bool,
    ) -> Self {
        let (socket, shared) = (Arc::clone(socket), Arc::clone(shared));
        Self {
            fill,
            ring,
            socket,
            shared,
            port,
            tags,
            partial: Chainer::default(),
            skipping: false,
            starved: false,
            syscalls: 0,
        }
    }

    /// Gives the kernel frames, as many as it takes.
    pub(crate) fn refill(&mut self, pool: &mut FramePool) {
        let room = self.fill.room(REFILL);
        if room < REFILL.min(self.fill.size()) {
            return;
        }
        for _ in 0..room {
            let Some(frame) = pool.alloc() else { break };
            self.fill.push(address_of(self.shared.loans.lend(frame)));
        }
        self.fill.submit();
        self.starved = self.fill.pending() == 0;
        if self.fill.needs_wakeup() {
            self.socket.wake();
            self.syscalls += 1;
        }
    }

    /// Appends the packet that `descriptor` stands for to `batch`, unless it goes on in the next.
    #[inline]
    fn accept(&mut self, descriptor: Descriptor, pool: &mut FramePool, batch: &mut Batch) {
        let last = descriptor.options & Descriptor::CONTINUED == 0;
        let chunk = FRAME_SIZE as u64;
        let Some(frame) = self.shared.loans.take_back(descriptor.address / chunk) else {
            return self.refuse(last, pool);
        };
        let start = u16::try_from(descriptor.address % chunk).unwrap_or(0);
        let len = u16::try_from(descriptor.len).unwrap_or(u16::MAX);
        if usize::from(start) + usize::from(len) > FRAME_SIZE || len == 0 {
            pool.free(frame);
            return self.refuse(last, pool);
        }
        if !last || self.skipping || !self.partial.is_empty() {
            return self.extend((frame, start, len), last, pool, batch);
        }
        if self.tags {
            let before = usize::from(start).saturating_sub(METADATA_LEN.into());
            prefetch(&self.shared.loans.memory().bytes(&frame)[before]);
        }
        // Pushed right here: a packet handed round first would be read back before it is written.
        batch.push(Packet::new(frame, start, len, self.port));
    }

    /// Adds a frame to a packet of several.
    #[cold]
    fn extend(
        &mut self,
        (frame, start, len): (Frame, u16, u16),
        last: bool,
        pool: &mut FramePool,
        batch: &mut Batch,
    ) {
        let headless = self.partial.is_empty() && len < HEADER_WINDOW;
        if self.skipping || headless {
            pool.free(frame);
            if headless && !self.skipping {
                self.count_invalid();
            }
            self.skipping = !last;
            return;
        }
        self.partial.push(self.shared.loans.memory(), frame, start, len, self.port);
        if last {
            batch.extend(std::mem::take(&mut self.partial).finish());
        }
    }

    /// A descriptor that makes no sense takes the rest of its packet with it.
    #[cold]
    fn refuse(&mut self, last: bool, pool: &mut FramePool) {
        std::mem::take(&mut self.partial).abandon(pool);
        self.skipping = !last;
        self.count_invalid();
    }

    fn count_invalid(&self) {
        self.shared.invalid.fetch_add(1, Relaxed);
    }

    /// Puts the VLAN tag that stands in front of `packet` back into it.
    #[inline]
    fn insert_tag(&self, packet: &mut Packet) {
        let memory = self.shared.loans.memory();
        let before = usize::from(packet.headroom().saturating_sub(METADATA_LEN));
        let metadata = memory.bytes(packet.frame())[before..].first_chunk().copied();
        if let Some([a, b, control_a, control_b]) = metadata
            && [a, b] != [0, 0]
        {
            let [c, d] = u16::from_ne_bytes([control_a, control_b]).to_be_bytes();
            push_tag(packet, memory, [a, b, c, d]);
        }
    }
}

/// Puts `tag` behind the addresses of `packet`.
#[cold]
fn push_tag(packet: &mut Packet, memory: &Memory, tag: [u8; 4]) {
    const ADDRESSES: usize = 12;
    // The metadata lies there: there is room.
    if packet.len() >= ADDRESSES && packet.push_front(METADATA_LEN) {
        let head = packet.head_mut(memory);
        head.copy_within(4..4 + ADDRESSES, 0);
        head[ADDRESSES..ADDRESSES + 4].copy_from_slice(&tag);
    }
}

impl RxQueue for Rx {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        let (begin, end) = (batch.len(), batch.len() + limit);
        while batch.len() < end && self.ring.ready(1) > 0 {
            let descriptor = self.ring.read();
            self.accept(descriptor, pool, batch);
        }
        self.ring.release();
        if self.tags {
            // By now what `accept` has had fetched is here.
            for packet in &mut batch[begin..] {
                self.insert_tag(packet);
            }
        }
        self.refill(pool);
    }

    fn wake(&self) -> Wake<'_> {
        // A kernel without frames receives nothing, and would never wake us.
        if self.starved { Wake::Always } else { Wake::Readable(self.socket.as_fd()) }
    }

    fn syscalls(&self) -> u64 {
        self.syscalls
    }
}

impl Drop for Rx {
    fn drop(&mut self) {
        let mut pool = FramePool::new(&self.shared.depot);
        std::mem::take(&mut self.partial).abandon(&mut pool);
    }
}

/// The address of frame `index`, from the start of the memory.
#[inline]
pub(crate) fn address_of(index: u32) -> u64 {
    u64::from(index) * FRAME_SIZE as u64
}
