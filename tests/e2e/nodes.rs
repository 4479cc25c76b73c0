//! Clusters of several nodes: which node a login reaches, and what the proxy finds out about nodes.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    cluster::Cluster,
    config::{self, Config},
    mysql,
    server::{Kind, PASSWORD, USER, USER_MONITOR, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Login},
};
use std::{net::SocketAddr, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("logins_reach_the_primary", logins_reach_the_primary).daemon(),
    Case::new("logins_pass_over_a_dead_node", logins_pass_over_a_dead_node).daemon(),
    Case::new("lists", lists).daemon(),
    Case::new("a_node_that_is_back_is_used_without_a_login", back).daemon(),
    Case::new("a_node_that_denies_the_account_is_not_dead", denied).daemon(),
    Case::new("lag", lag).daemon().local(),
    Case::new("replication_that_stands", stopped_replication)
        .with(&[Kind::MySql])
        .daemon()
        .local(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// A daemon that finds out quickly what becomes of its nodes.
pub(crate) fn watchful(cluster: config::Cluster) -> Config {
    Config::new()
        .line("health.interval = \"100ms\"")
        .line("health.timeout = \"500ms\"")
        .line("health.failures = 2")
        .cluster(cluster)
}

/// The same for tests in which no node hangs: one that is slow to answer, on a busy machine, is not dead.
pub(crate) fn patient(cluster: config::Cluster) -> Config {
    Config::new()
        .line("health.interval = \"100ms\"")
        .line("health.timeout = \"10s\"")
        .line("health.failures = 2")
        .cluster(cluster)
}

/// The port of the node that a session is at.
pub(crate) fn port(connection: &mut Connection) -> Result<u16> {
    Ok(connection.run("SELECT @@port")?.text()?.parse()?)
}

/// The roles of the first cluster's nodes, as the proxy knows them.
pub(crate) fn roles(operator: &mut Connection) -> Result<String> {
    let rows = operator.run("SHOW PROXYCLUSTER")?.texts()?;
    let role = rows.first().and_then(|row| row.get(4)).cloned();
    role.flatten().context("no role")
}

/// Waits until the proxy knows these roles.
pub(crate) fn known(front: &Front, wanted: &str) -> Result<()> {
    let mut operator = front.open(USER_ROOT, "")?;
    wait::until_true(&format!("roles {wanted}"), DEADLINE, || {
        Ok(roles(&mut operator)? == wanted)
    })
}

fn logins_reach_the_primary(stage: &Stage) -> Result<()> {
    let cluster = Cluster::start(&stage.hosts().node, 2)?;
    // The primary is the last in the file.
    let nodes = [
        cluster.address(1)?,
        cluster.address(2)?,
        cluster.address(0)?,
    ];
    let configured = config::Cluster::mysql("east", &nodes).monitor(USER_MONITOR, PASSWORD);
    let front = stage.private_with_config(&watchful(configured), &[])?;
    known(&front, "replica;replica;primary")?;
    for _ in 0..3 {
        let mut client = front.open(USER, PASSWORD)?;
        assert_eq!(port(&mut client)?, cluster.address(0)?.port());
    }
    // Roles change.
    cluster.open(0)?.run("SET GLOBAL read_only = ON")?;
    cluster.promote(2)?;
    known(&front, "replica;primary;replica")?;
    let mut client = front.open(USER, PASSWORD)?;
    assert_eq!(port(&mut client)?, cluster.address(2)?.port());
    Ok(())
}

/// Without a monitor account too: nothing but logins tells of nodes then.
fn logins_pass_over_a_dead_node(stage: &Stage) -> Result<()> {
    let silent = stage.listen_as_node()?;
    let nodes = [stage.nowhere()?, silent.local_addr()?, stage.node()];
    let config = Config::new().cluster(config::Cluster::mysql("east", &nodes));
    let flags = ["--connect-timeout", "300ms"];
    let front = stage.private_with_config(&config, &flags)?;
    for _ in 0..4 {
        let mut client = front.open(USER, PASSWORD)?;
        assert_eq!(port(&mut client)?, stage.node().port());
        client.run("SELECT 1")?;
    }
    let mut operator = front.open(USER_ROOT, "")?;
    let listed = operator.run("SHOW PROXYCONGESTION")?.texts()?;
    let listed: Vec<_> = listed
        .iter()
        .map(|row| row.get(4).cloned().flatten())
        .collect();
    let dead = nodes.get(..2).context("two")?;
    let wanted: Vec<_> = dead.iter().map(|node| Some(node.to_string())).collect();
    assert_eq!(listed, wanted);
    // All are dead: the first one's failure is the client's.
    let nodes = [stage.nowhere()?, stage.nowhere()?];
    let config = Config::new()
        .line("default_cluster = \"east\"")
        .cluster(config::Cluster::mysql("west", &nodes))
        .cluster(config::Cluster::mysql("east", &[stage.node()]));
    let front = stage.private_with_config(&config, &[])?;
    let refused = front.open(&format!("{USER}@sys#west"), PASSWORD);
    let refused = format!("{:#}", refused.err().context("let in without a node")?);
    let first = nodes.first().context("a node")?;
    ensure!(
        refused.contains(&format!("'{first}' (connection refused)")),
        "{refused}"
    );
    Ok(())
}

/// Sessions have found a node dead themselves, and no new one comes that could find out that it is back.
fn back(stage: &Stage) -> Result<()> {
    let cluster = Cluster::start(&stage.hosts().node, 1)?;
    let config = Config::new()
        .line("health.interval = \"2s\"")
        .line("health.failures = 2")
        .cluster(cluster.configured("east"));
    let front = stage.private_with_config(&config, &[])?;
    known(&front, "primary;replica")?;
    let mut operator = front.open(USER_ROOT, "")?;
    let mut clients = [front.open(USER, PASSWORD)?, front.open(USER, PASSWORD)?];
    cluster.server(0)?.kill()?;
    for client in &mut clients {
        assert_eq!(port(client)?, cluster.address(1)?.port());
    }
    let listed = operator.run("SHOW PROXYCONGESTION")?.texts()?;
    let alive = listed.first().and_then(|row| row.get(7)).cloned().flatten();
    assert_eq!(alive.as_deref(), Some("1"), "{listed:?}");
    cluster.server(0)?.start_again()?;
    for client in &mut clients {
        wait::until_true("the session is back", DEADLINE, || {
            Ok(port(client)? == cluster.address(0)?.port())
        })?;
    }
    assert_eq!(operator.run("SHOW PROXYCONGESTION")?.texts()?.len(), 0);
    Ok(())
}

/// The monitor account finds out that a node is gone, that it hangs, and that it is back.
fn lists(stage: &Stage) -> Result<()> {
    let cluster = Cluster::start(&stage.hosts().node, 1)?;
    let front = stage.private_with_config(&watchful(cluster.configured("east")), &[])?;
    known(&front, "primary;replica")?;
    let mut operator = front.open(USER_ROOT, "")?;
    let mut down = |statement: &str| -> Result<Vec<String>> {
        let rows = operator.run(statement)?.texts()?;
        let cells = rows.iter().map(|row| {
            let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
            format!("{} {} detected {}", cell(4), cell(6), cell(18))
        });
        Ok(cells.collect())
    };
    assert_eq!(down("SHOW PROXYCONGESTION")?, [""; 0]);
    let replica = cluster.server(1)?;
    let listed = [format!("{} DETECT_DEAD detected 1", replica.address())];
    replica.signal(libc::SIGSTOP)?;
    wait::until_true("the hanging node is listed", DEADLINE, || {
        Ok(down("SHOW PROXYCONGESTION")? == listed)
    })?;
    replica.signal(libc::SIGCONT)?;
    wait::until_true("it is listed no more", DEADLINE, || {
        Ok(down("SHOW PROXYCONGESTION")?.is_empty())
    })?;
    replica.kill()?;
    wait::until_true("the dead node is listed", DEADLINE, || {
        Ok(down("SHOW PROXYCONGESTION")? == listed)
    })?;
    let all = down("SHOW PROXYCONGESTION ALL")?;
    let primary = format!("{} ACTIVE detected 0", cluster.address(0)?);
    ensure!(all.contains(&primary), "{all:?}");
    Ok(())
}

/// Somebody changes the monitor account's password at every node. Nodes live, roles stand, and no session moves.
fn denied(stage: &Stage) -> Result<()> {
    let cluster = Cluster::start(&stage.hosts().node, 1)?;
    let front = stage.private_with_config(&watchful(cluster.configured("east")), &[])?;
    known(&front, "primary;replica")?;
    let mut client = front.open(USER, PASSWORD)?;
    client.run("BEGIN")?;
    for at in [0, 1] {
        let mut direct = cluster.open(at)?;
        for statement in [
            "SET sql_log_bin = 0",
            &format!("ALTER USER {USER_MONITOR} IDENTIFIED BY 'another'"),
            &format!("KILL USER {USER_MONITOR}"),
        ] {
            direct.run(statement)?;
        }
    }
    let mut operator = front.open(USER_ROOT, "")?;
    let mut nodes = |statement: &str| -> Result<Vec<[String; 3]>> {
        let rows = operator.run(statement)?.texts()?;
        let cells = rows
            .iter()
            .map(|row| [6, 11, 25].map(|at| row.get(at).cloned().flatten().unwrap_or_default()));
        Ok(cells.collect())
    };
    wait::until_true("the account was not let in ten times", DEADLINE, || {
        let nodes = nodes("SHOW PROXYCONGESTION ALL")?;
        let is_denied = |[_, failures, last]: &[String; 3]| {
            last.starts_with("error 1045") && failures.parse().is_ok_and(|count: u32| count > 10)
        };
        Ok(nodes.len() == 2 && nodes.iter().all(is_denied))
    })?;
    assert_eq!(nodes("SHOW PROXYCONGESTION")?.len(), 0);
    let states: Vec<_> = nodes("SHOW PROXYCONGESTION ALL")?
        .into_iter()
        .map(|[state, ..]| state)
        .collect();
    assert_eq!(states, ["ACTIVE"; 2]);
    known(&front, "primary;replica")?;
    assert_eq!(client.run("SELECT @@in_transaction")?.text()?, "1");
    assert_eq!(port(&mut client)?, cluster.address(0)?.port());
    client.run("COMMIT")?;
    let mut another = front.open(USER, PASSWORD)?;
    assert_eq!(port(&mut another)?, cluster.address(0)?.port());
    Ok(())
}

/// What the proxy shows of a node.
pub(crate) fn congestion(
    operator: &mut Connection,
    node: SocketAddr,
) -> Result<Vec<Option<String>>> {
    let rows = operator.run("SHOW PROXYCONGESTION ALL")?.texts()?;
    let address = Some(node.to_string());
    let row = rows.into_iter().find(|row| row.get(4) == Some(&address));
    row.context("the node is not there")
}

/// A node's role, whether it follows its primary, and how far it is behind.
pub(crate) fn follows(operator: &mut Connection, node: SocketAddr) -> Result<[Option<String>; 3]> {
    let row = congestion(operator, node)?;
    let columns = row
        .get(20..)
        .and_then(|own| own.first_chunk::<3>().cloned());
    columns.context("a short row")
}

fn lag(stage: &Stage) -> Result<()> {
    let cluster = Cluster::start(&stage.hosts().node, 1)?;
    let front = stage.private_with_config(&watchful(cluster.configured("east")), &[])?;
    known(&front, "primary;replica")?;
    let mut operator = front.open(USER_ROOT, "")?;
    let primary = follows(&mut operator, cluster.address(0)?)?;
    assert_eq!(primary, [Some("primary".to_owned()), None, None]);
    let replica = cluster.address(1)?;
    let mut shown = |what: &str, is_so: fn(&str, Option<u64>) -> bool| {
        wait::until_true(what, DEADLINE, || {
            let [_, replication, lag] = follows(&mut operator, replica)?;
            let lag = lag.map(|lag| lag.parse()).transpose()?;
            Ok(replication.is_some_and(|replication| is_so(&replication, lag)))
        })
    };
    shown("it follows", |how, lag| how == "running" && lag == Some(0))?;
    let mut holder = cluster.open(1)?;
    // What comes from the primary waits for this.
    holder.run("FLUSH TABLES WITH READ LOCK")?;
    cluster.open(0)?.run("CREATE DATABASE late")?;
    shown("it is behind", |how, lag| {
        how == "running" && lag.is_some_and(|lag| lag > 0)
    })?;
    holder.run("UNLOCK TABLES")?;
    cluster.catch_up(1, 0)?;
    shown("it has caught up", |how, lag| {
        how == "running" && lag == Some(0)
    })?;
    holder.run("STOP SLAVE")?;
    shown("it follows no more", |how, lag| {
        how == "stopped" && lag.is_none()
    })
}

/// MySQL knows `SHOW REPLICA STATUS` only.
fn stopped_replication(stage: &Stage) -> Result<()> {
    let server = mysql::start(&stage.hosts().node)?;
    let nowhere = stage.nowhere()?;
    let mut direct = Connection::open(server.address(), &Login::new(USER_ROOT, ""))?;
    direct.run(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{}', SOURCE_PORT = {}",
        nowhere.ip(),
        nowhere.port()
    ))?;
    let configured = config::Cluster::mysql("east", &[server.address()]).monitor(USER_ROOT, "");
    let front = stage.private_with_config(&watchful(configured), &[])?;
    known(&front, "primary")?;
    let mut operator = front.open(USER_ROOT, "")?;
    let shown = follows(&mut operator, server.address())?;
    assert_eq!(
        shown,
        [Some("primary".to_owned()), Some("stopped".to_owned()), None]
    );
    Ok(())
}
