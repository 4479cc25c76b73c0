//! Every error that Sluice itself sends to a client: number, SQLSTATE and text, in one table.
//!
//! Numbers below 2000 are `MySQL`'s (its Error Message Reference), 1927 is `MariaDB`'s, 2003 is the client library's own text for a
//! server that cannot be reached, 4000 and more are `OceanBase`'s and ODP's (odp.md, sections 1.3 and 7.3). Texts are those that
//! the servers use: tools match them.

use std::{borrow::Cow, fmt};

/// A number and the SQLSTATE that belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code {
    /// The error's number.
    pub number: u16,
    /// The SQLSTATE: five characters.
    pub state: &'static str,
}

/// An error for a client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct MysqlError {
    /// Number and SQLSTATE.
    pub code: Code,
    /// The text.
    pub message: String,
}

impl fmt::Display for MysqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ERROR {} ({}): {}",
            self.code.number, self.code.state, self.message
        )
    }
}

/// Declares the codes and, in [`state_of`], the SQLSTATE by number.
macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $state:literal;)+) => {
        $($(#[$meta])* pub const $name: Code = Code { number: $number, state: $state };)+

        /// The SQLSTATE of a number, `HY000` (general error) for those that this table does not have.
        pub const fn state_of(number: u16) -> &'static str {
            match number { $($number => $state,)+ _ => "HY000" }
        }
    };
}

codes! {
    /// `ER_CON_COUNT_ERROR`.
    TOO_MANY_CONNECTIONS = 1040, "08004";
    /// `ER_OUT_OF_RESOURCES`.
    OUT_OF_RESOURCES = 1041, "HY000";
    /// `ER_HANDSHAKE_ERROR`.
    BAD_HANDSHAKE = 1043, "08S01";
    /// `ER_ACCESS_DENIED_ERROR`.
    ACCESS_DENIED = 1045, "28000";
    /// `ER_UNKNOWN_COM_ERROR`.
    UNKNOWN_COMMAND = 1047, "08S01";
    /// `ER_SERVER_SHUTDOWN`.
    SERVER_SHUTDOWN = 1053, "08S01";
    /// `ER_NO_SUCH_THREAD`.
    NO_SUCH_THREAD = 1094, "HY000";
    /// `ER_KILL_DENIED_ERROR`.
    KILL_DENIED = 1095, "HY000";
    /// `ER_UNKNOWN_ERROR`.
    UNKNOWN = 1105, "HY000";
    /// `ER_HOST_IS_BLOCKED`. A node's word, sent before it knows how to send an SQLSTATE.
    HOST_BLOCKED = 1129, "HY000";
    /// `ER_HOST_NOT_PRIVILEGED`. A node's word, sent before it knows how to send an SQLSTATE.
    HOST_NOT_PRIVILEGED = 1130, "HY000";
    /// `ER_NET_PACKET_TOO_LARGE`.
    PACKET_TOO_LARGE = 1153, "08S01";
    /// `ER_NET_PACKETS_OUT_OF_ORDER`.
    PACKETS_OUT_OF_ORDER = 1156, "08S01";
    /// `ER_NET_READ_ERROR`.
    NET_READ_ERROR = 1158, "08S01";
    /// `ER_NET_READ_INTERRUPTED`.
    NET_READ_TIMEOUT = 1159, "08S01";
    /// `ER_TOO_MANY_USER_CONNECTIONS`; ODP's "Too many sessions".
    TOO_MANY_SESSIONS = 1203, "42000";
    /// `ER_SPECIFIC_ACCESS_DENIED_ERROR`.
    PRIVILEGE_NEEDED = 1227, "42501";
    /// `ER_LOCK_DEADLOCK`.
    LOCK_DEADLOCK = 1213, "40001";
    /// `ER_NOT_SUPPORTED_YET`.
    NOT_SUPPORTED = 1235, "42000";
    /// `ER_UNKNOWN_STMT_HANDLER`.
    UNKNOWN_STATEMENT = 1243, "HY000";
    /// `ER_NOT_SUPPORTED_AUTH_MODE`.
    AUTH_MODE = 1251, "08004";
    /// `ER_QUERY_INTERRUPTED`.
    QUERY_INTERRUPTED = 1317, "70100";
    /// `ER_CONNECTION_KILLED` (`MariaDB`).
    CONNECTION_KILLED = 1927, "70100";
    /// `CR_CONN_HOST_ERROR`.
    CANNOT_CONNECT = 2003, "HY000";
    /// `CR_SERVER_LOST`.
    SERVER_LOST = 2013, "HY000";
    /// `ER_SECURE_TRANSPORT_REQUIRED`.
    SECURE_TRANSPORT_REQUIRED = 3159, "HY000";
    /// `OB_BUF_NOT_ENOUGH`.
    BUFFER_NOT_ENOUGH = 4024, "HY000";
    /// `ER_CLIENT_INTERACTION_TIMEOUT`.
    INTERACTION_TIMEOUT = 4031, "HY000";
    /// `OB_TENANT_NOT_EXIST`, as ODP reports an unknown tenant.
    TENANT_NOT_FOUND = 4043, "HY000";
    /// `OB_CLUSTER_NOT_EXIST`.
    CLUSTER_NOT_FOUND = 4669, "HY000";
    /// `OB_ERR_OPERATOR_UNKNOWN`, ODP's answer to a malformed internal statement.
    BAD_INTERNAL_COMMAND = 5010, "21000";
}

