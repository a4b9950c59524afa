//! What zones may have: how many connections, and for how long.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::net::Ipv4Addr;
use std::thread;

use api::{CtTimeout, CtTimeouts, Nat, NatRange};
use conntrack::{
    Connections, Content, Ends, Kind, Message, NotMade, Notes, Segment, TooManyPolicies, Tuple,
    Verdict, Zones,
};
use packet::{Headers, Key, Millis, Seed, icmp, parse, tcp, udp};

fn message(port: u16, zone: u16, proto: u8, content: Content) -> Message {
    let [src, dst] = [1, 2].map(|n| Ipv4Addr::new(10, 0, 0, n).into());
    let ends = Ends { src, dst, src_port: port, dst_port: 80, proto };
    Message { tuple: Tuple::new(ends, zone).unwrap(), content }
}

fn datagram(port: u16, zone: u16) -> Message {
    message(port, zone, udp::PROTO, Content::Udp)
}

fn answer(message: &Message) -> Message {
    Message { tuple: message.tuple.reversed().unwrap(), content: message.content }
}

fn commit(connections: &Connections, message: &Message, now: u64) -> Result<(), NotMade> {
    connections.commit(message, None, &Notes::default(), Millis(now)).map(drop)
}

fn timeouts<const N: usize>(all: [(CtTimeout, u32); N]) -> CtTimeouts {
    all.into_iter().map(|(timeout, seconds)| (timeout, seconds.try_into().unwrap())).collect()
}

/// Seconds that the connection of a message has left.
fn left(connections: &Connections, message: &Message, now: u64) -> Option<u32> {
    let mut described = connections.iter().filter_map(|id| connections.describe(id, Millis(now)));
    let found =
        described.find(|one| [one.tuples.original, one.tuples.reply].contains(&message.tuple));
    found.map(|one| one.left / 1000)
}

#[test]
fn a_zone_takes_no_more_than_its_limit_and_leaves_the_others_alone() {
    let connections = Connections::new(100, 0, Seed(7));
    connections.zones().set_limit(5, Some(2));
    let made: Vec<_> = (1..=3).map(|port| commit(&connections, &datagram(port, 5), 0)).collect();
    assert_eq!(made, [Ok(()), Ok(()), Err(NotMade::ZoneLimit)]);
    assert!((1..=9).all(|port| commit(&connections, &datagram(port, 6), 0).is_ok()));
    assert_eq!([5, 6, 7].map(|zone| connections.zones().count(zone)), [2, 9, 0]);
    let stats = connections.stats();
    assert_eq!((stats.made, stats.over_limit, stats.full), (11, 1, 0));
    // Packets of those it has are of them.
    for known in [datagram(1, 5), answer(&datagram(1, 5)), datagram(1, 5)] {
        assert!(connections.judge(&known, Millis(1)).connection.is_some());
    }
    // A lower limit ends nothing, and 0 is none.
    connections.zones().set_limit(6, Some(3));
    assert_eq!(commit(&connections, &datagram(10, 6), 0), Err(NotMade::ZoneLimit));
    assert_eq!(connections.zones().count(6), 9);
    connections.zones().set_limit(6, Some(0));
    assert_eq!(commit(&connections, &datagram(10, 6), 0), Ok(()));
}

#[test]
fn a_zone_without_a_limit_goes_by_the_default_for_itself() {
    let connections = Connections::new(100, 0, Seed(7));
    let zones = connections.zones();
    assert_eq!((zones.default_limit(), zones.limit(1)), (0, None));
    zones.set_default_limit(1);
    zones.set_limit(2, Some(0));
    for zone in [0, 1, u16::MAX] {
        assert_eq!(commit(&connections, &datagram(1, zone), 0), Ok(()));
        assert_eq!(commit(&connections, &datagram(2, zone), 0), Err(NotMade::ZoneLimit));
    }
    assert!((1..5).all(|port| commit(&connections, &datagram(port, 2), 0).is_ok()));
    assert_eq!((zones.limit(2), zones.limited().collect::<Vec<_>>()), (Some(0), vec![2]));
    zones.set_limit(2, None);
    assert_eq!(commit(&connections, &datagram(9, 2), 0), Err(NotMade::ZoneLimit));
    assert_eq!(zones.limited().count(), 0);
}

