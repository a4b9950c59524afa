//! Connections take what is plain as they take it anywhere.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use conntrack::{ConnectionId, Connections, Direction, Message, Notes, Standing};
use etherparse::PacketBuilder;
use packet::{Headers, Key, Millis, PlainTcp, PlainUdp, Seed, parse};
use proptest::prelude::*;

/// Two zones that have a connection of the same ends each.
struct Zones {
    connections: Connections,
    ids: Vec<ConnectionId>,
}

impl Zones {
    fn new(opening: &[(bool, Vec<u8>)]) -> Self {
        let mut zones = Self { connections: Connections::new(100, 0, Seed(7)), ids: Vec::new() };
        for zone in [1, 2] {
            let made = opening.iter().filter_map(|(_, frame)| zones.judge(frame, zone, 0));
            let made = made.last();
            zones.ids.extend(made);
        }
        zones
    }

    /// Has its connection judge a frame: a new one, if there is none.
    fn judge(&self, frame: &[u8], zone: u16, now: u64) -> Option<ConnectionId> {
        let mut key = Key::ZERO;
        let headers = parse(frame, frame.len(), &mut key).unwrap();
        let message = Message::read(&key, headers, frame, frame.len(), zone).ok()?;
        let known = self.connections.judge(&message, Millis(now)).connection;
        known.or_else(|| {
            self.connections.commit(&message, None, &Notes::default(), Millis(now)).ok()
        })
    }

    /// Has the connections of so many zones take a frame, or judge it; answers whether they have taken it,
    /// and what is known of them then.
    fn take(
        &self,
        many: usize,
        (is_reply, frame): &(bool, Vec<u8>),
        now: u64,
        take: impl FnOnce(&Connections, &[Standing], Headers) -> bool,
    ) -> (bool, String) {
        let ids = &self.ids[..many];
        let direction = if *is_reply { Direction::Reply } else { Direction::Original };
        let standings = ids.iter().filter_map(|id| {
            let seen = self.connections.seen(*id)?;
            self.connections.standing(*id, direction, &seen)
        });
        let standings: Vec<_> = standings.collect();
        let headers = parse(frame, frame.len(), &mut Key::default()).unwrap();
        let taken = standings.len() == many && take(&self.connections, &standings, headers);
        if !taken {
            for (zone, _) in (1..).zip(ids) {
                self.judge(frame, zone, now);
            }
        }
        let known = ids.iter().map(|id| self.connections.describe(*id, Millis(now)));
        (taken, format!("{:?}", known.collect::<Vec<_>>()))
    }
}

/// A segment one way or the other.
fn segment(
    is_reply: bool,
    [seq, ack]: [u32; 2],
    flags: u8,
    window: u16,
    options: &[u8],
    data: usize,
) -> (bool, Vec<u8>) {
    let ends = if is_reply { [2, 1] } else { [1, 2] };
    let [src, dst] = ends.map(|n| [10, 0, 0, n]);
    let [from, to] = ends.map(u16::from);
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src, dst, 64);
    let builder = builder.tcp(from, to, seq, window).ack(ack);
    let mut frame = Vec::new();
    builder.options_raw(options).unwrap().write(&mut frame, &vec![7; data]).unwrap();
    frame[47] = flags;
    (is_reply, frame)
}

fn datagram(is_reply: bool, data: usize) -> (bool, Vec<u8>) {
    let ends = if is_reply { [2, 1] } else { [1, 2] };
    let [src, dst] = ends.map(|n| [10, 0, 0, n]);
    let [from, to] = ends.map(u16::from);
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src, dst, 64).udp(from, to);
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![7; data]).unwrap();
    (is_reply, frame)
}

/// How far behind the first number: often the same.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![5 => (0..4u32).prop_map(|n| 10 * n), 1 => 0..400u32]
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

proptest! {
    /// In one connection, or in two at once.
    #[test]
    fn a_segment_is_taken_as_anywhere(
        segments in prop::collection::vec(
            (
                (any::<bool>(), number(), number()),
                prop_oneof![99 => Just(ACK), 30 => Just(ACK | PSH), 1 => Just(ACK | FIN), 1 => Just(RST)],
                prop_oneof![4 => 200..1000u16, 1 => Just(0)],
                prop::sample::select(vec![&[][..], &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], &[3, 3, 7, 0]]),
                prop_oneof![4 => Just(0), 4 => Just(10), 1 => 0..300usize],
                0..30usize,
            ),
            0..60,
        ),
        many in 1..=2usize,
    ) {
        let opening = [
            segment(false, [999, 0], SYN, 1000, &[], 0),
            segment(true, [1999, 1000], SYN | ACK, 1000, &[], 0),
            segment(false, [1000, 2000], ACK, 1000, &[], 0),
            segment(true, [2000, 1000], ACK, 1000, &[], 0),
            segment(false, [1000, 2000], ACK, 1000, &[], 10),
            segment(true, [2000, 1010], ACK, 1000, &[], 10),
            segment(false, [1010, 2010], ACK, 1000, &[], 0),
        ];
        let (plain, any) = (Zones::new(&opening), Zones::new(&opening));
        for (now, ((is_reply, seq, ack), flags, window, options, data, padding)) in (1..).zip(segments) {
            let first = if is_reply { [2000, 1000] } else { [1000, 2000] };
            let numbers = [first[0] + seq, first[1] + ack];
            let mut packet = segment(is_reply, numbers, flags, window, options, data);
            packet.1.resize(packet.1.len() + padding, 0x5a);
            let (frame, len) = (&packet.1, packet.1.len());
            let found = plain.take(many, &packet, now, |connections, standings, headers| {
                let plain = PlainTcp::read(headers, frame, len).unwrap();
                connections.take_plain_tcp(standings, plain, Millis(now))
            });
            let expected = any.take(many, &packet, now, |connections, standings, headers| {
                connections.take(standings, headers, frame, len, Millis(now))
            });
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_datagram_is_taken_as_anywhere(
        datagrams in prop::collection::vec((any::<bool>(), 0..30usize, 0..40u16, 0..2000u64), 0..20),
        many in 1..=2usize,
    ) {
        let opening = [datagram(false, 4), datagram(true, 4)];
        let (plain, any, mut now) = (Zones::new(&opening), Zones::new(&opening), 0);
        for (is_reply, data, length, later) in datagrams {
            now += later;
            let mut packet = datagram(is_reply, data);
            packet.1[38..40].copy_from_slice(&length.to_be_bytes());
            let (frame, len) = (&packet.1, packet.1.len());
            let found = plain.take(many, &packet, now, |connections, standings, headers| {
                let plain = PlainUdp::read(headers, frame, len).unwrap();
                connections.take_plain_udp(standings, plain, Millis(now))
            });
            let expected = any.take(many, &packet, now, |connections, standings, headers| {
                connections.take(standings, headers, frame, len, Millis(now))
            });
            prop_assert_eq!(found, expected);
        }
    }
}
