//! A pod's port: a veth that stays where everybody expects it, and a TAP of ours beside it.
//!
//! ```text
//!   pod            |  the switch's namespace
//!   eth0 ----------+-- veth     --(tc: vswitch_up)--> vstNN   --- descriptor ---> the switch
//!     ^            |
//!     +--------------(tc: vswitch_down)-------------- vstNN   <-- descriptor ---- the switch
//! ```
//!
//! What the pod sends arrives at the host's end of its veth; a program there redirects all of it to
//! the pod's TAP, whose other side is ours, but for what has a [short-cut](crate::shortcut). What we
//! write into the TAP, a program there redirects straight to the pod's end. Checksums not yet made
//! and super-frames not yet cut pass both ways as they are.
//!
//! When the switch dies, the TAP vanishes and the first program leads nowhere: packets are dropped,
//! the pod keeps its interface and addresses, and a new switch puts new programs in the places of
//! the old. Why it is built so: `docs/src/decisions/0002-pod-port.md`.

use std::sync::Arc;

use packet::{Depot, MacAddr, PortId};

use crate::bpf::{Code, Kind, Program, Register::*};
use crate::error::Error;
use crate::links::{Link, Links};
use crate::port::{Capabilities, Port, PortCounters, QueueStatus, RxQueue, TxQueue};
use crate::shortcut::{self, Generation, Table, Target};
use crate::tap::TapPort;
use crate::tc::{self, Hook};
use crate::xdp;

/// Which pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodOptions {
    /// The host's end of the pod's veth.
    pub interface: String,
    /// Whether several packets may go in one system call, by io_uring. Off is for comparison.
    pub batched: bool,
}

impl PodOptions {
    /// The pod whose veth has its host's end called `interface`.
    pub fn new(interface: &str) -> Self {
        Self { interface: interface.to_owned(), batched: true }
    }
}

/// A port to a pod.
#[derive(Debug)]
pub struct Pod {
    veth: Link,
    tap: TapPort,
    /// What the veth had dropped before it was ours.
    dropped_before: u64,
}

impl Pod {
    /// Leads all that the pod sends to the switch, and what the switch sends to the pod. With a
    /// `generation`, there can be short-cuts.
    pub fn open(
        options: &PodOptions,
        port: PortId,
        depot: &Arc<Depot>,
        generation: Option<&Arc<Generation>>,
    ) -> Result<Self, Error> {
        let mut links = Links::open()?;
        let veth = links.named(&options.interface)?;
        if veth.kind != "veth" {
            let reason = match veth.kind.as_str() {
                "" => "is no veth but a real device: use kind afxdp",
                _ => "is no veth",
            };
            let (port, reason) = (options.interface.clone(), reason.to_owned());
            return Err(Error::Spec { port, reason });
        }
        xdp::take_off_left(&mut links, &veth, depot.memory())?;
        let name = format!("vst{}", veth.ifindex);
        let mut tap = TapPort::create(&mut links, &name, port, depot, options.batched)?;
        // The TAP is no interface that the host should use: it gets no address and says nothing.
        links.set_unaddressed(&tap.link)?;
        links.set_mtu(&tap.link, veth.mtu)?;
        tc::without_queue(&tap.link)?;
        tap.adopt_mtu(veth.mtu);
        tc::attach(&tap.link, Hook::Ingress, "vswitch_down", &redirect_to_peer(&veth)?)?;
        links.set_up(&tap.link, true)?;
        let short_cuts = generation.map(|generation| {
            let table = Table::new(generation, &veth, tc::is_ours(&veth, Hook::Ingress)?)?;
            Ok((shortcut::program(tap.link.ifindex, &table)?, table))
        });
        let up = match short_cuts.transpose() {
            Ok(Some((program, table))) => {
                tap.give_short_cuts(table);
                program
            }
            Ok(None) => redirect(&tap.link)?,
            Err::<_, Error>(why) => {
                tap.note(format!("no short-cuts: {why}"));
                redirect(&tap.link)?
            }
        };
        // Last, so that packets come when all else is ready.
        tc::attach(&veth, Hook::Ingress, "vswitch_up", &up)?;
        links.set_up(&veth, true)?;
        tap.link = links.numbered(tap.link.ifindex, &tap.link.name)?;
        let veth = links.numbered(veth.ifindex, &veth.name)?;
        Ok(Self { dropped_before: veth.rx_dropped, veth, tap })
    }
}

/// A program that sends every packet out by `to`.
fn redirect(to: &Link) -> Result<Program, Error> {
    const REDIRECT: i32 = 23;
    let code = Code::new().set(R1, to.ifindex.cast_signed()).set(R2, 0).call(REDIRECT).exit();
    Program::load("vswitch_up", Kind::Tc, &code)
}

/// A program that has the other end of `veth`, in another namespace, receive every packet (Linux
/// 5.10).
fn redirect_to_peer(veth: &Link) -> Result<Program, Error> {
    const REDIRECT_PEER: i32 = 155;
    let code =
        Code::new().set(R1, veth.ifindex.cast_signed()).set(R2, 0).call(REDIRECT_PEER).exit();
    Program::load("vswitch_down", Kind::Tc, &code)
}

impl Port for Pod {
    fn capabilities(&self) -> Capabilities {
        let capabilities = self.tap.capabilities();
        let max_frame = u32::try_from(capabilities.max_frame).unwrap_or(0);
        let target = Target { ifindex: self.veth.ifindex, max_frame };
        Capabilities { short_cut: Some(target), ..capabilities }
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
        let veth =
            Links::open().and_then(|mut links| links.numbered(self.veth.ifindex, &self.veth.name));
        // Packets for a processor that has too many waiting, before any program sees them.
        let dropped = veth.map_or(0, |veth| veth.rx_dropped.saturating_sub(self.dropped_before));
        let counters = self.tap.counters();
        PortCounters { rx_dropped: counters.rx_dropped + dropped, ..counters }
    }

    fn mac(&self) -> Option<MacAddr> {
        Some(self.veth.mac)
    }

    fn interfaces(&self) -> Vec<u32> {
        vec![self.veth.ifindex, self.tap.link.ifindex]
    }

    fn why_down(&self) -> Option<String> {
        self.veth.why_down()
    }

    fn refresh(&mut self) -> Result<(), Error> {
        let mut links = Links::open()?;
        let veth = links.numbered(self.veth.ifindex, &self.veth.name)?;
        let tap = links.numbered(self.tap.link.ifindex, &self.tap.link.name)?;
        if tap.mtu != veth.mtu {
            links.set_mtu(&tap, veth.mtu)?;
        }
        self.tap.adopt_mtu(veth.mtu);
        (self.veth, self.tap.link) = (veth, tap);
        Ok(())
    }

    fn release(&mut self) -> Result<(), Error> {
        // The program at the TAP goes with it.
        tc::detach(&self.veth, Hook::Ingress)
    }
}