/// Every way in which a connection goes, or is not made.
#[test]
fn whatever_goes_leaves_its_zone() {
    let connections = Connections::new(4, 0, Seed(7));
    let zones = connections.zones();
    zones.set_timeouts(5, &timeouts([(CtTimeout::UdpFirst, 60)])).unwrap();
    let count = || [zones.count(5), u32::try_from(connections.len()).unwrap()];
    let again = |now| commit(&connections, &datagram(1, 5), now);
    again(0).unwrap();
    assert_eq!((again(0), count()), (Err(NotMade::Exists), [1, 1]));
    assert!(connections.remove(connections.iter().next().unwrap()));
    assert_eq!(count(), [0, 0]);
    // Silent for too long: found by a packet, by another connection, by the sweep.
    again(0).unwrap();
    assert_eq!(connections.judge(&datagram(1, 5), Millis(60_001)).connection, None);
    assert_eq!(count(), [0, 0]);
    again(0).unwrap();
    again(60_001).unwrap();
    assert_eq!(count(), [1, 1]);
    connections.sweep(100, Millis(120_002));
    assert_eq!(count(), [0, 0]);
    // There is no place, or no port.
    [130_000, 140_000].iter().for_each(|now| connections.sweep(100, Millis(*now)));
    (1..=4).for_each(|port| commit(&connections, &datagram(port, 5), 140_000).unwrap());
    assert_eq!(commit(&connections, &datagram(5, 5), 140_000), Err(NotMade::Full));
    assert_eq!(count(), [4, 4]);
    connections.iter().for_each(|id| assert!(connections.remove(id)));
    (0..10).for_each(|n| connections.sweep(100, Millis(140_000 + 1000 * n)));
    let address = Ipv4Addr::new(10, 0, 0, 9).into();
    let nat = Nat::Src(NatRange {
        addresses: Some((address, address)),
        ports: Some((7, 7)),
        persistent: false,
        choice: None,
    });
    let hide = |port| {
        connections.commit(&datagram(port, 5), Some(&nat), &Notes::default(), Millis(150_000))
    };
    assert!(hide(1).is_ok());
    assert_eq!((hide(2), count()), (Err(NotMade::NoPort), [1, 1]));
    // Opened anew.
    let segment = |kind| Segment {
        kind,
        has_ack: kind != Kind::Syn,
        seq: 100,
        end: 101,
        ack: 0,
        sack: 0,
        window: 1000,
        has_options: false,
        scale: None,
        allows_sack: false,
    };
    let tcp = |kind| message(1, 6, tcp::PROTO, Content::Tcp(segment(kind)));
    commit(&connections, &tcp(Kind::Syn), 150_000).unwrap();
    assert_eq!(zones.count(6), 1);
    // A reset of what was never answered ends it.
    let reset = Message {
        content: Content::Tcp(Segment { seq: 101, ..segment(Kind::Rst) }),
        ..tcp(Kind::Rst)
    };
    connections.judge(&reset, Millis(150_001));
    connections.judge(&tcp(Kind::Syn), Millis(150_002));
    assert_eq!(zones.count(6), 0);
    // Its policy is nobody's any more.
    connections.iter().for_each(|id| assert!(connections.remove(id)));
    assert_eq!(count(), [0, 0]);
}

