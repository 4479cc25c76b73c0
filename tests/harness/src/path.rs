//! How bytes get from client to server.

use std::env;

/// A path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// Through the kernel, from socket to socket of this host.
    Spliced,
    /// Through the kernel, below the sockets: for sessions with a remote end.
    Wire,
    /// Through the daemon.
    Relayed,
    /// No proxy: to check the tests themselves (`SLUICE_TEST_DIRECT=1`).
    Direct,
}

impl Path {
    /// As part of a test's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spliced => "spliced",
            Self::Wire => "wire",
            Self::Relayed => "relayed",
            Self::Direct => "direct",
        }
    }

    /// The row `path` of `SHOW PROXYSESSION ATTRIBUTE` for a session that userspace need not hold. Nobody says so on [`Path::Direct`].
    pub fn shown(self) -> &'static str {
        match self {
            Self::Spliced => "local",
            Self::Wire => "wire",
            Self::Relayed => "relay",
            Self::Direct => "direct",
        }
    }

    /// Whether the kernel moves a session's bytes.
    pub fn splices(self) -> bool {
        matches!(self, Self::Spliced | Self::Wire)
    }

    /// The path of sessions with a remote end in this run: the wire path, or with `SLUICE_TEST_WIRE=0` the relay.
    pub(crate) fn remote() -> Self {
        if env::var_os("SLUICE_TEST_WIRE").is_some_and(|value| value == "0") {
            Self::Relayed
        } else {
            Self::Wire
        }
    }

    /// Whether this run leaves the daemon out.
    pub(crate) fn is_direct_run() -> bool {
        is_set("SLUICE_TEST_DIRECT")
    }
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| value != "0")
}
