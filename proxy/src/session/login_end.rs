//! Why a connection did not become a session, or a session's user could not be changed.

/// Who ended it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Side {
    /// The client.
    Client,
    /// The database node.
    Node,
    /// Sluice.
    Proxy,
}

impl Side {
    /// The text that users see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Proxy => "proxy",
        }
    }
}

/// Why it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum LoginReason {
    /// The client closed before its first byte: a TCP health check.
    Probe,
    /// The client closed in the middle of its login.
    ClientClosed,
    /// The client did not say in time what it owed.
    ClientTimeout,
    /// The client said something that is no login.
    ClientProtocol,
    /// There is no such cluster or tenant, or a limit is reached.
    ProxyRefused,
    /// The node does not accept connections.
    NodeUnreachable,
    /// The node did not say in time what it owed.
    NodeTimeout,
    /// The node closed in the middle of the login.
    NodeClosed,
    /// The node said something that is no login.
    NodeProtocol,
    /// The node offers less than the greeting that the client was shown: it was replaced by another server.
    NodeChanged,
    /// The node's ERR, which the client has: wrong password, unknown database, too many connections.
    NodeRefused,
}

impl LoginReason {
    /// Who ended it.
    pub const fn side(self) -> Side {
        match self {
            Self::Probe | Self::ClientClosed | Self::ClientTimeout | Self::ClientProtocol => {
                Side::Client
            }
            Self::ProxyRefused => Side::Proxy,
            Self::NodeUnreachable
            | Self::NodeTimeout
            | Self::NodeClosed
            | Self::NodeProtocol
            | Self::NodeChanged
            | Self::NodeRefused => Side::Node,
        }
    }

    /// The text that users see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Probe => "no login packet",
            Self::ClientClosed => "client closed during login",
            Self::ClientTimeout => "client silent during login",
            Self::ClientProtocol => "client protocol error during login",
            Self::ProxyRefused => "login refused by proxy",
            Self::NodeUnreachable => "node unreachable",
            Self::NodeTimeout => "node silent during login",
            Self::NodeClosed => "node closed during login",
            Self::NodeProtocol => "node protocol error during login",
            Self::NodeChanged => "node replaced",
            Self::NodeRefused => "login refused by node",
        }
    }
}
