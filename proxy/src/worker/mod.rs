//! The stations of a connection's life. Not built yet.

use std::io;
use std::net::SocketAddr;

use crate::config::Settings;

/// Why the daemon ended otherwise than by a signal. `main` makes an exit code of it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `--splice require`, and the host cannot.
    #[error("sessions cannot be spliced on this host: {0}")]
    SpliceUnavailable(String),
    /// The listening address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Runs the proxy until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`]: why it could not start or go on.
pub fn run(_settings: &Settings) -> Result<(), RunError> {
    Err(RunError::Failed("not built yet".to_owned()))
}
