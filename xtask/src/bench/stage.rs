//! Where runs take place: the hosts of one topology, a MariaDB on the node's, and all peers up at once.

use super::peer::{Kind, Named, Peer};
use anyhow::{Context as _, Result};
use sluice_tests::mariadb;
use sluice_tests::network::{Family, Network};
use sluice_tests::server::{PASSWORD, Server, USER};
use sluice_tests::topology::{Hosts, Topology};
use sluice_tests::wire::{Connection, Login};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Hosts and node.
pub(super) struct Place {
    pub(super) topology: Topology,
    pub(super) hosts: Hosts,
    pub(super) node: Server,
    /// The node's Unix socket, where the client is on its host.
    pub(super) socket: Option<PathBuf>,
}

impl Place {
    /// Makes the hosts and starts the node, with options of one's own.
    ///
    /// # Errors
    /// The kernel refuses, or MariaDB does not start.
    pub(super) fn new(topology: Topology, options: &[&str]) -> Result<Self> {
        let hosts = match topology {
            Topology::Local => Hosts::local(),
            _ => Hosts::of(topology, &Arc::new(Network::new()?), Family::V4),
        };
        // Its usual 80 is less than what waits where 64 clients do nothing but connect.
        let options = [&["--skip-name-resolve", "--back-log=1024"], options].concat();
        let node = mariadb::start(&options, &hosts.node)?;
        // The server is told to make it in its data folder, which is where it works. By this way there the name is short: it may have 107
        // bytes (unix(7)), and a checkout may lie deep.
        let socket = PathBuf::from(format!("/proc/{}/cwd/s", node.pid()));
        let place = Self {
            topology,
            hosts,
            node,
            socket: (topology == Topology::Local).then_some(socket),
        };
        place.on_client(|| {
            let login = Login::new(USER, PASSWORD);
            Connection::open(place.node.address(), &login)?.run("CREATE DATABASE sbtest")
        })??;
        Ok(place)
    }

    /// Runs `body` on the client's host.
    ///
    /// # Errors
    /// The host cannot be entered, or `body` panics there.
    pub(super) fn on_client<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        self.hosts.client.enter(body)
    }

    /// Starts the peers that are asked for, or the usual ones. What cannot be had here is said and left out, but not what was asked for by name.
    ///
    /// # Errors
    /// One that was asked for does not start.
    pub(super) fn peers(&self, wanted: &[Kind], named: &[Named]) -> Result<Vec<Peer>> {
        let mut kinds = if wanted.is_empty() {
            Kind::USUAL.to_vec()
        } else {
            wanted.to_vec()
        };
        kinds.retain(|kind| *kind != Kind::Direct && kind.is_in(self.topology));
        kinds.insert(0, Kind::Direct);
        let mut peers = Vec::new();
        for kind in kinds {
            match Peer::start(kind, self) {
                Ok(peer) => peers.push(peer),
                Err(error) if wanted.is_empty() => println!(
                    "{}: {} left out: {error:#}",
                    self.topology.name(),
                    kind.label()
                ),
                Err(error) => return Err(error).context(kind.label()),
            }
        }
        // Who is named stands in front of a node of the machine itself.
        if self.topology == Topology::Local {
            peers.extend(named.iter().map(Peer::named));
        }
        Ok(peers)
    }
}

/// The path that the daemon says that an ordinary session takes, and the reason.
///
/// # Errors
/// The session fails.
pub(super) fn path_taken(daemon: SocketAddr) -> Result<String> {
    let mut connection = Connection::open(daemon, &Login::new(USER, PASSWORD))?;
    for _ in 0..3 {
        connection.run("SELECT 1")?;
    }
    let path = connection.run("SHOW PROXYSESSION ATTRIBUTE LIKE 'path'")?;
    let reason = connection.run("SHOW PROXYSESSION ATTRIBUTE LIKE '%reason'")?;
    let rows = [path.table()?, reason.table()?].concat();
    // Columns: the attribute's name, its value, more about it.
    let values = rows.into_iter().filter_map(|row| row.into_iter().nth(1)?);
    let texts: Vec<String> = values
        .filter(|value| !value.is_empty())
        .map(|value| String::from_utf8_lossy(&value).into_owned())
        .collect();
    Ok(texts.join(", "))
}
