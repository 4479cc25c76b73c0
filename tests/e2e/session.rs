//! Session state: kept between commands, gone when the client says so.

use crate::case::Case;
use anyhow::{Result, ensure};
use sluice_tests::{
    server::{Kind, PASSWORD, USER, USER_OPEN},
    stage::Stage,
    wire::{Connection, Outcome},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("change_user", change_user),
    Case::new("change_user_refused", change_user_refused),
    Case::new("reset_connection", reset_connection).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("variables_last", variables_last).with(&Kind::ALL),
    Case::new("init_db", init_db).with(&Kind::ALL),
    Case::new("temporary_table", temporary_table).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("named_lock", named_lock),
    Case::new("warnings", warnings),
];

fn variable(connection: &mut Connection) -> Result<Option<Vec<u8>>> {
    Ok(connection
        .run("SELECT @v")?
        .table()?
        .into_iter()
        .flatten()
        .next()
        .flatten())
}

fn change_user(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    let mut connection = stage.open()?;
    for _ in 0..3 {
        connection.run("SET @v = 1")?;
        connection.change_user(USER_OPEN, "", "")?.ok()?;
        assert_eq!(connection.run("SELECT CURRENT_USER()")?.text()?, "open@%");
        assert_eq!(
            variable(&mut connection)?,
            None,
            "a user variable outlived COM_CHANGE_USER"
        );
        connection.change_user(USER, PASSWORD, &database)?.ok()?;
        assert_eq!(
            connection
                .run("SELECT CONCAT(CURRENT_USER(), DATABASE())")?
                .text()?,
            format!("app@%{database}")
        );
    }
    Ok(())
}

fn change_user_refused(stage: &Stage) -> Result<()> {
    let refuse = |mut connection: Connection| -> Result<Outcome> {
        connection.change_user(USER, "wrong", "")
    };
    // The server names the host that it sees.
    let direct = stage.where_node_sees_sessions_from(|| stage.open_direct())?;
    let (ours, theirs) = (refuse(stage.open()?)?, refuse(direct?)?);
    assert_eq!(theirs.code(), 1045);
    assert_eq!(ours, theirs);
    Ok(())
}

fn reset_connection(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    for _ in 0..3 {
        connection.run("SET @v = 1")?;
        connection.run("SET SESSION sql_mode = 'ANSI_QUOTES'")?;
        let statement = connection.prepare("SELECT 1")?;
        connection.command(&[0x1F])?.outcome.ok()?;
        assert_eq!(
            variable(&mut connection)?,
            None,
            "a user variable outlived COM_RESET_CONNECTION"
        );
        assert_ne!(connection.run("SELECT @@sql_mode")?.text()?, "ANSI_QUOTES");
        assert_eq!(
            connection.execute(&statement, &[])?.outcome.code(),
            1243,
            "a statement outlived COM_RESET_CONNECTION"
        );
        connection.run("SELECT 1")?;
    }
    Ok(())
}

fn variables_last(stage: &Stage) -> Result<()> {
    let mut connections = [stage.open()?, stage.open()?, stage.open()?];
    for round in 0..10 {
        for (index, connection) in connections.iter_mut().enumerate() {
            connection.run(&format!("SET @v = 'session {index}, round {round}'"))?;
            connection.run(&format!("SET SESSION wait_timeout = {}", 1000 + index))?;
        }
        for (index, connection) in connections.iter_mut().enumerate() {
            connection.run("SELECT 1")?;
            let wanted = format!("session {index}, round {round}");
            assert_eq!(variable(connection)?.as_deref(), Some(wanted.as_bytes()));
            let timeout = connection.run("SELECT @@wait_timeout")?.text()?;
            assert_eq!(timeout, (1000 + index).to_string());
        }
    }
    Ok(())
}

fn init_db(stage: &Stage) -> Result<()> {
    let [first, second] = [stage.database()?, stage.database()?];
    let mut connection = stage.open()?;
    for name in [&first, &second, &first] {
        connection
            .command(&[&[0x02], name.as_bytes()].concat())?
            .outcome
            .ok()?;
        assert_eq!(
            &connection.run("SELECT DATABASE()")?.text()?,
            name,
            "COM_INIT_DB"
        );
    }
    connection.run(&format!("USE {second}"))?;
    assert_eq!(connection.run("SELECT DATABASE()")?.text()?, second, "USE");
    assert_eq!(
        connection.query("USE no_such_database")?.outcome.code(),
        1049
    );
    assert_eq!(connection.run("SELECT DATABASE()")?.text()?, second);
    Ok(())
}

fn temporary_table(stage: &Stage) -> Result<()> {
    let table = format!("{}.only_mine", stage.database()?);
    let (mut connection, mut other) = (stage.open()?, stage.open()?);
    connection.run(&format!("CREATE TEMPORARY TABLE {table} (id INT)"))?;
    connection.run(&format!("INSERT INTO {table} VALUES (1)"))?;
    for _ in 0..5 {
        assert_eq!(
            connection
                .run(&format!("SELECT COUNT(*) FROM {table}"))?
                .text()?,
            "1"
        );
    }
    assert_eq!(
        other
            .query(&format!("SELECT * FROM {table}"))?
            .outcome
            .code(),
        1146
    );
    Ok(())
}

fn named_lock(stage: &Stage) -> Result<()> {
    let name = stage.database()?;
    let (mut holder, mut other) = (stage.open()?, stage.open()?);
    assert_eq!(
        holder
            .run(&format!("SELECT GET_LOCK('{name}', 0)"))?
            .text()?,
        "1"
    );
    assert_eq!(
        other
            .run(&format!("SELECT GET_LOCK('{name}', 0)"))?
            .text()?,
        "0"
    );
    assert_eq!(
        holder
            .run(&format!("SELECT RELEASE_LOCK('{name}')"))?
            .text()?,
        "1"
    );
    assert_eq!(
        other
            .run(&format!("SELECT GET_LOCK('{name}', 0)"))?
            .text()?,
        "1"
    );
    Ok(())
}

/// Warnings and the last insert id belong to the statement before.
fn warnings(stage: &Stage) -> Result<()> {
    let table = format!("{}.t", stage.database()?);
    let mut connection = stage.open()?;
    connection.run(&format!(
        "CREATE TABLE {table} (id INT PRIMARY KEY AUTO_INCREMENT)"
    ))?;
    for id in 1..=5 {
        connection.run(&format!("INSERT INTO {table} VALUES (NULL)"))?;
        assert_eq!(
            connection.run("SELECT LAST_INSERT_ID()")?.text()?,
            id.to_string()
        );
        connection.run("SELECT 1 + 'x'")?;
        let warnings = connection.run("SHOW WARNINGS")?.table()?;
        ensure!(warnings.len() == 1, "{warnings:?}");
    }
    Ok(())
}
