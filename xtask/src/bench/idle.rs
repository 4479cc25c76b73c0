//! Many sessions that do nothing: what they cost the process between client and node.

use super::cpu;
use super::interrupt::Interrupt;
use super::peer::{Peer, Way};
use super::stage::Place;
use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use sluice_tests::server::{PASSWORD, USER};
use sluice_tests::wire::{Connection, Login};
use sluice_tests::{memory, wait};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Files that a process has open besides its sessions' sockets, with room.
const OTHER_FILES: u64 = 300;
/// For the node to notice that its clients have left.
const LEAVE: Duration = Duration::from_mins(1);

/// What was measured of one peer.
#[derive(Debug, Serialize)]
pub(super) struct Idle {
    pub(super) topology: &'static str,
    pub(super) peer: String,
    pub(super) sessions: usize,
    /// Length of the measurement.
    seconds: f64,
    /// CPU time of the process, in percent of one core.
    pub(super) core_percent: f64,
    /// Resident memory that the process has more with the sessions than without, over their number.
    pub(super) bytes_per_session: f64,
    /// All of its resident memory with the sessions.
    resident_bytes: u64,
}

/// MariaDB's options for so many sessions: threads for those only that do something.
pub(super) fn node_options(sessions: usize) -> Vec<String> {
    vec![
        format!("--max-connections={}", sessions + 200),
        "--thread-handling=pool-of-threads".to_owned(),
        "--performance-schema=OFF".to_owned(),
    ]
}

/// How many of the wanted sessions this machine allows: a proxy has two sockets for each. Raises the limit of open files as far as it goes;
/// what the bench starts inherits it.
///
/// # Errors
/// The kernel refuses.
pub(super) fn possible(wanted: usize) -> Result<usize> {
    let files = allow_files(2 * u64::try_from(wanted)? + OTHER_FILES)?;
    let most = usize::try_from(files.saturating_sub(OTHER_FILES) / 2)?;
    if most < wanted {
        println!(
            "{wanted} idle sessions are not possible: {files} open files are allowed (ulimit -Hn), so there are {most}"
        );
    }
    Ok(most.min(wanted))
}

/// Raises the limit of open files: to `wanted` if the kernel lets us, else to where it may be raised. Returns what it is then.
fn allow_files(wanted: u64) -> Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < wanted {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: Some(wanted),
        };
        // Needs CAP_SYS_RESOURCE.
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return Ok(wanted);
        }
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("the limit of open files")?;
    Ok(most)
}

/// Measures every peer that has a process, one after the other, from the caller's host. What one cannot do is said, and the others are measured.
///
/// # Errors
/// It was interrupted, or the node is gone.
pub(super) fn measure(
    place: &Place,
    peers: &[Peer],
    sessions: usize,
    span: Duration,
    interrupt: &Interrupt,
) -> Result<Vec<Idle>> {
    let mut all = Vec::new();
    for peer in peers {
        if let (Some(pid), Way::Tcp(address)) = (peer.pid(), &peer.way) {
            let measured = measure_one(place, peer, (pid, *address), sessions, span, interrupt);
            interrupt.check()?;
            match measured {
                Ok(measured) => all.push(measured),
                Err(error) => println!("{}: {error:#}", peer.name),
            }
            wait_for_leave(place)?;
        }
    }
    Ok(all)
}

fn measure_one(
    place: &Place,
    peer: &Peer,
    (pid, address): (u32, SocketAddr),
    sessions: usize,
    span: Duration,
    interrupt: &Interrupt,
) -> Result<Idle> {
    let pids = cpu::family(pid)?;
    let before = resident_bytes(&pids)?;
    let login = Login::new(USER, PASSWORD);
    let mut open = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        interrupt.check()?;
        let mut session = Connection::open(address, &login)
            .with_context(|| format!("session {}", open.len() + 1))?;
        session.run("SELECT 1")?;
        open.push(session);
    }
    let (start, used) = (Instant::now(), cpu::processes_us(&pids)?);
    wait::throughout(span, || interrupt.check())?;
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "microseconds of some seconds")]
    let used = (cpu::processes_us(&pids)? - used) as f64 / 1e6;
    let resident = resident_bytes(&pids)?;
    #[expect(clippy::cast_precision_loss, reason = "bytes of one process")]
    let more = resident.saturating_sub(before) as f64;
    #[expect(clippy::cast_precision_loss, reason = "a number of sessions")]
    let bytes_per_session = more / sessions as f64;
    Ok(Idle {
        topology: place.topology.name(),
        peer: peer.name.clone(),
        sessions,
        seconds,
        core_percent: 100.0 * used / seconds,
        bytes_per_session,
        resident_bytes: resident,
    })
}

fn resident_bytes(pids: &[u32]) -> Result<u64> {
    pids.iter().map(|pid| memory::resident_bytes(*pid)).sum()
}

/// Waits until the node has few sessions again.
fn wait_for_leave(place: &Place) -> Result<()> {
    let mut direct = Connection::open(place.node.address(), &Login::new(USER, PASSWORD))?;
    let sql = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'THREADS_CONNECTED'";
    wait::until_true("the node's idle sessions are gone", LEAVE, || {
        Ok(direct.run(sql)?.text()?.parse::<usize>()? < 50)
    })
}

/// A line per peer.
pub(super) fn table(all: &[Idle]) -> String {
    let mut text = format!(
        "{:<14} {:>9} {:>10} {:>12} {:>8}\n",
        "", "sessions", "core %", "KiB/session", "all MiB"
    );
    for idle in all {
        #[expect(clippy::cast_precision_loss, reason = "shown in MiB")]
        let mib = idle.resident_bytes as f64 / 1_048_576.0;
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "{:<14} {:>9} {:>10.2} {:>12.1} {:>8.1}",
            idle.peer,
            idle.sessions,
            idle.core_percent,
            idle.bytes_per_session / 1024.0,
            mib
        );
    }
    text
}
