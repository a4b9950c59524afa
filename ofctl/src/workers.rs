//! Workers: `worker-stats`, `rxq-show`.

use std::io;

use anyhow::Result;
use api::reply::{Histogram, Histograms, RxQueues, Worker, WorkerHistograms, Workers};
use api::request::{RxqShow, WorkerStats};

use crate::desk::Desk;
use crate::grid::Grid;
use crate::output::{FAINT, GOOD, Output, STRONG};

pub(crate) fn stats(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let workers = client.call(WorkerStats {})?;
    out.answer(&workers, |out, Workers { workers }| {
        workers.iter().try_for_each(|worker| print(out, worker))
    })
}

/// A worker in a few lines: what it is, what it did with its time, with packets, with its caches.
fn print(out: &mut Output, worker: &Worker) -> io::Result<()> {
    out.styled(STRONG, format_args!("worker {}", worker.worker))?;
    match worker.cpu {
        Some(cpu) => out.put(format_args!(" on CPU {cpu}"))?,
        None => out.put(" on any CPU")?,
    }
    out.line(if worker.asleep { ", asleep" } else { ", awake" })?;
    let time = worker.busy_ns + worker.idle_ns;
    let seconds = |ns: u64| format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1000);
    let by_tier_1 = worker.session_hits + worker.opening_hits;
    let lookups = by_tier_1 + worker.megaflow_hits + worker.misses;
    let lines = [
        ("busy", format!("{} ({})", seconds(worker.busy_ns), share(worker.busy_ns, time))),
        ("idle", format!("{} ({})", seconds(worker.idle_ns), share(worker.idle_ns, time))),
        ("longest turn", format!("{} \u{b5}s", worker.longest_turn_ns.div_ceil(1000))),
        ("sleeps", worker.sleeps.to_string()),
        ("system calls", worker.syscalls.to_string()),
        ("packets received", worker.rx_packets.to_string()),
        ("packets sent", worker.tx_packets.to_string()),
        ("packets a batch", ratio(worker.rx_packets, worker.batches)),
        (
            "session hits",
            format!("{} ({})", worker.session_hits, share(worker.session_hits, lookups)),
        ),
        (
            "opening hits",
            format!("{} ({})", worker.opening_hits, share(worker.opening_hits, lookups)),
        ),
        (
            "megaflow hits",
            format!("{} ({})", worker.megaflow_hits, share(worker.megaflow_hits, lookups)),
        ),
        ("misses", format!("{} ({})", worker.misses, share(worker.misses, lookups))),
        ("sessions", worker.sessions.to_string()),
        ("megaflows", format!("{} with {} masks", worker.megaflows, worker.masks)),
        ("short-cuts", worker.short_cuts.to_string()),
        ("packets by short-cut", worker.short_cut_packets.to_string()),
        ("frames at hand", worker.free_frames.to_string()),
        ("flows of generation", worker.generation.to_string()),
    ];
    lines.iter().try_for_each(|(what, value)| out.line(format_args!("  {what:<20} {value}")))
}

pub(crate) fn histograms(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let all = client.call(api::request::WorkerHistograms {})?;
    out.answer(&all, |out, Histograms { workers }| {
        workers.iter().try_for_each(|WorkerHistograms { worker, histograms }| {
            out.styled(STRONG, format_args!("worker {worker}"))?;
            out.end()?;
            histograms.iter().try_for_each(|one| print_histogram(out, one))
        })
    })
}

/// A line for each power of two, with a bar as long as its share.
fn print_histogram(out: &mut Output, histogram: &Histogram) -> io::Result<()> {
    /// Characters of the longest bar.
    const WIDTH: u64 = 30;
    let Histogram { name, what, counts } = histogram;
    let all: u64 = counts.iter().sum();
    out.put(format_args!("  {name}: {all}"))?;
    out.styled(FAINT, format_args!("  {what}"))?;
    out.end()?;
    let most = counts.iter().copied().max().unwrap_or(0);
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    for (bits, count) in counts.iter().enumerate().skip(first) {
        let from = if bits == 0 { 0 } else { 1u64 << (bits - 1) };
        let share = share(*count, all);
        out.put(format_args!("    {from:>12}  {count:>12}  {share:>8}"))?;
        let bar = (u128::from(*count) * u128::from(WIDTH)).div_ceil(u128::from(most.max(1)));
        let bar = "#".repeat(usize::try_from(bar).unwrap_or(0));
        if !bar.is_empty() {
            out.put("  ")?;
            out.styled(GOOD, bar)?;
        }
        out.end()?;
    }
    Ok(())
}

fn share(part: u64, all: u64) -> String {
    match all {
        0 => "-".to_owned(),
        _ => per_mille(u128::from(part) * 1000 / u128::from(all)),
    }
}

fn per_mille(share: u128) -> String {
    format!("{}.{} %", share / 10, share % 10)
}

fn ratio(part: u64, all: u64) -> String {
    match all {
        0 => "-".to_owned(),
        _ => {
            let tenths = u128::from(part) * 10 / u128::from(all);
            format!("{}.{}", tenths / 10, tenths % 10)
        }
    }
}

pub(crate) fn queues(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let queues = client.call(RxqShow {})?;
    out.answer(&queues, print_queues)
}

fn print_queues(out: &mut Output, queues: &RxQueues) -> io::Result<()> {
    let mut grid = Grid::new(&["WORKER", "BRIDGE", "PORT", "QUEUE", "LOAD%", "PINNED"]);
    for queue in &queues.queues {
        let load = u128::from(queue.load_permille);
        grid.row([
            queue.worker.map_or_else(|| "-".to_owned(), |worker| worker.to_string()),
            queue.bridge.clone(),
            queue.port.clone(),
            queue.queue.to_string(),
            format!("{}.{}", load / 10, load % 10),
            if queue.pinned { "yes" } else { "no" }.to_owned(),
        ]);
    }
    grid.print(out, "No port has a receive queue.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down() {
        assert_eq!(share(2, 3), "66.6 %");
        assert_eq!(share(0, 0), "-");
        assert_eq!(ratio(5, 2), "2.5");
        assert_eq!(share(u64::MAX, u64::MAX), "100.0 %");
    }
}
