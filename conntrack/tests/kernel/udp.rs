//! Datagrams of UDP.

use proptest::prelude::*;
use proptest::sample::select;

use crate::ends::{Ends, Sender};

/// A datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    data: u16,
    /// It says that it is so much longer, and has no checksum.
    lie: Option<i16>,
}

pub(crate) fn datagram() -> impl Strategy<Value = Datagram> {
    let lie = prop_oneof![9 => Just(None), 1 => select(vec![0, 1, -1, 8, -8, 1000]).prop_map(Some)];
    (select(vec![0, 0, 1, 8, 100]), lie).prop_map(|(data, lie)| Datagram { data, lie })
}

impl Datagram {
    /// Whether it has no checksum.
    pub(crate) const fn is_unsealed(self) -> bool {
        self.lie.is_some()
    }

    const fn len(self) -> u16 {
        self.data + 8
    }

    /// The length that it says it has.
    fn says(self) -> u16 {
        self.len().wrapping_add_signed(self.lie.unwrap_or(0))
    }

    /// Its bytes, without a checksum.
    pub(crate) fn bytes(self, from: Sender, ends: &Ends) -> Vec<u8> {
        let words = [ends.port(from), ends.port(from.other()), self.says(), 0];
        let mut bytes = words.map(u16::to_be_bytes).concat();
        bytes.resize(self.len().into(), 0);
        bytes
    }
}
