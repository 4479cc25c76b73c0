//! A node that is drained, and a daemon that is told to stop: who moves or ends by himself, who is listed with his reason, and who is ended at the
//! deadline.

use crate::{
    case::Case,
    failover::Site,
    nodes::{port, watchful},
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    config::{self, Config},
    server::{PASSWORD, USER, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Outcome, command},
};
use std::{net::TcpStream, thread, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("who_cannot_move_is_listed_and_ended", listed_and_ended).daemon(),
    Case::new("prepared_statements_leave", statements_leave).daemon(),
    Case::new("the_only_node_is_kept", only_node)
        .daemon()
        .local(),
    Case::new("the_daemon_waits_for_transactions", waits).daemon(),
    Case::new("the_daemon_waits_no_longer_than_told", deadline).daemon(),
    Case::new("a_second_signal_stops_at_once", second_signal)
        .daemon()
        .local(),
];

const DEADLINE: Duration = Duration::from_secs(20);
/// So long that nothing happens by it.
const LONG: &str = "1h";

/// The list's rows: user, reason, whether there is a deadline.
fn list(operator: &mut Connection) -> Result<Vec<(String, String, bool)>> {
    let rows = operator.run("SHOW PROXYDRAIN")?.texts()?;
    let cell = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
    Ok(rows
        .iter()
        .map(|row| {
            let text = |at| cell(row, at).unwrap_or_default();
            (text(3), text(5), cell(row, 6).is_some())
        })
        .collect())
}

/// Waits until the list is this.
fn listed(operator: &mut Connection, wanted: &[(&str, &str, bool)]) -> Result<()> {
    let mut last = Vec::new();
    wait::until_true("the list", DEADLINE, || {
        last = list(operator)?;
        let last = last
            .iter()
            .map(|(user, reason, ends)| (&**user, &**reason, *ends));
        Ok(last.eq(wanted.iter().copied()))
    })
    .with_context(|| format!("{last:?} instead of {wanted:?}"))
}

/// The error that the client reads next, as the answer to a command or unasked.
pub(crate) fn told(client: &mut Connection) -> Result<(u16, String)> {
    client.expect_answer(1);
    match Outcome::of_packet(&client.read_packet()?)? {
        Outcome::Error { code, message, .. } => Ok((code, message)),
        other @ Outcome::Ok { .. } => anyhow::bail!("no error: {other}"),
    }
}

/// A session at the primary.
fn client(site: &Site) -> Result<Connection> {
    let mut client = site.front.open(USER, PASSWORD)?;
    client.run("USE mysql")?;
    client.run("SELECT 1")?;
    assert_eq!(port(&mut client)?, site.cluster.address(0)?.port());
    Ok(client)
}

/// Has these nodes be left within this time.
fn drain(site: &Site, nodes: &[usize], patience: &str) -> Result<()> {
    let cluster = nodes
        .iter()
        .fold(site.cluster.configured("east"), |cluster, node| {
            cluster.node(*node, "drain = true")
        });
    watchful(cluster)
        .line(&format!("drain_timeout = \"{patience}\""))
        .write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)
}

/// Waits until the session is at this node.
fn is_at(site: &Site, client: &mut Connection, at: usize) -> Result<()> {
    let wanted = site.cluster.address(at)?.port();
    wait::until_true("the session has moved", DEADLINE, || {
        Ok(port(client)? == wanted)
    })
}

