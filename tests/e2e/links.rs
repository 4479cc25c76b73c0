//! What links and hosts may differ in, for sessions below the sockets: VLANs, windows of other scales, congestion notification, routes by a packet's mark.

use crate::{attribute, case::Case, on_the_wire::talk};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    capture::{Arrived, Capture},
    faults::Faults,
    mariadb,
    netns::Netns,
    network::{
        CLIENT_INTERFACE, Family, Link, NODE_INTERFACE, Network, PROXY_CLIENT_INTERFACE,
        PROXY_NODE_INTERFACE,
    },
    path::Path,
    server::{self, PASSWORD, USER},
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    wait,
    wire::command,
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::Arc,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("vlan", vlan)
        .only(Path::Wire)
        .between_hosts()
        .tool("/proc/net/vlan/config"),
    Case::new("windows_of_other_scales", windows_of_other_scales)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("congestion_notification", congestion_notification)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("marks_of_others", marks_of_others)
        .only(Path::Wire)
        .between_hosts(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// Both of a session's ends are reached by VLANs.
fn vlan(stage: &Stage) -> Result<()> {
    let network = Network::new()?;
    let ends = [
        (network.client(), CLIENT_INTERFACE, "10.78.7.1"),
        (network.proxy(), PROXY_CLIENT_INTERFACE, "10.78.7.2"),
        (network.proxy(), PROXY_NODE_INTERFACE, "10.78.8.1"),
        (network.node(), NODE_INTERFACE, "10.78.8.2"),
    ];
    for (netns, lower, address) in ends {
        let name = format!("{lower}.7");
        let add = ["link", "add", "link", lower, "name", &name];
        netns.ip(&[&add[..], &["type", "vlan", "id", "7"]].concat())?;
        netns.ip(&["address", "add", &format!("{address}/24"), "dev", &name])?;
        netns.ip(&["link", "set", &name, "up"])?;
        netns.name(address.parse()?, "e2e-vlan");
    }
    let hosts = Hosts::private(Topology::Gateway, network);
    let server = mariadb::start(&[], &hosts.node)?;
    let node = SocketAddr::new([10, 78, 8, 2].into(), server.address().port());
    let proxy = hosts.proxy.at(IpAddr::from([10, 78, 7, 2]));
    let front = Front::start(stage.setting(), &proxy, node, &[])?;
    let network = hosts.network()?;
    let captures = [
        (network.client(), CLIENT_INTERFACE),
        (network.node(), NODE_INTERFACE),
    ]
    .map(|(netns, lower)| Capture::start(netns, &format!("{lower}.7")));
    let talked = hosts
        .client
        .enter(|| talk(&mut front.open(USER, PASSWORD)?))?;
    for capture in captures {
        let arrived = capture?.end()?;
        ensure!(arrived.wrong == 0, "{arrived:?}");
        ensure!(arrived.whole + arrived.partial > 100, "{arrived:?}");
    }
    talked
}

/// Says how much a host's sockets may receive: the scale of their windows follows.
fn receive_at_most(netns: &Netns, bytes: u32) -> Result<()> {
    set(
        netns,
        "tcp_rmem",
        &format!("4096 {} {bytes}", bytes.min(131_072)),
    )
}

/// A setting of a host's TCP.
fn set(netns: &Netns, key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/{key}");
    netns
        .enter(|| fs::write(path, value))?
        .context(key.to_owned())
}

/// A number that the kernel tells of an established connection with this port.
fn of_connection(netns: &Netns, port: &str, name: &str) -> Result<u64> {
    let told = netns.enter(|| {
        server::run(Command::new("ss").args(["-tinHO", "state", "established", port]))
    })??;
    let value = told
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(name))
        .next_back();
    let value = value.unwrap_or("0").parse();
    value.with_context(|| format!("{name} in {told}"))
}

/// Segments that a host's sockets had to drop as there was no room for them. Kernels before 6.16 count less of them.
fn without_room(netns: &Netns) -> Result<u64> {
    let text = netns.enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let mut extended = text
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (extended.next(), extended.next());
    let (names, values) = (names.unwrap_or_default(), values.context("no counters")?);
    let counters = names.split(' ').zip(values.split(' '));
    let dropped = counters.filter(|(name, _)| ["BeyondWindow", "TCPZeroWindowDrop"].contains(name));
    dropped.map(|(_, value)| Ok(value.parse::<u64>()?)).sum()
}

