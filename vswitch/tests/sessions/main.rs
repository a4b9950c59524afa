//! Sessions of tracked packets: several passes as one, against the interpreter, which takes them one
//! after the other; and against a worker without sessions. They are those of one worker, or of two.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod causes;
#[path = "../common/mod.rs"]
mod common;
mod pipelines;
mod stage;
mod switch;
mod talk;

use std::cell::RefCell;

use api::{Command, FlowMod};
use causes::{Cause, End, Fired};
use common::Options;
use packet::tcp;
use pipelines::{CHANGES, PIPELINES};
use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use stage::Stage;
use talk::{Odd, Say, USUAL};

#[derive(Clone, Debug)]
enum Step {
    /// One side of one of two talks says so much in a row; the server's side if it is `back`.
    Say {
        talk: usize,
        back: bool,
        says: Vec<Say>,
    },
    /// SYN, SYN and ACK, ACK.
    Open(usize),
    Wait(u64),
    Add(usize),
    Delete(usize),
    /// In a zone, or where nothing else is said, connections wait for so long; and segments outside of
    /// the window are valid, or not.
    Rule(Option<u16>, Option<u32>, bool),
    /// The workers change places.
    TurnAround,
    /// A session comes to its end.
    End(End),
}

fn any_say() -> impl Strategy<Value = Say> {
    let flags = prop_oneof![
        20 => Just(tcp::ACK),
        4 => Just(tcp::ACK | tcp::PSH),
        1 => select(vec![tcp::SYN, tcp::SYN | tcp::ACK, tcp::FIN | tcp::ACK, tcp::RST, 0]),
    ];
    let far = || prop_oneof![12 => Just(0), 1 => -30..30, 1 => select(vec![-200_000, 200_000])];
    let rest = (
        prop_oneof![9 => Just(0u8), 1 => select(vec![16, 32])],
        prop_oneof![
            6 => Just(64u8),
            1 => 1..5u8,
            1 => 61..67u8,
        ],
        prop_oneof![15 => Just(None), 1 => Just(Some(Odd::Sum))],
    );
    (flags, far(), far(), select(vec![0, 1000, 60_000]), 0..40u16, rest).prop_map(
        |(flags, seq, ack, window, len, (tos, ttl, odd))| Say {
            flags,
            seq,
            ack,
            window,
            len,
            tos,
            ttl,
            odd,
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..2usize, any::<bool>(), vec(any_say(), 1..6))
            .prop_map(|(talk, back, says)| Step::Say { talk, back, says }),
        6 => (0..2usize, any::<bool>(), 1..6usize)
            .prop_map(|(talk, back, n)| Step::Say { talk, back, says: vec![USUAL; n] }),
        2 => (0..2usize).prop_map(Step::Open),
        1 => select(vec![1, 11, 31, 121]).prop_map(Step::Wait),
        1 => (0..CHANGES.len()).prop_map(Step::Add),
        1 => (0..CHANGES.len()).prop_map(Step::Delete),
        1 => (option::of(0..3u16), option::of(20..200u32), weighted(0.2))
            .prop_map(|(zone, seconds, liberal)| Step::Rule(zone, seconds, liberal)),
        1 => Just(Step::TurnAround),
        12 => any_end().prop_map(Step::End),
    ]
}

fn any_end() -> impl Strategy<Value = End> {
    // Those that come to something with few of the flows only.
    let rare = [
        Cause::FirstFlowChanged,
        Cause::FirstFlowDeleted,
        Cause::LaterFlowAdded,
        Cause::LaterFlowChanged,
        Cause::LaterFlowDeleted,
        Cause::LaterGone,
        Cause::LaterOutside,
        Cause::OtherDscp,
        Cause::OtherTtl,
        Cause::OtherMac,
        Cause::OtherFlags,
    ];
    let cause = prop_oneof![3 => select(Cause::ALL.to_vec()), 1 => select(rare.to_vec())];
    let which = (0..2usize, any::<bool>(), weighted(0.7), any::<usize>());
    (cause, which).prop_map(|(cause, (talk, back, fresh, nth))| End {
        cause,
        talk,
        back,
        fresh,
        nth,
    })
}

/// Has a switch of so many workers with so many sessions take all steps.
fn run(
    (workers, sessions): (usize, u32),
    stage: (usize, [(bool, bool); 2]),
    are_strangers: bool,
    steps: &[Step],
) -> Result<Stage, TestCaseError> {
    let mut stage = Stage::new(workers, stage, Options { sessions, ..Options::default() });
    if are_strangers {
        // So many that have no session that whoever comes next is looked up, not met again.
        let unknown = [Say { flags: 0, len: 0, ..USUAL }; 64];
        for back in [false, true, false, true, false, true, false, true, false, true] {
            stage.say(0, back, &unknown)?;
        }
    }
    take(&mut stage, &Step::Open(0))?;
    for step in steps {
        take(&mut stage, step)?;
    }
    Ok(stage)
}

