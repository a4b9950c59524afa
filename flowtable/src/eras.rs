//! Since when a cache entry is known to be right.
//!
//! An *era* ends when it is not known which entries a change concerns. An entry that was right in an
//! era was so until its end: what has changed before is not to be asked about.

/// The eras of one worker's cache.
#[derive(Debug)]
pub(crate) struct Eras {
    current: u32,
    /// The generation in which each of the last eras ended, by its number.
    ends: [u64; REMEMBERED as usize],
}

/// How many eras are remembered.
const REMEMBERED: u32 = 64;

/// The era of an entry that is known to be concerned by a change.
pub(crate) const NEVER: u32 = 0;

impl Eras {
    /// The first one.
    pub(crate) const fn new() -> Self {
        Self { current: NEVER + 1, ends: [0; REMEMBERED as usize] }
    }

    /// The era that it is.
    #[inline]
    pub(crate) const fn current(&self) -> u32 {
        self.current
    }

    /// Ends the era, in `generation`.
    pub(crate) fn end(&mut self, generation: u64) {
        self.ends[(self.current % REMEMBERED) as usize] = generation;
        self.current = self.current.checked_add(1).unwrap_or(NEVER + 1);
    }

    /// The generation in which `era` ended; 0 if that is not known.
    pub(crate) fn end_of(&self, era: u32) -> u64 {
        match self.current.checked_sub(era) {
            Some(1..REMEMBERED) if era != NEVER => self.ends[(era % REMEMBERED) as usize],
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_last_eras_are_known() {
        let mut eras = Eras::new();
        (0..1000).for_each(|generation| eras.end(generation));
        assert_eq!(eras.current(), 1001);
        assert_eq!([1000, 999, 938, 937, NEVER].map(|era| eras.end_of(era)), [999, 998, 937, 0, 0]);
        assert_eq!(eras.end_of(1001), 0, "it goes on");
    }

    #[test]
    fn an_entry_that_is_concerned_is_of_no_era() {
        let mut eras = Eras { current: u32::MAX, ..Eras::new() };
        eras.end(7);
        assert_eq!((eras.current(), eras.end_of(NEVER)), (1, 0));
    }
}
