//! What users are shown of every key: also of those that clusters and accounts have.

use std::{path::PathBuf, time::Duration};

use super::{Change, KEYS};
use crate::config::{Policy, ReaderChoice, Settings, TlsMode, cluster::READER_IDLE_TIMEOUT};

/// One line of the list of keys and values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key; one of a cluster's is `cluster.NAME.KEY`.
    pub name: String,
    /// Its value, never a secret.
    pub value: String,
    /// What it means.
    pub help: &'static str,
    /// What it may be.
    pub range: &'static str,
    /// A change needs a restart.
    pub needs_restart: bool,
    /// It is one of a cluster's.
    pub of_cluster: bool,
    /// Nobody has set it, or to what it would be anyway.
    pub is_default: bool,
}

/// The keys of a `[[cluster]]` besides its name: name, range, meaning.
pub(super) const CLUSTER_KEYS: [(&str, &str, &str); 14] = [
    ("kind", "oceanbase, mysql", "What the cluster's nodes are."),
    (
        "tenants",
        "names",
        "The tenants that may log in; empty: any.",
    ),
    (
        "nodes",
        "HOST:PORT, or tables of address, role, zone, weight and drain",
        "The cluster's nodes.",
    ),
    (
        "policy",
        "primary, read-write-split",
        "Which nodes serve a session: the primary, or the first that answers where none is known; with a split, replicas its reads.",
    ),
    (
        "reader_choice",
        "weighted, least-connections, random-two",
        "Which replica takes a session's reads: any by the weights, the one that fewest sessions of this proxy read from, or of two the one with fewer.",
    ),
    (
        "max_lag",
        "1ms to 1h",
        "How far a replica may be behind that takes reads; empty: however far.",
    ),
    (
        "wait_for_my_writes",
        "0s to 1day",
        "How long a read waits at a replica for what its session has written, before the primary answers it; empty: it may be older.",
    ),
    (
        "reader_idle_timeout",
        "1ms to 1h",
        "How long a session keeps its connection to a replica while its client sends nothing.",
    ),
    (
        "monitor",
        "user and password",
        "The account by which the proxy looks after the nodes; its password is never shown.",
    ),
    (
        "tls",
        "off, preferred, required, verify",
        "Whether connections to the nodes have TLS, and their certificates are checked.",
    ),
    (
        "tls_ca",
        "the path of a PEM file",
        "The authorities of the nodes' certificates; empty: those that the system trusts.",
    ),
    (
        "tls_server_name",
        "a host's name",
        "The name that the nodes' certificates must be for; empty: the node's own.",
    ),
    (
        "proxy_protocol",
        "v1, v2",
        "The form of the PROXY header that tells the nodes the client's address; empty: none.",
    ),
    (
        "discovery",
        "true, false",
        "Whether the cluster is asked for its servers and tenants: OceanBase only, and where it has a monitor account.",
    ),
];

/// Every key with its value, also those of the clusters.
pub fn entries(settings: &Settings) -> Vec<Entry> {
    let single = KEYS.iter().map(|key| Entry {
        name: key.name.to_owned(),
        value: key.value(settings),
        help: key.help,
        range: key.range,
        needs_restart: matches!(key.change, Change::Restart),
        of_cluster: false,
        is_default: key.is_default(settings),
    });
    let named = settings
        .clusters
        .iter()
        .filter(|cluster| !cluster.takes_any_name);
    let of_clusters = named.flat_map(|cluster| {
        let configured = cluster.nodes.iter().filter(|node| !node.is_discovered);
        let nodes: Vec<_> = configured.map(ToString::to_string).collect();
        let monitor = cluster.monitor.as_ref();
        let values = [
            cluster.kind.text().to_owned(),
            cluster.tenants.join(", "),
            nodes.join(", "),
            cluster.policy.text().to_owned(),
            cluster.reader_choice.text().to_owned(),
            time(cluster.max_lag),
            time(cluster.wait_for_my_writes),
            time(Some(cluster.reader_idle_timeout)),
            monitor.map_or_else(String::new, |account| account.user.clone()),
            cluster.tls.mode.text().to_owned(),
            path(cluster.tls.ca.as_ref()),
            cluster.tls.server_name.clone().unwrap_or_default(),
            cluster
                .proxy_protocol
                .map_or_else(String::new, |version| version.text().to_owned()),
            cluster.discovery.to_string(),
        ];
        CLUSTER_KEYS
            .iter()
            .zip(values)
            .map(|((key, range, help), value)| Entry {
                name: format!("cluster.{}.{key}", cluster.name),
                is_default: value.is_empty()
                    || value == Policy::Primary.text()
                    || value == ReaderChoice::Weighted.text()
                    || (*key == "reader_idle_timeout"
                        && cluster.reader_idle_timeout == READER_IDLE_TIMEOUT)
                    || (*key == "tls" && value == TlsMode::Off.text())
                    || (*key == "discovery" && cluster.discovery == cluster.may_discover()),
                value,
                help,
                range,
                needs_restart: false,
                of_cluster: true,
            })
    });
    single
        .chain([of_users(settings)])
        .chain(of_clusters)
        .collect()
}

/// The names of the clients' accounts.
fn of_users(settings: &Settings) -> Entry {
    let names: Vec<_> = settings.users.iter().map(|user| &*user.user).collect();
    Entry {
        name: "user".to_owned(),
        value: names.join(", "),
        help: "Accounts of clients in whose place the proxy may log in again; their passwords are never shown.",
        range: "[[user]] tables of user and password",
        needs_restart: false,
        of_cluster: false,
        is_default: names.is_empty(),
    }
}

/// A time as text; empty where there is none.
fn time(time: Option<Duration>) -> String {
    time.map_or_else(String::new, |time| {
        humantime::format_duration(time).to_string()
    })
}

/// A path as text; empty where there is none.
pub(super) fn path(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}
