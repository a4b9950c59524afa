//! Threads that meet in a table, in whatever order.

use super::*;
use crate::tuple::Ends;
use loom::sync::Arc;
use loom::thread;

fn tuple(src_port: u16, dst_port: u16) -> Tuple {
    let [src, dst] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|bytes| bytes.into());
    Tuple::new(Ends { src, dst, src_port, dst_port, proto: 17 }, 0).unwrap()
}

fn insert(table: &Table, original: Tuple, reply: Tuple) -> Result<ConnectionId, NotMade> {
    insert_at(0, table, original, reply)
}

fn insert_at(
    now: u32,
    table: &Table,
    original: Tuple,
    reply: Tuple,
) -> Result<ConnectionId, NotMade> {
    let (content, kin) = (Content::Udp, Kin::default());
    let opened = Opened::Other;
    let [original, reply] = [original, reply].map(|tuple| table.hashed(tuple));
    let (awaited, content, opened) = (&Awaited::of(original), &content, &opened);
    let beginning = Beginning { awaited, content, opened, mark: 0, label: 0, now, kin };
    table.insert(&beginning, Some(&reply), std::iter::empty).map(|(id, _)| id)
}

/// In so many orders as can be tried in some seconds: those of some preemptions.
fn bounded(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(body);
}

#[test]
fn two_that_share_a_tuple_are_never_both_made() {
    bounded(5, || {
        let table = Arc::new(Table::new(2, 0, Seed(7)));
        let other = Arc::clone(&table);
        // As of two sources whose packets were translated to the same port.
        let thread = thread::spawn(move || insert(&other, tuple(1, 9), tuple(9, 5)).is_ok());
        let own = insert(&table, tuple(2, 9), tuple(9, 5)).is_ok();
        let both = [own, thread.join().unwrap()];
        assert_ne!(both, [true, true]);
        let made = both.iter().filter(|made| **made).count();
        let leads = |tuple| usize::from(table.find(&tuple).is_some());
        assert_eq!((leads(tuple(9, 5)), table.len()), (made, made));
        assert_eq!(leads(tuple(1, 9)) + leads(tuple(2, 9)), made);
    });
}

#[test]
fn what_a_member_has_found_stays_until_it_begins_again() {
    loom::model(|| {
        let table = Arc::new(Table::new(1, 1, Seed(7)));
        let id = insert(&table, tuple(1, 9), tuple(9, 1)).unwrap();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            other.remove(id);
            other.free(1);
            insert(&other, tuple(2, 9), tuple(9, 2)).is_ok()
        });
        table.grace.begin(0);
        if let Some((found, _)) = table.find(&tuple(1, 9)) {
            let tuples = table.tuples(found);
            assert!(tuples.is_none_or(|tuples| tuples.original == tuple(1, 9)));
            // What is written to it now is not written to another one.
            assert!(table.find(&tuple(2, 9)).is_none());
        }
        table.grace.end(0);
        thread.join().unwrap();
    });
}

#[test]
fn a_zone_has_no_more_than_it_may_and_none_is_counted_twice() {
    bounded(3, || {
        let table = Arc::new(Table::new(2, 0, Seed(7)));
        table.zones.set_limit(0, Some(1));
        let first = insert(&table, tuple(1, 9), tuple(9, 1)).unwrap();
        let [adder, remover] = [Arc::clone(&table), Arc::clone(&table)];
        let adds = thread::spawn(move || insert(&adder, tuple(2, 9), tuple(9, 2)).is_ok());
        let removes = thread::spawn(move || remover.remove(first));
        let removed = table.remove(first);
        let made = adds.join().unwrap();
        assert_ne!(removed, removes.join().unwrap());
        assert_eq!((table.zones.count(0), table.len()), (u32::from(made), usize::from(made)));
        assert_eq!(insert(&table, tuple(3, 9), tuple(9, 3)).is_ok(), !made);
    });
}

#[test]
fn a_policy_is_not_another_zones_while_a_connection_goes_by_it() {
    loom::model(|| {
        let table = Arc::new(Table::new(1, 0, Seed(7)));
        let timeouts =
            |seconds: u32| [(api::CtTimeout::UdpFirst, seconds.try_into().unwrap())].into();
        table.zones.set_timeouts(0, &timeouts(5)).unwrap();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || insert(&other, tuple(1, 9), tuple(9, 1)).unwrap());
        table.zones.reset_timeouts(0);
        // There is but one.
        let is_anothers = table.zones.set_timeouts(1, &timeouts(7)).is_ok();
        let id = thread.join().unwrap();
        let policy = table.get(id).unwrap().policy();
        assert!(policy == 0 || !is_anothers);
        assert!(table.remove(id));
        assert!(table.zones.set_timeouts(1, &timeouts(7)).is_ok());
    });
}

