//! Where frames come from and go to.
//!
//! One small trait, [`Port`], and its two ends: a [`RxQueue`] that one worker polls, a [`TxQueue`] that
//! each worker has of its own.

mod atomics;
pub mod bpf;
mod error;
mod internal;
mod links;
mod loans;
pub mod memory;
mod netlink;
mod pod;
mod port;
mod sys;
mod tap;
mod tc;
mod xdp;

pub use error::Error;
pub use internal::{Internal, InternalOptions};
pub use links::{AttachedProgram, Link, LinkChange, LinkEvent, LinkMonitor, Links};
pub use pod::{Pod, PodOptions};
pub use port::{
    Capabilities, Capability, Port, PortCounters, QueueStatus, Refusal, RxQueue, TxQueue, Wake,
};
pub use xdp::{AfXdp, AfXdpOptions, BindPreference, WhenAway};
