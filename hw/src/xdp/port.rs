//! An AF_XDP port: a device whose every receive queue has a socket of ours.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use packet::{Depot, FramePool, HEADROOM, MacAddr, PortId};
use parking_lot::Mutex;

use super::binding::{AfXdpOptions, Binding, BoundQueue};
use super::program::{self, Attachment};
use super::rx::Rx;
use super::shared::{Queue, Sender, Shared};
use super::socket::{BindMode, CHUNK_LEN, Socket};
use super::tx::{MAX_CHAIN, Tx};
use crate::bpf::SocketMap;
use crate::error::Error;
use crate::links::{Link, Links, XdpPlace};
use crate::loans::Loans;
use crate::port::{Capabilities, Capability, Port, PortCounters, QueueStatus, RxQueue, TxQueue};
use crate::sys;

/// An open AF_XDP port.
#[derive(Debug)]
pub struct AfXdp {
    pub(crate) link: Link,
    pub(crate) attachment: Attachment,
    pub(crate) map: SocketMap,
    pub(crate) mode: BindMode,
    pub(crate) ring_size: u32,
    pub(crate) shared: Arc<Shared>,
    reason: String,
    /// Ends that have not been given out.
    pub(crate) rx: Vec<Rx>,
    /// How many further sockets send, which go round the queues.
    further_senders: usize,
}

impl AfXdp {
    /// Takes the interface over: its program, and every receive queue.
    ///
    /// The frames of `depot` must come from [`crate::memory`]. Cost: registers the whole memory,
    /// which then stays where it is: some milliseconds for each 16 MiB.
    pub fn open(options: &AfXdpOptions, port: PortId, depot: &Arc<Depot>) -> Result<Self, Error> {
        let binding = Binding::new(options, depot.memory())?;
        let before = binding.link.clone();
        let mut this = Self::assemble(binding, port, depot);
        this.adopt_mtu().and_then(|()| this.begin()).inspect_err(|_| {
            if let Ok(mut links) = Links::open() {
                Binding::undo(&mut links, &before);
            }
        })?;
        Ok(this)
    }

    /// Makes the ends for what is bound.
    pub(crate) fn assemble(binding: Binding, port: PortId, depot: &Arc<Depot>) -> Self {
        let Binding { link, attachment, map, mode, reason, ring_size, queues } = binding;
        let (mut ends, mut shared_queues, mut senders) = (Vec::new(), Vec::new(), Vec::new());
        for (queue, bound) in queues.into_iter().enumerate() {
            let BoundQueue { fill, completion, rx, tx, socket } = bound;
            let socket = Arc::new(socket);
            ends.push(((fill, rx), Arc::clone(&socket)));
            senders.push(Sender { queue, socket: Arc::clone(&socket), ring: tx });
            shared_queues.push(Queue { socket, completion: Mutex::new(completion) });
        }
        // They are taken from the end: the first worker shall get the first queue's.
        senders.reverse();
        let shared = Arc::new(Shared {
            loans: Loans::new(depot.memory()),
            depot: Arc::clone(depot),
            queues: shared_queues,
            spare_senders: Mutex::new(senders),
            further_sockets: Mutex::new(Vec::new()),
            invalid: AtomicU64::new(0),
            max_frame: AtomicU32::new(0),
            handed_over: AtomicBool::new(false),
        });
        let rx = ends
            .into_iter()
            .map(|(rings, socket)| Rx::new(rings, &socket, &shared, port, attachment.tags))
            .collect();
        Self { link, attachment, map, mode, ring_size, shared, reason, rx, further_senders: 0 }
    }

    /// Gives the kernel frames, and then lets packets come.
    fn begin(&mut self) -> Result<(), Error> {
        let mut pool = FramePool::new(&self.shared.depot);
        self.rx.iter_mut().for_each(|rx| rx.refill(&mut pool));
        self.shared.queues.iter().try_for_each(|Queue { socket, .. }| {
            self.map.set(socket.queue(), socket.as_fd()).map_err(|errno| {
                Error::interface(&self.link.name, "leading packets to a socket", errno)
            })
        })
    }

    /// Follows the interface's MTU, unless that is too long for how we are bound.
    pub(crate) fn adopt_mtu(&self) -> Result<(), Error> {
        /// Bytes of an Ethernet header.
        const ETHERNET_LEN: u32 = 14;
        /// Bytes of a VLAN tag.
        const TAG_LEN: u32 = 4;
        /// Bytes of a received packet in one frame: what the kernel leaves of it.
        const FIRST_LEN: u32 = CHUNK_LEN - HEADROOM as u32;
        let mtu = self.link.mtu;
        let in_band = if self.attachment.tags { 0 } else { TAG_LEN };
        let limit = FIRST_LEN - ETHERNET_LEN - in_band;
        if mtu > limit && !(self.mode.chains && self.attachment.fragments) {
            let reason = "longer packets take several frames, which need Linux 6.6 and native XDP";
            return Err(Error::MtuTooLong {
                interface: self.link.name.clone(),
                mtu,
                limit,
                reason,
            });
        }
        let most = FIRST_LEN + (MAX_CHAIN - 1) * CHUNK_LEN;
        self.shared.max_frame.store((mtu + ETHERNET_LEN).min(most), Relaxed);
        Ok(())
    }

