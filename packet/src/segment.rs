//! What a device would do for us: checksums and the cutting of super-frames, in software.

use std::sync::Arc;

use crate::checksum::Sum;
use crate::headers::{Fragment, Headers, Network, Transport, parse};
use crate::ipv4::Ipv4;
use crate::ipv6::Ipv6;
use crate::key::Key;
use crate::memory::{Chain, FRAME_SIZE, Frame, HEADROOM, Memory};
use crate::packet::{Chainer, Checksum, Kind, Packet, PortId};
use crate::pool::FramePool;
use crate::{checksum, ipv4, ipv6, tcp, udp};

/// Finish and push: only the last segment carries them (RFC 9293 §3.8).
const LAST_ONLY: u8 = 0x09;
/// Congestion window reduced: only the first segment carries it (RFC 3168 §6.1.2).
const FIRST_ONLY: u8 = 0x80;

/// Why a packet could not be finished in software; it is unchanged and still the caller's to free.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfinished {
    /// The checksum belongs to a place that is not in the headers.
    #[error("the checksum's place lies outside the headers")]
    NoPlace,
    /// The headers are not those that the segmentation speaks of.
    #[error("the headers do not fit the segmentation")]
    NotSegmentable,
}

/// Makes a partial checksum whole. Cost: reads every byte from where the sum begins.
pub fn fill_checksum(packet: &mut Packet, memory: &Memory) -> Result<(), Unfinished> {
    let Checksum::Partial { start, offset } = packet.checksum else { return Ok(()) };
    let (start, place) = (usize::from(start), usize::from(start) + usize::from(offset));
    if place + 2 > packet.head(memory).len() {
        return Err(Unfinished::NoPlace);
    }
    let mut sum = Sum::default();
    let mut skip = start;
    for chunk in packet.chunks(memory) {
        sum = sum.bytes(chunk.get(skip..).unwrap_or_default());
        skip = skip.saturating_sub(chunk.len());
    }
    // The field held the pseudo-header's sum, so it was summed with the rest. Zero would mean "no
    // checksum" to UDP (RFC 768), and is the same number as all ones to everybody.
    let sum = match sum.finish() {
        0 => 0xffff,
        sum => sum,
    };
    packet.head_mut(memory)[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    packet.checksum = Checksum::Good;
    Ok(())
}

/// Notes that a packet's transport checksum is still to be made, if it looks like it: the field
/// holds the sum of the pseudo-header, and nothing else. For ports that cannot say so. A whole
/// checksum looks like this once in 65536 packets, and making it anew does no harm then.
pub fn mark_partial(packet: &mut Packet, headers: Headers, memory: &Memory) {
    if packet.checksum != Checksum::Unknown || headers.fragment != Fragment::No {
        return;
    }
    let (proto, offset) = match headers.transport {
        Transport::Tcp => (tcp::PROTO, tcp::CHECKSUM),
        Transport::Udp => (udp::PROTO, udp::CHECKSUM),
        _ => return,
    };
    let (head, l3, l4) = (packet.head(memory), usize::from(headers.l3), usize::from(headers.l4));
    let Some(field) = head.get(l4 + offset..l4 + offset + 2) else { return };
    let Some(sum) = carried(head, headers.network, l3, l4)
        .and_then(|len| pseudo_sum(head, headers.network, proto, l3, len))
    else {
        return;
    };
    if sum.partial().to_be_bytes() == *field {
        packet.checksum = Checksum::Partial { start: headers.l4, offset: short(offset) };
    }
}

/// How many bytes IP carries, by its header at `l3`, from `l4` on; `None` if it is not IP.
pub fn carried(head: &[u8], network: Network, l3: usize, l4: usize) -> Option<usize> {
    let ip = head.get(l3..)?;
    let end = match network {
        Network::Ipv4 => l3 + Ipv4::split(ip).ok()?.0.total_len(),
        Network::Ipv6 => l3 + ipv6::LEN + Ipv6::split(ip).ok()?.0.payload_len(),
        Network::None | Network::Arp => return None,
    };
    end.checked_sub(l4)
}

/// The sum of the pseudo-header of a packet that carries `len` bytes of this protocol.
pub(crate) fn pseudo_sum(
    head: &[u8],
    network: Network,
    proto: u8,
    l3: usize,
    len: usize,
) -> Option<Sum> {
    let ip = head.get(l3..)?;
    match network {
        Network::Ipv4 => {
            let (ip, _) = Ipv4::split(ip).ok()?;
            Some(Sum::pseudo_v4(ip.src(), ip.dst(), proto, len))
        }
        Network::Ipv6 => {
            let (ip, _) = Ipv6::split(ip).ok()?;
            Some(Sum::pseudo_v6(ip.src(), ip.dst(), proto, len))
        }
        Network::None | Network::Arp => None,
    }
}

/// What became of a super-frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut {
    /// Segments handed on.
    pub made: u32,
    /// Segments for which there were no frames.
    pub lost: u32,
}

