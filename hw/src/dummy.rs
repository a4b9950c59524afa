//! A port without a device: a test puts packets in by a handle and takes out what was sent.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use packet::{Batch, Chainer, Checksum, FramePool, HEADROOM, Packet, PortId, Segmentation};
use parking_lot::Mutex;
use rustix::event::EventfdFlags;

use crate::error::Error;
use crate::port::{
    Capabilities, Capability, Port, PortCounters, QueueStatus, Refusal, RxQueue, TxQueue, Wake,
};

/// A packet as bytes, with what is known of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Injected {
    /// The bytes; more than a frame holds make a chain.
    pub bytes: Vec<u8>,
    /// What is known of its transport checksum.
    pub checksum: Checksum,
    /// Whether it stands for several packets.
    pub segmentation: Segmentation,
}

impl From<&[u8]> for Injected {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..Self::default() }
    }
}

/// The test's side of a dummy port: clones are the same side.
#[derive(Clone, Debug)]
pub struct DummyHandle {
    shared: Arc<Shared>,
}

impl DummyHandle {
    /// Bytes of packets that are kept until they are taken.
    pub const ROOM: usize = 4 << 20;

    /// A side with nothing in it, for a port that can do everything; [`Dummy::new`] makes the port.
    pub fn new() -> Result<Self, Error> {
        let capabilities = Capabilities {
            checksum: Capability::Yes,
            segmentation: Capability::Yes,
            chains: Capability::Yes,
            zero_copy: Capability::Yes,
            unmarked_partial: false,
            max_frame: 1514,
            short_cut: None,
        };
        Self::with_capabilities(capabilities)
    }

    /// The same for a port that can do this.
    pub fn with_capabilities(capabilities: Capabilities) -> Result<Self, Error> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = rustix::event::eventfd(0, flags);
        let event = event.map_err(|errno| Error::system("creating an eventfd", errno))?;
        let shared = Shared {
            event,
            capabilities,
            received: Mutex::default(),
            sent: Mutex::default(),
            refusal: Mutex::default(),
            no_frames: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Has the port receive `packet` next, and wakes its worker.
    pub fn inject(&self, packet: impl Into<Injected>) {
        self.shared.received.lock().push_back(packet.into());
        // A full counter is readable, which is all that matters.
        let _ = rustix::io::write(&self.shared.event, &1u64.to_ne_bytes());
    }

    /// How many packets have not been received yet.
    pub fn waiting(&self) -> usize {
        self.shared.received.lock().len()
    }

    /// What has been sent since the last call, in order. When [`DummyHandle::ROOM`] is used up, further
    /// packets are refused as by a full ring.
    pub fn take_sent(&self) -> Vec<Injected> {
        std::mem::take(&mut *self.shared.sent.lock()).packets
    }

    /// From now on, everything is refused with this reason, or nothing.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        *self.shared.refusal.lock() = refusal;
    }
}

#[derive(Debug)]
struct Shared {
    event: OwnedFd,
    capabilities: Capabilities,
    received: Mutex<VecDeque<Injected>>,
    sent: Mutex<Sent>,
    refusal: Mutex<Option<Refusal>>,
    no_frames: AtomicU64,
}

/// What waits to be taken.
#[derive(Debug, Default)]
struct Sent {
    packets: Vec<Injected>,
    bytes: usize,
}

/// The switch's side.
#[derive(Debug)]
pub struct Dummy {
    shared: Arc<Shared>,
    rx: Option<DummyRx>,
}

impl Dummy {
    /// The port of `handle`, with one queue.
    pub fn new(handle: &DummyHandle, port: PortId) -> Self {
        let shared = Arc::clone(&handle.shared);
        Self { rx: Some(DummyRx { shared: Arc::clone(&shared), port }), shared }
    }
}

impl Port for Dummy {
    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities.clone()
    }

    fn rx_queues(&mut self) -> Vec<Box<dyn RxQueue>> {
        self.rx.take().map(|rx| Box::new(rx) as Box<dyn RxQueue>).into_iter().collect()
    }

    fn tx_queue(&mut self) -> Result<Box<dyn TxQueue>, Error> {
        Ok(Box::new(DummyTx { shared: Arc::clone(&self.shared) }))
    }

    fn queues(&self) -> Vec<QueueStatus> {
        vec![QueueStatus { queue: 0, mode: "memory", reason: String::new() }]
    }

    fn counters(&self) -> PortCounters {
        let rx_no_frames = self.shared.no_frames.load(Relaxed);
        PortCounters { rx_no_frames, ..PortCounters::default() }
    }
}

