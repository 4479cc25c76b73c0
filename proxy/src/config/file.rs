//! The configuration file as it is written: TOML, every key optional, an unknown one an error.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::admin::{AdminPassword, AdminTable};
use super::cluster::{Account, Cluster, ClusterTable};
use super::fleet::{Fleet, FleetTable};
use super::proxy_protocol::ProxyProtocolTable;
use super::tls::{ClientTls, NodeTls, TlsTable};
use super::value::{
    ByteCount, ClusterName, Failures, GroupLimit, Listen, LogFormat, LogLevel, LoginFailures,
    MaxConnections, MemoryLimit, Name, Namespaces, NodeAddress, PathChoice, Patience, ProxyId,
    Splice, Timeout, TlsMode, Workers,
};
use super::{CLUSTER_DEFAULT, ConfigError};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) listen: Option<Listen>,
    server: Option<Spanned<NodeAddress>>,
    monitor: Option<Spanned<Account>>,
    server_tls: Option<Spanned<TlsMode>>,
    server_tls_ca: Option<PathBuf>,
    server_tls_server_name: Option<String>,
    pub(super) splice: Option<Splice>,
    pub(super) namespaces: Option<Namespaces>,
    pub(super) path: Option<PathChoice>,
    pub(super) workers: Option<Workers>,
    pub(super) max_connections: Option<MaxConnections>,
    pub(super) max_tenant_connections: Option<GroupLimit>,
    pub(super) max_user_connections: Option<GroupLimit>,
    pub(super) max_memory: Option<MemoryLimit>,
    pub(super) login_timeout: Option<Timeout>,
    pub(super) connect_timeout: Option<Timeout>,
    pub(super) max_login_failures: Option<LoginFailures>,
    pub(super) idle_timeout: Option<Patience>,
    query_timeout: Option<Spanned<Patience>>,
    pub(super) drain_timeout: Option<Patience>,
    pub(super) shutdown_timeout: Option<Patience>,
    pub(super) keepalive_idle: Option<Timeout>,
    pub(super) splice_limit: Option<ByteCount>,
    pub(super) proxy_id: Option<ProxyId>,
    pub(super) zone: Option<Name>,
    pub(super) default_tenant: Option<Name>,
    default_cluster: Option<Spanned<ClusterName>>,
    pub(super) health: HealthTable,
    pub(super) log: LogTable,
    admin: Option<Spanned<AdminTable>>,
    fleet: Option<Spanned<FleetTable>>,
    tls: Option<Spanned<TlsTable>>,
    pub(super) proxy_protocol: ProxyProtocolTable,
    user: Vec<Spanned<Account>>,
    cluster: Vec<Spanned<ClusterTable>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HealthTable {
    pub(super) interval: Option<Timeout>,
    pub(super) timeout: Option<Timeout>,
    pub(super) failures: Option<Failures>,
    pub(super) discovery: Option<Timeout>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogTable {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<LogLevel>,
}

/// Reads the file's text.
pub(super) fn parse(text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| describe(text, error))
}

impl File {
    /// The clusters: one of a single node where the command line or the file names a server, else the file's.
    pub(super) fn clusters(
        &self,
        text: &str,
        server: Option<NodeAddress>,
    ) -> Result<Vec<Cluster>, ConfigError> {
        if let (Some(key), [_, ..]) = (&self.server, &*self.cluster) {
            let message = "server: stands beside [[cluster]]; make it one of that cluster's nodes";
            return Err(at(text, key, message.to_owned()));
        }
        if let (Some(key), [_, ..]) = (&self.monitor, &*self.cluster) {
            let message = "monitor: stands beside [[cluster]]; give the account in that cluster";
            return Err(at(text, key, message.to_owned()));
        }
        if let (Some(key), [_, ..]) = (&self.server_tls, &*self.cluster) {
            let message = "server_tls: stands beside [[cluster]]; give tls in that cluster";
            return Err(at(text, key, message.to_owned()));
        }
        if let Some(node) = server.or_else(|| self.server.as_ref().map(|key| key.get_ref().clone()))
        {
            let name = self
                .default_cluster
                .as_ref()
                .map_or(CLUSTER_DEFAULT, |name| name.get_ref().as_str());
            let monitor = self.monitor.as_ref().map(|key| key.get_ref().clone());
            let tls = NodeTls::check(
                "server_",
                self.server_tls.as_ref().map(|key| *key.get_ref()),
                self.server_tls_ca.as_ref(),
                self.server_tls_server_name.as_ref(),
            );
            let tls = tls.map_err(|message| ConfigError {
                line: self
                    .server_tls
                    .as_ref()
                    .and_then(|key| line_of(text, key.span().start)),
                message,
            })?;
            return Ok(vec![Cluster::of_one_node(name, node).with(monitor, tls)]);
        }
        if self.cluster.is_empty() {
            let message = "no node to connect to: give --server HOST:PORT, or server or [[cluster]] in the file";
            return Err(ConfigError {
                line: None,
                message: message.to_owned(),
            });
        }
        let mut clusters: Vec<Cluster> = Vec::with_capacity(self.cluster.len());
        for table in &self.cluster {
            let cluster = table
                .get_ref()
                .check()
                .map_err(|message| at(text, table, message))?;
            if clusters.iter().any(|other| other.name == cluster.name) {
                let message = format!(
                    "cluster.name = \"{}\": a cluster above has this name",
                    cluster.name
                );
                return Err(at(text, table, message));
            }
            clusters.push(cluster);
        }
        Ok(clusters)
    }

