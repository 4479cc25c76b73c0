//! `cargo xtask setup`: installs what a task needs and this machine lacks; a second run finds nothing to do.

mod apt;
mod bpf_linker;
mod rustup;

use anyhow::{Result, bail};
use clap::ValueEnum;
use std::time::Instant;

/// Install what a task needs and this machine lacks.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The task to prepare for
    #[arg(long = "for", value_enum, default_value = "all")]
    goal: Goal,
}

/// What the machine is prepared for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Goal {
    /// Building the daemon and its BPF programs
    Build,
    /// Building, and a private MariaDB with its client
    Demo,
    /// All that the tests use, machines with other kernels too
    Test,
    /// Building, and a C++ compiler for libFuzzer
    Fuzz,
    /// Building, rustfmt and clippy
    Lint,
    /// What the demo uses, sysbench, and the proxies to compare with
    Bench,
    /// All of these
    All,
}

impl Goal {
    /// True where reaching `self` takes all that `part` takes.
    fn includes(self, part: Self) -> bool {
        match part {
            Self::Build => true,
            Self::Demo => matches!(self, Self::Demo | Self::Test | Self::Bench | Self::All),
            Self::Fuzz => matches!(self, Self::Fuzz | Self::Test | Self::All),
            Self::Test | Self::Lint | Self::Bench | Self::All => self == part || self == Self::All,
        }
    }
}

/// The task itself: like [`ensure`], and says so when there was nothing to do.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if ensure(arguments.goal)? == 0 {
        println!("setup: nothing to do, all that is needed is here");
    }
    Ok(())
}

/// Takes the steps that are missing for a goal, and returns how many there were. Silent where there are none.
pub(crate) fn ensure(goal: Goal) -> Result<usize> {
    let mut taken = apt::install_missing(goal)?;
    if bpf_linker::is_missing() {
        step("bpf-linker", bpf_linker::WHY, bpf_linker::install)?;
        taken += 1;
    }
    if goal.includes(Goal::Lint) {
        for component in rustup::missing_components() {
            step(component, "checks of format and style", || {
                rustup::install(component)
            })?;
            taken += 1;
        }
    }
    // An installation may succeed and yet not yield a toolchain, on a system of another kind.
    if let Err(sentence) = crate::toolchain::Toolchain::find() {
        bail!("{sentence}, but it did not help on this machine");
    }
    Ok(taken)
}

/// Takes one step, and says what, what for, and how long it took.
fn step(what: &str, why: &str, take: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("setup: {what} (for {why}) ...");
    let start = Instant::now();
    take()?;
    println!(
        "setup: {what}: done in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
