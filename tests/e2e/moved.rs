//! The network changes below live sessions: the way to a peer leads over another link, or an interface becomes part of another one. They go on, with the bytes
//! that they would have had, after what TCP repeats.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    mariadb,
    netns::Netns,
    network::{self, Family, Link, Network, PROXY_CLIENT_INTERFACE, PROXY_NODE_INTERFACE},
    path::Path,
    server::{PASSWORD, Server, USER},
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    wire::{Connection, command},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("to_another_link", to_another_link)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("to_a_link_without_addresses", to_a_link_without_addresses)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("into_a_bridge", into_a_bridge)
        .only(Path::Wire)
        .between_hosts(),
];

/// For what is lost by a change to be sent again a few times; a fraction of the daemon's keep-alive, which would find the way too.
const PATIENCE: Duration = Duration::from_secs(30);
const ROWS: usize = 200;
const ROW_BYTES: usize = 50_000;

/// A session on the wire, and who can change what is below it.
struct Site {
    network: Arc<Network>,
    hosts: Hosts,
    session: Connection,
    _front: Front,
    _server: Server,
}

impl Site {
    fn new(stage: &Stage, network: &Arc<Network>, family: Family) -> Result<Self> {
        let hosts = Hosts::of(Topology::Gateway, network, family);
        let server = mariadb::start(&[], &hosts.node)?;
        let node = SocketAddr::new(hosts.node.address(), server.address().port());
        let front = Front::start(stage.setting(), &hosts.proxy, node, &[])?;
        let mut session = hosts.client.enter(|| front.open(USER, PASSWORD))??;
        session.set_patience(PATIENCE)?;
        let mut site = Self {
            network: Arc::clone(network),
            hosts,
            session,
            _front: front,
            _server: server,
        };
        site.is_spliced("at first")?;
        Ok(site)
    }

    /// Commands are answered, those that the daemon has to see too, and the kernel moves what it may.
    fn is_spliced(&mut self, when: &str) -> Result<()> {
        let session = &mut self.session;
        attribute::until_on_the_wire(session, when)?;
        session.run("SET @moved = 7")?;
        assert_eq!(session.run("SELECT @moved")?.text()?, "7", "{when}");
        Ok(())
    }

    /// Has `change` happen at this moment. What is asked for then arrives as it is, and what is asked for next is spliced.
    fn bears(
        &mut self,
        moment: Moment,
        what: &str,
        change: impl Fn(&Network) -> Result<()>,
    ) -> Result<()> {
        let session = &mut self.session;
        for _ in 0..3 {
            session.run("SELECT 'spliced'")?;
        }
        if moment == Moment::Idle {
            change(&self.network)?;
        }
        let sql = format!(
            "SELECT REPEAT(LPAD(seq, 8, '0'), {}) FROM mysql.seq_1_to_{ROWS}",
            ROW_BYTES / 8
        );
        session.send_command(&command::query(sql.as_bytes()))?;
        for _ in 0..3 {
            // Column count, column, EOF.
            session.read_packet().with_context(|| what.to_owned())?;
        }
        for number in 1..=ROWS {
            if moment == Moment::InAnswer && number == ROWS / 4 {
                change(&self.network)?;
            }
            let row = session.read_packet().with_context(|| what.to_owned())?;
            let wanted = format!("{number:08}").into_bytes().repeat(ROW_BYTES / 8);
            ensure!(row.get(3..) == Some(&wanted[..]), "{what}: row {number}");
        }
        let end = session.read_packet()?;
        ensure!(end.first() == Some(&0xFE), "{what}: {end:?}");
        self.is_spliced(what)
    }
}

/// When the network changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Nothing is under way: no socket has lost anything that it would send again.
    Idle,
    InAnswer,
}

impl Moment {
    const ALL: [Self; 2] = [Self::Idle, Self::InAnswer];
}

/// Each moment, with sessions of either family.
fn each(body: impl Fn(Moment, Family) -> Result<()>) -> Result<()> {
    for moment in Moment::ALL {
        for family in [Family::V4, Family::V6] {
            body(moment, family).with_context(|| format!("{moment:?}, {family:?}"))?;
        }
    }
    Ok(())
}

