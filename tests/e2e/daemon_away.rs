//! The daemon's end: both sides of its sessions see it, and the kernel keeps nothing of it.

use crate::case::Case;
use anyhow::{Result, ensure};
use sluice_tests::{
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Login},
};
use std::{
    collections::BTreeSet,
    fs, io,
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("killed", killed).daemon(),
    Case::new("stopped_by_signal", stopped_by_signal).daemon(),
    Case::new("nothing_left_in_the_kernel", nothing_left_in_the_kernel).splicing(),
    Case::new("another_daemon_goes_on", another_daemon_goes_on).splicing(),
];

const DEADLINE: Duration = Duration::from_secs(15);

fn sessions(front: &Front, count: usize) -> Result<Vec<(Connection, String)>> {
    (0..count)
        .map(|_| {
            let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
            let id = connection.run("SELECT CONNECTION_ID()")?.text()?;
            Ok((connection, id))
        })
        .collect()
}

fn all_gone(stage: &Stage, sessions: Vec<(Connection, String)>) -> Result<()> {
    for (mut connection, id) in sessions {
        ensure!(
            connection.closed_within(DEADLINE)?,
            "a client's connection is open"
        );
        stage.gone_from_node(&id)?;
    }
    Ok(())
}

fn killed(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let sessions = sessions(&front, 10)?;
    front.daemon()?.kill()?;
    all_gone(stage, sessions)?;
    ensure!(
        Connection::greet(front.address()).is_err(),
        "someone still listens"
    );
    Ok(())
}

fn stopped_by_signal(stage: &Stage) -> Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let front = stage.private(stage.node(), &[])?;
        let sessions = sessions(&front, 10)?;
        let start = Instant::now();
        front.daemon()?.signal(signal)?;
        let status = wait::until("the daemon ended", Duration::from_secs(20), || {
            front.daemon()?.ended()
        })?;
        assert_eq!(
            status.code(),
            Some(0),
            "after signal {signal} and {:?}: {}",
            start.elapsed(),
            front.daemon()?.log_text()
        );
        all_gone(stage, sessions)?;
    }
    Ok(())
}

/// The ids of the objects of a kind that a process holds by a descriptor (proc(5), `fdinfo`).
pub(crate) fn held(kind: &str, pid: u32) -> Result<BTreeSet<u64>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor can be closed between being listed and being read.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        // A link's entry names its program too.
        let is_link = value("link_id:").is_some();
        ids.extend(value(&format!("{kind}_id:")).filter(|_| kind == "link" || !is_link));
    }
    Ok(ids)
}

/// The ids of all that there are of a kind (`BPF_PROG_GET_NEXT_ID` and its like). Not `bpftool`'s list: to show a map it opens it, and an array of programs that is opened
/// while it goes with its daemon the kernel (6.18) may keep for ever: what empties it, when its last descriptor is closed, can be ordered a second time, and then counts once too often.
#[expect(unsafe_code, reason = "bpf(2) has no wrapper in std")]
fn existing(kind: &str) -> Result<BTreeSet<u64>> {
    let command: libc::c_int = match kind {
        "prog" => 11,
        "map" => 12,
        _ => 31,
    };
    let mut ids = BTreeSet::new();
    // `start_id`, `next_id`, `open_flags`.
    let mut attributes = [0_u32; 3];
    loop {
        let size = size_of_val(&attributes);
        // SAFETY: the kernel reads and writes these twelve bytes.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size) };
        if result < 0 {
            let error = io::Error::last_os_error();
            ensure!(
                error.raw_os_error() == Some(libc::ENOENT),
                "{kind}: {error}"
            );
            return Ok(ids);
        }
        attributes[0] = attributes[1];
        ids.insert(attributes[1].into());
    }
}

fn nothing_left_in_the_kernel(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let sessions = sessions(&front, 10)?;
    let pid = front.daemon()?.pid();
    let kinds = ["prog", "map", "link"];
    let before: Vec<_> = kinds
        .iter()
        .map(|kind| held(kind, pid))
        .collect::<Result<_>>()?;
    for (kind, ids) in kinds.iter().zip(&before) {
        ensure!(!ids.is_empty(), "the daemon holds no {kind}");
    }
    front.daemon()?.kill()?;
    all_gone(stage, sessions)?;
    for (kind, ids) in kinds.iter().zip(&before) {
        // The kernel frees them after a grace period.
        wait::until_true(
            &format!("no {kind} of the dead daemon is left"),
            DEADLINE,
            || Ok(existing(kind)?.is_disjoint(ids)),
        )?;
    }
    Ok(())
}

fn another_daemon_goes_on(stage: &Stage) -> Result<()> {
    let (first, second) = (
        stage.private(stage.node(), &[])?,
        stage.private(stage.node(), &[])?,
    );
    let (lost, mut kept) = (sessions(&first, 5)?, sessions(&second, 5)?);
    first.daemon()?.kill()?;
    all_gone(stage, lost)?;
    for (connection, _) in &mut kept {
        let before = crate::attribute::splice(connection)?;
        for number in 0..20 {
            assert_eq!(
                connection.run(&format!("SELECT {number}"))?.text()?,
                number.to_string()
            );
        }
        let after = crate::attribute::splice(connection)?;
        assert_eq!(after.grown(&before, "spliced_commands")?, 20, "{after:?}");
    }
    Ok(())
}
