//! Proof that a session's bytes really move in the kernel: the kernel's counters grow and the daemon's do not, and a stopped daemon
//! stops nothing.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    path::Path,
    pattern::Random,
    server::{Kind, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Login, command, frame},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("counters_move", counters_move)
        .with(&Kind::ALL)
        .splicing(),
    Case::new("packets_are_counted", packets_are_counted)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("first_command", first_command).splicing(),
    Case::new("every_verb", every_verb).splicing(),
    Case::new("prepared_execute", prepared_execute)
        .with(&[Kind::MariaDb, Kind::MySql])
        .splicing(),
    Case::new("closes", closes)
        .with(&[Kind::MariaDb, Kind::MySql])
        .splicing(),
    Case::new("large_commands_and_answers", large_commands_and_answers).splicing(),
    Case::new("daemon_stopped", daemon_stopped).splicing(),
    Case::new("trap_and_splice_again", trap_and_splice_again)
        .with(&Kind::ALL)
        .splicing(),
    Case::new("character_set", character_set).splicing(),
    Case::new("statements_after_reset", statements_after_reset),
    Case::new("off_means_off", off_means_off).only(Path::Relayed),
];

/// Runs `body` between two looks at the counters; all of its commands must have been spliced.
fn all_spliced(
    stage: &Stage,
    connection: &mut Connection,
    commands: u64,
    body: impl FnOnce(&mut Connection) -> Result<()>,
) -> Result<()> {
    let before = attribute::splice(connection)?;
    assert_eq!(before.text("path")?, stage.path().shown(), "{before:?}");
    body(connection)?;
    let after = attribute::splice(connection)?;
    assert_eq!(
        after.grown(&before, "spliced_commands")?,
        commands,
        "spliced_commands; {before:?} {after:?}"
    );
    assert_eq!(
        after.grown(&before, "relayed_bytes_to_node")?,
        0,
        "relayed_bytes_to_node; {before:?} {after:?}"
    );
    assert_eq!(
        after.grown(&before, "relayed_bytes_to_client")?,
        before.answer_bytes,
        "relayed_bytes_to_client; {before:?} {after:?}"
    );
    Ok(())
}

fn counters_move(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let before = attribute::splice(&mut connection)?;
    all_spliced(stage, &mut connection, 200, |connection| {
        for number in 0..200 {
            assert_eq!(
                connection
                    .run(&format!("SELECT {number}, REPEAT('s', 500)"))?
                    .table()?
                    .len(),
                1
            );
        }
        Ok(())
    })?;
    let after = attribute::splice(&mut connection)?;
    let (there, back) = (
        after.grown(&before, "spliced_bytes_to_node")?,
        after.grown(&before, "spliced_bytes_to_client")?,
    );
    ensure!(
        (200 * 20..200 * 100).contains(&there),
        "{there} bytes to the node"
    );
    ensure!(
        (200 * 500..200 * 1000).contains(&back),
        "{back} bytes to the client"
    );
    Ok(())
}

/// On both paths the same commands are the same packets.
fn packets_are_counted(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    connection.run("SELECT 1")?;
    let before = attribute::splice(&mut connection)?;
    let mut rows = 0;
    for number in 0..50_u64 {
        let text = format!(
            "SELECT {number} AS a, 2 AS b UNION ALL SELECT 3, REPEAT('x', {})",
            number * 500
        );
        rows += connection.run(&text)?.table()?.len() as u64;
    }
    let after = attribute::splice(&mut connection)?;
    let path = match stage.path() {
        Path::Spliced | Path::Wire => "spliced",
        Path::Relayed | Path::Direct => "relayed",
    };
    let to_node = after.grown(&before, &format!("{path}_packets_to_node"))?;
    assert_eq!(to_node, 50, "{after:?}");
    // A column count, two definitions, the rows, and an end of both, or of the rows alone.
    let to_client = after.grown(&before, &format!("{path}_packets_to_client"))?;
    let least = 50 * 4 + rows;
    ensure!(
        [least, least + 50].contains(&to_client),
        "{to_client}: {after:?}"
    );
    Ok(())
}

