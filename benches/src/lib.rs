//! What the switch is measured with: a packet generator, and measurements beside its peers.
//!
//! [`pktgen`] is the generator.

pub mod clock;
pub mod pktgen;
