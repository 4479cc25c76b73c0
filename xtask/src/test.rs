//! `cargo xtask test`: unit tests, then the end-to-end tests against real servers, then two minutes of torture, the fuzz targets and an old kernel.

use crate::{build, fuzz, place, run, servers, setup, torture, vm};
use anyhow::Result;
use std::time::Instant;

/// What makes the tests of endurance count as far as the README says, and leaves the others out.
const ENDURANCE: [(&str, &str); 2] = [
    ("SLUICE_TEST_ENDURANCE", "1"),
    (
        "SLUICE_TEST_ONLY",
        "liars::bad_logins,liars::logins,liars::statements,stalled::",
    ),
];

/// Run every test.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests whose name contains this
    filter: Option<String>,
    /// Only what takes a million statements, a hundred thousand logins and as many wrong passwords, or two hundred results of a gigabyte that nobody reads, and looks at the daemon's memory
    #[arg(long)]
    endurance: bool,
    /// Arguments for the test programs, after `--`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs all tests and ends with a summary that names what could not be tested here.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Goal::Test)?;
    let servers = servers::prepare();
    // The daemon is tested as it is shipped, and gigabytes go through it.
    build::build_daemon()?;
    let end_to_end = ["test", "--locked", "--package", "sluice-tests"];
    if arguments.endurance {
        let mut environment = servers.environment;
        environment.extend(ENDURANCE.map(|(name, value)| (name, value.into())));
        let (result, seconds) = run_tests(
            &[&end_to_end[..], &["--test", "e2e"]].concat(),
            arguments,
            &environment,
        );
        println!("endurance tests: {seconds:.0} s");
        return result;
    }
    let mut results = vec![
        (
            "unit tests",
            run_tests(&["test", "--locked"], arguments, &[]),
        ),
        (
            "end-to-end tests",
            run_tests(&end_to_end, arguments, &servers.environment),
        ),
    ];
    if place::is_root() && arguments.filter.is_none() {
        let start = Instant::now();
        let tortured = torture::run_in_test();
        results.push(("torture", (tortured, start.elapsed().as_secs_f64())));
    }
    if arguments.filter.is_none() {
        let start = Instant::now();
        let fuzzed = fuzz::test();
        results.push(("fuzz targets", (fuzzed, start.elapsed().as_secs_f64())));
        let start = Instant::now();
        let loaded = vm::test();
        results.push(("an old kernel", (loaded, start.elapsed().as_secs_f64())));
    }
    println!("\nsummary");
    let mut outcome = Ok(());
    for (name, (result, seconds)) in results {
        println!(
            "  {name}: {} in {seconds:.0} s",
            if result.is_ok() { "passed" } else { "FAILED" }
        );
        outcome = outcome.and(result);
    }
    for (name, why) in &servers.absent {
        println!("  not tested against {name}: {why}");
    }
    if !place::is_root() {
        println!(
            "  not tested, for want of root: splicing (--splice require), network namespaces, torture"
        );
    }
    outcome
}

/// Runs one `cargo test`; returns how it went and how many seconds it took.
fn run_tests(
    cargo: &[&str],
    arguments: &Arguments,
    environment: &[(&'static str, std::path::PathBuf)],
) -> (Result<()>, f64) {
    let start = Instant::now();
    let mut command = run::cargo(cargo);
    command
        .args(&arguments.filter)
        .arg("--")
        .args(&arguments.rest);
    command
        .env("SLUICE_BIN", place::daemon())
        .envs(environment.iter().map(|(name, path)| (name, path)));
    (run::run(&mut command), start.elapsed().as_secs_f64())
}
