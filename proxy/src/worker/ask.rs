//! Statements of the daemon's own on a session's server session.

use bytes::BytesMut;
use sluice_ebpf::response::{Expect, Response};
use tokio::time::{Instant, timeout_at};

use super::{
    Worker,
    close::End,
    relay::{Got, read_into},
    serve::Serving,
    survive::node_dead,
};
use crate::{
    net::Leg,
    protocol::{
        capability::Capabilities,
        command,
        error::{MysqlError, SERVER_SHUTDOWN},
        packet,
        reply::ErrPacket,
        rows::Rows,
    },
};

/// The longest answer that is kept, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What a replica of `OceanBase` is told before it is read from.
const READ_WEAKLY: &str = "SET @@SESSION.ob_read_consistency = 'WEAK'";
/// Errors with which a node leaves: `ER_SERVER_SHUTDOWN`, `ER_CONNECTION_KILLED` (`MariaDB`), `ER_CLIENT_INTERACTION_TIMEOUT` (`MySQL`).
/// They are said unasked, and meant for the client.
const FAREWELLS: [u16; 3] = [SERVER_SHUTDOWN.number, 1927, 4031];

impl Serving<'_> {
    /// Runs a statement on the session's server session and returns its rows, or the node's error. Only at a command boundary, and while no
    /// offer to the kernel can begin: a command of the client lies in `client_rest`, or no offer was made. The statement must have one
    /// result, of at most [`ANSWER_BYTES_MAX`]. The next offer is made with the legs' counts as ever.
    ///
    /// The client may notice it by what `ROW_COUNT()`, `FOUND_ROWS()` and `SHOW WARNINGS` say next: whoever calls this sees to that.
    ///
    /// # Errors
    /// The session has ended.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Result<Rows, ErrPacket>, End> {
        // Of an offer that the client's command has not begun nothing can begin any more: counts of moved bytes do not go back.
        if self.offered.is_some() && self.client_rest.is_empty() {
            return Err(End::Account);
        }
        if !self.node_rest.is_empty() {
            self.pass_unasked().await?;
        }
        let news = self.news_seen;
        let (worker, entry, target) = (self.worker, self.entry, self.target.node.clone());
        let mut asked = self.asked();
        let answer = tokio::select! {
            biased;
            answer = asked.ask(sql) => answer?,
            () = node_dead(&worker.process, entry, &target, news) => return Err(End::NodeHung),
        };
        let Some(bytes) = answer else {
            return Ok(Err(ErrPacket::from(&MysqlError::buffer_not_enough())));
        };
        // The node has read our command behind what it sent for the kernel to move: this was a barrier, too.
        self.after_splice = false;
        let answer = Rows::parse(bytes.clone(), self.capabilities);
        if let Ok(Err(error)) = &answer
            && FAREWELLS.contains(&error.number)
        {
            // That the node leaves is not the client's business, where another can take its place.
            if error.number != SERVER_SHUTDOWN.number || !self.has_other_nodes() {
                self.write_client(&bytes).await?;
                self.is_dismissed = true;
            }
            return Err(End::NodeClosed);
        }
        if !self.node_rest.is_empty() {
            self.pass_unasked().await?;
        }
        answer.map_err(|_malformed| End::Account)
    }

    /// The server session that is used, to be asked something.
    pub(super) fn asked(&mut self) -> Asked<'_> {
        Asked {
            worker: self.worker,
            node: &self.node,
            rest: &mut self.node_rest,
            capabilities: self.capabilities,
        }
    }
}

/// A server session that is asked something.
pub(super) struct Asked<'s> {
    pub(super) worker: &'s Worker,
    pub(super) node: &'s Leg,
    /// Read from it and not part of an answer.
    pub(super) rest: &'s mut BytesMut,
    pub(super) capabilities: Capabilities,
}

