//! Prepared statements of a session that has lost its server session, where the node does not count statements from 1. The session stays at its node, so one
//! other is enough; `split_ids` has the ids of three.

use crate::{case::Case, failover::Site, nodes::port};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    cluster::Cluster,
    server::{PASSWORD, USER},
    stage::Stage,
    topology::Hosts,
    wait,
    wire::{Connection, Prepared, Response, command},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("of_reused_threads", of_reused_threads).daemon(),
    Case::new("given_to_others", given_to_others).daemon(),
    Case::new("given_to_others_later", given_to_others_later).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// The connections of a server.
const THREADS: usize = 30;

/// All threads of this server that the next connections can have were others', which have given so many statements ids.
pub(crate) fn used_threads(
    hosts: &Hosts,
    cluster: &Cluster,
    at: usize,
    statements: usize,
) -> Result<()> {
    let cached = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'THREADS_CACHED'";
    hosts.node.enter(|| {
        let mut used = Vec::new();
        for _ in 0..=THREADS {
            let mut connection = cluster.open(at)?;
            for _ in 0..statements {
                connection.prepare("SELECT 1")?;
            }
            used.push(connection);
        }
        let mut observer = used.pop().context("no connection")?;
        drop(used);
        wait::until_true("threads can be reused", DEADLINE, || {
            Ok(observer.run(cached)?.text()?.parse::<usize>()? >= THREADS)
        })
    })?
}

/// A session with a statement of this id, whose server session is then killed at the primary.
fn bereft(stage: &Stage, site: &Site, id: u32) -> Result<(Connection, u32)> {
    let mut client = site.front.open(USER, PASSWORD)?;
    let mut last = client.prepare("SELECT 'kept'")?;
    while last.id < id {
        client.send_command(&command::close(last.id))?;
        last = client.prepare("SELECT 'kept'")?;
    }
    lose(stage, site, &mut client)?;
    Ok((client, last.id))
}

/// Has the primary kill the session's server session.
fn lose(stage: &Stage, site: &Site, client: &mut Connection) -> Result<()> {
    let node_id = client.run("SELECT CONNECTION_ID()")?.text()?;
    let gone =
        format!("SELECT COUNT(*) = 0 FROM information_schema.processlist WHERE id = {node_id}");
    stage.hosts().node.enter(|| {
        let mut primary = site.cluster.open(0)?;
        primary.run(&format!("KILL {node_id}"))?;
        wait::until_true("the server session is gone", DEADLINE, || {
            Ok(primary.run(&gone)?.text()? == "1")
        })
    })?
}

/// MariaDB's connections go on counting where one before them in the same thread has stopped: a statement whose id is yet to come gets it.
fn of_reused_threads(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &[])?;
    used_threads(stage.hosts(), &site.cluster, 0, 3)?;
    for _ in 0..5 {
        let (mut client, id) = bereft(stage, &site, 400)?;
        let kept = client.command(&command::execute(id, 0, &[]))?;
        kept.outcome.ok()?;
        assert_eq!(port(&mut client)?, site.cluster.address(0)?.port());
    }
    Ok(())
}

/// The one text in the one row of an execution's answer.
pub(crate) fn text(answer: &Response) -> Result<String> {
    answer.outcome.ok()?;
    let row = answer.rows.first().context("no row")?;
    let packet = answer.packets.get(row.start).context("no row")?;
    // OK byte and bitmap, then the text's length.
    let text = packet.get(3..).context("a short row")?;
    Ok(String::from_utf8(text.to_vec())?)
}

fn says(client: &mut Connection, statement: &Prepared, value: &str) -> Result<()> {
    let found = text(&client.execute(statement, &[Some(value.as_bytes())])?)?;
    ensure!(
        found == format!("{}: {value}", statement.id),
        "{found} of {}: {value}",
        statement.id
    );
    Ok(())
}

/// A statement that says which the client thinks that it is.
fn prepare(client: &mut Connection, wanted: u32) -> Result<Prepared> {
    let statement = client.prepare(&format!("SELECT CONCAT('{wanted}: ', ?)"))?;
    ensure!(statement.id == wanted, "{} is not {wanted}", statement.id);
    Ok(statement)
}

