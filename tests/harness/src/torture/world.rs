//! A topology with a node and a daemon of its own, both of which can be ended and started again at the same addresses.

use super::tally::{self, Tally};
use crate::{
    cluster::Cluster,
    config::{self, Config},
    faults::Faults,
    memory,
    network::{Link, Network},
    rights::Rights,
    server::{self, PASSWORD, Server, USER, USER_MONITOR, USER_ROOT},
    sluice::Sluice,
    topology::{Hosts, Topology},
    wire::{Connection, Login},
};
use anyhow::{Context as _, Result, bail, ensure};
use socket2::{SockRef, TcpKeepalive};
use std::{
    fmt::Write as _,
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::Duration,
};

/// Which way the daemon may have sessions take (`--path`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Its best for the topology.
    Auto,
    /// From socket to socket of this host.
    Local,
    /// Below the sockets.
    Wire,
    /// Through the daemon.
    Relay,
}

impl Way {
    /// As `--path` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Local => "local",
            Self::Wire => "wire",
            Self::Relay => "relay",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Local, Self::Wire, Self::Relay];

    /// Whether sessions of this topology are spliced.
    pub fn splices_in(self, topology: Topology) -> bool {
        match self {
            Self::Auto => true,
            Self::Local => topology == Topology::Local,
            Self::Wire => topology != Topology::Local,
            Self::Relay => false,
        }
    }

    /// `splice` that goes with it.
    pub(super) fn splice(self) -> &'static str {
        match self {
            Self::Relay => "auto",
            _ => "require",
        }
    }
}

/// What the daemon tells in `SHOW PROXYSTAT` that does not add up.
const NOT_COUNTERS: [&str; 4] = ["current_", "latency_", "max_", "uptime_"];

/// The daemon does nothing for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who a client is whose reads go to the replica.
pub const USER_SPLIT: &str = "modest@sys#split";

/// How many replicas there are. The troubles are the first one's.
pub const REPLICAS: usize = 2;

/// A node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// That all writes go to, and the reads of most clients.
    Primary,
    /// That answers reads of [`USER_SPLIT`].
    Replica,
}

/// Which node answers a read.
///
/// # Errors
///
/// When it is none.
pub fn role(connection: &mut Connection) -> Result<Role> {
    let sql = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID'";
    match connection.run(sql)?.text()?.as_str() {
        "1" => Ok(Role::Primary),
        "2" | "3" => Ok(Role::Replica),
        other => bail!("node {other} answers"),
    }
}

/// Which node answers in a transaction, and takes writes.
///
/// # Errors
///
/// As [`role`].
pub fn role_of_writer(connection: &mut Connection) -> Result<Role> {
    connection.run("BEGIN")?;
    let role = role(connection)?;
    connection.run("COMMIT")?;
    Ok(role)
}

/// The nodes, a primary and its replicas, and the daemon, which knows the primary as a cluster and all as another one.
#[derive(Debug)]
pub struct World {
    topology: Topology,
    hosts: Hosts,
    nodes: Cluster,
    daemon: RwLock<Arc<Sluice>>,
    address: SocketAddr,
    is_lossy: bool,
}

/// How long a client of a lossy link waits in silence before it asks whether anybody is there, and between two such questions.
const SILENCE: Duration = Duration::from_secs(10);
const SILENCE_AGAIN: Duration = Duration::from_secs(2);

