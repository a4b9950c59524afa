//! What a change has made of the flows of a bridge, seen from outside: which came, changed and went.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::reply::{Event, FlowRemoved, RemovedReason, WatchedFlow};
use flowtable::{Applied, BridgeId, Count, Edit, Rule, RuleId, RuleStats};
use packet::Millis;

use crate::control::Control;
use crate::describe::flow_stats;
use crate::ledger::Place;

/// A flow that came, changed or went.
#[derive(Debug)]
pub(crate) struct Turn {
    old: Option<Arc<Rule>>,
    new: Option<Arc<Rule>>,
}

/// What a change comes to. What came and went, or changed several times, within the change has
/// never been there for anybody else.
pub(crate) fn turnover(applied: &Applied) -> Vec<Turn> {
    let made: HashSet<_> = applied.added.iter().map(Arc::as_ptr).collect();
    let gone: HashSet<_> = applied.removed.iter().map(Arc::as_ptr).collect();
    let mut turns: Vec<Turn> = Vec::new();
    let mut by_order: HashMap<u64, usize> = HashMap::new();
    for old in applied.removed.iter().filter(|rule| !made.contains(&Arc::as_ptr(rule))) {
        by_order.insert(old.order, turns.len());
        turns.push(Turn { old: Some(Arc::clone(old)), new: None });
    }
    for new in applied.added.iter().filter(|rule| !gone.contains(&Arc::as_ptr(rule))) {
        let new = Arc::clone(new);
        match by_order.get(&new.order).and_then(|at| turns.get_mut(*at)) {
            Some(turn) => turn.new = Some(new),
            None => turns.push(Turn { old: None, new: Some(new) }),
        }
    }
    turns
}

impl Control {
    /// Publishes the next generation; answers with the workers that are late. Whoever wants to be
    /// told of flows is, when all workers that keep up use it: `why` says why a flow has ended.
    pub(crate) fn publish_ending(
        &mut self,
        bridge: Option<BridgeId>,
        edit: Edit,
        why: impl Fn(&Rule) -> RemovedReason,
    ) -> Vec<u32> {
        let (tables, applied) = edit.finish();
        let watched = bridge.filter(|_| self.events.watch_flows());
        let news = watched.map(|bridge| (bridge, self.bridge_name(bridge), turnover(&applied)));
        self.tables = tables.clone();
        if let Some(bridge) = bridge {
            self.ledger.apply(bridge, applied);
        }
        let late = self.crew.publish(tables);
        if !late.is_empty() {
            tracing::warn!(workers = ?late, "workers are late to use the new flows");
        }
        if let Some((bridge, name, turns)) = news {
            self.tell_turns(bridge, &name, &turns, why);
        }
        late.into_iter().filter_map(|worker| u32::try_from(worker).ok()).collect()
    }

    fn tell_turns(
        &mut self,
        bridge: BridgeId,
        name: &str,
        turns: &[Turn],
        why: impl Fn(&Rule) -> RemovedReason,
    ) {
        let ended =
            turns.iter().filter(|turn| turn.new.is_none()).filter_map(|turn| turn.old.as_ref());
        let wanted: Vec<_> =
            ended.filter(|rule| self.events.want_end(name, rule)).cloned().collect();
        let counts = self.last_counts(&wanted);
        let now = self.clock.millis();
        for Turn { old, new } in turns {
            let (old, new) = (old.as_deref(), new.as_deref());
            let Some(rule) = new.or(old) else { continue };
            if let Some(count) = counts.get(&rule.id).filter(|_| new.is_none()) {
                let end = || end(name, rule, why(rule), *count, now);
                self.events.tell_end(name, rule, end);
            }
            let place = Place::of(bridge, rule);
            let event = || flow_event(name, old, new, &why);
            if let Some(event) = event() {
                self.events.tell_flow(name, place, (old, new), || event.clone());
            }
        }
    }

