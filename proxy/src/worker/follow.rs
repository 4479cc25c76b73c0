//! Prepared statements that follow a session whose node is gone, or that is to leave it. They are prepared at the next node with the ids that the client knows: servers count
//! them up from 1 in each connection, so statements that nobody needs fill the gaps. What a client has said of parameters besides, their types and
//! long data, went with the node.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
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
    switch::Fresh,
};
use crate::{
    protocol::{
        command,
        packet::{self, HEADER_LEN},
        statement::names_types,
    },
    session::{StickyReason, prepared::Whole},
};

/// What is prepared to fill a gap.
const FILLER: &[u8] = b"DO 0";
/// Bytes of commands that are sent before their answers are read: as many as surely fit into the buffers on their way.
const BATCH_BYTES: usize = 4096;
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
    /// `COM_STMT_SEND_LONG_DATA` has been relayed.
    has_long_data: bool,
    /// Closes among the commands without a response that the kernel has spliced with the session's record.
    closes_spliced: u64,
}

impl Followed {
    /// The session has no statements any more.
    pub(super) fn forget(&mut self) {
        self.untyped.clear();
        (self.has_other_last, self.has_long_data) = (false, false);
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

/// A statement that a fresh server session has prepared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    id: u32,
    untyped: Untyped,
}

/// A command that is sent to prepare a statement, or to fill a gap.
pub(super) struct Step {
    id: u32,
    /// Not a filler.
    spliceable: Option<bool>,
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

    /// What ties the session to a node that is there: prepared statements do not, if all that is known of them can be had at another one.
    pub(super) fn ties_to_alive(&self) -> Vec<StickyReason> {
        let session = self.entry.current();
        let mut ties = session.sticky_reasons();
        let own = session.ties.reasons();
        let can_move = self.entry.prepared.borrow().can_move(session.versions);
        // Those of `PREPARE` are among the session's own ties.
        ties.retain(|tie| {
            *tie != StickyReason::PreparedStatement || own.contains(tie) || !can_move
        });
        ties
    }

    /// What ties the session to a node that is gone, but for a transaction, which is gone with it.
    pub(super) fn ties_to_dead(&self) -> Vec<StickyReason> {
        let session = self.entry.current();
        let mut ties = session.sticky_reasons();
        let own = session.ties.reasons();
        let can_follow = self
            .entry
            .prepared
            .borrow()
            .followable(session.versions)
            .is_some()
            && !self.has_long_data();
        ties.retain(|reason| match reason {
            StickyReason::Transaction => false,
            // Those of `PREPARE` are among the session's own ties.
            StickyReason::PreparedStatement => own.contains(reason) || !can_follow,
            _ => true,
        });
        ties
    }

    /// Whether `COM_STMT_SEND_LONG_DATA` may have brought something that no execution has used.
    fn has_long_data(&self) -> bool {
        let silent = self
            .entry
            .slot()
            .map_or(0, |slot| slot.progress().silent_commands);
        self.followed.has_long_data || silent > self.followed.closes_spliced
    }

    /// Has a fresh server session prepare the session's statements, with their ids.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) async fn prepare_again(
        &self,
        fresh: &mut Fresh<'_>,
        deadline: Instant,
    ) -> Result<Vec<Again>, String> {
        let next = self.first_id(fresh, deadline).await?;
        let (steps, packets) = {
            let prepared = self.entry.prepared.borrow();
            let versions = self.entry.session.borrow().versions;
            let statements = prepared.followable(versions).unwrap_or_default();
            steps(&statements, next)
        };
        let mut again = Vec::new();
        let mut steps = steps.into_iter();
        for (batch, count) in packets {
            let asked = Asked {
                worker: self.worker,
                node: &fresh.leg,
                rest: &mut fresh.rest,
                capabilities: self.capabilities,
            };
            let answers = timeout_at(deadline, exchange_batch(asked, &batch, count))
                .await
                .map_err(|_elapsed| "the node does not prepare the session's statements in time")?
                .map_err(|_end| "the node has closed the connection")?;
            for (answer, step) in answers.into_iter().zip(steps.by_ref()) {
                match answer {
                    Some(Answer { id, parameters }) if id == step.id => {
                        again.extend(step.spliceable.map(|spliceable| Again {
                            id,
                            untyped: Untyped {
                                parameters,
                                spliceable,
                            },
                        }));
                    }
                    Some(_) => {
                        return Err(OTHER_IDS.to_owned());
                    }
                    None if self.lost.is_none() => {
                        return Err(
                            "the node does not prepare a statement of the session".to_owned()
                        );
                    }
                    // Its executions are answered with the error that there is no such statement.
                    None => {}
                }
            }
        }
        Ok(again)
    }

