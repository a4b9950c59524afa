//! What the ends of one AF_XDP port share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use packet::{Depot, FramePool};
use parking_lot::Mutex;

use super::ring::{Consumer, Producer};
use super::socket::{Descriptor, Socket};
use crate::loans::Loans;

/// The sockets of a port, and the frames that the kernel holds for it. When the last end is gone,
/// the sockets are closed and all frames return to the depot.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) loans: Loans,
    pub(crate) depot: Arc<Depot>,
    pub(crate) queues: Vec<Queue>,
    /// Ways to send that no worker uses: at first, one a queue; later, those of workers that ended.
    pub(crate) spare_senders: Mutex<Vec<Sender>>,
    /// Sockets that only send, for the statistics.
    pub(crate) further_sockets: Mutex<Vec<Arc<Socket>>>,
    /// Descriptors from the kernel that made no sense, and packets we cannot represent.
    pub(crate) invalid: AtomicU64,
    /// The longest frame to send.
    pub(crate) max_frame: AtomicU32,
    /// Whether a successor has the sockets now, and with them the frames inside.
    pub(crate) handed_over: AtomicBool,
}

/// One receive queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) socket: Arc<Socket>,
    /// Frames that have been sent by any sender of this queue. Whoever comes by takes them; nobody
    /// waits for another to do so.
    pub(crate) completion: Mutex<Consumer<u64>>,
}

/// A tx ring and its socket.
#[derive(Debug)]
pub(crate) struct Sender {
    /// The place of its queue in [`Shared::queues`].
    pub(crate) queue: usize,
    pub(crate) socket: Arc<Socket>,
    pub(crate) ring: Producer<Descriptor>,
}

impl Shared {
    /// Takes the frames that have been sent on `queue` into `pool`, unless another worker is at it.
    #[inline]
    pub(crate) fn reclaim(&self, queue: usize, pool: &mut FramePool) {
        let Some(mut completion) = self.queues.get(queue).and_then(|q| q.completion.try_lock())
        else {
            return;
        };
        let ready = completion.ready(u32::MAX);
        if ready == 0 {
            return;
        }
        for _ in 0..ready {
            let address = completion.read();
            match self.loans.take_back(address / packet::FRAME_SIZE as u64) {
                Some(frame) => pool.free(frame),
                None => drop(self.invalid.fetch_add(1, Relaxed)),
            }
        }
        completion.release();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A mapped ring keeps its socket alive: all must go before the kernel lets go of the
        // frames.
        self.spare_senders.get_mut().clear();
        self.further_sockets.get_mut().clear();
        self.queues.clear();
        if self.handed_over.load(Relaxed) {
            return;
        }
        let mut pool = FramePool::new(&self.depot);
        self.loans.take_back_all().for_each(|frame| pool.free(frame));
    }
}
