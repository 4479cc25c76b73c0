//! Who is compared: a direct connection, the daemon on each of its paths, other proxies.

use super::proxies;
use super::stage::{Place, path_taken};
use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use sluice_tests::config::{Cluster, Config};
use sluice_tests::process::Process;
use sluice_tests::rights::Rights;
use sluice_tests::server::{PASSWORD, USER_MONITOR, USER_ROOT};
use sluice_tests::sluice::{self, Sluice};
use sluice_tests::topology::Topology;
use sluice_tests::wire::{Connection, Login};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

/// Those that the bench starts itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Kind {
    /// A TCP connection to the node; always part of it, as all else is relative to it
    Direct,
    /// The node's Unix socket (topology local)
    Unix,
    /// Sluice, which chooses the path itself
    Auto,
    /// Sluice, from socket to socket in the kernel (topology local)
    Local,
    /// Sluice, below the sockets
    Wire,
    /// Sluice, through the daemon
    Relay,
    /// HAProxy in TCP mode, a thread per core
    Haproxy,
    /// nginx's stream module, a worker per core
    Nginx,
}

impl Kind {
    /// Where nothing else is asked for: all but `auto`, which takes one of the paths.
    pub(super) const USUAL: [Self; 7] = [
        Self::Direct,
        Self::Unix,
        Self::Local,
        Self::Wire,
        Self::Relay,
        Self::Haproxy,
        Self::Nginx,
    ];

    /// Whether sessions of this topology can take it at all.
    pub(super) fn is_in(self, topology: Topology) -> bool {
        match self {
            Self::Unix | Self::Local => topology == Topology::Local,
            _ => true,
        }
    }

    /// In tables.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Unix => "Unix socket",
            Self::Auto => "Sluice auto",
            Self::Local => "Sluice local",
            Self::Wire => "Sluice wire",
            Self::Relay => "Sluice relay",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx stream",
        }
    }

    /// The daemon's name for a path that is its own.
    fn path(self) -> Option<&'static str> {
        match self {
            Self::Local => Some("local"),
            Self::Wire => Some("wire"),
            Self::Relay => Some("relay"),
            _ => None,
        }
    }

    /// The daemon's flags for this path.
    ///
    /// # Errors
    /// The daemon has no such path.
    fn flags(self) -> Result<Vec<&'static str>> {
        let path = self.path().unwrap_or("auto");
        Ok(match self {
            Self::Auto => vec!["--splice", "auto"],
            Self::Relay => vec!["--splice", "off"],
            _ if daemon_knows_paths()? => vec!["--splice", "require", "--path", path],
            Self::Local => vec!["--splice", "require"],
            _ => bail!("this daemon has no flag --path"),
        })
    }
}

/// Has the daemon write no line for each session: the others write none for their connections either, as they are set up here.
fn quieten(daemon: SocketAddr) -> Result<()> {
    let mut operator = Connection::open(daemon, &Login::new(USER_ROOT, ""))?;
    operator
        .run("ALTER PROXYCONFIG SET log.level = 'warn'")
        .map(drop)
}

/// Whether the daemon's help names `--path`.
fn daemon_knows_paths() -> Result<bool> {
    let output = sluice::command(&["run", "--help"])?.output()?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("--path"))
}

/// `--peer NAME=HOST:PORT`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named {
    name: String,
    address: SocketAddr,
}

impl FromStr for Named {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, address) = text.split_once('=').context("must be NAME=HOST:PORT")?;
        ensure!(!name.is_empty(), "must be NAME=HOST:PORT");
        let mut addresses = address.to_socket_addrs().context(address.to_owned())?;
        Ok(Self {
            name: name.to_owned(),
            address: addresses.next().context("no address of that name")?,
        })
    }
}

/// How a client reaches the node.
#[derive(Clone)]
pub(super) enum Way {
    Tcp(SocketAddr),
    UnixSocket(PathBuf),
}

/// One that is compared, up and ready.
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) way: Way,
    /// What runs for it; it ends with this value.
    process: Option<Running>,
}

/// A process of the bench's own.
pub(super) enum Running {
    Sluice(Sluice),
    Other(Process),
}

impl Peer {
    /// Starts it.
    ///
    /// # Errors
    /// It does not start here, or does not do what its name says.
    pub(super) fn start(kind: Kind, place: &Place) -> Result<Self> {
        let node = place.node.address();
        let host = &place.hosts.proxy;
        let (way, process) = match kind {
            Kind::Direct => (Way::Tcp(node), None),
            Kind::Unix => (
                Way::UnixSocket(place.socket.clone().context("the node is remote")?),
                None,
            ),
            Kind::Haproxy | Kind::Nginx => {
                let start = match kind {
                    Kind::Haproxy => proxies::haproxy,
                    _ => proxies::nginx,
                };
                let (address, process) = start(host, node)?;
                (Way::Tcp(address), Some(Running::Other(process)))
            }
            Kind::Auto | Kind::Local | Kind::Wire | Kind::Relay => {
                // The hosts are namespaces of one machine; to the daemon they must be other hosts.
                let flags = ["--max-connections", "20000", "--namespaces", "own"];
                let cluster = Cluster::mysql("bench", &[node]).monitor(USER_MONITOR, PASSWORD);
                let config = Config::new().cluster(cluster);
                let path = kind.flags()?;
                let sluice =
                    Sluice::start_with_config(host, Rights::Tests, &config, &path, &flags)?;
                let taken = place
                    .hosts
                    .client
                    .enter(|| path_taken(sluice.address()))??;
                place.hosts.client.enter(|| quieten(sluice.address()))??;
                if let Some(path) = kind.path() {
                    // A figure under another path's name would be worse than none.
                    ensure!(
                        taken.starts_with(path),
                        "its sessions take the path {taken}"
                    );
                }
                (Way::Tcp(sluice.address()), Some(Running::Sluice(sluice)))
            }
        };
        Ok(Self {
            name: kind.label().to_owned(),
            way,
            process,
        })
    }

    /// One that somebody else runs.
    pub(super) fn at(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            way: Way::Tcp(address),
            process: None,
        }
    }

    /// The one that the command line names.
    pub(super) fn named(named: &Named) -> Self {
        Self::at(&named.name, named.address)
    }

    /// The process that stands between client and node, if it is ours.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| match process {
            Running::Sluice(sluice) => sluice.pid(),
            Running::Other(process) => process.pid(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_peer_has_a_name_and_an_address() {
        let named: Named = "ProxySQL=127.0.0.1:6033".parse().unwrap();
        assert_eq!(named.name, "ProxySQL");
        assert_eq!(named.address, SocketAddr::from(([127, 0, 0, 1], 6033)));
        for wrong in ["127.0.0.1:6033", "=127.0.0.1:6033", "a=127.0.0.1"] {
            assert!(wrong.parse::<Named>().is_err(), "{wrong}");
        }
    }
}