    /// From which id on a fresh server session counts its statements, if the session's have room for a statement that finds it out. MariaDB counts on from
    /// where another connection has stopped whose thread this one has (`thread_cache_size`).
    async fn first_id(&self, fresh: &mut Fresh<'_>, deadline: Instant) -> Result<u32, String> {
        let first = {
            let prepared = self.entry.prepared.borrow();
            let versions = self.entry.session.borrow().versions;
            let statements = prepared.followable(versions).unwrap_or_default();
            statements.first().map(|(id, _)| *id)
        };
        if first.is_none_or(|first| first <= 1) {
            return Ok(1);
        }
        let mut batch = BytesMut::new();
        packet::put(&mut batch, 0, &[&[command::STMT_PREPARE], FILLER].concat());
        let asked = Asked {
            worker: self.worker,
            node: &fresh.leg,
            rest: &mut fresh.rest,
            capabilities: self.capabilities,
        };
        let answers = timeout_at(deadline, exchange_batch(asked, &batch, 1))
            .await
            .map_err(|_elapsed| "the node does not prepare a statement in time")?
            .map_err(|_end| "the node has closed the connection")?;
        let Some(Answer { id, .. }) = answers.first().copied().flatten() else {
            return Err("the node prepares no statement".to_owned());
        };
        if first.is_none_or(|first| first <= id) {
            return Err(OTHER_IDS.to_owned());
        }
        let close = [&[command::STMT_CLOSE][..], &id.to_le_bytes()].concat();
        batch.clear();
        packet::put(&mut batch, 0, &close);
        let written = timeout_at(deadline, fresh.leg.write_all(&batch)).await;
        if !matches!(written, Ok(Ok(()))) {
            return Err("the node has closed the connection".to_owned());
        }
        Ok(id + 1)
    }

    /// The session has another node, which has prepared these statements.
    pub(super) fn statements_followed(&mut self, again: Vec<Again>) {
        self.followed = Followed {
            has_other_last: self.entry.session.borrow().has_prepared,
            ..Followed::default()
        };
        self.entry.prepared.borrow_mut().writer_is_new();
        self.tell_kernel_all();
        let is_spliceable = self.is_spliceable();
        for Again { id, mut untyped } in again {
            untyped.spliceable &= is_spliceable;
            if untyped.parameters != 0 {
                self.followed.untyped.insert(id, untyped);
            } else if untyped.spliceable {
                self.allow_statement(id);
            }
        }
    }

    /// The client has prepared a statement at its node.
    pub(super) fn prepared_anew(&mut self, id: u32) {
        self.followed.has_other_last = false;
        self.followed.untyped.remove(&id);
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
        self.followed.has_long_data |= byte == command::STMT_SEND_LONG_DATA;
        let is_execution = matches!(byte, command::STMT_EXECUTE | command::STMT_BULK_EXECUTE);
        if !is_execution || (self.followed.untyped.is_empty() && !self.followed.has_other_last) {
            return Ok(());
        }
        loop {
            let length = payload_length(&self.client_rest);
            let rest = self.client_rest.get(HEADER_LEN..).unwrap_or_default();
            let payload = rest.get(..length).unwrap_or(rest);
            let is_whole = payload.len() == length;
            let id = payload.get(1..5).map(|mut id| id.get_u32_le());
            let named = match id {
                Some(LAST_PREPARED) if self.followed.has_other_last => Some(false),
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
const OTHER_IDS: &str = "the node gives prepared statements other ids";

/// The commands by which a server that counts from `next` gives these statements their ids, in batches with the count of their answers.
pub(super) fn steps(
    statements: &[(u32, &Whole)],
    mut next: u32,
) -> (Vec<Step>, Vec<(Bytes, usize)>) {
    let mut steps = Vec::new();
    let mut batches = Vec::new();
    let mut batch = BytesMut::new();
    let mut count = 0;
    for (id, whole) in statements {
        for filler in next..=*id {
            let is_filler = filler != *id;
            let text = if is_filler { FILLER } else { &whole.text };
            packet::put(&mut batch, 0, &[&[command::STMT_PREPARE], text].concat());
            if is_filler {
                let close = [&[command::STMT_CLOSE][..], &filler.to_le_bytes()].concat();
                packet::put(&mut batch, 0, &close);
            }
            steps.push(Step {
                id: filler,
                spliceable: (!is_filler).then_some(whole.spliceable),
            });
            count += 1;
            if batch.len() >= BATCH_BYTES {
                batches.push((batch.split().freeze(), std::mem::take(&mut count)));
            }
        }
        next = id + 1;
    }
    if count > 0 {
        batches.push((batch.freeze(), count));
    }
    (steps, batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Versions;

    #[test]
    fn gaps_between_ids_are_filled() {
        let whole = |spliceable| Whole {
            text: b"SELECT 1"[..].into(),
            spliceable,
            versions: Versions::default(),
        };
        let (second, fourth) = (whole(true), whole(false));
        let (steps, batches) = steps(&[(2, &second), (4, &fourth)], 1);
        let found: Vec<_> = steps
            .iter()
            .map(|step| (step.id, step.spliceable))
            .collect();
        assert_eq!(
            found,
            [(1, None), (2, Some(true)), (3, None), (4, Some(false))]
        );
        let sent: Vec<_> = [
            &b"\x05\0\0\0\x16DO 0"[..],
            b"\x05\0\0\0\x19\x01\0\0\0",
            b"\x09\0\0\0\x16SELECT 1",
            b"\x05\0\0\0\x16DO 0",
            b"\x05\0\0\0\x19\x03\0\0\0",
            b"\x09\0\0\0\x16SELECT 1",
        ]
        .concat();
        assert_eq!(batches, [(Bytes::from(sent), 4)]);
    }

    #[test]
    fn many_go_in_batches() {
        let whole = Whole {
            text: b"SELECT 1"[..].into(),
            spliceable: true,
            versions: Versions::default(),
        };
        let (steps, batches) = steps(&[(1000, &whole)], 1);
        let counts: usize = batches.iter().map(|(_, count)| count).sum();
        assert_eq!((steps.len(), counts), (1000, 1000));
        assert!(
            batches.len() > 1
                && batches
                    .iter()
                    .all(|(batch, _)| batch.len() < 2 * BATCH_BYTES)
        );
    }
}
