//! How a reader's connection leaves its seat in the session's record, for another reader's, and comes back. The record has room for one: the programs know
//! a reader's connection by it, and on the wire translate by it what that one's peer says.
//!
//! A connection leaves at a moment at which nothing is outstanding between the client and its node. Where no byte of it has bypassed its local socket, the
//! programs let it alone from then on, as that of a stranger; what they knew is kept, and told them again when it is back. Else its peer is not
//! understood without them, and a record of its own goes on to translate. Its app socket, if it is captured, finds another one's place taken, or nobody's:
//! what it says is for the daemon.

use std::time::Duration;

use sluice_ebpf::{
    record::{NodeEnd, Seat},
    wire::{self, Side, phase},
};
use tokio::time::Instant;

use super::{Worker, reader::Aside, registry::Place, serve::Serving};
use crate::{
    kernel::{
        quiesce::quiesce,
        record::{ReadersLeg, Slot},
    },
    pause::pause,
    session::Path,
};

/// How long to wait for the end of an earlier reader's connection, and for what bypassed to arrive.
const CLEAR_TIME: Duration = Duration::from_secs(1);
/// How often to look for it.
const CLEAR_LOOK: Duration = Duration::from_millis(20);
/// How often to look for what is about to be acknowledged.
const ARRIVAL_LOOK: Duration = Duration::from_millis(2);

/// The share of a worker's records, as one of so many, that must be free for one to be given to a connection that is parked.
const FREE_SHARE: usize = 4;

/// What is kept of a reader's connection that has left its seat.
pub(super) enum Kept<'a> {
    /// There is no record.
    Nothing,
    /// What the record knew of its app socket.
    Socket(NodeEnd),
    /// What the wire's programs knew of it.
    Leg(Box<ReadersLeg>),
    /// A record of its own: they go on to know it.
    Record(Berth<'a>),
}

/// A record for one connection.
pub(super) struct Berth<'a> {
    worker: &'a Worker,
    place: Option<Place>,
}

impl<'a> Berth<'a> {
    /// None where few records are free: clients' sessions are to have them.
    fn of(worker: &'a Worker, known: &ReadersLeg) -> Option<(Self, Place)> {
        let records = worker.process.splicing.as_ref().ok()?;
        let own = records.count() as usize / worker.process.mailboxes.len().max(1);
        if worker.free_slots.borrow().len() * FREE_SHARE <= own {
            return None;
        }
        let place = Place::open(worker);
        place.slot.as_ref()?.keep_readers_leg(known);
        let own = Some(place.clone());
        Some((Self { worker, place: own }, place))
    }

    fn known(&self) -> Option<ReadersLeg> {
        let slot = self.place.as_ref()?.slot.as_ref();
        slot.map(Slot::readers_leg)
    }

    /// The connection is in its seat again: nothing is to be translated here.
    fn leave(mut self) {
        if let Some(place) = self.place.take() {
            place.free(self.worker);
        }
    }
}

impl Drop for Berth<'_> {
    /// As with a session's record: it lingers until the connection is over.
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.close(self.worker);
        }
    }
}

impl<'a> Serving<'a> {
    /// Has the reader's connection, which stands aside, leave its seat. The error says why it cannot.
    pub(super) async fn leave_seat(&self, aside: &mut Aside<'a>) -> Result<Kept<'a>, String> {
        let Aside { bound, leg, .. } = aside;
        let place = self.entry.place();
        let Some(slot) = &place.slot else {
            return Ok(Kept::Nothing);
        };
        if !slot.is_joined() {
            bound.leave();
            return Ok(Kept::Socket(slot.take_readers_end()));
        }
        let deadline = Instant::now() + CLEAR_TIME;
        while is_readers_turn(slot) {
            if Instant::now() > deadline {
                return Err("its last response has not arrived".to_owned());
            }
            pause(ARRIVAL_LOOK).await;
        }
        let known = slot.readers_leg();
        let mut own = None;
        if known.is_used() {
            let (berth, place) = Berth::of(self.worker, &known).ok_or("few records are free")?;
            own = Some(berth);
            bound.be_readers(place).map_err(|error| error.to_string())?;
        } else {
            bound.leave();
            // Its own numbers are the peer's again, and it may be closed in order.
            let _ = leg.reset_on_close(false);
        }
        is_quiet().await?;
        let known = slot.readers_leg();
        slot.clear_reader();
        Ok(own.map_or_else(|| Kept::Leg(Box::new(known)), Kept::Record))
    }

    /// Gives a reader's connection its seat back, which is [clear](Self::clear_seat). The error says why it cannot have it.
    pub(super) fn take_seat(&self, aside: &mut Aside<'a>, kept: Kept<'a>) -> Result<(), String> {
        let place = self.entry.place();
        let Some(slot) = place.slot.clone() else {
            return Ok(());
        };
        let (known, berth) = match kept {
            Kept::Nothing => return Ok(()),
            Kept::Socket(end) => {
                slot.set_readers_end(end);
                return Ok(());
            }
            Kept::Leg(known) => (Some(*known), None),
            Kept::Record(berth) => (berth.known(), Some(berth)),
        };
        if let Some(known) = known {
            slot.set_readers_leg(&known);
        }
        if let Err(error) = aside.bound.be_readers(place) {
            slot.clear_reader();
            return Err(error.to_string());
        }
        if aside.way == Ok(Path::Wire) {
            // As `way::choose` has it.
            let _ = aside.leg.reset_on_close(true);
        }
        if let Some(berth) = berth {
            berth.leave();
        }
        Ok(())
    }

    /// Has the record forget the connection of an earlier reader: another one takes its place there.
    pub(super) async fn clear_seat(&self) -> Result<(), String> {
        let place = self.entry.place();
        let Some(slot) = &place.slot else {
            return Ok(());
        };
        if !slot.is_joined() {
            // Whether the next one's app socket is captured must not be taken from the last one's.
            slot.take_readers_end();
            return Ok(());
        }
        if *slot.wire().leg(Side::Node(Seat::Reader)) == wire::Leg::default() {
            return Ok(());
        }
        let is_needed = || is_readers_turn(slot) || self.worker.lingerers.borrow().has(&place);
        let deadline = Instant::now() + CLEAR_TIME;
        while is_needed() {
            if Instant::now() > deadline {
                return Err("the connection of its last reader has not ended".to_owned());
            }
            pause(CLEAR_LOOK).await;
        }
        is_quiet().await?;
        slot.clear_reader();
        Ok(())
    }
}

/// Whether bytes that bypassed between the client and the reader may be outstanding.
fn is_readers_turn(slot: &Slot) -> bool {
    let wire = slot.wire();
    wire.seat == Seat::Reader as u32 && wire.phase != phase::RELAYED
}

/// Waits for programs that had looked before; the error says that nobody can.
async fn is_quiet() -> Result<(), String> {
    let quiet = tokio::task::spawn_blocking(quiesce).await;
    if matches!(quiet, Ok(Ok(()))) {
        Ok(())
    } else {
        Err("the record of its last reader cannot be cleared".to_owned())
    }
}
