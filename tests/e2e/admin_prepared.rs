//! The proxy's own statements, prepared: they are answered in the binary protocol, and the node never hears of them.

use crate::{
    attribute,
    case::Case,
    driver,
    kill::{connection_killed, last_words},
};
use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::{Row, Value, prelude::Queryable as _};
use sluice_tests::{
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::{Connection, Prepared, command, frame},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("rows", rows).with(&Kind::ALL).daemon(),
    Case::new("parameters", parameters).daemon(),
    Case::new("kill", kill).with(&Kind::ALL).daemon(),
    Case::new("life", life)
        .with(&[Kind::MariaDb, Kind::MySql])
        .daemon(),
    Case::new("pipelined", pipelined).daemon(),
    Case::new("among_others", among_others).daemon(),
    Case::new("long_data", long_data).daemon(),
    Case::new("too_long", too_long).daemon(),
    Case::new("too_many", too_many).daemon(),
];

/// The text of a row's value, whatever its type.
fn text(value: &Value) -> String {
    match value {
        Value::NULL => "(null)".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn texts(rows: Vec<Row>) -> Vec<Vec<String>> {
    rows.into_iter()
        .map(|row| row.unwrap().iter().map(text).collect())
        .collect()
}

/// The number of the server's error.
fn refusal<T>(result: mysql_async::Result<T>) -> Result<u16> {
    match result {
        Err(mysql_async::Error::Server(error)) => Ok(error.code),
        Err(other) => Err(other.into()),
        Ok(_) => bail!("not refused"),
    }
}

fn rows(stage: &Stage) -> Result<()> {
    driver::run(async {
        let mut connection = driver::open(stage.address(), USER, PASSWORD).await?;
        for sql in [
            "SHOW PROXYSESSION",
            "SELECT PROXY_VERSION()",
            "SHOW PROXYHELP",
        ] {
            let as_text: Vec<Row> = connection.query(sql).await?;
            let prepared: Vec<Row> = connection.exec(sql, ()).await?;
            ensure!(!as_text.is_empty(), "{sql}: no rows");
            let columns = |rows: &[Row]| rows.first().map(|row| row.columns().to_vec());
            assert_eq!(columns(&as_text), columns(&prepared), "{sql}");
            assert_eq!(texts(as_text), texts(prepared), "{sql}");
        }
        let own: (u64, u32) = connection
            .exec_first("SHOW PROXYSESSION", ())
            .await?
            .map(|row: Row| (row.get("proxy_sessid"), row.get("Id")))
            .map(|(proxy, id)| (proxy.unwrap_or_default(), id.unwrap_or_default()))
            .context("no row")?;
        ensure!(own.0 > 0 && own.1 == connection.id(), "{own:?}");
        connection.disconnect().await?;
        Ok(())
    })
}

fn parameters(stage: &Stage) -> Result<()> {
    driver::run(async {
        let mut connection = driver::open(stage.address(), USER, PASSWORD).await?;
        let id = connection.id();
        let expected = vec![
            vec![
                "proxy_sessid".to_owned(),
                "cs_id".to_owned(),
                "server_sessid".to_owned(),
                "ss_id".to_owned(),
            ],
            vec!["cs_id".to_owned()],
        ];
        let sql = "SHOW PROXYSESSION ATTRIBUTE ? LIKE ?";
        let numbers = [
            Value::from(id),
            Value::from(i64::from(id)),
            Value::from(f64::from(id)),
            Value::from(id.to_string()),
        ];
        for number in numbers {
            for (pattern, names) in ["%s%id", "cs_id"].into_iter().zip(&expected) {
                let got: Vec<Row> = connection.exec(sql, (number.clone(), pattern)).await?;
                let got: Vec<_> = got
                    .iter()
                    .filter_map(|row| row.get::<String, _>(0))
                    .collect();
                assert_eq!(&got, names, "{number:?} {pattern}");
            }
        }
        let statement = connection.prep(sql).await?;
        assert_eq!((statement.num_params(), statement.num_columns()), (2, 0));
        for wrong in [Value::NULL, Value::from("x"), Value::from(0.5)] {
            let error = connection.exec_drop(&statement, (wrong, "%")).await;
            assert_eq!(refusal(error)?, 5010);
        }
        let unknown = connection.exec_drop(&statement, (123_456_789, "%")).await;
        assert_eq!(refusal(unknown)?, 1094);
        let malformed = connection.prep("SHOW PROXYSESSION ?").await;
        assert_eq!(refusal(malformed)?, 5010);
        connection.disconnect().await?;
        Ok(())
    })
}

fn kill(stage: &Stage) -> Result<()> {
    for sql in ["KILL ?", "KILL CONNECTION ?"] {
        let mut victim = stage.open()?;
        victim.run("SELECT 1")?;
        let id = victim.greeting().thread_id;
        driver::run(async {
            let mut killer = driver::open(stage.address(), USER, PASSWORD).await?;
            let statement = killer.prep(sql).await?;
            killer.exec_drop(&statement, (id,)).await?;
            stage.daemon()?.closing_line(id)?;
            let again = killer.exec_drop(&statement, (id,)).await;
            assert_eq!(refusal(again)?, 1094);
            let own = killer.id();
            let own = killer.exec_drop(&statement, (own,)).await;
            assert_eq!(refusal(own)?, 1317);
            Ok(())
        })?;
        assert_eq!(last_words(&mut victim)?, Some(connection_killed()), "{sql}");
    }
    Ok(())
}

fn by_id(byte: u8, statement: &Prepared) -> Vec<u8> {
    [&[byte][..], &statement.id.to_le_bytes()].concat()
}

/// How an execution of a statement without parameters ends.
fn code(connection: &mut Connection, statement: &Prepared) -> Result<u16> {
    Ok(connection.execute(statement, &[])?.outcome.code())
}

fn life(stage: &Stage) -> Result<()> {
    const READ_ONLY: u8 = 1;
    let mut connection = stage.open()?;
    let version = connection.prepare("SELECT PROXY_VERSION()")?;
    ensure!(version.id >= 1 << 31, "{:#x} is a node's", version.id);
    assert_eq!(code(&mut connection, &version)?, 0);
    connection.command(&by_id(0x1A, &version))?.outcome.ok()?;
    // A cursor is not needed for a few rows: they come at once.
    let opened = connection.command(&command::execute(version.id, READ_ONLY, &[]))?;
    opened.outcome.ok()?;
    assert_eq!(opened.rows.len(), 1);
    let fetched = connection.command(&command::fetch(version.id, 1))?;
    assert_eq!(fetched.outcome.code(), 1421);
    // Closed: it is the node's now, which does not know it.
    connection.send_command(&command::close(version.id))?;
    assert_eq!(code(&mut connection, &version)?, 1243);
    let version = connection.prepare("SELECT PROXY_VERSION()")?;
    connection.command(&[0x1F])?.outcome.ok()?;
    assert_eq!(code(&mut connection, &version)?, 1243);
    let version = connection.prepare("SELECT PROXY_VERSION()")?;
    connection.change_user(USER, PASSWORD, "")?.ok()?;
    assert_eq!(code(&mut connection, &version)?, 1243);
    assert_eq!(connection.run("SELECT 1")?.text()?, "1");
    Ok(())
}

/// Several commands in one write.
fn pipelined(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let theirs = connection.prepare("SELECT 7")?;
    for split in [1000, 5, 7, 23] {
        let version = connection.prepare("SELECT PROXY_VERSION()")?;
        let commands = [
            command::execute(version.id, 0, &[]),
            command::execute(theirs.id, 0, &[]),
            command::close(version.id),
            command::execute(version.id, 0, &[]),
            command::query(b"SELECT 8"),
        ];
        let bytes = commands.map(|payload| frame(&payload, 0).0).concat();
        for piece in bytes.chunks(split) {
            connection.send_raw(piece)?;
        }
        let codes = [0, 0, 1243, 0];
        for expected in codes {
            connection.expect_answer(1);
            assert_eq!(connection.read_response(&[])?.outcome.code(), expected);
        }
    }
    Ok(())
}

/// Statements of the node before, between and behind: they go on being spliced.
fn among_others(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let before = connection.prepare("SELECT ? + 1")?;
    let version = connection.prepare("SELECT PROXY_VERSION()")?;
    let behind = connection.prepare("SELECT ? + 2")?;
    ensure!(before.id < 1 << 31 && behind.id < 1 << 31);
    let first = attribute::splice(&mut connection)?;
    for _ in 0..10 {
        assert_eq!(
            connection.execute(&before, &[Some(b"1")])?.outcome.code(),
            0
        );
        assert_eq!(code(&mut connection, &version)?, 0);
        assert_eq!(
            connection.execute(&behind, &[Some(b"1")])?.outcome.code(),
            0
        );
    }
    let last = attribute::splice(&mut connection)?;
    let spliced = if stage.path().splices() { 20 } else { 0 };
    assert_eq!(last.grown(&first, "spliced_commands")?, spliced);
    Ok(())
}

fn long_data(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let statement = connection.prepare("SHOW PROXYSESSION ATTRIBUTE LIKE ?")?;
    for piece in [&b"proxy"[..], b"_se", b"ssid"] {
        connection.send_command(&command::long_data(statement.id, 0, piece))?;
    }
    let answer = connection.execute(&statement, &[None])?;
    let rows = answer.rows.first().context("no rows")?;
    assert_eq!(rows.len(), 1);
    // What no statement of ours can hold is not kept, however much of it comes; the next execution is as good as ever.
    for bytes in [5_000, 100_000, 20 << 20] {
        connection.send_command(&command::long_data(statement.id, 0, &vec![b'x'; bytes]))?;
        let refused = connection.execute(&statement, &[None])?;
        assert_eq!(refused.outcome.code(), 8007, "{bytes}");
        let answer = connection.execute(&statement, &[Some(b"cs_id")])?;
        answer.outcome.ok()?;
    }
    Ok(())
}

fn too_long(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let statement = connection.prepare("SHOW PROXYSESSION ATTRIBUTE LIKE ?")?;
    for bytes in [20_000, 17 << 20] {
        let refused = connection.execute(&statement, &[Some(&vec![b'x'; bytes])])?;
        assert_eq!(refused.outcome.code(), 8007, "{bytes}");
    }
    connection
        .execute(&statement, &[Some(b"cs_id")])?
        .outcome
        .ok()?;
    assert_eq!(connection.run("SELECT 1")?.text()?, "1");
    Ok(())
}

fn too_many(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let mut statements = Vec::new();
    for _ in 0..256 {
        statements.push(connection.prepare("KILL ?")?);
    }
    let refused = connection.command(b"\x16KILL ?")?;
    assert_eq!(refused.outcome.code(), 1461);
    let first = statements.first().context("none")?;
    connection.send_command(&command::close(first.id))?;
    let next = connection.prepare("SELECT PROXY_VERSION()")?;
    ensure!(next.id != first.id, "{:#x} is used again at once", next.id);
    assert_eq!(code(&mut connection, &next)?, 0);
    Ok(())
}
