//! A node goes, hangs, becomes read-only or is drained: what becomes of the sessions that it had.

use crate::{
    attribute,
    case::Case,
    nodes::{known, port, watchful},
};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    cluster::Cluster,
    place,
    server::{PASSWORD, USER, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Outcome},
};
use std::{path::PathBuf, thread, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("idle_sessions_survive", idle_sessions_survive).daemon(),
    Case::new("a_transaction_is_told_that_it_is_gone", transaction).daemon(),
    Case::new("a_command_under_way_is_answered", under_way).daemon(),
    Case::new("a_hanging_node_is_left", hanging).daemon(),
    Case::new("sessions_follow_the_primary", follow_the_primary).daemon(),
    Case::new("a_drained_node_is_left", drained).daemon(),
    Case::new("state_that_cannot_move_ends_with_its_node", stuck).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// A primary and a replica, and a daemon in front of them that knows them.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) front: Front,
    /// The daemon's configuration.
    pub(crate) file: PathBuf,
}

impl Site {
    pub(crate) fn new(stage: &Stage) -> Result<Self> {
        let cluster = Cluster::start(&stage.hosts().node, 1)?;
        let file = place::fresh("config")?.join("sluice.toml");
        watchful(cluster.configured("east")).write_to(&file)?;
        let front = stage.private_of_file(&file.display().to_string(), &[])?;
        known(&front, "primary;replica")?;
        Ok(Self {
            cluster,
            front,
            file,
        })
    }

    /// A session at the primary, with state that is to follow it.
    fn client(&self) -> Result<Connection> {
        let mut client = self.front.open(USER, PASSWORD)?;
        client.run("SET sort_buffer_size = 65536")?;
        client.run("USE mysql")?;
        client.run("SELECT 1")?;
        assert_eq!(port(&mut client)?, self.port(0)?);
        Ok(client)
    }

    fn port(&self, at: usize) -> Result<u16> {
        Ok(self.cluster.address(at)?.port())
    }

    /// The session is at this node, with its state.
    fn check(&self, client: &mut Connection, at: usize) -> Result<()> {
        let row = client
            .run("SELECT @@port, DATABASE(), @@sort_buffer_size")?
            .texts()?;
        let wanted = [
            self.port(at)?.to_string(),
            "mysql".to_owned(),
            "65536".to_owned(),
        ];
        assert_eq!(row, [wanted.map(Some).to_vec()]);
        Ok(())
    }

    /// Waits until the session is at this node.
    fn moved(&self, client: &mut Connection, at: usize) -> Result<()> {
        let wanted = self.port(at)?;
        wait::until_true("the session has moved", DEADLINE, || {
            Ok(port(client)? == wanted)
        })?;
        self.check(client, at)
    }

    /// Waits until the proxy has found a node dead.
    fn listed(&self) -> Result<()> {
        let mut operator = self.front.open(USER_ROOT, "")?;
        wait::until_true("the node is listed", DEADLINE, || {
            Ok(operator.run("SHOW PROXYCONGESTION")?.texts()?.len() == 1)
        })
    }
}

fn error(outcome: &Outcome) -> Result<(u16, &str)> {
    match outcome {
        Outcome::Error { code, message, .. } => Ok((*code, message)),
        other @ Outcome::Ok { .. } => bail!("no error: {other}"),
    }
}

fn idle_sessions_survive(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut clients = [site.client()?, site.client()?];
    site.cluster.server(0)?.kill()?;
    site.cluster.promote(1)?;
    let [first, second] = &mut clients;
    site.check(first, 1)?;
    first.run("CREATE DATABASE after_failover")?;
    // An answer, not an error, whether or not the monitor has found it out by then.
    site.listed()?;
    site.check(second, 1)?;
    for client in &mut clients {
        for _ in 0..20 {
            client.run("SELECT 1")?;
        }
        let splice = attribute::splice(client)?;
        assert_eq!(splice.text("path")?, stage.path().shown());
    }
    Ok(())
}

