//! A machine with containers: the daemon's network, a client's behind a bridge, a node's at the end of a veth, and one that is
//! connected to nothing and has everybody's addresses.

use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    mariadb,
    netns::Netns,
    process::{self, Process},
    server::{self, PASSWORD, Server, USER},
    sluice, wait,
    wire::{Connection, Login},
};
use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

/// Loading the programs on a busy machine of two cores, with room.
const START: Duration = Duration::from_secs(30);
/// The daemon, for clients.
pub(super) const GATE: [&str; 2] = ["10.78.1.1", "fd78:1::1"];
/// The client.
pub(super) const CLIENT: [&str; 2] = ["10.78.1.2", "fd78:1::2"];
/// The daemon, for nodes.
const BACK: [&str; 2] = ["10.78.2.1", "fd78:2::1"];
/// The node.
const NODE: [&str; 2] = ["10.78.2.2", "fd78:2::2"];

/// Everything but the daemons. Its ports need no luck: nobody else is in these networks.
pub(super) struct Hosts {
    // Servers go before their networks.
    server: Server,
    pub(super) own: Netns,
    pub(super) client: Netns,
    pub(super) node: Netns,
    pub(super) double: Netns,
}

impl Hosts {
    pub(super) fn new() -> Result<Self> {
        let (own, client, node, double) =
            (Netns::new()?, Netns::new()?, Netns::new()?, Netns::new()?);
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
        let server = mariadb::start(&["--bind-address=*"], Some(&node))?;
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
    pub(super) fn daemon(&self, port: u16, node: SocketAddr) -> Result<Process> {
        let (listen, node) = (format!("[::]:{port}"), node.to_string());
        let arguments = [
            "run", "--splice", "require", "--listen", &listen, "--server", &node,
        ];
        let mut command = self.own.inside(&sluice::command(&arguments)?)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut daemon = process::spawn("sluice", command)?;
        let at = gate(0, port)?;
        wait::until_true("the daemon listens", START, || {
            let ended = daemon.ended()?;
            ensure!(ended.is_none(), "the daemon ended: {ended:?}");
            self.own.enter(|| Ok(TcpStream::connect(at).is_ok()))?
        })?;
        Ok(daemon)
    }
}

/// A session of a client in this network.
pub(super) fn open(from: &Netns, at: SocketAddr) -> Result<Connection> {
    from.enter(|| Connection::open(at, &Login::new(USER, PASSWORD)))?
}

/// The daemon at a port, as clients reach it.
pub(super) fn gate(family: usize, port: u16) -> Result<SocketAddr> {
    address(GATE, family, port)
}

pub(super) fn address(of: [&str; 2], family: usize, port: u16) -> Result<SocketAddr> {
    let ip: IpAddr = of.get(family).context("a family")?.parse()?;
    Ok(SocketAddr::new(ip, port))
}

/// Runs `ip` in a network.
pub(super) fn ip(netns: &Netns, arguments: &str) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    server::run(&mut netns.inside(&command)?)
}

/// A veth from one network to `eth0` of another.
fn join(from: &Netns, name: &str, to: &Netns) -> Result<()> {
    to.enter(|| {
        #[expect(unsafe_code, reason = "gettid(2) has no safe wrapper in std")]
        // SAFETY: no arguments, cannot fail.
        let here = unsafe { libc::gettid() };
        ip(
            from,
            &format!("link add {name} type veth peer name eth0 netns {here}"),
        )
    })??;
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
