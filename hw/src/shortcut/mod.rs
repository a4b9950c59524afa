//! Short-cuts: packets of flows that are known go from pod to pod in the kernel.
//!
//! ```text
//!   pod a          |  the switch's namespace                               |  pod b
//!   eth0 ----------+-- veth a --(tc: vswitch_up)--+-- a flow that is known --+--> eth0
//!                                                 |   (bpf_redirect_peer)
//!                                                 +-- any other: to the switch
//! ```
//!
//! The program at a pod's veth looks into a [`Table`] that we share with it as plain memory. What it
//! finds there, it sends straight into the other pod, and counts; anything else comes to us. An
//! entry is for exactly the packets that agree with it in every field a flow can match
//! ([`Flow`]), so it is right for as long as the tables are; and it is no longer used as soon as
//! anything has changed ([`Generation`]). Connections begin and end before our eyes: TCP's SYN, FIN
//! and RST have no short-cut.
//!
//! Why: `docs/src/decisions/0004-short-cut.md`.
#![expect(unsafe_code, reason = "memory is shared with programs in the kernel")]

mod flow;
mod program;
mod steering;
mod table;

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

pub use flow::Flow;
pub use program::program;
pub use table::{Carried, Table, Target};

use crate::bpf::SharedArray;
use crate::error::Error;

/// The count of all changes, one for all tables. What was right under an earlier count is not used.
///
/// Whoever has changed anything that decides about packets moves it on *afterwards*. Whoever makes
/// an entry reads it *before* looking at what decides. So an entry that missed the change bears an
/// old count.
#[derive(Debug)]
pub struct Generation(SharedArray);

impl Generation {
    /// The first generation. Needs CAP_BPF.
    pub fn new() -> Result<Self, Error> {
        Self(SharedArray::new("vswitch_gen", 1, 8)?).begun()
    }

    fn begun(self) -> Result<Self, Error> {
        self.end();
        Ok(self)
    }

    /// The count now; never 0.
    pub fn get(&self) -> u32 {
        self.count().map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Ends all short-cuts that there are.
    pub fn end(&self) {
        let Some(count) = self.count() else { return };
        if count.fetch_add(1, Ordering::AcqRel) == u32::MAX {
            count.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn count(&self) -> Option<&AtomicU32> {
        let place: NonNull<AtomicU32> = self.0.at(0)?;
        // SAFETY: it lies inside the mapping, which lives as long as `self`; programs only read it.
        Some(unsafe { place.as_ref() })
    }
}

impl AsFd for Generation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_generation_is_zero() {
        let generation = Generation(SharedArray::detached(1, 8).unwrap()).begun().unwrap();
        assert_eq!(generation.get(), 1);
        generation.end();
        assert_eq!(generation.get(), 2);
        generation.count().unwrap().store(u32::MAX, Ordering::Relaxed);
        generation.end();
        assert_eq!(generation.get(), 1);
    }
}
