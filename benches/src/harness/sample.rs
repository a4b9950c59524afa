//! Samples and what they say.

use crate::pktgen::order::Random;

/// The middle one; the mean of both if there are two. Not a number if there is none.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (len, middle) if len % 2 == 1 => sorted[middle],
        (_, middle) => sorted[middle - 1].midpoint(sorted[middle]),
    }
}

/// The median distance from the median, as a share of it: half of all samples lie no farther off.
pub fn spread(samples: &[f64]) -> f64 {
    let middle = median(samples);
    let distances: Vec<_> = samples.iter().map(|sample| (sample - middle).abs()).collect();
    if middle == 0.0 { 0.0 } else { median(&distances) / middle }
}

/// The ratios of samples that were taken side by side.
pub fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

/// What the median would lie between 19 times of 20 if the samples were taken again: by drawing
/// from them, with returning, so often (Efron's bootstrap, percentiles). None for less than two.
pub fn confidence(samples: &[f64]) -> Option<(f64, f64)> {
    const DRAWS: usize = 10_000;
    if samples.len() < 2 || samples.iter().any(|sample| !sample.is_finite()) {
        return None;
    }
    // The same samples have the same answer.
    let mut random = Random::new(1);
    let mut drawn = vec![0.0; samples.len()];
    let medians = (0..DRAWS).map(|_| {
        drawn.fill_with(|| samples[random.below(samples.len())]);
        median(&drawn)
    });
    let mut medians: Vec<_> = medians.collect();
    medians.sort_by(f64::total_cmp);
    Some((medians[DRAWS / 40], medians[DRAWS - 1 - DRAWS / 40]))
}

/// No more than this have so many of a thousand samples; not a number if there is none.
pub fn quantile(samples: &[f64], permille: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * permille).div_ceil(1000).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Takes turns, ours, theirs, theirs, ours, so often; hands each its answers, in pairs.
pub fn interleave<T>(
    rounds: usize,
    mut turn: impl FnMut(bool) -> anyhow::Result<T>,
) -> anyhow::Result<(Vec<T>, Vec<T>)> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for mine in [true, false, false, true] {
            let answers = if mine { &mut ours } else { &mut theirs };
            answers.push(turn(mine)?);
        }
    }
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_sample_does_not_matter() {
        let samples = [10.0, 11.0, 9.0, 1000.0, 10.5];
        assert_eq!(median(&samples), 10.5);
        assert!((spread(&samples) - 0.5 / 10.5).abs() < 1e-9);
        assert_eq!(median(&[2.0, 4.0]), 3.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn quantiles_are_samples() {
        let samples: Vec<_> = (1..=1000).rev().map(f64::from).collect();
        assert_eq!(
            [1, 10, 500, 990, 1000].map(|at| quantile(&samples, at)),
            [1., 10., 500., 990., 1000.]
        );
        assert_eq!(quantile(&[7.0], 1), 7.0);
        assert!(quantile(&[], 990).is_nan());
    }

    /// Of many sets of samples, hardly more than one of twenty misses the true median; and the more
    /// samples, the closer it is.
    #[test]
    fn the_true_median_is_mostly_between_the_bounds() {
        let mut random = Random::new(3);
        let mut draw = |count: usize| -> Vec<f64> {
            (0..count).map(|_| f64::from(u32::try_from(random.below(1000)).unwrap())).collect()
        };
        let (mut missed, mut width) = (0, 0.0);
        for _ in 0..40 {
            let (low, high) = confidence(&draw(15)).unwrap();
            missed += u32::from(!(low..=high).contains(&499.5));
            width += (high - low) / 40.0;
        }
        assert!(missed <= 6, "{missed}");
        let (low, high) = confidence(&draw(400)).unwrap();
        assert!(high - low < width / 2.0, "{low} to {high}, {width}");
        assert_eq!(confidence(&[1.0]), None);
        assert_eq!(confidence(&[2.0, 2.0]), Some((2.0, 2.0)));
    }

    /// A machine that gets slower all the time treats both alike.
    #[test]
    fn turns_and_pairs_cancel_a_drift() {
        let mut speed = 100.0;
        let turn = |mine| {
            speed -= 1.0;
            Ok(if mine { 2.0 * speed } else { speed })
        };
        let (ours, theirs) = interleave(3, turn).unwrap();
        assert_eq!((ours.len(), theirs.len()), (6, 6));
        assert!((median(&ratios(&ours, &theirs)) - 2.0).abs() < 0.001);
    }
}
