//! What the megaflows of one mask on one port have in common: most changes concern none of them, and
//! most of the others just one, which is found by its hash.

use packet::Key;

use crate::change::{Basis, Change, join};

/// The megaflows of one mask on one port, as far as a change needs to know them.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// What all of them say, zero outside of `mask`.
    key: Key,
    /// Where all of them say the same.
    mask: Key,
    /// All that any of them rests on.
    basis: Basis,
}

/// Which of a family a change concerns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it goes no further than to who has asked")]
pub(crate) enum Concerned {
    /// None.
    None,
    /// That of this key, if there is one.
    One(Key),
    /// Whoever it may be.
    Any,
}

impl Family {
    /// A family of one.
    pub(crate) fn of(key: &Key, mask: &Key, basis: &Basis) -> Self {
        let mut family = Self { key: *key, mask: *mask, basis: *basis };
        join(&mut family.key, &mut family.mask, key, mask);
        family
    }

    /// Adds a megaflow of this key, which rests on `basis`.
    pub(crate) fn add(&mut self, key: &Key, basis: &Basis) {
        let Self { key: own, mask, .. } = self;
        let all = *mask;
        join(own, mask, key, &all);
        self.rest_on(basis);
    }

    /// Notes that one of them rests on something else now.
    pub(crate) fn rest_on(&mut self, basis: &Basis) {
        self.basis.join(basis);
    }

    /// Which of them, whose mask is `mask`, a change concerns. Never wrong with less.
    pub(crate) fn concerned(&self, change: &Change, mask: &Key) -> Concerned {
        if !change.affects(&self.basis, &self.key, &self.mask) {
            return Concerned::None;
        }
        let Change::Rules { key: theirs, mask: bits, .. } = change else { return Concerned::Any };
        // A key of which every bit is known is that of one of them.
        let mut key = self.key;
        for word in 0..Key::PACKET_WORDS {
            let bits = if self.basis.has_rewritten(word) { 0 } else { bits[word] };
            if mask[word] & !(self.mask[word] | bits) != 0 {
                return Concerned::Any;
            }
            key[word] = (key[word] & !bits) | (theirs[word] & bits);
        }
        Concerned::One(key)
    }
}

/// The families of a worker's megaflows, by number.
#[derive(Debug)]
pub(crate) struct Families {
    /// The first so many numbers have been in use.
    families: Vec<Family>,
    free: Vec<FamilyId>,
}

/// The number of a family; [`FamilyId::NONE`] stands for one that nothing is known of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FamilyId(u16);

impl FamilyId {
    /// Of a family that there was no room for.
    pub(crate) const NONE: Self = Self(u16::MAX);
}

impl Families {
    /// The most that anything is known of.
    const MOST: usize = 4096;

    /// None yet. Memory is taken as it is touched.
    pub(crate) fn new() -> Self {
        Self { families: Vec::with_capacity(Self::MOST), free: Vec::with_capacity(Self::MOST) }
    }

    /// Bytes of what has been in use at some time.
    pub(crate) const fn bytes(&self) -> usize {
        self.families.len() * (size_of::<Family>() + size_of::<FamilyId>())
    }

    /// Adds a family.
    pub(crate) fn add(&mut self, family: Family) -> FamilyId {
        if let Some(free) = self.free.pop() {
            self.families[usize::from(free.0)] = family;
            return free;
        }
        match u16::try_from(self.families.len()) {
            Ok(next) if self.families.len() < Self::MOST => {
                self.families.push(family);
                FamilyId(next)
            }
            _ => FamilyId::NONE,
        }
    }

    /// A family, if anything is known of it.
    pub(crate) fn get(&self, id: FamilyId) -> Option<&Family> {
        self.families.get(usize::from(id.0))
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: FamilyId) -> Option<&mut Family> {
        self.families.get_mut(usize::from(id.0))
    }