/// Cuts a super-frame into ordinary packets with whole checksums, each handed to `each` in order. A
/// packet that is no super-frame is handed on as it is.
///
/// Every segment takes new frames from `pool`: the payload is copied once.
pub fn segment(
    packet: Packet,
    pool: &mut FramePool,
    mut each: impl FnMut(Packet),
) -> Result<Cut, (Packet, Unfinished)> {
    if packet.segmentation.kind == Kind::None {
        each(packet);
        return Ok(Cut { made: 1, lost: 0 });
    }
    let memory = Arc::clone(pool.memory());
    let Some(plan) = Plan::new(&packet, &memory) else {
        return Err((packet, Unfinished::NotSegmentable));
    };
    let whole = plan.segments();
    let mut cut = Cut { made: 0, lost: whole };
    let mut payload = Payload::behind(plan.header, &packet, &memory);
    for n in 0..whole {
        let Some(segment) = plan.segment(n, &packet, &mut payload, pool) else { break };
        each(segment);
        cut = Cut { made: n + 1, lost: whole - n - 1 };
    }
    packet.free(pool);
    Ok(cut)
}

/// How one super-frame is cut.
struct Plan {
    headers: Headers,
    header: usize,
    size: usize,
    len: usize,
}

impl Plan {
    /// Finds the headers anew, since actions may have changed them; `None` if they are not of the
    /// kind that the segmentation names.
    fn new(packet: &Packet, memory: &Memory) -> Option<Self> {
        let head = packet.head(memory);
        let headers = parse(head, packet.len(), &mut Key::default()).ok()?;
        let l4 = usize::from(headers.l4);
        let (kind, size) = (packet.segmentation.kind, usize::from(packet.segmentation.size));
        let header = match (kind, headers.network, headers.transport) {
            (Kind::Tcp4, Network::Ipv4, Transport::Tcp)
            | (Kind::Tcp6, Network::Ipv6, Transport::Tcp) => {
                l4 + (usize::from(*head.get(l4 + tcp::FLAGS)?) >> 4) * 4
            }
            (Kind::Udp, Network::Ipv4 | Network::Ipv6, Transport::Udp) => l4 + udp::LEN,
            _ => return None,
        };
        let fits = header <= head.len() && header < packet.len() && size > 0;
        fits.then_some(Self { headers, header, size, len: packet.len() })
    }

    fn segments(&self) -> u32 {
        u32::try_from((self.len - self.header).div_ceil(self.size)).unwrap_or(u32::MAX)
    }

    /// Segment `n`, the next `size` bytes of `payload`; `None` if `pool` has no frames for it.
    fn segment(
        &self,
        n: u32,
        whole: &Packet,
        payload: &mut Payload<'_>,
        pool: &mut FramePool,
    ) -> Option<Packet> {
        let memory = Arc::clone(pool.memory());
        let mut copy = Copier::new(pool, whole);
        let mut complete = copy.write(&whole.head(&memory)[..self.header]);
        let mut left = self.size;
        while left > 0
            && complete
            && let Some(piece) = payload.take(left)
        {
            complete = copy.write(piece);
            left -= piece.len();
        }
        if !complete {
            copy.abandon();
            return None;
        }
        let mut packet = copy.finish()?;
        packet.queue = whole.queue;
        let len = packet.len();
        self.fix(n, len, packet.head_mut(&memory));
        packet.checksum = self.partial(packet.head_mut(&memory));
        fill_checksum(&mut packet, &memory).ok()?;
        Some(packet)
    }

