//! Clusters: `[[cluster]]` of the configuration file.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::node::Node;
use super::tls::NodeTls;
use super::value::{
    ClusterKind, ClusterName, HeaderVersion, Name, NodeAddress, Patience, Policy, ReaderChoice,
    Timeout, TlsMode,
};

/// [`Cluster::reader_idle_timeout`] where the file does not say it: as long as OceanBase's proxy keeps connections of its pool.
pub(super) const READER_IDLE_TIMEOUT: Duration = Duration::from_mins(30);

/// A group of nodes that hold the same data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// Its name in logins (`user@tenant#name`).
    pub name: String,
    /// It was made of a single server, to which nobody gave a name: every cluster's name in a login means it.
    pub takes_any_name: bool,
    /// What its nodes are.
    pub kind: ClusterKind,
    /// The tenants that may log in. Empty: any.
    pub tenants: Vec<String>,
    /// At least one; their addresses differ. Where nothing else decides, the first is preferred.
    pub nodes: Vec<Node>,
    /// Which of them serves a session.
    pub policy: Policy,
    /// Which of its replicas takes a session's reads.
    pub reader_choice: ReaderChoice,
    /// How far a replica may be behind that takes reads; none: however far.
    pub max_lag: Option<Duration>,
    /// How long a read waits at a replica for what its session has written, before the writer answers it; none: it may be older.
    pub wait_for_my_writes: Option<Duration>,
    /// How long a session keeps its connection to a replica while its client sends nothing.
    pub reader_idle_timeout: Duration,
    /// The account by which the proxy looks after the nodes. Of `OceanBase`, the user's name is written with its tenant (`proxy@sys`).
    pub monitor: Option<Account>,
    /// TLS towards its nodes.
    pub tls: NodeTls,
    /// The PROXY header that its nodes are sent, if they are.
    pub proxy_protocol: Option<HeaderVersion>,
    /// Whether it is asked for its servers and tenants, by the monitor account.
    pub discovery: bool,
    /// The cluster as sessions of these tenants see it, where it has said what it is to them.
    pub of_tenants: BTreeMap<String, Self>,
}

/// An account at the nodes.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// User name.
    pub user: String,
    /// Password; empty by default.
    #[serde(default)]
    pub password: Secret,
    /// TLS towards who has the account: of a monitor's, that of its cluster.
    #[serde(skip)]
    pub tls: NodeTls,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Cluster {
    /// Where its nodes are, in the configuration's order.
    pub fn addresses(&self) -> impl Iterator<Item = &NodeAddress> {
        self.nodes.iter().map(|node| &node.address)
    }

    /// Whether it can be asked for its servers.
    pub fn may_discover(&self) -> bool {
        self.kind == ClusterKind::OceanBase && self.monitor.is_some()
    }

    /// The same with this monitor account, and with TLS towards the nodes.
    pub(super) fn with(self, monitor: Option<Account>, tls: NodeTls) -> Self {
        Self {
            monitor: monitor.map(|account| Account {
                tls: tls.clone(),
                ..account
            }),
            tls,
            ..self
        }
    }

    /// The cluster of a proxy that was told of one server only.
    pub(super) fn of_one_node(name: &str, node: NodeAddress) -> Self {
        Self {
            name: name.to_owned(),
            takes_any_name: true,
            kind: ClusterKind::MySql,
            tenants: Vec::new(),
            nodes: vec![Node::at(node)],
            policy: Policy::Primary,
            reader_choice: ReaderChoice::Weighted,
            max_lag: None,
            wait_for_my_writes: None,
            reader_idle_timeout: READER_IDLE_TIMEOUT,
            monitor: None,
            tls: NodeTls::default(),
            proxy_protocol: None,
            discovery: false,
            of_tenants: BTreeMap::new(),
        }
    }
}

/// `[[cluster]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterTable {
    name: ClusterName,
    kind: ClusterKind,
    #[serde(default)]
    tenants: Vec<Name>,
    nodes: Vec<Node>,
    policy: Option<Policy>,
    reader_choice: Option<ReaderChoice>,
    max_lag: Option<Timeout>,
    wait_for_my_writes: Option<Patience>,
    reader_idle_timeout: Option<Timeout>,
    monitor: Option<Account>,
    tls: Option<TlsMode>,
    tls_ca: Option<PathBuf>,
    tls_server_name: Option<String>,
    proxy_protocol: Option<HeaderVersion>,
    discovery: Option<bool>,
}

