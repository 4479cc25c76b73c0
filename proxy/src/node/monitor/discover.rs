//! Asks clusters of `OceanBase` for their servers and tenants, on an interval. The nodes of the configuration are who is asked first; those that a cluster has
//! named are asked, too.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use mysql_async::Conn;
use tokio::{
    net::lookup_host,
    task::{JoinHandle, spawn_local},
    time::{MissedTickBehavior, interval},
};

use super::{
    Kind, MonitorError, ORDER_TIME, Rows,
    connection::{log_in_to, rows},
    denials::Denials,
    patience::within,
};
use crate::{
    config::{Account, Listing, NodeAddress, Settings},
    node::Health,
    route::discovery::{Answers, Found, Refused, Seed},
};

/// The servers, since version 4, and before.
const SERVERS: [&str; 2] = [
    "SELECT SVR_IP, SQL_PORT, ZONE, STATUS, START_SERVICE_TIME IS NOT NULL, STOP_TIME IS NOT NULL FROM oceanbase.DBA_OB_SERVERS ORDER BY ID",
    "SELECT svr_ip, inner_port, zone, status, start_service_time > 0, stop_time > 0 FROM oceanbase.__all_server WHERE inner_port > 0 ORDER BY id",
];
/// The tenants, since version 4, and before. A meta tenant belongs to another one, and nobody logs in to it.
const TENANTS: [&str; 2] = [
    "SELECT TENANT_ID, TENANT_NAME, TENANT_ROLE FROM oceanbase.DBA_OB_TENANTS WHERE TENANT_TYPE <> 'META'",
    "SELECT tenant_id, tenant_name, NULL FROM oceanbase.__all_tenant",
];
/// Where tenants have their data, since version 4; a replica of logs alone answers nothing. Version 3 lists every partition: it is not asked.
const PLACES: &str = "SELECT TENANT_ID, SVR_IP, SQL_PORT, MAX(CASE ROLE WHEN 'LEADER' THEN 1 ELSE 0 END) FROM oceanbase.CDB_OB_LS_LOCATIONS \
     WHERE COALESCE(REPLICA_TYPE, '') NOT LIKE '%LOGONLY' GROUP BY TENANT_ID, SVR_IP, SQL_PORT";

/// One cluster to ask, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Subject {
    cluster: String,
    /// Its nodes in the configuration.
    seeds: Vec<NodeAddress>,
    account: Account,
    every: Duration,
}

/// The clusters that are asked.
pub(super) struct Discoveries {
    tasks: Vec<(Subject, JoinHandle<()>)>,
    denials: Rc<Denials>,
}

impl Discoveries {
    /// None yet.
    pub(super) fn new(denials: &Rc<Denials>) -> Self {
        Self {
            tasks: Vec::new(),
            denials: Rc::clone(denials),
        }
    }

    /// Asks these settings' clusters from now on; who was asked already goes on. What others have said is forgotten.
    pub(super) fn follow(&mut self, settings: &Settings, health: &Arc<Health>) {
        let mut earlier = std::mem::take(&mut self.tasks);
        for cluster in settings.clusters.iter().filter(|one| one.discovery) {
            let Some(account) = &cluster.monitor else {
                continue;
            };
            let configured = cluster.nodes.iter().filter(|node| !node.is_discovered);
            let subject = Subject {
                cluster: cluster.name.clone(),
                seeds: configured.map(|node| node.address.clone()).collect(),
                account: account.clone(),
                every: settings.health.discovery,
            };
            let known = earlier.iter().position(|(known, _)| *known == subject);
            self.tasks.push(if let Some(at) = known {
                earlier.swap_remove(at)
            } else {
                let task = Task {
                    subject: subject.clone(),
                    health: Arc::clone(health),
                    denials: Rc::clone(&self.denials),
                    kept: None,
                    found: None,
                    told: None,
                    refused: Refused::default(),
                };
                (subject, spawn_local(task.run()))
            });
        }
        for (subject, task) in earlier {
            task.abort();
            let mut now = self.tasks.iter().map(|(now, _)| now);
            let is_same = now.any(|now| {
                now.cluster == subject.cluster
                    && now.seeds.iter().any(|seed| subject.seeds.contains(seed))
            });
            if !is_same {
                health.forget_found(&subject.cluster);
            }
        }
    }
}

/// Why nothing is known of a cluster's servers.
enum Failure {
    /// No node could be asked.
    Unreachable(String),
    /// A node was, and does not say.
    Unlisted(String),
}

/// One cluster's questions.
struct Task {
    subject: Subject,
    health: Arc<Health>,
    denials: Rc<Denials>,
    kept: Option<Conn>,
    found: Option<Found>,
    /// The failure that was logged last.
    told: Option<String>,
    /// The rows that were logged last.
    refused: Refused,
}

impl Task {
    /// Asks for ever.
    async fn run(mut self) {
        let mut ticks = interval(self.subject.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let seeds = seeds(&self.subject.seeds).await;
            let failure = match self.look().await {
                Ok(answers) => self.take(&answers, &seeds).err(),
                Err(failure) => Some(failure),
            };
            self.tell(failure);
        }
    }

