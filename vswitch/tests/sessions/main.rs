//! Sessions of tracked packets: several passes as one, against the interpreter, which takes them one
//! after the other; and against a worker without sessions.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

#[path = "../common/mod.rs"]
mod common;
mod pipelines;
mod talk;

use api::{Command, FlowMod};
use common::{Bench, Options};
use flowtable::VlanMode;
use packet::tcp;
use pipelines::{CHANGES, PIPELINES};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use talk::{Say, Talk, USUAL};

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
    );
    (flags, far(), far(), select(vec![0, 1000, 60_000]), 0..40u16, rest).prop_map(
        |(flags, seq, ack, window, len, (tos, ttl))| Say { flags, seq, ack, window, len, tos, ttl },
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
    ]
}

/// A switch whose packets the interpreter takes as well, and two talks across it.
struct Stage {
    bench: Bench,
    talks: [Talk; 2],
}

impl Stage {
    fn new(pipeline: usize, kinds: [(bool, bool); 2], options: Options) -> Self {
        let mut bench = Bench::new(&vec![VlanMode::Trunk(Vec::new()); 4], options);
        bench.flow_mods(
            &PIPELINES[pipeline].iter().map(|flow| flow.parse().unwrap()).collect::<Vec<_>>(),
        );
        let mut talks =
            (0..).zip(kinds).map(|(n, (is_tcp, is_ipv6))| Talk::new(n, is_tcp, is_ipv6));
        Self { bench, talks: [talks.next().unwrap(), talks.next().unwrap()] }
    }

    fn say(&mut self, talk: usize, back: bool, says: &[Say]) -> Result<(), TestCaseError> {
        let own = &mut self.talks[talk];
        let packets: Vec<_> = says.iter().map(|say| own.say(back, say)).collect();
        let (real, expected) = self.bench.carry(if back { 2 } else { 1 }, &packets);
        if !back && let Some((_, heard)) = real.sent.iter().rev().find(|(port, _)| *port == 2) {
            own.hear(heard);
        }
        prop_assert_eq!(real.told_apart(), expected.told_apart());
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Say { talk, back, says } => self.say(*talk, *back, says)?,
            Step::Open(talk) => self.open(*talk)?,
            Step::Wait(seconds) => self.bench.now += std::time::Duration::from_secs(*seconds),
            Step::Add(n) => self.bench.flow_mods(&[CHANGES[*n].parse().unwrap()]),
            Step::Delete(n) => {
                let flow: FlowMod = CHANGES[*n].parse().unwrap();
                let command = Command::DeleteStrict;
                self.bench.flow_mods(&[FlowMod { command, actions: None, ..flow }]);
            }
        }
        self.bench.turn();
        self.bench.check();
        prop_assert_eq!(self.bench.counts(), self.bench.expected_counts());
        Ok(())
    }

    fn open(&mut self, talk: usize) -> Result<(), TestCaseError> {
        let begins = Say { flags: tcp::SYN, len: 0, ..USUAL };
        self.say(talk, false, &[begins])?;
        self.say(talk, true, &[Say { flags: tcp::SYN | tcp::ACK, ..begins }])?;
        self.say(talk, false, &[Say { len: 0, ..USUAL }])?;
        self.say(talk, true, &[Say { len: 0, ..USUAL }])
    }

    fn hits(&self) -> u64 {
        self.bench.counters.session_hits.get()
    }
}

/// More of them where somebody waits: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_session_does_what_all_passes_do(
        pipeline in 0..PIPELINES.len(),
        kinds in any::<[(bool, bool); 2]>(),
        steps in vec(any_step(), 1..40),
        sessions in select(vec![0, 4, 256]),
    ) {
        let mut stage = Stage::new(pipeline, kinds, Options { sessions, ..Options::default() });
        stage.take(&Step::Open(0))?;
        for step in &steps {
            stage.take(step)?;
        }
    }
}

#[test]
fn packets_of_settled_connections_have_sessions() {
    // But for one in which an address is written before it is translated.
    for pipeline in [0, 1, 2, 3, 5, 6] {
        for (is_tcp, is_ipv6) in [(true, false), (true, true), (false, false), (false, true)] {
            let case = (pipeline, is_tcp, is_ipv6);
            let mut stage = Stage::new(pipeline, [(is_tcp, is_ipv6); 2], Options::default());
            stage.open(0).unwrap();
            for _ in 0..3 {
                stage.say(0, false, &[USUAL]).unwrap();
                stage.say(0, true, &[USUAL]).unwrap();
            }
            stage.bench.check();
            let before = stage.hits();
            stage.say(0, false, &[USUAL; 5]).unwrap();
            stage.say(0, true, &[USUAL; 5]).unwrap();
            stage.bench.check();
            assert_eq!(stage.hits() - before, 10, "{case:?}");
        }
    }
}

#[test]
fn what_follows_a_reset_in_one_batch_is_judged_behind_it() {
    let mut stage = Stage::new(0, [(true, false); 2], Options::default());
    stage.open(0).unwrap();
    for back in [false, true, false, true, false, true] {
        stage.say(0, back, &[USUAL]).unwrap();
    }
    stage.bench.check();
    let before = stage.hits();
    let reset = Say { flags: tcp::RST, len: 0, ..USUAL };
    stage.say(0, false, &[USUAL, reset, USUAL, USUAL]).unwrap();
    stage.bench.check();
    assert_eq!(stage.hits() - before, 1, "only what comes in front of it is as usual");
    assert_eq!(stage.bench.expected_counts(), stage.bench.counts());
}

/// A packet that met an outdated megaflow had another one made where its like was already; a change
/// then found only one of the two.
#[test]
fn there_were_two_megaflows_for_the_same_packets() {
    let options = Options { sessions: 0, ..Options::default() };
    let mut stage = Stage::new(6, [(true, false); 2], options);
    let pushes = Say { flags: tcp::ACK | tcp::PSH, ..USUAL };
    let says = |says| Step::Say { talk: 0, back: true, says };
    let steps = [
        Step::Open(0),
        Step::Add(2),
        says(vec![pushes, USUAL]),
        Step::Delete(2),
        says(vec![USUAL, USUAL]),
    ];
    steps.iter().for_each(|step| stage.take(step).unwrap());
}