    /// Gives segment `n`, `len` bytes long, the headers it would have been sent with.
    fn fix(&self, n: u32, len: usize, head: &mut [u8]) {
        let (l3, l4) = (usize::from(self.headers.l3), usize::from(self.headers.l4));
        let ip_len = len - l3;
        match self.headers.network {
            Network::Ipv4 => {
                put(head, l3 + ipv4::TOTAL_LEN, short(ip_len));
                let id = u16::from_be_bytes([head[l3 + ipv4::ID], head[l3 + ipv4::ID + 1]]);
                put(head, l3 + ipv4::ID, id.wrapping_add(short(n as usize)));
                put(head, l3 + ipv4::CHECKSUM, 0);
                let sum = checksum::of(&head[l3..l4]);
                put(head, l3 + ipv4::CHECKSUM, sum);
            }
            _ => put(head, l3 + ipv6::PAYLOAD_LEN, short(ip_len - ipv6::LEN)),
        }
        if self.headers.transport == Transport::Udp {
            return put(head, l4 + udp::LENGTH, short(len - l4));
        }
        let seq = &mut head[l4 + tcp::SEQ..l4 + tcp::SEQ + 4];
        let first = u32::from_be_bytes([seq[0], seq[1], seq[2], seq[3]]);
        let step = u32::try_from(self.size).unwrap_or(0).wrapping_mul(n);
        seq.copy_from_slice(&first.wrapping_add(step).to_be_bytes());
        let flags = &mut head[l4 + tcp::FLAGS + 1];
        if n + 1 < self.segments() {
            *flags &= !LAST_ONLY;
        }
        if n > 0 {
            *flags &= !FIRST_ONLY;
        }
    }

    /// Puts the pseudo-header's sum where the checksum belongs.
    fn partial(&self, head: &mut [u8]) -> Checksum {
        let (l3, l4) = (usize::from(self.headers.l3), usize::from(self.headers.l4));
        let (proto, offset) = match self.headers.transport {
            Transport::Udp => (udp::PROTO, udp::CHECKSUM),
            _ => (tcp::PROTO, tcp::CHECKSUM),
        };
        let network = self.headers.network;
        let sum = carried(head, network, l3, l4)
            .and_then(|len| pseudo_sum(head, network, proto, l3, len))
            .unwrap_or_default();
        put(head, l4 + offset, sum.partial());
        Checksum::Partial { start: self.headers.l4, offset: short(offset) }
    }
}