    /// Takes in what a node has said.
    fn take(&mut self, answers: &Owned, seeds: &[Seed]) -> Result<(), Failure> {
        let cluster = &self.subject.cluster;
        let (found, refused) = answers.borrow().read(seeds);
        if refused != self.refused && refused.count > 0 {
            let (rows, why) = (refused.count, refused.why.join("; "));
            tracing::warn!(
                cluster,
                rows,
                why,
                "what a node says of its cluster is refused"
            );
        }
        self.refused = refused;
        if found.servers.is_empty() {
            return Err(Failure::Unlisted("it lists no server".to_owned()));
        }
        self.health.discovered(cluster, &found);
        self.found = Some(found);
        Ok(())
    }

    /// Logs a failure, once until there is another or none.
    fn tell(&mut self, failure: Option<Failure>) {
        let cluster = &self.subject.cluster;
        let told = failure.map(|failure| match failure {
            Failure::Unreachable(why) => (why, "nobody says which servers the cluster has"),
            Failure::Unlisted(why) => (
                why,
                "the cluster does not list its servers: those known stand",
            ),
        });
        let why = told.as_ref().map(|(why, _)| why.clone());
        if let Some((why, message)) = told.filter(|(why, _)| self.told.as_ref() != Some(why)) {
            tracing::warn!(cluster, why, "{message}");
        }
        self.told = why;
    }

    /// Asks a node: that of the kept connection, else the first that lets the account in.
    async fn look(&mut self) -> Result<Owned, Failure> {
        if let Some(mut kept) = self.kept.take()
            && let Ok(answers) = ask(&mut kept).await
        {
            self.kept = Some(kept);
            return Ok(answers);
        }
        let mut failure = Failure::Unreachable("it has no node".to_owned());
        for node in self.nodes() {
            let connection = log_in_to(&node, &self.subject.account, &self.denials).await;
            let mut connection = match connection {
                Ok(connection) => connection,
                Err(error) => {
                    failure = Failure::Unreachable(format!("{node}: {error}"));
                    continue;
                }
            };
            match ask(&mut connection).await {
                Ok(answers) => {
                    self.kept = Some(connection);
                    return Ok(answers);
                }
                // Another one would say the same.
                Err(MonitorError::Refused { number, text, .. }) => {
                    let why = format!("{node}: error {number}: {text}");
                    return Err(Failure::Unlisted(why));
                }
                Err(error) => failure = Failure::Unreachable(format!("{node}: {error}")),
            }
        }
        Err(failure)
    }

    /// Whom to ask: who serves first.
    fn nodes(&self) -> Vec<NodeAddress> {
        let servers = self.found.iter().flat_map(|found| &found.servers);
        let mut nodes: Vec<_> = servers
            .filter(|server| server.listing == Listing::Active)
            .map(|server| server.address.clone())
            .collect();
        let seeds = self.subject.seeds.iter();
        nodes.extend(seeds.cloned());
        let book = self.health.book();
        nodes.sort_by_key(|node| book.get(node).is_listed());
        nodes
    }
}

/// A node's answers.
struct Owned {
    servers: Rows,
    tenants: Rows,
    places: Rows,
}

impl Owned {
    fn borrow(&self) -> Answers<'_> {
        Answers {
            servers: &self.servers,
            tenants: &self.tenants,
            places: &self.places,
        }
    }
}

/// Asks a node for all of it. Of tenants it need not say anything.
async fn ask(connection: &mut Conn) -> Result<Owned, MonitorError> {
    let [since, before] = SERVERS;
    let first = question(connection, since).await;
    let is_old = matches!(first, Err(MonitorError::Refused { .. }));
    let servers = match first {
        // What the newer question was refused with is what there is to say.
        Err(refused) if is_old => {
            let second = question(connection, before).await;
            second.map_err(|error| match error {
                MonitorError::Refused { .. } => refused,
                error => error,
            })?
        }
        first => first?,
    };
    let [since, before] = TENANTS;
    let tenants = if is_old { before } else { since };
    let tenants = or_nothing(question(connection, tenants).await)?;
    let places = if is_old {
        Rows::new()
    } else {
        or_nothing(question(connection, PLACES).await)?
    };
    Ok(Owned {
        servers,
        tenants,
        places,
    })
}

async fn question(connection: &mut Conn, sql: &str) -> Result<Rows, MonitorError> {
    let rows = within(ORDER_TIME, rows(connection, sql, Kind::Query.bounds())).await;
    rows.unwrap_or(Err(MonitorError::Timeout))
}

fn or_nothing(rows: Result<Rows, MonitorError>) -> Result<Rows, MonitorError> {
    match rows {
        Err(MonitorError::Refused { .. }) => Ok(Rows::new()),
        rows => rows,
    }
}

/// The configuration's nodes with the addresses that their names have now.
async fn seeds(nodes: &[NodeAddress]) -> Vec<Seed> {
    let mut seeds = Vec::with_capacity(nodes.len());
    for node in nodes {
        let resolved = match node.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_name) => match within(ORDER_TIME, lookup_host(node.to_string())).await {
                Some(Ok(found)) => found.map(|address| address.ip()).collect(),
                Some(Err(_)) | None => Vec::new(),
            },
        };
        seeds.push(Seed {
            address: node.clone(),
            resolved,
        });
    }
    seeds
}
