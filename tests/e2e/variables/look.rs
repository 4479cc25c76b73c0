//! What others see.

use super::{check_values, login, names, rows};
use anyhow::{Context as _, Result};
use sluice_tests::{
    config::{Cluster, Config},
    stage::Stage,
    wire::{Connection, capability},
};
use std::collections::BTreeMap;

/// An operator looks at a session that stands idle behind a SET: the server is asked, and the session cannot tell.
pub(super) fn another_session(stage: &Stage) -> Result<()> {
    let config =
        Config::new().cluster(Cluster::mysql("east", &[stage.node()]).tenants(&["sys", "shop"]));
    let front = stage.private_with_config(&config, &[])?;
    let mut operator = front.open("root@sys#east", "")?;
    let mut guest = front.open("root@shop#east", "")?;
    let id = guest.greeting().thread_id;
    let look = format!("SHOW PROXYSESSION VARIABLES {id}");
    for round in 1..=3 {
        guest.run(&format!("SET @a = {round}, sql_mode = 'ANSI'"))?;
        let shown = rows(&mut operator, &look)?;
        assert_eq!(names(&shown), "sql_mode @a");
        let value = shown.last().and_then(|row| row.1.clone());
        assert_eq!(value, Some(round.to_string()));
        assert_eq!(guest.run("SELECT ROW_COUNT()")?.text()?, "0");
        check_values(&mut guest, &shown)?;
    }
    // Behind a warning nothing is asked: what was known is shown.
    guest.run("SET @a = 9, max_sort_length = 1")?;
    let shown = rows(&mut operator, &look)?;
    let a = shown.iter().find(|row| row.0 == "a");
    assert_eq!(a.and_then(|row| row.1.clone()), Some("3".to_owned()));
    let warnings = guest.run("SHOW WARNINGS")?.texts()?;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        guest
            .query(&format!(
                "SHOW PROXYSESSION VARIABLES {}",
                operator.greeting().thread_id
            ))?
            .outcome
            .code(),
        1094
    );
    Ok(())
}

fn versions_of(connection: &mut Connection) -> Result<BTreeMap<String, Vec<String>>> {
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for row in connection
        .run("SHOW PROXYSESSION ATTRIBUTE LIKE '%_version'")?
        .texts()?
    {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let (name, value) = (
            cells.next().context("a name")?,
            cells.next().context("a value")?,
        );
        versions.entry(name).or_default().push(value);
    }
    Ok(versions)
}

/// Each class has its version, on the client's side and on the server's.
pub(super) fn versions(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let database = stage.database()?;
    let mut before = versions_of(&mut connection)?;
    for (sql, class) in [
        ("SET autocommit = 0".to_owned(), "hot_sys_var_version"),
        ("SET sql_mode = ''".to_owned(), "sys_var_version"),
        ("SET @a = 1".to_owned(), "user_var_version"),
        (
            "SET last_insert_id = 5".to_owned(),
            "last_insert_id_version",
        ),
        (format!("USE {database}"), "db_name_version"),
    ] {
        connection.run(&sql)?;
        let after = versions_of(&mut connection)?;
        for (name, values) in &after {
            let [client, server] = values.as_slice() else {
                anyhow::bail!("{name}: {values:?}")
            };
            assert_eq!(client, server, "{sql}: {name}");
            let has_changed = before.get(name) != Some(values);
            assert_eq!(has_changed, name == class, "{sql}: {name}");
        }
        before = after;
    }
    let failed = connection.query("SET sql_mode = 'no such mode'")?;
    assert_ne!(failed.outcome.code(), 0);
    assert_eq!(versions_of(&mut connection)?, before);
    Ok(())
}

/// What only the server's session tracking tells: a procedure's changes, in their order with those that the text shows.
pub(super) fn tracked(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    let login = login().with(capability::SESSION_TRACK);
    let mut connection = Connection::open(stage.address(), &login)?;
    connection.run(&format!("USE {database}"))?;
    connection.run("CREATE PROCEDURE p() SET SESSION time_zone = '+03:00', autocommit = 0")?;
    let before = versions_of(&mut connection)?;
    connection.run("CALL p()")?;
    let shown = rows(&mut connection, "SHOW PROXYSESSION VARIABLES")?;
    let mut known = names(&shown)
        .split(' ')
        .map(str::to_owned)
        .collect::<Vec<_>>();
    known.sort_unstable();
    assert_eq!(known, ["autocommit", "time_zone"]);
    check_values(&mut connection, &shown)?;
    let after = versions_of(&mut connection)?;
    for class in ["hot_sys_var_version", "sys_var_version"] {
        assert_ne!(before.get(class), after.get(class), "{class}");
    }
    connection.run("SET time_zone = '+04:00', NAMES latin1")?;
    let shown = rows(&mut connection, "SHOW PROXYSESSION VARIABLES")?;
    check_values(&mut connection, &shown)
}
