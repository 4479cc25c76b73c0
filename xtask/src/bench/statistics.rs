//! Medians and quartiles of runs.

/// The value below which this share (0 to 1) of the values lies, interpolated between its neighbours; none without values.
pub(super) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of runs")]
    let place = share * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a number of runs"
    )]
    let below = place.floor() as usize;
    let at = |number: usize| sorted.get(number.min(last)).copied();
    let (low, high) = (at(below)?, at(below + 1)?);
    Some(low + (high - low) * place.fract())
}

/// The middle value; none without values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// As [`quantile`], of values that each came so many times, in ascending order: the least value that this share of all does not exceed.
pub(super) fn quantile_of_counts(counts: &[(f64, u64)], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers of events in one run"
    )]
    let wanted = (share * total as f64).ceil() as u64;
    let mut seen = 0;
    let reached = counts.iter().find(|(_, count)| {
        seen += count;
        seen >= wanted
    });
    reached.map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[150.0, 100.0]), Some(125.0));
        let runs = [40.0, 10.0, 30.0, 20.0, 50.0];
        assert_eq!(quantile(&runs, 0.25), Some(20.0));
        assert_eq!(quantile(&runs, 0.75), Some(40.0));
        assert_eq!(quantile(&runs, 0.0), Some(10.0));
        assert_eq!(quantile(&runs, 1.0), Some(50.0));
    }

    #[test]
    fn quantiles_of_counts_are_values_that_came() {
        let counts = [(1.0, 50), (2.0, 45), (3.0, 4), (4.0, 1)];
        let at = |share| quantile_of_counts(&counts, share);
        assert_eq!(
            [at(0.5), at(0.51), at(0.95), at(0.99), at(1.0)],
            [Some(1.0), Some(2.0), Some(2.0), Some(3.0), Some(4.0)]
        );
        assert_eq!(quantile_of_counts(&[], 0.5), None);
    }
}
