//! A regime that goes on with the session's other node: what the kernel is offered of the server session that stands aside, and which of the two has
//! been used by the time the daemon looks again.

use std::future::pending;

use sluice_ebpf::record::{Aside, Seat, takes};

use super::{
    reader::{self, known_by_reader},
    serve::Serving,
};
use crate::session::Path;

impl Serving<'_> {
    /// What the kernel is offered of the server session that stands aside, where the one that is used takes `takes`, and whether it may take a
    /// backslash for an escape: where they are known to escape here, a server that was not asked stays aside.
    pub(super) fn beside(&self, takes: u32) -> (Aside, bool) {
        let escapes = self.tracking.escapes.is_known();
        match &self.reading.aside {
            Some(aside) if !escapes || aside.escapes.is_settled() => {
                match self.offered_aside(aside, takes) {
                    Aside::NONE => (Aside::NONE, escapes),
                    offered => (offered, escapes && aside.escapes.is_known()),
                }
            }
            _ => (Aside::NONE, escapes),
        }
    }

    fn offered_aside(&self, aside: &reader::Aside<'_>, takes: u32) -> Aside {
        let takes = match (self.reading.seat, takes) {
            (Seat::Writer, takes::WRITES) => takes::READS,
            (Seat::Reader, takes::READS) => takes::WRITES,
            _ => return Aside::NONE,
        };
        // On the wire TCP's own numbers keep the order of both nodes' responses.
        let is_joined =
            self.entry.session.borrow().way == Path::Wire && aside.way == Ok(Path::Wire);
        // A reader that is to have the session's own writes waits for them before each use.
        let is_ready = is_joined
            && aside.rest.is_empty()
            && !aside.has_left
            && !self.reading.own_writes.is_wanted()
            && self.is_reader_told()
            && self.may_read_elsewhere(&[]);
        if !is_ready {
            return Aside::NONE;
        }
        Aside {
            takes,
            read_from_node: low(aside.leg.read_bytes()),
            written_to_node: low(aside.leg.written_bytes()),
        }
    }

    /// Whether the reader knows what has changed in the session.
    fn is_reader_told(&self) -> bool {
        let session = self.entry.session.borrow();
        let reader = match self.reading.seat {
            Seat::Reader => session.bound,
            Seat::Writer => self.reading.aside.as_ref().map(|aside| aside.ss_id),
        };
        let known = reader.and_then(|ss_id| session.server(ss_id));
        known.is_some_and(|server| server.versions == known_by_reader(session.versions))
            && !self.reading.must_reset
    }

    /// Has the session use the node that the kernel's last command went to. Whether that is another one than the daemon knew. While a regime is live it may
    /// be another one again at once.
    pub(super) fn follow_kernel(&mut self) -> bool {
        let Some(slot) = self.entry.slot().filter(|_| self.offered.is_some()) else {
            return false;
        };
        // The programs write the seat before they say that a regime has begun.
        let has_begun = self.entry.gate.get().has_begun(slot.begun());
        let moved = has_begun && slot.seat() != self.reading.seat;
        if moved {
            self.change_places();
        }
        moved
    }

    /// Waits until there is something to be read of the server session that stands aside, if the kernel may go on with that one.
    pub(super) async fn aside_readable(&self) {
        match &self.reading.aside {
            // However it has broken, whoever uses it next finds out.
            Some(aside) if !aside.has_left && aside.way.is_ok() => drop(aside.leg.readable().await),
            _ => pending().await,
        }
    }

    /// The server session that stands aside has said something unasked, or has gone: the kernel is not offered it, until somebody uses it and finds out.
    pub(super) fn hear_aside(&mut self) {
        if let Some(aside) = &mut self.reading.aside {
            aside.has_left = !aside.leg.is_silent();
        }
    }
}

/// Stream offsets are compared modulo 2^32.
pub(super) fn low(bytes: u64) -> u32 {
    u32::try_from(bytes & u64::from(u32::MAX)).unwrap_or_default()
}
