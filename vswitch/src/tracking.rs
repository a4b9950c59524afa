//! What a packet is to its connection, found out when its flows ask for it: `ct(...)`.
//!
//! What was found out goes with the packet through its passes, apart from its key, so that what the
//! flows do not look at does not tell one kind of packet from another.

use std::sync::Arc;

use api::{CtNext, DropReason, ct_state};
use conntrack::{
    ConnectionId, Connections, Content, Direction, Judgement, Message, NotHeard, NotMade, Notes,
    Seen, Standing, Tuple, Tuples, Verdict,
};
use flowtable::{Connect, Tracked};
use packet::{Headers, Key, Memory, Millis, Packet, Seed, Span, Whole, verify};

use crate::nat::translate;
use crate::payload::rewrite;

/// The connections of the switch, as one worker asks for them.
#[derive(Clone, Debug)]
pub struct Tracker {
    connections: Arc<Connections>,
    /// The worker's number.
    member: usize,
}

/// What has been found out about a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Findings {
    /// As its key says it.
    pub(crate) tracked: Tracked,
    /// What it is, and what it was then, in the zone where it was judged last: a connection takes a
    /// packet once.
    judged: Option<(Tuple, Judgement)>,
    /// What its datagram says, if it is a fragment and all of it are here.
    pub(crate) whole: Option<Whole>,
    /// Whether what it announces there has been heard.
    heard: bool,
}

/// What has come of asking for a packet's connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    /// How its connection stands, if packets like this one will find the same.
    pub(crate) standing: Option<Standing>,
    /// Whether the connection has taken the packet before.
    pub(crate) again: bool,
    /// Whether the packet begins a connection, or would, as any other would that belongs to none.
    pub(crate) begins: bool,
    /// What the packet has become, if it is translated.
    pub(crate) to: Option<Tuple>,
    /// Whether anything in the packet may be different by now.
    pub(crate) changed: bool,
}

impl Findings {
    /// Of a packet that was held, whose key has said this.
    pub(crate) const fn again(tracked: Tracked) -> Self {
        Self { tracked, judged: None, heard: false, whole: None }
    }

    /// The same after other packets have taken passes, or copies of this one: they may have begun the
    /// connection that it would have begun.
    #[must_use]
    pub(crate) fn behind_others(self) -> Self {
        let judged = self.judged.filter(|(_, judgement)| judgement.connection.is_some());
        Self { judged, ..self }
    }

    /// Nothing is known of its connection any more.
    pub(crate) fn forget(&mut self) {
        *self = Self { whole: self.whole, ..Self::default() };
    }
}

impl Tracker {
    /// Of the worker of this number.
    pub const fn new(connections: Arc<Connections>, member: usize) -> Self {
        Self { connections, member }
    }

    /// Of the only worker, with room for so many connections.
    pub fn alone(connections: u32, seed: Seed) -> Self {
        Self::new(Arc::new(Connections::new(connections, 1, seed)), 0)
    }

    /// A batch begins: nothing is held that an earlier one has found.
    #[inline]
    pub(crate) fn begin(&self) {
        self.connections.begin(self.member);
    }

    /// Nothing is held, until the next batch.
    pub(crate) fn rest(&self) {
        self.connections.end(self.member);
    }

    /// A little of the work that is nobody's turn.
    pub(crate) fn sweep(&self, now: Millis) {
        /// Places that are looked at in one go. At one go a millisecond a worker looks at two million in nine
        /// seconds, of the ten that there are; more at once would make a turn long in which all of them go.
        const MOST: u32 = 224;
        self.connections.sweep(MOST, now);
    }

    /// Fetches what finding out about a packet in these zones begins with, and what keeping its
    /// connection does.
    pub(crate) fn prefetch(&self, zones: &[u16], key: &Key) {
        for tuple in zones.iter().filter_map(|zone| tuple_of(key, *zone)) {
            self.connections.prefetch(&tuple);
            if let Some(reply) = tuple.reversed() {
                self.connections.prefetch(&reply);
            }
        }
    }

    /// Finds out what a packet is that says this, and keeps its connection if that is asked for.
    pub(crate) fn connect(
        &self,
        findings: &mut Findings,
        connect: &Connect,
        (packet, memory): (&mut Packet, &Memory),
        (key, headers): (&Key, Headers),
        now: Millis,
    ) -> Result<Turn, DropReason> {
        let is_right = verify(packet, headers, memory);
        let (bytes, len) = (packet.head(memory), packet.len());
        let read = Message::read(key, headers, bytes, len, connect.zone);
        let Some(message) = read.ok().filter(|_| is_right) else {
            *findings = Findings::again(invalid(connect.zone));
            return Ok(Turn::default());
        };
        let mut turn = self.ask(findings, connect, &message, now)?;
        if let Some(to) = turn.to {
            translate(packet, headers, &message, (&to, None), memory);
            turn.changed = true;
        }
        turn.changed |= self.hear(findings, &message, connect, (packet, headers, memory), now)?;
        Ok(turn)
    }

