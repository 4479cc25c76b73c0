//! Hundreds of clients at once, and thousands one after another.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{PASSWORD, USER, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Login},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("five_hundred_at_once", five_hundred_at_once),
    Case::new("short_ones", short_ones),
    Case::new("a_thousand_in_the_list", a_thousand_in_the_list).daemon(),
];

const CLIENTS: usize = 500;
const LISTED: usize = 1000;

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
    // Five hundred in every setting at once are more than the servers' backlogs hold.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
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

/// The lists have every session once, with what is its own.
fn a_thousand_in_the_list(stage: &Stage) -> Result<()> {
    // A server of its own: so many connections are as many as the shared one takes.
    let server = stage.start_server(&["--thread-handling=pool-of-threads"])?;
    let front = stage.private(server.address(), &[])?;
    let mut operator = front.open(USER_ROOT, "")?;
    let mut sessions = Vec::new();
    let mut wanted = BTreeMap::new();
    for number in 0..LISTED {
        let (tenant, cluster) = (number % 7, number % 3);
        let mut session = front.open(&format!("{USER}@t{tenant}#c{cluster}"), PASSWORD)?;
        session.run("SELECT 1")?;
        let host = session.stream().local_addr()?.to_string();
        wanted.insert(
            session.greeting().thread_id.to_string(),
            [
                format!("c{cluster}"),
                format!("t{tenant}"),
                USER.to_owned(),
                host,
            ],
        );
        sessions.push(session);
    }
    assert_eq!(wanted.len(), LISTED, "ids are given twice");
    let own = operator.greeting().thread_id.to_string();
    // Where each list has cluster (none in the second), tenant, user and host.
    for (list, id, cells) in [
        ("SHOW PROXYSESSION", 1, [2, 3, 4, 5]),
        ("SHOW FULL PROCESSLIST", 0, [usize::MAX, 2, 1, 3]),
    ] {
        let mut listed = BTreeMap::new();
        for row in operator.run(list)?.texts()? {
            let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
            let told = cells.map(cell);
            ensure!(
                listed.insert(cell(id), told).is_none(),
                "{row:?} is there twice"
            );
        }
        ensure!(listed.remove(&own).is_some(), "who asks is not listed");
        let mut wanted = wanted.clone();
        if list == "SHOW FULL PROCESSLIST" {
            for [cluster, ..] in wanted.values_mut() {
                cluster.clear();
            }
        }
        ensure!(
            listed == wanted,
            "{list}: not as they logged in: {listed:?}"
        );
    }
    sessions.truncate(LISTED / 2);
    wait::until_true("half of them are listed", Duration::from_secs(30), || {
        let rows = operator.run("SHOW PROXYSESSION")?.table()?.len();
        ensure!(rows > LISTED / 2, "only {rows} rows");
        Ok(rows == LISTED / 2 + 1)
    })?;
    for session in &mut sessions {
        assert_eq!(session.run("SELECT 'alive'")?.text()?, "alive");
    }
    Ok(())
}
