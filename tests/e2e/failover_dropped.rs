//! A node whose host is gone from the network: what is sent to it is lost, and nobody says so. What becomes of the sessions that it had.

use crate::{
    case::Case,
    failover::{SLEEP, is_unknown},
    nodes::{known, port, watchful},
};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    cluster::Cluster,
    config,
    network::{NODE_INTERFACE, Network},
    path::Path,
    server::{PASSWORD, USER, USER_MONITOR, USER_ROOT},
    stage::{Front, Setting, Stage},
    topology::{Hosts, Topology},
    wait,
    wire::{Connection, command},
};
use std::{net::SocketAddr, time::Duration};

pub(crate) const CASES: &[Case] = &[Case::new("packets_are_dropped", dropped)
    .daemon()
    .root()
    .except(
        is_beside_the_node,
        "the node beside the proxy, it is about the link between them",
    )];

const DEADLINE: Duration = Duration::from_secs(20);
/// Where the primary is, on the node's host.
const PRIMARY: &str = "10.78.2.3";

/// Relayed sessions have a network of the test's own.
fn is_beside_the_node(setting: Setting) -> bool {
    match setting.topology {
        Topology::Local => setting.path != Path::Relayed,
        Topology::NodeSide => true,
        Topology::Sidecar | Topology::Gateway => false,
    }
}

/// A primary, by an address of its own, and two replicas on one host.
struct Site {
    cluster: Cluster,
    front: Front,
    hosts: Hosts,
}

impl Site {
    fn new(stage: &Stage) -> Result<Self> {
        let topology = match stage.setting().topology {
            Topology::Local => Topology::Gateway,
            remote => remote,
        };
        let hosts = Hosts::private(topology, Network::new()?);
        let address = format!("{PRIMARY}/24");
        hosts
            .network()?
            .node()
            .ip(&["address", "add", &address, "dev", NODE_INTERFACE])?;
        let cluster = Cluster::start(&hosts.node, 2)?;
        let primary = SocketAddr::new(PRIMARY.parse()?, cluster.address(0)?.port());
        let nodes = [primary, cluster.address(1)?, cluster.address(2)?];
        let configured = config::Cluster::mysql("east", &nodes).monitor(USER_MONITOR, PASSWORD);
        let config = watchful(configured);
        let front = Front::start_with_config(stage.setting(), &hosts.proxy, &config, &[])?;
        hosts.node.enter(|| {
            let mut setup = cluster.open(0)?;
            setup.run("CREATE DATABASE IF NOT EXISTS test")?;
            setup.run("CREATE TABLE test.t (a INT)")?;
            setup.run("INSERT INTO test.t VALUES (7)")?;
            cluster.catch_up(1, 0)
        })??;
        hosts
            .client
            .enter(|| known(&front, "primary;replica;replica"))??;
        Ok(Self {
            cluster,
            front,
            hosts,
        })
    }

    /// A session at the primary of whose last commands the kernel has moved some, where it moves any.
    fn client(&self) -> Result<Connection> {
        let mut client = self.front.open(USER, PASSWORD)?;
        client.run("SET sort_buffer_size = 65536")?;
        for _ in 0..20 {
            client.run("SELECT 1")?;
        }
        Ok(client)
    }

    /// All that is sent to the primary is lost from now on.
    fn drop_packets(&self) -> Result<()> {
        let node = self.hosts.network()?.node();
        // Looked at before the host's own addresses are.
        for rule in [
            &["rule", "add", "pref", "1", "lookup", "local"][..],
            &["rule", "del", "pref", "0"],
            &["rule", "add", "pref", "0", "to", PRIMARY, "blackhole"],
        ] {
            node.ip(rule)?;
        }
        Ok(())
    }

    /// The session is at the replica, with its state.
    fn has_moved(&self, client: &mut Connection) -> Result<()> {
        assert_eq!(port(client)?, self.cluster.address(1)?.port());
        let size = client.run("SELECT @@sort_buffer_size")?.text()?;
        assert_eq!(size, "65536");
        Ok(())
    }

    /// Waits until the first node executes a statement.
    fn executes(&self, sql: &str) -> Result<()> {
        self.hosts
            .node
            .enter(|| executes_at(&mut self.cluster.open(0)?, sql))?
    }
}

/// Waits until this connection's node executes a statement.
pub(crate) fn executes_at(direct: &mut Connection, sql: &str) -> Result<()> {
    let running =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE info = '{sql}'");
    wait::until_true("the command is under way", DEADLINE, || {
        Ok(direct.run(&running)?.text()? == "1")
    })
}

fn dropped(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    site.hosts.client.enter(|| befallen(stage, &site))?
}

fn befallen(stage: &Stage, site: &Site) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(site.client()?);
    }
    let [idle, told, waits, speaks] = clients.as_mut_slice() else {
        bail!("not four");
    };
    told.run("BEGIN")?;
    told.run("INSERT INTO test.t VALUES (8)")?;
    waits.send_command(&command::query(SLEEP.as_bytes()))?;
    site.executes(SLEEP)?;
    site.drop_packets()?;
    // One that speaks before the node has been found out.
    speaks.send_command(&command::query(b"INSERT INTO test.t VALUES (9)"))?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    wait::until_true("the node is listed", DEADLINE, || {
        Ok(operator.run("SHOW PROXYCONGESTION")?.texts()?.len() == 1)
    })?;
    site.hosts.node.enter(|| site.cluster.promote(1))??;
    site.has_moved(idle)?;
    let outcome = told.query("COMMIT")?.outcome;
    ensure!(outcome.code() == 1213, "{outcome}");
    site.has_moved(told)?;
    is_unknown(&waits.read_response(&[])?.outcome)?;
    site.has_moved(waits)?;
    speaks.expect_answer(1);
    match speaks.read_response(&[]) {
        Ok(answer) => is_unknown(&answer.outcome)?,
        // The node has not acknowledged it, and nobody else has it to send it again.
        Err(error) => {
            ensure!(stage.path() == Path::Wire, "{error:#}");
            let id = speaks.greeting().thread_id;
            let line = site.front.daemon()?.closing_line(id)?;
            let side = line.field("side").context("no side")?;
            assert_eq!(side, "node", "{line:?}");
        }
    }
    Ok(())
}
