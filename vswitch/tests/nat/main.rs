//! The kernel's own NAT as oracle: both translate the same packets, ours with each direction on a
//! worker of its own. What is determined must be the same bytes; of what each may choose, it must have
//! chosen what it was told to, and bring every answer to the same place.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod alike;
#[path = "../common/mod.rs"]
mod common;
mod hearsay;
mod kernel;
mod ours;
mod setups;

#[path = "../../../conntrack/tests/kernel/differs.rs"]
mod differs;
#[path = "../../../conntrack/tests/kernel/ends.rs"]
mod ends;
#[path = "../../../conntrack/tests/kernel/icmp.rs"]
mod icmp;
#[path = "../../../conntrack/tests/kernel/ip.rs"]
mod ip;
#[path = "../../../conntrack/tests/kernel/sctp.rs"]
mod sctp;
#[path = "../../../conntrack/tests/kernel/tcp.rs"]
mod tcp;
#[path = "../../../conntrack/tests/kernel/traffic.rs"]
#[expect(dead_code, reason = "verdicts are asked for with more of it")]
mod traffic;
#[path = "../../../conntrack/tests/kernel/udp.rs"]
mod udp;
#[path = "../../../conntrack/tests/kernel/wires.rs"]
mod wires;

use std::cell::{Cell, RefCell};

use alike::{framed, is_right, is_untouched, parsed, without_choice};
use ends::{Ends, Family, Sender};
use hearsay::{Hearsay, Progress, ends_of};
use ip::Extra;
use kernel::Kernel;
use ours::Ours;
use packet::Transport;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use setups::{Invalid, SETUPS, Setup};
use tcp::{Flags, ordered};
use traffic::{Event, What, conversations, errors, segments};

/// How many packets came to what.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// They were the same.
    same: u32,
    /// They were alike but for what each may choose.
    alike: u32,
    /// They came out of neither.
    stopped: u32,
    /// Of all, those that were translated.
    translated: u32,
    /// Of those, errors.
    errors: u32,
    /// Cases that ended because both are known to differ.
    known: u32,
    /// Packets that were not sent: one of both would have taken them for another's.
    renamed: u32,
}

/// Both switches, and what has come out of each.
struct Stage {
    setup: Setup,
    kernel: (Kernel, Hearsay),
    ours: (Ours, Hearsay),
    progress: Progress,
    counts: Counts,
}

/// Whether a case goes on.
enum Goes {
    On,
    /// Both differ, as is known.
    No,
}

impl Stage {
    fn of(setup: Setup, invalid: Invalid) -> Self {
        Self {
            setup,
            kernel: (Kernel::of(setup, invalid), Hearsay::default()),
            ours: (Ours::of(setup, invalid), Hearsay::default()),
            progress: Progress::default(),
            counts: Counts::default(),
        }
    }

    fn forget(&mut self) {
        self.kernel.0.forget();
        self.ours.0.forget();
        (self.kernel.1, self.ours.1) = Default::default();
        self.progress = Progress::default();
    }

    /// Whether nobody says so: a server that is asked for by another name speaks when it is spoken to.
    /// DIFFERS: else the kernel would give a client another port where flows say nothing about ports.
    fn is_unsaid(&self, event: &Event) -> bool {
        let from_server = event.from == Sender::B && event.ends.hosts[1] == 0;
        let is_said = !matches!(event.what, What::Error(_));
        self.setup.has_service() && from_server && is_said && !self.kernel.1.is_answer(event)
    }

