//! All that a statement may look at.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use sluice_ebpf::reason::RelayReason;

use super::{Privileges, fleet::Peer};
use crate::{
    config::{NodeAddress, Origin, Settings},
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
    /// Client connections of all workers, those that log in included.
    pub client_count: usize,
    /// Seconds until the certificate that clients are shown expires, if there is one.
    pub certificate_expires_in_s: Option<u64>,
    /// Since its start, in milliseconds.
    pub uptime_ms: u64,
    /// The moment of the snapshot in nanoseconds of `CLOCK_MONOTONIC`, which the times of sessions are in.
    pub now_ns: u64,
    /// What the other proxies of the fleet have told; none unless they were asked.
    pub fleet: Option<Vec<Peer>>,
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
    /// The nodes that its logins have tried.
    pub nodes: Vec<(NodeAddress, NodeHealth)>,
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

/// What logins have found out about a node. Times are in milliseconds since the daemon's start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NodeHealth {
    /// How often it did not answer, or not as a database server does.
    pub failures: u64,
    /// How often since it last did.
    pub failures_in_a_row: u64,
    /// When it last did not.
    pub failed_at_ms: Option<u64>,
    /// When it last did.
    pub reached_at_ms: Option<u64>,
}

impl NodeHealth {
    /// The node has not answered.
    pub fn failed(&mut self, now_ms: u64) {
        self.failures += 1;
        self.failures_in_a_row += 1;
        self.failed_at_ms = Some(now_ms);
    }

    /// The node has answered.
    pub fn reached(&mut self, now_ms: u64) {
        self.failures_in_a_row = 0;
        self.reached_at_ms = Some(now_ms);
    }

    /// Whether it did not answer when it was last asked.
    pub fn is_down(&self) -> bool {
        self.failed_at_ms > self.reached_at_ms
    }

    /// What two workers know together.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        // What failed before the other worker reached it is over.
        let in_a_row = |one: &Self, two: &Self| {
            if one.failed_at_ms > two.reached_at_ms {
                one.failures_in_a_row
            } else {
                0
            }
        };
        Self {
            failures: self.failures + other.failures,
            failures_in_a_row: in_a_row(&self, other) + in_a_row(other, &self),
            failed_at_ms: self.failed_at_ms.max(other.failed_at_ms),
            reached_at_ms: self.reached_at_ms.max(other.reached_at_ms),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::NodeHealth;

    #[test]
    fn workers_know_of_a_node_together() {
        let (mut one, mut two) = (NodeHealth::default(), NodeHealth::default());
        assert!(!one.is_down());
        one.failed(100);
        one.failed(200);
        assert!(one.is_down());
        two.reached(150);
        assert!(one.with(&two).is_down());
        assert_eq!(one.with(&two).failures_in_a_row, 2);
        two.reached(300);
        let both = two.with(&one);
        assert!(!both.is_down());
        assert_eq!((both.failures, both.failures_in_a_row), (2, 0));
        two.failed(400);
        assert_eq!(one.with(&two).failures_in_a_row, 1);
    }
}
