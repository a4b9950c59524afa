//! The order of flows that somebody asks for: `dump-flows --sort`, `--rsort`.

use std::cmp::Ordering;

use api::{Field, FlowMod};

use crate::cli::Key;

/// By what to sort, and whether from the highest on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Criterion {
    pub(crate) key: Key,
    pub(crate) falling: bool,
}

/// Compares flows by all criteria, one after the other. What does not match a field comes behind
/// whatever does.
pub(crate) fn compare(criteria: &[Criterion], a: &FlowMod, b: &FlowMod) -> Ordering {
    let each = criteria.iter().map(|Criterion { key, falling }| {
        let turned = |order: Ordering| if *falling { order.reverse() } else { order };
        match key {
            Key::Priority => turned(a.priority.cmp(&b.priority)),
            Key::Field(field) => match (value(*field, a), value(*field, b)) {
                (Some(a), Some(b)) => turned(a.cmp(&b)),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
        }
    });
    each.fold(Ordering::Equal, Ordering::then)
}

/// What a flow matches in a field: bits that it leaves open are zero.
fn value(field: Field, flow: &FlowMod) -> Option<u128> {
    let (span, matching) = (field.span(), &flow.matching);
    let is_there = matching.require(field).is_ok();
    (is_there && matching.mask().get(span) != 0).then(|| matching.key().get(span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse_key;

    const FLOWS: [&str; 6] = [
        "priority=7,udp,actions=output:1",
        "priority=7,ip,nw_src=10.0.0.0/8,actions=output:1",
        "priority=5,tcp,tp_dst=80,actions=output:1",
        "priority=5,tcp,tp_dst=8,actions=output:1",
        "priority=1,actions=output:1",
        "table=2,priority=7,tcp,tp_dst=22,actions=output:1",
    ];

    /// Which flows come in which order; a `-` in front is for the other way.
    fn sorted(keys: &[&str]) -> Vec<usize> {
        let criteria: Vec<_> = keys
            .iter()
            .map(|key| Criterion {
                key: parse_key(key.trim_start_matches('-')).unwrap(),
                falling: key.starts_with('-'),
            })
            .collect();
        let flows = FLOWS.map(|flow| api::text::line(flow, &api::NoNames).unwrap());
        let mut order: Vec<usize> = (0..FLOWS.len()).collect();
        order.sort_by(|a, b| compare(&criteria, &flows[*a], &flows[*b]));
        order
    }

    /// As ovs-ofctl 3.1 has these flows.
    #[test]
    fn flows_stand_in_the_order_of_ovs() {
        assert_eq!(sorted(&["priority"]), [4, 2, 3, 0, 1, 5]);
        assert_eq!(sorted(&["-priority"]), [0, 1, 5, 2, 3, 4]);
        assert_eq!(sorted(&["tcp_dst"]), [3, 5, 2, 0, 1, 4]);
        assert_eq!(sorted(&["-tcp_dst"]), [2, 5, 3, 0, 1, 4]);
        assert_eq!(sorted(&["nw_proto", "-tcp_dst"]), [2, 5, 3, 0, 1, 4]);
        assert_eq!(sorted(&["tcp_dst", "priority"]), [3, 5, 2, 4, 0, 1]);
        assert_eq!(sorted(&["-nw_src"])[0], 1);
        assert!(parse_key("foo").is_err());
    }
}
