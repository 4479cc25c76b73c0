//! What a statement's answer can be. `worker/answer` puts it into packets and carries out orders.

use std::{borrow::Cow, net::SocketAddr};

pub use crate::protocol::result_set::Value;
use crate::{
    protocol::error::{MysqlError, NO_SUCH_THREAD},
    session::{Consistency, CsId, Running, SsId, own_writes::Wanted},
};

/// The answer to a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A result set.
    Rows {
        /// Its columns.
        columns: Vec<Column>,
        /// Its rows; each has as many values as there are columns.
        rows: Vec<Vec<Value>>,
    },
    /// An OK packet, no row affected.
    Ok {
        /// Its text for people; empty as a rule.
        info: String,
    },
    /// An ERR packet.
    Error(AdminError),
    /// The worker has something to do; what the client gets depends on it.
    Orders(Vec<Order>),
}

/// Something that only a worker can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Close this client session and all of its server sessions.
    Kill {
        /// Whose session.
        cs_id: CsId,
        /// The caller's own: it gets [`AdminError::interrupted`] before it is closed. For another's, the caller gets OK.
        own: bool,
        /// What a node is executing for it, and shall not go on with.
        running: Option<Running>,
    },
    /// Change a key of the configuration: the OK's text says what came of it.
    Configure {
        /// Which one, as [`Key::name`](crate::config::key::Key::name).
        key: &'static str,
        /// Its new value, as the operator wrote it.
        value: String,
    },
    /// The caller's session waits for its own writes as it says from now on.
    WaitForMyWrites(Wanted),
    /// The caller's session reads so from now on; none: as its cluster's policy says.
    ReadConsistency(Option<Consistency>),
    /// Stop what a node is executing for a client session, which lives on. The caller gets OK or the node's error.
    KillQuery(Running),
    /// Ask the node for the caller's [`Privileges`](super::Privileges) and answer the statement with them.
    LearnPrivileges,
    /// Give this client session another server session, and end the one that it has.
    EndServer {
        /// Whose session.
        cs_id: CsId,
        /// The server session.
        ss_id: SsId,
        /// The caller's own.
        own: bool,
        /// Where that cannot be, end the client session.
        is_forced: bool,
    },
    /// Ask the other proxies of the fleet which session a KILL means ([`Question::Kill`](super::fleet::Question)), and answer the statement with
    /// what they tell.
    AskFleet,
    /// Have another proxy close this client session of its own. The caller gets OK or that proxy's error.
    KillAt {
        /// Where it listens.
        peer: SocketAddr,
        /// Whose session.
        cs_id: CsId,
    },
    /// Let the node answer: send it the client's packet unchanged.
    Forward,
}

/// A column of an admin result set. Schema and table names are empty, flags 0 but for [`ColumnKind::Binary`] (odp.md, section 1.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its type.
    pub kind: ColumnKind,
}

impl Answer {
    /// OK without a text.
    pub const OK: Self = Self::Ok {
        info: String::new(),
    };

    /// Rows of texts.
    pub fn texts<const N: usize>(
        columns: [&'static str; N],
        rows: impl IntoIterator<Item = [Value; N]>,
    ) -> Self {
        Self::Rows {
            columns: columns
                .map(|name| Column::new(name, ColumnKind::Varchar))
                .to_vec(),
            rows: rows.into_iter().map(Vec::from).collect(),
        }
    }
}

impl Column {
    /// A column with a fixed name.
    pub const fn new(name: &'static str, kind: ColumnKind) -> Self {
        Self {
            name: Cow::Borrowed(name),
            kind,
        }
    }
}

/// Type of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnKind {
    /// `MYSQL_TYPE_LONG`.
    Long,
    /// `MYSQL_TYPE_LONGLONG`.
    LongLong,
    /// `MYSQL_TYPE_VARCHAR`, utf8mb4.
    Varchar,
    /// `MYSQL_TYPE_VARCHAR` with the character set 63 and the flag BINARY.
    Binary,
}

/// Number of `ER_KILL_DENIED_ERROR`.
const NOT_OWNER: u16 = 1095;

/// An error for the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code} ({}): {text}", String::from_utf8_lossy(sqlstate))]
pub struct AdminError {
    /// The number on the wire.
    pub code: u16,
    /// SQLSTATE.
    pub sqlstate: [u8; 5],
    /// The message.
    pub text: String,
}

