//! What takes longer than it may: clients that send nothing, statements.

use crate::{
    case::Case,
    drain::told,
    kill::{DEADLINE, computes, id, interruptible, monitor_account, node_id},
    nodes::known,
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    place,
    server::{PASSWORD, USER, USER_MONITOR, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Login, command},
};
use std::path::{Path, PathBuf};

pub(crate) const CASES: &[Case] = &[
    Case::new("idle_clients_are_parted_from", idle_clients).daemon(),
    Case::new("statements_are_stopped", statements).daemon(),
    Case::new("a_stop_that_fails_is_tried_again", again)
        .daemon()
        .local(),
];

fn write(stage: &Stage, file: &Path, keys: &[&str]) -> Result<()> {
    let (user, password) = monitor_account(stage);
    let config = keys
        .iter()
        .fold(Config::new(), |config, key| config.line(key));
    config
        .cluster(Cluster::mysql("east", &[stage.node()]).monitor(user, password))
        .write_to(file)
}

/// A daemon with these keys, and its file.
fn front(stage: &Stage, keys: &[&str]) -> Result<(Front, PathBuf)> {
    let file = place::fresh("config")?.join("sluice.toml");
    write(stage, &file, keys)?;
    let front = stage.private_of_file(&file.display().to_string(), &[])?;
    Ok((front, file))
}

/// They are told why, in a transaction too. Who waits for a statement is not idle, however long it takes.
fn idle_clients(stage: &Stage) -> Result<()> {
    let (front, file) = front(stage, &[])?;
    let mut idle = front.open(USER, PASSWORD)?;
    let mut within = front.open(USER, PASSWORD)?;
    let mut busy = front.open(USER, PASSWORD)?;
    for client in [&mut idle, &mut within, &mut busy] {
        client.run("SELECT 1")?;
    }
    within.run("BEGIN")?;
    busy.send_command(&command::query(b"SELECT SLEEP(4)"))?;
    write(stage, &file, &["idle_timeout = \"1s\""])?;
    front.daemon()?.signal(libc::SIGHUP)?;
    for client in [&mut idle, &mut within] {
        let (code, message) = told(client)?;
        assert_eq!(code, 4031, "{message}");
        ensure!(client.closed_within(DEADLINE)?, "open though it was told");
        let line = front.daemon()?.closing_line(id(client))?;
        assert_eq!(line.field("reason").as_deref(), Some("idle timeout"));
    }
    assert_eq!(busy.read_response(&[])?.text()?, "0");
    assert_eq!(told(&mut busy)?.0, 4031);
    Ok(())
}

/// The session lives on.
fn statements(stage: &Stage) -> Result<()> {
    let (front, _) = front(stage, &["query_timeout = \"1s\""])?;
    let mut client = front.open(USER, PASSWORD)?;
    let long = interruptible(stage);
    let prepared = client.prepare(long)?;
    for _ in 0..2 {
        client.run("SELECT 1")?;
        let outcome = client.query(long)?.outcome;
        assert_eq!(outcome.code(), 1317, "{outcome}");
        client.run("SELECT 1")?;
        let outcome = client.execute(&prepared, &[])?.outcome;
        assert_eq!(outcome.code(), 1317, "{outcome}");
    }
    wait::until_true("all four are in the log", DEADLINE, || {
        let log = front.daemon()?.log_text();
        Ok(log.matches("query timeout").count() == 4)
    })
}

/// As long as the account is not let in a statement goes on. Then it is stopped; but not the one behind it, if it is over by then.
fn again(stage: &Stage) -> Result<()> {
    let server = stage.start_server(&[])?;
    let file = place::fresh("config")?.join("sluice.toml");
    let write = |limit: &str| {
        let cluster = Cluster::mysql("east", &[server.address()]).monitor(USER_MONITOR, PASSWORD);
        let config = Config::new().line(&format!("query_timeout = \"{limit}\""));
        config.cluster(cluster).write_to(&file)
    };
    write("300ms")?;
    let front = stage.private_of_file(&file.display().to_string(), &[])?;
    known(&front, "primary")?;
    let mut direct = Connection::open(server.address(), &Login::new(USER_ROOT, ""))?;
    let mut lock = |word: &str| direct.run(&format!("ALTER USER {USER_MONITOR} ACCOUNT {word}"));
    lock("LOCK")?;
    let mut watch = Connection::open(server.address(), &Login::new(USER_ROOT, ""))?;
    // What the daemon has open does not know of it.
    let of_monitor =
        format!("SELECT id FROM information_schema.processlist WHERE user = '{USER_MONITOR}'");
    for row in watch.run(&of_monitor)?.texts()? {
        let id = row.first().cloned().flatten().context("no id")?;
        // It may have closed it by itself.
        let _ = watch.query(&format!("KILL {id}"))?;
    }
    let mut clients = [front.open(USER, PASSWORD)?, front.open(USER, PASSWORD)?];
    let mut node_ids = Vec::new();
    for client in &mut clients {
        let node_id = node_id(client)?;
        client.send_command(&command::query(interruptible(stage).as_bytes()))?;
        computes(&mut watch, &node_id, true)?;
        node_ids.push(node_id);
    }
    let [goes_on, is_over] = &mut clients;
    wait::until_true("both are to be stopped", DEADLINE, || {
        let log = front.daemon()?.log_text();
        Ok(log.matches("query timeout").count() == 2)
    })?;
    write("0s")?;
    front.daemon()?.signal(libc::SIGHUP)?;
    watch.run(&format!("KILL QUERY {}", node_ids.last().context("no id")?))?;
    assert_eq!(is_over.read_response(&[])?.outcome.code(), 1317);
    is_over.send_command(&command::query(b"SELECT SLEEP(4)"))?;
    lock("UNLOCK")?;
    assert_eq!(goes_on.read_response(&[])?.outcome.code(), 1317);
    assert_eq!(is_over.read_response(&[])?.text()?, "0");
    Ok(())
}
