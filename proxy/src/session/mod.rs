//! One logical connection as plain data: who the client is, which server sessions it holds, how its bytes move. Sockets and tasks are
//! elsewhere, so that a session can be shown, compared in tests and one day handed to another daemon.

pub mod accounts;
pub mod activity;
pub mod aim;
pub mod auth_exchange;
pub mod back_off;
mod change;
pub mod charset;
pub mod command;
pub mod consistency;
pub mod credential;
pub mod escapes;
pub mod execution;
pub mod hint;
pub mod id;
pub mod latency;
pub mod login_end;
pub mod login_name;
pub mod own_writes;
pub mod phase;
pub mod preparation;
pub mod prepared;
pub mod proxy_login;
pub mod replay;
pub mod retry;
pub mod server;
pub mod sticky;
pub mod trace;
pub mod traffic;
pub mod variable;
pub mod writer_ids;

use std::{net::SocketAddr, sync::Arc};

pub use activity::{AnsweredBy, Command};
pub use consistency::Consistency;
pub use id::{ConnectionId, CsId, IdSequence, ProxySessionId, SsId};
pub use latency::Latency;
pub use phase::{ClientState, ServerState};
pub use prepared::Prepared;
pub use server::{ServerSession, Versions};
use sluice_ebpf::{
    reason::{RelayReason, WaitReason},
    record::Seat,
    response::Status,
};
pub use sticky::{StickyReason, Ties};
pub use traffic::{Mode, Path, Totals, Traffic, TrapCounts};
use variable::Variables;

/// One client's session. A value of the worker that serves it; other workers see copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The id in the greeting, in the column `Id` and in `KILL`.
    pub cs_id: CsId,
    /// The id that nodes are told, so that an operator finds a client from a node's process list. `None` until the first login to a
    /// node has begun.
    pub proxy_session_id: Option<ProxySessionId>,
    /// The peer of the client's TCP connection.
    pub client: SocketAddr,
    /// Whom the client logged in as.
    pub login: Login,
    /// The current database.
    pub db: Option<String>,
    /// Where the session is in its life.
    pub state: ClientState,
    /// The last command, under way or ended. In copies it may be one that the kernel spliced.
    pub command: Command,
    /// Kernel thread id of the worker that serves the session.
    pub worker_tid: u32,
    /// Process id of the daemon.
    pub pid: u32,
    /// The client's leg is TLS.
    pub using_ssl: bool,
    /// The client reads errors 5000 to 5999 as a server's.
    pub reads_odp_errors: bool,
    /// Transactions that have ended in this session.
    pub transactions: u64,
    /// When the client was accepted, in milliseconds of the daemon's monotonic clock (0 is the daemon's start).
    pub opened_at_ms: u64,
    /// Versions of the session's state; a server session with a lower one is behind.
    pub versions: Versions,
    /// The variables that it has changed. Shared with copies of the session, until it changes another.
    pub variables: Arc<Variables>,
    /// The server sessions that this session holds, in the order in which they were opened.
    pub servers: Vec<ServerSession>,
    /// The server session last used; the others are pooled.
    pub bound: Option<SsId>,
    /// The server session that holds the last insert id.
    pub last_insert_id_holder: Option<SsId>,
    /// The last insert id that its server has named.
    pub insert_id: InsertId,
    /// Why it may not move to another server session, but for what status flags and prepared statements tell.
    pub ties: Ties,
    /// A prepared statement of the binary protocol may be open.
    pub has_prepared: bool,
    /// By which way the session is spliced where nothing stands against it.
    pub way: Path,
    /// Where the session's bytes move.
    pub path: Path,
    /// How they move now.
    pub mode: Mode,
    /// Why they go through the daemon, if they do for good.
    pub relay_reason: Option<RelayReason>,
    /// What an offer to the kernel waits for, where one stands.
    pub waits_for: Option<WaitReason>,
    /// How its two connections stand, where the wire joins them.
    pub below: Option<Below>,
    /// The node that takes its writes, as the configuration names it.
    pub node: Option<String>,
    /// Why it is still at a node that it should leave.
    pub stays: Option<String>,
    /// Since when it is to leave a drained node, in milliseconds since the daemon's start.
    pub leaves_since_ms: Option<u64>,
    /// Where its reads go, or why they stay at the node of its writes; none where nobody has asked for more.
    pub reads_at: Option<String>,
    /// What it has said of its own writes, where its reads go to another node.
    pub own_writes: own_writes::Wanted,
    /// What it has asked of the proxy for its reads.
    pub read_consistency: Option<Consistency>,
    /// What has moved.
    pub traffic: Traffic,
}

/// How a session's two connections stand below the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Below {
    /// A number of [`sluice_ebpf::wire::phase`].
    pub phase: u32,
    /// Bytes to the client that it has not acknowledged.
    pub unacknowledged_to_client: u32,
    /// Bytes to the node that it has not acknowledged.
    pub unacknowledged_to_node: u32,
}

/// An insert id as an OK packet names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InsertId {
    /// The id; 0: none since the session began or was reset.
    pub value: u64,
    /// When it came, or when the session was reset, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

