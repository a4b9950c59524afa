//! All of the tables as plain data: what one switch leaves to the next.
//!
//! Flows, groups and meters are in it as text, whose grammar outlives any layout; counters and times
//! are numbers; the seed of all hashes is, too. What workers have cached is not: it is made again.
//! Nor is how full the buckets of meters are: they begin full. Flows that packets have taught are
//! among the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api::{FlowMod, Group, Meter, PortFlags, TableId, TableMiss, TableMod};
use packet::{MacAddr, Millis, PortId, Seed};
use serde::{Deserialize, Serialize};

use crate::edit::Edit;
use crate::group::{GroupEntry, GroupSerial};
use crate::limit::{Overflow, TableLimit};
use crate::mac::{Learned, MacStats, Station};
use crate::meter::Volume;
use crate::meters::MeterEntry;
use crate::ports::{BridgeId, PortView, VlanMode};
use crate::refused::Refused;
use crate::rule::{Rule, RuleId, RuleStats};
use crate::tables::{Bridge, Tables};

/// The tables of a switch at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct State {
    /// Which layout this is: [`State::VERSION`].
    pub version: u32,
    /// The seed of all hashes.
    pub seed: u64,
    /// The number of the generation.
    pub generation: u64,
    /// The number of the next rule.
    pub next_rule: u64,
    /// The number of the next group, or of the next version of one.
    pub next_group: u32,
    /// Flows that one table holds.
    pub table_limit: usize,
    /// The bridges.
    pub bridges: Vec<BridgeState>,
}

/// A bridge.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BridgeState {
    /// Its number.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Its ports, by number.
    pub ports: Vec<PortState>,
    /// The limits of tables that have their own.
    pub limits: Vec<LimitState>,
    /// Its groups, by number.
    pub groups: Vec<GroupState>,
    /// Its meters, by number.
    pub meters: Vec<MeterState>,
    /// Its flows, by table, priority and age.
    pub flows: Vec<FlowState>,
    /// What met a flow, by table; tables in which nothing did are left out.
    #[serde(default)]
    pub matches: Vec<(TableId, CountState)>,
    /// What met no flow, by table; tables in which nothing did are left out.
    pub misses: Vec<(TableId, CountState)>,
    /// What becomes of that, by table; tables that drop it are left out.
    #[serde(default)]
    pub on_miss: Vec<(TableId, TableMiss)>,
    /// What it has learned, by VLAN and address.
    pub stations: Vec<StationState>,
    /// What had become of learned addresses.
    pub learned: MacStats,
}

/// What flows know of a port.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PortState {
    /// The switch-wide number.
    pub id: u16,
    /// The OpenFlow number.
    pub number: u16,
    /// The name.
    pub name: String,
    /// The VLAN, if it is the port's only one and untagged.
    pub access: Option<u16>,
    /// The tagged VLANs; all if there is none.
    pub trunk: Vec<u16>,
    /// How it is used.
    pub flags: PortFlags,
    /// Whether it carried packets.
    pub is_up: bool,
}

/// How many flows a table holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LimitState {
    /// The table.
    pub table: TableId,
    /// The most flows.
    pub flows: usize,
    /// Whether it gives up another one for the next.
    pub evicts: bool,
}

/// A group.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct GroupState {
    /// The number of this version of it.
    pub serial: u32,
    /// The group, as it would be added.
    pub group: Group,
    /// When it was added.
    pub created_ms: u64,
    /// What it has counted.
    pub count: CountState,
    /// What each of its buckets has counted.
    pub buckets: Vec<CountState>,
}

/// A meter.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MeterState {
    /// The meter, as it would be added.
    pub meter: Meter,
    /// When it was added, in nanoseconds of the switch's clock.
    pub since_ns: u64,
    /// What came to it.
    pub came: Volume,
    /// What each of its bands decided about.
    pub exceeded: Vec<Volume>,
}

