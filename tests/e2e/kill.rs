//! KILL, by the id that the proxy gave.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    path::{Front, Stage},
    server::{Kind, PASSWORD, USER},
    sluice::Line,
    wait,
    wire::{Connection, Login, Outcome, command},
};
use std::{
    thread,
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("own", own).with(&Kind::ALL).daemon(),
    Case::new("unknown", unknown).daemon(),
    Case::new("idle_victim", idle_victim).daemon(),
    Case::new("busy_victim", busy_victim).daemon(),
    Case::new("stopped_on_the_node", stopped_on_the_node)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("every_login_of_the_monitor", every_login_of_the_monitor).daemon(),
    Case::new("victim_in_a_large_answer", victim_in_a_large_answer).daemon(),
];

/// Within which a victim must be gone.
const PROMPTLY: Duration = Duration::from_millis(100);
/// The machine has two cores for several tests at a time: one prompt end of so many proves that it takes no longer by itself.
const VICTIMS: usize = 8;
const DEADLINE: Duration = Duration::from_secs(10);

fn id(connection: &Connection) -> u32 {
    connection.greeting().thread_id
}

fn node_id(connection: &mut Connection) -> Result<String> {
    connection.run("SELECT CONNECTION_ID()")?.text()
}

fn own(stage: &Stage) -> Result<()> {
    for statement in ["KILL", "KILL CONNECTION", "kill"] {
        let mut connection = stage.open()?;
        connection.run("SELECT 1")?;
        let own = id(&connection);
        match connection.query(&format!("{statement} {own}"))?.outcome {
            Outcome::Error {
                code: 1317, state, ..
            } if state == "70100" => {}
            other => bail!("{statement}: {other}"),
        }
        ensure!(
            connection.closed_within(DEADLINE)?,
            "{statement}: still open"
        );
        stage.daemon()?.closing_line(own)?;
    }
    Ok(())
}

fn unknown(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let outcome = connection.query("KILL 123456789")?.outcome;
    let wanted = Outcome::Error {
        code: 1094,
        state: "HY000".to_owned(),
        message: "Unknown thread id: 123456789".to_owned(),
    };
    assert_eq!(outcome, wanted);
    assert_eq!(connection.run("SELECT 1")?.text()?, "1");
    Ok(())
}

/// Kills `victims` one after another; at least one must end promptly, all must end.
fn kill_all(stage: &Stage, victims: Vec<Connection>) -> Result<()> {
    let mut killer = stage.open()?;
    let mut fastest = DEADLINE;
    for mut victim in victims {
        let victim_id = id(&victim);
        let closed = thread::spawn(move || -> Result<Instant> {
            ensure!(victim.closed_within(DEADLINE)?, "the victim is not closed");
            Ok(Instant::now())
        });
        let start = Instant::now();
        killer.run(&format!("KILL {victim_id}"))?;
        let end = wait::joined(closed.join(), "the victim's thread")??;
        fastest = fastest.min(end.saturating_duration_since(start));
        stage.daemon()?.closing_line(victim_id)?;
        assert_eq!(
            killer.query(&format!("KILL {victim_id}"))?.outcome.code(),
            1094,
            "killed twice"
        );
    }
    ensure!(fastest < PROMPTLY, "the fastest took {fastest:?}");
    assert_eq!(killer.run("SELECT 'alive'")?.text()?, "alive");
    Ok(())
}

fn idle_victim(stage: &Stage) -> Result<()> {
    let mut victims = Vec::new();
    let mut node_ids = Vec::new();
    for _ in 0..VICTIMS {
        let mut victim = stage.open()?;
        let before = attribute::splice(&mut victim)?;
        victim.run("SELECT 1")?;
        if stage.path == sluice_tests::path::Path::Spliced {
            let after = attribute::splice(&mut victim)?;
            assert_eq!(
                after.grown(&before, "spliced_commands")?,
                1,
                "the victim is not spliced: {after:?}"
            );
        }
        node_ids.push(node_id(&mut victim)?);
        victims.push(victim);
    }
    kill_all(stage, victims)?;
    for id in node_ids {
        stage.gone_from_node(&id)?;
    }
    Ok(())
}

fn busy_victim(stage: &Stage) -> Result<()> {
    let mut victims = Vec::new();
    let mut direct = stage.open_direct()?;
    for _ in 0..VICTIMS {
        let mut victim = stage.open()?;
        let node_id = node_id(&mut victim)?;
        victim.send_command(&command::query(b"SELECT SLEEP(20)"))?;
        wait::until_true("the victim is busy", DEADLINE, || {
            let sql = format!(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {node_id} AND info LIKE '%SLEEP%'"
            );
            Ok(direct.run(&sql)?.text()? == "1")
        })?;
        victims.push(victim);
    }
    kill_all(stage, victims)
}

