//! A million connections that come and go: each had its time, and nothing of them is left.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::net::Ipv4Addr;

use api::{CtTimeout, CtTimeouts};
use conntrack::{Connections, Content, Ends, Message, NotMade, Notes, Tuple};
use packet::{Millis, Seed, udp};

const COUNT: u32 = 1_000_000;
/// With them there is still no pressure.
const ROOM: u32 = 1_060_000;
/// Places that a worker looks at in one go.
const STEP: u32 = 512;
/// Milliseconds in which each place is looked at once.
const ROUND: u64 = 10_000;

fn datagram(n: u32) -> Message {
    let ends = Ends {
        src: Ipv4Addr::from_bits(0x0a00_0000 | n >> 4).into(),
        dst: Ipv4Addr::new(192, 0, 2, 1).into(),
        src_port: 1000 + u16::try_from(n & 0xf).unwrap(),
        dst_port: 53,
        proto: udp::PROTO,
    };
    Message { tuple: Tuple::new(ends, 7).unwrap(), content: Content::Udp }
}

fn answer(n: u32) -> Message {
    let asked = datagram(n);
    Message { tuple: asked.tuple.reversed().unwrap(), ..asked }
}

/// The connections, with a member that takes a batch at each step of time.
struct Switch {
    connections: Connections,
    now: u64,
}

impl Switch {
    fn new() -> Self {
        let connections = Connections::new(ROOM, 1, Seed(7));
        let seconds = |seconds: u32| seconds.try_into().unwrap();
        let timeouts: CtTimeouts = [
            (CtTimeout::UdpFirst, seconds(30)),
            (CtTimeout::UdpSingle, seconds(60)),
            (CtTimeout::UdpMultiple, seconds(120)),
        ]
        .into();
        connections.zones().set_default_timeouts(&timeouts);
        Self { connections, now: 0 }
    }

    fn commit(&self, n: u32) -> Result<(), NotMade> {
        let now = Millis(self.now);
        self.connections.commit(&datagram(n), None, &Notes::default(), now).map(drop)
    }

    /// So many that nobody has made before.
    fn make(&self, count: u32) {
        self.connections.begin(0);
        (0..count).for_each(|n| assert_eq!(self.commit(n), Ok(()), "{n}"));
        assert_eq!(self.connections.len(), count as usize);
    }

    /// Time passes as for a worker that is never asleep; answers how many went in one go at most.
    fn pass(&mut self, millis: u64) -> usize {
        let sweep = |now: u64| {
            self.connections.begin(0);
            let before = self.connections.len();
            self.connections.sweep(STEP, Millis(now));
            before - self.connections.len()
        };
        let most = (1..=millis).map(|passed| sweep(self.now + passed)).max();
        self.now += millis;
        most.unwrap_or(0)
    }
}

/// Bytes of memory that this process has touched.
fn touched() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

#[test]
#[cfg_attr(miri, ignore = "a million are too many")]
fn a_million_come_and_go_and_nothing_is_left_of_them() {
    let mut switch = Switch::new();
    let at_first = switch.connections.bytes();
    switch.make(COUNT);
    let (bytes, memory) = (switch.connections.bytes(), touched());
    assert!(bytes > at_first);
    for n in (0..COUNT).step_by(2) {
        let judged = switch.connections.judge(&answer(n), Millis(switch.now));
        assert!(judged.connection.is_some(), "{n}");
    }

    // Nobody goes before the time is over, and who has not been answered goes then.
    assert_eq!(switch.pass(29_999), 0);
    let gone = switch.pass(ROUND + 1);
    assert!((1..=STEP as usize).contains(&gone), "{gone} in one go");
    assert_eq!(switch.connections.len(), COUNT as usize / 2);
    assert_eq!(switch.connections.stats().expired, u64::from(COUNT / 2));
    let left = switch.connections.iter().filter_map(|id| {
        let described = switch.connections.describe(id, Millis(switch.now))?;
        Some(described.known.replied)
    });
    assert!(left.eq(std::iter::repeat_n(true, COUNT as usize / 2)), "who was answered stays");

    // A worker that has slept for long does not make up for it in one go.
    switch.now += 3 * ROUND;
    let gone = switch.pass(1);
    assert!(gone <= STEP as usize, "{gone} in one go");

    // The rest are flushed; who asks for it takes them one after the other.
    let rest: Vec<_> = switch.connections.iter().collect();
    assert!(rest.len() > COUNT as usize / 2 - 2 * STEP as usize);
    assert!(rest.iter().all(|id| switch.connections.remove(*id)));
    assert!(switch.connections.is_empty());
    assert_eq!((switch.connections.iter().count(), switch.connections.zones().count(7)), (0, 0));
    assert!((0..COUNT).all(|n| {
        switch.connections.judge(&answer(n), Millis(switch.now)).connection.is_none()
    }));

    // Every place is free again, and holds another connection without more memory.
    switch.pass(ROUND + 1);
    switch.make(COUNT);
    assert_eq!(switch.connections.bytes(), bytes);
    let more = touched().saturating_sub(memory);
    assert!(more < 4 << 20, "{more} bytes more than for the first million");
    assert!((COUNT..ROOM).all(|n| switch.commit(n).is_ok()));
    assert_eq!(switch.commit(ROOM), Err(NotMade::Full));
}
