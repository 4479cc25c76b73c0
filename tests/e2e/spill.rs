//! A gigabyte for a reader that pauses: nobody buffers it, and every byte arrives.

use crate::{case::Case, driver};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    memory,
    path::Path,
    server::{PASSWORD, USER, USER_ROOT},
    sluice::Sluice,
    stage::Stage,
    torture::text,
    wait,
    wire::{Connection, Login, PACKET_BYTES_MAX, command},
};
use std::{net::TcpStream, time::Duration};
use tokio::{io::AsyncReadExt as _, time::timeout};

pub(crate) const CASES: &[Case] = &[
    Case::new("gigabyte_with_pauses", gigabyte_with_pauses),
    Case::new("huge_row_with_pause", huge_row_with_pause),
    Case::new("reader_goes_on_after_spill", reader_goes_on_after_spill).only(Path::Spliced),
    Case::new("rows_after_spill", rows_after_spill).only(Path::Spliced),
    Case::new("told_by_edges", told_by_edges).only(Path::Spliced),
];

const DEADLINE: Duration = Duration::from_secs(20);
/// What the daemon may hold more than before, in any state of the reader.
const DAEMON_GROWTH_MAX: u64 = 64 << 20;
/// What may wait in the reader's own socket: its receive buffer and the bound of the splice, with room.
const PENDING_MAX: usize = 64 << 20;
/// What all sockets of this machine may hold: other tests run at the same time, with values of up to 40 MB.
const SOCKETS_MAX: u64 = 400 << 20;
const ROWS: usize = 32_768;
const ROW_BYTES: usize = 32_768;

/// Watches the memory for a while in which nobody reads.
fn pause(connection: &Connection, daemon: Option<u32>) -> Result<()> {
    wait::throughout(Duration::from_millis(700), || {
        let pending = memory::pending_bytes(connection.stream())?;
        ensure!(
            pending < PENDING_MAX,
            "{pending} bytes wait in the reader's socket"
        );
        let sockets = memory::tcp_bytes()?;
        ensure!(
            sockets < SOCKETS_MAX,
            "the machine's sockets hold {sockets} bytes"
        );
        if let Some(pid) = daemon {
            memory::resident_bytes(pid)?;
        }
        Ok(())
    })
}

fn daemon_grew(pid: Option<u32>, before: u64) -> Result<()> {
    let Some(pid) = pid else { return Ok(()) };
    let peak = memory::resident_bytes_peak(pid)?;
    ensure!(
        peak < before + DAEMON_GROWTH_MAX,
        "the daemon grew from {before} to {peak} bytes"
    );
    Ok(())
}

/// Whether something can be read. (FIONREAD does not say so of relayed bytes on every kernel.)
fn has_pending(stream: &TcpStream) -> Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(peeked.is_ok_and(|length| length > 0))
}

fn gigabyte_with_pauses(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let daemon = front.daemon().map(Sluice::pid).ok();
    let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
    connection.run("SELECT 1")?;
    let before = daemon.map_or(Ok(0), memory::resident_bytes)?;
    let sql = format!(
        "SELECT REPEAT(LPAD(seq, 8, '0'), {}) FROM mysql.seq_1_to_{ROWS}",
        ROW_BYTES / 8
    );
    connection.send_command(&command::query(sql.as_bytes()))?;
    for _ in 0..3 {
        // Column count, column, EOF.
        connection.read_packet()?;
    }
    let mut row_pending = false;
    for number in 1..=ROWS {
        if number % 8000 == 1000 {
            pause(&connection, daemon)?;
            row_pending |= has_pending(connection.stream())?;
        }
        let row = connection
            .read_packet()
            .with_context(|| format!("row {number}"))?;
        let wanted = format!("{number:08}").into_bytes().repeat(ROW_BYTES / 8);
        ensure!(
            row.strip_prefix(&[0xFC, 0x00, 0x80]) == Some(&wanted[..]),
            "row {number} differs"
        );
    }
    ensure!(
        connection.read_packet()?.first() == Some(&0xFE),
        "rows beyond the last one"
    );
    ensure!(row_pending, "the server never got ahead of the reader");
    assert_eq!(connection.run("SELECT 'behind'")?.text()?, "behind");
    daemon_grew(daemon, before)
}