/// Statements whose ids have been given already have others, and nobody notices.
fn given_to_others(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &[])?;
    let mut client = site.front.open(USER, PASSWORD)?;
    let mut statements = Vec::new();
    for id in 1..=3 {
        statements.push(prepare(&mut client, id)?);
    }
    let closed = client.prepare("SELECT 'closed'")?;
    client.send_command(&command::close(closed.id))?;
    statements.push(prepare(&mut client, 5)?);
    for statement in &statements {
        says(&mut client, statement, "before")?;
    }
    for round in 1..4 {
        used_threads(stage.hosts(), &site.cluster, 0, 10 * round)?;
        lose(stage, &site, &mut client)?;
        for statement in &statements {
            says(&mut client, statement, "behind")?;
            // Types of before.
            let bare = [&command::execute(statement.id, 0, &[])[..], b"\0\0\x04bare"].concat();
            let found = text(&client.command(&bare)?)?;
            ensure!(found == format!("{}: bare", statement.id), "{found}");
        }
        // No id but these is a statement's.
        for id in (0..100).filter(|id| statements.iter().all(|known| known.id != *id)) {
            let answer = client.command(&command::execute(id, 0, &[Some(b"x")]))?;
            ensure!(answer.outcome.code() == 1243, "{id}: {}", answer.outcome);
            client.send_command(&command::close(id))?;
        }
        for statement in &statements {
            other_commands(&mut client, statement)?;
        }
        // A new one, and one that is closed.
        let new = client.prepare("SELECT ?")?;
        ensure!(statements.iter().all(|known| known.id != new.id));
        assert_eq!(text(&client.execute(&new, &[Some(b"new")])?)?, "new");
        client.send_command(&command::close(new.id))?;
        assert_eq!(client.execute(&new, &[Some(b"new")])?.outcome.code(), 1243);
        let gone = statements.swap_remove(0);
        client.send_command(&command::close(gone.id))?;
        assert_eq!(client.execute(&gone, &[Some(b"x")])?.outcome.code(), 1243);
    }
    assert_eq!(port(&mut client)?, site.cluster.address(0)?.port());
    Ok(())
}

/// Long data, a reset, a cursor.
fn other_commands(client: &mut Connection, statement: &Prepared) -> Result<()> {
    let id = statement.id;
    client.send_command(&command::long_data(id, 0, b"lo"))?;
    client.send_command(&command::long_data(id, 0, b"ng"))?;
    let found = text(&client.execute(statement, &[None])?)?;
    ensure!(found == format!("{id}: long"), "{found}");
    client.send_command(&command::long_data(id, 0, b"none"))?;
    let reset = [&[0x1A][..], &id.to_le_bytes()].concat();
    client.command(&reset)?.outcome.ok()?;
    says(client, statement, "short")?;
    let opened = client.command(&command::execute(id, 1, &[Some(b"c")]))?;
    opened.outcome.ok()?;
    ensure!(opened.rows.is_empty());
    client.send_command(&command::fetch(id, 5))?;
    let mut packets = Vec::new();
    client.read_rows(&mut packets)?.ok()?;
    let row = format!("{id}: c");
    ensure!(
        packets
            .iter()
            .any(|packet| packet.ends_with(row.as_bytes())),
        "{packets:?}"
    );
    client.command(&reset)?.outcome.ok()
}

/// A statement has a low id at the node, and the client's is given to another one in the end.
fn given_to_others_later(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &["--thread-cache-size=0"])?;
    let (mut client, id) = bereft(stage, &site, 1500)?;
    let kept = |client: &mut Connection| {
        let found = text(&client.command(&command::execute(id, 0, &[]))?)?;
        ensure!(found == "\x04kept" || found == "kept", "{found}");
        Ok(())
    };
    kept(&mut client)?;
    let mut others = Vec::new();
    while others.len() < 3 {
        let other = client.prepare("SELECT CONCAT('other ', ?)")?;
        ensure!(other.id != id);
        if other.id > id {
            others.push(other);
        } else {
            client.send_command(&command::close(other.id))?;
        }
    }
    for _ in 0..2 {
        kept(&mut client)?;
        for (at, other) in others.iter().enumerate() {
            let value = at.to_string();
            let found = text(&client.execute(other, &[Some(value.as_bytes())])?)?;
            ensure!(found == format!("other {at}"), "{found}");
        }
    }
    ensure!(others.iter().any(|other| other.id >= 0xE000_0000));
    // All follow once more.
    lose(stage, &site, &mut client)?;
    kept(&mut client)?;
    for (at, other) in others.iter().enumerate() {
        let found = text(&client.execute(other, &[Some(b"again")])?)?;
        ensure!(found == "other again", "{found}, {at}");
    }
    client.send_command(&command::close(id))?;
    let answer = client.command(&command::execute(id, 0, &[]))?;
    assert_eq!(answer.outcome.code(), 1243);
    Ok(())
}
