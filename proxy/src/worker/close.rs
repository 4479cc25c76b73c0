//! The end of a session: why, and the one log line that says it.

use std::io;

use sluice_ebpf::reason::RelayReason;

use super::{Worker, registry::Entry};
use crate::session::{Session, login_end::LoginReason};

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// `COM_QUIT`.
    Quit,
    /// The client closed without it.
    ClientClosed,
    /// The client's connection broke.
    ClientBroken(io::ErrorKind),
    /// The node closed.
    NodeClosed,
    /// The node's connection broke.
    NodeBroken(io::ErrorKind),
    /// The monitor account gets no answer of the node.
    NodeHung,
    /// A prepared statement has followed to another node, but not what the client has said of its parameters.
    StatementLost,
    /// A command longer than the proxy's own sessions take.
    CommandTooLong,
    /// The kernel's account of a session and the daemon's differ. Ours to fix.
    Account,
    /// `KILL`, by another session.
    Killed,
    /// `KILL` of its own id.
    KilledItself,
    /// Its node is drained, and its time there is up.
    Drained,
    /// Its client has sent nothing for longer than it may.
    Idle,
    /// On the wire, the way to a peer has led over an interface that is not covered for longer than a peer may be silent unasked.
    Strayed,
    /// The daemon is about to stop.
    Retired,
    /// The daemon stops.
    Stopped,
    /// The login failed.
    Login(LoginReason),
}

impl End {
    /// The client's leg has failed.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(super) fn of_client(error: io::Error) -> Self {
        Self::ClientBroken(error.kind())
    }

    /// The node's leg has failed.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(super) fn of_node(error: io::Error) -> Self {
        Self::NodeBroken(error.kind())
    }

    /// Whether the node may still be executing what the session has asked. Not where it has closed or reset the connection: started again it may have
    /// given the connection's id to another session.
    pub(super) const fn may_leave_node_at_work(self) -> bool {
        !matches!(
            self,
            Self::NodeClosed | Self::NodeBroken(io::ErrorKind::ConnectionReset)
        )
    }

    /// What more there is to say.
    fn detail(self) -> Option<String> {
        match self {
            Self::ClientBroken(kind) | Self::NodeBroken(kind) => Some(kind.to_string()),
            _ => None,
        }
    }

    /// Who ended it: `client`, `node` or `proxy`.
    const fn side(self) -> &'static str {
        match self {
            Self::Quit | Self::ClientClosed | Self::ClientBroken(_) | Self::CommandTooLong => {
                "client"
            }
            Self::NodeClosed | Self::NodeBroken(_) | Self::NodeHung | Self::StatementLost => "node",
            Self::Account
            | Self::Killed
            | Self::KilledItself
            | Self::Drained
            | Self::Idle
            | Self::Strayed
            | Self::Retired
            | Self::Stopped => "proxy",
            Self::Login(reason) => reason.side().text(),
        }
    }

    /// The text that operators see.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::ClientClosed => "client closed",
            Self::ClientBroken(_) => "client connection broken",
            Self::NodeClosed => "node closed",
            Self::NodeBroken(_) => "node connection broken",
            Self::NodeHung => "node does not answer",
            Self::StatementLost => "prepared statement lost",
            Self::CommandTooLong => "command too long",
            Self::Account => "stream offsets differ",
            Self::Killed => "killed",
            Self::KilledItself => "killed by itself",
            Self::Drained => "node drained",
            Self::Idle => "idle timeout",
            Self::Strayed => "way not covered",
            Self::Retired => "proxy stops",
            Self::Stopped => "proxy stopped",
            Self::Login(reason) => reason.text(),
        }
    }
}

/// Writes a session's closing line.
pub(super) fn log(entry: &Entry, session: &Session, worker: &Worker, end: End, detail: &str) {
    let age_ms = session.age_ms(worker.process.now_ms());
    let worker = worker.index;
    let Session { login, traffic, .. } = session;
    let server = session.bound_server();
    let mut details = vec![end.detail().unwrap_or_else(|| detail.to_owned())];
    if entry.stopped.get() {
        details.push("its query on the node was stopped".to_owned());
    }
    details.extend(entry.take_remark());
    if matches!(end, End::Drained | End::Retired) {
        details.extend(session.stays.clone());
    }
    details.retain(|detail| !detail.is_empty());
    let detail = details.join("; ");
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                cs_id = session.cs_id.0,
                ss_id = server.map(|server| server.ss_id.0),
                connection_id = server.map(|server| server.connection_id.0),
                worker,
                client = %session.client,
                node = server.map(|server| server.node.to_string()),
                tenant = login.tenant,
                user = login.user,
                path = session.path.text(),
                relay_reason = session.relay_reason.map(RelayReason::text),
                side = end.side(),
                reason = end.text(),
                detail,
                age_ms,
                spliced_commands = traffic.spliced_commands,
                relayed_commands = traffic.relayed_commands,
                spliced_bytes = traffic.spliced_bytes_to_node + traffic.spliced_bytes_to_client,
                latency_p50_us = traffic.latency.percentile_us(50),
                latency_p99_us = traffic.latency.percentile_us(99),
                relayed_bytes = traffic.relayed_bytes_to_node + traffic.relayed_bytes_to_client,
                "session closed"
            )
        };
    }
    match end {
        // A health check that opens a TCP connection every second must not fill the log.
        End::Login(LoginReason::Probe) => line!(debug),
        End::Account => line!(error),
        _ => line!(info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_has_left_is_told_nothing_of_its_connections() {
        for end in [
            End::NodeClosed,
            End::NodeBroken(io::ErrorKind::ConnectionReset),
        ] {
            assert!(!end.may_leave_node_at_work(), "{end:?}");
        }
        for end in [
            End::ClientClosed,
            End::Killed,
            End::NodeHung,
            End::NodeBroken(io::ErrorKind::TimedOut),
        ] {
            assert!(end.may_leave_node_at_work(), "{end:?}");
        }
    }
}
