//! The masks that the megaflows of a worker have, by number.

use packet::{Key, Seed};

use crate::mask::Mask;
use crate::megaflow::NoRoom;

/// The number of a mask of one worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaskId(pub(crate) u16);

/// The masks in use. One that is not stays until its number is needed.
#[derive(Debug)]
pub(crate) struct MaskUses {
    masks: Vec<MaskUse>,
    seed: Seed,
}

/// A mask and how many megaflows have it.
#[derive(Debug)]
struct MaskUse {
    mask: Mask,
    hash: u64,
    users: u32,
}

impl MaskUses {
    /// Most masks in use at all.
    pub(crate) const MOST: usize = 4096;

    /// None.
    pub(crate) fn new(seed: Seed) -> Self {
        Self { masks: Vec::with_capacity(Self::MOST), seed }
    }

    /// Bytes of what has been in use at some time.
    pub(crate) const fn bytes(&self) -> usize {
        self.masks.len() * size_of::<MaskUse>()
    }

    /// How many have users. Cost: a look at each that ever had.
    pub(crate) fn in_use(&self) -> usize {
        self.masks.iter().filter(|mask| mask.users > 0).count()
    }

    /// A mask.
    #[inline]
    pub(crate) fn get(&self, mask: MaskId) -> &Mask {
        &self.masks[usize::from(mask.0)].mask
    }

    /// The number of the mask of these bits, which may have no users yet.
    pub(crate) fn intern(&mut self, bits: &Key) -> Result<MaskId, NoRoom> {
        let hash = self.seed.hash(bits.words().iter().copied());
        let is_it = |known: &MaskUse| known.hash == hash && known.mask.bits() == bits;
        let unused = || self.masks.iter().position(|known| known.users == 0);
        let new = || MaskUse { mask: Mask::new(*bits), hash, users: 0 };
        let at = match self.masks.iter().position(is_it) {
            Some(known) => known,
            None => match unused() {
                Some(unused) => {
                    self.masks[unused] = new();
                    unused
                }
                None if self.masks.len() < Self::MOST => {
                    self.masks.push(new());
                    self.masks.len() - 1
                }
                None => return Err(NoRoom),
            },
        };
        u16::try_from(at).map(MaskId).map_err(|_wide| NoRoom)
    }

    /// One megaflow more has it.
    pub(crate) fn enter(&mut self, mask: MaskId) {
        self.masks[usize::from(mask.0)].users += 1;
    }

    /// One megaflow less has it.
    pub(crate) fn leave(&mut self, mask: MaskId) {
        self.masks[usize::from(mask.0)].users -= 1;
    }
}
