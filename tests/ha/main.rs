//! High availability proven, as a program: `cargo xtask ha` builds and starts it. The engine is `harness/src/ha`.
#![expect(
    clippy::print_stdout,
    reason = "what a run found it tells on its standard output"
)]

use anyhow::Result;
use clap::Parser;
use sluice_tests::{
    ha::{self, Options},
    host::Host,
    path::Path,
    place,
    rights::{self, Rights},
    stage::{Front, Setting},
    topology::Topology,
};
use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Has clients write through Sluice and check what they have written, while three nodes are killed, hang and change roles.
///
/// Ends with exit code 1 if something was lost that was acknowledged, executed twice, or if an idle session was lost.
#[derive(Parser)]
#[command(bin_name = "cargo xtask ha")]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Repeats the order of a run's troubles [default: another one each time; it is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Clients that work
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Clients that are idle most of the time
    #[arg(long, default_value_t = 16)]
    idle: u32,
    /// Has the daemon relay instead of splicing, which needs root
    #[arg(long)]
    relay: bool,
    /// Keeps the daemon's log there
    #[arg(long)]
    log: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    rights::become_daemon_if_asked()?;
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let options = Options {
        span: Some(Duration::from_secs(arguments.seconds)),
        seed: match arguments.seed {
            Some(seed) => seed,
            None => u64::try_from(now)? % 1_000_000_000,
        },
        clients: arguments.clients,
        idle: arguments.idle,
    };
    println!("ha: seed {}, {} s", options.seed, arguments.seconds);
    place::sweep()?;
    let setting = Setting {
        topology: Topology::Local,
        path: if arguments.relay {
            Path::Relayed
        } else {
            Path::Spliced
        },
        rights: Rights::of_this_run(),
    };
    let host = Host::here();
    let report = ha::run(
        options,
        &host,
        |config| Front::start_with_config(setting, &host, config, &[]),
        &|text| println!("{text}"),
    );
    place::clear()?;
    let report = report?;
    println!("{report}");
    if let Some(file) = arguments.log {
        fs::write(file, &report.log)?;
    }
    Ok(if report.wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
