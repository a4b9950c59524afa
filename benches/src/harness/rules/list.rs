//! A list of rules, in order.

use std::collections::HashSet;

use crate::harness::rules::ports::{PortClass, PortMask, masks};
use crate::harness::rules::profile::{ICMP, Profile, pick};
use crate::harness::rules::rule::{Prefix, Rule};
use crate::harness::rules::tree::Tree;
use crate::pktgen::order::Random;

/// Rules, the first ones before those behind them.
#[derive(Clone, Debug)]
pub struct List {
    /// Each is one flow of a switch: a line with ranges of ports became as many as it took.
    pub rules: Vec<Rule>,
    /// How many lines they come from.
    pub lines: usize,
}

/// The highest priority.
const FIRST: u16 = 65_000;
/// How many priorities a list may use.
const PRIORITIES: usize = 60_000;

impl List {
    /// A list of `count` rules. The same seed gives the same list.
    pub fn new(profile: &Profile, count: usize, seed: u64) -> Self {
        let mut draft = Draft::new(profile, seed);
        let (mut rules, mut lines) = (Vec::with_capacity(count), 0);
        // A switch has 65536 priorities, and the list perhaps more lines: lines that do not overlap
        // may have one together. At most so many do, that there are enough for all.
        let most = count.div_ceil(PRIORITIES / 2);
        let (mut priority, mut begun, mut together) = (FIRST, 0, 0);
        while rules.len() < count && priority > 1 {
            let line = draft.line();
            let overlaps = |rule: &Rule| line.iter().any(|new| new.overlaps(rule));
            if together == most || rules[begun..].iter().any(overlaps) {
                (priority, begun, together) = (priority - 1, rules.len(), 0);
            }
            let room = count - rules.len();
            rules.extend(line.into_iter().take(room).map(|rule| Rule { priority, ..rule }));
            (together, lines) = (together + 1, lines + 1);
        }
        Self { rules, lines }
    }
}

/// Where lines come from.
struct Draft<'a> {
    profile: &'a Profile,
    random: Random,
    sources: Tree,
    destinations: Tree,
    /// Lines there have been: a second one like them would never be met.
    known: HashSet<Line>,
}

/// Source, destination, protocol, and both ranges of ports.
type Line = (Prefix, Prefix, Option<u8>, [(u16, u16); 2]);

impl<'a> Draft<'a> {
    fn new(profile: &'a Profile, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let [branching, others] = profile.branching;
        let [skew, other] = profile.skew;
        let sources = Tree { seed: random.number(), branching, skew };
        let destinations = Tree { seed: random.number(), branching: others, skew: other };
        Self { profile, random, sources, destinations, known: HashSet::new() }
    }

    /// A new line, as rules of one priority that do not overlap.
    fn line(&mut self) -> Vec<Rule> {
        loop {
            let random = &mut self.random;
            let any = [(0, 0); 2];
            let [src_len, dst_len] = pick(self.profile.prefixes, random).unwrap_or(any);
            let mut prefix = |tree: &Tree, (least, most): (u8, u8)| {
                let len = least + below(random, most - least + 1);
                Prefix { address: tree.draw(len, random), len }
            };
            let (src, dst) = (prefix(&self.sources, src_len), prefix(&self.destinations, dst_len));
            let protocol = pick(self.profile.protocols, random).unwrap_or_default();
            let classes = match protocol {
                None | Some(ICMP) => None,
                Some(_) => pick(self.profile.ports, random),
            };
            let classes = classes.unwrap_or([PortClass::Wildcard; 2]);
            let ports = classes.map(|class| class.draw(random));
            // A list says something about whatever it does not name; ours says that by its end.
            let says_nothing = src.len == 0 && dst.len == 0 && classes == [PortClass::Wildcard; 2];
            if !says_nothing && self.known.insert((src, dst, protocol, ports)) {
                return expand(src, dst, protocol, ports);
            }
        }
    }
}

/// One rule for each pair of masks.
fn expand(src: Prefix, dst: Prefix, protocol: Option<u8>, ports: [(u16, u16); 2]) -> Vec<Rule> {
    let [from, to] = ports.map(|(first, last)| masks(first, last));
    let rule = |src_port: PortMask, dst_port: PortMask| Rule {
        priority: 0,
        src,
        dst,
        protocol,
        src_port,
        dst_port,
    };
    from.iter().flat_map(|from| to.iter().map(move |to| rule(*from, *to))).collect()
}

fn below(random: &mut Random, end: u8) -> u8 {
    u8::try_from(random.below(usize::from(end))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::rules::profile::{TCP, UDP};
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_one_list() {
        let list = |seed| List::new(&Profile::IPC1, 2000, seed).rules;
        assert_eq!(list(1), list(1));
        assert_ne!(list(1), list(2));
    }

    #[test]
    fn rules_of_one_priority_do_not_overlap_and_priorities_fall() {
        for profile in Profile::ALL {
            for count in [1000, 70_000] {
                let list = List::new(&profile, count, 7);
                assert_eq!(list.rules.len(), count);
                assert!(list.rules.is_sorted_by(|a, b| a.priority >= b.priority));
                for same in list.rules.chunk_by(|a, b| a.priority == b.priority) {
                    for (at, rule) in same.iter().enumerate() {
                        assert!(!same[..at].iter().any(|other| rule.overlaps(other)), "{rule:?}");
                    }
                }
            }
        }
    }

    /// How many of a thousand rules are so.
    fn share(list: &List, is_so: impl Fn(&Rule) -> bool) -> usize {
        1000 * list.rules.iter().filter(|rule| is_so(rule)).count() / list.rules.len()
    }

    #[test]
    fn lists_are_of_their_kind() {
        let [acl, fw, ipc] = Profile::ALL.map(|profile| List::new(&profile, 20_000, 7));
        let any_address = |rule: &Rule| rule.src.len == 0 || rule.dst.len == 0;
        assert!(share(&acl, any_address) < 100, "{}", share(&acl, any_address));
        assert!(share(&fw, any_address) > 500, "{}", share(&fw, any_address));
        assert!((100..400).contains(&share(&ipc, any_address)), "{}", share(&ipc, any_address));
        let to_host = |rule: &Rule| rule.dst.len == 32;
        assert!(share(&acl, to_host) > 600, "{}", share(&acl, to_host));
        let of = |protocol| move |rule: &Rule| rule.protocol == Some(protocol);
        assert!(share(&acl, of(TCP)) > 2 * share(&fw, of(UDP)));
        for list in [acl, fw, ipc] {
            assert!(list.lines > list.rules.len() / 20, "{} lines", list.lines);
            let tuple =
                |rule: &Rule| (rule.src.len, rule.dst.len, rule.src_port.mask, rule.dst_port.mask);
            let tuples: BTreeSet<_> = list.rules.iter().map(tuple).collect();
            assert!(tuples.len() > 100, "{} tuples", tuples.len());
        }
    }

    #[test]
    fn ports_are_named_only_where_there_are_ports() {
        for profile in Profile::ALL {
            for rule in List::new(&profile, 5000, 3).rules {
                let any = rule.src_port == PortMask::ANY && rule.dst_port == PortMask::ANY;
                assert!(any || matches!(rule.protocol, Some(TCP | UDP)), "{rule:?}");
            }
        }
    }
}
