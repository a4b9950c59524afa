//! Changes of groups and meters, and what they do to the flows that use them.

use std::sync::Arc;
use std::time::Duration;

use api::{Action, Bucket, BucketPlace, Group, GroupKind, GroupMod, Meter, MeterId, MeterMod};
use packet::Millis;

use crate::edit::Edit;
use crate::group::{GroupEntry, GroupSerial};
use crate::groups::Groups;
use crate::meters::{MeterEntry, MeterSlot, Meters};
use crate::ports::BridgeId;
use crate::refused::Refused;
use crate::rule::RuleId;

impl Edit {
    /// Carries out one change of groups.
    ///
    /// Cost: deleting looks at every flow of the bridge; the others at the buckets of the group.
    pub fn group_mod(
        &mut self,
        bridge: BridgeId,
        change: &GroupMod,
        now: Millis,
    ) -> Result<(), Refused> {
        match change {
            GroupMod::Add(group) => {
                if self.group(bridge, group.id)?.is_some() {
                    return Err(Refused::GroupExists { id: group.id });
                }
                self.put_group(bridge, group.clone(), now)
            }
            GroupMod::Modify(group) => {
                let created = self.known_group(bridge, group.id)?.created;
                self.put_group(bridge, group.clone(), created)
            }
            GroupMod::AddOrModify(group) => {
                let old = self.group(bridge, group.id)?;
                let created = old.map_or(now, |old| old.created);
                self.put_group(bridge, group.clone(), created)
            }
            GroupMod::Delete(Some(id)) => self.delete_group(bridge, *id),
            GroupMod::Delete(None) => {
                let all = self.groups(bridge)?.iter().map(|entry| entry.group.id);
                all.collect::<Vec<_>>().into_iter().try_for_each(|id| self.delete_group(bridge, id))
            }
            GroupMod::InsertBuckets { id, place, buckets } => {
                let entry = self.known_group(bridge, *id)?;
                let group = with_buckets(&entry.group, *place, buckets)?;
                self.put_group(bridge, group, entry.created)
            }
            GroupMod::RemoveBuckets { id, place } => {
                let entry = self.known_group(bridge, *id)?;
                let group = without_buckets(&entry.group, *place)?;
                self.put_group(bridge, group, entry.created)
            }
        }
    }

    fn groups(&self, bridge: BridgeId) -> Result<&Groups, Refused> {
        self.tables().bridge(bridge).map(|bridge| &*bridge.groups).ok_or(Refused::NoBridge)
    }

    fn group(&self, bridge: BridgeId, id: u32) -> Result<Option<&GroupEntry>, Refused> {
        Ok(self.groups(bridge)?.get(id))
    }

    fn known_group(&self, bridge: BridgeId, id: u32) -> Result<GroupEntry, Refused> {
        self.group(bridge, id)?.cloned().ok_or(Refused::NoGroup { id })
    }

    fn put_group(
        &mut self,
        bridge: BridgeId,
        group: Group,
        created: Millis,
    ) -> Result<(), Refused> {
        let serial = GroupSerial(self.take_group_serial());
        self.enter_group(bridge, GroupEntry::new(serial, group, created))
    }

    /// Puts a group where it was.
    pub(crate) fn restore_group(
        &mut self,
        bridge: BridgeId,
        entry: GroupEntry,
    ) -> Result<(), Refused> {
        match self.group(bridge, entry.group.id)? {
            Some(_) => Err(Refused::GroupExists { id: entry.group.id }),
            None => self.enter_group(bridge, entry),
        }
    }

    fn enter_group(&mut self, bridge: BridgeId, entry: GroupEntry) -> Result<(), Refused> {
        let id = entry.group.id;
        let groups = Arc::make_mut(&mut self.bridge_mut(bridge)?.groups);
        if groups.get(id).is_none() && groups.len() >= Groups::MOST {
            return Err(Refused::TooMany { what: "groups", limit: Groups::MOST });
        }
        let entry = Arc::new(entry);
        groups.insert(Arc::clone(&entry));
        if groups.has_loop(id) {
            return Err(Refused::GroupLoop { id });
        }
        self.applied.groups.push(entry);
        self.changes.group(bridge, id);
        Ok(())
    }

    fn delete_group(&mut self, bridge: BridgeId, id: u32) -> Result<(), Refused> {
        // OpenFlow: deleting one that is not there is no error.
        let removed = Arc::make_mut(&mut self.bridge_mut(bridge)?.groups).remove(id);
        if removed.is_none() {
            return Ok(());
        }
        self.changes.group(bridge, id);
        let users = self.delete_users(bridge, |action| action.leads_to_group(id))?;
        self.applied.with_groups.extend(users);
        Ok(())
    }

    /// Carries out one change of meters.
    ///
    /// Cost: deleting looks at every flow of the bridge.
    pub fn meter_mod(
        &mut self,
        bridge: BridgeId,
        change: &MeterMod,
        now: Duration,
    ) -> Result<(), Refused> {
        let meters = &self.tables().bridge(bridge).ok_or(Refused::NoBridge)?.meters;
        match change {
            MeterMod::Add(meter) => self.add_meter(bridge, crate::Meter::new(meter.clone(), now)),
            MeterMod::Modify(meter) => {
                let old = meters.get(meter.id).ok_or(Refused::NoMeter { id: meter.id })?;
                let (slot, new) = (old.slot, old.meter.modified(Meter::clone(meter), now));
                self.put_meter(bridge, slot, new)
            }
            MeterMod::Delete(Some(id)) => self.delete_meter(bridge, *id),
            MeterMod::Delete(None) => {
                let all: Vec<_> = meters.iter().map(|entry| entry.meter.meter().id).collect();
                all.into_iter().try_for_each(|id| self.delete_meter(bridge, id))
            }
        }
    }

