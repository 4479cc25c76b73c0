//! Many readers that stop in the midst of large results: what all sockets and the daemon hold of them is bounded, whatever the results' size.

use crate::{case::Case, liars::endures};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    host::Host,
    mariadb, memory,
    netns::Netns,
    network::Network,
    path::Path,
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    wait,
    wire::{Connection, Login, command},
};
use std::{fs, net::Ipv4Addr, sync::Arc, time::Duration};

pub(crate) const CASES: &[Case] = &[Case::new("many_readers", many_readers).splicing()];

const ROW_BYTES: usize = 65_536;

/// How many there are, and of what.
#[derive(Clone, Copy)]
struct Size {
    readers: u64,
    /// In each one's result.
    rows: usize,
    /// Bytes outstanding at which the local path stops to splice.
    limit: u64,
}

impl Size {
    /// 40 of 64 MB, or as many of as much as in README.
    fn of_this_run() -> Self {
        if endures() {
            Self {
                readers: 200,
                rows: 16_384,
                limit: 1 << 20,
            }
        } else {
            Self {
                readers: 40,
                rows: 1000,
                limit: 256 << 10,
            }
        }
    }
}

/// What a socket's buffers may grow to in each direction, as the hosts are set here: of a private network's settings the test is sure.
const BUFFER: u64 = 512 << 10;
/// By how much the kernel may exceed such a bound: it looks before it adds, and what it adds is a large segment at most.
const SLACK: u64 = 128 << 10;
/// Of the daemon, beyond what it holds for its sessions.
const DAEMON: u64 = 16 << 20;
const DEADLINE: Duration = Duration::from_secs(30);

/// The stage's topology in a network of the test's own.
fn hosts(stage: &Stage) -> Result<Hosts> {
    let topology = stage.setting().topology;
    let hosts = if topology == Topology::Local {
        let host = Host::new(&Arc::new(Netns::new()?), Ipv4Addr::LOCALHOST.into());
        let mut hosts = Hosts::local();
        (hosts.client, hosts.proxy, hosts.node) = (host.clone(), host.clone(), host);
        hosts
    } else {
        Hosts::private(topology, Network::new()?)
    };
    for host in [&hosts.client, &hosts.proxy, &hosts.node] {
        host.enter(limit)??;
    }
    Ok(hosts)
}

/// Bounds what sockets of the calling thread's network may buffer.
fn limit() -> Result<()> {
    for key in ["tcp_rmem", "tcp_wmem"] {
        let value = format!("4096 65536 {BUFFER}");
        fs::write(format!("/proc/sys/net/ipv4/{key}"), value).context(key)?;
    }
    Ok(())
}

/// Bytes that wait in TCP sockets of all hosts, to be read or acknowledged.
fn held(hosts: &Hosts) -> Result<u64> {
    let mut seen = Vec::new();
    let mut sum = 0;
    for host in [&hosts.client, &hosts.proxy, &hosts.node] {
        let netns = host.netns().context("a network of its own")?.path();
        if !seen.contains(&netns) {
            sum += host.enter(memory::queued_bytes)??;
            seen.push(netns);
        }
    }
    Ok(sum)
}

fn many_readers(stage: &Stage) -> Result<()> {
    let size = Size::of_this_run();
    let hosts = hosts(stage)?;
    let server = mariadb::start(&[], &hosts.node)?;
    let limit = size.limit.to_string();
    let flags = ["--splice-limit", &limit];
    let front = Front::start(stage.setting(), &hosts.proxy, server.address(), &flags)?;
    let readers = hosts.client.enter(|| -> Result<Vec<Connection>> {
        (0..size.readers).map(|_| stalled(&front)).collect()
    })??;
    let daemon = front.daemon()?;
    let before = daemon.resident_bytes()?;
    let mut watcher = hosts
        .client
        .enter(|| Connection::open(server.address(), &Login::new(USER, PASSWORD)))??;
    let mut readers = start(readers, size)?;
    wait::until_true("the node waits for all readers", DEADLINE, || {
        let sql =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'Writing to net'";
        Ok(watcher.run(sql)?.text()? == size.readers.to_string())
    })?;
    // Two connections and the limit between them, or one connection from end to end.
    let buffers = 2 * (BUFFER + SLACK);
    let each = match stage.path() {
        Path::Wire => buffers,
        Path::Spliced | Path::Relayed | Path::Direct => 2 * buffers + size.limit + SLACK,
    };
    let mut most = 0;
    wait::throughout(Duration::from_secs(1), || {
        let held = held(&hosts)?;
        most = most.max(held);
        ensure!(
            held < size.readers * each,
            "{held} bytes are held for {} readers",
            size.readers
        );
        Ok(())
    })?;
    ensure!(
        most > size.readers * 50_000,
        "{most} bytes: it is not seen what is held"
    );
    let grown = daemon.resident_bytes()?.saturating_sub(before);
    ensure!(
        grown < DAEMON + size.readers * size.limit,
        "the daemon grew by {grown} bytes"
    );
    if endures() {
        eprintln!(
            "{} readers: {most} bytes in all sockets, the daemon grew by {grown}",
            size.readers
        );
    }
    for reader in readers.iter_mut().take(3) {
        finish(reader, size)?;
    }
    Ok(())
}

/// A session that is about to be asked for a large result.
fn stalled(front: &Front) -> Result<Connection> {
    let mut reader = front.open(USER, PASSWORD)?;
    reader.run("SELECT 1")?;
    Ok(reader)
}

/// All ask, none reads.
fn start(mut readers: Vec<Connection>, size: Size) -> Result<Vec<Connection>> {
    let sql = format!(
        "SELECT REPEAT(LPAD(seq, 8, '0'), {}) FROM mysql.seq_1_to_{}",
        ROW_BYTES / 8,
        size.rows
    );
    for reader in &mut readers {
        reader.send_command(&command::query(sql.as_bytes()))?;
    }
    Ok(readers)
}

/// Reads a whole result.
fn finish(reader: &mut Connection, size: Size) -> Result<()> {
    for _ in 0..3 {
        // Column count, column, EOF.
        reader.read_packet()?;
    }
    for number in 1..=size.rows {
        let row = reader.read_packet()?;
        let wanted = format!("{number:08}").into_bytes().repeat(ROW_BYTES / 8);
        ensure!(row.ends_with(&wanted), "row {number} differs");
    }
    let end = reader.read_packet()?;
    ensure!(end.first() == Some(&0xFE), "rows beyond the last one");
    assert_eq!(reader.run("SELECT 'behind'")?.text()?, "behind");
    Ok(())
}
