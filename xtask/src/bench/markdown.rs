//! The comparisons as tables for the README.

use super::idle::Idle;
use super::record::Comparison;
use super::sample::{Sample, Series};
use std::fmt::Write as _;

/// The label of the proxy that others are compared with.
const OTHER: &str = "HAProxy";

/// A table for each workload in each topology, and one for idle sessions. Where there are several numbers of connections, a cell has a figure for
/// each.
pub(super) fn markdown(comparisons: &[Comparison], idle: &[Idle]) -> String {
    let mut text = String::new();
    let same = |one: &Comparison, other: &Comparison| {
        (one.topology, one.workload) == (other.topology, other.workload)
    };
    for group in comparisons.chunk_by(same) {
        text.push_str(&table(group));
    }
    if !idle.is_empty() {
        text.push_str(&idle_table(idle));
    }
    text
}

fn table(group: &[Comparison]) -> String {
    let Some(first) = group.first() else {
        return String::new();
    };
    let threads: Vec<String> = group.iter().map(|one| one.threads.to_string()).collect();
    let mut text = format!(
        "{}, {}, {} connections; relative to direct:\n\n\
         | | {} | to {OTHER} | CPU | p99 | peak MiB |\n|---|---|---|---|---|---|\n",
        first.topology,
        first.workload,
        threads.join(" / "),
        first.unit,
    );
    for (number, series) in first.series.iter().enumerate() {
        let cell = |of: &dyn Fn(&[Series], &Series) -> Option<f64>, digits: usize| {
            let each = group.iter().map(|one| {
                let value = one.series.get(number);
                let value = value.and_then(|series| of(&one.series, series));
                value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
            });
            each.collect::<Vec<_>>().join(" / ")
        };
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            series.peer,
            cell(&|all, one| to(all.first(), one, rate), 2),
            cell(
                &|all, one| to(all.iter().find(|one| one.peer == OTHER), one, rate),
                2
            ),
            cell(&|all, one| to(all.first(), one, |one| one.median(cpu)), 2),
            cell(&|all, one| to(all.first(), one, |one| one.median(p99)), 2),
            cell(&|_all, one| peak_mib(one), 0),
        );
    }
    text.push('\n');
    text
}

/// A figure relative to another's.
fn to(base: Option<&Series>, one: &Series, of: impl Fn(&Series) -> Option<f64>) -> Option<f64> {
    Some(of(one)? / of(base?)?)
}

fn rate(series: &Series) -> Option<f64> {
    series.throughput(0.5)
}

#[expect(clippy::unnecessary_wraps, reason = "as Series::median takes it")]
fn cpu(sample: &Sample) -> Option<f64> {
    Some(sample.machine_us)
}

#[expect(clippy::unnecessary_wraps, reason = "as Series::median takes it")]
fn p99(sample: &Sample) -> Option<f64> {
    Some(sample.p99_ms)
}

#[expect(clippy::cast_precision_loss, reason = "shown in MiB")]
fn peak_mib(series: &Series) -> Option<f64> {
    series.peak_bytes().map(|bytes| bytes as f64 / 1_048_576.0)
}

fn idle_table(all: &[Idle]) -> String {
    let mut text =
        "| idle sessions | number | % of a core | KiB each |\n|---|---|---|---|\n".to_owned();
    for idle in all {
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "| {}, {} | {} | {:.2} | {:.1} |",
            idle.peer,
            idle.topology,
            idle.sessions,
            idle.core_percent,
            idle.bytes_per_session / 1024.0
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(threads: u32, rates: [f64; 3]) -> Comparison {
        let series = |(peer, per_second): (&str, f64)| Series {
            peer: peer.to_owned(),
            samples: vec![Sample {
                per_second,
                p99_ms: 100.0 / per_second,
                machine_us: 10.0,
                peak_bytes: (peer != "direct").then_some(8 << 20),
                ..Sample::default()
            }],
        };
        Comparison {
            topology: "gateway",
            workload: "connect",
            unit: "connections",
            threads,
            series: ["direct", "Sluice relay", OTHER]
                .into_iter()
                .zip(rates)
                .map(series)
                .collect(),
        }
    }

    #[test]
    fn numbers_of_connections_share_a_table() {
        let all = [
            comparison(8, [100.0, 60.0, 50.0]),
            comparison(64, [200.0, 110.0, 100.0]),
        ];
        let text = markdown(&all, &[]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(
            rows[0],
            "gateway, connect, 8 / 64 connections; relative to direct:"
        );
        assert_eq!(
            rows[2],
            "| | connections | to HAProxy | CPU | p99 | peak MiB |"
        );
        assert_eq!(
            rows[4],
            "| direct | 1.00 / 1.00 | 2.00 / 2.00 | 1.00 / 1.00 | 1.00 / 1.00 | – / – |"
        );
        assert_eq!(
            rows[5],
            "| Sluice relay | 0.60 / 0.55 | 1.20 / 1.10 | 1.00 / 1.00 | 1.67 / 1.82 | 8 / 8 |"
        );
        assert_eq!(rows.len(), 8);
    }
}
