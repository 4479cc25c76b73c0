//! Nodes that do not let an account in: they are not asked again and again, as servers count wrong passwords.

use std::cell::RefCell;

use tokio::time::Instant;

use crate::{
    config::{Account, NodeAddress},
    session::back_off::wait_after,
};

/// Errors that say that the account may not log in: `ER_DBACCESS_DENIED_ERROR`, `ER_ACCESS_DENIED_ERROR`, `ER_HOST_IS_BLOCKED`,
/// `ER_HOST_NOT_PRIVILEGED`, `ER_ACCESS_DENIED_NO_PASSWORD_ERROR`, `ER_MUST_CHANGE_PASSWORD_LOGIN`, `ER_ACCOUNT_HAS_BEEN_LOCKED` of `MySQL`
/// and of `MariaDB`.
const DENIALS: [u16; 8] = [1044, 1045, 1129, 1130, 1698, 1862, 3118, 4151];

/// Errors that say that the server, or what the account may use of it, is full: `ER_CON_COUNT_ERROR`, `ER_TOO_MANY_USER_CONNECTIONS`,
/// `ER_USER_LIMIT_REACHED`.
const FULL: [u16; 3] = [1040, 1203, 1226];

/// Whether a server's error at a login says that it has no place for this account now, which means nothing for other sessions there.
pub(super) fn is_about_account(number: u16) -> bool {
    is_denial(number) || FULL.contains(&number)
}

/// Whether a server's error says that the account may not log in.
pub(super) fn is_denial(number: u16) -> bool {
    DENIALS.contains(&number)
}

/// Logins that were denied, by node and account: one whose password is changed is another account.
#[derive(Default)]
pub(super) struct Denials(RefCell<Vec<Denied>>);

struct Denied {
    node: NodeAddress,
    account: Account,
    failures: u32,
    until: Instant,
    why: String,
}

impl Denials {
    /// Why the account is not to try this node now, if it is not.
    pub(super) fn waits(
        &self,
        node: &NodeAddress,
        account: &Account,
        now: Instant,
    ) -> Option<String> {
        let denials = self.0.borrow();
        let denied = denials.iter().find(|denied| denied.is_of(node, account))?;
        (now < denied.until).then(|| denied.why.clone())
    }

    /// The node has not let the account in.
    pub(super) fn denied(&self, node: &NodeAddress, account: &Account, why: &str, now: Instant) {
        let mut denials = self.0.borrow_mut();
        let known = denials
            .iter()
            .position(|denied| denied.is_of(node, account));
        let failures = match known.map(|at| denials.swap_remove(at)) {
            Some(denied) => denied.failures.saturating_add(1),
            None => 1,
        };
        // An earlier account of the node's is of no interest any more.
        denials.retain(|denied| denied.node != *node || denied.account.user != account.user);
        denials.push(Denied {
            node: node.clone(),
            account: account.clone(),
            failures,
            until: now + wait_after(failures),
            why: why.to_owned(),
        });
    }

    /// The node has let the account in.
    pub(super) fn let_in(&self, node: &NodeAddress, account: &Account) {
        self.0
            .borrow_mut()
            .retain(|denied| !denied.is_of(node, account));
    }
}

impl Denied {
    fn is_of(&self, node: &NodeAddress, account: &Account) -> bool {
        self.node == *node && self.account == *account
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn account(password: &str) -> Account {
        Account {
            user: "m".to_owned(),
            password: password.to_owned().into(),
            tls: crate::config::NodeTls::default(),
        }
    }

    #[test]
    fn a_denied_account_waits_longer_each_time() {
        let (denials, node) = (Denials::default(), "a:1".parse().unwrap());
        let own = account("one");
        let seconds = Duration::from_secs;
        let mut now = Instant::now();
        for wait in [1, 2, 4] {
            denials.denied(&node, &own, "error 1045", now);
            let almost = now + seconds(wait) - Duration::from_millis(1);
            let why = denials.waits(&node, &own, almost);
            assert_eq!(why.as_deref(), Some("error 1045"));
            now += seconds(wait);
            assert_eq!(denials.waits(&node, &own, now), None);
        }
        denials.denied(&node, &own, "error 1045", now);
        assert_eq!(denials.waits(&node, &account("two"), now), None);
        assert_eq!(denials.waits(&"b:1".parse().unwrap(), &own, now), None);
        denials.let_in(&node, &own);
        assert_eq!(denials.waits(&node, &own, now), None);
        denials.denied(&node, &own, "error 1045", now);
        assert_eq!(denials.waits(&node, &own, now + seconds(1)), None, "anew");
    }
}
