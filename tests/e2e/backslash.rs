//! Backslashes before quotes: spliced once the server has said that they escape, and never where they do not.

use crate::{
    attribute,
    case::Case,
    split::{Site, at},
};
use anyhow::{Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    server::{Kind, PASSWORD, USER, USER_MONITOR, USER_PLAIN},
    stage::Stage,
    wire::{Connection, Login, capability},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("apostrophes", apostrophes)
        .with(&Kind::ALL)
        .splicing(),
    Case::new("mode_changes", mode_changes)
        .with(&Kind::ALL)
        .splicing(),
    Case::new("functions_that_set_the_mode", functions_that_set_the_mode)
        .with(&[Kind::MariaDb, Kind::MySql])
        .splicing(),
    Case::new("mode_of_the_start", mode_of_the_start).splicing(),
    Case::new("another_server_session", another_server_session).splicing(),
    Case::new("at_a_replica", at_a_replica).splicing(),
    Case::new("mode_changes_behind_a_read", mode_changes_behind_a_read).splicing(),
    Case::new("a_replica_of_another_mode", a_replica_of_another_mode).daemon(),
];

const TRAP: &str = "trap: backslash before a quote";
const NO_ESCAPES: &str = "SET sql_mode = 'NO_BACKSLASH_ESCAPES'";
/// Ends in a comment where backslashes do not escape, and in a string where they do.
const EITHER: &str = r"SELECT 'a\' -- '";

/// How many commands were trapped for their backslashes while `act` ran.
fn trapped(
    connection: &mut Connection,
    act: impl FnOnce(&mut Connection) -> Result<()>,
) -> Result<u64> {
    let count = |connection: &mut Connection| -> Result<u64> {
        // A reason that has not come is not shown.
        Ok(attribute::splice(connection)?.number(TRAP).unwrap_or(0))
    };
    let before = count(connection)?;
    // What is spliced begins behind the first command.
    connection.run("SELECT 1")?;
    act(connection)?;
    Ok(count(connection)? - before)
}

/// Has the session's server asked; returns how many traps that took.
fn learn(connection: &mut Connection) -> Result<u64> {
    trapped(connection, |connection| {
        for _round in 0..4 {
            connection.run(r"SELECT 'it\'s'")?;
        }
        Ok(())
    })
}

fn expect(connection: &mut Connection, sql: &str, wanted: &str) -> Result<()> {
    let found = connection.run(sql)?.text()?;
    ensure!(found == wanted, "{sql}: {found}");
    Ok(())
}

