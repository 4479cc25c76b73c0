//! Programs' sockets behave as without Sluice, whatever a program asks of them: each question is put to a session and to a direct connection, and
//! the answers are the same. What is otherwise on a socket that the kernel splices for (path `local`) is the kernel's doing, stands in the README
//! ("Limits"), and is held to here, so that it is known when a kernel does better.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    java, memory,
    path::Path,
    server::{PASSWORD, USER},
    sluice,
    socket::{self, Arrivals},
    stage::Stage,
    wait,
    wire::{Connection, command, frame},
};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    io::{ErrorKind, Read as _},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("poll_and_epoll", poll_and_epoll),
    Case::new("bytes_to_read", bytes_to_read),
    Case::new("low_water_mark", low_water_mark),
    Case::new("peeks", peeks),
    Case::new("wait_for_all", wait_for_all),
    Case::new("half_close", half_close),
    Case::new("timeouts", timeouts),
    Case::new("connector_j", connector_j)
        .tool("javac")
        .tool(java::DRIVER),
];

const DEADLINE: Duration = Duration::from_secs(20);
/// How long something is watched that must not happen.
const SPAN: Duration = Duration::from_millis(200);

/// Statements that are spliced where anything is, and such that look at a variable, which the daemon relays. Their answers fit into any receive
/// buffer.
const STATEMENTS: [(&str, &str); 4] = [
    ("spliced, small", "SELECT 'p'"),
    ("spliced, large", "SELECT REPEAT('p', 60000)"),
    ("relayed, small", "SELECT @v"),
    ("relayed, large", "SELECT REPEAT(@v, 60000)"),
];

/// What was seen, by what was asked.
type Seen = BTreeMap<String, String>;

fn saw(seen: &mut Seen, question: &str, answer: impl Debug) {
    seen.insert(question.to_owned(), format!("{answer:?}"));
}

/// A connection that has said `SET @v = 'p'`.
fn prepared(connection: Result<Connection>) -> Result<Connection> {
    let mut connection = connection?;
    connection.run("SET @v = 'p'")?;
    // The variable is asked for before it, and the session spliced from then on.
    connection.run("SELECT 'p'")?;
    Ok(connection)
}

/// Asks a session and a direct connection. Answers are the same but for `differs`: questions, and what a spliced socket says.
fn same(
    stage: &Stage,
    differs: &[(&str, &str)],
    ask: impl Fn(&mut Connection, &mut Seen) -> Result<()>,
) -> Result<()> {
    let asked = |connection: Result<Connection>| -> Result<Seen> {
        let mut seen = Seen::new();
        ask(&mut prepared(connection)?, &mut seen).with_context(|| format!("after {seen:?}"))?;
        ensure!(!seen.is_empty(), "nothing was asked");
        Ok(seen)
    };
    let mut wanted = asked(stage.open_direct()).context("directly")?;
    if stage.path() == Path::Spliced {
        for (question, answer) in differs {
            let old = wanted.insert((*question).to_owned(), (*answer).to_owned());
            ensure!(
                old.is_some_and(|old| old != *answer),
                "{question}: no difference"
            );
        }
    }
    let found = asked(stage.open()).context("through the proxy")?;
    assert_eq!(found, wanted);
    Ok(())
}

/// Sends a statement and waits until all of its answer has come; what it is, from a first run of it.
fn answered(connection: &mut Connection, sql: &str) -> Result<usize> {
    let length = connection.run(sql)?.wire_bytes();
    ask(connection, sql, length)?;
    Ok(length)
}

/// Sends a statement and waits until so many bytes have come.
fn ask(connection: &mut Connection, sql: &str, length: usize) -> Result<()> {
    connection.send_command(&command::query(sql.as_bytes()))?;
    let mut room = vec![0; length + 1];
    wait::until_true(&format!("{sql}: all has come"), DEADLINE, || {
        Ok(peek(connection.stream(), &mut room) == Ok(length))
    })
}

fn peek(stream: &TcpStream, room: &mut [u8]) -> Result<usize, ErrorKind> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    socket::receive(stream, room, flags).map_err(|error| error.kind())
}

fn take(stream: &TcpStream, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut taken = 0;
    while let Some(room) = bytes.get_mut(taken..).filter(|room| !room.is_empty()) {
        let count = socket::receive(stream, room, libc::MSG_DONTWAIT)?;
        ensure!(count > 0, "the end, {taken} of {length} bytes read");
        taken += count;
    }
    Ok(bytes)
}

