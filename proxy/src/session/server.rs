//! A server session: one connection of a client session to one database node.

use std::net::SocketAddr;

use sluice_ebpf::{record::Seat, response::Status};

use super::{ConnectionId, ServerState, SsId};

/// One connection to a node, held for one client session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSession {
    /// The proxy's id.
    pub ss_id: SsId,
    /// The node's address.
    pub node: SocketAddr,
    /// The node's id of the connection.
    pub connection_id: ConnectionId,
    /// What its node is to the session; nothing for now where the session has more than its record has room for.
    pub seat: Option<Seat>,
    /// Where the connection is in its life.
    pub state: ServerState,
    /// The versions of the client session's state that this connection has been brought to.
    pub versions: Versions,
    /// What the node's last responses tell of it.
    pub status: Status,
    /// Transactions that have ended on this connection.
    pub transactions: u64,
    /// The connection is TLS.
    pub using_ssl: bool,
    /// When its login had ended, in nanoseconds of `CLOCK_MONOTONIC`.
    pub opened_at_ns: u64,
}

impl ServerSession {
    /// A connection whose login has begun.
    pub fn new(ss_id: SsId, node: SocketAddr, connection_id: ConnectionId) -> Self {
        Self {
            ss_id,
            node,
            connection_id,
            seat: Some(Seat::Writer),
            state: ServerState::Init,
            versions: Versions::default(),
            status: Status::default(),
            transactions: 0,
            using_ssl: false,
            opened_at_ns: 0,
        }
    }
}

/// One counter per class of session state. Every change raises the client session's counter; a server session with a lower one lacks
/// the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Versions {
    /// System variables that change often (`autocommit`, `ob_query_timeout`, …).
    pub hot_sys_var: u64,
    /// All other system variables.
    pub sys_var: u64,
    /// User variables.
    pub user_var: u64,
    /// `last_insert_id`.
    pub last_insert_id: u64,
    /// The current database.
    pub db_name: u64,
}

impl Versions {
    /// In how many classes these are behind the client session's.
    pub fn behind(&self, client: &Self) -> u64 {
        let classes = |versions: &Self| {
            [
                versions.hot_sys_var,
                versions.sys_var,
                versions.user_var,
                versions.last_insert_id,
                versions.db_name,
            ]
        };
        let pairs = classes(self).into_iter().zip(classes(client));
        pairs.map(|(own, its)| u64::from(own < its)).sum()
    }
}
