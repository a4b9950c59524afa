//! All of the tables as plain data: what one switch leaves to the next.
//!
//! Flows are in it as text, whose grammar outlives any layout; counters and times are numbers; the
//! seed of all hashes is, too. What workers have cached is not: it is made again.

use std::sync::Arc;

use api::{FlowMod, PortFlags, TableId};
use packet::{MacAddr, PortId};
use serde::{Deserialize, Serialize};

use crate::mac::Station;
use crate::mask::Seed;
use crate::ports::{BridgeId, PortView, VlanMode};
use crate::rule::{Millis, Rule, RuleId, RuleStats};
use crate::tables::{Edit, Refused, Tables};

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
    /// Its flows, by table, priority and age.
    pub flows: Vec<FlowState>,
    /// What met no flow, by table; tables in which nothing did are left out.
    pub misses: Vec<(TableId, CountState)>,
    /// What it has learned, by VLAN and address.
    pub stations: Vec<StationState>,
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
    /// The VLAN.
    pub vlan: u16,
    /// The address.
    pub mac: [u8; 6],
    /// The switch-wide number of the port where it is.
    pub port: u16,
    /// When it was seen last.
    pub used_ms: u64,
    /// Whether it was added by hand.
    #[serde(default)]
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
    pub const VERSION: u32 = 1;

    /// What `tables` are now. Counters are complete once all paths have been folded.
    pub fn export(tables: &Tables) -> Self {
        let bridges = tables.bridges().map(|(id, bridge)| {
            let mut rules: Vec<_> = bridge.rules().collect();
            rules.sort_by_key(|rule| (rule.table, u16::MAX - rule.priority, rule.order));
            let mut stations: Vec<_> = bridge.macs.iter().collect();
            stations.sort_by_key(|learned| (learned.station.vlan, learned.station.mac));
            let counted = (0..=TableId::MAX).map(|table| (table, count(bridge.missed(table))));
            BridgeState {
                id: id.0,
                name: bridge.name.to_string(),
                ports: bridge.ports.iter().map(|port| PortState::of(port)).collect(),
                flows: rules.into_iter().map(|rule| FlowState::of(rule)).collect(),
                misses: counted.filter(|(_, count)| count.packets > 0).collect(),
                stations: stations
                    .into_iter()
                    .map(|learned| StationState {
                        vlan: learned.station.vlan,
                        mac: learned.station.mac.0,
                        port: learned.port.0,
                        used_ms: learned.used.0,
                        is_static: learned.is_static,
                    })
                    .collect(),
            }
        });
        Self {
            version: Self::VERSION,
            seed: tables.seed().0,
            generation: tables.generation(),
            next_rule: tables.next_rule(),
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
        let mut edit = empty.edit();
        for bridge in &self.bridges {
            let place = format!("bridge {}", bridge.name);
            let refused = |why: Refused| StateError::at(&place, why);
            let id = BridgeId(bridge.id);
            edit.restore_bridge(id, bridge.name.as_str().into())
                .map_err(|why| StateError::at(&place, why))?;
            for port in &bridge.ports {
                edit.set_port(port.view(id)).map_err(refused)?;
            }
            for flow in &bridge.flows {
                self.restore_flow(&mut edit, id, flow)?;
            }
            bridge.restore_counts(&edit, id);
        }
        Ok(edit.restored(self.generation, self.next_rule))
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
        let CountState { packets, bytes, used_ms } = flow.count;
        stats.credit(packets, bytes, Millis(used_ms));
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

impl BridgeState {
    fn restore_counts(&self, edit: &Edit, bridge: BridgeId) {
        let Some(restored) = edit.tables().bridge(bridge) else { return };
        for (table, CountState { packets, bytes, used_ms }) in &self.misses {
            restored.missed(*table).credit(*packets, *bytes, Millis(*used_ms));
        }
        for learned in &self.stations {
            let station = Station { vlan: learned.vlan, mac: MacAddr(learned.mac) };
            // What has no room is learned again.
            if learned.is_static {
                let _ = restored.macs.add(station, PortId(learned.port));
            } else {
                restored.macs.learn(station, PortId(learned.port), Millis(learned.used_ms));
            }
        }
    }
}

impl PortState {
    fn of(port: &PortView) -> Self {
        let (access, trunk) = match &port.vlan {
            VlanMode::Access(vid) => (Some(*vid), Vec::new()),
            VlanMode::Trunk(vids) => (None, vids.clone()),
        };
        let (id, number, name) = (port.id.0, port.number, port.name.to_string());
        Self { id, number, name, access, trunk, flags: port.flags }
    }

    fn view(&self, bridge: BridgeId) -> PortView {
        PortView {
            id: PortId(self.id),
            number: self.number,
            bridge,
            name: self.name.as_str().into(),
            vlan: self.access.map_or_else(|| VlanMode::Trunk(self.trunk.clone()), VlanMode::Access),
            flags: self.flags,
            is_up: true,
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

fn count(stats: &RuleStats) -> CountState {
    let (packets, bytes, Millis(used_ms)) = stats.load();
    CountState { packets, bytes, used_ms }
}
