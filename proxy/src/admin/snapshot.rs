//! All that a statement may look at.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use sluice_ebpf::reason::RelayReason;

use super::{Privileges, fleet::Peer};
use crate::{
    config::{Origin, Settings},
    route::{health::Book, occupancy::Occupancy},
    session::{CsId, Login, Session, SsId, Totals, variable::defaults::Default},
};

/// The sessions of a statement's scope at one moment, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The sessions, in any order. [`super::access`] filters them: statements do not look here themselves.
    pub sessions: &'a [Session],
    /// Who asks.
    pub caller: Caller<'a>,
    /// The daemon.
    pub daemon: &'a Daemon,
}

/// Who sent a statement.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// His session.
    pub cs_id: CsId,
    /// Whom he logged in as.
    pub login: &'a Login,
    /// His tenant is more than a word of his: the node has checked it, or he is its `root`. Where nodes have no tenants (`MySQL`), everybody
    /// may write `@sys`.
    pub has_tenant: bool,
    /// What the node has said of his privileges. `None`: it was not asked, which a statement whose answer depends on it asks for with
    /// [`Order::LearnPrivileges`](super::Order::LearnPrivileges); the next answer then has them.
    pub privileges: Option<Privileges>,
}

/// The daemon as a whole, at one moment.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// What holds now.
    pub settings: Arc<Settings>,
    /// The system variables of clusters that somebody has asked for, or why they are not known.
    pub defaults: BTreeMap<String, Arc<Result<Vec<Default>, String>>>,
    /// Where the settings were read from.
    pub origin: Arc<Origin>,
    /// What does not change while it runs.
    pub host: Arc<Host>,
    /// Why no session is spliced at all, if none is.
    pub no_splice: Option<RelayReason>,
    /// It has been told to stop.
    pub is_stopping: bool,
    /// Until when its sessions may end by themselves, in milliseconds since its start, if they may.
    pub retires_at_ms: Option<u64>,
    /// Client connections of all workers, those that log in included.
    pub client_count: usize,
    /// Connections that were refused for the limit of all.
    pub refused_for_total: u64,
    /// Connections that were refused for want of memory.
    pub refused_for_memory: u64,
    /// Bytes of memory that the daemon has; 0 where that is not known.
    pub resident_bytes: u64,
    /// How many sessions tenants and users have.
    pub occupancy: Occupancy,
    /// Seconds until the certificate that clients are shown expires, if there is one.
    pub certificate_expires_in_s: Option<u64>,
    /// Since its start, in milliseconds.
    pub uptime_ms: u64,
    /// The moment of the snapshot in nanoseconds of `CLOCK_MONOTONIC`, which the times of sessions are in.
    pub now_ns: u64,
    /// What the other proxies of the fleet have told; none unless they were asked.
    pub fleet: Option<Vec<Peer>>,
    /// What is known of nodes.
    pub nodes: Book,
    /// What each worker reports of itself; empty unless the statement's scope asks for it.
    pub reports: Vec<Report>,
}

/// What a worker knows besides its sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its number, counted from 0.
    pub worker: usize,
    /// Its sessions' TCP connections.
    pub connections: Vec<Connection>,
    /// What its thread has read and written.
    pub calls: Calls,
    /// The sessions that have ended.
    pub closed: Totals,
}

/// One TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// Who has opened it.
    pub kind: ConnectionKind,
    /// The socket's file descriptor.
    pub fd: i32,
    /// The daemon's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Read by the daemon.
    pub read_bytes: u64,
    /// Written by the daemon.
    pub written_bytes: u64,
    /// Since it was opened, in seconds.
    pub age_s: u64,
}

/// Who has opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionKind {
    /// The client of this session.
    Accepted(CsId),
    /// The daemon, for this server session.
    Connected(SsId),
}

/// System calls on the connections of a thread, and what they moved.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Calls {
    pub reads: u64,
    pub empty_reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub empty_writes: u64,
    pub written_bytes: u64,
}

/// What is known of the process since its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// The program's file.
    pub binary: PathBuf,
    /// How it was compiled: profile and architecture.
    pub build: String,
    /// Process id.
    pub pid: u32,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Where clients connect; the port is the real one.
    pub listen: SocketAddr,
    /// Worker threads.
    pub workers: usize,
    /// When it started, in seconds since 1970.
    pub started_at: u64,
}
