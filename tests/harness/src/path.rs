//! The matrix: every test of the common list runs on each path in front of each server that it is meant for.

use crate::{
    client::Client,
    config::Config,
    mariadb, mysql,
    netns::Netns,
    place, seekdb,
    server::{Kind, PASSWORD, Server, USER},
    sluice::Sluice,
    wait,
    wire::{Connection, Login},
};
use anyhow::{Context as _, Result, ensure};
use std::{
    collections::HashMap,
    env,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// How bytes get from client to server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// Through the kernel (`--splice require`).
    Spliced,
    /// Through the daemon (`--splice off`).
    Relayed,
    /// No proxy: to check the tests themselves (`SLUICE_TEST_DIRECT=1`).
    Direct,
}

impl Path {
    /// The paths of this run.
    pub fn of_this_run() -> &'static [Self] {
        if env::var_os("SLUICE_TEST_DIRECT").is_some_and(|value| value != "0") {
            &[Self::Direct]
        } else {
            &[Self::Spliced, Self::Relayed]
        }
    }

    /// As part of a test's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spliced => "spliced",
            Self::Relayed => "relayed",
            Self::Direct => "direct",
        }
    }

    fn flag(self) -> Option<&'static str> {
        match self {
            Self::Spliced => Some("require"),
            Self::Relayed => Some("off"),
            Self::Direct => None,
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
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When the daemon does not start.
    pub fn start(
        path: Path,
        node: SocketAddr,
        flags: &[&str],
        netns: Option<&Netns>,
    ) -> Result<Self> {
        let daemon = path
            .flag()
            .map(|splice| Sluice::start(node, splice, flags, netns))
            .transpose()?;
        Ok(Self {
            address: daemon.as_ref().map_or(node, Sluice::address),
            daemon,
        })
    }

    /// Starts it with a configuration file. On [`Path::Direct`] clients get to the first node.
    ///
    /// # Errors
    ///
    /// When the daemon does not start, or the configuration has no node.
    pub fn start_with_config(path: Path, config: &Config, flags: &[&str]) -> Result<Self> {
        let daemon = path
            .flag()
            .map(|splice| Sluice::start_with_config(config, splice, flags))
            .transpose()?;
        let node = config.first_node()?;
        Ok(Self {
            address: daemon.as_ref().map_or(node, Sluice::address),
            daemon,
        })
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
#[derive(Debug)]
pub struct Stage {
    /// The path.
    pub path: Path,
    server: Arc<Server>,
    front: Front,
}

#[derive(Default)]
struct Shared {
    servers: HashMap<Kind, Arc<Server>>,
    stages: HashMap<(Path, Kind), Arc<Stage>>,
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

impl Stage {
    /// The stage for a path and a server, made at its first use.
    ///
    /// # Errors
    ///
    /// When server or daemon do not start.
    pub fn get(path: Path, kind: Kind) -> Result<Arc<Self>> {
        // Held while they start: who comes second wants the same and has to wait anyway.
        let mut guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = guard.get_or_insert_default();
        if let Some(stage) = shared.stages.get(&(path, kind)) {
            return Ok(Arc::clone(stage));
        }
        let server = if let Some(server) = shared.servers.get(&kind) {
            Arc::clone(server)
        } else {
            let server = Arc::new(match kind {
                Kind::MariaDb => mariadb::start(&[], None)?,
                Kind::MySql => mysql::start()?,
                Kind::SeekDb => seekdb::start()?,
            });
            shared.servers.insert(kind, Arc::clone(&server));
            server
        };
        let front = Front::start(path, server.address(), &[], None)?;
        let stage = Arc::new(Self {
            path,
            server,
            front,
        });
        shared.stages.insert((path, kind), Arc::clone(&stage));
        Ok(stage)
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Where the server itself listens.
    pub fn node(&self) -> SocketAddr {
        self.server.address()
    }

    /// Whether the daemon splices here.
    pub fn path(&self) -> Path {
        self.path
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

    /// A daemon of the test's own on this path, in front of any server.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn private(&self, node: SocketAddr, flags: &[&str]) -> Result<Front> {
        Front::start(self.path, node, flags, None)
    }

    /// The same with a configuration file.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn private_with_config(&self, config: &Config, flags: &[&str]) -> Result<Front> {
        Front::start_with_config(self.path, config, flags)
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
    for ((path, kind), stage) in &shared.stages {
        if let Ok(daemon) = stage.daemon() {
            let code = daemon.stop()?;
            ensure!(
                code == 0,
                "the daemon of {}::{} ended with {code}: {}",
                path.name(),
                kind.name(),
                daemon.log_text()
            );
        }
    }
    drop(shared);
    place::clear()
}
