//! `KILL` and `KILL QUERY`, carried out, and what a killed client is still told.

use std::{io, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use tokio::time::timeout;

use super::{close::End, mailbox, serve::Serving, splice::Reclaimed};
use crate::{
    admin::{AdminError, Privileges},
    node::MonitorError,
    protocol::{
        error::MysqlError,
        packet::{self, HEADER_LEN},
        reply::encode_error,
    },
    session::{CsId, Running},
};

/// How long a killed session waits for the kernel and its node, to be told only what it can read as an answer. The wait for the kernel's
/// programs takes some milliseconds, but some hundred where every CPU is busy.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same for a session that nobody waits for.
const LONG_FAREWELL: Duration = Duration::from_secs(3);

/// How long the caller's own connection may take to kill another one: who is to be killed is gone by then.
const NODE_KILL: Duration = Duration::from_secs(5);

/// Whose turn it is to speak on the client's leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// The client's, with its next command. Every response that came through the daemon has been written to its last byte.
    Client,
    /// The node's: of the response to a relayed command nothing had been written when this many bytes had.
    Node {
        /// Bytes ever written to the client.
        written: u64,
        /// Number of the response's first packet.
        sequence: u8,
    },
    /// The node's, with the response to a command that the kernel has moved. The regime is over, and the kernel may finish the response yet.
    Kernel,
    /// The client's still: a command of its is in hand, and as long as no more than these bytes of all that it has ever sent have been
    /// consumed, nothing has come of it.
    Holding(u64),
    /// Somebody is in the middle of something.
    Nobody,
}

/// What the caller is told where an order to another server came to nothing: that server's own error, or that nobody knows.
pub(super) fn refusal(error: &MonitorError) -> AdminError {
    match error {
        MonitorError::Refused {
            number,
            state,
            text,
        } => {
            let state = state.as_bytes().try_into().unwrap_or(*b"HY000");
            AdminError::of_node(*number, state, text)
        }
        other => AdminError::unknown_result(&other.to_string()),
    }
}

/// What the client of a session that somebody ends is told: between two commands, and as the answer to one that was under way.
fn last_words(end: End) -> Option<(MysqlError, MysqlError)> {
    let unknown = || {
        MysqlError::outcome_unknown(end.text())
            .readable()
            .into_owned()
    };
    match end {
        End::Killed => Some((
            MysqlError::connection_killed(),
            MysqlError::query_interrupted(),
        )),
        End::Drained | End::Retired => Some((MysqlError::server_shutdown(), unknown())),
        End::Idle => Some((MysqlError::idle_for_long(), unknown())),
        _ => None,
    }
}

