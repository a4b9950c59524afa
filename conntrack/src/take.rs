//! What connections take of a packet that is as they expect: the way of nearly all.
//!
//! Whoever has found out once what a packet is to its connections need not look them up for those that
//! are alike: a [`Standing`] leads to each, and says whether anything that was told of it has changed.

use packet::{Headers, Millis, PlainTcp, PlainUdp, Transport};

use crate::connection::Connection;
use crate::connections::{Connections, wrapped};
use crate::message::{is_datagram, transport};
use crate::news::Change;
use crate::quick::Ack;
use crate::standing::Standing;

impl Connections {
    /// Has connections take a packet of TCP or UDP, if they are as they stood and find in it what they
    /// have found in others; answers whether they have. If not, nothing has changed: it may be judged.
    ///
    /// * `bytes` begin where the packet does, and hold its headers; `len` is how long it is.
    /// * Cost: a line of memory for each, which other threads may write.
    pub fn take(
        &self,
        standings: &[Standing],
        headers: Headers,
        bytes: &[u8],
        len: usize,
        now: Millis,
    ) -> bool {
        let now = wrapped(now);
        let Ok((bytes, len)) = transport(headers, bytes, len) else { return false };
        match headers.transport {
            Transport::Tcp => self.take_elsewhere(standings, bytes, len, now),
            Transport::Udp => is_datagram(bytes, len) && self.take_datagram_of_all(standings, now),
            _ => false,
        }
    }

    /// The same of a plain packet of UDP.
    #[inline]
    pub fn take_plain_udp(
        &self,
        standings: &[Standing],
        packet: PlainUdp<'_>,
        now: Millis,
    ) -> bool {
        let carried = packet.carried();
        is_datagram(carried, carried.len()) && self.take_datagram(standings, wrapped(now))
    }

    /// The same of a plain packet of TCP.
    #[inline]
    pub fn take_plain_tcp(
        &self,
        standings: &[Standing],
        packet: PlainTcp<'_>,
        now: Millis,
    ) -> bool {
        let now = wrapped(now);
        if let [only] = standings {
            // What it says is read only when it is needed.
            let Some(connection) = self.standing_still(only, now) else { return false };
            if let Some(ack) = Ack::read_plain(packet) {
                let direction = only.direction();
                let Some(judged) = connection.judge_ack(direction, ack) else { return false };
                return connection.take_ack(direction, &judged, ack, self.zones().policies(), now);
            }
        }
        self.take_elsewhere(standings, packet.carried(), packet.carried().len(), now)
    }

    /// All judge an acknowledgement before one takes it.
    #[inline(never)]
    fn take_ack_of_all(
        &self,
        standings: &[Standing],
        ends: [u32; 2],
        acks: [u32; 2],
        window: u16,
        now: u32,
    ) -> bool {
        let ack = Ack::gather(ends, acks, window);
        let [first, others @ ..] = standings else { return false };
        let Some(connection) = self.standing_still(first, now) else { return false };
        let Some(judged) = connection.judge_ack(first.direction(), ack) else { return false };
        if !others.is_empty() && !self.take_ack_of_all(others, ends, acks, window, now) {
            return false;
        }
        let policies = self.zones().policies();
        let has_taken = connection.take_ack(first.direction(), &judged, ack, policies, now);
        // In a race it may not take what others have: as if it had come before what was faster.
        has_taken || !others.is_empty()
    }

    /// The same of an acknowledgement that is not where nearly all are, or not like them.
    #[inline(never)]
    fn take_elsewhere(&self, standings: &[Standing], bytes: &[u8], len: usize, now: u32) -> bool {
        let ack = Ack::read(bytes, len).or_else(|| Ack::read_all(bytes, len));
        let Some((ends, acks, window)) = ack.map(Ack::spread) else { return false };
        self.take_ack_of_all(standings, ends, acks, window, now)
    }

    /// All look whether they stand before one takes it.
    #[expect(clippy::inline_always, reason = "of what it needs and finds, most stays in registers")]
    #[inline(always)]
    fn take_datagram(&self, standings: &[Standing], now: u32) -> bool {
        let [first, others @ ..] = standings else { return false };
        let Some(connection) = self.standing_still(first, now) else { return false };
        if !others.is_empty() && !self.take_datagram_of_all(others, now) {
            return false;
        }
        if connection.take_datagram(self.zones().policies(), now) {
            self.tell(Change::Changed, first.id(), now);
        }
        true
    }

    #[inline(never)]
    fn take_datagram_of_all(&self, standings: &[Standing], now: u32) -> bool {
        self.take_datagram(standings, now)
    }

    #[inline]
    fn standing_still(&self, standing: &Standing, now: u32) -> Option<&Connection> {
        let connection = self.table.get(standing.id())?;
        let stands = standing.is_of(connection.version()) && connection.left(now).is_some();
        stands.then_some(connection)
    }
}