    /// The same of a datagram that was cut into fragments, of which this is the first with its key and
    /// headers; `said` is where what it says begins there, and how long that is in all, unless its
    /// checksum is wrong. Answers with what it says, and what its tuple is to become.
    pub(crate) fn connect_datagram(
        &self,
        findings: &mut Findings,
        connect: &Connect,
        (key, headers, bytes): (&Key, Headers, &[u8]),
        said: Option<(usize, usize)>,
        now: Millis,
    ) -> Result<Option<(Message, Tuple)>, DropReason> {
        let read = |said| Message::read_fragmented(key, headers, bytes, said, connect.zone).ok();
        let Some(message) = said.and_then(read) else {
            *findings = Findings::again(invalid(connect.zone));
            return Ok(None);
        };
        let turn = self.ask(findings, connect, &message, now)?;
        // What such a connection says would have to be read, and its numbers changed.
        match self.to_be_heard(findings, connect) {
            Some(_) => Err(DropReason::CtRewrite),
            None => Ok(turn.to.map(|to| (message, to))),
        }
    }

    /// Finds out what a packet is that says this, and keeps its connection if that is asked for.
    fn ask(
        &self,
        findings: &mut Findings,
        connect: &Connect,
        message: &Message,
        now: Millis,
    ) -> Result<Turn, DropReason> {
        let known = self.known(findings, &message.tuple);
        let again = known.is_some_and(|known| known.connection.is_some());
        findings.heard &= again;
        let mut turn = Turn { again, ..Turn::default() };
        let mut judgement = known.unwrap_or_else(|| self.connections.judge(message, now));
        let mut begins = judgement.verdict == Verdict::New && judgement.connection.is_none();
        if connect.commit && judgement.verdict != Verdict::Invalid {
            let is_made;
            (judgement, is_made) = self.commit(message, judgement, connect, now)?;
            // Another thread may have been faster.
            begins &= is_made;
        }
        if connect.nat.is_some()
            && judgement.verdict != Verdict::Invalid
            && let Some(id) = judgement.connection
            && let Some(to) = self.connections.translated(id, judgement.direction)
            && to != message.tuple
        {
            turn.to = Some(to);
        }
        let seen = match judgement.connection {
            Some(id) => self.connections.seen(id),
            None if judgement.verdict == Verdict::New => {
                self.connections.announced(&message.tuple, now)
            }
            None => None,
        };
        if let (Some(id), Some(seen), Verdict::Established) =
            (judgement.connection, &seen, judgement.verdict)
            && matches!(message.content, Content::Tcp(_) | Content::Udp)
        {
            turn.standing = self.connections.standing(id, judgement.direction, seen);
        }
        turn.begins = begins
            && seen.is_none_or(|seen| seen.master.is_none())
            && !connect.force
            && connect.alg.is_none();
        findings.judged = Some((message.tuple, judgement));
        findings.tracked = told(&message.tuple, judgement, connect, seen);
        Ok(turn)
    }

    /// The connection of a packet whose announcements are to be heard, once; if it is translated, that
    /// waits until the packet is.
    fn to_be_heard(
        &self,
        findings: &Findings,
        connect: &Connect,
    ) -> Option<(ConnectionId, Direction)> {
        let (_, Judgement { verdict, direction, connection }) = findings.judged?;
        let id = connection.filter(|id| self.connections.is_watched(*id))?;
        let is_its = matches!(verdict, Verdict::New | Verdict::Established);
        let is_translated =
            || self.connections.seen(id).is_some_and(|seen| translations(&seen.tuples) != 0);
        let waits = connect.nat.is_none() && is_translated();
        (!findings.heard && is_its && !waits).then_some((id, direction))
    }

    /// Hears what a packet announces, if it is to be heard, and rewrites it; answers whether it has.
    fn hear(
        &self,
        findings: &mut Findings,
        message: &Message,
        connect: &Connect,
        (packet, headers, memory): (&mut Packet, Headers, &Memory),
        now: Millis,
    ) -> Result<bool, DropReason> {
        let Some(speaker) = self.to_be_heard(findings, connect) else { return Ok(false) };
        findings.heard = true;
        let bytes = (packet.head(memory), packet.len());
        let heard = self.connections.hear(speaker, message, headers, bytes, now);
        let heard = heard.map_err(|why| match why {
            NotHeard::Cut => DropReason::CtLineCut,
            NotHeard::Contradicts => DropReason::CtRewrite,
            NotHeard::Clashes => DropReason::CtClash,
            NotHeard::NoPort => DropReason::CtNoPort,
            NotHeard::Full => DropReason::CtExpectFull,
        })?;
        rewrite(packet, headers, &heard, memory).then_some(true).ok_or(DropReason::CtRewrite)
    }

