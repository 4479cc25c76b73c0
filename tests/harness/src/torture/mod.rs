//! `cargo xtask torture`: random sessions from a seed, in front of a daemon and two nodes that have troubles of their own, every byte verified.
//!
//! What clients do (`plan`) and what befalls them (`trouble`) are functions of the seed. What they must read is known beforehand, or asked
//! of the node itself. When exactly something happens is the machine's: a seed repeats the operations, not their moments.

mod act;
pub mod client;
pub mod lives;
pub mod operation;
pub mod plan;
pub mod size;
pub mod statements;
pub mod tally;
pub mod text;
pub mod trouble;
pub mod verdict;
pub mod watch;
pub mod world;

use crate::{pattern::Random, topology::Topology, wait};
use anyhow::{Context as _, Result, ensure};
use client::{Client, Scene};
use lives::Course;
use plan::Plan;
use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use tally::Tally;
use trouble::{Chosen, Troubles};
use watch::Watched;
use world::{Way, World};

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long clients work.
    pub seconds: u64,
    /// What all that is random follows from.
    pub seed: u64,
    /// How many clients at once.
    pub clients: usize,
    /// `--path`.
    pub way: Way,
    /// How many of a thousand segments between hosts are lost, and as many doubled and swapped.
    pub faults: usize,
    /// Which troubles daemon and node have.
    pub troubles: Chosen,
    /// Between two of them there is a tenth of this to the whole.
    pub rest: Duration,
    /// Whether one byte is read wrong, to see that it is found.
    pub spoil: bool,
}

/// What the daemon may hold, by itself and for each client.
const RESIDENT_MAX: u64 = 160 << 20;
const RESIDENT_OF_CLIENT: u64 = 4 << 20;

/// Writes a report to standard output, whole.
pub(crate) fn say(text: &str) {
    // Who does not listen need not be told.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Over links that lose much, of so many reads for a replica one must have been answered by it: there are few in seconds, and it is behind at times.
const READS_MIN: u64 = 30;

/// Tortures Sluice in one topology; returns whether nothing was wrong or stuck.
///
/// # Errors
///
/// When something does not start, or is left at the end.
pub fn run(topology: Topology, options: Options) -> Result<bool> {
    let Options {
        way, faults, seed, ..
    } = options;
    let world = World::start(topology, way, faults, seed)?;
    let tally = Tally::default();
    tally
        .resident_first
        .store(world.resident()?, Ordering::Relaxed);
    let start = Instant::now();
    let done = world
        .hosts()
        .client
        .enter(|| play(&world, &tally, options))?;
    let seconds = start.elapsed().as_secs();
    say(&format!(
        "{}: seed {seed}, path {}, faults {faults}, {} clients, {seconds} s: {tally}",
        topology.name(),
        way.name(),
        options.clients
    ));
    done?;
    let most = RESIDENT_MAX + RESIDENT_OF_CLIENT * u64::try_from(options.clients)?;
    let peak = tally::read(&tally.resident_peak);
    ensure!(
        peak < most,
        "the daemon held {peak} bytes, more than {most}"
    );
    if let Some(Course { settled, end }) = tally.course() {
        ensure!(
            end.saturating_sub(settled) <= lives::GROWTH_MAX,
            "a daemon held {settled} bytes in its second to fourth minute, and {end} at its end"
        );
    }
    let regimes = tally.of_daemons("splice_regimes");
    ensure!(
        (regimes > 0) == way.splices_in(topology),
        "the kernel has spliced {regimes} times"
    );
    let [there, elsewhere] = [&tally.at_reader, &tally.at_writer].map(tally::read);
    let are_few = options.faults > 0 && elsewhere < READS_MIN;
    ensure!(
        there > 0 || elsewhere == 0 || are_few || options.troubles.has_any_of_nodes(),
        "of {elsewhere} reads for the replica it has answered none"
    );
    Ok(tally.is_clean())
}

/// Plays on the client's host.
fn play(world: &World, tally: &Tally, options: Options) -> Result<()> {
    let troubles = Troubles::default();
    // A segment that is lost several times comes after up to a minute.
    let patience = wait::in_time(Duration::from_secs(if options.faults > 0 {
        120
    } else {
        60
    }));
    let scene = Scene {
        world,
        troubles: &troubles,
        tally,
        patience,
        spoil: options.spoil,
    };
    let watched: Vec<_> = (0..options.clients)
        .map(|number| Watched::new(world.topology(), number))
        .collect();
    let (is_over, are_gone) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = watched
            .iter()
            .enumerate()
            .map(|(number, watched)| {
                let is_over = &is_over;
                scope.spawn(move || {
                    Client::new(scene, number, watched).play(plan(options, number), is_over);
                })
            })
            .collect();
        let bound = patience * 3 / 4;
        let (watched, is_over, are_gone) = (&watched, &is_over, &are_gone);
        let watching = scope.spawn(move || watch::watch(scene, watched, bound, are_gone));
        let making = scope.spawn(move || {
            if options.troubles.is_any() {
                trouble::make(scene, options, is_over)
            } else {
                Ok(())
            }
        });
        let span = Duration::from_secs(options.seconds);
        let start = Instant::now();
        let waited = wait::until_true("time is up", span * 2, || {
            Ok(start.elapsed() >= span || making.is_finished() && options.troubles.is_any())
        });
        is_over.store(true, Ordering::Relaxed);
        let made = wait::joined(making.join(), "the maker of troubles");
        let played: Vec<_> = clients
            .into_iter()
            .map(|client| wait::joined(client.join(), "a client"))
            .collect();
        // The watch ends whatever has become of the others.
        are_gone.store(true, Ordering::Relaxed);
        wait::joined(watching.join(), "the watch")??;
        played.into_iter().collect::<Result<()>>()?;
        made?.context("troubles")?;
        waited
    })?;
    if options.faults > 0 && world.topology() != Topology::Local {
        world.faults_have_happened()?;
    }
    world.nothing_is_left()?;
    world.replicas_have_only_followed()?;
    world.take_stock(tally)?;
    let resident = world.resident()?;
    tally.resident_last.store(resident, Ordering::Relaxed);
    world.end()
}

/// What this client of a run does.
fn plan(options: Options, number: usize) -> Plan {
    const LARGEST: usize = 34 << 20;
    // TCP needs seconds for a megabyte where it meets with so much.
    let largest = match options.faults {
        0 => LARGEST,
        1..=10 => 1 << 20,
        _ => 100_000,
    };
    let mut random = Random::new(options.seed);
    Plan::new(random.word(), number, largest)
}
