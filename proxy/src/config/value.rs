//! The kinds of values in the configuration. Each is read from text in one place, for the file and for the command line alike, and its
//! errors say what would be right.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// Lets serde read types from the text of a string, or from an integer's digits.
macro_rules! deserialize_from_text {
    ($($name:ty),+) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(FromText(str::parse))
            }
        }
    )+ };
}

struct FromText<F>(F);

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for FromText<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text in quotes or an integer")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// Declares an enum whose members have one text each.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// The text in the configuration.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("\"{text}\" is none of {}", [$($text),+].join(", "))),
                }
            }
        }

        deserialize_from_text!($name);
    };
}

choices! {
    /// Whether sessions are spliced.
    Splice {
        /// Where the host can and it pays; else one log line says why not.
        Auto => "auto",
        /// Never.
        Off => "off",
        /// The daemon does not start on a host that cannot.
        Require => "require",
    }
}

choices! {
    /// In which network namespaces of this host the ends of a spliced session may be.
    Namespaces {
        /// In any: clients and servers in containers, too.
        All => "all",
        /// In the daemon's own; what comes from another is remote.
        Own => "own",
    }
}

choices! {
    /// By which way sessions may be spliced.
    PathChoice {
        /// Each by the best that it can have.
        Auto => "auto",
        /// From app socket to app socket only: where both ends are on this host.
        Local => "local",
        /// Below the sockets only.
        Wire => "wire",
        /// By none: through the daemon.
        Relay => "relay",
    }
}

choices! {
    /// Form of a log line.
    LogFormat {
        /// For people.
        Text => "text",
        /// One object a line.
        Json => "json",
    }
}

choices! {
    /// Severity of a log line.
    LogLevel {
        /// The daemon's to fix.
        Error => "error",
        /// The operator's to fix.
        Warn => "warn",
        /// Life cycles: one closing line a session.
        Info => "info",
        /// Decisions within a session.
        Debug => "debug",
        /// Events within a decision.
        Trace => "trace",
    }
}

choices! {
    /// Whether connections to a cluster's nodes have TLS.
    TlsMode {
        /// None.
        Off => "off",
        /// Those to nodes that offer it; their certificates are not checked.
        Preferred => "preferred",
        /// All; certificates are not checked.
        Required => "required",
        /// All, and the nodes' certificates must be good.
        Verify => "verify",
    }
}

choices! {
    /// The form of a PROXY header.
    HeaderVersion {
        /// A line of text.
        One => "v1",
        /// Bytes.
        Two => "v2",
    }
}

choices! {
    /// What a cluster's nodes are.
    ClusterKind {
        /// Nodes of `OceanBase`: the tenants are theirs.
        OceanBase => "oceanbase",
        /// Nodes without tenants, which are given the bare user name: the tenants are the proxy's.
        MySql => "mysql",
    }
}

choices! {
    /// What a node is for.
    NodeRole {
        /// What the node says of itself, where a monitor account can ask it.
        Auto => "auto",
        /// It takes writes.
        Primary => "primary",
        /// It follows a primary, and takes reads.
        Replica => "replica",
        /// It follows the primary of another place, and serves where no other node does.
        Standby => "standby",
    }
}

choices! {
    /// Which nodes of a cluster serve its sessions.
    Policy {
        /// The primary serves all statements; where none is known, the first node that answers.
        Primary => "primary",
        /// As [`Policy::Primary`], but for statements outside transactions that surely only read: a replica serves those.
        ReadWriteSplit => "read-write-split",
    }
}

choices! {
    /// Which of the replicas that may take a session's reads does.
    ReaderChoice {
        /// Any, each as often as its weight says.
        Weighted => "weighted",
        /// The one that fewest of this proxy's sessions read from, for its weight.
        LeastConnections => "least-connections",
        /// Of two that are chosen as [`ReaderChoice::Weighted`] does, that one.
        RandomTwo => "random-two",
    }
}

/// An integer of a range that both ends belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// How many reads a node takes, to those of others.
pub(super) type Weight = Bounded<0, 1000>;
/// Worker threads.
pub type Workers = Bounded<1, 1024>;
/// Client sessions that may live at once: as many as the 18 bits of an id's sequence tell apart.
pub type MaxConnections = Bounded<1, 262_143>;
/// Client sessions of one tenant or user that may live at once; 0: any number.
pub type GroupLimit = Bounded<0, 262_143>;
/// Wrong passwords in a row after which waits begin; 0: never.
pub type LoginFailures = Bounded<0, 1000>;
/// How often in a row a node must fail.
pub type Failures = Bounded<1, 100>;
/// A proxy's number in its fleet: 13 bits.
pub type ProxyId = Bounded<0, 8191>;