#[test]
fn threads_keep_a_zones_count_exact() {
    const THREADS: u64 = 4;
    let connections = Connections::new(64, 4, Seed(7));
    let zones = connections.zones();
    (0..3).for_each(|zone| zones.set_limit(zone, Some(u32::from(zone) * 3 + 2)));
    let short = timeouts([(CtTimeout::UdpFirst, 1), (CtTimeout::UdpSingle, 1)]);
    let most = |zone: u16| u32::from(zone) * 3 + 2;
    let work = |member: u64| {
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(member + 1);
        let slot = usize::try_from(member).unwrap();
        for now in 0..40_000 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let [port, zone, what, ..] = dice.to_le_bytes();
            let (zone, message) =
                (u16::from(zone % 3), datagram(u16::from(port % 16), u16::from(zone % 3)));
            connections.begin(slot);
            match connections.judge(&message, Millis(now)).connection {
                None => drop(commit(&connections, &message, now)),
                Some(id) if what % 3 == 0 => drop(connections.remove(id)),
                Some(_) => {}
            }
            assert!(zones.count(zone) <= most(zone));
            // One of them sets timeouts.
            match (member, what) {
                (0, 0..16) => zones.reset_timeouts(zone),
                (0, 16..32) => zones.set_timeouts(zone, &short).unwrap(),
                _ => {}
            }
            connections.sweep(8, Millis(now));
        }
        connections.end(slot);
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|member| drop(scope.spawn(move || work(member))));
    });
    assert!(connections.stats().over_limit > 0);
    for zone in 0..3 {
        let there = connections.iter().filter_map(|id| connections.seen(id));
        let there = there.filter(|seen| seen.tuples.original.zone() == zone).count();
        assert_eq!(zones.count(zone) as usize, there, "zone {zone}");
    }
    connections.iter().for_each(|id| assert!(connections.remove(id)));
    assert_eq!([0, 1, 2].map(|zone| zones.count(zone)), [0; 3]);
    // Nor does anything still go by a policy.
    (0..3).for_each(|zone| zones.reset_timeouts(zone));
    let others = (3..).take(Zones::most_timed());
    others.for_each(|zone| zones.set_timeouts(zone, &short).unwrap());
}

#[test]
fn a_connection_goes_by_the_policy_of_its_beginning() {
    let connections = Connections::new(100, 0, Seed(7));
    let zones = connections.zones();
    let [old, new, other] = [datagram(1, 5), datagram(2, 5), datagram(1, 6)];
    commit(&connections, &old, 0).unwrap();
    zones
        .set_timeouts(5, &timeouts([(CtTimeout::UdpFirst, 7), (CtTimeout::UdpSingle, 8)]))
        .unwrap();
    [&new, &other].iter().for_each(|one| commit(&connections, one, 0).unwrap());
    let all = || [&old, &new, &other].map(|one| left(&connections, one, 0).unwrap());
    let meet = || {
        let _ = [&old, &new, &other].map(|one| connections.judge(one, Millis(0)));
        all()
    };
    assert_eq!(all(), [30, 7, 30]);
    assert_eq!(meet(), [30, 8, 30]);
    // What is set later holds from the next packet on.
    zones.set_timeouts(5, &timeouts([(CtTimeout::UdpSingle, 9)])).unwrap();
    assert_eq!((all(), meet()), ([30, 8, 30], [30, 9, 30]));
    let own = timeouts([(CtTimeout::UdpFirst, 7), (CtTimeout::UdpSingle, 9)]);
    assert_eq!((zones.timeouts(5), zones.timeouts(6)), (Some(own), None));
    // The default holds for all but what a policy says itself.
    zones.set_default_timeouts(&timeouts([
        (CtTimeout::UdpSingle, 20),
        (CtTimeout::UdpMultiple, 40),
    ]));
    assert_eq!(meet(), [20, 9, 20]);
    let _ = [&old, &new, &other].map(|one| connections.judge(&answer(one), Millis(0)));
    let later = [&old, &new, &other].map(|one| {
        connections.judge(one, Millis(2001));
        left(&connections, one, 2001).unwrap()
    });
    assert_eq!(later, [40; 3]);
    // Without one of its own it goes by the default.
    zones.reset_timeouts(5);
    zones.set_default_timeouts(&timeouts([(CtTimeout::UdpMultiple, 50)]));
    connections.judge(&new, Millis(2001));
    assert_eq!(left(&connections, &new, 2001), Some(50));
    zones.reset_default_timeouts();
    connections.judge(&new, Millis(2001));
    assert_eq!((left(&connections, &new, 2001), zones.timed().count()), (Some(120), 0));
    assert_eq!(zones.default_timeouts().len(), CtTimeout::ALL.len());
}

