//! Showing packets to whoever asked: copies of their first bytes, through a ring that is never
//! waited for.

use std::time::Duration;

use api::DropReason;
use api::request::Direction;
use packet::{Memory, Packet, PortId};
use rtrb::{Consumer, Producer, RingBuffer};

/// Packets that wait to be passed on.
pub const RING: usize = 512;

/// What a capture is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The packets that pass one port this way.
    Port(PortId, Direction),
    /// Whatever is dropped.
    Drops,
}

impl Subject {
    fn covers(self, port: PortId, direction: Direction) -> bool {
        matches!(self, Self::Port(of, way) if of == port && (way == direction || way == Direction::Both))
    }
}

/// A packet that was seen.
#[derive(Debug)]
pub struct Sight {
    /// Where: the port it passed, or the one it came in by if it was dropped.
    pub port: PortId,
    /// Which way; a dropped one came in.
    pub direction: Direction,
    /// Why it was dropped, if it was.
    pub reason: Option<DropReason>,
    /// When its batch was received.
    pub time: Duration,
    /// How long it is.
    pub len: u32,
    /// Packets before it that found the ring full.
    pub lost: u32,
    /// Bytes that were kept.
    kept: u16,
    bytes: [u8; Self::MOST],
}

impl Sight {
    /// Bytes that are kept at most.
    pub const MOST: usize = 2048;

    /// The bytes that were kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.kept)]
    }
}

/// One request to see packets, on the worker's side.
#[derive(Debug)]
pub struct Watch {
    /// Who asked.
    pub number: u64,
    subject: Subject,
    snap: usize,
    ring: Producer<Sight>,
    /// Packets that found the ring full since the last one that did not.
    lost: u32,
}

/// A request to see packets, `snap` bytes of each: the worker's side and the other one.
pub fn watch(number: u64, subject: Subject, snap: usize) -> (Watch, Consumer<Sight>) {
    let (ring, sights) = RingBuffer::new(RING);
    (Watch { number, subject, snap: snap.min(Sight::MOST), ring, lost: 0 }, sights)
}

/// What one worker shows.
#[derive(Debug, Default)]
pub struct Capture {
    watches: Vec<Watch>,
    /// The time of this batch.
    pub now: Duration,
}

impl Capture {
    /// Begins to show.
    pub fn add(&mut self, watch: Watch) {
        self.watches.push(watch);
    }

    /// Ends it; answers with what is to be put away.
    pub fn remove(&mut self, number: u64) -> Option<Watch> {
        let at = self.watches.iter().position(|watch| watch.number == number)?;
        Some(self.watches.swap_remove(at))
    }

    /// Whether nobody wants to see anything.
    pub const fn is_idle(&self) -> bool {
        self.watches.is_empty()
    }

    /// Whether somebody wants to see packets that pass `port` this way.
    #[inline]
    pub fn sees(&self, port: PortId, direction: Direction) -> bool {
        !self.watches.is_empty()
            && self.watches.iter().any(|watch| watch.subject.covers(port, direction))
    }

    /// Whether somebody wants to see what is dropped.
    #[inline]
    pub fn sees_drops(&self) -> bool {
        !self.watches.is_empty() && self.watches.iter().any(|watch| watch.subject == Subject::Drops)
    }

    /// Shows a packet that passes `port`.
    #[cold]
    pub fn packet(&mut self, port: PortId, direction: Direction, packet: &Packet, memory: &Memory) {
        let now = self.now;
        for watch in self.watches.iter_mut().filter(|watch| watch.subject.covers(port, direction)) {
            watch.show(port, direction, None, now, packet, memory);
        }
    }

    /// Shows a packet that is dropped.
    #[cold]
    pub fn dropped(&mut self, reason: DropReason, packet: &Packet, memory: &Memory) {
        let now = self.now;
        for watch in self.watches.iter_mut().filter(|watch| watch.subject == Subject::Drops) {
            watch.show(packet.ingress, Direction::Rx, Some(reason), now, packet, memory);
        }
    }
}

impl Watch {
    fn show(
        &mut self,
        port: PortId,
        direction: Direction,
        reason: Option<DropReason>,
        time: Duration,
        packet: &Packet,
        memory: &Memory,
    ) {
        if self.ring.is_full() {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let mut bytes = [0; Sight::MOST];
        let mut kept = 0;
        for chunk in packet.chunks(memory) {
            let take = chunk.len().min(self.snap - kept);
            bytes[kept..kept + take].copy_from_slice(&chunk[..take]);
            kept += take;
        }
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let kept = u16::try_from(kept).unwrap_or(0);
        let lost = std::mem::take(&mut self.lost);
        // It has room: this is the only producer.
        let _ = self.ring.push(Sight { port, direction, reason, time, len, lost, kept, bytes });
    }
}