impl AdminError {
    fn new(code: u16, sqlstate: [u8; 5], text: impl Into<String>) -> Self {
        Self {
            code,
            sqlstate,
            text: text.into(),
        }
    }

    /// Our statement, but not well formed, or not for this user.
    pub fn bad_command() -> Self {
        Self::new(5010, *b"21000", "Unknown operator, bad internal cmd")
    }

    /// `ER_UNKNOWN_ERROR`: the system variables of a cluster's nodes are not known.
    pub fn no_defaults(cluster: &str, reason: &str) -> Self {
        let text = format!("The system variables of cluster '{cluster}' are not known: {reason}");
        Self::new(1105, *b"HY000", text)
    }

    /// `ER_NO_SUCH_THREAD`. Also what a user gets who must not know that the session exists.
    pub fn unknown_thread(id: i64) -> Self {
        Self::new(
            NO_SUCH_THREAD.number,
            *b"HY000",
            format!("Unknown thread id: {id}"),
        )
    }

    /// `ER_NO_SUCH_THREAD`, where proxies of the fleet have not answered, with the reasons.
    pub fn unknown_in_fleet(id: i64, silent: &[String]) -> Self {
        let silent = silent.join("; ");
        let text = format!("Unknown thread id: {id} (not asked: {silent})");
        Self::new(NO_SUCH_THREAD.number, *b"HY000", text)
    }

    /// Whether it is [`AdminError::unknown_thread`].
    pub const fn is_unknown_thread(&self) -> bool {
        self.code == NO_SUCH_THREAD.number
    }

    /// `ER_UNKNOWN_ERROR`: a proxy of the fleet that has the session cannot be reached any more.
    pub fn peer_lost(peer: SocketAddr, cause: &str) -> Self {
        let text = format!("The session's proxy {peer} does not answer: {cause}");
        Self::new(1105, *b"HY000", text)
    }

    /// `ER_KILL_DENIED_ERROR`.
    pub fn not_owner(id: i64) -> Self {
        Self::new(
            NOT_OWNER,
            *b"HY000",
            format!("You are not owner of thread {id}"),
        )
    }

    /// Whether it is [`AdminError::not_owner`].
    pub const fn is_not_owner(&self) -> bool {
        self.code == NOT_OWNER
    }

    /// `OB_ERR_UNEXPECTED_RESULT` as ODP has it: it is not known whether an order reached the node.
    pub fn unknown_result(cause: &str) -> Self {
        Self::new(4081, *b"HY000", format!("Unknown result: {cause}"))
    }

    /// `ER_NOT_SUPPORTED_YET`: the session is at a node where neither Sluice nor the caller has a connection.
    pub fn cannot_reach_query() -> Self {
        let text = "Not supported: KILL QUERY of a session at another node than yours, without a monitor account";
        Self::new(1235, *b"42000", text)
    }

    /// A node's error.
    pub fn of_node(number: u16, sqlstate: [u8; 5], text: impl Into<String>) -> Self {
        Self::new(number, sqlstate, text)
    }

    /// `ER_UNSUPPORTED_PS`: a statement of ours in the text of a `PREPARE` or an `EXECUTE IMMEDIATE`, which are the node's.
    pub fn hidden(words: &str) -> Self {
        let text = format!(
            "{words} is not supported in the text of PREPARE and EXECUTE IMMEDIATE; send it as a statement of its own"
        );
        Self::new(1295, *b"HY000", text)
    }

    /// `ER_QUERY_INTERRUPTED`: for a session that kills itself.
    pub fn interrupted() -> Self {
        Self::new(1317, *b"70100", "Query execution was interrupted")
    }

    /// `ER_NOT_SUPPORTED_YET`: a statement of ODP's that has no meaning here, and what to do instead.
    pub fn refused(statement: &str, reason: &str) -> Self {
        let text = format!("{statement} is not supported: {reason}");
        Self::new(1235, *b"42000", text)
    }

    /// `ER_MAX_PREPARED_STMT_COUNT_REACHED`, with the session's limit.
    pub fn too_many_statements(limit: usize) -> Self {
        let text = format!(
            "Can't create more than max_prepared_stmt_count statements (current value: {limit})"
        );
        Self::new(1461, *b"42000", text)
    }