#[test]
fn other_protocols_have_timeouts_of_their_own() {
    let connections = Connections::new(100, 0, Seed(7));
    let all = CtTimeout::ALL.map(|timeout| (timeout, 1000 + timeout as u32));
    connections.zones().set_default_timeouts(&timeouts(all));
    let echo =
        Message { content: Content::Question, ..message(1, 0, icmp::PROTO, Content::Question) };
    let tuple = Tuple::new(Ends { dst_port: 8 << 8, ..echo.tuple.ends() }, 0).unwrap();
    let echo = Message { tuple, ..echo };
    let other = message(1, 0, 253, Content::Other);
    for (one, first, later) in [
        (echo, CtTimeout::IcmpFirst, CtTimeout::IcmpReply),
        (other, CtTimeout::Generic, CtTimeout::Generic),
    ] {
        commit(&connections, &one, 0).unwrap();
        assert_eq!(left(&connections, &one, 0), Some(1000 + first as u32));
        let content = if one.content == Content::Question { Content::Answer } else { one.content };
        connections.judge(&Message { content, ..answer(&one) }, Millis(0));
        assert_eq!(left(&connections, &one, 0), Some(1000 + later as u32));
    }
}

#[test]
fn a_policy_goes_to_another_zone_when_nothing_goes_by_it() {
    let connections = Connections::new(100, 0, Seed(7));
    let zones = connections.zones();
    let short = timeouts([(CtTimeout::UdpFirst, 7)]);
    let most = u16::try_from(Zones::most_timed()).unwrap();
    (1..=most).for_each(|zone| zones.set_timeouts(zone, &short).unwrap());
    assert_eq!(zones.set_timeouts(0, &short), Err(TooManyPolicies));
    commit(&connections, &datagram(1, 5), 0).unwrap();
    zones.reset_timeouts(5);
    assert_eq!(zones.set_timeouts(0, &short), Err(TooManyPolicies), "one connection is left");
    // The zone itself may have it again.
    zones.set_timeouts(5, &short).unwrap();
    zones.reset_timeouts(5);
    connections.iter().for_each(|id| assert!(connections.remove(id)));
    zones.set_timeouts(0, &timeouts([(CtTimeout::UdpSingle, 9)])).unwrap();
    // Nothing is left of what it said.
    commit(&connections, &datagram(1, 0), 0).unwrap();
    assert_eq!(left(&connections, &datagram(1, 0), 0), Some(30));
    assert_eq!(zones.timeouts(0), Some(timeouts([(CtTimeout::UdpSingle, 9)])));
}

/// It was a stream as soon as it was answered.
#[test]
fn udp_is_a_stream_when_it_goes_on_for_two_seconds() {
    let connections = Connections::new(100, 0, Seed(7));
    let one = datagram(1, 0);
    commit(&connections, &one, 0).unwrap();
    let mut seconds = Vec::new();
    for (message, now) in
        [(answer(&one), 100), (one, 200), (answer(&one), 2000), (answer(&one), 2001), (one, 3000)]
    {
        let judged = connections.judge(&message, Millis(now));
        assert_eq!(judged.verdict, Verdict::Established);
        seconds.push(left(&connections, &one, now).unwrap());
    }
    assert_eq!(seconds, [30, 30, 30, 120, 120]);
    // An answer that comes late is not yet one.
    let late = datagram(2, 0);
    commit(&connections, &late, 0).unwrap();
    connections.judge(&answer(&late), Millis(5000));
    assert_eq!(left(&connections, &late, 5000), Some(30));
    connections.judge(&late, Millis(5001));
    assert_eq!(left(&connections, &late, 5001), Some(120));
}

