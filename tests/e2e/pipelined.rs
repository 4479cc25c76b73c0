//! Commands sent before the answers to earlier ones, and commands sent in pieces.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    pattern::Random,
    stage::Stage,
    wait,
    wire::{Connection, PACKET_BYTES_MAX, Response, command, frame},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("queries_at_once", queries_at_once),
    Case::new("set_between_selects", set_between_selects),
    Case::new("close_and_execute", close_and_execute),
    Case::new("long_data_and_execute", long_data_and_execute),
    Case::new("executions_in_pieces", executions_in_pieces),
    Case::new("in_pieces", in_pieces),
    Case::new("large_in_pieces", large_in_pieces),
    Case::new("quit_behind_a_query", quit_behind_a_query),
    Case::new("behind_a_large_execution", behind_a_large_execution).daemon(),
];

/// Long enough for the first piece to be handled before the second is sent, on this machine's idle cores; shorter is no error, it only
/// tests less.
const PAUSE: Duration = Duration::from_millis(10);

fn pause() -> Result<()> {
    wait::throughout(PAUSE, || Ok(()))
}

/// Sends payloads in one write; reads as many answers.
pub(crate) fn batch(
    connection: &mut Connection,
    payloads: &[Vec<u8>],
    answers: usize,
) -> Result<Vec<Response>> {
    let bytes: Vec<u8> = payloads
        .iter()
        .flat_map(|payload| frame(payload, 0).0)
        .collect();
    connection.send_raw(&bytes)?;
    (0..answers)
        .map(|number| {
            connection.expect_answer(1);
            connection
                .read_response(&[])
                .with_context(|| format!("answer {number}"))
        })
        .collect()
}

/// The same batch through the proxy, several times, and directly.
fn equal_direct(stage: &Stage, payloads: &[Vec<u8>]) -> Result<Vec<Response>> {
    let theirs = batch(&mut stage.open_direct()?, payloads, payloads.len())?;
    let mut connection = stage.open()?;
    for round in 0..20 {
        let ours = batch(&mut connection, payloads, payloads.len())
            .with_context(|| format!("round {round}"))?;
        ensure!(ours == theirs, "round {round}: {ours:?} is not {theirs:?}");
    }
    Ok(theirs)
}

fn queries(sqls: &[&str]) -> Vec<Vec<u8>> {
    sqls.iter()
        .map(|sql| command::query(sql.as_bytes()))
        .collect()
}

fn queries_at_once(stage: &Stage) -> Result<()> {
    let numbers: Vec<_> = (0..50)
        .map(|number| format!("SELECT {number}, REPEAT('q', {number} * 40)"))
        .collect();
    let sqls: Vec<_> = numbers.iter().map(String::as_str).collect();
    let answers = equal_direct(stage, &queries(&sqls))?;
    for (number, answer) in answers.iter().enumerate() {
        let first = answer.table()?.into_iter().flatten().next().flatten();
        assert_eq!(first, Some(number.to_string().into_bytes()));
    }
    Ok(())
}

fn set_between_selects(stage: &Stage) -> Result<()> {
    let sqls = [
        "SELECT 1",
        "SET @v = 1",
        "SELECT @v",
        "SELECT 2",
        "SELECT no_such_column",
        "SET @v = 2",
        "SELECT 3",
        "SELECT @v",
        "SHOW VARIABLES LIKE 'port_no_such'",
        "SELECT 4",
        "BEGIN",
        "SELECT 5",
        "ROLLBACK",
        "SELECT REPEAT('r', 100000)",
        "SELECT 6",
    ];
    let answers = equal_direct(stage, &queries(&sqls))?;
    assert_eq!(answers.get(2).context("an answer")?.text()?, "1");
    assert_eq!(answers.get(7).context("an answer")?.text()?, "2");
    assert_eq!(answers.get(4).context("an answer")?.outcome.code(), 1054);
    Ok(())
}

/// Drivers close one statement and execute the next in one segment; closing has no answer.
fn close_and_execute(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    for round in 0..50 {
        let first = connection.prepare(&format!("SELECT {round}"))?;
        let second = connection.prepare(&format!("SELECT {round} + 1"))?;
        let payloads = [
            command::close(first.id),
            command::execute(second.id, 0, &[]),
            command::close(second.id),
        ];
        let answer = batch(&mut connection, &payloads, 1)?
            .pop()
            .context("an answer")?;
        let row = answer
            .rows
            .first()
            .and_then(|rows| answer.packets.get(rows.start))
            .context("a row")?;
        let number = row
            .get(2..)
            .and_then(|bytes| bytes.first_chunk::<4>())
            .context("a number")?;
        assert_eq!(i32::from_le_bytes(*number), round + 1);
        assert_eq!(connection.run("SELECT 'between'")?.text()?, "between");
        assert_eq!(
            connection.execute(&first, &[])?.outcome.code(),
            1243,
            "executed though closed"
        );
    }
    Ok(())
}

