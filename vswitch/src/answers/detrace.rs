//! What has made a cache entry: the way back from it to flows, groups and buckets.

use api::reply::{Detrace, FlowStats, Passed, PassedBucket, PassedGroup, Rest};
use api::{Failure, request};
use flowtable::{Aside, BridgeId, GroupEntry, GroupSerial, RuleId, RuleStats, Step};
use packet::PortId;

use super::cache::EntryId;
use crate::control::Control;
use crate::describe::{Names, flow_stats};
use crate::dump::{CachedFlow, Which};
use crate::ledger::Sums;

impl Control {
    pub(crate) fn detrace(&mut self, detrace: &request::CacheDetrace) -> Result<Detrace, Failure> {
        let id: EntryId = detrace.id.parse()?;
        let gone = || Failure::refused(format!("the entry {} is gone", detrace.id));
        if id.worker >= self.crew.members().len() {
            return Err(Failure::refused(format!("there is no worker {}", id.worker)));
        }
        let found = self.ask_for_entries(id.worker, id.tier, Which::One(id.identity))?;
        let flow = found.first().ok_or_else(gone)?;
        let (bridge, entry) = self.cache_entry(id.worker, flow).ok_or_else(gone)?;
        self.ledger.fold(self.crew.paths(), &self.tables);
        let sums = self.ledger.sums(self.crew.paths());
        let rests = self.rests(flow, &sums);
        let passed = flow.path.iter().filter_map(|step| self.passed(bridge, *step, &sums));
        Ok(Detrace { entry, rests, passed: passed.collect() })
    }

    /// What the pass has left to be done that an entry's packets go on behind.
    fn rests(&self, flow: &CachedFlow, sums: &Sums) -> Vec<Rest> {
        let aside = flow.behind.and_then(|number| flow.aside(number));
        let Some(Aside::Frozen(frozen)) = aside else { return Vec::new() };
        let Some(bridge) = self.tables.bridge(frozen.bridge) else { return Vec::new() };
        let names = Names(&bridge.ports);
        let rest = |(actions, rule): (&[api::Action], Option<RuleId>)| Rest {
            actions: text_of(actions, &names),
            flow: rule.map(|rule| rule.0),
            stats: rule.and_then(|rule| self.stats(rule, sums)),
        };
        let lists = frozen.rests().map(|(actions, context)| (actions, context.rule));
        let set = Some((frozen.set(), None)).filter(|(set, _)| !set.is_empty());
        lists.chain(set).map(rest).collect()
    }

    fn passed(&self, bridge: BridgeId, step: Step, sums: &Sums) -> Option<Passed> {
        Some(match step {
            // The flow itself is the next step.
            Step::Match { .. } => return None,
            Step::Rule(id) => Passed::Flow { id: id.0, stats: self.stats(id, sums) },
            Step::Miss { bridge, table } => {
                let missed = self.tables.bridge(bridge)?.missed(table);
                Passed::Miss { table, packets: sums.with(step, missed).packets }
            }
            Step::Station { bridge, slot, port } => self.station(bridge, slot, port),
            Step::Group(serial) => Passed::Group { stats: self.group(bridge, serial, sums) },
            Step::Bucket { group, at } => {
                Passed::Bucket { stats: self.bucket(bridge, (group, at), sums) }
            }
            Step::Taught(id) => Passed::Learned { id: id.0, stats: self.stats(id, sums) },
            Step::Fin { rule, .. } => Passed::Fin { id: rule.0, stats: self.stats(rule, sums) },
        })
    }

    fn stats(&self, id: RuleId, sums: &Sums) -> Option<FlowStats> {
        let rule = self.tables.rule(id)?;
        Some(flow_stats(rule, sums.rule(rule), self.clock.millis()))
    }

    fn station(&self, bridge: BridgeId, slot: u16, port: PortId) -> Passed {
        let macs = self.tables.bridge(bridge).map(|bridge| &bridge.macs);
        let learned = macs.and_then(|macs| macs.iter().find(|learned| learned.slot == slot));
        match (learned, self.ports.get(port)) {
            (Some(learned), Some(entry)) if learned.port == port => {
                let (vlan, mac) = (learned.station.vlan, learned.station.mac);
                Passed::Station { vlan, mac, port: entry.name.to_string() }
            }
            _ => Passed::StationGone,
        }
    }

    fn group(&self, bridge: BridgeId, serial: GroupSerial, sums: &Sums) -> Option<PassedGroup> {
        let view = self.tables.bridge(bridge)?;
        let entry = find(view, serial)?;
        let count = sums.with(Step::Group(serial), &entry.stats.group);
        Some(PassedGroup {
            group: entry.group.id,
            text: entry.group.print(&Names(&view.ports)).to_string(),
            packets: count.packets,
            bytes: count.bytes,
        })
    }

    fn bucket(
        &self,
        bridge: BridgeId,
        (serial, at): (GroupSerial, u16),
        sums: &Sums,
    ) -> Option<PassedBucket> {
        let view = self.tables.bridge(bridge)?;
        let entry = find(view, serial)?;
        let bucket = entry.group.buckets.get(usize::from(at))?;
        let stats: &RuleStats = entry.stats.buckets.get(usize::from(at))?;
        let count = sums.with(Step::Bucket { group: serial, at }, stats);
        Some(PassedBucket {
            group: entry.group.id,
            bucket: bucket.id,
            actions: text_of(&bucket.actions, &Names(&view.ports)),
            packets: count.packets,
            bytes: count.bytes,
        })
    }
}

/// The group of this identity; `None` if it has been modified or removed since.
fn find(bridge: &flowtable::Bridge, serial: GroupSerial) -> Option<&GroupEntry> {
    bridge.groups.iter().map(AsRef::as_ref).find(|entry| entry.serial == serial)
}

fn text_of(actions: &[api::Action], names: &Names<'_>) -> String {
    let texts: Vec<_> = actions.iter().map(|action| action.print(names).to_string()).collect();
    if texts.is_empty() { "drop".to_owned() } else { texts.join(",") }
}