fn put(head: &mut [u8], at: usize, word: u16) {
    head[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// The payload of a packet, taken piece by piece across its frames.
pub(crate) struct Payload<'a> {
    chunks: Chain<'a>,
    rest: &'a [u8],
}

impl<'a> Payload<'a> {
    pub(crate) fn behind(header: usize, packet: &'a Packet, memory: &'a Memory) -> Self {
        let mut chunks = packet.chunks(memory);
        let rest = chunks.next().and_then(|head| head.get(header..)).unwrap_or_default();
        Self { chunks, rest }
    }

    /// At most `most` bytes, as many as lie together; `None` at the end.
    pub(crate) fn take(&mut self, most: usize) -> Option<&'a [u8]> {
        while self.rest.is_empty() {
            self.rest = self.chunks.next()?;
        }
        let (piece, rest) = self.rest.split_at(most.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}

/// Writes bytes into new frames, one after the other.
struct Copier<'a> {
    pool: &'a mut FramePool,
    memory: Arc<Memory>,
    chain: Chainer,
    frame: Option<Frame>,
    start: usize,
    end: usize,
    like: PortId,
}

impl<'a> Copier<'a> {
    fn new(pool: &'a mut FramePool, like: &Packet) -> Self {
        let memory = Arc::clone(pool.memory());
        let start = usize::from(HEADROOM);
        Self {
            pool,
            memory,
            chain: Chainer::default(),
            frame: None,
            start,
            end: start,
            like: like.ingress,
        }
    }

    /// Answers whether there were frames for all of `bytes`.
    fn write(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.frame.is_none() {
                self.frame = self.pool.alloc();
            }
            let Some(frame) = &mut self.frame else { return false };
            let room = &mut self.memory.bytes_mut(frame)[self.end..];
            let len = bytes.len().min(room.len());
            room[..len].copy_from_slice(&bytes[..len]);
            self.end += len;
            bytes = &bytes[len..];
            if self.end == FRAME_SIZE {
                self.next_frame();
            }
        }
        true
    }

    fn next_frame(&mut self) {
        if let Some(frame) = self.frame.take() {
            let len = short(self.end - self.start);
            self.chain.push(&self.memory, frame, short(self.start), len, self.like);
        }
        (self.start, self.end) = (0, 0);
    }

    fn finish(mut self) -> Option<Packet> {
        self.next_frame();
        self.chain.finish()
    }

    fn abandon(mut self) {
        if let Some(frame) = self.frame.take() {
            self.pool.free(frame);
        }
        self.chain.abandon(self.pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose;
    use crate::packet::Segmentation;
    use crate::pool::Depot;
    use proptest::prelude::*;

    fn pool() -> FramePool {
        FramePool::new(&Depot::new(Memory::heap(256)))
    }

    fn tcp_key(v6: bool, tagged: bool) -> Key {
        let mut key = Key::ZERO
            .with(Key::ETH_DST, 0x0200_0000_0002_u64)
            .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
            .with(Key::NW_PROTO, tcp::PROTO)
            .with(Key::NW_TTL, 64u8)
            .with(Key::TP_SRC, 4000u16)
            .with(Key::TP_DST, 80u16)
            .with(Key::TCP_FLAGS, tcp::ACK | tcp::PSH | tcp::FIN | 0x80);
        if v6 {
            key.set(Key::ETH_TYPE, crate::ethernet::IPV6);
            key.set(Key::IPV6_SRC, 0xfd00 << 112 | 1u128);
            key.set(Key::IPV6_DST, 0xfd00 << 112 | 2u128);
        } else {
            key.set(Key::ETH_TYPE, crate::ethernet::IPV4);
            key.set(Key::NW_SRC, 0x0a00_0001u32);
            key.set(Key::NW_DST, 0x0a00_0002u32);
        }
        if tagged {
            key.set(Key::VLAN_TCI, 0x1005u16);
        }
        key
    }

    /// The checksums of a packet, made by another implementation from the packet's own words.
    /// Both ways of writing zero are right; the kernel, too, writes what UDP needs for all.
    fn is_same_sum(right: u16, written: u16) -> bool {
        right == written || (right, written) == (0, 0xffff)
    }

    fn checksums_are_right(bytes: &[u8]) -> bool {
        let sliced = etherparse::SlicedPacket::from_ethernet(bytes).unwrap();
        let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { return false };
        match sliced.net.unwrap() {
            etherparse::NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                let sum = tcp.calc_checksum_ipv4(header.source, header.destination).unwrap();
                header.calc_header_checksum() == header.header_checksum
                    && is_same_sum(sum, tcp.checksum())
            }
            etherparse::NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let sum = tcp.calc_checksum_ipv6(header.source(), header.destination()).unwrap();
                is_same_sum(sum, tcp.checksum())
            }
            _ => false,
        }
    }

    /// Some segments of the longest size: more take an interpreter too long.
    const LONGEST: usize = if cfg!(miri) { 7_000 } else { 20_000 };

    proptest! {
        #[test]
        fn segments_join_to_what_was_cut(
            v6: bool, tagged: bool, payload in 1..LONGEST, size in 500u16..3000,
        ) {
            let mut pool = pool();
            let memory = Arc::clone(pool.memory());
            let mut bytes = compose(&tcp_key(v6, tagged), 0);
            let header = bytes.len();
            bytes.extend((0..251u8).cycle().take(payload));
            let l3 = if tagged { 18 } else { 14 };
            let (at, less) = if v6 { (l3 + ipv6::PAYLOAD_LEN, ipv6::LEN) } else { (l3 + ipv4::TOTAL_LEN, 0) };
            put(&mut bytes, at, short(header + payload - l3 - less));
            let mut packet = Chainer::copy_of(&bytes, 128, PortId(1), &mut pool).unwrap();
            let kind = if v6 { Kind::Tcp6 } else { Kind::Tcp4 };
            let Some(segmentation) = Segmentation::new(kind, header, size, bytes.len()) else {
                packet.free(&mut pool);
                return Ok(());
            };
            packet.segmentation = segmentation;
            let mut joined = Vec::new();
            let (mut next_seq, mut seen) = (0u32, 0);
            let mut segments = Vec::new();
            let cut = segment(packet, &mut pool, |segment| segments.push(segment)).unwrap();
            prop_assert_eq!(cut, Cut { made: segmentation.segments.into(), lost: 0 });
            for segment in segments {
                let bytes = segment.to_vec(&memory);
                prop_assert!(checksums_are_right(&bytes));
                let mut key = Key::ZERO;
                let found = parse(&bytes, bytes.len(), &mut key).unwrap();
                let l4 = usize::from(found.l4);
                let tcp = tcp::Tcp::split(&bytes[l4..]).unwrap().0;
                prop_assert_eq!(tcp.seq(), next_seq);
                next_seq += u32::from(size);
                let last = seen + 1 == cut.made;
                let flags = tcp::ACK | if last { tcp::PSH | tcp::FIN } else { 0 } | if seen == 0 { 0x80 } else { 0 };
                prop_assert_eq!(tcp.flags(), flags);
                joined.extend_from_slice(&bytes[header..]);
                seen += 1;
                segment.free(&mut pool);
            }
            prop_assert_eq!(joined, &bytes[header..]);
            prop_assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), 256);
        }
    }

    #[test]
    fn a_partial_checksum_is_filled_across_frames() {
        let mut pool = pool();
        let memory = Arc::clone(pool.memory());
        let whole = compose(&tcp_key(false, false), 5000);
        let mut bytes = whole.clone();
        let pseudo =
            Sum::pseudo_v4([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), tcp::PROTO, 5000 - 34);
        put(&mut bytes, 50, pseudo.partial());
        let mut packet = Chainer::copy_of(&bytes, 0, PortId(0), &mut pool).unwrap();
        packet.checksum = Checksum::Partial { start: 34, offset: 16 };
        fill_checksum(&mut packet, &memory).unwrap();
        assert_eq!(packet.to_vec(&memory), whole);
        assert_eq!(packet.checksum, Checksum::Good);
        packet.free(&mut pool);
    }

    #[test]
    fn a_checksum_that_is_still_to_be_made_is_recognised_and_a_whole_one_is_not() {
        let mut pool = pool();
        let memory = Arc::clone(pool.memory());
        for v6 in [false, true] {
            let whole = compose(&tcp_key(v6, true), 200);
            let headers = parse(&whole, whole.len(), &mut Key::default()).unwrap();
            let mut packet = Chainer::copy_of(&whole, 0, PortId(0), &mut pool).unwrap();
            mark_partial(&mut packet, headers, &memory);
            assert_eq!(packet.checksum, Checksum::Unknown);
            let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
            let len = whole.len() - l4;
            let sum = pseudo_sum(&whole, headers.network, tcp::PROTO, l3, len).unwrap();
            put(packet.head_mut(&memory), l4 + tcp::CHECKSUM, sum.partial());
            mark_partial(&mut packet, headers, &memory);
            assert_eq!(packet.checksum, Checksum::Partial { start: headers.l4, offset: 16 });
            fill_checksum(&mut packet, &memory).unwrap();
            assert_eq!(packet.to_vec(&memory), whole);
            packet.free(&mut pool);
        }
    }

    #[test]
    fn lies_about_offsets_are_refused() {
        let mut pool = pool();
        let memory = Arc::clone(pool.memory());
        let mut packet = Chainer::copy_of(&[0; 60], 0, PortId(0), &mut pool).unwrap();
        packet.checksum = Checksum::Partial { start: 50, offset: 9 };
        assert_eq!(fill_checksum(&mut packet, &memory), Err(Unfinished::NoPlace));
        packet.segmentation = Segmentation { kind: Kind::Tcp4, header: 54, size: 2, segments: 3 };
        let (packet, why) =
            segment(packet, &mut pool, |_| unreachable!("nothing to cut")).unwrap_err();
        assert_eq!(why, Unfinished::NotSegmentable);
        packet.free(&mut pool);
    }

    #[test]
    fn frames_that_run_out_are_segments_lost_and_counted() {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(6)));
        let mut bytes = compose(&tcp_key(false, false), 0);
        let header = bytes.len();
        bytes.resize(header + 6000, 7);
        put(&mut bytes, 16, short(header + 6000 - 14));
        let mut packet = Chainer::copy_of(&bytes, 0, PortId(0), &mut pool).unwrap();
        packet.segmentation = Segmentation::new(Kind::Tcp4, header, 1000, bytes.len()).unwrap();
        let mut made = Vec::new();
        let cut = segment(packet, &mut pool, |segment| made.push(segment)).unwrap();
        assert_eq!(cut, Cut { made: 3, lost: 3 });
        made.into_iter().for_each(|segment| segment.free(&mut pool));
        assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), 6);
    }
}
