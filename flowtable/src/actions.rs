//! Lists of actions, of which rules with equal ones share one.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use api::Action;
use packet::Seed;

use crate::sorted::{Sorted, Value};

/// All lists in use, by their hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists(Sorted<u64, List>);

#[derive(Clone, Debug)]
struct List {
    actions: Arc<[Action]>,
    users: u64,
}

impl Value for List {}

/// Lists are the operator's, so that their hash needs no seed.
fn hash(actions: &[Action]) -> u64 {
    let mut hasher = Seed(0).hasher();
    actions.hash(&mut hasher);
    hasher.finish()
}

impl Lists {
    /// The shared list that is equal to `actions`, for one more user.
    pub(crate) fn share(&mut self, actions: &[Action]) -> Arc<[Action]> {
        let mut shared = None;
        self.0.insert_with(hash(actions), |known| {
            let list = match known {
                Some(known) if *known.actions == *actions => {
                    List { users: known.users + 1, ..known.clone() }
                }
                // Another list with this hash, which remains the one that is shared.
                Some(other) => return other.clone(),
                None => List { actions: actions.into(), users: 1 },
            };
            shared = Some(Arc::clone(&list.actions));
            list
        });
        shared.unwrap_or_else(|| actions.into())
    }

    /// One user less of a list.
    pub(crate) fn release(&mut self, actions: &Arc<[Action]>) {
        let hash = hash(actions);
        match self.0.get(hash) {
            Some(known) if Arc::ptr_eq(&known.actions, actions) => match known.users {
                0 | 1 => drop(self.0.remove(hash)),
                users => self.0.insert(hash, List { users: users - 1, ..known.clone() }),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::OutPort;

    #[test]
    fn equal_lists_are_one_for_as_long_as_somebody_has_it() {
        let mut lists = Lists::default();
        let to = |port| [Action::Output(OutPort::Port(port))];
        let (first, second) = (lists.share(&to(1)), lists.share(&to(1)));
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &lists.share(&to(2))));
        lists.release(&first);
        assert!(Arc::ptr_eq(&first, &lists.share(&to(1))), "one user was left");
        lists.release(&first);
        lists.release(&first);
        lists.release(&Arc::from(to(2)));
        assert_eq!(lists.0.iter().count(), 1, "a list that was never shared has no users");
    }
}
