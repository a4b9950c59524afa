//! The table of connections against a plain one, and by several threads at once.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::thread;

use api::CtTimeout;
use conntrack::{
    ConnectionId, Connections, Content, Direction, Ends, Judgement, Message, NotMade, Notes,
    Timeouts, Tuple, Verdict,
};
use packet::{Millis, Seed, udp};
use proptest::prelude::*;

/// A datagram from one of a few ends to another.
fn datagram(from: u8, to: u8, is_ipv6: bool) -> Message {
    let address = |n: u8| match is_ipv6 {
        true => Ipv4Addr::new(10, 0, 0, n).to_ipv6_mapped().into(),
        false => Ipv4Addr::new(10, 0, 0, n).into(),
    };
    let ends = Ends {
        src: address(from),
        dst: address(to),
        src_port: u16::from(from) * 100,
        dst_port: u16::from(to) * 100,
        proto: udp::PROTO,
    };
    Message { tuple: Tuple::new(ends, 0).unwrap(), content: Content::Udp }
}

/// Connections as one would write them down.
#[derive(Default)]
struct Plain {
    /// By the tuple of the first packet.
    connections: HashMap<Tuple, One>,
}

/// When it began, whether it was answered, whether it goes on, and when it goes.
#[derive(Clone, Copy)]
struct One {
    began: u64,
    was_answered: bool,
    goes_on: bool,
    deadline: u64,
}

impl Plain {
    fn judge(&mut self, tuple: Tuple, now: u64, timeouts: &Timeouts) -> (Verdict, Direction) {
        self.connections.retain(|_, one| one.deadline > now);
        let reversed = tuple.reversed().unwrap();
        let known = |tuple| self.connections.get(tuple);
        let (key, direction) = match (known(&tuple), known(&reversed)) {
            (Some(_), _) => (tuple, Direction::Original),
            (None, Some(_)) => (reversed, Direction::Reply),
            (None, None) => return (Verdict::New, Direction::Original),
        };
        let one = self.connections.get_mut(&key).unwrap();
        let verdict = match direction {
            Direction::Original if !one.was_answered => Verdict::New,
            _ => Verdict::Established,
        };
        one.goes_on |= one.was_answered && now > one.began + 2000;
        one.was_answered |= direction == Direction::Reply;
        let timeout = if one.goes_on { CtTimeout::UdpMultiple } else { CtTimeout::UdpSingle };
        one.deadline = now + u64::from(timeouts[timeout]) * 1000;
        (verdict, direction)
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// A datagram, and whether its connection is kept if it is new.
    Packet {
        from: u8,
        to: u8,
        is_ipv6: bool,
        commits: bool,
    },
    Passes {
        millis: u64,
    },
    Remove {
        nth: usize,
    },
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..4u8, 0..4u8, any::<bool>(), any::<bool>()).prop_map(
            |(from, to, is_ipv6, commits)| Event::Packet { from, to, is_ipv6, commits }
        ),
        2 => prop::sample::select(vec![1, 999, 1002, 29_999, 30_000, 119_999, 120_001])
            .prop_map(|millis| Event::Passes { millis }),
        1 => (0..8usize).prop_map(|nth| Event::Remove { nth }),
    ]
}

proptest! {
    #[test]
    fn it_says_what_a_plain_one_says(events in prop::collection::vec(any_event(), 1..200)) {
        let (connections, timeouts) = (Connections::new(64, 1, Seed(7)), Timeouts::default());
        let (mut plain, mut now) = (Plain::default(), u64::from(u32::MAX) - 60_000);
        for event in events {
            connections.begin(0);
            match event {
                Event::Packet { from, to, is_ipv6, commits } => {
                    let message = datagram(from, to, is_ipv6);
                    let judged = connections.judge(&message, Millis(now));
                    let Judgement { verdict, direction, connection } = judged;
                    let expected = plain.judge(message.tuple, now, &timeouts);
                    prop_assert_eq!((verdict, direction), expected);
                    if commits && connection.is_none() {
                        connections.commit(&message, None, &Notes::default(), Millis(now)).unwrap();
                        let deadline = now + u64::from(timeouts[CtTimeout::UdpFirst]) * 1000;
                        let (was_answered, goes_on) = (false, false);
                        let one = One { began: now, was_answered, goes_on, deadline };
                        plain.connections.insert(message.tuple, one);
                    }
                }
                Event::Passes { millis } => {
                    now += millis;
                    connections.sweep(1000, Millis(now));
                }
                Event::Remove { nth } => {
                    if let Some(id) = connections.iter().nth(nth) {
                        let tuples = connections.describe(id, Millis(now)).map(|one| one.tuples);
                        prop_assert!(connections.remove(id));
                        tuples.map(|tuples| plain.connections.remove(&tuples.original));
                    }
                }
            }
            plain.connections.retain(|_, one| one.deadline > now);
            let left = connections.iter().filter(|id| {
                connections.describe(*id, Millis(now)).is_some()
            });
            prop_assert_eq!(left.count(), plain.connections.len());
        }
    }
}

