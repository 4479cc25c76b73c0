//! The way to a peer comes to lead over an interface on which there can be no programs. What a session's local sockets send has the peer's numbers only behind
//! the programs: so once bytes have bypassed the sockets nothing of such a session goes that way.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    mariadb,
    netns::Netns,
    network::{Family, Link, Network, PROXY_CLIENT_INTERFACE, PROXY_NODE_INTERFACE},
    path::Path,
    server::{PASSWORD, Server, USER},
    sluice::Line,
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    tunnel::{Form, Tunnel},
    wait,
    wire::{Connection, Login, command},
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("held", held).only(Path::Wire).between_hosts(),
    Case::new("not_for_ever", not_for_ever)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("relayed_before", relayed_before)
        .only(Path::Wire)
        .between_hosts(),
];

const PATIENCE: Duration = Duration::from_mins(1);
/// Kinds of link layers, of `linux/if_arp.h`: one that the programs cannot read, and none.
const UNREADABLE: u32 = 513;
const NONE: u32 = 0xfffe;
/// More than has bypassed towards the node: the tail would be new to it.
const LONG: usize = 5000;

/// A host with an address of its own, and its interface of the second link.
struct End {
    netns: Arc<Netns>,
    address: IpAddr,
    second: &'static str,
}

/// The link between the proxy and another host, and the tunnel that takes its place.
struct Detour {
    proxy: End,
    peer: End,
    first: &'static str,
    tunnel: Tunnel,
}

impl Detour {
    /// Makes the tunnel.
    fn new(network: &Network, hosts: &Hosts, link: Link) -> Result<Self> {
        let (far, addresses, first, names) = match link {
            Link::Client => (
                network.client(),
                (hosts.proxy.address(), hosts.client.address()),
                PROXY_CLIENT_INTERFACE,
                ("proxy2", "client1"),
            ),
            Link::Node => (
                network.node(),
                (hosts.proxy_for_node, hosts.node.address()),
                PROXY_NODE_INTERFACE,
                ("proxy3", "node1"),
            ),
        };
        let ends = [(&**network.proxy(), names.0), (&**far, names.1)];
        let tunnel = Tunnel::between(ends, Form::Whole)?;
        let end = |netns: &Arc<Netns>, address, second| End {
            netns: Arc::clone(netns),
            address,
            second,
        };
        let detour = Self {
            proxy: end(network.proxy(), addresses.0, names.0),
            peer: end(far, addresses.1, names.1),
            first,
            tunnel,
        };
        for End { netns, address, .. } in [&detour.proxy, &detour.peer] {
            let own = format!("{address}/32");
            netns.ip(&["address", "add", &own, "dev", "lo"])?;
        }
        detour.set_link_layer(UNREADABLE)?;
        Ok(detour)
    }

    /// What the tunnel's packets begin with, as the proxy's host says: to be followed by [`Detour::take`].
    fn set_link_layer(&self, number: u32) -> Result<()> {
        let End { netns, second, .. } = &self.proxy;
        netns.ip(&["link", "set", second, "down"])?;
        self.tunnel.set_link_layer(number.into())?;
        netns.ip(&["link", "set", second, "up"])?;
        Ok(())
    }

    /// The way leads through the tunnel, at both ends.
    fn take(&self) -> Result<()> {
        let Self { proxy, peer, .. } = self;
        for (own, other) in [(proxy, peer), (peer, proxy)] {
            let (to, from) = (other.address.to_string(), own.address.to_string());
            own.netns
                .ip(&["route", "replace", &to, "dev", own.second, "src", &from])?;
        }
        proxy.netns.ip(&["link", "set", self.first, "down"])?;
        Ok(())
    }

    /// The proxy's host has sent no segment from or to this port, but RSTs that say that there is no such connection.
    fn carries_nothing(&self, port: u16) -> Result<()> {
        let segments = self.tunnel.segments_of(port);
        ensure!(segments == 0, "{segments} segments without the programs");
        Ok(())
    }

    /// Waits until a socket of the proxy's has something to say to the peer.
    fn has_something_to_say(&self, port: u16) -> Result<()> {
        let IpAddr::V4(peer) = self.peer.address else {
            return Err(anyhow::anyhow!("an address of IPv4 is wanted"));
        };
        let peer = format!("{:08X}:", u32::from_ne_bytes(peer.octets()));
        wait::until_true("a socket waits for its peer", PATIENCE, || {
            self.carries_nothing(port)?;
            let table = self
                .proxy
                .netns
                .enter(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
            Ok(table.lines().any(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                let [_, _, remote, _, queues, ..] = fields.as_slice() else {
                    return false;
                };
                // Unacknowledged and unread bytes.
                remote.starts_with(&peer) && !queues.starts_with("00000000:")
            }))
        })
    }
}

/// A session, and who can change what is below it.
struct Site {
    hosts: Hosts,
    session: Connection,
    detour: Detour,
    /// A port that only the session's connection over the link has.
    port: u16,
    front: Front,
    server: Server,
}

