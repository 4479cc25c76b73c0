//! What a worker reports of itself to operators' statements.

use super::{Worker, registry::Entry};
use crate::{
    admin::{Calls, Connection, ConnectionKind, Report},
    net::{self, Leg, Watch},
};

/// A leg of a session, for who asks about connections.
pub(super) type Watched = (ConnectionKind, Watch);

impl Entry {
    /// One more connection of the session.
    pub(super) fn watch(&self, kind: ConnectionKind, leg: &Leg) {
        let mut legs = self.legs.borrow_mut();
        legs.retain(|(_, leg)| leg.moved().is_some());
        legs.push((kind, leg.watch()));
    }

    /// The session's connections that are open.
    pub(super) fn connections(&self) -> Vec<Connection> {
        let legs = self.legs.borrow();
        let open = legs.iter().filter_map(|(kind, leg)| {
            let (read_bytes, written_bytes) = leg.moved()?;
            Some(Connection {
                kind: *kind,
                fd: leg.fd,
                local: leg.local,
                remote: leg.peer,
                read_bytes,
                written_bytes,
                age_s: leg.opened.elapsed().as_secs(),
            })
        });
        open.collect()
    }
}

impl Worker {
    /// All but the sessions. Asked on the worker's own thread, whose calls it tells.
    pub(super) fn report(&self) -> Report {
        let calls = net::calls();
        Report {
            worker: self.index,
            connections: self.registry.connections(),
            calls: Calls {
                reads: calls.reads,
                empty_reads: calls.empty_reads,
                read_bytes: calls.read_bytes,
                writes: calls.writes,
                empty_writes: calls.empty_writes,
                written_bytes: calls.written_bytes,
            },
            closed: self.closed.borrow().clone(),
        }
    }
}
