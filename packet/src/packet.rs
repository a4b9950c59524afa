//! A packet on its way through the switch.

use std::fmt;
use std::ops::Range;

use crate::memory::{Chain, FRAME_SIZE, Frame, Link, Memory, prefetch};
use crate::pool::FramePool;

/// The switch-wide number of a port; OpenFlow numbers are per bridge and something else.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortId(pub u16);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known of a packet's transport checksum.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Checksum {
    /// Nothing: it came over a wire and nobody looked.
    #[default]
    Unknown,
    /// Right: a device or a kernel said so.
    Good,
    /// Still to be made: the sum from byte `start` to the end belongs at `start + offset`, which
    /// holds the pseudo-header's sum so far (virtio 1.2 §5.1.6.2, `VIRTIO_NET_HDR_F_NEEDS_CSUM`).
    Partial {
        /// Where the sum begins, from the packet's first byte.
        start: u16,
        /// Where it belongs, from `start`.
        offset: u16,
    },
}

impl Checksum {
    /// Whether it is right, or still to be made. If nothing is known of it, it is looked at: it is good
    /// from then on if it is found right.
    #[inline]
    pub fn is_right_if(&mut self, is_found_right: impl FnOnce() -> bool) -> bool {
        if *self == Self::Unknown && is_found_right() {
            *self = Self::Good;
        }
        *self != Self::Unknown
    }
}

/// What a super-frame is to be cut into.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Kind {
    /// An ordinary packet.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams of one size (`UDP_SEGMENT`), over either IP.
    Udp,
}

/// How a packet stands for several on the wire; all zero for an ordinary one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Segmentation {
    /// What it is cut into.
    pub kind: Kind,
    /// Bytes of headers that every segment repeats.
    pub header: u8,
    /// Payload bytes of each segment but the last.
    pub size: u16,
    /// How many segments it makes.
    pub segments: u16,
}

impl Segmentation {
    /// The segmentation of a packet of `len` bytes whose first `header` bytes each segment repeats,
    /// and at most `size` of the others. `None` if there is nothing to cut, or the sizes make no
    /// sense.
    pub fn new(kind: Kind, header: usize, size: u16, len: usize) -> Option<Self> {
        let payload = len.checked_sub(header).filter(|_| size > 0 && kind != Kind::None)?;
        let segments = u16::try_from(payload.div_ceil(usize::from(size))).ok()?;
        let header = u8::try_from(header).ok()?;
        (segments > 1).then_some(Self { kind, header, size, segments })
    }
}

/// A chain of frames, and what is known of it beside its bytes. Moves by value: 32 bytes.
///
/// # Invariants
/// 1. The first frame holds the first `min(len, 256)` bytes at least, so that all headers lie in
///    it.
/// 2. `start + head <= FRAME_SIZE` in the first frame; `head < len` exactly if more frames follow.
///
/// Dropping one loses its frames: [`Packet::free`] them.
///
/// The order of the fields is that in which a new one is written word by word. In another order,
/// which the compiler is free to choose, making one took 3 ns more: half-written words were read
/// back.
#[derive(Debug)]
#[repr(C, align(16))]
#[must_use = "a packet that is dropped loses its frames"]
pub struct Packet {
    frame: Frame,
    start: u16,
    head: u16,
    len: u32,
    /// The port it came in by, which answers for it in the accounts.
    pub ingress: PortId,
    /// Whether it stands for several packets.
    pub segmentation: Segmentation,
    /// What is known of its transport checksum.
    pub checksum: Checksum,
    /// The egress queue it is meant for, at whatever port it leaves by; 0 is the one of packets that
    /// nobody has chosen a queue for.
    pub queue: u16,
}

impl Packet {
    /// The bytes `start..start + len` of one frame.
    ///
    /// # Panics
    /// If they pass the end of the frame: a mistake in our own code.
    #[inline]
    pub fn new(frame: Frame, start: u16, len: u16, ingress: PortId) -> Self {
        let end = usize::from(start) + usize::from(len);
        assert!(end <= FRAME_SIZE, "a packet ends at {end} of {FRAME_SIZE}");
        Self {
            frame,
            start,
            head: len,
            len: u32::from(len),
            ingress,
            checksum: Checksum::Unknown,
            segmentation: Segmentation::default(),
            queue: 0,
        }
    }

