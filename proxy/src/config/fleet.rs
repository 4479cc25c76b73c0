//! The other proxies of a fleet: `[fleet]` of the configuration file.

use std::time::Duration;

use serde::Deserialize;

use super::value::{NodeAddress, Timeout};

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// The proxies that serve the same clients, and that are asked for the sessions which this one does not have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fleet {
    /// Where they listen; of a name all of its addresses. This proxy may be among them. Empty: it is alone.
    pub peers: Vec<NodeAddress>,
    /// How long their answers are waited for.
    pub timeout: Duration,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            timeout: TIMEOUT_DEFAULT,
        }
    }
}

/// `[fleet]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FleetTable {
    peers: Vec<NodeAddress>,
    timeout: Option<Timeout>,
}

impl FleetTable {
    /// The fleet, or what is wrong with it. `has_admin`: there is a password of the proxy's own logins.
    pub(super) fn check(&self, has_admin: bool) -> Result<Fleet, String> {
        if !has_admin && !self.peers.is_empty() {
            return Err(
                "fleet.peers: give [admin] a password too, the same in the whole fleet; with it the peers are asked".to_owned(),
            );
        }
        Ok(Fleet {
            peers: self.peers.clone(),
            timeout: self.timeout.map_or(TIMEOUT_DEFAULT, Timeout::get),
        })
    }
}