    /// Has both carry what is said.
    fn take(&mut self, event: &Event, lines: &mut Vec<String>) -> Result<Goes, TestCaseError> {
        if differs::differs(event) || is_untranslatable(event) || self.is_unsaid(event) {
            return Ok(Goes::On);
        }
        // DIFFERS: each has dice of its own, which may give a port anew that was just given back.
        if self.kernel.1.is_anothers(event) || self.ours.1.is_anothers(event) {
            self.counts.renamed += 1;
            return Ok(Goes::On);
        }
        let sent = [&self.kernel.1, &self.ours.1]
            .map(|heard| heard.packet(self.setup, event, &self.progress));
        self.progress.advance(event);
        if is_redirect(&sent[1]) {
            return Ok(Goes::On);
        }
        let clashes = self.ours.0.clashes();
        let theirs = self.kernel.0.carry(event.from, &sent[0]);
        let ours = self.ours.0.carry(event.from, &sent[1]);
        lines.push(format!("{event:?}: {:?}", ends_of(&sent[1])));
        lines.push(format!("  the kernel: {}\n  ours: {}", shown(&theirs), shown(&ours)));
        if self.ours.0.clashes() > clashes && !theirs.is_empty() {
            // DIFFERS: the kernel gives a port where flows say nothing about ports.
            self.counts.known += 1;
            return Ok(Goes::No);
        }
        prop_assert_eq!(theirs.len(), ours.len(), "{:?}", event);
        let Some(((their_side, their), (our_side, our))) = theirs.first().zip(ours.first()) else {
            self.counts.stopped += 1;
            // DIFFERS: of two zones, only the first one has seen what is invalid there.
            return Ok(if self.setup == Setup::Both { Goes::No } else { Goes::On });
        };
        prop_assert_eq!(their_side, our_side, "{:?}", event);
        self.compare(event, &sent, [their, our])?;
        if !matches!(event.what, What::Error(_)) {
            self.kernel.1.hear(event, their);
            self.ours.1.hear(event, our);
        }
        Ok(Goes::On)
    }

    fn compare(
        &mut self,
        event: &Event,
        sent: &[Vec<u8>; 2],
        [their, our]: [&Vec<u8>; 2],
    ) -> Result<(), TestCaseError> {
        let setup = self.setup;
        if is_right(&sent[1]) {
            prop_assert!(is_right(our), "checksums of {:?}: {:02x?}", event, our);
        }
        let are_untouched = is_untouched(&sent[0], their) && is_untouched(&sent[1], our);
        if their == our || are_untouched {
            self.counts.same += 1;
        } else {
            let [their, our] = without_choice(setup, [their, our]);
            prop_assert_eq!(our, their, "{:?}", event);
            self.counts.alike += 1;
        }
        let [before, after] = [&sent[1], our].map(|packet| ends_of(packet));
        if let (Some(before), Some(after)) = (before, after)
            && before != after
        {
            self.counts.translated += 1;
            self.counts.errors += u32::from(matches!(event.what, What::Error(_)));
            let is_hidden = event.from == Sender::A && before[0] != after[0];
            if is_hidden && !matches!(event.what, What::Error(_)) {
                prop_assert!(setup.hides() && setup.gives(after[0].0), "{:?}", after);
                if matches!(event.what, What::Tcp(_) | What::Udp(_)) {
                    prop_assert!(setup.gives_port(after[0].1, before[0].1), "{:?}", after);
                }
            }
        }
        Ok(())
    }

    /// Has both carry a case; answers what was said and came out.
    fn run(&mut self, events: &[Event]) -> (Vec<String>, Result<(), TestCaseError>) {
        self.forget();
        let mut lines = Vec::new();
        for event in events {
            match self.take(event, &mut lines) {
                Ok(Goes::On) => {}
                Ok(Goes::No) => break,
                Err(error) => return (lines, Err(error)),
            }
        }
        (lines, Ok(()))
    }
}

/// Whether the kernel has nothing pass that it would have to translate, and cannot.
fn is_untranslatable(event: &Event) -> bool {
    // DIFFERS: behind such a header rules do not find the protocol that flows find.
    let is_authenticated = matches!(event.extra, Extra::Header(AUTHENTICATION, _));
    match &event.what {
        _ if is_authenticated => true,
        // DIFFERS: what says that it is GRE, and has no header of it.
        What::Other(GRE, len) => (*len).min(event.cut.unwrap_or(*len)) < 8,
        // DIFFERS: what quotes less than eight bytes (RFC 792) of what it tells of.
        What::Error(error) => {
            let quoted = &error.quoted;
            let is_short = event.cut.is_some() || quoted.cut.is_some_and(|cut| cut < 8);
            is_short || is_untranslatable(quoted)
        }
        _ => false,
    }
}