#[derive(Debug)]
struct DummyRx {
    shared: Arc<Shared>,
    port: PortId,
}

impl RxQueue for DummyRx {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        let mut received = self.shared.received.lock();
        let take = limit.min(received.len());
        for injected in received.drain(..take) {
            let Some(mut packet) = Chainer::copy_of(&injected.bytes, HEADROOM, self.port, pool)
            else {
                self.shared.no_frames.fetch_add(1, Relaxed);
                continue;
            };
            (packet.checksum, packet.segmentation) = (injected.checksum, injected.segmentation);
            batch.push(packet);
        }
        if received.is_empty() {
            // Readable again with the next packet, for which the lock is needed.
            let _ = rustix::io::read(&self.shared.event, &mut [0; 8]);
        }
    }

    fn wake(&self) -> Wake<'_> {
        Wake::Readable(self.shared.event.as_fd())
    }

    fn syscalls(&self) -> u64 {
        0
    }
}

#[derive(Debug)]
struct DummyTx {
    shared: Arc<Shared>,
}

impl TxQueue for DummyTx {
    fn tx(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        refused: &mut Vec<(Packet, Refusal)>,
    ) {
        if let Some(refusal) = *self.shared.refusal.lock() {
            refused.extend(batch.drain(..).map(|packet| (packet, refusal)));
            return;
        }
        let mut sent = self.shared.sent.lock();
        for packet in batch.drain(..) {
            if sent.bytes + packet.len() > DummyHandle::ROOM {
                refused.push((packet, Refusal::Full));
                continue;
            }
            sent.bytes += packet.len();
            sent.packets.push(Injected {
                bytes: packet.to_vec(pool.memory()),
                checksum: packet.checksum,
                segmentation: packet.segmentation,
            });
            packet.free(pool);
        }
    }

    fn flush(&mut self, _pool: &mut FramePool) -> bool {
        false
    }

    fn syscalls(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Depot, Kind, Memory};

    fn is_readable(rx: &dyn RxQueue) -> bool {
        let Wake::Readable(fd) = rx.wake() else { return false };
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
    }

    #[test]
    fn packets_go_in_and_come_out_as_they_are() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(64)));
        let handle = DummyHandle::new().unwrap();
        let mut dummy = Dummy::new(&handle, PortId(4));
        let (mut rx, mut tx) = (dummy.rx_queues().remove(0), dummy.tx_queue().unwrap());
        assert!(dummy.rx_queues().is_empty(), "given out once");
        assert!(!is_readable(&*rx));
        let super_frame = Injected {
            bytes: (0..=255).cycle().take(20_000).collect(),
            checksum: Checksum::Partial { start: 34, offset: 16 },
            segmentation: Segmentation::new(Kind::Tcp4, 54, 1448, 20_000).unwrap(),
        };
        let plain = Injected::from(&[7; 60][..]);
        handle.inject(plain.clone());
        handle.inject(super_frame.clone());
        assert!(is_readable(&*rx));
        let mut batch = Batch::new();
        rx.rx(&mut batch, 1, &mut pool);
        assert!(batch.len() == 1 && is_readable(&*rx), "one more waits");
        rx.rx(&mut batch, 8, &mut pool);
        assert!(batch.len() == 2 && !is_readable(&*rx));
        assert_eq!(batch[0].ingress, PortId(4));
        let mut refused = Vec::new();
        handle.refuse(Some(Refusal::Down));
        tx.tx(&mut batch, &mut pool, &mut refused);
        assert_eq!(refused.len(), 2);
        handle.refuse(None);
        batch.extend(refused.drain(..).map(|(packet, _)| packet));
        tx.tx(&mut batch, &mut pool, &mut refused);
        assert_eq!(handle.take_sent(), [plain, super_frame]);
        assert!(handle.take_sent().is_empty());
        assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), 64);
    }

    #[test]
    fn what_finds_no_frame_is_counted() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(1)));
        let handle = DummyHandle::new().unwrap();
        let mut dummy = Dummy::new(&handle, PortId(0));
        let mut rx = dummy.rx_queues().remove(0);
        handle.inject(&[0; 60][..]);
        handle.inject(&[0; 60][..]);
        let mut batch = Batch::new();
        rx.rx(&mut batch, 8, &mut pool);
        assert_eq!((batch.len(), dummy.counters().rx_no_frames), (1, 1));
        batch.drain(..).for_each(|packet| packet.free(&mut pool));
    }
}
