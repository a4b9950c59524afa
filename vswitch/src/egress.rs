//! The egress queues of a port, as the control thread keeps them: how they were set, and what all
//! workers have counted for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::QueueSettings;

use crate::queue::{Part, QueueCounters, Rates};
use crate::queues::{MOST, Queues};

/// The number of the queue for packets that name no other one.
const FIRST: u16 = 0;

/// The egress queues of a port; none at first.
#[derive(Debug, Default)]
pub struct Egress(BTreeMap<u16, Kept>);

/// A queue.
#[derive(Debug)]
pub struct Kept {
    /// How it was set.
    pub settings: QueueSettings,
    /// When it was set first.
    pub since: Duration,
    /// What each worker has counted for it.
    pub counters: Vec<Arc<QueueCounters>>,
    rates: Arc<Rates>,
    /// Whether it is there only because others are.
    implied: bool,
}

impl Egress {
    /// Sets a queue; one that is there is changed, and goes on counting. With the first one comes
    /// that for all other packets.
    pub fn set(
        &mut self,
        number: u16,
        settings: QueueSettings,
        workers: usize,
        now: Duration,
    ) -> Result<(), String> {
        settings.check()?;
        let others = self.0.keys().filter(|other| ![FIRST, number].contains(other)).count();
        if number != FIRST && others + 2 > MOST {
            return Err(format!("a port has {MOST} queues at most"));
        }
        let new = |settings, implied| Kept::new(settings, implied, workers, now);
        self.0.entry(FIRST).or_insert_with(|| new(QueueSettings::default(), true));
        let kept = self.0.entry(number).or_insert_with(|| new(settings, false));
        kept.change(settings, now);
        kept.implied = false;
        Ok(())
    }

    /// Removes a queue, or all; answers whether it was there. The queue for all other packets stays
    /// as long as there are any, set as it was at first.
    pub fn remove(&mut self, number: Option<u16>, now: Duration) -> bool {
        let Some(number) = number else {
            let there = !self.0.is_empty();
            self.0.clear();
            return there;
        };
        let Some(kept) = self.0.get_mut(&number).filter(|kept| !kept.implied) else {
            return false;
        };
        if number == FIRST {
            kept.change(QueueSettings::default(), now);
            kept.implied = true;
        } else {
            self.0.remove(&number);
        }
        if self.0.values().all(|kept| kept.implied) {
            self.0.clear();
        }
        true
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The queues by number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Kept)> {
        self.0.iter().map(|(number, kept)| (*number, kept))
    }

    /// Queues for a worker with room for all that may wait; none if there are none.
    pub fn queues(&self, worker: usize) -> Option<Box<Queues>> {
        let part = |(number, kept): (u16, &Kept)| {
            Some(Part {
                number,
                settings: kept.settings,
                rates: Arc::clone(&kept.rates),
                counters: Arc::clone(kept.counters.get(worker)?),
            })
        };
        let mut parts = self.iter().filter_map(part);
        let first = parts.next()?;
        Some(Box::new(Queues::new(first, parts.collect())))
    }
}

impl Kept {
    fn new(settings: QueueSettings, implied: bool, workers: usize, now: Duration) -> Self {
        Self {
            settings,
            since: now,
            counters: (0..workers).map(|_| Arc::default()).collect(),
            rates: Arc::new(Rates::new(&settings, now)),
            implied,
        }
    }

    fn change(&mut self, settings: QueueSettings, now: Duration) {
        self.rates = Arc::new(Rates::new(&settings, now));
        self.settings = settings;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(egress: &Egress) -> Vec<u16> {
        egress.iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn queue_0_is_there_as_long_as_others_are() {
        let (mut egress, now) = (Egress::default(), Duration::ZERO);
        assert!(egress.queues(0).is_none());
        let default = QueueSettings::default();
        egress.set(7, default, 1, now).unwrap();
        assert_eq!(numbers(&egress), [0, 7]);
        assert!(!egress.remove(Some(0), now), "nobody has set it");
        assert!(egress.remove(Some(7), now));
        assert!(egress.is_empty());
        egress.set(0, QueueSettings { weight: 3, ..default }, 1, now).unwrap();
        egress.set(9, default, 1, now).unwrap();
        assert!(egress.remove(Some(0), now));
        assert_eq!(numbers(&egress), [0, 9]);
        assert_eq!(egress.iter().next().unwrap().1.settings, default);
        assert!(egress.remove(None, now));
        assert!(!egress.remove(None, now) && !egress.remove(Some(9), now));
    }

    #[test]
    fn a_queue_that_is_changed_goes_on_counting() {
        let (mut egress, now) = (Egress::default(), Duration::ZERO);
        egress.set(1, QueueSettings::default(), 2, now).unwrap();
        egress.iter().nth(1).unwrap().1.counters[1].packets.add(5);
        let changed = QueueSettings { weight: 5, ..QueueSettings::default() };
        egress.set(1, changed, 2, Duration::from_secs(9)).unwrap();
        let (_, kept) = egress.iter().nth(1).unwrap();
        assert_eq!((kept.settings, kept.since), (changed, now));
        assert_eq!(kept.counters[1].packets.get(), 5);
    }

    #[test]
    fn more_than_a_port_may_have_are_refused() {
        let (mut egress, now) = (Egress::default(), Duration::ZERO);
        let default = QueueSettings::default();
        for number in 1..64 {
            egress.set(number, default, 1, now).unwrap();
        }
        assert!(egress.set(64, default, 1, now).unwrap_err().contains("64 queues at most"));
        egress.set(0, default, 1, now).unwrap();
        egress.set(63, default, 1, now).unwrap();
        assert_eq!(numbers(&egress).len(), 64);
        let wrong = QueueSettings { weight: 0, ..default };
        assert!(egress.set(5, wrong, 1, now).unwrap_err().contains("weight"));
    }
}
