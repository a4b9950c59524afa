//! What it costs others when a million connections go.
//!
//! They are of UDP that nobody answers, so each has 30 seconds: nothing flushes them. A worker that
//! carries packets of others all the while looks after them between its turns.
//!
//! The worker is in this process, and is told what time it is. So all that it does is the same each
//! time it is done again, turn by turn, whatever the machine does meanwhile. What a turn takes, it takes
//! each time; what the machine adds, it does not add to the same turn each time. The least of each turn
//! is what it takes, and the longest of those is the row.

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow, bail};

use crate::harness::connections::{self, Pipeline};
use crate::harness::conntrack::lives::COUNT;
use crate::harness::part::Part;
use crate::harness::process::{Folder, is_told_to_end};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::{Plan, beginnings, captures, machine};

mod switch;

use switch::{Pace, Switch, Turn};

const CASE: &str = "longest turn while 990 k connections expire";
const UNIT: &str = "\u{b5}s";
const GOAL: Goal = Goal::AtMost(200.0, 50.0);

pub(crate) const PART: Part = Part { rows: &[(CASE, UNIT, GOAL)], cost: (14.0, 25.0), measure };

/// How often all of it is done, quick and else.
const TIMES: (usize, usize) = (5, 9);
/// Bytes of the stack of a worker.
const STACK: usize = 8 << 20;

/// The turns of a calm, and those of the storm behind it.
#[derive(Clone, Debug, Default)]
struct Storm {
    calm: Vec<Turn>,
    turns: Vec<Turn>,
}

impl Storm {
    /// How long the turns of one of several have taken each, and those of the others.
    fn nanos(storms: &[Self], of: fn(&Self) -> &[Turn]) -> Vec<Vec<u64>> {
        let nanos = |storm| of(storm).iter().map(|turn| turn.nanos).collect();
        storms.iter().map(nanos).collect()
    }

    /// How many connections have gone in each turn.
    fn gone(&self) -> impl Iterator<Item = u64> {
        self.calm.iter().chain(&self.turns).map(|turn| turn.gone)
    }
}

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let folder = Folder::new("expiry")?;
    let old = folder.path().join("old.pcap");
    let packets = connections::packets(Pipeline::Permit, 100);
    captures::write(&old, packets.iter().map(Vec::as_slice))?;
    let new = beginnings::datagrams(0..COUNT, true);
    let times = if plan.quick { TIMES.0 } else { TIMES.1 };
    let storms = (1..=times).map(|number| {
        if is_told_to_end() {
            bail!("interrupted");
        }
        progress.block("a calm, and a storm", number, times);
        alone_on(plan.cpu, || storm(&new, &old))
    });
    let storms = storms.collect::<Result<Vec<_>>>()?;
    Ok(vec![row(&storms)?])
}

/// What is measured by a thread that leaves a processor to nobody else of us.
fn alone_on<T: Send>(cpu: usize, measure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let measure = || machine::enter(cpu).and_then(|()| measure());
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, measure)?;
        thread.join().map_err(|_panic| anyhow!("the worker has panicked"))?
    })
}

/// Has connections begin with the packets `new`, and expire beside those of the file `old`.
fn storm(new: &[Vec<u8>], old: &Path) -> Result<Storm> {
    /// Seconds of the packets of others until all about them is settled, and of the calm.
    const SETTLING: u64 = 4;
    const CALM: u64 = 4;
    /// Seconds until the first may go, and until all must have gone: each is looked at every ten.
    const FIRST: u64 = 29;
    const LAST: u64 = 43;
    let mut switch = Switch::new()?;
    switch.begin(new)?;
    if switch.connections() != new.len() {
        bail!("{} connections of {}", switch.connections(), new.len());
    }
    switch.receive(old)?;
    switch.take_turns(SETTLING, Pace::Brisk);
    let calm = switch.take_turns(SETTLING + CALM, Pace::Jerky);
    switch.take_turns(FIRST, Pace::Slow);
    if calm.is_empty() || switch.expired() != 0 {
        bail!("{} have expired before there was a calm", switch.expired());
    }
    let turns = switch.take_turns(LAST, Pace::Jerky);
    if switch.expired() != new.len() as u64 {
        bail!("of {} connections {} have expired", new.len(), switch.expired());
    }
    Ok(Storm { calm, turns })
}

