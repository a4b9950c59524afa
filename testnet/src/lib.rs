//! What tests are made of: generated packets, network namespaces, real peers.
//!
//! A dev-dependency only; nothing that ships links it.

pub mod packets;
