//! `cargo xtask ha`: builds daemon and program for release and runs it. The engine is `tests/harness/src/ha`, its command line `tests/ha/main.rs`.

use crate::{build, place, run, setup};
use anyhow::Result;
use std::process::Command;

/// Prove that nothing is lost, and nothing done twice, while nodes fail.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs it as the command line says.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Goal::Test)?;
    build::build_daemon()?;
    let mut command = Command::new(build::build_test_program("sluice-ha")?);
    command
        .args(&arguments.arguments)
        .env("SLUICE_BIN", place::daemon());
    run::run(&mut command)
}
