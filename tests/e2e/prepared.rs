//! Prepared statements: the binary protocol's own commands.

use crate::{case::Case, driver};
use anyhow::{Context as _, Result, ensure};
use mysql_async::{Opts, Value, prelude::Queryable as _};
use sluice_tests::{
    pattern::Random,
    python,
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::{Connection, command},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("typed_parameters", typed_parameters).with(&Kind::ALL),
    Case::new("many_statements", many_statements),
    Case::new("long_data", long_data).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("cursor", cursor).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("errors", errors),
    Case::new("as_text", as_text),
];

fn typed_parameters(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    driver::run(async {
        let mut connection = driver::open(stage.address(), USER, PASSWORD).await?;
        connection
            .query_drop(format!(
                "CREATE TABLE {database}.p (id INT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, b LONGBLOB, t DATETIME(6), \
                 h TIME(6), n INT)"
            ))
            .await?;
        let row = |id: i64| {
            let byte = u8::try_from(id % 251).unwrap_or_default();
            vec![
                Value::Int(id),
                Value::Int(i64::MIN + id),
                Value::UInt(u64::MAX - id.unsigned_abs()),
                Value::Double(0.5),
                Value::Bytes(vec![byte; usize::from(byte) * 40]),
                Value::Date(2024, 2, 29, 23, 59, 59, 999_999),
                Value::Time(true, 3, 4, 5, 6, 7),
                Value::NULL,
            ]
        };
        let insert = format!("INSERT INTO {database}.p VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
        connection.exec_batch(insert, (0..100).map(row)).await?;
        let select = connection
            .prep(format!("SELECT * FROM {database}.p WHERE id = ?"))
            .await?;
        for id in 0..100 {
            let got: mysql_async::Row = connection
                .exec_first(&select, (id,))
                .await?
                .context("no row")?;
            assert_eq!(got.unwrap(), row(id), "row {id}");
        }
        connection.close(select).await?;
        connection.disconnect().await?;
        Ok(())
    })
}

fn many_statements(stage: &Stage) -> Result<()> {
    let options = Opts::from(driver::options(stage.address(), USER, PASSWORD).stmt_cache_size(0));
    driver::run(async {
        let mut connection = mysql_async::Conn::new(options).await?;
        let mut statements = Vec::new();
        for number in 0..400 {
            statements.push(connection.prep(format!("SELECT ? + {number}")).await?);
        }
        for (number, statement) in (0..400_i32).map(i64::from).zip(&statements).rev() {
            let sum: Option<i64> = connection.exec_first(statement, (1000,)).await?;
            assert_eq!(sum, Some(1000 + number));
        }
        for statement in statements {
            connection.close(statement).await?;
        }
        let left: Option<(String, String)> = connection
            .query_first("SHOW SESSION STATUS LIKE 'Com_stmt_close'")
            .await?;
        assert_eq!(left.map(|row| row.1).as_deref(), Some("400"));
        connection.disconnect().await?;
        Ok(())
    })
}

fn long_data(stage: &Stage) -> Result<()> {
    let mut random = Random::new(21);
    let mut connection = stage.open()?;
    let statement = connection.prepare("SELECT LENGTH(?), SHA2(?, 256), ?")?;
    let twice = random.letters(20 << 20);
    let other = random.letters(100_000);
    for chunk in twice.chunks(3_000_000) {
        for parameter in [0, 1] {
            connection.send_command(&command::long_data(statement.id, parameter, chunk))?;
        }
    }
    let row = |connection: &mut Connection, first: Option<&[u8]>| -> Result<Vec<u8>> {
        let response = connection.execute(&statement, &[first, first, Some(&other)])?;
        response.outcome.ok()?;
        let rows = response.rows.first().context("a row")?;
        Ok(response.packets.get(rows.start).context("a row")?.clone())
    };
    let sent_in_pieces = row(&mut connection, None)?;
    connection
        .command(&[&[0x1A][..], &statement.id.to_le_bytes()].concat())?
        .outcome
        .ok()
        .context("COM_STMT_RESET")?;
    // The same value as a parameter of the command itself.
    let sent_at_once = row(&mut connection, Some(&twice))?;
    ensure!(
        sent_in_pieces == sent_at_once,
        "the pieces made another value"
    );
    ensure!(
        sent_in_pieces.ends_with(&other),
        "the other parameter differs"
    );
    connection.send_command(&command::close(statement.id))?;
    connection.run("SELECT 1")?;
    Ok(())
}

/// What a cursor's commands answer, packet by packet.
fn read_with_cursor(mut connection: Connection, table: &str) -> Result<Vec<Vec<u8>>> {
    const READ_ONLY: u8 = 1;
    let statement = connection.prepare(&format!("SELECT id, filler FROM {table} ORDER BY id"))?;
    let opened = connection.command(&command::execute(statement.id, READ_ONLY, &[]))?;
    opened.outcome.ok()?;
    ensure!(
        opened.rows.is_empty(),
        "rows came although a cursor was asked for"
    );
    let mut packets = opened.packets;
    for _ in 0..4 {
        connection.send_command(&command::fetch(statement.id, 30))?;
        connection.read_rows(&mut packets)?.ok()?;
    }
    // Another statement while the cursor is open.
    packets.extend(connection.run("SELECT 'between'")?.packets);
    connection.send_command(&command::close(statement.id))?;
    packets.extend(connection.run("SELECT 'behind'")?.packets);
    Ok(packets)
}

fn cursor(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    let mut connection = stage.open()?;
    connection.run(&format!(
        "CREATE TABLE {database}.rows_100 (id INT PRIMARY KEY, filler VARCHAR(200))"
    ))?;
    let values: Vec<_> = (1..=100)
        .map(|id| format!("({id}, REPEAT('f', {id}))"))
        .collect();
    connection.run(&format!(
        "INSERT INTO {database}.rows_100 VALUES {}",
        values.join(",")
    ))?;
    let table = format!("{database}.rows_100");
    let ours = read_with_cursor(stage.open()?, &table)?;
    let theirs = read_with_cursor(stage.open_direct()?, &table)?;
    ensure!(ours.len() > 100, "only {} packets", ours.len());
    ensure!(ours == theirs, "{ours:?} is not {theirs:?}");
    Ok(())
}

fn errors(stage: &Stage) -> Result<()> {
    let outcomes = |mut connection: Connection| -> Result<Vec<_>> {
        let mut outcomes = vec![connection.command(b"\x16SELECT FROM WHERE")?.packets];
        outcomes.push(connection.command(&command::execute(4242, 0, &[]))?.packets);
        let statement = connection.prepare("SELECT POW(?, 999)")?;
        outcomes.push(connection.execute(&statement, &[Some(b"1e300")])?.packets);
        outcomes.push(connection.execute(&statement, &[Some(b"1")])?.packets);
        connection.send_command(&command::close(statement.id))?;
        // The text names the id, which is the server's choice: only the code can be compared.
        assert_eq!(
            connection
                .command(&command::execute(statement.id, 0, &[Some(b"1")]))?
                .outcome
                .code(),
            1243
        );
        Ok(outcomes)
    };
    let (ours, theirs) = (outcomes(stage.open()?)?, outcomes(stage.open_direct()?)?);
    let errors = theirs
        .iter()
        .filter(|packets| {
            packets
                .last()
                .is_some_and(|packet| packet.first() == Some(&0xFF))
        })
        .count();
    assert_eq!(errors, 3, "of the server's answers");
    ensure!(ours == theirs, "{ours:?} is not {theirs:?}");
    Ok(())
}

fn as_text(stage: &Stage) -> Result<()> {
    let printed = python::run(
        include_str!("python/prepare.py"),
        stage.address(),
        &[USER, PASSWORD],
    )?;
    assert_eq!(printed, "50 sums");
    Ok(())
}
