//! What lets the proxy log in at another node in a client's place: an account of the configuration, or what the login has proven.

use super::serve::Serving;
use crate::{node::MonitorError, session::credential::Credential};

/// Why nobody can log in in the client's place.
pub(super) enum NoCredential {
    /// Whoever could say what it takes does not answer.
    NotNow(String),
    /// Only the client knows its password.
    Never(String),
}

impl NoCredential {
    /// The text for users.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::NotNow(why) | Self::Never(why) => why,
        }
    }
}

impl Serving<'_> {
    /// What answers the node in the client's place.
    ///
    /// # Errors
    /// Why there is nothing: for now, or for ever.
    pub(super) async fn credential(&self) -> Result<Credential, NoCredential> {
        let unknown = "only the client can log in to the node, as its password is not known here: it takes a [[user]] or, for mysql_native_password, \
             a monitor account that may read mysql.user";
        let Some(proof) = &self.identity.proof else {
            return Err(NoCredential::Never(unknown.to_owned()));
        };
        if let Some(credential) = proof.credential() {
            return Ok(credential);
        }
        let login = self.entry.session.borrow().login.clone();
        let settings = self.worker.process.settings();
        if let Some(password) = settings.password_of(&login.user, &login.tenant) {
            return Ok(Credential::Password(password.expose().to_owned()));
        }
        let cluster = settings
            .cluster_of(&login.cluster, &login.tenant)
            .filter(|_| proof.is_native());
        let Some(cluster) = cluster else {
            return Err(NoCredential::Never(unknown.to_owned()));
        };
        let process = &self.worker.process;
        if let Some(credential) = process.unlock(&login, proof) {
            return Ok(credential);
        }
        match process.read_account(cluster, &login, proof).await {
            Ok(credential) => credential.ok_or_else(|| NoCredential::Never(unknown.to_owned())),
            Err(error) => {
                let why = format!("{unknown}, nor can its hash be read: {error}");
                Err(match error {
                    MonitorError::NoAccount
                    | MonitorError::Refused { .. }
                    | MonitorError::TooLarge => NoCredential::Never(why),
                    MonitorError::Busy
                    | MonitorError::Unreachable(_)
                    | MonitorError::Denied(_)
                    | MonitorError::Broken(_)
                    | MonitorError::Unwanted
                    | MonitorError::Timeout => NoCredential::NotNow(why),
                })
            }
        }
    }
}
