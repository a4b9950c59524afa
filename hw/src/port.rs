//! What a port is, whatever it is made of.
//!
//! A port has a control side, [`Port`], which lives with the control thread, and ends that workers
//! own: [`RxQueue`]s, each polled by one worker at a time, and a [`TxQueue`] for every worker, so
//! that sending takes no lock. All ends draw frames from and return them to the worker's own pool;
//! a packet that goes from port to port is never copied.

use std::os::fd::BorrowedFd;

use packet::{Batch, FramePool, MacAddr, Packet};

use crate::shortcut::{Table, Target};

/// The control side of a port.
pub trait Port: Send {
    /// What the port can do, and for what it cannot, why.
    fn capabilities(&self) -> Capabilities;

    /// The receiving ends, one a queue. They are given out once; later calls answer with none.
    fn rx_queues(&mut self) -> Vec<Box<dyn RxQueue>>;

    /// A sending end for one more worker.
    fn tx_queue(&mut self) -> Result<Box<dyn TxQueue>, crate::Error>;

    /// One line a receive queue: how it is bound, and why not better.
    fn queues(&self) -> Vec<QueueStatus>;

    /// What was lost below us, as the kernel tells it.
    fn counters(&self) -> PortCounters;

    /// The address of its interface, if it has one.
    fn mac(&self) -> Option<MacAddr> {
        None
    }

    /// The numbers of the interfaces it stands on: whoever hears of a change to one of them
    /// ([`crate::LinkMonitor`]) calls [`Port::refresh`].
    fn interfaces(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Why it carries no packets for now, although there is nothing wrong with it: its link is
    /// down. As of the last [`Port::refresh`].
    fn why_down(&self) -> Option<String> {
        None
    }

    /// Looks at the interfaces anew, after something about them has changed: the MTU follows, and
    /// an error says why the port can no longer work.
    fn refresh(&mut self) -> Result<(), crate::Error> {
        Ok(())
    }

    /// Takes off the interfaces what would outlive us, when an operator gives the port up. A port
    /// that is merely dropped leaves its programs in place: until a switch comes back, they drop
    /// what is ours (fail closed).
    fn release(&mut self) -> Result<(), crate::Error> {
        Ok(())
    }
}

/// A worker's way in.
pub trait RxQueue: Send {
    /// Appends at most `limit` packets to `batch`. Never waits.
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool);

    /// How to sleep until there is something to receive. Asked before every sleep: a port whose
    /// device goes away, or that found no free frame, answers otherwise than before.
    fn wake(&self) -> Wake<'_>;

    /// System calls made so far.
    fn syscalls(&self) -> u64;

    /// The short-cuts of what comes in here, if it can have any. They are given out once.
    fn short_cuts(&mut self) -> Option<Table> {
        None
    }
}

/// A worker's way out.
pub trait TxQueue: Send {
    /// Takes every packet out of `batch`: on its way, or in `refused` with the reason. Only packets
    /// that the port's capabilities allow are given; never waits.
    fn tx(&mut self, batch: &mut Batch, pool: &mut FramePool, refused: &mut Vec<(Packet, Refusal)>);

    /// Takes back the frames of what has been sent, and urges the kernel on. Answers whether it
    /// must be called again before the worker may sleep.
    fn flush(&mut self, pool: &mut FramePool) -> bool;

    /// System calls made so far.
    fn syscalls(&self) -> u64;
}

/// How a worker sleeps on a queue.
#[derive(Debug)]
pub enum Wake<'a> {
    /// Until this descriptor is readable.
    Readable(BorrowedFd<'a>),
    /// Not at all: there is always something to receive.
    Always,
    /// Nothing will ever come in.
    Never,
}

/// Why a packet was not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The ring, or the device's queue, is full.
    Full,
    /// The device is down or gone.
    Down,
    /// The device does not take frames of this length.
    TooLong,
    /// The kernel said no for another reason.
    Error,
}

/// What a port can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// Takes packets whose checksum is still to be made.
    pub checksum: Capability,
    /// Takes super-frames.
    pub segmentation: Capability,
    /// Takes packets of more than one frame.
    pub chains: Capability,
    /// Moves frames without copying them.
    pub zero_copy: Capability,
    /// Received packets may have a checksum still to be made that nothing marks.
    pub unmarked_partial: bool,
    /// The longest frame, without its VLAN tags: MTU and Ethernet header.
    pub max_frame: usize,
    /// Where short-cuts to this port lead, if there can be any.
    pub short_cut: Option<Target>,
}

/// Something that a port can do, or the reason why not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Capability {
    /// It can.
    Yes,
    /// It cannot, for this reason.
    No(String),
}

impl Capability {
    /// Whether it can.
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// How a receive queue is bound.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueueStatus {
    /// The queue's number.
    pub queue: u32,
    /// The mode it runs in: `zero-copy`, `native`, `generic`, `vnet_hdr`, `memory`.
    pub mode: &'static str,
    /// Why it is no better mode; empty if there is none.
    pub reason: String,
}

/// What was lost below us.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PortCounters {
    /// Dropped by the kernel because our ring was full or had no free frames.
    pub rx_ring_full: u64,
    /// Dropped by the kernel for other reasons.
    pub rx_dropped: u64,
    /// Received, but of no use: descriptors out of bounds, headers that contradict themselves.
    pub rx_invalid: u64,
    /// Not received for want of a free frame.
    pub rx_no_frames: u64,
    /// Handed to the kernel and refused by it.
    pub tx_invalid: u64,
}
