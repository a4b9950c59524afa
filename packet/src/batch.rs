//! Packets that travel together.

use std::ops::{Deref, DerefMut};

use crate::packet::Packet;

/// Up to [`Batch::CAPACITY`] packets, in the order they came.
///
/// Dropping a batch that is not empty loses its frames: free them first ([`Packet::free`]).
#[derive(Debug)]
pub struct Batch(Vec<Packet>);

impl Batch {
    /// The most packets a port is asked for at once.
    pub const CAPACITY: usize = 256;

    /// An empty batch with room for all; the only time it allocates.
    pub fn new() -> Self {
        Self(Vec::with_capacity(Self::CAPACITY))
    }
}

impl Default for Batch {
    /// A batch without room, to stand in for one that is taken away for a moment.
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Deref for Batch {
    type Target = Vec<Packet>;
    #[inline]
    fn deref(&self) -> &Vec<Packet> {
        &self.0
    }
}

impl DerefMut for Batch {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<Packet> {
        &mut self.0
    }
}