    /// Bytes in all. Never zero for a packet that a port has delivered.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no bytes.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it takes more than one frame.
    #[inline]
    pub const fn is_chained(&self) -> bool {
        self.len > self.head as u32
    }

    /// How many packets it stands for on the wire: one, or its segments.
    #[inline]
    pub const fn packets(&self) -> u64 {
        if self.segmentation.segments == 0 { 1 } else { self.segmentation.segments as u64 }
    }

    /// How many bytes it stands for on the wire: its own, and the headers that its segments repeat.
    #[inline]
    pub const fn wire_bytes(&self) -> u64 {
        self.len as u64 + (self.packets() - 1) * self.segmentation.header as u64
    }

    /// The first frame: what a prefetch or a log needs.
    #[inline]
    pub const fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Fetches the line with the first bytes.
    #[inline]
    pub fn prefetch(&self, memory: &Memory) {
        // A line behind the end is in no frame; whatever is fetched instead does no harm.
        prefetch(&memory.bytes(&self.frame)[usize::from(self.start) % FRAME_SIZE]);
    }

    /// Free bytes in front of the first one.
    #[inline]
    pub const fn headroom(&self) -> u16 {
        self.start
    }

    /// The bytes in the first frame, headers included.
    #[inline]
    pub fn head<'a>(&'a self, memory: &'a Memory) -> &'a [u8] {
        let start = usize::from(self.start);
        &memory.bytes(&self.frame)[start..start + usize::from(self.head)]
    }

