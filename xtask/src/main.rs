//! The tasks of this repository, as `cargo xtask TASK`: a file per task. Each task first installs what it needs and lacks, so
//! that any of them is the first command on a fresh machine.
#![expect(
    clippy::print_stdout,
    reason = "what a task does and finds, it tells on its standard output"
)]

mod archive;
mod bench;
mod build;
mod demo;
mod fuzz;
mod ha;
mod lint;
mod place;
mod run;
mod servers;
mod setup;
mod test;
mod tidy;
#[path = "../../proxy/build/toolchain.rs"]
mod toolchain;
mod torture;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The tasks of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what a task needs and this machine lacks (apt, cargo, pip)
    Setup(setup::Arguments),
    /// Build the BPF object alone, to look at it
    BuildEbpf,
    /// Build the daemon: target/release/sluice
    Build,
    /// Show a MySQL client whose bytes move in the kernel, on a private MariaDB
    Demo(demo::Arguments),
    /// Run every test
    Test(test::Arguments),
    /// Look for inputs that break something, guided by coverage
    Fuzz(fuzz::Arguments),
    /// Check format, lints, documentation and the rules of ARCHITECTURE.md
    Lint,
    /// Test Sluice on other kernels, in emulated machines
    VmTest(vm::Arguments),
    /// Measure Sluice against a direct connection and other proxies
    Bench(bench::Arguments),
    /// Torture Sluice with random sessions from a seed, in every topology
    Torture(torture::Arguments),
    /// Prove that nothing is lost while nodes are killed, hang and change roles
    Ha(ha::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::BuildEbpf => build::build_ebpf(),
        Task::Build => build::build(),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Lint => lint::run(),
        Task::VmTest(arguments) => vm::run(&arguments),
        Task::Bench(arguments) => bench::run(arguments),
        Task::Torture(arguments) => torture::run(&arguments),
        Task::Ha(arguments) => ha::run(&arguments),
    };
    if let Err(error) = done {
        // Without anyhow's backtrace: the message says which command failed, and that is where to look.
        println!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
