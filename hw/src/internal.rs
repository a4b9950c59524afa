//! The host's own interface of a bridge: a TAP with a name that the host's kernel can give
//! addresses.

use std::sync::Arc;

use packet::{Depot, MacAddr, PortId};

use crate::error::Error;
use crate::links::Links;
use crate::port::{Capabilities, Port, PortCounters, QueueStatus, RxQueue, TxQueue};
use crate::tap::TapPort;

/// What the interface is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InternalOptions {
    /// Its name, which must be free.
    pub interface: String,
    /// Its MTU.
    pub mtu: u32,
    /// Its address; one of the kernel's choosing if there is none.
    pub mac: Option<MacAddr>,
    /// Whether several packets may go in one system call, by io_uring. Off is for comparison.
    pub batched: bool,
}

impl InternalOptions {
    /// An interface of this name with the usual MTU.
    pub fn new(interface: &str) -> Self {
        Self { interface: interface.to_owned(), mtu: 1500, mac: None, batched: true }
    }
}

/// A port whose other side is the host. The interface goes when the port does.
#[derive(Debug)]
pub struct Internal {
    tap: TapPort,
}

impl Internal {
    /// Makes the interface, and sets it up.
    pub fn open(
        options: &InternalOptions,
        port: PortId,
        depot: &Arc<Depot>,
    ) -> Result<Self, Error> {
        let mut links = Links::open()?;
        let InternalOptions { interface, mtu, mac, batched } = options;
        let mut tap = TapPort::create(&mut links, interface, port, depot, *batched)?;
        if let Some(mac) = mac {
            links.set_mac(&tap.link, *mac)?;
        }
        links.set_mtu(&tap.link, *mtu)?;
        tap.adopt_mtu(*mtu);
        links.set_up(&tap.link, true)?;
        tap.link = links.numbered(tap.link.ifindex, interface)?;
        Ok(Self { tap })
    }
}

impl Port for Internal {
    fn capabilities(&self) -> Capabilities {
        self.tap.capabilities()
    }

    fn rx_queues(&mut self) -> Vec<Box<dyn RxQueue>> {
        self.tap.rx_queues()
    }

    fn tx_queue(&mut self) -> Result<Box<dyn TxQueue>, Error> {
        Ok(self.tap.tx_queue())
    }

    fn queues(&self) -> Vec<QueueStatus> {
        self.tap.queues()
    }

    fn counters(&self) -> PortCounters {
        self.tap.counters()
    }

    fn mac(&self) -> Option<MacAddr> {
        Some(self.tap.link.mac)
    }

    fn interfaces(&self) -> Vec<u32> {
        vec![self.tap.link.ifindex]
    }

    fn why_down(&self) -> Option<String> {
        self.tap.link.why_down()
    }

    fn refresh(&mut self) -> Result<(), Error> {
        let link = Links::open()?.numbered(self.tap.link.ifindex, &self.tap.link.name)?;
        self.tap.adopt_mtu(link.mtu);
        self.tap.link = link;
        Ok(())
    }
}