impl World {
    /// Starts all. Of a thousand segments between hosts, `faults` are lost, as many doubled and swapped.
    ///
    /// # Errors
    ///
    /// When something does not start.
    pub fn start(topology: Topology, way: Way, faults: usize, seed: u64) -> Result<Self> {
        let hosts = match topology {
            Topology::Local => Hosts::local(),
            remote if faults == 0 => Hosts::private(remote, Network::new()?),
            remote => Hosts::private(
                remote,
                Network::with_faults(&[Link::Client, Link::Node], Faults::each(faults), seed)?,
            ),
        };
        // Committed is written: the node is killed, but not its host.
        let mut options = vec![
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-log-file-size=64M",
        ];
        if faults > 0 {
            // As `World::make_curious`, for connections of a daemon that was killed.
            options.extend(["--tcp-keepalive-time=10", "--tcp-keepalive-interval=2"]);
            // Of a login over such links each packet may be lost several times.
            options.push("--connect-timeout=60");
        }
        let nodes = Cluster::start_with(&hosts.node, REPLICAS, &options)?;
        let one = config::Cluster::mysql("torture", &[nodes.address(0)?]);
        let all = nodes
            .configured("split")
            .line("policy = \"read-write-split\"")
            .line("wait_for_my_writes = \"1s\"");
        // A node that answers late, as the machine is busy, is none that hangs: sessions must not go to the replica with their writes.
        let config = Config::new().line("health.timeout = \"20s\"");
        let config = match faults {
            0 => config,
            // And for those of clients whose RST is lost.
            _ => config.line("keepalive_idle = \"10s\""),
        };
        let config = config
            .cluster(one.monitor(USER_MONITOR, PASSWORD))
            .cluster(all);
        let path = ["--splice", way.splice(), "--path", way.name()];
        let namespaces: &[&str] = match topology {
            Topology::Local => &[],
            _ => &["--namespaces", "own"],
        };
        // A handshake of which several segments are lost takes longer than a daemon waits as a rule.
        let patient: &[&str] = match faults {
            0 => &[],
            _ => &["--connect-timeout", "1m", "--login-timeout", "1m"],
        };
        let flags = [namespaces, patient].concat();
        let daemon =
            Sluice::start_with_config(&hosts.proxy, Rights::of_this_run(), &config, &path, &flags)?;
        let world = Self {
            topology,
            address: daemon.address(),
            daemon: RwLock::new(Arc::new(daemon)),
            hosts,
            nodes,
            is_lossy: faults > 0,
        };
        world.hosts.client.enter(|| world.prepare())??;
        Ok(world)
    }

    fn prepare(&self) -> Result<()> {
        let mut direct = self.direct(0)?;
        direct.run("CREATE DATABASE torture")?;
        self.catch_up()?;
        let login = Login::new(USER_SPLIT, PASSWORD);
        let mut connection = Connection::greet_on(self.connect()?)?;
        connection.log_in(&login)?.ok()?;
        crate::wait::until_true("the replica answers reads", PATIENCE, || {
            Ok(role(&mut connection)? == Role::Replica)
        })
    }

    /// Waits until the replicas have all that the primary has.
    ///
    /// # Errors
    ///
    /// When one of them does not answer, or a replica stands still.
    pub fn catch_up(&self) -> Result<()> {
        let position = self.direct(0)?.run("SELECT @@gtid_binlog_pos")?.text()?;
        let seconds = PATIENCE.as_secs();
        let sql = format!("SELECT MASTER_GTID_WAIT('{position}', {seconds})");
        for number in 1..=REPLICAS {
            let mut replica = self.direct_to(self.nodes.server(number)?, 0)?;
            let waited = replica.run(&sql)?.text()?;
            ensure!(waited == "0", "replica {number} does not get to {position}");
        }
        Ok(())
    }

    /// Has the first replica take nothing from the primary meanwhile.
    ///
    /// # Errors
    ///
    /// What `meanwhile` returns; when the replica does not answer.
    pub fn stand(&self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut replica = self.direct_to(self.reader()?, 0)?;
        replica.run("STOP SLAVE SQL_THREAD")?;
        let done = meanwhile();
        replica.run("START SLAVE SQL_THREAD")?;
        done
    }

    /// Checks that the replicas have all that the primary has, and have been written to by nobody else.
    ///
    /// # Errors
    ///
    /// When one has been, or does not follow.
    pub fn replicas_have_only_followed(&self) -> Result<()> {
        self.catch_up()?;
        for number in 1..=REPLICAS {
            let mut replica = self.direct_to(self.nodes.server(number)?, 0)?;
            // The last that each server has written (domain, server, number): what it has of the primary's is in its own log, too.
            let written = replica.run("SELECT @@gtid_binlog_state")?.text()?;
            let mut servers = written.split(',').map(|id| id.split('-').nth(1));
            ensure!(
                servers.all(|server| server == Some("1")),
                "replica {number} was written to: {written}"
            );
        }
        Ok(())
    }

    /// Who is where.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The hosts.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The primary.
    ///
    /// # Errors
    ///
    /// Never: there is one.
    pub fn node(&self) -> Result<&Server> {
        self.nodes.server(0)
    }

