//! Whom the daemon has a place for: their ids, and how many it had none for.

use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError},
};

use super::{Process, memory};
use crate::{
    protocol::error::MysqlError,
    session::{CsId, IdSequence},
};

/// Client sessions that there are, and clients that were turned away.
pub(super) struct Admissions {
    sequence: IdSequence,
    live: HashSet<CsId>,
    /// Clients for whom there was no place.
    refused_for_total: u64,
    /// Those for whom there was no memory.
    refused_for_memory: u64,
}

impl Admissions {
    pub(super) fn new(sequence: IdSequence) -> Self {
        Self {
            sequence,
            live: HashSet::new(),
            refused_for_total: 0,
            refused_for_memory: 0,
        }
    }

    /// Client sessions that there are now.
    pub(super) fn count(&self) -> usize {
        self.live.len()
    }

    /// Clients turned away since the start: for `max_connections`, and for `max_memory`.
    pub(super) const fn refused(&self) -> (u64, u64) {
        (self.refused_for_total, self.refused_for_memory)
    }
}

/// What there is too little of for a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shortage {
    Sessions,
    Memory,
}

/// A client that is let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    pub(super) cs_id: CsId,
    /// For this everybody is turned away at the login but the proxy's administrator: who raises a limit must get in.
    pub(super) shortage: Option<Shortage>,
}

impl Process {
    pub(super) fn admissions(&self) -> MutexGuard<'_, Admissions> {
        self.admissions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A new client session's place. Beyond a limit there is one only for the proxy's administrator.
    ///
    /// # Errors
    /// Error 1203 or 1041, for the client.
    pub(super) fn admit(&self) -> Result<Admitted, MysqlError> {
        let settings = self.settings();
        let max_connections = settings.max_connections as usize;
        let is_out_of_memory = settings
            .max_memory
            .is_some_and(|max| memory::resident().is_some_and(|bytes| bytes > max));
        let mut admissions = self.admissions();
        let count = admissions.count();
        let shortage = if count >= max_connections {
            Some(Shortage::Sessions)
        } else {
            is_out_of_memory.then_some(Shortage::Memory)
        };
        if let Some(shortage) = shortage
            && (settings.admin.is_none() || count > max_connections)
        {
            drop(admissions);
            return Err(self.turn_away(shortage));
        }
        let Admissions { sequence, live, .. } = &mut *admissions;
        let cs_id = sequence
            .next(|id| live.contains(&id))
            .ok_or_else(MysqlError::too_many_sessions)?;
        live.insert(cs_id);
        Ok(Admitted { cs_id, shortage })
    }

    /// Counts a client for whom there is no place, and says what it is told.
    pub(super) fn turn_away(&self, shortage: Shortage) -> MysqlError {
        let mut admissions = self.admissions();
        match shortage {
            Shortage::Sessions => {
                admissions.refused_for_total += 1;
                MysqlError::too_many_sessions()
            }
            Shortage::Memory => {
                admissions.refused_for_memory += 1;
                MysqlError::out_of_memory()
            }
        }
    }

    /// The session with this id is gone.
    pub(super) fn dismiss(&self, id: CsId) {
        self.admissions().live.remove(&id);
    }
}
