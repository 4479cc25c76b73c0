//! What becomes of a session whose node is gone, or is not the right one any more. Outside a transaction it gets another server session, right
//! before its next command or, where its node still answers, at a command boundary. What was under way when the node went is answered with an
//! error, and sent again only where it surely only reads.

use sluice_ebpf::{
    packet::Position,
    record::Seat,
    response::{Response, Status},
};
use tokio::time::Instant;

use super::{
    Process,
    accept::candidate,
    alone::Need,
    close::End,
    kill::Turn,
    leave::Leaving,
    login::Candidate,
    outstanding::what_became,
    registry::Entry,
    relay::Got,
    serve::{Serving, payload_length},
    stand_in::NoCredential,
    switch::{Refusal, Stuck},
};
use crate::{
    config::NodeAddress,
    protocol::{
        capability::Capabilities,
        command,
        error::{MysqlError, SERVER_SHUTDOWN},
        packet::HEADER_LEN,
        reply::ERR,
    },
    session::{StickyReason, back_off::wait_after, command::query_text},
};

/// Payload bytes of the greatest packet, which others continue.
const CONTINUED: usize = 0xff_ffff;

/// A server session that is gone, while its client session lives on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lost {
    /// The node, and what has become of it.
    cause: String,
    /// A transaction went with it, and the client does not know yet.
    pub(super) transaction: bool,
    /// Nodes that were asked have not let the client in.
    denied: Option<Denied>,
}

/// When nodes may be asked again, as they count logins that they deny.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Denied {
    failures: u32,
    until: Instant,
    why: String,
}

/// What is to become of a session, as far as its node is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Stay,
    Move,
    Dead,
}

