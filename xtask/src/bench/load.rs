//! One run of sysbench, and what it cost.

use super::cpu;
use super::peer::Peer;
use super::sample::Sample;
use super::sysbench::{Report, STARTED};
use super::workload::Workload;
use anyhow::{Context as _, Result, bail};
use sluice_tests::memory;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

/// What a run is.
#[derive(Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) workload: Workload,
    pub(super) threads: u32,
    pub(super) seconds: u32,
    pub(super) db_ps_mode: &'a str,
    /// sysbench's statements run without transactions.
    pub(super) skip_trx: bool,
}

/// CPU time and memory that are read at the beginning and at the end of a run.
struct Meter {
    /// The process between, with its children.
    pids: Vec<u32>,
    machine_us: u64,
    process_us: u64,
}

impl Meter {
    fn start(pid: Option<u32>) -> Result<Self> {
        let pids = pid.map(cpu::family).transpose()?.unwrap_or_default();
        for pid in &pids {
            memory::reset_peak(*pid)?;
        }
        Ok(Self {
            machine_us: cpu::machine_us()?,
            process_us: cpu::processes_us(&pids)?,
            pids,
        })
    }

    /// Figures for so many queries since the start.
    fn stop(&self, report: &Report, workload: Workload) -> Result<Sample> {
        let count = match workload.unit() {
            "queries" => report.queries,
            _ => report.events,
        };
        if count == 0 {
            bail!("not one of the {} was done", workload.unit());
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds of one run")]
        let per_query = |us: u64| us as f64 / count as f64;
        let machine_us = cpu::machine_us()? - self.machine_us;
        let process_us = cpu::processes_us(&self.pids)? - self.process_us;
        let mut peak_bytes = 0;
        for pid in &self.pids {
            peak_bytes += memory::resident_bytes_peak(*pid)?;
        }
        let is_there = !self.pids.is_empty();
        let [p50_ms, p95_ms, p99_ms] = report.latency_ms;
        #[expect(clippy::cast_precision_loss, reason = "a number of queries")]
        let per_second = count as f64 / report.seconds;
        Ok(Sample {
            per_second,
            p50_ms,
            p95_ms,
            p99_ms,
            machine_us: per_query(machine_us),
            process_us: is_there.then(|| per_query(process_us)),
            peak_bytes: is_there.then_some(peak_bytes),
        })
    }
}

/// Runs it from the caller's host. CPU time counts from the moment when all connections are open.
///
/// # Errors
/// sysbench fails, or the peer's process is gone.
pub(super) fn measure(peer: &Peer, load: Load<'_>) -> Result<Sample> {
    let mut command = load.workload.sysbench(&peer.way, load.db_ps_mode);
    if load.skip_trx {
        // Of two threads that delete and insert the same row one is too late (1062). The others are sysbench's own: naming one takes them away.
        command.args(["--skip-trx=on", "--mysql-ignore-errors=1062,1213,1020,1205"]);
    }
    command
        .arg(format!("--threads={}", load.threads))
        .arg(format!("--time={}", load.seconds))
        .args(["--histogram=on", "run"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("sysbench")?;
    let outcome = follow(&mut child, peer, load.workload);
    if outcome.is_err() {
        // It may have ended by itself.
        drop(child.kill());
        drop(child.wait());
    }
    outcome.with_context(|| peer.name.clone())
}

fn follow(child: &mut Child, peer: &Peer, workload: Workload) -> Result<Sample> {
    let mut output = String::new();
    let mut stdout = BufReader::new(child.stdout.take().context("sysbench's output")?);
    while !output.trim_end().ends_with(STARTED) && stdout.read_line(&mut output)? > 0 {}
    let meter = Meter::start(peer.pid())?;
    stdout.read_to_string(&mut output)?;
    let status = child.wait()?;
    if !status.success() {
        let mut errors = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut errors)?;
        }
        bail!("sysbench failed ({status}):\n{output}{errors}");
    }
    meter.stop(&Report::parse(&output)?, workload)
}
