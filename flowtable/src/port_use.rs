//! What each port has cached: which masks tell its packets apart.
//!
//! The end of an earlier pass is a port of its own here: packets that go on behind it are told from
//! all others by where they come from.

use packet::PortId;

use crate::asides::Asides;
use crate::family::FamilyId;
use crate::mask_use::MaskId;
use crate::megaflow::MegaflowId;
use crate::program::AsideId;

/// What one port has cached.
#[derive(Debug, Default)]
pub(crate) struct PortUse {
    /// Its masks, those hit more often nearer to the front.
    pub(crate) masks: Vec<MaskOfPort>,
    /// Its megaflows.
    pub(crate) flows: u32,
    /// Those of them whose packets are to be tracked.
    pub(crate) tracking: u32,
    /// The megaflow that was added last, or [`GONE`].
    pub(crate) newest: u32,
    /// The megaflow that was met last, or any.
    pub(crate) met: u32,
}

/// A mask that is in use on a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaskOfPort {
    pub(crate) mask: MaskId,
    /// Megaflows of the port that have it.
    pub(crate) flows: u32,
    /// What they have in common.
    pub(crate) family: FamilyId,
}

/// What stands for a megaflow that is gone.
pub(crate) const GONE: u32 = u32::MAX;

/// What stands for ports from here on are the ends of earlier passes.
const FIRST_PASS: u16 = 0xe000;
const _: () = assert!(FIRST_PASS as usize + Asides::MOST <= u16::MAX as usize);

/// What all ports have cached.
#[derive(Debug, Default)]
pub(crate) struct PortUses {
    ports: Vec<PortUse>,
    /// The same of what comes from earlier passes.
    passes: Vec<PortUse>,
}

impl PortUses {
    /// Most masks in use on one port.
    pub(crate) const MASKS: usize = 128;

    /// What stands for a port where packets come from the end of an earlier pass.
    pub(crate) fn behind(AsideId(aside): AsideId) -> PortId {
        PortId(u16::try_from(aside).map_or(u16::MAX, |aside| FIRST_PASS.saturating_add(aside)))
    }

    /// The end of the earlier pass that packets come from, if they do not come from a port.
    pub(crate) fn pass(port: PortId) -> Option<AsideId> {
        port.0.checked_sub(FIRST_PASS).map(|aside| AsideId(aside.into()))
    }

    /// Makes room for the ports up to `port`, or the passes.
    pub(crate) fn prepare(&mut self, port: PortId) {
        let (uses, at, masks) = match port.0.checked_sub(FIRST_PASS) {
            Some(pass) => (&mut self.passes, usize::from(pass), 0),
            None => (&mut self.ports, usize::from(port.0), Self::MASKS),
        };
        while uses.len() <= at {
            uses.push(PortUse {
                masks: Vec::with_capacity(masks),
                flows: 0,
                tracking: 0,
                newest: 0,
                met: 0,
            });
        }
    }

    /// What a port has cached.
    #[inline]
    pub(crate) fn get(&self, port: PortId) -> Option<&PortUse> {
        match port.0.checked_sub(FIRST_PASS) {
            Some(pass) => self.passes.get(usize::from(pass)),
            None => self.ports.get(usize::from(port.0)),
        }
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, port: PortId) -> Option<&mut PortUse> {
        match port.0.checked_sub(FIRST_PASS) {
            Some(pass) => self.passes.get_mut(usize::from(pass)),
            None => self.ports.get_mut(usize::from(port.0)),
        }
    }

    /// What each of them has cached.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PortUse> {
        self.ports.iter().chain(&self.passes)
    }

    /// Bytes that they take.
    pub(crate) const fn bytes(&self) -> usize {
        self.ports.len() * Self::MASKS * size_of::<MaskOfPort>()
    }
}

impl PortUse {
    /// Forgets a megaflow of this mask. Answers with the mask's family if it was the last of it.
    pub(crate) fn forget(
        &mut self,
        mask: MaskId,
        flow: MegaflowId,
        tracks: bool,
    ) -> Option<FamilyId> {
        self.flows -= 1;
        self.tracking -= u32::from(tracks);
        if self.newest == flow.0 {
            self.newest = GONE;
        }
        let at = self.masks.iter().position(|own| own.mask == mask)?;
        self.masks[at].flows -= 1;
        (self.masks[at].flows == 0).then(|| self.masks.remove(at).family)
    }
}
