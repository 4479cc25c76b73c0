//! Transactions: what one session does is seen by others when it should be, and the status flags say so.

use crate::{case::Case, driver};
use anyhow::{Result, bail, ensure};
use mysql_async::{TxOpts, prelude::Queryable as _};
use sluice_tests::{
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::{Connection, Outcome},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("commit_and_rollback", commit_and_rollback).with(&Kind::ALL),
    Case::new("status_flags", status_flags).with(&Kind::ALL),
    Case::new("autocommit_off", autocommit_off),
    Case::new("errors_keep_it_open", errors_keep_it_open),
    Case::new("driver", by_driver),
];

const IN_TRANSACTION: u16 = 1;
const AUTOCOMMIT: u16 = 2;

fn table(stage: &Stage) -> Result<String> {
    let name = format!("{}.t", stage.database()?);
    stage
        .open_direct()?
        .run(&format!("CREATE TABLE {name} (id INT PRIMARY KEY)"))?;
    Ok(name)
}

fn count(connection: &mut Connection, table: &str) -> Result<String> {
    connection
        .run(&format!("SELECT COUNT(*) FROM {table}"))?
        .text()
}

fn flags(connection: &mut Connection, sql: &str) -> Result<u16> {
    match connection.query(sql)?.outcome {
        Outcome::Ok { status } => Ok(status & (IN_TRANSACTION | AUTOCOMMIT)),
        error @ Outcome::Error { .. } => bail!("{sql}: {error}"),
    }
}

fn commit_and_rollback(stage: &Stage) -> Result<()> {
    let table = table(stage)?;
    let (mut writer, mut reader) = (stage.open()?, stage.open_direct()?);
    let mut wanted = 0;
    for round in 0..20 {
        writer.run(if round % 2 == 0 {
            "BEGIN"
        } else {
            "START TRANSACTION"
        })?;
        writer.run(&format!("INSERT INTO {table} VALUES ({round})"))?;
        assert_eq!(
            count(&mut reader, &table)?,
            wanted.to_string(),
            "seen before its commit"
        );
        assert_eq!(count(&mut writer, &table)?, (wanted + 1).to_string());
        if round % 3 == 0 {
            writer.run("ROLLBACK")?;
        } else {
            writer.run("COMMIT")?;
            wanted += 1;
        }
        assert_eq!(
            count(&mut reader, &table)?,
            wanted.to_string(),
            "round {round}"
        );
    }
    Ok(())
}

fn status_flags(stage: &Stage) -> Result<()> {
    let table = table(stage)?;
    let mut connection = stage.open()?;
    for (sql, wanted) in [
        ("SELECT 1".to_owned(), AUTOCOMMIT),
        ("BEGIN".to_owned(), AUTOCOMMIT | IN_TRANSACTION),
        (
            format!("INSERT INTO {table} VALUES (1)"),
            AUTOCOMMIT | IN_TRANSACTION,
        ),
        (
            format!("SELECT * FROM {table}"),
            AUTOCOMMIT | IN_TRANSACTION,
        ),
        ("COMMIT".to_owned(), AUTOCOMMIT),
        ("SET autocommit = 0".to_owned(), 0),
        (format!("INSERT INTO {table} VALUES (2)"), IN_TRANSACTION),
        ("ROLLBACK".to_owned(), 0),
        ("SET autocommit = 1".to_owned(), AUTOCOMMIT),
    ] {
        assert_eq!(flags(&mut connection, &sql)?, wanted, "{sql}");
    }
    Ok(())
}

fn autocommit_off(stage: &Stage) -> Result<()> {
    let table = table(stage)?;
    let (mut writer, mut reader) = (stage.open()?, stage.open_direct()?);
    writer.run("SET autocommit = 0")?;
    for id in 0..10 {
        writer.run(&format!("INSERT INTO {table} VALUES ({id})"))?;
    }
    assert_eq!(count(&mut reader, &table)?, "0");
    writer.run("COMMIT")?;
    assert_eq!(count(&mut reader, &table)?, "10");
    writer.run(&format!("DELETE FROM {table}"))?;
    // A session that ends without a COMMIT takes its changes with it.
    drop(writer);
    assert_eq!(count(&mut reader, &table)?, "10");
    let mut next = stage.open()?;
    assert_eq!(
        next.run("SELECT @@autocommit")?.text()?,
        "1",
        "another session's autocommit"
    );
    // Waits for the lock until the server has rolled the deletion back.
    next.run(&format!("DELETE FROM {table} WHERE id < 5"))?;
    assert_eq!(count(&mut reader, &table)?, "5");
    Ok(())
}

fn errors_keep_it_open(stage: &Stage) -> Result<()> {
    let table = table(stage)?;
    let mut connection = stage.open()?;
    connection.run("BEGIN")?;
    connection.run(&format!("INSERT INTO {table} VALUES (1)"))?;
    let twice = connection
        .query(&format!("INSERT INTO {table} VALUES (1)"))?
        .outcome;
    ensure!(
        matches!(&twice, Outcome::Error { code: 1062, state, .. } if state == "23000"),
        "{twice}"
    );
    connection.run("SAVEPOINT here")?;
    connection.run(&format!("INSERT INTO {table} VALUES (2)"))?;
    connection.run("ROLLBACK TO SAVEPOINT here")?;
    connection.run(&format!("INSERT INTO {table} VALUES (3)"))?;
    connection.run("COMMIT")?;
    let rows = connection
        .run(&format!("SELECT id FROM {table} ORDER BY id"))?
        .table()?;
    assert_eq!(rows, [[Some(b"1".to_vec())], [Some(b"3".to_vec())]]);
    connection.run("START TRANSACTION READ ONLY")?;
    assert_eq!(
        connection
            .query(&format!("INSERT INTO {table} VALUES (4)"))?
            .outcome
            .code(),
        1792
    );
    connection.run("COMMIT")?;
    Ok(())
}

fn by_driver(stage: &Stage) -> Result<()> {
    let table = table(stage)?;
    let left: Vec<i32> = driver::run(async {
        let mut connection = driver::open(stage.address(), USER, PASSWORD).await?;
        for id in 0..10_i32 {
            let mut transaction = connection.start_transaction(TxOpts::default()).await?;
            transaction
                .exec_drop(format!("INSERT INTO {table} VALUES (?)"), (id,))
                .await?;
            if id % 2 == 0 {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
        }
        let left = connection
            .query(format!("SELECT id FROM {table} ORDER BY id"))
            .await?;
        connection.disconnect().await?;
        Ok(left)
    })?;
    assert_eq!(left, [0, 2, 4, 6, 8]);
    Ok(())
}
