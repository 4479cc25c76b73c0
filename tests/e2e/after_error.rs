//! An ERR packet has no status flags: what it may have changed must not be taken for what was known before it.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{Kind, PASSWORD, USER, USER_ROOT},
    stage::Stage,
    wire::{Connection, Login, capability, command},
};

/// OceanBase begins a transaction with the first statement that succeeds.
const MYSQLS: [Kind; 2] = [Kind::MariaDb, Kind::MySql];
const COM_STATISTICS: u8 = 0x09;

pub(crate) const CASES: &[Case] = &[
    Case::new("autocommit_off", autocommit_off)
        .with(&MYSQLS)
        .daemon(),
    Case::new("routine", routine).with(&Kind::ALL).daemon(),
    Case::new("batch", batch).with(&MYSQLS).daemon(),
    Case::new("relayed_before", relayed_before)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("ordinary", ordinary).with(&Kind::ALL).daemon(),
    Case::new("flags", flags).with(&Kind::ALL).daemon(),
    Case::new("behind_a_regime_without_responses", closes_alone)
        .with(&MYSQLS)
        .daemon(),
];

/// A session with a table that has the row 1, and one that looks at it.
struct Looked {
    connection: Connection,
    other: Connection,
    table: String,
    database: String,
}

impl Looked {
    fn new(stage: &Stage) -> Result<Self> {
        let database = stage.database()?;
        let table = format!("{database}.t");
        let mut direct = stage.open_direct()?;
        direct.run(&format!("CREATE TABLE {table} (id INT PRIMARY KEY)"))?;
        direct.run(&format!("INSERT INTO {table} VALUES (1)"))?;
        let login = Login::new(USER, PASSWORD).with(capability::MULTI_STATEMENTS);
        let operator = Login::new(&format!("{USER_ROOT}@sys"), "");
        let mut looked = Self {
            connection: Connection::open(stage.address(), &login)?,
            other: Connection::open(stage.address(), &operator)?,
            table,
            database,
        };
        looked.connection.run("SELECT 1")?;
        looked.expect("", "no")?;
        Ok(looked)
    }

    /// The statement that violates the key.
    fn twice(&self) -> String {
        format!("INSERT INTO {} VALUES (1)", self.table)
    }

    /// This statement, or a batch's last, fails with this error.
    fn fail(&mut self, sql: &str, code: u16) -> Result<()> {
        let outcome = self.connection.query(sql)?.outcome;
        ensure!(
            outcome.code() == code,
            "{sql}: {outcome} instead of error {code}"
        );
        Ok(())
    }

    fn row(&mut self, name: &str) -> Result<String> {
        let id = self.connection.greeting().thread_id;
        let seen = attribute::splice_of(&mut self.other, id)?;
        Ok(seen.text(name)?.to_owned())
    }

    /// What ties the session, and whether it is in a transaction.
    fn expect(&mut self, sticky: &str, transaction: &str) -> Result<()> {
        let id = self.connection.greeting().thread_id;
        let seen = attribute::splice_of(&mut self.other, id)?;
        assert_eq!(seen.text("sticky_reason")?, sticky, "{seen:?}");
        assert_eq!(seen.text("in_transaction")?, transaction, "{seen:?}");
        Ok(())
    }
}

/// Without autocommit a statement that fails may have begun a transaction: MariaDB and MySQL say so with the next OK.
fn autocommit_off(stage: &Stage) -> Result<()> {
    let mut looked = Looked::new(stage)?;
    let twice = looked.twice();
    looked.connection.run("SET autocommit = 0")?;
    // What ROW_COUNT() says must be overwritten before the session's variables are read, and the session is spliced again.
    looked.connection.run("SELECT 1")?;
    looked.expect("", "no")?;
    assert_eq!(looked.row("autocommit")?, "off");
    for _round in 0..3 {
        looked.fail(&twice, 1062)?;
        looked.expect("transaction", "unknown")?;
        looked.fail(&twice, 1062)?;
        // A response without status flags, and the daemon's own, tell nothing.
        looked.connection.send_command(&[COM_STATISTICS])?;
        looked.connection.read_packet()?;
        looked.connection.run("SHOW PROXYSESSION")?;
        looked.expect("transaction", "unknown")?;
        let table = looked.table.clone();
        looked.connection.run(&format!("SELECT * FROM {table}"))?;
        looked.expect("transaction", "yes")?;
        looked.connection.run("ROLLBACK")?;
        looked.expect("", "no")?;
    }
    // A syntax error begins nothing; the next response says so.
    looked.fail("SELECT FROM", 1064)?;
    looked.connection.run("ROLLBACK")?;
    looked.expect("", "no")
}

/// A procedure may have begun a transaction, or ended autocommit, before it failed.
fn routine(stage: &Stage) -> Result<()> {
    let mut looked = Looked::new(stage)?;
    let (twice, database) = (looked.twice(), looked.database.clone());
    let mut direct = stage.open_direct()?;
    direct.run(&format!(
        "CREATE PROCEDURE {database}.begins() BEGIN START TRANSACTION; {twice}; END"
    ))?;
    direct.run(&format!(
        "CREATE PROCEDURE {database}.ends() BEGIN ROLLBACK; {twice}; END"
    ))?;
    looked.fail(&format!("CALL {database}.begins()"), 1062)?;
    looked.expect("transaction", "unknown")?;
    looked.connection.run("DO 1")?;
    looked.expect("transaction", "yes")?;
    looked.fail(&format!("CALL {database}.ends()"), 1062)?;
    looked.expect("transaction", "unknown")?;
    looked.connection.run("DO 1")?;
    looked.expect("", "no")?;
    // As a prepared statement.
    let call = looked
        .connection
        .prepare(&format!("CALL {database}.begins()"))?;
    let answer = looked.connection.execute(&call, &[])?;
    assert_eq!(answer.outcome.code(), 1062);
    assert_eq!(looked.row("in_transaction")?, "unknown");
    looked.connection.run("DO 1")?;
    assert_eq!(looked.row("in_transaction")?, "yes");
    Ok(())
}