/// A flow.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FlowState {
    /// Its number.
    pub id: u64,
    /// Its age: lower is older.
    pub order: u64,
    /// The flow, as it would be added.
    pub flow: FlowMod,
    /// When it was added, in milliseconds of the switch's clock.
    pub created_ms: u64,
    /// When it was modified last.
    pub modified_ms: u64,
    /// What it has counted.
    pub count: CountState,
}

/// Counters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CountState {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one came; 0 if none did.
    pub used_ms: u64,
}

/// A learned address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StationState {
    /// The slot of the entry.
    pub slot: u16,
    /// The VLAN.
    pub vlan: u16,
    /// The address.
    pub mac: [u8; 6],
    /// The switch-wide number of the port where it is.
    pub port: u16,
    /// When it was seen last.
    pub used_ms: u64,
    /// Whether it was added by hand.
    pub is_static: bool,
}

/// Why a state cannot be taken over.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is of another layout.
    #[error("the state is of version {found}, and this switch reads version {}", State::VERSION)]
    Version {
        /// Its version.
        found: u32,
    },
    /// It contradicts itself or the limits of this switch.
    #[error("{place}: {why}")]
    Wrong {
        /// Which part.
        place: String,
        /// What is wrong.
        why: String,
    },
}

impl StateError {
    fn at(place: impl Into<String>, why: impl ToString) -> Self {
        Self::Wrong { place: place.into(), why: why.to_string() }
    }
}

impl State {
    /// The layout that is written, and read.
    pub const VERSION: u32 = 2;

    /// What `tables` are now. Counters are complete once all paths have been folded.
    pub fn export(tables: &Tables) -> Self {
        let settled = with_pending(tables);
        let bridges = settled.bridges().map(|(id, bridge)| BridgeState::of(id, bridge));
        Self {
            version: Self::VERSION,
            seed: tables.seed().0,
            generation: tables.generation(),
            next_rule: tables.next_rule(),
            next_group: tables.next_group(),
            table_limit: tables.table_limit(),
            bridges: bridges.collect(),
        }
    }

    /// Tables as they were. Exporting them gives this state again.
    pub fn import(&self) -> Result<Tables, StateError> {
        if self.version != Self::VERSION {
            return Err(StateError::Version { found: self.version });
        }
        let empty = Tables::new(Seed(self.seed)).with_table_limit(self.table_limit);
        let (mut edit, mut serials) = (empty.edit(), HashSet::new());
        for bridge in &self.bridges {
            let id = BridgeId(bridge.id);
            bridge
                .restore_frame(&mut edit, id)
                .map_err(|why| StateError::at(format!("bridge {}", bridge.name), why))?;
            for group in &bridge.groups {
                let wrong = |why| StateError::at(format!("group {}", group.group.id), why);
                if group.serial >= self.next_group || !serials.insert(group.serial) {
                    return Err(wrong("its serial number was not given to it".to_owned()));
                }
                group.restore(&mut edit, id).map_err(wrong)?;
            }
            for meter in &bridge.meters {
                meter
                    .restore(&mut edit, id)
                    .map_err(|why| StateError::at(format!("meter {}", meter.meter.id), why))?;
            }
            for flow in &bridge.flows {
                self.restore_flow(&mut edit, id, flow)?;
            }
            bridge.restore_learned(&edit, id)?;
        }
        Ok(edit.restored(self.generation, self.next_rule, self.next_group))
    }

    fn restore_flow(
        &self,
        edit: &mut Edit,
        bridge: BridgeId,
        flow: &FlowState,
    ) -> Result<(), StateError> {
        let wrong = |why: &str| StateError::at(format!("flow {}", flow.id), why);
        if flow.id >= self.next_rule || flow.order >= self.next_rule {
            return Err(wrong("its number has not been given out yet"));
        }
        let FlowMod { table: Some(table), actions: Some(actions), .. } = &flow.flow else {
            return Err(wrong("it has no table or no actions"));
        };
        let stats = RuleStats::default();
        flow.count.credit(&stats);
        let rule = |mask, values| Rule {
            id: RuleId(flow.id),
            order: flow.order,
            table: *table,
            priority: flow.flow.priority,
            mask,
            values,
            actions: actions.clone().into(),
            cookie: flow.flow.cookie.unwrap_or(0),
            idle_timeout: flow.flow.idle_timeout,
            hard_timeout: flow.flow.hard_timeout,
            importance: flow.flow.importance,
            flags: flow.flow.flags,
            created: Millis(flow.created_ms),
            modified: Millis(flow.modified_ms),
            stats: Arc::new(stats),
        };
        let restored = edit.restore_rule(bridge, *table, &flow.flow.matching, rule);
        restored.map_err(|why| wrong(&why.to_string()))
    }
}