impl MysqlError {
    /// An error with a text of one's own.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The same as every client can show it. `MariaDB`'s C library takes 2003 and 2013 for errors of its own and shows a malformed packet in
    /// their place: instead they are [`UNKNOWN`], with the number in the text.
    pub fn readable(&self) -> Cow<'_, Self> {
        if self.code != CANNOT_CONNECT && self.code != SERVER_LOST {
            return Cow::Borrowed(self);
        }
        let text = format!("{} (error {})", self.message, self.code.number);
        Cow::Owned(Self::new(UNKNOWN, text))
    }

    /// As [`MysqlError::readable`] for a client that uses that library, itself for others.
    pub fn readable_by(&self, is_mariadbs_library: bool) -> Cow<'_, Self> {
        if is_mariadbs_library {
            self.readable()
        } else {
            Cow::Borrowed(self)
        }
    }

    /// A tenant's limit of sessions is reached.
    pub fn too_many_of_tenant(tenant: &str) -> Self {
        Self::new(
            TOO_MANY_CONNECTIONS,
            format!("Too many connections (tenant '{tenant}')"),
        )
    }

    /// A user's limit of sessions is reached.
    pub fn too_many_of_user(user: &str) -> Self {
        Self::new(
            TOO_MANY_SESSIONS,
            format!(
                "User '{user}' already has more than 'max_user_connections' active connections"
            ),
        )
    }

    /// What should be a login packet is none.
    pub fn bad_handshake() -> Self {
        Self::new(BAD_HANDSHAKE, "Bad handshake")
    }

    /// `Access denied for user 'u'@'h' (using password: YES)`.
    pub fn access_denied(user: &str, host: &str, with_password: bool) -> Self {
        let using = if with_password { "YES" } else { "NO" };
        Self::new(
            ACCESS_DENIED,
            format!("Access denied for user '{user}'@'{host}' (using password: {using})"),
        )
    }

    /// A command byte that is no command.
    pub fn unknown_command() -> Self {
        Self::new(UNKNOWN_COMMAND, "Unknown command")
    }

    /// The daemon is about to stop.
    pub fn server_shutdown() -> Self {
        Self::new(SERVER_SHUTDOWN, "Server shutdown in progress")
    }

    /// The client has sent nothing for long; worded as MySQL's own.
    pub fn idle_for_long() -> Self {
        Self::new(
            INTERACTION_TIMEOUT,
            "The client was disconnected by the proxy because of inactivity. See idle_timeout for configuring this behavior.",
        )
    }

    /// No live session has this id.
    pub fn unknown_thread_id(id: impl fmt::Display) -> Self {
        Self::new(NO_SUCH_THREAD, format!("Unknown thread id: {id}"))
    }

    /// The session with this id is another user's.
    pub fn not_owner(id: impl fmt::Display) -> Self {
        Self::new(KILL_DENIED, format!("You are not owner of thread {id}"))
    }

    /// A packet beyond the limit of the phase that the connection is in.
    pub fn packet_too_large() -> Self {
        Self::new(
            PACKET_TOO_LARGE,
            "Got a packet bigger than 'max_allowed_packet' bytes",
        )
    }

    /// A sequence number that is not the next one.
    pub fn packets_out_of_order() -> Self {
        Self::new(PACKETS_OUT_OF_ORDER, "Got packets out of order")
    }

    /// The other leg broke while a packet was read from it.
    pub fn read_error() -> Self {
        Self::new(NET_READ_ERROR, "Got an error reading communication packets")
    }

    /// The other leg was silent for too long.
    pub fn read_timeout() -> Self {
        Self::new(
            NET_READ_TIMEOUT,
            "Got timeout reading communication packets",
        )
    }

    /// The daemon's limit of sessions is reached.
    pub fn too_many_sessions() -> Self {
        Self::new(TOO_MANY_SESSIONS, "Too many sessions")
    }

    /// The daemon has more memory than it may.
    pub fn out_of_memory() -> Self {
        Self::new(
            OUT_OF_RESOURCES,
            "Out of memory: the proxy has more than max_memory",
        )
    }

    /// The statement needs a privilege that the user lacks.
    pub fn privilege_needed(privilege: &str) -> Self {
        let text = format!(
            "Access denied; you need (at least one of) the {privilege} privilege(s) for this operation"
        );
        Self::new(PRIVILEGE_NEEDED, text)
    }

    /// `MySQL`'s "This version of `MySQL` doesn't yet support '…'", with Sluice in its place.
    pub fn not_supported(what: &str) -> Self {
        Self::new(
            NOT_SUPPORTED,
            format!("Not supported feature or function: {what}"),
        )
    }

    /// A prepared statement's id that the session does not have.
    pub fn unknown_statement(id: u32, command: &str) -> Self {
        Self::new(
            UNKNOWN_STATEMENT,
            format!("Unknown prepared statement handler ({id}) given to {command}"),
        )
    }

    /// A client without pluggable authentication.
    pub fn auth_mode() -> Self {
        let text = "Client does not support authentication protocol requested by server; consider upgrading MySQL client";
        Self::new(AUTH_MODE, text)
    }

    /// KILL of the session's own id, and of a running statement.
    pub fn query_interrupted() -> Self {
        Self::new(QUERY_INTERRUPTED, "Query execution was interrupted")
    }

    /// Another session killed this one.
    pub fn connection_killed() -> Self {
        Self::new(CONNECTION_KILLED, "Connection was killed")
    }

    /// A node that cannot be reached, or that does not answer: `reason` says which.
    pub fn cannot_connect(address: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::new(
            CANNOT_CONNECT,
            format!("Can't connect to MySQL server on '{address}' ({reason})"),
        )
    }

    /// A transaction went with its node: nothing of it has been committed, and it may be tried again. (`ER_LOCK_DEADLOCK` is what drivers know
    /// to be the end of a whole transaction.)
    pub fn transaction_gone(cause: impl fmt::Display) -> Self {
        Self::new(
            LOCK_DEADLOCK,
            format!("The transaction was rolled back: lost {cause}; try restarting transaction"),
        )
    }

    /// A command went to a node that is gone: nobody knows whether it has been executed. (The number is the one by which client libraries know a
    /// lost connection.)
    pub fn outcome_unknown(cause: impl fmt::Display) -> Self {
        Self::new(
            SERVER_LOST,
            format!("Lost connection to server during query: {cause}; it may have been executed"),
        )
    }

    /// Plain connections are refused.
    pub fn secure_transport_required() -> Self {
        let text = "Connections using insecure transport are prohibited while --require_secure_transport=ON.";
        Self::new(SECURE_TRANSPORT_REQUIRED, text)
    }

    /// An answer beyond `internal_cmd_mem_limited`.
    pub fn buffer_not_enough() -> Self {
        Self::new(BUFFER_NOT_ENOUGH, "Buffer not enough")
    }

    /// The login names a tenant that its cluster does not have.
    pub fn tenant_not_found() -> Self {
        Self::new(
            TENANT_NOT_FOUND,
            "dummy entry is empty, please check if the tenant exists",
        )
    }

    /// The login names a cluster that is not configured.
    pub fn cluster_not_found(cluster: &str) -> Self {
        Self::new(
            CLUSTER_NOT_FOUND,
            format!("cluster {cluster} does not exist"),
        )
    }

    /// An internal statement that is malformed, or that this user may not send.
    pub fn bad_internal_command() -> Self {
        Self::new(BAD_INTERNAL_COMMAND, "Unknown operator, bad internal cmd")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_five_characters_and_belongs_to_its_number() {
        for number in 0..=u16::MAX {
            assert_eq!(state_of(number).len(), 5, "{number}");
        }
        for error in [
            MysqlError::auth_mode(),
            MysqlError::unknown_thread_id(7),
            MysqlError::query_interrupted(),
        ] {
            assert_eq!(state_of(error.code.number), error.code.state);
        }
    }

    #[test]
    fn texts_are_those_of_the_servers() {
        let check = |error: MysqlError, text: &str| assert_eq!(error.to_string(), text);
        check(
            MysqlError::unknown_thread_id(7),
            "ERROR 1094 (HY000): Unknown thread id: 7",
        );
        check(
            MysqlError::cannot_connect("127.0.0.1:3306", "connection refused"),
            "ERROR 2003 (HY000): Can't connect to MySQL server on '127.0.0.1:3306' (connection refused)",
        );
        check(
            MysqlError::access_denied("u", "h", false),
            "ERROR 1045 (28000): Access denied for user 'u'@'h' (using password: NO)",
        );
    }
}
