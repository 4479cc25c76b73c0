//! The matrix: every test of the common list runs in each setting in front of each server that it is meant for.

use crate::{
    client::Client,
    config::Config,
    host::Host,
    mariadb, mysql,
    network::{Family, Network},
    path::Path,
    place,
    rights::Rights,
    seekdb,
    server::{Kind, PASSWORD, Server, USER},
    sluice::Sluice,
    topology::{Hosts, Topology},
    wait,
    wire::{Connection, Login},
};
use anyhow::{Context as _, Result, ensure};
use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A column of the matrix: who is where, and how bytes get from one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Setting {
    /// Who is where.
    pub topology: Topology,
    /// How bytes get from client to server.
    pub path: Path,
    /// What the daemon may do.
    pub rights: Rights,
}

impl Setting {
    /// The settings of this run.
    pub fn of_this_run() -> Vec<Self> {
        let (local, remote): (&[Path], _) = if Path::is_direct_run() {
            (&[Path::Direct], Path::Direct)
        } else {
            (&[Path::Spliced, Path::Relayed], Path::remote())
        };
        let setting = |topology| {
            move |path| Self {
                topology,
                path,
                rights: Rights::of_this_run(),
            }
        };
        let local = local.iter().copied().map(setting(Topology::Local));
        let remote = Topology::REMOTE.map(|topology| setting(topology)(remote));
        local.chain(remote).collect()
    }

    /// The same, with a daemon that has the rights of its unit only.
    #[must_use]
    pub fn with_rights_of_unit(self) -> Self {
        Self {
            rights: Rights::Unit,
            ..self
        }
    }

    /// As the first part of a test's name: the path where there are several, else the topology.
    pub fn name(self) -> String {
        let name = match (self.topology, self.path) {
            (Topology::Local, path) => path.name().to_owned(),
            (topology, Path::Direct) => format!("direct_{}", topology.name()),
            (topology, _) => topology.name().to_owned(),
        };
        match self.rights {
            Rights::Tests => name,
            Rights::Unit => format!("unprivileged_{name}"),
            Rights::NoRing => format!("no_ring_{name}"),
        }
    }

    /// Whether tests with this make of server are part of it. What differs between makes does not depend on where they are: with a remote
    /// end, one topology is enough for all but the first.
    pub fn is_for(self, kind: Kind) -> bool {
        match self.topology {
            _ if self.rights != Rights::of_this_run() => kind == Kind::MariaDb,
            Topology::Local | Topology::Gateway => true,
            Topology::Sidecar | Topology::NodeSide => kind == Kind::MariaDb,
        }
    }

    /// The daemon's flags for it; `None` without a daemon.
    fn flags(self) -> Option<&'static [&'static str]> {
        match (self.path, self.topology) {
            (Path::Spliced, _) => Some(&["--splice", "require"]),
            // `auto` has to find the wire by itself: to the daemon other hosts are what is not in its own namespace.
            (Path::Wire, _) => Some(&["--splice", "require", "--namespaces", "own"]),
            (Path::Relayed, topology) if topology.is_remote() => {
                Some(&["--splice", "auto", "--path", "relay"])
            }
            (Path::Relayed, _) => Some(&["--splice", "off"]),
            (Path::Direct, _) => None,
        }
    }
}

/// What a client connects to: a daemon of the test's own or, on [`Path::Direct`], the server.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    daemon: Option<Sluice>,
}

impl Front {
    /// Starts it on `host`.
    ///
    /// # Errors
    ///
    /// When the daemon does not start.
    pub fn start(setting: Setting, host: &Host, node: SocketAddr, flags: &[&str]) -> Result<Self> {
        let path = setting.flags();
        let start = |path| Sluice::start(host, setting.rights, node, path, flags);
        Ok(Self::new(path.map(start).transpose()?, node))
    }

    /// Starts it with a configuration file. On [`Path::Direct`] clients get to the first node.
    ///
    /// # Errors
    ///
    /// When the daemon does not start, or the configuration has no node.
    pub fn start_with_config(
        setting: Setting,
        host: &Host,
        config: &Config,
        flags: &[&str],
    ) -> Result<Self> {
        let path = setting.flags();
        let start = |path| Sluice::start_with_config(host, setting.rights, config, path, flags);
        Ok(Self::new(
            path.map(start).transpose()?,
            config.first_node()?,
        ))
    }

