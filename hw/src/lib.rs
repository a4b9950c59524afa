//! Where frames come from and go to.
//!
//! One small trait, [`Port`], and its two ends: a [`RxQueue`] that one worker polls, a [`TxQueue`] that
//! each worker has of its own.

mod port;

pub use port::{
    Capabilities, Capability, Port, PortCounters, QueueStatus, Refusal, RxQueue, TxQueue, Wake,
};
