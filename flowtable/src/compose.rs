//! Several passes of a packet made one, for who expects more packets that take just these.
//!
//! What a pass looks at is the packet as the passes before it have left it. Each bit of that is one of
//! the packet as it came, or was written and is always the same: so packets that agree in all bits
//! which some pass has looked at take the same passes, if the decisions between them come to the same.
//! There are two exceptions: tags that come and go move what is behind them, which is not composed; and
//! of a TTL behind a hop any bit may depend on all bits of what it was before, so that all have to agree.

use packet::Key;

use crate::cache::{Cache, release_program};
use crate::megaflow::{MegaflowId, NoRoom, Serial};
use crate::paths::PathId;
use crate::program::Op;
use crate::programs::ProgramId;
use crate::step::Step;

/// What several passes come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Composed {
    /// All that they do, but for what becomes of the packet between them.
    pub program: ProgramId,
    /// All that is passed.
    pub path: PathId,
    /// The bits of the packet that they have looked at.
    pub looked: Key,
}

/// Why passes are not made one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotComposed {
    /// One of them is not right any more.
    #[error("one of the passes is not right any more")]
    Outdated,
    /// Before the last of them more is done with the packet than writing into it, or they look at what
    /// whoever asks cannot use.
    #[error("before its last pass more is done with a packet than writing into it")]
    Unfit,
    /// There is no room.
    #[error("there is no room for another program or path")]
    NoRoom,
}

impl From<NoRoom> for NotComposed {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

/// Room for what is being composed.
#[derive(Debug)]
pub(crate) struct Room {
    ops: Vec<Op>,
    steps: Vec<Step>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self { ops: Vec::with_capacity(Op::MOST), steps: Vec::with_capacity(256) }
    }
}

impl Cache {
    /// Makes one of several passes that a packet takes, for one more user of the program and the path,
    /// if whoever asks can use one that has looked at these bits. `is_translated` is whether, beside
    /// what they say, its addresses and ports become others before the last of them: then all of that
    /// can be done first.
    pub fn compose(
        &mut self,
        passes: &[(MegaflowId, Serial)],
        is_translated: bool,
        fits: impl FnOnce(&Key) -> bool,
    ) -> Result<Composed, NotComposed> {
        let is_right = |(flow, serial): &(MegaflowId, Serial)| {
            self.megaflows().serial(*flow) == *serial && self.is_fresh(*flow)
        };
        if !passes.iter().all(is_right) {
            return Err(NotComposed::Outdated);
        }
        let mut room =
            std::mem::replace(&mut self.room, Room { ops: Vec::new(), steps: Vec::new() });
        let composed = self.compose_in(&mut room, passes, is_translated, fits);
        self.room = room;
        composed
    }

    fn compose_in(
        &mut self,
        Room { ops, steps }: &mut Room,
        passes: &[(MegaflowId, Serial)],
        is_translated: bool,
        fits: impl FnOnce(&Key) -> bool,
    ) -> Result<Composed, NotComposed> {
        ops.clear();
        steps.clear();
        let (mut looked, mut has_hopped) = (Key::ZERO, false);
        for (n, (flow, _)) in passes.iter().enumerate() {
            let (program, path) = self.megaflows().result(*flow);
            add_looks(&mut looked, self.megaflows().matching(*flow).1, n == 0, has_hopped);
            steps.extend(self.paths().steps(path));
            let of_pass = self.programs().exactly(program);
            match of_pass {
                _ if n + 1 == passes.len() => ops.extend_from_slice(of_pass),
                [writes @ .., Op::Resume(_)] => {
                    if !writes.iter().all(|op| op.can_be_early(is_translated)) {
                        return Err(NotComposed::Unfit);
                    }
                    has_hopped |= writes.iter().any(|op| matches!(op, Op::DecTtl | Op::Ttl(_)));
                    ops.extend_from_slice(writes);
                }
                _ => return Err(NotComposed::Unfit),
            }
        }
        // Before anything is made that would be gone at once.
        if !fits(&looked) || ops.iter().any(|op| op.aside().is_some()) {
            return Err(NotComposed::Unfit);
        }
        if ops.len() > Op::MOST {
            return Err(NotComposed::NoRoom);
        }
        let program = self.programs.intern(ops).ok_or(NoRoom)?;
        let Some(path) = self.paths.intern(steps) else {
            release_program(&mut self.programs, &mut self.asides, program);
            return Err(NotComposed::NoRoom);
        };
        Ok(Composed { program, path, looked })
    }
}

impl Op {
    /// Whether it only writes into a packet, and none of what later passes see elsewhere then; nor, of
    /// one that is translated, its addresses and ports.
    const fn can_be_early(self, is_translated: bool) -> bool {
        match self {
            Self::Ipv4Src { .. }
            | Self::Ipv4Dst { .. }
            | Self::Ipv6 { .. }
            | Self::TpSrc { .. }
            | Self::TpDst { .. } => !is_translated,
            Self::Eth(_)
            | Self::EthDst { .. }
            | Self::EthSrc { .. }
            | Self::VlanTci { .. }
            | Self::Ipv6Label { .. }
            | Self::Tos { .. }
            | Self::Ttl(_)
            | Self::DecTtl
            | Self::SetQueue(_) => true,
            _ => false,
        }
    }
}

/// Adds the bits of a packet that another pass has looked at, behind one that may have counted a hop.
fn add_looks(looked: &mut Key, more: &Key, is_first: bool, has_hopped: bool) {
    // What later passes know beside the packet is the same for whoever gets there.
    let words = if is_first { 0..Key::PACKET_WORDS } else { 1..Key::PARSED_WORDS };
    for word in words {
        looked[word] |= more[word];
    }
    if has_hopped && more.word(Key::TTL_LEFT) | more.word(Key::NW_TTL) != 0 {
        looked.set_all(Key::NW_TTL);
    }
}
