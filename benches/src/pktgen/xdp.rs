//! An end by AF_XDP, over xsk-rs: an independent peer of the switch's own AF_XDP layer.
#![expect(unsafe_code, reason = "xsk-rs leaves it to its user that a frame is in one place")]

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use xsk_rs::config::{
    BindFlags, FrameSize, LibxdpFlags, QueueSize, SocketConfig, UmemConfig, XdpFlags,
};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use crate::clock;
use crate::pktgen::link::{BURST, Link, Use};
use crate::pktgen::sys;

/// Descriptors in each ring.
const RING: u32 = 2048;
/// So many frames may be with the kernel to be sent: few, lest packets age in our own queue.
const ON_THEIR_WAY: usize = 2 * BURST;
/// So many frames there are to send with; the others are for receiving.
const SENDING: usize = 2 * ON_THEIR_WAY;

/// The kernel releases a queue a while after the process that had it has ended.
const RELEASE_NS: u64 = 1_000_000_000;

/// An AF_XDP socket on one queue of one interface.
///
/// # Invariant
///
/// A descriptor is in one place only: in `free`, in one of the rings, or with the method that runs.
pub struct Xdp {
    umem: Umem,
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    done: CompQueue,
    free: Vec<FrameDesc>,
    /// How many are with the kernel to be sent.
    sending: usize,
    burst: Vec<FrameDesc>,
}

impl Xdp {
    /// Opens queue `queue` of `interface` for frames of up to `size` bytes. If it is to receive,
    /// all packets of that queue come here until the end is closed, and none to the kernel.
    pub fn open(interface: &str, queue: u32, size: u16, wanted: Use) -> Result<Self> {
        let end = clock::now_ns() + RELEASE_NS;
        loop {
            match Self::try_open(interface, queue, size, wanted) {
                Err(error) if is_busy(&error) && clock::now_ns() < end => {
                    thread::sleep(Duration::from_millis(50));
                }
                opened => return opened,
            }
        }
    }

    fn try_open(interface: &str, queue: u32, size: u16, wanted: Use) -> Result<Self> {
        // A frame has 256 bytes of headroom for the kernel.
        let frame = match size {
            0..=1792 => 2048,
            1793..=3840 => 4096,
            _ => bail!("AF_XDP takes frames of up to 3840 bytes: try `--backend packet`"),
        };
        let ring = QueueSize::new(RING)?;
        let memory = UmemConfig::builder()
            .frame_size(FrameSize::new(frame)?)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()?;
        let count = RING + u32::try_from(SENDING)?;
        let count = NonZeroU32::new(count).context("there are frames")?;
        let (umem, mut free) = Umem::new(memory, count, false)
            .context("making packet memory (it takes CAP_NET_RAW and CAP_IPC_LOCK)")?;
        let mut config = SocketConfig::builder();
        config.rx_queue_size(ring).tx_queue_size(ring);
        config.bind_flags(BindFlags::XDP_USE_NEED_WAKEUP);
        match wanted {
            Use::Send => config.libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD),
            Use::Both => config.xdp_flags(XdpFlags::XDP_FLAGS_UPDATE_IF_NOEXIST),
        };
        let name = interface.parse().context("the name of the interface")?;
        // SAFETY: the memory is new, so no other socket shares it.
        let made = unsafe { Socket::new(config.build(), &umem, &name, queue) };
        let (tx, rx, rings) = made.with_context(|| {
            format!(
                "binding queue {queue} (it takes CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF, and \
                 nobody else on that queue: see `ip link show {interface}`)"
            )
        })?;
        let (mut fill, done) = rings.context("the socket has no rings of its own")?;
        // With more than 32 frames a call, where the kernel knows how; else by more calls.
        let _ = sys::set_xdp_budget(tx.fd(), i32::try_from(ON_THEIR_WAY)?);
        let receiving = free.split_off(SENDING);
        // SAFETY: these are in no other place, and of this memory.
        unsafe { fill.produce(&receiving) };
        let burst = vec![FrameDesc::default(); BURST];
        Ok(Self { umem, tx, rx, fill, done, free, sending: 0, burst })
    }

    /// Takes back what the kernel has sent.
    fn reclaim(&mut self) {
        loop {
            // SAFETY: descriptors are only ever of this memory.
            let count = unsafe { self.done.consume(&mut self.burst) };
            self.free.extend_from_slice(&self.burst[..count]);
            self.sending -= count;
            if count < self.burst.len() {
                return;
            }
        }
    }

    fn urge(&mut self) -> io::Result<()> {
        if self.sending > 0 && self.tx.needs_wakeup() {
            self.tx.wakeup()?;
        }
        self.reclaim();
        Ok(())
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    let source = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::ResourceBusy)
}

impl fmt::Debug for Xdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xdp").field("sending", &self.sending).finish_non_exhaustive()
    }
}

impl Link for Xdp {
    fn send(
        &mut self,
        count: usize,
        write: &mut dyn FnMut(usize, &mut [u8]) -> usize,
    ) -> io::Result<usize> {
        if self.sending + count > ON_THEIR_WAY {
            self.urge()?;
        }
        let room = ON_THEIR_WAY.saturating_sub(self.sending).min(self.free.len());
        let mut frames = self.free.split_off(self.free.len() - count.min(room));
        for (at, frame) in frames.iter_mut().enumerate() {
            // SAFETY: it is in no ring: it was free.
            let mut data = unsafe { self.umem.data_mut(frame) };
            let mut cursor = data.cursor();
            let all = cursor.buf_len();
            cursor.set_pos(all);
            let len = write(at, data.contents_mut());
            data.cursor().set_pos(len);
        }
        // SAFETY: these are of this memory, and nowhere else from here on.
        let sent = unsafe { self.tx.produce(&frames) };
        self.sending += sent;
        // What the ring does not take is free again; there is room for all, so it takes all.
        self.free.extend_from_slice(&frames[sent..]);
        self.urge()?;
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        let end = clock::now_ns() + 1_000_000_000;
        while self.sending > 0 && clock::now_ns() < end {
            self.urge()?;
        }
        Ok(())
    }

    fn receive(
        &mut self,
        patience: Duration,
        each: &mut dyn FnMut(&mut [u8]),
    ) -> io::Result<usize> {
        // SAFETY: descriptors are only ever of this memory.
        let mut count = unsafe { self.rx.consume(&mut self.burst) };
        if count == 0 {
            let wait = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
            let ready = match self.rx.poll(wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                ready => ready?,
            };
            if !ready {
                return Ok(0);
            }
            // SAFETY: as above.
            count = unsafe { self.rx.consume(&mut self.burst) };
        }
        for frame in &mut self.burst[..count] {
            // SAFETY: the kernel has given it back, and it is in no other place.
            each(unsafe { self.umem.data_mut(frame) }.contents_mut());
        }
        // SAFETY: they came from here, and nobody keeps them. The ring has room for all there are.
        unsafe { self.fill.produce(&self.burst[..count]) };
        Ok(count)
    }

    fn overruns(&self) -> u64 {
        let Ok(lost) = self.rx.fd().xdp_statistics() else { return 0 };
        lost.rx_ring_full() + lost.rx_dropped()
    }
}
