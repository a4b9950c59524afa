//! A capture as the client sees it: the sights of all workers in one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::Failure;
use api::reply::Captured;
use api::request::{CaptureSource, CaptureStart, PortRef};
use packet::PortId;
use rtrb::Consumer;

use crate::capture::{Sight, Subject, watch};
use crate::control::Control;
use crate::desk::Order;

/// Captures that may run at a time.
pub(crate) const MOST: usize = 16;

/// A running capture.
#[derive(Debug)]
pub struct Viewing {
    number: u64,
    /// The port and its name then, unless it is of drops.
    port: Option<(PortId, Arc<str>)>,
    sights: Vec<Consumer<Sight>>,
    left: u64,
}

impl Viewing {
    /// Has every worker show what is asked for.
    pub fn begin(start: &CaptureStart, control: &mut Control) -> Result<Self, Failure> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        if control.viewers >= MOST {
            return Err(Failure::refused(format!("{MOST} captures are running, and no more may")));
        }
        let (subject, port) = match &start.source {
            CaptureSource::Drops => (Subject::Drops, None),
            CaptureSource::Port { name, direction } => {
                let bridge = control.bridge(start.bridge.as_deref())?;
                let entry = control.port(bridge, &PortRef::Name(name.clone()))?;
                (Subject::Port(entry.id, *direction), Some((entry.id, Arc::clone(&entry.name))))
            }
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let snap =
            start.snaplen.map_or(Sight::MOST, |len| usize::try_from(len).unwrap_or(Sight::MOST));
        let mut sights = Vec::new();
        for worker in 0..control.crew.members().len() {
            let (watch, consumer) = watch(number, subject, snap);
            control.crew.order(worker, vec![Order::Watch(watch)]);
            sights.push(consumer);
        }
        control.viewers += 1;
        Ok(Self { number, port, sights, left: start.count.unwrap_or(u64::MAX) })
    }

    /// The next packet; the oldest of those at hand.
    pub fn next(&mut self, control: &Control) -> Option<Captured> {
        if self.left == 0 {
            return None;
        }
        let time_of = |ring: &Consumer<Sight>| ring.peek().ok().map(|sight| sight.time);
        let waiting = self.sights.iter_mut().filter(|ring| !ring.is_empty());
        let sight = waiting.min_by_key(|ring| time_of(ring))?.pop().ok()?;
        self.left -= 1;
        let name = control
            .ports
            .get(sight.port)
            .map_or_else(|| "gone".to_owned(), |port| port.name.to_string());
        Some(Captured {
            time_ns: control.clock.since_1970(sight.time),
            port: name,
            direction: sight.direction,
            reason: sight.reason,
            len: sight.len,
            lost: sight.lost,
            data: sight.bytes().to_vec(),
        })
    }

    /// Whether nothing more will come: all that was asked for has been shown, or the port is gone.
    pub fn is_over(&self, control: &Control) -> bool {
        let is_gone = |(id, name): &(PortId, Arc<str>)| {
            control.ports.get(*id).is_none_or(|entry| entry.name != *name)
        };
        self.left == 0 || self.port.as_ref().is_some_and(is_gone)
    }

    /// Ends the capture.
    pub fn end(self, control: &mut Control) {
        for worker in 0..control.crew.members().len() {
            control.crew.order(worker, vec![Order::Unwatch(self.number)]);
        }
        control.viewers -= 1;
    }
}
