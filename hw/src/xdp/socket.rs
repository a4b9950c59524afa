//! One AF_XDP socket: creating it, giving it memory and rings, binding it to a queue.
#![expect(unsafe_code, reason = "its rings are mapped from the kernel")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use packet::{FRAME_SIZE, Memory};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags as BindFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpRingOffset,
    XdpStatistics, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::ring::{Consumer, Producer, Ring};
use crate::error::Error;
use crate::sys::{self, Mapping};

/// Bytes of a frame, as the kernel counts them.
pub(crate) const CHUNK_LEN: u32 = 2048;
const _: () = assert!(CHUNK_LEN as usize == FRAME_SIZE);

/// A packet, or one frame of it, in the rx or tx ring (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub(crate) struct Descriptor {
    /// Where the bytes begin, from the start of the memory.
    pub(crate) address: u64,
    /// How many they are.
    pub(crate) len: u32,
    /// [`Self::CONTINUED`] or nothing.
    pub(crate) options: u32,
}

impl Descriptor {
    /// The packet goes on in the next descriptor (`XDP_PKT_CONTD`).
    pub(crate) const CONTINUED: u32 = 1;
}

/// A socket on one queue of an interface.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    interface: String,
    ifindex: u32,
    queue: u32,
}

/// What the kernel is to do at a binding, from best to most modest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BindMode {
    /// The device reads and writes our frames itself.
    pub(crate) zero_copy: bool,
    /// Packets of several frames (`XDP_USE_SG`, Linux 6.6).
    pub(crate) chains: bool,
}

impl Socket {
    /// A new socket, for `queue` of an interface.
    pub(crate) fn new(interface: &str, ifindex: u32, queue: u32) -> Result<Self, Error> {
        let (family, kind) = (AddressFamily::XDP, SocketType::RAW);
        let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
        let fd = fd.map_err(|errno| {
            let error = Error::interface(interface, "opening an AF_XDP socket", errno);
            let hint =
                if errno == Errno::AFNOSUPPORT { "the kernel has no XDP_SOCKETS" } else { "" };
            error.hint(hint).needs("CAP_NET_RAW")
        })?;
        Ok(Self::from_parts(fd, interface, ifindex, queue))
    }

    /// A socket that a predecessor has bound.
    pub(crate) fn from_parts(fd: OwnedFd, interface: &str, ifindex: u32, queue: u32) -> Self {
        Self { fd, interface: interface.to_owned(), ifindex, queue }
    }

    /// The queue it is for.
    pub(crate) const fn queue(&self) -> u32 {
        self.queue
    }

