//! Sockets that are not ours behave as without Sluice, and ours as sockets do: FIONREAD and poll included.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    memory,
    path::Path,
    pattern::Random,
    python,
    server::{PASSWORD, USER},
    stage::Stage,
    wait,
    wire::{PACKET_BYTES_MAX, command},
};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("unrelated_pair", unrelated_pair),
    Case::new("bytes_that_can_be_read", bytes_that_can_be_read),
    Case::new("poll_from_python", poll_from_python),
    Case::new("blocking_reads", blocking_reads),
    Case::new("large_statements_from_python", large_statements_from_python),
];

const DEADLINE: Duration = Duration::from_secs(10);

/// Two sockets on loopback that have nothing to do with the daemon, while sessions come, talk and go.
fn unrelated_pair(stage: &Stage) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    let mut random = Random::new(61);
    for round in 0..30 {
        let mut session = stage.open()?;
        session.run("SELECT 1")?;
        near.write_all(b"pending")?;
        wait::until_true("FIONREAD says 7", DEADLINE, || {
            Ok(memory::pending_bytes(&far)? == 7)
        })?;
        far.read_exact(&mut [0; 7])?;
        assert_eq!(memory::pending_bytes(&far)?, 0);
        // A packet of MySQL's, too: it is where it goes that counts, not what it says.
        let mut sent = sluice_tests::wire::frame(&command::query(b"SELECT 1"), 0).0;
        sent.extend(random.bytes(300_000 * (round % 3)));
        let got = thread::scope(|scope| {
            let reader = scope.spawn(|| -> Result<Vec<u8>> {
                let mut got = vec![0; sent.len()];
                far.read_exact(&mut got)?;
                far.write_all(&got)?;
                Ok(got)
            });
            near.write_all(&sent)?;
            let mut back = vec![0; sent.len()];
            near.read_exact(&mut back)?;
            ensure!(back == sent, "came back as others");
            wait::joined(reader.join(), "the reader")?
        })?;
        ensure!(got == sent, "arrived as others");
        session.run("SELECT 1")?;
    }
    drop(near);
    assert_eq!(far.read(&mut [0; 1])?, 0, "the end of the stream");
    Ok(())
}

fn bytes_that_can_be_read(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    connection.run("SET @v = 3")?;
    // Spliced, trapped, spliced again, answered by a large result.
    for (sql, traps) in [
        ("SELECT 1", false),
        ("SELECT REPEAT('f', 5000)", false),
        ("SELECT @v", true),
        ("SHOW VARIABLES LIKE 'port'", true),
        ("SELECT 2", false),
        ("SELECT REPEAT('g', 60000)", false),
    ] {
        let wanted = connection.run(sql)?;
        connection.send_command(&command::query(sql.as_bytes()))?;
        // What comes over TCP to a socket of a sock map is not counted by every kernel (`sluice doctor` says so); it can be read all the same.
        // Where no node is on the client's host its socket is in none.
        if !traps || stage.path() != Path::Spliced {
            let length = wanted.wire_bytes();
            let mut seen = 0;
            wait::until_true(&format!("{sql}: FIONREAD says {length}"), DEADLINE, || {
                seen = memory::pending_bytes(connection.stream())?;
                Ok(seen == length)
            })
            .with_context(|| format!("it says {seen}"))?;
        }
        let answer = connection.read_response(&[])?;
        ensure!(answer == wanted, "{sql}");
        assert_eq!(
            memory::pending_bytes(connection.stream())?,
            0,
            "{sql}: nothing is left"
        );
    }
    Ok(())
}

fn poll_from_python(stage: &Stage) -> Result<()> {
    let path = if stage.path() == Path::Spliced {
        "spliced"
    } else {
        "relayed"
    };
    let printed = python::run(
        include_str!("python/poll.py"),
        stage.address(),
        &[USER, PASSWORD, path],
    )?;
    assert_eq!(printed, "40 answers polled");
    Ok(())
}

/// Large values both ways, several clients at a time, each in blocking reads. The kernel may end such a read with EAGAIN on any socket in a
/// sock map: freed send-buffer space wakes the reader, and `tcp_bpf_recvmsg` does not wait again (README, "Limits"). `Connection` reads
/// again then, as libmysqlclient does; nothing may be lost or doubled by it.
fn blocking_reads(stage: &Stage) -> Result<()> {
    let client = |number| -> Result<()> {
        let value = Random::new(number).letters(PACKET_BYTES_MAX);
        let mut connection = stage.open()?;
        for _ in 0..4 {
            let answer =
                connection.command(&command::query(&[b"SELECT '", &value[..], b"'"].concat()))?;
            ensure!(answer.cell()? == value, "the value differs");
        }
        Ok(())
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| wait::joined(client.join(), "a client")?)
    })
}

/// With a verdict program on the app sockets the kernel garbled about one in a hundred of these on their way to the node.
fn large_statements_from_python(stage: &Stage) -> Result<()> {
    let printed = python::run(
        include_str!("python/large.py"),
        stage.address(),
        &[USER, PASSWORD],
    )?;
    assert_eq!(printed, "every answer was right");
    Ok(())
}