#[test]
fn what_one_says_to_itself_was_taken_for_the_answer() {
    let connections = Connections::new(64, 1, Seed(7));
    for n in 0..64 {
        let message = datagram(n, n, n % 2 == 0);
        connections.commit(&message, None, &Notes::default(), Millis(0)).unwrap();
        let Judgement { verdict, direction, .. } = connections.judge(&message, Millis(0));
        assert_eq!((verdict, direction), (Verdict::New, Direction::Original));
    }
}

#[test]
fn a_full_table_takes_no_more_until_some_have_gone() {
    let connections = Connections::new(10, 1, Seed(7));
    let commit =
        |n, now| connections.commit(&datagram(n, 200, false), None, &Notes::default(), Millis(now));
    connections.begin(0);
    assert!((0..10).all(|n| commit(n, 0).is_ok()));
    assert_eq!(commit(10, 0), Err(NotMade::Full));
    connections.sweep(100, Millis(40_000));
    assert!(connections.is_empty());
    // The member may still hold them.
    connections.sweep(100, Millis(80_000));
    assert_eq!(commit(10, 80_000), Err(NotMade::Full));
    connections.begin(0);
    connections.sweep(100, Millis(120_000));
    assert!((10..20).all(|n| commit(n, 120_000).is_ok()));
}

#[test]
fn who_makes_room_for_a_tuple_is_counted_as_expired() {
    let connections = Connections::new(10, 0, Seed(7));
    let commit =
        |now| connections.commit(&datagram(1, 200, false), None, &Notes::default(), Millis(now));
    assert!(commit(0).is_ok());
    assert_eq!(commit(10), Err(NotMade::Exists));
    assert!(commit(40_000).is_ok());
    let stats = connections.stats();
    assert_eq!((connections.len(), stats.made, stats.expired), (1, 2, 1));
}

/// Beginning at each place, those of both families in one go.
#[test]
fn a_sweep_that_passes_the_last_place_goes_on_at_the_first() {
    for passed in [1, 2000, 5000, 9900] {
        let connections = Connections::new(100, 0, Seed(7));
        for (n, is_ipv6) in (0..37).map(|n| (n, false)).chain((0..41).map(|n| (n, true))) {
            let message = datagram(n, 200, is_ipv6);
            connections.commit(&message, None, &Notes::default(), Millis(0)).unwrap();
        }
        connections.sweep(100, Millis(passed));
        assert_eq!((connections.len(), connections.stats().expired), (78, 0));
        // One goes by itself.
        assert!(connections.remove(connections.iter().next().unwrap()));
        connections.sweep(100, Millis(40_000));
        assert_eq!((connections.len(), connections.stats().expired), (0, 77), "{passed}");
    }
}

#[test]
fn under_pressure_those_go_first_that_nobody_has_answered() {
    let connections = Connections::new(100, 0, Seed(7));
    // Clocks of connections, which begin anew here, are where the sweep takes them to have been.
    let at = |millis: i64| Millis((1_u64 << 32).wrapping_add_signed(millis));
    for n in 0..100 {
        let message = datagram(n, 200, false);
        connections.commit(&message, None, &Notes::default(), at(-2001)).unwrap();
        if n < 30 {
            let answer = Message { tuple: message.tuple.reversed().unwrap(), ..message };
            connections.judge(&answer, at(-2000));
            // It goes on for longer than a question and its answer.
            connections.judge(&message, at(0));
        }
    }
    for now in 3..2000 {
        connections.sweep(100, at(now));
    }
    let left: Vec<_> = connections.iter().collect();
    // As soon as there is room again, nobody has to go.
    assert!(left.len() <= 95 && left.len() > 80, "{}", left.len());
    let described = left.iter().filter_map(|id| connections.describe(*id, at(2000)));
    assert_eq!(described.filter(|connection| connection.known.assured).count(), 30);
}

#[test]
fn after_a_flood_there_was_no_room_for_what_had_gone_already() {
    const MOST: u16 = 2000;
    let connections = Connections::new(MOST.into(), 0, Seed(7));
    let commit = |n: u16, now| {
        let [from, to] = [n % 200, 200 + n / 200].map(|n| u8::try_from(n).unwrap());
        connections.commit(&datagram(from, to, false), None, &Notes::default(), Millis(now))
    };
    assert!((0..MOST).all(|n| commit(n, 0).is_ok()));
    // A second later there is room for as many as come, and it stays so.
    let refused: usize = (1..400u16)
        .map(|step| {
            let now = u64::from(step) * 10;
            connections.sweep(MOST.into(), Millis(now));
            usize::from(step > 100 && commit(MOST + step, now).is_err())
        })
        .sum();
    assert_eq!(refused, 0);
}

