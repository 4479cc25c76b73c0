//! A machine with containers: the daemon's network, a client's behind a bridge, a node's at the end of a veth, and one that is
//! connected to nothing and has everybody's addresses.

use anyhow::{Context as _, Result};
use sluice_tests::{
    host::Host,
    mariadb,
    netns::Netns,
    rights::Rights,
    server::{PASSWORD, Server, USER},
    sluice::Sluice,
    wire::{Connection, Login},
};
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// The daemon, for clients.
const GATE: [&str; 2] = ["10.78.1.1", "fd78:1::1"];
/// The client.
pub(super) const CLIENT: [&str; 2] = ["10.78.1.2", "fd78:1::2"];
/// The daemon, for nodes.
pub(super) const BACK: [&str; 2] = ["10.78.2.1", "fd78:2::1"];
/// The node.
const NODE: [&str; 2] = ["10.78.2.2", "fd78:2::2"];

/// Everything but the daemons. Its ports need no luck: nobody else is in these networks.
pub(super) struct Hosts {
    // Servers go before their networks.
    server: Server,
    pub(super) own: Arc<Netns>,
    pub(super) client: Netns,
    pub(super) node: Arc<Netns>,
    pub(super) double: Netns,
}

impl Hosts {
    pub(super) fn new() -> Result<Self> {
        let (client, double) = (Netns::new()?, Netns::new()?);
        let (own, node) = (Arc::new(Netns::new()?), Arc::new(Netns::new()?));
        ip(&own, "link add bridge type bridge")?;
        ip(&own, "link set bridge up")?;
        join(&own, "front", &client)?;
        ip(&own, "link set front master bridge")?;
        give(&own, "bridge", GATE)?;
        give(&client, "eth0", CLIENT)?;
        join(&own, "back", &node)?;
        give(&own, "back", BACK)?;
        give(&node, "eth0", NODE)?;
        for addresses in [GATE, CLIENT, BACK, NODE] {
            give(&double, "lo", addresses)?;
        }
        let server = mariadb::start(&[], &Host::new(&node, NODE[0].parse()?))?;
        Ok(Self {
            server,
            own,
            client,
            node,
            double,
        })
    }

    /// The node, by address family.
    pub(super) fn node(&self, family: usize) -> Result<SocketAddr> {
        address(NODE, family, self.server.address().port())
    }

    /// A daemon that listens on all addresses of its network.
    pub(super) fn daemon(&self, node: SocketAddr) -> Result<Sluice> {
        self.daemon_of(node, "all")
    }

    /// The same, for sessions of these namespaces.
    pub(super) fn daemon_of(&self, node: SocketAddr, namespaces: &str) -> Result<Sluice> {
        let host = Host::new(&self.own, Ipv6Addr::UNSPECIFIED.into());
        let flags = ["--splice", "require", "--namespaces", namespaces];
        Sluice::start(&host, Rights::of_this_run(), node, &flags, &[])
    }
}

/// A session of a client in this network.
pub(super) fn open(from: &Netns, at: SocketAddr) -> Result<Connection> {
    from.enter(|| Connection::open(at, &Login::new(USER, PASSWORD)))?
}

/// The daemon as clients reach it.
pub(super) fn gate(family: usize, daemon: &Sluice) -> Result<SocketAddr> {
    address(GATE, family, daemon.address().port())
}

pub(super) fn address(of: [&str; 2], family: usize, port: u16) -> Result<SocketAddr> {
    let ip: IpAddr = of.get(family).context("a family")?.parse()?;
    Ok(SocketAddr::new(ip, port))
}

/// Runs `ip` in a network.
pub(super) fn ip(netns: &Netns, arguments: &str) -> Result<String> {
    netns.ip(&arguments.split(' ').collect::<Vec<_>>())
}

/// A veth from one network to `eth0` of another.
fn join(from: &Netns, name: &str, to: &Netns) -> Result<()> {
    let path = to.path();
    let path = path.display();
    ip(
        from,
        &format!("link add {name} type veth peer name eth0 netns {path}"),
    )?;
    ip(from, &format!("link set {name} up"))?;
    ip(to, "link set eth0 up")?;
    Ok(())
}

fn give(netns: &Netns, device: &str, addresses: [&str; 2]) -> Result<()> {
    for (address, bits) in addresses.into_iter().zip([24, 64]) {
        // Duplicate address detection would keep an IPv6 address back for a second.
        let nodad = if bits == 64 { " nodad" } else { "" };
        ip(
            netns,
            &format!("address add {address}/{bits} dev {device}{nodad}"),
        )?;
    }
    Ok(())
}