fn every_verb(stage: &Stage) -> Result<()> {
    let table = format!("{}.t", stage.database()?);
    stage.open_direct()?.run(&format!(
        "CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(100))"
    ))?;
    let mut connection = stage.open()?;
    let statements = [
        format!("INSERT INTO {table} VALUES (1, 'a@b.c; x'), (2, 'two')"),
        format!("SELECT * FROM {table} WHERE id = 1"),
        format!("  /* a comment */ select v from {table} -- the end"),
        format!("UPDATE {table} SET v = 'changed' WHERE id = 2"),
        format!("REPLACE INTO {table} VALUES (3, 'three')"),
        format!("WITH w AS (SELECT 1 AS one) SELECT one, id FROM w, {table}"),
        "VALUES (1, 2), (3, 4)".to_owned(),
        format!("DELETE FROM {table} WHERE id < 3"),
        format!("SELECT COUNT(*) FROM {table}"),
        "SELECT no_such_column".to_owned(),
        "SELECT CONNECTION_ID()".to_owned(),
    ];
    all_spliced(
        stage,
        &mut connection,
        u64::try_from(statements.len())?,
        |connection| {
            for statement in &statements {
                let outcome = connection.query(statement)?.outcome;
                ensure!(
                    outcome.code()
                        == if statement.contains("no_such") {
                            1054
                        } else {
                            0
                        },
                    "{statement}: {outcome}"
                );
            }
            Ok(())
        },
    )?;
    assert_eq!(
        stage
            .open_direct()?
            .run(&format!("SELECT v FROM {table}"))?
            .text()?,
        "three"
    );
    Ok(())
}

fn prepared_execute(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let statement = connection.prepare("SELECT CONCAT(?, 'x')")?;
    all_spliced(stage, &mut connection, 100, |connection| {
        for number in 0..100 {
            let value = format!("{number}-");
            let response = connection.execute(&statement, &[Some(value.as_bytes())])?;
            response.outcome.ok()?;
            let row = response
                .rows
                .first()
                .and_then(|rows| response.packets.get(rows.start))
                .context("a row")?;
            ensure!(row.ends_with(format!("{value}x").as_bytes()), "{row:?}");
        }
        Ok(())
    })
}

/// A close has no answer: the kernel passes it on, be it alone or in front of another command, and the daemon learns of it later.
fn closes(stage: &Stage) -> Result<()> {
    const ROUNDS: u64 = 20;
    let mut connection = stage.open()?;
    let operator = Login::new(&format!("{USER_ROOT}@sys"), "");
    let mut other = Connection::open(stage.address(), &operator)?;
    let id = connection.greeting().thread_id;
    let sticky = |other: &mut Connection| -> Result<String> {
        let seen = attribute::splice_of(other, id)?;
        Ok(seen.text("sticky_reason")?.to_owned())
    };
    let before = attribute::splice(&mut connection)?;
    for round in 0..ROUNDS {
        let first = connection.prepare(&format!("SELECT {round}, ?"))?;
        let second = connection.prepare("SELECT CONCAT(?, '!')")?;
        for payloads in [
            vec![command::execute(first.id, 0, &[Some(b"a")])],
            vec![
                command::close(first.id),
                command::long_data(second.id, 0, b"x"),
                command::long_data(second.id, 0, b"y"),
                command::execute(second.id, 0, &[None]),
            ],
        ] {
            let bytes = payloads.iter().flat_map(|payload| frame(payload, 0).0);
            connection.send_raw(&bytes.collect::<Vec<_>>())?;
            connection.expect_answer(1);
            let answer = connection.read_response(&[])?;
            answer.outcome.ok()?;
            let row = answer.rows.first().map_or(0, |rows| rows.start);
            let row = answer.packets.get(row).context("a row")?;
            let end: &[u8] = if payloads.len() == 1 { b"a" } else { b"xy!" };
            ensure!(row.ends_with(end), "{row:?}");
        }
        assert_eq!(sticky(&mut other)?, "prepared statement", "round {round}");
        connection.send_command(&command::close(second.id))?;
        wait::until_true("no statement is open", Duration::from_secs(5), || {
            Ok(sticky(&mut other)?.is_empty())
        })?;
        let code = |answer: sluice_tests::wire::Response| answer.outcome.code();
        let again = connection.command(&command::execute(first.id, 0, &[Some(b"a")]))?;
        assert_eq!(code(again), 1243, "executed though closed");
    }
    let after = attribute::splice(&mut connection)?;
    // All but the two prepares, and the first look.
    assert_eq!(
        after.grown(&before, "relayed_commands")?,
        2 * ROUNDS + 1,
        "{before:?} {after:?}"
    );
    assert_eq!(
        after.grown(&before, "spliced_commands")?,
        7 * ROUNDS,
        "{before:?} {after:?}"
    );
    Ok(())
}

