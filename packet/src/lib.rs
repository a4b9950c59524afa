//! What a packet says, and what it is made of.
//!
//! Two halves that the rest of the switch is written in:
//!
//! * **Words.** [`Key`] holds every field a flow can match, at a fixed place ([`Span`]); [`parse`]
//!   fills it from the bytes and says where the headers lie ([`Headers`]). [`mod@compose`] goes the
//!   other way. The header views ([`ipv4::Ipv4`] and its kin) read one header in place.
//! * **Bytes.** [`Memory`] is cut into [`Frame`]s of [`FRAME_SIZE`] bytes; a [`Packet`] is a chain
//!   of them plus the state of its checksum and segmentation, and moves by value, 32 bytes at a
//!   time, from port to port. A frame has one owner, always: nothing here can be in two places.
//!
//! The crate is pure: no clock, no thread, no system call; memory is handed in.

pub mod arp;
mod batch;
pub mod checksum;
pub mod compose;
pub mod ethernet;
mod fragment;
mod headers;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
mod key;
mod mac;
pub mod memory;
mod millis;
pub mod nd;
mod packet;
mod plain;
mod pool;
pub mod sctp;
mod seed;
pub mod segment;
pub mod tcp;
pub mod udp;
pub mod verify;
pub mod vlan;

pub use batch::Batch;
pub use compose::compose;
pub use fragment::{Part, Whole};
pub use headers::{Fragment, HEADER_WINDOW, Headers, Network, Runt, Transport, parse};
pub use key::{Key, Span};
pub use mac::{InvalidMac, MacAddr};
pub use memory::{FRAME_SIZE, Frame, HEADROOM, Memory};
pub use millis::Millis;
pub use packet::{Chainer, Checksum, Kind, Packet, PortId, Segmentation};
pub use plain::{Plain, PlainTcp, PlainUdp};
pub use pool::{Depot, FramePool};
pub use seed::{Folding, Seed};
pub use segment::{carried, mark_partial};
pub use verify::verify;

/// Fewer bytes than a header needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{have} bytes where {need} are needed")]
pub struct Truncated {
    /// What the header takes.
    pub need: usize,
    /// What there was.
    pub have: usize,
}

/// Splits the first `N` bytes off `bytes`, or says how many are missing.
fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Truncated> {
    bytes.split_first_chunk().ok_or(Truncated { need: N, have: bytes.len() })
}
