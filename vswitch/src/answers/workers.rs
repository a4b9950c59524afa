//! Workers, what they have done, and which queues they poll.

use api::reply::{Histogram, Histograms, RxQueue, RxQueues, Worker, WorkerHistograms, Workers};

use crate::control::Control;
use crate::ports::{Assigned, Entry};

impl Control {
    pub(crate) fn worker_stats(&self) -> Workers {
        let workers = self.crew.members().iter().zip(0..).map(|(member, number)| {
            let counters = &member.counters;
            Worker {
                worker: number,
                cpu: member.cpu.and_then(|cpu| u32::try_from(cpu).ok()),
                generation: member.desk.tables.get(),
                asleep: member.desk.asleep.load(std::sync::atomic::Ordering::Relaxed),
                busy_ns: counters.busy_ns.get(),
                idle_ns: counters.idle_ns.get(),
                longest_turn_ns: counters.longest_turn_ns.get(),
                sleeps: counters.sleeps.get(),
                syscalls: counters.syscalls.get(),
                batches: counters.batches.get(),
                rx_packets: counters.packets.get(),
                tx_packets: counters.sent.get(),
                session_hits: counters.session_hits.get(),
                opening_hits: counters.opening_hits.get(),
                megaflow_hits: counters.megaflow_hits.get(),
                misses: counters.translated.get() + counters.retranslated.get(),
                sessions: counters.sessions.get(),
                megaflows: counters.megaflows.get(),
                masks: counters.masks.get(),
                free_frames: counters.free_frames.get(),
                short_cuts: counters.short_cuts.get(),
                short_cut_packets: counters.short_cut_packets.get(),
            }
        });
        Workers { workers: workers.collect() }
    }

    pub(crate) fn histograms(&self) -> Histograms {
        let workers = self.crew.members().iter().zip(0..).map(|(member, worker)| {
            let all = member.counters.histograms.all().into_iter();
            let histograms = all.map(|(name, what, histogram)| Histogram {
                name: name.to_owned(),
                what: what.to_owned(),
                counts: histogram.counts(),
            });
            WorkerHistograms { worker, histograms: histograms.collect() }
        });
        Histograms { workers: workers.collect() }
    }

    pub(crate) fn show_queues(&self) -> RxQueues {
        let now = self.clock.now();
        let queue = |entry: &Entry, queue: &Assigned| RxQueue {
            worker: u32::try_from(queue.worker).ok(),
            bridge: self.bridge_name(entry.bridge),
            port: entry.name.to_string(),
            queue: queue.number,
            pinned: false,
            load_permille: queue.load(now),
        };
        let all = self
            .ports
            .iter()
            .flat_map(|entry| entry.queues.iter().map(move |one| queue(entry, one)));
        let mut queues: Vec<_> = all.collect();
        queues.sort_by(|a, b| (a.worker, &a.port, a.queue).cmp(&(b.worker, &b.port, b.queue)));
        RxQueues { queues }
    }
}