fn transaction(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut setup = site.cluster.open(0)?;
    setup
        .run("CREATE TABLE test.t (a INT)")
        .or_else(|_missing| {
            setup.run("CREATE DATABASE IF NOT EXISTS test")?;
            setup.run("CREATE TABLE test.t (a INT)")
        })?;
    site.cluster.catch_up(1, 0)?;
    let mut told = site.client()?;
    let mut rolls_back = site.client()?;
    for client in [&mut told, &mut rolls_back] {
        client.run("BEGIN")?;
        client.run("INSERT INTO test.t VALUES (1)")?;
    }
    site.cluster.server(0)?.kill()?;
    site.cluster.promote(1)?;
    let outcome = told.query("COMMIT")?.outcome;
    let (code, message) = error(&outcome)?;
    ensure!(
        code == 1213 && message.contains("was rolled back"),
        "{outcome}"
    );
    site.check(&mut told, 1)?;
    // Who rolls back gets what he asks for.
    rolls_back.run("ROLLBACK")?;
    for client in [&mut told, &mut rolls_back] {
        site.check(client, 1)?;
        assert_eq!(client.run("SELECT COUNT(*) FROM test.t")?.text()?, "0");
        client.run("INSERT INTO test.t VALUES (2)")?;
        client.run("DELETE FROM test.t")?;
    }
    Ok(())
}

/// Has a command of a client's be under way when this happens to its node; the client, once it is sure that it was answered with an error.
fn interrupted(
    site: &Site,
    mut client: Connection,
    happens: impl FnOnce() -> Result<()>,
) -> Result<Connection> {
    const SLEEP: &str = "SELECT SLEEP(100)";
    let mut direct = site.cluster.open(0)?;
    let (outcome, client) = thread::scope(|scope| {
        let asked = scope.spawn(move || {
            let outcome = client.query(SLEEP)?.outcome;
            Ok::<_, anyhow::Error>((outcome, client))
        });
        let running =
            format!("SELECT COUNT(*) FROM information_schema.processlist WHERE info = '{SLEEP}'");
        wait::until_true("the command is under way", DEADLINE, || {
            Ok(direct.run(&running)?.text()? == "1")
        })?;
        happens()?;
        wait::joined(asked.join(), "the client")?
    })?;
    let (code, message) = error(&outcome)?;
    ensure!(
        [2013, 1105].contains(&code) && message.contains("it may have been executed"),
        "{outcome}"
    );
    Ok(client)
}

fn under_way(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let client = site.client()?;
    let mut client = interrupted(&site, client, || site.cluster.server(0)?.kill())?;
    site.cluster.promote(1)?;
    site.check(&mut client, 1)
}

fn hanging(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut idle = site.client()?;
    let waiting = site.client()?;
    let primary = site.cluster.server(0)?;
    let mut waiting = interrupted(&site, waiting, || primary.signal(libc::SIGSTOP))?;
    site.cluster.promote(1)?;
    site.check(&mut waiting, 1)?;
    site.check(&mut idle, 1)?;
    primary.signal(libc::SIGCONT)
}

fn follow_the_primary(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut idle = site.client()?;
    let mut busy = site.client()?;
    busy.run("BEGIN")?;
    busy.run("SELECT COUNT(*) FROM mysql.user")?;
    site.cluster.open(0)?.run("SET GLOBAL read_only = ON")?;
    site.cluster.promote(1)?;
    site.moved(&mut idle, 1)?;
    // In a transaction it stays, and moves when that ends.
    assert_eq!(port(&mut busy)?, site.port(0)?);
    busy.run("COMMIT")?;
    site.moved(&mut busy, 1)
}

fn drained(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut idle = site.client()?;
    let mut stays = site.client()?;
    stays.run("CREATE TEMPORARY TABLE kept (a INT)")?;
    watchful(site.cluster.configured("east").node(0, "drain = true")).write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)?;
    site.moved(&mut idle, 1)?;
    let reason = wait::until("it is said why it stays", DEADLINE, || {
        let splice = attribute::splice(&mut stays)?;
        let reason = splice.text("stays_reason")?.to_owned();
        Ok((!reason.is_empty()).then_some(reason))
    })?;
    ensure!(reason.contains("temporary table"), "{reason}");
    assert_eq!(port(&mut stays)?, site.port(0)?);
    let mut new = site.front.open(USER, PASSWORD)?;
    assert_eq!(port(&mut new)?, site.port(1)?);
    Ok(())
}

fn stuck(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    client.run("CREATE TEMPORARY TABLE kept (a INT)")?;
    let cs_id = client.greeting().thread_id;
    site.cluster.server(0)?.kill()?;
    let line = site.front.daemon()?.closing_line(cs_id)?;
    let detail = line.field("detail").context("no detail")?;
    ensure!(detail.contains("temporary table"), "{detail}");
    ensure!(client.query("SELECT 1").is_err());
    Ok(())
}
