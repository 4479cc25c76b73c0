//! The ways a login fails: the reason for the log, and what the client is told.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;

use super::Refusal;
use crate::config::NodeAddress;
use crate::node::{Announce, ConnectError, GreetError, LegError, SecureError};
use crate::protocol::error::{
    CANNOT_CONNECT, Code, MysqlError, SECURE_TRANSPORT_REQUIRED, SERVER_SHUTDOWN, state_of,
};
use crate::protocol::reply::ErrPacket;
use crate::session::auth_exchange::ExchangeError;
use crate::session::login_end::LoginReason;
use crate::worker::auth::{Broken, client_reason, node_reason};

/// A login that failed.
pub(super) struct Failure {
    pub(super) reason: LoginReason,
    pub(super) detail: Option<String>,
    /// What the client is still to be told.
    pub(super) tell: Option<MysqlError>,
    /// What the node has told it.
    pub(super) refused: Option<ErrPacket>,
}

impl Failure {
    pub(super) const fn new(reason: LoginReason) -> Self {
        Self {
            reason,
            detail: None,
            tell: None,
            refused: None,
        }
    }

    pub(super) fn detail(mut self, detail: &(impl ToString + ?Sized)) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    pub(super) fn telling(mut self, error: MysqlError) -> Self {
        self.tell = Some(error);
        self
    }

    /// Whether no other node is to be tried: this one has spoken, and not of its end.
    pub(super) fn is_final(&self) -> bool {
        let is_leaving = || {
            let told = self.tell.as_ref();
            told.is_some_and(|error| error.code.number == SERVER_SHUTDOWN.number)
        };
        self.reason == LoginReason::NodeRefused && !is_leaving()
    }

    /// Writes down what this tells of a node, if it does.
    pub(super) fn tell_of(&self, node: &NodeAddress, to: &impl Announce) {
        match self.reason {
            LoginReason::NodeRefused | LoginReason::NodeChanged => to.answered(node),
            LoginReason::NodeUnreachable
            | LoginReason::NodeTimeout
            | LoginReason::NodeClosed
            | LoginReason::NodeProtocol => {
                to.failed(node, self.detail.as_deref().unwrap_or_default());
            }
            LoginReason::Probe
            | LoginReason::ClientClosed
            | LoginReason::ClientTimeout
            | LoginReason::ClientProtocol
            | LoginReason::ProxyRefused => {}
        }
    }

    /// A failure of the node, of which the client gets error 2003.
    pub(super) fn of_node(
        reason: LoginReason,
        address: impl fmt::Display,
        text: &(impl ToString + ?Sized),
    ) -> Self {
        let text = text.to_string();
        Self::new(reason)
            .telling(MysqlError::cannot_connect(address, &text))
            .detail(&text)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            detail: refusal.detail,
            ..Self::new(refusal.reason).telling(refusal.error)
        }
    }
}

pub(super) fn client_failure(error: &LegError) -> Failure {
    let failure = Failure::new(client_reason(error)).detail(error);
    match error {
        LegError::Closed | LegError::Io(_) => failure,
        LegError::TooLong => failure.telling(MysqlError::packet_too_large()),
        LegError::OutOfOrder => failure.telling(MysqlError::packets_out_of_order()),
    }
}

/// The client's TLS came to nothing. It has been told in TLS's own words, if it understands any.
pub(super) fn no_tls(error: &LegError) -> Failure {
    let is_invalid = matches!(error, LegError::Io(error) if error.kind() == ErrorKind::InvalidData);
    let reason = if is_invalid {
        LoginReason::ClientProtocol
    } else {
        LoginReason::ClientClosed
    };
    Failure::new(reason).detail(&format!("TLS handshake: {error}"))
}

/// The node's name could not be looked up in time.
pub(super) fn no_route() -> Failure {
    let text = "the node's name was not found in time";
    let error = MysqlError::new(
        CANNOT_CONNECT,
        format!("Can't connect to MySQL server ({text})"),
    );
    Failure::new(LoginReason::NodeUnreachable)
        .detail(text)
        .telling(error)
}

pub(super) fn unreachable_node(error: &ConnectError, address: SocketAddr) -> Failure {
    Failure::of_node(LoginReason::NodeUnreachable, address, &error)
}

/// The connection to the node is not encrypted as it should be.
pub(super) fn unsafe_node(error: &SecureError, address: SocketAddr) -> Failure {
    let reason = match error {
        SecureError::Timeout => LoginReason::NodeTimeout,
        SecureError::Leg(error) => node_reason(error),
        SecureError::NotOffered | SecureError::Unusable(_) => LoginReason::NodeProtocol,
    };
    Failure::of_node(reason, address, error)
}

pub(super) fn no_greeting(error: GreetError, address: SocketAddr) -> Failure {
    match error {
        GreetError::Refused(err) => {
            // Number and text are the node's; an SQLSTATE it could not send yet.
            let state = state_of(err.number);
            let code = Code {
                number: err.number,
                state,
            };
            Failure::new(LoginReason::NodeRefused)
                .telling(MysqlError::new(code, err.message_lossy()))
        }
        GreetError::Connect(error) => unreachable_node(&error, address),
        GreetError::Leg(error) => Failure::of_node(node_reason(&error), address, &error),
        GreetError::Malformed(error) => {
            Failure::of_node(LoginReason::NodeProtocol, address, &error)
        }
        GreetError::Timeout => {
            Failure::of_node(LoginReason::NodeTimeout, address, "no greeting in time")
        }
    }
}

pub(super) fn broken_login(broken: Broken, address: SocketAddr) -> Failure {
    let reason = broken.reason();
    match broken {
        Broken::Client(error) => client_failure(&error),
        Broken::Node(error) => Failure::of_node(reason, address, &error),
        Broken::Exchange(ExchangeError::Mismatch(mismatch)) => {
            let error = MysqlError::new(SECURE_TRANSPORT_REQUIRED, mismatch.to_string());
            Failure::new(reason).telling(error)
        }
        Broken::Exchange(error) => Failure::of_node(reason, address, &error),
        Broken::Refused(err) => Failure {
            refused: Some(err),
            ..Failure::new(reason)
        },
    }
}
