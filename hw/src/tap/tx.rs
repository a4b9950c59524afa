//! Sending into a TAP.
#![expect(unsafe_code, reason = "the kernel reads frames by address")]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use packet::segment::segment;
use packet::{Batch, FramePool, Kind, Memory, Packet};

use super::calls::{Calls, Operation};
use super::device::Device;
use super::header::{self, Header};
use crate::port::{Refusal, TxQueue};

/// What VLAN tags may add to the longest frame.
const TAGS_LEN: usize = 8;

/// A worker's way into a TAP. Workers need not take turns: the kernel takes packets of all.
#[derive(Debug)]
pub(crate) struct TapTx {
    device: Arc<Device>,
    memory: Arc<Memory>,
    calls: Calls,
    /// Packets that are being written.
    staged: Vec<Staged>,
    /// Where their bytes lie, and the ends of each one's part.
    vectors: Vec<libc::iovec>,
    ends: Vec<usize>,
}

// SAFETY: the addresses in `vectors` are used only while the packets in `staged` are held, and both
// are empty between calls.
unsafe impl Send for TapTx {}

#[derive(Debug)]
struct Staged {
    packet: Packet,
    /// The header, when it does not stand in the packet's headroom.
    apart: Option<[u8; header::LEN as usize]>,
}

impl TapTx {
    /// A way into `device`; `batched` if several writes may make one system call.
    pub(crate) fn new(device: &Arc<Device>, memory: &Arc<Memory>, batched: bool) -> Self {
        Self {
            device: Arc::clone(device),
            memory: Arc::clone(memory),
            calls: Calls::new(device.as_fd(), batched),
            staged: Vec::with_capacity(Calls::MOST),
            vectors: Vec::with_capacity(4 * Calls::MOST),
            ends: Vec::with_capacity(Calls::MOST),
        }
    }

    /// Puts the header in front of `packet`, to be written.
    #[inline]
    fn stage(&mut self, mut packet: Packet) -> Result<(), (Packet, Refusal)> {
        // A super-frame is as long on the wire as its segments.
        let segment = match packet.segmentation.kind {
            Kind::None => packet.len(),
            _ => usize::from(packet.segmentation.header) + usize::from(packet.segmentation.size),
        };
        if segment > self.device.max_frame.load(Relaxed) as usize + TAGS_LEN {
            return Err((packet, Refusal::TooLong));
        }
        let Ok(header) = Header::of(&packet, &self.memory) else {
            self.device.tx_invalid.fetch_add(1, Relaxed);
            return Err((packet, Refusal::Error));
        };
        let mut apart = Some(header.to_bytes());
        if packet.push_front(header::LEN) {
            let front = packet.head_mut(&self.memory).first_chunk_mut();
            front.zip(apart.take()).map(|(front, bytes)| *front = bytes).unwrap_or_default();
        }
        self.staged.push(Staged { packet, apart });
        Ok(())
    }

    /// Writes what is staged.
    fn write(&mut self, pool: &mut FramePool, refused: &mut Vec<(Packet, Refusal)>) {
        let Self { device, memory, calls, staged, vectors, ends } = self;
        for Staged { packet, apart } in staged.iter() {
            let vector = |bytes: &[u8]| libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
            vectors.extend(apart.as_ref().map(|bytes| vector(bytes)));
            vectors.extend(packet.chunks(memory).map(vector));
            ends.push(vectors.len());
        }
        let spans = (0..ends.len()).map(|n| {
            let from = n.checked_sub(1).map_or(0, |before| ends[before]);
            &vectors[from..ends[n]]
        });
        // SAFETY: the vectors name bytes of packets that we hold, which do not move or change.
        let results = unsafe { calls.make(Operation::Write, device.as_fd(), spans) };
        for (Staged { mut packet, apart }, result) in staged.drain(..).zip(results) {
            if *result >= 0 {
                packet.free(pool);
                continue;
            }
            if apart.is_none() {
                let pulled = packet.pull_front(header::LEN);
                debug_assert!(pulled, "the header cannot be taken off");
            }
            refused.push((packet, reason(-*result, device)));
        }
        vectors.clear();
        ends.clear();
    }
}

/// What the kernel's number means to a sender.
fn reason(errno: i32, device: &Device) -> Refusal {
    match errno {
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => Refusal::Full,
        libc::EIO | libc::EBADFD => Refusal::Down,
        _ => {
            device.tx_invalid.fetch_add(1, Relaxed);
            Refusal::Error
        }
    }
}

impl TxQueue for TapTx {
    fn tx(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        refused: &mut Vec<(Packet, Refusal)>,
    ) {
        for packet in batch.drain(..) {
            if self.staged.len() == Calls::MOST {
                self.write(pool, refused);
            }
            if packet.segmentation.kind == Kind::Udp && !self.device.cuts_udp {
                // An old kernel; few datagrams come in super-frames.
                let mut cut = Vec::new();
                match segment(packet, pool, |datagram| cut.push(datagram)) {
                    Ok(_) => {}
                    Err((packet, _)) => refused.push((packet, Refusal::Error)),
                }
                for datagram in cut {
                    if self.staged.len() == Calls::MOST {
                        self.write(pool, refused);
                    }
                    refused.extend(self.stage(datagram).err());
                }
                continue;
            }
            refused.extend(self.stage(packet).err());
        }
        if !self.staged.is_empty() {
            self.write(pool, refused);
        }
    }

    fn flush(&mut self, _pool: &mut FramePool) -> bool {
        // Everything has been written, or refused, at once.
        false
    }

    fn syscalls(&self) -> u64 {
        self.calls.syscalls()
    }
}
