//! Interfaces that come when the daemon has long started, and given its capabilities up: who is behind one of them is spliced as everybody else.

use crate::{attribute, case::Case, on_the_wire::talk};
use anyhow::{Context as _, Result};
use sluice_tests::{
    host::Host,
    mariadb,
    netns::Netns,
    network::{self, Family, Network},
    path::Path,
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    wire::{Connection, Login},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("client", client).only(Path::Wire).between_hosts(),
    Case::new("node", node).only(Path::Wire).between_hosts(),
];

const PATIENCE: Duration = Duration::from_secs(30);
const NEAR: &str = "later";
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A host that the proxy's gets a link to.
struct Later {
    netns: Arc<Netns>,
    near: IpAddr,
    far: IpAddr,
}

impl Later {
    fn new(family: Family) -> Result<Self> {
        let (near, far): (IpAddr, IpAddr) = match family {
            Family::V4 => (
                Ipv4Addr::new(10, 79, 0, 1).into(),
                Ipv4Addr::new(10, 79, 0, 2).into(),
            ),
            Family::V6 => (
                Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 1).into(),
                Ipv6Addr::new(0xfd79, 0, 0, 0, 0, 0, 0, 2).into(),
            ),
        };
        let netns = Arc::new(Netns::new()?);
        netns.add(far)?;
        Ok(Self { netns, near, far })
    }

    fn host(&self) -> Host {
        Host::new(&self.netns, self.far)
    }

    /// The link is there, and the daemon has seen it. From the far host the way to `beyond` leads over it, too.
    fn comes(&self, proxy: &Netns, beyond: IpAddr, front: &Front) -> Result<()> {
        network::join([(proxy, NEAR), (&self.netns, "far")])?;
        let near = self.near.to_string();
        let bits = if self.near.is_ipv4() { 32 } else { 128 };
        let nodad: &[&str] = if self.near.is_ipv4() { &[] } else { &["nodad"] };
        let address = format!("{near}/{bits}");
        proxy.ip(&[&["address", "add", &address, "dev", NEAR], nodad].concat())?;
        let far = self.far.to_string();
        let address = format!("{far}/{bits}");
        (self.netns).ip(&[&["address", "add", &address, "dev", "far"], nodad].concat())?;
        proxy.ip(&["route", "add", &far, "dev", NEAR])?;
        let own = ["dev", "far", "src", &far];
        (self.netns).ip(&[&["route", "add", &near], &own[..]].concat())?;
        let beyond = beyond.to_string();
        let way = ["route", "add", &beyond, "via", &near];
        (self.netns).ip(&[&way[..], &own].concat())?;
        let is_covered = |state: String| state.starts_with("covered");
        let what = "the new interface is covered";
        front.daemon()?.wait_for_line(what, PATIENCE, |line| {
            line.field("interface").as_deref() == Some(NEAR)
                && line.field("state").is_some_and(is_covered)
        })?;
        Ok(())
    }
}

fn is_spliced(host: &Host, address: SocketAddr) -> Result<()> {
    host.enter(|| {
        let mut session = Connection::open(address, &Login::new(USER, PASSWORD))?;
        session.run("SELECT 1")?;
        let splice = attribute::splice(&mut session)?;
        assert_eq!(splice.text("path")?, Path::Wire.shown(), "{splice:?}");
        talk(&mut session)
    })?
}

/// It comes by an address that the proxy had all the time, and by one that came with the link.
fn client(stage: &Stage) -> Result<()> {
    for family in FAMILIES {
        let network = Arc::new(Network::new()?);
        let hosts = Hosts::of(Topology::Gateway, &network, family);
        let server = mariadb::start(&[], &hosts.node)?;
        let everywhere: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let listener = hosts.proxy.at(everywhere);
        let front = Front::start(stage.setting(), &listener, server.address(), &[])?;
        let later = Later::new(family)?;
        later.comes(network.proxy(), hosts.proxy.address(), &front)?;
        for address in [hosts.proxy.address(), later.near] {
            let address = SocketAddr::new(address, front.address().port());
            is_spliced(&later.host(), address).with_context(|| address.to_string())?;
        }
    }
    Ok(())
}

/// Nobody could reach it when the daemon started.
fn node(stage: &Stage) -> Result<()> {
    for family in FAMILIES {
        let network = Arc::new(Network::new()?);
        let hosts = Hosts::of(Topology::Gateway, &network, family);
        let later = Later::new(family)?;
        let server = mariadb::start(&[], &later.host())?;
        let front = Front::start(stage.setting(), &hosts.proxy, server.address(), &[])?;
        later.comes(network.proxy(), hosts.client.address(), &front)?;
        is_spliced(&hosts.client, front.address()).with_context(|| format!("{family:?}"))?;
    }
    Ok(())
}
