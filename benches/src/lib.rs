//! What the switch is measured with: a packet generator, and measurements beside its peers.
//!
//! [`pktgen`] is the generator, [`harness`] the measurements.

pub mod clock;
pub mod harness;
pub mod pktgen;
