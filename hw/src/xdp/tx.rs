//! Sending on one tx ring.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use packet::{Batch, FramePool, Packet};
use rustix::io::Errno;

use super::rx::address_of;
use super::shared::{Sender, Shared};
use super::socket::Descriptor;
use crate::port::{Refusal, TxQueue};

/// Frames of the longest packet: what the kernel makes one socket buffer of (`MAX_SKB_FRAGS`).
pub(crate) const MAX_CHAIN: u32 = 17;
/// What VLAN tags may add to the longest frame.
const TAGS_LEN: u32 = 8;

/// A worker's own way out of a port; empty only while it is dropped.
#[derive(Debug)]
pub(crate) struct Tx(Option<Sending>);

impl Tx {
    /// Sends by `sender`, and gives it back to `shared` in the end.
    pub(crate) const fn new(sender: Sender, shared: Arc<Shared>) -> Self {
        Self(Some(Sending { sender, shared, down: false, syscalls: 0 }))
    }
}

impl TxQueue for Tx {
    fn tx(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        refused: &mut Vec<(Packet, Refusal)>,
    ) {
        if let Some(sending) = &mut self.0 {
            sending.tx(batch, pool, refused);
        }
    }

    fn flush(&mut self, pool: &mut FramePool) -> bool {
        self.0.as_mut().is_some_and(|sending| sending.flush(pool))
    }

    fn syscalls(&self) -> u64 {
        self.0.as_ref().map_or(0, |sending| sending.syscalls)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(Sending { sender, shared, .. }) = self.0.take() {
            shared.spare_senders.lock().push(sender);
        }
    }
}

#[derive(Debug)]
struct Sending {
    sender: Sender,
    shared: Arc<Shared>,
    /// The kernel has said that the device is down or gone.
    down: bool,
    syscalls: u64,
}

impl Sending {
    fn tx(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        refused: &mut Vec<(Packet, Refusal)>,
    ) {
        if self.down {
            // It may be up again: the kernel says so, also with nothing to send.
            self.kick();
        }
        if self.down {
            refused.extend(batch.drain(..).map(|packet| (packet, Refusal::Down)));
            return;
        }
        let max_len = self.shared.max_frame.load(Relaxed) + TAGS_LEN;
        let mut urged = false;
        for packet in batch.drain(..) {
            if packet.len() > max_len as usize {
                refused.push((packet, Refusal::TooLong));
                continue;
            }
            let mut result = self.push(packet);
            if let Err((packet, Refusal::Full)) = result {
                // Once a batch, make the kernel take what is there.
                if !urged {
                    urged = true;
                    self.sender.ring.submit();
                    self.kick();
                    self.shared.reclaim(self.sender.queue, pool);
                }
                result = self.push(packet);
            }
            refused.extend(result.err());
        }
        self.sender.ring.submit();
    }

    /// Puts `packet` into the ring.
    #[inline]
    fn push(&mut self, packet: Packet) -> Result<(), (Packet, Refusal)> {
        if packet.is_chained() {
            return self.push_chain(packet);
        }
        let Self { sender: Sender { ring, .. }, shared, .. } = self;
        if ring.room(1) == 0 {
            return Err((packet, Refusal::Full));
        }
        packet.into_frames(shared.loans.memory(), |frame, start, len| {
            let address = address_of(shared.loans.lend(frame)) + u64::from(start);
            ring.push(Descriptor { address, len: len.into(), options: 0 });
        });
        Ok(())
    }

    #[cold]
    fn push_chain(&mut self, packet: Packet) -> Result<(), (Packet, Refusal)> {
        let Self { sender: Sender { ring, .. }, shared, .. } = self;
        let memory = shared.loans.memory();
        let frames = u32::try_from(packet.chunks(memory).count()).unwrap_or(u32::MAX);
        if frames > MAX_CHAIN {
            return Err((packet, Refusal::TooLong));
        }
        if ring.room(frames) < frames {
            return Err((packet, Refusal::Full));
        }
        let mut left = frames;
        packet.into_frames(memory, |frame, start, len| {
            left -= 1;
            let options = if left > 0 { Descriptor::CONTINUED } else { 0 };
            let address = address_of(shared.loans.lend(frame)) + u64::from(start);
            ring.push(Descriptor { address, len: len.into(), options });
        });
        Ok(())
    }

    fn flush(&mut self, pool: &mut FramePool) -> bool {
        if self.sender.ring.pending() > 0 && self.sender.ring.needs_wakeup() {
            self.kick();
        }
        self.shared.reclaim(self.sender.queue, pool);
        // What the kernel has taken but not yet sent needs no further call; what it has not taken
        // does.
        !self.down && self.sender.ring.pending() > 0
    }

    /// Has the kernel send, and notes whether it can.
    fn kick(&mut self) {
        self.syscalls += 1;
        let answer = self.sender.socket.kick();
        self.down = matches!(answer, Err(Errno::NETDOWN | Errno::NXIO));
    }
}
