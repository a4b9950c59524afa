//! What becomes of connections, for whoever wants to be told.
//!
//! Threads that make, change and end connections never wait for it to be heard: what finds the queue full
//! is counted. While nobody listens it costs a load of a word that hardly ever changes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::describe::Description;

/// What has become of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was made.
    Made,
    /// Its state has changed, whether it was answered or is assured, its mark, or its label.
    Changed,
    /// It is gone.
    Gone,
}

/// A change of a connection, and the connection as it is then, or was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct News {
    /// What has changed.
    pub change: Change,
    /// The connection; one that is gone has no time left.
    pub connection: Description,
}

/// Changes that wait to be heard of.
#[derive(Debug, Default)]
pub(crate) struct Newsroom {
    is_heard: AtomicBool,
    /// Whether who listens knows that something waits.
    is_known: AtomicBool,
    /// Made when somebody listens for the first time.
    queue: OnceLock<ArrayQueue<News>>,
    lost: AtomicU64,
}

/// So many changes may wait.
const WAITING: usize = if cfg!(miri) { 1 << 5 } else { 1 << 13 };

impl Newsroom {
    /// Whether somebody wants to be told.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    /// From now on somebody wants to be told, or nobody.
    pub(crate) fn set_heard(&self, is_heard: bool) {
        let queue = self.queue.get_or_init(|| ArrayQueue::new(WAITING));
        self.is_heard.store(is_heard, Ordering::Relaxed);
        if !is_heard {
            while queue.pop().is_some() {}
            self.lost.store(0, Ordering::Relaxed);
        }
    }

    /// Tells of a change, if somebody wants to be told and the connection can still be described.
    #[inline]
    pub(crate) fn tell(&self, change: Change, describe: impl FnOnce() -> Option<Description>) {
        if self.is_heard() {
            self.push(change, describe());
        }
    }

    #[cold]
    fn push(&self, change: Change, connection: Option<Description>) {
        let (Some(queue), Some(connection)) = (self.queue.get(), connection) else { return };
        // Behind a gap nothing is told before somebody has heard of the gap: the order would be wrong.
        let is_gap = self.lost.load(Ordering::Relaxed) > 0;
        if is_gap || queue.push(News { change, connection }).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether something waits to be heard.
    pub(crate) fn has_any(&self) -> bool {
        self.is_heard() && self.queue.get().is_some_and(|queue| !queue.is_empty())
    }

    /// Whether something waits of which nobody has said so yet: it is said now.
    #[inline]
    pub(crate) fn is_unknown(&self) -> bool {
        self.is_heard() && self.has_any() && !self.is_known.swap(true, Ordering::SeqCst)
    }

    /// What waits; and how many changes were lost behind that, if any were.
    pub(crate) fn hear(&self) -> impl Iterator<Item = Result<News, u64>> {
        // First: what comes from now on is said anew.
        self.is_known.store(false, Ordering::SeqCst);
        std::iter::from_fn(|| {
            if let Some(news) = self.queue.get()?.pop() {
                return Some(Ok(news));
            }
            Some(Err(self.lost.swap(0, Ordering::Relaxed))).filter(|lost| *lost != Err(0))
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::table::Tuples;
    use crate::tcp::Known;
    use crate::tuple::{Ends, Tuple};

    fn connection(mark: u32) -> Option<Description> {
        let [src, dst] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|bytes| bytes.into());
        let original = Tuple::new(Ends { src, dst, src_port: 1, dst_port: 2, proto: 17 }, 0)?;
        let tuples = Tuples { original, reply: original.reversed()? };
        let known = Known::default();
        let (state, left, alg, master) = (None, 0, None, None);
        Some(Description { tuples, state, known, mark, label: 0, left, alg, master })
    }

    #[test]
    fn what_nobody_hears_of_is_counted_where_it_is_missing() {
        let room = Newsroom::default();
        room.tell(Change::Made, || panic!("nobody listens"));
        room.set_heard(true);
        let count = u32::try_from(WAITING).unwrap() + 5;
        (0..count).for_each(|mark| room.tell(Change::Made, || connection(mark)));
        assert_eq!([room.is_unknown(), room.is_unknown()], [true, false]);
        let mut heard = room.hear();
        for mark in 0..count - 5 {
            assert_eq!(heard.next().unwrap().unwrap().connection.mark, mark);
        }
        assert_eq!([heard.next(), heard.next()], [Some(Err(5)), None]);
        assert!(!room.is_unknown());
        room.tell(Change::Gone, || connection(7));
        assert!(room.is_unknown());
        room.set_heard(false);
        assert_eq!((room.has_any(), room.hear().next()), (false, None));
    }
}
