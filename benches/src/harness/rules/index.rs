//! Which rule is the first that a packet meets, without asking all of them.

use std::collections::HashMap;

use crate::harness::rules::headers::Header;
use crate::harness::rules::rule::{Prefix, Rule};

/// Rules by their addresses. It knows nothing of how any switch does it, and is slower than that.
#[derive(Debug)]
pub struct Index<'a> {
    rules: &'a [Rule],
    /// For each pair of prefix lengths, the numbers of the rules by both prefixes, in order.
    tuples: Vec<(Tuple, ByPrefix)>,
}

/// Masks of both addresses.
type Tuple = (u32, u32);
/// Numbers of rules by both prefixes, in order.
type ByPrefix = HashMap<(u32, u32), Vec<usize>>;

impl<'a> Index<'a> {
    /// An index of rules that are in order.
    pub fn new(rules: &'a [Rule]) -> Self {
        let mut tuples: HashMap<Tuple, ByPrefix> = HashMap::new();
        for (number, rule) in rules.iter().enumerate() {
            let Rule { src, dst, .. } = rule;
            let tuple = tuples.entry((Prefix::mask(*src), Prefix::mask(*dst))).or_default();
            tuple.entry((src.address, dst.address)).or_default().push(number);
        }
        Self { rules, tuples: tuples.into_iter().collect() }
    }

    /// The number of the first rule that a packet meets; of rules with one priority, which do not
    /// overlap, there is only one that it could meet.
    pub fn first(&self, header: &Header) -> Option<usize> {
        self.tuples.iter().fold(None, |best, ((src, dst), by_prefix)| {
            let numbers = by_prefix.get(&(header.src & src, header.dst & dst));
            let numbers = numbers.map_or(&[][..], Vec::as_slice).iter().copied();
            let better = numbers.take_while(|number| best.is_none_or(|best| *number < best));
            better.into_iter().find(|number| self.rules[*number].has(header)).or(best)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::rules::list::List;
    use crate::harness::rules::profile::Profile;
    use crate::pktgen::order::Random;

    #[test]
    fn the_first_is_what_a_linear_search_finds() {
        for profile in Profile::ALL {
            let rules = List::new(&profile, 3000, 11).rules;
            let index = Index::new(&rules);
            let mut random = Random::new(1);
            for _ in 0..2000 {
                let header = rules[random.below(rules.len())].draw(&mut random);
                let linear = rules.iter().position(|rule| rule.has(&header));
                assert!(linear.is_some());
                assert_eq!(index.first(&header), linear);
            }
        }
    }
}
