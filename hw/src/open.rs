//! Opening a port of any kind from its description.

use std::sync::Arc;

use packet::{Depot, PortId};

use crate::dummy::{Dummy, DummyHandle};
use crate::error::Error;
use crate::internal::{Internal, InternalOptions};
use crate::null::Null;
use crate::pcap::{Pcap, PcapOptions};
use crate::pod::{Pod, PodOptions};
use crate::port::Port;
use crate::shortcut::Generation;
use crate::xdp::{AfXdp, AfXdpOptions};

/// A port as it is to be.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// The switch-wide number that its packets carry.
    pub id: PortId,
    /// What it is made of.
    pub kind: PortKind,
}

/// What ports can be made of.
#[derive(Clone, Debug)]
pub enum PortKind {
    /// A device's queues, by AF_XDP.
    AfXdp(AfXdpOptions),
    /// A pod's veth.
    Pod(PodOptions),
    /// An interface for the host itself.
    Internal(InternalOptions),
    /// Capture files.
    Pcap(PcapOptions),
    /// Nothing: a sink.
    Null,
    /// A test's handle.
    Dummy(DummyHandle),
}

/// Where a port lives.
#[derive(Clone, Debug)]
pub struct Context {
    /// The frames of all ports. Ports of kind [`PortKind::AfXdp`] need it to come from
    /// [`crate::memory::map`].
    pub depot: Arc<Depot>,
    /// What ends the short-cuts between pods; without it there are none.
    pub generation: Option<Arc<Generation>>,
}

/// Opens the port that `spec` describes, on interfaces of the calling thread's network namespace.
///
/// Needs CAP_NET_ADMIN and CAP_NET_RAW, for AF_XDP and pods CAP_BPF as well, and for AF_XDP
/// CAP_IPC_LOCK, or a memory limit above the size of the packet memory. A port that could not be
/// opened has left nothing behind.
pub fn open(spec: &PortSpec, context: &Context) -> Result<Box<dyn Port>, Error> {
    let (id, depot) = (spec.id, &context.depot);
    Ok(match &spec.kind {
        PortKind::AfXdp(options) => Box::new(AfXdp::open(options, id, depot)?),
        PortKind::Pod(options) => {
            Box::new(Pod::open(options, id, depot, context.generation.as_ref())?)
        }
        PortKind::Internal(options) => Box::new(Internal::open(options, id, depot)?),
        PortKind::Pcap(options) => Box::new(Pcap::open(options, id)?),
        PortKind::Null => Box::new(Null::new()),
        PortKind::Dummy(handle) => Box::new(Dummy::new(handle, id)),
    })
}