    /// Starts it with this configuration file, which names the nodes.
    ///
    /// # Errors
    ///
    /// When the daemon does not start; on [`Path::Direct`].
    pub fn of_file(setting: Setting, host: &Host, file: &str, flags: &[&str]) -> Result<Self> {
        let path = setting.flags().context("this test needs the daemon")?;
        let daemon = Sluice::start_with_file(host, setting.rights, file, path, flags)?;
        Ok(Self {
            address: daemon.address(),
            daemon: Some(daemon),
        })
    }

    fn new(daemon: Option<Sluice>, node: SocketAddr) -> Self {
        Self {
            address: daemon.as_ref().map_or(node, Sluice::address),
            daemon,
        }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection of this user (`user@tenant#cluster` too).
    ///
    /// # Errors
    ///
    /// When the login fails.
    pub fn open(&self, user: &str, password: &str) -> Result<Connection> {
        Connection::open(self.address, &Login::new(user, password))
    }

    /// The stock command-line client of this user.
    pub fn client(&self, user: &str, password: &str) -> Client {
        Client::new(self.address, user, password)
    }

    /// The daemon.
    ///
    /// # Errors
    ///
    /// On [`Path::Direct`], for tests that should have been left out there.
    pub fn daemon(&self) -> Result<&Sluice> {
        self.daemon.as_ref().context("this test needs the daemon")
    }
}

/// Where a test plays: a server, shared by all tests of this process, and a daemon in front of it.
///
/// The test itself runs on the client's host ([`Stage::play`]): what it connects, starts or binds is there, unless it asks for another.
#[derive(Debug)]
pub struct Stage {
    setting: Setting,
    hosts: Hosts,
    server: Arc<Server>,
    front: Front,
}

#[derive(Default)]
struct Shared {
    network: Option<Arc<Network>>,
    /// By make, and whether it is on a host of its own.
    servers: HashMap<(Kind, bool), Arc<Server>>,
    stages: HashMap<(Setting, Kind), Arc<Stage>>,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

/// Why tests with this server cannot run on this machine, if they cannot.
pub fn missing(kind: Kind) -> Option<&'static str> {
    match kind {
        // Must be there: its absence is a failure, not a reason to leave out.
        Kind::MariaDb => None,
        Kind::MySql => mysql::root()
            .is_none()
            .then_some("MySQL 9.7 not available (SLUICE_TEST_MYSQL_ROOT)"),
        Kind::SeekDb => seekdb::binary()
            .is_none()
            .then_some("seekdb not available (SLUICE_TEST_SEEKDB)"),
    }
}

impl Shared {
    fn hosts(&mut self, topology: Topology) -> Result<Hosts> {
        if !topology.is_remote() {
            return Ok(Hosts::local());
        }
        if self.network.is_none() {
            self.network = Some(Arc::new(Network::new()?));
        }
        let network = self.network.as_ref().context("no network")?;
        Ok(Hosts::of(topology, network, Family::V4))
    }

    fn server(&mut self, kind: Kind, host: &Host) -> Result<Arc<Server>> {
        let key = (kind, host.netns().is_some());
        if let Some(server) = self.servers.get(&key) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(match kind {
            Kind::MariaDb => mariadb::start(&[], host)?,
            Kind::MySql => mysql::start(host)?,
            Kind::SeekDb => seekdb::start(host)?,
        });
        self.servers.insert(key, Arc::clone(&server));
        Ok(server)
    }
}

impl Stage {
    /// The stage for a setting and a server, made at its first use.
    ///
    /// # Errors
    ///
    /// When network, server or daemon do not start.
    pub fn get(setting: Setting, kind: Kind) -> Result<Arc<Self>> {
        // Held while they start: who comes second wants the same and has to wait anyway.
        let mut guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = guard.get_or_insert_default();
        if let Some(stage) = shared.stages.get(&(setting, kind)) {
            return Ok(Arc::clone(stage));
        }
        let hosts = shared.hosts(setting.topology)?;
        let server = shared.server(kind, &hosts.node)?;
        let stage = Arc::new(Self::new(setting, hosts, server, &[])?);
        shared.stages.insert((setting, kind), Arc::clone(&stage));
        Ok(stage)
    }

    /// A stage of the test's own: in a network of its own, say, or in front of a server with other options; `flags` are the daemon's. It goes when
    /// it is dropped.
    ///
    /// # Errors
    ///
    /// When the daemon does not start.
    pub fn new(
        setting: Setting,
        hosts: Hosts,
        server: Arc<Server>,
        flags: &[&str],
    ) -> Result<Self> {
        let front = Front::start(setting, &hosts.proxy, server.address(), flags)?;
        Ok(Self {
            setting,
            hosts,
            server,
            front,
        })
    }