    /// What flows that are gone have counted in all, now that no worker that keeps up uses them.
    fn last_counts(&mut self, gone: &[Arc<Rule>]) -> HashMap<RuleId, Count> {
        if gone.is_empty() {
            return HashMap::new();
        }
        self.crew.settle();
        let stats: HashMap<RuleId, Arc<RuleStats>> =
            gone.iter().map(|rule| (rule.id, Arc::clone(&rule.stats))).collect();
        self.ledger.fold_with(self.crew.paths(), &self.tables, &stats);
        let sums = self.ledger.sums(self.crew.paths());
        gone.iter().map(|rule| (rule.id, sums.rule(rule))).collect()
    }
}

/// The end of a flow, told.
fn end(bridge: &str, rule: &Rule, reason: RemovedReason, count: Count, now: Millis) -> Event {
    let stats = flow_stats(rule, count, now);
    Event::FlowRemoved(FlowRemoved { bridge: bridge.to_owned(), reason, stats })
}

/// A rule, told.
pub(crate) fn watched(bridge: &str, rule: &Rule) -> WatchedFlow {
    WatchedFlow { bridge: bridge.to_owned(), id: rule.id.0, flow: rule.flow_mod() }
}

/// What whoever watches is told; nothing if nothing is different. As with OVS, a flow that was added
/// once more has been added, whatever was there before.
fn flow_event(
    bridge: &str,
    old: Option<&Rule>,
    new: Option<&Rule>,
    why: impl Fn(&Rule) -> RemovedReason,
) -> Option<Event> {
    Some(match (old, new) {
        (None, None) => return None,
        (Some(old), None) => Event::FlowDeleted { flow: watched(bridge, old), reason: why(old) },
        (Some(old), Some(new)) if old.created == new.created => {
            if old.actions == new.actions && old.cookie == new.cookie {
                return None;
            }
            Event::FlowModified(watched(bridge, new))
        }
        (_, Some(new)) => Event::FlowAdded(watched(bridge, new)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::FlowMod;
    use flowtable::Tables;
    use packet::Seed;

    /// What a second change comes to, in words.
    fn turns(first: &[&str], second: &[&str]) -> Vec<String> {
        let mut edit = Tables::new(Seed(1)).edit();
        edit.add_bridge("br0".into());
        let mut change = |flows: &[&str], now| {
            for flow in flows {
                let flow: FlowMod = api::text::line(flow, &api::NoNames).unwrap();
                edit.flow_mod(BridgeId(0), &flow, Millis(now)).unwrap();
            }
            let (tables, applied) =
                std::mem::replace(&mut edit, Tables::new(Seed(1)).edit()).finish();
            edit = tables.edit();
            applied
        };
        change(first, 1);
        let applied = change(second, 2);
        let word = |turn: &Turn| {
            let event = flow_event("br0", turn.old.as_deref(), turn.new.as_deref(), |_| {
                RemovedReason::Delete
            });
            match event? {
                Event::FlowAdded(flow) => Some(format!("+{}", flow.flow.matching)),
                Event::FlowModified(flow) => Some(format!("!{}", flow.flow.matching)),
                Event::FlowDeleted { flow, .. } => Some(format!("-{}", flow.flow.matching)),
                _ => None,
            }
        };
        turnover(&applied).iter().filter_map(word).collect()
    }

    #[test]
    fn a_change_comes_to_what_it_leaves() {
        let two = ["ip,actions=1", "arp,actions=1"];
        assert_eq!(turns(&[], &two), ["+ip", "+arp"]);
        assert_eq!(turns(&two, &["modify ip,actions=2"]), ["!ip"]);
        assert_eq!(turns(&two, &["modify ip,actions=1"]), [""; 0], "nothing is different");
        assert_eq!(turns(&two, &["ip,actions=1"]), ["+ip"], "added once more");
        assert_eq!(turns(&two, &["delete", "udp,actions=1"]), ["-ip", "-arp", "+udp"]);
        let gone = ["udp,actions=1", "delete_strict udp"];
        assert_eq!(turns(&two, &gone), [""; 0], "it was never there");
        let back = ["delete ip", "ip,actions=1"];
        assert_eq!(turns(&two, &back), ["-ip", "+ip"], "another flow in its place");
        let twice = ["modify ip,actions=2", "modify ip,actions=3"];
        assert_eq!(turns(&two, &twice), ["!ip"], "once");
    }
}
