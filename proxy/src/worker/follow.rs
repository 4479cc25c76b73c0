//! Prepared statements that follow a session whose node is gone, or that is to leave it. They are prepared at the next node, with the ids that the client
//! knows if that can be; else their executions name them as that node does. What a client has said of parameters besides, their types and long data, went
//! with the node.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use sluice_ebpf::{
    classify::LAST_PREPARED,
    response::{Expect, Outcome, Response},
};
use tokio::time::{Instant, timeout_at};

use super::{
    ask::Asked,
    close::End,
    relay::{Got, read_into},
    serve::{Serving, payload_length},
    switch::{Fresh, Refusal},
};
use crate::{
    protocol::{
        command,
        packet::{self, HEADER_LEN},
        statement::{TYPES_MAX, names_types},
    },
    session::{
        StickyReason,
        aim::Place,
        execution::Tracked,
        preparation::{Batch, FILLER, arrange, close, prepare, steps},
        prepared::Whole,
    },
};

/// Bytes of an answer to `COM_STMT_PREPARE` up to the count of its parameters: header, OK, id, columns.
const BEFORE_COUNT: usize = HEADER_LEN + 7;
/// In the flags of `COM_STMT_BULK_EXECUTE`: the types follow (`STMT_BULK_FLAG_SEND_TYPES`, `MariaDB`).
const BULK_TYPES: u8 = 128;
/// The longest text that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What must be known of statements that have followed their session.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Those of which the node has not been told the types of their parameters.
    untyped: BTreeMap<u32, Untyped>,
    /// Which statement was prepared last is not what the client knows.
    has_other_last: bool,
    /// `COM_STMT_SEND_LONG_DATA` has been relayed for a statement some of whose executions the daemon does not see.
    has_long_data: bool,
    /// Closes among the commands without a response that the kernel has spliced with the session's record.
    closes_spliced: u64,
    /// The statement of whose cursor the command under way fetches rows.
    fetched: Option<u32>,
}

impl Followed {
    /// The session has no statements any more.
    pub(super) fn forget(&mut self) {
        self.untyped.clear();
        (self.has_other_last, self.has_long_data) = (false, false);
    }

    /// `COM_STMT_SEND_LONG_DATA` is relayed, and when it is used up nobody sees.
    pub(super) const fn note_long_data(&mut self) {
        self.has_long_data = true;
    }

    /// Rows of this statement's cursor are fetched.
    pub(super) const fn fetches(&mut self, id: u32) {
        self.fetched = Some(id);
    }

    /// The statement that the command under way has fetched rows of, if that is what it does.
    pub(super) const fn take_fetched(&mut self) -> Option<u32> {
        self.fetched.take()
    }

    /// Closes of statements were spliced.
    pub(super) const fn note_closes(&mut self, count: u64) {
        self.closes_spliced += count;
    }
}

/// A statement whose parameters' types the node does not know.
#[derive(Clone, Copy, Debug)]
struct Untyped {
    parameters: u16,
    spliceable: bool,
}

/// A statement that a fresh server session was asked to prepare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// The client's id.
    id: u32,
    spliceable: bool,
    /// None where the node has refused it.
    answer: Option<Answer>,
}

