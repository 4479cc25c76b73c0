//! Sessions on the wire with one leg over loopback: whatever happens to the host's addresses and routes, by whichever address the client comes, and
//! however long a command is.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    network::Family,
    path::Path,
    pattern::Random,
    server::{PASSWORD, USER},
    stage::{Front, Setting, Stage},
    topology::Topology,
    wire::{Connection, Login, command},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("addresses_come_and_go", addresses_come_and_go)
        .only(Path::Wire)
        .except(is_gateway, NO_LOOPBACK),
    Case::new("another_daemon_ends", another_daemon_ends)
        .only(Path::Wire)
        .except(is_gateway, NO_LOOPBACK),
    Case::new("by_any_address", by_any_address)
        .only(Path::Wire)
        .except(|setting| setting.topology != Topology::Sidecar, NOT_NEAR),
    Case::new("commands_of_any_length", commands_of_any_length),
    Case::new("a_hundred_megabytes", a_hundred_megabytes).only(Path::Wire),
];

const NO_LOOPBACK: &str = "no leg goes over loopback";
const NOT_NEAR: &str = "the client is on another host";

fn is_gateway(setting: Setting) -> bool {
    setting.topology == Topology::Gateway
}

/// Changes the addresses and routes of the proxy's host, and puts them back. What a socket has remembered of its route is gone then.
fn shake(stage: &Stage) -> Result<()> {
    // Other tests do it on the same host.
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let address = format!("10.79.{high}.{low}/32");
    let host = stage.hosts().proxy.netns().context("a host of its own")?;
    host.ip(&["address", "add", &address, "dev", "lo"])?;
    host.ip(&["route", "flush", "cache"])?;
    host.ip(&["address", "del", &address, "dev", "lo"])?;
    Ok(())
}

/// Runs `body`, all of whose commands must be spliced, and their answers. A segment that overtakes another is bound to happen on a busy host, whose
/// lo has a queue for each CPU; it ends a regime, and the next command begins one again.
fn spliced(
    connection: &mut Connection,
    commands: u64,
    body: impl FnOnce(&mut Connection) -> Result<()>,
) -> Result<()> {
    const MISSING: &str = "trap: missing segment";
    let before = attribute::splice(connection)?;
    assert_eq!(before.text("path")?, Path::Wire.shown(), "{before:?}");
    body(connection)?;
    let after = attribute::splice(connection)?;
    let missing = |splice: &attribute::Splice| splice.number(MISSING).unwrap_or(0);
    let overtaken = missing(&after) - missing(&before);
    ensure!(
        after.grown(&before, "spliced_commands")? + overtaken >= commands,
        "{before:?} {after:?}"
    );
    ensure!(
        overtaken > 0 || after.grown(&before, "relayed_bytes_to_client")? == before.answer_bytes,
        "{before:?} {after:?}"
    );
    Ok(())
}

/// Everything that is said while a host's addresses change is spliced all the same.
fn addresses_come_and_go(stage: &Stage) -> Result<()> {
    const ROUNDS: u64 = 10;
    let mut connection = stage.open()?;
    connection.run("SELECT 1")?;
    spliced(&mut connection, 3 * ROUNDS, |connection| {
        for round in 0..ROUNDS {
            let number = round.to_string();
            assert_eq!(connection.run(&format!("SELECT {round}"))?.text()?, number);
            shake(stage)?;
            assert_eq!(connection.run(&format!("SELECT {round}"))?.text()?, number);
            // In the midst of an answer.
            let sql = "SELECT REPEAT('m', 50000) FROM mysql.seq_1_to_200";
            connection.send_command(&command::query(sql.as_bytes()))?;
            for _ in 0..20 {
                connection.read_packet()?;
            }
            shake(stage)?;
            // A column count, a column, 17 rows are read.
            for row in 17..200 {
                let packet = connection.read_packet()?;
                ensure!(packet.len() == 50_003, "row {row}: {}", packet.len());
            }
            let end = connection.read_packet()?;
            ensure!(end.first() == Some(&0xFE), "{end:?}");
        }
        Ok(())
    })
}