impl ClusterTable {
    /// The cluster, or what is wrong with it.
    pub(super) fn check(&self) -> Result<Cluster, String> {
        let tenants: Vec<_> = self
            .tenants
            .iter()
            .map(|tenant| tenant.as_str().to_owned())
            .collect();
        if self.nodes.is_empty() {
            return Err("cluster.nodes = []: give at least one \"HOST:PORT\"".to_owned());
        }
        let addresses: Vec<_> = self.nodes.iter().map(|node| &node.address).collect();
        if let Some(node) = repeated(&addresses) {
            return Err(format!("cluster.nodes: \"{node}\" stands there twice"));
        }
        if let Some(tenant) = repeated(&tenants) {
            return Err(format!("cluster.tenants: \"{tenant}\" stands there twice"));
        }
        if let Some(lag) = self.max_lag.filter(|_| self.monitor.is_none()) {
            let lag = humantime::format_duration(lag.get());
            return Err(format!(
                "cluster.max_lag = \"{lag}\": nobody would ask a replica how far it is behind; give the cluster a monitor account"
            ));
        }
        self.has_what_its_kind_tells()?;
        let discovery = self.discovery()?;
        let tls = NodeTls::check(
            "cluster.",
            self.tls,
            self.tls_ca.as_ref(),
            self.tls_server_name.as_ref(),
        )?;
        Ok(Cluster {
            name: self.name.as_str().to_owned(),
            takes_any_name: false,
            kind: self.kind,
            tenants,
            nodes: self.nodes.clone(),
            policy: self.policy.unwrap_or(Policy::Primary),
            reader_choice: self.reader_choice.unwrap_or(ReaderChoice::Weighted),
            max_lag: self.max_lag.map(Timeout::get),
            wait_for_my_writes: self.wait_for_my_writes.map(Patience::get),
            reader_idle_timeout: self
                .reader_idle_timeout
                .map_or(READER_IDLE_TIMEOUT, Timeout::get),
            monitor: self.monitor.clone().map(|account| Account {
                tls: tls.clone(),
                ..account
            }),
            tls,
            proxy_protocol: self.proxy_protocol,
            discovery,
            of_tenants: BTreeMap::new(),
        })
    }

    /// How far a replica is behind `OceanBase` does not tell: with a bound none would ever take a read.
    fn has_what_its_kind_tells(&self) -> Result<(), String> {
        let of_others = [
            ("max_lag", self.max_lag.is_some()),
            ("wait_for_my_writes", self.wait_for_my_writes.is_some()),
        ];
        let mut given = of_others.iter().filter(|(_, is_given)| *is_given);
        match given.next() {
            Some((key, _)) if self.kind == ClusterKind::OceanBase => Err(format!(
                "cluster.{key}: OceanBase does not tell how far a replica is behind; leave it out"
            )),
            _ => Ok(()),
        }
    }

    fn discovery(&self) -> Result<bool, String> {
        let message = match self.discovery {
            Some(true) if self.kind == ClusterKind::MySql => {
                "cluster.discovery = true: only OceanBase lists its servers; leave it out"
            }
            Some(true) if self.monitor.is_none() => {
                "cluster.discovery = true: nobody would ask for the servers; give the cluster a monitor account"
            }
            wanted => {
                let can = self.kind == ClusterKind::OceanBase && self.monitor.is_some();
                return Ok(can && wanted.unwrap_or(true));
            }
        };
        Err(message.to_owned())
    }
}

fn repeated<T: PartialEq>(items: &[T]) -> Option<&T> {
    let mut rest = items;
    while let Some((first, behind)) = rest.split_first() {
        if behind.contains(first) {
            return Some(first);
        }
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, settings};

    /// The clusters' names, or what is wrong with this one's.
    fn names(name: &str) -> Result<Vec<String>, String> {
        let text = format!(
            "[[cluster]]\nname = \"east\"\nkind = \"mysql\"\nnodes = [\"a:1\"]\n\
             [[cluster]]\nname = \"{name}\"\nkind = \"mysql\"\nnodes = [\"b:1\"]"
        );
        let settings = settings(&text, Overrides::default()).map_err(|error| error.to_string())?;
        let names = settings.clusters.into_iter().map(|cluster| cluster.name);
        Ok(names.collect())
    }

    #[test]
    fn oceanbase_tells_no_lag() {
        for key in ["max_lag", "wait_for_my_writes"] {
            let of = |kind: &str| {
                let text = format!(
                    "[[cluster]]\nname = \"x\"\nkind = \"{kind}\"\nnodes = [\"a:1\"]\n{key} = \"5s\"\n\
                     policy = \"read-write-split\"\nmonitor = {{ user = \"m\", password = \"\" }}"
                );
                settings(&text, Overrides::default()).map_err(|error| error.to_string())
            };
            of("mysql").unwrap();
            let error = of("oceanbase").unwrap_err();
            let message = format!(
                "cluster.{key}: OceanBase does not tell how far a replica is behind; leave it out"
            );
            assert!(error.contains(&message), "{error}");
        }
    }

    #[test]
    fn members_of_a_set_have_numbers() {
        assert_eq!(names("east:02").unwrap(), ["east", "east:2"]);
        for (name, message) in [
            (
                "east:two",
                "\"east:two\" is no cluster's name: behind the : give a number, which logins may give as #east:number",
            ),
            (
                "east:",
                "\"east:\" is no cluster's name: behind the : give a number, which logins may give as #east:number",
            ),
            (
                ":2",
                "\"\" is no name: give one letter or more, but no @, # or : nor a blank",
            ),
            ("east", "\"east\": a cluster above has this name"),
        ] {
            let error = names(name).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
