//! Blocks of measuring: ours and theirs in turn, those that were disturbed again.

use anyhow::Result;

use crate::harness::disturbance::Disturbance;

/// What a block has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block<T = f64> {
    /// The figure, or what it is reckoned from.
    pub value: T,
    /// What disturbed it.
    pub disturbance: Disturbance,
}

/// How often a disturbed block is taken again at most.
const AGAIN: usize = 2;
/// Rounds that are added at most, each alone, until samples are decisive.
const MORE: usize = 4;

/// How many blocks there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Count {
    /// Rounds, each of four: ours, theirs, theirs, ours.
    pub rounds: usize,
    /// How many more may be taken in place of disturbed ones.
    pub spare: usize,
}

/// Blocks in pairs, one of ours and one of theirs beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blocks<T = f64> {
    /// Ours.
    pub ours: Vec<T>,
    /// Theirs.
    pub theirs: Vec<T>,
    /// What to know of them; nothing if all were calm.
    pub note: String,
}

impl<T: Clone> Blocks<T> {
    /// Takes turns. `turn` is told whether it is ours, which block it is, and of how many.
    ///
    /// A disturbed block is taken again as long as there are spare ones. A pair with one that was
    /// disturbed all the same does not count, unless fewer than two others are left: then all do,
    /// and the note says so.
    pub fn take(
        count: Count,
        turn: impl FnMut(bool, usize, usize) -> Result<Block<T>>,
    ) -> Result<Self> {
        Self::take_until(count, |_| true, turn)
    }

    /// The same, and a few rounds more as long as it is not decided what they show; all count.
    pub fn take_until(
        count: Count,
        mut is_decided: impl FnMut(&Self) -> bool,
        mut turn: impl FnMut(bool, usize, usize) -> Result<Block<T>>,
    ) -> Result<Self> {
        let (mut spare, mut rejected) = (count.spare, 0);
        let mut sides = [Vec::new(), Vec::new()];
        let (mut all, most) = (4 * count.rounds, 4 * (count.rounds + MORE));
        let mut number = 0;
        loop {
            if number == all {
                let [ours, theirs] = &sides;
                let mut blocks = Self::of_pairs(ours, theirs, rejected);
                if all == most || is_decided(&blocks) {
                    if all > 4 * count.rounds {
                        let more =
                            format!("{} blocks more, as it was close", all - 4 * count.rounds);
                        let between = if blocks.note.is_empty() { "" } else { ", " };
                        blocks.note = blocks.note + between + &more;
                    }
                    return Ok(blocks);
                }
                all += 4;
            }
            let mine = matches!(number % 4, 0 | 3);
            let mut block = turn(mine, number + 1, all)?;
            for _ in 0..spare.min(AGAIN) {
                if block.disturbance.is_tolerable() {
                    break;
                }
                (spare, rejected) = (spare - 1, rejected + 1);
                block = turn(mine, number + 1, all)?;
            }
            sides[usize::from(!mine)].push(block);
            number += 1;
        }
    }

    fn of_pairs(ours: &[Block<T>], theirs: &[Block<T>], rejected: usize) -> Self {
        let is_calm = |block: &Block<T>| block.disturbance.is_tolerable();
        let pairs = || ours.iter().zip(theirs);
        let calm: Vec<_> =
            pairs().filter(|(ours, theirs)| is_calm(ours) && is_calm(theirs)).collect();
        let (all, left) = (ours.len(), calm.len());
        let mut notes = Vec::new();
        if rejected > 0 {
            notes.push(format!("{rejected} disturbed blocks taken again"));
        }
        let worst = || {
            let blocks = ours.iter().chain(theirs).map(|block| block.disturbance);
            blocks.max_by(|a, b| (a.waited + a.stolen).total_cmp(&(b.waited + b.stolen)))
        };
        let counted = match left {
            _ if left == all => calm,
            2.. => {
                notes.push(format!("{} of {all} pairs left out, disturbed", all - left));
                calm
            }
            _ => {
                let worst = worst().map_or_else(String::new, |worst| worst.to_string());
                notes.push(format!("{} of {all} pairs disturbed ({worst})", all - left));
                pairs().collect()
            }
        };
        let values =
            |(ours, theirs): (&Block<T>, &Block<T>)| (ours.value.clone(), theirs.value.clone());
        let (ours, theirs) = counted.into_iter().map(values).unzip();
        Self { ours, theirs, note: notes.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Disturbance = Disturbance { stolen: 0.0, waited: 0.0, preempted: 1.0 };
    const WILD: Disturbance = Disturbance { waited: 0.2, ..CALM };

    #[test]
    fn turns_are_ours_theirs_theirs_ours() {
        let mut seen = String::new();
        let blocks = Blocks::take(Count { rounds: 2, spare: 0 }, |mine, number, all| {
            seen.push(if mine { 'a' } else { 'b' });
            assert_eq!((seen.len(), all), (number, 8));
            Ok(Block { value: 1.0, disturbance: CALM })
        });
        assert_eq!(seen, "abbaabba");
        let blocks = blocks.unwrap();
        assert_eq!((blocks.ours.len(), blocks.theirs.len(), &*blocks.note), (4, 4, ""));
    }

    #[test]
    fn a_disturbed_block_is_taken_again() {
        let mut turns = 0;
        let blocks = Blocks::take(Count { rounds: 1, spare: 2 }, |_, number, _| {
            turns += 1;
            let disturbance = if turns == 2 { WILD } else { CALM };
            let value = if turns == 2 { 99.0 } else { f64::from(u8::try_from(number).unwrap()) };
            Ok(Block { value, disturbance })
        });
        let blocks = blocks.unwrap();
        assert_eq!((turns, &*blocks.note), (5, "1 disturbed blocks taken again"));
        assert_eq!((&*blocks.ours, &*blocks.theirs), (&[1.0, 4.0][..], &[2.0, 3.0][..]));
    }

    #[test]
    fn what_is_close_is_measured_on() {
        let turn = |_, number, _| {
            Ok(Block { value: f64::from(u8::try_from(number).unwrap()), disturbance: CALM })
        };
        let take = |enough: usize| {
            let count = Count { rounds: 1, spare: 0 };
            Blocks::take_until(count, |blocks| blocks.ours.len() >= enough, turn).unwrap()
        };
        let [calm, close, open] = [2, 5, 99].map(take);
        assert_eq!((calm.ours.len(), &*calm.note), (2, ""));
        assert_eq!(
            (&*close.ours, &*close.note),
            (&[1.0, 4.0, 5.0, 8.0, 9.0, 12.0][..], "8 blocks more, as it was close")
        );
        assert_eq!(open.ours.len(), 2 + 2 * MORE);
    }

    #[test]
    fn pairs_that_stay_disturbed_are_left_out_or_told_of() {
        let take = |wild: &[usize]| {
            let turn = |_, number: usize, _| {
                let disturbance = if wild.contains(&number) { WILD } else { CALM };
                Ok(Block { value: 1.0, disturbance })
            };
            Blocks::take(Count { rounds: 2, spare: 0 }, turn).unwrap()
        };
        let one = take(&[2]);
        assert_eq!((one.ours.len(), &*one.note), (3, "1 of 4 pairs left out, disturbed"));
        let most = take(&[1, 3, 6]);
        assert_eq!(most.ours.len(), 4);
        assert!(most.note.starts_with("3 of 4 pairs disturbed (stolen 0.0 %, waiting 20.0 %"));
    }
}
