//! The PROXY protocol: headers from load balancers, and towards servers.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    wire::{Connection, Login, Outcome},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("from_a_sender", from_a_sender).daemon(),
    Case::new("spliced_behind_a_header", spliced_behind_a_header).splicing(),
    Case::new("not_from_others", not_from_others).daemon(),
    Case::new("health_checks", health_checks).daemon(),
    Case::new("towards_the_node", towards_the_node)
        .local()
        .daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);
const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 3306\r\n";
/// The same in version 2, with a TLV that nobody knows.
const BYTES: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\
    \xCB\x00\x71\x07\xC6\x33\x64\x01\x12\x67\x0C\xEA\xE0\x00\x01\x00";

/// A daemon that believes everybody's headers, or nobody's.
fn front(stage: &Stage, from: &str) -> Result<Front> {
    let config = Config::new()
        .line(&format!("[proxy_protocol]\nfrom = [{from}]"))
        .cluster(Cluster::mysql("main", &[stage.node()]));
    stage.private_with_config(&config, &["--login-timeout", "5s"])
}

const ALL: &str = "\"0.0.0.0/0\", \"::/0\"";

/// Connects, and says this before everything else.
fn greet(front: &Front, header: &[u8]) -> Result<Connection> {
    let mut stream = TcpStream::connect(front.address())?;
    stream.write_all(header)?;
    Connection::greet_on(stream)
}

fn open(front: &Front, header: &[u8]) -> Result<Connection> {
    let mut connection = greet(front, header)?;
    let outcome = connection.log_in(&Login::new(USER, PASSWORD))?;
    ensure!(matches!(outcome, Outcome::Ok { .. }), "{outcome}");
    Ok(connection)
}

/// A column of the session's own row in `SHOW PROXYSESSION`.
fn host(connection: &mut Connection) -> Result<String> {
    let id = connection.greeting().thread_id.to_string().into_bytes();
    let rows = connection.run("SHOW PROXYSESSION")?.table()?;
    let own = rows
        .iter()
        .find(|row| row.get(1) == Some(&Some(id.clone())));
    let host = own.and_then(|row| row.get(5).cloned().flatten());
    Ok(String::from_utf8(host.context("no own row")?)?)
}

fn from_a_sender(stage: &Stage) -> Result<()> {
    let front = front(stage, ALL)?;
    for header in [LINE, BYTES] {
        let mut connection = open(&front, header)?;
        assert_eq!(host(&mut connection)?, "203.0.113.7:4711");
        let told = connection.run(
            "SELECT attr_value FROM performance_schema.session_connect_attrs \
             WHERE processlist_id = CONNECTION_ID() AND attr_name = '_client_ip'",
        )?;
        assert_eq!(told.text()?, "203.0.113.7");
        let id = connection.greeting().thread_id;
        drop(connection);
        let line = front.daemon()?.closing_line(id)?;
        assert_eq!(line.field("client").as_deref(), Some("203.0.113.7:4711"));
    }
    // Who speaks for himself keeps his address.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    for header in [&b"PROXY UNKNOWN\r\n"[..], local] {
        let mut connection = open(&front, header)?;
        let own = connection.stream().local_addr()?.to_string();
        assert_eq!(host(&mut connection)?, own);
    }
    Ok(())
}

fn spliced_behind_a_header(stage: &Stage) -> Result<()> {
    let front = front(stage, ALL)?;
    let mut connection = open(&front, LINE)?;
    for _ in 0..20 {
        assert_eq!(connection.run("SELECT 7")?.text()?, "7");
    }
    let rows = connection
        .run("SHOW PROXYSESSION ATTRIBUTE LIKE 'spliced_commands'")?
        .table()?;
    let count = rows.first().and_then(|row| row.get(1).cloned().flatten());
    let count: u64 = String::from_utf8(count.context("no count")?)?.parse()?;
    ensure!(count >= 10, "{count} commands were spliced");
    Ok(())
}

