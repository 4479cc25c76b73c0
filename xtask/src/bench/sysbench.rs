//! What sysbench prints at its end.

use super::statistics::quantile_of_counts;
use anyhow::{Context as _, Result};

/// The line after which all connections are open and the clock runs.
pub(super) const STARTED: &str = "Threads started!";

/// The figures of one run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    /// Queries of all threads; none for a script that sends none.
    pub(super) queries: u64,
    /// Calls of the script's `event`.
    pub(super) events: u64,
    /// Length of the run.
    pub(super) seconds: f64,
    /// Latency of an event in milliseconds below which 50, 95 and 99 % are: sysbench counts in steps of 2 %.
    pub(super) latency_ms: [f64; 3],
}

impl Report {
    /// Reads the output of `sysbench --histogram=on … run`.
    ///
    /// # Errors
    /// A figure is not there, as after a failure.
    pub(super) fn parse(output: &str) -> Result<Self> {
        let number = |label: &str| {
            let value = output
                .lines()
                .find_map(|line| line.trim().strip_prefix(label))?
                .split_whitespace()
                .next()?;
            value.trim_end_matches('s').parse::<f64>().ok()
        };
        let count = |label: &str| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "sysbench prints a whole number"
            )]
            number(label).map(|number| number as u64)
        };
        let read = || {
            let histogram = histogram(output);
            let latency = |share| quantile_of_counts(&histogram, share);
            Some(Self {
                queries: count("queries:")?,
                events: count("total number of events:")?,
                seconds: number("total time:")?,
                latency_ms: [latency(0.5)?, latency(0.95)?, latency(0.99)?],
            })
        };
        read().with_context(|| format!("sysbench did not print its figures:\n{output}"))
    }
}

/// The lines `value |****  count` of the histogram: latency in milliseconds, and how many events had it.
fn histogram(output: &str) -> Vec<(f64, u64)> {
    let bar = |line: &str| {
        let (value, rest) = line.split_once('|')?;
        let count = rest.split_whitespace().last()?;
        Some((value.trim().parse().ok()?, count.parse().ok()?))
    };
    output.lines().filter_map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running the test with following options:
Threads started!

Latency histogram (values are in milliseconds)
       value  ------------- distribution ------------- count
       0.041 |***                                      10
       0.042 |**************************************** 85
       0.043 |                                         4
       9.560 |                                         1

SQL statistics:
    queries performed:
        read:                            100
    transactions:                        100    (33.10 per sec.)
    queries:                             1700   (562.70 per sec.)

General statistics:
    total time:                          3.0211s
    total number of events:              100
";

    #[test]
    fn figures_are_read() -> Result<()> {
        let report = Report::parse(OUTPUT)?;
        let expected = Report {
            queries: 1700,
            events: 100,
            seconds: 3.0211,
            latency_ms: [0.042, 0.042, 0.043],
        };
        assert_eq!(report, expected);
        Ok(())
    }

    #[test]
    fn a_failure_shows_what_was_printed() {
        let error = Report::parse("FATAL: no connection").unwrap_err();
        assert!(format!("{error:#}").contains("FATAL: no connection"));
    }
}
