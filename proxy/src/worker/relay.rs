//! Moves bytes between the two legs in user space: a command and its response, or a stream without commands.
//!
//! Bytes are read into the worker's scratch buffer and written from it at once; only what a slow reader does not take is copied. The
//! buffer is never held across an await.

use std::{io, time::Duration};

use bytes::BytesMut;
use sluice_ebpf::{
    packet::Position,
    record::Seat,
    response::{Expect, Response},
};
use tokio::time::Instant;

use super::{
    Worker,
    close::End,
    serve::{IDLE_BUFFER_BYTES, Serving},
    statement::Preparing,
    stop,
};
use crate::{
    net::{Leg, is_transient, outbox::Post},
    pause::pause,
    protocol::{packet, reply::ERR},
    session::{AnsweredBy, ClientState, Path},
};

/// How long a client that has closed its sending half may read nothing of what waits for it. A driver closes both halves at once; one that
/// only closes its own goes on reading.
const GONE: Duration = Duration::from_secs(1);
/// How long a node may be silent towards a client that has closed its sending half before it is told to stop: such a client may still
/// read, and most commands take less.
const GRACE: Duration = Duration::from_millis(500);

/// What a leg gave.
pub(super) enum Got {
    /// This many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The end of its stream.
    End,
}

impl Serving<'_> {
    /// Waits at a command boundary for bytes of either leg. Client bytes go to `client_rest`, what the node says unasked goes to the
    /// client, unless the kernel has left a response to finish.
    pub(super) async fn wait(&mut self) -> Result<(), End> {
        let entry = self.entry;
        loop {
            tokio::select! {
                biased;
                ready = self.client.readable() => {
                    ready.map_err(End::of_client)?;
                    match self.read_client()? {
                        Got::Bytes(_) => return Ok(()),
                        Got::Nothing => {}
                        Got::End => return Err(Box::pin(self.half_closed()).await),
                    }
                }
                ready = self.node.readable() => {
                    if self.follow_kernel() {
                        continue;
                    }
                    ready.map_err(End::of_node)?;
                    match self.read_node()? {
                        // The program says that it hands over before its bytes travel: what is here is that, or said unasked.
                        Got::Bytes(_) if self.has_ended_regime() => return Ok(()),
                        // A reader that speaks unasked leaves, which is not the client's business.
                        Got::Bytes(_)
                            if self.is_shutdown_notice()
                                || self.reading.seat == Seat::Reader =>
                        {
                            self.node_rest.clear();
                            return Err(End::NodeClosed);
                        }
                        Got::Bytes(_) => self.pass_unasked().await?,
                        Got::Nothing => {}
                        Got::End => return Err(End::NodeClosed),
                    }
                    // The offer's offsets have moved.
                    return Ok(());
                }
                () = self.aside_readable() => {
                    if !self.follow_kernel() {
                        self.hear_aside();
                    }
                }
                () = self.parked_wants() => self.look_at_parked(),
                () = entry.variables_wanted() => {
                    Box::pin(self.read_variables_idle()).await?;
                    return Ok(());
                }
                wish = entry.switch_wanted() => {
                    Box::pin(self.grant(wish)).await?;
                    return Ok(());
                }
                () = entry.news(self.news_seen) => return self.review().await,
                () = self.reader_idle() => return Box::pin(self.part_from_idle_reader()).await,
                () = self.move_due() => return self.try_move().await,
            }
        }
    }

    /// Forwards the command under way and its response, to the last byte of both.
    pub(super) async fn exchange(&mut self) -> Result<(), End> {
        let mut stopped = false;
        if !self.node_rest.is_empty() {
            let bytes = self.node_rest.split();
            let left = self.take_response(&bytes).await.map_err(End::of_client)?;
            self.write_client(&left).await?;
        }
        loop {
            self.push_command().await?;
            if self.in_file && self.command.is_done() {
                self.in_file = false;
                self.response.infile_sent();
            }
            if self.response.wants_infile() && !self.in_file {
                self.in_file = true;
                self.command = Position::infile();
                continue;
            }
            if self.command.is_done() && self.response.is_done() {
                return Ok(());
            }
            let wants_client = !self.command.is_done();
            tokio::select! {
                biased;
                ready = self.node.readable() => {
                    ready.map_err(End::of_node)?;
                    self.pull_response().await?;
                }
                ready = self.client.readable(), if wants_client => {
                    ready.map_err(End::of_client)?;
                    if let Got::End = self.read_client()? {
                        return Err(End::ClientClosed);
                    }
                }
                () = self.node_dead() => return Err(End::NodeHung),
                left = self.client_left(), if !wants_client && !stopped => {
                    left?;
                    stop::query(self.entry, self.worker);
                    stopped = true;
                }
            }
        }
    }

    /// Waits until the client has left: it has closed its sending half and, for [`GRACE`] from then on, its node has said nothing. Dropped
    /// as soon as the node does.
    async fn client_left(&self) -> Result<(), End> {
        self.client.read_closed().await.map_err(End::of_client)?;
        pause(GRACE).await;
        Ok(())
    }

    /// Whether the client has closed its sending half.
    async fn has_client_closed(&self) -> Result<bool, End> {
        match tokio::time::timeout(Duration::ZERO, self.client.read_closed()).await {
            Ok(closed) => closed.map(|()| true).map_err(End::of_client),
            Err(_open) => Ok(false),
        }
    }

    /// Looks for a client that has left, between two looks at what the kernel makes of its command. `left_at`: when it was first seen.
    pub(super) async fn look_for_client(&self, left_at: &mut Option<Instant>) -> Result<(), End> {
        if self.has_client_closed().await? {
            let left_at = left_at.get_or_insert_with(Instant::now);
            if left_at.elapsed() > GRACE {
                stop::query(self.entry, self.worker);
            }
        }
        Ok(())
    }

    /// Forwards more of the command under way, whatever the node says.
    pub(super) async fn exchange_command(&mut self) -> Result<(), End> {
        self.push_command().await?;
        if !self.command.is_done() {
            self.read_client_or_end().await?;
        }
        Ok(())
    }

    /// Waits for more of a command that has begun.
    pub(super) async fn read_client_or_end(&mut self) -> Result<(), End> {
        self.client.readable().await.map_err(End::of_client)?;
        match self.read_client()? {
            Got::Bytes(_) | Got::Nothing => Ok(()),
            Got::End => Err(End::ClientClosed),
        }
    }

    /// Writes to the node what is there of the command under way.
    async fn push_command(&mut self) -> Result<(), End> {
        if self.command.is_done() || self.client_rest.is_empty() {
            return Ok(());
        }
        let before = self.command.packets();
        let length = self.command.feed(&self.client_rest);
        // Mostly that is all there is: then the buffer itself is taken, and comes back emptied.
        let is_whole = length == self.client_rest.len();
        let mut bytes = if is_whole {
            std::mem::take(&mut self.client_rest)
        } else {
            self.client_rest.split_to(length)
        };
        {
            let mut session = self.entry.session.borrow_mut();
            session.traffic.relayed_bytes_to_node += length as u64;
            session.traffic.relayed_packets_to_node +=
                u64::from(self.command.packets().wrapping_sub(before));
            if !self.in_file {
                session.command.bytes += length as u64;
            }
        }
        let posted = self.node.post(&self.worker.outbox, &bytes).await;
        let written = match posted {
            Ok(rest) => tokio::select! {
                biased;
                written = self.node.write_all(&rest) => written,
                () = self.node_dead() => return Err(End::NodeHung),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // It may have said why before it closed: that is the client's to read.
            Box::pin(self.last_words()).await;
            return Err(End::of_node(error));
        }
        if is_whole && bytes.capacity() <= IDLE_BUFFER_BYTES {
            bytes.clear();
            self.client_rest = bytes;
        }
        Ok(())
    }

    /// Reads from the node and writes to the client.
    async fn pull_response(&mut self) -> Result<(), End> {
        if self
            .prepares
            .as_ref()
            .is_some_and(Preparing::waits_for_name)
        {
            return self.pull_prepared().await;
        }
        let worker = self.worker;
        let post = {
            let mut scratch = worker.scratch.borrow_mut();
            let length = match got(self.node.try_read(&mut scratch)).map_err(End::of_node)? {
                Got::Bytes(length) => length,
                Got::Nothing => return Ok(()),
                Got::End => return Err(End::NodeClosed),
            };
            self.take_response(scratch.get(..length).unwrap_or_default())
        };
        let left = post.await.map_err(End::of_client)?;
        self.write_client(&left).await
    }

    /// The same of the front of an answer that names a statement.
    async fn pull_prepared(&mut self) -> Result<(), End> {
        if let Got::End = self.read_node()? {
            return Err(End::NodeClosed);
        }
        if !self.name_prepared() {
            return Ok(());
        }
        let bytes = self.node_rest.split();
        let left = self.take_response(&bytes).await.map_err(End::of_client)?;
        self.write_client(&left).await
    }

    /// Gives the client what the node has said, as far as there is room; the rest is what is awaited. Where the bytes complete the response,
    /// the offer to the kernel is made before.
    fn take_response(&mut self, bytes: &[u8]) -> Post<'_> {
        // What follows the response is said unasked (a shutdown notice): it goes the same way.
        let before = self.response;
        let taken = self.response.feed(bytes);
        let heard = bytes.get(..taken).unwrap_or_default();
        self.tracking.hear(heard);
        if let Some(preparing) = &mut self.prepares {
            preparing.hear(heard);
        }
        if self.response.is_done() && !before.is_done() {
            self.keep_status();
            self.prepared();
        }
        let boundary = self.response.is_done() && self.command.is_done() && taken == bytes.len();
        if boundary && self.client_rest.is_empty() {
            self.offer(bytes.len());
        }
        {
            let traffic = &mut self.entry.session.borrow_mut().traffic;
            traffic.relayed_bytes_to_client += bytes.len() as u64;
            traffic.relayed_packets_to_client += u64::from(self.response.packets_since(&before));
        }
        self.client.post(&self.worker.outbox, bytes)
    }

    /// Writes to the client, as slowly as it reads; but not for ever to one that has closed. (Its kernel resets the connection as soon as
    /// more bytes reach it; with its window full none do.)
    pub(super) async fn write_client(&self, bytes: &[u8]) -> Result<(), End> {
        if bytes.is_empty() {
            return Ok(());
        }
        let posted = self.client.post(&self.worker.outbox, bytes).await;
        let left = posted.map_err(End::of_client)?;
        let mut rest = left.as_ref();
        if rest.is_empty() {
            return Ok(());
        }
        let mut written = self.client.write_now(rest);
        loop {
            match written {
                Ok(length) => rest = rest.get(length..).unwrap_or_default(),
                Err(error) if is_transient(&error) => tokio::select! {
                    ready = self.client.writable() => ready.map_err(End::of_client)?,
                    () = self.client_gone() => return Err(End::ClientClosed),
                },
                Err(error) => return Err(End::of_client(error)),
            }
            if rest.is_empty() {
                return Ok(());
            }
            written = self.client.try_write(rest);
        }
    }

    /// Waits until the client has closed its sending half and, for [`GONE`] from then on, has read nothing. Dropped as soon as it reads.
    async fn client_gone(&self) {
        let _ = self.client.read_closed().await;
        pause(GONE).await;
    }

    /// Forwards what the node has said before it broke, as far as it is there.
    async fn last_words(&mut self) {
        while let Ok(Got::Bytes(_)) = self.read_node() {
            if self.pass_unasked().await.is_err() {
                return;
            }
        }
    }

    /// Gives the client what the node has said unasked: that it ends this session, as a rule.
    pub(super) async fn pass_unasked(&mut self) -> Result<(), End> {
        let bytes = self.node_rest.split();
        self.is_dismissed |= bytes.get(packet::HEADER_LEN) == Some(&ERR);
        self.entry
            .session
            .borrow_mut()
            .traffic
            .relayed_bytes_to_client += bytes.len() as u64;
        self.write_client(&bytes).await
    }

    /// The client has shut down its sending half at a boundary: so do we towards the node, and what the node still says is forwarded
    /// until it closes. Where the kernel has a command under way and the node does not get on with it, it is told to stop.
    async fn half_closed(&mut self) -> End {
        self.entry.session.borrow_mut().state = ClientState::HalfClose;
        self.follow_kernel();
        if self.node.shutdown_write().is_err() {
            return End::ClientClosed;
        }
        let mut known = self.progress_in_kernel();
        loop {
            match tokio::time::timeout(GRACE, self.node.readable()).await {
                Ok(Ok(())) => {}
                Ok(Err(_broken)) => return End::ClientClosed,
                Err(_silent) => {
                    let before = std::mem::replace(&mut known, self.progress_in_kernel());
                    if before == known {
                        stop::query(self.entry, self.worker);
                    }
                    continue;
                }
            }
            match self.read_node() {
                Ok(Got::Bytes(_)) if self.pass_unasked().await.is_err() => {
                    return End::ClientClosed;
                }
                Ok(Got::Bytes(_) | Got::Nothing) => {}
                Ok(Got::End) | Err(_) => return End::ClientClosed,
            }
        }
    }

    /// Bytes spliced towards the client, if there is a record.
    fn progress_in_kernel(&self) -> Option<u64> {
        Some(self.entry.slot()?.progress().bytes_to_client)
    }

    /// Waits until the node's last spliced response is where the client reads it, by a `COM_PING` of our own: the program says "answered"
    /// while the server's thread is still inside its `sendmsg`, and the server reads the next command only behind that. Needed before the
    /// daemon speaks for itself, as a client that pipelines may not have read that response yet.
    pub(super) async fn barrier(&mut self) -> Result<(), End> {
        // On the wire TCP's own numbers keep the order.
        if !std::mem::take(&mut self.after_splice) || self.entry.session.borrow().way == Path::Wire
        {
            return Ok(());
        }
        self.node
            .write_all(b"\x01\0\0\0\x0e")
            .await
            .map_err(End::of_node)?;
        let mut answer = Response::DONE;
        answer.begin(Expect::Generic as u8, 0);
        while !answer.is_done() {
            tokio::select! {
                biased;
                ready = self.node.readable() => ready.map_err(End::of_node)?,
                () = self.node_dead() => return Err(End::NodeHung),
            }
            if let Got::End = self.read_node()? {
                return Err(End::NodeClosed);
            }
            let taken = answer.feed(&self.node_rest);
            let _ = self.node_rest.split_to(taken);
        }
        if self.node_rest.is_empty() {
            Ok(())
        } else {
            self.pass_unasked().await
        }
    }

    /// A replication stream: bytes, both ways, until one side closes.
    pub(super) async fn stream(&mut self) -> Result<(), End> {
        self.entry.session.borrow_mut().relay_reason =
            Some(sluice_ebpf::reason::RelayReason::Replication);
        self.begin_command(AnsweredBy::Node);
        loop {
            let bytes = self.client_rest.split();
            if !bytes.is_empty() {
                self.entry
                    .session
                    .borrow_mut()
                    .traffic
                    .relayed_bytes_to_node += bytes.len() as u64;
                self.node.write_all(&bytes).await.map_err(End::of_node)?;
            }
            tokio::select! {
                ready = self.node.readable() => {
                    ready.map_err(End::of_node)?;
                    match self.read_node()? {
                        Got::Bytes(_) => self.pass_unasked().await?,
                        Got::Nothing => {}
                        Got::End => return Err(End::NodeClosed),
                    }
                }
                ready = self.client.readable() => {
                    ready.map_err(End::of_client)?;
                    if let Got::End = self.read_client()? {
                        return Err(End::ClientClosed);
                    }
                }
            }
        }
    }

    /// Reads into `client_rest`.
    pub(super) fn read_client(&mut self) -> Result<Got, End> {
        read_into(&mut self.client_rest, &self.client, self.worker).map_err(End::of_client)
    }

    /// Reads into `node_rest`.
    pub(super) fn read_node(&mut self) -> Result<Got, End> {
        read_into(&mut self.node_rest, &self.node, self.worker).map_err(End::of_node)
    }

    /// Whether the kernel's regime is over and its rest is to be taken stock of.
    fn has_ended_regime(&self) -> bool {
        let Some(slot) = self.entry.slot().filter(|_| self.offered.is_some()) else {
            return false;
        };
        let standing = self.entry.gate.get().standing(&slot.progress());
        matches!(standing, crate::gate::Standing::Ended { .. })
    }
}

/// Appends what is there of a leg's bytes, as much as the worker's scratch buffer holds.
pub(super) fn read_into(rest: &mut BytesMut, leg: &Leg, worker: &Worker) -> io::Result<Got> {
    let mut scratch = worker.scratch.borrow_mut();
    let got = got(leg.try_read(&mut scratch))?;
    if let Got::Bytes(length) = got {
        rest.extend_from_slice(scratch.get(..length).unwrap_or_default());
    }
    Ok(got)
}

/// Sorts a read's result.
fn got(read: io::Result<usize>) -> io::Result<Got> {
    match read {
        Ok(0) => Ok(Got::End),
        Ok(length) => Ok(Got::Bytes(length)),
        Err(error) if is_transient(&error) => Ok(Got::Nothing),
        Err(error) => Err(error),
    }
}