/// Commands are parameters, since a statement's text is only looked at up to a limit; answers stay below the bound of a spill.
fn large_commands_and_answers(stage: &Stage) -> Result<()> {
    let mut random = Random::new(31);
    let mut connection = stage.open()?;
    let statement = connection.prepare("SELECT LENGTH(?)")?;
    let executes = |connection: &mut Connection| -> Result<()> {
        for step in 1..=40 {
            let value = random.letters(step * 10_000);
            let answer = connection.execute(&statement, &[Some(&value)])?;
            answer.outcome.ok()?;
            let row = answer
                .rows
                .first()
                .and_then(|rows| answer.packets.get(rows.start))
                .context("a row")?;
            let length = row
                .get(2..)
                .and_then(|bytes| bytes.first_chunk::<4>())
                .context("a number")?;
            assert_eq!(usize::try_from(i32::from_le_bytes(*length))?, value.len());
        }
        Ok(())
    };
    if stage.path() == Path::Wire {
        // There a command of more than one segment is the daemon's.
        let mut executes = executes;
        executes(&mut connection)?;
        let splice = attribute::splice(&mut connection)?;
        assert_eq!(splice.number("spliced_commands")?, 0, "{splice:?}");
    } else {
        all_spliced(stage, &mut connection, 40, executes)?;
    }
    all_spliced(stage, &mut connection, 20, |connection| {
        for step in 1..=20 {
            let answer = connection
                .run(&format!("SELECT REPEAT('l', {step}0000)"))?
                .cell()?;
            ensure!(answer == vec![b'l'; step * 10_000], "step {step}");
        }
        Ok(())
    })
}

/// A session is armed before the last byte of its login is written: its first command is spliced already.
fn first_command(stage: &Stage) -> Result<()> {
    for _ in 0..20 {
        let mut connection = stage.open()?;
        connection.run("SELECT 'first'")?;
        let splice = attribute::splice(&mut connection)?;
        assert_eq!(splice.number("spliced_commands")?, 1, "{splice:?}");
    }
    Ok(())
}

/// Lets a stopped process go on even if the test fails.
struct Stopped<'a>(&'a sluice_tests::sluice::Sluice);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        // If it is gone, there is nothing to continue.
        drop(self.0.signal(libc::SIGCONT));
    }
}

fn daemon_stopped(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let daemon = front.daemon()?;
    let login = Login::new(sluice_tests::server::USER, sluice_tests::server::PASSWORD);
    let mut connection = Connection::open(front.address(), &login)?;
    connection.run("SELECT 'armed'")?;
    daemon.signal(libc::SIGSTOP)?;
    {
        let _stopped = Stopped(daemon);
        for number in 0..500 {
            assert_eq!(
                connection.run(&format!("SELECT {number}"))?.text()?,
                number.to_string()
            );
        }
        let large = connection.run("SELECT REPEAT('g', 300000)")?.cell()?;
        ensure!(large == vec![b'g'; 300_000], "a large answer");
        // What must be trapped waits for the daemon: it really is stopped.
        connection.send_command(&command::query(b"SET @v = 5"))?;
        ensure!(
            !connection.closed_within(Duration::from_millis(300))?,
            "closed"
        );
    }
    connection.expect_answer(1);
    connection.read_response(&[])?.outcome.ok()?;
    assert_eq!(connection.run("SELECT @v")?.text()?, "5");
    Ok(())
}

