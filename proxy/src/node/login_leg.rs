//! A leg that is not logged in yet: packets one at a time, each with the sequence number after the last one's.

use std::io;

use bytes::{Bytes, BytesMut};
use rustls::Connection;

use crate::net::{Leg, READ_CHUNK, outbox::Outbox};
use crate::protocol::packet;

/// The longest packet of a login, in bytes: the attributes that servers take and 16 KiB for everything else.
pub const LOGIN_PACKET_MAX: usize = 80 * 1024;

/// Why no packet came.
#[derive(Debug, thiserror::Error)]
pub enum LegError {
    /// The peer has closed, between two packets or within one.
    #[error("connection closed")]
    Closed,
    /// A packet of more than [`LOGIN_PACKET_MAX`] bytes.
    #[error("packet too long")]
    TooLong,
    /// A sequence number that is not the next one.
    #[error("packets out of order")]
    OutOfOrder,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A leg during its login, or while the user is changed.
#[derive(Debug)]
pub struct LoginLeg<'a> {
    leg: &'a Leg,
    rest: BytesMut,
    held: BytesMut,
    sequence: u8,
    /// Bytes read before what is read here.
    before: u64,
    /// Where packets are left that are written.
    outbox: Option<&'a Outbox>,
}

impl<'a> LoginLeg<'a> {
    /// The leg, what was read from it before, and the sequence number of the next packet, whoever sends it.
    pub fn new(leg: &'a Leg, rest: BytesMut, sequence: u8) -> Self {
        let before = leg.read_bytes().saturating_sub(rest.len() as u64);
        Self {
            leg,
            before,
            rest,
            held: BytesMut::new(),
            sequence,
            outbox: None,
        }
    }

    /// The same, with packets written together with those of others.
    #[must_use]
    pub const fn posting(mut self, outbox: &'a Outbox) -> Self {
        self.outbox = Some(outbox);
        self
    }

    /// What was read and is no part of a packet taken.
    pub fn into_rest(self) -> BytesMut {
        self.rest
    }

    /// Takes a packet that has been read already, `None` if there is none.
    ///
    /// # Errors
    /// [`LegError::TooLong`], [`LegError::OutOfOrder`].
    pub fn take(&mut self) -> Result<Option<Bytes>, LegError> {
        match packet::take(&mut self.rest, LOGIN_PACKET_MAX) {
            Ok(None) => Ok(None),
            Ok(Some(packet)) if packet.sequence == self.sequence => {
                self.sequence = self.sequence.wrapping_add(1);
                Ok(Some(packet.payload))
            }
            Ok(Some(_)) => Err(LegError::OutOfOrder),
            Err(packet::TooLong { .. }) => Err(LegError::TooLong),
        }
    }

    /// Waits for more bytes. Dropped before its end, it has read nothing.
    ///
    /// # Errors
    /// [`LegError::Closed`], [`LegError::Io`].
    pub async fn fill(&mut self) -> Result<(), LegError> {
        match self.leg.fill(&mut self.rest).await? {
            0 => Err(LegError::Closed),
            _ => Ok(()),
        }
    }

    /// Shakes hands. What has been read and is no part of a packet taken is the beginning of the handshake: a login that somebody has put there
    /// in plain text is none.
    ///
    /// # Errors
    /// [`LegError::Io`]: `InvalidData` with what is wrong with the peer's TLS.
    pub async fn start_tls(&mut self, connection: Box<Connection>) -> Result<(), LegError> {
        let heard = std::mem::take(&mut self.rest);
        Ok(self.leg.start_tls(connection, &heard).await?)
    }

    /// Whether the leg's bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        self.leg.is_tls()
    }

    /// Whether the peer has said anything here.
    pub fn has_heard(&self) -> bool {
        self.leg.read_bytes() > self.before
    }

    /// Whether [`Self::fill`] may read more without growing beyond one packet of the longest kind.
    pub fn has_room(&self) -> bool {
        self.rest.len() < packet::HEADER_LEN + LOGIN_PACKET_MAX + READ_CHUNK
    }

    /// Waits for the next packet.
    ///
    /// # Errors
    /// [`LegError`].
    pub async fn read(&mut self) -> Result<Bytes, LegError> {
        loop {
            if let Some(payload) = self.take()? {
                return Ok(payload);
            }
            self.fill().await?;
        }
    }

    /// Begins at sequence number 0 again, for a command.
    pub const fn restart(&mut self) {
        self.sequence = 0;
    }

    /// Ends this side's stream, then reads and forgets until the peer has ended its own, or has sent `max` bytes. A socket that is
    /// closed with unread bytes sends RST (RFC 1122, 4.2.2.13), which can take back what was written to it before.
    ///
    /// # Errors
    /// [`LegError::Closed`] at the end of the peer's stream, [`LegError::Io`].
    pub async fn drain(&mut self, max: u64) -> Result<(), LegError> {
        self.leg.shutdown_write()?;
        let limit = self.leg.read_bytes().saturating_add(max);
        while self.leg.read_bytes() < limit {
            self.rest.clear();
            self.fill().await?;
        }
        Ok(())
    }

    /// Makes a payload the next packet, but leaves the sending to [`Self::take_held`]'s caller: between the two it can make ready for what
    /// the peer will do once it has the packet.
    pub fn hold(&mut self, payload: &[u8]) {
        self.sequence = packet::put(&mut self.held, self.sequence, payload);
    }

    /// The packets that were held back, for who sends them.
    pub fn take_held(&mut self) -> BytesMut {
        std::mem::take(&mut self.held)
    }

    /// Sends a payload as the next packet.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = BytesMut::with_capacity(packet::HEADER_LEN + payload.len());
        self.sequence = packet::put(&mut out, self.sequence, payload);
        if let Some(outbox) = self.outbox {
            out = self.leg.post(outbox, &out).await?;
        }
        self.leg.write_all(&out).await
    }
}