/// The tenant whose users administrate a cluster.
pub const SYS_TENANT: &str = "sys";
/// The tenant of the proxy itself, which no node knows.
pub const PROXY_TENANT: &str = "proxysys";

/// The parts of a login name, with the defaults filled in.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Login {
    /// The user part only.
    pub user: String,
    /// The tenant part.
    pub tenant: String,
    /// The cluster part.
    pub cluster: String,
}

/// What is known of a client when it has been accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The id that the greeting will carry.
    pub cs_id: CsId,
    /// The peer of the TCP connection.
    pub client: SocketAddr,
    /// Kernel thread id of the worker.
    pub worker_tid: u32,
    /// Process id of the daemon.
    pub pid: u32,
    /// Milliseconds of the daemon's monotonic clock.
    pub opened_at_ms: u64,
    /// The same moment in nanoseconds of `CLOCK_MONOTONIC`.
    pub opened_at_ns: u64,
}

/// A command that a node is executing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Running {
    /// The cluster's name in the login.
    pub cluster: String,
    /// The node.
    pub node: SocketAddr,
    /// The node's id of the connection.
    pub connection: ConnectionId,
}

impl Session {
    /// A session whose client has not sent its login packet yet.
    pub fn new(accepted: Accepted) -> Self {
        Self {
            cs_id: accepted.cs_id,
            proxy_session_id: None,
            client: accepted.client,
            login: Login::default(),
            db: None,
            state: ClientState::Init,
            command: Command::login(accepted.opened_at_ns),
            worker_tid: accepted.worker_tid,
            pid: accepted.pid,
            using_ssl: false,
            reads_odp_errors: true,
            transactions: 0,
            opened_at_ms: accepted.opened_at_ms,
            versions: Versions::default(),
            variables: Arc::default(),
            servers: Vec::new(),
            bound: None,
            last_insert_id_holder: None,
            insert_id: InsertId::default(),
            ties: Ties::default(),
            has_prepared: false,
            way: Path::Relay,
            path: Path::Relay,
            mode: Mode::Relayed,
            relay_reason: Some(RelayReason::Login),
            waits_for: None,
            below: None,
            node: None,
            stays: None,
            leaves_since_ms: None,
            reads_at: None,
            own_writes: own_writes::Wanted::default(),
            read_consistency: None,
            traffic: Traffic::default(),
        }
    }

    /// The server session with this id.
    pub fn server(&self, ss_id: SsId) -> Option<&ServerSession> {
        self.servers.iter().find(|server| server.ss_id == ss_id)
    }

    /// The server session with this id, to change it.
    pub fn server_mut(&mut self, ss_id: SsId) -> Option<&mut ServerSession> {
        self.servers.iter_mut().find(|server| server.ss_id == ss_id)
    }

    /// What the node of the server session with this id is to the session.
    pub fn seat_of(&self, ss_id: SsId) -> Option<Seat> {
        self.server(ss_id)?.seat
    }

    /// How new what it reads must be where no hint says it.
    pub fn consistency(&self) -> Consistency {
        self.read_consistency
            .or_else(|| Consistency::of_variables(&self.variables))
            .unwrap_or(Consistency::Weak)
    }

    /// The server session last used.
    pub fn bound_server(&self) -> Option<&ServerSession> {
        self.server(self.bound?)
    }

    /// The server session last used, to change it.
    pub fn bound_server_mut(&mut self) -> Option<&mut ServerSession> {
        self.server_mut(self.bound?)
    }

    /// The session has this way, or none for a reason. `is_safe`: the classifier can read its character set.
    pub fn take_way(&mut self, way: Result<Path, RelayReason>, is_safe: bool) {
        self.way = way.unwrap_or(Path::Relay);
        self.relay_reason = way.err().or((!is_safe).then_some(RelayReason::Charset));
        self.path = if self.relay_reason.is_none() {
            self.way
        } else {
            Path::Relay
        };
    }

    /// This is known of the bound server session by now.
    pub fn note_status(&mut self, status: Status) {
        if let Some(server) = self.bound_server_mut() {
            server.status = status;
        }
    }

    /// A response has named this insert id, if it did; responses may be told of in any order.
    pub fn note_insert_id(&mut self, insert_id: InsertId) {
        if insert_id.value != 0 && insert_id.at_ns > self.insert_id.at_ns {
            self.insert_id = insert_id;
        }
    }

    /// The bound server session is in this state now.
    pub fn set_bound_state(&mut self, state: ServerState) {
        if let Some(server) = self.bound_server_mut() {
            server.state = state;
        }
    }

    /// The session uses this server session of its own now.
    pub fn use_server(&mut self, ss_id: SsId) {
        self.set_bound_state(ServerState::KeepAlivePooled);
        self.bound = Some(ss_id);
        self.set_bound_state(ServerState::KeepAliveBound);
    }

    /// The session uses the one of its server sessions that has this seat in its record.
    pub fn use_seat(&mut self, seat: Seat) {
        let its = self.servers.iter().find(|server| server.seat == Some(seat));
        if let Some(ss_id) = its
            .map(|server| server.ss_id)
            .filter(|ss_id| self.bound != Some(*ss_id))
        {
            self.use_server(ss_id);
        }
    }