impl Serving<'_> {
    /// What the node says of the caller's privileges; none, if it does not say.
    pub(super) async fn learn_privileges(&mut self) -> Result<Privileges, End> {
        let answer = self.ask(Privileges::STATEMENT).await?;
        Ok(answer.map_or_else(
            |_refused| Privileges::default(),
            |rows| {
                let grants = rows.rows.iter().filter_map(|row| row.first()?.as_deref());
                Privileges::read(grants)
            },
        ))
    }

    /// Ends another session. What its node is executing is stopped by the monitor account ([`super::stop::connection`]); without one by
    /// the caller's own connection, if that is at the same node. Where that connection hangs, the caller's session cannot go on: it is to
    /// be answered, then to end so.
    pub(super) async fn end_other(
        &mut self,
        cs_id: CsId,
        running: Option<&Running>,
    ) -> Result<Option<End>, End> {
        mailbox::kill(&self.worker.process, cs_id).await;
        if let Some(running) = running.filter(|running| self.is_at(running.node))
            && !self.has_monitor(running)
        {
            // The node's own rights may be others, and the connection may be gone already: the session is, in any case.
            let sql = format!("KILL {}", running.connection.0);
            match timeout(NODE_KILL, self.ask(&sql)).await {
                Ok(answer) => drop(answer?),
                Err(_elapsed) => {
                    // What the kernel had to move has long been moved, and nothing more is asked.
                    self.after_splice = false;
                    return Ok(Some(End::NodeBroken(io::ErrorKind::TimedOut)));
                }
            }
        }
        Ok(None)
    }

    /// Stops what a node is executing for another session.
    pub(super) async fn kill_query(
        &mut self,
        running: &Running,
    ) -> Result<Result<(), AdminError>, End> {
        let process = &self.worker.process;
        let settings = process.settings();
        let cluster = settings.cluster(&running.cluster);
        if let Some(cluster) = cluster.filter(|cluster| cluster.monitor.is_some()) {
            let killed = process
                .monitor
                .kill_query(cluster, running.node, running.connection);
            match killed.result().await {
                Ok(_) => return Ok(Ok(())),
                Err(error)
                    if matches!(error, MonitorError::Refused { .. })
                        || !self.is_at(running.node) =>
                {
                    return Ok(Err(refusal(&error)));
                }
                Err(_) => {}
            }
        }
        if !self.is_at(running.node) {
            return Ok(Err(AdminError::cannot_reach_query()));
        }
        let answer = self
            .ask(&format!("KILL QUERY {}", running.connection.0))
            .await?;
        Ok(answer.map(drop).map_err(|error| {
            let state = error.state.unwrap_or(*b"HY000");
            AdminError::of_node(error.number, state, error.message_lossy())
        }))
    }

    /// Whether this session's node is that one, and can be asked.
    fn is_at(&self, node: SocketAddr) -> bool {
        self.lost.is_none() && self.target.address == node
    }

    fn has_monitor(&self, running: &Running) -> bool {
        let settings = self.worker.process.settings();
        let cluster = settings.cluster(&running.cluster);
        cluster.is_some_and(|cluster| cluster.monitor.is_some())
    }

    /// It is the node's turn, with the response to the command at the front of `client_rest`.
    pub(super) fn expect_response(&mut self) {
        let header = self.client_rest.first_chunk::<HEADER_LEN>();
        self.turn = match header {
            // A command of several packets has its number at its end.
            Some(&[a, b, c, sequence]) if [a, b, c] != [0xff; 3] => Turn::Node {
                written: self.client.written_bytes(),
                sequence: sequence.wrapping_add(1),
            },
            _ => Turn::Nobody,
        };
    }

    /// Tells the client of a session that was killed why it ends, if it can read that as an answer: an idle one as the answer to its next
    /// command, a waiting one as that to its last. In the middle of a response nothing can be said. Whether anything was.
    pub(super) async fn farewell(&mut self, end: End) -> bool {
        let Some((between, within)) = last_words(end) else {
            return false;
        };
        let turn = self.turn;
        let (sequence, error) = match turn {
            Turn::Client if self.client_rest.is_empty() && self.node_rest.is_empty() => {
                match self.where_it_stands(end).await {
                    Some(Reclaimed::Boundary) => (1, between),
                    Some(Reclaimed::Outstanding) if end != End::Killed => (1, within),
                    _ => return false,
                }
            }
            Turn::Node { written, sequence }
                if self.command.is_done() && self.client.written_bytes() == written =>
            {
                (sequence, within)
            }
            Turn::Kernel
                if end != End::Killed
                    && self.client_rest.is_empty()
                    && self.node_rest.is_empty() =>
            {
                match self.where_it_stands(end).await {
                    Some(Reclaimed::Outstanding) => (1, within),
                    _ => return false,
                }
            }
            Turn::Client | Turn::Kernel | Turn::Holding(_) | Turn::Node { .. } | Turn::Nobody => {
                return false;
            }
        };
        let mut out = BytesMut::new();
        packet::put(&mut out, sequence, &encode_error(&error));
        // A client that does not read is not waited for.
        let _ = self.client.write_now(&out);
        let _ = self.client.shutdown_write();
        true
    }

    /// Takes the session back from the kernel. At a boundary: every command that the kernel has spliced is answered, and the answer where the client
    /// reads it: else what is said next would be read as the answer, or come before it. Outstanding: one is with the node, and nothing has come of
    /// it; nor will the client see what comes now.
    async fn where_it_stands(&mut self, end: End) -> Option<Reclaimed> {
        let patience = if end == End::Killed {
            FAREWELL
        } else {
            LONG_FAREWELL
        };
        let reclaimed = timeout(patience, self.reclaim_from_dead()).await;
        let reclaimed = reclaimed.ok()?.ok()?;
        if reclaimed == Reclaimed::Boundary {
            timeout(patience, self.barrier()).await.ok()?.ok()?;
        }
        Some(reclaimed)
    }
}
