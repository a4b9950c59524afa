//! Connections for the interpreter: one at a time, and every field spelled out.

use super::checksums;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::DropReason;
use conntrack::{
    Connections, Content, Direction, Judgement, Message, NotMade, Notes, Seen, Tuple, Tuples,
    Verdict,
};
use flowtable::interpreter::{Found, Tracker};
use flowtable::{Connect, Tracked};
use packet::{Key, Millis, Span, parse};
use vswitch::clock::millis;

/// What the interpreter asks.
#[derive(Debug)]
pub(crate) struct Plain {
    connections: Arc<Connections>,
    /// What has been answered, by the number that stands for it.
    judgements: Vec<Judgement>,
}

impl Plain {
    pub(crate) const fn new(connections: Arc<Connections>) -> Self {
        Self { connections, judgements: Vec::new() }
    }

    fn keep(
        &self,
        message: &Message,
        judgement: Judgement,
        connect: &Connect,
        now: Millis,
    ) -> Result<Judgement, DropReason> {
        let notes = Notes { mark: connect.mark, label: connect.label, alg: connect.alg };
        let is_reply = judgement.direction == Direction::Reply;
        match judgement.connection {
            Some(id) if connect.force && is_reply => assert!(self.connections.remove(id)),
            Some(id) => {
                self.connections.note(id, &notes, now);
                return Ok(judgement);
            }
            None => {}
        }
        match self.connections.commit(message, connect.nat.as_ref(), &notes, now) {
            Ok(id) => Ok(Judgement {
                verdict: Verdict::New,
                direction: Direction::Original,
                connection: Some(id),
            }),
            Err(NotMade::BeginsNone) => {
                let (verdict, direction) = (Verdict::Invalid, Direction::Original);
                Ok(Judgement { verdict, direction, connection: None })
            }
            Err(NotMade::Full) => Err(DropReason::CtFull),
            Err(NotMade::ZoneLimit) => Err(DropReason::CtZoneLimit),
            Err(NotMade::NoPort) => Err(DropReason::CtNoPort),
            Err(NotMade::Exists) => Err(DropReason::CtClash),
        }
    }

    fn told(&self, tuple: Tuple, zone: u16, judgement: Judgement) -> Tracked {
        let state: u8 = match (judgement.verdict, judgement.direction) {
            (Verdict::Invalid, _) => return invalid(zone),
            (Verdict::New, Direction::Original) => 0x21,
            (Verdict::New, Direction::Reply) => 0x29,
            (Verdict::Established, Direction::Original) => 0x22,
            (Verdict::Established, Direction::Reply) => 0x2a,
            (Verdict::Related, Direction::Original) => 0x24,
            (Verdict::Related, Direction::Reply) => 0x2c,
        };
        let seen = judgement.connection.and_then(|id| self.connections.seen(id));
        let tuples = Tuples { original: tuple, reply: tuple.reversed().unwrap() };
        let seen = seen.unwrap_or(Seen { tuples, mark: 0, label: 0, version: 0, master: None });
        let Seen { tuples: Tuples { original, reply }, mark, label, .. } = seen;
        let is_src_other =
            (original.src(), own_port(&original)) != (reply.dst(), other_port(&reply));
        let is_dst_other = original.dst() != reply.src()
            || has_ports(&original) && original.dst_port() != reply.src_port();
        let state = state | u8::from(is_src_other) << 6 | u8::from(is_dst_other) << 7;
        let mut key = Key::ZERO
            .with(Key::CT_STATE, state)
            .with(Key::CT_ZONE, zone)
            .with(Key::CT_MARK, mark)
            .with(Key::CT_LABEL, label)
            .with(Key::CT_NW_PROTO, original.proto());
        match (original.src(), original.dst()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                key.set(Key::CT_NW_SRC, src.to_bits());
                key.set(Key::CT_NW_DST, dst.to_bits());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                key.set(Key::CT_IPV6_SRC, src.to_bits());
                key.set(Key::CT_IPV6_DST, dst.to_bits());
            }
            mixed => panic!("{mixed:?}"),
        }
        let [src, dst] = match original.proto() {
            1 | 58 => [original.dst_port() >> 8, original.dst_port() & 0xff],
            _ => [original.src_port(), original.dst_port()],
        };
        tracked(&key.with(Key::CT_TP_SRC, src).with(Key::CT_TP_DST, dst))
    }
}

