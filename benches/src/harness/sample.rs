//! Samples and what they say.

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

/// The median of the ratios of samples that were taken side by side.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let pairs = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
    median(&pairs.collect::<Vec<_>>())
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
        assert!((ratio(&ours, &theirs) - 2.0).abs() < 0.001);
    }
}
