//! The torture as a program: `cargo xtask torture` builds and starts it. The engine is `harness/src/torture`.
#![expect(
    clippy::print_stdout,
    reason = "what a run found, and how to repeat it, it tells on its standard output"
)]

use anyhow::{Context as _, Result};
use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser},
};
use sluice_tests::{
    place, rights,
    topology::Topology,
    torture::{
        self, Options,
        trouble::{Chosen, KINDS},
        world::Way,
    },
    wait,
};
use std::{
    fmt::Write as _,
    process::ExitCode,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Tortures Sluice: random sessions from a seed, verified byte for byte, while daemon, nodes and network have troubles.
///
/// Needs root. Each topology has a daemon, two nodes (MariaDB, a primary and its replica) and a network of its own; all are tortured at the same
/// time. Of three clients one reads at the replica (policy `read-write-split`). Ends with a summary for each, and with exit code 1 if a byte was wrong, an operation stuck, or something left over.
#[derive(Parser)]
#[command(bin_name = "cargo xtask torture")]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How long, in minutes
    #[arg(long, conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// Repeats a run's operations [default: another one each time; it is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Where client and node are, seen from the proxy
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = TOPOLOGIES.map(Topology::name), value_parser = topologies())]
    topology: Vec<Topology>,
    /// Which way sessions may take: auto, local, wire or relay
    #[arg(long, default_value = Way::Auto.name(), value_parser = ways())]
    path: Way,
    /// How many at once in each topology
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Of a hundred segments between hosts so many are lost, as many doubled and as many swapped (local has none)
    #[arg(long, default_value_t = 0, value_name = "PERCENT")]
    faults: usize,
    /// Leaves daemon and nodes alone
    #[arg(long)]
    no_troubles: bool,
    /// What daemon and nodes suffer
    #[arg(long, value_name = "KIND", value_delimiter = ',', default_values = KINDS, value_parser = PossibleValuesParser::new(KINDS), conflicts_with = "no_troubles")]
    trouble: Vec<String>,
    /// The longest time between two troubles, in seconds; the shortest is a tenth of it
    #[arg(long, default_value_t = 10.0)]
    rest: f64,
    /// Has one byte read wrong, to see that it is found
    #[arg(long)]
    spoil: bool,
}

const TOPOLOGIES: [Topology; 4] = [
    Topology::Local,
    Topology::Sidecar,
    Topology::NodeSide,
    Topology::Gateway,
];

fn topologies() -> impl TypedValueParser<Value = Topology> {
    PossibleValuesParser::new(TOPOLOGIES.map(Topology::name)).try_map(|name| {
        let mut all = TOPOLOGIES.into_iter();
        all.find(|topology| topology.name() == name)
            .ok_or("no such topology")
    })
}

fn ways() -> impl TypedValueParser<Value = Way> {
    PossibleValuesParser::new(Way::ALL.map(Way::name)).try_map(|name| {
        let mut all = Way::ALL.into_iter();
        all.find(|way| way.name() == name).ok_or("no such path")
    })
}

fn main() -> Result<ExitCode> {
    rights::become_daemon_if_asked()?;
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let options = Options {
        seconds: arguments
            .minutes
            .map_or(arguments.seconds, |minutes| minutes * 60),
        seed: match arguments.seed {
            Some(seed) => seed,
            None => u64::try_from(now)? % 1_000_000_000,
        },
        clients: arguments.clients,
        way: arguments.path,
        faults: arguments.faults * 10,
        troubles: if arguments.no_troubles {
            Chosen::NONE
        } else {
            Chosen::new(&arguments.trouble)
        },
        rest: Duration::try_from_secs_f64(arguments.rest)?,
        spoil: arguments.spoil,
    };
    println!("torture: seed {}, {} s", options.seed, options.seconds);
    place::sweep()?;
    let is_clean = all(&arguments.topology, options);
    place::clear()?;
    if is_clean? {
        return Ok(ExitCode::SUCCESS);
    }
    println!("WRONG. Again: {}", again(&arguments, options));
    Ok(ExitCode::FAILURE)
}

/// Tortures in all topologies at once; returns whether nothing was wrong in any.
fn all(topologies: &[Topology], options: Options) -> Result<bool> {
    thread::scope(|scope| {
        let runs: Vec<_> = topologies
            .iter()
            .map(|topology| (topology, scope.spawn(|| torture::run(*topology, options))))
            .collect();
        let mut is_clean = true;
        for (topology, run) in runs {
            let ran = wait::joined(run.join(), "a run").flatten();
            match ran.with_context(|| topology.name().to_owned()) {
                Ok(was_clean) => is_clean &= was_clean,
                Err(error) => {
                    println!("{error:#}");
                    is_clean = false;
                }
            }
        }
        Ok(is_clean)
    })
}

/// The command that repeats this run.
fn again(arguments: &Arguments, options: Options) -> String {
    let names: Vec<_> = arguments
        .topology
        .iter()
        .map(|topology| topology.name())
        .collect();
    let mut command = format!(
        "cargo xtask torture --seed {} --seconds {} --topology {} --path {} --clients {} --faults {}",
        options.seed,
        options.seconds,
        names.join(","),
        options.way.name(),
        options.clients,
        arguments.faults
    );
    for (is_set, flag) in [
        (arguments.no_troubles, " --no-troubles"),
        (arguments.spoil, " --spoil"),
    ] {
        if is_set {
            command.push_str(flag);
        }
    }
    if !arguments.no_troubles {
        let kinds = arguments.trouble.join(",");
        // Writing to a String cannot fail.
        let _ = write!(command, " --trouble {kinds} --rest {}", arguments.rest);
    }
    command
}