impl Serving<'_> {
    /// Bytes of the client's that have been sent on or answered.
    pub(super) fn consumed(&self) -> u64 {
        // Of a command that is asked again the client's leg may know nothing.
        let held = self.client_rest.len() as u64;
        self.client.read_bytes().wrapping_sub(held)
    }

    /// Its cluster's nodes, the fittest first. `better`: only those that are fitter than the session's own.
    pub(super) fn candidates(&self, better: bool) -> Vec<Candidate> {
        let process = &self.worker.process;
        let settings = process.settings();
        let login = self.entry.session.borrow().login.clone();
        let Some(cluster) = settings.cluster_of(&login.cluster, &login.tenant) else {
            return Vec::new();
        };
        let nodes = process.health.book().order(cluster);
        nodes
            .into_iter()
            .take_while(|node| !better || node.address != *self.target.node)
            .filter_map(|node| candidate(process, cluster, node).ok())
            .collect()
    }

    /// Whether the cluster has another node than the session's.
    pub(super) fn has_other_nodes(&self) -> bool {
        has_others(&self.worker.process, self.entry, &self.target.node)
    }

    /// Something has become known of nodes: does the session still belong to its own?
    ///
    /// # Errors
    /// The node does not answer, or the session has ended.
    pub(super) async fn review(&mut self) -> Result<(), End> {
        self.news_seen = self.entry.news_count();
        self.follow_kernel();
        if self.worker.process.is_retiring() {
            return self.retire().await;
        }
        if self.lost.is_none() {
            self.review_reader().await?;
        }
        match verdict(&self.worker.process, self.entry, &self.writer().node) {
            _ if self.lost.is_some() => Ok(()),
            // It is found dead when it is needed.
            Verdict::Dead if self.reading.seat == Seat::Reader => Ok(()),
            Verdict::Stay => {
                self.leaving = Leaving::No;
                self.entry.session.borrow_mut().stays = None;
                Ok(())
            }
            Verdict::Dead => Err(End::NodeHung),
            Verdict::Move => {
                self.leaving = Leaving::Now;
                self.try_move().await
            }
        }
    }

    /// Waits until the monitor has found the session's node dead.
    pub(super) async fn node_dead(&self) {
        let node = &self.target.node;
        node_dead(&self.worker.process, self.entry, node, self.news_seen).await;
    }

    /// What the node has said unasked is that it shuts down, and another node can take its place.
    pub(super) fn is_shutdown_notice(&self) -> bool {
        let payload = self.node_rest.get(HEADER_LEN..).unwrap_or_default();
        matches!(payload, [ERR, low, high, ..] if u16::from_le_bytes([*low, *high]) == SERVER_SHUTDOWN.number)
            && self.has_other_nodes()
    }

    /// The server session is gone. The client session lives on, if its state can be had by another one.
    ///
    /// # Errors
    /// It cannot.
    pub(super) async fn survive(&mut self, end: End) -> Result<(), End> {
        let is_nodes = matches!(end, End::NodeClosed | End::NodeBroken(_) | End::NodeHung);
        if !is_nodes || self.lost.is_some() || self.is_dismissed || !self.has_other_nodes() {
            return Err(end);
        }
        let outstanding = match self.take_back().await? {
            Ok(outstanding) => outstanding,
            Err(why) => {
                self.entry
                    .remark(format!("not moved to another node: {why}"));
                return Err(end);
            }
        };
        if self.reading.seat == Seat::Reader {
            return self.survive_reader(&end, outstanding).await;
        }
        let session = self.entry.current();
        let transaction = session
            .sticky_reasons()
            .contains(&StickyReason::Transaction);
        let ties = self.ties_to_dead();
        let stuck = if ties.is_empty() {
            self.known_state().err().map(Stuck::Node)
        } else {
            Some(Stuck::Sticky(ties))
        };
        if let Some(stuck) = stuck {
            self.entry
                .remark(format!("not moved to another node: {stuck}"));
            return Err(end);
        }
        let cause = format!("{} ({})", self.target.node, end.text());
        tracing::info!(
            cs_id = self.entry.cs_id.0,
            node = %self.target.node,
            reason = end.text(),
            transaction,
            outstanding = outstanding.is_some(),
            "server session lost"
        );
        if let Some(sequence) = outstanding
            && !self.ask_again(&session)
        {
            // Behind an ERR it may be in none: then a statement commits by itself.
            let is_surely_in_one = self.status.in_transaction() == Some(true);
            let error = what_became(&session.command, is_surely_in_one, &cause);
            self.say_error(sequence, &error).await?;
        }
        self.lose(Lost {
            cause,
            transaction: transaction && outstanding.is_none(),
            denied: None,
        });
        Ok(())
    }

    /// The reader is gone, which the client hears of only where it waits for an answer: the writer goes on.
    async fn survive_reader(&mut self, end: &End, outstanding: Option<u8>) -> Result<(), End> {
        let cause = format!("{} ({})", self.target.node, end.text());
        tracing::info!(
            cs_id = self.entry.cs_id.0,
            node = %self.target.node,
            reason = end.text(),
            outstanding = outstanding.is_some(),
            "reader lost"
        );
        let session = self.entry.current();
        if let Some(sequence) = outstanding
            && !self.ask_again(&session)
        {
            self.say_error(sequence, &MysqlError::outcome_unknown(&cause))
                .await?;
        }
        self.forget_exchange();
        self.drop_reader();
        Ok(())
    }

    fn lose(&mut self, lost: Lost) {
        self.lost = Some(lost);
        self.leaving = Leaving::No;
        self.forget_exchange();
        self.note_status(Status::of(self.status.flags & !Status::IN_TRANSACTION));
    }

    /// What was under way with the node comes to nothing.
    fn forget_exchange(&mut self) {
        self.command = Position::DONE;
        self.response = Response::DONE;
        self.in_file = false;
        self.after_splice = false;
        self.node_rest.clear();
        self.tracking.forget_command();
        self.entry.end_command();
    }

    /// A boundary of a session whose server session is lost: with its next command it gets another one, unless the proxy answers that.
    ///
    /// # Errors
    /// The session has ended.
    pub(super) async fn boundary_without_node(&mut self) -> Result<(), End> {
        self.wait_for_command().await?;
        let byte = self.client_rest.get(HEADER_LEN).copied();
        if byte == Some(command::QUIT) {
            return Err(End::Quit);
        }
        let Some(lost) = self.lost.clone() else {
            return Ok(());
        };
        let own = self.own_command();
        if own.is_none() && self.close_alone() {
            return Ok(());
        }
        let need = match &own {
            Some(own) => self.need(own).await,
            None => Need::Answer,
        };
        let own = own.filter(|_| need != Need::Answer);
        if let Some(own) = own {
            // The client of a transaction that is gone is told so by what would have gone to its node.
            if need == Need::Nothing || lost.transaction || self.regains_node(&lost).await?.is_err()
            {
                return self.answer_alone(own).await;
            }
            return Ok(());
        }
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        if lost.transaction && !is_rollback(&self.client_rest, attributes) {
            self.refuse_command(&MysqlError::transaction_gone(&lost.cause))
                .await?;
            if let Some(lost) = &mut self.lost {
                lost.transaction = false;
            }
            return Ok(());
        }
        match self.regains_node(&lost).await? {
            Ok(()) => Ok(()),
            Err(why) => {
                self.refuse_command(&MysqlError::cannot_connect(&lost.cause, why))
                    .await
            }
        }
    }

    /// Gives the session another server session, if nodes may be asked by now. The inner error says why it has none.
    ///
    /// # Errors
    /// As [`Serving::recover`].
    async fn regains_node(&mut self, lost: &Lost) -> Result<Result<(), String>, End> {
        let denied = lost.denied.as_ref();
        if let Some(denied) = denied.filter(|denied| Instant::now() < denied.until) {
            return Ok(Err(denied.why.clone()));
        }
        let Err(refusal) = self.recover().await? else {
            return Ok(Ok(()));
        };
        if let (Some(own), Refusal::Said(why)) = (&mut self.lost, &refusal) {
            let failures = denied.map_or(0, |denied| denied.failures) + 1;
            own.denied = Some(Denied {
                failures,
                until: Instant::now() + wait_after(failures),
                why: why.clone(),
            });
        }
        Ok(Err(refusal.into_text()))
    }

    /// Waits for a whole command, and does what others want meanwhile as far as it can be done.
    async fn wait_for_command(&mut self) -> Result<(), End> {
        self.turn = Turn::Client;
        loop {
            let length = payload_length(&self.client_rest);
            if length == CONTINUED {
                return Err(End::NodeClosed);
            }
            if self.client_rest.len() > HEADER_LEN && self.client_rest.len() >= HEADER_LEN + length
            {
                self.turn = Turn::Nobody;
                return Ok(());
            }
            let entry = self.entry;
            tokio::select! {
                biased;
                ready = self.client.readable() => {
                    ready.map_err(End::of_client)?;
                    if let Got::End = self.read_client()? {
                        return Err(End::ClientClosed);
                    }
                }
                () = entry.variables_wanted() => entry.variables_read(),
                () = entry.news(self.news_seen) => {
                    self.news_seen = entry.news_count();
                    if self.worker.process.is_retiring() {
                        return Err(End::Retired);
                    }
                }
                wish = entry.switch_wanted() => {
                    // Who asked may be gone.
                    let _ = wish.outcome.send(Err(Stuck::Gone));
                }
            }
        }
    }

    /// Answers the command at the front of `client_rest` with an error; nothing else comes of it.
    ///
    /// # Errors
    /// The session has ended, also where the command has no answer and would be missing later.
    async fn refuse_command(&mut self, error: &MysqlError) -> Result<(), End> {
        if self.client_rest.get(HEADER_LEN) == Some(&command::STMT_SEND_LONG_DATA) {
            self.entry
                .remark("data for a prepared statement came while no node was there".to_owned());
            return Err(End::StatementLost);
        }
        let length = payload_length(&self.client_rest);
        let command = self.client_rest.split_to(HEADER_LEN + length);
        let sequence = command.get(3).copied().unwrap_or_default();
        self.say_error(sequence.wrapping_add(1), error).await
    }

    /// Gives the session another server session in the place of a lost one. The inner error says why no node would have it for now.
    ///
    /// # Errors
    /// It never can.
    async fn recover(&mut self) -> Result<Result<(), Refusal>, End> {
        let told = match self.known_state() {
            Ok(told) => told,
            Err(why) => return self.give_up(&why),
        };
        let credential = match self.credential().await {
            Ok(credential) => credential,
            Err(NoCredential::NotNow(why)) => return Ok(Err(Refusal::Silent(why))),
            Err(NoCredential::Never(why)) => return self.give_up(&why),
        };
        let candidates = self.candidates(false);
        match self.open_at(candidates, &credential, told.as_deref()).await {
            Ok((fresh, place)) => {
                let from = self.target.node.clone();
                let ss_id = self.adopt(fresh, place);
                self.lost = None;
                tracing::info!(
                    cs_id = self.entry.cs_id.0,
                    ss_id = ss_id.0,
                    %from,
                    to = %self.target.node,
                    "session has another node"
                );
                Ok(Ok(()))
            }
            Err(Refusal::Statements(why)) => self.give_up(&why),
            Err(why) => Ok(Err(why)),
        }
    }

    fn give_up<T>(&self, why: &str) -> Result<T, End> {
        self.entry
            .remark(format!("not moved to another node: {why}"));
        Err(End::NodeClosed)
    }
}

