//! Showing packets to whoever asked: copies of their first bytes, through a ring that is never waited for.

use api::DropReason;
use flowtable::Millis;
use packet::{Memory, Packet, PortId};
use rtrb::{Consumer, Producer, RingBuffer};

/// Which way a packet was going.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// It came in.
    In,
    /// It went out.
    Out,
}

/// What a capture is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The packets of one port, either way.
    Port(PortId),
    /// Whatever is dropped.
    Drops,
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
    /// When, to the turn of the worker.
    pub time: Millis,
    /// How long it is.
    pub len: u32,
    /// Bytes that were kept.
    kept: u16,
    bytes: [u8; Sight::MOST],
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
}

/// A request to see packets: the worker's side and the other one. Packets that find the ring full are not
/// shown; the consumer sees a gap only in its count.
pub fn watch(number: u64, subject: Subject, snap: usize) -> (Watch, Consumer<Sight>) {
    let (ring, sights) = RingBuffer::new(512);
    (Watch { number, subject, snap: snap.min(Sight::MOST), ring }, sights)
}

/// What one worker shows.
#[derive(Debug, Default)]
pub struct Capture {
    watches: Vec<Watch>,
    /// The time of this turn.
    pub now: Millis,
}

impl Capture {
    /// Begins to show.
    pub fn add(&mut self, watch: Watch) {
        self.watches.push(watch);
    }

    /// Ends it.
    pub fn remove(&mut self, number: u64) {
        self.watches.retain(|watch| watch.number != number);
    }

    /// Whether somebody wants to see packets of `port`.
    #[inline]
    pub fn sees(&self, port: PortId, _direction: Direction) -> bool {
        !self.watches.is_empty()
            && self.watches.iter().any(|watch| watch.subject == Subject::Port(port))
    }

    /// Whether somebody wants to see what is dropped.
    #[inline]
    pub fn sees_drops(&self) -> bool {
        !self.watches.is_empty() && self.watches.iter().any(|watch| watch.subject == Subject::Drops)
    }

    /// Shows a packet that passes `port`.
    #[cold]
    pub fn packet(&mut self, port: PortId, direction: Direction, packet: &Packet, memory: &Memory) {
        self.show(Subject::Port(port), port, direction, None, packet, memory);
    }

    /// Shows a packet that is dropped.
    #[cold]
    pub fn dropped(&mut self, reason: DropReason, packet: &Packet, memory: &Memory) {
        self.show(Subject::Drops, packet.ingress, Direction::In, Some(reason), packet, memory);
    }

    fn show(
        &mut self,
        subject: Subject,
        port: PortId,
        direction: Direction,
        reason: Option<DropReason>,
        packet: &Packet,
        memory: &Memory,
    ) {
        for watch in self.watches.iter_mut().filter(|watch| watch.subject == subject) {
            let mut bytes = [0; Sight::MOST];
            let mut kept = 0;
            for chunk in packet.chunks(memory) {
                let take = chunk.len().min(watch.snap - kept);
                bytes[kept..kept + take].copy_from_slice(&chunk[..take]);
                kept += take;
            }
            let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
            let kept = u16::try_from(kept).unwrap_or(0);
            let sight = Sight { port, direction, reason, time: self.now, len, kept, bytes };
            // A ring that is full loses the sight, never the packet.
            let _ = watch.ring.push(sight);
        }
    }
}