/// One end of the two links between the proxy and another host, one of which is to take the other's place.
struct End {
    netns: Arc<Netns>,
    /// By which sessions know it; its host's own whichever links are up.
    address: String,
    /// The second link's interface, and its address where it has one.
    second: (&'static str, Option<String>),
}

/// Two links.
struct Pair {
    near: End,
    far: End,
    /// The proxy's interface of the first one.
    first: &'static str,
}

impl Pair {
    /// Makes the second link.
    fn new(
        network: &Network,
        hosts: &Hosts,
        (link, family): (Link, Family),
        has_addresses: bool,
    ) -> Result<Self> {
        let (far, addresses, first, seconds, number) = match link {
            Link::Client => (
                network.client(),
                (hosts.proxy.address(), hosts.client.address()),
                PROXY_CLIENT_INTERFACE,
                ("proxy2", "client1"),
                3,
            ),
            Link::Node => (
                network.node(),
                (hosts.proxy_for_node, hosts.node.address()),
                PROXY_NODE_INTERFACE,
                ("proxy3", "node1"),
                4,
            ),
        };
        network::join([(network.proxy(), seconds.0), (far, seconds.1)])?;
        let end = |netns: &Arc<Netns>, address: IpAddr, interface, host| {
            let address_there = match family {
                Family::V4 => format!("10.78.{number}.{host}"),
                Family::V6 => format!("fd78:0:0:{number}::{host}"),
            };
            End {
                netns: Arc::clone(netns),
                address: address.to_string(),
                second: (interface, has_addresses.then_some(address_there)),
            }
        };
        let pair = Self {
            near: end(network.proxy(), addresses.0, seconds.0, 1),
            far: end(far, addresses.1, seconds.1, 2),
            first,
        };
        let (whole, on_link) = match family {
            Family::V4 => (32, 24),
            Family::V6 => (128, 64),
        };
        for End {
            netns,
            address,
            second,
        } in [&pair.near, &pair.far]
        {
            add_address(netns, &format!("{address}/{whole}"), "lo")?;
            if let (interface, Some(address)) = second {
                add_address(netns, &format!("{address}/{on_link}"), interface)?;
            }
        }
        Ok(pair)
    }

    /// The first link breaks, and both ends have noticed.
    fn switch(&self) -> Result<()> {
        let Self { near, far, first } = self;
        for (own, peer) in [(near, far), (far, near)] {
            let (to, from) = (&peer.address, &own.address);
            let way = ["dev", own.second.0, "src", from];
            let next = peer.second.1.as_ref().map(|via| ["via", via]);
            let next = next.as_ref().map_or(&[][..], |words| &words[..]);
            let all = [&["route", "replace", to], next, &way[..]].concat();
            own.netns.ip(&all)?;
        }
        near.netns.ip(&["link", "set", first, "down"])?;
        Ok(())
    }
}

/// Nobody else is there who could have the same address.
fn add_address(netns: &Netns, address: &str, interface: &str) -> Result<()> {
    let add = ["address", "add", address, "dev", interface];
    let nodad: &[&str] = if address.contains(':') {
        &["nodad"]
    } else {
        &[]
    };
    netns.ip(&[&add, nodad].concat()).map(drop)
}

/// A host with two links has one of them break, and its routes changed.
fn to_another_link(stage: &Stage) -> Result<()> {
    each(|moment, family| {
        let network = Arc::new(Network::new()?);
        let hosts = Hosts::of(Topology::Gateway, &network, family);
        let pairs = [Link::Node, Link::Client].map(|link| {
            let pair = Pair::new(&network, &hosts, (link, family), true)?;
            anyhow::Ok((link, pair))
        });
        let mut site = Site::new(stage, &network, family)?;
        for pair in pairs {
            let (link, pair) = pair?;
            site.bears(moment, &format!("{link:?}"), |_| pair.switch())?;
        }
        Ok(())
    })
}

/// The link that takes over has no addresses of its own, as those to containers often have none: no session has come by such an interface, so nothing has
/// been on it. IPv6 gives each an address of its link.
fn to_a_link_without_addresses(stage: &Stage) -> Result<()> {
    for moment in Moment::ALL {
        let network = Arc::new(Network::new()?);
        let hosts = Hosts::of(Topology::Gateway, &network, Family::V4);
        let mut site = Site::new(stage, &network, Family::V4)?;
        for link in [Link::Node, Link::Client] {
            let pair = Pair::new(&network, &hosts, (link, Family::V4), false)?;
            let what = format!("{link:?}, {moment:?}");
            site.bears(moment, &what, |_| pair.switch())?;
        }
    }
    Ok(())
}

/// An interface becomes part of a bridge, which gets its address, and sessions know nothing of it.
fn into_a_bridge(stage: &Stage) -> Result<()> {
    each(|moment, family| {
        let network = Arc::new(Network::new()?);
        let mut site = Site::new(stage, &network, family)?;
        let ways = [
            (PROXY_NODE_INTERFACE, "bridge1", site.hosts.proxy_for_node),
            (
                PROXY_CLIENT_INTERFACE,
                "bridge0",
                site.hosts.proxy.address(),
            ),
        ];
        let bits = match family {
            Family::V4 => 24,
            Family::V6 => 64,
        };
        for (port, bridge, address) in ways {
            let proxy = network.proxy();
            site.bears(moment, bridge, |_| {
                proxy.ip(&["link", "add", bridge, "type", "bridge"])?;
                proxy.ip(&["link", "set", bridge, "up"])?;
                proxy.ip(&["link", "set", port, "master", bridge])?;
                let address = format!("{address}/{bits}");
                proxy.ip(&["address", "del", &address, "dev", port])?;
                add_address(proxy, &address, bridge)
            })?;
        }
        Ok(())
    })
}
