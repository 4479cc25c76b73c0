//! A worker's live sessions: what admin statements see of them, and how they are ended from outside.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    pin::Pin,
    rc::Rc,
};

use sluice_ebpf::{
    latency::Histogram,
    reason::{RelayReason, WaitReason},
    record::Seat,
    response::{Expect, Outcome, Response},
    wire::{Side, flag},
};
use tokio::sync::oneshot;

use super::{
    SharedWorker, Worker, bell::Bell, clock, close::End, linger, quota::Quota, report::Watched,
    switch::Stuck,
};
use crate::{
    admin::Connection,
    gate::{Gate, Progress, SplicedCommand, Standing},
    kernel::record::Slot,
    session::{
        AnsweredBy, Below, Command, CsId, InsertId, Mode, Path, Prepared, ServerState, Session,
        SsId, Versions,
    },
};

/// Where a session is in the kernel's maps.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its number.
    pub(super) number: u64,
    /// Its record, as long as it may be spliced.
    pub(super) slot: Option<Slot>,
}

impl Place {
    /// A place for a new session. Without a record where the kernel does not splice or every record is in use.
    pub(super) fn open(worker: &Worker) -> Self {
        let number = worker.process.session_number();
        let records = worker.process.splicing.as_ref().ok();
        let slot = records.and_then(|records| {
            if worker.free_slots.borrow().is_empty() {
                linger::make_room(worker);
            }
            let index = worker.free_slots.borrow_mut().pop_front()?;
            Slot::new(records, index)
        });
        if let Some(slot) = &slot {
            let limit = worker.process.settings().splice_limit;
            slot.open(number, u32::try_from(limit).unwrap_or(u32::MAX));
        }
        Self { number, slot }
    }

    /// The session has ended. Its record goes back, unless what its peers still say must be translated.
    pub(super) fn close(&self, worker: &Worker) {
        if self.is_used_below() {
            if let Some(slot) = &self.slot {
                slot.part();
            }
            worker.lingerers.borrow_mut().add_place(self);
        } else {
            self.free(worker);
        }
    }

    /// Whether bytes have bypassed the daemon's sockets, so that these and their peers count differently.
    pub(super) fn is_used_below(&self) -> bool {
        self.slot
            .as_ref()
            .is_some_and(|slot| slot.is_joined() && slot.wire().is_used())
    }

    /// The same of the connection with the reader.
    pub(super) fn is_reader_used_below(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| {
            slot.is_joined() && slot.wire().leg(Side::Node(Seat::Reader)).is_used()
        })
    }

    /// Whether the tuple of this connection is surely this session's still: the wire's programs have seen its segments, and none that ends it, nor one that
    /// begins another of the same tuple.
    pub(super) fn has_tuple(&self, side: Side) -> bool {
        self.slot.as_ref().is_some_and(|slot| {
            let wire = slot.wire();
            let leg = wire.leg(side);
            leg.is(flag::KNOWN) && !leg.is_over()
        })
    }

    /// Gives the record back. Whatever its app sockets send from now on takes its way through the daemon.
    pub(super) fn free(&self, worker: &Worker) {
        if let Some(slot) = &self.slot {
            slot.close();
            worker.free_slots.borrow_mut().push_back(slot.index());
        }
    }
}

/// One live session, as others of its worker see it.
pub(super) struct Entry {
    worker: SharedWorker,
    pub(super) cs_id: CsId,
    pub(super) session: RefCell<Session>,
    place: RefCell<Place>,
    /// Its connections.
    pub(super) legs: RefCell<Vec<Watched>>,
    /// Its prepared statements; not in the session, of which every statement of an operator takes copies.
    pub(super) prepared: RefCell<Prepared>,
    pub(super) gate: Cell<Gate>,
    /// Bytes of the PROXY header that the client's connection has begun with.
    pub(super) header_bytes: Cell<u32>,
    end: Cell<Option<End>>,
    /// Rung when somebody ends the session or wants something of it.
    bell: Bell,
    /// Its node was told to stop what it was executing.
    pub(super) stopped: Cell<bool>,
    /// When the statement began that took too long last.
    pub(super) overdue_since_ns: Cell<u64>,
    /// When the statement began that its node was last told to stop.
    pub(super) stopping_since_ns: Cell<u64>,
    /// Dropped with the entry: who waits for its end has the other halves.
    gone: RefCell<Vec<oneshot::Sender<()>>>,
    /// Who waits for the server to be asked for stale variables.
    reader: RefCell<Option<oneshot::Sender<()>>>,
    /// Who wants the server session replaced.
    switch: RefCell<Option<Switch>>,
    /// How often something has become known of nodes that may concern the session.
    news: Cell<u64>,
    /// Its places among those of its tenant and its user, once it has logged in.
    pub(super) quota: RefCell<Option<Quota>>,
    /// For the closing line.
    remark: RefCell<Option<String>>,
}

