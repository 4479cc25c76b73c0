//! Three hosts in a row, joined by pairs of virtual Ethernet interfaces (veth(4)):
//!
//! ```text
//! client --- proxy --- node
//! ```
//!
//! The one in the middle forwards, so that a client also reaches the node directly.

use crate::{
    faults::{Faults, Happened, Stretch},
    netns::Netns,
    tunnel::{Form, Tunnel},
    wait,
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

/// For the pairs of interfaces to come up.
const START: Duration = Duration::from_secs(10);

/// The interface of the client's host.
pub const CLIENT_INTERFACE: &str = "client0";
/// The middle's interface towards the client.
pub const PROXY_CLIENT_INTERFACE: &str = "proxy0";
/// The middle's interface towards the node.
pub const PROXY_NODE_INTERFACE: &str = "proxy1";
/// The interface of the node's host.
pub const NODE_INTERFACE: &str = "node0";

/// A pair of interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Between client and proxy.
    Client,
    /// Between proxy and node.
    Node,
}

/// The hosts; all goes when this is dropped.
#[derive(Debug)]
pub struct Network {
    stretches: Vec<Stretch>,
    tunnels: Vec<Tunnel>,
    client: Arc<Netns>,
    proxy: Arc<Netns>,
    node: Arc<Netns>,
}

/// The addresses of one IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// An address on one of the two links: 1 is the client's, 2 the node's.
    fn address(self, link: u8, host: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 78, link, host).into(),
            // Unique local addresses (RFC 4193).
            Self::V6 => Ipv6Addr::new(0xfd78, 0, 0, link.into(), 0, 0, 0, host.into()).into(),
        }
    }

    /// Loopback's own.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    fn prefix(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    /// The client.
    pub fn client(self) -> IpAddr {
        self.address(1, 1)
    }

    /// The middle, as the client reaches it.
    pub fn proxy_for_client(self) -> IpAddr {
        self.address(1, 2)
    }

    /// The middle, as the node sees it.
    pub fn proxy_for_node(self) -> IpAddr {
        self.address(2, 1)
    }

    /// The node.
    pub fn node(self) -> IpAddr {
        self.address(2, 2)
    }
}

impl Network {
    /// Makes the hosts and joins them; needs root.
    ///
    /// # Errors
    ///
    /// When the kernel or `ip` refuse.
    pub fn new() -> Result<Self> {
        Self::with_faults(&[], Faults::default(), 0)
    }

    /// The same, with links that lose, double and swap segments, from a seed.
    ///
    /// # Errors
    ///
    /// As [`Network::new`].
    pub fn with_faults(links: &[Link], faults: Faults, seed: u64) -> Result<Self> {
        let mut stretches = Vec::new();
        let mut network = Self::joined(!links.is_empty(), |link, ends| {
            if !links.contains(&link) {
                return join(ends);
            }
            let seed = seed.wrapping_add(link as u64);
            stretches.push(Stretch::between(ends, faults, seed)?);
            Ok(())
        })?;
        network.stretches = stretches;
        Ok(network)
    }

    /// With these links as tunnels, whose packets have no Ethernet header.
    ///
    /// # Errors
    ///
    /// As [`Network::new`].
    pub fn with_tunnels(links: &[Link], form: Form) -> Result<Self> {
        let mut tunnels = Vec::new();
        let mut network = Self::joined(false, |link, ends| {
            if !links.contains(&link) {
                return join(ends);
            }
            tunnels.push(Tunnel::between(ends, form)?);
            Ok(())
        })?;
        network.tunnels = tunnels;
        Ok(network)
    }

    /// The hosts, once `link` has made each of the links.
    fn joined(
        is_faulty: bool,
        mut link: impl FnMut(Link, [(&Netns, &str); 2]) -> Result<()>,
    ) -> Result<Self> {
        let network = Self {
            stretches: Vec::new(),
            tunnels: Vec::new(),
            client: Arc::new(Netns::new()?),
            proxy: Arc::new(Netns::new()?),
            node: Arc::new(Netns::new()?),
        };
        let Self {
            client,
            proxy,
            node,
            ..
        } = &network;
        let client_link = [
            (&**client, CLIENT_INTERFACE),
            (&**proxy, PROXY_CLIENT_INTERFACE),
        ];
        let node_link = [(&**proxy, PROXY_NODE_INTERFACE), (&**node, NODE_INTERFACE)];
        link(Link::Client, client_link)?;
        link(Link::Node, node_link)?;
        network.configure(is_faulty)?;
        Ok(network)
    }

