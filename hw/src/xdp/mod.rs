//! AF_XDP: packets between a device's queues and our frames, through rings shared with the kernel.
//!
//! A port binds one socket to every receive queue of its interface ([`port`]); the program in front
//! of them hands each packet to the socket of its queue ([`program`]). Per queue there are four
//! rings ([`ring`]):
//!
//! ```text
//!            frames for packets to come         frames with packets
//!   worker ---------- fill ----------> kernel ---------- rx ---------> worker     (rx.rs)
//!   worker <------ completion -------- kernel <--------- tx ---------- worker     (tx.rs)
//!            frames that have been sent         frames with packets
//! ```
//!
//! Every further worker has a tx ring of its own, on a further socket of the same queue, so that
//! sending takes no lock. What all of them have sent comes back in the queue's one completion ring,
//! which whoever comes by empties, into a pool of his own: frames do not belong to workers.

mod binding;
mod estate;
mod port;
mod program;
pub(crate) mod ring;
mod rx;
mod shared;
mod socket;
mod tx;

pub(crate) use binding::take_off_left;
pub(crate) use estate::Estate;

pub use binding::{AfXdpOptions, BindPreference};
pub use port::AfXdp;
pub use program::WhenAway;
