//! The program `sluice`: command line in, exit code out.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use sluice::cli::{self, Cli, Command, RunArguments};
use sluice::config::Splice;
use sluice::worker::{self, RunError};
use sluice::{doctor, log};

/// How the program ends. The numbers are part of its interface; `--help` lists them.
#[derive(Clone, Copy)]
enum Exit {
    Clean = 0,
    Failure = 1,
    /// clap's own number for a bad command line too.
    Usage = 2,
    SpliceUnavailable = 3,
    Bind = 4,
}

fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::CheckConfig { config } => check_config(&config),
        Command::Doctor { splice } => doctor(splice),
        Command::Unit => say(cli::UNIT),
    };
    ExitCode::from(exit as u8)
}

fn run(arguments: RunArguments) -> Exit {
    let (settings, origin) = match arguments.settings() {
        Ok(read) => read,
        Err(error) => return complain(Exit::Usage, error),
    };
    let log = match log::init(settings.log) {
        Ok(log) => log,
        Err(error) => return complain(Exit::Failure, error),
    };
    let Err(error) = worker::run(&settings, origin, log) else {
        return Exit::Clean;
    };
    tracing::error!(%error, "stopped");
    match error {
        RunError::SpliceUnavailable(_) => Exit::SpliceUnavailable,
        RunError::Bind { .. } => Exit::Bind,
        RunError::Failed(_) => Exit::Failure,
    }
}

fn check_config(path: &Path) -> Exit {
    match cli::check_config(path) {
        Ok(settings) => {
            let nodes: usize = settings
                .clusters
                .iter()
                .map(|cluster| cluster.nodes.len())
                .sum();
            let (path, clusters) = (path.display(), settings.clusters.len());
            say(format_args!(
                "{path}: good. Listens on {}; clusters: {clusters}, nodes: {nodes}.\n",
                settings.listen
            ))
        }
        Err(error) => complain(Exit::Usage, error),
    }
}

fn doctor(splice: Splice) -> Exit {
    let report = doctor::report();
    match say(&report) {
        Exit::Clean if splice == Splice::Require && !report.can_splice => Exit::SpliceUnavailable,
        exit => exit,
    }
}

/// Prints what was asked for. A closed pipe is a failure, not a panic.
fn say(text: impl Display) -> Exit {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Exit::Clean,
        Err(_) => Exit::Failure,
    }
}

/// Says on stderr why it ends.
fn complain(exit: Exit, error: impl Display) -> Exit {
    // Where stderr is closed too, the exit code is all that is left to say it.
    let _ = writeln!(io::stderr(), "sluice: {error}");
    exit
}
