//! Watches nodes: on an interval the monitor account logs in, or uses the connection that it has, and asks what the node is.

use std::{rc::Rc, sync::Arc, time::Duration};

use mysql_async::{
    Conn, Row,
    prelude::{FromValue, Queryable as _},
};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{MissedTickBehavior, interval},
};

use super::{
    MonitorError,
    connection::{failed, log_in_to},
    denials::Denials,
    patience::within,
};
use crate::{
    config::{Account, ClusterKind, HealthSettings, NodeAddress, Settings},
    node::Health,
    route::health::{Probe, Replication, Unfit},
};

/// `SHOW` takes names that a make does not have, and answers without them.
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('read_only', 'super_read_only', 'offline_mode', 'wsrep_on', 'server_id', 'version')";
const GALERA: &str =
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_local_state')";
/// Since MySQL 8.0.22 and MariaDB 10.5.1; before, the word was another.
const MYSQL: [&str; 2] = ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"];
/// In MariaDB these have named connections, too.
const MARIADB: [&str; 2] = ["SHOW ALL REPLICAS STATUS", "SHOW ALL SLAVES STATUS"];
/// `ER_PARSE_ERROR`.
const NOT_UNDERSTOOD: u16 = 1064;
/// Names of the column that says how far a replica is behind: of MariaDB and old MySQL, and of MySQL since 8.0.22.
const BEHIND: [&str; 2] = ["Seconds_Behind_Master", "Seconds_Behind_Source"];
/// Likewise, of its primary's id, and of those that say whether its two threads run; one that tries to connect is not at rest.
const SOURCE: [&str; 2] = ["Master_Server_Id", "Source_Server_Id"];
const RECEIVES: [&str; 2] = ["Slave_IO_Running", "Replica_IO_Running"];
const APPLIES: [&str; 2] = ["Slave_SQL_Running", "Replica_SQL_Running"];
const AT_REST: &str = "No";
/// `wsrep_local_state` of a node in step ("Galera status variables", MariaDB's documentation).
const SYNCED: &str = "4";

/// One node to watch, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Subject {
    node: NodeAddress,
    account: Account,
    kind: ClusterKind,
    max_lag: Option<Duration>,
    settings: HealthSettings,
    /// Logins begin with a PROXY header, the account's connections do not: that it is let in proves nothing of logins.
    has_header: bool,
}

/// The nodes that are watched. Those that leave it are not watched any more.
pub(super) struct Watches {
    tasks: Vec<(Subject, JoinHandle<()>)>,
    denials: Rc<Denials>,
}

impl Watches {
    /// None yet.
    pub(super) fn new(denials: &Rc<Denials>) -> Self {
        Self {
            tasks: Vec::new(),
            denials: Rc::clone(denials),
        }
    }

    /// Watches the nodes of all clusters that have an account; who was watched already goes on.
    pub(super) fn follow(&mut self, settings: &Settings, health: &Arc<Health>) {
        let mut earlier = std::mem::take(&mut self.tasks);
        for cluster in &settings.clusters {
            let Some(account) = &cluster.monitor else {
                continue;
            };
            for node in cluster.addresses() {
                let subject = Subject {
                    node: node.clone(),
                    account: account.clone(),
                    kind: cluster.kind,
                    max_lag: cluster.max_lag,
                    settings: settings.health,
                    has_header: cluster.proxy_protocol.is_some(),
                };
                let known = earlier.iter().position(|(known, _)| *known == subject);
                self.tasks.push(if let Some(at) = known {
                    earlier.swap_remove(at)
                } else {
                    let task = spawn_local(watch(
                        subject.clone(),
                        Arc::clone(health),
                        Rc::clone(&self.denials),
                    ));
                    (subject, task)
                });
            }
        }
        for (_, task) in earlier {
            task.abort();
        }
    }
}

