//! What a TCP segment says, as far as a connection cares (RFC 9293 §3.1).

use packet::tcp::{self, Tcp};

/// A TCP segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// By its flags.
    pub kind: Kind,
    /// Whether it acknowledges anything.
    pub has_ack: bool,
    /// Its first sequence number.
    pub seq: u32,
    /// The sequence number behind it: SYN and FIN have one each.
    pub end: u32,
    /// What it acknowledges.
    pub ack: u32,
    /// The highest number that it says has arrived: `ack`, or the end of a block behind that
    /// (RFC 2018 §3).
    pub sack: u32,
    /// The window it offers, as it stands in the header.
    pub window: u16,
    /// Whether it has options at all.
    pub has_options: bool,
    /// How it wants its windows to be scaled, 14 at most (RFC 7323 §2.3).
    pub scale: Option<u8>,
    /// Whether it allows selective acknowledgements.
    pub allows_sack: bool,
}

/// What a segment is for, by the flag that matters most.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Opens.
    Syn,
    /// Opens the other way.
    SynAck,
    /// Closes one way.
    Fin,
    /// Acknowledges, and perhaps carries data.
    Ack,
    /// Ends the connection.
    Rst,
}

/// Why bytes are no TCP segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// It is cut off.
    #[error("the header is cut off")]
    Truncated,
    /// The header ends within itself, or behind the packet.
    #[error("the data offset is a lie")]
    DataOffset,
    /// No endpoint sends these flags together.
    #[error("the flags contradict each other")]
    Flags,
}

impl Segment {
    /// Reads a segment from its first byte on. `len` is how long it is, of which `bytes` must hold at
    /// least the header.
    #[inline]
    pub fn read(bytes: &[u8], len: usize) -> Result<Self, Malformed> {
        let (header, rest) = Tcp::split(bytes).ok().ok_or(Malformed::Truncated)?;
        let options_len = header.header_len().checked_sub(tcp::LEN).ok_or(Malformed::DataOffset)?;
        let data_len = len.checked_sub(header.header_len()).ok_or(Malformed::DataOffset)?;
        let options = rest.get(..options_len).ok_or(Malformed::Truncated)?;
        let flags = header.flags();
        let kind = Kind::of(flags).ok_or(Malformed::Flags)?;
        // No packet is as long as half of all sequence numbers.
        let data_len = u32::try_from(data_len).ok().filter(|len| *len < 1 << 31);
        let data_len = data_len.ok_or(Malformed::DataOffset)?;
        let number = |flag| u32::from(flags & flag != 0);
        let numbered = data_len + number(tcp::SYN) + number(tcp::FIN);
        // Before the rest, which is not to be kept in memory meanwhile.
        let Options { sack, scale, allows_sack } = Options::read(options, header.ack());
        Ok(Self {
            kind,
            has_ack: flags & tcp::ACK != 0,
            seq: header.seq(),
            end: header.seq().wrapping_add(numbered),
            ack: header.ack(),
            sack,
            window: header.window(),
            has_options: !options.is_empty(),
            scale,
            allows_sack,
        })
    }
}

/// What options say.
#[derive(Clone, Copy, Debug)]
struct Options {
    sack: u32,
    scale: Option<u8>,
    allows_sack: bool,
}

impl Options {
    /// Reads those of a segment that acknowledges this.
    #[inline]
    fn read(options: &[u8], ack: u32) -> Self {
        let none = Self { sack: ack, scale: None, allows_sack: false };
        if options.is_empty() { none } else { none.and(options) }
    }

    /// Reads them up to the first that makes no sense: it ends them, as it does for endpoints.
    #[inline(never)]
    fn and(mut self, mut options: &[u8]) -> Self {
        let mut has_blocks = false;
        while let [kind, rest @ ..] = options {
            let (value, behind) = match (*kind, rest) {
                (option::END, _) => return self,
                (option::NOP, _) => {
                    options = rest;
                    continue;
                }
                (_, [len, rest @ ..]) => {
                    let len = usize::from(*len).checked_sub(2);
                    match len.and_then(|len| rest.split_at_checked(len)) {
                        Some(parts) => parts,
                        None => return self,
                    }
                }
                _ => return self,
            };
            match (*kind, value) {
                (option::SCALE, [scale]) => self.scale = Some((*scale).min(option::MAX_SCALE)),
                (option::ALLOWS_SACK, []) => self.allows_sack = true,
                // Behind the first one that has some, none counts.
                (option::SACK, blocks) if !has_blocks => has_blocks = self.read_blocks(blocks),
                _ => {}
            }
            options = behind;
        }
        self
    }

