//! The kernel's own connection tracking as oracle: both judge the same packets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod oracle;
mod ours;
mod traffic;

use std::cell::{Cell, RefCell};

use conntrack::Settings;
use oracle::Kernel;
use ours::Ours;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use testnet::TestNet;
use traffic::{Conversation, Event, events};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Invalid,
    New,
    Established,
    Reply,
}

/// Packets judged by both, until they differ.
fn judge(
    kernel: &mut Kernel,
    case: u32,
    events: &[Event],
    mut each: impl FnMut(&Event, &Ours, Verdict, Verdict),
) -> Result<(), TestCaseError> {
    let (mut conversation, mut ours) = (Conversation::new(case), Ours::new(kernel.settings));
    for (n, event) in events.iter().enumerate() {
        let packet = conversation.packet(event);
        let theirs = kernel.judge(event.from, &packet);
        let verdict = ours.judge(event.from, &packet);
        each(event, &ours, verdict, theirs);
        prop_assert_eq!(verdict, theirs, "packet {}", n);
    }
    Ok(())
}

/// Lets both judge so many connections of some ten packets each: the same at every run, so that one
/// fails for what has changed. `PROPTEST_CASES` makes them more, of which the kernel has room for
/// 250 000, and `PROPTEST_RNG_SEED` others.
fn judge_many(settings: Settings, cases: u32) -> u32 {
    let net = TestNet::new().unwrap();
    let kernel = RefCell::new(Kernel::of(&net, settings));
    let mut config = Config { failure_persistence: None, ..Config::default() };
    config.cases = config.cases.max(cases);
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(7);
    }
    let (case, judged) = (Cell::new(0), Cell::new(0));
    let result = TestRunner::new(config).run(&events(), |events| {
        case.set(case.get() + 1);
        let each = |_: &Event, _: &Ours, _, _| judged.set(judged.get() + 1);
        judge(&mut kernel.borrow_mut(), case.get(), &events, each)
    });
    if let Err(TestError::Fail(why, events)) = result {
        panic!("{why}\n{}", told(&net, &mut kernel.borrow_mut(), case.get() + 1, &events));
    }
    judged.get()
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn tcp_is_judged_as_by_the_kernel() {
    let judged = judge_many(Settings::default(), 12_000);
    assert!(judged >= 100_000, "{judged} packets");
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn who_is_liberal_is_as_liberal_as_the_kernel() {
    judge_many(Settings { liberal: true, ..Settings::default() }, 4000);
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn who_picks_nothing_up_judges_as_the_kernel() {
    judge_many(Settings { picks_up: false, ..Settings::default() }, 4000);
}

/// What both say of packets, with the states that they have then.
fn told(net: &TestNet, kernel: &mut Kernel, case: u32, events: &[Event]) -> String {
    let mut lines = Vec::new();
    let each = |event: &Event, ours: &Ours, verdict, theirs| {
        let state = kernel_state(net, case);
        lines.push(format!("{event:?}: {verdict:?} {ours:?}; the kernel: {theirs:?} {state}"));
    };
    // That they differ is known.
    let _ = judge(kernel, case, events, each);
    lines.join("\n")
}

/// The line that the kernel has of a case.
fn kernel_state(net: &TestNet, case: u32) -> String {
    let [_, high, middle, low] = case.to_be_bytes();
    let address = format!("10.1.{high}.{middle} ");
    let port = format!("port={} ", 1024 + u16::from(low));
    let table = net.run("cat /proc/net/nf_conntrack").unwrap();
    let line = table.lines().find(|line| line.contains(&address) && line.contains(&port));
    line.unwrap_or("none").to_owned()
}
