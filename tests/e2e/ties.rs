//! Sessions that are to leave their node: what ties each of them is named and waited for, and so is what they may yet ask about their last statement.

use crate::{
    attribute,
    case::Case,
    failover::Site,
    failover_ids::text,
    nodes::{port, watchful},
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{PASSWORD, USER, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Login},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("each_is_waited_for", each_is_waited_for).daemon(),
    Case::new("statements_are_asked_about_first", asked_about).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// What a session is tied by, as it is shown; the statements that tie it, and those that free it.
struct Tie {
    reason: &'static str,
    made: &'static [&'static str],
    freed: &'static [&'static str],
}

/// In the place of a statement: `COM_RESET_CONNECTION`.
const RESET: &str = "";

const TIES: &[Tie] = &[
    Tie {
        reason: "XA transaction",
        made: &[
            "XA START 'x'",
            "INSERT INTO test.t VALUES (1)",
            "XA END 'x'",
            "XA PREPARE 'x'",
        ],
        freed: &["XA ROLLBACK 'x'"],
    },
    Tie {
        reason: "handler",
        made: &["HANDLER test.t OPEN AS h"],
        freed: &["HANDLER h CLOSE"],
    },
    Tie {
        reason: "role",
        made: &["SET ROLE reader"],
        freed: &[RESET],
    },
    Tie {
        reason: "SET TRANSACTION",
        made: &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        freed: &["BEGIN", "SELECT COUNT(*) FROM test.t", "COMMIT"],
    },
    Tie {
        reason: "user lock",
        made: &["DO GET_LOCK('a', 1)", "DO GET_LOCK('a', 1)"],
        freed: &["DO RELEASE_LOCK('a')", "DO RELEASE_LOCK('a')"],
    },
    Tie {
        reason: "prepared statement",
        made: &[
            "PREPARE s FROM 'SELECT a FROM test.t WHERE a = ?'",
            "EXECUTE s USING 1",
        ],
        freed: &["DEALLOCATE PREPARE s"],
    },
    Tie {
        reason: "temporary table",
        made: &[
            "PREPARE s FROM 'CREATE TEMPORARY TABLE test.kept (a INT)'",
            "EXECUTE s",
            "DEALLOCATE PREPARE s",
        ],
        freed: &["DROP TEMPORARY TABLE test.kept"],
    },
    Tie {
        reason: "table lock",
        made: &["LOCK TABLES test.u READ"],
        freed: &["UNLOCK TABLES"],
    },
    Tie {
        reason: "routine",
        made: &["EXECUTE IMMEDIATE CONCAT('SELECT ', 1)"],
        freed: &[RESET],
    },
];

/// A primary and two replicas with a table and a role, and a daemon in front of them.
fn site(stage: &Stage) -> Result<Site> {
    let site = Site::new(stage)?;
    let mut primary = Connection::open(site.cluster.address(0)?, &Login::new(USER_ROOT, ""))?;
    for sql in [
        "CREATE DATABASE IF NOT EXISTS test",
        "CREATE TABLE test.t (a INT)",
        "CREATE TABLE test.u (a INT)",
        "CREATE ROLE reader",
        &format!("GRANT reader TO '{USER}'@'%'"),
    ] {
        primary.run(sql)?;
    }
    for at in [1, 2] {
        site.cluster.catch_up(at, 0)?;
    }
    Ok(site)
}

fn say(client: &mut Connection, statement: &str) -> Result<()> {
    if statement == RESET {
        client.command(&[0x1F])?.outcome.ok()?;
    } else {
        client.run(statement)?;
    }
    Ok(())
}

fn drain(site: &Site, nodes: &[usize]) -> Result<()> {
    let cluster = nodes
        .iter()
        .fold(site.cluster.configured("east"), |cluster, node| {
            cluster.node(*node, "drain = true")
        });
    watchful(cluster).write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)
}

