//! A daemon for which the kernel has no `io_uring`: it makes each write by itself, and nothing else is different.

use crate::{attribute, case::Case};
use anyhow::{Result, ensure};
use sluice_tests::{
    rights::Rights,
    server::{PASSWORD, USER},
    stage::{Front, Setting, Stage},
    wait,
};
use std::{fs, thread};

pub(crate) const CASES: &[Case] = &[Case::new("all_is_relayed_as_before", as_before).daemon()];

/// Clients at once, and commands of each.
const BUSY: (usize, usize) = (8, 200);

fn rings(front: &Front) -> Result<usize> {
    let mut count = 0;
    for file in fs::read_dir(format!("/proc/{}/fd", front.daemon()?.pid()))? {
        let target = fs::read_link(file?.path()).unwrap_or_default();
        count += usize::from(target.to_string_lossy().contains("io_uring"));
    }
    Ok(count)
}

fn as_before(stage: &Stage) -> Result<()> {
    let has_ring = stage.private(stage.node(), &[])?;
    ensure!(rings(&has_ring)? > 0, "the kernel has no io_uring at all");
    drop(has_ring);
    let setting = Setting {
        rights: Rights::NoRing,
        ..stage.setting()
    };
    let front = Front::start(setting, &stage.hosts().proxy, stage.node(), &[])?;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..BUSY.0)
            .map(|number| {
                let front = &front;
                scope.spawn(move || talk(front, number))
            })
            .collect();
        let mut joined = clients.into_iter();
        joined.try_for_each(|client| wait::joined(client.join(), "a client")?)
    })?;
    assert_eq!(rings(&front)?, 0);
    Ok(())
}

fn talk(front: &Front, number: usize) -> Result<()> {
    let mut client = front.open(USER, PASSWORD)?;
    for round in 0..BUSY.1 {
        let value = number * BUSY.1 + round;
        // The daemon sees the first of them, whatever the path.
        client.run(&format!("SET @v = {value}"))?;
        assert_eq!(client.run("SELECT @v")?.text()?, value.to_string());
        let bytes = round * round * 3;
        let answer = client
            .run(&format!("SELECT REPEAT('a', {bytes})"))?
            .cell()?;
        ensure!(answer == vec![b'a'; bytes], "round {round}");
    }
    let relayed = attribute::splice(&mut client)?.number("relayed_commands")?;
    ensure!(relayed >= BUSY.1 as u64, "{relayed} relayed");
    Ok(())
}