    /// `ER_UNKNOWN_STMT_HANDLER`.
    pub fn unknown_statement(id: u32, command: &str) -> Self {
        let text = format!("Unknown prepared statement handler ({id}) given to {command}");
        Self::new(1243, *b"HY000", text)
    }

    /// `ER_WRONG_ARGUMENTS`: an EXECUTE whose bytes do not fit its statement.
    pub fn wrong_arguments() -> Self {
        let text = "Incorrect arguments to mysqld_stmt_execute";
        Self::new(1210, *b"HY000", text)
    }

    /// `ER_UNSUPPORTED_PS`.
    pub fn unsupported_when_prepared() -> Self {
        let text = "This command is not supported in the prepared statement protocol yet";
        Self::new(1295, *b"HY000", text)
    }

    /// `ER_UNKNOWN_SYSTEM_VARIABLE`.
    pub fn unknown_variable(name: &str) -> Self {
        Self::new(1193, *b"HY000", format!("Unknown system variable '{name}'"))
    }

    /// `ER_STMT_HAS_NO_OPEN_CURSOR`.
    pub fn no_cursor(id: u32) -> Self {
        let text = format!("The statement ({id}) has no open cursor.");
        Self::new(1421, *b"HY000", text)
    }

    /// `OB_ERR_INTERNAL_CMD_VALUE_TOO_LONG` of ODP: an argument beyond what a statement of ours can have.
    pub fn argument_too_long() -> Self {
        Self::new(8007, *b"HY000", "internal cmd value is too long")
    }

    /// `ER_UNKNOWN_SYSTEM_VARIABLE`: the configuration has no such key.
    pub fn unknown_key(name: &str) -> Self {
        let text = format!("The configuration has no key '{name}'; SHOW PROXYCONFIG lists them");
        Self::new(1193, *b"HY000", text)
    }

    /// `ER_INCORRECT_GLOBAL_LOCAL_VAR`: a key that only the file can change.
    pub fn key_of_file(name: &str) -> Self {
        let text = format!(
            "'{name}' can be changed in the configuration file only, and holds after a restart"
        );
        Self::new(1238, *b"HY000", text)
    }

    /// `ER_WRONG_VALUE_FOR_VAR`: key, value, range and remedy are in the text.
    pub fn bad_value(text: &str) -> Self {
        Self::new(1231, *b"42000", format!("Nothing was changed: {text}"))
    }

    /// `ER_OPTION_PREVENTS_STATEMENT`: there is nowhere to keep a change.
    pub fn no_file(key: &str) -> Self {
        let text = format!(
            "Nothing was changed: the daemon was started without --config FILE, so there is no file to keep {key} in"
        );
        Self::new(1290, *b"HY000", text)
    }

    /// `ER_ERROR_ON_WRITE`: the configuration file cannot be read or written.
    pub fn not_written(file: &str, error: impl std::fmt::Display) -> Self {
        let text = format!("Nothing was changed: {file}: {error}");
        Self::new(1026, *b"HY000", text)
    }

    /// `ER_UNKNOWN_ERROR`: a server session that was to be ended stands, and why.
    pub fn server_session_kept(ss_id: SsId, why: &str) -> Self {
        let text =
            format!("Server session {ss_id} is kept: {why} (FORCE ends its client session too)");
        Self::new(1105, *b"HY000", text)
    }

    /// `ER_UNKNOWN_ERROR`: nodes have given the same connection id to these clients.
    pub fn ambiguous_thread(id: i64, others: &[impl ToString]) -> Self {
        let others: Vec<_> = others.iter().map(ToString::to_string).collect();
        let others = others.join(", ");
        let text = format!(
            "Connection id {id} is used at more than one node; use one of the ids {others}"
        );
        Self::new(1105, *b"HY000", text)
    }
}

impl From<&MysqlError> for AdminError {
    fn from(error: &MysqlError) -> Self {
        let state = error.code.state.as_bytes().first_chunk();
        Self::new(
            error.code.number,
            state.copied().unwrap_or(*b"HY000"),
            &error.message,
        )
    }
}

impl From<AdminError> for Answer {
    fn from(error: AdminError) -> Self {
        Self::Error(error)
    }
}
