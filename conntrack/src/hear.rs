//! What packets of watched connections announce, and what becomes of their text and their sequence
//! numbers where addresses and ports are translated.

use std::ops::Range;

use api::Alg;
use packet::tcp::Tcp;
use packet::{Headers, Millis, udp};

use crate::Direction;
use crate::connections::{Connections, wrapped};
use crate::expectations::{Expectation, NotExpected};
use crate::ftp::{self, Announcement, Line, Text};
use crate::kin::{MOST_EXPECTED, Watch};
use crate::message::{Content, Message, transport};
use crate::segment::{Kind, Segment, before};
use crate::shifts::Shifts;
use crate::table::{ConnectionId, Tuples};
use crate::tftp;
use crate::tuple::{Ends, Tuple};

/// What is to be done with a packet of a watched connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Heard {
    /// Texts that are to be others, first to last.
    pub rewrites: Vec<Rewrite>,
    /// What its sequence numbers become, if they change.
    pub numbers: Option<Numbers>,
}

/// A text that is to be another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rewrite {
    /// Where it stands, from the packet's first byte.
    pub place: Range<usize>,
    /// What it becomes.
    pub text: Text,
}

/// What the sequence numbers of a segment become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Numbers {
    own: Shifts,
    other: Shifts,
}

impl Numbers {
    /// Its own number.
    pub fn seq(&self, number: u32) -> u32 {
        self.own.forth(number)
    }

    /// A number that it acknowledges.
    pub fn ack(&self, number: u32) -> u32 {
        self.other.back(number)
    }
}

/// Why a packet of a watched connection may not pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotHeard {
    /// A line that may announce a connection is not all there.
    #[error("a line that may announce a connection is not all there")]
    Cut,
    /// It says something else than it did when it was sent before.
    #[error("it says something else than it did when it was sent before")]
    Contradicts,
    /// Another connection is expected between the same ends.
    #[error("another connection is expected between the same ends")]
    Clashes,
    /// Every port that could be announced instead is taken.
    #[error("every port that could be announced instead is taken")]
    NoPort,
    /// As many connections are expected as may be.
    #[error("there is no room for another expected connection")]
    Full,
}

/// So many ports are tried; if all are taken, the announcement does not pass.
const TRIES: u16 = 128;

/// A connection that announces, as those see it on either side.
struct Speaker<'a> {
    connections: &'a Connections,
    id: ConnectionId,
    direction: Direction,
    /// Of the packets that announce.
    own: Tuple,
    /// Of those that answer, where they come from.
    outer: Tuple,
    now: u32,
}

impl Connections {
    /// Whether the packets of a connection are to be heard, and each of them.
    pub fn is_watched(&self, id: ConnectionId) -> bool {
        self.table.get(id).is_some_and(crate::connection::Connection::is_watched)
    }

    /// Reads a packet of a watched connection: what it announces is expected from now on.
    ///
    /// * `bytes` begin where the packet does, and hold its headers; `len` is how long it is.
    /// * Its answer is about the packet as its sender has sent it, but for addresses and ports.
    pub fn hear(
        &self,
        (id, direction): (ConnectionId, Direction),
        message: &Message,
        headers: Headers,
        (bytes, len): (&[u8], usize),
        now: Millis,
    ) -> Result<Heard, NotHeard> {
        let Some(Tuples { original, reply }) = self.table.tuples(id) else {
            return Ok(Heard::default());
        };
        let (own, outer) = match direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        };
        let speaker = Speaker { connections: self, id, direction, own, outer, now: wrapped(now) };
        let payload = payload(headers, bytes, len, &message.content);
        let work = |alg, watch: &mut Watch| match (alg, &message.content) {
            (Alg::Ftp, Content::Tcp(segment)) => speaker.lines(watch, segment, bytes, payload),
            (Alg::Tftp, Content::Udp) => speaker.request(watch, &bytes[payload]),
            _ => Ok(Heard::default()),
        };
        self.table.relations().watch(id.place(), work).unwrap_or_else(|| Ok(Heard::default()))
    }

    /// A segment as the other side would see it, of whose text nothing was rewritten.
    pub(crate) fn own_numbers(
        &self,
        id: ConnectionId,
        direction: Direction,
        segment: &Segment,
    ) -> Segment {
        let other = direction.reversed() as usize;
        let work = |_, watch: &mut Watch| watch.sides[other].shifts;
        let shifts = self.table.relations().watch(id.place(), work).unwrap_or_default();
        Segment { ack: shifts.back(segment.ack), sack: shifts.back(segment.sack), ..*segment }
    }
}

