//! What a client of FTP says through a translation, as its server puts it together again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

use api::{Action, Alg, FlowMod, Nat};
use conntrack::{ConnectionId, Connections, Direction, Heard, Message, NotHeard, Notes, Verdict};
use packet::{Key, Millis, Seed, compose, ethernet, parse, tcp};
use proptest::collection::vec;
use proptest::prelude::*;

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
const OUTSIDE: ([u8; 4], u16) = ([192, 0, 2, 100], 40_000);
const SERVER: ([u8; 4], u16) = ([198, 51, 100, 9], 21);
/// Where the text of a frame begins.
const TEXT: usize = 54;

fn nat() -> Nat {
    let flow: FlowMod = "tcp,actions=ct(commit,nat(src=192.0.2.100))".parse().unwrap();
    match flow.actions.as_deref() {
        Some([Action::Ct(ct)]) => ct.nat.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A connection between the two, behind whose handshake the client sends from `first` on.
struct Talk {
    connections: Connections,
    id: ConnectionId,
    now: Millis,
}

impl Talk {
    fn new(first: u32) -> Self {
        let connections = Connections::new(64, 0, Seed(7));
        let syn = frame(CLIENT, SERVER, tcp::SYN, [first.wrapping_sub(1), 0], b"");
        let notes = Notes { alg: Some(Alg::Ftp), ..Notes::default() };
        let now = Millis(1);
        let id = connections.commit(&message(&syn).0, Some(&nat()), &notes, now).unwrap();
        let mut talk = Self { connections, id, now };
        talk.hear(Direction::Original, &syn).unwrap();
        let answer = frame(SERVER, OUTSIDE, tcp::SYN | tcp::ACK, [499, first], b"");
        talk.take(Direction::Reply, &answer).unwrap();
        let ack = frame(CLIENT, SERVER, tcp::ACK, [first, 500], b"");
        talk.take(Direction::Original, &ack).unwrap();
        talk
    }

    /// A frame of the connection, which must fit: what it says.
    fn take(&mut self, direction: Direction, frame: &[u8]) -> Result<Heard, NotHeard> {
        let judgement = self.connections.judge(&message(frame).0, self.now);
        assert_eq!((judgement.direction, judgement.connection), (direction, Some(self.id)));
        assert_ne!(judgement.verdict, Verdict::Invalid);
        self.hear(direction, frame)
    }

    fn hear(&mut self, direction: Direction, frame: &[u8]) -> Result<Heard, NotHeard> {
        let (message, headers) = message(frame);
        let bytes = (frame, frame.len());
        self.connections.hear((self.id, direction), &message, headers, bytes, self.now)
    }
}

fn frame(
    (src, src_port): ([u8; 4], u16),
    (dst, dst_port): ([u8; 4], u16),
    flags: u16,
    [seq, ack]: [u32; 2],
    text: &[u8],
) -> Vec<u8> {
    let key = Key::ZERO
        .with(Key::ETH_TYPE, ethernet::IPV4)
        .with(Key::NW_SRC, u32::from_be_bytes(src))
        .with(Key::NW_DST, u32::from_be_bytes(dst))
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_PROTO, tcp::PROTO)
        .with(Key::HAS_NETWORK, 1u8)
        .with(Key::HAS_TRANSPORT, 1u8)
        .with(Key::TTL_LEFT, 1u8)
        .with(Key::TP_SRC, src_port)
        .with(Key::TP_DST, dst_port)
        .with(Key::TCP_FLAGS, flags);
    let mut bytes = compose(&key, TEXT + text.len());
    bytes[38..42].copy_from_slice(&seq.to_be_bytes());
    bytes[42..46].copy_from_slice(&ack.to_be_bytes());
    bytes[48..50].fill(0xff);
    bytes[TEXT..].copy_from_slice(text);
    bytes
}

fn message(frame: &[u8]) -> (Message, packet::Headers) {
    let mut key = Key::ZERO;
    let headers = parse(frame, frame.len(), &mut key).unwrap();
    (Message::read(&key, headers, frame, frame.len(), 5).unwrap(), headers)
}

/// The text of a frame once it is rewritten, and what its number becomes.
fn rewritten(frame: &[u8], heard: &Heard) -> (u32, Vec<u8>) {
    let mut bytes = frame.to_vec();
    for rewrite in heard.rewrites.iter().rev() {
        bytes.splice(rewrite.place.clone(), rewrite.text.as_bytes().iter().copied());
    }
    let seq = u32::from_be_bytes(frame[38..42].try_into().unwrap());
    (heard.numbers.map_or(seq, |numbers| numbers.seq(seq)), bytes.split_off(TEXT))
}

/// A line: the port of an announcement, or of that length something else.
type Line = Result<u16, usize>;

fn said(line: Line, address: &str) -> Vec<u8> {
    match line {
        Ok(port) => {
            let [high, low] = port.to_be_bytes();
            format!("PORT {address},{high},{low}\r\n").into_bytes()
        }
        Err(len) => [&vec![b'x'; len][..], b"\r\n"].concat(),
    }
}

fn any_line() -> impl Strategy<Value = Line> {
    prop_oneof![any::<u16>().prop_map(|port| Ok(port.max(1))), (0..30usize).prop_map(Err)]
}

proptest! {
    /// However often segments are sent again, alone or together, the server has one stream, and what
    /// it acknowledges is what the client has sent.
    #[test]
    fn a_server_hears_one_client_that_speaks_of_another_address(
        first: u32,
        segments in vec((vec(any_line(), 1..3), 0..4u8), 1..16),
    ) {
        let mut talk = Talk::new(first);
        let (mut sent, mut stream, mut last) = (0u32, Vec::<u8>::new(), Vec::<u8>::new());
        let mut expected = Vec::<u8>::new();
        for (lines, again) in segments {
            let text = lines.iter().map(|line| said(*line, "10,0,0,1")).collect::<Vec<_>>().concat();
            let whole = [&last[..], &text].concat();
            let own = lines.iter().map(|line| said(*line, "192,0,2,100")).collect::<Vec<_>>();
            expected.extend(own.concat());
            // First alone, then perhaps together with the one in front of it.
            let before = u32::try_from(last.len()).unwrap();
            let repeated = [(sent, &text), (sent.wrapping_sub(before), &whole), (sent, &text)];
            for (at, text) in repeated.iter().take(1 + usize::from(again)) {
                let frame = frame(CLIENT, SERVER, tcp::ACK, [first.wrapping_add(*at), 500], text);
                let heard = talk.take(Direction::Original, &frame).unwrap();
                let (seq, text) = rewritten(&frame, &heard);
                let at = usize::try_from(seq.wrapping_sub(first)).unwrap();
                prop_assert!(at <= stream.len(), "a gap at {} of {}", at, stream.len());
                let known = stream.len().min(at + text.len());
                prop_assert_eq!(&stream[at..known], &text[..known - at], "it is the same again");
                stream.extend(&text[known - at..]);
            }
            sent = sent.wrapping_add(u32::try_from(text.len()).unwrap());
            last = text;
            let arrived = first.wrapping_add(u32::try_from(stream.len()).unwrap());
            let ack = frame(SERVER, OUTSIDE, tcp::ACK, [500, arrived], b"");
            let heard = talk.take(Direction::Reply, &ack).unwrap();
            let ack = heard.numbers.map_or(arrived, |numbers| numbers.ack(arrived));
            prop_assert_eq!(ack, first.wrapping_add(sent));
        }
        prop_assert_eq!(stream, expected);
        prop_assert!(talk.connections.expected() <= 8);
    }

    #[test]
    fn no_text_harms(
        texts in vec((vec(any::<u8>(), 0..40), any::<bool>(), 0..100u32), 1..20),
        words in vec(prop::sample::select(vec!["PORT ", "EPRT |1|", "\r\n", "1,2,3,4,5,6", ""]), 20),
    ) {
        let mut talk = Talk::new(1000);
        for ((text, back, at), word) in texts.iter().zip(words) {
            let text = [word.as_bytes(), text].concat();
            let (direction, frame) = match back {
                false => (Direction::Original, frame(CLIENT, SERVER, tcp::ACK, [1000 + at, 500], &text)),
                true => (Direction::Reply, frame(SERVER, OUTSIDE, tcp::ACK, [500 + at, 1000], &text)),
            };
            if let Ok(heard) = talk.hear(direction, &frame) {
                for rewrite in &heard.rewrites {
                    prop_assert!(TEXT <= rewrite.place.start && rewrite.place.end <= frame.len());
                }
            }
        }
    }
}

#[test]
fn at_an_address_of_the_host_a_reserved_port_is_announced() {
    let mut talk = Talk::new(1000);
    talk.connections.set_host_addresses([OUTSIDE.0.into()]);
    let mut announced = |seq: u32, port| {
        let said = frame(CLIENT, SERVER, tcp::ACK, [seq, 500], &said(Ok(port), "10,0,0,1"));
        let heard = talk.take(Direction::Original, &said).unwrap();
        let text = String::from_utf8(rewritten(&said, &heard).1).unwrap();
        let [high, low] = *text.trim_end().rsplitn(3, ',').take(2).collect::<Vec<_>>() else {
            panic!("{text}")
        };
        let port = u16::from_be_bytes([low, high].map(|byte| byte.parse().unwrap()));
        (port, seq + u32::try_from(said.len() - TEXT).unwrap())
    };
    let (port, next) = announced(1000, 2000);
    assert!((61_000..=65_535).contains(&port), "{port}");
    assert_eq!(announced(next, 62_000).0, 62_000);
}

#[test]
fn what_is_sent_again_must_say_the_same() {
    let mut talk = Talk::new(1000);
    let mut say = |text: &[u8]| {
        let frame = frame(CLIENT, SERVER, tcp::ACK, [1000, 500], text);
        talk.take(Direction::Original, &frame).map(|heard| heard.rewrites.len())
    };
    assert_eq!(say(b"PORT 10,0,0,1"), Err(NotHeard::Cut));
    assert_eq!(say(b"PORT 10,0,0,1,4,1\r\n"), Ok(1));
    assert_eq!(say(b"PORT 10,0,0,1,14,1\r\n"), Err(NotHeard::Contradicts));
    assert_eq!(say(b"PORT 10,0,0,1,14,1\n"), Err(NotHeard::Contradicts), "of the same length");
    assert_eq!(say(b"PORT 10,0,0,1,4,1\r\n"), Ok(1));
    assert_eq!(talk.connections.expected(), 1);
}

#[test]
fn what_begins_within_a_line_announces_nothing() {
    let mut talk = Talk::new(1000);
    let mut say = |at: u32, text: &[u8]| {
        let frame = frame(CLIENT, SERVER, tcp::ACK, [1000 + at, 500], text);
        talk.take(Direction::Original, &frame).map(|heard| heard.rewrites.len())
    };
    assert_eq!(say(0, b"RETR x"), Ok(0));
    assert_eq!(say(6, b"PORT 10,0,0,1,4,1\r\n"), Ok(0), "that is a file's name");
    assert_eq!(say(25, b"PORT 10,0,0,1,4,1\r\n"), Ok(1));
}

#[test]
fn one_connection_announces_eight_and_the_oldest_makes_room() {
    let mut talk = Talk::new(1000);
    let mut at = 0;
    for port in 1..=9 {
        let text = said(Ok(2000 + port), "10,0,0,1");
        let frame = frame(CLIENT, SERVER, tcp::ACK, [1000 + at, 500], &text);
        talk.take(Direction::Original, &frame).unwrap();
        at += u32::try_from(text.len()).unwrap();
    }
    let syn = |port| frame(([198, 51, 100, 9], 20), (OUTSIDE.0, port), tcp::SYN, [1, 0], b"");
    let expects = |talk: &Talk, port| {
        talk.connections.announced(&message(&syn(port)).0.tuple, talk.now).is_some()
    };
    assert!(!expects(&talk, 2001) && (2002..=2009).all(|port| expects(&talk, port)));
    assert_eq!(talk.connections.expected(), 8);
    let made = |talk: &Talk| {
        let message = message(&syn(2002)).0;
        talk.connections.commit(&message, Some(&Nat::Existing), &Notes::default(), talk.now)
    };
    let child = made(&talk).unwrap();
    assert!(!expects(&talk, 2002), "once");
    let to = talk.connections.translated(child, Direction::Original).unwrap();
    assert_eq!((to.dst(), to.dst_port()), (CLIENT.0.into(), 2002));
    let seen = talk.connections.seen(child).unwrap();
    assert_eq!(seen.master, talk.connections.seen(talk.id).map(|it| it.tuples.original));
    // Without their master nobody comes, and who is there stays.
    assert!(talk.connections.remove(talk.id));
    assert_eq!(talk.connections.expected(), 0);
    assert_eq!(talk.connections.seen(child), Some(seen));
    assert!(!expects(&talk, 2003));
}

#[test]
fn what_is_expected_is_over_after_five_minutes() {
    let mut talk = Talk::new(1000);
    let text = said(Ok(2000), "10,0,0,1");
    let frame = frame(CLIENT, SERVER, tcp::ACK, [1000, 500], &text);
    talk.take(Direction::Original, &frame).unwrap();
    for (now, expected) in [(299_000, 1), (302_000, 0)] {
        talk.connections.sweep(9, Millis(now));
        assert_eq!(talk.connections.expected(), expected, "{now}");
    }
}