    /// Reads blocks; answers whether there were any.
    fn read_blocks(&mut self, blocks: &[u8]) -> bool {
        let (blocks, []) = blocks.as_chunks::<8>() else { return false };
        for [_, _, _, _, end @ ..] in blocks {
            let end = u32::from_be_bytes(*end);
            if before(self.sack, end) {
                self.sack = end;
            }
        }
        !blocks.is_empty()
    }
}

/// Options (RFC 9293 §3.1, RFC 7323 §2.2, RFC 2018 §2 and 3).
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const SCALE: u8 = 3;
    pub(super) const ALLOWS_SACK: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const MAX_SCALE: u8 = 14;
}

impl Kind {
    /// Every kind, in order.
    pub(crate) const ALL: [Self; 5] = [Self::Syn, Self::SynAck, Self::Fin, Self::Ack, Self::Rst];

    /// The kind of a segment with these flags; `None` if no endpoint sends them together.
    const fn of(flags: u16) -> Option<Self> {
        const URG: u16 = 0x20;
        const SYN_ACK: u16 = tcp::SYN | tcp::ACK;
        const FIN_ACK: u16 = tcp::FIN | tcp::ACK;
        const RST_ACK: u16 = tcp::RST | tcp::ACK;
        let urgent = flags & URG != 0;
        match flags & (tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK) {
            tcp::SYN => Some(Self::Syn),
            SYN_ACK if !urgent => Some(Self::SynAck),
            FIN_ACK => Some(Self::Fin),
            tcp::ACK => Some(Self::Ack),
            tcp::RST | RST_ACK if !urgent => Some(Self::Rst),
            _ => None,
        }
    }
}

/// Whether one sequence number comes before another, which is less than half of all away
/// (RFC 9293 §3.4).
pub(crate) const fn before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) >> 31 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A segment with these flags and options, of 100 bytes of data.
    fn read(flags: u16, options: &[u8]) -> Result<Segment, Malformed> {
        let mut bytes = vec![0; tcp::LEN];
        bytes[tcp::SEQ..][..4].copy_from_slice(&7u32.to_be_bytes());
        let words = u16::try_from(options.len().div_ceil(4) + 5).unwrap();
        bytes[tcp::FLAGS..][..2].copy_from_slice(&(words << 12 | flags).to_be_bytes());
        bytes.extend(options);
        bytes.resize(usize::from(words) * 4, 0);
        let len = bytes.len() + 100;
        Segment::read(&bytes, len)
    }

    #[test]
    fn flags_that_contradict_each_other_are_none() {
        let kind = |flags| read(flags, &[]).map(|segment| segment.kind);
        assert_eq!(kind(tcp::SYN), Ok(Kind::Syn));
        assert_eq!(kind(tcp::ACK | tcp::PSH), Ok(Kind::Ack));
        assert_eq!(kind(tcp::FIN | tcp::ACK), Ok(Kind::Fin));
        for flags in [0, tcp::FIN, tcp::SYN | tcp::FIN, tcp::SYN | tcp::RST, 0xfff] {
            assert_eq!(kind(flags), Err(Malformed::Flags), "{flags:#x}");
        }
    }

    #[test]
    fn syn_and_fin_have_a_number_each() {
        assert_eq!(read(tcp::ACK, &[]).unwrap().end, 107);
        assert_eq!(read(tcp::FIN | tcp::ACK, &[]).unwrap().end, 108);
    }

    #[test]
    fn options_end_at_the_first_that_makes_no_sense() {
        let scale = |options: &[u8]| read(tcp::SYN, options).unwrap().scale;
        assert_eq!(scale(&[1, 3, 3, 7]), Some(7));
        assert_eq!(scale(&[3, 3, 200, 0]), Some(14));
        for options in [&[0, 3, 3, 7][..], &[8, 1, 3, 3, 7], &[8, 99, 3, 3, 7], &[3, 2, 7, 0]] {
            assert_eq!(scale(options), None, "{options:?}");
        }
    }

    #[test]
    fn what_arrived_behind_a_gap_counts() {
        let block = |end: u32| [&[1, 1, 5, 10, 0, 0, 0, 0][..], &end.to_be_bytes()].concat();
        assert_eq!(read(tcp::ACK, &block(500)).unwrap().sack, 500);
        assert_eq!(read(tcp::ACK, &block(0x9000_0000)).unwrap().sack, 0, "that is before");
    }

    proptest! {
        #[test]
        fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..80), len: usize) {
            if let Ok(segment) = Segment::read(&bytes, len) {
                prop_assert!(segment.end.wrapping_sub(segment.seq) <= 1 << 31);
            }
        }
    }
}
