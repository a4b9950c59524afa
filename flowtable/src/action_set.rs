//! Lists of actions, and action sets: in which order they are carried out.

use api::Action;

/// Actions that are carried out one after the other.
#[derive(Clone, Debug)]
pub(crate) enum List<'a> {
    /// Those of a flow or a bucket.
    Slice(std::slice::Iter<'a, Action>),
    /// Those of an action set, which come from several flows.
    Set(std::vec::IntoIter<&'a Action>),
}

impl<'a> List<'a> {
    /// All of `actions`.
    pub(crate) fn of(actions: &'a [Action]) -> Self {
        Self::Slice(actions.iter())
    }
}

impl<'a> From<Vec<&'a Action>> for List<'a> {
    fn from(actions: Vec<&'a Action>) -> Self {
        Self::Set(actions.into_iter())
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a Action;

    #[inline]
    fn next(&mut self) -> Option<&'a Action> {
        match self {
            Self::Slice(actions) => actions.next(),
            Self::Set(actions) => actions.next(),
        }
    }
}

/// What an action set does, in the order of OpenFlow (1.5 §5.6) and Open vSwitch: of each kind the
/// last that was written, all that write fields in the order in which they came, and of those that
/// lead somewhere the first kind there is. A set that leads nowhere does nothing.
pub(crate) fn in_order<'a>(set: &[&'a Action]) -> Vec<&'a Action> {
    let last = |is: fn(&Action) -> bool| set.iter().rev().find(|action| is(action)).copied();
    let ways: [fn(&Action) -> bool; 5] = [
        |action| matches!(action, Action::Group(_)),
        |action| matches!(action, Action::Output(_)),
        |action| matches!(action, Action::Resubmit { .. }),
        |action| matches!(action, Action::CtClear),
        |action| matches!(action, Action::Ct(_)),
    ];
    let Some(way) = ways.into_iter().find_map(last) else { return Vec::new() };
    let singles: [fn(&Action) -> bool; 3] = [
        |action| matches!(action, Action::PopVlan),
        |action| matches!(action, Action::PushVlan(_)),
        |action| matches!(action, Action::DecTtl(_)),
    ];
    let mut ordered: Vec<_> = singles.into_iter().filter_map(last).collect();
    ordered.extend(set.iter().copied().filter(|action| writes_fields(action)));
    ordered.extend(last(|action| matches!(action, Action::SetQueue(_))));
    ordered.push(way);
    ordered
}

const fn writes_fields(action: &Action) -> bool {
    matches!(
        action,
        Action::SetField { .. }
            | Action::Move { .. }
            | Action::ModVlanVid(_)
            | Action::ModVlanPcp(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::OutPort;

    #[test]
    fn a_group_goes_before_an_output_and_each_kind_counts_once() {
        let actions = [
            Action::Output(OutPort::Port(2)),
            Action::PushVlan(0x8100),
            Action::SetQueue(1),
            Action::ModVlanVid(7),
            Action::Group(3),
            Action::SetQueue(2),
            Action::PopVlan,
        ];
        let set: Vec<_> = actions.iter().collect();
        let ordered = in_order(&set);
        let expected = [6, 1, 3, 5, 4].map(|n: usize| &actions[n]);
        assert_eq!(ordered, expected);
        assert_eq!(in_order(&set[..1]), [&actions[0]]);
        assert!(in_order(&set[1..4]).is_empty(), "it leads nowhere");
        let (ct, resubmit) =
            (Action::Ct(Box::default()), Action::Resubmit { in_port: None, table: None });
        assert_eq!(in_order(&[&ct, &actions[3]]), [&actions[3], &ct]);
        assert_eq!(in_order(&[&ct, &resubmit]), [&resubmit]);
        assert_eq!(in_order(&[&Action::CtClear, &ct]), [&Action::CtClear], "as Open vSwitch does");
    }
}