    /// Whether control is to hear what has become of connections.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.connections.has_unknown_news()
    }

    /// All connections.
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// What a packet is, if that was found out in this zone: of a connection that is still there, or
    /// one that may begin another and is what it was.
    fn known(&self, findings: &Findings, tuple: &Tuple) -> Option<Judgement> {
        let (judged, judgement) = findings.judged.as_ref()?;
        let is_known = match judgement.connection {
            Some(id) => judged.zone() == tuple.zone() && self.connections.has(id),
            None => judgement.verdict == Verdict::New && judged == tuple,
        };
        is_known.then_some(*judgement)
    }

    /// Keeps the connection of a packet, and writes to it what flows say. Answers also whether it was made
    /// for this packet.
    fn commit(
        &self,
        message: &Message,
        judgement: Judgement,
        connect: &Connect,
        now: Millis,
    ) -> Result<(Judgement, bool), DropReason> {
        /// So often a packet is judged again because another thread makes a connection of its ends.
        const TRIES: u32 = 4;
        let notes = notes(connect);
        let mut judgement = judgement;
        for _ in 0..TRIES {
            let known = judgement.connection.filter(|id| self.stays(*id, judgement, connect));
            if let Some(id) = known {
                self.connections.note(id, &notes, now);
                return Ok((judgement, false));
            }
            match self.connections.commit(message, connect.nat.as_ref(), &notes, now) {
                Ok(id) => {
                    let (verdict, direction) = (Verdict::New, Direction::Original);
                    return Ok((Judgement { verdict, direction, connection: Some(id) }, true));
                }
                // The connection that it belonged to has made room for nothing.
                Err(NotMade::BeginsNone) => {
                    let (verdict, direction) = (Verdict::Invalid, Direction::Original);
                    return Ok((Judgement { verdict, direction, connection: None }, false));
                }
                Err(NotMade::Exists) => {
                    judgement = self.connections.judge(message, now);
                    // It is not of its own ends.
                    if judgement.connection.is_none() {
                        break;
                    }
                }
                Err(why) => return Err(refusal(why).unwrap_or(DropReason::CtClash)),
            }
        }
        Err(DropReason::CtClash)
    }

    /// Whether a connection is kept as it is: not if the packet is to begin one of its own, the other
    /// way.
    fn stays(&self, id: ConnectionId, judgement: Judgement, connect: &Connect) -> bool {
        let makes_room = connect.force && judgement.direction == Direction::Reply;
        if makes_room {
            self.connections.remove(id);
        }
        !makes_room
    }
}

/// Why a packet is dropped whose connection is not made; `None` if there may be one.
pub(crate) const fn refusal(why: NotMade) -> Option<DropReason> {
    match why {
        NotMade::Full => Some(DropReason::CtFull),
        NotMade::ZoneLimit => Some(DropReason::CtZoneLimit),
        NotMade::NoPort => Some(DropReason::CtNoPort),
        NotMade::Exists | NotMade::BeginsNone => None,
    }
}

/// What is written to the connection that is asked for.
pub(crate) const fn notes(connect: &Connect) -> Notes {
    Notes { mark: connect.mark, label: connect.label, alg: connect.alg }
}

/// What flows see of a packet, of whose connection this was seen.
fn told(own: &Tuple, judgement: Judgement, connect: &Connect, seen: Option<Seen>) -> Tracked {
    let mut bits = ct_state::TRK
        | match judgement.verdict {
            Verdict::Invalid => return invalid(connect.zone),
            Verdict::New => ct_state::NEW,
            Verdict::Established => ct_state::EST,
            Verdict::Related => ct_state::REL,
        };
    if judgement.direction == Direction::Reply {
        bits |= ct_state::RPL;
    }
    let Some(Seen { tuples, mark, label, master, .. }) = seen else {
        return words(bits, connect.zone, own, 0, 0);
    };
    bits |= translations(&tuples);
    match master {
        // It stays related, and is known by the one that has announced it.
        Some(master) => words(bits | ct_state::REL, connect.zone, &master, mark, label),
        None => words(bits, connect.zone, &tuples.original, mark, label),
    }
}