/// Where the payload stands, as far as it is in these bytes.
fn payload(headers: Headers, bytes: &[u8], len: usize, content: &Content) -> Range<usize> {
    let Ok((inner, len)) = transport(headers, bytes, len) else { return 0..0 };
    let header = match content {
        Content::Tcp(_) => Tcp::split(inner).map_or(usize::MAX, |(tcp, _)| tcp.header_len()),
        _ => udp::LEN,
    };
    let (start, end) = (usize::from(headers.l4), inner.len().min(len));
    if header >= end { 0..0 } else { start + header..start + end }
}

impl Speaker<'_> {
    /// Reads a segment of FTP, line by line.
    fn lines(
        &self,
        watch: &mut Watch,
        segment: &Segment,
        bytes: &[u8],
        payload: Range<usize>,
    ) -> Result<Heard, NotHeard> {
        let mut rewrites = Vec::new();
        let side = &mut watch.sides[self.direction as usize];
        side.shifts.go_on(segment.seq);
        if matches!(segment.kind, Kind::Syn | Kind::SynAck) {
            side.note_start(segment.end);
        }
        // Before anybody has answered, nobody has said that it is FTP.
        let payload = if self.is_answered() { payload } else { 0..0 };
        let text = bytes.get(payload.clone()).unwrap_or_default();
        // What begins within a line is none.
        let mut at = match side.is_start(segment.seq) {
            true => 0,
            false => text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1),
        };
        while at < text.len() {
            let (line, len) = ftp::read(&text[at..], self.direction);
            match line {
                Line::Cut => return Err(NotHeard::Cut),
                Line::Announces(said) => {
                    let [start, end] = [at, at + len].map(|at| number(segment, at));
                    if let Some(text) = self.announce(watch, &said, start..end)? {
                        let Range { start, end } = said.place;
                        let line = payload.start + at;
                        rewrites.push(Rewrite { place: line + start..line + end, text });
                    }
                }
                Line::Other => {}
            }
            at += len;
        }
        let sides = &mut watch.sides;
        if text.last() == Some(&b'\n') {
            sides[self.direction as usize].note_start(number(segment, text.len()));
        }
        let [own, other] = [self.direction, self.direction.reversed()]
            .map(|direction| sides[direction as usize].shifts);
        let numbers = (!own.is_none() || !other.is_none()).then_some(Numbers { own, other });
        Ok(Heard { rewrites, numbers })
    }

    fn is_answered(&self) -> bool {
        let connection = self.connections.table.get(self.id);
        connection.is_some_and(|connection| connection.known().replied)
    }

    /// Expects what a line of these numbers announces; answers with what it must say instead.
    fn announce(
        &self,
        watch: &mut Watch,
        said: &Announcement,
        line: Range<u32>,
    ) -> Result<Option<Text>, NotHeard> {
        // Who names somebody else opens nothing for them.
        if said.address.is_some_and(|address| address != self.own.src()) {
            return Ok(None);
        }
        let shifts = &watch.sides[self.direction as usize].shifts;
        let before_it = shifts.at(line.start);
        let port = match before_it {
            // It is sent again: it says the same, and is perhaps no longer expected.
            Some(change) if change.end == line.end => change.port,
            Some(_) => return Err(NotHeard::Contradicts),
            None => self.expect_any(watch, said.port)?,
        };
        let address = self.outer.dst();
        if (said.address.unwrap_or(address), said.port) == (address, port) {
            return Ok(None);
        }
        let text = said.form.write(address, port).ok_or(NotHeard::Contradicts)?;
        let old = said.place.end - said.place.start;
        // Both are short.
        let [new, old] =
            [text.as_bytes().len(), old].map(|len| u32::try_from(len).unwrap_or(u32::MAX));
        let growth = new.wrapping_sub(old);
        match before_it {
            Some(change) if change.growth() == growth => {}
            Some(_) => return Err(NotHeard::Contradicts),
            None => {
                let shifts = &mut watch.sides[self.direction as usize].shifts;
                if shifts.end().is_some_and(|end| before(line.start, end)) {
                    return Err(NotHeard::Contradicts);
                }
                shifts.push(line.start, line.end, growth, port);
            }
        }
        Ok(Some(text))
    }

    /// Expects a connection to this port of the speaker; answers with the port that the others have to
    /// go to.
    fn expect_any(&self, watch: &mut Watch, port: u16) -> Result<u16, NotHeard> {
        if self.outer.dst() == self.own.src() {
            // The ports of an address that is its own are its own affair.
            return self.expect(watch, port, port).map(|()| port);
        }
        let dice = self.connections.roll();
        let reserved = self.connections.host.ports_of(self.outer.dst());
        let may_keep = reserved.as_ref().is_none_or(|reserved| reserved.contains(&port));
        let ports = reserved.unwrap_or(1024..=u16::MAX);
        let [first, count] = [u32::from(*ports.start()), u32::try_from(ports.len()).unwrap_or(1)];
        let others = (0..TRIES).filter_map(|n| {
            let spread = u16::try_from(dice >> 48).unwrap_or(0).wrapping_add(n.wrapping_mul(509));
            u16::try_from(first + u32::from(spread) % count).ok()
        });
        let own = may_keep.then_some(port);
        for outer in own.into_iter().chain(others) {
            if self.is_in_use(outer) {
                continue;
            }
            match self.expect(watch, outer, port) {
                Err(NotHeard::Clashes) => {}
                done => return done.map(|()| outer),
            }
        }
        Err(NotHeard::NoPort)
    }

    /// Expects a connection to this outer port, which is the speaker's other one.
    fn expect(&self, watch: &mut Watch, outer: u16, inner: u16) -> Result<(), NotHeard> {
        let expected = with_ports(&self.outer, [0, outer]).ok_or(NotHeard::Clashes)?;
        let is_translated = self.own.reversed() != Some(self.outer);
        let to = self.own.reversed().and_then(|back| with_ports(&back, [0, inner]));
        let expectation = Expectation::new(self.id, to.filter(|_| is_translated), self.now);
        self.add(watch, expected, expectation)
    }

    /// Whether what comes to this outer port would be of another connection: a server comes from the
    /// port in front of its own, if from any that is known (RFC 959 §3.2).
    fn is_in_use(&self, outer: u16) -> bool {
        let active = [self.outer.src_port().wrapping_sub(1), outer];
        self.direction == Direction::Original
            && with_ports(&self.outer, active)
                .is_some_and(|tuple| self.connections.table.find(&tuple).is_some())
    }

    fn add(
        &self,
        watch: &mut Watch,
        expected: Tuple,
        expectation: Expectation,
    ) -> Result<(), NotHeard> {
        let expectations = &self.connections.table.relations().expectations;
        if !watch.announced.contains(&expected)
            && watch.announced.len() >= MOST_EXPECTED
            && let Some(oldest) = watch.announced.pop_front()
        {
            expectations.remove(&oldest, self.id);
        }
        match expectations.add(&expected, expectation, self.now) {
            Ok(()) => {}
            Err(NotExpected::Taken) => return Err(NotHeard::Clashes),
            Err(NotExpected::Full) => return Err(NotHeard::Full),
        }
        watch.announced.retain(|known| *known != expected);
        watch.announced.push_back(expected);
        Ok(())
    }

    /// Reads a datagram of TFTP.
    fn request(&self, watch: &mut Watch, payload: &[u8]) -> Result<Heard, NotHeard> {
        if self.direction == Direction::Original && tftp::is_request(payload) {
            self.expect(watch, self.outer.dst_port(), self.own.src_port())?;
        }
        Ok(Heard::default())
    }
}

/// The number of a byte of a segment's payload.
fn number(segment: &Segment, at: usize) -> u32 {
    // A packet is shorter.
    segment.seq.wrapping_add(u32::try_from(at).unwrap_or(0))
}

/// A tuple between the same addresses.
fn with_ports(tuple: &Tuple, [src_port, dst_port]: [u16; 2]) -> Option<Tuple> {
    Tuple::new(Ends { src_port, dst_port, ..tuple.ends() }, tuple.zone())
}

/// Whether what a watched connection announces comes by this protocol.
pub(crate) const fn fits(alg: Alg, content: &Content) -> bool {
    matches!((alg, content), (Alg::Ftp, Content::Tcp(_)) | (Alg::Tftp, Content::Udp))
}
