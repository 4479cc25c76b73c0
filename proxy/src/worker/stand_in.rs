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
        let unknown = "only the client can log in to the node, as its password is not known here";
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
        // One that is dead would be waited for.
        let nodes = process.health.book().order(cluster);
        let nodes = nodes.into_iter().map(|node| node.address.clone()).collect();
        let hashes = process
            .monitor
            .query_of(cluster, nodes, hashes_of(&login.user));
        let hashes = hashes.result().await.map_err(|error| {
            let why = format!("{unknown}, nor can its hash be read: {error}");
            match error {
                MonitorError::NoAccount | MonitorError::Refused { .. } | MonitorError::TooLarge => {
                    NoCredential::Never(why)
                }
                MonitorError::Busy
                | MonitorError::Unreachable(_)
                | MonitorError::Broken(_)
                | MonitorError::Timeout => NoCredential::NotNow(why),
            }
        })?;
        let mut stored = hashes.iter().flatten().flatten();
        stored
            .find_map(|hash| proof.unlock(hash))
            .ok_or_else(|| NoCredential::Never(unknown.to_owned()))
    }
}

/// Asks for the hashes of a user's native passwords, whatever host they are for.
fn hashes_of(user: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::with_capacity(2 * user.len());
    for byte in user.bytes() {
        // Writing to a text cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    format!(
        "SELECT authentication_string FROM mysql.user \
         WHERE User = CONVERT(X'{name}' USING utf8mb4) AND plugin = 'mysql_native_password'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_name_cannot_change_the_question() {
        assert_eq!(
            hashes_of("a'b"),
            "SELECT authentication_string FROM mysql.user \
             WHERE User = CONVERT(X'612762' USING utf8mb4) AND plugin = 'mysql_native_password'"
        );
    }
}
