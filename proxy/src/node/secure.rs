//! Encrypts the connection to a node that has greeted, before anything is said of who logs in.

use tokio::time::{Instant, timeout_at};

use super::login_leg::{LegError, LoginLeg};
use crate::{
    net::tls::Encryption,
    protocol::{
        capability::Capabilities,
        handshake::{LoginPacket, TLS_REQUEST_LEN},
    },
};

/// Why a connection cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// The node waits for a login without TLS.
    #[error("the server offers no TLS, and the cluster's tls asks for it")]
    NotOffered,
    /// The configuration of TLS.
    #[error("TLS: {0}")]
    Unusable(#[from] rustls::Error),
    /// The handshake failed.
    #[error("TLS: {0}")]
    Leg(#[from] LegError),
    /// The node does not get on with its handshake.
    #[error("the TLS handshake timed out")]
    Timeout,
}

/// Shakes hands, where that is wanted and `offered` by the node's greeting; `packet` is the login packet to come, which then says so.
///
/// # Errors
/// [`SecureError`].
pub async fn secure(
    node: &mut LoginLeg<'_>,
    offered: Capabilities,
    encryption: Option<&Encryption>,
    packet: &mut LoginPacket,
    deadline: Instant,
) -> Result<(), SecureError> {
    let Some(encryption) = encryption else {
        return Ok(());
    };
    if !offered.contains(Capabilities::SSL) {
        return if encryption.is_needed {
            Err(SecureError::NotOffered)
        } else {
            Ok(())
        };
    }
    packet.capabilities = packet.capabilities.with(Capabilities::SSL);
    let mut request = packet.encode();
    request.truncate(TLS_REQUEST_LEN);
    let connection = encryption.connection()?;
    let shake = async {
        node.write(&request).await.map_err(LegError::Io)?;
        node.start_tls(connection).await
    };
    timeout_at(deadline, shake)
        .await
        .map_err(|_elapsed| SecureError::Timeout)?
        .map_err(SecureError::Leg)
}
