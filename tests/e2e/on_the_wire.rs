//! What only sessions below the sockets can get wrong: checksums, what is left of many short sessions, ends that nobody says.

use crate::{attribute, case::Case, daemon_away::held};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    capture::Capture,
    config::{Cluster, Config},
    mariadb,
    network::{
        CLIENT_INTERFACE, Family, NODE_INTERFACE, Network, PROXY_CLIENT_INTERFACE,
        PROXY_NODE_INTERFACE,
    },
    offload::{self, Offload},
    path::Path,
    port::bound,
    server::{self, PASSWORD, USER, USER_ROOT},
    stage::{Front, Setting, Stage},
    topology::{Hosts, Topology},
    wait,
    wire::{Connection, Login, command},
};
use socket2::{SockRef, Socket};
use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("checksums", checksums)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("nothing_left_of_short_ones", nothing_left_of_short_ones)
        .only(Path::Wire)
        .tool("bpftool"),
    Case::new("killed_in_an_answer", killed_in_an_answer).only(Path::Wire),
    Case::new("killed_behind_a_session", killed_behind_a_session)
        .only(Path::Wire)
        .except(is_no_sidecar, SMALL_BUFFERS),
    Case::new("port_of_a_killed_daemon", port_of_a_killed_daemon).only(Path::Wire),
    Case::new("large_answers", large_answers)
        .only(Path::Wire)
        .except(is_no_node_side, NODE_ELSEWHERE),
    Case::new("client_vanishes", client_vanishes)
        .only(Path::Wire)
        .between_hosts(),
];

const DEADLINE: Duration = Duration::from_secs(15);

const NODE_ELSEWHERE: &str =
    "the node is on another host, about whose order this one can do little";

const SMALL_BUFFERS: &str =
    "the daemon's socket keeps too little of an answer where segments are small";

fn is_no_sidecar(setting: Setting) -> bool {
    setting.topology != Topology::Sidecar
}

fn is_no_node_side(setting: Setting) -> bool {
    setting.topology != Topology::NodeSide
}

/// Small and large answers, spliced, and commands that the daemon must see in between.
pub(crate) fn talk(connection: &mut Connection) -> Result<()> {
    let before = attribute::splice(connection)?;
    for round in 0..20 {
        for bytes in [0, 1, 1447, 1448, 70_000] {
            let answer = connection
                .run(&format!("SELECT REPEAT('c', {bytes})"))?
                .cell()?;
            ensure!(answer == vec![b'c'; bytes], "round {round}");
        }
        connection.run(&format!("SET @v = {round}"))?;
        assert_eq!(connection.run("SELECT @v")?.text()?, round.to_string());
    }
    let large = connection.run("SELECT REPEAT('l', 1000000)")?.cell()?;
    ensure!(large == vec![b'l'; 1_000_000], "a large answer");
    let after = attribute::splice(connection)?;
    ensure!(after.grown(&before, "spliced_commands")? > 50, "{after:?}");
    Ok(())
}

/// What a node on this host sends is seen in its order, whichever CPUs it sends it on: all of each answer is spliced.
fn large_answers(stage: &Stage) -> Result<()> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| stage.hosts().client.enter(|| read_large(stage))?))
            .collect();
        let mut joined = clients.into_iter();
        joined.try_for_each(|client| wait::joined(client.join(), "a client")?)
    })
}

fn read_large(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    connection.run("SELECT 1")?;
    let before = attribute::splice(&mut connection)?;
    for _ in 0..8 {
        for sql in [
            "SELECT REPEAT('x', 8000000)",
            "SELECT seq, REPEAT('r', 100) FROM mysql.seq_1_to_80000",
        ] {
            connection.send_command(&command::query(sql.as_bytes()))?;
            connection.read_each_row(|_| Ok(()))?.ok()?;
        }
    }
    let after = attribute::splice(&mut connection)?;
    let relayed = after.grown(&before, "relayed_bytes_to_client")?;
    ensure!(relayed == before.answer_bytes, "{after:?}");
    Ok(())
}

