//! The programs in use by one worker, each stored once.

use std::hash::{Hash, Hasher};

use api::DropReason;
use bytemuck::Zeroable;
use hashbrown::HashTable;
use packet::Seed;

use crate::program::Op;
use crate::runs::Runs;

/// A program of one worker, and in the upper bits what must be known of it before it is carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Zeroable)]
#[repr(transparent)]
pub struct ProgramId(u32);

const NEEDS_HEADERS: u32 = 1 << 31;
const HAS_ASIDES: u32 = 1 << 30;

impl ProgramId {
    fn new(start: u32, ops: &[Op]) -> Self {
        let has = |is: fn(Op) -> bool, flag| if ops.iter().any(|op| is(*op)) { flag } else { 0 };
        let asides = has(|op| op.aside().is_some(), HAS_ASIDES | NEEDS_HEADERS);
        Self(start | has(Op::needs_headers, NEEDS_HEADERS) | asides)
    }

    /// Where its first operation is.
    #[inline]
    const fn start(self) -> usize {
        (self.0 & !(NEEDS_HEADERS | HAS_ASIDES)) as usize
    }

    /// Whether it says something apart from its operations.
    #[inline]
    pub const fn has_asides(self) -> bool {
        self.0 & HAS_ASIDES != 0
    }

    /// Whether it writes into what only parsing finds.
    #[inline]
    pub const fn needs_headers(self) -> bool {
        self.0 & NEEDS_HEADERS != 0
    }
}

/// Programs by number, which is the place of their first operation.
#[derive(Debug)]
pub struct Programs {
    ops: Vec<Op>,
    /// Cache entries that use the program at a place.
    users: Box<[u32]>,
    /// Operations of the program at a place.
    lens: Box<[u16]>,
    by_ops: HashTable<u32>,
    runs: Runs,
    seed: Seed,
}

impl Programs {
    /// Operations of all programs, with what lies free among them.
    pub const fn operations(&self) -> usize {
        self.ops.len()
    }

    /// Bytes of what has been in use at some time.
    pub fn bytes(&self) -> usize {
        let each = size_of::<Op>() + size_of::<u32>() + size_of::<u16>();
        self.ops.len() * each + self.by_ops.allocation_size()
    }

    /// Room for `most` operations in all, 2^30 at the most.
    pub fn new(most: u32, seed: Seed) -> Self {
        let most = most.min(HAS_ASIDES);
        Self {
            ops: Vec::with_capacity(most as usize),
            users: bytemuck::allocation::zeroed_slice_box(most as usize),
            lens: bytemuck::allocation::zeroed_slice_box(most as usize),
            by_ops: HashTable::with_capacity(most as usize / 4),
            runs: Runs::new(most, u32::try_from(Op::MOST).unwrap_or(u32::MAX)),
            seed,
        }
    }

    /// The operations of a program, and whatever lies behind them: it ends with its first
    /// [`Op::Send`] or [`Op::Drop`] outside of a clone.
    #[inline]
    pub fn ops(&self, program: ProgramId) -> &[Op] {
        &self.ops[program.start()..]
    }

    /// Exactly the operations of a program.
    pub fn exactly(&self, program: ProgramId) -> &[Op] {
        self.of(program.start())
    }

    fn of(&self, start: usize) -> &[Op] {
        &self.ops[start..start + usize::from(self.lens[start])]
    }

    /// The program of these operations, for one more user; `None` if there is no room.
    pub fn intern(&mut self, ops: &[Op]) -> Option<ProgramId> {
        let hash = hash(self.seed, ops);
        let known = self.by_ops.find(hash, |other| self.of(*other as usize) == ops).copied();
        let start = known.or_else(|| self.begin(hash, ops))?;
        self.users[start as usize] += 1;
        Some(ProgramId::new(start, ops))
    }

    fn begin(&mut self, hash: u64, ops: &[Op]) -> Option<u32> {
        // No program's table entry ever makes the table grow.
        if self.by_ops.len() >= self.by_ops.capacity() {
            return None;
        }
        let start = self.runs.take(ops.len())?;
        let (first, end) = (start as usize, start as usize + ops.len());
        if self.ops.len() < end {
            self.ops.resize(end, Op::Drop(DropReason::Closed));
        }
        self.ops[first..end].copy_from_slice(ops);
        self.lens[first] = u16::try_from(ops.len()).unwrap_or(u16::MAX);
        let Self { ops: all, lens, seed, .. } = self;
        let rehash = |start: &u32| {
            let first = *start as usize;
            self::hash(*seed, &all[first..first + usize::from(lens[first])])
        };
        self.by_ops.insert_unique(hash, start, rehash);
        Some(start)
    }

    /// One user more.
    pub fn retain(&mut self, program: ProgramId) {
        self.users[program.start()] += 1;
    }

    /// Whether a program has one user only.
    pub(crate) fn has_one_user(&self, program: ProgramId) -> bool {
        self.users[program.start()] == 1
    }

    /// One user less.
    pub fn release(&mut self, program: ProgramId) {
        let first = program.start();
        self.users[first] -= 1;
        if self.users[first] > 0 {
            return;
        }
        let hash = hash(self.seed, self.exactly(program));
        if let Ok(entry) = self.by_ops.find_entry(hash, |other| *other as usize == first) {
            let (start, _) = entry.remove();
            self.runs.give_back(start, usize::from(self.lens[first]));
        }
    }

    /// How many programs there are.
    pub fn len(&self) -> usize {
        self.by_ops.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_ops.is_empty()
    }
}

fn hash(seed: Seed, ops: &[Op]) -> u64 {
    let mut hasher = seed.hasher();
    ops.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::PortId;

    #[test]
    fn equal_programs_are_one_and_room_comes_back() {
        let mut programs = Programs::new(8, Seed(1));
        let [one, two] = [1, 2].map(|n| [Op::DecTtl, Op::Send(PortId(n))]);
        let first = programs.intern(&one).unwrap();
        assert_eq!(programs.intern(&one), Some(first));
        let second = programs.intern(&two).unwrap();
        assert_eq!((programs.exactly(first), programs.exactly(second)), (&one[..], &two[..]));
        assert_eq!(programs.len(), 2);
        programs.release(first);
        assert_eq!(programs.exactly(first), one, "one user is left");
        programs.release(first);
        let third = programs.intern(&[Op::DecTtl, Op::Send(PortId(3))]).unwrap();
        assert_eq!(third, first, "the room is used again");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut programs = Programs::new(64, Seed(1));
        let long = [Op::DecTtl; 65];
        assert_eq!(programs.intern(&long), None);
        let mut held = 0;
        while programs.intern(&[Op::Ttl(held), Op::Send(PortId(1))]).is_some() {
            held += 1;
        }
        assert!((8..=32).contains(&held), "{held} programs");
    }
}
