//! Learned addresses.

use api::Failure;
use api::reply::{Done, Fdb, FdbEntry, FdbTable, FdbTables, Flushed};
use api::request;
use flowtable::{MacTable, Station, Step};
use packet::MacAddr;

use crate::control::Control;
use crate::ledger::Sums;

/// Seconds after which a learned address is forgotten.
const STATION_AGE_S: u64 = 300;

impl Control {
    pub(crate) fn show_stations(&self, bridge: Option<&str>) -> Result<Fdb, Failure> {
        let only = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        self.see_stations();
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
                        is_static: learned.is_static,
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
        let entries: usize =
            bridges.map(|(_, bridge)| bridge.macs.expire(|entry| !entry.is_static)).sum();
        self.crew.end_short_cuts();
        Ok(Flushed { entries: entries as u64 })
    }

    pub(crate) fn add_station(&self, add: &request::FdbAdd) -> Result<Done, Failure> {
        let id = self.bridge(add.bridge.as_deref())?;
        let port = self.port(id, &add.port)?.id;
        let station = station(add.vlan, add.mac)?;
        let Some(bridge) = self.tables.bridge(id) else {
            return Err(Failure::refused("no such bridge"));
        };
        bridge.macs.add(station, port).ok_or_else(|| {
            Failure::refused(format!(
                "there is no room for {}: all 16 places that it could have hold static addresses",
                add.mac
            ))
        })?;
        self.crew.end_short_cuts();
        Ok(Done {})
    }

    pub(crate) fn remove_station(&self, del: &request::FdbDel) -> Result<Flushed, Failure> {
        let id = self.bridge(del.bridge.as_deref())?;
        let station = station(del.vlan, del.mac)?;
        let known = self.tables.bridge(id).is_some_and(|bridge| bridge.macs.remove(station));
        if !known {
            let (bridge, vlan) = (self.bridge_name(id), del.vlan);
            return Err(Failure::refused(format!(
                "bridge {bridge} knows no address {} in VLAN {vlan}; `ofctl fdb show` lists them",
                del.mac
            )));
        }
        self.crew.end_short_cuts();
        Ok(Flushed { entries: 1 })
    }

    pub(crate) fn station_stats(&self, bridge: Option<&str>) -> Result<FdbTables, Failure> {
        let only = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        let bridges = self.tables.bridges().filter(|(id, _)| only.is_none_or(|only| only == *id));
        let bridges = bridges.map(|(_, bridge)| {
            let macs = &bridge.macs;
            let (stats, count) = (macs.stats(), |of: usize| of as u64);
            FdbTable {
                bridge: bridge.name.to_string(),
                entries: count(macs.iter().count()),
                static_entries: count(macs.iter().filter(|entry| entry.is_static).count()),
                limit: count(MacTable::CAPACITY),
                port_limit: MacTable::SHARE.into(),
                age_limit_s: STATION_AGE_S,
                learned: stats.learned,
                moved: stats.moved,
                expired: stats.expired,
                evicted: stats.evicted,
                refused: stats.refused,
            }
        });
        Ok(FdbTables { bridges: bridges.collect() })
    }

    /// Takes notice of where stations have been seen: cached flows carry packets without learning, and
    /// what they show comes here by their paths.
    fn see_stations(&self) {
        let sums: Sums = self.ledger.sums(self.crew.paths());
        for (step, used) in sums.stations() {
            if let Step::Station { bridge, slot, port } = step
                && let Some(bridge) = self.tables.bridge(bridge)
            {
                bridge.macs.touch(slot, port, used);
            }
        }
    }

    /// Forgets addresses that have not been seen for long.
    pub(crate) fn age_stations(&self) {
        let now = self.clock.millis();
        let old = |used: packet::Millis| now.since(used) > STATION_AGE_S * 1000;
        let bridges = || self.tables.bridges().map(|(_, bridge)| &bridge.macs);
        if !bridges().any(|macs| macs.iter().any(|entry| old(entry.used))) {
            return;
        }
        self.see_stations();
        bridges().for_each(|macs| drop_count(macs.age(|entry| old(entry.used))));
        self.crew.end_short_cuts();
    }
}

/// An address that can be at a port.
fn station(vlan: u16, mac: MacAddr) -> Result<Station, Failure> {
    if vlan > 4094 {
        return Err(Failure::refused(format!("{vlan} is no VLAN: 1 to 4094, or 0 for none")));
    }
    if mac.is_multicast() {
        return Err(Failure::refused(format!("{mac} is a group, and groups are at no port")));
    }
    Ok(Station { vlan, mac })
}

fn drop_count(entries: usize) {
    if entries > 0 {
        tracing::debug!(entries, "addresses forgotten that were not seen for long");
    }
}
