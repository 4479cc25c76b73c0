//! `SET autocommit` is spliced, and yet follows the session: every OK tells what it is.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{Kind, USER_ROOT},
    stage::Stage,
    wire::{Connection, Login},
};

const ROUNDS: u64 = 50;

pub(crate) const CASES: &[Case] = &[
    Case::new("spliced", spliced).with(&Kind::ALL).daemon(),
    Case::new("shown", shown).with(&Kind::ALL).daemon(),
];

/// As ORMs have it around each transaction.
fn spliced(stage: &Stage) -> Result<()> {
    let name = stage.database()?;
    let mut other = stage.open_direct()?;
    other.run(&format!("CREATE TABLE {name}.t (a INT)"))?;
    let count = format!("SELECT COUNT(*) FROM {name}.t");
    let insert = format!("INSERT INTO {name}.t VALUES (1)");
    let mut connection = stage.open()?;
    connection.run("SELECT 1")?;
    let before = attribute::splice(&mut connection)?;
    connection.run("SELECT 1")?;
    for round in 0..ROUNDS {
        connection.run("SET autocommit=0")?;
        connection.run(&insert)?;
        connection.run("ROLLBACK")?;
        connection.run(&insert)?;
        assert_eq!(other.run(&count)?.text()?, round.to_string());
        connection.run("COMMIT")?;
        connection.run("SET AUTOCOMMIT = 1")?;
        assert_eq!(other.run(&count)?.text()?, (round + 1).to_string());
    }
    let after = attribute::splice(&mut connection)?;
    if stage.path().splices() {
        let grown = after.grown(&before, "spliced_commands")?;
        ensure!(grown >= 6 * ROUNDS, "{grown} spliced: {after:?}");
    }
    Ok(())
}

/// Whoever looks sees the value, though the daemon has not seen the statement.
fn shown(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let operator = Login::new(&format!("{USER_ROOT}@sys"), "");
    let mut other = Connection::open(stage.address(), &operator)?;
    let id = connection.greeting().thread_id;
    let mut value = || -> Result<Option<String>> {
        let rows = other
            .run(&format!("SHOW PROXYSESSION VARIABLES {id}"))?
            .texts()?;
        let row = rows.into_iter().find(|row| {
            row.first()
                .is_some_and(|name| name.as_deref() == Some("autocommit"))
        });
        Ok(row.and_then(|row| row.into_iter().nth(1).flatten()))
    };
    connection.run("SELECT 1")?;
    connection.run("SELECT 1")?;
    assert_eq!(value()?, None);
    connection.run("SET autocommit = OFF")?;
    assert_eq!(value()?.context("autocommit is not shown")?, "0");
    connection.run("SELECT 1")?;
    connection.run("SET autocommit = ON")?;
    // As before: changed, if somebody has noticed.
    let again = value()?;
    ensure!(
        again.as_deref().is_none_or(|value| value == "1"),
        "{again:?}"
    );
    Ok(())
}
