//! Egress queues come and go, and say what they have done.

use api::reply::{Done, EgressQueue, EgressQueues};
use api::request::{QueueDel, QueueDump, QueueSet};
use api::{Failure, QueueSettings};
use packet::PortId;

use crate::account::Counter;
use crate::control::Control;
use crate::egress::Kept;
use crate::ports::Entry;
use crate::queue::QueueCounters;

impl Control {
    pub(crate) fn set_queue(&mut self, set: &QueueSet) -> Result<Done, Failure> {
        let bridge = self.bridge(set.bridge.as_deref())?;
        let port = self.port(bridge, &set.port)?.id;
        self.set_queue_of(port, set.queue, set.settings)?;
        Ok(Done {})
    }

    /// Sets an egress queue of a port.
    pub(crate) fn set_queue_of(
        &mut self,
        port: PortId,
        queue: u16,
        settings: QueueSettings,
    ) -> Result<(), Failure> {
        let (workers, now) = (self.crew.members().len(), self.clock.now());
        if let Some(entry) = self.ports.get_mut(port) {
            let set = entry.egress.set(queue, settings, workers, now);
            set.map_err(|why| Failure::refused(format!("queue {queue}: {why}")))?;
        }
        self.use_queues(port);
        Ok(())
    }

    pub(crate) fn remove_queue(&mut self, del: &QueueDel) -> Result<Done, Failure> {
        let bridge = self.bridge(del.bridge.as_deref())?;
        let (port, now) = (self.port(bridge, &del.port)?.id, self.clock.now());
        if let Some(entry) = self.ports.get_mut(port)
            && !entry.egress.remove(del.queue, now)
        {
            let name = &entry.name;
            return Err(Failure::refused(match del.queue {
                Some(queue) => format!("nobody has set queue {queue} of port `{name}`"),
                None => format!("port `{name}` has no queues"),
            }));
        }
        self.use_queues(port);
        Ok(Done {})
    }

    /// Has workers use a port's queues as they are now, if they use the port.
    fn use_queues(&mut self, port: PortId) {
        let Some(entry) = self.ports.get(port).filter(|entry| entry.port.is_ok()) else { return };
        let late = self.crew.use_queues(port, |worker| entry.egress.queues(worker), &self.depot);
        if !late.is_empty() {
            tracing::warn!(port = %entry.name, workers = ?late, "workers are late to use the queues");
        }
    }

    pub(crate) fn dump_queues(&self, dump: &QueueDump) -> Result<EgressQueues, Failure> {
        let entries = match (&dump.port, &dump.bridge) {
            (Some(port), bridge) => vec![self.port(self.bridge(bridge.as_deref())?, port)?],
            (None, Some(bridge)) => self.ports.of(self.bridge(Some(bridge))?).collect(),
            (None, None) => self.ports.iter().collect(),
        };
        let mut queues: Vec<_> = entries
            .into_iter()
            .flat_map(|entry| entry.egress.iter().map(move |(number, kept)| (entry, number, kept)))
            .filter(|(_, number, _)| dump.queue.is_none_or(|only| only == *number))
            .map(|(entry, number, kept)| self.show_queue(entry, number, kept))
            .collect();
        if queues.is_empty()
            && let Some(queue) = dump.queue
        {
            return Err(Failure::refused(format!("there is no queue {queue}")));
        }
        queues.sort_by(|a, b| (&a.bridge, a.number, a.queue).cmp(&(&b.bridge, b.number, b.queue)));
        Ok(EgressQueues { queues })
    }

    fn show_queue(&self, entry: &Entry, number: u16, kept: &Kept) -> EgressQueue {
        let sum = |counter: fn(&QueueCounters) -> &Counter| -> u64 {
            kept.counters.iter().map(|counters| counter(counters).get()).sum()
        };
        let age = self.clock.now().saturating_sub(kept.since);
        EgressQueue {
            bridge: self.bridge_name(entry.bridge),
            number: entry.number,
            name: entry.name.to_string(),
            queue: number,
            settings: kept.settings,
            packets: sum(|counters| &counters.packets),
            bytes: sum(|counters| &counters.bytes),
            drops: sum(|counters| &counters.dropped),
            waiting: sum(|counters| &counters.waiting),
            waiting_bytes: sum(|counters| &counters.waiting_bytes),
            duration_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
