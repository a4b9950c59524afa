//! Flows that packets have taught, until the next generation of the tables has them.
//!
//! A worker that translates `learn` cannot change the tables: they are values, and only the control
//! thread makes the next one. It leaves the new flow here before the packet that taught it goes on;
//! from then on every walk sees it, of whatever worker. The control thread puts it among the others
//! and takes it out here once no worker uses tables without it.
//!
//! **Threads.** A walk pays one load if nothing is pending, else a lock for as long as it takes to
//! copy a pointer.
//!
//! **Limits.** [`Pending::MOST`] flows; what is beyond is not learned, and counted by who tries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{Match, TableId};
use packet::Key;

use crate::change::{Basis, Changes, History};
use crate::mac::Epoch;
use crate::ports::BridgeId;
use crate::rule::{Rule, RuleId};

/// Flows of one bridge that are pending.
#[derive(Debug)]
pub struct Pending {
    state: Mutex<State>,
    /// How many have been left here, ever.
    newest: AtomicU64,
    /// How many are here.
    waiting: AtomicU64,
    epoch: Arc<Epoch>,
}

#[derive(Debug, Default)]
struct State {
    rules: Arc<Vec<Arc<Rule>>>,
    history: History,
}

impl Pending {
    /// The most flows that may be pending in a bridge.
    pub const MOST: usize = 1024;

    /// Nothing is pending; what is learned advances `epoch`.
    pub(crate) fn new(epoch: Arc<Epoch>) -> Self {
        let (newest, waiting) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { state: Mutex::default(), newest, waiting, epoch }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it; and if so, a whole list is in it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any flow is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// All that are pending, as they are now; `None` if none is.
    pub fn rules(&self) -> Option<Arc<Vec<Arc<Rule>>>> {
        (!self.is_empty()).then(|| Arc::clone(&self.state().rules))
    }

    /// Leaves a flow here, in place of one with the same match and priority. Answers whether there
    /// was room.
    pub(crate) fn add(&self, bridge: BridgeId, rule: Arc<Rule>) -> bool {
        let mut state = self.state();
        let rules = Arc::make_mut(&mut state.rules);
        rules.retain(|other| !is_same(other, &rule));
        if rules.len() >= Self::MOST {
            return false;
        }
        let mut changes = Changes::default();
        changes.rule(bridge, rule.table, &rule.matching(), rule.mask.hash());
        rules.push(rule);
        self.waiting.store(rules.len() as u64, Ordering::Release);
        state.history.push(changes);
        self.newest.store(state.history.newest(), Ordering::Release);
        drop(state);
        self.epoch.advance();
        true
    }

    /// Takes out those that the tables have by now.
    pub fn remove(&self, taken: &[RuleId]) {
        let mut state = self.state();
        let rules = Arc::make_mut(&mut state.rules);
        rules.retain(|rule| !taken.contains(&rule.id));
        self.waiting.store(rules.len() as u64, Ordering::Release);
    }

    /// How many flows have been left here, ever.
    pub(crate) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Whether a flow that was left here since there had been so many affects a program on this
    /// basis.
    pub(crate) fn affects(&self, since: u64, basis: &Basis, key: &Key, mask: &Key) -> bool {
        self.newest() != since && self.state().history.affects(since, basis, key, mask)
    }
}

/// The flow of exactly this match and priority.
pub(crate) fn find<'a>(
    rules: &'a [Arc<Rule>],
    table: TableId,
    matching: &Match,
    priority: u16,
) -> Option<&'a Arc<Rule>> {
    let is = |rule: &&Arc<Rule>| {
        rule.table == table && rule.priority == priority && rule.matching() == *matching
    };
    rules.iter().find(is)
}

fn is_same(one: &Rule, other: &Rule) -> bool {
    one.table == other.table && one.priority == other.priority && one.matching() == other.matching()
}