/// A statement of which the daemon knows all goes along with the types of its parameters, and ties nobody.
fn statements_leave(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let (mut moves, mut reads) = (client(&site)?, client(&site)?);
    let plain = moves.prepare("SELECT 'plain'")?;
    let typed = moves.prepare("SELECT CONCAT(?, 'x')")?;
    moves.execute(&plain, &[])?.outcome.ok()?;
    let whole = command::execute(typed.id, 0, &[Some(b"one")]);
    let before = moves.command(&whole)?.packets;
    // Command, id, flags, iterations and bitmap; then a 0 in the place of the types, and the value.
    let mut bare = whole.get(..11).context("a short command")?.to_vec();
    bare.extend(b"\0\x03one");
    let cursor = reads.prepare("SELECT seq FROM seq_1_to_9")?;
    reads
        .command(&command::execute(cursor.id, 1, &[]))?
        .outcome
        .ok()?;
    drain(&site, &[0], LONG)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let tied = (USER, "prepared statement", true);
    listed(&mut operator, &[tied])?;
    reads.send_command(&command::fetch(cursor.id, 9))?;
    let mut rows = Vec::new();
    reads.read_rows(&mut rows)?.ok()?;
    // And the end.
    assert_eq!(rows.len(), 9 + 1);
    is_at(&site, &mut moves, 1)?;
    assert_eq!(moves.command(&bare)?.packets, before);
    moves.execute(&plain, &[])?.outcome.ok()?;
    reads.send_command(&command::close(cursor.id))?;
    for client in [&mut moves, &mut reads] {
        is_at(&site, client, 1)?;
    }
    listed(&mut operator, &[])?;
    // So it is at the next one.
    drain(&site, &[0, 1], LONG)?;
    for client in [&mut moves, &mut reads] {
        is_at(&site, client, 2)?;
    }
    assert_eq!(moves.command(&bare)?.packets, before);
    moves.execute(&plain, &[])?.outcome.ok()?;
    listed(&mut operator, &[])
}

fn listed_and_ended(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut pinned = client(&site)?;
    pinned.run("CREATE TEMPORARY TABLE kept (a INT)")?;
    let mut busy = client(&site)?;
    busy.run("BEGIN")?;
    busy.run("SELECT COUNT(*) FROM mysql.user")?;
    let mut moves = client(&site)?;
    let cs_id = pinned.greeting().thread_id;
    drain(&site, &[0], LONG)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    listed(
        &mut operator,
        &[(USER, "temporary table", true), (USER, "transaction", true)],
    )?;
    // Who is not listed has moved.
    assert_eq!(port(&mut operator)?, site.cluster.address(1)?.port());
    assert_eq!(port(&mut moves)?, site.cluster.address(1)?.port());
    busy.run("COMMIT")?;
    listed(&mut operator, &[(USER, "temporary table", true)])?;
    assert_eq!(port(&mut busy)?, site.cluster.address(1)?.port());
    pinned.run("SELECT * FROM kept")?;
    drain(&site, &[0], "1ms")?;
    let (code, message) = told(&mut pinned)?;
    assert_eq!(code, 1053, "{message}");
    let line = site.front.daemon()?.closing_line(cs_id)?;
    assert_eq!(line.field("reason").as_deref(), Some("node drained"));
    let detail = line.field("detail").unwrap_or_default();
    ensure!(detail.contains("temporary table"), "{detail}");
    listed(&mut operator, &[])?;
    for client in [&mut moves, &mut busy] {
        client.run("SELECT 1")?;
    }
    Ok(())
}

/// Nobody is ended at a node that nothing can replace.
fn only_node(stage: &Stage) -> Result<()> {
    let cluster = config::Cluster::mysql("east", &[stage.node()]).node(0, "drain = true");
    let config = Config::new()
        .line("drain_timeout = \"1ms\"")
        .cluster(cluster);
    let front = stage.private_with_config(&config, &[])?;
    let mut client = front.open(USER, PASSWORD)?;
    let mut operator = front.open(USER_ROOT, "")?;
    listed(&mut operator, &[])?;
    wait::throughout(Duration::from_millis(200), || {
        client.run("SELECT 1").map(drop)
    })
}

/// A daemon in front of the stage's node that gives its sessions so much time.
fn patient(stage: &Stage, patience: &str) -> Result<Front> {
    let config = Config::new()
        .line(&format!("shutdown_timeout = \"{patience}\""))
        .cluster(config::Cluster::mysql("east", &[stage.node()]));
    stage.private_with_config(&config, &[])
}