fn victim_in_a_large_answer(stage: &Stage) -> Result<()> {
    let mut killer = stage.open()?;
    for _ in 0..3 {
        let mut victim = stage.open()?;
        let node_id = node_id(&mut victim)?;
        victim.send_command(&command::query(
            b"SELECT REPEAT('k', 100000) FROM mysql.seq_1_to_100000",
        ))?;
        for _ in 0..20 {
            victim.read_packet()?;
        }
        let victim_id = id(&victim);
        killer.run(&format!("KILL {victim_id}"))?;
        // What was sent before may still be read; then the end must come, long before the answer's.
        let mut rows = 0_u32;
        while victim.read_packet().is_ok() {
            rows += 1;
        }
        ensure!(rows < 90_000, "{rows} rows came after the end");
        stage
            .daemon()?
            .closing_line(victim_id)
            .context("the victim")?;
        stage.gone_from_node(&node_id)?;
    }
    Ok(())
}

/// Computes for minutes without a look at its client.
const COMPUTE: &str = "SELECT BENCHMARK(4000000000, SHA2('monitor', 256))";

/// A daemon with an account at the stage's server.
fn monitored(stage: &Stage, user: &str, password: &str) -> Result<Front> {
    let cluster = match stage.kind() {
        Kind::MariaDb | Kind::MySql => Cluster::mysql("monitored", &[stage.node()]),
        Kind::SeekDb => Cluster::oceanbase("monitored", &[stage.node()]),
    };
    let config = Config::new().cluster(cluster.monitor(user, password));
    stage.private_with_config(&config, &[])
}

/// Waits until the node executes [`COMPUTE`] for a connection, or no longer does.
fn computes(direct: &mut Connection, node_id: &str, wanted: bool) -> Result<()> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {node_id} AND info LIKE '%BENCHMARK%'"
    );
    wait::until_true(
        &format!("the node's connection {node_id} computes: {wanted}"),
        DEADLINE,
        || Ok((direct.run(&sql)?.text()? == "1") == wanted),
    )
}

/// Starts a long computation behind `front`, kills its session and waits until the node has stopped.
fn kill_computing(stage: &Stage, front: &Front) -> Result<()> {
    let login = Login::new(USER, PASSWORD);
    let mut direct = stage.open_direct()?;
    let mut killer = Connection::open(front.address(), &login)?;
    let mut victim = Connection::open(front.address(), &login)?;
    let node_id = node_id(&mut victim)?;
    victim.send_command(&command::query(COMPUTE.as_bytes()))?;
    computes(&mut direct, &node_id, true)?;
    killer.run(&format!("KILL {}", id(&victim)))?;
    computes(&mut direct, &node_id, false)
}

fn stopped_on_the_node(stage: &Stage) -> Result<()> {
    let (user, password) = match stage.kind() {
        Kind::MariaDb | Kind::MySql => (USER, PASSWORD),
        Kind::SeekDb => ("root@sys", ""),
    };
    let front = monitored(stage, user, password)?;
    kill_computing(stage, &front)?;
    let log = front.daemon()?.log_text();
    ensure!(!log.contains("the monitor account failed"), "{log}");
    Ok(())
}

/// The plugins that MariaDB asks for; a wrong password is told once, without it.
fn every_login_of_the_monitor(stage: &Stage) -> Result<()> {
    let mut direct = stage.open_direct()?;
    let name = format!("monitor_{}", stage.path.name());
    for (identified, password) in [
        (
            "VIA mysql_native_password USING PASSWORD('hunter1')",
            "hunter1",
        ),
        ("VIA ed25519 USING PASSWORD('hunter1')", "hunter1"),
        ("VIA mysql_native_password", ""),
    ] {
        direct.run(&format!(
            "CREATE OR REPLACE USER {name} IDENTIFIED {identified}"
        ))?;
        direct.run(&format!("GRANT PROCESS, CONNECTION ADMIN ON *.* TO {name}"))?;
        let front = monitored(stage, &name, password)?;
        kill_computing(stage, &front).context(identified)?;
    }
    let front = monitored(stage, USER, "hunter2")?;
    for _ in 0..3 {
        let mut victim = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
        let node_id = node_id(&mut victim)?;
        victim.send_command(&command::query(COMPUTE.as_bytes()))?;
        computes(&mut direct, &node_id, true)?;
        let mut killer = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
        killer.run(&format!("KILL {}", id(&victim)))?;
        front.daemon()?.closing_line(id(&victim))?;
        direct.run(&format!("KILL {node_id}"))?;
    }
    let daemon = front.daemon()?;
    let complained = |line: &Line| line.message() == "the monitor account failed";
    let line = daemon.wait_for_line("the monitor account failed", DEADLINE, complained)?;
    let cause = line.field("cause").unwrap_or_default();
    ensure!(cause.starts_with("error 1045: Access denied"), "{cause}");
    let count = daemon.lines().into_iter().filter(complained).count();
    assert_eq!(count, 1, "one cause, one line");
    ensure!(
        !daemon.log_text().contains("hunter2"),
        "a password in the log"
    );
    Ok(())
}