/// What flows would see of a packet, if it were this to its connection.
pub(crate) fn assume(key: &Key, connect: &Connect, next: CtNext) -> Tracked {
    let own = tuple_of(key, connect.zone).filter(|_| next.bits() & ct_state::INV == 0);
    let is_reply = next.bits() & ct_state::RPL != 0;
    let original = own.and_then(|own| if is_reply { own.reversed() } else { Some(own) });
    let Some(original) = original else { return invalid(connect.zone) };
    let (mark, label) = if connect.commit { (connect.mark.0, connect.label.0) } else { (0, 0) };
    words(next.bits(), connect.zone, &original, mark, label)
}

/// The tuple of a packet that is no query, if it is one of IP.
#[inline]
pub(crate) fn tuple_of(key: &Key, zone: u16) -> Option<Tuple> {
    let ports = [Key::TP_SRC, Key::TP_DST].map(|span| u16::try_from(key.word(span)).unwrap_or(0));
    Tuple::of(key, ports, zone)
}

/// Whether source and destination of a connection are translated, as bits of `ct_state`.
fn translations(Tuples { original, reply }: &Tuples) -> u32 {
    let Some(translated) = reply.reversed() else { return 0 };
    let [src, dst] = original.differs(&translated);
    (if src { ct_state::SNAT } else { 0 }) | (if dst { ct_state::DNAT } else { 0 })
}

/// What flows see of a packet that belongs to no connection, and begins none.
pub(crate) fn invalid(zone: u16) -> Tracked {
    let mut tracked = Tracked::default();
    put(&mut tracked, Key::CT_STATE, (ct_state::INV | ct_state::TRK).into());
    put(&mut tracked, Key::CT_ZONE, zone.into());
    tracked
}

/// What flows see of a packet and its connection.
fn words(bits: u32, zone: u16, original: &Tuple, mark: u32, label: u128) -> Tracked {
    let ([src, dst], [src_port, dst_port]) = (original.wide(), original.fields());
    let mut tracked = Tracked::default();
    for (span, value) in [
        (Key::CT_STATE, bits.into()),
        (Key::CT_MARK, mark.into()),
        (Key::CT_ZONE, zone.into()),
        (Key::CT_NW_PROTO, original.proto().into()),
        (Key::CT_TP_SRC, src_port.into()),
        (Key::CT_TP_DST, dst_port.into()),
    ] {
        put(&mut tracked, span, value);
    }
    let label = [label >> 64, label & u128::from(u64::MAX)];
    put_wide(&mut tracked, Key::CT_LABEL, label.map(|half| u64::try_from(half).unwrap_or(0)));
    put_wide(&mut tracked, Key::CT_IPV6_SRC, src);
    put_wide(&mut tracked, Key::CT_IPV6_DST, dst);
    tracked
}

/// Writes a field that is zero so far.
#[inline]
fn put(tracked: &mut Tracked, span: Span, value: u64) {
    tracked[span.word() - Key::TRACKED.start] |= span.in_word(value);
}

/// Writes both words of a field of 128 bits.
#[inline]
fn put_wide(tracked: &mut Tracked, span: Span, [high, low]: [u64; 2]) {
    let at = span.word() - Key::TRACKED.start;
    (tracked[at - 1], tracked[at]) = (high, low);
}

#[cfg(test)]
mod tests {
    use super::*;
    use conntrack::Ends;
    use packet::udp;

    /// What such a packet then did was what all did that began connections.
    #[test]
    fn who_is_overtaken_by_another_thread_begins_nothing() {
        let tracker = Tracker::alone(8, Seed(7));
        let [here, there] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|bytes| bytes.into());
        let ends =
            Ends { src: here, dst: there, src_port: 1000, dst_port: 2000, proto: udp::PROTO };
        let tuple = Tuple::new(ends, 1).unwrap();
        let message = |tuple| Message { tuple, content: Content::Udp };
        let (now, mut findings) = (Millis(0), Findings::default());
        let mut ask = |commit| {
            let (mark, label) = ((0, 0), (0, 0));
            let (force, nat, alg, table) = (false, None, None, None);
            let connect = Connect { zone: 1, commit, force, nat, alg, mark, label, table };
            let turn = tracker.ask(&mut findings, &connect, &message(tuple), now).unwrap();
            (turn.begins, findings.judged.unwrap().1)
        };
        let (begins, judgement) = ask(false);
        assert_eq!((begins, judgement.verdict), (true, Verdict::New));
        let other = message(tuple.reversed().unwrap());
        tracker.connections().commit(&other, None, &Notes::default(), now).unwrap();
        let (begins, Judgement { verdict, direction, .. }) = ask(true);
        assert_eq!((begins, verdict, direction), (false, Verdict::Established, Direction::Reply));
    }
}
