//! A port that swallows what it is sent and never receives anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use packet::{Batch, FramePool, Packet};

use crate::error::Error;
use crate::port::{
    Capabilities, Capability, Port, PortCounters, QueueStatus, Refusal, RxQueue, TxQueue,
};

/// A sink, for benches and for flows that want to lose packets visibly.
#[derive(Debug, Default)]
pub struct Null {
    packets: Arc<AtomicU64>,
}

impl Null {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packets swallowed so far; a super-frame is one.
    pub fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }
}

impl Port for Null {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            checksum: Capability::Yes,
            segmentation: Capability::Yes,
            chains: Capability::Yes,
            zero_copy: Capability::Yes,
            unmarked_partial: false,
            max_frame: usize::from(u16::MAX),
            short_cut: None,
        }
    }

    fn rx_queues(&mut self) -> Vec<Box<dyn RxQueue>> {
        Vec::new()
    }

    fn tx_queue(&mut self) -> Result<Box<dyn TxQueue>, Error> {
        Ok(Box::new(NullTx { packets: Arc::clone(&self.packets) }))
    }

    fn queues(&self) -> Vec<QueueStatus> {
        Vec::new()
    }

    fn counters(&self) -> PortCounters {
        PortCounters::default()
    }
}

#[derive(Debug)]
struct NullTx {
    packets: Arc<AtomicU64>,
}

impl TxQueue for NullTx {
    fn tx(&mut self, batch: &mut Batch, pool: &mut FramePool, _: &mut Vec<(Packet, Refusal)>) {
        self.packets.fetch_add(batch.len() as u64, Relaxed);
        pool.free_all(batch);
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
    use packet::{Chainer, Depot, Memory, PortId};

    #[test]
    fn everything_is_swallowed_and_no_frame_lost() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(16)));
        let mut null = Null::new();
        let mut tx = null.tx_queue().unwrap();
        let mut batch = Batch::new();
        for len in [60, 9000] {
            let bytes = vec![0; len];
            batch.push(Chainer::copy_of(&bytes, 128, PortId(1), &mut pool).unwrap());
        }
        let mut refused = Vec::new();
        tx.tx(&mut batch, &mut pool, &mut refused);
        assert!(batch.is_empty() && refused.is_empty() && !tx.flush(&mut pool));
        assert_eq!(null.packets(), 2);
        assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), 16);
    }
}
