//! Hosts that go without a word while something that was sent to them is on its way: the daemon gives their connections up long before the kernel
//! would, and those of peers that only do not read not at all.

use crate::case::Case;
use anyhow::{Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    mariadb,
    network::{CLIENT_INTERFACE, NODE_INTERFACE, Network},
    path::Path,
    server::{PASSWORD, Server, USER},
    stage::{Front, Setting, Stage},
    topology::{Hosts, Topology},
    wait,
    wire::{Connection, Login, command},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("client_with_an_answer", client_with_an_answer)
        .daemon()
        .root()
        .except(is_not_between_hosts, BETWEEN_HOSTS),
    Case::new("node_with_a_command", node_with_a_command)
        .daemon()
        .root()
        .except(is_not_between_hosts, BETWEEN_HOSTS),
    Case::new("who_does_not_read_lives", who_does_not_read_lives)
        .daemon()
        .root()
        .except(is_not_between_hosts, BETWEEN_HOSTS),
];

const BETWEEN_HOSTS: &str = "all three on hosts of their own, it is about the links between them";

/// Relayed sessions have a network of the test's own.
fn is_not_between_hosts(setting: Setting) -> bool {
    setting.topology != Topology::Gateway && setting.path != Path::Relayed
}

/// With a second of `keepalive_idle` a peer counts as gone after four; the daemon looks every two thirds of a second.
const GONE: Duration = Duration::from_secs(4);
/// The kernel itself would take a quarter of an hour.
const DEADLINE: Duration = Duration::from_mins(1);

/// What the daemon's log says of it.
const GIVEN_UP: &str = "its connection is given up";

/// Three hosts and what is on them.
struct Site {
    hosts: Hosts,
    server: Server,
    front: Front,
}

impl Site {
    fn new(stage: &Stage) -> Result<Self> {
        let hosts = Hosts::private(Topology::Gateway, Network::new()?);
        let server = mariadb::start(&[], &hosts.node)?;
        let config = Config::new()
            .line("keepalive_idle = \"1s\"")
            .cluster(Cluster::mysql("main", &[server.address()]));
        let front = Front::start_with_config(stage.setting(), &hosts.proxy, &config, &[])?;
        Ok(Self {
            hosts,
            server,
            front,
        })
    }

    /// A client's session that has been used.
    fn open(&self) -> Result<Connection> {
        self.hosts.client.enter(|| {
            let mut connection = self.front.open(USER, PASSWORD)?;
            for _ in 0..3 {
                connection.run("SELECT 1")?;
            }
            Ok(connection)
        })?
    }

    /// Waits until the daemon has ended this session, for the peer of this side.
    fn ends(&self, cs_id: u32, side: &str) -> Result<()> {
        let is_own = |field: Option<String>| field == Some(cs_id.to_string());
        let daemon = self.front.daemon()?;
        let line = daemon.wait_for_line("the session is closed", DEADLINE, |line| {
            line.message() == "session closed" && is_own(line.field("cs_id"))
        })?;
        assert_eq!(line.field("side").as_deref(), Some(side), "{line:?}");
        let given_up = daemon.lines().into_iter().any(|line| {
            line.message().contains(GIVEN_UP) && line.field("side").as_deref() == Some(side)
        });
        ensure!(given_up, "{}", daemon.log_text());
        Ok(())
    }
}

/// Its transaction's locks are free then, too.
fn client_with_an_answer(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.open()?;
    client.run("BEGIN")?;
    client.run("SELECT GET_LOCK('held', 0)")?;
    // Any path has the daemon see it.
    client.send_command(&command::query(b"SET @v = SLEEP(0.5)"))?;
    site.hosts
        .network()?
        .client()
        .ip(&["link", "set", CLIENT_INTERFACE, "down"])?;
    site.ends(client.greeting().thread_id, "client")?;
    site.hosts.node.enter(|| {
        let login = Login::new(USER, PASSWORD);
        let mut direct = Connection::open(site.server.address(), &login)?;
        wait::until_true("the lock is free", DEADLINE, || {
            Ok(direct.run("SELECT IS_FREE_LOCK('held')")?.text()? == "1")
        })
    })?
}

/// No account looks after the node, so nobody else finds out.
fn node_with_a_command(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.open()?;
    let network = site.hosts.network()?;
    network
        .node()
        .ip(&["link", "set", NODE_INTERFACE, "down"])?;
    client.send_command(&command::query(b"SET @v = 1"))?;
    site.ends(client.greeting().thread_id, "node")
}

fn who_does_not_read_lives(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.open()?;
    let bytes = 8_000_000;
    let value = format!("REPEAT('r', {bytes})");
    let sql = format!("SET STATEMENT max_statement_time = 0 FOR SELECT {value}, {value}, {value}");
    client.send_command(&command::query(sql.as_bytes()))?;
    let daemon = site.front.daemon()?;
    wait::throughout(3 * GONE, || {
        ensure!(!daemon.log_text().contains(GIVEN_UP), "taken for gone");
        Ok(())
    })?;
    let rows = client.read_response(&[])?.table()?;
    let cells: Vec<_> = rows.iter().flatten().flatten().collect();
    ensure!(cells.len() == 3 && cells.iter().all(|cell| **cell == vec![b'r'; bytes]));
    client.run("SELECT 1")?;
    Ok(())
}
