//! A comparison as text.

use super::sample::{Sample, Series};
use std::fmt::Write as _;

/// Bytes in a mebibyte.
const MIB: f64 = 1_048_576.0;

/// A line per peer: the median of the throughput; median and quartiles relative to the first peer's median; the medians of latencies relative
/// to the first's; the medians of CPU time for one query; the most memory. `unit` is what is counted.
pub(super) fn table(unit: &str, all: &[Series]) -> String {
    let mut text = format!(
        "{:<14} {:>13} {:>6} {:>6} {:>6} | {:>5} {:>5} {:>5} {:>8} | {:>10} {:>10} {:>8}\n",
        "",
        format!("{unit}/s"),
        "ratio",
        "25 %",
        "75 %",
        "p50",
        "p95",
        "p99",
        "p99 ms",
        "machine µs",
        "process µs",
        "peak MiB"
    );
    for series in all {
        text.push_str(&line(series, all.first()));
    }
    text
}

fn line(series: &Series, base: Option<&Series>) -> String {
    let throughput = |share| {
        let direct = base.and_then(|base| base.throughput(0.5));
        ratio(series.throughput(share), direct)
    };
    let latency = |of: fn(&Sample) -> Option<f64>| {
        let direct = base.and_then(|base| base.median(of));
        ratio(series.median(of), direct)
    };
    #[expect(clippy::cast_precision_loss, reason = "shown in MiB")]
    let peak = series.peak_bytes().map(|bytes| bytes as f64 / MIB);
    let mut text = format!(
        "{:<14} {:>13} {:>6} {:>6} {:>6}",
        series.peer,
        rate(series.throughput(0.5)),
        throughput(0.5),
        throughput(0.25),
        throughput(0.75)
    );
    // Writing to a string cannot fail.
    let _written = writeln!(
        text,
        " | {:>5} {:>5} {:>5} {:>8} | {:>10} {:>10} {:>8}",
        latency(|sample| Some(sample.p50_ms)),
        latency(|sample| Some(sample.p95_ms)),
        latency(|sample| Some(sample.p99_ms)),
        figure(series.median(|sample| Some(sample.p99_ms)), 2),
        figure(series.median(|sample| Some(sample.machine_us)), 1),
        figure(series.median(|sample| sample.process_us), 1),
        figure(peak, 1)
    );
    text
}

/// A number with so many digits behind the point, or a dash.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A number per second; digits behind the point only where there are few before it.
fn rate(value: Option<f64>) -> String {
    let is_small = value.is_some_and(|value| value < 100.0);
    figure(value, if is_small { 2 } else { 0 })
}

fn ratio(value: Option<f64>, base: Option<f64>) -> String {
    figure(value.zip(base).map(|(value, base)| value / base), 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(peer: &str, runs: &[(f64, f64)], process_us: Option<f64>) -> Series {
        let sample = |&(per_second, p99_ms): &(f64, f64)| Sample {
            per_second,
            p50_ms: 1.0,
            p95_ms: 2.0,
            p99_ms,
            machine_us: 40.0,
            process_us,
            peak_bytes: process_us.map(|_| 3 << 20),
        };
        Series {
            peer: peer.to_owned(),
            samples: runs.iter().map(sample).collect(),
        }
    }

    #[test]
    fn a_low_rate_has_digits() {
        assert_eq!(rate(Some(1.234)), "1.23");
        assert_eq!(rate(Some(12_345.6)), "12346");
        assert_eq!(rate(None), "-");
    }

    #[test]
    fn all_is_relative_to_the_first() {
        let direct = series("direct", &[(90.0, 3.0), (100.0, 4.0), (110.0, 5.0)], None);
        let proxy = series("proxy", &[(150.0, 4.0), (100.0, 6.0)], Some(12.34));
        let text = table("queries", &[direct, proxy]);
        let cells: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(cells[0][0], "queries/s");
        let direct = "direct 100 1.00 0.95 1.05 | 1.00 1.00 1.00 4.00 | 40.0 - -";
        let proxy = "proxy 125 1.25 1.12 1.38 | 1.00 1.00 1.25 5.00 | 40.0 12.3 3.0";
        assert_eq!(cells[1], direct.split(' ').collect::<Vec<_>>());
        assert_eq!(cells[2], proxy.split(' ').collect::<Vec<_>>());
    }
}