impl Asked<'_> {
    /// Runs a statement and returns its response as it came; none where that is longer than [`ANSWER_BYTES_MAX`]. It is for the caller to say
    /// how long to wait: a future that is dropped leaves the answer outstanding.
    ///
    /// # Errors
    /// The connection has ended, or what came is no response.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Option<BytesMut>, End> {
        let packet = self.packet(sql);
        self.ask_packet(&packet).await
    }

    /// A statement as a command.
    pub(super) fn packet(&self, sql: &str) -> BytesMut {
        query_packet(sql, self.capabilities)
    }

    /// The same as [`Asked::ask`] with a command that is answered as a statement is.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn ask_packet(&mut self, packet: &[u8]) -> Result<Option<BytesMut>, End> {
        self.node.write_all(packet).await.map_err(End::of_node)?;
        self.read_answer().await
    }

    /// Brings the server session to the client session's state by a command that is answered as a statement is; what it says is nothing for the
    /// client.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) async fn tell(&mut self, packet: &[u8], deadline: Instant) -> Result<(), String> {
        self.suggest(packet, deadline).await?.map_err(|error| {
            format!(
                "the node does not take the session's state: error {}: {}",
                error.number,
                error.message_lossy()
            )
        })
    }

    /// The same where the node may refuse. The inner error is what it says.
    ///
    /// # Errors
    /// As there.
    async fn suggest(
        &mut self,
        packet: &[u8],
        deadline: Instant,
    ) -> Result<Result<(), ErrPacket>, String> {
        let capabilities = self.capabilities;
        let answer = timeout_at(deadline, self.ask_packet(packet))
            .await
            .map_err(|_elapsed| "the node does not take the session's state in time")?
            .map_err(|_end| "the node has closed the connection")?
            .ok_or("the node's answer to the session's state is too long")?;
        let answer = Rows::parse(answer, capabilities);
        let answer =
            answer.map_err(|_malformed| "the node has given no answer that can be read")?;
        Ok(answer.map(drop))
    }

    /// Has an `OceanBase` node read from its own replica: unless it is told, it asks the leader's node. Before what the session itself has told, which
    /// may be this variable. A node that does not know it reads as it does.
    ///
    /// # Errors
    /// As [`Asked::tell`].
    pub(super) async fn read_weakly(&mut self, deadline: Instant) -> Result<(), String> {
        let packet = self.packet(READ_WEAKLY);
        let told = self.suggest(&packet, deadline).await?;
        if let Err(error) = told {
            let error = error.message_lossy();
            tracing::debug!(%error, "a replica does not take {READ_WEAKLY}");
        }
        Ok(())
    }

    /// Reads one response to its last byte. What the node says behind it stays in `rest`.
    async fn read_answer(&mut self) -> Result<Option<BytesMut>, End> {
        let mut response = Response::DONE;
        response.begin(Expect::Generic as u8, self.capabilities.format());
        let mut kept = Some(BytesMut::new());
        while !response.is_done() {
            self.node.readable().await.map_err(End::of_node)?;
            if let Got::End = read_into(self.rest, self.node, self.worker).map_err(End::of_node)? {
                return Err(End::NodeClosed);
            }
            let taken = response.feed(self.rest);
            let bytes = self.rest.split_to(taken);
            if response.wants_infile() {
                return Err(End::Account);
            }
            match &mut kept {
                Some(kept) if kept.len() + taken <= ANSWER_BYTES_MAX => {
                    kept.extend_from_slice(&bytes);
                }
                _ => kept = None,
            }
        }
        Ok(kept)
    }
}

/// A `COM_QUERY`.
fn query_packet(sql: &str, capabilities: Capabilities) -> BytesMut {
    let mut payload = Vec::with_capacity(3 + sql.len());
    payload.push(command::QUERY);
    if capabilities.contains(Capabilities::QUERY_ATTRIBUTES) {
        // No attributes, one set of them.
        payload.extend([0, 1]);
    }
    payload.extend(sql.as_bytes());
    let mut out = BytesMut::new();
    packet::put(&mut out, 0, &payload);
    out
}