    /// Forgets a family.
    pub(crate) fn remove(&mut self, id: FamilyId) {
        if id != FamilyId::NONE {
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;
    use crate::ports::BridgeId;
    use api::Match;
    use api::testing::any_match;
    use proptest::prelude::*;

    const BRIDGE: BridgeId = BridgeId(0);

    fn basis(rewritten: u64) -> Basis {
        let mut basis = Basis { bridge: Some(BRIDGE), rewritten, ..Basis::NOTHING };
        basis.note(0);
        basis
    }

    fn change(matching: &Match) -> Change {
        let (key, mask) = (*matching.key(), *matching.mask());
        Change::Rules { bridge: BRIDGE, table: 0, key, mask }
    }

    fn masked(key: &Key, mask: &Key) -> Key {
        let mut key = *key;
        key.words_mut().iter_mut().zip(mask.words()).for_each(|(word, bits)| *word &= bits);
        key
    }

    fn looked(matching: &Match) -> Key {
        let mut looked = *matching.mask();
        looked.words_mut()[Key::PACKET_WORDS..].fill(0);
        looked
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whomever a change concerns by itself it concerns as one of its family.
        #[test]
        fn nobody_who_is_concerned_is_passed_over(
            keys in prop::collection::vec((testnet::packets::any_key(), prop_oneof![Just(0), any::<u64>()]), 1..8),
            mask in any_match(),
            changed in any_match(),
        ) {
            let looked = looked(&mask);
            let mut members = keys.iter().map(|(key, rewritten)| (masked(key, &looked), basis(*rewritten)));
            let (first, rests) = members.next().unwrap();
            let mut family = Family::of(&first, &looked, &rests);
            members.for_each(|(key, basis)| family.add(&key, &basis));
            for changed in [change(&changed), change(&mask), change(&Match::ANY)] {
                let concerned = family.concerned(&changed, &looked);
                for (key, rewritten) in &keys {
                    let key = masked(key, &looked);
                    if changed.affects(&basis(*rewritten), &key, &looked) {
                        match concerned {
                            Concerned::None => prop_assert!(false, "{key:?} is concerned"),
                            Concerned::One(one) => {
                                prop_assert!(Mask::new(looked).values(&one).eq(Mask::new(looked).values(&key)));
                            }
                            Concerned::Any => {}
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_change_of_the_same_mask_concerns_one_and_one_for_others_nobody() {
        let to = |host: u32| Key::ZERO.with(Key::ETH_TYPE, 0x800u16).with(Key::NW_DST, host);
        let mask = Key::ZERO.with(Key::ETH_TYPE, 0xffffu16).with(Key::NW_DST, u32::MAX);
        let rule = |key: Key, mask: Key| Change::Rules { bridge: BRIDGE, table: 0, key, mask };
        let mut family = Family::of(&to(0x0a00_0001), &mask, &basis(0));
        (2..9).for_each(|host| family.add(&to(0x0a00_0000 + host), &basis(0)));
        let concerned = |change: &Change| family.concerned(change, &mask);
        assert_eq!(concerned(&rule(to(0x0a00_0007), mask)), Concerned::One(to(0x0a00_0007)));
        assert_eq!(concerned(&rule(to(0x0b00_0007), mask)), Concerned::None);
        let any_host = Key::ZERO.with(Key::ETH_TYPE, 0xffffu16);
        assert_eq!(
            concerned(&rule(Key::ZERO.with(Key::ETH_TYPE, 0x806u16), any_host)),
            Concerned::None
        );
        assert_eq!(concerned(&rule(masked(&to(0), &any_host), any_host)), Concerned::Any);
        assert_eq!(concerned(&Change::Everything), Concerned::Any);
        assert_eq!(concerned(&Change::Group { bridge: BRIDGE, number: 1 }), Concerned::None);
        family.rest_on(&basis(1 << Key::NW_DST.word()));
        assert_eq!(
            family.concerned(&rule(to(0x0b00_0007), mask), &mask),
            Concerned::Any,
            "it was rewritten"
        );
    }
}
