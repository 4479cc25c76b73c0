//! Several proxies in front of one node: lists of the whole fleet, and `KILL` from any of them.

use crate::{
    case::Case,
    kill::{DEADLINE, computes, connection_killed, id, interruptible, last_words, node_id},
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    host::Host,
    mariadb,
    network::Network,
    server::{PASSWORD, USER, USER_MONITOR, USER_OPEN},
    stage::{Front, Setting, Stage},
    topology::{Hosts, Topology},
    wait,
    wire::{Connection, Response, command},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

pub(crate) const CASES: &[Case] = &[
    Case::new("lists", lists).daemon(),
    Case::new("kill_at_another", kill_at_another).daemon(),
    Case::new("kill_query_at_another", kill_query_at_another).daemon(),
    Case::new("peer_down", peer_down).daemon(),
    Case::new("silent_names", silent_names)
        .daemon()
        .root()
        .local(),
    Case::new("found_under_a_name", found_under_a_name)
        .daemon()
        .root()
        .except(
            is_between_two,
            "two on one host, both proxies are on one or each on its own",
        ),
];

fn is_between_two(setting: Setting) -> bool {
    matches!(setting.topology, Topology::Sidecar | Topology::NodeSide)
}

/// The proxy's administrator, and his password in the whole fleet.
const ADMINISTRATOR: &str = "root@proxysys";
const SECRET: &str = "open sesame";
/// The operator in front of MariaDB.
const ROOT: &str = "root";

/// The configuration of a proxy of this number that knows these others.
fn configured(id: u32, peers: &[String], node: SocketAddr) -> Config {
    Config::new()
        .line(&format!("proxy_id = {id}"))
        .line(&format!(
            "fleet = {{ peers = {peers:?}, timeout = \"5s\" }}"
        ))
        .line(&format!("admin = {{ password = {SECRET:?} }}"))
        .cluster(Cluster::mysql("east", &[node]).monitor(USER_MONITOR, PASSWORD))
}

/// A proxy of this number that knows these others.
fn proxy(
    stage: &Stage,
    id: u32,
    peers: &[SocketAddr],
    listen: Option<SocketAddr>,
) -> Result<Front> {
    let peers: Vec<_> = peers.iter().map(ToString::to_string).collect();
    let config = configured(id, &peers, stage.node());
    let listen = listen.map(|address| address.to_string());
    let flags: Vec<_> = listen.iter().flat_map(|at| ["--listen", at]).collect();
    stage.private_with_config(&config, &flags)
}

/// Two proxies that know each other, and themselves.
fn two(stage: &Stage) -> Result<[Front; 2]> {
    let host = &stage.hosts().proxy;
    let (one, two) = (host.free_address()?, host.free_address()?);
    Ok([
        proxy(stage, 1, &[one, two], Some(one))?,
        proxy(stage, 2, &[one, two], Some(two))?,
    ])
}

/// The column of this name in a list, for each row.
fn column(connection: &mut Connection, sql: &str, name: &str) -> Result<Vec<Option<String>>> {
    column_of(&connection.run(sql)?, name).with_context(|| sql.to_owned())
}

fn column_of(response: &Response, name: &str) -> Result<Vec<Option<String>>> {
    let columns = response.columns()?;
    let at = columns.iter().position(|column| column.name == name);
    let at = at.with_context(|| format!("no {name}"))?;
    let rows = response.texts()?.into_iter();
    rows.map(|row| row.get(at).cloned().context("a short row"))
        .collect()
}

fn lists(stage: &Stage) -> Result<()> {
    let [one, two] = two(stage)?;
    list_all(&one, &two)?;
    // The stock client shows it.
    let printed = one.client(ROOT, "").execute("SHOW PROXYSESSION GLOBAL")?;
    assert_eq!(printed.errors()?, [""; 0]);
    Ok(())
}

/// At each of the two, a session of either is listed to whom it concerns, once.
fn list_all(one: &Front, two: &Front) -> Result<()> {
    let mut at_one = one.open(USER, PASSWORD)?;
    let mut at_two = two.open(USER, PASSWORD)?;
    let ids = [id(&at_one).to_string(), id(&at_two).to_string()];
    for front in [one, two] {
        for (user, password) in [(ROOT, ""), (ADMINISTRATOR, SECRET)] {
            let mut root = front.open(user, password)?;
            for (list, column_of_id) in [
                ("SHOW PROXYSESSION GLOBAL", "Id"),
                ("SHOW PROXYSESSION SERVER GLOBAL", "cs_id"),
                ("SHOW PROCESSLIST GLOBAL", "Id"),
                ("SHOW FULL PROCESSLIST GLOBAL", "Id"),
            ] {
                let found = column(&mut root, list, column_of_id)?;
                for id in &ids {
                    let times = found.iter().flatten().filter(|found| *found == id).count();
                    ensure!(
                        times == 1,
                        "{user}, {list}: {id} is there {times} times: {found:?}"
                    );
                }
                let errors = column(&mut root, list, "proxy_error")?;
                ensure!(errors.iter().all(Option::is_none), "{list}: {errors:?}");
            }
        }
    }
    // His own, wherever they are, and nobody else's.
    for app in [&mut at_one, &mut at_two] {
        let own = column(app, "SHOW PROXYSESSION GLOBAL", "Id")?;
        assert_eq!(own, [Some(id(app).to_string())]);
        let users = vec![Some(USER.to_owned()); ids.len()];
        wait::until_true("the administrators' sessions are gone", DEADLINE, || {
            Ok(column(app, "SHOW FULL PROCESSLIST GLOBAL", "User")? == users)
        })?;
    }
    Ok(())
}

fn kill_at_another(stage: &Stage) -> Result<()> {
    let [one, two] = two(stage)?;
    for (killer, password, by_connection) in [
        (USER, PASSWORD, false),
        (USER, PASSWORD, true),
        (ROOT, "", false),
        (ADMINISTRATOR, SECRET, true),
    ] {
        let mut victim = one.open(USER, PASSWORD)?;
        let node_id = node_id(&mut victim)?;
        let target = if by_connection {
            node_id.clone()
        } else {
            id(&victim).to_string()
        };
        let mut killer = two.open(killer, password)?;
        killer.run(&format!("KILL {target}"))?;
        stage.gone_from_node(&node_id)?;
        assert_eq!(last_words(&mut victim)?, Some(connection_killed()));
        assert_eq!(
            killer.query(&format!("KILL {target}"))?.outcome.code(),
            1094
        );
    }
    // Whose session it is counts there as it does here.
    let victim = one.open(ROOT, "")?;
    let mut stranger = two.open(USER_OPEN, "")?;
    let statement = format!("KILL {}", id(&victim));
    assert_eq!(stranger.query(&statement)?.outcome.code(), 1095);
    Ok(())
}

fn kill_query_at_another(stage: &Stage) -> Result<()> {
    let [one, two] = two(stage)?;
    let mut direct = stage.open_direct()?;
    let mut victim = one.open(USER, PASSWORD)?;
    let mut killer = two.open(USER, PASSWORD)?;
    let node_id = node_id(&mut victim)?;
    victim.send_command(&command::query(interruptible(stage).as_bytes()))?;
    computes(&mut direct, &node_id, true)?;
    killer.run(&format!("KILL QUERY {}", id(&victim)))?;
    assert_eq!(victim.read_response(&[])?.outcome.code(), 1317);
    assert_eq!(victim.run("SELECT 'alive'")?.text()?, "alive");
    Ok(())
}

fn peer_down(stage: &Stage) -> Result<()> {
    let nobody = stage.hosts().proxy.free_address()?;
    let front = proxy(stage, 3, &[nobody], None)?;
    let mut root = front.open(ROOT, "")?;
    let list = "SHOW PROXYSESSION GLOBAL";
    let errors = column(&mut root, list, "proxy_error")?;
    assert_eq!(errors, [None, Some("connection refused".to_owned())]);
    let proxies = column(&mut root, list, "proxy")?;
    assert_eq!(proxies.last(), Some(&Some(nobody.to_string())));
    let unknown = root.query("KILL 262145")?;
    let text = unknown.outcome.to_string();
    ensure!(
        text.contains(&format!(
            "Unknown thread id: 262145 (not asked: {nobody}: connection refused)"
        )),
        "{text}"
    );
    Ok(())
}

/// The name that all proxies of a fleet have.
const NAME: &str = "e2e-fleet";

/// Two proxies, a node, and the host from which clients come: with all on one host the proxies have an address each, and the same port.
fn named(stage: &Stage) -> Result<[Host; 4]> {
    let hosts = match stage.setting().topology {
        Topology::Local => {
            let host = Host::alone()?;
            let other = host.at(Ipv4Addr::new(10, 77, 0, 2).into());
            let netns = host.netns().context("no network")?;
            netns.add(other.address())?;
            [host.clone(), other, host.clone(), host]
        }
        remote => {
            let hosts = Hosts::private(remote, Network::new()?);
            let [to, via] = [hosts.proxy.address(), hosts.proxy_for_node].map(|ip| ip.to_string());
            let network = hosts.network()?;
            network.node().ip(&["route", "add", &to, "via", &via])?;
            [hosts.proxy, hosts.node.clone(), hosts.node, hosts.client]
        }
    };
    let [one, two, ..] = &hosts;
    for proxy in [one, two] {
        let netns = proxy.netns().context("no network")?;
        for address in [one.address(), two.address()] {
            netns.name(address, NAME);
        }
    }
    Ok(hosts)
}

/// The configuration has nothing but one name, whose addresses are theirs.
fn found_under_a_name(stage: &Stage) -> Result<()> {
    let [one, two, node, client] = named(stage)?;
    let node = mariadb::start(&[], &node)?;
    let port = two.free_address()?.port();
    let start = |id: u32, host: &Host| {
        let config = configured(id, &[format!("{NAME}:{port}")], node.address());
        let listen = SocketAddr::new(host.address(), port).to_string();
        Front::start_with_config(stage.setting(), host, &config, &["--listen", &listen])
    };
    let fronts = [start(1, &one)?, start(2, &two)?];
    client.enter(|| -> Result<()> {
        let [one, two] = &fronts;
        list_all(one, two)?;
        for [near, far] in [[one, two], [two, one]] {
            let mut killer = near.open(USER, PASSWORD)?;
            for by_connection in [false, true] {
                let mut victim = far.open(USER, PASSWORD)?;
                let target = if by_connection {
                    node_id(&mut victim)?
                } else {
                    id(&victim).to_string()
                };
                let kill = format!("KILL {target}");
                killer.run(&kill)?;
                assert_eq!(last_words(&mut victim)?, Some(connection_killed()));
                assert_eq!(killer.query(&kill)?.outcome.code(), 1094);
            }
        }
        Ok(())
    })?
}

/// A name server that does not answer takes no time of the peers whose names are known, nor of the daemon's end.
fn silent_names(stage: &Stage) -> Result<()> {
    let [one, two, node, client] = named(stage)?;
    let node = mariadb::start(&[], &node)?;
    let name_server = IpAddr::from(Ipv4Addr::LOCALHOST);
    one.netns().context("no network")?.ask_at(name_server);
    let _silent = client.enter(|| UdpSocket::bind((name_server, 53)))??;
    let port = two.free_address()?.port();
    let names = ["silent.example", "mute.example", NAME].map(|name| format!("{name}:{port}"));
    let start = |id: u32, host: &Host, peers: &[String]| {
        let config = configured(id, peers, node.address());
        let listen = SocketAddr::new(host.address(), port).to_string();
        Front::start_with_config(stage.setting(), host, &config, &["--listen", &listen])
    };
    let (front, other) = (start(1, &one, &names)?, start(2, &two, &names[2..])?);
    client.enter(|| -> Result<()> {
        let session = other.open(USER, PASSWORD)?;
        let mut root = front.open(ROOT, "")?;
        let list = "SHOW PROXYSESSION GLOBAL";
        let response = root.run(list)?;
        let ids = column_of(&response, "Id")?;
        ensure!(ids.contains(&Some(id(&session).to_string())), "{ids:?}");
        let errors = column_of(&response, "proxy_error")?;
        let late = "the name has no address in time";
        assert_eq!(errors.iter().flatten().collect::<Vec<_>>(), [late, late]);
        Ok(())
    })??;
    assert_eq!(front.daemon()?.stop()?, 0);
    Ok(())
}
