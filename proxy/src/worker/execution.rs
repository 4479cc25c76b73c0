//! Executions of prepared statements on their way to a node: each names what that node knows the statement by, and what it has not been told of its
//! parameters. The session's reader prepares a statement when the first execution comes that it is for.

use bytes::{Buf, BytesMut};
use sluice_ebpf::{classify::LAST_PREPARED, record::Seat, response::Status};
use tokio::time::{Instant, timeout_at};

use super::{
    close::End,
    follow::{Answer, exchange_batch},
    serve::{Serving, payload_length},
    switch::SWITCH_TIME,
};
use crate::{
    protocol::{
        capability::Capabilities,
        command,
        packet::{self, HEADER_LEN},
        statement::{Front, front, name_statement, name_types},
    },
    session::{
        AnsweredBy,
        aim::{Place, place_of_prepared},
        command::Effect,
        execution::Tracked,
        preparation::{close, prepare},
    },
};

/// How much of an execution is kept until its front is there, in bytes: more than any driver's types need.
const FRONT_BYTES_MAX: usize = 64 * 1024;
/// The longest execution that is kept to be asked again, in bytes.
const REPEATED_BYTES_MAX: usize = 4096;

/// The execution at the front of `client_rest`, of a statement all of whose executions the daemon sees.
pub(super) struct AtHand {
    /// The statement, as the client knows it.
    id: u32,
    front: Front,
}

