//! What operators ask of the daemon as a whole: each statement once from the stock client, and what its numbers mean.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{PASSWORD, USER, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::Connection,
};
use std::{collections::BTreeMap, net::TcpListener, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("every_statement", every_statement).daemon(),
    Case::new("not_for_everybody", not_for_everybody).daemon(),
    Case::new("refused_by_name", refused_by_name).daemon(),
    Case::new("connections", connections).daemon(),
    Case::new("counters", counters).daemon(),
    Case::new("congestion", congestion).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// Each statement and the names of its first columns.
const STATEMENTS: [(&str, &[&str]); 12] = [
    (
        "SHOW PROXYCONFIG",
        &[
            "name",
            "value",
            "info",
            "need_reboot",
            "visible_level",
            "range",
            "config_level",
        ],
    ),
    ("SHOW PROXYCONFIG DIFF LIKE 'l%'", &["name", "value"]),
    ("SHOW PROXYINFO BINARY", &["name", "info"]),
    (
        "SHOW PROXYCLUSTER",
        &[
            "cluster_name",
            "cluster_id",
            "rs_url",
            "root_addr",
            "role",
            "replica_type",
        ],
    ),
    (
        "SHOW PROXYCONGESTION ALL",
        &[
            "cluster_name",
            "zone_name",
            "region_name",
            "zone_state",
            "server_ip",
        ],
    ),
    (
        "SHOW PROXYNET THREAD",
        &["net_thread_id", "current_connection_count"],
    ),
    (
        "SHOW PROXYNET CONNECTION",
        &[
            "thread_id",
            "connect_id",
            "socket_fd",
            "type",
            "src_ip",
            "src_port",
        ],
    ),
    ("SHOW PROXYSTAT", &["stat_name", "value", "persist_type"]),
    (
        "SHOW PROXYHELP",
        &["statement", "answered", "who", "help", "example"],
    ),
    ("SELECT PROXY_STATUS()", &["proxy_status"]),
    ("SELECT PROXY_VERSION()", &["proxy_version()"]),
    ("SHOW PROXYSESSION", &["proxy_sessid", "Id", "Cluster"]),
];

fn every_statement(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let client = front.client(USER_ROOT, "").option("--batch");
    for (statement, names) in STATEMENTS {
        let lines = client
            .execute(statement)?
            .lines()
            .with_context(|| statement.to_owned())?;
        let first = lines
            .first()
            .with_context(|| format!("{statement}: nothing"))?;
        ensure!(
            first.iter().zip(names).all(|(one, two)| one == two) && first.len() >= names.len(),
            "{statement}: {first:?}"
        );
        ensure!(lines.len() > 1, "{statement}: no row");
    }
    ensure!(client.execute("PING PROXY")?.success);
    Ok(())
}

/// Of others an operator's statement is the node's, which has never heard of it.
fn not_for_everybody(stage: &Stage) -> Result<()> {
    let mut user = stage.open()?;
    for (statement, _) in STATEMENTS {
        let outcome = user.query(statement)?.outcome;
        let for_all = ["SELECT", "SHOW PROXYHELP", "SHOW PROXYSESSION"];
        let expected = if for_all.iter().any(|head| statement.starts_with(head)) {
            0
        } else {
            1064
        };
        assert_eq!(outcome.code(), expected, "{statement}: {outcome}");
    }
    user.run("PING PROXY")?;
    assert_eq!(user.run("SELECT 'whole'")?.text()?, "whole");
    Ok(())
}

fn refused_by_name(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let mut operator = front.open(USER_ROOT, "")?;
    let help = operator.run("SHOW PROXYHELP")?.texts()?;
    let refused: Vec<_> = help
        .iter()
        .filter(|row| row.get(1) == Some(&Some("refused".to_owned())))
        .collect();
    ensure!(refused.len() >= 15, "{refused:?}");
    for row in refused {
        let cell = |at: usize| row.get(at).cloned().flatten().context("no cell");
        let (help, example) = (cell(3)?, cell(4)?);
        let error = operator.query(&example)?.outcome.to_string();
        ensure!(
            error.starts_with("error 1235 (42000): ") && error.ends_with(&help),
            "{example}: {error}"
        );
    }
    Ok(())
}

/// The rows of a statement, each by the names of its columns; NULL is no entry.
fn rows(connection: &mut Connection, statement: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let answer = connection.run(statement)?;
    let names: Vec<_> = answer
        .columns()?
        .into_iter()
        .map(|column| column.name)
        .collect();
    let row = |cells: Vec<Option<String>>| {
        let pairs = names.iter().cloned().zip(cells);
        pairs
            .filter_map(|(name, cell)| Some((name, cell?)))
            .collect()
    };
    Ok(answer.texts()?.into_iter().map(row).collect())
}

fn number(row: &BTreeMap<String, String>, name: &str) -> Result<u64> {
    let text = row
        .get(name)
        .with_context(|| format!("no {name} in {row:?}"))?;
    Ok(text.parse()?)
}

fn connections(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &["--workers", "2"])?;
    let mut operator = front.open(USER_ROOT, "")?;
    let client = front.open(USER, PASSWORD)?;
    let all = rows(&mut operator, "SHOW PROXYNET CONNECTION")?;
    assert_eq!(all.len(), 4, "{all:?}");
    let (id, port) = (
        client.greeting().thread_id.to_string(),
        client.stream().local_addr()?.port().to_string(),
    );
    let own = all
        .iter()
        .find(|row| {
            row.get("connect_id") == Some(&id)
                && row.get("type").is_some_and(|kind| kind == "accepted")
        })
        .context("the client's connection")?;
    assert_eq!(own.get("src_port"), Some(&port), "{own:?}");
    ensure!(number(own, "read_ndone")? > 0 && number(own, "write_ndone")? > 0);
    assert_eq!(number(own, "dst_port")?, u64::from(front.address().port()));
    let to_node = all
        .iter()
        .filter(|row| row.get("dst_port") == Some(&stage.node().port().to_string()));
    assert_eq!(to_node.count(), 2, "{all:?}");
    let threads = rows(&mut operator, "SHOW PROXYNET THREAD")?;
    assert_eq!(threads.len(), 2);
    for thread in &threads {
        assert_eq!(number(thread, "global_current_connection_count")?, 4);
        assert_eq!(number(thread, "global_current_client_connection_count")?, 2);
        ensure!(!thread.contains_key("total_epoll_wait"), "{thread:?}");
    }
    let thread = number(own, "thread_id")?;
    let of_thread = rows(&mut operator, &format!("SHOW PROXYNET CONNECTION {thread}"))?;
    let limited = rows(
        &mut operator,
        &format!("SHOW PROXYNET CONNECTION {thread} LIMIT 1, 1"),
    )?;
    assert_eq!(limited.len(), 1);
    assert_eq!(
        limited.first().and_then(|row| row.get("socket_fd")),
        of_thread.get(1).and_then(|row| row.get("socket_fd"))
    );
    drop(client);
    wait::until_true("its connections are gone", DEADLINE, || {
        Ok(rows(&mut operator, "SHOW PROXYNET CONNECTION")?.len() == 2)
    })
}