impl<const MIN: u32, const MAX: u32> FromStr for Bounded<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text
            .parse()
            .ok()
            .filter(|number| (MIN..=MAX).contains(number));
        number
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is no integer from {MIN} to {MAX}"))
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FromText(str::parse))
    }
}

/// A time limit: 1 ms to 1 h, written `10s` or `500ms`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeout(Duration);

impl Timeout {
    /// The limit.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = Duration::from_millis(1)..=Duration::from_hours(1);
        let limit = humantime::parse_duration(text)
            .ok()
            .filter(|limit| range.contains(limit));
        limit
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is no time from 1ms to 1h; write 10s or 500ms"))
    }
}

/// How long something is waited for: nothing to one day, written `30s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience(Duration);

impl Patience {
    /// The time.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(text)
            .ok()
            .filter(|time| *time <= Duration::from_hours(24));
        time.map(Self)
            .ok_or_else(|| format!("\"{text}\" is no time from 0s to 1day; write 30s or 5m"))
    }
}

/// A number of bytes: 4 KiB to 1 GiB, written `1MiB`, `64KiB` or as a bare number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteCount(u64);

impl ByteCount {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = bytesize::KIB * 4..=bytesize::GIB;
        let count = text.parse().ok().map(|bytesize::ByteSize(count)| count);
        count.filter(|count| range.contains(count)).map(Self).ok_or_else(|| {
            format!("\"{text}\" is no size from 4KiB to 1GiB; write 1MiB, 64KiB or a number of bytes")
        })
    }
}

/// Bytes of memory that the daemon may have: 16 MiB to 1 TiB, written `2GiB`; or `0`, any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLimit(u64);

impl MemoryLimit {
    /// The number of bytes; none: any.
    pub const fn get(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl FromStr for MemoryLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = bytesize::MIB * 16..=bytesize::TIB;
        let bytes = text.parse().ok().map(|bytesize::ByteSize(bytes)| bytes);
        bytes
            .filter(|bytes| *bytes == 0 || range.contains(bytes))
            .map(Self)
            .ok_or_else(|| {
                format!("\"{text}\" is no size from 16MiB to 1TiB, and not 0; write 2GiB")
            })
    }
}

/// Where clients connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listen(SocketAddr);

impl Listen {
    pub(super) const fn address(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_bad| format!("\"{text}\" is no IP:PORT such as 127.0.0.1:2883"))
    }
}

/// Where a node listens: a name or an address, and a port from 1 on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeAddress {
    /// A host's name or its address (of IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for NodeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            // Who writes user:password@host here shall not find it in a log.
            let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
            format!("\"{shown}\" is no HOST:PORT such as db1:3306, 10.0.0.7:2881 or [::1]:3306")
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(&bad)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(&bad)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let good = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_name),
        };
        if !good {
            return Err(bad());
        }
        Ok(Self {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        })
    }
}

impl NodeAddress {
    /// Whether somebody means this node by `name`: a host's name in any case, an address in any of its forms (`[FD00::0:1]:3306`), and the port.
    pub fn is_named(&self, name: &str) -> bool {
        let address = |host: &str| host.parse::<std::net::IpAddr>().ok();
        let is_host = |host: &str| {
            host.eq_ignore_ascii_case(&self.host)
                || address(host).is_some_and(|found| address(&self.host) == Some(found))
        };
        let named = name.parse::<Self>();
        named.is_ok_and(|named| named.port == self.port && is_host(&named.host))
    }
}

impl From<SocketAddr> for NodeAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// A tenant's or a cluster's name: what can stand in `user@tenant#cluster` and in `cluster:tenant:user`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unfit =
            |letter: char| "@#:".contains(letter) || letter.is_whitespace() || letter.is_control();
        if text.is_empty() || text.contains(unfit) {
            return Err(format!(
                "\"{text}\" is no name: give one letter or more, but no @, # or : nor a blank"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a cluster, with `:id` behind it where it is one member of a primary and standby set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClusterName(String);

impl ClusterName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, id)) = text.split_once(':') else {
            return Ok(Self(text.parse::<Name>()?.into_string()));
        };
        let name = name.parse::<Name>()?.into_string();
        // As logins are read: `east:02` is `east:2`.
        let id: u64 = id
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| id.parse().ok())
            .flatten()
            .ok_or_else(|| {
                format!("\"{text}\" is no cluster's name: behind the : give a number, which logins may give as #{name}:number")
            })?;
        Ok(Self(format!("{name}:{id}")))
    }
}

deserialize_from_text!(
    Timeout,
    Patience,
    ByteCount,
    MemoryLimit,
    Listen,
    NodeAddress,
    Name,
    ClusterName
);
