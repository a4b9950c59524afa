//! Noticing workers that do not come back from a queue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::crew::Member;

/// A worker that has not finished a turn for this long is stuck.
const LIMIT: Duration = Duration::from_secs(1);

/// What is known of each worker.
#[derive(Debug, Default)]
pub struct Watchdog {
    workers: Vec<Watched>,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    turns: u64,
    /// When `turns` was seen to grow, or the worker to sleep.
    since: Duration,
    reported: bool,
}

/// A worker that has been in one turn for too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stuck {
    /// Which.
    pub worker: usize,
    /// The switch-wide number of the port that it serves.
    pub port: packet::PortId,
    /// For how long.
    pub length: Duration,
}

impl Watchdog {
    /// Looks at all workers. Answers with those that are stuck, each once until it has moved again.
    pub fn look(&mut self, workers: &[Member], now: Duration) -> Vec<Stuck> {
        let fresh = Watched { turns: u64::MAX, since: now, reported: false };
        self.workers.resize(workers.len(), fresh);
        let mut stuck = Vec::new();
        for (worker, (member, watched)) in workers.iter().zip(&mut self.workers).enumerate() {
            let turns = member.desk.turns.load(Ordering::Relaxed);
            if turns != watched.turns || member.desk.asleep.load(Ordering::Relaxed) {
                *watched = Watched { turns, since: now, reported: false };
                continue;
            }
            let length = now.saturating_sub(watched.since);
            if length >= LIMIT && !watched.reported {
                watched.reported = true;
                let port = member.desk.serving.load(Ordering::Relaxed);
                let port = packet::PortId(u16::try_from(port).unwrap_or(0));
                stuck.push(Stuck { worker, port, length });
            }
        }
        stuck
    }

    /// Whether there is anything to look at: workers that sleep are not stuck.
    pub fn is_needed(workers: &[Member]) -> bool {
        workers.iter().any(|member| !member.desk.asleep.load(Ordering::Relaxed))
    }
}