fn trap_and_splice_again(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let before = attribute::splice(&mut connection)?;
    for round in 0..50 {
        connection.run(&format!("SET @v = {round}"))?;
        assert_eq!(connection.run("SELECT @v")?.text()?, round.to_string());
        for _ in 0..2 {
            assert_eq!(connection.run("SELECT 1")?.text()?, "1");
        }
    }
    let after = attribute::splice(&mut connection)?;
    // `SET @v` and `SELECT @v` trap, and before the first plain SELECT behind them the server is asked what `@v` is; the second is spliced.
    ensure!(
        after.grown(&before, "relayed_bytes_to_node")? > 0,
        "nothing trapped: {after:?}"
    );
    ensure!(
        after.grown(&before, "spliced_commands")? >= 49,
        "not spliced again: {before:?} {after:?}"
    );
    all_spliced(stage, &mut connection, 50, |connection| {
        for _ in 0..50 {
            connection.run("SELECT 1")?;
        }
        Ok(())
    })
}

/// In gbk the second byte of a character may be a backslash: from the very next command on nothing is spliced, and the session says why.
fn character_set(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let before = attribute::splice(&mut connection)?;
    for _ in 0..300 {
        connection.run("SET NAMES gbk")?;
        assert_eq!(connection.run("SELECT 1")?.text()?, "1");
        connection.run("SET NAMES utf8mb4")?;
    }
    let after = attribute::splice(&mut connection)?;
    assert_eq!(after.grown(&before, "spliced_commands")?, 0, "{after:?}");
    connection.run("SET NAMES gbk")?;
    let pinned = attribute::splice(&mut connection)?;
    assert_eq!(pinned.text("relay_reason")?, "character set", "{pinned:?}");
    connection.run("SET NAMES utf8mb4")?;
    connection.run("SELECT 1")?;
    all_spliced(stage, &mut connection, 5, |connection| {
        for _ in 0..5 {
            connection.run("SELECT 1")?;
        }
        Ok(())
    })
}

/// A reset may give a statement's id out again: what the kernel knew of the old one must not hold for the new one.
fn statements_after_reset(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    for round in 0..20 {
        for _ in 0..3 {
            let reads = connection.prepare("SELECT 1")?;
            connection.execute(&reads, &[])?.outcome.ok()?;
        }
        connection.command(&[0x1f])?.outcome.ok()?;
        for number in 0..3 {
            let sets = connection.prepare(&format!("SET @v = {}", round * 3 + number))?;
            connection.execute(&sets, &[])?.outcome.ok()?;
        }
        let wanted = (round * 3 + 2).to_string();
        assert_eq!(connection.run("SELECT @v")?.text()?, wanted);
    }
    if stage.daemon().is_ok() {
        // Executions of SET are traps, each of them.
        let before = attribute::splice(&mut connection)?;
        let sets = connection.prepare("SET @v = 1")?;
        connection.execute(&sets, &[])?.outcome.ok()?;
        let after = attribute::splice(&mut connection)?;
        assert_eq!(after.grown(&before, "spliced_commands")?, 0, "{after:?}");
    }
    Ok(())
}

fn off_means_off(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    for _ in 0..50 {
        connection.run("SELECT 1")?;
    }
    let splice = attribute::splice(&mut connection)?;
    assert_eq!(splice.text("path")?, "relay", "{splice:?}");
    assert_eq!(splice.number("spliced_commands")?, 0, "{splice:?}");
    assert_eq!(splice.number("spliced_bytes_to_client")?, 0, "{splice:?}");
    ensure!(
        splice.number("relayed_bytes_to_client")? > 50 * 20,
        "{splice:?}"
    );
    ensure!(!splice.text("relay_reason")?.is_empty(), "{splice:?}");
    Ok(())
}
