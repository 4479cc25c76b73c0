//! Prepared statements whose reads go to a replica: which node an execution reaches, what each node is told of its parameters, and what stays.

use crate::{
    attribute,
    case::Case,
    driver,
    failover_ids::{text, used_threads},
    nodes::known,
    split::{Site, at},
    split_own_writes::held,
};
use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use sluice_tests::{
    java,
    path::Path,
    server::{PASSWORD, USER},
    stage::Stage,
    wait,
    wire::{Connection, Prepared, Response, command},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("executions", executions).daemon(),
    Case::new("types_follow", types_follow).daemon(),
    Case::new("what_stays", what_stays).daemon(),
    Case::new("about_the_last_statement", about_the_last).daemon(),
    Case::new("closed_at_all", closed_at_all).daemon(),
    Case::new("closed_before_one_that_stays", closed_before_one_that_stays).daemon(),
    Case::new("refused_by_the_replica", refused).daemon(),
    Case::new("the_replica_goes", the_replica_goes).daemon(),
    Case::new("the_primary_goes", the_primary_goes).daemon(),
    Case::new("reset", reset).daemon(),
    Case::new("prepared_last", prepared_last).daemon(),
    Case::new("a_driver", a_driver).daemon(),
    Case::new("connector_j", connector_j)
        .daemon()
        .tool("javac")
        .tool(java::DRIVER),
    Case::new("most_is_spliced", most_is_spliced).splicing(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// Reads which node answers, 1 for the primary, 2 and 3 for its replicas, and what it makes of a parameter.
pub(crate) const NODE: &str = "SELECT CONCAT(VARIABLE_VALUE, '/', ?) FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID'";
/// `MYSQL_TYPE_LONG`, and `MYSQL_TYPE_VAR_STRING`.
const LONG: u8 = 3;
const STRING: u8 = 0xFD;

/// The one number in an answer's one row, a `BIGINT`.
fn number(answer: &Response) -> Result<i64> {
    answer.outcome.ok()?;
    let row = answer.rows.first().context("no row")?;
    let packet = answer.packets.get(row.start).context("no row")?;
    // OK byte and bitmap.
    let bytes = packet.get(2..).and_then(|rest| rest.first_chunk());
    Ok(i64::from_le_bytes(*bytes.context("a short row")?))
}

/// An execution with one parameter, whose type is named or not.
fn execution(statement: &Prepared, kind: Option<u8>, value: &[u8]) -> Vec<u8> {
    let mut payload = command::execute(statement.id, 0, &[]);
    payload.push(0);
    match kind {
        Some(kind) => payload.extend([1, kind, 0]),
        None => payload.push(0),
    }
    payload.extend(value);
    payload
}

pub(crate) fn executed(
    client: &mut Connection,
    statement: &Prepared,
    kind: Option<u8>,
    value: &[u8],
) -> Result<String> {
    text(&client.command(&execution(statement, kind, value))?)
}

/// The node answers that this is its parameter.
pub(crate) fn says(
    client: &mut Connection,
    statement: &Prepared,
    value: &str,
    wanted: &str,
) -> Result<()> {
    let found = text(&client.execute(statement, &[Some(value.as_bytes())])?)?;
    let wanted = format!("{wanted}/{value}");
    ensure!(found == wanted, "{found}, not {wanted}");
    Ok(())
}

fn executions(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    let statement = client.prepare(NODE)?;
    let write = client.prepare("INSERT INTO shop.t (a) VALUES (?)")?;
    for replica in [1, 2, 1] {
        let reader = site.reads_from(&mut client, replica)?;
        for round in 0..3 {
            says(&mut client, &statement, &round.to_string(), &reader)?;
        }
        client.execute(&write, &[Some(b"1")])?.outcome.ok()?;
        says(&mut client, &statement, "behind a write", &reader)?;
        client.run("BEGIN")?;
        says(&mut client, &statement, "in a transaction", "1")?;
        client.execute(&write, &[Some(b"1")])?.outcome.ok()?;
        says(&mut client, &statement, "in a transaction", "1")?;
        client.run("COMMIT")?;
        says(&mut client, &statement, "behind it", &reader)?;
        client.run("SET autocommit = 0")?;
        says(&mut client, &statement, "without autocommit", "1")?;
        client.run("COMMIT")?;
        client.run("SET autocommit = 1")?;
        at(&mut client, &reader)?;
        says(&mut client, &statement, "x", &reader)?;
    }
    // A new one, among others that the replica has.
    let other = client.prepare(NODE)?;
    says(&mut client, &other, "other", "2")?;
    says(&mut client, &statement, "first", "2")?;
    client.run("ALTER PROXYSESSION SET wait_for_my_writes = '20s'")?;
    let count = client.prepare("SELECT CONCAT(COUNT(*), '') FROM shop.t")?;
    for written in 7..12 {
        client.execute(&write, &[Some(b"1")])?.outcome.ok()?;
        let found = text(&client.execute(&count, &[])?)?;
        ensure!(found == written.to_string(), "{found} rows, not {written}");
        says(&mut client, &statement, "own", "2")?;
    }
    Ok(())
}

/// A client that names types with the first execution only, and where they change.
fn types_follow(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    let statement = client.prepare(NODE)?;
    let number = |number: u32| number.to_le_bytes();
    for replica in [1, 2, 1] {
        let reader = site.reads_from(&mut client, replica)?;
        for (step, kind, value, wanted) in [
            ("", Some(STRING), &b"\x01x"[..], "2/x"),
            ("", None, b"\x02xy", "2/xy"),
            ("BEGIN", None, b"\x01y", "1/y"),
            ("", None, b"\x01z", "1/z"),
            ("COMMIT", None, b"\x01a", "2/a"),
            ("", Some(LONG), &number(7), "2/7"),
            ("BEGIN", None, &number(8), "1/8"),
            ("", Some(STRING), b"\x01b", "1/b"),
            ("", None, b"\x01c", "1/c"),
            ("COMMIT", None, b"\x01d", "2/d"),
            ("", Some(STRING), b"\x01e", "2/e"),
            ("", Some(STRING), b"\x01f", "2/f"),
            ("BEGIN", Some(LONG), &number(1), "1/1"),
            ("COMMIT", None, &number(300_000), "2/300000"),
            ("", None, &number(2), "2/2"),
        ] {
            if !step.is_empty() {
                client.run(step)?;
            }
            // It may be the third that reads.
            let wanted = wanted.replacen('2', &reader, 1);
            let found = executed(&mut client, &statement, kind, value)?;
            ensure!(found == wanted, "{found}, not {wanted}");
        }
        // The other replica is told what the session's nodes before it have been.
        let other = site.reads_from(&mut client, 3 - replica)?;
        let found = executed(&mut client, &statement, None, &number(5))?;
        ensure!(found == format!("{other}/5"), "{found} at {other}");
    }
    // What was never named nobody knows, and the server says so.
    let unnamed = client.prepare(NODE)?;
    let answer = client.command(&execution(&unnamed, None, b"\x01x"))?;
    let direct = stage.hosts().node.enter(|| {
        let mut direct = site.cluster.open(0)?;
        let unnamed = direct.prepare(NODE)?;
        direct.command(&execution(&unnamed, None, b"\x01x"))
    })??;
    assert_eq!(answer.outcome.code(), direct.outcome.code());
    Ok(())
}

/// Executions that only the primary may answer, and those that use what is at the primary.
fn what_stays(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    let statement = client.prepare(NODE)?;
    let locking = client.prepare(&format!("{NODE} FOR UPDATE"))?;
    let variable = client.prepare(&NODE.replace('?', "COALESCE(@none, ?)"))?;
    let strong =
        client.prepare(&NODE.replacen("SELECT ", "SELECT /*+ READ_CONSISTENCY(STRONG) */ ", 1))?;
    for _ in 0..2 {
        says(&mut client, &statement, "plain", "2")?;
        says(&mut client, &locking, "lock", "1")?;
        says(&mut client, &statement, "plain", "2")?;
        says(&mut client, &variable, "variable", "1")?;
        says(&mut client, &strong, "strong", "1")?;
        // Long data.
        client.send_command(&command::long_data(statement.id, 0, b"lo"))?;
        client.send_command(&command::long_data(statement.id, 0, b"ng"))?;
        at(&mut client, "2")?;
        assert_eq!(text(&client.execute(&statement, &[None])?)?, "1/long");
        says(&mut client, &statement, "short", "2")?;
        client.send_command(&command::long_data(statement.id, 0, b"none"))?;
        let reset = [&[0x1A][..], &statement.id.to_le_bytes()].concat();
        client.command(&reset)?.outcome.ok()?;
        let found = text(&client.execute(&statement, &[Some(b"x")])?)?;
        ensure!(["1/x", "2/x"].contains(&&*found), "{found}");
        // A cursor.
        let opened = client.command(&command::execute(statement.id, 1, &[Some(b"c")]))?;
        opened.outcome.ok()?;
        ensure!(opened.rows.is_empty());
        client.send_command(&command::fetch(statement.id, 5))?;
        let mut packets = Vec::new();
        client.read_rows(&mut packets)?.ok()?;
        ensure!(
            packets.iter().any(|packet| packet.ends_with(b"\x031/c")),
            "{packets:?}"
        );
        says(&mut client, &statement, "plain", "2")?;
        client.run("CREATE TEMPORARY TABLE shop.mine (a INT)")?;
        says(&mut client, &statement, "tied", "1")?;
        client.run("DROP TEMPORARY TABLE shop.mine")?;
    }
    says(&mut client, &statement, "plain", "2")
}

/// Each statement prepared, executed and closed: what is asked of the one before is asked of its node.
fn about_the_last(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    for rows in [3, 1, 2] {
        let read = client.prepare(&format!(
            "SELECT SQL_CALC_FOUND_ROWS CONCAT(VARIABLE_VALUE, '/') FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID' UNION ALL SELECT 1 FROM (VALUES {}) v",
            vec!["(1)"; rows].join(",")
        ))?;
        let first = text(&client.execute(&read, &[])?)?;
        client.send_command(&command::close(read.id))?;
        let found = client.prepare("SELECT CONCAT(FOUND_ROWS(), '')")?;
        let count = text(&client.execute(&found, &[])?)?;
        ensure!(
            count == (rows + 1).to_string(),
            "{count} rows, {rows} + 1, from {first}"
        );
        client.send_command(&command::close(found.id))?;
        let warns = client.prepare("SELECT CAST(? AS SIGNED)")?;
        client.execute(&warns, &[Some(b"x")])?.outcome.ok()?;
        client.send_command(&command::close(warns.id))?;
        assert_eq!(client.run("SHOW WARNINGS")?.texts()?.len(), 1);
        client.run("INSERT INTO shop.t (a) VALUES (7), (8)")?;
        let counted = client.prepare("SELECT CONCAT(ROW_COUNT(), '')")?;
        client.execute(&counted, &[])?.outcome.ok()?;
        let read = "SELECT 1 FROM information_schema.GLOBAL_VARIABLES LIMIT 3";
        assert_eq!(client.run(read)?.texts()?.len(), 3);
        let found = client.prepare("SELECT FOUND_ROWS()")?;
        assert_eq!(number(&client.execute(&found, &[])?)?, 3);
        // It is prepared behind a read, and asks about a write.
        at(&mut client, "2")?;
        let counted = client.prepare("SELECT ROW_COUNT()")?;
        client.run("INSERT INTO shop.t (a) VALUES (7), (8)")?;
        assert_eq!(number(&client.execute(&counted, &[])?)?, 2);
    }
    Ok(())
}

/// How many statements are prepared at a node.
fn open_at(stage: &Stage, site: &Site, node: usize) -> Result<usize> {
    stage.hosts().node.enter(|| {
        let shown = site
            .cluster
            .open(node)?
            .run("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'PREPARED_STMT_COUNT'")?;
        Ok(shown.text()?.parse()?)
    })?
}

/// Drivers that prepare each statement for one execution leave none behind, at any node; a replica is told when it is next asked for another one.
fn closed_at_all(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    let kept = client.prepare(NODE)?;
    says(&mut client, &kept, "kept", "2")?;
    let mut reader = "2".to_owned();
    for round in 0..100 {
        let statement = client.prepare(NODE)?;
        if round % 25 == 10 {
            reader = site.reads_from(&mut client, 1 + round / 25 % 2)?;
        }
        says(&mut client, &statement, &round.to_string(), &reader)?;
        if round % 3 == 0 {
            client.run("INSERT INTO shop.t (a) VALUES (1)")?;
        }
        client.send_command(&command::close(statement.id))?;
        if round % 5 == 0 {
            let answer = client.command(&command::execute(statement.id, 0, &[Some(b"x")]))?;
            assert_eq!(answer.outcome.code(), 1243);
        }
    }
    says(&mut client, &kept, "kept", &reader)?;
    let last = client.prepare(NODE)?;
    says(&mut client, &last, "last", &reader)?;
    let are_gone = || Ok(open_at(stage, &site, 0)? <= 2);
    wait::until_true("closed statements are gone", DEADLINE, are_gone)?;
    for replica in [1, 2] {
        ensure!(open_at(stage, &site, replica)? <= 3, "open at {replica}");
    }
    Ok(())
}

/// Nor does one that is closed right before a statement that the replica is not asked to prepare.
fn closed_before_one_that_stays(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    for _ in 0..10 {
        client.run("USE shop")?;
        let stays = client.prepare(NODE)?;
        let closed = client.prepare(NODE)?;
        says(&mut client, &closed, "closed", "2")?;
        client.send_command(&command::close(closed.id))?;
        // It was prepared with another database.
        client.run("USE other")?;
        says(&mut client, &stays, "stays", "1")?;
        client.send_command(&command::close(stays.id))?;
    }
    let last = client.prepare(NODE)?;
    says(&mut client, &last, "last", "2")?;
    let open = open_at(stage, &site, 1)?;
    ensure!(open <= 1, "{open} open at the replica");
    Ok(())
}

/// What the replica cannot prepare the primary executes, and no client hears of it.
fn refused(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    let before = client.prepare(NODE)?;
    says(&mut client, &before, "before", "2")?;
    let holder = held(stage, &site)?;
    client.run("CREATE TABLE shop.late AS SELECT 5 AS a")?;
    let late = client.prepare("SELECT CONCAT(a, '') FROM shop.late")?;
    for _ in 0..3 {
        let read = client.command(&command::execute(late.id, 0, &[]))?;
        assert_eq!(text(&read)?, "5");
        let behind = client.prepare(NODE)?;
        says(&mut client, &behind, "behind", "2")?;
        says(&mut client, &before, "before", "2")?;
    }
    drop(holder);
    // It was prepared with another database.
    let here = client.prepare(NODE)?;
    client.run("USE shop")?;
    says(&mut client, &here, "here", "1")?;
    says(&mut client, &before, "before", "2")
}

fn the_replica_goes(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    let first = client.prepare(NODE)?;
    let second = client.prepare(NODE)?;
    says(&mut client, &second, "second", "2")?;
    assert_eq!(
        executed(&mut client, &first, Some(LONG), &[9, 0, 0, 0])?,
        "2/9"
    );
    assert_eq!(executed(&mut client, &first, None, &[8, 0, 0, 0])?, "2/8");
    for (replica, next) in [(1, "3"), (2, "1")] {
        site.cluster.server(replica)?.kill()?;
        let mut number = |number: u8| -> Result<()> {
            let found = executed(&mut client, &first, None, &[number, 0, 0, 0])?;
            ensure!(found == format!("{next}/{number}"), "{found} at {next}");
            Ok(())
        };
        number(7)?;
        number(6)?;
        says(&mut client, &second, "second", next)?;
    }
    Ok(())
}

/// The next primary is told the types that only the nodes before it were, and has given the statement's id to another one. The replica that is left follows it,
/// and reads.
fn the_primary_goes(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    let statement = client.prepare(NODE)?;
    let number = |client: &mut Connection, kind: Option<u8>, number: u8| {
        executed(client, &statement, kind, &[number, 0, 0, 0])
    };
    assert_eq!(number(&mut client, Some(LONG), 9)?, "2/9");
    client.run("BEGIN")?;
    assert_eq!(number(&mut client, None, 8)?, "1/8");
    client.run("COMMIT")?;
    // The kernel moves some of these, where it moves any.
    for _ in 0..10 {
        assert_eq!(number(&mut client, None, 7)?, "2/7");
    }
    used_threads(stage.hosts(), &site.cluster, 1, 3)?;
    site.cluster.server(0)?.kill()?;
    site.cluster.promote(1)?;
    site.cluster.follow(2, 1)?;
    // What has become known of nodes concerns the session before its next command.
    known(&site.front, "writable;primary;replica")?;
    if let Err(error) = client.run("BEGIN") {
        let line = site
            .front
            .daemon()?
            .closing_line(client.greeting().thread_id)?;
        anyhow::bail!("{error:#}: {line:?}");
    }
    for round in 3..6 {
        assert_eq!(number(&mut client, None, round)?, format!("2/{round}"));
    }
    client.run("COMMIT")?;
    // Once it is known that it follows.
    wait::until_true("the other replica reads", DEADLINE, || {
        Ok(number(&mut client, None, 2)? == "3/2")
    })?;
    says(&mut client, &statement, "text", "3")?;
    client.run("INSERT INTO shop.t (a) VALUES (7)")?;
    site.cluster.catch_up(2, 1)?;
    assert_eq!(client.run("SELECT a FROM shop.t")?.text()?, "7");
    at(&mut client, "3")
}

fn reset(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    let before = client.prepare(NODE)?;
    says(&mut client, &before, "before", "2")?;
    client.command(b"\x1f")?.outcome.ok()?;
    let answer = client.execute(&before, &[Some(b"x")])?;
    assert_eq!(answer.outcome.code(), 1243);
    let behind = client.prepare(NODE)?;
    says(&mut client, &behind, "behind", "2")?;
    client.change_user(USER, PASSWORD, "shop")?.ok()?;
    let answer = client.execute(&behind, &[Some(b"x")])?;
    assert_eq!(answer.outcome.code(), 1243);
    let again = client.prepare(NODE)?;
    says(&mut client, &again, "again", "2")
}

/// Executions at either node are spliced, with types as without, as soon as that node knows them.
fn most_is_spliced(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    let write = client.prepare("UPDATE shop.t SET a = a + ?")?;
    let closed = client.prepare("SELECT 'closed'")?;
    let statement = client.prepare(NODE)?;
    client.send_command(&command::close(closed.id))?;
    let bare = client.prepare("SELECT CONCAT(VARIABLE_VALUE, '/') FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID'")?;
    let both = |client: &mut Connection, node: &str| -> Result<()> {
        says(client, &statement, "typed", node)?;
        let untyped = executed(client, &statement, None, b"\x07untyped")?;
        ensure!(untyped == format!("{node}/untyped"), "{untyped}");
        let bare = text(&client.execute(&bare, &[])?)?;
        ensure!(bare == format!("{node}/"), "{bare}");
        Ok(())
    };
    let transaction = |client: &mut Connection| -> Result<()> {
        client.run("BEGIN")?;
        both(client, "1")?;
        client.execute(&write, &[Some(b"1")])?.outcome.ok()?;
        client.run("COMMIT")?;
        Ok(())
    };
    both(&mut client, "2")?;
    transaction(&mut client)?;
    both(&mut client, "2")?;
    let before = attribute::splice(&mut client)?;
    for _ in 0..4 {
        for _ in 0..9 {
            both(&mut client, "2")?;
        }
        for _ in 0..5 {
            transaction(&mut client)?;
        }
    }
    let after = attribute::splice(&mut client)?;
    let (spliced, relayed) = (
        after.grown(&before, "spliced_commands")?,
        after.grown(&before, "relayed_commands")?,
    );
    ensure!(
        spliced + relayed == 4 * (27 + 30) + 1,
        "{spliced} + {relayed}"
    );
    // As with texts: see `split`.
    let most = if stage.path() == Path::Spliced {
        12
    } else {
        45
    };
    ensure!(
        relayed <= most,
        "{relayed} of {} relayed",
        spliced + relayed
    );
    // Other types come to the daemon, once at each node.
    let before = attribute::splice(&mut client)?;
    for _ in 0..20 {
        let found = executed(&mut client, &statement, Some(LONG), &[5, 0, 0, 0])?;
        ensure!(found == "2/5", "{found}");
        let found = executed(&mut client, &statement, None, &[6, 0, 0, 0])?;
        ensure!(found == "2/6", "{found}");
    }
    let after = attribute::splice(&mut client)?;
    let relayed = after.grown(&before, "relayed_commands")?;
    let most = if stage.path() == Path::Spliced { 2 } else { 8 };
    ensure!(relayed <= most, "{relayed} of 41 relayed");
    // What the replica has spliced of long data and cursors would be lost.
    client.send_command(&command::long_data(statement.id, 0, b"long"))?;
    assert_eq!(text(&client.execute(&statement, &[None])?)?, "1/long");
    both(&mut client, "2")
}

/// A driver that names types where they change only.
fn connector_j(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let program = include_str!("java/Split.java");
    let printed = java::run(program, site.front.address(), &[USER, PASSWORD])?;
    assert_eq!(printed, "all was right");
    Ok(())
}

/// A driver that keeps its statements, and one that does not.
fn a_driver(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let address = site.front.address();
    for kept in [32, 0] {
        let options = driver::options(address, USER, PASSWORD).stmt_cache_size(kept);
        driver::run(async {
            let mut connection = mysql_async::Conn::new(options).await?;
            for round in 0..20_i64 {
                let read: Option<String> = connection.exec_first(NODE, (round,)).await?;
                ensure!(read == Some(format!("2/{round}")), "{read:?}");
                connection
                    .exec_drop("INSERT INTO shop.t (a) VALUES (?)", (round,))
                    .await?;
                let text = format!("t{round}");
                let read: Option<String> = connection.exec_first(NODE, (&text,)).await?;
                ensure!(read == Some(format!("2/{text}")), "{read:?}");
                let read: Option<Option<String>> =
                    connection.exec_first(NODE, (None::<String>,)).await?;
                ensure!(read == Some(None), "{read:?}");
                let sql = "SELECT a FROM shop.t WHERE a = ? LIMIT ? FOR UPDATE";
                let read: Option<i64> = connection.exec_first(sql, (round, 1)).await?;
                ensure!(read == Some(round), "{read:?}");
            }
            connection.disconnect().await?;
            Ok(())
        })?;
    }
    Ok(())
}

/// `MariaDB`'s id of the statement prepared last, as a direct connection has it.
fn prepared_last(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    let last = |client: &mut Connection, value: &str| -> Result<String> {
        let named = Some(value.as_bytes());
        text(&client.command(&command::execute(u32::MAX, 0, &[named]))?)
    };
    let none = client.command(&command::execute(u32::MAX, 0, &[]))?;
    let direct = stage.hosts().node.enter(|| {
        let mut direct = site.cluster.open(0)?;
        direct.command(&command::execute(u32::MAX, 0, &[]))
    })??;
    assert_eq!(none.outcome, direct.outcome);
    for round in 0..5 {
        let first = client.prepare(NODE)?;
        says(&mut client, &first, "first", "2")?;
        let second = client.prepare(&NODE.replace("'/'", "'/second/'"))?;
        assert_eq!(last(&mut client, "x")?, "1/second/x");
        at(&mut client, "2")?;
        says(&mut client, &first, "first", "2")?;
        assert_eq!(last(&mut client, "y")?, "1/second/y");
        // It has named types, which the replica has not heard.
        let long = executed(&mut client, &second, Some(LONG), &[round, 0, 0, 0])?;
        assert_eq!(long, format!("2/second/{round}"));
        assert_eq!(last(&mut client, "z")?, "1/second/z");
        let untyped = executed(&mut client, &second, None, b"\x01u")?;
        ensure!(untyped.ends_with("/second/u"), "{untyped}");
        client.send_command(&command::close(second.id))?;
        let gone = client.command(&command::execute(u32::MAX, 0, &[]))?;
        let expected = stage.hosts().node.enter(|| {
            let mut direct = site.cluster.open(0)?;
            direct.prepare(NODE)?;
            let second = direct.prepare(NODE)?;
            direct.send_command(&command::close(second.id))?;
            direct.command(&command::execute(u32::MAX, 0, &[]))
        })??;
        assert_eq!(gone.outcome.code(), expected.outcome.code(), "{gone:?}");
    }
    Ok(())
}
