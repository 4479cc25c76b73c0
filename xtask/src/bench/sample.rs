//! What one run yields, and all runs of one peer.

use super::statistics::{median, quantile};
use serde::Serialize;

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Queries, results or connections per second.
    pub(super) per_second: f64,
    /// Half of the events took no longer, in milliseconds.
    pub(super) p50_ms: f64,
    /// 95 of 100 events took no longer.
    pub(super) p95_ms: f64,
    /// 99 of 100 events took no longer.
    pub(super) p99_ms: f64,
    /// CPU microseconds of the whole machine for one query (result, connection): client, server and all between.
    pub(super) machine_us: f64,
    /// CPU microseconds of the process between client and node for one query, in its own name: what the kernel does for it in interrupts is
    /// part of the machine's only. None without such a process.
    pub(super) process_us: Option<f64>,
    /// The most memory that this process held, in bytes.
    pub(super) peak_bytes: Option<u64>,
}

/// All runs of one peer.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    pub(super) peer: String,
    pub(super) samples: Vec<Sample>,
}

impl Series {
    /// No run yet.
    pub(super) fn new(peer: &str) -> Self {
        Self {
            peer: peer.to_owned(),
            samples: Vec::new(),
        }
    }

    fn values(&self, of: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        self.samples.iter().filter_map(of).collect()
    }

    /// The median of a figure; none where no run has it.
    pub(super) fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(&self.values(of))
    }

    /// A quantile of the throughput.
    pub(super) fn throughput(&self, share: f64) -> Option<f64> {
        quantile(&self.values(|sample| Some(sample.per_second)), share)
    }

    /// The most memory in any run, in bytes.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        self.samples
            .iter()
            .filter_map(|sample| sample.peak_bytes)
            .max()
    }
}