impl Serving<'_> {
    /// Looks at the command at the front of `client_rest`, which has this effect, if it is about a prepared statement: waits until all of it is here that
    /// must be known. Returns whether it is done with.
    ///
    /// # Errors
    /// The client has left, or nobody can execute the statement any more.
    pub(super) async fn look_at_statement(&mut self, effect: &Effect) -> Result<bool, End> {
        self.read_statement_id().await?;
        self.find_execution().await?;
        self.look_at_execution().await?;
        match effect {
            Effect::Closed(id) => {
                let is_at_both = {
                    let prepared = self.entry.prepared.borrow();
                    prepared.tracked(*id).is_some_and(Tracked::is_of_both)
                };
                if let Some(slot) = self.entry.slot().filter(|_| is_at_both) {
                    // The reader has it until it is told.
                    slot.forget_statement(*id);
                }
                self.close_aside(*id).await
            }
            _ => Ok(false),
        }
    }

    /// The statement that the command at the front of `client_rest` names, as the client knows it; none of another command.
    fn statement_named(&self) -> Option<u32> {
        let (length, payload) = (
            payload_length(&self.client_rest),
            self.client_rest.get(HEADER_LEN..)?,
        );
        let (&byte, id) = payload.split_first()?;
        let names = length >= NAMING_BYTES && names_statement(byte);
        Some(id.get(..4)?.get_u32_le()).filter(|_| names)
    }

    /// Waits until the command at the front of `client_rest` has said which statement it names, if it does.
    async fn read_statement_id(&mut self) -> Result<(), End> {
        let names = self.client_rest.get(HEADER_LEN).copied();
        let length = payload_length(&self.client_rest);
        if names.is_some_and(names_statement) && length >= NAMING_BYTES {
            while self.client_rest.len() < HEADER_LEN + NAMING_BYTES {
                self.read_client_or_end().await?;
            }
        }
        Ok(())
    }

    /// By which id the node that the session uses knows the statement that the command at the front of `client_rest` names, where it is not the client's.
    pub(super) fn other_id(&self) -> Option<u32> {
        let named = self.statement_named()?;
        let prepared = self.entry.prepared.borrow();
        let id = match self.reading.seat {
            Seat::Writer => prepared.at_writer().of(self.last_resolved(named)),
            Seat::Reader => prepared.tracked(named)?.at_reader()?,
        };
        (id != named).then_some(id)
    }

    /// Finds out whether the command at the front of `client_rest` is an execution of a statement all of whose executions the daemon sees.
    async fn find_execution(&mut self) -> Result<(), End> {
        self.at_hand = None;
        let byte = self.client_rest.get(HEADER_LEN).copied();
        let Some(id) = self.statement_named() else {
            return Ok(());
        };
        match byte {
            Some(command::STMT_EXECUTE) if id != LAST_PREPARED => {
                self.at_hand = self.execution(id).await?.map(Box::new);
            }
            // It names types in a way of its own, or a statement.
            Some(command::STMT_EXECUTE | command::STMT_BULK_EXECUTE) => {
                self.lose_types(id);
            }
            Some(command::STMT_SEND_LONG_DATA) => {
                match self.entry.prepared.borrow_mut().tracked_mut(id) {
                    Some(tracked) => tracked.brings_long_data(),
                    None => self.followed.note_long_data(),
                }
                self.tell_kernel(id);
            }
            Some(command::STMT_RESET) => {
                if let Some(tracked) = self.entry.prepared.borrow_mut().tracked_mut(id) {
                    tracked.is_reset();
                }
                self.tell_kernel(id);
            }
            Some(command::STMT_FETCH) => self.followed.fetches(id),
            _ => {}
        }
        Ok(())
    }

    /// What the status flags say of the cursor of a statement that rows were fetched of. A statement prepared last has none that is known.
    pub(super) fn note_fetched(&self, fetched: Option<u32>, status: Status) {
        let Some(id) = fetched.filter(|_| status.flags & Status::LAST_ROW_SENT != 0) else {
            return;
        };
        if let Some(tracked) = self.entry.prepared.borrow_mut().tracked_mut(id) {
            tracked.cursor_has_ended();
        }
        self.tell_kernel(id);
    }

    /// Reads the front of an execution of this statement.
    async fn execution(&mut self, id: u32) -> Result<Option<AtHand>, End> {
        let parameters = self
            .entry
            .prepared
            .borrow()
            .tracked(id)
            .map(Tracked::parameters);
        let Some(parameters) = parameters else {
            return Ok(None);
        };
        loop {
            let length = payload_length(&self.client_rest);
            let rest = self.client_rest.get(HEADER_LEN..).unwrap_or_default();
            let payload = rest.get(..length).unwrap_or(rest);
            match front(payload, self.capabilities, parameters.into()) {
                Ok(front) => return Ok(Some(AtHand { id, front })),
                Err(_short) if payload.len() < length.min(FRONT_BYTES_MAX) => {
                    self.read_client_or_end().await?;
                }
                // What the node makes of it nobody knows.
                Err(_malformed) => {
                    self.lose_types(id);
                    return Ok(None);
                }
            }
        }
    }

    /// What the writer has been told of this statement's parameters the daemon does not know, until types are named again.
    fn lose_types(&self, id: u32) {
        let id = self.entry.prepared.borrow().named(id);
        if let Some(tracked) = self.entry.prepared.borrow_mut().tracked_mut(id) {
            tracked.lose_types();
        }
        self.tell_kernel(id);
    }

    /// Takes notice of what the kernel has noted of executions, while no regime is live.
    pub(super) fn take_notes(&self) {
        let Some(slot) = self.entry.slot() else {
            return;
        };
        let mut prepared = self.entry.prepared.borrow_mut();
        for (id, note) in slot.notes() {
            if let Some(tracked) = prepared.tracked_mut(id) {
                tracked.noted(note);
            }
        }
    }

    /// All executions of this statement may be spliced, to the writer, if they are not followed and that one knows it by the client's id.
    pub(super) fn allow_statement(&self, id: u32) {
        let is_plain = {
            let prepared = self.entry.prepared.borrow();
            prepared.tracked(id).is_none() && prepared.at_writer().of(id) == id
        };
        if let Some(slot) = self.entry.slot().filter(|_| is_plain) {
            slot.allow_statement(id);
        }
    }

    /// Something has become known of a statement whose executions the kernel may splice, while no regime is live.
    pub(super) fn tell_kernel(&self, id: u32) {
        let prepared = self.entry.prepared.borrow();
        let tracked = prepared.tracked(id).filter(|tracked| tracked.is_spliced());
        // The kernel changes nothing in a command for the writer.
        let may_know = self.is_spliceable() && prepared.at_writer().of(id) == id;
        if let (Some(slot), Some(tracked)) = (self.entry.slot(), tracked) {
            // One that the reader must know as well is worth another's place.
            let may_stand = tracked.is_of_both() || slot.has_room_for(id);
            match tracked.in_kernel(id).filter(|_| may_know) {
                Some(told) if may_stand => slot.set_statement(id, told),
                Some(_) => {}
                None => slot.forget_statement(id),
            }
        }
    }

    /// The same of all.
    pub(super) fn tell_kernel_all(&self) {
        let ids = self.entry.prepared.borrow().all_tracked_ids();
        for id in ids {
            self.tell_kernel(id);
        }
    }

    /// The session has another reader, or none.
    pub(super) fn forget_readers_statements(&self) {
        self.entry.prepared.borrow_mut().reader_is_new();
        self.tell_kernel_all();
    }

    /// The node that the execution at hand is for; none where there is none.
    pub(super) fn place_of_execution(&self) -> Option<Place> {
        let AtHand { id, front } = self.at_hand.as_deref()?;
        let prepared = self.entry.prepared.borrow();
        Some(
            prepared
                .tracked(*id)
                .map_or(Place::Writer, |tracked| tracked.place_of(front)),
        )
    }

    /// The command at the front of `client_rest` is about to turn to its node: keeps which one was used last, as long as that is asked for by statements
    /// that are prepared first.
    pub(super) fn note_last(&mut self) {
        if place_of_prepared(&self.client_rest) == Place::Last {
            let used = self.asked_last().unwrap_or(self.reading.seat);
            self.reading.asked_last = Some((used, self.spliced_commands()));
        } else if self.place_of_execution() != Some(Place::Last)
            && self.client_rest.get(HEADER_LEN) != Some(&command::STMT_CLOSE)
        {
            self.reading.asked_last = None;
        }
    }

    /// The node that was used last before statements were prepared that ask for it, as long as nothing else has come.
    pub(super) fn asked_last(&self) -> Option<Seat> {
        let (used, spliced) = self.reading.asked_last?;
        (spliced == self.spliced_commands()).then_some(used)
    }

    /// Commands with a response that the kernel has spliced with the session's record.
    fn spliced_commands(&self) -> u64 {
        self.entry.slot().map_or(0, |slot| slot.progress().commands)
    }

    /// Whether all is known that a node must be told of the execution at hand.
    pub(super) fn has_types_at_hand(&self) -> bool {
        let Some(AtHand { id, .. }) = self.at_hand.as_deref() else {
            return false;
        };
        let prepared = self.entry.prepared.borrow();
        prepared.tracked(*id).is_some_and(Tracked::has_types)
    }

    /// Has the reader, where the session uses it, know the statement of the execution at hand; where it cannot, the session uses the writer.
    ///
    /// # Errors
    /// The session has ended, or the node that it has used has.
    pub(super) async fn have_prepared(&mut self) -> Result<(), End> {
        let Some(id) = self.at_hand.as_ref().map(|at_hand| at_hand.id) else {
            return Ok(());
        };
        let at_reader = self
            .entry
            .prepared
            .borrow()
            .tracked(id)
            .and_then(Tracked::at_reader);
        if self.reading.seat == Seat::Writer || at_reader.is_some() {
            return Ok(());
        }
        self.barrier().await?;
        if !self.node_rest.is_empty() {
            // A reader that speaks unasked leaves.
            return Err(End::NodeClosed);
        }
        let given = self.prepare_at_reader(id).await?;
        if let Some(tracked) = self.entry.prepared.borrow_mut().tracked_mut(id) {
            tracked.prepared_at_reader(given);
        }
        if given.is_none() {
            self.turn_to_writer().await?;
        }
        Ok(())
    }

    /// Has the reader prepare a statement, and forget those that are closed. Returns its id there, if it could.
    async fn prepare_at_reader(&mut self, id: u32) -> Result<Option<u32>, End> {
        let (payload, parameters) = {
            let prepared = self.entry.prepared.borrow();
            let versions = self.entry.session.borrow().versions;
            let (Some(whole), Some(tracked)) = (prepared.whole(id, versions), prepared.tracked(id))
            else {
                return Ok(None);
            };
            (prepare(&whole.text), tracked.parameters())
        };
        let mut packets = BytesMut::new();
        for closed in self.entry.prepared.borrow_mut().take_closing() {
            packet::put(&mut packets, 0, &close(closed));
        }
        packet::put(&mut packets, 0, &payload);
        let deadline = Instant::now() + SWITCH_TIME;
        let answers = timeout_at(deadline, exchange_batch(self.asked(), &packets, 1))
            .await
            .map_err(|_elapsed| End::NodeHung)??;
        let answer = answers.into_iter().next().flatten();
        // Another count would mean another table than the client has seen.
        Ok(answer
            .filter(|answer| answer.parameters == parameters)
            .map(|Answer { id, .. }| id))
    }

    /// The execution at hand is about to go to the node that the session uses.
    ///
    /// # Errors
    /// It does not say what that node must be told, and there is no room for it.
    pub(super) fn address_execution(&mut self) -> Result<(), End> {
        let Some(AtHand { id, front }) = self.at_hand.take().map(|at_hand| *at_hand) else {
            return Ok(());
        };
        let seat = self.reading.seat;
        let mut prepared = self.entry.prepared.borrow_mut();
        let Some(tracked) = prepared.tracked_mut(id) else {
            return Ok(());
        };
        let length = HEADER_LEN + payload_length(&self.client_rest);
        let is_clear = self.status.is_outside_transaction() && tracked.is_repeatable(&front);
        self.long_read = self
            .client_rest
            .get(..length)
            .filter(|_| is_clear && length <= REPEATED_BYTES_MAX)
            .map(BytesMut::from);
        if let Some(types) = tracked.executed(seat, &front)
            && !name_types(&mut self.client_rest, &front, types, self.capabilities)
        {
            return Err(End::StatementLost);
        }
        drop(prepared);
        self.tell_kernel(id);
        Ok(())
    }

    /// Closes a statement while the session uses its reader: the writer, which stands aside, is told; the reader later. Returns whether it was.
    ///
    /// # Errors
    /// The client has left.
    async fn close_aside(&mut self, id: u32) -> Result<bool, End> {
        let length = payload_length(&self.client_rest);
        if self.reading.seat == Seat::Writer || length != NAMING_BYTES {
            return Ok(false);
        }
        self.begin_command(AnsweredBy::Node);
        let mut packet = self.client_rest.split_to(HEADER_LEN + length);
        name_statement(&mut packet, self.entry.prepared.borrow().at_writer().of(id));
        if let Some(writer) = self.asked_aside() {
            // One that is gone has no statements any more, and is missed when it is needed.
            let _ = writer.node.write_all(&packet).await;
        }
        {
            let mut session = self.entry.session.borrow_mut();
            session.command.bytes = packet.len() as u64;
            session.traffic.relayed_commands += 1;
            session.traffic.relayed_packets_to_node += 1;
            session.traffic.relayed_bytes_to_node += packet.len() as u64;
        }
        self.tracking.close(id);
        self.entry.statements_closed(std::iter::once(id));
        self.entry.end_command();
        Ok(true)
    }

    /// Where the executions of the statement in the `COM_STMT_PREPARE` at the front of `client_rest` may go.
    pub(super) fn place_of_statement(&self) -> Place {
        // Else a replica that has yet to change a table would send rows that do not fit what the client was told of them last.
        let is_told = !self
            .capabilities
            .contains(Capabilities::MARIADB_CACHE_METADATA);
        if is_told {
            place_of_prepared(&self.client_rest)
        } else {
            Place::Writer
        }
    }
}

/// The statement of whose cursor a command with this payload fetches rows.
pub(super) fn statement_fetched(payload: &[u8]) -> Option<u32> {
    let (&byte, id) = payload.split_first()?;
    let id = id.first_chunk().copied().map(u32::from_le_bytes);
    id.filter(|_| byte == command::STMT_FETCH)
}

/// Payload bytes of a command up to the id of the statement that it names; `COM_STMT_CLOSE` has no more.
const NAMING_BYTES: usize = 5;

/// Whether a command with this first byte names a prepared statement.
const fn names_statement(byte: u8) -> bool {
    matches!(
        byte,
        command::STMT_EXECUTE
            | command::STMT_BULK_EXECUTE
            | command::STMT_SEND_LONG_DATA
            | command::STMT_CLOSE
            | command::STMT_RESET
            | command::STMT_FETCH
    )
}