    /// A further socket that only sends, on one queue after the other.
    fn further_sender(&mut self) -> Result<Sender, Error> {
        let queue = self.further_senders % self.shared.queues.len();
        self.further_senders += 1;
        let first = &self.shared.queues[queue].socket;
        let socket = Socket::new(&self.link.name, self.link.ifindex, first.queue())?;
        let ring = socket.tx_ring(self.ring_size)?;
        socket.bind_like(first)?;
        let socket = Arc::new(socket);
        self.shared.further_sockets.lock().push(Arc::clone(&socket));
        Ok(Sender { queue, socket, ring })
    }

    /// Adds a further sender that a predecessor has made.
    pub(crate) fn adopt_sender(&mut self, sender: Sender) {
        self.further_senders += 1;
        self.shared.further_sockets.lock().push(Arc::clone(&sender.socket));
        // At the front: they are taken from the end, where the queues' own are.
        self.shared.spare_senders.lock().insert(0, sender);
    }
}

impl Port for AfXdp {
    fn capabilities(&self) -> Capabilities {
        let generic = self.attachment.program.place == XdpPlace::Generic;
        let no_offload = "AF_XDP tells nothing about checksums and segments along with a packet";
        let chains = match self.mode.chains {
            true => Capability::Yes,
            false => Capability::No("packets of several frames need Linux 6.6".to_owned()),
        };
        let zero_copy = match self.mode.zero_copy {
            true => Capability::Yes,
            false if self.reason.is_empty() => {
                Capability::No("the port was added with a mode that copies".to_owned())
            }
            false => Capability::No(self.reason.clone()),
        };
        Capabilities {
            checksum: Capability::No(no_offload.to_owned()),
            segmentation: Capability::No(no_offload.to_owned()),
            chains,
            zero_copy,
            // A virtual device's packets come from a stack that leaves checksums to "the device".
            unmarked_partial: !self.link.kind.is_empty() || generic,
            max_frame: self.shared.max_frame.load(Relaxed) as usize,
            short_cut: None,
        }
    }

    fn rx_queues(&mut self) -> Vec<Box<dyn RxQueue>> {
        self.rx.drain(..).map(|rx| Box::new(rx) as Box<dyn RxQueue>).collect()
    }

    fn tx_queue(&mut self) -> Result<Box<dyn TxQueue>, Error> {
        let spare = self.shared.spare_senders.lock().pop();
        let sender = match spare {
            Some(sender) => sender,
            None => self.further_sender()?,
        };
        Ok(Box::new(Tx::new(sender, Arc::clone(&self.shared))))
    }

    fn queues(&self) -> Vec<QueueStatus> {
        let mode = match (self.mode.zero_copy, self.attachment.program.place) {
            (true, _) => "zero-copy",
            (false, XdpPlace::Native) => "native",
            (false, XdpPlace::Generic) => "generic",
        };
        let queues = self.shared.queues.iter();
        queues
            .map(|queue| QueueStatus {
                queue: queue.socket.queue(),
                mode,
                reason: self.reason.clone(),
            })
            .collect()
    }

    fn counters(&self) -> PortCounters {
        let mut counters = PortCounters {
            rx_invalid: self.shared.invalid.load(Relaxed),
            ..PortCounters::default()
        };
        let further = self.shared.further_sockets.lock();
        let sockets = self.shared.queues.iter().map(|queue| &queue.socket).chain(further.iter());
        for statistics in sockets.filter_map(|socket| socket.statistics()) {
            counters.rx_ring_full += statistics.rx_ring_full.unwrap_or(0);
            counters.rx_dropped += statistics.rx_dropped;
            counters.rx_invalid += statistics.rx_invalid_descs;
            counters.rx_no_frames += statistics.rx_fill_ring_empty_descs.unwrap_or(0);
            counters.tx_invalid += statistics.tx_invalid_descs;
        }
        counters
    }

    fn mac(&self) -> Option<MacAddr> {
        Some(self.link.mac)
    }

    fn interfaces(&self) -> Vec<u32> {
        vec![self.link.ifindex]
    }

    fn why_down(&self) -> Option<String> {
        self.link.why_down()
    }

    fn refresh(&mut self) -> Result<(), Error> {
        let link = Links::open()?.numbered(self.link.ifindex, &self.link.name)?;
        let broken = |reason| Err(Error::Spec { port: self.link.name.clone(), reason });
        match link.program {
            Some(program) if program.id == self.attachment.program.id => {}
            Some(other) => {
                return Err(Error::ForeignProgram { interface: link.name, id: other.id });
            }
            None => {
                return broken("its XDP program has been taken off; open it again".to_owned());
            }
        }
        let bound = self.shared.queues.len();
        if let Ok(active) = sys::active_rx_queues(&link.name)
            && active as usize != bound
        {
            return broken(format!("{active} receive queues, {bound} are bound; open it again"));
        }
        self.link = link;
        self.adopt_mtu()
    }

    fn release(&mut self) -> Result<(), Error> {
        let mut links = Links::open()?;
        match links.numbered(self.link.ifindex, &self.link.name) {
            Ok(link) => program::detach(&mut links, &link, self.attachment.program.id),
            // What is gone has taken everything with it.
            Err(Error::NoInterface { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
