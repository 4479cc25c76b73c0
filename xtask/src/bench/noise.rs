//! Whether the machine is quiet enough for figures.

use super::cpu;
use anyhow::Result;
use sluice_tests::wait;
use std::thread;
use std::time::{Duration, Instant};

/// How long the machine is watched.
const SPAN: Duration = Duration::from_millis(500);
/// Of all cores; below it nobody else works.
const QUIET_PERCENT: f64 = 5.0;

/// Warns where other programs keep the cores busy.
///
/// # Errors
/// `/proc/stat` cannot be read.
pub(super) fn warn() -> Result<()> {
    let (start, before) = (Instant::now(), cpu::machine_us()?);
    wait::throughout(SPAN, || Ok(()))?;
    let cores = u32::try_from(thread::available_parallelism().map_or(1, usize::from))?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of half a second")]
    let busy = (cpu::machine_us()? - before) as f64 / 1e6;
    let percent = 100.0 * busy / (start.elapsed().as_secs_f64() * f64::from(cores));
    if percent > QUIET_PERCENT {
        println!(
            "warning: other programs use {percent:.0} % of this machine, so figures are worth little"
        );
    }
    Ok(())
}
