//! All that was measured, for `bench.json`.

use super::idle::Idle;
use super::sample::Series;
use serde::Serialize;
use std::fs;
use std::thread;
use std::time::SystemTime;

/// The whole file.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    /// When it began, in seconds since 1970.
    began: u64,
    /// The command line.
    command: String,
    kernel: String,
    cores: usize,
    /// Seed of the order of runs.
    seed: u64,
    /// Length of one run.
    seconds: u32,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) idle: Vec<Idle>,
}

/// All peers under one load.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) topology: &'static str,
    pub(super) workload: &'static str,
    /// What is counted per second.
    pub(super) unit: &'static str,
    pub(super) threads: u32,
    /// The first is the direct connection.
    pub(super) series: Vec<Series>,
}

impl Record {
    /// Of this machine and this command line, with nothing measured yet.
    pub(super) fn new(seed: u64, seconds: u32) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            began: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            command: format!("cargo xtask {}", arguments.join(" ")),
            kernel: kernel.trim().to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            seed,
            seconds,
            comparisons: Vec::new(),
            idle: Vec::new(),
        }
    }
}
