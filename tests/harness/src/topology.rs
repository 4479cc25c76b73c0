//! Where client, proxy and node are, relative to each other.

use crate::{
    host::Host,
    network::{Family, Network},
};
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr};

/// Which of client, proxy and node share a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topology {
    /// All three, on the machine's own loopback.
    Local,
    /// Client and proxy; the client connects to 127.0.0.1.
    Sidecar,
    /// Proxy and node; the proxy connects to the host's own address, which also goes over loopback.
    NodeSide,
    /// None: the proxy is a host between the two.
    Gateway,
}

impl Topology {
    /// Those that need a network of the tests' own.
    pub const REMOTE: [Self; 3] = [Self::Sidecar, Self::NodeSide, Self::Gateway];

    /// As part of a test's name, and of names in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Sidecar => "sidecar",
            Self::NodeSide => "node_side",
            Self::Gateway => "gateway",
        }
    }

    /// Whether client or node are on another host than the proxy.
    pub fn is_remote(self) -> bool {
        self != Self::Local
    }

    /// Whether clients reach the proxy over loopback.
    pub fn is_client_near(self) -> bool {
        matches!(self, Self::Local | Self::Sidecar)
    }
}

/// The three hosts of a topology.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Where a test runs: its thread, and the programs that it starts.
    pub client: Host,
    /// Where the daemon runs, with the address at which it listens.
    pub proxy: Host,
    /// Where servers run.
    pub node: Host,
    /// The proxy's address as the node sees it.
    pub proxy_for_node: IpAddr,
}

impl Hosts {
    /// The hosts of [`Topology::Local`].
    pub fn local() -> Self {
        Self {
            client: Host::here(),
            proxy: Host::here(),
            node: Host::here(),
            proxy_for_node: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The hosts of a remote topology in `network`, by their addresses of one IP version; [`Topology::Local`] has no part of it.
    pub fn of(topology: Topology, network: &Network, family: Family) -> Self {
        let client = Host::new(network.client(), family.client());
        let middle = Host::new(network.proxy(), family.proxy_for_client());
        let node = Host::new(network.node(), family.node());
        match topology {
            Topology::Local => Self::local(),
            Topology::Sidecar => {
                let middle = middle.at(family.loopback());
                Self {
                    client: middle.clone(),
                    proxy: middle,
                    node,
                    proxy_for_node: family.proxy_for_node(),
                }
            }
            Topology::NodeSide => Self {
                client: middle.at(family.proxy_for_node()),
                proxy: node.clone(),
                proxy_for_node: node.address(),
                node,
            },
            Topology::Gateway => Self {
                client,
                proxy: middle,
                node,
                proxy_for_node: family.proxy_for_node(),
            },
        }
    }

    /// The hosts of a topology in a network of the test's own, which may be disturbed.
    ///
    /// # Errors
    ///
    /// When the network cannot be made.
    pub fn private(topology: Topology, family: Family) -> Result<Self> {
        Ok(Self::of(topology, &Network::new()?, family))
    }
}
