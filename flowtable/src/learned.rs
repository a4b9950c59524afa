//! Flows that go with those that they were learned by.
//!
//! A flow that was learned by `learn(...,delete_learned)` bears no mark of that but its cookie. So,
//! as with Open vSwitch: when the last flow with such an action for a table and a cookie is gone, or
//! does something else, all flows of this cookie go from this table, whoever has added them.

use api::{Action, TableId};
use rpds::RedBlackTreeMapSync;

use crate::edit::Edit;
use crate::ports::BridgeId;
use crate::refused::Refused;
use crate::rule::Rule;

/// For each table and cookie, how many flows have an action that learns flows for it which are to go
/// with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Teachers(RedBlackTreeMapSync<(TableId, u64), u64>);

impl Teachers {
    fn enter(&mut self, table: TableId, cookie: u64) {
        let before = self.0.get(&(table, cookie)).copied().unwrap_or(0);
        self.0.insert_mut((table, cookie), before + 1);
    }

    /// Answers whether that was the last one.
    fn leave(&mut self, table: TableId, cookie: u64) -> bool {
        match self.0.get(&(table, cookie)).copied() {
            Some(others @ 2..) => {
                self.0.insert_mut((table, cookie), others - 1);
                false
            }
            _ => self.0.remove_mut(&(table, cookie)),
        }
    }
}

impl Edit {
    /// Notes what a new rule teaches.
    pub(crate) fn teacher_entered(&mut self, bridge: BridgeId, rule: &Rule) {
        for_each_lesson(&rule.actions, &mut |table, cookie| {
            if let Ok(bridge) = self.bridge_mut(bridge) {
                bridge.teachers.enter(table, cookie);
            }
        });
    }

    /// Notes that a rule teaches nothing any more.
    pub(crate) fn teacher_left(&mut self, bridge: BridgeId, rule: &Rule) {
        for_each_lesson(&rule.actions, &mut |table, cookie| {
            if self.bridge_mut(bridge).is_ok_and(|bridge| bridge.teachers.leave(table, cookie)) {
                self.orphans.push((bridge, table, cookie));
            }
        });
    }

    /// Removes what was learned by rules that are gone; and so on.
    ///
    /// Cost: a look at every rule of the tables in which something is to be removed.
    pub(crate) fn remove_orphans(&mut self) -> Result<(), Refused> {
        while let Some((bridge, table, cookie)) = self.orphans.pop() {
            let of = self.tables().bridge(bridge).and_then(|bridge| bridge.table(table));
            let rules = of.into_iter().flat_map(|table| table.rules());
            let learned: Vec<_> = rules.filter(|rule| rule.cookie == cookie).cloned().collect();
            learned.iter().try_for_each(|rule| self.take_out(bridge, rule))?;
        }
        Ok(())
    }
}

/// Shows the table and the cookie of all that is learned by some of these actions and goes with them.
fn for_each_lesson(actions: &[Action], each: &mut impl FnMut(TableId, u64)) {
    for action in actions {
        match action {
            Action::Learn(learn) if learn.delete_learned => each(learn.table, learn.cookie),
            action => for_each_lesson(action.inner(), each),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Tables;
    use packet::{Millis, Seed};

    const BRIDGE: BridgeId = BridgeId(0);
    const TEACHER: &str =
        "ip,actions=learn(table=1,cookie=9,delete_learned,eth_type=0x800,ip_src,load:7->reg0)";

    fn with(flows: &[&str]) -> Tables {
        let mut edit = Tables::new(Seed(1)).edit();
        edit.add_bridge("br0".into()).unwrap();
        changed(&edit.finish().0, flows)
    }

    fn changed(tables: &Tables, flows: &[&str]) -> Tables {
        let mut edit = tables.edit();
        for flow in flows {
            edit.flow_mod(BRIDGE, &flow.parse().unwrap(), Millis(1)).unwrap();
        }
        edit.finish().0
    }

    fn in_table(tables: &Tables, table: TableId) -> usize {
        tables.bridge(BRIDGE).unwrap().table(table).map_or(0, |table| table.len())
    }

    /// Each as `ovs-vswitchd` 3.1 has shown.
    #[test]
    fn with_the_last_teacher_goes_all_of_its_cookie_and_table() {
        let tables = with(&[
            TEACHER,
            "table=1,cookie=9,arp,actions=drop",
            "table=1,cookie=8,udp,actions=drop",
            "table=2,cookie=9,arp,actions=drop",
        ]);
        let another = TEACHER.replace("load:7", "load:8");
        for (changes, left) in [
            (&["delete table=0"][..], 1),
            (&["modify table=0,ip,actions=drop"], 1),
            (&["ip,actions=drop"], 1),
            // Another one comes later in the same bundle.
            (&["delete table=0", &another], 1),
            // It is replaced by another one.
            (&[&another], 2),
            (&[&format!("modify {another}")], 2),
            (&[&format!("priority=7,{another}"), "delete_strict table=0,ip"], 2),
            (&[&format!("priority=7,{another}"), "delete table=0"], 1),
        ] {
            let changed = changed(&tables, changes);
            assert_eq!((in_table(&changed, 1), in_table(&changed, 2)), (left, 1), "{changes:?}");
        }
    }

    #[test]
    fn what_goes_may_have_taught_others() {
        let second = TEACHER.replace("table=1", "table=2").replace("cookie=9", "cookie=8");
        let tables = with(&[
            TEACHER,
            &format!("table=1,cookie=9,{second}"),
            "table=2,cookie=8,arp,actions=drop",
        ]);
        let rule = tables.bridge(BRIDGE).unwrap().table(0).unwrap().rules().next().unwrap();
        let mut edit = tables.edit();
        // As when its time is over.
        edit.remove_rule(BRIDGE, rule).unwrap();
        let (tables, applied) = edit.finish();
        assert_eq!((in_table(&tables, 1), in_table(&tables, 2)), (0, 0));
        assert_eq!(applied.removed.len(), 3);
    }

    #[test]
    fn teachers_in_lists_within_lists_count() {
        let inner = TEACHER.replace("ip,actions=", "");
        let teacher = format!("ip,actions=clone({inner},clone({inner}))");
        let tables = with(&[&teacher, "table=1,cookie=9,arp,actions=drop"]);
        assert_eq!(in_table(&changed(&tables, &["delete table=0"]), 1), 0);
        let fewer = changed(&tables, &[TEACHER]);
        assert_eq!(in_table(&fewer, 1), 1, "one is left");
    }
}