    /// Takes in a server session and makes it the bound one.
    pub fn bind(&mut self, server: ServerSession) {
        self.bound = Some(server.ss_id);
        self.servers.push(server);
    }

    /// Takes out a server session whose connection is gone.
    pub fn remove_server(&mut self, ss_id: SsId) -> Option<ServerSession> {
        let at = self
            .servers
            .iter()
            .position(|server| server.ss_id == ss_id)?;
        for tie in [&mut self.bound, &mut self.last_insert_id_holder] {
            if *tie == Some(ss_id) {
                *tie = None;
            }
        }
        Some(self.servers.remove(at))
    }

    /// Whether any of the session's server connections has this id at its node.
    pub fn has_connection(&self, connection_id: ConnectionId) -> bool {
        self.servers
            .iter()
            .any(|server| server.connection_id == connection_id)
    }

    /// Whether a command is being processed, by kernel, daemon or node.
    pub const fn is_active(&self) -> bool {
        self.command.is_running()
    }

    /// Why the session may not move to another server session, each reason once.
    pub fn sticky_reasons(&self) -> Vec<StickyReason> {
        let mut reasons = self.ties.reasons();
        if self
            .bound_server()
            .is_some_and(|server| server.status.may_be_in_transaction())
        {
            reasons.push(StickyReason::Transaction);
        }
        if self.has_prepared {
            reasons.push(StickyReason::PreparedStatement);
        }
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }

    /// What its node is executing for it, as far as daemon and kernel know.
    pub fn running(&self) -> Option<Running> {
        let is_at_node = self.command.is_running() && self.command.answered_by == AnsweredBy::Node;
        let server = self.bound_server().filter(|_| is_at_node)?;
        Some(Running {
            cluster: self.login.cluster.clone(),
            node: server.node,
            connection: server.connection_id,
        })
    }

    /// Whether this number is the session's id, or the id of one of its server connections at its node.
    pub fn may_be_meant_by(&self, id: i64) -> bool {
        i64::from(self.cs_id.0) == id
            || u64::try_from(id).is_ok_and(|id| self.has_connection(ConnectionId(id)))
    }

    /// Milliseconds since the client was accepted, at `now_ms` of the daemon's monotonic clock.
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.opened_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_insert_id_stands() {
        let mut session = session();
        let id = |value, at_ns| InsertId { value, at_ns };
        for (noted, wanted) in [
            (id(0, 5), id(0, 0)),
            (id(7, 10), id(7, 10)),
            (id(8, 9), id(7, 10)),
            (id(0, 11), id(7, 10)),
            (id(3, 12), id(3, 12)),
        ] {
            session.note_insert_id(noted);
            assert_eq!(session.insert_id, wanted);
        }
    }

    fn session() -> Session {
        Session::new(Accepted {
            cs_id: CsId(262_145),
            client: "127.0.0.1:40000".parse().unwrap(),
            worker_tid: 11,
            pid: 10,
            opened_at_ms: 500,
            opened_at_ns: 7,
        })
    }

    fn server(ss_id: u64, connection_id: u64) -> ServerSession {
        ServerSession::new(
            SsId(ss_id),
            "127.0.0.1:3306".parse().unwrap(),
            ConnectionId(connection_id),
        )
    }

    #[test]
    fn a_new_session_is_relayed_for_its_login() {
        let session = session();
        assert_eq!(session.state, ClientState::Init);
        assert_eq!(
            (session.is_active(), session.command.began_at_ns),
            (true, 7)
        );
        assert_eq!((session.path, session.mode), (Path::Relay, Mode::Relayed));
        assert_eq!(session.relay_reason, Some(RelayReason::Login));
        assert_eq!((session.age_ms(750), session.age_ms(1)), (250, 0));
    }

    #[test]
    fn binding_pools_the_previous_server_session() {
        let mut session = session();
        session.bind(server(1, 70));
        session.bind(server(2, 80));
        assert_eq!(session.bound_server().unwrap().ss_id, SsId(2));
        assert!(
            session.has_connection(ConnectionId(70)) && session.has_connection(ConnectionId(80))
        );
        assert!(!session.has_connection(ConnectionId(2)));
    }

    #[test]
    fn a_removed_server_session_leaves_no_tie() {
        let mut session = session();
        session.bind(server(1, 70));
        session.bind(server(2, 80));
        session.last_insert_id_holder = Some(SsId(1));
        assert_eq!(
            session.remove_server(SsId(1)).unwrap().connection_id,
            ConnectionId(70)
        );
        assert_eq!(
            (session.bound, session.last_insert_id_holder),
            (Some(SsId(2)), None)
        );
        session.remove_server(SsId(2)).unwrap();
        assert_eq!((session.bound, session.servers.len()), (None, 0));
        assert_eq!(session.remove_server(SsId(2)), None);
    }

    #[test]
    fn copies_compare_equal_until_one_changes() {
        let mut one = session();
        let two = one.clone();
        assert_eq!(one, two);
        one.db = Some("test".to_owned());
        assert_ne!(one, two);
    }
}
