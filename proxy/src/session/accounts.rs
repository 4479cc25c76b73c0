//! The hashes of clients' native passwords, as nodes' account tables hold them, for those who have logged in before: with them the next login of the
//! same user is answered at the node at once, from what the client has said to the proxy's own greeting.

use std::{collections::HashMap, time::Duration};

use super::{
    Login,
    credential::{Credential, Proof, Stored},
};

/// Accounts that are remembered.
const ACCOUNTS_MAX: usize = 4096;
/// Hashes of one account that are remembered.
const HASHES_MAX: usize = 16;
/// An account is not read again before this, whatever came of it.
const REST: Duration = Duration::from_secs(10);

/// What is known of an account.
#[derive(Debug)]
struct Account {
    /// Those of the hosts that its user may come from, as far as they differ.
    stored: Vec<Stored>,
    /// When it was last asked for.
    asked_at: Duration,
}

/// The accounts of clients. Times are those of a monotonic clock, from any point.
#[derive(Debug, Default)]
pub struct Accounts(HashMap<Login, Account>);

impl Accounts {
    /// What answers a node in this client's place, if one of its account's hashes fits what it has said.
    pub fn unlock(&self, login: &Login, proof: &Proof) -> Option<Credential> {
        let account = self.0.get(login)?;
        account
            .stored
            .iter()
            .find_map(|stored| proof.unlock(stored))
    }

    /// Whether the hashes of an account are to be read: none of those known has fitted, and nobody has asked in the last ten seconds.
    pub fn ask(&mut self, login: &Login, now: Duration) -> bool {
        let Some(account) = self.0.get_mut(login) else {
            self.learn(login, &[], now);
            return true;
        };
        let is_due = now.saturating_sub(account.asked_at) >= REST;
        if is_due {
            account.asked_at = now;
        }
        is_due
    }

    /// What has been read of an account; of many hashes the first ones are kept.
    pub fn learn(&mut self, login: &Login, found: &[Stored], now: Duration) {
        if self.0.len() >= ACCOUNTS_MAX && !self.0.contains_key(login) {
            let oldest = self.0.iter().min_by_key(|(_, account)| account.asked_at);
            let oldest = oldest.map(|(login, _)| login.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let mut stored = Vec::new();
        for one in found {
            if stored.len() < HASHES_MAX && !stored.contains(one) {
                stored.push(one.clone());
            }
        }
        let account = Account {
            stored,
            asked_at: now,
        };
        self.0.insert(login.clone(), account);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::session::auth_exchange::Scramble;

    fn login(user: &str) -> Login {
        Login {
            user: user.to_owned(),
            ..Login::default()
        }
    }

    fn proof(password: &str) -> Proof {
        let asked = Scramble {
            plugin: Bytes::from_static(b"mysql_native_password"),
            scramble: Bytes::from_static(b"pppppppppppppppppppp"),
        };
        let answer = Credential::Password(password.to_owned()).answer(&asked);
        Proof::new(&asked, answer.unwrap())
    }

    #[test]
    fn a_hash_that_was_read_unlocks_that_users_answers_alone() {
        let mut accounts = Accounts::default();
        let stored = vec![Stored::of("other"), Stored::of("secret")];
        accounts.learn(&login("app"), &stored, Duration::ZERO);
        assert!(accounts.unlock(&login("app"), &proof("secret")).is_some());
        assert_eq!(accounts.unlock(&login("app"), &proof("Secret")), None);
        assert_eq!(accounts.unlock(&login("root"), &proof("secret")), None);
    }

    #[test]
    fn an_account_is_asked_for_once_in_ten_seconds() {
        let mut accounts = Accounts::default();
        let at = Duration::from_secs;
        assert!(accounts.ask(&login("app"), at(5)));
        assert!(!accounts.ask(&login("app"), at(14)));
        assert!(accounts.ask(&login("root"), at(14)));
        assert!(accounts.ask(&login("app"), at(15)));
    }

    #[test]
    fn a_node_cannot_fill_the_memory_with_one_account() {
        let mut accounts = Accounts::default();
        let mut many = vec![Stored::of("same"); 100];
        many.extend((0..100).map(|number| Stored::of(&number.to_string())));
        accounts.learn(&login("app"), &many, Duration::ZERO);
        assert_eq!(accounts.0[&login("app")].stored.len(), HASHES_MAX);
        assert!(accounts.unlock(&login("app"), &proof("0")).is_some());
    }

    #[test]
    fn the_accounts_asked_for_longest_ago_are_forgotten() {
        let mut accounts = Accounts::default();
        for number in 0..=ACCOUNTS_MAX {
            let now = Duration::from_secs(number as u64);
            let login = login(&number.to_string());
            accounts.learn(&login, &[Stored::of("secret")], now);
        }
        assert_eq!(accounts.0.len(), ACCOUNTS_MAX);
        assert_eq!(accounts.unlock(&login("0"), &proof("secret")), None);
        assert!(accounts.unlock(&login("1"), &proof("secret")).is_some());
    }
}
