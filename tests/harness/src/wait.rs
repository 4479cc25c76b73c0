//! Waiting for a condition, never for a time: the only place of the tests that sleeps.

use anyhow::{Result, anyhow, bail};
use std::{
    env,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Between two looks at a condition.
const STEP: Duration = Duration::from_millis(2);

#[expect(
    clippy::disallowed_methods,
    reason = "the state of another process, of a server or of the kernel sends no event that could be awaited instead"
)]
fn pause() {
    thread::sleep(STEP);
}

/// A deadline that stands for "in time", on this machine: `SLUICE_TEST_SLOWNESS` says how many times slower than real hardware it is, as an emulated
/// one may be.
pub fn in_time(deadline: Duration) -> Duration {
    static SLOWNESS: LazyLock<u32> = LazyLock::new(|| {
        let value = env::var("SLUICE_TEST_SLOWNESS").ok();
        value.and_then(|value| value.parse().ok()).unwrap_or(1)
    });
    deadline.saturating_mul(*SLOWNESS)
}

/// Polls `probe` until it yields a value, which is returned.
///
/// # Errors
///
/// What `probe` returns; at the `deadline`, an error that names `what` was awaited.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let deadline = in_time(deadline);
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            bail!("after {deadline:?} still not: {what}");
        }
        pause();
    }
}

/// Polls `condition` until it is true.
///
/// # Errors
///
/// As [`until`].
pub fn until_true(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, deadline, || Ok(condition()?.then_some(())))
}

/// Polls `observe` for all of `span`, for what must *not* happen in that time or what is to be watched during it.
///
/// # Errors
///
/// The first error of `observe`.
pub fn throughout(span: Duration, mut observe: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < span {
        observe()?;
        pause();
    }
    Ok(())
}

/// Acts once in a `period` until `is_over`, as a client does that polls.
///
/// # Errors
///
/// The first error of `act`.
pub fn every(
    period: Duration,
    is_over: &AtomicBool,
    mut act: impl FnMut() -> Result<()>,
) -> Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        act()?;
        while start.elapsed() < period && !is_over.load(Ordering::Relaxed) {
            pause();
        }
    }
    Ok(())
}

/// What a thread returned.
///
/// # Errors
///
/// When it panicked, with `who` it was and its words.
pub fn joined<T>(result: thread::Result<T>, who: &str) -> Result<T> {
    result.map_err(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        anyhow!(
            "{who} panicked: {}",
            words
                .or(panic.downcast_ref::<&str>().copied())
                .unwrap_or("without words")
        )
    })
}