/// Whether a session's cluster has another node than this one.
fn has_others(process: &Process, entry: &Entry, own: &NodeAddress) -> bool {
    let settings = process.settings();
    let session = entry.session.borrow();
    let cluster = settings.cluster_of(&session.login.cluster, &session.login.tenant);
    cluster.is_some_and(|cluster| cluster.addresses().any(|node| node != own))
}

/// What is to become of a session at this node.
fn verdict(process: &Process, entry: &Entry, own: &NodeAddress) -> Verdict {
    if !has_others(process, entry, own) {
        return Verdict::Stay;
    }
    let settings = process.settings();
    let session = entry.session.borrow();
    let cluster = settings.cluster_of(&session.login.cluster, &session.login.tenant);
    let book = process.health.book();
    match cluster {
        _ if book.get(own).is_detected_dead() => Verdict::Dead,
        Some(cluster) if book.is_misplaced(cluster, own) => Verdict::Move,
        Some(_) | None => Verdict::Stay,
    }
}

/// Waits until the monitor has found a session's node dead. `seen`: the count of news that has been looked at.
pub(super) async fn node_dead(process: &Process, entry: &Entry, own: &NodeAddress, seen: u64) {
    let mut seen = seen;
    loop {
        entry.news(seen).await;
        seen = entry.news_count();
        if verdict(process, entry, own) == Verdict::Dead {
            return;
        }
    }
}

