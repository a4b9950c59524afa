//! Connections that others have announced, when they come.

use api::{Alg, Nat, NatRange};
use packet::Millis;

use crate::awaited::Awaited;
use crate::connections::{Connections, Kept, Notes, Seen, wrapped};
use crate::kin::Kin;
use crate::nat::Pool;
use crate::table::{Beginning, NotMade, Tuples};
use crate::tuple::{Hashed, Tuple};

/// A connection that is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expected {
    /// Of its first packet, but for the source port: that may be any, and is 0.
    pub tuple: Tuple,
    /// The original tuple of the one that has announced it.
    pub master: Tuple,
    /// The protocol by which it did.
    pub alg: Option<Alg>,
    /// The mark that it will have, as the other one has it now.
    pub mark: u32,
    /// The label.
    pub label: u128,
    /// Milliseconds that are left for it to come.
    pub left: u32,
}

impl Connections {
    /// Connections that are waited for, in an order that stays, behind the tuple of one; and the tuple to
    /// go on behind, if there may be more.
    pub fn waited_for(
        &self,
        last: Option<&Tuple>,
        most: usize,
        now: Millis,
    ) -> (Vec<Expected>, Option<Tuple>) {
        let found = self.table.relations().expectations.behind(last, most, wrapped(now));
        let next = found.last().filter(|_| found.len() == most).map(|(tuple, ..)| *tuple);
        let described = found.into_iter().filter_map(|(tuple, expectation, left)| {
            let Seen { tuples, mark, label, .. } = self.seen(expectation.master)?;
            let alg = self.table.relations().kin(expectation.master.place()).alg;
            Some(Expected { tuple, master: tuples.original, alg, mark, label, left })
        });
        (described.collect(), next)
    }

    /// What flows are told of a packet that would begin a connection which another one has announced:
    /// mark and label are that one's. Cost: a load, if nothing is expected.
    #[inline]
    pub fn announced(&self, tuple: &Tuple, now: Millis) -> Option<Seen> {
        let expectations = &self.table.relations().expectations;
        if expectations.are_none() { None } else { self.announced_among(tuple, now) }
    }

    #[inline(never)]
    fn announced_among(&self, tuple: &Tuple, now: Millis) -> Option<Seen> {
        let expectation = self.table.relations().expectations.find(tuple, wrapped(now))?;
        let master = self.seen(expectation.master)?;
        let tuples = Tuples { original: *tuple, reply: tuple.reversed()? };
        Some(Seen { tuples, master: Some(master.tuples.original), ..master })
    }

    /// How many connections have been announced and have not come.
    pub fn expected(&self) -> usize {
        self.table.relations().expectations.len()
    }

    /// How many there may be.
    pub const fn most_expected(&self) -> usize {
        self.table.relations().expectations.most()
    }

    /// Makes a connection that another one has announced, with its mark and label but for what is
    /// written to it. It is translated as that one is, if at all. `None` if none has.
    #[inline(never)]
    pub(crate) fn make_announced(
        &self,
        beginning: &Beginning<'_>,
        pool: Option<&Pool<'_>>,
        notes: &Notes,
    ) -> Option<Result<Kept, NotMade>> {
        let Hashed { tuple: original, .. } = &beginning.awaited.original;
        let expectations = &self.table.relations().expectations;
        let expectation = expectations.take(original, beginning.now)?;
        let master = self.seen(expectation.master)?;
        let beginning = Beginning {
            mark: master.mark & !notes.mark.1 | beginning.mark,
            label: master.label & !notes.label.1 | beginning.label,
            kin: Kin { master: Some(master.tuples.original), ..beginning.kin },
            // What is awaited of its answer is not what follows another one.
            awaited: &Awaited::of(beginning.awaited.original),
            ..*beginning
        };
        let made = match expectation.to.filter(|_| pool.is_some()) {
            Some(to) => self.make_following(&beginning, to),
            None => self.make_own(&beginning, pool),
        };
        if made.is_err() {
            // Nobody else may have announced it meanwhile: then theirs counts.
            let _ = expectations.add(original, expectation, beginning.now);
        }
        Some(made)
    }

    /// Makes a connection whose packets become those of `to`, from their own port if it is free there.
    fn make_following(&self, beginning: &Beginning<'_>, to: Tuple) -> Result<Kept, NotMade> {
        let from = to.with_src_port(beginning.awaited.tuple().src_port());
        let range = NatRange { addresses: Some((to.src(), to.src())), ..NatRange::default() };
        self.make_translated(beginning, from, &self.pool(&Nat::Src(range)))
    }
}
