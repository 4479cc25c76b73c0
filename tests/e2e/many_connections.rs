//! Five hundred clients at once, and thousands one after another.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    path::Stage,
    server::{PASSWORD, USER},
    wait,
    wire::{Connection, Login},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("five_hundred_at_once", five_hundred_at_once),
    Case::new("short_ones", short_ones),
];

const CLIENTS: usize = 500;

/// One client: logs in, waits until all are in, then talks.
fn client(stage: &Stage, number: usize, present: &AtomicUsize) -> Result<()> {
    let opened = stage.open();
    // Counted even if it failed, so that the others need not wait for it.
    present.fetch_add(1, Ordering::SeqCst);
    let mut connection = opened?;
    wait::until_true("all clients are in", Duration::from_secs(90), || {
        Ok(present.load(Ordering::SeqCst) == CLIENTS)
    })?;
    for round in 0..5 {
        let answer = connection
            .run(&format!("SELECT '{number}-{round}', REPEAT('m', {number})"))?
            .table()?;
        let wanted = [
            Some(format!("{number}-{round}").into_bytes()),
            Some(vec![b'm'; number]),
        ];
        ensure!(answer == [wanted], "client {number} got {answer:?}");
        connection.run(&format!("SET @v = {number}"))?;
        assert_eq!(connection.run("SELECT @v")?.text()?, number.to_string());
    }
    Ok(())
}

fn five_hundred_at_once(stage: &Stage) -> Result<()> {
    let present = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let present = &present;
                thread::Builder::new()
                    .stack_size(256 << 10)
                    .spawn_scoped(scope, move || client(stage, number, present))
            })
            .collect::<Result<_, _>>()?;
        for (number, client) in clients.into_iter().enumerate() {
            wait::joined(client.join(), &format!("client {number}"))?
                .with_context(|| format!("client {number}"))?;
        }
        Ok(())
    })
}

/// Ports are used again: no session may meet what another left behind.
fn short_ones(stage: &Stage) -> Result<()> {
    let address = stage.address();
    let done = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let done = Arc::clone(&done);
            thread::spawn(move || -> Result<()> {
                for round in 0..250 {
                    let mut connection = Connection::open(address, &Login::new(USER, PASSWORD))?;
                    let text = format!("{number}:{round}");
                    assert_eq!(connection.run(&format!("SELECT '{text}'"))?.text()?, text);
                    if round % 2 == 0 {
                        connection.send_command(&[0x01])?;
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        wait::joined(thread.join(), "a client")??;
    }
    assert_eq!(done.load(Ordering::SeqCst), 1000);
    Ok(())
}
