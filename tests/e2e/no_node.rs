//! Sessions all of whose nodes are gone: what the proxy answers all the same, and that they go on when a node is back.

use crate::{
    case::Case,
    failover::Site,
    kill::{connection_killed, last_words},
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{PASSWORD, USER, USER_PLAIN, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Outcome, command},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("own_statements_are_answered", own_statements).daemon(),
    Case::new("a_transaction_is_told_by_its_own", in_transaction).daemon(),
    Case::new("what_has_no_answer_gets_none", unanswered).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);
/// In the status flags.
const IN_TRANSACTION: u16 = 1;

/// Kills both nodes. With more of them there would be no other choice either.
fn lose_all(site: &Site) -> Result<()> {
    site.cluster.server(0)?.kill()?;
    site.cluster.server(1)?.kill()
}

/// What only a node could answer.
fn no_node(client: &mut Connection) -> Result<()> {
    let outcome = client.query("SELECT 1")?.outcome;
    // MariaDB's library is told 1105.
    ensure!([2003, 1105].contains(&outcome.code()), "{outcome}");
    Ok(())
}

fn own_statements(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &[])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut plain = site.front.open(USER_PLAIN, PASSWORD)?;
    let mut victim = site.front.open(USER_PLAIN, PASSWORD)?;
    for client in [&mut operator, &mut plain, &mut victim] {
        client.run("SELECT 1")?;
    }
    lose_all(&site)?;
    let sessions = operator.run("SHOW PROXYSESSION")?.texts()?;
    assert_eq!(sessions.len(), 3);
    wait::until_true("both nodes are listed", DEADLINE, || {
        Ok(operator.run("SHOW PROXYCONGESTION")?.texts()?.len() == 2)
    })?;
    assert_eq!(plain.run("SHOW PROXYSESSION")?.texts()?.len(), 1);
    // His own user's, as nobody says whether he may see others'.
    assert_eq!(plain.run("SHOW PROCESSLIST")?.texts()?.len(), 2);
    assert_eq!(plain.run("SHOW FULL PROCESSLIST")?.texts()?.len(), 2);
    // COM_PROCESS_INFO.
    assert_eq!(plain.command(&[0x0A])?.texts()?.len(), 2);
    plain.run("SELECT PROXY_VERSION()")?.text()?;
    plain.run("SHOW PROXYSESSION VARIABLES")?;
    ensure!(
        !plain
            .run("SHOW PROXYSESSION ATTRIBUTE")?
            .texts()?
            .is_empty()
    );
    let prepared = operator.prepare("SHOW PROXYSESSION")?;
    operator.execute(&prepared, &[])?.outcome.ok()?;
    // More than a session may have at once.
    for _ in 0..300 {
        let closed = operator.prepare("SHOW PROXYSESSION")?;
        operator.send_command(&command::close(closed.id))?;
    }
    let refused = plain.query("SHOW PROXYSESSION BAD")?.outcome;
    assert_eq!(refused.code(), 5010, "{refused}");
    // For operators only; of others only the node could say what is wrong with it.
    let forwarded = plain.query("SHOW PROXYCONGESTION")?.outcome;
    ensure!([2003, 1105].contains(&forwarded.code()), "{forwarded}");
    for client in [&mut operator, &mut plain] {
        no_node(client)?;
        client.run("SELECT PROXY_STATUS()")?.text()?;
    }
    let id = victim.greeting().thread_id;
    plain.run(&format!("KILL {id}"))?;
    assert_eq!(last_words(&mut victim)?, Some(connection_killed()));
    let own = plain.greeting().thread_id;
    operator.run(&format!("KILL {own}"))?;
    assert_eq!(last_words(&mut plain)?, Some(connection_killed()));
    site.cluster.server(0)?.start_again()?;
    wait::until_true("the session goes on", DEADLINE, || {
        Ok(matches!(
            operator.query("SELECT 1")?.outcome,
            Outcome::Ok { .. }
        ))
    })
}

fn in_transaction(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &[])?;
    let mut client = site.front.open(USER, PASSWORD)?;
    client.run("BEGIN")?;
    client.run("SELECT COUNT(*) FROM mysql.user")?;
    lose_all(&site)?;
    let answer = client.query("SHOW PROCESSLIST")?;
    let Outcome::Ok { status, .. } = answer.outcome else {
        anyhow::bail!("{}", answer.outcome);
    };
    ensure!(status & IN_TRANSACTION != 0, "{status}");
    let outcome = client.query("COMMIT")?.outcome;
    assert_eq!(outcome.code(), 1213, "{outcome}");
    let answer = client.query("SHOW PROCESSLIST")?;
    let Outcome::Ok { status, .. } = answer.outcome else {
        anyhow::bail!("{}", answer.outcome);
    };
    ensure!(status & IN_TRANSACTION == 0, "{status}");
    no_node(&mut client)
}

/// Each answer is that of its own command.
fn unanswered(stage: &Stage) -> Result<()> {
    // A reused thread might have given the statement's id away: then the session ends.
    let site = Site::of(stage, 1, &["--thread-cache-size=0"])?;
    let mut client = site.front.open(USER, PASSWORD)?;
    let kept = client.prepare("SELECT 'kept'")?;
    let closed = client.prepare("SELECT 'closed'")?;
    client.execute(&kept, &[])?.outcome.ok()?;
    let mut long = site.front.open(USER, PASSWORD)?;
    let statement = long.prepare("SELECT ?")?;
    lose_all(&site)?;
    no_node(&mut client)?;
    client.send_command(&command::close(closed.id))?;
    no_node(&mut client)?;
    no_node(&mut long)?;
    long.send_command(&command::long_data(statement.id, 0, b"long"))?;
    let line = site
        .front
        .daemon()?
        .closing_line(long.greeting().thread_id)?;
    let reason = line.field("reason").context("no reason")?;
    assert_eq!(reason, "prepared statement lost");
    site.cluster.server(0)?.start_again()?;
    wait::until_true("the session goes on", DEADLINE, || {
        Ok(matches!(
            client.execute(&kept, &[])?.outcome,
            Outcome::Ok { .. }
        ))
    })?;
    let outcome = client.execute(&closed, &[])?.outcome;
    assert_eq!(outcome.code(), 1243, "{outcome}");
    Ok(())
}
