//! `cargo xtask torture`: builds daemon and torture for release and runs them. The engine is `tests/harness/src/torture`, its command line
//! `tests/torture/main.rs`.

use crate::{build, place, run, setup};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Torture Sluice with random sessions from a seed.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// How long all topologies are tortured, at the same time, by `cargo xtask test`.
const SECONDS_IN_TEST: &str = "120";
/// What befalls the daemon meanwhile, and loses no session.
const TROUBLES_IN_TEST: &str =
    "daemon-stopped,splice-off,daemon-reloaded,path-relay,splice-limit,routes-changed";

/// Runs it as the command line says.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Goal::Test)?;
    build::build_daemon()?;
    start(&arguments.arguments)
}

/// What belongs to `cargo xtask test`; the daemon has been built. First long and strict, as nothing explains the loss of a session; then with everything
/// that there is, over links that lose; then through the daemon alone.
pub(crate) fn run_in_test() -> Result<()> {
    for arguments in [
        &["--seconds", SECONDS_IN_TEST, "--trouble", TROUBLES_IN_TEST][..],
        &["--seconds", "30", "--rest", "4", "--faults", "1"],
        &["--seconds", "20", "--no-troubles", "--path", "relay"],
    ] {
        let arguments = [&["--clients", "5"], arguments].concat();
        start(&arguments.into_iter().map(str::to_owned).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn start(arguments: &[String]) -> Result<()> {
    if !place::is_root() {
        bail!("torture makes network namespaces and splices: both need root");
    }
    let mut command = Command::new(program()?);
    command.args(arguments).env("SLUICE_BIN", place::daemon());
    run::run(&mut command)
}

/// Builds the program.
pub(crate) fn program() -> Result<PathBuf> {
    // It compares as many bytes as the daemon moves.
    build::build_test_program("sluice-torture")
}