/// Another session's wish that this one's server session be replaced, and who waits for the outcome.
#[derive(Debug)]
pub(super) struct Switch {
    /// The server session that is meant; by now it may be another's.
    pub(super) ss_id: SsId,
    pub(super) outcome: oneshot::Sender<Result<(), Stuck>>,
}

impl Entry {
    /// Enters a session into its worker's registry; it leaves it when the entry is dropped by its task.
    pub(super) fn new(worker: &SharedWorker, session: Session, place: Place) -> Rc<Self> {
        let entry = Rc::new(Self {
            worker: Rc::clone(worker),
            cs_id: session.cs_id,
            session: RefCell::new(session),
            place: RefCell::new(place),
            legs: RefCell::default(),
            prepared: RefCell::default(),
            gate: Cell::default(),
            header_bytes: Cell::default(),
            end: Cell::new(None),
            bell: Bell::default(),
            stopped: Cell::new(false),
            overdue_since_ns: Cell::new(0),
            stopping_since_ns: Cell::new(0),
            gone: RefCell::default(),
            reader: RefCell::default(),
            switch: RefCell::default(),
            news: Cell::new(0),
            quota: RefCell::default(),
            remark: RefCell::default(),
        });
        worker
            .registry
            .0
            .borrow_mut()
            .insert(entry.cs_id, Rc::downgrade(&entry));
        entry
    }

    /// Where it is in the kernel's maps.
    pub(super) fn place(&self) -> Place {
        self.place.borrow().clone()
    }

    /// Its number in the kernel's maps.
    pub(super) fn number(&self) -> u64 {
        self.place.borrow().number
    }

    /// Its record in the kernel's maps, as long as it may be spliced.
    pub(super) fn slot(&self) -> Option<Slot> {
        self.place.borrow().slot.clone()
    }

    /// The session has another record from now on; what the old one has counted is kept.
    pub(super) fn move_to(&self, place: Place) {
        {
            let mut session = self.session.borrow_mut();
            if let Some(slot) = self.slot() {
                let mut gate = self.gate.get();
                gate.count(slot.begun());
                self.gate.set(gate);
                add(&mut session, &slot.progress(), &slot.latency());
                session.note_insert_id(slot.insert_id());
                let spliced = slot.command();
                if let Some(spliced) = spliced.filter(|spliced| is_newer(spliced, &session.command))
                {
                    session.command = self.command_of(&spliced);
                }
            }
        }
        self.place.replace(place).close(&self.worker);
    }

    /// These statements of the node's are closed.
    pub(super) fn statements_closed(&self, ids: impl Iterator<Item = u32>) {
        let mut prepared = self.prepared.borrow_mut();
        let mut any = false;
        for id in ids {
            prepared.forget(id);
            any = true;
        }
        if any {
            self.session.borrow_mut().has_prepared = prepared.has_open();
        }
    }

    /// Transactions that have ended in the kernel, and are not counted in the session yet.
    pub(super) fn spliced_transactions(&self) -> u64 {
        self.slot().map_or(0, |slot| slot.progress().transactions)
    }