/// The tables with the flows that are pending put among the others.
fn with_pending(tables: &Tables) -> Tables {
    let mut edit = tables.edit();
    for (id, bridge) in tables.bridges() {
        for rule in bridge.pending.rules().iter().flat_map(|rules| rules.iter()) {
            // What has no room there is not learned.
            let _ = edit.learn(id, rule, rule.modified);
        }
    }
    edit.tables().clone()
}

impl BridgeState {
    fn of(id: BridgeId, bridge: &Bridge) -> Self {
        let mut rules: Vec<_> = bridge.rules().collect();
        rules.sort_by_key(|rule| (rule.table, u16::MAX - rule.priority, rule.order));
        let mut stations: Vec<_> = bridge.macs.iter().collect();
        stations.sort_by_key(|learned| (learned.station.vlan, learned.station.mac));
        let tables = 0..=TableId::MAX;
        let limits =
            tables.clone().filter_map(|n| Some(LimitState::of(n, bridge.table(n)?.limit()?)));
        let counted = |of: fn(&Bridge, TableId) -> &RuleStats| {
            let counts = tables.clone().map(|table| (table, count(of(bridge, table))));
            counts.filter(|(_, count)| count.packets > 0).collect()
        };
        Self {
            id: id.0,
            name: bridge.name.to_string(),
            ports: bridge.ports.iter().map(|port| PortState::of(port)).collect(),
            limits: limits.collect(),
            groups: bridge.groups.iter().map(|entry| GroupState::of(entry)).collect(),
            meters: bridge.meters.iter().map(|entry| MeterState::of(entry)).collect(),
            flows: rules.into_iter().map(|rule| FlowState::of(rule)).collect(),
            matches: counted(Bridge::matched),
            misses: counted(Bridge::missed),
            on_miss: (0..=FlowMod::MAX_TABLE)
                .map(|table| (table, bridge.on_miss(table)))
                .filter(|(_, miss)| *miss != TableMiss::default())
                .collect(),
            stations: stations.iter().map(StationState::of).collect(),
            learned: bridge.macs.stats(),
        }
    }

    /// Makes the bridge, with its ports and without anything in its tables.
    fn restore_frame(&self, edit: &mut Edit, id: BridgeId) -> Result<(), Refused> {
        edit.restore_bridge(id, self.name.as_str().into())?;
        for port in &self.ports {
            edit.set_port(port.view(id))?;
        }
        for (table, miss) in &self.on_miss {
            let change = TableMod { table: Some(*table), miss: Some(*miss), ..TableMod::default() };
            edit.table_mod(id, &change)?;
        }
        for LimitState { table, flows, evicts } in &self.limits {
            let overflow = if *evicts { Overflow::Evict } else { Overflow::Refuse };
            edit.limit_table(id, *table, Some(TableLimit { flows: *flows, overflow }))?;
        }
        Ok(())
    }

    /// Restores what packets change without control.
    fn restore_learned(&self, edit: &Edit, bridge: BridgeId) -> Result<(), StateError> {
        let Some(restored) = edit.tables().bridge(bridge) else { return Ok(()) };
        for (table, count) in &self.matches {
            count.credit(restored.matched(*table));
        }
        for (table, count) in &self.misses {
            count.credit(restored.missed(*table));
        }
        for station in &self.stations {
            if !restored.macs.restore(&station.learned()) {
                let place = format!("station {}, VLAN {}", MacAddr(station.mac), station.vlan);
                return Err(StateError::at(place, "its entry does not belong there"));
            }
        }
        restored.macs.restore_stats(self.learned);
        Ok(())
    }
}