/// Of a batch that fails, the responses before the ERR tell what they did.
fn batch(stage: &Stage) -> Result<()> {
    let mut looked = Looked::new(stage)?;
    let twice = looked.twice();
    looked.fail(&format!("BEGIN; {twice}"), 1062)?;
    assert_eq!(looked.row("sticky_reason")?, "transaction");
    looked.connection.run("DO 1")?;
    looked.expect("transaction", "yes")?;
    looked.fail(&format!("ROLLBACK; {twice}"), 1062)?;
    looked.connection.run("DO 1")?;
    looked.expect("", "no")?;
    looked.fail(&format!("SET autocommit = 0; {twice}"), 1062)?;
    looked.expect("transaction", "unknown")?;
    looked.connection.run("DO 1")?;
    looked.expect("transaction", "yes")
}

/// The flags of a relayed command hold for spliced ones behind it that have none.
fn relayed_before(stage: &Stage) -> Result<()> {
    let mut looked = Looked::new(stage)?;
    let twice = looked.twice();
    // The executable comment traps.
    let begin = "START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */";
    for _round in 0..3 {
        looked.connection.run("SELECT 1")?;
        looked.connection.run(begin)?;
        looked.fail(&twice, 1062)?;
        assert_eq!(looked.row("sticky_reason")?, "transaction");
        // Traps, and the daemon keeps what the kernel knows.
        looked.connection.run("SHOW PROXYSESSION")?;
        assert_eq!(looked.row("sticky_reason")?, "transaction");
        looked.connection.run("ROLLBACK")?;
        looked.expect("", "no")?;
    }
    Ok(())
}

/// What fails with autocommit outside a transaction ties nobody, and is spliced as ever.
fn ordinary(stage: &Stage) -> Result<()> {
    const ROUNDS: u64 = 50;
    let mut looked = Looked::new(stage)?;
    let (twice, table) = (looked.twice(), looked.table.clone());
    let before = attribute::splice(&mut looked.connection)?;
    looked.connection.run("SELECT 1")?;
    for _round in 0..ROUNDS {
        looked.fail(&twice, 1062)?;
        looked.fail(&format!("SELECT nosuch FROM {table}"), 1054)?;
        looked.fail("SELECT FROM", 1064)?;
    }
    looked.expect("", "no")?;
    let after = attribute::splice(&mut looked.connection)?;
    if stage.path().splices() {
        let spliced = after.grown(&before, "spliced_commands")?;
        ensure!(spliced >= 3 * ROUNDS, "{spliced} spliced: {after:?}");
    }
    // Relayed, too.
    looked.fail(&format!("SELECT @a FROM {table} WHERE nosuch"), 1054)?;
    looked.fail(&format!("CREATE TABLE {table} (a INT)"), 1050)?;
    looked.expect("", "no")
}

/// The other flags of the last response.
fn flags(stage: &Stage) -> Result<()> {
    let mut looked = Looked::new(stage)?;
    assert_eq!(looked.row("autocommit")?, "on");
    looked.connection.run("SET autocommit = 0")?;
    assert_eq!(looked.row("autocommit")?, "off");
    looked.connection.run("SET autocommit = 1")?;
    looked.connection.run("SELECT 1")?;
    assert_eq!(looked.row("autocommit")?, "on");
    let changed = looked.row("session_state_changed")?;
    ensure!(
        ["no", "yes"].contains(&changed.as_str()),
        "session_state_changed: {changed}"
    );
    let login = Login::new(USER, PASSWORD).with(capability::SESSION_TRACK);
    looked.connection = Connection::open(stage.address(), &login)?;
    looked.connection.run("SET autocommit = 0")?;
    assert_eq!(looked.row("session_state_changed")?, "yes");
    looked.connection.run("SELECT 1")?;
    assert_eq!(looked.row("session_state_changed")?, "no");
    looked
        .row("in_transaction")
        .map(drop)
        .context("the transaction's row")
}

/// A regime in which only statements were closed tells nothing: the kernel's last response is older than what the daemon knows.
fn closes_alone(stage: &Stage) -> Result<()> {
    let mut looked = Looked::new(stage)?;
    let statement = looked.connection.prepare("SELECT 2")?;
    for _ in 0..3 {
        looked.connection.run("SELECT 1")?;
    }
    assert_eq!(looked.row("autocommit")?, "on");
    looked.connection.run("SET autocommit = 0")?;
    // Before it the daemon asks for the variable, behind it the session is spliced again.
    looked.connection.run("SELECT 1")?;
    let before = attribute::splice(&mut looked.connection)?;
    looked
        .connection
        .send_command(&command::close(statement.id))?;
    let after = attribute::splice(&mut looked.connection)?;
    let spliced = after.grown(&before, "spliced_commands")?;
    assert_eq!(spliced, u64::from(stage.path().splices()));
    assert_eq!(after.text("autocommit")?, "off");
    assert_eq!(looked.row("autocommit")?, "off");
    Ok(())
}
