//! When nobody can see any more what has been taken away.
//!
//! Whoever reads connections is a member, and says at the beginning of each batch that it holds
//! nothing of an earlier one. What is taken away at some moment can be used anew once every member
//! has said so since, or is away.

use crate::sync::{AtomicU64, Ordering, fence};

/// The moments of all members.
#[derive(Debug)]
pub(crate) struct Grace {
    now: AtomicU64,
    /// When each member began what it is doing.
    began: Box<[AtomicU64]>,
}

/// A moment; all later ones are greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment(pub(crate) u64);

/// Holds nothing.
const AWAY: u64 = 0;

impl Grace {
    pub(crate) fn new(members: usize) -> Self {
        let began = (0..members).map(|_| AtomicU64::new(AWAY)).collect();
        Self { now: AtomicU64::new(1), began }
    }

    /// A member begins: from here on it may see what is taken away later.
    #[inline]
    pub(crate) fn begin(&self, member: usize) {
        self.began[member].store(self.now.load(Ordering::Relaxed), Ordering::Relaxed);
        // What it reads is read after it has said so.
        fence(Ordering::SeqCst);
    }

    /// A member holds nothing, and will not until it begins again.
    #[inline]
    pub(crate) fn end(&self, member: usize) {
        self.began[member].store(AWAY, Ordering::Release);
    }

    /// The moment at which something has been taken away.
    pub(crate) fn stamp(&self) -> Moment {
        fence(Ordering::SeqCst);
        Moment(self.now.fetch_add(1, Ordering::SeqCst))
    }

    /// The moment before which everything that was taken away can be used anew.
    pub(crate) fn over(&self) -> Moment {
        // First: who begins while the others are asked may see what goes from now on.
        let now = self.now.load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let began = self.began.iter().map(|began| began.load(Ordering::SeqCst));
        Moment(began.filter(|began| *began != AWAY).fold(now, u64::min))
    }
}