impl Serving<'_> {
    /// What is to be kept of the statement that the command at the front of `client_rest` prepares, so that it can be prepared elsewhere.
    pub(super) fn whole(&self, spliceable: bool) -> Option<Whole> {
        let length = payload_length(&self.client_rest);
        let text = self.client_rest.get(HEADER_LEN + 1..HEADER_LEN + length)?;
        let is_of_use = text.len() <= TEXT_BYTES_MAX && self.has_other_nodes();
        is_of_use.then(|| Whole {
            text: text.into(),
            spliceable,
            versions: self.entry.session.borrow().versions,
        })
    }

    /// What ties the session to a node that is gone, but for a transaction, which is gone with it.
    pub(super) fn ties_to_dead(&self) -> Vec<StickyReason> {
        let session = self.entry.current();
        let mut ties = session.sticky_reasons();
        let own = session.ties.reasons();
        let can_follow = {
            let prepared = self.entry.prepared.borrow();
            let may_have_long_data = prepared.has_untracked() && self.has_long_data();
            prepared.can_follow(session.versions) && !may_have_long_data
        };
        ties.retain(|reason| match reason {
            StickyReason::Transaction => false,
            // Those of `PREPARE` are among the session's own ties.
            StickyReason::PreparedStatement => own.contains(reason) || !can_follow,
            _ => true,
        });
        ties
    }

    /// Whether `COM_STMT_SEND_LONG_DATA` may have brought something that no execution has used, of a statement that is not tracked.
    fn has_long_data(&self) -> bool {
        let silent = self
            .entry
            .slot()
            .map_or(0, |slot| slot.progress().silent_commands);
        self.followed.has_long_data || silent > self.followed.closes_spliced
    }

    /// Has a fresh server session prepare the session's statements, with the client's ids where it can be had to.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) async fn prepare_again(
        &self,
        fresh: &mut Fresh<'_>,
        deadline: Instant,
    ) -> Result<Vec<Again>, Refusal> {
        let (mut again, next) = self.find_out_next(fresh, deadline).await?;
        let (steps, batches) = {
            let prepared = self.entry.prepared.borrow();
            let versions = self.entry.session.borrow().versions;
            let statements = prepared.followable(versions).unwrap_or_default();
            let left = statements.get(again.len()..).unwrap_or_default();
            // Where nobody knows, no gap is filled.
            let next = next.unwrap_or(u32::MAX);
            steps(&arrange(left, next), next)
        };
        let has_fillers = steps.iter().any(|step| step.statement.is_none());
        let mut steps = steps.into_iter();
        for batch in batches {
            let answers = self.prepare_at(fresh, batch, deadline).await?;
            for (answer, step) in answers.into_iter().zip(steps.by_ref()) {
                // A filler's close would be another statement's.
                if has_fillers && answer.is_some_and(|answer| answer.id != step.at_node) {
                    return Err(Refusal::Statements(OTHER_IDS.to_owned()));
                }
                if let Some(statement) = step.statement {
                    again.push(self.prepared_again(statement, answer)?);
                }
            }
        }
        Ok(again)
    }

    /// From which id on a fresh server session counts its statements: MariaDB counts on from where another connection has stopped whose thread this one has
    /// (`thread_cache_size`). The session's first statement finds it out, or a filler where that one's id is yet to come. Returns what has become of that
    /// statement, and the next id if the node has given any.
    async fn find_out_next(
        &self,
        fresh: &mut Fresh<'_>,
        deadline: Instant,
    ) -> Result<(Vec<Again>, Option<u32>), Refusal> {
        let (first, count) = {
            let prepared = self.entry.prepared.borrow();
            let versions = self.entry.session.borrow().versions;
            let statements = prepared.followable(versions).unwrap_or_default();
            let first = statements.first().filter(|(id, _)| *id <= 1);
            let first = first.map(|(id, whole)| ((*id, whole.spliceable), prepare(&whole.text)));
            (first, statements.len())
        };
        let mut again = Vec::new();
        if let Some((statement, payload)) = first {
            let answer = self.prepare_one(fresh, &payload, deadline).await?;
            again.push(self.prepared_again(statement, answer)?);
            if let Some(Answer { id, .. }) = answer {
                return Ok((again, Some(id.saturating_add(1))));
            }
        }
        if again.len() == count {
            return Ok((again, None));
        }
        let answer = self.prepare_one(fresh, &prepare(FILLER), deadline).await?;
        let Some(Answer { id, .. }) = answer else {
            return Ok((again, None));
        };
        let mut packet = BytesMut::new();
        packet::put(&mut packet, 0, &close(id));
        let written = timeout_at(deadline, fresh.leg.write_all(&packet)).await;
        if !matches!(written, Ok(Ok(()))) {
            return Err(Refusal::Silent(CLOSED.to_owned()));
        }
        Ok((again, Some(id.saturating_add(1))))
    }

    async fn prepare_one(
        &self,
        fresh: &mut Fresh<'_>,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Option<Answer>, Refusal> {
        let mut packet = BytesMut::new();
        packet::put(&mut packet, 0, payload);
        let batch = (packet.freeze(), 1);
        let answers = self.prepare_at(fresh, batch, deadline).await?;
        Ok(answers.into_iter().next().flatten())
    }

    async fn prepare_at(
        &self,
        fresh: &mut Fresh<'_>,
        (batch, count): Batch,
        deadline: Instant,
    ) -> Result<Vec<Option<Answer>>, Refusal> {
        let asked = Asked {
            worker: self.worker,
            node: &fresh.leg,
            rest: &mut fresh.rest,
            capabilities: self.capabilities,
        };
        timeout_at(deadline, exchange_batch(asked, &batch, count))
            .await
            .map_err(|_elapsed| {
                Refusal::Silent(
                    "the node does not prepare the session's statements in time".to_owned(),
                )
            })?
            .map_err(|_end| Refusal::Silent(CLOSED.to_owned()))
    }

    /// A fresh server session was asked for a statement. While the old one has it, it must not be lost.
    fn prepared_again(
        &self,
        (id, spliceable): (u32, bool),
        answer: Option<Answer>,
    ) -> Result<Again, Refusal> {
        if answer.is_none() && self.lost.is_none() {
            let why = "the node does not prepare a statement of the session";
            return Err(Refusal::Statements(why.to_owned()));
        }
        Ok(Again {
            id,
            spliceable,
            answer,
        })
    }

    /// The session has another node, which has prepared these statements.
    pub(super) fn statements_followed(&mut self, again: Vec<Again>) {
        self.followed = Followed {
            has_other_last: self.entry.session.borrow().has_prepared,
            ..Followed::default()
        };
        let given = again
            .iter()
            .map(|again| (again.id, again.answer.map(|answer| answer.id)));
        self.entry.prepared.borrow_mut().writer_is_new(given);
        self.tell_kernel_all();
        let is_spliceable = self.is_spliceable();
        for again in again {
            let Again { id, spliceable, .. } = again;
            // Of one that the node has refused it says that it does not know it.
            let Some(Answer { parameters, .. }) = again.answer else {
                continue;
            };
            let spliceable = spliceable && is_spliceable;
            self.follow_executions(id, parameters);
            if parameters != 0 {
                let untyped = Untyped {
                    parameters,
                    spliceable,
                };
                self.followed.untyped.insert(id, untyped);
            } else if spliceable {
                self.allow_statement(id);
            }
        }
    }

    /// The daemon sees all executions of a statement that the writer knows by another id than the client.
    fn follow_executions(&self, id: u32, parameters: u16) {
        let mut prepared = self.entry.prepared.borrow_mut();
        let is_seen = prepared.at_writer().of(id) != id && usize::from(parameters) <= TYPES_MAX;
        if is_seen && prepared.tracked(id).is_none() {
            prepared.track(id, Tracked::new(Place::Writer, parameters));
        }
    }

    /// The client has prepared a statement at its node.
    pub(super) fn prepared_anew(&mut self, id: u32) {
        self.followed.has_other_last = false;
        self.followed.untyped.remove(&id);
    }

    /// The client's id of the statement that it names by this one, which may be [`LAST_PREPARED`]: the node may have prepared another one last.
    pub(super) fn last_resolved(&self, id: u32) -> u32 {
        if id == LAST_PREPARED && self.followed.has_other_last {
            self.entry.prepared.borrow().last()
        } else {
            id
        }
    }

    /// Looks at the command at the front of `client_rest`: an execution of a statement that has followed the session must name its parameters' types.
    ///
    /// # Errors
    /// It does not, and the session ends: nobody can execute it any more, and the client can.
    pub(super) async fn look_at_execution(&mut self) -> Result<(), End> {
        let byte = self
            .client_rest
            .get(HEADER_LEN)
            .copied()
            .unwrap_or_default();
        let is_execution = matches!(byte, command::STMT_EXECUTE | command::STMT_BULK_EXECUTE);
        if !is_execution || self.followed.untyped.is_empty() {
            return Ok(());
        }
        loop {
            let length = payload_length(&self.client_rest);
            let rest = self.client_rest.get(HEADER_LEN..).unwrap_or_default();
            let payload = rest.get(..length).unwrap_or(rest);
            let is_whole = payload.len() == length;
            let id = payload.get(1..5).map(|mut id| id.get_u32_le());
            let id = id.map(|id| self.last_resolved(id));
            let named = match id {
                Some(id) => match self.followed.untyped.get(&id) {
                    None => return Ok(()),
                    Some(_) if byte == command::STMT_BULK_EXECUTE => {
                        payload.get(5).map(|flags| flags & BULK_TYPES != 0)
                    }
                    Some(untyped) => {
                        names_types(payload, self.capabilities, untyped.parameters.into()).ok()
                    }
                },
                None => None,
            };
            match (named, id) {
                (Some(false), Some(id)) if self.has_types_at_hand() => {
                    self.followed.untyped.remove(&id);
                    return Ok(());
                }
                (Some(true), Some(id)) => {
                    let untyped = self.followed.untyped.remove(&id);
                    if untyped.is_some_and(|untyped| untyped.spliceable) {
                        self.allow_statement(id);
                    }
                    return Ok(());
                }
                (None, _) if !is_whole => self.read_client_or_end().await?,
                _ => {
                    self.entry.remark(
                        "a prepared statement has followed to another node, but not what was known of its parameters".to_owned(),
                    );
                    return Err(End::StatementLost);
                }
            }
        }
    }
}