/// With checksums that a card would fill in, with whole ones that this host only forwards, and with none left to a card anywhere.
fn checksums(stage: &Stage) -> Result<()> {
    let network = Arc::new(Network::new()?);
    let hosts = |family| Hosts::of(Topology::Gateway, &network, family);
    let server = mariadb::start(&[], &hosts(Family::V4).node)?;
    let ends = [
        (network.client(), CLIENT_INTERFACE),
        (network.node(), NODE_INTERFACE),
    ];
    let middle = [
        (network.proxy(), PROXY_CLIENT_INTERFACE),
        (network.proxy(), PROXY_NODE_INTERFACE),
    ];
    for (off, are_whole) in [
        (vec![], false),
        (ends.to_vec(), true),
        ([ends, middle].concat(), true),
    ] {
        for (netns, interface) in &off {
            offload::set(netns, interface, Offload::Checksum, false)?;
        }
        for family in [Family::V4, Family::V6] {
            let hosts = hosts(family);
            let node = SocketAddr::new(hosts.node.address(), server.address().port());
            let front = Front::start(stage.setting(), &hosts.proxy, node, &[])?;
            let captures = ends.map(|(netns, interface)| Capture::start(netns, interface));
            let talked = hosts
                .client
                .enter(|| talk(&mut front.open(USER, PASSWORD)?))?;
            for capture in captures {
                let arrived = capture?.end()?;
                let context = || format!("{off:?}, {family:?}: {arrived:?}");
                ensure!(arrived.wrong == 0, "{}", context());
                let seen = if are_whole {
                    arrived.whole
                } else {
                    arrived.partial
                };
                ensure!(seen > 100, "{}", context());
            }
            talked.with_context(|| format!("{off:?}, {family:?}"))?;
        }
    }
    Ok(())
}

/// More sessions, one after the other, than there is room for at once: at the end no tuple is known any more.
fn nothing_left_of_short_ones(stage: &Stage) -> Result<()> {
    const THREADS: usize = 4;
    const EACH: usize = 750;
    let front = stage.private(stage.node(), &["--max-connections", "50"])?;
    let (address, login) = (front.address(), Login::new(USER, PASSWORD));
    let one = |number: usize| -> Result<()> {
        let mut connection = Connection::open(address, &login)?;
        for _ in 0..2 {
            let text = number.to_string();
            assert_eq!(connection.run(&format!("SELECT {text}"))?.text()?, text);
        }
        if number.is_multiple_of(2) {
            connection.send_command(&[0x01])?;
        }
        Ok(())
    };
    let netns = stage.hosts().client.clone();
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (netns, one) = (&netns, &one);
                scope.spawn(move || {
                    netns.enter(|| (0..EACH).try_for_each(|round| one(thread * EACH + round)))?
                })
            })
            .collect();
        for thread in threads {
            wait::joined(thread.join(), "a client")??;
        }
        Ok(())
    })?;
    for id in held("map", front.daemon()?.pid())? {
        let id = id.to_string();
        let bpftool =
            |verb| server::run(Command::new("bpftool").args(["--json", "map", verb, "id", &id]));
        if !bpftool("show")?.contains("\"BINDINGS\"") {
            continue;
        }
        return wait::until_true("no tuple of ended sessions is left", DEADLINE, || {
            let left: serde_json::Value = serde_json::from_str(&bpftool("dump")?)?;
            Ok(left.as_array().is_some_and(Vec::is_empty))
        });
    }
    anyhow::bail!("the daemon has no BINDINGS")
}

/// SIGKILL while an answer passes below the sockets: both ends see it, though nobody is there to translate numbers any more.
fn killed_in_an_answer(stage: &Stage) -> Result<()> {
    const SQL: &[u8] = b"SELECT REPEAT('k', 100000) FROM mysql.seq_1_to_10000";
    let front = stage.private(stage.node(), &[])?;
    let mut connection = front.open(USER, PASSWORD)?;
    let id = connection.run("SELECT CONNECTION_ID()")?.text()?;
    connection.send_command(&command::query(SQL))?;
    for _ in 0..50 {
        connection.read_packet()?;
    }
    front.daemon()?.kill()?;
    // What had arrived can still be read.
    let end = loop {
        if let Err(end) = connection.read_packet() {
            break end;
        }
    };
    let is_open = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
    ensure!(
        !end.downcast_ref().is_some_and(is_open),
        "the client's connection is open: {end:#}"
    );
    stage.gone_from_node(&id)
}

