//! Interfaces whose packets begin with their IP header, as those of tunnels do: sessions are spliced over them, from and to interfaces of the other kind.

use crate::{attribute, case::Case, on_the_wire::talk};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    mariadb,
    network::{
        CLIENT_INTERFACE, Family, Link, NODE_INTERFACE, Network, PROXY_CLIENT_INTERFACE,
        PROXY_NODE_INTERFACE,
    },
    path::Path,
    server::{PASSWORD, Server, USER},
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    tunnel::Form,
    wire::{Connection, Login},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("whole_packets", whole_packets).only(Path::Wire),
    Case::new("large_segments", large_segments).only(Path::Wire),
    Case::new("narrow_ones", narrow_ones).only(Path::Wire),
    Case::new("neighbours_of_one", neighbours_of_one)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("ip_in_ip", ip_in_ip)
        .only(Path::Wire)
        .between_hosts()
        .tool("/sys/module/ipip"),
];

/// Which links of a topology may be tunnels: where two hosts are one, the link between them carries nothing.
fn links(topology: Topology) -> &'static [&'static [Link]] {
    match topology {
        Topology::Gateway => &[&[Link::Client], &[Link::Node], &[Link::Client, Link::Node]],
        Topology::Local | Topology::Sidecar | Topology::NodeSide => &[&[Link::Node]],
    }
}

fn whole_packets(stage: &Stage) -> Result<()> {
    over_tunnels(stage, Form::Whole, |_network| Ok(()))
}

fn large_segments(stage: &Stage) -> Result<()> {
    over_tunnels(stage, Form::Large, |_network| Ok(()))
}

/// A VPN's link takes less than the link that a session goes on by.
fn narrow_ones(stage: &Stage) -> Result<()> {
    over_tunnels(stage, Form::Large, |network| {
        let ends = [
            (network.client(), CLIENT_INTERFACE),
            (network.proxy(), PROXY_CLIENT_INTERFACE),
            (network.proxy(), PROXY_NODE_INTERFACE),
            (network.node(), NODE_INTERFACE),
        ];
        for (netns, interface) in ends {
            let is_tunnel = netns
                .ip(&["-details", "link", "show", "dev", interface])?
                .contains("tun type tun");
            if is_tunnel {
                netns.ip(&["link", "set", "dev", interface, "mtu", "1300"])?;
            }
        }
        Ok(())
    })
}

/// A session over each of a topology's choices of tunnels, of both families.
fn over_tunnels(stage: &Stage, form: Form, prepare: impl Fn(&Network) -> Result<()>) -> Result<()> {
    let topology = stage.setting().topology;
    for links in links(topology) {
        let network = Arc::new(Network::with_tunnels(links, form)?);
        prepare(&network)?;
        let hosts = |family| Hosts::of(topology, &network, family);
        let server = mariadb::start(&[], &hosts(Family::V4).node)?;
        for family in [Family::V4, Family::V6] {
            is_spliced(stage, &hosts(family), &server)
                .with_context(|| format!("{links:?}, {form:?}, {family:?}"))?;
        }
    }
    Ok(())
}

fn is_spliced(stage: &Stage, hosts: &Hosts, server: &Server) -> Result<()> {
    let network = hosts.network()?;
    let node = SocketAddr::new(hosts.node.address(), server.address().port());
    let front = Front::start(stage.setting(), &hosts.proxy, node, &[])?;
    let talked = hosts.client.enter(|| -> Result<()> {
        let mut client = front.open(USER, PASSWORD)?;
        client.run("SELECT 1")?;
        let splice = attribute::splice(&mut client)?;
        assert_eq!(splice.text("path")?, "wire", "{splice:?}");
        talk(&mut client)
    })?;
    for tunnel in network.tunnels() {
        let seen = tunnel.seen();
        ensure!(seen.wrong == 0, "{seen:?}");
        ensure!(seen.whole + seen.partial > 100, "{seen:?}");
    }
    talked
}

/// A tunnel without an other end of its own, as Calico's: its driver has it from the route that the kernel has found for the packet.
fn ip_in_ip(stage: &Stage) -> Result<()> {
    let network = Arc::new(Network::new()?);
    let hosts = Hosts::of(stage.setting().topology, &network, Family::V4);
    let (client, proxy) = (hosts.client.address(), hosts.proxy.address());
    let (inner_client, inner_proxy) = ([10, 78, 11, 1].into(), [10, 78, 11, 2].into());
    for (netns, near, far, inner_near, inner_far) in [
        (network.client(), client, proxy, inner_client, inner_proxy),
        (network.proxy(), proxy, client, inner_proxy, inner_client),
    ] {
        let [near, far] = [near, far].map(|address| address.to_string());
        let [inner_near, inner_far] =
            [inner_near, inner_far].map(|address: IpAddr| address.to_string());
        netns.ip(&["link", "add", "inner", "type", "ipip", "local", &near])?;
        netns.ip(&["address", "add", &inner_near, "dev", "inner"])?;
        netns.ip(&["link", "set", "inner", "up"])?;
        let way = ["route", "add", &inner_far, "via", &far, "dev", "inner"];
        netns.ip(&[&way[..], &["onlink", "src", &inner_near]].concat())?;
    }
    let server = mariadb::start(&[], &hosts.node)?;
    let listener = hosts.proxy.at(inner_proxy);
    let front = Front::start(stage.setting(), &listener, server.address(), &[])?;
    hosts
        .client
        .enter(|| talk(&mut front.open(USER, PASSWORD)?))?
}

/// What is not a session's goes over covered tunnels as before, by the port of a node too.
fn neighbours_of_one(stage: &Stage) -> Result<()> {
    let topology = stage.setting().topology;
    let network = Arc::new(Network::with_tunnels(
        &[Link::Client, Link::Node],
        Form::Large,
    )?);
    let hosts = Hosts::of(topology, &network, Family::V4);
    let server = mariadb::start(&[], &hosts.node)?;
    let front = Front::start(stage.setting(), &hosts.proxy, server.address(), &[])?;
    hosts.client.enter(|| -> Result<()> {
        let mut session = front.open(USER, PASSWORD)?;
        // Past the proxy, to the same port of the same node.
        let login = Login::new(USER, PASSWORD);
        let mut direct = Connection::open(server.address(), &login)?;
        for bytes in [1, 1000, 300_000] {
            for connection in [&mut session, &mut direct] {
                let sql = format!("SELECT REPEAT('n', {bytes})");
                ensure!(connection.run(&sql)?.cell()? == vec![b'n'; bytes]);
            }
        }
        Ok(())
    })??;
    for tunnel in network.tunnels() {
        let seen = tunnel.seen();
        ensure!(seen.wrong == 0, "{seen:?}");
    }
    Ok(())
}