/// Whether the command at the front of `bytes` says `ROLLBACK`, which asks for what has happened. `attributes`: the session has query attributes.
fn is_rollback(bytes: &[u8], attributes: bool) -> bool {
    let text = query_text(bytes, attributes).unwrap_or_default();
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text);
    text.trim_ascii_end().eq_ignore_ascii_case(b"ROLLBACK")
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::protocol::packet::put;

    #[test]
    fn who_rolls_back_asks_for_what_has_happened() {
        let of = |payload: &[u8], attributes| {
            let mut bytes = BytesMut::new();
            put(&mut bytes, 0, payload);
            is_rollback(&bytes, attributes)
        };
        for text in ["ROLLBACK", " rollback ; "] {
            assert!(of(&[b"\x03", text.as_bytes()].concat(), false), "{text}");
            // As clients of MySQL 8 write it: no attributes, or one.
            for front in [&b"\x03\0\x01"[..], b"\x03\x01\x01\0\x01\xfd\0\x01a\x01b"] {
                assert!(of(&[front, text.as_bytes()].concat(), true), "{text}");
            }
        }
        for payload in [
            &b"\x03ROLLBACK TO s"[..],
            b"\x03COMMIT",
            b"\x16ROLLBACK",
            b"\x0e",
        ] {
            assert!(!of(payload, false), "{payload:?}");
        }
    }
}