/// Client and node tell how much they can take in other units than each other, and than the proxy: a client that stops reading is sent what it has room for, no
/// less and no more.
fn windows_of_other_scales(stage: &Stage) -> Result<()> {
    const SMALL: u32 = 6_000_000;
    const LARGE: u32 = 1 << 30;
    const ROWS: usize = 600;
    const ROW_BYTES: usize = 50_000;
    for (of_client, of_node) in [(SMALL, LARGE), (LARGE, SMALL)] {
        let network = Arc::new(Network::new()?);
        receive_at_most(network.client(), of_client)?;
        receive_at_most(network.proxy(), 64 << 20)?;
        receive_at_most(network.node(), of_node)?;
        let hosts = Hosts::of(Topology::Gateway, &network, Family::V4);
        let server = mariadb::start(&[], &hosts.node)?;
        let front = Front::start(stage.setting(), &hosts.proxy, server.address(), &[])?;
        let at_node = format!("( sport = :{} )", server.address().port());
        let at_client = format!("( dport = :{} )", front.address().port());
        hosts.client.enter(|| -> Result<()> {
            let mut session = front.open(USER, PASSWORD)?;
            for _ in 0..10 {
                session.run("SELECT 1")?;
            }
            let before = attribute::splice(&mut session)?;
            session.run("SELECT 1")?;
            // A fresh socket's window is some 64 kB, in whichever units.
            let offered = [
                of_connection(network.node(), &at_node, "snd_wnd:")?,
                of_connection(network.client(), &at_client, "snd_wnd:")?,
            ];
            let is_fresh = |window: &u64| (30_000..300_000).contains(window);
            ensure!(offered.iter().all(is_fresh), "{offered:?}");
            let sql = format!(
                "SELECT REPEAT(LPAD(seq, 8, '0'), {}) FROM mysql.seq_1_to_{ROWS}",
                ROW_BYTES / 8
            );
            session.send_command(&command::query(sql.as_bytes()))?;
            for _ in 0..3 {
                // Column count, column, EOF.
                session.read_packet()?;
            }
            for number in 1..=ROWS {
                if number == ROWS / 10 {
                    wait::until_true("the node has to wait for the reader", DEADLINE, || {
                        let left = of_connection(network.node(), &at_node, "notsent:")?;
                        let window = of_connection(network.node(), &at_node, "snd_wnd:")?;
                        Ok(left > 100_000 && window < 20_000)
                    })?;
                }
                let row = session.read_packet()?;
                let wanted = format!("{number:08}").into_bytes().repeat(ROW_BYTES / 8);
                ensure!(row.get(3..) == Some(&wanted[..]), "row {number} differs");
            }
            let end = session.read_packet()?;
            ensure!(end.first() == Some(&0xFE), "{end:?}");
            let dropped = without_room(network.client())?;
            ensure!(dropped == 0, "{dropped} segments had no room");
            let value = "w".repeat(3_000_000);
            let told = session.run(&format!("SELECT LENGTH('{value}')"))?.text()?;
            assert_eq!(told, "3000000");
            let after = attribute::splice(&mut session)?;
            let spliced = after.grown(&before, "spliced_bytes_to_client")?;
            // Links between busy processors lose some of so many (`net.core.netdev_max_backlog`), and the daemon takes over there.
            let has_lost = after.text("trap: missing segment").is_ok();
            ensure!(spliced > 10_000_000 || has_lost, "{spliced}: {after:?}");
            Ok(())
        })??;
    }
    Ok(())
}

/// Which of a session's connections know of congestion notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notified {
    Client,
    Node,
    Both,
}

/// Marks and echoes go from one end to the other where both connections have agreed on them, and nowhere else.
fn congestion_notification(stage: &Stage) -> Result<()> {
    for notified in [Notified::Client, Notified::Node, Notified::Both] {
        let marks = Faults {
            congested: 30,
            ..Faults::default()
        };
        let links = [Link::Client, Link::Node];
        let network = Arc::new(Network::with_faults(&links, marks, 11)?);
        let ask = |is_asking| if is_asking { "1" } else { "0" };
        set(network.client(), "tcp_ecn", ask(notified != Notified::Node))?;
        // 2: if asked.
        let by_proxy = if notified == Notified::Client {
            "2"
        } else {
            "1"
        };
        set(network.proxy(), "tcp_ecn", by_proxy)?;
        set(network.node(), "tcp_ecn", "2")?;
        let hosts = Hosts::of(Topology::Gateway, &network, Family::V4);
        let server = mariadb::start(&[], &hosts.node)?;
        let front = Front::start(stage.setting(), &hosts.proxy, server.address(), &[])?;
        let captures = [
            (network.client(), CLIENT_INTERFACE),
            (network.node(), NODE_INTERFACE),
        ]
        .map(|(netns, interface)| Capture::start(netns, interface));
        let talked = hosts
            .client
            .enter(|| talk(&mut front.open(USER, PASSWORD)?))?;
        let [at_client, at_node] = captures;
        let (at_client, at_node) = (at_client?.end()?, at_node?.end()?);
        let context = || format!("{notified:?}: {at_client:?} {at_node:?}");
        ensure!(at_client.wrong + at_node.wrong == 0, "{}", context());
        let is_silent = |arrived: &Arrived| {
            let Arrived {
                capable,
                congested,
                echoes,
                reduced,
                ..
            } = arrived;
            capable + congested + echoes + reduced == 0
        };
        let is_told = |arrived: &Arrived| arrived.capable > 100 && arrived.congested > 0;
        let is_right = match notified {
            Notified::Client => is_silent(&at_node),
            Notified::Node => is_silent(&at_client),
            Notified::Both => {
                is_told(&at_client)
                    && is_told(&at_node)
                    // The node sends the bulk: its marks are echoed, and that is heard.
                    && at_node.echoes > 0
                    && at_client.reduced > 0
            }
        };
        ensure!(is_right, "{}", context());
        talked.with_context(context)?;
    }
    Ok(())
}

/// A host that routes by bits of a packet's mark: none that the programs have set.
fn marks_of_others(stage: &Stage) -> Result<()> {
    let network = Arc::new(Network::new()?);
    for version in ["-4", "-6"] {
        for bit in 0..32 {
            let mark = format!("{0:#x}/{0:#x}", 1_u32 << bit);
            let rule = [version, "rule", "add", "pref", "10", "fwmark", &mark];
            network.proxy().ip(&[&rule[..], &["blackhole"]].concat())?;
        }
    }
    let hosts = |family| Hosts::of(Topology::Gateway, &network, family);
    let server = mariadb::start(&[], &hosts(Family::V4).node)?;
    for family in [Family::V4, Family::V6] {
        let hosts = hosts(family);
        let node = SocketAddr::new(hosts.node.address(), server.address().port());
        let front = Front::start(stage.setting(), &hosts.proxy, node, &[])?;
        hosts.client.enter(|| -> Result<()> {
            let mut session = front.open(USER, PASSWORD)?;
            session.set_patience(DEADLINE)?;
            talk(&mut session)
        })??;
    }
    Ok(())
}