    /// How long a statement may take. Zero: for ever.
    pub(super) fn query_timeout(
        &self,
        text: &str,
        clusters: &[Cluster],
    ) -> Result<Duration, ConfigError> {
        let Some(key) = &self.query_timeout else {
            return Ok(Duration::ZERO);
        };
        let limit = key.get_ref().get();
        match clusters.iter().find(|cluster| cluster.monitor.is_none()) {
            Some(cluster) if !limit.is_zero() => {
                let time = humantime::format_duration(limit);
                let name = &cluster.name;
                let message = format!(
                    "query_timeout = \"{time}\": nobody could stop a statement at cluster {name}; give it a monitor account"
                );
                Err(at(text, key, message))
            }
            _ => Ok(limit),
        }
    }

    /// The password of the proxy's own logins.
    pub(super) fn admin(&self, text: &str) -> Result<Option<AdminPassword>, ConfigError> {
        let checked = self.admin.as_ref().map(|table| {
            let check = table.get_ref().check();
            check.map_err(|message| at(text, table, message))
        });
        checked.transpose()
    }

    /// The other proxies.
    pub(super) fn fleet(&self, text: &str, has_admin: bool) -> Result<Fleet, ConfigError> {
        self.fleet.as_ref().map_or_else(
            || Ok(Fleet::default()),
            |table| {
                let check = table.get_ref().check(has_admin);
                check.map_err(|message| at(text, table, message))
            },
        )
    }

    /// TLS towards clients.
    pub(super) fn tls(&self, text: &str) -> Result<Option<ClientTls>, ConfigError> {
        let checked = self.tls.as_ref().map(|table| {
            let check = table.get_ref().check();
            check.map_err(|message| at(text, table, message))
        });
        checked.transpose()
    }

    /// The clients' accounts whose passwords the proxy is told.
    pub(super) fn users(&self, text: &str) -> Result<Vec<Account>, ConfigError> {
        let mut users: Vec<Account> = Vec::with_capacity(self.user.len());
        for key in &self.user {
            let user = key.get_ref();
            if users.iter().any(|other| other.user == user.user) {
                let message = format!("user.user = \"{}\": stands there twice", user.user);
                return Err(at(text, key, message));
            }
            users.push(user.clone());
        }
        Ok(users)
    }

    /// The name of the default cluster: the key's, else the first cluster's.
    pub(super) fn default_cluster(
        &self,
        text: &str,
        clusters: &[Cluster],
    ) -> Result<String, ConfigError> {
        let names: Vec<_> = clusters
            .iter()
            .map(|cluster| cluster.name.as_str())
            .collect();
        let Some(key) = &self.default_cluster else {
            return Ok(names.first().copied().unwrap_or(CLUSTER_DEFAULT).to_owned());
        };
        let name = key.get_ref().as_str();
        if names.contains(&name) {
            return Ok(name.to_owned());
        }
        let names = names.join(", ");
        Err(at(
            text,
            key,
            format!("default_cluster = \"{name}\": no such cluster; there is {names}"),
        ))
    }
}

/// An error at the place of a value.
fn at<T>(text: &str, value: &Spanned<T>, message: String) -> ConfigError {
    ConfigError {
        line: line_of(text, value.span().start),
        message,
    }
}

/// The line that holds the byte at this offset.
fn line_of(text: &str, offset: usize) -> Option<usize> {
    let before = text.as_bytes().get(..offset)?;
    Some(before.split(|&byte| byte == b'\n').count())
}

/// How serde begins the two messages that quote names of fields only.
const UNKNOWN_FIELD: &str = "unknown field";
const MISSING_FIELD: &str = "missing field";

/// Says what toml found: where, in which key, what. toml's own text would quote the line, and with it a password.
fn describe(text: &str, mut error: toml::de::Error) -> ConfigError {
    let line = error.span().and_then(|span| line_of(text, span.start));
    error.set_input(None);
    // Without the input the text is the message and, on a line of its own, the path of keys.
    let full = error.to_string();
    let key = full
        .trim_end()
        .rsplit_once("\nin `")
        .map_or("", |(_, key)| key.trim_end_matches('`'));
    // What is said of a value may quote it too; of a field, only its name.
    let names_field = [UNKNOWN_FIELD, MISSING_FIELD]
        .iter()
        .any(|kind| error.message().starts_with(kind));
    let message = if key.starts_with("admin") && !names_field {
        "give password or password_file, in quotes"
    } else if (key.contains("monitor") || key.starts_with("user")) && !names_field {
        "give user and password, both in quotes"
    } else {
        error.message()
    };
    let colon = if key.is_empty() { "" } else { ": " };
    ConfigError {
        line,
        message: format!("{key}{colon}{message}"),
    }
}
