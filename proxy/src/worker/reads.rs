//! Sessions that read from a replica are counted, as long as they do.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::Process;
use crate::{config::NodeAddress, route::load::Load};

/// A session that is counted at a replica until this is dropped.
pub(super) struct Counted {
    process: Arc<Process>,
    node: Arc<NodeAddress>,
}

impl Counted {
    /// A session reads from this node from now on.
    pub(super) fn new(process: &Arc<Process>, node: &Arc<NodeAddress>) -> Self {
        process.load().enter(node);
        Self {
            process: Arc::clone(process),
            node: Arc::clone(node),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.process.load().leave(&self.node);
    }
}

impl Process {
    /// How many sessions read from each replica.
    pub(super) fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