/// Daemons of one host need one setting of it: who ends does not take it away from the others.
fn another_daemon_ends(stage: &Stage) -> Result<()> {
    let first = stage.private(stage.node(), &[])?;
    let second = stage.private(stage.node(), &[])?;
    let mut sessions = Vec::new();
    for front in [&first, &second] {
        let mut session = front.open(USER, PASSWORD)?;
        session.run("SELECT 1")?;
        sessions.push(session);
    }
    first.daemon()?.stop()?;
    let mut session = sessions.pop().context("a session")?;
    for round in 0..20 {
        shake(stage)?;
        let number = session.run(&format!("SELECT {round}"))?.text()?;
        assert_eq!(number, round.to_string());
    }
    let mut another = second.open(USER, PASSWORD)?;
    assert_eq!(another.run("SELECT 'after'")?.text()?, "after");
    Ok(())
}

/// A daemon that listens on all addresses is on the wire by each of them.
fn by_any_address(stage: &Stage) -> Result<()> {
    let any = stage.hosts().proxy.at(Ipv6Addr::UNSPECIFIED.into());
    for (family, loopback) in [
        (Family::V4, IpAddr::from(Ipv4Addr::LOCALHOST)),
        (Family::V6, Ipv6Addr::LOCALHOST.into()),
    ] {
        let node = SocketAddr::new(family.node(), stage.node().port());
        let front = Front::start(stage.setting(), &any, node, &[])?;
        for ip in [loopback, family.proxy_for_client(), family.proxy_for_node()] {
            let at = SocketAddr::new(ip, front.address().port());
            let mut connection = Connection::open(at, &Login::new(USER, PASSWORD))?;
            connection.run("SELECT 1")?;
            spliced(&mut connection, 20, |connection| {
                for round in 0..20 {
                    shake(stage)?;
                    let length = round * 10_000;
                    let sql = format!("SELECT REPEAT('a', {length})");
                    let value = connection.run(&sql)?.cell()?;
                    ensure!(value == vec![b'a'; length], "{at}: round {round}");
                }
                Ok(())
            })
            .with_context(|| format!("at {at}"))?;
        }
    }
    Ok(())
}

/// A client on the proxy's host could send 64 kB at once, the way to the node carries 1,460: spliced or relayed, all of it arrives as it is.
fn commands_of_any_length(stage: &Stage) -> Result<()> {
    let mut random = Random::new(71);
    let mut connection = stage.open()?;
    let statement = connection.prepare("SELECT MD5(?), LENGTH(?)")?;
    let edges = [
        1_380, 1_430, 1_440, 1_448, 1_460, 1_470, 2_900, 32_700, 65_500,
    ];
    let long = [60_000, 1_000_000, 16_000_000, 16_777_300];
    for length in edges.into_iter().chain(long) {
        let value = random.letters(length);
        let sql = [b"SELECT '", &value[..], b"'"].concat();
        let answer = connection.command(&command::query(&sql))?.cell()?;
        ensure!(answer == value, "a text of {length} bytes");
        assert_eq!(connection.run("SELECT 1")?.text()?, "1");
        let answer = connection.execute(&statement, &[Some(&value), Some(&value)])?;
        answer.outcome.ok()?;
        let row = answer
            .rows
            .first()
            .and_then(|rows| answer.packets.get(rows.start));
        let number = i32::try_from(length)?.to_le_bytes();
        ensure!(
            row.is_some_and(|row| row.ends_with(&number)),
            "a parameter of {length} bytes: {row:?}"
        );
    }
    Ok(())
}

/// A result that the reader takes in two halves goes past the daemon, every byte of it.
fn a_hundred_megabytes(stage: &Stage) -> Result<()> {
    const ROWS: usize = 2000;
    const ROW_BYTES: usize = 50_000;
    let mut connection = stage.open()?;
    connection.run("SELECT 1")?;
    spliced(&mut connection, 1, |connection| {
        let sql = format!(
            "SELECT REPEAT(LPAD(seq, 8, '0'), {}) FROM mysql.seq_1_to_{ROWS}",
            ROW_BYTES / 8
        );
        connection.send_command(&command::query(sql.as_bytes()))?;
        for _ in 0..3 {
            // Column count, column, EOF.
            connection.read_packet()?;
        }
        for number in 1..=ROWS {
            if number == ROWS / 2 {
                shake_if_near(stage)?;
            }
            let row = connection.read_packet()?;
            let wanted = format!("{number:08}").into_bytes().repeat(ROW_BYTES / 8);
            ensure!(row.get(3..) == Some(&wanted[..]), "row {number} differs");
        }
        let end = connection.read_packet()?;
        ensure!(end.first() == Some(&0xFE), "rows beyond the last one");
        Ok(())
    })
}

fn shake_if_near(stage: &Stage) -> Result<()> {
    if is_gateway(stage.setting()) {
        return Ok(());
    }
    shake(stage)
}
