//! From the text of a configuration file and the command line to [`Settings`]. Pure: reading the file is the caller's.

mod admin;
mod alter;
mod cluster;
mod file;
mod fleet;
pub mod key;
mod node;
mod proxy_protocol;
mod reload;
mod tls;
mod value;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use admin::AdminPassword;
pub use alter::{Alteration, alter};
pub use cluster::{Account, Cluster, Secret};
pub use fleet::Fleet;
pub use node::{Listing, Node};
pub use proxy_protocol::Networks;
pub use reload::{Reload, reload};
pub use tls::{ClientTls, NodeTls};
pub use value::{
    ByteCount, ClusterKind, Failures, GroupLimit, HeaderVersion, LogFormat, LogLevel,
    LoginFailures, MaxConnections, MemoryLimit, Namespaces, NodeAddress, NodeRole, PathChoice,
    Patience, Policy, ProxyId, ReaderChoice, Splice, Timeout, TlsMode, Workers,
};

/// Everything that can be set, checked, with defaults filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where clients connect. Port 0: the system chooses one.
    pub listen: SocketAddr,
    /// Whether sessions are spliced.
    pub splice: Splice,
    /// In which network namespaces the ends of a spliced session may be.
    pub namespaces: Namespaces,
    /// By which way they may be.
    pub path: PathChoice,
    /// Worker threads. `None`: one per core.
    pub workers: Option<u32>,
    /// Client sessions that may live at once.
    pub max_connections: u32,
    /// Those of one tenant. None: any number.
    pub max_tenant_connections: Option<u32>,
    /// Those of one user. None: any number.
    pub max_user_connections: Option<u32>,
    /// Bytes of memory that the daemon may have before it lets nobody in any more. None: any number.
    pub max_memory: Option<u64>,
    /// From accept to the end of the login; a client that takes longer is dropped.
    pub login_timeout: Duration,
    /// For a TCP connection to a node.
    pub connect_timeout: Duration,
    /// Wrong passwords in a row, of one user from one address, that have no consequence. None: any number.
    pub max_login_failures: Option<u32>,
    /// How long a client may send nothing between two commands. Zero: for ever.
    pub idle_timeout: Duration,
    /// How long a statement may take, to the last byte of its answer. Zero: for ever.
    pub query_timeout: Duration,
    /// How long sessions may stay at a drained node. Zero: as long as they must.
    pub drain_timeout: Duration,
    /// How long sessions may go on when the daemon is told to stop. Zero: not at all.
    pub shutdown_timeout: Duration,
    /// Silence on a connection before the kernel asks whether its peer still lives, in whole seconds, one at least.
    pub keepalive_idle: Duration,
    /// Bytes outstanding towards a slow reader before a response is spilled to the daemon.
    pub splice_limit: u64,
    /// How nodes are watched.
    pub health: HealthSettings,
    /// What is logged.
    pub log: LogSettings,
    /// This proxy's number in its fleet: 13 bits of every client session's id.
    pub proxy_id: u32,
    /// Where this proxy stands, among its nodes' zones.
    pub zone: Option<String>,
    /// The tenant of logins that name none.
    pub default_tenant: String,
    /// The cluster of logins that name none: the name of one of `clusters`.
    pub default_cluster: String,
    /// Whether and how the proxy's own users log in.
    pub admin: Option<AdminPassword>,
    /// The other proxies of its fleet.
    pub fleet: Fleet,
    /// TLS towards clients, if it is offered.
    pub tls: Option<ClientTls>,
    /// Whose PROXY headers are believed, and expected.
    pub proxy_protocol_from: Networks,
    /// Accounts of clients in whose place the proxy may log in where it cannot without the password; the names differ.
    pub users: Vec<Account>,
    /// At least one; the names differ.
    pub clusters: Vec<Cluster>,
}

/// How nodes are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthSettings {
    /// From one question of the monitor account to the next.
    pub interval: Duration,
    /// For connection, login and answers together.
    pub timeout: Duration,
    /// Questions, or logins of clients, that fail in a row before a node counts as down. At least 1.
    pub failures: u32,
    /// From one question for a cluster's servers and tenants to the next.
    pub discovery: Duration,
}

/// What is logged, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// Form of a line.
    pub format: LogFormat,
    /// Least severe level that is logged.
    pub level: LogLevel,
}

/// What the command line says. It wins over the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(
    missing_docs,
    reason = "as in `Settings`; `server` makes a cluster of one node"
)]
pub struct Overrides {
    pub listen: Option<SocketAddr>,
    pub server: Option<NodeAddress>,
    pub splice: Option<Splice>,
    pub namespaces: Option<Namespaces>,
    pub path: Option<PathChoice>,
    pub workers: Option<Workers>,
    pub max_connections: Option<MaxConnections>,
    pub login_timeout: Option<Timeout>,
    pub connect_timeout: Option<Timeout>,
    pub splice_limit: Option<ByteCount>,
    pub log_format: Option<LogFormat>,
    pub log_level: Option<LogLevel>,
}

/// Where the settings of a daemon were read from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// What the command line said.
    pub line: Overrides,
}

/// What is wrong with the configuration, where, and what would be right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{message}", line.map_or_else(String::new, |line| format!("line {line}: ")))]
pub struct ConfigError {
    /// Line of the file, counted from 1. `None` if no line is to blame.
    pub line: Option<usize>,
    /// Key, value and remedy.
    pub message: String,
}

