//! That the proxy asks the server, nobody can tell.

use super::{both, check_values, names, rows};
use crate::attribute::splice;
use anyhow::{Result, ensure};
use sluice_tests::{
    stage::Stage,
    wire::{command, frame},
};

/// What looks back at the statement before, behind statements that make the proxy ask.
pub(super) fn diagnostics(stage: &Stage) -> Result<()> {
    let table = format!("{}.t", stage.database()?);
    let create =
        format!("CREATE TEMPORARY TABLE {table} (id INT PRIMARY KEY AUTO_INCREMENT, a INT)");
    let insert = format!("INSERT INTO {table} (a) VALUES (1), (2), (3)");
    let bad_insert = format!("INSERT INTO {table} (a) VALUES ('x')");
    let found = format!("SELECT SQL_CALC_FOUND_ROWS a FROM {table} LIMIT 1");
    let assign = format!("SELECT @z := a FROM {table}");
    let update = format!("UPDATE {table} SET a = a + 10");
    let sqls: &[&str] = &[
        "SET sql_mode = ''",
        &create,
        "SET @x = 1",
        "SELECT ROW_COUNT()",
        "SET @x = 2",
        &insert,
        "SELECT ROW_COUNT()",
        "SELECT LAST_INSERT_ID()",
        "SET @x = 3",
        &bad_insert,
        "SHOW WARNINGS",
        "SELECT ROW_COUNT(), LAST_INSERT_ID()",
        &found,
        "SET @y = 2",
        "SELECT FOUND_ROWS()",
        "SET @y = 3",
        &found,
        "SELECT FOUND_ROWS()",
        &assign,
        "SELECT FOUND_ROWS()",
        &assign,
        "SELECT ROW_COUNT()",
        "SET @a = 1",
        &update,
        "SELECT ROW_COUNT()",
        "SET max_sort_length = 1",
        "SHOW WARNINGS",
        "SELECT @@warning_count",
        "SET max_sort_length = 2",
        "SELECT 1",
        "SHOW WARNINGS",
        "SELECT 1 + 'x'",
        "SET @b = 1",
        "SHOW COUNT(*) WARNINGS",
        "BEGIN",
        "SET @c = 1",
        &insert,
        "SELECT LAST_INSERT_ID(), ROW_COUNT()",
        "ROLLBACK",
        "SELECT no_such_column",
        "SHOW ERRORS",
        "SET @d = 1",
        "SELECT no_such_column",
        "SHOW ERRORS",
    ];
    both(stage, sqls)?;
    Ok(())
}

/// `SET TRANSACTION` and `SET insert_id` are for the next transaction and statement: being asked does not use them up.
pub(super) fn one_shot(stage: &Stage) -> Result<()> {
    let table = format!("{}.t", stage.database()?);
    let create = format!("CREATE TABLE {table} (id INT PRIMARY KEY AUTO_INCREMENT) ENGINE=InnoDB");
    stage.open_direct()?.run(&create)?;
    let mut connection = stage.open()?;
    connection.run("SET insert_id = 77, @a = 1")?;
    connection.run(&format!("INSERT INTO {table} VALUES (NULL)"))?;
    assert_eq!(
        connection
            .run(&format!("SELECT MAX(id) FROM {table}"))?
            .text()?,
        "77"
    );

    connection.run("SET @a = 2")?;
    connection.run("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")?;
    connection.run("BEGIN")?;
    let mut writer = stage.open_direct()?;
    writer.run("BEGIN")?;
    writer.run(&format!("INSERT INTO {table} VALUES (99)"))?;
    assert_eq!(
        connection
            .run(&format!("SELECT MAX(id) FROM {table}"))?
            .text()?,
        "99",
        "what is not committed is read"
    );
    writer.run("ROLLBACK")?;
    connection.run("COMMIT")?;
    Ok(())
}

/// Commands that were sent before the answers to earlier ones.
pub(super) fn pipelined(stage: &Stage) -> Result<()> {
    let table = format!("{}.t", stage.database()?);
    let sqls = [
        "SET @a = 1".to_owned(),
        format!("CREATE TEMPORARY TABLE {table} (a INT)"),
        format!("INSERT INTO {table} VALUES (1), (2)"),
        "SELECT ROW_COUNT()".to_owned(),
        "SET @b = @a + 1".to_owned(),
        format!("SELECT a FROM {table}"),
        "SELECT FOUND_ROWS()".to_owned(),
        "SELECT @a, @b".to_owned(),
    ];
    let bytes: Vec<u8> = sqls
        .iter()
        .flat_map(|sql| frame(&command::query(sql.as_bytes()), 0).0)
        .collect();
    let mut answers = Vec::new();
    for mut connection in [stage.open()?, stage.open_direct()?] {
        connection.send_raw(&bytes)?;
        let mut own = Vec::new();
        for _ in &sqls {
            connection.expect_answer(1);
            own.push(connection.read_response(&[])?.packets);
        }
        answers.push(own);
    }
    assert_eq!(answers.first(), answers.last());
    Ok(())
}

/// Once the server was asked, the session is spliced as before; autocommit need not be asked for.
pub(super) fn spliced_again(stage: &Stage) -> Result<()> {
    const SELECTS: u64 = 10;
    let mut connection = stage.open()?;
    for (set, relayed) in [
        ("SET autocommit = 0", 0),
        ("SET @a = 1", 1),
        ("SET NAMES utf8mb4, sql_mode = ''", 1),
        ("SET autocommit = 1", 0),
        ("SET sql_mode = 'no such mode'", 1),
    ] {
        connection.query(set)?;
        let before = splice(&mut connection)?;
        ensure!(before.text("mode")? != "spliced");
        connection.query(set)?;
        for _ in 0..SELECTS {
            connection.run("SELECT 1")?;
        }
        let after = splice(&mut connection)?;
        let spliced = after.grown(&before, "spliced_commands")?;
        ensure!(
            spliced >= SELECTS - relayed,
            "{set}: {spliced} of {SELECTS} were spliced"
        );
    }
    let shown = rows(&mut connection, "SHOW PROXYSESSION VARIABLES LIKE 'a%'")?;
    assert_eq!(names(&shown), "autocommit @a");
    check_values(&mut connection, &shown)
}
