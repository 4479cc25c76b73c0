//! What is known of nodes, shared by the threads: the monitor and the logins write, logins and operators read. Nothing on the data path does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use tokio::sync::watch;

use crate::{
    config::{Cluster, NodeAddress, Settings},
    route::{discovery::Found, health::Book},
};

/// What is known of nodes, and who is told when it matters to sessions.
#[derive(Debug)]
pub struct Health {
    book: Mutex<Book>,
    /// Whose clusters the nodes are.
    settings: RwLock<Option<Arc<Settings>>>,
    changes: watch::Sender<u64>,
    /// What clusters have said of themselves, by their names.
    found: watch::Sender<BTreeMap<String, Found>>,
    started: Instant,
}

impl Health {
    /// Nothing is known yet. Times are counted from `started`.
    pub fn new(started: Instant) -> Self {
        Self {
            book: Mutex::default(),
            settings: RwLock::default(),
            changes: watch::Sender::new(0),
            found: watch::Sender::default(),
            started,
        }
    }

    /// What is known, to be looked at for a moment.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the daemon's start.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Wakes with each change that may make sessions move.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Sessions must look anew where they belong.
    pub fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// What clusters have said of themselves; wakes with each change.
    pub fn found(&self) -> watch::Receiver<BTreeMap<String, Found>> {
        self.found.subscribe()
    }

    /// A cluster has said this of itself.
    pub fn discovered(&self, cluster: &str, found: &Found) {
        self.found.send_if_modified(|all| {
            let is_new = all.get(cluster) != Some(found);
            if is_new {
                all.insert(cluster.to_owned(), found.clone());
            }
            is_new
        });
    }

    /// What a cluster of this name has said of itself holds no more: another one has the name, or none.
    pub fn forget_found(&self, cluster: &str) {
        self.found
            .send_if_modified(|all| all.remove(cluster).is_some());
    }

    /// A login was answered by this node.
    pub fn login_answered(&self, node: &NodeAddress) {
        let now_ms = self.now_ms();
        self.write(|book| book.login_answered(node, now_ms), false);
    }

    /// A login got no answer of this node.
    pub fn login_failed(&self, node: &NodeAddress, cause: &str, limit: u32) {
        let now_ms = self.now_ms();
        if self.write(|book| book.login_failed(node, cause, now_ms, limit), false) {
            tracing::warn!(%node, cause, "node does not answer logins");
        }
    }

    /// The clusters are these from now on: what is known of other nodes is forgotten, and sessions look anew where they belong.
    pub fn configure(&self, settings: &Arc<Settings>) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(settings));
        let is_node = |address: &NodeAddress| {
            let mut clusters = settings.clusters.iter();
            clusters.any(|cluster| cluster.addresses().any(|node| node == address))
        };
        self.note(|book| {
            book.keep(is_node);
            true
        });
    }

    /// Writes down what the monitor account has been told; whether it matters to sessions.
    pub fn note(&self, write: impl FnOnce(&mut Book) -> bool) -> bool {
        self.write(write, true)
    }

    /// `tells_all`: it may say who is to get the writes though it does not matter to sessions otherwise.
    fn write(&self, write: impl FnOnce(&mut Book) -> bool, tells_all: bool) -> bool {
        let mut book = self.book();
        let has_changed = write(&mut book);
        let has_settled = (has_changed || tells_all) && self.settle(&mut book);
        drop(book);
        if has_changed || has_settled {
            self.announce();
        }
        has_changed
    }

    /// With the book in hand, so that the clusters of whoever comes last hold.
    fn settle(&self, book: &mut Book) -> bool {
        let settings = self.settings.read();
        let settings = settings.unwrap_or_else(PoisonError::into_inner);
        let clusters = settings.as_ref().map_or(&[][..], |known| &known.clusters);
        let has_settled = book.settle(clusters);
        if has_settled {
            tell(book, clusters);
        }
        has_settled
    }
}

/// Says which nodes take writes and are not the primary.
fn tell(book: &Book, clusters: &[Cluster]) {
    for cluster in clusters {
        for node in &cluster.nodes {
            if let Some((why, writer)) = book.aside(cluster, node) {
                let (cluster, node, why) = (&cluster.name, &node.address, why.text(writer));
                tracing::warn!(cluster, %node, why, "node is not the primary");
            }
        }
    }
}
