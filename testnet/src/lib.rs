//! What tests are made of: generated packets, network namespaces, real peers.
//!
//! A dev-dependency only; nothing that ships links it.

pub mod net;
pub mod packets;

pub use net::{Host, HostOptions, TestNet};