impl LimitState {
    fn of(table: TableId, TableLimit { flows, overflow }: TableLimit) -> Self {
        Self { table, flows, evicts: overflow == Overflow::Evict }
    }
}

impl GroupState {
    fn of(entry: &GroupEntry) -> Self {
        Self {
            serial: entry.serial.0,
            group: entry.group.clone(),
            created_ms: entry.created.0,
            count: count(&entry.stats.group),
            buckets: entry.stats.buckets.iter().map(count).collect(),
        }
    }

    fn restore(&self, edit: &mut Edit, bridge: BridgeId) -> Result<(), String> {
        let (serial, created) = (GroupSerial(self.serial), Millis(self.created_ms));
        let entry = GroupEntry::new(serial, self.group.clone(), created);
        if entry.stats.buckets.len() != self.buckets.len() {
            return Err("it has not as many buckets as are counted".to_owned());
        }
        self.count.credit(&entry.stats.group);
        let buckets = entry.stats.buckets.iter().zip(&self.buckets);
        buckets.for_each(|(stats, count)| count.credit(stats));
        edit.restore_group(bridge, entry).map_err(|why| why.to_string())
    }
}

impl MeterState {
    fn of(entry: &MeterEntry) -> Self {
        let meter = &entry.meter;
        Self {
            meter: meter.meter().clone(),
            since_ns: u64::try_from(meter.since().as_nanos()).unwrap_or(u64::MAX),
            came: meter.came(),
            exceeded: meter.exceeded().collect(),
        }
    }

    fn restore(&self, edit: &mut Edit, bridge: BridgeId) -> Result<(), String> {
        if self.meter.bands.len() != self.exceeded.len() {
            return Err("it has not as many bands as are counted".to_owned());
        }
        let since = Duration::from_nanos(self.since_ns);
        let meter = crate::Meter::restored(self.meter.clone(), since, self.came, &self.exceeded);
        edit.add_meter(bridge, meter).map_err(|why| why.to_string())
    }
}

impl StationState {
    fn of(learned: &Learned) -> Self {
        Self {
            slot: learned.slot,
            vlan: learned.station.vlan,
            mac: learned.station.mac.0,
            port: learned.port.0,
            used_ms: learned.used.0,
            is_static: learned.is_static,
        }
    }

    const fn learned(&self) -> Learned {
        Learned {
            slot: self.slot,
            station: Station { vlan: self.vlan, mac: MacAddr(self.mac) },
            port: PortId(self.port),
            used: Millis(self.used_ms),
            is_static: self.is_static,
        }
    }
}

impl PortState {
    fn of(port: &PortView) -> Self {
        let (access, trunk) = match &port.vlan {
            VlanMode::Access(vid) => (Some(*vid), Vec::new()),
            VlanMode::Trunk(vids) => (None, vids.clone()),
        };
        Self {
            id: port.id.0,
            number: port.number,
            name: port.name.to_string(),
            access,
            trunk,
            flags: port.flags,
            is_up: port.is_up,
        }
    }

    fn view(&self, bridge: BridgeId) -> PortView {
        PortView {
            id: PortId(self.id),
            number: self.number,
            bridge,
            name: self.name.as_str().into(),
            vlan: self.access.map_or_else(|| VlanMode::Trunk(self.trunk.clone()), VlanMode::Access),
            flags: self.flags,
            is_up: self.is_up,
        }
    }
}

impl FlowState {
    fn of(rule: &Rule) -> Self {
        Self {
            id: rule.id.0,
            order: rule.order,
            flow: rule.flow_mod(),
            created_ms: rule.created.0,
            modified_ms: rule.modified.0,
            count: count(&rule.stats),
        }
    }
}

impl CountState {
    fn credit(&self, stats: &RuleStats) {
        stats.credit(self.packets, self.bytes, Millis(self.used_ms));
    }
}

fn count(stats: &RuleStats) -> CountState {
    let (packets, bytes, Millis(used_ms)) = stats.load();
    CountState { packets, bytes, used_ms }
}