/// Generic routing encapsulation (RFC 2784).
const GRE: u8 = 47;
/// The header of IPv6 for that (RFC 4302).
const AUTHENTICATION: u8 = 51;

/// DIFFERS: to tell a host of a better gateway (RFC 792) for what is translated makes no sense to the
/// kernel, which has it not pass; flows may match it.
fn is_redirect(packet: &[u8]) -> bool {
    let (_, headers) = parsed(packet);
    let kind = framed(packet).get(usize::from(headers.l4)).copied();
    headers.transport == Transport::Icmp && kind == Some(5)
}

fn shown(out: &[(Sender, Vec<u8>)]) -> String {
    let each = out.iter().map(|(to, packet)| {
        format!("{to:?} {:?} {:02x?}", ends_of(packet), &packet[..packet.len().min(64)])
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Lets both translate the packets of so many cases: the same at every run, as with verdicts.
fn translate_many(
    (setup, invalid): (Setup, Invalid),
    cases: u32,
    events: impl Strategy<Value = Vec<Event>>,
) -> Counts {
    let stage = RefCell::new(Stage::of(setup, invalid));
    let mut config =
        Config { failure_persistence: None, max_shrink_time: 20_000, ..Config::default() };
    config.cases = config.cases.max(cases);
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(7);
    }
    let last = Cell::new(Vec::new());
    let result = TestRunner::new(config).run(&events, |events| {
        let (lines, result) = stage.borrow_mut().run(&events);
        last.set(lines);
        result
    });
    let mut stage = stage.into_inner();
    if let Err(TestError::Fail(why, events)) = result {
        let (lines, _) = stage.run(&events);
        panic!("{setup:?}: {why}\n{}\n{}", lines.join("\n"), stage.ours.0.connections());
    }
    let sessions = stage.ours.0.sessions();
    println!("{setup:?}: {:?}, {sessions} by sessions", stage.counts);
    assert!(sessions > 0 && stage.counts.known < cases / 20, "what is known to differ is rare");
    stage.counts
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn segments_are_translated_as_by_the_kernel() {
    for setup in SETUPS {
        let invalid = if setup.has_service() { Invalid::Stops } else { Invalid::Passes };
        let counts = translate_many((setup, invalid), 600, segments());
        assert!(counts.translated > 1000, "{setup:?}: {counts:?}");
    }
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn conversations_are_translated_as_by_the_kernel() {
    for setup in SETUPS {
        let counts = translate_many((setup, Invalid::Stops), 600, conversations());
        assert!(counts.translated > 500, "{setup:?}: {counts:?}");
    }
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn errors_are_translated_as_by_the_kernel() {
    for setup in SETUPS {
        let counts = translate_many((setup, Invalid::Stops), 1500, errors());
        assert!(counts.errors > 200, "{setup:?}: {counts:?}");
    }
}

/// Something said from A's first host, its end, something from the second one, and answers to both.
fn ended() -> impl Strategy<Value = Vec<Event>> {
    let said = (ordered([Flags::Ack, Flags::Rst, Flags::Ack]), ordered([Flags::Ack; 3]));
    said.prop_map(|([begins, ends, other], [late, answer, more])| {
        let first = Ends::first(Family::V4);
        let second = Ends { hosts: [1, 0], ..first };
        let of = |from, ends, segment| {
            let what = What::Tcp(segment);
            Event { from, ends, what, extra: Extra::Nothing, cut: None }
        };
        let (a, b) = (Sender::A, Sender::B);
        let one = [of(a, first, begins), of(a, first, ends)];
        let two = [of(a, second, other), of(b, first, late), of(b, second, answer)];
        let rest = [of(a, second, more.clone()), of(a, second, more)];
        one.into_iter().chain(two).chain(rest).collect()
    })
}

#[test]
#[ignore = "needs root and nft: run by cargo xtask test"]
fn a_port_of_what_has_ended_may_be_given_to_another() {
    let counts = translate_many((Setup::Masquerade, Invalid::Stops), 600, ended());
    assert!((1..200).contains(&counts.renamed), "{counts:?}");
}