/// The names of poll(2)'s events.
fn events(stream: &TcpStream) -> Result<String> {
    let events = socket::events(stream)?;
    let names = [
        (libc::POLLIN, "in"),
        (libc::POLLOUT, "out"),
        (libc::POLLRDHUP, "rdhup"),
        (libc::POLLHUP, "hup"),
        (libc::POLLERR, "err"),
    ];
    let set = names.iter().filter(|(bit, _)| events & bit != 0);
    Ok(set.map(|(_, name)| *name).collect::<Vec<_>>().join(" "))
}

fn poll_and_epoll(stage: &Stage) -> Result<()> {
    same(stage, &[], |connection, seen| {
        let arrivals = Arrivals::of(connection.stream())?;
        for (name, sql) in STATEMENTS {
            saw(
                seen,
                &format!("{name}: before"),
                events(connection.stream())?,
            );
            let length = answered(connection, sql)?;
            let stream = connection.stream();
            saw(seen, &format!("{name}: answered"), events(stream)?);
            saw(seen, &format!("{name}: arrival"), arrivals.any()?);
            // Its answers came in as many arrivals as the kernel made of them: from here on there are none.
            while arrivals.any()? {}
            let half = take(stream, length / 2)?;
            saw(seen, &format!("{name}: half read"), events(stream)?);
            let rest = take(stream, length - length / 2)?;
            saw(seen, &format!("{name}: all read"), events(stream)?);
            saw(seen, &format!("{name}: no arrival"), arrivals.any()?);
            saw(seen, &format!("{name}: bytes"), (sum(&half), sum(&rest)));
        }
        connection.send_command(&[1])?;
        let stream = connection.stream();
        let is_over = || Ok(socket::events(stream)? & libc::POLLRDHUP != 0);
        wait::until_true("the end is told", DEADLINE, is_over)?;
        saw(seen, "closed", events(stream)?);
        saw(seen, "the end has arrived", arrivals.any()?);
        Ok(())
    })
}

/// Enough to see that bytes are the same, and short enough to print.
fn sum(bytes: &[u8]) -> (usize, u64) {
    let rolled = bytes.iter().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    (bytes.len(), rolled)
}

/// What doctor says of this kernel's FIONREAD on a client's socket: whether relayed bytes count.
fn counts_relayed_bytes() -> Result<bool> {
    let output = sluice::command(&["doctor"])?.output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find(|line| line.starts_with("FIONREAD"));
    let line = line.with_context(|| text.clone())?;
    let counts = line.ends_with("counts all bytes");
    ensure!(
        counts || line.ends_with("counts spliced bytes only (a defect of this kernel)"),
        "{line}"
    );
    Ok(counts)
}

fn bytes_to_read(stage: &Stage) -> Result<()> {
    let defect = [
        ("relayed, small: bytes", "0"),
        ("relayed, large: bytes", "0"),
    ];
    let is_spliced = stage.path() == Path::Spliced;
    let differs: &[_] = if is_spliced && !counts_relayed_bytes()? {
        &defect
    } else {
        &[]
    };
    same(stage, differs, |connection, seen| {
        for (name, sql) in STATEMENTS {
            let pending = memory::pending_bytes(connection.stream())?;
            saw(seen, &format!("{name}: before"), pending);
            let length = answered(connection, sql)?;
            let stream = connection.stream();
            saw(
                seen,
                &format!("{name}: bytes"),
                memory::pending_bytes(stream)?,
            );
            take(stream, length)?;
            saw(
                seen,
                &format!("{name}: after"),
                memory::pending_bytes(stream)?,
            );
        }
        Ok(())
    })
}

/// What has been spliced to a socket makes it readable from the first byte on: `sk_msg_is_readable` asks whether there is any.
fn low_water_mark(stage: &Stage) -> Result<()> {
    let differs = [("spliced, small: events", "\"in out\"")];
    same(stage, &differs, |connection, seen| {
        for (name, sql) in STATEMENTS {
            let length = connection.run(sql)?.wire_bytes();
            // The small ones stay below it.
            socket::set_low_water(connection.stream(), 1000)?;
            ask(connection, sql, length)?;
            let stream = connection.stream();
            saw(seen, &format!("{name}: events"), events(stream)?);
            socket::set_low_water(stream, 1)?;
            saw(seen, &format!("{name}: events of any"), events(stream)?);
            take(stream, length)?;
        }
        Ok(())
    })
}

