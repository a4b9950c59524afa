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
//! **Order.** What a walk teaches is left here only if nothing has been left meanwhile that the walk
//! might have met; else the packet is walked again. So of two packets that learn the same at once,
//! by two workers, one comes after the other.
//!
//! **Limits.** [`Pending::MOST`] flows; what is beyond is not learned, and counted by who tries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{Match, TableId};
use packet::Key;

use crate::change::{Basis, Changes};
use crate::history::History;
use crate::mac::Epoch;
use crate::ports::BridgeId;
use crate::rule::Rule;

/// Flows of one bridge that are pending.
#[derive(Debug)]
pub struct Pending {
    state: Mutex<State>,
    /// How often some have been left here.
    newest: AtomicU64,
    /// How many are here.
    waiting: AtomicU64,
    epoch: Arc<Epoch>,
}

/// A walk, as far as flows matter to it that others teach meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walked<'a> {
    /// How often flows had been left here when it began.
    pub(crate) since: u64,
    /// What it rests on.
    pub(crate) basis: &'a Basis,
    /// The packet.
    pub(crate) key: &'a Key,
    /// What it looked at.
    pub(crate) mask: &'a Key,
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

    /// Leaves flows here that a walk has taught, each in place of one with the same match and
    /// priority. Answers how many there was room for; `None` if others have been left here since it
    /// began that it might have met: nothing has changed then, and it has to be walked again.
    pub(crate) fn add(
        &self,
        bridge: BridgeId,
        taught: &[Arc<Rule>],
        walk: Walked<'_>,
    ) -> Option<usize> {
        let mut state = self.state();
        let Walked { since, basis, key, mask } = walk;
        if state.history.newest() != since && state.history.affects(since, basis, key, mask) {
            return None;
        }
        let (mut changes, mut added) = (Changes::default(), 0);
        let rules = Arc::make_mut(&mut state.rules);
        for rule in taught {
            rules.retain(|other| !is_same(other, rule));
            if rules.len() >= Self::MOST {
                continue;
            }
            changes.rule(bridge, rule.table, &rule.matching(), rule.mask.hash());
            rules.push(Arc::clone(rule));
            added += 1;
        }
        self.waiting.store(rules.len() as u64, Ordering::Release);
        state.history.push(changes);
        self.newest.store(state.history.newest(), Ordering::Release);
        drop(state);
        self.epoch.advance();
        Some(added)
    }

    /// Takes out those that the tables have by now. One that was taught anew meanwhile stays.
    pub fn remove(&self, taken: &[Arc<Rule>]) {
        let mut state = self.state();
        let rules = Arc::make_mut(&mut state.rules);
        rules.retain(|rule| !taken.iter().any(|taken| Arc::ptr_eq(taken, rule)));
        self.waiting.store(rules.len() as u64, Ordering::Release);
    }

    /// How often flows have been left here.
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
