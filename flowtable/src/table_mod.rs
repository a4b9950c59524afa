//! Changes of tables as such: what becomes of packets that no flow matches, and how many flows there
//! may be.

use std::sync::Arc;

use api::{FlowMod, Match, TableId, TableMiss, TableMod};

use crate::edit::Edit;
use crate::mask::Mask;
use crate::ports::BridgeId;
use crate::refused::Refused;

impl Edit {
    /// Carries out one change of tables as such.
    ///
    /// Cost: a look at every rule of a table that evicts.
    pub fn table_mod(&mut self, bridge: BridgeId, change: &TableMod) -> Result<(), Refused> {
        let tables = change.table.map_or(0..=FlowMod::MAX_TABLE, |table| table..=table);
        for table in tables {
            if let Some(miss) = change.miss {
                self.set_miss(bridge, table, miss)?;
            }
            if change.limit.is_some() || change.evict.is_some() {
                let of = self.tables().bridge(bridge).ok_or(Refused::NoBridge)?;
                let limit = of.limit(table).changed(change);
                self.limit_table(bridge, table, limit.is_one().then_some(limit))?;
            }
        }
        Ok(())
    }

    fn set_miss(
        &mut self,
        bridge: BridgeId,
        table: TableId,
        miss: TableMiss,
    ) -> Result<(), Refused> {
        let on_miss = &mut self.bridge_mut(bridge)?.on_miss;
        if on_miss[usize::from(table)] != miss {
            Arc::make_mut(on_miss)[usize::from(table)] = miss;
            let any = Match::ANY;
            self.changes.rule(bridge, table, &any, Mask::hash_of(&any));
        }
        Ok(())
    }
}
