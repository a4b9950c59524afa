//! Learned addresses.

use api::Failure;
use api::reply::{Fdb, FdbEntry, Flushed};
use flowtable::Step;

use crate::control::Control;
use crate::ledger::Sums;

/// Seconds after which a learned address is forgotten.
const STATION_AGE_S: u64 = 300;

impl Control {
    pub(crate) fn show_stations(&self, bridge: Option<&str>) -> Result<Fdb, Failure> {
        let only = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        let now = self.clock.millis();
        let bridges = self.tables.bridges().filter(|(id, _)| only.is_none_or(|only| only == *id));
        let mut entries: Vec<_> = bridges
            .flat_map(|(_, bridge)| {
                bridge.macs.iter().filter_map(move |learned| {
                    Some(FdbEntry {
                        bridge: bridge.name.to_string(),
                        port: bridge.ports.by_id(learned.port)?.number,
                        vlan: learned.station.vlan,
                        mac: learned.station.mac,
                        age_s: now.since(learned.used) / 1000,
                    })
                })
            })
            .collect();
        entries.sort_by(|a: &FdbEntry, b| {
            let order = |entry: &FdbEntry| (entry.bridge.clone(), entry.vlan, entry.mac);
            order(a).cmp(&order(b))
        });
        Ok(Fdb { entries })
    }

    pub(crate) fn flush_stations(&self, bridge: Option<&str>) -> Result<Flushed, Failure> {
        let only = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        let bridges = self.tables.bridges().filter(|(id, _)| only.is_none_or(|only| only == *id));
        let entries: usize = bridges.map(|(_, bridge)| bridge.macs.expire(|_| true)).sum();
        self.crew.end_short_cuts();
        Ok(Flushed { entries: entries as u64 })
    }

    /// Forgets addresses that have not been seen for long. Cached flows carry packets without
    /// learning; what they show comes here by their paths.
    pub(crate) fn age_stations(&self) {
        let now = self.clock.millis();
        let old = |used: flowtable::Millis| now.since(used) > STATION_AGE_S * 1000;
        let bridges = || self.tables.bridges().map(|(_, bridge)| &bridge.macs);
        if !bridges().any(|macs| macs.iter().any(|entry| old(entry.used))) {
            return;
        }
        let sums: Sums = self.ledger.sums(self.crew.paths());
        for (step, used) in sums.stations() {
            if let Step::Station { bridge, slot, port } = step
                && let Some(bridge) = self.tables.bridge(bridge)
            {
                bridge.macs.touch(slot, port, used);
            }
        }
        bridges().for_each(|macs| drop_count(macs.expire(|entry| old(entry.used))));
        self.crew.end_short_cuts();
    }
}

fn drop_count(entries: usize) {
    if entries > 0 {
        tracing::debug!(entries, "addresses forgotten that were not seen for long");
    }
}
