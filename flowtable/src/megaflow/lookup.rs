//! How a packet's megaflow is found: one mask after the other, or for many packets by one mask at once.

use packet::memory::prefetch;
use packet::{Key, PortId, Seed};

use super::{IN_FIRST_LINE, MegaflowId, Megaflows};
use crate::mask_use::MaskId;
use crate::port_use::PortUse;

impl Megaflows {
    /// The hash of what `key` has under a mask.
    #[inline]
    pub fn hash(&self, mask: MaskId, key: &Key) -> u64 {
        self.seed_of(mask).hash(self.mask(mask).values(key))
    }

    /// Masks with equal values hash differently.
    #[inline]
    const fn seed_of(&self, mask: MaskId) -> Seed {
        Seed(self.seed.0 ^ (mask.0 as u64) << 48)
    }

    /// The hashes of what some keys have under a mask, and the fetching of what
    /// [`Megaflows::guess_all`] needs.
    #[inline]
    pub fn hash_all(&self, mask: MaskId, keys: &[Key], hashes: &mut [u64]) {
        let seed = self.seed_of(mask);
        self.mask(mask).hash_all(seed, keys, hashes);
        hashes[..keys.len()].iter().for_each(|hash| self.index.prefetch(*hash));
    }

    /// The megaflows that packets with these hashes most likely agree with, which are fetched.
    #[inline]
    pub fn guess_all(&self, mask: MaskId, hashes: &[u64], guesses: &mut [Option<MegaflowId>]) {
        let is_long = self.mask(mask).words().len() > IN_FIRST_LINE;
        for (guess, hash) in guesses.iter_mut().zip(hashes) {
            *guess = self.index.guess(*hash).map(MegaflowId);
            if let Some(MegaflowId(guess)) = *guess {
                let entry = &self.entries[guess as usize];
                prefetch(entry);
                if is_long {
                    prefetch(&entry.values[IN_FIRST_LINE]);
                }
            }
        }
    }

    /// Which of some packets agree with their guesses, which are then what [`Megaflows::find`] finds.
    #[inline]
    pub fn agree_each(
        &self,
        mask: MaskId,
        keys: &[Key],
        guesses: &[Option<MegaflowId>],
        agreed: &mut [bool],
    ) {
        let values = guesses.iter().map(|guess| {
            let entry = &self.entries[(*guess)?.0 as usize];
            (entry.mask == mask.0 && entry.serial != 0).then_some(&entry.values)
        });
        self.mask(mask).agree_each(keys, values, agreed);
    }

    /// The megaflow of this mask that the packet agrees with, looked for first where the guess
    /// says.
    #[inline]
    pub fn find(
        &self,
        mask: MaskId,
        hash: u64,
        guess: Option<MegaflowId>,
        key: &Key,
    ) -> Option<MegaflowId> {
        if let Some(guess) = guess
            && self.agrees(guess, mask, key)
        {
            return Some(guess);
        }
        self.index.find(hash, |entry| self.agrees(MegaflowId(entry), mask, key)).map(MegaflowId)
    }

    /// Whether `flow` is a megaflow of this mask and the packet agrees with it.
    #[inline]
    pub fn agrees(&self, flow: MegaflowId, mask: MaskId, key: &Key) -> bool {
        let entry = &self.entries[flow.0 as usize];
        entry.mask == mask.0 && entry.serial != 0 && self.mask(mask).agrees(key, &entry.values)
    }

    /// Whether `flow` is a megaflow of this mask and all these packets agree with it.
    #[inline]
    pub fn all_agree(&self, flow: MegaflowId, mask: MaskId, keys: &[Key]) -> bool {
        let entry = &self.entries[flow.0 as usize];
        entry.mask == mask.0 && entry.serial != 0 && self.mask(mask).all_agree(keys, &entry.values)
    }

    /// The megaflow that a packet of `port` agrees with, by whatever mask.
    pub fn lookup(&mut self, port: PortId, key: &Key) -> Option<MegaflowId> {
        let PortUse { masks, met, .. } = self.ports.get(port)?;
        // Behind most passes, one megaflow is for nearly all.
        if self.is_met(*met, port, key) {
            return Some(MegaflowId(*met));
        }
        let masks = masks.len();
        for at in 0..masks {
            let mask = self.ports.get(port)?.masks[at].mask;
            if let Some(found) = self.find(mask, self.hash(mask, key), None, key) {
                let uses = self.ports.get_mut(port)?;
                uses.met = found.0;
                // A step towards the front: masks settle in the order of their hits.
                if at > 0 {
                    uses.masks.swap(at - 1, at);
                }
                return Some(found);
            }
        }
        None
    }

    /// Whether a megaflow of this port is at a place, and the packet agrees with it.
    #[inline]
    fn is_met(&self, place: u32, port: PortId, key: &Key) -> bool {
        self.entries.get(place as usize).is_some_and(|entry| {
            let is_its = entry.port == port.0 && entry.serial != 0;
            is_its && self.mask(MaskId(entry.mask)).agrees(key, &entry.values)
        })
    }
}
