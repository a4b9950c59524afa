//! Runs of places in an array, given out and taken back without allocating.

/// Which places of an array of fixed size are in use, in runs of powers of two.
///
/// A run that comes back serves the next request of its own size alone. What is asked for is small
/// and of few sizes, so that there is nothing to gain from joining runs.
#[derive(Debug)]
pub(crate) struct Runs {
    /// Runs that came back, by the logarithm of their size. Each list has room for all it can ever
    /// hold; memory that is never touched is never there.
    free: Vec<Vec<u32>>,
    /// Places beyond this were never given out.
    next: u32,
    places: u32,
}

impl Runs {
    /// All of `places` places, none in use; runs of `longest` at most.
    pub(crate) fn new(places: u32, longest: u32) -> Self {
        let classes = longest.next_power_of_two().trailing_zeros();
        let free =
            (0..=classes).map(|class| Vec::with_capacity((places >> class) as usize)).collect();
        Self { free, next: 0, places }
    }

    fn class(len: usize) -> usize {
        len.max(1).next_power_of_two().trailing_zeros() as usize
    }

    /// The first place of a run of `len`; `None` if there is none left, or it is longer than the
    /// longest.
    pub(crate) fn take(&mut self, len: usize) -> Option<u32> {
        let class = Self::class(len);
        if let Some(start) = self.free.get_mut(class)?.pop() {
            return Some(start);
        }
        let (start, size) = (self.next, 1 << class);
        self.next = start.checked_add(size).filter(|end| *end <= self.places)?;
        Some(start)
    }

    /// Takes back the run at `start` that was given out for `len`.
    pub(crate) fn give_back(&mut self, start: u32, len: usize) {
        if let Some(free) = self.free.get_mut(Self::class(len)) {
            free.push(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_in_use_are_apart_and_come_back(lens in prop::collection::vec(1usize..20, 1..60)) {
            let mut runs = Runs::new(256, 16);
            let mut taken: Vec<(u32, usize)> = Vec::new();
            for len in lens {
                match runs.take(len) {
                    Some(start) => {
                        prop_assert!(len <= 16 && start as usize + len <= 256);
                        for (other, other_len) in &taken {
                            let apart = start as usize + len <= *other as usize
                                || *other as usize + other_len <= start as usize;
                            prop_assert!(apart, "{start}+{len} and {other}+{other_len}");
                        }
                        taken.push((start, len));
                    }
                    None => {
                        let Some((start, len)) = taken.pop() else { continue };
                        runs.give_back(start, len);
                        prop_assert_eq!(runs.take(len), Some(start));
                        taken.push((start, len));
                    }
                }
            }
        }
    }
}