    /// The session with what the kernel has moved meanwhile, and with what it does now.
    pub(super) fn current(&self) -> Session {
        let mut session = self.session.borrow().clone();
        let gate = self.gate.get();
        session.traffic.offers = gate.generation();
        session.traffic.regimes = gate.regimes(0);
        if let Some(slot) = self.slot() {
            let spliced = slot.command();
            let progress = slot.progress();
            session.traffic.regimes = gate.regimes(progress.begun);
            if session.mode != Mode::Relayed && gate.has_begun(progress.begun) {
                session.use_seat(progress.seat);
            }
            add(&mut session, &progress, &slot.latency());
            session.note_insert_id(slot.insert_id());
            session.has_prepared &= !self.prepared.borrow().are_all(slot.closed());
            session.mode = match gate.standing(&progress) {
                Standing::Open => Mode::Spliced,
                Standing::Closed if session.mode == Mode::Armed => Mode::Armed,
                Standing::Closed | Standing::Ended { .. } => Mode::Relayed,
            };
            session.below = below(&session, &slot);
            session.waits_for = (session.mode == Mode::Armed).then(|| match session.below {
                Some(_) => slot.waits_for(),
                None => WaitReason::Command,
            });
            if let Some(spliced) = spliced.filter(|spliced| is_newer(spliced, &session.command)) {
                session.command = self.command_of(&spliced);
                // Its response is whole where it had ended before, and none has begun meanwhile.
                let response = progress.response;
                if !session.command.is_running() && slot.command() == Some(spliced) {
                    if let Some(status) = progress.status() {
                        session.note_autocommit(status);
                        session.note_status(status);
                    }
                    if Expect::of(session.command.byte) != Expect::Nothing {
                        session.command.affected_rows = affected_rows(&response);
                    }
                }
            }
        }
        session.has_prepared = session.has_prepared && self.is_tied_by_prepared(session.versions);
        if session.relay_reason.is_none() && self.worker.process.is_splice_off() {
            session.relay_reason = Some(RelayReason::Off);
            session.path = Path::Relay;
            session.mode = Mode::Relayed;
            session.waits_for = None;
        }
        if session.command.is_running() && session.command.answered_by == AnsweredBy::Node {
            session.set_bound_state(ServerState::Active);
        }
        session
    }

    /// Whether prepared statements keep a session with these `versions` at its node: not if another node can be told all that is known of them.
    fn is_tied_by_prepared(&self, versions: Versions) -> bool {
        let slot = self.slot();
        let mut notes = slot.iter().flat_map(Slot::notes);
        !self.prepared.borrow().can_move(versions) || notes.any(|(_, note)| note.has_long_data())
    }

    /// What is shown of a command that the kernel spliced.
    fn command_of(&self, spliced: &SplicedCommand) -> Command {
        let prepared = self.prepared.borrow();
        Command {
            bytes: spliced.bytes.saturating_sub(spliced.remaining).into(),
            ended_at_ns: spliced.ended_at_ns(),
            ..Command::begun(
                spliced.payload(),
                &prepared,
                AnsweredBy::Node,
                spliced.began_at_ns,
            )
        }
    }

    /// When the last command began, and when it ended, if it has.
    pub(super) fn times(&self) -> (u64, Option<u64>) {
        let session = self.session.borrow();
        let known = &session.command;
        let spliced = self.slot().and_then(|slot| slot.command());
        match spliced.filter(|spliced| is_newer(spliced, known)) {
            Some(spliced) => (spliced.began_at_ns, spliced.ended_at_ns()),
            None => (known.began_at_ns, known.ended_at_ns),
        }
    }

    /// The daemon finishes the command that the kernel left in the middle: from here on it is the daemon's.
    pub(super) fn take_over_command(&self) {
        let mut session = self.session.borrow_mut();
        let spliced = self.slot().and_then(|slot| slot.command());
        if let Some(spliced) = spliced.filter(|spliced| is_newer(spliced, &session.command)) {
            session.command = Command {
                ended_at_ns: None,
                ..self.command_of(&spliced)
            };
        }
    }

    /// The command with this payload, or the front of it, begins now.
    pub(super) fn begin_command(&self, payload: &[u8], answered_by: AnsweredBy) {
        let prepared = self.prepared.borrow();
        self.session.borrow_mut().command =
            Command::begun(payload, &prepared, answered_by, clock::now_ns());
    }

