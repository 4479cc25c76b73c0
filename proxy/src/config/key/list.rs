//! The list of keys that hold a single value.

use std::time::Duration;

use super::{Change, Key, entry::path};
use crate::config::{AdminPassword, Cluster, NodeTls, Settings};

const SIZES: &str = "[4KiB, 1GiB]";
pub(super) const TIMES: &str = "[1ms, 1h]";
pub(super) const PATIENCE: &str = "[0s, 1day]";
const NAMES: &str = "a name without @, #, : and blanks";
const NEW_LOGINS: Option<&str> = Some("logins from now on");

/// How a key is changed at once.
macro_rules! live {
    ($($field:ident).+, $holds_for:expr) => {
        Change::Live {
            take: |to, from| to.$($field).+.clone_from(&from.$($field).+),
            holds_for: $holds_for,
        }
    };
}

/// Every key that holds a single value, in the order in which users are shown them.
pub const KEYS: &[Key] = &[
    Key {
        name: "listen",
        flag: Some("--listen"),
        default: "127.0.0.1:2883",
        range: "IP:PORT",
        help: "Where clients connect; port 0 takes a free one, which the log names.",
        change: Change::Restart,
        value: |settings| settings.listen.to_string(),
        is_given: |line| line.listen.is_some(),
    },
    Key {
        name: "server",
        flag: Some("--server"),
        default: "",
        range: "HOST:PORT",
        help: "The database server, if there is only one; else there are [[cluster]] tables in the file.",
        change: live!(clusters, NEW_LOGINS),
        value: server,
        is_given: |line| line.server.is_some(),
    },
    Key {
        name: "monitor",
        flag: None,
        default: "",
        range: "a table of user and password",
        help: "The proxy's own account at that one server; its password is never shown.",
        change: live!(clusters, None),
        value: monitor,
        is_given: |_| false,
    },
    Key {
        name: "server_tls",
        flag: None,
        default: "off",
        range: "off, preferred, required, verify",
        help: "Whether connections to that one server have TLS, and its certificate is checked.",
        change: live!(clusters, NEW_LOGINS),
        value: |settings| server_tls(settings, |tls| tls.mode.text().to_owned()),
        is_given: |_| false,
    },
    Key {
        name: "server_tls_ca",
        flag: None,
        default: "",
        range: "the path of a PEM file",
        help: "The authorities of its certificate; empty: those that the system trusts.",
        change: live!(clusters, NEW_LOGINS),
        value: |settings| server_tls(settings, |tls| path(tls.ca.as_ref())),
        is_given: |_| false,
    },
    Key {
        name: "server_tls_server_name",
        flag: None,
        default: "",
        range: "a host's name",
        help: "The name that its certificate must be for; empty: the server's own.",
        change: live!(clusters, NEW_LOGINS),
        value: |settings| server_tls(settings, |tls| tls.server_name.clone().unwrap_or_default()),
        is_given: |_| false,
    },
    Key {
        name: "splice",
        flag: Some("--splice"),
        default: "auto",
        range: "auto, off, require",
        help: "Splice where the host can, and log why where not; never; or refuse to start.",
        change: live!(splice, None),
        value: |settings| settings.splice.text().to_owned(),
        is_given: |line| line.splice.is_some(),
    },
    Key {
        name: "path",
        flag: Some("--path"),
        default: "auto",
        range: "auto, local, wire, relay",
        help: "By which way sessions may be spliced: each by its best; on this host only; below the sockets only; by none.",
        change: live!(path, NEW_LOGINS),
        value: |settings| settings.path.text().to_owned(),
        is_given: |line| line.path.is_some(),
    },
    Key {
        name: "namespaces",
        flag: Some("--namespaces"),
        default: "all",
        range: "all, own",
        help: "Splice with clients and servers in all network namespaces of this host, or only in the proxy's own.",
        change: Change::Restart,
        value: |settings| settings.namespaces.text().to_owned(),
        is_given: |line| line.namespaces.is_some(),
    },
    Key {
        name: "workers",
        flag: Some("--workers"),
        default: "one per core",
        range: "[1, 1024]",
        help: "Threads, each with its own sessions.",
        change: Change::Restart,
        value: |settings| {
            settings
                .workers
                .map_or_else(|| "one per core".to_owned(), |workers| workers.to_string())
        },
        is_given: |line| line.workers.is_some(),
    },
    Key {
        name: "max_connections",
        flag: Some("--max-connections"),
        default: "10000",
        range: "[1, 262143]",
        help: "Client sessions at once; one more is answered error 1203.",
        change: live!(
            max_connections,
            Some(
                "logins from now on; the kernel has records for as many sessions as at the start, others are relayed"
            )
        ),
        value: |settings| settings.max_connections.to_string(),
        is_given: |line| line.max_connections.is_some(),
    },
    Key {
        name: "max_tenant_connections",
        flag: None,
        default: "0",
        range: "[0, 262143]",
        help: "Client sessions of one tenant at once; one more is answered error 1040. 0: any number.",
        change: live!(max_tenant_connections, NEW_LOGINS),
        value: |settings| settings.max_tenant_connections.unwrap_or(0).to_string(),
        is_given: |_| false,
    },
    Key {
        name: "max_user_connections",
        flag: None,
        default: "0",
        range: "[0, 262143]",
        help: "Client sessions of one user at once; one more is answered error 1203. 0: any number.",
        change: live!(max_user_connections, NEW_LOGINS),
        value: |settings| settings.max_user_connections.unwrap_or(0).to_string(),
        is_given: |_| false,
    },
    Key {
        name: "max_memory",
        flag: None,
        default: "0",
        range: "0, [16MiB, 1TiB]",
        help: "Memory that the daemon may have (its resident set, records in shared memory included) before new clients are answered error 1041. 0: any.",
        change: live!(max_memory, NEW_LOGINS),
        value: |settings| settings.max_memory.map_or_else(|| "0".to_owned(), size),
        is_given: |_| false,
    },
    Key {
        name: "max_login_failures",
        flag: None,
        default: "0",
        range: "[0, 1000]",
        help: "Wrong passwords in a row of one user from one address, after which he must wait, from a second up to a minute, as error 1045. 0: any number.",
        change: live!(max_login_failures, NEW_LOGINS),
        value: |settings| settings.max_login_failures.unwrap_or(0).to_string(),
        is_given: |_| false,
    },
    Key {
        name: "login_timeout",
        flag: Some("--login-timeout"),
        default: "10s",
        range: TIMES,
        help: "From accept to the end of the login.",
        change: live!(login_timeout, NEW_LOGINS),
        value: |settings| time(settings.login_timeout),
        is_given: |line| line.login_timeout.is_some(),
    },
    Key {
        name: "connect_timeout",
        flag: Some("--connect-timeout"),
        default: "5s",
        range: TIMES,
        help: "For a TCP connection to a server; then the client is answered error 2003.",
        change: live!(connect_timeout, NEW_LOGINS),
        value: |settings| time(settings.connect_timeout),
        is_given: |line| line.connect_timeout.is_some(),
    },
    Key {
        name: "idle_timeout",
        flag: None,
        default: "0s",
        range: PATIENCE,
        help: "How long a client may send nothing between two commands; then its session is ended with error 4031, an open transaction with it. 0s: for ever.",
        change: live!(idle_timeout, None),
        value: |settings| time(settings.idle_timeout),
        is_given: |_| false,
    },
    Key {
        name: "query_timeout",
        flag: None,
        default: "0s",
        range: PATIENCE,
        help: "How long a statement may take, to the last byte of its answer; then the monitor account has its node stop it (KILL QUERY), and the client reads error 1317. 0s: for ever.",
        change: live!(query_timeout, None),
        value: |settings| time(settings.query_timeout),
        is_given: |_| false,
    },
    Key {
        name: "drain_timeout",
        flag: None,
        default: "0s",
        range: PATIENCE,
        help: "How long sessions may stay at a drained node; then they are ended with an error. 0s: as long as something ties them to it.",
        change: live!(drain_timeout, None),
        value: |settings| time(settings.drain_timeout),
        is_given: |_| false,
    },
    Key {
        name: "shutdown_timeout",
        flag: None,
        default: "0s",
        range: PATIENCE,
        help: "How long sessions may go on when the daemon is told to stop: each ends at a command boundary outside a transaction. 0s: not at all.",
        change: live!(shutdown_timeout, None),
        value: |settings| time(settings.shutdown_timeout),
        is_given: |_| false,
    },
    Key {
        name: "keepalive_idle",
        flag: None,
        default: "1m",
        range: TIMES,
        help: "Silence before the kernel asks whether the other end still lives; dead after three unanswered questions, a sixth of that apart, one to ten seconds; so is one that acknowledges nothing for as long.",
        change: live!(keepalive_idle, NEW_LOGINS),
        value: |settings| time(settings.keepalive_idle),
        is_given: |_| false,
    },
    Key {
        name: "splice_limit",
        flag: Some("--splice-limit"),
        default: "1MiB",
        range: SIZES,
        help: "Outstanding towards a slow reader before the daemon relays the rest of the answer.",
        change: live!(splice_limit, Some("sessions from now on")),
        value: |settings| size(settings.splice_limit),
        is_given: |line| line.splice_limit.is_some(),
    },
    Key {
        name: "proxy_id",
        flag: None,
        default: "1",
        range: "[0, 8191]",
        help: "This proxy's number in its fleet: no two give out the same session ids.",
        change: Change::Restart,
        value: |settings| settings.proxy_id.to_string(),
        is_given: |_| false,
    },
    Key {
        name: "zone",
        flag: None,
        default: "",
        range: NAMES,
        help: "Where this proxy stands: sessions read from replicas of the same zone, if there are any.",
        change: live!(zone, Some("readers that are chosen from now on")),
        value: |settings| settings.zone.clone().unwrap_or_default(),
        is_given: |_| false,
    },
    Key {
        name: "default_tenant",
        flag: None,
        default: "sys",
        range: NAMES,
        help: "The tenant of logins that name none.",
        change: live!(default_tenant, NEW_LOGINS),
        value: |settings| settings.default_tenant.clone(),
        is_given: |_| false,
    },
    Key {
        name: "default_cluster",
        flag: None,
        default: "the first one",
        range: "the name of a cluster",
        help: "The cluster of logins that name none.",
        change: live!(default_cluster, NEW_LOGINS),
        value: |settings| settings.default_cluster.clone(),
        is_given: |_| false,
    },
    Key {
        name: "admin.password",
        flag: None,
        default: "",
        range: "a text, or admin.password_file",
        help: "The password of root@proxysys and inspector@proxysys; never shown. Without one these logins do not exist.",
        change: Change::Restart,
        value: |settings| match &settings.admin {
            Some(AdminPassword::Text(_)) => "(set)".to_owned(),
            Some(AdminPassword::File(_)) | None => String::new(),
        },
        is_given: |_| false,
    },
    Key {
        name: "admin.password_file",
        flag: None,
        default: "",
        range: "the path of a file",
        help: "A file that holds this password; it is read at each of these logins.",
        change: Change::Restart,
        value: |settings| match &settings.admin {
            Some(AdminPassword::File(path)) => path.display().to_string(),
            Some(AdminPassword::Text(_)) | None => String::new(),
        },
        is_given: |_| false,
    },
    Key {
        name: "fleet.peers",
        flag: None,
        default: "",
        range: "HOST:PORT, …",
        help: "The proxies of this one's fleet, itself or not; of a name all of its addresses. KILL and the statements with GLOBAL reach their sessions.",
        change: Change::Restart,
        value: |settings| {
            let peers: Vec<_> = settings
                .fleet
                .peers
                .iter()
                .map(ToString::to_string)
                .collect();
            peers.join(", ")
        },
        is_given: |_| false,
    },
    Key {
        name: "fleet.timeout",
        flag: None,
        default: "1s",
        range: TIMES,
        help: "How long the answers of these proxies are waited for.",
        change: live!(fleet.timeout, None),
        value: |settings| time(settings.fleet.timeout),
        is_given: |_| false,
    },
    Key {
        name: "tls.cert",
        flag: None,
        default: "",
        range: "the path of a PEM file",
        help: "The certificate that clients are shown, with its chain; read again when the file changes. Without one clients have no TLS.",
        change: Change::Restart,
        value: |settings| path(settings.tls.as_ref().map(|tls| &tls.cert)),
        is_given: |_| false,
    },
    Key {
        name: "tls.key",
        flag: None,
        default: "",
        range: "the path of a PEM file",
        help: "Its private key; read again when the file changes.",
        change: Change::Restart,
        value: |settings| path(settings.tls.as_ref().map(|tls| &tls.key)),
        is_given: |_| false,
    },
    Key {
        name: "tls.client_ca",
        flag: None,
        default: "",
        range: "the path of a PEM file",
        help: "The authorities of clients' certificates; with them a client with TLS must show one.",
        change: Change::Restart,
        value: |settings| path(settings.tls.as_ref().and_then(|tls| tls.client_ca.as_ref())),
        is_given: |_| false,
    },
    Key {
        name: "tls.require",
        flag: None,
        default: "false",
        range: "true, false",
        help: "Whether a client without TLS is refused with error 3159.",
        change: Change::Live {
            take: |to, from| {
                if let (Some(to), Some(from)) = (&mut to.tls, &from.tls) {
                    to.require = from.require;
                }
            },
            holds_for: NEW_LOGINS,
        },
        value: |settings| {
            settings
                .tls
                .as_ref()
                .is_some_and(|tls| tls.require)
                .to_string()
        },
        is_given: |_| false,
    },
    Key {
        name: "health.interval",
        flag: None,
        default: "1s",
        range: TIMES,
        help: "How often a cluster's monitor account asks each of its nodes how it is.",
        change: live!(health.interval, None),
        value: |settings| time(settings.health.interval),
        is_given: |_| false,
    },
    Key {
        name: "health.timeout",
        flag: None,
        default: "2s",
        range: TIMES,
        help: "How long a node may take to let that account in and to answer it.",
        change: live!(health.timeout, None),
        value: |settings| time(settings.health.timeout),
        is_given: |_| false,
    },
    Key {
        name: "health.failures",
        flag: None,
        default: "3",
        range: "[1, 100]",
        help: "Failures in a row, of that account or of clients' logins, before a node counts as down.",
        change: live!(health.failures, None),
        value: |settings| settings.health.failures.to_string(),
        is_given: |_| false,
    },
    Key {
        name: "health.discovery",
        flag: None,
        default: "10s",
        range: TIMES,
        help: "How often that account asks a cluster of OceanBase for its servers and tenants.",
        change: live!(health.discovery, None),
        value: |settings| time(settings.health.discovery),
        is_given: |_| false,
    },
    Key {
        name: "proxy_protocol.from",
        flag: None,
        default: "",
        range: "networks, with commas between",
        help: "Senders that must begin with a PROXY header, which names the client; of nobody else it is read.",
        change: live!(proxy_protocol_from, NEW_LOGINS),
        value: |settings| settings.proxy_protocol_from.to_string(),
        is_given: |_| false,
    },
    Key {
        name: "log.format",
        flag: Some("--log-format"),
        default: "text",
        range: "text, json",
        help: "Form of a log line; logs go to standard error.",
        change: Change::Restart,
        value: |settings| settings.log.format.text().to_owned(),
        is_given: |line| line.log_format.is_some(),
    },
    Key {
        name: "log.level",
        flag: Some("--log-level"),
        default: "info",
        range: "error, warn, info, debug, trace",
        help: "The least severe level that is logged.",
        change: live!(log.level, None),
        value: |settings| settings.log.level.text().to_owned(),
        is_given: |line| line.log_level.is_some(),
    },
];

/// What a configuration without clusters makes of its one server.
fn single(settings: &Settings) -> Option<&Cluster> {
    settings
        .clusters
        .iter()
        .find(|cluster| cluster.takes_any_name)
}

fn monitor(settings: &Settings) -> String {
    single(settings)
        .and_then(|cluster| cluster.monitor.as_ref())
        .map_or_else(String::new, |account| account.user.clone())
}

/// Something about TLS towards that server.
fn server_tls(settings: &Settings, show: fn(&NodeTls) -> String) -> String {
    single(settings).map_or_else(|| show(&NodeTls::default()), |cluster| show(&cluster.tls))
}

fn server(settings: &Settings) -> String {
    single(settings)
        .and_then(|cluster| cluster.addresses().next())
        .map_or_else(String::new, ToString::to_string)
}

pub(super) fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A size as one would write it, exactly.
pub(super) fn size(bytes: u64) -> String {
    for (unit, name) in [
        (bytesize::GIB, "GiB"),
        (bytesize::MIB, "MiB"),
        (bytesize::KIB, "KiB"),
    ] {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}
