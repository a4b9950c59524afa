//! A connection as a packet has found it, for whoever expects more of the kind and need not look it up
//! for each.

use crate::Direction;
use crate::table::ConnectionId;

/// What flows were told of a settled connection when a packet passed that goes this way: as long as it
/// stands, they would be told the same again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, bytemuck::Zeroable)]
#[repr(C)]
pub struct Standing {
    id: ConnectionId,
    /// How often what is noted about it had changed; the last bit is the direction.
    rest: u32,
}

impl Standing {
    pub(crate) const fn new(id: ConnectionId, direction: Direction, version: u32) -> Self {
        Self { id, rest: version << 1 | direction as u32 }
    }

    /// The connection.
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Which way the packets go.
    pub const fn direction(&self) -> Direction {
        if self.rest & 1 == 0 { Direction::Original } else { Direction::Reply }
    }

    /// Whether a connection of this version is as it was.
    pub(crate) const fn is_of(&self, version: u32) -> bool {
        self.rest >> 1 == version << 1 >> 1
    }
}
