//! Credit for what packets pass.

use flowtable::{Millis, PathId, Paths};
use packet::Packet;

/// What a packet is worth to those it passes: as many packets and bytes as it was when it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worth {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Worth {
    #[inline]
    pub(crate) const fn of(packet: &Packet) -> Self {
        Self { packets: packet.packets(), bytes: packet.wire_bytes() }
    }
}

/// Credit that is given together: packets in a row that pass the same path.
#[derive(Debug)]
pub(crate) struct Tally {
    path: Option<PathId>,
    packets: u64,
    bytes: u64,
    pub(crate) now: Millis,
}

impl Tally {
    pub(crate) const fn new(now: Millis) -> Self {
        Self { path: None, packets: 0, bytes: 0, now }
    }

    #[inline]
    pub(crate) fn count(&mut self, path: PathId, worth: Worth, paths: &Paths) {
        if self.path != Some(path) {
            self.settle(paths);
            self.path = Some(path);
        }
        self.packets += worth.packets;
        self.bytes += worth.bytes;
    }

    #[inline]
    pub(crate) fn settle(&mut self, paths: &Paths) {
        if let Some(path) = self.path.take() {
            paths.credit(path, self.packets, self.bytes, self.now);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}
