//! Figures of a comparison.

use std::fmt::Write as _;

/// All runs of one variant.
pub(super) struct Measured {
    name: &'static str,
    /// Queries per second, a number per run.
    pub(super) per_second: Vec<f64>,
}

impl Measured {
    /// No run yet.
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            per_second: Vec::new(),
        }
    }

    /// The value below which this share (0 to 1) of the runs lies, interpolated between its neighbours; 0 without runs.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.per_second.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return 0.0;
        };
        #[expect(clippy::cast_precision_loss, reason = "a number of runs")]
        let place = share * last as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a number of runs"
        )]
        let below = place.floor() as usize;
        let at = |number: usize| sorted.get(number.min(last)).copied().unwrap_or_default();
        at(below) + (at(below + 1) - at(below)) * place.fract()
    }
}

/// A line per variant: the median, and quartiles and median as ratios to the first variant's median.
pub(super) fn table(variants: &[Measured]) -> String {
    let base = variants.first().map_or(0.0, |direct| direct.quantile(0.5));
    let mut text = format!(
        "{:<16} {:>10}  {:>7} {:>7} {:>7}",
        "", "queries/s", "ratio", "25 %", "75 %"
    );
    for variant in variants {
        let ratio = |share| variant.quantile(share) / base;
        let median = variant.quantile(0.5);
        // Writing to a string cannot fail.
        let _written = write!(
            text,
            "\n{:<16} {median:>10.0}  {:>7.2} {:>7.2} {:>7.2}",
            variant.name,
            ratio(0.5),
            ratio(0.25),
            ratio(0.75)
        );
    }
    text
}

/// The figure in sysbench's line `queries: 41234 (13741.10 per sec.)`.
pub(super) fn queries_per_second(output: &str) -> Option<f64> {
    let line = output
        .lines()
        .find_map(|line| line.trim().strip_prefix("queries:"))?;
    line.split_once('(')?
        .1
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_summed_up() {
        let line =
            "    transactions:   9 (3.00 per sec.)\n    queries:     41234  (13741.10 per sec.)\n";
        assert_eq!(queries_per_second(line), Some(13741.10));
        assert_eq!(queries_per_second("FATAL: no connection"), None);
        let runs = |name, per_second: &[f64]| Measured {
            name,
            per_second: per_second.to_vec(),
        };
        let text = table(&[
            runs("direct", &[90.0, 100.0, 110.0]),
            runs("other", &[150.0, 100.0]),
        ]);
        let last = text.lines().last().unwrap_or_default();
        assert_eq!(
            last.split_whitespace().collect::<Vec<_>>(),
            ["other", "125", "1.25", "1.12", "1.38"]
        );
    }
}