    /// Runs a test on the client's host.
    ///
    /// # Errors
    ///
    /// What the test returns; when it panics.
    pub fn play(&self, test: impl FnOnce(&Self) -> Result<()> + Send) -> Result<()> {
        self.hosts.client.enter(|| test(self))?
    }

    /// Who is where, and how bytes get from one to the other.
    pub fn setting(&self) -> Setting {
        self.setting
    }

    /// The hosts.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// A `MariaDB` server of the test's own on the node's host.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_server(&self, options: &[&str]) -> Result<Server> {
        mariadb::start(options, &self.hosts.node)
    }

    /// Runs `body` on the host from which the stage's sessions come to the node: the proxy's or, on [`Path::Direct`], the client's.
    ///
    /// # Errors
    ///
    /// As [`Host::enter`].
    pub fn where_node_sees_sessions_from<T: Send>(
        &self,
        body: impl FnOnce() -> T + Send,
    ) -> Result<T> {
        match self.path() {
            Path::Direct => Ok(body()),
            Path::Spliced | Path::Wire | Path::Relayed => self.hosts.proxy.enter(body),
        }
    }

    /// A listener on the node's host, to act a node.
    ///
    /// # Errors
    ///
    /// When it cannot be bound.
    pub fn listen_as_node(&self) -> Result<TcpListener> {
        self.hosts.node.listen()
    }

    /// An address on the node's host where nobody listens.
    ///
    /// # Errors
    ///
    /// When no socket can be bound.
    pub fn nowhere(&self) -> Result<SocketAddr> {
        self.hosts.node.free_address()
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Where the server itself listens.
    pub fn node(&self) -> SocketAddr {
        self.server.address()
    }

    /// How bytes get from client to server.
    pub fn path(&self) -> Path {
        self.setting.path
    }

    /// The server's make.
    pub fn kind(&self) -> Kind {
        self.server.kind()
    }

    /// The shared daemon.
    ///
    /// # Errors
    ///
    /// On [`Path::Direct`].
    pub fn daemon(&self) -> Result<&Sluice> {
        self.front.daemon()
    }

    /// A daemon of the test's own on the proxy's host, in front of any server.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn private(&self, node: SocketAddr, flags: &[&str]) -> Result<Front> {
        Front::start(self.setting, &self.hosts.proxy, node, flags)
    }

    /// The same with a configuration file.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn private_with_config(&self, config: &Config, flags: &[&str]) -> Result<Front> {
        Front::start_with_config(self.setting, &self.hosts.proxy, config, flags)
    }

    /// The same with a file of the test's own, which it may change.
    ///
    /// # Errors
    ///
    /// As [`Front::of_file`].
    pub fn private_of_file(&self, file: &str, flags: &[&str]) -> Result<Front> {
        Front::of_file(self.setting, &self.hosts.proxy, file, flags)
    }

    /// A connection through the daemon.
    ///
    /// # Errors
    ///
    /// When the login fails.
    pub fn open(&self) -> Result<Connection> {
        Connection::open(self.address(), &Login::new(USER, PASSWORD))
    }

    /// A connection to the server itself.
    ///
    /// # Errors
    ///
    /// When the login fails.
    pub fn open_direct(&self) -> Result<Connection> {
        Connection::open(self.node(), &Login::new(USER, PASSWORD))
    }

    /// Waits until the node no longer knows the connection of this id.
    ///
    /// # Errors
    ///
    /// When it still does after a quarter of a minute.
    pub fn gone_from_node(&self, id: &str) -> Result<()> {
        let mut direct = self.open_direct()?;
        let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id}");
        let gone = || Ok(direct.run(&sql)?.text()? == "0");
        wait::until_true(
            &format!("the node's connection {id} is gone"),
            Duration::from_secs(15),
            gone,
        )
    }

    /// Makes an empty database for one test and returns its name.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub fn database(&self) -> Result<String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("e2e_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.open_direct()?
            .run(&format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }
}

/// Ends all shared servers and daemons and removes their files.
///
/// # Errors
///
/// When a daemon does not end cleanly, or files remain.
pub fn tear_down() -> Result<()> {
    let shared = SHARED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .unwrap_or_default();
    for ((setting, kind), stage) in &shared.stages {
        if let Ok(daemon) = stage.daemon() {
            let code = daemon.stop()?;
            ensure!(
                code == 0,
                "the daemon of {}::{} ended with {code}: {}",
                setting.name(),
                kind.name(),
                daemon.log_text()
            );
        }
    }
    drop(shared);
    place::clear()
}
