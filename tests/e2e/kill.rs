//! KILL, by the id that the proxy gave.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    client::Client,
    config::{Cluster, Config},
    path::Path,
    pattern::Random,
    server::{Kind, PASSWORD, USER, USER_MONITOR},
    sluice::Line,
    stage::{Front, Stage},
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
    Case::new("stopped_without_a_monitor", stopped_without_a_monitor).daemon(),
    Case::new("gone_at_once", gone_at_once).daemon(),
    Case::new("stock_client_is_told", stock_client_is_told).daemon(),
    Case::new("hidden_in_a_prepare", hidden_in_a_prepare).daemon(),
    Case::new("every_login_of_the_monitor", every_login_of_the_monitor).daemon(),
    Case::new("victim_in_a_large_answer", victim_in_a_large_answer).daemon(),
    Case::new("victims_at_work", victims_at_work).daemon(),
];

/// Within which a victim must be gone.
const PROMPTLY: Duration = Duration::from_millis(100);
/// The machine has two cores for several tests at a time: one prompt end of so many proves that it takes no longer by itself.
const VICTIMS: usize = 8;
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn id(connection: &Connection) -> u32 {
    connection.greeting().thread_id
}

pub(crate) fn node_id(connection: &mut Connection) -> Result<String> {
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

/// What a killed client can still read as the answer to the command that it sent last, or sends next, before its connection closes.
pub(crate) fn last_words(victim: &mut Connection) -> Result<Option<Outcome>> {
    victim.expect_answer(1);
    let words = match victim.read_packet() {
        Ok(packet) => Some(Outcome::of_packet(&packet)?),
        Err(_closed) => None,
    };
    ensure!(victim.closed_within(DEADLINE)?, "the victim is not closed");
    Ok(words)
}

/// MariaDB's word to a client whose connection somebody has killed.
pub(crate) fn connection_killed() -> Outcome {
    Outcome::Error {
        code: 1927,
        state: "70100".to_owned(),
        message: "Connection was killed".to_owned(),
    }
}

/// The word to a client whose command was cut short.
pub(crate) fn interrupted() -> Outcome {
    Outcome::Error {
        code: 1317,
        state: "70100".to_owned(),
        message: "Query execution was interrupted".to_owned(),
    }
}

/// Kills `victims` one after another; at least one must end promptly, all must end, and all must be told the same before.
fn kill_all(stage: &Stage, victims: Vec<Connection>, told: Option<&Outcome>) -> Result<()> {
    let told = told.cloned();
    let mut killer = stage.open()?;
    let mut fastest = DEADLINE;
    for mut victim in victims {
        let victim_id = id(&victim);
        let told = told.clone();
        let closed = thread::spawn(move || -> Result<Instant> {
            let words = last_words(&mut victim)?;
            let closed = Instant::now();
            ensure!(words == told, "the victim was told {words:?}");
            Ok(closed)
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
        if stage.path().splices() {
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
    kill_all(stage, victims, Some(&connection_killed()))?;
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
    // Of a spliced answer nobody can say whether it has begun.
    let told = (stage.path() == Path::Relayed).then(interrupted);
    kill_all(stage, victims, told.as_ref())
}

/// Killed at any moment of short commands, a client reads answers that are right, then perhaps why it ends, and nothing else.
fn victims_at_work(stage: &Stage) -> Result<()> {
    const ROUNDS: usize = 150;
    let mut killer = stage.open()?;
    let mut random = Random::new(72);
    for round in 0..ROUNDS {
        let mut victim = stage.open()?;
        let victim_id = id(&victim);
        let works = thread::spawn(move || -> Result<u32> {
            for number in 0.. {
                let Ok(answer) = victim.query(&format!("SELECT {number}")) else {
                    return Ok(number);
                };
                match &answer.outcome {
                    Outcome::Ok { .. } => ensure!(
                        answer.texts()? == [[Some(number.to_string())]],
                        "the answer to {number} is {answer:?}"
                    ),
                    words @ Outcome::Error { .. } => {
                        ensure!(
                            [connection_killed(), interrupted()].contains(words),
                            "told {words}"
                        );
                        ensure!(victim.closed_within(DEADLINE)?, "not closed");
                        return Ok(number);
                    }
                }
            }
            bail!("never killed")
        });
        wait::throughout(Duration::from_micros(random.below(5000) as u64), || Ok(()))?;
        killer.run(&format!("KILL {victim_id}"))?;
        wait::joined(works.join(), "the victim's thread")?
            .with_context(|| format!("round {round}"))?;
    }
    Ok(())
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
pub(crate) const COMPUTE: &str = "SELECT BENCHMARK(4000000000, SHA2('monitor', 256))";

/// A daemon with an account at the stage's server.
pub(crate) fn monitored(stage: &Stage, user: &str, password: &str) -> Result<Front> {
    let cluster = match stage.kind() {
        Kind::MariaDb | Kind::MySql => Cluster::mysql("monitored", &[stage.node()]),
        Kind::SeekDb => Cluster::oceanbase("monitored", &[stage.node()]),
    };
    let config = Config::new().cluster(cluster.monitor(user, password));
    stage.private_with_config(&config, &[])
}

/// Runs for minutes too, and ends with error 1317 when it is interrupted, which `BENCHMARK` does in OceanBase only.
pub(crate) fn interruptible(stage: &Stage) -> &'static str {
    match stage.kind() {
        Kind::MariaDb => "SELECT SLEEP(600) /* BENCHMARK */",
        Kind::MySql => {
            "SELECT COUNT(*) /* BENCHMARK */ FROM information_schema.columns a JOIN information_schema.columns b \
             JOIN information_schema.columns c ON a.column_name <> c.column_name"
        }
        Kind::SeekDb => COMPUTE,
    }
}

/// Waits until the node executes [`COMPUTE`] or [`interruptible`] for a connection, or no longer does.
///
/// A MariaDB statement that is interrupted after it shows up, but before it sleeps, may end with its row (1) instead of 1317:
/// 94 of 1,200 did so without a proxy, on a busy machine; none of 1,200 that slept.
pub(crate) fn computes(direct: &mut Connection, node_id: &str, wanted: bool) -> Result<()> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {node_id} AND info LIKE '%BENCHMARK%' \
         AND (info NOT LIKE '%SLEEP%' OR state = 'User sleep')"
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
    // Why the node was not told, only the log says.
    computes(&mut direct, &node_id, false)
        .or_else(|error| Err(error.context(front.daemon()?.log_text())))
}

/// The account for the daemon's own work at the stage's server.
pub(crate) fn monitor_account(stage: &Stage) -> (&'static str, &'static str) {
    match stage.kind() {
        Kind::MariaDb => (USER_MONITOR, PASSWORD),
        // `USER` has SYSTEM_USER: only its like may end its connections.
        Kind::MySql => (USER, PASSWORD),
        Kind::SeekDb => ("root@sys", ""),
    }
}

fn stopped_on_the_node(stage: &Stage) -> Result<()> {
    let (user, password) = monitor_account(stage);
    let front = monitored(stage, user, password)?;
    kill_computing(stage, &front)?;
    let log = front.daemon()?.log_text();
    ensure!(!log.contains("the monitor account failed"), "{log}");
    Ok(())
}

/// The killer's own connection does it.
fn stopped_without_a_monitor(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    for _ in 0..3 {
        kill_computing(stage, &front)?;
    }
    Ok(())
}

/// The row is gone, and so are the rights to it; the killer goes on where he was.
fn gone_at_once(stage: &Stage) -> Result<()> {
    let mut killer = stage.open()?;
    killer.run("BEGIN")?;
    for _ in 0..VICTIMS {
        let mut victim = stage.open()?;
        victim.run("SELECT 1")?;
        let victim_id = id(&victim);
        killer.run(&format!("KILL {victim_id}"))?;
        let again = killer.query(&format!("KILL {victim_id}"))?.outcome;
        assert_eq!(again.code(), 1094, "{again}");
        assert_eq!(last_words(&mut victim)?, Some(connection_killed()));
        let line = stage.daemon()?.closing_line(victim_id)?;
        assert_eq!(line.field("reason").as_deref(), Some("killed"), "{line:?}");
    }
    let Outcome::Ok { status } = killer.run("SELECT 1")?.outcome else {
        bail!("no OK")
    };
    assert_eq!(status & 1, 1, "the killer's transaction is gone");
    Ok(())
}

/// The stock client reads the farewell as the answer to its next statement.
fn stock_client_is_told(stage: &Stage) -> Result<()> {
    let mut victim = Client::new(stage.address(), USER, PASSWORD).start()?;
    let rows = victim.ask("SELECT CONNECTION_ID()")?;
    let node_id = rows.last().and_then(|row| row.first()).context("an id")?;
    stage.open()?.run(&format!("KILL {node_id}"))?;
    let printed = victim.end("SELECT 2")?.join("\n");
    ensure!(
        printed.contains("1927 (70100)") && printed.contains("Connection was killed"),
        "{printed}"
    );
    Ok(())
}

/// A statement of ours in the text of a prepared one must not reach the node: it would end whoever has that id there.
fn hidden_in_a_prepare(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let mut other = stage.open()?;
    let other_id = node_id(&mut other)?;
    for text in [
        format!("PREPARE s FROM 'KILL {other_id}'"),
        format!("EXECUTE IMMEDIATE 'KILL CONNECTION {other_id}'"),
        format!("execute immediate \"kill query {other_id}\""),
        "PREPARE s FROM 'SHOW PROXYSESSION'".to_owned(),
    ] {
        let outcome = connection.query(&text)?.outcome;
        assert_eq!(outcome.code(), 1295, "{text}: {outcome}");
    }
    connection.run("PREPARE s FROM 'SELECT 7'")?;
    assert_eq!(connection.run("EXECUTE s")?.text()?, "7");
    assert_eq!(other.run("SELECT 'alive'")?.text()?, "alive");
    Ok(())
}

/// The plugins that MariaDB asks for; a wrong password is told once, without it.
fn every_login_of_the_monitor(stage: &Stage) -> Result<()> {
    let mut direct = stage.open_direct()?;
    let name = format!("monitor_{}", stage.setting().name());
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