fn apostrophes(stage: &Stage) -> Result<()> {
    let table = format!("{}.t", stage.database()?);
    let mut direct = stage.open_direct()?;
    direct.run(&format!(
        "CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(100))"
    ))?;
    let mut connection = stage.open()?;
    let mut id = 0;
    let mut insert = |connection: &mut Connection, rounds: u32| -> Result<()> {
        for _round in 0..rounds {
            id += 1;
            connection.run(&format!(
                r#"INSERT INTO {table} VALUES ({id}, 'it\'s \"{id}\"; \\\' @x, \\')"#
            ))?;
        }
        Ok(())
    };
    assert_eq!(
        learn(&mut connection)?,
        2,
        "traps until the server is asked"
    );
    insert(&mut connection, 10)?;
    let later = trapped(&mut connection, |connection| {
        insert(connection, 50)?;
        for (sql, wanted) in [
            (r"SELECT '\\'", r"\"),
            (r"SELECT 'a\\\'b'", r"a\'b"),
            (r"SELECT '\''", "'"),
            (r"SELECT 'x\'; SET @a = 1; \''", "x'; SET @a = 1; '"),
        ] {
            expect(connection, sql, wanted)?;
        }
        Ok(())
    })?;
    assert_eq!(later, 0, "traps once it is known");
    let rows = format!(
        "SELECT COUNT(*) FROM {table} WHERE v = CONCAT('it', 0x27, 's \"', id, '\"; ', 0x5c27, ' @x, ', 0x5c)"
    );
    expect(&mut direct, &rows, "60")
}

fn mode_changes(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    assert_eq!(learn(&mut connection)?, 2);
    for _round in 0..3 {
        connection.run(NO_ESCAPES)?;
        let traps = trapped(&mut connection, |connection| {
            for _round in 0..5 {
                expect(connection, EITHER, r"a\")?;
            }
            Ok(())
        })?;
        assert_eq!(traps, 5, "where a backslash stands for itself");
        connection.run("SET sql_mode = ''")?;
        // It is known that the session writes such texts: the first one asks.
        assert_eq!(learn(&mut connection)?, 1);
        expect(&mut connection, EITHER, "a' -- ")?;
    }
    connection.command(&[0x1f])?.outcome.ok()?;
    assert_eq!(learn(&mut connection)?, 2, "after a reset");
    Ok(())
}

/// MariaDB and MySQL keep the status flag that a function's own SET has made, though the session has its mode back.
fn functions_that_set_the_mode(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    let mut direct = stage.open_direct()?;
    for (name, mode) in [("sets", "NO_BACKSLASH_ESCAPES"), ("clears", "")] {
        direct.run(&format!(
            "CREATE FUNCTION {database}.{name}() RETURNS INT READS SQL DATA \
             BEGIN SET SESSION sql_mode = '{mode}'; RETURN 1; END"
        ))?;
    }
    let mut connection = stage.open()?;
    connection.run(NO_ESCAPES)?;
    let traps = trapped(&mut connection, |connection| {
        for _round in 0..4 {
            connection.run(&format!("SELECT {database}.clears()"))?;
            expect(connection, EITHER, r"a\")?;
        }
        Ok(())
    })?;
    assert_eq!(traps, 4, "the flag is clear, and backslashes do not escape");

    let mut connection = stage.open()?;
    assert_eq!(learn(&mut connection)?, 2);
    for _round in 0..4 {
        connection.run(&format!("SELECT {database}.sets()"))?;
        expect(&mut connection, r"SELECT 'it\'s'", "it's")?;
        expect(&mut connection, r"SELECT '\\'", r"\")?;
    }
    Ok(())
}

/// Global modes, and those of `init_connect`, which is executed behind the login's OK.
fn mode_of_the_start(stage: &Stage) -> Result<()> {
    for option in [
        "--sql-mode=NO_BACKSLASH_ESCAPES",
        "--init-connect=SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
    ] {
        let server = stage.start_server(&[option])?;
        let front = stage.private(server.address(), &[])?;
        // Not for those who have all rights.
        let mut connection = front.open(USER_PLAIN, PASSWORD)?;
        let traps = trapped(&mut connection, |connection| {
            for _round in 0..5 {
                expect(connection, EITHER, r"a\")?;
            }
            Ok(())
        })?;
        assert_eq!(traps, 5, "{option}");
    }
    Ok(())
}

/// What one server session has said is nothing for the next.
fn another_server_session(stage: &Stage) -> Result<()> {
    // Of the test's own, as its global mode changes.
    let server = stage.start_server(&[])?;
    let cluster = Cluster::mysql("east", &[server.address()]).monitor(USER_MONITOR, PASSWORD);
    let front = stage.private_with_config(&Config::new().cluster(cluster), &[])?;
    let mut connection = front.open(USER, PASSWORD)?;
    assert_eq!(learn(&mut connection)?, 2);
    let ss_id = ss_id(&mut connection)?;
    Connection::open(server.address(), &Login::new(USER, PASSWORD))?
        .run("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")?;
    connection.run(&format!("KILL PROXYSESSION SERVER {ss_id}"))?;
    let traps = trapped(&mut connection, |connection| {
        for _round in 0..5 {
            expect(connection, EITHER, r"a\")?;
        }
        Ok(())
    })?;
    assert_eq!(traps, 5, "at a server session with another mode");
    Ok(())
}

fn ss_id(connection: &mut Connection) -> Result<String> {
    let rows = connection.run("SHOW PROXYSESSION SERVER")?.texts()?;
    let first = rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next());
    first
        .flatten()
        .ok_or_else(|| anyhow::anyhow!("no server session"))
}

/// Has both servers of a session asked whose reads go to a replica.
fn learn_both(client: &mut Connection) -> Result<()> {
    let read = r"SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID' AND 'it\'s' <> ''";
    let reads_and_writes = |client: &mut Connection, rounds| {
        trapped(client, |client| {
            for _round in 0..rounds {
                expect(client, read, "2")?;
                client.run(r"INSERT INTO shop.t (a) VALUES (LENGTH('it\'s'))")?;
            }
            Ok(())
        })
    };
    // The first one of a session is the primary's: its server is not asked for one text.
    expect(client, read, "1")?;
    reads_and_writes(client, 5)?;
    let later = reads_and_writes(client, 20)?;
    assert_eq!(later, 0, "traps once both are known");
    Ok(())
}

/// Where reads go to a replica, both nodes are asked.
fn at_a_replica(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    learn_both(&mut client)?;
    for _round in 0..3 {
        client.run(NO_ESCAPES)?;
        for _round in 0..3 {
            expect(&mut client, EITHER, r"a\")?;
            at(&mut client, "2")?;
        }
        client.run("SET sql_mode = ''")?;
        for _round in 0..3 {
            expect(&mut client, EITHER, "a' -- ")?;
            at(&mut client, "2")?;
        }
    }
    Ok(())
}

/// A text that would mean something else at the replica is the primary's.
fn a_replica_of_another_mode(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    stage.hosts().node.enter(|| {
        site.cluster
            .open(1)?
            .run("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")
    })??;
    let mut client = site.client()?;
    for _round in 0..5 {
        at(&mut client, "2")?;
        expect(&mut client, EITHER, "a' -- ")?;
    }
    client.command(&[0x1f])?.outcome.ok()?;
    for _round in 0..5 {
        expect(&mut client, EITHER, "a' -- ")?;
        at(&mut client, "2")?;
    }
    Ok(())
}

/// A read at the replica is the last thing that the session has done when its mode at the primary changes, and no status flag says that it has.
fn mode_changes_behind_a_read(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    stage.hosts().node.enter(|| {
        site.cluster.open(0)?.run(
            "CREATE FUNCTION shop.clears() RETURNS INT READS SQL DATA BEGIN SET SESSION sql_mode = ''; RETURN 1; END",
        )
    })??;
    let login = Login::new(USER, PASSWORD).with(capability::MULTI_STATEMENTS);
    let mut client = Connection::open(site.front.address(), &login)?;
    learn_both(&mut client)?;
    at(&mut client, "2")?;
    client.run(&format!("{NO_ESCAPES}; DO shop.clears()"))?;
    let before = attribute::splice(&mut client)?.number(TRAP).unwrap_or(0);
    for _round in 0..5 {
        client.run(r"INSERT INTO shop.t (a) SELECT 'a\' -- '")?;
    }
    let after = attribute::splice(&mut client)?.number(TRAP).unwrap_or(0);
    // The first one's reason depends on what was offered behind the SET.
    ensure!(after - before >= 4, "{} of 5 trapped", after - before);
    Ok(())
}
