//! Two threads that take segments of one connection, in whatever order.

use super::*;
use loom::sync::Arc;
use loom::thread;

fn segment(kind: Kind, [seq, end]: [u32; 2], ack: Option<u32>) -> Segment {
    let has_ack = ack.is_some();
    let ack = ack.unwrap_or_default();
    Segment {
        kind,
        has_ack,
        seq,
        end,
        ack,
        sack: ack,
        window: 1000,
        has_options: false,
        scale: None,
        allows_sack: false,
    }
}

/// One that is established: the one side is at 101, the other at 501.
fn established() -> Option<SharedTcp> {
    let settings = Settings::default();
    let mut tcp = Tcp::open(&segment(Kind::Syn, [100, 101], None), settings)?;
    let known = Known { replied: true, assured: true };
    for (direction, kind, ends, ack) in [
        (Direction::Reply, Kind::SynAck, [500, 501], 101),
        (Direction::Original, Kind::Ack, [101, 101], 501),
        (Direction::Reply, Kind::Ack, [501, 501], 101),
    ] {
        tcp.track(direction, &segment(kind, ends, Some(ack)), known, settings);
    }
    let shared = SharedTcp::default();
    shared.begin(&Words::of(&tcp, known));
    shared.is_calm().then_some(shared)
}

fn ack([seq, end]: [u32; 2], ack: u32) -> Ack {
    Ack { seq, end, ack, sack: ack, window: 1000 }
}

fn take(shared: &SharedTcp, (direction, ack): (Direction, Ack)) -> bool {
    let judged = shared.judge_ack(direction, ack);
    judged.is_some_and(|judged| shared.take_ack(direction, &judged, ack).is_some())
}

/// What is known when two threads have each taken a segment.
fn raced(one: (Direction, Ack), other: (Direction, Ack)) -> ([bool; 2], Tcp) {
    let shared = Arc::new(established().unwrap());
    let theirs = Arc::clone(&shared);
    let thread = thread::spawn(move || take(&theirs, other));
    let own = take(&shared, one);
    ([own, thread.join().unwrap()], shared.get().0)
}

#[test]
fn of_two_that_go_one_way_the_later_end_is_known() {
    loom::model(|| {
        let [one, other] = [ack([101, 201], 501), ack([201, 301], 501)];
        let (taken, tcp) = raced((Direction::Original, one), (Direction::Original, other));
        assert_eq!((taken, tcp.sides[0].end), ([true; 2], 301));
    });
}

#[test]
fn of_two_that_go_both_ways_both_are_known() {
    loom::model(|| {
        let [one, other] = [ack([101, 201], 501), ack([501, 601], 101)];
        let (taken, tcp) = raced((Direction::Original, one), (Direction::Reply, other));
        let ends = tcp.sides.each_ref().map(|side| (side.end, side.max_end));
        assert_eq!((taken, ends), ([true; 2], [(201, 1101), (601, 1501)]));
    });
}
