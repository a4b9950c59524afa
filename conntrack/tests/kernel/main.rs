//! The kernel's own connection tracking as oracle: both judge the same packets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod differs;
mod ends;
mod icmp;
mod ip;
mod oracle;
mod ours;
mod pieces;
mod sctp;
mod tcp;
mod traffic;
mod udp;
mod wires;

use std::cell::{Cell, RefCell};

use conntrack::Settings;
use differs::differs;
use oracle::Kernel;
use ours::Ours;
use packet::Seed;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use traffic::{Conversation, Event, bundles, conversations, errors, everything, segments};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Invalid,
    New,
    Established,
    Reply,
    /// It is about a packet that the other side has sent: it goes as the first packet of its
    /// connection did.
    Related,
    /// The same, the other way.
    RelatedReply,
    /// Nobody asks what it belongs to: only the kernel says so.
    Untracked,
}

/// All of them, in order.
const VERDICTS: [Verdict; 7] = [
    Verdict::Invalid,
    Verdict::New,
    Verdict::Established,
    Verdict::Reply,
    Verdict::Related,
    Verdict::RelatedReply,
    Verdict::Untracked,
];

/// Whether packets come whole, or in fragments if they are long enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Come {
    Whole,
    InFragments,
}

/// Packets judged by both, until they differ.
fn judge(
    kernel: &mut Kernel,
    case: u32,
    (come, events): (Come, &[Event]),
    mut each: impl FnMut(&Event, &Ours, &Kernel, [Verdict; 2]),
) -> Result<(), TestCaseError> {
    let (mut conversation, mut ours) = (Conversation::new(case), Ours::new(kernel.settings()));
    for (n, event) in events.iter().filter(|event| !differs(event)).enumerate() {
        let packet = conversation.packet(event);
        let dice = Seed(case.into()).hash([n as u64]);
        let pieces = match come {
            Come::Whole => vec![packet],
            Come::InFragments => pieces::cut(&packet, dice),
        };
        let (theirs, theirs_is_assured, theirs_lasts) = kernel.judge(event.from, &pieces);
        let (verdict, is_assured, lasts) = ours.judge(&pieces);
        each(event, &ours, kernel, [verdict, theirs]);
        prop_assert_eq!(verdict, theirs, "packet {}", n);
        if let Some(is_assured) = is_assured {
            prop_assert_eq!(is_assured, theirs_is_assured, "assured by packet {}", n);
        }
        if let Some(lasts) = lasts {
            prop_assert_eq!(Some(lasts), theirs_lasts, "the state behind packet {}", n);
        }
    }
    Ok(())
}

/// How many packets there were of each verdict, in the order of [`VERDICTS`].
type Counts = [u32; VERDICTS.len()];

/// Lets both judge the packets of so many cases: the same at every run, so that one fails for what
/// has changed. `PROPTEST_CASES` makes them more, and `PROPTEST_RNG_SEED` others.
fn judge_many(settings: Settings, cases: u32, events: impl Strategy<Value = Vec<Event>>) -> Counts {
    judge_all(settings, cases, Come::Whole, events)
}

/// The same of packets that come so.
fn judge_all(
    settings: Settings,
    cases: u32,
    come: Come,
    events: impl Strategy<Value = Vec<Event>>,
) -> Counts {
    let kernel = RefCell::new(Kernel::of(settings));
    let mut config =
        Config { failure_persistence: None, max_shrink_time: 20_000, ..Config::default() };
    config.cases = config.cases.max(cases);
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(7);
    }
    let (case, counts) = (Cell::new(0), Cell::new(Counts::default()));
    let result = TestRunner::new(config).run(&events, |events| {
        case.set(case.get() + 1);
        kernel.borrow_mut().make_room();
        let each = |_: &Event, _: &Ours, _: &Kernel, [_, theirs]: [Verdict; 2]| {
            let mut judged = counts.get();
            judged[theirs as usize] += 1;
            counts.set(judged);
        };
        judge(&mut kernel.borrow_mut(), case.get(), (come, &events), each)
    });
    if let Err(TestError::Fail(why, events)) = result {
        panic!("{why}\n{}", told(settings, (come, &events)));
    }
    println!("{:?} of {VERDICTS:?}", counts.get());
    counts.get()
}

/// Asserts that there were enough packets of these verdicts for them to mean something.
fn assert_many(counts: Counts, least: u32, verdicts: &[Verdict]) {
    for verdict in verdicts {
        let count = counts[*verdict as usize];
        assert!(count >= least, "{count} packets are {verdict:?}");
    }
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn tcp_is_judged_as_by_the_kernel() {
    let counts = judge_many(Settings::default(), 8000, segments());
    assert_many(counts, 7000, &VERDICTS[..4]);
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn who_is_liberal_is_as_liberal_as_the_kernel() {
    judge_many(Settings { liberal: true, ..Settings::default() }, 3000, segments());
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn who_picks_nothing_up_judges_as_the_kernel() {
    judge_many(Settings { picks_up: false, ..Settings::default() }, 3000, segments());
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn sctp_is_judged_as_by_the_kernel() {
    let counts = judge_many(Settings::default(), 8000, bundles());
    assert_many(counts, 5000, &VERDICTS[..4]);
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn conversations_are_told_from_each_other_as_by_the_kernel() {
    let counts = judge_many(Settings::default(), 5000, conversations());
    assert_many(counts, 4000, &VERDICTS[..4]);
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn errors_are_related_to_what_they_are_to_the_kernel() {
    let counts = judge_many(Settings::default(), 5000, errors());
    assert_many(counts, 1500, &VERDICTS[..6]);
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn both_families_are_judged_side_by_side_as_by_the_kernel() {
    let counts = judge_many(Settings::default(), 2500, everything());
    assert_many(counts, 700, &VERDICTS[..6]);
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn datagrams_in_fragments_are_judged_as_by_the_kernel() {
    let counts = judge_all(Settings::default(), 4000, Come::InFragments, everything());
    assert_many(counts, 700, &VERDICTS[..6]);
    judge_all(Settings::default(), 2000, Come::InFragments, segments());
}

/// What both say of packets, with the connections that they have then.
fn told(settings: Settings, events: (Come, &[Event])) -> String {
    let mut lines = Vec::new();
    let each = |event: &Event, ours: &Ours, kernel: &Kernel, [verdict, theirs]: [Verdict; 2]| {
        lines.push(format!("{event:?}: {verdict:?}, the kernel: {theirs:?}"));
        lines.push(format!("  ours: {ours:?}\n  the kernel's: {}", kernel.connections()));
    };
    // That they differ is known.
    let _ = judge(&mut Kernel::of(settings), 1, events, each);
    lines.join("\n")
}
