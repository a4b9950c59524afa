//! Tuples that rules of different masks share (tuple merging: Daly, Bruschi, Linguaglossa, Pontarelli,
//! Rossi, Tollet, Torng, Yourtchenko: TupleMerge, IEEE/ACM Transactions on Networking 2019).
//!
//! An access list of a hundred thousand rules has thousands of masks: nearly each pair of prefix
//! lengths, times the masks of its ports. To look a packet up in thousands of tuples takes longer
//! than all else. So beyond the first few masks of a table, rules that match IP addresses go to the
//! tuple of a mask that is *shared*: shorter prefixes, of which there are few, and nothing else. What
//! stands together there is compared rule by rule; where too many do, rules get tuples of their own
//! masks as before.

use std::sync::Arc;

use api::Match;
use packet::Key;

use crate::addresses::FIELDS;
use crate::mask::{Mask, hash_of};
use crate::sorted::{Sorted, Value};

/// Lengths that shared prefixes of IPv4 addresses are multiples of; for IPv6 twice as many.
const STEP: u8 = 8;

/// The bits of the mask that rules of `mask` and of others may share; `None` if they may not.
pub(crate) fn shared(mask: &Mask, lengths: &[u8; FIELDS.len()]) -> Option<Key> {
    // An Ethertype and nothing else before the addresses: such a tuple is passed over without a
    // look into it.
    let is_plain = mask.stage(0).is_empty() && mask.stage(1) == [1] && mask.bits()[1] == 0xffff;
    if !is_plain || *lengths == [0; FIELDS.len()] {
        return None;
    }
    let mut bits = Key::ZERO;
    bits.set_all(Key::ETH_TYPE);
    for (span, len) in FIELDS.into_iter().zip(lengths) {
        let step = if span.bits() > 32 { 2 * STEP } else { STEP };
        let len = len / step * step;
        if len > 0 {
            bits.set_all(span.slice(span.bits() - len, len));
        }
    }
    (bits != *mask.bits() || mask.ranged() != [false; 2]).then_some(bits)
}

/// What a tuple of these bits is found by.
pub(crate) fn hash_of_shared(bits: &Key) -> u64 {
    hash_of(bits, [false; 2])
}

/// The masks of rules that stand in shared tuples, by their hashes.
#[derive(Clone, Debug)]
pub(crate) struct Guests(Sorted<u64, Guest>);

/// A mask, and how many such rules have it.
#[derive(Clone, Debug)]
struct Guest {
    mask: Arc<Mask>,
    rules: u32,
}

impl Value for Guest {}

impl Guests {
    /// None.
    pub(crate) const NONE: Self = Self(Sorted::EMPTY);

    /// The mask of a match, if rules have it.
    pub(crate) fn of(&self, matching: &Match) -> Option<&Arc<Mask>> {
        let guest = self.0.get(Mask::hash_of(matching))?;
        Some(&guest.mask).filter(|mask| mask.is_of(matching))
    }

    /// Whether rules have this mask.
    pub(crate) fn has(&self, mask: &Mask) -> bool {
        self.0.get(mask.hash()).is_some_and(|guest| *guest.mask == *mask)
    }

    /// Whether rules may have it: two masks of one hash cannot be told apart here.
    pub(crate) fn admits(&self, mask: &Mask) -> bool {
        self.0.get(mask.hash()).is_none_or(|guest| *guest.mask == *mask)
    }

    /// Counts a rule of a mask that is admitted.
    pub(crate) fn enter(&mut self, mask: &Arc<Mask>) {
        self.0.insert_with(mask.hash(), |guest| match guest {
            None => Guest { mask: Arc::clone(mask), rules: 1 },
            Some(guest) => Guest { mask: Arc::clone(&guest.mask), rules: guest.rules + 1 },
        });
    }

    /// Forgets a rule of a mask.
    pub(crate) fn leave(&mut self, mask: &Mask) {
        match self.0.get(mask.hash()) {
            None | Some(Guest { rules: 1, .. }) => drop(self.0.remove(mask.hash())),
            Some(guest) => {
                let fewer = Guest { mask: Arc::clone(&guest.mask), rules: guest.rules - 1 };
                self.0.insert(mask.hash(), fewer);
            }
        }
    }

    /// How many rules there are, for tests.
    pub(crate) fn rules(&self) -> usize {
        self.0.iter().map(|(_, guest)| guest.rules as usize).sum()
    }
}