fn row(storms: &[Storm]) -> Result<Row> {
    let Some(first) = storms.first() else { bail!("there was none") };
    if !storms.iter().all(|storm| storm.gone().eq(first.gone())) {
        bail!("other turns had connections go in one storm than in another");
    }
    let calm = least(&Storm::nanos(storms, |storm| &storm.calm)).into_iter().max();
    let (nanos, turns) = (Storm::nanos(storms, |storm| &storm.turns), &first.turns);
    let each = least(&nanos);
    let (Some(calm), Some(longest)) = (calm, longest(&each)) else { bail!("there were no turns") };
    let most = (0..turns.len()).max_by_key(|at| (turns[*at].gone, each[*at])).unwrap_or(0);
    let without = nanos.iter().flatten().copied().max().unwrap_or(0);
    let gone: u64 = turns.iter().map(|turn| turn.gone).sum();
    let row = Row::new(CASE, "", UNIT, GOAL, vec![micros(each[longest])], Vec::new());
    Ok(row
        .note(format!(
            "the least that each of {} turns takes in {} storms; {gone} went, {} in the longest turn, {} at \
             most, which took {:.1} \u{b5}s",
            turns.len(),
            storms.len(),
            turns[longest].gone,
            turns[most].gone,
            micros(each[most])
        ))
        .note(format!(
            "{:.1} \u{b5}s in the calm before; with what the machine adds {:.0} \u{b5}s",
            micros(calm),
            micros(without)
        )))
}

/// What each turn takes that was taken several times: the least. None if there is not one of each.
fn least(times: &[Vec<u64>]) -> Vec<u64> {
    let turns = times.iter().map(Vec::len).min().unwrap_or(0);
    (0..turns).filter_map(|turn| times.iter().map(|all| all[turn]).min()).collect()
}

/// Which turn is the longest.
fn longest(turns: &[u64]) -> Option<usize> {
    (0..turns.len()).max_by_key(|at| turns[*at])
}

#[expect(clippy::cast_precision_loss, reason = "a turn is far below 2^53 ns")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(turns: &[(u64, u64)]) -> Vec<Turn> {
        turns.iter().map(|(nanos, gone)| Turn { nanos: *nanos, gone: *gone }).collect()
    }

    #[test]
    fn what_the_machine_adds_now_and_then_does_not_count() {
        let least = least(&[vec![9, 700, 20, 8], vec![8, 30, 900, 8], vec![800, 31, 21, 7]]);
        assert_eq!(least, [8, 30, 20, 7]);
        assert_eq!(longest(&least), Some(1));
        assert_eq!(longest(&[]), None);
        let none: [u64; 0] = [];
        assert_eq!(super::least(&[]), none);
    }

    #[test]
    fn the_row_is_the_longest_of_what_each_turn_takes() {
        let storm =
            |calm, a, b| Storm { calm: turns(&[(calm, 0)]), turns: turns(&[(a, 5), (b, 7)]) };
        let row = row(&[storm(9000, 31_000, 950_000), storm(8000, 60_000, 30_000)]).unwrap();
        assert_eq!((row.ours, row.pass), (Some(31.0), true));
        let note = "the least that each of 2 turns takes in 2 storms; 12 went, 5 in the longest turn, 7 at \
                    most, which took 30.0 \u{b5}s; 8.0 \u{b5}s in the calm before; with what the machine \
                    adds 950 \u{b5}s";
        assert_eq!(row.note, note);
    }

    #[test]
    fn storms_that_differ_tell_nothing() {
        let storm = |gone: &[(u64, u64)]| Storm { calm: turns(&[(1, 0)]), turns: turns(gone) };
        assert!(row(&[storm(&[(1, 5), (1, 7)]), storm(&[(1, 7), (1, 5)])]).is_err());
        assert!(row(&[storm(&[(1, 5)]), storm(&[(1, 5), (1, 0)])]).is_err());
        assert!(row(&[]).is_err());
    }
}