/// Frames between the ports 1 and 80, forth and back: what goes to connections.
fn frame(is_reply: bool, transport: &[u8], proto: u8) -> Vec<u8> {
    let [src, dst] = if is_reply { [2, 1] } else { [1, 2] };
    let mut ip = etherparse::Ipv4Header::new(
        u16::try_from(transport.len()).unwrap(),
        64,
        etherparse::IpNumber(proto),
        [10, 0, 0, src],
        [10, 0, 0, dst],
    )
    .unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    let mut frame = vec![0; 12];
    frame.extend([8, 0]);
    ip.write(&mut frame).unwrap();
    frame.extend(transport);
    frame
}

fn tcp_frame(is_reply: bool, flags: u8, [seq, ack]: [u32; 2]) -> Vec<u8> {
    let [src, dst]: [u16; 2] = if is_reply { [80, 1] } else { [1, 80] };
    let ports = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    let numbers = [seq.to_be_bytes(), ack.to_be_bytes()].concat();
    let rest = [0x50, flags, 0x10, 0, 0, 0, 0, 0];
    frame(is_reply, &[&ports[..], &numbers, &rest].concat(), tcp::PROTO)
}

fn udp_frame(is_reply: bool) -> Vec<u8> {
    let ports = if is_reply { [0, 80, 0, 1] } else { [0, 1, 0, 80] };
    frame(is_reply, &[&ports[..], &[0, 8, 0, 0]].concat(), udp::PROTO)
}

fn read(frame: &[u8]) -> (Message, Headers) {
    let mut key = Key::ZERO;
    let headers = parse(frame, frame.len(), &mut key).unwrap();
    (Message::read(&key, headers, frame, frame.len(), 5).unwrap(), headers)
}

#[test]
fn sessions_go_by_the_policy_of_their_connection() {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let connections = Connections::new(100, 0, Seed(7));
    let policy =
        [(CtTimeout::UdpSingle, 8), (CtTimeout::UdpMultiple, 9), (CtTimeout::TcpEstablished, 1000)];
    connections.zones().set_timeouts(5, &timeouts(policy)).unwrap();
    let meet = |frame: &[u8], now| {
        let (message, _) = read(frame);
        let judged = connections.judge(&message, Millis(now));
        judged.connection.unwrap_or_else(|| {
            connections.commit(&message, None, &Notes::default(), Millis(now)).unwrap()
        })
    };
    let take = |frame: &[u8], now| {
        let (message, headers) = read(frame);
        let judged = connections.judge(&message, Millis(now));
        let id = judged.connection.unwrap();
        let seen = connections.seen(id).unwrap();
        let standing = connections.standing(id, judged.direction, &seen).unwrap();
        let later = Millis(now + 1);
        assert!(connections.take(&[standing], headers, frame, frame.len(), later));
        left(&connections, &message, now + 1).unwrap()
    };
    meet(&udp_frame(false), 0);
    meet(&udp_frame(true), 0);
    assert_eq!([take(&udp_frame(false), 1999), take(&udp_frame(true), 1999)], [8, 8]);
    // The judgement was of a young one, and the session's packet comes behind the two seconds.
    assert_eq!(take(&udp_frame(true), 2000), 9);
    for (is_reply, flags, numbers) in [
        (false, SYN, [100, 0]),
        (true, SYN | ACK, [500, 101]),
        (false, ACK, [101, 501]),
        (true, ACK, [501, 101]),
    ] {
        meet(&tcp_frame(is_reply, flags, numbers), 3000);
    }
    assert_eq!(take(&tcp_frame(false, ACK, [101, 501]), 4000), 1000);
}
