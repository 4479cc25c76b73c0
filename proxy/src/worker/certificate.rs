//! Looks after the certificate that clients are shown.

use std::{future::pending, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};

use super::{Process, RunError};
use crate::{config::Settings, net::tls::Certificate};

/// How often its files and its end are looked at where nobody shakes hands.
const LOOK: Duration = Duration::from_mins(10);

/// What clients that ask for TLS are shown, if that is configured.
///
/// # Errors
/// [`RunError::Failed`]: what is wrong with the files.
pub(super) fn load(settings: &Settings) -> Result<Option<Certificate>, RunError> {
    let certificate = settings.tls.as_ref().map(Certificate::load).transpose();
    certificate.map_err(|error| RunError::Failed(format!("tls: {error}")))
}

/// Reads it again on SIGHUP, and looks now and then whether it has changed or is about to expire. Never ends.
pub(super) async fn look_after(process: &Process) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be waited for");
        return pending().await;
    };
    let mut look = interval(LOOK);
    loop {
        let is_told = tokio::select! {
            _ = hangup.recv() => true,
            _ = look.tick() => false,
        };
        if let Some(certificate) = &process.certificate {
            if is_told {
                certificate.reload();
            } else {
                certificate.current();
            }
        }
    }
}
