//! What is known of nodes, shared by the threads: the monitor and the logins write, logins and operators read. Nothing on the data path does.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

use crate::{config::NodeAddress, route::health::Book};

/// What is known of nodes, and who is told when it matters to sessions.
#[derive(Debug)]
pub struct Health {
    book: Mutex<Book>,
    changes: watch::Sender<u64>,
    started: Instant,
}

impl Health {
    /// Nothing is known yet. Times are counted from `started`.
    pub fn new(started: Instant) -> Self {
        Self {
            book: Mutex::default(),
            changes: watch::Sender::new(0),
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

    /// A login was answered by this node.
    pub fn login_answered(&self, node: &NodeAddress) {
        let now_ms = self.now_ms();
        self.note(|book| book.login_answered(node, now_ms));
    }

    /// A login got no answer of this node.
    pub fn login_failed(&self, node: &NodeAddress, cause: &str, limit: u32) {
        let now_ms = self.now_ms();
        if self.note(|book| book.login_failed(node, cause, now_ms, limit)) {
            tracing::warn!(%node, cause, "node does not answer logins");
        }
    }

    /// Writes something down; whether it matters to sessions.
    pub fn note(&self, write: impl FnOnce(&mut Book) -> bool) -> bool {
        let has_changed = write(&mut self.book());
        if has_changed {
            self.announce();
        }
        has_changed
    }
}
