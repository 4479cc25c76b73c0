//! `cargo xtask bench --admin`: what an operator who looks on costs, with a thousand sessions open.
//!
//! First the list itself: the time of an answer and what the daemon's memory grows by. Then whether the data path notices: sysbench's
//! point select in short runs in shuffled order, with and without a client that asks for the list all the time.

use super::load::{Load, measure};
use super::peer::Peer;
use super::sample::Series;
use super::stage::Place;
use super::workload::Workload;
use super::{Arguments, Shuffle, table};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::path::Path;
use sluice_tests::rights::Rights;
use sluice_tests::server::{PASSWORD, USER, USER_ROOT};
use sluice_tests::stage::{Front, Setting};
use sluice_tests::topology::Topology;
use sluice_tests::wire::Connection;
use sluice_tests::{memory, wait};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Sessions that are open and idle all the time.
const SESSIONS: usize = 1000;
/// Answers whose median is shown.
const ANSWERS: usize = 20;
/// Answers between two looks at the daemon's memory.
const ANSWERS_FOR_MEMORY: usize = 100;
/// Between two questions of the client that looks on.
const PERIOD: Duration = Duration::from_millis(100);
const LIST: &str = "SHOW PROXYSESSION";
const VARIANTS: [&str; 2] = ["nobody looks on", "polled"];

/// Measures and prints.
pub(super) fn measure_all(
    place: &Place,
    arguments: &Arguments,
    shuffle: &mut Shuffle,
) -> Result<()> {
    for path in [Path::Spliced, Path::Relayed] {
        let setting = Setting {
            topology: Topology::Local,
            path,
            rights: Rights::Tests,
        };
        let front = Front::start(setting, &place.hosts.proxy, place.node.address(), &[])?;
        println!("\n{}, {SESSIONS} sessions", path.name());
        let mut idle = Vec::with_capacity(SESSIONS);
        for _ in 0..SESSIONS {
            let mut connection = front.open(USER, PASSWORD)?;
            connection.run("SELECT 1")?;
            idle.push(connection);
        }
        let mut operator = front.open(USER_ROOT, "")?;
        list(&front, &mut operator)?;
        data_path(&front, &mut operator, arguments, shuffle)?;
        for connection in &mut idle {
            connection.run("SELECT 1").context("an idle session")?;
        }
    }
    Ok(())
}

/// Asks for the list; returns how long the complete answer took, in milliseconds.
fn ask(operator: &mut Connection) -> Result<f64> {
    let start = Instant::now();
    let answer = operator.run(LIST)?;
    let elapsed = start.elapsed();
    let rows = answer.table()?.len();
    ensure!(rows > SESSIONS, "{rows} rows");
    Ok(elapsed.as_secs_f64() * 1000.0)
}

fn list(front: &Front, operator: &mut Connection) -> Result<()> {
    let pid = front.daemon()?.pid();
    let mut times = (0..ANSWERS)
        .map(|_| ask(operator))
        .collect::<Result<Vec<_>>>()?;
    let bytes = operator.run(LIST)?.wire_bytes();
    times.sort_by(f64::total_cmp);
    let at = |place: usize| times.get(place).copied().unwrap_or_default();
    println!(
        "{LIST}: {:.2} ms (median of {ANSWERS}; {:.2} to {:.2}), {bytes} bytes",
        at(ANSWERS / 2),
        at(0),
        at(ANSWERS - 1)
    );
    memory::reset_peak(pid)?;
    let before = memory::resident_bytes(pid)?;
    for _ in 0..ANSWERS_FOR_MEMORY {
        ask(operator)?;
    }
    println!(
        "the daemon's memory: {} KiB, after {ANSWERS_FOR_MEMORY} more answers {} KiB, at most {} KiB",
        before / 1024,
        memory::resident_bytes(pid)? / 1024,
        memory::resident_bytes_peak(pid)? / 1024
    );
    Ok(())
}

/// Sysbench through the daemon, with and without somebody who looks on.
fn data_path(
    front: &Front,
    operator: &mut Connection,
    arguments: &Arguments,
    shuffle: &mut Shuffle,
) -> Result<()> {
    let peer = Peer::at("sluice", front.address());
    for threads in &arguments.threads {
        let load: Load<'_> = arguments.load(Workload::PointSelect, *threads);
        let mut all = VARIANTS.map(Series::new);
        for _ in 0..arguments.runs {
            for number in shuffle.order(all.len()) {
                let Some(series) = all.get_mut(number) else {
                    continue;
                };
                series.samples.push(if number == 0 {
                    measure(&peer, load)?
                } else {
                    looked_on(operator, || measure(&peer, load))?
                });
            }
        }
        println!(
            "\noltp_point_select, {threads} connections\n{}",
            table::table("queries", &all)
        );
    }
    Ok(())
}

/// Runs something while a client asks for the list once a period.
fn looked_on<T>(operator: &mut Connection, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_over = AtomicBool::new(false);
    let asked = AtomicU32::new(0);
    let result = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            wait::every(PERIOD, &is_over, || {
                asked.fetch_add(1, Ordering::Relaxed);
                ask(operator).map(drop)
            })
        });
        let result = run();
        is_over.store(true, Ordering::Relaxed);
        wait::joined(asking.join(), "who looks on").flatten()?;
        result
    });
    ensure!(asked.load(Ordering::Relaxed) > 0, "nobody asked");
    result
}
