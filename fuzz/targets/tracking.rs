//! Any bytes as packets, one behind the other, that belong to connections or fragments: nothing panics,
//! and nothing is kept beyond its bounds.

#![no_main]

use std::net::Ipv4Addr;

use api::{Nat, NatRange};
use conntrack::{Connections, DatagramId, Fragments, Message, Notes, Tuple, Verdict};
use libfuzzer_sys::fuzz_target;
use packet::{Fragment, Headers, Key, Millis, Part, PortId, Seed, ethernet, parse};

/// Connections, and fragments that wait.
const MOST: u32 = 16;

fuzz_target!(|bytes: &[u8]| {
    let connections = Connections::new(MOST, 0, Seed(1));
    let mut fragments = Fragments::new(MOST as usize);
    let (mut rest, mut now) = (bytes, Millis(0));
    // What is done with a packet, when, and its length: then it comes.
    while let Some((&[does, later, len], behind)) = rest.split_first_chunk() {
        let (ip, behind) = behind.split_at(behind.len().min(len.into()));
        rest = behind;
        now = Millis(now.0 + u64::from(later) * 100);
        let mut frame = vec![0; ethernet::TYPE];
        frame.extend(if does & 1 == 0 { ethernet::IPV4 } else { ethernet::IPV6 }.to_be_bytes());
        frame.extend(ip);
        if let Some(message) = read(&frame, &mut fragments, now) {
            track(&connections, &message, does, now);
        }
        while fragments.take_lost().is_some() {}
        assert!(fragments.len() <= MOST as usize && connections.len() <= MOST as usize);
    }
});

/// What a packet says, or a datagram whose last fragment it is; the first one's head waits.
fn read(frame: &[u8], fragments: &mut Fragments<Vec<u8>>, now: Millis) -> Option<Message> {
    let mut key = Key::ZERO;
    let headers = parse(frame, frame.len(), &mut key).ok()?;
    if headers.fragment == Fragment::No {
        return Message::read(&key, headers, frame, frame.len(), 0).ok();
    }
    let part = Part::read(headers, frame)?;
    assert!(part.at <= frame.len() && part.bytes.end <= 65_535, "{part:?}");
    let tuple = Tuple::of(&key, [0; 2], 0)?;
    let (src, dst, proto) = (tuple.src(), tuple.dst(), tuple.proto());
    let datagram = DatagramId { src, dst, id: part.id, proto, zone: 0, port: PortId(1) };
    let gathered = fragments.add(datagram, &part, now, || Some(frame.to_vec())).ok()??;
    let lens = gathered.waited.iter().map(|(bytes, _)| bytes.end - bytes.start).sum::<u32>();
    assert_eq!(lens + part.bytes.end - part.bytes.start, gathered.len);
    let mut all = gathered.waited.iter();
    let first = all.find(|(bytes, _)| bytes.start == 0).map_or(frame, |(_, first)| first);
    let mut key = Key::ZERO;
    let headers: Headers = parse(first, first.len(), &mut key).ok()?;
    let start = Part::read(headers, first)?.at;
    Message::read_fragmented(&key, headers, first, (start, gathered.len as usize), 0).ok()
}

fn track(connections: &Connections, message: &Message, does: u8, now: Millis) {
    let judgement = connections.judge(message, now);
    if does & 2 != 0 && judgement.verdict == Verdict::New && judgement.connection.is_none() {
        let addresses = Some((Ipv4Addr::new(9, 9, 9, 9).into(), Ipv4Addr::new(9, 9, 9, 10).into()));
        let range = NatRange { addresses, ports: Some((1, 3)), ..NatRange::default() };
        let nat = (does & 4 != 0).then_some(Nat::Src(range));
        // That there is no room is no mistake.
        let _ = connections.commit(message, nat.as_ref(), &Notes::default(), now);
    }
    if does & 8 != 0 {
        connections.sweep(8, now);
    }
}
