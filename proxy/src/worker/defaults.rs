//! What nodes say of their system variables, a list for each cluster, and what a statement that shows variables waits for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Process, mailbox, registry::Entry};
use crate::{
    admin::{Snapshot, Statement},
    config::Cluster,
    node::MonitorError,
    session::variable::defaults::{Default as Variable, QUESTIONS, read},
};

/// How long a list is believed, in milliseconds.
const AGE_MS_MAX: u64 = 5 * 60 * 1000;
/// `ER_UNKNOWN_TABLE`, `ER_TABLEACCESS_DENIED_ERROR`, `ER_NO_SUCH_TABLE`, `ER_BAD_FIELD_ERROR`: another make of server.
const OTHER_MAKE: [u16; 4] = [1109, 1142, 1146, 1054];

type List = Arc<Result<Vec<Variable>, String>>;

/// The lists of all clusters that somebody has asked for, and when they were read.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<String, (u64, List)>>);

impl Known {
    /// The lists, old ones, too.
    pub(super) fn all(&self) -> BTreeMap<String, List> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lists = known.iter();
        lists
            .map(|(cluster, (_, list))| (cluster.clone(), Arc::clone(list)))
            .collect()
    }

    /// Whether a good list is young enough.
    fn is_fresh(&self, cluster: &str, now_ms: u64) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(cluster)
            .is_some_and(|(at_ms, list)| list.is_ok() && now_ms.saturating_sub(*at_ms) < AGE_MS_MAX)
    }

    fn keep(&self, cluster: &str, now_ms: u64, list: Result<Vec<Variable>, String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(cluster.to_owned(), (now_ms, Arc::new(list)));
    }
}

impl Process {
    /// Reads a cluster's list, unless it is young.
    async fn read_defaults(&self, name: &str) {
        let settings = self.settings();
        let Some(cluster) = settings.cluster(name) else {
            return;
        };
        if !self.defaults.is_fresh(&cluster.name, self.now_ms()) {
            let list = self.ask_for_defaults(cluster).await;
            self.defaults.keep(&cluster.name, self.now_ms(), list);
        }
    }

    async fn ask_for_defaults(&self, cluster: &Cluster) -> Result<Vec<Variable>, String> {
        let mut reason = String::new();
        for question in QUESTIONS {
            match self.monitor.query(cluster, question).result().await {
                Ok(rows) => return Ok(read(&rows)),
                Err(MonitorError::NoAccount) => {
                    return Err(format!(
                        "set `monitor` of [[cluster]] {} to an account that may read them",
                        cluster.name
                    ));
                }
                Err(error) => {
                    reason = error.to_string();
                    let MonitorError::Refused { number, .. } = error else {
                        break;
                    };
                    if !OTHER_MAKE.contains(&number) {
                        break;
                    }
                }
            }
        }
        Err(reason)
    }
}

/// Has all read that a statement about variables shows; `false` if it is about something else, and the snapshot holds. The caller's own
/// variables are his station's to read.
pub(super) async fn freshen(
    process: &Process,
    caller: &Entry,
    statement: &Statement,
    snapshot: &Snapshot<'_>,
) -> bool {
    let Some((session, with_defaults)) = statement.variables_of(snapshot) else {
        return false;
    };
    if with_defaults {
        process.read_defaults(&session.login.cluster).await;
    }
    if session.cs_id != caller.cs_id && !session.variables.stale(1, true).is_empty() {
        mailbox::read_variables(process, session.cs_id).await;
    }
    true
}
