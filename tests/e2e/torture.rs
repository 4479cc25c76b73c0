//! The torture (`sluice_tests::torture`) in the small: that it finds what it is for, and over links with faults (`network`).
//!
//! `SLUICE_TEST_SEED` repeats a run.

use crate::case::Case;
use anyhow::{Result, ensure};
use sluice_tests::{
    path::Path,
    stage::Stage,
    torture::{self, Options, trouble::Chosen, world::Way},
};
use std::{
    env,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub(crate) const CASES: &[Case] =
    &[Case::new("spoiled_byte_is_found", spoiled_byte_is_found).daemon()];

fn options(stage: &Stage, seconds: u64) -> Result<Options> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let given = env::var("SLUICE_TEST_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok());
    Ok(Options {
        seconds,
        seed: seed.unwrap_or(u64::try_from(now)? % 1_000_000_000),
        clients: 4,
        way: match stage.path() {
            Path::Relayed => Way::Relay,
            _ => Way::Auto,
        },
        faults: 0,
        troubles: Chosen::NONE,
        rest: Duration::ZERO,
        spoil: false,
    })
}

/// Tortures a world of its own in the stage's topology, with so many of a thousand segments lost, and as many doubled and swapped.
pub(crate) fn is_clean(stage: &Stage, seconds: u64, faults: usize) -> Result<()> {
    let options = Options {
        faults,
        ..options(stage, seconds)?
    };
    let was_clean = torture::run(stage.setting().topology, options)?;
    ensure!(was_clean, "SLUICE_TEST_SEED={}", options.seed);
    Ok(())
}

/// One bit of what one client reads is flipped: a run that does not notice would notice nothing.
fn spoiled_byte_is_found(stage: &Stage) -> Result<()> {
    let options = Options {
        spoil: true,
        // In the middle of a value, so that nobody waits for bytes that do not come.
        seed: 3,
        ..options(stage, 3)?
    };
    let was_clean = torture::run(stage.setting().topology, options)?;
    ensure!(!was_clean, "nobody has noticed");
    Ok(())
}
