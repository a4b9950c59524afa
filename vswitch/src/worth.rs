//! What a packet counts for.

use packet::Packet;

/// What a packet is worth to those it passes: as many packets and bytes as it was when it came in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worth {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Worth {
    #[inline]
    pub(crate) const fn of(packet: &Packet) -> Self {
        if packet.segmentation.segments == 0 {
            return Self { packets: 1, bytes: packet.len() as u64 };
        }
        Self::of_many(packet)
    }

    /// That of one which stands for several.
    #[cold]
    const fn of_many(packet: &Packet) -> Self {
        Self { packets: packet.packets(), bytes: packet.wire_bytes() }
    }
}
