//! What a packet of SCTP says, as far as a connection cares: its chunks (RFC 9260 §3).

use packet::sctp;

/// The chunks of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bundle {
    /// The verification tag: the side that it goes to has named it.
    pub tag: u32,
    /// The tag that an INIT or INIT ACK names, if it is one: what its sender wants to be met with.
    pub named: u32,
    /// The chunks that may change something, in order.
    pub(crate) chunks: [Option<Chunk>; MOST],
    /// Whether there is data among the others.
    pub has_data: bool,
    /// Whether there are others: data, what acknowledges data, and what nobody knows.
    pub has_others: bool,
}

/// A chunk that may change something.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Chunk {
    /// Opens.
    Init,
    /// Answers that.
    InitAck,
    /// Ends the association.
    Abort(Tag),
    /// Begins to close it.
    Shutdown,
    /// Answers that.
    ShutdownAck,
    /// Answers that.
    ShutdownComplete(Tag),
    /// Says that something is wrong.
    Error,
    /// Answers an INIT ACK.
    CookieEcho,
    /// Answers that.
    CookieAck,
    /// Asks whether somebody is there.
    Heartbeat,
    /// Answers that.
    HeartbeatAck,
}

/// Whose tag a packet has.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Tag {
    /// That of the side which it goes to.
    Receiver,
    /// That of the side which it comes from, which knows no other: the T bit is set.
    Sender,
}

/// Why bytes are no packet of SCTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoBundle {
    /// The header is cut off, or has nothing behind it.
    #[error("there is no chunk")]
    Empty,
    /// A chunk is shorter than anything.
    #[error("a chunk has no length")]
    NoLength,
    /// A chunk is not where it has to be: alone, or in front.
    #[error("a chunk is among others that may not be")]
    Misplaced,
    /// It names no tag.
    #[error("the chunk that opens is cut off")]
    NoTag,
    /// More chunks change something than any side sends at once.
    #[error("too many chunks change something")]
    TooMany,
}

/// The most chunks that may change something.
const MOST: usize = 4;
/// So many chunks are looked at. What lies behind them counts for nothing.
const MOST_CHUNKS: usize = if cfg!(miri) { 16 } else { 128 };
/// Bytes of a chunk's own header.
const HEADER: usize = 4;
/// Bytes behind it that an INIT has at least.
const INIT: usize = 16;
/// The T bit.
const T: u8 = 1;
/// A chunk of data.
const DATA: u8 = 0;

impl Chunk {
    fn of(kind: u8, flags: u8) -> Option<Self> {
        let tag = if flags & T == 0 { Tag::Receiver } else { Tag::Sender };
        Some(match kind {
            1 => Self::Init,
            2 => Self::InitAck,
            4 => Self::Heartbeat,
            5 => Self::HeartbeatAck,
            6 => Self::Abort(tag),
            7 => Self::Shutdown,
            8 => Self::ShutdownAck,
            9 => Self::Error,
            10 => Self::CookieEcho,
            11 => Self::CookieAck,
            14 => Self::ShutdownComplete(tag),
            _ => return None,
        })
    }

    /// Whether it comes alone (RFC 9260 §6.10).
    const fn is_alone(self) -> bool {
        matches!(self, Self::Init | Self::InitAck | Self::ShutdownComplete(_))
    }

    /// Whether it comes in front of others.
    const fn is_first(self) -> bool {
        self.is_alone() || matches!(self, Self::CookieEcho | Self::CookieAck)
    }
}

impl Bundle {
    /// Reads a packet from the first byte of SCTP's header on. `len` is how long it is, of which `bytes`
    /// hold the beginning: chunks that are not there are as such that change nothing.
    pub fn read(bytes: &[u8], len: usize) -> Result<Self, NoBundle> {
        let bytes = &bytes[..bytes.len().min(len)];
        let tag = bytes.get(TAG..).and_then(word).ok_or(NoBundle::Empty)?;
        let mut bundle =
            Self { tag, named: 0, chunks: [None; MOST], has_data: false, has_others: false };
        let (mut at, mut count) = (sctp::LEN, 0);
        let mut is_closed = false;
        while let Some([kind, flags, high, low]) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length == 0 {
                return Err(NoBundle::NoLength);
            }
            let chunk = Chunk::of(*kind, *flags);
            if is_closed || count > 0 && chunk.is_some_and(Chunk::is_first) {
                return Err(NoBundle::Misplaced);
            }
            is_closed = chunk.is_some_and(Chunk::is_alone);
            match chunk {
                Some(chunk) => bundle.push(chunk, &bytes[at + HEADER..])?,
                None => {
                    bundle.has_others = true;
                    bundle.has_data |= *kind == DATA;
                }
            }
            at += length.next_multiple_of(4);
            count += 1;
            if count == MOST_CHUNKS {
                break;
            }
        }
        if count == 0 { Err(NoBundle::Empty) } else { Ok(bundle) }
    }

    /// Takes a chunk that may change something, with what lies behind its header.
    fn push(&mut self, chunk: Chunk, behind: &[u8]) -> Result<(), NoBundle> {
        if matches!(chunk, Chunk::Init | Chunk::InitAck) {
            let names = behind.get(..INIT).and_then(word);
            self.named = names.ok_or(NoBundle::NoTag)?;
        }
        let mut places = self.chunks.iter_mut();
        let place = places.find(|place| place.is_none()).ok_or(NoBundle::TooMany)?;
        *place = Some(chunk);
        Ok(())
    }

    /// The chunks that may change something, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> {
        self.chunks.iter().copied().flatten()
    }
}

