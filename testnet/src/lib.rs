//! What tests are made of: generated packets, network namespaces, real peers.
//!
//! A dev-dependency only; nothing that ships links it.

pub mod net;
pub mod nobody;
pub mod packets;

pub use net::{Host, HostOptions, TestNet};
pub use nobody::{FOUR_CAPABILITIES, Nobody};

/// Waits until something is so, for five seconds.
///
/// # Panics
/// If it is not so then, whatever it was: a test has failed.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(is_so(), "not within five seconds: {what}");
}
