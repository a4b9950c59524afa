//! The switch.

pub mod account;
pub mod act;
pub mod capture;
pub mod clock;
pub mod counters;
pub mod desk;
pub mod dump;
pub mod outputs;
pub mod publish;
pub mod session;
pub mod sleep;
mod sync;
pub mod worker;
