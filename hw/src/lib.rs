//! Where frames come from and go to.
//!
//! One small trait, [`Port`], and its two ends: a [`RxQueue`] that one worker polls, a [`TxQueue`]
//! that each worker has of its own. Kinds of ports, all made by [`open()`]:
//!
//! | kind | made of | offloads | copies |
//! |---|---|---|---|
//! | [`AfXdp`] | a device's queues | none | none, if the driver can |
//! | [`Pod`] | a pod's veth, and a TAP | all | one each way |
//! | [`Internal`] | a TAP with a name for the host | all | one each way |
//! | [`Pcap`] | capture files | none | one each way |
//! | [`Null`] | nothing | all | none |
//! | [`Dummy`] | a test's handle | as the test says | one each way |
//!
//! Everything works with CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_IPC_LOCK alone. What a device
//! carries for us stays when our process ends, and drops what is ours, until a port is given up by
//! [`Port::release`].

mod addresses;
mod atomics;
pub mod bpf;
mod dummy;
mod error;
mod internal;
mod large;
mod links;
mod loans;
pub mod memory;
mod monitor;
mod netlink;
mod null;
mod open;
mod pcap;
mod pod;
mod port;
pub mod shortcut;
mod sys;
mod takeover;
mod tap;
pub mod tc;
mod xdp;

pub use addresses::AddressMonitor;
pub use dummy::{Dummy, DummyHandle, Injected};
pub use error::Error;
pub use internal::{Internal, InternalOptions};
pub use large::LargeInHugePages;
pub use links::{AttachedProgram, Link, Links, XdpPlace};
pub use monitor::{LinkChange, LinkEvent, LinkMonitor};
pub use null::Null;
pub use open::{Context, PortKind, PortSpec, open};
pub use pcap::{Pcap, PcapOptions};
pub use pod::{Pod, PodOptions};
pub use port::{
    Capabilities, Capability, Port, PortCounters, QueueStatus, Refusal, RxQueue, TxQueue, Wake,
};
pub use takeover::Handover;
pub use xdp::{AfXdp, AfXdpOptions, BindPreference, WhenAway};
