//! What takes longer than it may: clients that send nothing, statements.

use crate::{
    case::Case,
    drain::told,
    kill::{DEADLINE, id, interruptible, monitor_account},
};
use anyhow::{Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    place,
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    wait,
    wire::command,
};
use std::path::{Path, PathBuf};

pub(crate) const CASES: &[Case] = &[
    Case::new("idle_clients_are_parted_from", idle_clients).daemon(),
    Case::new("statements_are_stopped", statements).daemon(),
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