    /// The response to the command under way came through the daemon, or the rest of it, and is complete.
    pub(super) fn end_response(&self, response: &Response) {
        let mut session = self.session.borrow_mut();
        let now = clock::now_ns();
        session.command.end(now);
        let took = session.command.duration_ns(now);
        session.traffic.latency.count(took);
        session.command.affected_rows = affected_rows(response);
        session.note_insert_id(InsertId {
            value: response.last_insert_id(),
            at_ns: now,
        });
    }

    /// The command under way is over.
    pub(super) fn end_command(&self) {
        self.session.borrow_mut().command.end(clock::now_ns());
    }

    /// Waits for something, but no longer than until somebody ends the session.
    /// (The future is pinned where it is: a future that is given away is stored twice.)
    pub(super) async fn unless_ended<T>(
        &self,
        future: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, End> {
        tokio::select! {
            biased;
            end = self.bell.wait_for(|| self.end.take()) => Err(end),
            done = future => Ok(done),
        }
    }

    /// Waits until somebody wants to see variables of which the session's station has yet to ask the server.
    pub(super) async fn variables_wanted(&self) {
        let has_come = || self.reader.borrow().is_some().then_some(());
        self.bell.wait_for(has_come).await;
    }

    /// What can be asked has been asked.
    pub(super) fn variables_read(&self) {
        // A reader that has gone, or whose place another took, shows what is known.
        let _ = self.reader.take().map(|reader| reader.send(()));
    }

    /// Waits until somebody wants the server session replaced; the session's station grants it at a command boundary.
    pub(super) async fn switch_wanted(&self) -> Switch {
        self.bell.wait_for(|| self.switch.take()).await
    }

    /// How often something has become known of nodes.
    pub(super) const fn news_count(&self) -> u64 {
        self.news.get()
    }

    /// Waits until more has become known of nodes than had at this count.
    pub(super) async fn news(&self, seen: u64) {
        let has_come = || (self.news.get() != seen).then_some(());
        self.bell.wait_for(has_come).await;
    }

    /// Keeps something for the session's closing line.
    pub(super) fn remark(&self, remark: String) {
        self.remark.replace(Some(remark));
    }

    /// What there is to say in the closing line.
    pub(super) fn take_remark(&self) -> Option<String> {
        self.remark.take()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.worker.registry.0.borrow_mut().remove(&self.cs_id);
        self.worker.process.dismiss(self.cs_id);
        self.place.borrow().close(&self.worker);
    }
}

/// Rows that a command has changed, if its response says it.
fn affected_rows(response: &Response) -> Option<u64> {
    (response.outcome() == Outcome::Ok).then(|| response.affected_rows())
}

/// Whether a spliced command began after the last one that the daemon knows.
const fn is_newer(spliced: &SplicedCommand, known: &Command) -> bool {
    spliced.began_at_ns > known.began_at_ns
}

/// Adds what the kernel has counted to a copy of a session.
fn add(session: &mut Session, progress: &Progress, latency: &Histogram) {
    let traffic = &mut session.traffic;
    traffic.latency.add(latency);
    traffic.spliced_commands += progress.commands + progress.silent_commands;
    traffic.responses += progress.answered;
    traffic.spliced_bytes_to_node += progress.bytes_to_node;
    traffic.spliced_bytes_to_client += progress.bytes_to_client;
    // Only commands of one packet are spliced.
    traffic.spliced_packets_to_node += progress.commands + progress.silent_commands;
    traffic.spliced_packets_to_client += progress.packets_to_client;
    traffic.spills += u64::from(progress.spills);
    traffic.traps.add_all(&progress.traps);
    traffic.last_trap = progress.trap.or(traffic.last_trap);
    session.transactions += progress.transactions;
    let ended = session.transactions;
    session.ties.transactions_ended(ended);
    if let Some(server) = session.bound_server_mut() {
        server.transactions += progress.transactions;
    }
}

/// Whether a client has said who it is: others are no sessions yet.
pub(super) fn has_a_name(session: &Session) -> bool {
    !session.login.user.is_empty() || session.bound.is_some()
}

/// A worker's sessions by id.
#[derive(Default)]
pub(super) struct Registry(RefCell<BTreeMap<CsId, std::rc::Weak<Entry>>>);

impl Registry {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Copies of the sessions that have logged in: of all, or only of those that an id may mean.
    pub(super) fn snapshot(&self, id: Option<i64>) -> Vec<Session> {
        let is_asked_for = |entry: &Rc<Entry>| {
            let session = entry.session.borrow();
            has_a_name(&session) && id.is_none_or(|id| session.may_be_meant_by(id))
        };
        let entries = self.0.borrow();
        entries
            .values()
            .filter_map(std::rc::Weak::upgrade)
            .filter(is_asked_for)
            .map(|entry| entry.current())
            .collect()
    }

