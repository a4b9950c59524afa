//! What this machine's connection tracking achieves, without a switch: `ct-bench`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use conntrack::{
    Connections, Content, Direction, Ends, Kind, Message, Notes, Segment, Tuple, Verdict,
};
use packet::{Millis, Seed, tcp, udp};
use serde::Serialize;

use crate::cli::{CtBenchArgs, CtBenchProtocol};
use crate::desk::Desk;
use crate::grid::Grid;
use crate::output::Output;
use crate::progress::Progress;

/// What was measured.
#[derive(Serialize)]
struct Report {
    protocol: &'static str,
    threads: u32,
    batch: u32,
    connections: u32,
    bytes_per_connection: u64,
    phases: [Phase; 2],
}

/// What was done, by all threads together.
#[derive(Serialize)]
struct Phase {
    name: &'static str,
    items: u64,
    nanoseconds: u64,
    per_second: u64,
}

/// What all threads share.
struct Work<'a> {
    args: &'a CtBenchArgs,
    connections: Connections,
    start: Instant,
    /// Items that are done, of the phase that is on.
    done: AtomicU32,
}

pub(crate) fn run(args: &CtBenchArgs, desk: &mut Desk) -> Result<()> {
    let most = args.threads.checked_mul(args.connections).filter(|most| *most <= MOST);
    let most = most.with_context(|| format!("all threads together have {MOST} at most"))?;
    ensure!(args.threads.checked_mul(args.packets).is_some(), "so many packets are not counted");
    let work = Work {
        args,
        // Some more than there will be: under pressure those go first that nobody has answered.
        connections: Connections::new(most + most / 8 + 64, args.threads as usize, Seed(random())),
        start: now(),
        done: AtomicU32::new(0),
    };
    let made = work.phase("new connections", args.connections, Step::Make)?;
    ensure!(work.connections.len() == most as usize, "some connections were not made");
    let bytes = work.connections.bytes() as u64 / u64::from(most);
    work.phase("answers", args.connections, Step::Answer)?;
    let passed = work.phase("packets", args.packets, Step::Pass)?;
    let report = Report {
        protocol: if args.protocol == CtBenchProtocol::Tcp { "tcp" } else { "udp" },
        threads: args.threads,
        batch: args.batch,
        connections: most,
        bytes_per_connection: bytes,
        phases: [made, passed],
    };
    desk.out.answer(&report, print)
}

fn print(out: &mut Output, report: &Report) -> io::Result<()> {
    let Report { protocol, threads, connections, bytes_per_connection, phases, .. } = report;
    let mut grid = Grid::new(&["WHAT", "COUNT", "SECONDS", "PER_SECOND", "NS_OF_A_THREAD"]);
    for Phase { name, items, nanoseconds, per_second } in phases {
        grid.row([
            (*name).to_owned(),
            items.to_string(),
            format!("{}.{:03}", nanoseconds / 1_000_000_000, nanoseconds / 1_000_000 % 1000),
            per_second.to_string(),
            (nanoseconds * u64::from(*threads) / items).to_string(),
        ]);
    }
    grid.print(out, "")?;
    out.line(format_args!(
        "{connections} connections of {protocol} by {threads} threads, {bytes_per_connection} bytes each"
    ))
}

/// The most connections: by so many addresses they differ.
pub(crate) const MOST: u32 = 1 << 24;

