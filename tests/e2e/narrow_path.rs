//! A way between client and proxy that is narrower than their links: the router says so (ICMP), and who has sent what was too big must hear it.

use crate::{
    attribute,
    case::{Case, is_no_gateway},
};
use anyhow::{Result, ensure};
use sluice_tests::{
    mariadb,
    netns::Netns,
    network::{self, Family, Link, Network},
    path::Path,
    server::{self, PASSWORD, USER},
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    tunnel::Form,
    wire::{Connection, Login},
};
use std::{fs, net::SocketAddr, process::Command, sync::Arc};

pub(crate) const CASES: &[Case] = &[
    Case::new("ipv4", ipv4)
        .only(Path::Wire)
        .except(is_no_gateway, BETWEEN_HOSTS),
    Case::new("ipv6", ipv6)
        .only(Path::Wire)
        .except(is_no_gateway, BETWEEN_HOSTS),
    Case::new("over_a_tunnel", over_a_tunnel)
        .only(Path::Wire)
        .except(is_no_gateway, BETWEEN_HOSTS),
    Case::new("over_two_tunnels", over_two_tunnels)
        .only(Path::Wire)
        .except(is_no_gateway, BETWEEN_HOSTS),
];

const BETWEEN_HOSTS: &str =
    "all three on hosts of their own, it is about the way from one to the other";

/// Bytes of a packet that the way takes; IPv6 has no less than 1280.
const NARROW: &str = "1300";

fn ipv4(stage: &Stage) -> Result<()> {
    is_heard(stage, Network::new()?, Family::V4)
}

fn ipv6(stage: &Stage) -> Result<()> {
    is_heard(stage, Network::new()?, Family::V6)
}

/// The router speaks over a link without Ethernet header, and is heard over one with.
fn over_a_tunnel(stage: &Stage) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let network = Network::with_tunnels(&[Link::Client], Form::Whole)?;
        is_heard(stage, network, family)?;
    }
    Ok(())
}

fn over_two_tunnels(stage: &Stage) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let network = Network::with_tunnels(&[Link::Client, Link::Node], Form::Large)?;
        is_heard(stage, network, family)?;
    }
    Ok(())
}

/// A host behind the client's, which becomes a router and has a narrow way to it.
fn far_client(network: &Network, family: Family) -> Result<Netns> {
    let far = Netns::new()?;
    let router = network.client();
    network::join([(router, "router0"), (&far, "far0")])?;
    let (version, own, near) = match family {
        Family::V4 => ("-4", "10.78.3.1", "10.78.3.2"),
        Family::V6 => ("-6", "fd78:0:0:3::1", "fd78:0:0:3::2"),
    };
    // Nobody else is there who could have the same address.
    let nodad: &[&str] = match family {
        Family::V4 => &[],
        Family::V6 => &["nodad"],
    };
    for (netns, interface, address, other) in
        [(&far, "far0", own, near), (&**router, "router0", near, own)]
    {
        netns.ip(&[&["address", "add", address, "dev", interface], nodad].concat())?;
        let narrow: &[&str] = match interface {
            "router0" => &["mtu", "lock", NARROW],
            _ => &[],
        };
        let route = [version, "route", "add", other, "dev", interface];
        netns.ip(&[&route, narrow].concat())?;
    }
    far.ip(&[version, "route", "add", "default", "via", near])?;
    let via = family.client().to_string();
    network
        .proxy()
        .ip(&[version, "route", "add", own, "via", &via])?;
    router.enter(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
    })??;
    Ok(far)
}

/// Answers that bypass the proxy's sockets are the node's to send again in smaller segments: it must be told, and nobody else can.
fn is_heard(stage: &Stage, network: Network, family: Family) -> Result<()> {
    let network = Arc::new(network);
    let hosts = Hosts::of(Topology::Gateway, &network, family);
    let server = mariadb::start(&[], &hosts.node)?;
    let node = SocketAddr::new(hosts.node.address(), server.address().port());
    let front = Front::start(stage.setting(), &hosts.proxy, node, &[])?;
    let far = far_client(&network, family)?;
    far.enter(|| -> Result<()> {
        let mut client = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
        client.run("SELECT 1")?;
        let before = attribute::splice(&mut client)?;
        for _ in 0..5 {
            let answer = client.run("SELECT REPEAT('c', 300000)")?.cell()?;
            ensure!(answer == vec![b'c'; 300_000]);
        }
        let after = attribute::splice(&mut client)?;
        let spliced = after.grown(&before, "spliced_commands")?;
        ensure!(spliced >= 4, "{spliced} of 5 spliced");
        let sockets = network.node().enter(|| {
            let port = format!("( sport = :{} )", node.port());
            server::run(Command::new("ss").args(["-tinHO", "state", "established", &port]))
        })??;
        let pmtu = format!("pmtu:{NARROW}");
        ensure!(
            sockets.lines().any(|socket| socket.contains(&pmtu)),
            "{sockets}"
        );
        Ok(())
    })??;
    drop(front);
    Ok(())
}
