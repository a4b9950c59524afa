//! What one worker's programs say apart, each thing stored once.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use packet::Seed;

use crate::frozen::{Aside, Frozen};
use crate::program::AsideId;

/// Asides by number, as long as a program or a megaflow uses them.
#[derive(Debug)]
pub struct Asides {
    places: Vec<Option<Place>>,
    by_what: HashTable<u32>,
    free: Vec<u32>,
    seed: Seed,
}

#[derive(Debug)]
struct Place {
    aside: Aside,
    hash: u64,
    users: u32,
}

impl Asides {
    /// The most that one worker has.
    pub const MOST: usize = 4096;

    /// None.
    pub(crate) fn new(seed: Seed) -> Self {
        let by_what = HashTable::with_capacity(Self::MOST);
        Self { places: Vec::new(), by_what, free: Vec::new(), seed }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_what.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_what.is_empty()
    }

    /// What was said.
    pub fn get(&self, AsideId(number): AsideId) -> Option<&Aside> {
        Some(&self.places.get(number as usize)?.as_ref()?.aside)
    }

    /// How a packet goes on.
    pub fn frozen(&self, aside: AsideId) -> Option<&Arc<Frozen>> {
        match self.get(aside)? {
            Aside::Frozen(frozen) => Some(frozen),
            Aside::Show(_) | Aside::Sample(_) => None,
        }
    }

    /// The number of an aside, for one more user; `None` if there is no room. Allocates if it is
    /// new.
    pub(crate) fn intern(&mut self, aside: &Aside) -> Option<AsideId> {
        let mut hasher = self.seed.hasher();
        aside.hash(&mut hasher);
        let hash = hasher.finish();
        let places = &mut self.places;
        let is = |at: &u32| places[*at as usize].as_ref().is_some_and(|at| at.aside == *aside);
        if let Some(number) = self.by_what.find(hash, is).copied() {
            self.retain(AsideId(number));
            return Some(AsideId(number));
        }
        let place = Place { aside: aside.clone(), hash, users: 1 };
        let number = match self.free.pop() {
            Some(number) => number,
            None if places.len() < Self::MOST => {
                places.push(None);
                u32::try_from(places.len() - 1).ok()?
            }
            None => return None,
        };
        places[number as usize] = Some(place);
        let rehash = |at: &u32| places[*at as usize].as_ref().map_or(0, |place| place.hash);
        self.by_what.insert_unique(hash, number, rehash);
        Some(AsideId(number))
    }

    /// One user more.
    pub(crate) fn retain(&mut self, AsideId(number): AsideId) {
        if let Some(Some(place)) = self.places.get_mut(number as usize) {
            place.users += 1;
        }
    }

    /// One user less; without users it is gone.
    pub(crate) fn release(&mut self, AsideId(number): AsideId) {
        let Some(place) = self.places.get_mut(number as usize) else { return };
        let Some(used) = place else { return };
        used.users -= 1;
        if used.users > 0 {
            return;
        }
        if let Ok(entry) = self.by_what.find_entry(used.hash, |at| *at == number) {
            entry.remove();
        }
        *place = None;
        self.free.push(number);
    }
}