    /// The same, and what is known of the checksum, which they may tell.
    #[inline]
    pub fn head_and_checksum<'a>(&'a mut self, memory: &'a Memory) -> (&'a [u8], &'a mut Checksum) {
        let start = usize::from(self.start);
        let head = &memory.bytes(&self.frame)[start..start + usize::from(self.head)];
        (head, &mut self.checksum)
    }

    /// The bytes in the first frame, to be changed.
    #[inline]
    pub fn head_mut<'a>(&'a mut self, memory: &'a Memory) -> &'a mut [u8] {
        let start = usize::from(self.start);
        let end = start + usize::from(self.head);
        &mut memory.bytes_mut(&mut self.frame)[start..end]
    }

    /// All bytes, frame by frame.
    #[inline]
    pub fn chunks<'a>(&'a self, memory: &'a Memory) -> Chain<'a> {
        memory.chain(&self.frame, self.start, self.head)
    }

    /// All bytes in one piece: for tests, traces and captures.
    pub fn to_vec(&self, memory: &Memory) -> Vec<u8> {
        self.chunks(memory).flatten().copied().collect()
    }

    /// Grows the packet by `n` bytes in front, whose content is whatever was there. Answers whether
    /// the headroom allowed it; if not, nothing has changed.
    #[inline]
    #[must_use]
    pub fn push_front(&mut self, n: u16) -> bool {
        let Some(start) = self.start.checked_sub(n) else { return false };
        self.start = start;
        self.head += n;
        self.len += u32::from(n);
        self.shift_offload(i32::from(n));
        true
    }

    /// Cuts `n` bytes off the front. Answers whether the first frame had more than that; if not,
    /// nothing has changed.
    #[inline]
    #[must_use]
    pub fn pull_front(&mut self, n: u16) -> bool {
        if self.head <= n {
            return false;
        }
        self.start += n;
        self.head -= n;
        self.len -= u32::from(n);
        self.shift_offload(-i32::from(n));
        true
    }

    /// Replaces bytes of the first frame by others, of which there may be more or fewer; what follows
    /// moves. Answers whether that frame has room, and still all headers, and as many segments are
    /// made of the packet as before; if not, nothing has changed.
    #[must_use]
    pub fn splice(&mut self, place: Range<usize>, new: &[u8], memory: &Memory) -> bool {
        let head = usize::from(self.head);
        let Some(old) = place.end.checked_sub(place.start).filter(|_| place.end <= head) else {
            return false;
        };
        let (new_head, new_len) = (head - old + new.len(), self.len() - old + new.len());
        let Segmentation { kind, header, size, .. } = self.segmentation;
        let segmentation = Segmentation::new(kind, header.into(), size, new_len);
        let (Ok(short_head), Ok(short_len)) = (u16::try_from(new_head), u32::try_from(new_len))
        else {
            return false;
        };
        if usize::from(self.start) + new_head > FRAME_SIZE
            || self.is_chained() && new_head < 256
            || segmentation.unwrap_or_default().segments != self.segmentation.segments
        {
            return false;
        }
        let start = usize::from(self.start);
        let bytes = &mut memory.bytes_mut(&mut self.frame)[start..];
        bytes.copy_within(place.end..head, place.start + new.len());
        bytes[place.start..place.start + new.len()].copy_from_slice(new);
        (self.head, self.len) = (short_head, short_len);
        true
    }

    /// Keeps checksum and segmentation pointing at the same bytes when the front moves.
    fn shift_offload(&mut self, by: i32) {
        if let Checksum::Partial { start, .. } = &mut self.checksum {
            *start = u16::try_from(i32::from(*start) + by).unwrap_or(0);
        }
        if self.segmentation.kind != Kind::None {
            let header = i32::from(self.segmentation.header) + by;
            self.segmentation.header = u8::try_from(header).unwrap_or(u8::MAX);
        }
    }

    /// A copy in frames of its own; `None` if `pool` has not enough of them.
    pub fn duplicate(&self, pool: &mut FramePool) -> Option<Self> {
        let mut copy = self.duplicate_first(self.len(), pool)?;
        (copy.checksum, copy.segmentation) = (self.checksum, self.segmentation);
        Some(copy)
    }

    /// A copy of its first `most` bytes, in frames of its own; `None` if there are not enough of
    /// them. What is known of all of it does not hold for a part.
    pub fn duplicate_first(&self, most: usize, pool: &mut FramePool) -> Option<Self> {
        let memory = std::sync::Arc::clone(pool.memory());
        let mut copy = Chainer::default();
        let (mut start, mut left) = (self.start, most);
        for chunk in self.chunks(&memory) {
            let chunk = &chunk[..chunk.len().min(left)];
            left -= chunk.len();
            if chunk.is_empty() {
                break;
            }
            let Some(mut frame) = pool.alloc() else {
                copy.abandon(pool);
                return None;
            };
            let len = copy_into(&memory, &mut frame, start, chunk);
            copy.push(&memory, frame, start, len, self.ingress);
            // Only the first frame needs headroom.
            start = 0;
        }
        let mut copy = copy.finish()?;
        copy.queue = self.queue;
        Some(copy)
    }

    /// Gives all frames back.
    #[inline]
    pub fn free(self, pool: &mut FramePool) {
        if self.is_chained() {
            self.free_chain(pool);
        } else {
            pool.free(self.frame);
        }
    }

    /// Its first frame; nothing follows it.
    #[inline]
    pub(crate) fn into_first_frame(self) -> Frame {
        debug_assert!(!self.is_chained(), "others would be lost");
        self.frame
    }

    #[cold]
    fn free_chain(self, pool: &mut FramePool) {
        let memory = std::sync::Arc::clone(pool.memory());
        self.into_frames(&memory, |frame, _, _| pool.free(frame));
    }

    /// Takes the packet apart: each frame in order, with where in it the bytes begin and how many
    /// they are.
    #[inline]
    pub fn into_frames(self, memory: &Memory, mut each: impl FnMut(Frame, u16, u16)) {
        let chained = self.is_chained();
        let (mut frame, start, len) = (self.frame, self.start, self.head);
        if !chained {
            return each(frame, start, len);
        }
        let mut link = memory.unlink(&mut frame);
        each(frame, start, len);
        while let Some(mut frame) = link.next {
            let (start, len) = (link.start, link.len);
            link = memory.unlink(&mut frame);
            each(frame, start, len);
        }
    }
}