impl Site {
    /// One that is spliced, or has yet to be.
    fn new(stage: &Stage, link: Link, keepalive: &str, is_spliced: bool) -> Result<Self> {
        let network = Arc::new(Network::new()?);
        let hosts = Hosts::of(Topology::Gateway, &network, Family::V4);
        let detour = Detour::new(&network, &hosts, link)?;
        let server = mariadb::start(&[], &hosts.node)?;
        let node = SocketAddr::new(hosts.node.address(), server.address().port());
        let config = Config::new()
            .line(&format!("keepalive_idle = \"{keepalive}\""))
            .cluster(Cluster::mysql("main", &[node]));
        let front = Front::start_with_config(stage.setting(), &hosts.proxy, &config, &[])?;
        let mut session = hosts.client.enter(|| front.open(USER, PASSWORD))??;
        session.set_patience(PATIENCE)?;
        let port = match link {
            Link::Client => session.stream().local_addr()?.port(),
            // Of one that has yet to be spliced it is not asked for.
            Link::Node if !is_spliced => 0,
            Link::Node => {
                let sql = "SELECT SUBSTRING_INDEX(HOST, ':', -1) \
                           FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()";
                session.run(sql)?.text()?.parse()?
            }
        };
        let mut site = Self {
            hosts,
            session,
            detour,
            port,
            front,
            server,
        };
        if is_spliced {
            attribute::until_on_the_wire(&mut site.session, "at first")?;
            // In a regime nothing is under way through the daemon.
            for _ in 0..3 {
                site.session.run("SELECT 'spliced'")?;
            }
        }
        Ok(site)
    }

    /// Waits for the daemon's word of what has become of the session's way.
    fn is_told(&self, message: &str) -> Result<Line> {
        let daemon = self.front.daemon()?;
        daemon.wait_for_line(message, PATIENCE, |line| line.message() == message)
    }
}

/// What the session's sockets have to say is kept until it can be said, and then arrives as it is.
fn held(stage: &Stage) -> Result<()> {
    for link in [Link::Node, Link::Client] {
        held_at(stage, link).with_context(|| format!("{link:?}"))?;
    }
    Ok(())
}

fn held_at(stage: &Stage, link: Link) -> Result<()> {
    let mut site = Site::new(stage, link, "60s", true)?;
    let long = "x".repeat(LONG);
    if link == Link::Client {
        // What the daemon relays is answered when the client cannot be reached any more.
        let login = Login::new(USER, PASSWORD);
        let address = site.server.address();
        let mut other = (site.hosts.node).enter(|| Connection::open(address, &login))??;
        other.run("SELECT GET_LOCK('way', 0)")?;
        let sql = format!("SELECT '{long}', GET_LOCK('way', 60)");
        site.session.send_command(&command::query(sql.as_bytes()))?;
        wait::until_true("the command has arrived", PATIENCE, || {
            let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                           WHERE STATE = 'User lock'";
            Ok(other.run(waiting)?.text()? == "1")
        })?;
        site.detour.take()?;
        other.run("DO RELEASE_LOCK('way')")?;
    } else {
        site.detour.take()?;
        let sql = format!("SET @moved = '{long}'");
        site.session.send_command(&command::query(sql.as_bytes()))?;
    }
    site.detour.has_something_to_say(site.port)?;
    site.is_told(HELD)?;
    site.detour.carries_nothing(site.port)?;
    site.detour.set_link_layer(NONE)?;
    site.detour.take()?;
    if link == Link::Node {
        site.session.read_packet()?;
        assert_eq!(site.session.run("SELECT @moved")?.text()?, long);
    } else {
        assert_eq!(site.session.read_packet()?, [2]);
        for _ in 0..3 {
            // Columns, EOF.
            site.session.read_packet()?;
        }
        let row = site.session.read_packet()?;
        ensure!(row.get(3..3 + LONG) == Some(long.as_bytes()), "{row:?}");
        site.session.read_packet()?;
        site.session.run("DO RELEASE_LOCK('way')")?;
    }
    attribute::until_on_the_wire(&mut site.session, "over the tunnel")
}

/// Both connections of a session that nobody can help are reset.
fn not_for_ever(stage: &Stage) -> Result<()> {
    for link in [Link::Node, Link::Client] {
        let mut site = Site::new(stage, link, "3s", true)?;
        site.detour.take()?;
        let line = site
            .front
            .daemon()?
            .closing_line(site.session.greeting().thread_id)?;
        assert_eq!(line.field("side").as_deref(), Some("proxy"), "{line:?}");
        assert_eq!(line.field("reason").as_deref(), Some(ENDED), "{line:?}");
        site.detour.carries_nothing(site.port)?;
        if link == Link::Node {
            // The other one hears of it with its next word.
            ensure!(site.session.read_packet().is_err(), "the client is told");
        }
    }
    Ok(())
}

/// Where nothing has bypassed the sockets all numbers are the peers' own: the session goes on, and is not spliced as long as nobody would see its answers.
fn relayed_before(stage: &Stage) -> Result<()> {
    for link in [Link::Node, Link::Client] {
        let mut site = Site::new(stage, link, "60s", false)?;
        site.detour.take()?;
        site.is_told(PAUSED)?;
        let session = &mut site.session;
        for round in 0..10 {
            let number = round.to_string();
            assert_eq!(session.run(&format!("SELECT {round}"))?.text()?, number);
        }
        let splice = attribute::splice(session)?;
        assert_eq!(splice.number("spliced_commands")?, 0, "{splice:?}");
        assert_eq!(splice.text("waits_for")?, COVERED_WAY, "{splice:?}");
        site.detour.set_link_layer(NONE)?;
        site.detour.take()?;
        site.is_told(GOES_ON)?;
        attribute::until_on_the_wire(&mut site.session, "over the tunnel")?;
    }
    Ok(())
}

const HELD: &str = "wire: held, as the way to a peer leads over an interface that is not covered";
const PAUSED: &str =
    "wire: not spliced, as the way to a peer leads over an interface that is not covered";
const GOES_ON: &str = "wire: spliced again, as the ways to the peers are covered";
const ENDED: &str = "way not covered";
const COVERED_WAY: &str = "a way over covered interfaces";