/// One row of several packets, so that the pause falls within a packet.
fn huge_row_with_pause(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let daemon = front.daemon().map(Sluice::pid).ok();
    let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
    let before = daemon.map_or(Ok(0), memory::resident_bytes)?;
    let length = 9 * PACKET_BYTES_MAX;
    connection.send_command(&command::query(
        format!("SELECT REPEAT('h', {length})").as_bytes(),
    ))?;
    pause(&connection, daemon)?;
    let answer = connection.read_response(&[])?.cell()?;
    ensure!(answer == vec![b'h'; length], "the value differs");
    assert_eq!(connection.run("SELECT 'behind'")?.text()?, "behind");
    daemon_grew(daemon, before)
}

fn reader_goes_on_after_spill(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &["--splice-limit", "262144"])?;
    let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
    connection.run("SELECT 'armed'")?;
    for round in 1..=5_u64 {
        connection.send_command(&command::query(b"SELECT REPEAT('i', 30000000)"))?;
        pause(&connection, None)?;
        let answer = connection.read_response(&[])?.cell()?;
        ensure!(
            answer == vec![b'i'; 30_000_000],
            "round {round}: the value differs"
        );
        let splice = crate::attribute::splice(&mut connection)?;
        assert_eq!(splice.number("spills")?, round, "{splice:?}");
        for number in 0..20 {
            assert_eq!(
                connection.run(&format!("SELECT {number}"))?.text()?,
                number.to_string()
            );
        }
        let later = crate::attribute::splice(&mut connection)?;
        assert_eq!(
            later.grown(&splice, "spliced_commands")?,
            20,
            "not spliced again: {splice:?} {later:?}"
        );
    }
    Ok(())
}

/// Responses of many rows: the daemon finds their ends wherever a spill has cut them.
fn rows_after_spill(stage: &Stage) -> Result<()> {
    const ROWS: usize = 12_000;
    const WIDTH: usize = 18;
    let front = stage.private(stage.node(), &["--splice-limit", "65536"])?;
    let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
    connection.set_patience(Duration::from_secs(10))?;
    // The server's buffer grows with it: from then on it writes many of the kernel's pieces of memory at once, and a spill can come between two.
    let large = format!("SELECT LENGTH('{}')", "x".repeat(1_000_000));
    connection.run(&large)?;
    for round in 0..60 {
        let sql = text::rows_sql_in("mysql", ROWS, WIDTH, None);
        connection.send_command(&command::query(sql.as_bytes()))?;
        wait::throughout(Duration::from_millis(5), || Ok(()))?;
        let mut number = 0;
        let outcome = connection.read_each_row(|row| {
            number += 1;
            text::same("a row", row, &text::row(number, WIDTH, false, false))
        })?;
        outcome.ok()?;
        assert_eq!(number, ROWS);
        let answer = connection.run("SELECT 'behind'");
        assert_eq!(
            answer.with_context(|| format!("round {round}"))?.text()?,
            "behind"
        );
    }
    let splice = crate::attribute::splice(&mut connection)?;
    ensure!(splice.number("spills")? > 10, "{splice:?}");
    Ok(())
}

/// A reader as tokio's: it asks epoll(7) for edges, and takes a read that fills less than its buffer for the last that there is. What has moved in the
/// kernel and what the daemon has relayed wait for it at once.
fn told_by_edges(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &["--splice-limit", "65536"])?;
    for length in [70_000, 100_000, 150_000, 300_000, 1_500_000, 6_000_000].repeat(3) {
        let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
        connection.run("SELECT 'armed'")?;
        let sql = format!("SELECT REPEAT('e', {length})");
        connection.send_command(&command::query(sql.as_bytes()))?;
        pause(&connection, None)?;
        let stream = connection.stream().try_clone()?;
        stream.set_nonblocking(true)?;
        let mut all: Vec<u8> = Vec::new();
        driver::run(async {
            let mut stream = tokio::net::TcpStream::from_std(stream)?;
            let mut buffer = vec![0; 50_000];
            while all.len() < length {
                let read = timeout(DEADLINE, stream.read(&mut buffer)).await;
                let read = read.with_context(|| format!("{} of {length} bytes", all.len()))??;
                ensure!(read > 0, "the end");
                all.extend(buffer.iter().take(read));
            }
            Ok(())
        })?;
        let id = connection.greeting().thread_id;
        let spills = format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE 'spills'");
        let shown = front.open(USER_ROOT, "")?.run(&spills)?.texts()?;
        let spills = shown.first().and_then(|row| row.get(1)).cloned().flatten();
        assert_eq!(spills.as_deref(), Some("1"), "{length} bytes");
    }
    Ok(())
}