fn invalid(zone: u16) -> Tracked {
    tracked(&Key::ZERO.with(Key::CT_STATE, 0x30u8).with(Key::CT_ZONE, zone))
}

fn tracked(key: &Key) -> Tracked {
    let mut tracked = Tracked::default();
    tracked.copy_from_slice(&key.words()[Key::TRACKED]);
    tracked
}

/// The port of the first sender, as it says it.
fn own_port(original: &Tuple) -> u16 {
    original.src_port()
}

/// The same, as those see it who answer.
fn other_port(reply: &Tuple) -> u16 {
    if has_ports(reply) { reply.dst_port() } else { reply.src_port() }
}

fn has_ports(tuple: &Tuple) -> bool {
    matches!(tuple.proto(), 6 | 17 | 132)
}

impl Plain {
    /// What would answer a packet, once it is translated.
    fn answer(&self, judgement: Judgement) -> Option<Tuple> {
        let tuples = self.connections.seen(judgement.connection?)?.tuples;
        Some(match judgement.direction {
            Direction::Original => tuples.reply,
            Direction::Reply => tuples.original,
        })
    }
}

/// What a packet says that would be answered so.
fn translation(answer: &Tuple) -> Vec<(Span, u128)> {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let (src, dst) = (bits(answer.dst()), bits(answer.src()));
    let mut writes = match answer.is_ipv4() {
        true => vec![(Key::NW_SRC, src), (Key::NW_DST, dst)],
        false => vec![(Key::IPV6_SRC, src), (Key::IPV6_DST, dst)],
    };
    if has_ports(answer) {
        writes.push((Key::TP_SRC, answer.dst_port().into()));
        writes.push((Key::TP_DST, answer.src_port().into()));
    }
    writes
}

impl Tracker for Plain {
    fn connect(
        &mut self,
        bytes: &[u8],
        connect: &Connect,
        before: Option<u64>,
        now: Duration,
    ) -> Result<Found, DropReason> {
        let (now, mut key) = (millis(now), Key::ZERO);
        let headers = parse(bytes, bytes.len(), &mut key).unwrap();
        let message = Message::read(&key, headers, bytes, bytes.len(), connect.zone);
        let Some(message) = message.ok().filter(|_| checksums::are_right(bytes)) else {
            // It is asked again, and nothing is known of it again.
            let tracked = invalid(connect.zone);
            let (judged, translation) = (u64::MAX, Vec::new());
            return Ok(Found { tracked, judged, translation, identifier: None });
        };
        let before =
            before.and_then(|number| self.judgements.get(usize::try_from(number).ok()?)).copied();
        let before = before
            .filter(|judgement| judgement.connection.is_some_and(|id| self.connections.has(id)));
        let mut judgement = before.unwrap_or_else(|| self.connections.judge(&message, now));
        if connect.commit && judgement.verdict != Verdict::Invalid {
            judgement = self.keep(&message, judgement, connect, now)?;
        }
        self.judgements.push(judgement);
        let judged = self.judgements.len() as u64 - 1;
        let tracked = self.told(message.tuple, connect.zone, judgement);
        let translates = connect.nat.is_some() && judgement.verdict != Verdict::Invalid;
        let answer = self.answer(judgement).filter(|_| translates);
        let translation = answer.map(|answer| translation(&answer)).unwrap_or_default();
        let is_query = matches!(message.content, Content::Question | Content::Answer);
        let identifier = answer.filter(|_| is_query).map(|answer| answer.src_port());
        Ok(Found { tracked, judged, translation, identifier })
    }
}