/// The same behind a session that has ended, while its client has yet to read what the daemon's socket has of an answer: what it still reads is the answer's, and
/// then comes the end.
fn killed_behind_a_session(stage: &Stage) -> Result<()> {
    const PERIOD: &[u8] = b"0123456789a";
    // Relayed, as it names a variable.
    const SQL: &[u8] = b"SELECT @a, REPEAT('0123456789a', 7300) AS t";
    const BYTES: usize = 7300 * PERIOD.len();
    let front = stage.private(stage.node(), &[])?;
    let mut killer = front.open(&format!("{USER_ROOT}@sys"), "")?;
    let mut connection = front.open(USER, PASSWORD)?;
    let id = connection.greeting().thread_id;
    for _ in 0..3 {
        connection.run("SELECT 1")?;
    }
    let before = attribute::splice_of(&mut killer, id)?;
    ensure!(before.number("spliced_bytes_to_client")? > 0, "{before:?}");
    SockRef::from(connection.stream()).set_recv_buffer_size(4096)?;
    connection.send_command(&command::query(SQL))?;
    wait::until_true("the daemon's socket has the answer", DEADLINE, || {
        let now = attribute::splice_of(&mut killer, id)?;
        Ok(now.grown(&before, "relayed_bytes_to_client")? > BYTES as u64)
    })?;
    killer.run(&format!("KILL {id}"))?;
    front.daemon()?.closing_line(id)?;
    front.daemon()?.kill()?;
    let mut read = Vec::new();
    let end = connection.stream().read_to_end(&mut read);
    ensure!(
        !end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "the client's connection is open"
    );
    let text = read.windows(PERIOD.len()).position(|part| part == PERIOD);
    let text = read.get(text.context("no text")?..).unwrap_or_default();
    let mut pairs = text.iter().zip(PERIOD.iter().cycle()).take(BYTES);
    ensure!(
        pairs.all(|(read, wanted)| read == wanted),
        "other bytes than the answer's"
    );
    Ok(())
}

/// Whoever listens where a killed daemon did is not disturbed by what that one has left at the interfaces (filters, where the kernel has no TCX), not even with
/// a client that comes by the port of one of its sessions.
fn port_of_a_killed_daemon(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let address = front.address();
    // Held to the end, so that no other test gets the port.
    let held = bound(SocketAddr::new(stage.hosts().client.address(), 0))?;
    let own = held.local_addr()?.as_socket().context("an IP address")?;
    let socket = bound(own)?;
    socket.connect(&address.into())?;
    let mut connection = Connection::greet_on(socket.into())?;
    connection.log_in(&Login::new(USER, PASSWORD))?.ok()?;
    for _ in 0..10 {
        connection.run("SELECT 1")?;
    }
    let splice = attribute::splice(&mut connection)?;
    ensure!(splice.number("spliced_commands")? > 5, "{splice:?}");
    front.daemon()?.kill()?;
    // The two ends of a spliced connection cannot take leave of each other without it.
    SockRef::from(connection.stream()).set_linger(Some(Duration::ZERO))?;
    drop(connection);
    let listener: TcpListener = wait::until("the daemon's port is free", DEADLINE, || {
        let listen = || bound(address).and_then(|socket| socket.listen(1).map(|()| socket));
        let socket = stage.hosts().proxy.enter(listen)?;
        Ok(socket.ok().map(TcpListener::from))
    })?;
    let mut client: TcpStream = wait::until("the client's port is free", DEADLINE, || {
        let connect = |socket: Socket| {
            socket.connect_timeout(&address.into(), DEADLINE)?;
            Ok(socket.into())
        };
        Ok(bound(own).and_then(connect).ok())
    })?;
    let (mut server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(DEADLINE))?;
    }
    for round in 0..10_u8 {
        let said = [round; 100];
        let mut heard = [0; 100];
        client.write_all(&said)?;
        server.read_exact(&mut heard)?;
        assert_eq!(heard, said);
        server.write_all(&said)?;
        client.read_exact(&mut heard)?;
        assert_eq!(heard, said);
    }
    Ok(())
}

/// A host that goes without a word: the daemon's own keep-alive finds out, though it has seen no segment of the session for long.
fn client_vanishes(stage: &Stage) -> Result<()> {
    let network = Network::new()?;
    let hosts = Hosts::private(Topology::Gateway, network);
    let server = mariadb::start(&[], &hosts.node)?;
    let config = Config::new()
        .line("keepalive_idle = \"1s\"")
        .cluster(Cluster::mysql("main", &[server.address()]));
    let front = Front::start_with_config(stage.setting(), &hosts.proxy, &config, &[])?;
    let cs_id = hosts.client.enter(|| -> Result<u32> {
        let mut connection = front.open(USER, PASSWORD)?;
        for _ in 0..10 {
            connection.run("SELECT 1")?;
        }
        // As long as the client is there, it is not taken for gone.
        ensure!(
            !connection.closed_within(Duration::from_secs(4))?,
            "closed though both are there"
        );
        let network = hosts.network()?;
        network
            .client()
            .ip(&["link", "set", CLIENT_INTERFACE, "down"])?;
        Ok(connection.greeting().thread_id)
    })??;
    let line = front.daemon()?.wait_for_line(
        "the vanished client's session is closed",
        Duration::from_mins(1),
        |line| line.message() == "session closed" && line.field("cs_id") == Some(cs_id.to_string()),
    )?;
    assert_eq!(line.field("side").as_deref(), Some("client"), "{line:?}");
    Ok(())
}
