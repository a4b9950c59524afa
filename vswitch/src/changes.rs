//! The way of a flow-mod, and of the groups, meters and packets that come with it.
//!
//! A transaction is a list of changes of one bridge. It is read, carried out on the next generation
//! of the tables, and published whole; the answer comes when every worker uses it, or names those
//! that are late. If anything is wrong with it, the next generation is thrown away and nothing has
//! happened. Packets that are to be sent go on their way when the changes have taken place.

use std::collections::HashSet;

use api::reply::{Changed, Collected, Done, RemovedReason};
use api::request::{FlowBegin, FlowChange, TableChange};
use api::text::Reading;
use api::{Change, Failure, FlowMod, TableMod};
use flowtable::{Applied, BridgeId, Edit, Refused};

use crate::control::Control;
use crate::describe::Names;

/// A transaction that a connection collects.
#[derive(Debug, Default)]
pub struct Collection {
    begun: FlowBegin,
    /// As they came: a change is large, and there may be a million.
    parts: Vec<Vec<Change>>,
    /// How many there are in all parts.
    changes: usize,
}

/// What a connection has begun and not ended.
#[derive(Debug, Default)]
pub struct Session {
    collection: Option<Collection>,
}

impl Control {
    /// Makes the changes that these lines say: all or none.
    pub(crate) fn change(&mut self, change: &FlowChange) -> Result<Changed, Failure> {
        let bridge = change.bridge.as_deref();
        let changes = self.read((bridge, change.lenient), &change.flows, 0)?;
        self.make(bridge, &changes)
    }

    /// Makes one change of a table as such.
    pub(crate) fn change_table(&mut self, change: &TableChange) -> Result<Changed, Failure> {
        let &TableChange { ref bridge, table, miss, limit, evict } = change;
        if table.is_some_and(|table| table > FlowMod::MAX_TABLE) {
            return Err(Failure::refused("there are the tables 0 to 253"));
        }
        let change = TableMod { table, miss, limit, evict };
        self.make(bridge.as_deref(), &[Change::Table(change)])
    }

    /// Reads changes, the first of which is number `first` of its request.
    fn read(
        &self,
        (bridge, lenient): (Option<&str>, bool),
        lines: &[String],
        first: u64,
    ) -> Result<Vec<Change>, Failure> {
        let bridge = self.bridge(bridge)?;
        let Some(bridge) = self.tables.bridge(bridge) else { return Ok(Vec::new()) };
        let names = Names(&bridge.ports);
        let strictly = Reading::new(&names);
        let reading = if lenient { strictly.lenient() } else { strictly };
        // Their number is known: a change is large, and is not to be moved once more.
        let mut changes = Vec::with_capacity(lines.len());
        for (n, line) in (first..).zip(lines) {
            changes.push(reading.change(line).map_err(|why| Failure::flow(n, &why))?);
        }
        Ok(changes)
    }

    /// Makes changes: all or none.
    pub(crate) fn make<'a>(
        &mut self,
        bridge: Option<&str>,
        changes: impl IntoIterator<Item = &'a Change>,
    ) -> Result<Changed, Failure> {
        let bridge = self.bridge(bridge)?;
        let mut edit = self.tables.edit();
        let mut packets = Vec::new();
        for (n, change) in (0..).zip(changes) {
            match change {
                Change::PacketOut(packet) => {
                    self.check(bridge, packet).map_err(|why| Failure::refused_flow(n, why))?;
                    edit.require(bridge, &packet.actions)
                        .map_err(|refused| Failure::refused_flow(n, refused))?;
                    packets.push(packet);
                }
                change => self
                    .carry_out(&mut edit, bridge, change)
                    .map_err(|refused| Failure::refused_flow(n, refused))?,
            }
        }
        let Applied { with_groups, with_meters, evicted, .. } = edit.applied();
        let (with_groups, with_meters) = (with_groups.clone(), with_meters.clone());
        let evicted: HashSet<_> = evicted.iter().copied().collect();
        let late = self.publish_ending(Some(bridge), edit, |rule| match rule.id {
            id if with_groups.contains(&id) => RemovedReason::GroupDelete,
            id if with_meters.contains(&id) => RemovedReason::MeterDelete,
            id if evicted.contains(&id) => RemovedReason::Eviction,
            _ => RemovedReason::Delete,
        });
        packets.into_iter().for_each(|packet| self.send_out(bridge, packet));
        let orphans = (with_groups.len() + with_meters.len()) as u64;
        Ok(Changed { generation: self.crew.tables().number(), late, orphans })
    }

    fn carry_out(&self, edit: &mut Edit, bridge: BridgeId, change: &Change) -> Result<(), Refused> {
        match change {
            Change::Flow(change) => edit.flow_mod(bridge, change, self.clock.millis()),
            Change::Group(change) => edit.group_mod(bridge, change, self.clock.millis()),
            Change::Meter(change) => edit.meter_mod(bridge, change, self.clock.now()),
            Change::Table(change) => edit.table_mod(bridge, change),
            Change::PacketOut(_) => Ok(()),
        }
    }

    /// Begins a transaction that is too large for one line.
    pub(crate) fn begin(
        &mut self,
        begun: FlowBegin,
        session: &mut Session,
    ) -> Result<Done, Failure> {
        self.bridge(begun.bridge.as_deref())?;
        self.take_collection(session);
        session.collection = Some(Collection { begun, ..Collection::default() });
        Ok(Done {})
    }

    /// Adds to it.
    pub(crate) fn append(
        &mut self,
        lines: &[String],
        session: &mut Session,
    ) -> Result<Collected, Failure> {
        // When one is refused, so is the whole change.
        let mut collection = self.take_collection(session).ok_or_else(nothing_begun)?;
        let how = (collection.begun.bridge.as_deref(), collection.begun.lenient);
        let part = self.read(how, lines, collection.changes as u64)?;
        collection.changes += part.len();
        collection.parts.push(part);
        let limit = 2 * self.tables.table_limit();
        if self.collected + collection.changes > limit {
            let what = "changes that are collected at a time, by all clients together";
            return Err(Failure::refused(format!("there are {limit} {what}, at most")));
        }
        self.collected += collection.changes;
        let flows = collection.changes as u64;
        session.collection = Some(collection);
        Ok(Collected { flows })
    }

    /// Makes it.
    pub(crate) fn commit(&mut self, session: &mut Session) -> Result<Changed, Failure> {
        let collection = self.take_collection(session).ok_or_else(nothing_begun)?;
        self.make(collection.begun.bridge.as_deref(), collection.parts.iter().flatten())
    }

    fn take_collection(&mut self, session: &mut Session) -> Option<Collection> {
        let collection = session.collection.take()?;
        self.collected -= collection.changes;
        Some(collection)
    }

    /// Drops what a connection has begun and not ended.
    pub fn forget(&mut self, mut session: Session) {
        self.take_collection(&mut session);
    }
}

fn nothing_begun() -> Failure {
    Failure::refused("this connection has begun no change; `flow.begin` comes first")
}