    /// Addresses, routes, and what a busy host's kernel is set to.
    fn configure(&self, is_faulty: bool) -> Result<()> {
        let Self {
            client,
            proxy,
            node,
            ..
        } = self;
        for family in [Family::V4, Family::V6] {
            for (netns, interface, address) in [
                (client, CLIENT_INTERFACE, family.client()),
                (proxy, PROXY_CLIENT_INTERFACE, family.proxy_for_client()),
                (proxy, PROXY_NODE_INTERFACE, family.proxy_for_node()),
                (node, NODE_INTERFACE, family.node()),
            ] {
                let address = format!("{address}/{}", family.prefix());
                let add = ["address", "add", &address, "dev", interface];
                // Nobody else is there who could have the same address: no time is spent on asking (RFC 4862, 5.4).
                let nodad: &[&str] = match family {
                    Family::V4 => &[],
                    Family::V6 => &["nodad"],
                };
                netns.ip(&[&add, nodad].concat())?;
            }
            route(client, family.node(), family.proxy_for_client())?;
            route(node, family.client(), family.proxy_for_node())?;
            for (address, name) in [
                (family.client(), "e2e-client"),
                (family.proxy_for_client(), "e2e-proxy"),
                (family.proxy_for_node(), "e2e-proxy"),
                (family.node(), "e2e-node"),
            ] {
                for netns in [client, proxy, node] {
                    netns.name(address, name);
                }
            }
        }
        proxy.enter(forward)??;
        for netns in [client, proxy, node] {
            netns.enter(tune)??;
            if is_faulty {
                netns.enter(be_impatient)??;
            }
        }
        self.wait_for_the_way()
    }

    /// What has happened on the links with faults, in the order client, node.
    pub fn happened(&self) -> Vec<Happened> {
        self.stretches.iter().map(Stretch::happened).collect()
    }

    /// The tunnels, in the order client, node.
    pub fn tunnels(&self) -> &[Tunnel] {
        &self.tunnels
    }

    /// A veth pair carries nothing until the kernel has noticed that both of its ends are up.
    fn wait_for_the_way(&self) -> Result<()> {
        for family in [Family::V4, Family::V6] {
            // Nobody listens there: a refusal comes from the other host's kernel.
            let port = SocketAddr::new(family.node(), 1);
            let attempt = || TcpStream::connect_timeout(&port, Duration::from_secs(1));
            wait::until_true("the client reaches the node's host", START, || {
                Ok(self
                    .client
                    .enter(attempt)?
                    .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
            })?;
        }
        Ok(())
    }

    /// The client's host.
    pub fn client(&self) -> &Arc<Netns> {
        &self.client
    }

    /// The host in the middle.
    pub fn proxy(&self) -> &Arc<Netns> {
        &self.proxy
    }

    /// The node's host.
    pub fn node(&self) -> &Arc<Netns> {
        &self.node
    }
}

/// A pair of interfaces, one in each network, both up.
///
/// # Errors
///
/// When `ip` refuses.
pub fn join(ends: [(&Netns, &str); 2]) -> Result<()> {
    let [(near, name), (far, far_name)] = ends;
    let far_path = far.path().display().to_string();
    near.ip(&[
        "link", "add", name, "type", "veth", "peer", "name", far_name, "netns", &far_path,
    ])?;
    for (netns, name) in ends {
        netns.ip(&["link", "set", name, "up"])?;
    }
    Ok(())
}

fn route(netns: &Netns, to: IpAddr, via: IpAddr) -> Result<()> {
    netns.ip(&["route", "add", &to.to_string(), "via", &via.to_string()])?;
    Ok(())
}

/// Sets the calling thread's network up for many short connections: ports that closed connections hold are few, and there are many.
fn tune() -> Result<()> {
    for (key, value) in [
        ("ip_local_port_range", "1024 65535"),
        ("tcp_max_tw_buckets", "8192"),
    ] {
        fs::write(format!("/proc/sys/net/ipv4/{key}"), value).with_context(|| key.to_owned())?;
    }
    Ok(())
}

/// Has the calling thread's TCP repeat lost segments soon, where the kernel has such a setting (6.11 and later); else it takes 200 ms or
/// more.
fn be_impatient() -> Result<()> {
    let key = "/proc/sys/net/ipv4/tcp_rto_min_us";
    if fs::exists(key)? {
        fs::write(key, "10000").context(key)?;
    }
    Ok(())
}

/// Has the calling thread's network forward.
fn forward() -> Result<()> {
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/net/{key}"), "1").with_context(|| key.to_owned())?;
    }
    Ok(())
}