impl Work<'_> {
    /// Has each thread do something so often, and takes the time until all have.
    fn phase(&self, name: &'static str, each: u32, work: Step) -> Result<Phase> {
        let items = self.args.threads * each;
        self.done.store(0, Ordering::Relaxed);
        let start = now();
        let nanoseconds = thread::scope(|scope| -> Result<u64> {
            let threads = (0..self.args.threads).map(|thread| {
                let named = thread::Builder::new().name(format!("ct-bench-{thread}"));
                named.spawn_scoped(scope, move || self.batches(thread, each, work).map(|()| now()))
            });
            let threads = threads.collect::<io::Result<Vec<_>>>()?;
            let mut progress = Progress::of(name, false);
            while threads.iter().any(|thread| !thread.is_finished()) {
                thread::sleep(Duration::from_millis(1));
                if start.elapsed() > Duration::from_secs(1) {
                    progress.at(self.done.load(Ordering::Relaxed) as usize, Some(items as usize));
                    thread::sleep(Duration::from_millis(50));
                }
            }
            let mut last = start;
            for thread in threads {
                let end = thread.join().map_err(|_panic| anyhow!("a thread has failed"))??;
                last = last.max(end);
            }
            Ok(u64::try_from(last.duration_since(start).as_nanos())?.max(1))
        })?;
        let per_second = u128::from(items) * 1_000_000_000 / u128::from(nanoseconds);
        let per_second = u64::try_from(per_second)?;
        Ok(Phase { name, items: items.into(), nanoseconds, per_second })
    }

    /// Does something with all that a thread has to do, a batch at a time.
    fn batches(&self, thread: u32, each: u32, work: Step) -> Result<()> {
        let mut messages = Vec::with_capacity(self.args.batch as usize);
        for first in (0..each).step_by(self.args.batch as usize) {
            let time = Millis(u64::try_from(self.start.elapsed().as_millis())?);
            let last = each.min(first.saturating_add(self.args.batch));
            self.connections.begin(thread as usize);
            messages.clear();
            for n in first..last {
                messages
                    .push(self.message(thread, n, work).context("the ends are of two families")?);
            }
            messages.iter().for_each(|message| self.connections.prefetch(&message.tuple));
            for message in &messages {
                self.step(message, work, time)?;
            }
            self.done.fetch_add(last - first, Ordering::Relaxed);
        }
        self.connections.end(thread as usize);
        Ok(())
    }

    /// What the `n`th packet of a thread says.
    fn message(&self, thread: u32, n: u32, work: Step) -> Option<Message> {
        let (each, is_tcp) = (self.args.connections, self.args.protocol == CtBenchProtocol::Tcp);
        // Packets come in no order, and half of them the other way.
        let (nth, direction) = match work {
            Step::Make => (n, Direction::Original),
            Step::Answer => (n, Direction::Reply),
            Step::Pass if n.is_multiple_of(2) => (scattered(n) % each, Direction::Original),
            Step::Pass => (scattered(n) % each, Direction::Reply),
        };
        let src = Ipv4Addr::from_bits(0x0a00_0000 + thread * each + nth).into();
        let dst = Ipv4Addr::new(192, 0, 2, 1).into();
        let ends = match direction {
            Direction::Original => (src, dst, 5000, 80),
            Direction::Reply => (dst, src, 80, 5000),
        };
        let (src, dst, src_port, dst_port) = ends;
        let proto = if is_tcp { tcp::PROTO } else { udp::PROTO };
        let tuple = Tuple::new(Ends { src, dst, src_port, dst_port, proto }, 0)?;
        let content = match (is_tcp, work) {
            (false, _) => Content::Udp,
            (true, Step::Make) => Content::Tcp(segment(Kind::Syn, direction)),
            (true, Step::Answer) => Content::Tcp(segment(Kind::SynAck, direction)),
            (true, Step::Pass) => Content::Tcp(segment(Kind::Ack, direction)),
        };
        Some(Message { tuple, content })
    }

    /// Has the connections take a packet.
    fn step(&self, message: &Message, work: Step, time: Millis) -> Result<()> {
        let judged = self.connections.judge(message, time);
        let expected = match work {
            Step::Make => Verdict::New,
            Step::Answer | Step::Pass => Verdict::Established,
        };
        ensure!(judged.verdict == expected, "{message:?} is {:?}", judged.verdict);
        if work == Step::Make {
            self.connections.commit(message, None, &Notes::default(), time)?;
        }
        Ok(())
    }
}

/// What is done with a packet.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Step {
    Make,
    Answer,
    Pass,
}

/// A number that has nothing to do with those beside it.
fn scattered(n: u32) -> u32 {
    let n = n.wrapping_mul(0x9e37_79b1);
    n ^ n >> 15
}

/// A segment without data of a connection from 100 to 500.
fn segment(kind: Kind, direction: Direction) -> Segment {
    let [own, other] = if direction == Direction::Original { [100, 500] } else { [500, 100] };
    let opens = matches!(kind, Kind::Syn | Kind::SynAck);
    let (seq, ack) = (own + u32::from(!opens), if kind == Kind::Syn { 0 } else { other + 1 });
    Segment {
        kind,
        has_ack: kind != Kind::Syn,
        seq,
        end: seq + u32::from(opens),
        ack,
        sack: ack,
        window: 1000,
        has_options: false,
        scale: None,
        allows_sack: false,
    }
}

/// A seed that nobody knows.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[expect(clippy::disallowed_methods, reason = "it measures, and is no part of the switch")]
fn now() -> Instant {
    Instant::now()
}
