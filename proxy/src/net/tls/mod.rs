//! TLS inside a leg: what rustls needs between the plain bytes that everything above counts and the socket.

mod certificate;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    cell::RefCell,
    fmt,
    io::{self, IoSlice, Read, Write},
};

use rustls::{Connection, IoState};
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

pub use certificate::{Certificate, CertificateError};
pub use trust::{Encryption, Trust, system_certificates};

/// One leg's TLS. Nothing of it is borrowed across an await.
pub(super) struct Tls(RefCell<State>);

struct State {
    /// Boxed from the beginning: it is large, and futures hold it.
    connection: Box<Connection>,
    /// Decrypted bytes that nobody has read yet.
    ready: usize,
    /// Plain bytes that are encrypted, but of which the writer has not been told: their ciphertext waits for room in the socket. He writes
    /// them again, as after every `WouldBlock`, and hears then that they are written.
    owed: usize,
    /// Nothing more can be read: the peer has said so, or its connection has ended.
    has_ended: bool,
    has_said_goodbye: bool,
}

/// A leg's socket as rustls reads and writes it.
pub(super) struct Socket<'a> {
    pub(super) stream: &'a TcpStream,
    /// By a system call in any case, whatever the reactor knows.
    pub(super) now: bool,
}

/// What a write has come to.
pub(super) struct Written {
    /// Plain bytes that were encrypted, and are to be counted.
    pub(super) sealed: usize,
    /// What the writer is told.
    pub(super) told: io::Result<usize>,
}

impl Tls {
    /// Shakes hands over a socket from which `heard` was read already, and nothing that does not belong to the handshake.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` with what is wrong with the peer's TLS, which has been told.
    pub(super) async fn shake_hands(
        mut connection: Box<Connection>,
        stream: &TcpStream,
        heard: &[u8],
    ) -> io::Result<Box<Self>> {
        let mut heard = heard;
        let mut socket = Socket { stream, now: false };
        let mut ready = 0;
        while !heard.is_empty() {
            connection.read_tls(&mut heard)?;
            ready = process(&mut connection, &mut socket)?.plaintext_bytes_to_read();
        }
        loop {
            while connection.wants_write() {
                match connection.write_tls(&mut socket) {
                    Ok(_) => {}
                    Err(error) if super::is_transient(&error) => stream.writable().await?,
                    Err(error) => return Err(error),
                }
            }
            if !connection.is_handshaking() {
                break;
            }
            stream.readable().await?;
            match connection.read_tls(&mut socket) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    ready = process(&mut connection, &mut socket)?.plaintext_bytes_to_read();
                }
                Err(error) if super::is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Box::new(Self(RefCell::new(State {
            connection,
            ready,
            owed: 0,
            has_ended: false,
            has_said_goodbye: false,
        }))))
    }

    /// Whether there is something to read without the socket: bytes, or the end.
    pub(super) fn is_ready(&self) -> bool {
        let state = self.0.borrow();
        state.ready > 0 || state.has_ended
    }

    /// Whether the end of the stream has been read, with nothing left before it.
    pub(super) fn has_ended(&self) -> bool {
        let state = self.0.borrow();
        state.ready == 0 && state.has_ended
    }

    /// Protocol and cipher, as `TLSv1_3 TLS13_AES_256_GCM_SHA384`.
    pub(super) fn text(&self) -> String {
        let state = self.0.borrow();
        let version = state.connection.protocol_version();
        let suite = state.connection.negotiated_cipher_suite();
        let parts = [
            version.map(|version| format!("{version:?}")),
            suite.map(|suite| format!("{:?}", suite.suite())),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Reads plain bytes. An end without `close_notify` is an end, as on a plain leg: `MySQL`'s packets say themselves where they end.
    ///
    /// # Errors
    /// `WouldBlock`; those of the socket; `InvalidData` for what is no TLS.
    pub(super) fn read(&self, buf: &mut [u8], mut socket: Socket<'_>) -> io::Result<usize> {
        let state = &mut *self.0.borrow_mut();
        loop {
            if state.ready > 0 {
                let length = state.connection.reader().read(buf)?;
                state.ready = state.ready.saturating_sub(length);
                return Ok(length);
            }
            if state.has_ended {
                return Ok(0);
            }
            if state.connection.read_tls(&mut socket)? == 0 {
                state.has_ended = true;
                return Ok(0);
            }
            let processed = process(&mut state.connection, &mut socket)?;
            state.ready = processed.plaintext_bytes_to_read();
            state.has_ended = processed.peer_has_closed();
        }
    }

    /// Writes plain bytes, as much as rustls encrypts at once (64 KiB); they are written once their ciphertext is in the socket.
    pub(super) fn write(&self, bytes: &[u8], mut socket: Socket<'_>) -> Written {
        let state = &mut *self.0.borrow_mut();
        let mut sealed = 0;
        let told = loop {
            if state.owed == 0 {
                match state.connection.writer().write(bytes) {
                    Ok(length) => state.owed = length,
                    Err(error) => break Err(error),
                }
                sealed = state.owed;
            }
            if let Err(error) = flush(&mut state.connection, &mut socket) {
                break Err(error);
            }
            // Nothing fits where what rustls itself had to say fills the buffer. It is empty now.
            if state.owed > 0 || bytes.is_empty() {
                break Ok(std::mem::take(&mut state.owed).min(bytes.len()));
            }
        };
        Written { sealed, told }
    }

    /// Tells the peer that nothing follows, as far as the socket has room for it.
    pub(super) fn say_goodbye(&self, mut socket: Socket<'_>) {
        let state = &mut *self.0.borrow_mut();
        if !std::mem::replace(&mut state.has_said_goodbye, true) {
            state.connection.send_close_notify();
            let _ = flush(&mut state.connection, &mut socket);
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Decrypts what has been read. A peer whose bytes are no TLS is told so.
fn process(connection: &mut Connection, socket: &mut Socket<'_>) -> io::Result<IoState> {
    connection.process_new_packets().map_err(|error| {
        let _ = flush(connection, socket);
        io::Error::new(io::ErrorKind::InvalidData, error)
    })
}

/// Writes all ciphertext that waits.
fn flush(connection: &mut Connection, socket: &mut Socket<'_>) -> io::Result<()> {
    while connection.wants_write() {
        if connection.write_tls(socket)? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.now {
            (&*SockRef::from(self.stream)).read(buf)
        } else {
            self.stream.try_read(buf)
        }
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let write = || (&*SockRef::from(self.stream)).write_vectored(bufs);
        if self.now {
            write()
        } else {
            self.stream.try_io(Interest::WRITABLE, write)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
