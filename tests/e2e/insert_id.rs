//! What OK packets say of rows and ids, whichever way they came.

use crate::{attribute, case::Case};
use anyhow::Result;
use sluice_tests::{
    path::Path,
    server::{Kind, USER_ROOT},
    stage::Stage,
    wire::{Connection, Login},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("of_text", of_text)
        .with(&[Kind::MariaDb, Kind::MySql])
        .daemon(),
    Case::new("of_binary", of_binary)
        .with(&[Kind::MariaDb, Kind::MySql])
        .daemon(),
];

/// A table whose ids the server gives.
fn table(stage: &Stage) -> Result<String> {
    let name = format!("{}.ids", stage.database()?);
    stage.open_direct()?.run(&format!(
        "CREATE TABLE {name} (id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT, n INT)"
    ))?;
    Ok(name)
}

/// A session, and one that looks at it: a look of its own would be its last command.
struct Watched {
    session: Connection,
    watcher: Connection,
}

impl Watched {
    fn open(stage: &Stage) -> Result<Self> {
        let watcher = Login::new(&format!("{USER_ROOT}@sys"), "");
        Ok(Self {
            session: stage.open()?,
            watcher: Connection::open(stage.address(), &watcher)?,
        })
    }

    fn look(&mut self) -> Result<attribute::Splice> {
        attribute::splice_of(&mut self.watcher, self.session.greeting().thread_id)
    }

    /// What the proxy knows of the session's last command: rows and insert id.
    fn known(&mut self) -> Result<(String, u64)> {
        let splice = self.look()?;
        let rows = splice.text("last_command_rows")?.to_owned();
        Ok((rows, splice.number("last_insert")?))
    }

    /// How many of its commands were spliced since `before`.
    fn spliced_since(&mut self, before: &attribute::Splice) -> Result<u64> {
        self.look()?.grown(before, "spliced_commands")
    }
}

fn of_text(stage: &Stage) -> Result<()> {
    let table = table(stage)?;
    let mut watched = Watched::open(stage)?;
    assert_eq!(watched.known()?.1, 0);
    let before = watched.look()?;
    let steps = [
        (format!("INSERT INTO {table} (n) VALUES (1)"), "1", 1),
        (
            format!("INSERT INTO {table} (n) VALUES (1), (1), (1)"),
            "3",
            2,
        ),
        // The id that the statement gives counts too.
        (format!("INSERT INTO {table} VALUES (300, 1)"), "1", 300),
        (format!("UPDATE {table} SET n = 2 WHERE id < 5"), "4", 300),
        (format!("SELECT n FROM {table}"), "0", 300),
        (
            format!("INSERT INTO {table} VALUES (70000, 1)"),
            "1",
            70_000,
        ),
        (format!("DELETE FROM {table} WHERE id < 4"), "3", 70_000),
        (
            format!("INSERT INTO {table} VALUES (5000000000, 1)"),
            "1",
            5_000_000_000,
        ),
    ];
    for (sql, rows, id) in &steps {
        watched.session.run(sql)?;
        assert_eq!(watched.known()?, ((*rows).to_owned(), *id), "{sql}");
    }
    if stage.path() == Path::Spliced {
        assert_eq!(watched.spliced_since(&before)?, steps.len() as u64);
    }
    let again = watched
        .session
        .query(&format!("INSERT INTO {table} VALUES (300, 1)"))?;
    assert_eq!(again.outcome.code(), 1062);
    assert_eq!(watched.known()?, (String::new(), 5_000_000_000));
    // In one that is relayed.
    watched.session.run(&format!(
        "INSERT INTO {table} SET id = 6000000000, n = @@autocommit"
    ))?;
    assert_eq!(watched.known()?, ("1".to_owned(), 6_000_000_000));
    watched.session.run(&format!("SELECT n FROM {table}"))?;
    assert_eq!(watched.known()?, ("0".to_owned(), 6_000_000_000));
    watched.session.command(&[0x1f])?.outcome.ok()?;
    assert_eq!(watched.known()?.1, 0, "after COM_RESET_CONNECTION");
    watched
        .session
        .run(&format!("INSERT INTO {table} VALUES (301, 1)"))?;
    assert_eq!(watched.known()?, ("1".to_owned(), 301));
    Ok(())
}

fn of_binary(stage: &Stage) -> Result<()> {
    let table = table(stage)?;
    let mut watched = Watched::open(stage)?;
    let insert = watched
        .session
        .prepare(&format!("INSERT INTO {table} (n) VALUES (7), (7)"))?;
    let select = watched
        .session
        .prepare(&format!("SELECT id FROM {table}"))?;
    for id in [1, 3, 5] {
        let before = watched.look()?;
        watched.session.execute(&insert, &[])?;
        assert_eq!(watched.known()?, ("2".to_owned(), id));
        watched.session.execute(&select, &[])?;
        assert_eq!(watched.known()?, ("0".to_owned(), id));
        if stage.path() == Path::Spliced {
            assert_eq!(watched.spliced_since(&before)?, 2);
        }
    }
    Ok(())
}