    /// Where the replica of this number, from 1 on, listens.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn replica(&self, number: usize) -> Result<SocketAddr> {
        self.nodes.address(number)
    }

    /// The first replica.
    ///
    /// # Errors
    ///
    /// As [`World::node`].
    pub fn reader(&self) -> Result<&Server> {
        self.nodes.server(1)
    }

    /// The daemon of the moment.
    pub fn daemon(&self) -> Arc<Sluice> {
        Arc::clone(&self.daemon.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts the daemon again that has ended.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_daemon_again(&self) -> Result<()> {
        let next = Arc::new(self.daemon().start_again()?);
        *self.daemon.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Has the daemon read its configuration again.
    ///
    /// # Errors
    ///
    /// When it does not say that it has.
    pub fn reload(&self) -> Result<()> {
        let daemon = self.daemon();
        let read = || {
            daemon
                .log_text()
                .matches("configuration read again")
                .count()
        };
        let before = read();
        daemon.signal(libc::SIGHUP)?;
        crate::wait::until_true("the configuration is read again", PATIENCE, || {
            Ok(read() > before)
        })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection to the primary itself, with these further capabilities.
    ///
    /// # Errors
    ///
    /// When the login fails.
    pub fn direct(&self, capabilities: u32) -> Result<Connection> {
        self.direct_to(self.node()?, capabilities)
    }

    fn direct_to(&self, node: &Server, capabilities: u32) -> Result<Connection> {
        let login = Login::new(USER, PASSWORD).with(capabilities);
        let open = || -> Result<Connection> {
            let mut connection = Connection::greet_on(self.connect_to(node.address())?)?;
            connection.log_in(&login)?.ok()?;
            Ok(connection)
        };
        open().context("a direct connection")
    }

    /// A connection to the proxy that nothing has been said on.
    ///
    /// # Errors
    ///
    /// When there is nobody.
    pub fn connect(&self) -> Result<TcpStream> {
        self.connect_to(self.address)
    }

    fn connect_to(&self, address: SocketAddr) -> Result<TcpStream> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        self.make_curious(&stream)?;
        Ok(stream)
    }

    /// Has a client's socket find out by itself that nobody is there any more, where the word of it can be lost: RST is sent once, and a server that
    /// dies before the client's first ACK has reached it sends none. (Seen: 4 in a minute of one daemon killed after another and 1 % lost.) Where
    /// nothing is lost silence is a fault.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn make_curious(&self, stream: &TcpStream) -> Result<()> {
        if self.is_lossy {
            let often = TcpKeepalive::new()
                .with_time(SILENCE)
                .with_interval(SILENCE_AGAIN);
            SockRef::from(stream).set_tcp_keepalive(&often)?;
        }
        Ok(())
    }

    /// A connection of the operator, who must not wait for long.
    ///
    /// # Errors
    ///
    /// When the login fails.
    pub fn operator(&self) -> Result<Connection> {
        let mut connection = Connection::greet(self.address)?;
        connection.set_patience(crate::wait::in_time(PATIENCE))?;
        connection.log_in(&Login::new(USER_ROOT, ""))?.ok()?;
        Ok(connection)
    }

    /// Adds to the tally what the daemon of the moment tells of itself.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn take_stock(&self, tally: &Tally) -> Result<()> {
        self.note_memory(tally)?;
        let rows = self.operator()?.run("SHOW PROXYSTAT")?.texts()?;
        let mut counters = Vec::new();
        for row in rows {
            if let [Some(name), Some(value), ..] = row.as_slice()
                && !NOT_COUNTERS.iter().any(|start| name.starts_with(start))
            {
                counters.push((name.clone(), value.parse()?));
            }
        }
        tally.daemon(counters);
        Ok(())
    }

    /// Has the tally know how much memory the daemon has held.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn note_memory(&self, tally: &Tally) -> Result<()> {
        let daemon = self.daemon();
        let pid = daemon.pid();
        // Another process may have the number of one that is gone.
        ensure!(daemon.ended()?.is_none(), "the daemon has ended");
        let peak = memory::resident_bytes_peak(pid)?;
        tally.resident_peak.fetch_max(peak, Ordering::Relaxed);
        tally.held(pid, memory::resident_bytes(pid)?);
        Ok(())
    }

    /// How much memory the daemon holds now, in bytes.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn resident(&self) -> Result<u64> {
        memory::resident_bytes(self.daemon().pid())
    }

    /// Waits until neither daemon nor nodes have a session left of those that were tortured.
    ///
    /// # Errors
    ///
    /// When one is left.
    pub fn nothing_is_left(&self) -> Result<()> {
        let sql = "SELECT id, host, command, time, state, LEFT(info, 80) FROM information_schema.processlist \
            WHERE user IN ('app', 'modest') AND id <> CONNECTION_ID() AND command <> 'Binlog Dump'";
        let mut operator = self.operator()?;
        let nodes = 0..=REPLICAS;
        let nodes = nodes.map(|number| self.direct_to(self.nodes.server(number)?, 0));
        let mut nodes = nodes.collect::<Result<Vec<_>>>()?;
        let mut left = String::new();
        crate::wait::until_true("no session is left", Duration::from_secs(40), || {
            let ours = operator.run("SHOW PROXYSESSION")?.texts()?;
            let mut theirs = Vec::new();
            for node in &mut nodes {
                theirs.extend(node.run(sql)?.texts()?);
            }
            left = format!("at the proxy {ours:?}, at the nodes {theirs:?}");
            Ok(ours.len() <= 1 && theirs.is_empty())
        })
        .with_context(|| left)
    }

    /// Checks that what was asked for has happened on the links.
    ///
    /// # Errors
    ///
    /// When a link that is used has lost, doubled or swapped nothing.
    pub fn faults_have_happened(&self) -> Result<()> {
        let happened = self.hosts.network()?.happened();
        let used = match self.topology {
            Topology::Gateway => [true, true],
            _ => [false, true],
        };
        for (link, is_used) in happened.iter().zip(used) {
            let is_disturbed = link.lost > 0 && link.doubled > 0 && link.swapped > 0;
            ensure!(is_disturbed || !is_used, "{happened:?}");
        }
        Ok(())
    }

    /// Ends the daemon.
    ///
    /// # Errors
    ///
    /// When it does not end cleanly, or its log has an error in it.
    pub fn end(&self) -> Result<()> {
        let daemon = self.daemon();
        let code = daemon.stop()?;
        ensure!(
            code == 0,
            "the daemon ended with {code}: {}",
            daemon.log_text()
        );
        let errors: Vec<_> = daemon
            .lines()
            .into_iter()
            .filter(|line| line.level() == "ERROR")
            .collect();
        ensure!(errors.is_empty(), "the daemon's log: {errors:?}");
        Ok(())
    }

    /// All that can be known of a session that is stuck or read something wrong.
    pub fn dump(&self, cs_id: u32, port: u16) -> String {
        let mut text = String::new();
        let rows = self.operator().and_then(|mut operator| {
            let sql = format!("SHOW PROXYSESSION ATTRIBUTE {cs_id}");
            operator.run(&sql)?.texts()
        });
        match rows {
            Ok(rows) => {
                for row in rows {
                    let cells: Vec<_> = row.iter().take(2).flatten().map(String::as_str).collect();
                    write_line(&mut text, &cells.join(" = "));
                }
            }
            Err(error) => write_line(&mut text, &format!("ATTRIBUTE: {error:#}")),
        }
        let nodes = (0..=REPLICAS).map(|at| self.nodes.address(at));
        let addresses = nodes.flatten().chain([self.address]);
        let ports: Vec<_> = addresses
            .map(|address| address.port())
            .map(|port| format!("sport = :{port} or dport = :{port}"))
            .collect();
        let filter = format!("( {} )", ports.join(" or "));
        for (name, host) in [
            ("client", &self.hosts.client),
            ("proxy", &self.hosts.proxy),
            ("node", &self.hosts.node),
        ] {
            let list = || server::run(Command::new("ss").args(["-tinemOH", &filter]));
            let sockets = host.enter(list).and_then(|list| list);
            write_line(&mut text, &format!("sockets of the {name}'s host:"));
            let sockets = sockets.unwrap_or_else(|error| format!("{error:#}"));
            for line in sockets.lines().filter(|line| is_of_interest(line, port)) {
                let words: Vec<_> = line.split_whitespace().collect();
                write_line(&mut text, &words.join(" "));
            }
        }
        let log = self.daemon().log_text();
        let lines: Vec<_> = log.lines().collect();
        let (before, last) = lines.split_at(lines.len().saturating_sub(15));
        let own = format!("\"cs_id\":{cs_id},");
        let own = before.iter().filter(|line| line.contains(&own));
        for line in own.chain(last) {
            write_line(&mut text, line);
        }
        text
    }
}

/// Whether a line of `ss` is about this port, or about a socket that has something queued.
fn is_of_interest(line: &str, port: u16) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let has_queue = words.by_ref().take(2).any(|queue| queue != "0");
    let end = format!(":{port}");
    has_queue || words.take(2).any(|address| address.ends_with(&end))
}

fn write_line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "    {line}");
}

/// How many sessions and operations there were, in a line.
pub(super) fn progress(tally: &Tally) -> String {
    format!(
        "{} operations, {} sessions, {} lost to troubles, {} wrong, {} stuck, peak RSS {} MB",
        tally.operations(),
        tally::read(&tally.sessions),
        tally::read(&tally.lost),
        tally::read(&tally.wrong),
        tally::read(&tally.stuck),
        tally::read(&tally.resident_peak) / 1_000_000
    )
}