fn counters(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let mut operator = front.open(USER_ROOT, "")?;
    let value = |operator: &mut Connection, name: &str| -> Result<u64> {
        let rows = rows(operator, &format!("SHOW PROXYSTAT LIKE '{name}'"))?;
        number(rows.first().context("no such counter")?, "value")
    };
    let moved = if stage.path().splices() {
        "spliced_commands"
    } else {
        "relayed_commands"
    };
    let before = value(&mut operator, moved)?;
    let mut client = front.open(USER, PASSWORD)?;
    for _ in 0..50 {
        client.run("SELECT 1")?;
    }
    let during = value(&mut operator, moved)?;
    ensure!(during - before >= 50, "{before}, {during}");
    // What ties a session is counted as long as it does.
    let tied = "sticky_sessions_temporary_table";
    for (statement, count) in [
        ("SELECT 1", 0),
        ("CREATE TEMPORARY TABLE mysql.mine (a INT)", 1),
        ("DROP TEMPORARY TABLE mysql.mine", 0),
    ] {
        client.run(statement)?;
        assert_eq!(value(&mut operator, tied)?, count, "{statement}");
    }
    drop(client);
    wait::until_true("the session has ended", DEADLINE, || {
        Ok(value(&mut operator, "current_client_connections")? == 1)
    })?;
    // What has ended still counts.
    ensure!(value(&mut operator, moved)? >= during);
    assert_eq!(value(&mut operator, "total_client_sessions")?, 2);
    Ok(())
}

fn congestion(stage: &Stage) -> Result<()> {
    // A port that nobody listens on, and one that answers.
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = sluice_tests::config::Config::new()
        .cluster(sluice_tests::config::Cluster::mysql(
            "east",
            &[stage.node()],
        ))
        .cluster(sluice_tests::config::Cluster::mysql("west", &[free]));
    let front: Front = stage.private_with_config(&config, &["--workers", "2"])?;
    let mut operator = front.open(&format!("{USER_ROOT}@sys#east"), "")?;
    assert_eq!(rows(&mut operator, "SHOW PROXYCONGESTION")?, []);
    for _ in 0..3 {
        ensure!(front.open(&format!("{USER}@shop#west"), PASSWORD).is_err());
    }
    // A login is counted when its client has gone, which reads the error before that.
    let down = wait::until("three failures are counted", DEADLINE, || {
        let down = rows(&mut operator, "SHOW PROXYCONGESTION")?;
        let [down] = down.as_slice() else {
            return Ok(None);
        };
        Ok((number(down, "stat_conn_failures")? == 3).then(|| down.clone()))
    })?;
    let down = &down;
    assert_eq!(down.get("cluster_name").map(String::as_str), Some("west"));
    assert_eq!(down.get("server_ip"), Some(&free.to_string()));
    assert_eq!(number(down, "conn_failure_events")?, 3);
    ensure!(
        down.get("conn_last_fail_time")
            .is_some_and(|time| time.starts_with("20")),
        "{down:?}"
    );
    let all = rows(&mut operator, "SHOW PROXYCONGESTION ALL")?;
    assert_eq!(all.len(), 2);
    assert_eq!(rows(&mut operator, "SHOW PROXYCONGESTION east")?, []);
    assert_eq!(
        rows(&mut operator, "SHOW PROXYCONGESTION ALL east")?.len(),
        1
    );
    Ok(())
}
