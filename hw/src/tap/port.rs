//! A port made of a TAP: what the ports of kinds `internal` and `pod` have in common.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use packet::{Depot, PortId};

use super::device::Device;
use super::rx::TapRx;
use super::tx::TapTx;
use crate::error::Error;
use crate::links::{Link, Links};
use crate::port::{Capabilities, Capability, PortCounters, QueueStatus, RxQueue, TxQueue};
use crate::shortcut::Table;

/// How many packets a TAP holds for us before it drops: what comes in while a worker is away for
/// two milliseconds at a million packets a second.
const QUEUE_LEN: u32 = 2048;

/// A TAP and what its ends share.
#[derive(Debug)]
pub(crate) struct TapPort {
    pub(crate) link: Link,
    device: Arc<Device>,
    depot: Arc<Depot>,
    rx: Option<TapRx>,
    batched: bool,
    /// Why its queue is no better.
    note: String,
}

impl TapPort {
    /// Makes a TAP called `name`; its interface is still down.
    pub(crate) fn create(
        links: &mut Links,
        name: &str,
        port: PortId,
        depot: &Arc<Depot>,
        batched: bool,
    ) -> Result<Self, Error> {
        let (device, link) = Device::create(name, links)?;
        links.set_tx_queue_len(&link, QUEUE_LEN)?;
        let device = Arc::new(device);
        let rx = Some(TapRx::new(&device, depot, port, batched));
        let note = match device.cuts_udp {
            true => String::new(),
            false => "UDP is cut in software: that needs Linux 6.2".to_owned(),
        };
        Ok(Self { link, device, depot: Arc::clone(depot), rx, batched, note })
    }

    /// From now on, frames of this MTU and no longer ones are sent.
    pub(crate) fn adopt_mtu(&self, mtu: u32) {
        const ETHERNET_LEN: u32 = 14;
        self.device.max_frame.store(mtu + ETHERNET_LEN, Relaxed);
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            checksum: Capability::Yes,
            segmentation: Capability::Yes,
            chains: Capability::Yes,
            zero_copy: Capability::No("the kernel copies what goes through a TAP".to_owned()),
            unmarked_partial: false,
            max_frame: self.device.max_frame.load(Relaxed) as usize,
            short_cut: None,
        }
    }

    /// Notes why its queue is no better.
    pub(crate) fn note(&mut self, why: String) {
        self.note = why;
    }

    /// Packets that come in here can have these short-cuts.
    pub(crate) fn give_short_cuts(&mut self, table: Table) {
        if let Some(rx) = &mut self.rx {
            rx.short_cuts = Some(table);
        }
    }

    pub(crate) fn rx_queues(&mut self) -> Vec<Box<dyn RxQueue>> {
        self.rx.take().map(|rx| Box::new(rx) as Box<dyn RxQueue>).into_iter().collect()
    }

    pub(crate) fn tx_queue(&self) -> Box<dyn TxQueue> {
        Box::new(TapTx::new(&self.device, self.depot.memory(), self.batched))
    }

    pub(crate) fn queues(&self) -> Vec<QueueStatus> {
        vec![QueueStatus { queue: 0, mode: "vnet_hdr", reason: self.note.clone() }]
    }

    pub(crate) fn counters(&self) -> PortCounters {
        // What the interface could not send is what we did not fetch in time.
        let link =
            Links::open().and_then(|mut links| links.numbered(self.link.ifindex, &self.link.name));
        PortCounters {
            rx_ring_full: link.map_or(0, |link| link.tx_dropped),
            rx_dropped: 0,
            rx_invalid: self.device.rx_invalid.load(Relaxed),
            rx_no_frames: self.device.rx_no_frames.load(Relaxed),
            tx_invalid: self.device.tx_invalid.load(Relaxed),
        }
    }
}