    /// Registers `memory` as the frames of this socket. Its pages stay where they are from now on.
    pub(crate) fn register(&self, memory: &Memory) -> Result<(), Error> {
        let registration = XdpUmemReg {
            addr: memory.base().addr().get() as u64,
            len: u64::from(memory.frames()) * FRAME_SIZE as u64,
            chunk_size: CHUNK_LEN,
            // The kernel leaves 256 bytes in front of each packet of itself: `packet::HEADROOM`.
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        sockopt::set_xdp_umem_reg(&self.fd, registration).map_err(|errno| {
            let error = self.failed("registering the packet memory", errno);
            match errno {
                Errno::NOBUFS => {
                    error.hint("it may lock no more memory: the process needs CAP_IPC_LOCK")
                }
                Errno::INVAL => error.hint("the memory must come from hw::memory::map"),
                _ => error,
            }
        })
    }

    /// Makes the fill and the completion ring, which every queue has once.
    pub(crate) fn frame_rings(
        &self,
        fill: u32,
        completion: u32,
    ) -> Result<(Producer<u64>, Consumer<u64>), Error> {
        sockopt::set_xdp_umem_fill_ring_size(&self.fd, fill)
            .and_then(|()| sockopt::set_xdp_umem_completion_ring_size(&self.fd, completion))
            .map_err(|errno| self.failed("making the fill and completion rings", errno))?;
        self.map_frame_rings(fill, completion)
    }

    /// Maps the fill and the completion ring that the socket has.
    pub(crate) fn map_frame_rings(
        &self,
        fill: u32,
        completion: u32,
    ) -> Result<(Producer<u64>, Consumer<u64>), Error> {
        let offsets = self.offsets()?;
        Ok((
            Producer::new(self.map(offsets.fr, XDP_UMEM_PGOFF_FILL_RING, fill)?),
            Consumer::new(self.map(offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING, completion)?),
        ))
    }

    /// Makes the rx ring.
    pub(crate) fn rx_ring(&self, size: u32) -> Result<Consumer<Descriptor>, Error> {
        sockopt::set_xdp_rx_ring_size(&self.fd, size)
            .map_err(|errno| self.failed("making the rx ring", errno))?;
        self.map_rx_ring(size)
    }

    /// Maps the rx ring that the socket has.
    pub(crate) fn map_rx_ring(&self, size: u32) -> Result<Consumer<Descriptor>, Error> {
        Ok(Consumer::new(self.map(self.offsets()?.rx, XDP_PGOFF_RX_RING, size)?))
    }

    /// Makes the tx ring.
    pub(crate) fn tx_ring(&self, size: u32) -> Result<Producer<Descriptor>, Error> {
        sockopt::set_xdp_tx_ring_size(&self.fd, size)
            .map_err(|errno| self.failed("making the tx ring", errno))?;
        // What follows saves system calls, and may fail. By default a call sends 32 packets and no
        // more; since Linux 6.17 it may be as many as the ring holds.
        const MAX_TX_BUDGET: i32 = 9;
        let budget = i32::try_from(size).unwrap_or(i32::MAX);
        drop(sys::set_xdp_option(self.fd.as_fd(), MAX_TX_BUDGET, budget));
        // And it stops where the buffers it makes for packets are more than the socket may have: by
        // default, some 250 of the shortest.
        const MAX_BUFFERS: usize = 4 << 20;
        let _ = sockopt::set_socket_send_buffer_size_force(&self.fd, MAX_BUFFERS);
        self.map_tx_ring(size)
    }

    /// Maps the tx ring that the socket has.
    pub(crate) fn map_tx_ring(&self, size: u32) -> Result<Producer<Descriptor>, Error> {
        Ok(Producer::new(self.map(self.offsets()?.tx, XDP_PGOFF_TX_RING, size)?))
    }

    /// Binds the socket that has registered the memory to its queue. Waits up to a second for a
    /// queue that is in use: the kernel clears up behind a process that has ended with some delay.
    pub(crate) fn bind(&self, mode: BindMode) -> Result<(), Error> {
        let mut flags = BindFlags::XDP_USE_NEED_WAKEUP;
        flags |= if mode.zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
        if mode.chains {
            flags |= BindFlags::XDP_USE_SG;
        }
        let address = SocketAddrXdp::new(flags, self.ifindex, self.queue);
        self.bound(|| rustix::net::bind(&self.fd, &address))
    }

    /// Binds the socket to its queue, with the memory and in the mode of `first`. On the same queue
    /// it shares the frame rings as well, and must have none; on another it must have its own.
    pub(crate) fn bind_like(&self, first: &Self) -> Result<(), Error> {
        // Any other flag beside this one is EINVAL.
        let address = SocketAddrXdpWithSharedUmem {
            addr: SocketAddrXdp::new(BindFlags::XDP_SHARED_UMEM, self.ifindex, self.queue),
            shared_umem_fd: first.fd.as_fd(),
        };
        self.bound(|| rustix::net::bind(&self.fd, &address))
    }

    fn bound(&self, bind: impl Fn() -> Result<(), Errno>) -> Result<(), Error> {
        const PAUSE: Duration = Duration::from_millis(20);
        const TRIES: u32 = 50;
        let mut result = bind();
        for _ in 0..TRIES {
            if result != Err(Errno::BUSY) {
                break;
            }
            std::thread::sleep(PAUSE);
            result = bind();
        }
        result.map_err(|errno| match errno {
            Errno::BUSY => {
                Error::QueueBusy { interface: self.interface.clone(), queue: self.queue }
            }
            Errno::INVAL => self
                .failed("binding an AF_XDP socket", errno)
                .hint(&format!("queue {} may not exist", self.queue)),
            _ => self.failed("binding an AF_XDP socket", errno).needs("CAP_NET_RAW"),
        })?;
        Ok(())
    }

    /// Has the kernel send what is in the tx ring. `Ok` does not mean that all of it has gone.
    pub(crate) fn kick(&self) -> Result<(), Errno> {
        match rustix::net::send(&self.fd, &[], SendFlags::DONTWAIT) {
            // A full completion ring, a busy queue, a packet dropped, no buffer: try again later.
            Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Tells the kernel that there are frames in the fill ring again.
    pub(crate) fn wake(&self) {
        // Whatever it answers, there is nothing else to do than to ask again next time.
        let _ = rustix::net::recv(&self.fd, &mut [0u8; 0], RecvFlags::DONTWAIT);
    }

    /// What the kernel has dropped on this socket.
    pub(crate) fn statistics(&self) -> Option<XdpStatistics> {
        sockopt::xdp_statistics(&self.fd).ok()
    }

    fn offsets(&self) -> Result<rustix::net::xdp::XdpMmapOffsets, Error> {
        sockopt::xdp_mmap_offsets(&self.fd)
            .map_err(|errno| self.failed("asking where the rings are", errno))
    }

    fn map<D>(&self, offsets: XdpRingOffset, page: u64, size: u32) -> Result<Ring<D>, Error> {
        let failed = |errno| self.failed("mapping a ring", errno);
        let len = offsets.desc + u64::from(size) * size_of::<D>() as u64;
        let len = usize::try_from(len).map_err(|_huge| failed(Errno::OVERFLOW))?;
        let mapping = Arc::new(Mapping::new(self.fd.as_fd(), len, page).map_err(failed)?);
        let flags = offsets.flags.ok_or(Errno::NOSYS).map_err(failed)?;
        let counters = [offsets.producer, offsets.consumer, flags];
        // SAFETY: the kernel says that the ring is there, and is its other side; descriptors are
        // plain numbers; each ring of a socket is mapped once, by who owns the socket.
        let ring = unsafe { Ring::mapped(mapping, counters, offsets.desc, size) };
        ring.ok_or_else(|| failed(Errno::INVAL))
    }

    fn failed(&self, doing: &'static str, errno: Errno) -> Error {
        Error::interface(&self.interface, doing, errno)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
