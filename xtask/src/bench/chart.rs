//! Throughput relative to a direct connection, as bars: a panel for each comparison.

use super::record::Comparison;
use super::sample::Series;
use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text, Title};

const PANEL_WIDTH: f64 = 400.0;
/// From a panel's left edge to where bars begin.
const LABEL_WIDTH: f64 = 100.0;
/// Of the longest bar.
const BAR_WIDTH: f64 = 240.0;
const BAR_HEIGHT: f64 = 14.0;
/// From one bar to the next.
const STEP: f64 = 20.0;
/// From a panel's top to its first bar.
const HEAD: f64 = 34.0;

/// Readable on a light and on a dark page.
const STYLE: &str = "
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600 }
.sluice { fill: #2f7fd8 } .other { fill: #8b949e }
.one, .quartiles { stroke: #1f2328 } .one { stroke-dasharray: 3 3; opacity: 0.6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .one, .quartiles { stroke: #e6edf3 }
}";

/// Where a panel's bars are, and how long.
struct Panel {
    left: f64,
    top: f64,
    /// Width of the ratio 1.
    unit: f64,
}

/// Draws all comparisons: those of one topology and workload side by side.
pub(super) fn chart(comparisons: &[Comparison]) -> String {
    let longest = comparisons
        .iter()
        .flat_map(|comparison| ratios(comparison, 0.75))
        .fold(1.0, f64::max);
    let mut document = Document::new();
    let (mut width, mut bottom): (f64, f64) = (0.0, 0.0);
    let mut panel = Panel {
        left: 0.0,
        top: 0.0,
        unit: BAR_WIDTH / longest,
    };
    let mut last = None;
    for comparison in comparisons {
        let row = (comparison.topology, comparison.workload);
        if last.replace(row) == Some(row) {
            panel.left += PANEL_WIDTH;
        } else {
            (panel.left, panel.top) = (0.0, bottom);
        }
        document = document.add(panel.draw(comparison));
        width = width.max(panel.left + PANEL_WIDTH);
        bottom = bottom.max(panel.top + height(comparison));
    }
    let style = Style::new(STYLE);
    let title = Title::new("Throughput relative to a direct connection");
    let document = document
        .set("viewBox", (0, 0, width, bottom))
        .set("width", width)
        .set("height", bottom)
        .add(title)
        .add(style);
    document.to_string()
}

fn height(comparison: &Comparison) -> f64 {
    let bars = u32::try_from(comparison.series.len()).unwrap_or(u32::MAX);
    HEAD + STEP * f64::from(bars) + 10.0
}

/// A quantile of each peer's throughput relative to the median of the direct connection's.
fn ratios(comparison: &Comparison, share: f64) -> impl Iterator<Item = f64> {
    let direct = comparison.series.first();
    let direct = direct.and_then(|series| series.throughput(0.5));
    comparison
        .series
        .iter()
        .filter_map(move |series| Some(series.throughput(share)? / direct?))
}

impl Panel {
    fn draw(&self, comparison: &Comparison) -> Group {
        let connections = if comparison.threads == 1 {
            "connection"
        } else {
            "connections"
        };
        let head = format!(
            "{}, {}, {} {connections}",
            comparison.topology, comparison.workload, comparison.threads
        );
        let zero = self.left + LABEL_WIDTH;
        let one = Line::new()
            .set("class", "one")
            .set("x1", zero + self.unit)
            .set("x2", zero + self.unit)
            .set("y1", self.top + HEAD - 4.0)
            .set("y2", self.top + height(comparison) - 10.0);
        let mut group = Group::new().add(
            Text::new(head)
                .set("class", "head")
                .set("x", self.left + 4.0)
                .set("y", self.top + 20.0),
        );
        let middle = ratios(comparison, 0.5);
        let quartiles = ratios(comparison, 0.25).zip(ratios(comparison, 0.75));
        let mut top = self.top + HEAD;
        for ((series, ratio), quartiles) in comparison.series.iter().zip(middle).zip(quartiles) {
            group = self.bar(group, top, series, ratio, quartiles);
            top += STEP;
        }
        group.add(one)
    }

    /// A bar with its name, its value and a line from quartile to quartile.
    fn bar(
        &self,
        group: Group,
        top: f64,
        series: &Series,
        ratio: f64,
        (low, high): (f64, f64),
    ) -> Group {
        let zero = self.left + LABEL_WIDTH;
        let class = if series.peer.starts_with("Sluice") {
            "sluice"
        } else {
            "other"
        };
        let base = top + BAR_HEIGHT - 3.0;
        let middle = top + BAR_HEIGHT / 2.0;
        let name = Text::new(series.peer.as_str())
            .set("x", zero - 6.0)
            .set("y", base)
            .set("text-anchor", "end");
        let bar = Rectangle::new()
            .set("class", class)
            .set("x", zero)
            .set("y", top)
            .set("width", self.unit * ratio)
            .set("height", BAR_HEIGHT);
        let quartiles = Line::new()
            .set("class", "quartiles")
            .set("x1", zero + self.unit * low)
            .set("x2", zero + self.unit * high)
            .set("y1", middle)
            .set("y2", middle);
        let value = Text::new(format!("{ratio:.2}"))
            .set("x", self.left + PANEL_WIDTH - 20.0)
            .set("y", base)
            .set("text-anchor", "end");
        group.add(name).add(bar).add(quartiles).add(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_ratio() {
        let series = |peer: &str, per_second| Series {
            peer: peer.to_owned(),
            samples: vec![Sample {
                per_second,
                ..Sample::default()
            }],
        };
        let comparison = Comparison {
            topology: "gateway",
            workload: "oltp_point_select",
            unit: "queries",
            threads: 8,
            series: vec![series("direct", 200.0), series("Sluice wire", 150.0)],
        };
        let drawn = chart(&[comparison]);
        assert!(drawn.contains("gateway, oltp_point_select, 8 connections"));
        assert!(
            drawn.contains(r#"class="sluice" height="14" width="180""#),
            "{drawn}"
        );
        assert!(drawn.contains("0.75"));
    }
}
