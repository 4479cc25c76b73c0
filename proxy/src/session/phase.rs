//! Where a client session and a server session are in their lives, in the words that operators know from ODP.

/// State of a client session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientState {
    /// Accepted; nothing received yet.
    Init,
    /// Logging in, serving a command or waiting for the next one.
    ActiveReader,
    /// Idle with no command begun. ODP hardly ever shows it, and so do we: the reader stays active between commands.
    KeepAlive,
    /// Our side of the connection is shut down; what the client still sends is thrown away.
    HalfClose,
    /// Both sides are closed.
    Closed,
}

impl ClientState {
    /// The text in `SHOW PROXYSESSION`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Init => "MCS_INIT",
            Self::ActiveReader => "MCS_ACTIVE_READER",
            Self::KeepAlive => "MCS_KEEP_ALIVE",
            // ODP's manual documents this name; its releases print MCS_HALF_CLOSED.
            Self::HalfClose => "MCS_HALF_CLOSE",
            Self::Closed => "MCS_CLOSED",
        }
    }
}

/// State of a server session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ServerState {
    /// Connecting or logging in.
    Init,
    /// Running a command of its client session.
    Active,
    /// Idle and bound to its client session: the one last used.
    KeepAliveBound,
    /// Idle in its client session's pool.
    KeepAlivePooled,
}

impl ServerState {
    /// The text in `SHOW PROXYSESSION ATTRIBUTE`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Init => "MSS_INIT",
            Self::Active => "MSS_ACTIVE",
            Self::KeepAliveBound => "MSS_KA_CLIENT_SLAVE",
            Self::KeepAlivePooled => "MSS_KA_SHARED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_documented_ones() {
        use ClientState::{ActiveReader, Closed, HalfClose, Init, KeepAlive};
        let texts = [Init, ActiveReader, KeepAlive, HalfClose, Closed].map(ClientState::text);
        assert_eq!(
            texts,
            [
                "MCS_INIT",
                "MCS_ACTIVE_READER",
                "MCS_KEEP_ALIVE",
                "MCS_HALF_CLOSE",
                "MCS_CLOSED"
            ]
        );
    }

    #[test]
    fn server_texts_are_those_of_published_transcripts() {
        use ServerState::{Active, Init, KeepAliveBound, KeepAlivePooled};
        let texts = [Init, Active, KeepAliveBound, KeepAlivePooled].map(ServerState::text);
        assert_eq!(
            texts,
            [
                "MSS_INIT",
                "MSS_ACTIVE",
                "MSS_KA_CLIENT_SLAVE",
                "MSS_KA_SHARED"
            ]
        );
    }
}
