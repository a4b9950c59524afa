//! One generation of everything that translation reads.
//!
//! [`Tables`] is a value: workers read the one that was published last, the control thread makes
//! the next from it with an [`Edit`] and publishes that whole. What did not change is shared between
//! the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::{Match, TableId, TableMiss};
use packet::Seed;

use crate::actions::Lists;
use crate::edit::Edit;
use crate::groups::Groups;
use crate::history::History;
use crate::learned::Teachers;
use crate::limit::TableLimit;
use crate::mac::{Epoch, MacTable};
use crate::meter::Meter;
use crate::meters::{MeterSlot, Meters};
use crate::pending::Pending;
use crate::ports::{BridgeId, Ports};
use crate::rule::{Rule, RuleId, RuleStats};
use crate::sorted::Sorted;
use crate::table::Table;

/// The tables and ports of one bridge.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// Its name.
    pub name: Arc<str>,
    /// Its tables by number; those beyond the end are empty.
    pub(crate) tables: Vec<Arc<Table>>,
    /// Its ports.
    pub ports: Arc<Ports>,
    /// The addresses it has learned.
    pub macs: Arc<MacTable>,
    /// Its groups.
    pub groups: Arc<Groups>,
    /// Its meters.
    pub meters: Arc<Meters>,
    /// Flows that packets have taught since the last generation.
    pub pending: Arc<Pending>,
    /// Flows whose going takes others with them.
    pub(crate) teachers: Teachers,
    /// Packets that a rule of a table matched, as far as paths do not count them. They outlive the
    /// rules.
    pub(crate) matches: Arc<[RuleStats]>,
    /// Packets that no rule of a table matched, as far as paths do not count them.
    pub(crate) misses: Arc<[RuleStats]>,
    /// What becomes of such packets, by table.
    pub(crate) on_miss: Arc<[TableMiss]>,
}

impl Bridge {
    /// Table `table`, unless it is empty.
    pub fn table(&self, table: TableId) -> Option<&Table> {
        self.tables.get(usize::from(table)).map(Arc::as_ref)
    }

    /// Every table that holds rules, with its number.
    pub fn tables(&self) -> impl Iterator<Item = (TableId, &Table)> {
        (0..)
            .zip(&self.tables)
            .map(|(n, table)| (n, table.as_ref()))
            .filter(|(_, table)| !table.is_empty())
    }

    /// The rule of exactly this match and priority.
    pub(crate) fn find(
        &self,
        table: TableId,
        matching: &Match,
        priority: u16,
    ) -> Option<&Arc<Rule>> {
        let table = self.table(table)?;
        let mask = table.mask(matching);
        table.find(&mask, &mask.values_of(matching), priority)
    }

    /// Whether the port of this number is there and up.
    pub fn is_live(&self, number: u16) -> bool {
        self.ports.get(number).is_some_and(|port| port.is_up)
    }

    /// What counts the packets that a rule of `table` matched, of those that are gone too.
    pub fn matched(&self, table: TableId) -> &RuleStats {
        &self.matches[usize::from(table)]
    }

    /// What counts the packets that no rule of `table` matched.
    pub fn missed(&self, table: TableId) -> &RuleStats {
        &self.misses[usize::from(table)]
    }

    /// What becomes of packets that no rule of `table` matches.
    pub fn on_miss(&self, table: TableId) -> TableMiss {
        self.on_miss[usize::from(table)]
    }

    /// How many flows `table` holds.
    pub fn limit(&self, table: TableId) -> TableLimit {
        self.table(table).and_then(Table::limit).unwrap_or_default()
    }

    /// Every rule, table by table, by priority from the highest on, then by age.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.tables.iter().flat_map(|table| table.rules())
    }
}

/// One generation of all bridges. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(crate) bridges: Vec<Option<Arc<Bridge>>>,
    /// Every rule of all bridges by its number.
    pub(crate) rules: Sorted<u64, Arc<Rule>>,
    pub(crate) actions: Lists,
    pub(crate) history: History,
    pub(crate) seed: Seed,
    pub(crate) epoch: Arc<Epoch>,
    /// The number of the next rule; workers take some, too.
    pub(crate) next_rule: Arc<AtomicU64>,
    pub(crate) next_group: u32,
    /// Meters by slot.
    pub(crate) meters: Arc<Vec<Option<Arc<Meter>>>>,
    pub(crate) table_limit: usize,
}

impl Tables {
    /// Flows that one table holds unless said otherwise.
    pub const TABLE_LIMIT: usize = 1_000_000;
    /// Bridges in a switch.
    pub const BRIDGES: usize = 64;

    /// A switch without bridges, whose tables hash with `seed`.
    pub fn new(seed: Seed) -> Self {
        Self {
            bridges: Vec::new(),
            rules: Sorted::EMPTY,
            actions: Lists::default(),
            history: History::default(),
            seed,
            epoch: Arc::default(),
            next_rule: Arc::new(AtomicU64::new(1)),
            next_group: 1,
            meters: Arc::default(),
            table_limit: Self::TABLE_LIMIT,
        }
    }

    /// The same with another limit of flows per table.
    #[must_use]
    pub fn with_table_limit(self, table_limit: usize) -> Self {
        Self { table_limit, ..self }
    }

    /// Flows that one table holds.
    pub const fn table_limit(&self) -> usize {
        self.table_limit
    }

    /// The number of this generation.
    pub const fn generation(&self) -> u64 {
        self.history.newest()
    }

    /// What changed in the last generations.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Counts changes of what is learned.
    pub const fn epoch(&self) -> &Arc<Epoch> {
        &self.epoch
    }

    /// The number of the next rule.
    pub(crate) fn next_rule(&self) -> u64 {
        self.next_rule.load(Ordering::Relaxed)
    }

    /// The number of the next group.
    pub(crate) const fn next_group(&self) -> u32 {
        self.next_group
    }

    /// A number that no rule has had.
    pub(crate) fn take_rule_id(&self) -> RuleId {
        RuleId(self.next_rule.fetch_add(1, Ordering::Relaxed))
    }

    /// What a meter's slot holds.
    #[inline]
    pub fn meter(&self, MeterSlot(slot): MeterSlot) -> Option<&Arc<Meter>> {
        self.meters.get(slot as usize)?.as_ref()
    }

    /// The seed of all hashes.
    pub const fn seed(&self) -> Seed {
        self.seed
    }

    /// A bridge.
    pub fn bridge(&self, bridge: BridgeId) -> Option<&Bridge> {
        self.bridges.get(usize::from(bridge.0))?.as_deref()
    }

    /// Every bridge, with its number.
    pub fn bridges(&self) -> impl Iterator<Item = (BridgeId, &Bridge)> {
        let numbered = (0..).map(BridgeId).zip(&self.bridges);
        numbered.filter_map(|(n, bridge)| bridge.as_deref().map(|bridge| (n, bridge)))
    }

    /// The rule of this number, if it is in some table.
    pub fn rule(&self, id: RuleId) -> Option<&Arc<Rule>> {
        self.rules.get(id.0)
    }

    /// Begins the next generation.
    pub fn edit(&self) -> Edit {
        Edit::of(self.clone())
    }
}
