//! `cargo xtask bench`: sysbench through the daemon, on each of its paths, against a direct connection and other proxies, in each topology;
//! with `--admin`, what admin statements cost; with `--split`, reads at a replica.
//!
//! Single runs tell nothing: throughput is bimodal, by the cores on which the scheduler puts a pair (0.8 to 1.8 in the same
//! configuration). So many short runs in shuffled order are compared by their medians, with all that is compared up all the time.

mod admin;
mod arguments;
mod chart;
mod cpu;
mod idle;
mod interrupt;
mod load;
mod markdown;
mod noise;
mod peer;
pub(crate) mod proxies;
mod record;
mod sample;
mod shuffle;
mod split;
mod stage;
mod statistics;
mod sysbench;
mod table;
mod workload;

use crate::{build, place, run, setup};
use anyhow::{Context as _, Result, bail};
pub(crate) use arguments::Arguments;
use interrupt::Interrupt;
use load::Load;
use peer::{Peer, Way};
use record::{Comparison, Record};
use sample::Series;
use shuffle::Shuffle;
use sluice_tests::place as test_place;
use sluice_tests::topology::Topology;
use stage::Place;
use std::fs;
use std::time::Duration;
use workload::Workload;

/// Measures, prints tables, writes files.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let arguments = arguments.settled();
    setup::ensure(setup::Goal::Bench)?;
    if !place::is_root() {
        bail!("bench makes network namespaces and compares the spliced paths: both need root");
    }
    build::build_daemon()?;
    test_place::sweep()?;
    let interrupt = Interrupt::watch()?;
    let outcome = measure_all(&arguments, &interrupt);
    test_place::clear()?;
    outcome
}

fn measure_all(arguments: &Arguments, interrupt: &Interrupt) -> Result<()> {
    let mut shuffle = Shuffle::new(arguments.seed);
    noise::warn()?;
    println!(
        "{} runs of {} s each, --seed {}",
        arguments.runs,
        arguments.seconds,
        shuffle.seed()
    );
    if arguments.admin {
        let place = ready(Topology::Local, &arguments.node_options())?;
        return admin::measure_all(&place, arguments, &mut shuffle);
    }
    if arguments.split {
        return split::measure_all(arguments, &mut shuffle, interrupt);
    }
    let mut record = Record::new(shuffle.seed(), arguments.seconds);
    let mut measure = |topology| {
        compare_in(topology, arguments, &mut shuffle, interrupt, &mut record)?;
        if arguments.workload.contains(&Workload::Idle) {
            idle_in(topology, arguments, interrupt, &mut record)?;
        }
        Ok(())
    };
    let outcome = arguments
        .topology
        .iter()
        .copied()
        .try_for_each(&mut measure);
    // What was measured before a failure is worth keeping.
    outcome.and(write(arguments, &record))
}

/// `bench.json`, `bench.md` and `bench.svg`.
fn write(arguments: &Arguments, record: &Record) -> Result<()> {
    let usual = || place::target().join("bench");
    let folder = arguments.output.clone().unwrap_or_else(usual);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let json = folder.join("bench.json");
    fs::write(&json, serde_json::to_string_pretty(record)? + "\n")?;
    println!("{}", json.display());
    let tables = folder.join("bench.md");
    fs::write(
        &tables,
        markdown::markdown(&record.comparisons, &record.idle),
    )?;
    println!("{}", tables.display());
    if !record.comparisons.is_empty() {
        let svg = folder.join("bench.svg");
        fs::write(&svg, chart::chart(&record.comparisons) + "\n")?;
        println!("{}", svg.display());
    }
    Ok(())
}

/// All workloads but the idle one, in one topology.
fn compare_in(
    topology: Topology,
    arguments: &Arguments,
    shuffle: &mut Shuffle,
    interrupt: &Interrupt,
    record: &mut Record,
) -> Result<()> {
    let mut workloads = arguments.workload.clone();
    workloads.retain(|workload| *workload != Workload::Idle);
    if workloads.is_empty() {
        return Ok(());
    }
    interrupt.check()?;
    let place = ready(topology, &arguments.node_options())?;
    let peers = place.peers(&arguments.peers, &arguments.peer)?;
    for workload in workloads {
        for threads in &arguments.threads {
            let load = arguments.load(workload, *threads);
            println!(
                "\n{}, {}, {threads} connections",
                topology.name(),
                workload.name()
            );
            let compared =
                place.on_client(|| compare(&peers, load, arguments.runs, shuffle, interrupt));
            let series = compared??;
            print!("{}", table::table(workload.unit(), &series));
            record.comparisons.push(Comparison {
                topology: topology.name(),
                workload: workload.name(),
                unit: workload.unit(),
                threads: *threads,
                series,
            });
        }
    }
    Ok(())
}

/// The idle workload, with a node that is set up for so many sessions.
fn idle_in(
    topology: Topology,
    arguments: &Arguments,
    interrupt: &Interrupt,
    record: &mut Record,
) -> Result<()> {
    interrupt.check()?;
    let sessions = idle::possible(arguments.idle_sessions)?;
    let options = [arguments.node_options(), idle::node_options(sessions)].concat();
    let place = ready(topology, &options)?;
    let peers = place.peers(&arguments.peers, &[])?;
    let span = Duration::from_secs(if arguments.quick { 2 } else { 10 });
    println!("\n{}, idle, {sessions} sessions", topology.name());
    let measured = place.on_client(|| idle::measure(&place, &peers, sessions, span, interrupt));
    let measured = measured??;
    print!("{}", idle::table(&measured));
    record.idle.extend(measured);
    Ok(())
}

/// Hosts and a node with its table.
fn ready(topology: Topology, options: &[String]) -> Result<Place> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let place = Place::new(topology, &options)?;
    let direct = Way::Tcp(place.node.address());
    place.on_client(|| run::run_quietly(&mut Workload::prepare(&direct)))??;
    Ok(place)
}

/// All runs of all peers, each round in an order of its own.
fn compare(
    peers: &[Peer],
    load: Load<'_>,
    runs: usize,
    shuffle: &mut Shuffle,
    interrupt: &Interrupt,
) -> Result<Vec<Series>> {
    let mut all: Vec<Series> = peers.iter().map(|peer| Series::new(&peer.name)).collect();
    for _ in 0..runs {
        for number in shuffle.order(peers.len()) {
            interrupt.check()?;
            if let (Some(peer), Some(series)) = (peers.get(number), all.get_mut(number)) {
                let sample = load::measure(peer, load);
                // Ctrl-C in a terminal ends sysbench as well: that failure is none.
                interrupt.check()?;
                series.samples.push(sample?);
            }
        }
    }
    Ok(all)
}