fn not_from_others(stage: &Stage) -> Result<()> {
    let front = front(stage, "\"192.0.2.0/24\"")?;
    for header in [LINE, BYTES] {
        let mut connection = Connection::greet(front.address())?;
        connection.send_raw(header)?;
        let mut heard = Vec::new();
        // The end may come as a reset, as not all is read.
        let _ = connection.stream().read_to_end(&mut heard);
        ensure!(heard.get(4) == Some(&0xFF) || heard.is_empty(), "{heard:?}");
    }
    front.daemon()?.wait_for_line("refused", DEADLINE, |line| {
        line.message() == "session closed" && line.field("side").as_deref() == Some("client")
    })?;
    let mut connection = front.open(USER, PASSWORD)?;
    assert_eq!(connection.run("SELECT 1")?.text()?, "1");
    Ok(())
}

fn health_checks(stage: &Stage) -> Result<()> {
    let front = front(stage, ALL)?;
    drop(TcpStream::connect(front.address())?);
    let mut local = TcpStream::connect(front.address())?;
    local.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00")?;
    let mut greeting = [0; 5];
    local.read_exact(&mut greeting)?;
    assert_eq!(greeting[4], 10, "a greeting");
    drop(local);
    // What is no header, and what never comes.
    let mut wrong = TcpStream::connect(front.address())?;
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut rest = Vec::new();
    let _ = wrong.read_to_end(&mut rest);
    let daemon = front.daemon()?;
    daemon.wait_for_line("no header", DEADLINE, |line| {
        line.field("detail")
            .is_some_and(|text| text.contains("PROXY header"))
    })?;
    let mut silent = TcpStream::connect(front.address())?;
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest)?;
    ensure!(rest.is_empty(), "{rest:?}");
    daemon.wait_for_line("nothing in time", DEADLINE, |line| {
        line.field("detail").as_deref() == Some("no PROXY header")
    })?;
    let lines = daemon.lines();
    let closed = lines
        .iter()
        .filter(|line| line.message() == "session closed");
    assert_eq!(
        closed.count(),
        2,
        "checks are not logged: {}",
        daemon.log_text()
    );
    Ok(())
}

/// An account for one client's address only.
fn towards_the_node(stage: &Stage) -> Result<()> {
    let server = stage.start_server(&["--proxy-protocol-networks=*"])?;
    let mut direct = Connection::open(server.address(), &Login::new(USER, PASSWORD))?;
    direct.run("CREATE USER 'far'@'203.0.113.7' IDENTIFIED BY 'far away'")?;
    for version in ["v1", "v2"] {
        let cluster = Cluster::mysql("main", &[server.address()])
            .line(&format!("proxy_protocol = \"{version}\""));
        let config = Config::new()
            .line(&format!("[proxy_protocol]\nfrom = [{ALL}]"))
            .cluster(cluster);
        let front = stage.private_with_config(&config, &[])?;
        let log_in = |header: &[u8]| -> Result<(Connection, Outcome)> {
            let mut connection = greet(&front, header)?;
            let outcome = connection.log_in(&Login::new("far", "far away"))?;
            Ok((connection, outcome))
        };
        let (mut connection, outcome) = log_in(LINE)?;
        ensure!(
            matches!(outcome, Outcome::Ok { .. }),
            "{version}: {outcome}"
        );
        let who = connection.run("SELECT CURRENT_USER()")?.text()?;
        assert_eq!(who, "far@203.0.113.7", "{version}");
        let seen =
            direct.run("SELECT host FROM information_schema.processlist WHERE user = 'far'")?;
        assert_eq!(seen.text()?, "203.0.113.7:4711");
        let other = b"PROXY TCP4 203.0.113.8 198.51.100.1 4711 3306\r\n";
        assert_eq!(log_in(other)?.1.code(), 1045, "another client");
    }
    Ok(())
}