fn peeks(stage: &Stage) -> Result<()> {
    same(stage, &[], |connection, seen| {
        for (name, sql) in STATEMENTS {
            let length = answered(connection, sql)?;
            let stream = connection.stream();
            let mut first = [0; 5];
            for _ in 0..2 {
                let peeked = peek(stream, &mut first);
                saw(seen, &format!("{name}: five"), (peeked, first));
            }
            let mut all = vec![0; length * 2];
            let peeked = peek(stream, &mut all);
            all.truncate(length);
            saw(seen, &format!("{name}: all"), (peeked, sum(&all)));
            ensure!(take(stream, length)? == all, "{name}: peeked and read");
            let peeked = peek(stream, &mut first);
            saw(seen, &format!("{name}: none"), peeked);
        }
        Ok(())
    })
}

/// An answer whose rows come one after another. Of what has been spliced to it a socket gives out what is there, for the kernel's function that
/// reads it (`tcp_bpf_recvmsg`) knows nothing of `MSG_WAITALL`.
fn wait_for_all(stage: &Stage) -> Result<()> {
    let rows = "REPEAT('r', 20000), SLEEP(0.1) FROM mysql.seq_1_to_3";
    same(stage, &[("spliced: whole", "false")], |connection, seen| {
        for (name, sql) in [
            ("spliced", format!("SELECT {rows}")),
            ("relayed", format!("SELECT @v, {rows}")),
        ] {
            let length = connection.run(&sql)?.wire_bytes();
            connection.send_command(&command::query(sql.as_bytes()))?;
            let mut bytes = vec![0; length];
            let stream = connection.stream();
            let count = socket::receive(stream, &mut bytes, libc::MSG_WAITALL)?;
            saw(seen, &format!("{name}: whole"), count == length);
            let mut rest = bytes.split_off(count);
            (&mut &*stream).read_exact(&mut rest)?;
            bytes.append(&mut rest);
            saw(seen, &format!("{name}: bytes"), sum(&bytes));
        }
        Ok(())
    })
}

/// All of an answer comes to a client that will say no more, and then the end.
fn half_close(stage: &Stage) -> Result<()> {
    for (name, sql) in STATEMENTS {
        same(stage, &[], |connection, seen| {
            let wanted = connection.run(sql)?;
            connection.send_raw(&frame(&command::query(sql.as_bytes()), 0).0)?;
            connection.stream().shutdown(Shutdown::Write)?;
            connection.expect_answer(1);
            let answer = connection.read_response(&[])?;
            saw(seen, &format!("{name}: whole"), answer == wanted);
            saw(
                seen,
                &format!("{name}: closed"),
                connection.closed_within(DEADLINE)?,
            );
            saw(
                seen,
                &format!("{name}: events"),
                events(connection.stream())?,
            );
            Ok(())
        })?;
    }
    Ok(())
}

fn timeouts(stage: &Stage) -> Result<()> {
    same(stage, &[], |connection, seen| {
        for (name, sql) in STATEMENTS {
            let length = answered(connection, sql)?;
            let stream = connection.stream();
            take(stream, length)?;
            let mut byte = [0; 1];
            let mut read = |flags| {
                let count = socket::receive(stream, &mut byte, flags);
                count.map_err(|error| error.kind())
            };
            saw(seen, &format!("{name}: no wait"), read(libc::MSG_DONTWAIT));
            stream.set_nonblocking(true)?;
            saw(seen, &format!("{name}: never waits"), read(0));
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(SPAN))?;
            let start = Instant::now();
            saw(seen, &format!("{name}: timeout"), read(0));
            saw(seen, &format!("{name}: it waited"), start.elapsed() >= SPAN);
            stream.set_read_timeout(Some(DEADLINE))?;
        }
        // An answer within it ends the wait.
        for sql in ["SELECT SLEEP(0.2)", "SELECT SLEEP(0.2), @v"] {
            connection.send_command(&command::query(sql.as_bytes()))?;
            let first = socket::receive(connection.stream(), &mut [0; 1], libc::MSG_PEEK);
            saw(seen, sql, first.map_err(|error| error.kind()));
            connection.read_response(&[])?.outcome.ok()?;
        }
        Ok(())
    })
}

/// Java's `available()` is FIONREAD; the driver itself asks it before it reads ahead.
fn connector_j(stage: &Stage) -> Result<()> {
    let table = format!("{}.j", stage.database()?);
    let create = format!("CREATE TABLE {table} (id INT PRIMARY KEY, v TEXT)");
    stage.open_direct()?.run(&create)?;
    let counted = if stage.path() != Path::Spliced || counts_relayed_bytes()? {
        "all"
    } else {
        "spliced"
    };
    let program = include_str!("java/Client.java");
    let arguments = [USER, PASSWORD, &table, counted];
    let printed = java::run(program, stage.address(), &arguments)?;
    assert_eq!(printed, "all was right");
    Ok(())
}
