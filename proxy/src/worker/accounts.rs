//! Reads the hashes of clients' passwords from nodes' account tables, by the clusters' monitor accounts.

use std::sync::{MutexGuard, PoisonError};

use super::{Process, Worker};
use crate::{
    config::Cluster,
    node::MonitorError,
    session::{
        Login,
        accounts::Accounts,
        credential::{Credential, Proof, Stored},
    },
};

impl Process {
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers a node in this client's place, as far as that follows from what is known already.
    pub(super) fn unlock(&self, login: &Login, proof: &Proof) -> Option<Credential> {
        let settings = self.settings();
        let password = settings.password_of(&login.user, &login.tenant);
        password
            .and_then(|password| proof.unlock(&Stored::of(password.expose())))
            .or_else(|| self.accounts().unlock(login, proof))
    }

    /// The same from the account tables of a cluster's nodes, which are remembered; none where they hold another password.
    ///
    /// # Errors
    /// Those of the monitor.
    pub(super) async fn read_account(
        &self,
        cluster: &Cluster,
        login: &Login,
        proof: &Proof,
    ) -> Result<Option<Credential>, MonitorError> {
        // One that is dead would be waited for.
        let nodes = self.health.book().order(cluster);
        let nodes = nodes.into_iter().map(|node| node.address.clone()).collect();
        let asked = self.monitor.account(cluster, nodes, hashes_of(&login.user));
        let rows = asked.result().await?;
        let values = rows.iter().flatten().flatten();
        let stored: Vec<_> = values.filter_map(|value| Stored::parse(value)).collect();
        let credential = stored.iter().find_map(|stored| proof.unlock(stored));
        self.accounts().learn(login, &stored, self.uptime());
        Ok(credential)
    }
}

/// Has a client's account read for its next login, where it is not known yet and can be of use.
pub(super) fn remember(worker: &Worker, login: &Login, proof: Option<&Proof>) {
    let process = &worker.process;
    let Some(proof) = proof.filter(|proof| proof.is_native()) else {
        return;
    };
    let settings = process.settings();
    let cluster = settings
        .cluster_of(&login.cluster, &login.tenant)
        .filter(|cluster| cluster.monitor.is_some() && process.unlock(login, proof).is_none());
    let Some(cluster) = cluster else {
        return;
    };
    if !process.accounts().ask(login, process.uptime()) {
        return;
    }
    let (cluster, process) = (cluster.clone(), process.clone());
    let (login, proof) = (login.clone(), proof.clone());
    tokio::task::spawn_local(async move {
        if let Err(error) = process.read_account(&cluster, &login, &proof).await {
            // Its logins go on as they did.
            tracing::debug!(user = login.user, %error, "an account cannot be read");
        }
    });
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