/// ODP's port.
const PORT_DEFAULT: u16 = 2883;
const MAX_CONNECTIONS_DEFAULT: u32 = 10_000;
const LOGIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// What [`Settings::keepalive_idle`] is where nobody says otherwise.
pub const KEEPALIVE_IDLE_DEFAULT: Duration = Duration::from_mins(1);
const SPLICE_LIMIT_DEFAULT: u64 = 1 << 20;
/// ODP's (`server_detect_fail_threshold` and the interval of its probes).
const HEALTH_DEFAULT: HealthSettings = HealthSettings {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(2),
    failures: 3,
    discovery: Duration::from_secs(10),
};
const PROXY_ID_DEFAULT: u32 = 1;
/// ODP's default.
const TENANT_DEFAULT: &str = "sys";
/// The cluster's name where only one node is given.
const CLUSTER_DEFAULT: &str = "default";

/// The settings that a file's text (empty: no file) and the command line make together.
///
/// # Errors
/// The first thing that is wrong. The message never holds a password.
pub fn settings(text: &str, line: Overrides) -> Result<Settings, ConfigError> {
    let file = file::parse(text)?;
    let clusters = file.clusters(text, line.server)?;
    let default_cluster = file.default_cluster(text, &clusters)?;
    let admin = file.admin(text)?;
    let fleet = file.fleet(text, admin.is_some())?;
    let tls = file.tls(text)?;
    let users = file.users(text)?;
    Ok(Settings {
        listen: line
            .listen
            .or(file.listen.map(value::Listen::address))
            .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, PORT_DEFAULT).into()),
        splice: line.splice.or(file.splice).unwrap_or(Splice::Auto),
        namespaces: line
            .namespaces
            .or(file.namespaces)
            .unwrap_or(Namespaces::All),
        path: line.path.or(file.path).unwrap_or(PathChoice::Auto),
        workers: line.workers.or(file.workers).map(Workers::get),
        max_connections: line
            .max_connections
            .or(file.max_connections)
            .map_or(MAX_CONNECTIONS_DEFAULT, MaxConnections::get),
        max_tenant_connections: limit(file.max_tenant_connections),
        max_user_connections: limit(file.max_user_connections),
        max_memory: file.max_memory.and_then(MemoryLimit::get),
        login_timeout: line
            .login_timeout
            .or(file.login_timeout)
            .map_or(LOGIN_TIMEOUT_DEFAULT, Timeout::get),
        connect_timeout: line
            .connect_timeout
            .or(file.connect_timeout)
            .map_or(CONNECT_TIMEOUT_DEFAULT, Timeout::get),
        max_login_failures: file
            .max_login_failures
            .map(LoginFailures::get)
            .filter(|limit| *limit > 0),
        idle_timeout: file.idle_timeout.map_or(Duration::ZERO, Patience::get),
        query_timeout: file.query_timeout(text, &clusters)?,
        drain_timeout: file.drain_timeout.map_or(Duration::ZERO, Patience::get),
        shutdown_timeout: file.shutdown_timeout.map_or(Duration::ZERO, Patience::get),
        keepalive_idle: file
            .keepalive_idle
            .map_or(KEEPALIVE_IDLE_DEFAULT, Timeout::get),
        splice_limit: line
            .splice_limit
            .or(file.splice_limit)
            .map_or(SPLICE_LIMIT_DEFAULT, ByteCount::get),
        health: health(&file.health),
        log: LogSettings {
            format: line
                .log_format
                .or(file.log.format)
                .unwrap_or(LogFormat::Text),
            level: line.log_level.or(file.log.level).unwrap_or(LogLevel::Info),
        },
        proxy_id: file.proxy_id.map_or(PROXY_ID_DEFAULT, ProxyId::get),
        zone: file.zone.map(value::Name::into_string),
        default_tenant: file
            .default_tenant
            .map_or_else(|| TENANT_DEFAULT.to_owned(), value::Name::into_string),
        default_cluster,
        admin,
        fleet,
        tls,
        proxy_protocol_from: file.proxy_protocol.from,
        users,
        clusters,
    })
}

/// A limit on sessions, if there is one.
fn limit(key: Option<GroupLimit>) -> Option<u32> {
    key.map(GroupLimit::get).filter(|limit| *limit > 0)
}

/// How nodes are watched.
fn health(table: &file::HealthTable) -> HealthSettings {
    let HealthSettings {
        interval,
        timeout,
        failures,
        discovery,
    } = HEALTH_DEFAULT;
    HealthSettings {
        interval: table.interval.map_or(interval, Timeout::get),
        timeout: table.timeout.map_or(timeout, Timeout::get),
        failures: table.failures.map_or(failures, Failures::get),
        discovery: table.discovery.map_or(discovery, Timeout::get),
    }
}

impl Settings {
    /// The cluster that a login means by this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters
            .iter()
            .find(|cluster| cluster.takes_any_name || cluster.name == name)
    }

    /// The cluster that a login means by this name, as it is to sessions of this tenant.
    pub fn cluster_of(&self, name: &str, tenant: &str) -> Option<&Cluster> {
        let cluster = self.cluster(name)?;
        Some(cluster.of_tenants.get(tenant).unwrap_or(cluster))
    }

    /// Whether a cluster's sessions may read at another node than they write at.
    pub fn splits_reads(&self) -> bool {
        let mut clusters = self.clusters.iter();
        clusters.any(|cluster| cluster.policy == Policy::ReadWriteSplit)
    }

    /// The password of a client's account, if the configuration gives it: as `user@tenant`, else as `user` alone.
    pub fn password_of(&self, user: &str, tenant: &str) -> Option<&Secret> {
        let full = format!("{user}@{tenant}");
        let of = |name: &str| self.users.iter().find(|account| account.user == name);
        of(&full)
            .or_else(|| of(user))
            .map(|account| &account.password)
    }
}

#[cfg(test)]
mod tests;