#[cfg(test)]
impl Bundle {
    /// A packet of these chunks and no others.
    pub(crate) fn of(tag: u32, named: u32, chunks: &[Chunk]) -> Self {
        let chunks = std::array::from_fn(|n| chunks.get(n).copied());
        Self { tag, named, chunks, has_data: false, has_others: false }
    }
}

/// Where the verification tag stands.
const TAG: usize = 4;

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet of these chunks, by kind and flags, each with so many bytes behind its header.
    fn packet(chunks: &[(u8, u8, u16)]) -> Vec<u8> {
        let mut bytes = vec![0, 7, 0, 9, 0, 0, 0, 5, 0, 0, 0, 0];
        for (kind, flags, len) in chunks {
            bytes.extend([*kind, *flags]);
            bytes.extend((len + 4).to_be_bytes());
            bytes.extend((0..len.next_multiple_of(4)).map(|n| n.to_be_bytes()[1]));
        }
        bytes
    }

    fn read(chunks: &[(u8, u8, u16)]) -> Result<Vec<Chunk>, NoBundle> {
        let bytes = packet(chunks);
        Bundle::read(&bytes, bytes.len()).map(|bundle| bundle.chunks().collect())
    }

    #[test]
    fn what_changes_nothing_is_not_kept() {
        let bytes = packet(&[(3, 0, 12), (7, 0, 4), (200, 1, 3), (9, 0, 0)]);
        let bundle = Bundle::read(&bytes, bytes.len()).unwrap();
        assert!(bundle.chunks().eq([Chunk::Shutdown, Chunk::Error]));
        assert_eq!((bundle.tag, bundle.has_data, bundle.has_others), (5, false, true));
        let bytes = packet(&[(10, 0, 1), (0, 3, 17)]);
        let bundle = Bundle::read(&bytes, bytes.len()).unwrap();
        assert!(bundle.chunks().eq([Chunk::CookieEcho]));
        assert!(bundle.has_data && bundle.has_others);
    }

    #[test]
    fn what_comes_alone_has_nobody_beside_it() {
        for kind in [1, 2, 14] {
            assert_eq!(read(&[(kind, 0, 16)]).map(|chunks| chunks.len()), Ok(1));
            for chunks in [[(kind, 0, 16), (0, 0, 16)], [(0, 0, 16), (kind, 0, 16)]] {
                assert_eq!(read(&chunks), Err(NoBundle::Misplaced), "{chunks:?}");
            }
        }
        for kind in [10, 11] {
            assert_eq!(read(&[(kind, 0, 0), (0, 0, 16)]).map(|chunks| chunks.len()), Ok(1));
            assert_eq!(read(&[(0, 0, 16), (kind, 0, 0)]), Err(NoBundle::Misplaced));
        }
    }

    #[test]
    fn the_t_bit_says_whose_tag_it_is() {
        assert_eq!(read(&[(6, 0, 0)]), Ok(vec![Chunk::Abort(Tag::Receiver)]));
        assert_eq!(read(&[(14, 1, 0)]), Ok(vec![Chunk::ShutdownComplete(Tag::Sender)]));
    }

    #[test]
    fn what_opens_names_a_tag() {
        let bytes = packet(&[(1, 0, 16)]);
        assert_eq!(Bundle::read(&bytes, bytes.len()).unwrap().named, 0x0001_0203);
        assert_eq!(Bundle::read(&bytes, bytes.len() - 1), Err(NoBundle::NoTag));
        assert_eq!(Bundle::read(&bytes[..bytes.len() - 1], 100), Err(NoBundle::NoTag));
    }

    #[test]
    fn chunks_are_read_as_far_as_there_are_any() {
        assert_eq!(read(&[]), Err(NoBundle::Empty));
        let bytes = packet(&[(7, 0, 0)]);
        assert_eq!(Bundle::read(&bytes[..8], 8), Err(NoBundle::Empty));
        assert_eq!(Bundle::read(&bytes, 15), Err(NoBundle::Empty));
        // One that says that it is longer than the packet ends it.
        let mut bytes = packet(&[(7, 0, 0), (9, 0, 0)]);
        bytes[15] = 200;
        let bundle = Bundle::read(&bytes, bytes.len()).unwrap();
        assert!(bundle.chunks().eq([Chunk::Shutdown]));
        bytes[15] = 0;
        assert_eq!(Bundle::read(&bytes, bytes.len()), Err(NoBundle::NoLength));
    }

    #[test]
    fn chunks_are_counted() {
        assert_eq!(read(&[(4, 0, 0); 4]).map(|chunks| chunks.len()), Ok(4));
        assert_eq!(read(&[(4, 0, 0); 5]), Err(NoBundle::TooMany));
        // Behind so many others an end is not found.
        let mut chunks = vec![(0, 0, 16); MOST_CHUNKS - 1];
        chunks.push((6, 0, 0));
        assert_eq!(read(&chunks).map(|chunks| chunks.len()), Ok(1));
        chunks.insert(0, (0, 0, 16));
        assert_eq!(read(&chunks).map(|chunks| chunks.len()), Ok(0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(0..16u8, 0..300), more in 0..40usize) {
            if let Ok(bundle) = Bundle::read(&bytes, bytes.len() + more) {
                prop_assert!(bundle.chunks().count() > 0 || bundle.has_others);
                prop_assert!(bundle.has_others || !bundle.has_data);
            }
        }
    }
}
