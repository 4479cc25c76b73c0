//! Where client, proxy and node are, relative to each other.

use crate::{
    host::Host,
    network::{Family, Network},
};
use anyhow::{Context as _, Result};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

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
    topology: Topology,
    /// What joins them; none joins what is on one host.
    network: Option<Arc<Network>>,
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
            topology: Topology::Local,
            network: None,
            client: Host::here(),
            proxy: Host::here(),
            node: Host::here(),
            proxy_for_node: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The hosts of a remote topology in `network`, by their addresses of one IP version; [`Topology::Local`] has no part of it.
    pub fn of(topology: Topology, network: &Arc<Network>, family: Family) -> Self {
        let client = Host::new(network.client(), family.client());
        let middle = Host::new(network.proxy(), family.proxy_for_client());
        let node = Host::new(network.node(), family.node());
        let from_middle = family.proxy_for_node();
        let (client, proxy, proxy_for_node) = match topology {
            Topology::Local => return Self::local(),
            Topology::Sidecar => {
                let middle = middle.at(family.loopback());
                (middle.clone(), middle, from_middle)
            }
            Topology::NodeSide => (middle.at(from_middle), node.clone(), family.node()),
            Topology::Gateway => (client, middle, from_middle),
        };
        Self {
            topology,
            network: Some(Arc::clone(network)),
            client,
            proxy,
            node,
            proxy_for_node,
        }
    }

    /// The same hosts by their addresses of another IP version, [`Topology::Local`] aside.
    #[must_use]
    pub fn by(&self, family: Family) -> Self {
        match &self.network {
            Some(network) => Self::of(self.topology, network, family),
            None => self.clone(),
        }
    }

    /// What joins them.
    ///
    /// # Errors
    ///
    /// For [`Topology::Local`].
    pub fn network(&self) -> Result<&Arc<Network>> {
        self.network.as_ref().context("all is on one host")
    }

    /// The hosts of a remote topology in a network of the test's own.
    pub fn private(topology: Topology, network: Network) -> Self {
        Self::of(topology, &Arc::new(network), Family::V4)
    }
}
