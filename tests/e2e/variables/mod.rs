//! What `SHOW PROXYSESSION VARIABLES` says is what the server says, whatever statement has changed it; and that the proxy asked the server
//! nobody can tell.

mod look;
mod statements;
mod unseen;

use crate::case::Case;
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::{Connection, Login, capability},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("statements", statements::statements)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("frameworks", statements::frameworks)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("literals", statements::literals)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("prepared", statements::prepared)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("reset", statements::reset)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("diagnostics", unseen::diagnostics).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("one_shot", unseen::one_shot).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("pipelined", unseen::pipelined).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("spliced_again", unseen::spliced_again).splicing(),
    Case::new("another_session", look::another_session)
        .with(&[Kind::MariaDb, Kind::MySql])
        .daemon(),
    Case::new("versions", look::versions).daemon(),
    Case::new("tracked", look::tracked).daemon(),
];

/// One row: name, literal, `info`.
type Row = (String, Option<String>, String);

/// The rows that a statement about variables gives.
fn rows(connection: &mut Connection, statement: &str) -> Result<Vec<Row>> {
    let answer = connection.run(statement)?.texts()?;
    answer
        .into_iter()
        .map(|row| match row.as_slice() {
            [Some(name), value, Some(info), Some(_), Some(_)] => {
                Ok((name.clone(), value.clone(), info.clone()))
            }
            other => bail!("{other:?}"),
        })
        .collect()
}

/// The names, user variables with an `@`.
fn names(rows: &[Row]) -> String {
    let names: Vec<_> = rows
        .iter()
        .map(|(name, _, info)| match info.as_str() {
            "user var" => format!("@{name}"),
            _ => name.clone(),
        })
        .collect();
    names.join(" ")
}

/// Asks the server itself whether each variable has the value that was shown.
fn check_values(connection: &mut Connection, rows: &[Row]) -> Result<()> {
    for (name, value, info) in rows {
        let value = value
            .as_ref()
            .with_context(|| format!("{name} was not asked for"))?;
        let variable = if info == "user var" {
            format!("@`{name}`")
        } else {
            format!("@@{name}")
        };
        let same = connection
            .run(&format!("SELECT {variable} <=> {value}"))?
            .text()?;
        let real = connection.run(&format!("SELECT {variable}"))?.texts()?;
        ensure!(
            same == "1",
            "{variable} is shown as {value}, but is {real:?}"
        );
    }
    Ok(())
}

/// A client that sends several statements at once.
fn login() -> Login {
    Login::new(USER, PASSWORD).with(capability::MULTI_STATEMENTS)
}

/// The same statements to the server and through the proxy, answers compared: the connection through the proxy.
fn both(stage: &Stage, sqls: &[&str]) -> Result<Connection> {
    let mut ours = Connection::open(stage.address(), &login())?;
    let mut theirs = Connection::open(stage.node(), &login())?;
    for sql in sqls {
        let (our, their) = (ours.query(sql)?, theirs.query(sql)?);
        ensure!(
            our.packets == their.packets,
            "{sql}\n  proxied: {our:?}\n  direct:  {their:?}"
        );
    }
    Ok(ours)
}