fn long_data_and_execute(stage: &Stage) -> Result<()> {
    let mut random = Random::new(41);
    let mut connection = stage.open()?;
    let statement = connection.prepare("SELECT ?")?;
    for size in [1, 100, 5000, 70_000, 400_000] {
        let value = random.letters(size);
        let (left, right) = value.split_at(size / 2);
        let payloads = [
            command::long_data(statement.id, 0, left),
            command::long_data(statement.id, 0, right),
            command::execute(statement.id, 0, &[None]),
        ];
        let answer = batch(&mut connection, &payloads, 1)?
            .pop()
            .context("an answer")?;
        let row = answer
            .rows
            .first()
            .and_then(|rows| answer.packets.get(rows.start))
            .context("a row")?;
        ensure!(row.ends_with(&value), "{size} bytes came back as others");
        connection
            .command(&[&[0x1A][..], &statement.id.to_le_bytes()].concat())?
            .outcome
            .ok()?;
    }
    Ok(())
}

/// Executions at once, cut anywhere, the next one behind the end of the first in one write.
fn executions_in_pieces(stage: &Stage) -> Result<()> {
    let mut random = Random::new(43);
    let mut connection = stage.open()?;
    let statement = connection.prepare("SELECT ?")?;
    for round in 0..2000 {
        let lengths = [0; 2].map(|_| 1 + random.below(1500));
        let values = lengths.map(|length| random.letters(length));
        let mut bytes = Vec::new();
        for value in &values {
            let payload = command::execute(statement.id, 0, &[Some(value)]);
            bytes.extend(frame(&payload, 0).0);
        }
        let mut rest = &bytes[..];
        for _ in 0..random.below(4) {
            let (piece, next) = rest.split_at(random.below(rest.len()));
            connection.send_raw(piece)?;
            rest = next;
        }
        connection.send_raw(rest)?;
        for value in &values {
            connection.expect_answer(1);
            let answer = connection.read_response(&[])?;
            let row = answer
                .rows
                .first()
                .and_then(|rows| answer.packets.get(rows.start));
            let row = row.with_context(|| format!("round {round}: {}", answer.outcome))?;
            ensure!(row.ends_with(value), "round {round}: another value");
        }
    }
    Ok(())
}

/// One command in two writes, cut at every place.
fn in_pieces(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    for sql in ["SELECT 'in pieces'", "SET @v = 'p'", "SELECT @v"] {
        let (bytes, _) = frame(&command::query(sql.as_bytes()), 0);
        let wanted = connection.run(sql)?;
        for cut in 1..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            connection.send_raw(first)?;
            pause()?;
            connection.send_raw(second)?;
            connection.expect_answer(1);
            ensure!(
                connection.read_response(&[])? == wanted,
                "{sql}, cut at {cut}"
            );
        }
    }
    // Each byte by itself, and the next command behind the last.
    let (bytes, _) = frame(&command::query(b"SELECT 'bytes'"), 0);
    for byte in &bytes {
        connection.send_raw(&[*byte])?;
    }
    connection.expect_answer(1);
    assert_eq!(connection.read_response(&[])?.text()?, "bytes");
    Ok(())
}

fn large_in_pieces(stage: &Stage) -> Result<()> {
    let mut random = Random::new(42);
    let mut connection = stage.open()?;
    for size in [3000, 200_000, PACKET_BYTES_MAX + 1000] {
        let value = random.letters(size);
        let (bytes, number) = frame(
            &command::query(&[b"SELECT '", &value[..], b"'"].concat()),
            0,
        );
        let mut rest = &bytes[..];
        for _ in 0..8 {
            let (piece, next) = rest.split_at(random.below(rest.len()));
            connection.send_raw(piece)?;
            pause()?;
            rest = next;
        }
        connection.send_raw(rest)?;
        connection.expect_answer(number);
        ensure!(
            connection.read_response(&[])?.cell()? == value,
            "{size} bytes came back as others"
        );
    }
    Ok(())
}

fn quit_behind_a_query(stage: &Stage) -> Result<()> {
    for _ in 0..20 {
        let mut connection = stage.open()?;
        let payloads = [command::query(b"SELECT 'last'"), vec![0x01]];
        let answer = batch(&mut connection, &payloads, 1)?
            .pop()
            .context("an answer")?;
        assert_eq!(answer.text()?, "last");
        ensure!(
            connection.closed_within(Duration::from_secs(10))?,
            "open after COM_QUIT"
        );
    }
    Ok(())
}

/// What stands behind the last bytes of a large command, in the same write, does not follow them past the daemon.
fn behind_a_large_execution(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let own = connection.greeting().thread_id.to_string();
    let statement = connection.prepare("SELECT ?")?;
    let mut random = Random::new(72);
    for round in 0..40 {
        let value = random.letters(2000 + round * 7001);
        let execution = command::execute(statement.id, 0, &[Some(&value)]);
        let question = command::query(b"SHOW PROXYSESSION ATTRIBUTE LIKE 'cs_id'");
        let bytes = [frame(&execution, 0).0, frame(&question, 0).0].concat();
        // At a boundary where it can be spliced.
        connection.run("SELECT 'before'")?;
        let (front, rest) = bytes.split_at(1000);
        connection.send_raw(front)?;
        connection.send_raw(rest)?;
        connection.expect_answer(1);
        let answer = connection.read_response(&[])?;
        answer.outcome.ok()?;
        ensure!(answer.wire_bytes() > value.len(), "round {round}");
        connection.expect_answer(1);
        let rows = connection.read_response(&[])?.texts()?;
        let told = rows.first().and_then(|row| row.get(1)).cloned().flatten();
        assert_eq!(told.as_ref(), Some(&own), "round {round}");
    }
    Ok(())
}