    /// The connections of all sessions.
    pub(super) fn connections(&self) -> Vec<Connection> {
        let entries = self.0.borrow();
        let live = entries.values().filter_map(std::rc::Weak::upgrade);
        live.flat_map(|entry| entry.connections()).collect()
    }

    /// Has a session's stale variables asked for, if it is here and idle. `reader` is told or dropped.
    pub(super) fn read_variables(&self, cs_id: CsId, reader: oneshot::Sender<()>) {
        let Some(entry) = self.0.borrow().get(&cs_id).and_then(std::rc::Weak::upgrade) else {
            return;
        };
        if !entry.session.borrow().command.is_running() {
            entry.reader.replace(Some(reader));
            entry.bell.ring();
        }
    }

    /// Has a session's server session replaced, if the session is here; `switch` is told how it went, or dropped.
    pub(super) fn switch(&self, cs_id: CsId, switch: Switch) {
        let Some(entry) = self.0.borrow().get(&cs_id).and_then(std::rc::Weak::upgrade) else {
            return;
        };
        if entry.current().command.is_running() {
            // Who asked may be gone.
            let _ = switch.outcome.send(Err(Stuck::Busy));
        } else {
            entry.switch.replace(Some(switch));
            entry.bell.ring();
        }
    }

    /// Something has become known of nodes that may concern sessions.
    pub(super) fn tell_news(&self) {
        let entries = self.0.borrow();
        for entry in entries.values().filter_map(std::rc::Weak::upgrade) {
            entry.news.set(entry.news.get() + 1);
            entry.bell.ring();
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Rc<Entry>> {
        let entries = self.0.borrow();
        entries
            .values()
            .filter_map(std::rc::Weak::upgrade)
            .collect()
    }

    /// Ends all sessions.
    pub(super) fn end_all(&self, end: End) {
        let ids: Vec<_> = self.0.borrow().keys().copied().collect();
        for cs_id in ids {
            self.end(cs_id, end, None);
        }
    }

    /// Ends every session's regime in the kernel. What is spliced again is for the sessions to offer.
    pub(super) fn stop_splicing(&self) {
        let entries = self.0.borrow();
        for entry in entries.values().filter_map(std::rc::Weak::upgrade) {
            if let Some(slot) = entry.slot() {
                slot.stop(entry.gate.get().generation());
            }
        }
    }

    /// Ends a session, if it is here. The first reason stands. `gone` is dropped when the session is gone.
    pub(super) fn end(&self, cs_id: CsId, end: End, gone: Option<oneshot::Sender<()>>) {
        let Some(entry) = self.0.borrow().get(&cs_id).and_then(std::rc::Weak::upgrade) else {
            return;
        };
        let first = entry.end.take().unwrap_or(end);
        entry.end.set(Some(first));
        entry.gone.borrow_mut().extend(gone);
        entry.bell.ring();
    }
}

/// How the session's connections stand below the sockets, where they are joined there.
fn below(session: &Session, slot: &Slot) -> Option<Below> {
    if session.path != Path::Wire {
        return None;
    }
    let wire = slot.wire();
    Some(Below {
        phase: wire.phase,
        unacknowledged_to_client: wire.client.unacknowledged(),
        unacknowledged_to_node: wire.node().unacknowledged(),
    })
}
