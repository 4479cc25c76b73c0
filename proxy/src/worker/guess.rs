//! Clients whose passwords a node has found wrong: after a few in a row of one user from one address, that user must wait there.

use std::{
    net::IpAddr,
    sync::{MutexGuard, PoisonError},
};

use super::{
    Process,
    login::{LoginEnd, Refusal},
};
use crate::{
    protocol::error::{ACCESS_DENIED, MysqlError},
    session::{Login, back_off::BackOff, login_end::LoginReason},
};

impl Process {
    fn guesses(&self) -> MutexGuard<'_, BackOff> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a user may try to log in from an address.
    ///
    /// # Errors
    /// Error 1045, as after a wrong password: he must wait.
    pub(super) fn may_guess(&self, login: &Login, address: IpAddr) -> Result<(), Refusal> {
        let Some(free) = self.settings().max_login_failures else {
            return Ok(());
        };
        let now = self.uptime();
        let wait = self.guesses().wait(address, &name(login), free, now);
        if wait.is_zero() {
            return Ok(());
        }
        Err(Refusal {
            error: MysqlError::access_denied(&login.user, &address.to_string(), true),
            reason: LoginReason::ProxyRefused,
            detail: Some(format!(
                "too many wrong passwords of this user from {address}: {} s to wait",
                wait.as_secs() + 1
            )),
        })
    }

    /// A login has come to nothing; perhaps the node has found the password wrong.
    pub(super) fn note_failure(&self, login: &Login, address: IpAddr, end: &LoginEnd) {
        let told = end.told.as_ref().map(|(number, _)| *number);
        let is_denied =
            end.reason == LoginReason::NodeRefused && told == Some(ACCESS_DENIED.number);
        if is_denied && self.settings().max_login_failures.is_some() {
            let now = self.uptime();
            self.guesses().failed(address, &name(login), now);
        }
    }

    /// The node has let a user in.
    pub(super) fn note_success(&self, login: &Login, address: IpAddr) {
        if self.settings().max_login_failures.is_some() {
            self.guesses().succeeded(address, &name(login));
        }
    }
}

fn name(login: &Login) -> String {
    format!("{}@{}#{}", login.user, login.tenant, login.cluster)
}