fn each_is_waited_for(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut clients = Vec::new();
    for tie in TIES {
        let mut client = site.front.open(USER, PASSWORD)?;
        for statement in tie.made {
            say(&mut client, statement)?;
        }
        clients.push(client);
    }
    drain(&site, &[0])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    for (tie, client) in TIES.iter().zip(&clients) {
        let id = client.greeting().thread_id;
        let mut last = String::new();
        wait::until_true("it is said what keeps the session", DEADLINE, || {
            let splice = attribute::splice_of(&mut operator, id)?;
            splice.text("stays_reason")?.clone_into(&mut last);
            Ok(last.contains(tie.reason))
        })
        .with_context(|| format!("{last:?}, not {}", tie.reason))?;
    }
    let (first, second) = (site.cluster.address(0)?, site.cluster.address(1)?);
    for (tie, client) in TIES.iter().zip(&mut clients) {
        // Up to the last one that frees it.
        let (last, before) = tie.freed.split_last().context("what frees it")?;
        for statement in before {
            say(client, statement)?;
        }
        let id = client.greeting().thread_id;
        let splice = attribute::splice_of(&mut operator, id)?;
        ensure!(
            splice.text("sticky_reason")?.contains(tie.reason),
            "{}: {splice:?}",
            tie.reason
        );
        if tie.reason != "XA transaction" {
            assert_eq!(port(client)?, first.port(), "{}", tie.reason);
        }
        say(client, last)?;
        let mut at = 0;
        wait::until_true("the session has moved", DEADLINE, || {
            at = port(client)?;
            Ok(at == second.port())
        })
        .with_context(|| format!("{}: at {at}", tie.reason))?;
    }
    Ok(())
}

/// Waits until the session is to leave, and would, but for what may be asked of it.
fn may_be_asked(operator: &mut Connection, client: &Connection) -> Result<()> {
    let id = client.greeting().thread_id;
    wait::until_true("the session is to leave", DEADLINE, || {
        let splice = attribute::splice_of(operator, id)?;
        Ok(splice.text("stays_reason")?.contains("asked about"))
    })
}

/// The node that has executed a statement is still there when it is asked about it; what comes behind is the next one's.
fn asked_about(stage: &Stage) -> Result<()> {
    const ASKS: &str = "SELECT CONCAT(ROW_COUNT(), '/', @@port)";
    let site = site(stage)?;
    let mut by_text = site.front.open(USER, PASSWORD)?;
    let mut prepared = site.front.open(USER, PASSWORD)?;
    let statement = prepared.prepare(ASKS)?;
    for client in [&mut by_text, &mut prepared] {
        for _ in 0..5 {
            client.run("SELECT 1")?;
        }
        client.run("INSERT INTO test.t VALUES (1), (2), (3)")?;
    }
    drain(&site, &[0])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    for client in [&by_text, &prepared] {
        may_be_asked(&mut operator, client)?;
    }
    let wanted = format!("3/{}", site.cluster.address(0)?.port());
    assert_eq!(by_text.run(ASKS)?.text()?, wanted);
    assert_eq!(text(&prepared.execute(&statement, &[])?)?, wanted);
    for client in [&mut by_text, &mut prepared] {
        assert_eq!(port(client)?, site.cluster.address(1)?.port());
    }
    // Warnings as well.
    by_text.run("SELECT CAST('x' AS INT)")?;
    drain(&site, &[0, 1])?;
    may_be_asked(&mut operator, &by_text)?;
    assert_eq!(by_text.run("SHOW WARNINGS")?.texts()?.len(), 1);
    assert_eq!(port(&mut by_text)?, site.cluster.address(2)?.port());
    // And who says nothing more leaves by himself.
    wait::until_true("the other session has left", DEADLINE, || {
        Ok(operator.run("SHOW PROXYDRAIN")?.texts()?.is_empty())
    })?;
    assert_eq!(port(&mut prepared)?, site.cluster.address(2)?.port());
    Ok(())
}