fn take(stage: &mut Stage, step: &Step) -> Result<(), TestCaseError> {
    match step {
        Step::Say { talk, back, says } => stage.say(*talk, *back, says)?,
        Step::Open(talk) => stage.open(*talk)?,
        Step::Wait(seconds) => stage.switch.wait(*seconds),
        Step::Add(n) => stage.switch.flow_mods(&[CHANGES[*n].parse().unwrap()]),
        Step::Delete(n) => {
            let flow: FlowMod = CHANGES[*n].parse().unwrap();
            let command = Command::DeleteStrict;
            stage.switch.flow_mods(&[FlowMod { command, actions: None, ..flow }]);
        }
        Step::Rule(zone, seconds, liberal) => stage.rule(*zone, *seconds, *liberal),
        Step::TurnAround => stage.switch.turn_around(),
        Step::End(end) => stage.end(end)?,
    }
    stage.check()
}

/// More of them where somebody waits: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

/// Has steps taken by a switch of so many workers with sessions, by one of a single worker without,
/// and by the interpreter: packets, counters and connections are the same, whatever it is that brings
/// sessions to their end. Every such cause has to come to something.
fn compare(workers: usize) {
    let (fired, hits) = (RefCell::new(Fired::new()), RefCell::new(vec![0; workers]));
    let cases = cases();
    let any = (
        prop_oneof![3 => 0..PIPELINES.len(), 2 => select(vec![3, 7])],
        any::<[(bool, bool); 2]>(),
        vec(any_step(), 1..40),
        select(vec![4, 256]),
        any::<bool>(),
    );
    let run = |(pipeline, kinds, steps, sessions, are_strangers): (_, _, Vec<Step>, _, _)| {
        let with = run((workers, sessions), (pipeline, kinds), are_strangers, &steps)?;
        let without = run((1, 0), (pipeline, kinds), are_strangers, &steps)?;
        prop_assert_eq!(with.log.len(), without.log.len());
        for (with, without) in with.log.iter().zip(&without.log) {
            prop_assert_eq!(with, without);
        }
        prop_assert!(without.fired.is_empty());
        for (cause, times) in with.fired {
            *fired.borrow_mut().entry(cause).or_default() += times;
        }
        hits.borrow_mut().iter_mut().zip(with.switch.hits()).for_each(|(sum, hits)| *sum += hits);
        Ok(())
    };
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    if let Err(error) = TestRunner::new(config).run(&any, run) {
        panic!("{error}");
    }
    let (fired, hits) = (fired.into_inner(), hits.into_inner());
    println!("{workers} workers, {hits:?} packets by sessions: {fired:?}");
    assert!(hits.iter().all(|hits| *hits > cases.into()), "{hits:?}");
    for cause in Cause::ALL {
        let times = fired.get(&cause).copied().unwrap_or(0);
        assert!(times >= cases / 200, "{cause:?}: {times} times in {cases} cases");
    }
}

#[test]
fn a_session_does_what_all_passes_do() {
    compare(1);
}

#[test]
fn sessions_of_two_workers_do_what_all_passes_of_one_do() {
    compare(2);
}

#[test]
fn packets_of_settled_connections_have_sessions() {
    // But for one in which an address is written before it is translated.
    for pipeline in [0, 1, 2, 3, 5, 6, 7] {
        for (is_tcp, is_ipv6) in [(true, false), (true, true), (false, false), (false, true)] {
            let case = (pipeline, is_tcp, is_ipv6);
            let mut stage = Stage::new(1, (pipeline, [(is_tcp, is_ipv6); 2]), Options::default());
            stage.open(0).unwrap();
            for _ in 0..3 {
                stage.say(0, false, &[USUAL]).unwrap();
                stage.say(0, true, &[USUAL]).unwrap();
            }
            stage.switch.check();
            let before = stage.hits();
            stage.say(0, false, &[USUAL; 5]).unwrap();
            stage.say(0, true, &[USUAL; 5]).unwrap();
            stage.switch.check();
            assert_eq!(stage.hits() - before, 10, "{case:?}");
        }
    }
}

#[test]
fn what_follows_a_reset_in_one_batch_is_judged_behind_it() {
    let mut stage = Stage::new(1, (0, [(true, false); 2]), Options::default());
    stage.open(0).unwrap();
    for back in [false, true, false, true, false, true] {
        stage.say(0, back, &[USUAL]).unwrap();
    }
    stage.switch.check();
    let before = stage.hits();
    let reset = Say { flags: tcp::RST, len: 0, ..USUAL };
    stage.say(0, false, &[USUAL, reset, USUAL, USUAL]).unwrap();
    stage.switch.check();
    assert_eq!(stage.hits() - before, 1, "only what comes in front of it is as usual");
    assert_eq!(stage.switch.expected_counts(), stage.switch.counts());
}

/// A packet that met an outdated megaflow had another one made where its like was already; a change
/// then found only one of the two.
#[test]
fn there_were_two_megaflows_for_the_same_packets() {
    let options = Options { sessions: 0, ..Options::default() };
    let mut stage = Stage::new(1, (6, [(true, false); 2]), options);
    let pushes = Say { flags: tcp::ACK | tcp::PSH, ..USUAL };
    let says = |says| Step::Say { talk: 0, back: true, says };
    let steps = [
        Step::Open(0),
        Step::Add(2),
        says(vec![pushes, USUAL]),
        Step::Delete(2),
        says(vec![USUAL, USUAL]),
    ];
    steps.iter().for_each(|step| take(&mut stage, step).unwrap());
}
