//! What the switch says about itself, a module a noun: everything that only looks, and little that
//! changes.

mod cache;
mod connections;
mod detrace;
mod drops;
mod events;
mod expected;
mod flows;
mod groups;
mod meters;
mod ports;
mod sizes;
mod stations;
mod trace;
mod workers;
mod zones;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use api::Failure;

pub(crate) use events::Next;
pub(crate) use flows::is_meant;
pub(crate) use groups::group_features;
pub(crate) use meters::meter_features;
pub(crate) use ports::show_port;

use crate::control::Control;
use crate::desk::Order;

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

impl Control {
    /// Asks every worker, and answers with what each of them says.
    fn ask_workers<T>(&self, order: impl Fn(SyncSender<T>) -> Order) -> Result<Vec<T>, Failure> {
        let workers = 0..self.crew.members().len();
        let asked: Vec<_> = workers.map(|worker| (worker, self.ask(worker, &order))).collect();
        asked.into_iter().map(|(worker, answer)| hear(worker, &answer)).collect()
    }

    /// Asks one worker.
    fn ask<T>(&self, worker: usize, order: impl Fn(SyncSender<T>) -> Order) -> Receiver<T> {
        let (reply, answer) = sync_channel(1);
        self.crew.order(worker, vec![order(reply)]);
        answer
    }
}

/// Waits for what a worker says.
fn hear<T>(worker: usize, answer: &Receiver<T>) -> Result<T, Failure> {
    answer
        .recv_timeout(PATIENCE)
        .map_err(|_late| Failure::internal(format!("worker {worker} does not answer")))
}

/// Entries on a page at most.
const PAGE: usize = 2_000;
/// Entries on the page that is asked for.
fn page_of(limit: Option<u32>) -> usize {
    limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE)).clamp(1, PAGE)
}

/// Bytes of text on a page, by and large: a line has room for four times as much.
const PAGE_WEIGHT: usize = 4 << 20;

fn bad_cursor() -> Failure {
    Failure::refused("`after` is no cursor of this dump")
}
