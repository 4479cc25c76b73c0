//! Sessions that have ended, but whose connections have not: bytes have bypassed the local sockets, so what both ends still say (a FIN, its
//! acknowledgement, a repeated segment) must be translated to the end. Their records and tuples live on until then. So does the tuple of a reader's
//! connection that has ended, in the record of a session that goes on.

use std::{net::SocketAddr, time::Duration};

use sluice_ebpf::{record::Seat, wire::Side};
use tokio::time::Instant;

use super::{SharedWorker, Worker, registry::Place};
use crate::{kernel::record::Slot, net::Parting};

/// How long a session that has ended keeps its record at most: the time of TIME-WAIT.
const AGE_MAX: Duration = Duration::from_mins(1);
/// How often to look for those that are over.
const LOOK: Duration = Duration::from_millis(100);

/// A session whose connections are not over, or one that goes on and whose reader's is not.
#[derive(Debug)]
struct Lingering {
    place: Place,
    /// Its connections, as its peers see them.
    tuples: Vec<(SocketAddr, SocketAddr)>,
    /// The client's, if it has yet to read.
    parting: Option<Parting>,
    /// The session has ended; else only its reader's connection has.
    has_ended: bool,
    since: Instant,
}

impl Lingering {
    fn is_over(&self) -> bool {
        let is_over = |slot: &Slot| {
            let wire = slot.wire();
            if self.has_ended {
                wire.is_over()
            } else {
                wire.leg(Side::Node(Seat::Reader)).is_over()
            }
        };
        self.parting.is_none() && self.place.slot.as_ref().is_none_or(is_over)
            || self.since.elapsed() > AGE_MAX
    }

    /// Closes the client's connection once it has read all.
    fn look(&mut self) {
        if let Some(parting) = self.parting.take_if(|parting| parting.is_done()) {
            parting.close();
        }
    }

    /// Nothing of it is translated any more.
    fn end(self, worker: &Worker) {
        // A reset is translated yet.
        drop(self.parting);
        if let Some(bindings) = &worker.bindings {
            let mut bindings = bindings.borrow_mut();
            for (local, remote) in self.tuples {
                bindings.remove_of(self.place.number, local, remote);
            }
        }
        if self.has_ended {
            self.place.free(worker);
        }
    }
}

/// A worker's sessions that linger, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Lingerers(Vec<Lingering>);

impl Lingerers {
    /// The session in this place has ended.
    pub(super) fn add_place(&mut self, place: &Place) {
        let lingering = self.find(place);
        lingering.has_ended = true;
        lingering.since = Instant::now();
    }

    /// The session in this place ends, but its client has yet to read.
    pub(super) fn add_parting(&mut self, place: &Place, parting: Parting) {
        self.find(place).parting = Some(parting);
    }

    /// Whether a connection of the session in this place lingers.
    pub(super) fn has(&self, place: &Place) -> bool {
        let is_its = |lingering: &Lingering| lingering.place.number == place.number;
        self.0.iter().any(is_its)
    }

    /// A connection of the session in this place, as its peer sees it, is closed or about to be.
    pub(super) fn add_tuple(&mut self, place: &Place, local: SocketAddr, remote: SocketAddr) {
        self.find(place).tuples.push((local, remote));
    }

    fn find(&mut self, place: &Place) -> &mut Lingering {
        let known = self
            .0
            .iter()
            .position(|lingering| lingering.place.number == place.number);
        let at = known.unwrap_or_else(|| {
            self.0.push(Lingering {
                place: place.clone(),
                tuples: Vec::new(),
                parting: None,
                has_ended: false,
                since: Instant::now(),
            });
            self.0.len() - 1
        });
        // `at` is a position of this very vector.
        #[expect(clippy::indexing_slicing, reason = "found or pushed just now")]
        &mut self.0[at]
    }
}

/// Ends the oldest session that lingers, for a new one that finds no record.
pub(super) fn make_room(worker: &Worker) {
    let oldest = {
        let mut lingerers = worker.lingerers.borrow_mut();
        let oldest = lingerers.0.iter().position(|each| each.has_ended);
        oldest.map(|at| lingerers.0.remove(at))
    };
    if let Some(oldest) = oldest {
        oldest.end(worker);
    }
}

/// Ends what is over, for ever.
pub(super) async fn sweep(worker: SharedWorker) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let over: Vec<_> = worker
            .lingerers
            .borrow_mut()
            .0
            .extract_if(.., |lingering| {
                lingering.look();
                lingering.is_over()
            })
            .collect();
        for lingering in over {
            lingering.end(&worker);
        }
    }
}