/// What a node says of a statement that it has prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) id: u32,
    pub(super) parameters: u16,
}

/// The beginning of a response to `COM_STMT_PREPARE`.
#[derive(Default)]
pub(super) struct AnswerFront(BytesMut);

impl AnswerFront {
    /// The next bytes of the response.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let wanted = (BEFORE_COUNT + 2).saturating_sub(self.0.len());
        self.0
            .extend_from_slice(bytes.get(..wanted).unwrap_or(bytes));
    }

    /// How many parameters the statement has, which was prepared.
    pub(super) fn parameters(&self) -> Option<u16> {
        self.0
            .get(BEFORE_COUNT..)
            .filter(|rest| rest.len() >= 2)
            .map(|mut rest| rest.get_u16_le())
    }
}

/// Sends commands and reads the answers of those that prepare; none for an error.
///
/// # Errors
/// The connection has ended.
pub(super) async fn exchange_batch(
    asked: Asked<'_>,
    batch: &[u8],
    count: usize,
) -> Result<Vec<Option<Answer>>, End> {
    let Asked {
        worker,
        node,
        rest,
        capabilities,
    } = asked;
    node.write_all(batch).await.map_err(End::of_node)?;
    let mut answers = Vec::with_capacity(count);
    while answers.len() < count {
        let mut response = Response::DONE;
        response.begin(Expect::Prepare as u8, capabilities.format());
        let mut front = AnswerFront::default();
        while !response.is_done() {
            if rest.is_empty() {
                node.readable().await.map_err(End::of_node)?;
                if let Got::End = read_into(rest, node, worker).map_err(End::of_node)? {
                    return Err(End::NodeClosed);
                }
            }
            let taken = response.feed(rest);
            front.hear(&rest.split_to(taken));
        }
        let is_ok = response.outcome() == Outcome::Ok;
        answers.push(
            front
                .parameters()
                .filter(|_| is_ok)
                .map(|parameters| Answer {
                    id: response.statement_id(),
                    parameters,
                }),
        );
    }
    Ok(answers)
}

/// Why a server session that is fit for all else cannot have the session's prepared statements.
const OTHER_IDS: &str = "the node does not count prepared statements as servers do";
/// Why one is not fit.
const CLOSED: &str = "the node has closed the connection";