    /// Adds a meter that is not there.
    pub(crate) fn add_meter(
        &mut self,
        bridge: BridgeId,
        meter: crate::Meter,
    ) -> Result<(), Refused> {
        let meters = &self.tables().bridge(bridge).ok_or(Refused::NoBridge)?.meters;
        let id = meter.meter().id;
        if meters.get(id).is_some() {
            return Err(Refused::MeterExists { id });
        }
        if meters.len() >= Meters::MOST {
            return Err(Refused::TooMany { what: "meters", limit: Meters::MOST });
        }
        let slot = self.take_meter_slot();
        self.put_meter(bridge, slot, meter)
    }

    fn put_meter(
        &mut self,
        bridge: BridgeId,
        slot: MeterSlot,
        meter: crate::Meter,
    ) -> Result<(), Refused> {
        let meter = Arc::new(meter);
        self.set_meter(slot, Some(Arc::clone(&meter)));
        self.controller_turned(meter.meter().id);
        let meters = &mut self.bridge_mut(bridge)?.meters;
        Arc::make_mut(meters).insert(MeterEntry { slot, meter });
        Ok(())
    }

    fn delete_meter(&mut self, bridge: BridgeId, id: MeterId) -> Result<(), Refused> {
        let removed = Arc::make_mut(&mut self.bridge_mut(bridge)?.meters).remove(id);
        let Some(removed) = removed else { return Ok(()) };
        self.set_meter(removed.slot, None);
        self.controller_turned(id);
        let MeterId::Number(number) = id else { return Ok(()) };
        let users = self.delete_users(bridge, |action| uses_meter(action, number))?;
        self.applied.with_meters.extend(users);
        Ok(())
    }

    /// What is shown passes the controller's meter if there is one, whatever flows say.
    fn controller_turned(&mut self, id: MeterId) {
        if id == MeterId::Controller {
            self.changes.everything();
        }
    }

    /// Removes every flow with an action that uses what is gone; says which.
    fn delete_users(
        &mut self,
        bridge: BridgeId,
        uses: impl Fn(&Action) -> bool,
    ) -> Result<Vec<RuleId>, Refused> {
        let Some(of) = self.tables().bridge(bridge) else { return Ok(Vec::new()) };
        let users = of.rules().filter(|rule| rule.actions.iter().any(&uses));
        let users: Vec<_> = users.cloned().collect();
        users.iter().try_for_each(|rule| self.remove_rule(bridge, rule))?;
        Ok(users.iter().map(|rule| rule.id).collect())
    }
}

/// Whether an action passes a meter, or has what it shows pass it.
pub(crate) fn uses_meter(action: &Action, number: u32) -> bool {
    action.any(&|action| match action {
        Action::Meter(meter) => *meter == number,
        Action::Controller(controller) => controller.meter == Some(number),
        _ => false,
    })
}

fn with_buckets(group: &Group, place: BucketPlace, new: &[Bucket]) -> Result<Group, Refused> {
    let mut group = group.clone();
    let known = |id: u32| group.buckets.iter().position(|bucket| bucket.id == id);
    if let Some(twice) = new.iter().find(|bucket| known(bucket.id).is_some()) {
        return Err(Refused::BucketExists { id: group.id, bucket: twice.id });
    }
    let at = match place {
        BucketPlace::First => 0,
        BucketPlace::Last | BucketPlace::All => group.buckets.len(),
        BucketPlace::Id(bucket) => {
            known(bucket).ok_or(Refused::NoBucket { id: group.id, bucket })?
        }
    };
    let fitting: Result<Vec<_>, _> = new.iter().map(|bucket| fitted(&group, bucket)).collect();
    group.buckets.splice(at..at, fitting?);
    one_if_indirect(group)
}

/// A bucket as one of this group, whose kind was not known when it was read.
fn fitted(group: &Group, bucket: &Bucket) -> Result<Bucket, Refused> {
    let unfit = |why| Err(Refused::UnfitBucket { id: group.id, bucket: bucket.id, why });
    let watches = bucket.watch_port.is_some() || bucket.watch_group.is_some();
    match group.kind {
        GroupKind::All | GroupKind::Indirect if watches => {
            unfit("only those of select and ff groups watch something")
        }
        GroupKind::FastFailover if !watches => unfit("those of ff groups watch a port or a group"),
        GroupKind::Select => Ok(bucket.clone()),
        _ => Ok(Bucket { weight: 0, ..bucket.clone() }),
    }
}

fn without_buckets(group: &Group, place: BucketPlace) -> Result<Group, Refused> {
    let mut group = group.clone();
    match place {
        BucketPlace::All => group.buckets.clear(),
        BucketPlace::First if !group.buckets.is_empty() => drop(group.buckets.remove(0)),
        BucketPlace::First => {}
        BucketPlace::Last => drop(group.buckets.pop()),
        BucketPlace::Id(bucket) => {
            let at = group.buckets.iter().position(|known| known.id == bucket);
            let at = at.ok_or(Refused::NoBucket { id: group.id, bucket })?;
            group.buckets.remove(at);
        }
    }
    one_if_indirect(group)
}

fn one_if_indirect(group: Group) -> Result<Group, Refused> {
    if group.kind == GroupKind::Indirect && group.buckets.len() != 1 {
        return Err(Refused::Indirect { id: group.id });
    }
    Ok(group)
}
