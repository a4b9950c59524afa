//! Room for a megaflow: the mask it gets, and who goes for it.

use packet::{Key, PortId};

use super::{Gone, MegaflowId, Megaflows, NO_ORIGIN};
use crate::mask_use::MaskId;

/// Why an entry was not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoRoom;

/// A place for a megaflow.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(super) port: PortId,
    pub(super) mask: MaskId,
    pub(super) hash: u64,
}

impl Megaflows {
    /// Finds a place for a megaflow of `port`, by giving up others of the same port if need be:
    /// what each led to is handed to `gone`.
    pub fn make_room(
        &mut self,
        port: PortId,
        looked: &Key,
        key: &Key,
        mut gone: impl FnMut(Gone),
    ) -> Result<Place, NoRoom> {
        let mask = self.mask_for(port, looked)?;
        let hash = self.hash(mask, key);
        // It may be there already, where the packet has met an outdated one first: of two, changes
        // would find only one.
        if let Some(twin) = self.find(mask, hash, None, key) {
            gone(self.remove(twin));
        }
        let own = self.ports.get(port).ok_or(NoRoom)?;
        let has_share = own.flows as usize >= self.entries.len() / 4 * 3;
        let is_full = self.free.is_empty() && self.origins.len() >= self.entries.len();
        if has_share || is_full || self.index.is_crowded(hash) {
            let rivals = self.index.rivals(hash);
            let own = rivals.filter(|rival| self.entries[*rival as usize].port == port.0);
            let oldest =
                own.min_by_key(|rival| self.entries[*rival as usize].used).ok_or(NoRoom)?;
            gone(self.remove(MegaflowId(oldest)));
        }
        Ok(Place { port, mask, hash })
    }

    /// The mask of a megaflow of `port` that depends on the bits of `looked`: these, or, if the port
    /// has many masks, others as well. That is right for fewer packets than it could be, which is
    /// better than for none.
    fn mask_for(&mut self, port: PortId, looked: &Key) -> Result<MaskId, NoRoom> {
        let own = &self.ports.get(port).ok_or(NoRoom)?.masks;
        if own.len() < Self::MASKS - Self::WIDE {
            return self.masks.intern(looked);
        }
        let masks = own.iter().map(|own| own.mask);
        let fit = masks.filter(|mask| self.mask(*mask).has(looked));
        if let Some(closest) = fit.min_by_key(|mask| bits_of(self.mask(*mask).bits())) {
            return Ok(closest);
        }
        let mut wide = *looked;
        // After the last one there is none that does not fit.
        let is_last = own.len() + 1 >= Self::MASKS;
        for word in 0..Key::PACKET_WORDS {
            wide[word] = match is_last {
                true => u64::MAX,
                false => {
                    own.iter().fold(wide[word], |all, own| all | self.mask(own.mask).bits()[word])
                }
            };
        }
        self.masks.intern(&wide)
    }

    /// A place that is not in use.
    pub(super) fn take_number(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let next = u32::try_from(self.origins.len()).ok()?;
            (self.origins.len() < self.entries.len()).then(|| self.origins.push(NO_ORIGIN))?;
            Some(next)
        })
    }
}

/// How many bits a mask has.
fn bits_of(mask: &Key) -> u32 {
    mask.words().iter().map(|word| word.count_ones()).sum()
}
