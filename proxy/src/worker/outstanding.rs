//! What the client is told of the command that its node had when it went: where its answer may have begun, nothing can be said.

use bytes::BytesMut;
use sluice_ebpf::reason::RelayReason;

use super::{
    close::End,
    kill::Turn,
    serve::{Serving, payload_length},
    splice::Reclaimed,
};
use crate::{
    protocol::{
        capability::Capabilities,
        error::MysqlError,
        packet::{self, HEADER_LEN},
        reply::encode_error,
    },
    session::{
        Command, Session,
        activity::TEXT_BYTES,
        retry::{only_reads, repeatable},
    },
};

/// How often a node has been asked a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    /// The client has sent it.
    First,
    /// Again, as the first node has gone. There is no third time.
    Second,
}

impl Serving<'_> {
    /// Takes the session back from the kernel when its node is gone: the number of the packet in which the client expects an answer, if it waits for one.
    /// The inner error says why neither an answer nor a next command could be told from what has been said already.
    pub(super) async fn take_back(&mut self) -> Result<Result<Option<u8>, &'static str>, End> {
        let relayed = match self.turn {
            Turn::Client | Turn::Kernel => None,
            Turn::Holding(consumed) if consumed == self.consumed() => None,
            Turn::Node { .. } if self.response.is_done() && !self.command.is_done() => {
                return Ok(Err(
                    "the client was in the middle of a command that has no answer",
                ));
            }
            Turn::Node { written, sequence }
                if self.node_rest.is_empty() && self.client.written_bytes() == written =>
            {
                (!self.response.is_done()).then_some(sequence)
            }
            Turn::Node { .. } => return Ok(Err("a part of the response is with the client")),
            Turn::Holding(_) | Turn::Nobody => {
                return Ok(Err("a command was under way whose response may have begun"));
            }
        };
        let turn = self.turn;
        let reclaimed = self.reclaim_from_dead().await?;
        self.turn = Turn::Nobody;
        let outstanding = match reclaimed {
            Reclaimed::Boundary => relayed,
            Reclaimed::Outstanding if matches!(turn, Turn::Client | Turn::Kernel) => Some(1),
            Reclaimed::Outstanding | Reclaimed::Midway => {
                return Ok(Err(
                    "a spliced command was under way whose response may have begun",
                ));
            }
        };
        if !self.is_drained().await {
            return Ok(Err(
                "the client has not acknowledged all that the node has sent",
            ));
        }
        if outstanding.is_some() {
            self.discard_command().await?;
        }
        Ok(Ok(outstanding))
    }

    /// Reads what the client has yet to send of the command under way, which nobody will execute.
    async fn discard_command(&mut self) -> Result<(), End> {
        loop {
            let length = self.command.feed(&self.client_rest);
            let _ = self.client_rest.split_to(length);
            if self.command.is_done() {
                return Ok(());
            }
            self.read_client_or_end().await?;
        }
    }

    /// The command at the front of `client_rest` is about to be relayed: keeps it, if it may be asked again and what is kept of every command will not do.
    pub(super) fn keep_long_read(&mut self) {
        let length = HEADER_LEN + payload_length(&self.client_rest);
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        let packet = self.client_rest.get(..length);
        self.long_read = packet
            .filter(|packet| {
                length > TEXT_BYTES
                    && self.status.is_outside_transaction()
                    && self.has_other_nodes()
                    && only_reads(packet, attributes)
            })
            .map(BytesMut::from);
    }

    /// Has another node be asked what the one that is gone has not answered, where that one may have executed it and it makes no difference: the
    /// command is the client's next one again. Whether it is; a command is asked again once.
    pub(super) fn ask_again(&mut self, session: &Session) -> bool {
        let is_clear = self.status.is_outside_transaction()
            && session.relay_reason != Some(RelayReason::Charset);
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        let packet = self
            .long_read
            .take()
            .or_else(|| repeatable(&session.command, attributes));
        let Some(mut packet) = packet.filter(|_| is_clear && self.attempt == Attempt::First) else {
            return false;
        };
        packet.extend_from_slice(&self.client_rest);
        self.client_rest = packet;
        self.attempt = Attempt::Second;
        self.entry.session.borrow_mut().traffic.retried_commands += 1;
        true
    }

    /// Answers the client with an error of the proxy's.
    pub(super) async fn say_error(&self, sequence: u8, error: &MysqlError) -> Result<(), End> {
        let error = error.readable_by(self.identity.request.is_of_mariadbs_library());
        let mut out = BytesMut::new();
        packet::put(&mut out, sequence, &encode_error(&error));
        self.write_client(&out).await
    }
}

/// The error for a command whose node has gone. `transaction`: it was surely given in one.
pub(super) fn what_became(command: &Command, transaction: bool, cause: &str) -> MysqlError {
    let text = command.text.to_text();
    // What is longer than is kept of it may hold anything.
    let is_whole = command.bytes <= (HEADER_LEN + 1 + text.len()) as u64;
    if transaction && is_whole && is_rolled_back(&text) {
        MysqlError::transaction_gone(cause)
    } else {
        MysqlError::outcome_unknown(cause)
    }
}

/// Whether a statement that was under way in a transaction has surely not been committed: it is one statement, and none that commits.
fn is_rolled_back(text: &str) -> bool {
    let text = text.trim_start();
    let is = |word: &str| {
        text.get(..word.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(word))
    };
    let is_plain = !text.contains(';') && !text.contains("/*");
    is_plain
        && ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE "]
            .iter()
            .any(|word| is(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_commit_is_told_as_rolled_back() {
        for text in [
            "INSERT INTO t VALUES (1)",
            " update t SET a = 1",
            "SELECT 1",
        ] {
            assert!(is_rolled_back(text), "{text}");
        }
        for text in [
            "COMMIT",
            "CREATE TABLE t (a INT)",
            "INSERT INTO t VALUES (1); COMMIT",
            "CALL p()",
            "SELECT 1 /*! ; COMMIT */",
            "",
        ] {
            assert!(!is_rolled_back(text), "{text}");
        }
    }
}
