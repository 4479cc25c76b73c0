//! The end of a connection at one side is the end at the other, in any state, and one log line tells of it.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    port::bound,
    server::{self, PASSWORD, USER},
    stage::Stage,
    wait,
    wire::{Connection, Login, command, frame},
};
use socket2::SockRef;
use std::{
    io::ErrorKind,
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("quit", quit),
    Case::new("client_gone_when_idle", client_gone_when_idle),
    Case::new("client_gone_in_a_request", client_gone_in_a_request),
    Case::new("client_gone_in_an_answer", client_gone_in_an_answer),
    Case::new("client_closes_half", client_closes_half),
    Case::new("node_killed_in_an_answer", node_killed_in_an_answer),
    Case::new("node_killed_when_idle", node_killed_when_idle),
    Case::new("node_closes_session", node_closes_session),
    Case::new("line_per_session", line_per_session).daemon(),
    Case::new("port_reused_at_once", port_reused_at_once).daemon(),
    Case::new("quit_keeps_no_port", quit_keeps_no_port).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(15);

/// The proxy's line about the session, where there is a proxy.
fn closed_by(stage: &Stage, cs_id: u32, side: &str) -> Result<()> {
    if let Ok(daemon) = stage.daemon() {
        let line = daemon.closing_line(cs_id)?;
        assert_eq!(line.field("side").as_deref(), Some(side), "{line:?}");
    }
    Ok(())
}

fn open(stage: &Stage) -> Result<(Connection, String)> {
    let mut connection = stage.open()?;
    let id = connection.run("SELECT CONNECTION_ID()")?.text()?;
    Ok((connection, id))
}

fn quit(stage: &Stage) -> Result<()> {
    let (mut connection, id) = open(stage)?;
    connection.send_command(&[0x01])?;
    ensure!(connection.closed_within(DEADLINE)?, "open after COM_QUIT");
    stage.gone_from_node(&id)
}

fn client_gone_when_idle(stage: &Stage) -> Result<()> {
    let (connection, id) = open(stage)?;
    let cs_id = connection.greeting().thread_id;
    drop(connection);
    stage.gone_from_node(&id)?;
    closed_by(stage, cs_id, "client")
}

/// Half of a command, half of a header, the header of a large one.
fn client_gone_in_a_request(stage: &Stage) -> Result<()> {
    let (bytes, _) = frame(
        &command::query(&[b"SELECT '".to_vec(), vec![b'x'; 300_000], b"'".to_vec()].concat()),
        0,
    );
    for cut in [2, 4, 20, 100_000, 299_000] {
        let (mut connection, id) = open(stage)?;
        let cs_id = connection.greeting().thread_id;
        connection.send_raw(bytes.get(..cut).context("a part")?)?;
        drop(connection);
        stage
            .gone_from_node(&id)
            .with_context(|| format!("after {cut} bytes"))?;
        closed_by(stage, cs_id, "client").with_context(|| format!("after {cut} bytes"))?;
    }
    Ok(())
}

fn client_gone_in_an_answer(stage: &Stage) -> Result<()> {
    for rows in [1, 30] {
        let (mut connection, id) = open(stage)?;
        let cs_id = connection.greeting().thread_id;
        connection.send_command(&command::query(
            b"SELECT REPEAT('c', 100000) FROM mysql.seq_1_to_20000",
        ))?;
        for _ in 0..rows {
            connection.read_packet()?;
        }
        drop(connection);
        stage.gone_from_node(&id)?;
        closed_by(stage, cs_id, "client")?;
    }
    Ok(())
}

/// A client that will send no more may still wait for its answer.
fn client_closes_half(stage: &Stage) -> Result<()> {
    for sql in ["SELECT REPEAT('h', 2000)", "SELECT REPEAT('h', 3000000)"] {
        let (mut connection, id) = open(stage)?;
        let wanted = connection.run(sql)?;
        connection.send_command(&command::query(sql.as_bytes()))?;
        connection.stream().shutdown(Shutdown::Write)?;
        let answer = connection.read_response(&[])?;
        ensure!(answer == wanted, "the answer differs");
        ensure!(
            connection.closed_within(DEADLINE)?,
            "open though both ends are done"
        );
        stage.gone_from_node(&id)?;
    }
    Ok(())
}

fn node_killed_in_an_answer(stage: &Stage) -> Result<()> {
    let server = stage.start_server(&[])?;
    let front = stage.private(server.address(), &[])?;
    let login = Login::new(USER, PASSWORD);
    let mut connection = Connection::open(front.address(), &login)?;
    let cs_id = connection.greeting().thread_id;
    connection.send_command(&command::query(
        b"SELECT REPEAT('n', 100000) FROM mysql.seq_1_to_100000",
    ))?;
    for _ in 0..100 {
        connection.read_packet()?;
    }
    server.kill()?;
    let mut rows = 0_u32;
    while connection.read_packet().is_ok() {
        rows += 1;
    }
    ensure!(rows < 99_000, "{rows} rows came of a dead server");
    if let Ok(daemon) = front.daemon() {
        let line = daemon.closing_line(cs_id)?;
        assert_eq!(line.field("side").as_deref(), Some("node"), "{line:?}");
        assert_eq!(daemon.ended()?, None, "{}", daemon.log_text());
    }
    Ok(())
}

fn node_killed_when_idle(stage: &Stage) -> Result<()> {
    let server = stage.start_server(&[])?;
    let front = stage.private(server.address(), &[])?;
    let mut connections = Vec::new();
    for _ in 0..10 {
        let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
        connection.run("SELECT 1")?;
        connections.push(connection);
    }
    server.kill()?;
    for mut connection in connections {
        ensure!(
            connection.closed_within(DEADLINE)?,
            "open though the node is gone"
        );
        if let Ok(daemon) = front.daemon() {
            let line = daemon.closing_line(connection.greeting().thread_id)?;
            assert_eq!(line.field("side").as_deref(), Some("node"), "{line:?}");
        }
    }
    Ok(())
}

/// The server ends one session (KILL at the server, as its `wait_timeout` would).
fn node_closes_session(stage: &Stage) -> Result<()> {
    let (mut connection, id) = open(stage)?;
    stage.open_direct()?.run(&format!("KILL {id}"))?;
    // The server may still send an error packet before its FIN.
    let mut seen = Vec::new();
    while let Ok(packet) = connection.read_packet() {
        seen.push(packet);
        ensure!(seen.len() < 3, "{seen:?}");
    }
    closed_by(stage, connection.greeting().thread_id, "node")
}

fn line_per_session(stage: &Stage) -> Result<()> {
    let (mut connection, id) = open(stage)?;
    for _ in 0..10 {
        connection.run("SELECT 1")?;
    }
    let cs_id = connection.greeting().thread_id;
    connection.send_command(&[0x01])?;
    ensure!(connection.closed_within(DEADLINE)?, "open after COM_QUIT");
    let daemon = stage.daemon()?;
    let line = daemon.closing_line(cs_id)?;
    assert_eq!(line.level(), "INFO");
    assert_eq!(line.field("connection_id"), Some(id), "{line:?}");
    assert_eq!(line.field("user").as_deref(), Some(USER), "{line:?}");
    for field in [
        "ss_id", "worker", "tenant", "path", "side", "reason", "age_ms",
    ] {
        ensure!(
            line.field(field).is_some_and(|value| !value.is_empty()),
            "no {field}: {line:?}"
        );
    }
    let id = cs_id.to_string();
    let about = daemon
        .lines()
        .into_iter()
        .filter(|line| line.field("cs_id").as_ref() == Some(&id) && line.level() == "INFO");
    assert_eq!(about.count(), 1, "info lines about one session");
    ensure!(
        !daemon.log_text().contains(PASSWORD),
        "the log holds a password"
    );
    Ok(())
}

/// A client that leaves, and comes again from the same port before the daemon has done with the session before.
fn port_reused_at_once(stage: &Stage) -> Result<()> {
    const ROUNDS: usize = 150;
    // Held to the end, so that no other test gets the port.
    let port = bound(SocketAddr::new(stage.hosts().client.address(), 0))?;
    let from = port.local_addr()?.as_socket().context("an IP address")?;
    let connect = || -> Result<Option<TcpStream>> {
        let socket = bound(from)?;
        match socket.connect(&stage.address().into()) {
            Ok(()) => Ok(Some(socket.into())),
            // The client's own FIN is not acknowledged yet.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    for round in 0..ROUNDS {
        let stream = wait::until("the port is free", DEADLINE, connect)?;
        let mut connection =
            Connection::greet_on(stream).with_context(|| format!("round {round}"))?;
        connection.log_in(&Login::new(USER, PASSWORD))?.ok()?;
        if round % 2 == 1 {
            let before = attribute::splice(&mut connection)?;
            for number in 0..5 {
                let text = format!("{number} of round {round}");
                let answer = connection.run(&format!("SELECT '{text}'"))?;
                assert_eq!(answer.text()?, text);
            }
            if stage.path().splices() {
                let after = attribute::splice(&mut connection)?;
                let spliced = after.grown(&before, "spliced_commands")?;
                ensure!(spliced >= 4, "round {round}: {after:?}");
            }
        }
        if round % 4 < 2 {
            SockRef::from(connection.stream()).set_linger(Some(Duration::ZERO))?;
        } else {
            // The daemon closes first, so that the port is free at once.
            connection.send_command(&[0x01])?;
            ensure!(connection.closed_within(DEADLINE)?, "open after COM_QUIT");
        }
    }
    Ok(())
}

/// Who closes first has the connection in TIME-WAIT for a minute, and its port with it: of those the daemon has 28,000 towards a node.
fn quit_keeps_no_port(stage: &Stage) -> Result<()> {
    const ROUNDS: usize = 20;
    let server = stage.start_server(&[])?;
    let front = stage.private(server.address(), &[])?;
    let login = Login::new(USER, PASSWORD);
    for _ in 0..ROUNDS {
        let mut connection = Connection::open(front.address(), &login)?;
        connection.run("SELECT 1")?;
        connection.send_command(&[0x01])?;
        ensure!(connection.closed_within(DEADLINE)?, "open after COM_QUIT");
        let cs_id = connection.greeting().thread_id;
        front.daemon()?.closing_line(cs_id)?;
    }
    let to_node = format!("dport = :{}", server.address().port());
    let kept = stage.hosts().proxy.enter(|| {
        server::run(Command::new("ss").args(["-tnHO", "state", "time-wait", &to_node]))
    })??;
    // The monitor has a few connections of its own, at the start.
    let count = kept.lines().count();
    ensure!(count < ROUNDS / 2, "{count} of {ROUNDS} sessions: {kept}");
    Ok(())
}