/// They were found by looking at all places in turn, of which few are due in a millisecond.
#[test]
fn places_of_those_that_went_were_not_free_for_long() {
    const MOST: u16 = 2000;
    const STEP: u16 = 100;
    let connections = Connections::new(MOST.into(), 0, Seed(7));
    let commit = |n: u16| {
        let [from, to] = [n % 200, 200 + n / 200].map(|n| u8::try_from(n).unwrap());
        connections.commit(&datagram(from, to, false), None, &Notes::default(), Millis(1)).unwrap()
    };
    let mut ids: Vec<_> = (0..MOST).map(commit).collect();
    for step in 0..20 {
        ids.drain(..usize::from(STEP)).for_each(|id| assert!(connections.remove(id)));
        connections.sweep(STEP.into(), Millis(1 + u64::from(step)));
        let more = MOST + step * STEP..MOST + (step + 1) * STEP;
        ids.extend(more.map(commit));
    }
    assert_eq!(connections.len(), usize::from(MOST));
}

#[test]
fn threads_never_make_two_connections_of_one() {
    const THREADS: usize = 4;
    let connections = Connections::new(64, THREADS, Seed(7));
    let work = |member: usize| {
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(member as u64 + 1);
        for now in 0..40_000 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let [from, to, what, ..] = dice.to_le_bytes();
            let message = datagram(from % 3, to % 3, what & 0x80 != 0);
            connections.begin(member);
            match (connections.judge(&message, Millis(now)).connection, what % 4) {
                (None, _) => {
                    let _ = connections.commit(&message, None, &Notes::default(), Millis(now));
                }
                (Some(id), 0) => {
                    connections.remove(id);
                }
                (Some(id), _) => {
                    let tuples = connections.describe(id, Millis(now)).map(|one| one.tuples);
                    let is_its = tuples.is_none_or(|tuples| {
                        [tuples.original, tuples.reply].contains(&message.tuple)
                    });
                    assert!(is_its, "{tuples:?} of {message:?}");
                }
            }
            connections.sweep(8, Millis(now));
        }
        connections.end(member);
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|member| drop(scope.spawn(move || work(member))));
    });
    let now = Millis(40_000);
    let mut seen = HashMap::new();
    for id in connections.iter() {
        let tuples = connections.describe(id, now).unwrap().tuples;
        for tuple in [tuples.original, tuples.reply] {
            let other = seen.insert(tuple, id).filter(|other| *other != id);
            assert_eq!(other, None, "{tuple:?}");
        }
        // Each of its tuples leads to it.
        let message = Message { tuple: tuples.reply, content: Content::Udp };
        assert_eq!(connections.judge(&message, now).connection, Some(id));
    }
    assert_eq!(connections.iter().count(), connections.len());
    connections.iter().for_each(|id| assert!(connections.remove(id)));
    // Nothing has been lost: there is as much room as in the beginning.
    (1..1000).for_each(|later| connections.sweep(64, Millis(now.0 + later)));
    let commit = |n| connections.commit(&datagram(n, 200, n < 32), None, &Notes::default(), now);
    assert_eq!((0..=100).take_while(|n| commit(*n).is_ok()).count(), 64);
}

/// What is noted about a connection, as those see it who dump it and as its packets do.
fn noted(connections: &Connections, id: ConnectionId, now: Millis) -> [(u32, u128); 2] {
    let (described, seen) = (connections.describe(id, now).unwrap(), connections.seen(id).unwrap());
    [(described.mark, described.label), (seen.mark, seen.label)]
}

#[test]
fn what_was_noted_about_one_is_not_the_next_ones_at_its_place() {
    let connections = Connections::new(1, 0, Seed(7));
    let (mark, label) = (u32::MAX, u128::MAX);
    let [none, all] = [(0, 0), (mark, label)];
    let bytes = connections.bytes();
    let made = |n: u8, notes: &Notes| {
        let id = connections.commit(&datagram(n, 9, false), None, notes, Millis(0)).unwrap();
        (id, noted(&connections, id, Millis(0)))
    };
    let goes = |id| {
        assert!(connections.remove(id));
        connections.sweep(1, Millis(0));
    };
    let both = Notes { mark: (mark, mark), label: (label, label), alg: None };

    let (id, found) = made(0, &Notes::default());
    assert_eq!(found, [none; 2]);
    let unnoted = connections.bytes() - bytes;
    // What is so already is not written.
    connections.note(id, &Notes { mark: (0, mark), label: (0, label), alg: None }, Millis(0));
    assert_eq!(
        (noted(&connections, id, Millis(0)), connections.bytes() - bytes),
        ([none; 2], unnoted)
    );
    connections.note(id, &both, Millis(0));
    assert_eq!(noted(&connections, id, Millis(0)), [all; 2]);
    assert!(connections.bytes() - bytes > unnoted);
    goes(id);

    let (id, found) = made(1, &Notes::default());
    assert_eq!(found, [none; 2]);
    // The rest of both is as if nothing had ever been there.
    connections.note(id, &Notes { mark: (5, 0xff), ..Notes::default() }, Millis(0));
    assert_eq!(noted(&connections, id, Millis(0)), [(5, 0); 2]);
    goes(id);

    let (id, found) = made(2, &both);
    assert_eq!(found, [all; 2]);
    goes(id);
    let (id, found) = made(3, &Notes { label: (6, 0xff), ..Notes::default() });
    assert_eq!(found, [(0, 6); 2]);
    goes(id);
    assert_eq!(made(4, &Notes::default()).1, [none; 2]);
}