fn ended(front: &Front) -> Result<i32> {
    let daemon = front.daemon()?;
    let status = wait::until("the daemon has ended", DEADLINE, || daemon.ended())?;
    status.code().context("a signal ended it")
}

fn waits(stage: &Stage) -> Result<()> {
    let front = patient(stage, LONG)?;
    let mut idle = front.open(USER, PASSWORD)?;
    let mut busy = front.open(USER, PASSWORD)?;
    let mut spliced = front.open(USER, PASSWORD)?;
    for client in [&mut idle, &mut busy, &mut spliced] {
        client.run("SELECT 1")?;
    }
    spliced.run("PREPARE p FROM 'SELECT 1'")?;
    busy.run("BEGIN")?;
    busy.run("SELECT COUNT(*) FROM mysql.user")?;
    front.daemon()?.signal(libc::SIGTERM)?;
    for client in [&mut idle, &mut spliced] {
        assert_eq!(told(client)?.0, 1053);
        ensure!(client.closed_within(DEADLINE)?);
    }
    // Nobody new is let in.
    let address = front.address();
    wait::until_true("the listener is closed", DEADLINE, || {
        Ok(TcpStream::connect(address).is_err())
    })?;
    // It still asks what keeps it, and goes on.
    busy.run("SELECT COUNT(*) FROM mysql.user")?;
    ensure!(front.daemon()?.ended()?.is_none());
    busy.run("COMMIT")?;
    assert_eq!(told(&mut busy)?.0, 1053);
    assert_eq!(ended(&front)?, 0);
    Ok(())
}

fn deadline(stage: &Stage) -> Result<()> {
    let front = patient(stage, "500ms")?;
    let mut busy = front.open(USER, PASSWORD)?;
    busy.run("BEGIN")?;
    busy.run("SELECT COUNT(*) FROM mysql.user")?;
    let cs_id = busy.greeting().thread_id;
    let mut asks = front.open(USER, PASSWORD)?;
    // Another test's may run on the same server.
    let sleep = format!("SELECT SLEEP(100), '{}'", front.address());
    let told_within = thread::scope(|scope| {
        let asked = scope.spawn(|| Ok::<_, anyhow::Error>(asks.query(&sleep)?.outcome));
        let mut direct = stage.open_direct()?;
        let running =
            format!("SELECT COUNT(*) FROM information_schema.processlist WHERE info = {sleep:?}");
        wait::until_true("the command is under way", DEADLINE, || {
            Ok(direct.run(&running)?.text()? == "1" || asked.is_finished())
        })?;
        front.daemon()?.signal(libc::SIGTERM)?;
        wait::joined(asked.join(), "the client")
    })?;
    match told_within {
        Ok(Outcome::Error { code, message, .. }) => ensure!(
            [1105, 2013].contains(&code) && message.contains("it may have been executed"),
            "{code} {message}"
        ),
        Ok(other) => anyhow::bail!("{other}"),
        // The kernel may be in the middle of a command of which nothing can be said.
        Err(_closed) if stage.path().splices() => {}
        Err(error) => return Err(error),
    }
    assert_eq!(told(&mut busy)?.0, 1053);
    assert_eq!(ended(&front)?, 0);
    let line = front.daemon()?.closing_line(cs_id)?;
    assert_eq!(line.field("reason").as_deref(), Some("proxy stops"));
    let detail = line.field("detail").unwrap_or_default();
    ensure!(detail.contains("transaction"), "{detail}");
    Ok(())
}

fn second_signal(stage: &Stage) -> Result<()> {
    let front = patient(stage, LONG)?;
    let mut busy = front.open(USER, PASSWORD)?;
    busy.run("BEGIN")?;
    busy.run("SELECT COUNT(*) FROM mysql.user")?;
    let daemon = front.daemon()?;
    daemon.signal(libc::SIGTERM)?;
    daemon.wait_for_line("it waits", DEADLINE, |line| {
        line.message().starts_with("stopping: sessions may")
    })?;
    daemon.signal(libc::SIGTERM)?;
    assert_eq!(ended(&front)?, 0);
    Ok(())
}