/// The moment was read behind the members: one that began in between was not seen.
#[test]
fn a_place_was_free_while_a_member_began() {
    bounded(5, || {
        let table = Arc::new(Table::new(1, 1, Seed(7)));
        let id = insert(&table, tuple(1, 9), tuple(9, 1)).unwrap();
        let [remover, sweeper] = [Arc::clone(&table), Arc::clone(&table)];
        let removes = thread::spawn(move || remover.remove(id));
        let sweeps = thread::spawn(move || sweeper.free(1));
        table.grace.begin(0);
        if table.find(&tuple(1, 9)).is_some() {
            assert!(insert(&table, tuple(2, 9), tuple(9, 2)).is_err());
        }
        table.grace.end(0);
        removes.join().unwrap();
        sweeps.join().unwrap();
    });
}

/// One whose place was that of another, about which both were noted.
fn of_a_place_that_was_noted(table: &Table) -> ConnectionId {
    let before = insert(table, tuple(1, 9), tuple(9, 1)).unwrap();
    table.set_mark(before.place(), u32::MAX, u32::MAX);
    table.set_label(before.place(), u128::MAX, u128::MAX);
    assert!(table.remove(before));
    table.free(1);
    let id = insert(table, tuple(2, 9), tuple(9, 2)).unwrap();
    assert_eq!((id.place(), table.mark(id.place()), table.label(id.place())), (0, 0, 0));
    id
}

#[test]
fn of_two_that_note_something_at_once_both_have() {
    bounded(4, || {
        let table = Arc::new(Table::new(1, 0, Seed(7)));
        let id = of_a_place_that_was_noted(&table);
        let version = table.get(id).unwrap().version();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            other.set_mark(0, 0x0f, 0x0f);
            other.set_label(0, 1 << 64 | 2, 3 << 64 | 3);
        });
        table.set_label(0, 4 << 64 | 8, 12 << 64 | 12);
        table.set_mark(0, 0xf0, 0xf0);
        thread.join().unwrap();
        assert_eq!((table.mark(0), table.label(0)), (0xff, 5 << 64 | 10));
        assert_eq!(table.get(id).unwrap().version(), version + 4);
    });
}

#[test]
fn who_has_seen_the_last_version_has_seen_what_was_noted() {
    loom::model(|| {
        let table = Arc::new(Table::new(1, 0, Seed(7)));
        let id = of_a_place_that_was_noted(&table);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            other.set_mark(0, 7, 7);
            other.set_label(0, 9 << 64 | 9, 9 << 64 | 9);
        });
        let version = table.get(id).unwrap().version();
        let (mark, label) = (table.mark(0), table.label(0));
        thread.join().unwrap();
        assert!([0, 7].contains(&mark) && [0, 9 << 64 | 9].contains(&label));
        if table.get(id).unwrap().version() == version {
            assert_eq!((mark, label), (7, 9 << 64 | 9));
        }
    });
}

/// When all have had their time that began at zero.
const OVER: u32 = 1 << 30;

#[test]
fn of_what_is_swept_and_flushed_at_once_each_goes_once() {
    bounded(3, || {
        let table = Arc::new(Table::new(2, 0, Seed(7)));
        let ids = [1, 2].map(|port| insert(&table, tuple(port, 9), tuple(9, port)).unwrap());
        let other = Arc::clone(&table);
        let flushes = thread::spawn(move || ids.map(|id| usize::from(other.remove(id))));
        let swept = table.sweep(2, OVER, |_| false);
        let flushed: usize = flushes.join().unwrap().into_iter().sum();
        assert_eq!((swept + flushed, table.len()), (2, 0));
        assert!([1, 2].iter().all(|port| table.find(&tuple(*port, 9)).is_none()));
        // Each place is free once.
        table.free(2);
        let made = [3, 4, 5].map(|port| insert(&table, tuple(port, 9), tuple(9, port)).is_ok());
        assert_eq!(made, [true, true, false]);
    });
}

#[test]
fn a_sweep_spares_who_has_the_place_of_another_that_it_met() {
    bounded(3, || {
        let table = Arc::new(Table::new(1, 0, Seed(7)));
        let id = insert(&table, tuple(1, 9), tuple(9, 1)).unwrap();
        let other = Arc::clone(&table);
        // The other way round loom 0.7 leaves the order out that matters.
        let sweeps = thread::spawn(move || other.sweep(1, OVER, |_| false));
        table.remove(id);
        table.free(1);
        let is_made = insert_at(OVER, &table, tuple(2, 9), tuple(9, 2)).is_ok();
        sweeps.join().unwrap();
        assert!(table.find(&tuple(1, 9)).is_none());
        assert_eq!(table.find(&tuple(2, 9)).is_some(), is_made);
        assert_eq!(table.len(), usize::from(is_made));
    });
}
