//! What a session of tracked packets is tied to: connections that stand as they stood, and what the
//! later passes of its packets rest on.

use bytemuck::Zeroable;
use conntrack::{Connections, Standing};
use flowtable::{Cache, MegaflowId, Serial};
use packet::memory::prefetch;
use packet::{Headers, Key, Memory, Millis, Packet, PlainTcp, PlainUdp, Transport, verify};

use crate::dump::TiedTo;
use crate::trail::Trail;
use crate::translation::Translation;

/// The most connections that one session is tied to.
pub(crate) const MOST: usize = 4;

/// Ties of one session: a line that every hit reads, and one for what is translated or has changed.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Ties {
    standings: [Standing; MOST],
    /// How many of them there are, and of `flows`.
    len: u8,
    is_translated: u8,
    /// Room up to the next line.
    _room: [u8; 14],
    /// Those of the passes behind the first one.
    flows: [(MegaflowId, Serial); MOST],
    translation: Translation,
}

impl Ties {
    /// Of what a packet of this key has gone through; `None` if there is no room for that.
    pub(crate) fn of(trail: &Trail, key: &Key) -> Option<Self> {
        let mut ties = Self::zeroed();
        let (standings, flows) = (trail.standings(), trail.passes().get(1..)?);
        ties.standings.get_mut(..standings.len())?.copy_from_slice(standings);
        ties.flows.get_mut(..flows.len())?.copy_from_slice(flows);
        // There are only a few.
        ties.len = u8::try_from(standings.len() << 4 | flows.len()).ok()?;
        if let Some(translation) = trail.to().and_then(|to| Translation::new(key, &to)) {
            (ties.is_translated, ties.translation) = (1, translation);
        }
        Some(ties)
    }

    /// The connections.
    #[inline]
    pub(crate) fn standings(&self) -> &[Standing] {
        /// There are never more than there is room for.
        #[cold]
        const fn none<'a>() -> &'a [Standing] {
            &[]
        }
        self.standings.get(..usize::from(self.len >> 4)).unwrap_or_else(none)
    }

    /// Fetches the connections, and what the packet is translated by.
    #[inline]
    pub(crate) fn prefetch(&self, connections: &Connections) {
        if self.is_translated != 0 {
            prefetch(&self.translation);
        }
        let [first, others @ ..] = &self.standings;
        // There nearly always is one; if not, this is the place of any.
        connections.prefetch_standing(first);
        if self.len >= 2 << 4 {
            let count = usize::from(self.len >> 4) - 1;
            others.iter().take(count).for_each(|other| connections.prefetch_standing(other));
        }
    }

    fn flows(&self) -> &[(MegaflowId, Serial)] {
        let len = usize::from(self.len & 0xf);
        &self.flows[..len.min(MOST)]
    }

    /// Whether what the later passes rest on is still right.
    pub(crate) fn are_right(&self, cache: &mut Cache) -> bool {
        self.flows().iter().all(|(flow, serial)| cache.is_right(*flow, *serial))
    }

    /// Notes that what the later passes rest on has had packets.
    pub(crate) fn touch(&self, cache: &mut Cache, now: Millis) {
        self.flows().iter().for_each(|(flow, serial)| cache.touch(*flow, *serial, now));
    }

    /// Has the connections take a packet, all or none, and translates it. Answers whether they have: not
    /// if one is not as it was, or if the packet would change more than that it has come.
    #[inline]
    pub(crate) fn take(
        &self,
        connections: &Connections,
        packet: &mut Packet,
        headers: Headers,
        memory: &Memory,
        now: Millis,
    ) -> bool {
        if !self.have_taken(connections, packet, headers, memory, now) {
            return false;
        }
        if self.is_translated != 0 {
            self.translate(packet, headers, memory);
        }
        true
    }

    /// On its own: it is in nobody's way who is not translated.
    #[inline(never)]
    fn translate(&self, packet: &mut Packet, headers: Headers, memory: &Memory) {
        self.translation.apply(packet, headers, memory);
    }

    /// Has the connections take a packet, all or none; answers whether they have. None takes one whose
    /// checksum is wrong.
    #[inline(never)]
    fn have_taken(
        &self,
        connections: &Connections,
        packet: &mut Packet,
        headers: Headers,
        memory: &Memory,
        now: Millis,
    ) -> bool {
        match headers.transport {
            Transport::Tcp => self.have_taken_tcp(connections, packet, headers, memory, now),
            Transport::Udp => self.have_taken_udp(connections, packet, headers, memory, now),
            _ => self.have_taken_any(connections, packet, headers, memory, now),
        }
    }

    /// The same of TCP. Nearly all packets are plain.
    #[inline(never)]
    fn have_taken_tcp(
        &self,
        connections: &Connections,
        packet: &mut Packet,
        headers: Headers,
        memory: &Memory,
        now: Millis,
    ) -> bool {
        let len = packet.len();
        let (head, checksum) = packet.head_and_checksum(memory);
        let Some(plain) = PlainTcp::read(headers, head, len) else {
            return self.have_taken_any(connections, packet, headers, memory, now);
        };
        checksum.is_right_if(|| plain.is_right())
            && connections.take_plain_tcp(self.standings(), plain, now)
    }

    /// The same of UDP.
    #[inline(never)]
    fn have_taken_udp(
        &self,
        connections: &Connections,
        packet: &mut Packet,
        headers: Headers,
        memory: &Memory,
        now: Millis,
    ) -> bool {
        let len = packet.len();
        let (head, checksum) = packet.head_and_checksum(memory);
        let Some(plain) = PlainUdp::read(headers, head, len) else {
            return self.have_taken_any(connections, packet, headers, memory, now);
        };
        checksum.is_right_if(|| plain.is_right())
            && connections.take_plain_udp(self.standings(), plain, now)
    }

    /// The same of what is not plain.
    #[inline(never)]
    fn have_taken_any(
        &self,
        connections: &Connections,
        packet: &mut Packet,
        headers: Headers,
        memory: &Memory,
        now: Millis,
    ) -> bool {
        verify(packet, headers, memory)
            && connections.take(self.standings(), headers, packet.head(memory), packet.len(), now)
    }

    /// For whoever asks what a session of packets with this key is tied to.
    pub(crate) fn tell(&self, key: &Key) -> TiedTo {
        TiedTo {
            passes: 1 + self.flows().len(),
            standings: self.standings().to_vec(),
            translated: (self.is_translated != 0).then(|| self.translation.to(key)).flatten(),
        }
    }

    /// Whether two are tied alike.
    pub(crate) fn are(&self, other: &Self) -> bool {
        self.standings() == other.standings()
            && self.flows() == other.flows()
            && self.translation == other.translation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_hit_needs_is_in_one_line() {
        assert_eq!(std::mem::offset_of!(Ties, flows), 64);
        // And all of a translation of IPv4 in the next one.
        assert!(std::mem::offset_of!(Ties, translation) + 16 <= 128);
        assert_eq!(size_of::<Ties>(), 192);
    }
}