/// Watches one node for ever.
async fn watch(subject: Subject, health: Arc<Health>, denials: Rc<Denials>) {
    let mut ticks = interval(subject.settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = None;
    let mut is_denied = false;
    loop {
        ticks.tick().await;
        if !subject.has_header && is_avoided(&subject, &health) {
            // Whether it lets anybody in, only a new connection tells.
            kept = None;
        }
        let is_proof = kept.is_none() && !subject.has_header;
        let asked = within(
            subject.settings.timeout,
            look(&subject, &mut kept, &denials),
        );
        let outcome = asked.await.unwrap_or(Err(MonitorError::Timeout));
        if outcome.is_err() {
            kept = None;
        }
        let was_denied = is_denied;
        is_denied = matches!(outcome, Err(MonitorError::Denied(_)));
        if let Err(MonitorError::Denied(cause)) = &outcome
            && !was_denied
        {
            let node = &subject.node;
            tracing::warn!(%node, cause, "node answers, but does not let the monitor account in");
        }
        let is_back = outcome.is_ok() && is_avoided(&subject, &health);
        write_down(&subject, &health, outcome);
        let (node, now_ms) = (&subject.node, health.now_ms());
        if is_back && health.note(|book| book.let_in(node, is_proof, now_ms)) {
            tracing::info!(%node, "node lets the monitor account in: logins may try it again");
        }
    }
}

/// Whether logins have found that the node does not answer.
fn is_avoided(subject: &Subject, health: &Health) -> bool {
    let known = health.book().get(&subject.node);
    known.logins.listed_at_ms.is_some()
}

fn write_down(subject: &Subject, health: &Health, outcome: Result<Probe, MonitorError>) {
    let (node, now_ms) = (&subject.node, health.now_ms());
    match outcome {
        Ok(probe) => {
            let (read_only, unfit) = (probe.is_read_only, probe.unfit.map(Unfit::text));
            if health.note(|book| book.probed(node, probe, subject.max_lag, now_ms)) {
                tracing::info!(%node, read_only, unfit, "node answers");
            }
        }
        Err(MonitorError::Denied(cause)) => {
            health.note(|book| book.probe_denied(node, &cause, now_ms));
        }
        Err(error) => {
            let (cause, limit) = (error.to_string(), subject.settings.failures);
            if health.note(|book| book.probe_failed(node, &cause, now_ms, limit)) {
                tracing::warn!(%node, cause, "node is down");
            }
        }
    }
}

/// Asks a node what it is. A kept connection may have broken long ago: then a new one tells.
async fn look(
    subject: &Subject,
    kept: &mut Option<Conn>,
    denials: &Denials,
) -> Result<Probe, MonitorError> {
    if let Some(mut connection) = kept.take()
        && let Ok(probe) = ask(&mut connection, subject.kind).await
    {
        *kept = Some(connection);
        return Ok(probe);
    }
    let mut connection = log_in_to(&subject.node, &subject.account, denials).await?;
    let probe = ask(&mut connection, subject.kind).await?;
    *kept = Some(connection);
    Ok(probe)
}

async fn ask(connection: &mut Conn, kind: ClusterKind) -> Result<Probe, MonitorError> {
    let variables = pairs(connection, VARIABLES).await?;
    let is_on = |name: &str| {
        let value = value(&variables, name);
        value.is_some_and(|value| !matches!(value, "OFF" | "0" | ""))
    };
    let mut probe = Probe {
        is_read_only: is_on("read_only") || is_on("super_read_only"),
        unfit: is_on("offline_mode").then_some(Unfit::Offline),
        replication: Replication {
            server_id: value(&variables, "server_id").and_then(|id| id.parse().ok()),
            is_galera: is_on("wsrep_on"),
            ..Replication::default()
        },
        ..Probe::default()
    };
    if probe.replication.is_galera {
        let status = pairs(connection, GALERA).await?;
        let is_synced = value(&status, "wsrep_ready") == Some("ON")
            && value(&status, "wsrep_local_state") == Some(SYNCED);
        probe.unfit = probe.unfit.or((!is_synced).then_some(Unfit::NotSynced));
    }
    if kind == ClusterKind::MySql {
        let is_mariadb = value(&variables, "version").is_some_and(|text| text.contains("MariaDB"));
        let statements = if is_mariadb { MARIADB } else { MYSQL };
        let behind = follows(connection, statements, &mut probe.replication.sources).await?;
        probe.is_replication_stopped = behind.contains(&None);
        if !probe.is_replication_stopped {
            probe.lag = behind.into_iter().flatten().max();
        }
    }
    Ok(probe)
}

/// How far a node is behind each primary that it is told to follow; None where it follows no more. Empty: there is none, or the account
/// may not see it, which is no failure. `sources`: gets the ids of those at which it has not been told to stop.
async fn follows(
    connection: &mut Conn,
    [replica, slave]: [&str; 2],
    sources: &mut Vec<u64>,
) -> Result<Vec<Option<Duration>>, MonitorError> {
    let mut rows: Result<Vec<Row>, _> = connection.query(replica).await;
    if let Err(mysql_async::Error::Server(refused)) = &rows
        && refused.code == NOT_UNDERSTOOD
    {
        rows = connection.query(slave).await;
    }
    let rows = match rows {
        Ok(rows) => rows,
        Err(mysql_async::Error::Server(_)) => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    let at_rest = Some(AT_REST.to_owned());
    let moves = rows.iter().filter(|row| {
        let is_at_rest = |names| column::<String>(row, names) == at_rest;
        !(is_at_rest(RECEIVES) && is_at_rest(APPLIES))
    });
    sources.extend(moves.map(|row| column::<u64>(row, SOURCE).unwrap_or_default()));
    let seconds = rows
        .iter()
        .map(|row| column(row, BEHIND).map(Duration::from_secs));
    Ok(seconds.collect())
}

/// The value of the column that has one of these names; None if it is NULL.
fn column<T: FromValue>(row: &Row, names: [&str; 2]) -> Option<T> {
    let mut names = names.iter();
    names.find_map(|name| row.get_opt::<Option<T>, _>(*name)?.ok()?)
}

async fn pairs(connection: &mut Conn, sql: &str) -> Result<Vec<(String, String)>, MonitorError> {
    connection.query(sql).await.map_err(failed)
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = pairs
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}