/// Copies `bytes` to `start` in `frame` and answers how many they are; what passes the end is cut.
fn copy_into(memory: &Memory, frame: &mut Frame, start: u16, bytes: &[u8]) -> u16 {
    let room = &mut memory.bytes_mut(frame)[usize::from(start)..];
    let len = bytes.len().min(room.len());
    room[..len].copy_from_slice(&bytes[..len]);
    u16::try_from(len).unwrap_or(0)
}

/// Puts a packet together from frames, first to last.
#[derive(Debug, Default)]
pub struct Chainer {
    packet: Option<Packet>,
    last: u32,
}

impl Chainer {
    /// Adds the bytes `start..start + len` of `frame` at the end.
    ///
    /// # Panics
    /// If they pass the end of the frame: a mistake in our own code.
    #[inline]
    pub fn push(&mut self, memory: &Memory, frame: Frame, start: u16, len: u16, ingress: PortId) {
        let last = std::mem::replace(&mut self.last, frame.index());
        match &mut self.packet {
            None => {
                self.packet = Some(Packet::new(frame, start, len, ingress));
            }
            Some(packet) => {
                assert!(
                    usize::from(start) + usize::from(len) <= FRAME_SIZE,
                    "{len} bytes at {start}"
                );
                memory.link(last, Link { next: Some(frame), start, len });
                packet.len += u32::from(len);
            }
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.packet.as_ref().map_or(0, Packet::len)
    }

    /// Whether nothing has been added.
    pub const fn is_empty(&self) -> bool {
        self.packet.is_none()
    }

    /// The packet; `None` if nothing was added.
    #[inline]
    pub fn finish(self) -> Option<Packet> {
        let packet = self.packet?;
        debug_assert!(
            packet.head as usize >= packet.len().min(256),
            "headers lie in the first frame"
        );
        Some(packet)
    }

    /// Gives the frames back instead.
    pub fn abandon(self, pool: &mut FramePool) {
        if let Some(packet) = self.packet {
            packet.free(pool);
        }
    }

    /// A packet with a copy of `bytes`, the first at `headroom`; `None` if `pool` has not enough
    /// frames.
    pub fn copy_of(
        bytes: &[u8],
        headroom: u16,
        ingress: PortId,
        pool: &mut FramePool,
    ) -> Option<Packet> {
        let memory = std::sync::Arc::clone(pool.memory());
        let mut chain = Self::default();
        let (mut rest, mut start) = (bytes, headroom);
        while !rest.is_empty() || chain.is_empty() {
            let Some(mut frame) = pool.alloc() else {
                chain.abandon(pool);
                return None;
            };
            let len = copy_into(&memory, &mut frame, start, rest);
            chain.push(&memory, frame, start, len, ingress);
            (rest, start) = (&rest[usize::from(len)..], 0);
        }
        chain.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Depot;
    use proptest::prelude::*;

    fn pool(frames: u32) -> FramePool {
        FramePool::new(&Depot::new(Memory::heap(frames)))
    }

    fn total(pool: &FramePool) -> usize {
        pool.len() + pool.depot().len()
    }

    #[test]
    fn a_checksum_is_looked_at_only_if_nobody_knows_it_and_until_it_is_good() {
        let (mut wrong, mut unknown) = (Checksum::Unknown, Checksum::Unknown);
        assert!(!wrong.is_right_if(|| false) && unknown.is_right_if(|| true));
        assert_eq!((wrong, unknown), (Checksum::Unknown, Checksum::Good));
        let partial = Checksum::Partial { start: 34, offset: 16 };
        for mut known in [Checksum::Good, partial] {
            let before = known;
            assert!(known.is_right_if(|| unreachable!("nobody looks")));
            assert_eq!(known, before);
        }
    }

    #[test]
    fn a_packet_is_32_bytes() {
        assert_eq!(size_of::<Packet>(), 32);
    }

    proptest! {
        #[test]
        fn bytes_survive_chains_copies_and_moves_of_the_front(
            len in 1..9000usize,
            first: u8,
            headroom in 0u16..600,
            push in 0u16..64,
        ) {
            // A prime number of values, so that no two frames hold the same.
            let bytes: Vec<u8> = (0..251).cycle().skip(first.into()).take(len).collect();
            let mut pool = pool(64);
            let memory = std::sync::Arc::clone(pool.memory());
            let mut packet = Chainer::copy_of(&bytes, headroom, PortId(3), &mut pool).unwrap();
            prop_assert_eq!(packet.len(), bytes.len());
            prop_assert_eq!(&packet.to_vec(&memory), &bytes);
            if packet.push_front(push) {
                packet.head_mut(&memory)[..usize::from(push)].fill(0xa5);
                prop_assert_eq!(packet.len(), bytes.len() + usize::from(push));
                prop_assert!(packet.pull_front(push));
            } else {
                prop_assert!(push > headroom);
            }
            let copy = packet.duplicate(&mut pool).unwrap();
            packet.free(&mut pool);
            prop_assert_eq!(&copy.to_vec(&memory), &bytes);
            let mut pieces = Vec::new();
            copy.into_frames(&memory, |frame, start, len| {
                let (start, len) = (usize::from(start), usize::from(len));
                pieces.extend_from_slice(&memory.bytes(&frame)[start..start + len]);
                pool.free(frame);
            });
            prop_assert_eq!(pieces, bytes);
            prop_assert_eq!(total(&pool), 64);
        }
    }

    proptest! {
        #[test]
        fn a_splice_is_that_of_all_bytes_or_changes_nothing(
            len in 1..5000usize,
            headroom in 0u16..600,
            place in 0..2100usize,
            old in 0..100usize,
            new in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes: Vec<u8> = (0..251).cycle().take(len).collect();
            let mut pool = pool(8);
            let memory = std::sync::Arc::clone(pool.memory());
            let mut packet = Chainer::copy_of(&bytes, headroom, PortId(3), &mut pool).unwrap();
            let head = packet.head(&memory).len();
            let place = place..place + old;
            let fits = place.end <= head
                && usize::from(headroom) + head - old + new.len() <= FRAME_SIZE
                && (!packet.is_chained() || head - old + new.len() >= 256);
            prop_assert_eq!(packet.splice(place.clone(), &new, &memory), fits);
            if fits {
                bytes.splice(place, new);
            }
            prop_assert_eq!((packet.to_vec(&memory), packet.len()), (bytes.clone(), bytes.len()));
            packet.free(&mut pool);
        }
    }

    #[test]
    fn a_splice_makes_no_other_number_of_segments() {
        let mut pool = pool(1);
        let memory = std::sync::Arc::clone(pool.memory());
        let mut packet = Chainer::copy_of(&[0; 1000], 128, PortId(0), &mut pool).unwrap();
        packet.segmentation = Segmentation::new(Kind::Tcp4, 54, 473, 1000).unwrap();
        assert!(!packet.splice(60..61, &[1; 2], &memory), "three segments");
        assert!(packet.splice(60..61, &[1], &memory) && packet.splice(60..62, &[1], &memory));
        assert_eq!(packet.packets(), 2);
    }

    #[test]
    fn an_empty_pool_makes_no_half_packets() {
        let mut pool = pool(3);
        assert!(Chainer::copy_of(&[0; 4 * FRAME_SIZE], 0, PortId(0), &mut pool).is_none());
        let packet = Chainer::copy_of(&[1; 2 * FRAME_SIZE], 0, PortId(0), &mut pool).unwrap();
        assert!(packet.duplicate(&mut pool).is_none());
        packet.free(&mut pool);
        assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), 3);
    }

    #[test]
    fn the_offload_state_follows_the_front() {
        let mut pool = pool(1);
        let mut packet = Chainer::copy_of(&[0; 1000], 128, PortId(0), &mut pool).unwrap();
        packet.checksum = Checksum::Partial { start: 34, offset: 16 };
        packet.segmentation = Segmentation::new(Kind::Tcp4, 54, 400, 1000).unwrap();
        assert_eq!((packet.packets(), packet.wire_bytes()), (3, 1000 + 2 * 54));
        assert!(packet.push_front(4));
        assert_eq!(packet.checksum, Checksum::Partial { start: 38, offset: 16 });
        assert_eq!(packet.wire_bytes(), 1004 + 2 * 58);
        assert!(!packet.push_front(125), "there are 124 bytes left");
    }
}
