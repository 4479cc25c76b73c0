//! A leg: one TCP connection of a session, which knows how many bytes ever went through it.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::net::{RecvFlags, SendFlags};
use rustls::Connection;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

use super::calls;
use super::outbox::{Outbox, Post};
use super::tls::{Socket, Tls};
use super::watch::{Counts, Watch};
use crate::{config::KEEPALIVE_IDLE_DEFAULT, pause::pause};

/// How much [`Leg::fill`] reads at once, in bytes: more than any usual packet of a login.
pub const READ_CHUNK: usize = 2 * 1024;
/// How soon [`Leg::read_closed`] looks again where bytes wait to be read.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One connection. Every byte read from it or written to it since it was opened is counted: the kernel arms a session where its
/// own count of passed bytes equals these (design.md, section 4). Hence nothing reads or writes the socket but this type.
///
/// With TLS ([`Leg::start_tls`]) the bytes read, written and counted are the plain ones; such a leg is never spliced.
///
/// Methods take `&self` so that one task can wait for several things at once; a leg belongs to one task.
#[derive(Debug)]
pub struct Leg {
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    opened: Instant,
    counts: Arc<Counts>,
    /// Boxed: most legs have none.
    tls: OnceCell<Box<Tls>>,
}

impl Leg {
    /// Takes a connection that `local` has opened to `peer`, before anything is read from it or written to it, and sets a leg's options.
    ///
    /// # Errors
    /// Those of `setsockopt`.
    pub fn dialled(stream: TcpStream, local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        super::set_options(&SockRef::from(&stream))?;
        Ok(Self::between(local, peer, stream))
    }

    /// Takes a connection of a listener that [`super::listen`] has opened, as new: its options are the listener's.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub fn accepted(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        Ok(Self::between(stream.local_addr()?, peer, stream))
    }

    fn between(local: SocketAddr, peer: SocketAddr, stream: TcpStream) -> Self {
        Self {
            stream,
            peer,
            local,
            opened: Instant::now(),
            counts: Arc::default(),
            tls: OnceCell::new(),
        }
    }

    /// Shakes hands; from then on all bytes are encrypted. `heard` was read from the socket already, and belongs to the handshake.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` with what is wrong with the peer's TLS. The leg is then to be closed.
    pub async fn start_tls(&self, connection: Box<Connection>, heard: &[u8]) -> io::Result<()> {
        let tls = Tls::shake_hands(connection, &self.stream, heard).await?;
        self.tls
            .set(tls)
            .map_err(|_second| io::ErrorKind::AlreadyExists.into())
    }

    /// Whether its bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.get().is_some()
    }

    /// Protocol and cipher of its TLS, if it has any.
    pub fn tls_text(&self) -> Option<String> {
        self.tls.get().map(|tls| tls.text())
    }

    const fn socket(&self, now: bool) -> Socket<'_> {
        Socket {
            stream: &self.stream,
            now,
        }
    }

    /// Has the kernel ask whether the peer still lives after this much silence, in whole seconds, one at least. (The default is set already.)
    ///
    /// # Errors
    /// Those of `setsockopt`.
    pub fn keep_alive(&self, idle: Duration) -> io::Result<()> {
        if idle == KEEPALIVE_IDLE_DEFAULT {
            return Ok(());
        }
        super::keep_alive(&SockRef::from(&self.stream), idle)
    }

    /// Whether closing it resets the connection, rather than end it in order: so both peers of a daemon that is killed learn of it at once.
    ///
    /// # Errors
    /// Those of `setsockopt`.
    pub fn reset_on_close(&self, reset: bool) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(reset.then_some(Duration::ZERO))
    }

    /// What others may know of it.
    pub fn watch(&self) -> Watch {
        Watch {
            fd: self.as_raw_fd(),
            peer: self.peer,
            local: self.local,
            opened: self.opened,
            counts: Arc::downgrade(&self.counts),
        }
    }

    /// The other end's address.
    pub const fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// This end's address.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bytes read since the connection's first one.
    pub fn read_bytes(&self) -> u64 {
        self.counts.read.load(Ordering::Relaxed)
    }

    /// Bytes written since the connection's first one. They may still wait in the socket.
    pub fn written_bytes(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }

    /// Waits until there is something to read: bytes, the end of the stream, or an error. For the one task that the leg belongs to: the
    /// reactor keeps one waker for this, which costs less for each wait than a queue of who waits.
    ///
    /// # Errors
    /// Those of the reactor.
    pub async fn readable(&self) -> io::Result<()> {
        if self.tls.get().is_some_and(|tls| tls.is_ready()) {
            return Ok(());
        }
        poll_fn(|context| self.stream.poll_read_ready(context)).await
    }

    /// Waits until there is room to write.
    ///
    /// # Errors
    /// Those of the reactor.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Reads what is there, 0 at the end of the stream. `WouldBlock` may come without a system call, where the reactor has seen
    /// no new bytes; see [`Self::read_now`].
    ///
    /// # Errors
    /// `WouldBlock`, or those of `recv`.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match self.tls.get() {
            None => self.receive_ready(buf),
            Some(tls) => tls.read(buf, self.socket(false)),
        };
        self.count_read(read)
    }

    /// Reads where the reactor has seen bytes. Where that empties the socket, the reactor is told so, and [`Self::readable`] waits for new
    /// bytes instead of a read that finds none: epoll reports them, as it is edge-triggered, and an end of the stream that it has reported
    /// already is not forgotten.
    fn receive_ready(&self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self
            .stream
            .try_io(Interest::READABLE, || self.receive(buf))?;
        if 0 < read && read < buf.len() {
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _would_block = self.stream.try_io(Interest::READABLE, nothing);
        }
        Ok(read)
    }

    /// `recv` without libc's wrapper, which makes two atomic changes for every call (it is a cancellation point).
    fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        let (received, _) = rustix::net::recv(&self.stream, buf, RecvFlags::empty())?;
        Ok(received)
    }

    /// The same for `send`. A peer that has gone is an error, not a signal.
    fn send(&self, bytes: &[u8], more: SendFlags) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | more;
        Ok(rustix::net::send(&self.stream, bytes, flags)?)
    }

    /// Reads by a system call in any case, whatever the reactor knows. After a stop generation this is the barrier of
    /// design.md, section 4.
    ///
    /// # Errors
    /// `WouldBlock`, or those of `recv`.
    pub fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match self.tls.get() {
            None => self.receive(buf),
            Some(tls) => tls.read(buf, self.socket(true)),
        };
        self.count_read(read)
    }

    /// Writes what there is room for. After `WouldBlock` the same bytes are to be written again, and others only behind them.
    ///
    /// # Errors
    /// `WouldBlock`, or those of `send`.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.tls.get() {
            None => {
                let send = || self.send(bytes, SendFlags::empty());
                self.count_written(self.stream.try_io(Interest::WRITABLE, send))
            }
            Some(tls) => self.write_tls(tls, bytes, false),
        }
    }

    /// Writes what there is room for, by a system call in any case, whatever the reactor knows: most writes fit at once.
    ///
    /// # Errors
    /// `WouldBlock`, or those of `send`.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.tls.get() {
            None => self.count_written(self.send(bytes, SendFlags::empty())),
            Some(tls) => self.write_tls(tls, bytes, true),
        }
    }

    /// Counts bytes when they are encrypted: from then on the peer may get them.
    fn write_tls(&self, tls: &Tls, bytes: &[u8], now: bool) -> io::Result<usize> {
        let written = tls.write(bytes, self.socket(now));
        if written.sealed > 0 || written.told.is_err() {
            let _ = self.count_written(Ok(written.sealed));
        }
        written.told
    }

    /// Waits until the peer has closed its sending half, whether or not bytes are left to read; they stay there.
    ///
    /// # Errors
    /// That with which the connection broke instead: a reset, mostly.
    pub async fn read_closed(&self) -> io::Result<()> {
        loop {
            let ready = self.stream.ready(Interest::READABLE).await?;
            if ready.is_read_closed() {
                return self.stream.take_error()?.map_or(Ok(()), Err);
            }
            let mut byte = [MaybeUninit::uninit()];
            match self.stream.try_io(Interest::READABLE, || {
                SockRef::from(&self.stream).peek(&mut byte)
            }) {
                Ok(0) => return Ok(()),
                // Who comes for the bytes must find the socket readable, so nothing wakes us when the end follows them.
                Ok(_) => {
                    pause(LOOK_AGAIN).await;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the peer has closed its sending half with nothing left to read; bytes that are there stay there.
    ///
    /// # Errors
    /// Those of `recv`.
    pub fn has_ended(&self) -> io::Result<bool> {
        if let Some(tls) = self.tls.get().filter(|tls| tls.is_ready()) {
            return Ok(tls.has_ended());
        }
        let mut byte = [MaybeUninit::uninit()];
        match self.stream.try_io(Interest::READABLE, || {
            SockRef::from(&self.stream).peek(&mut byte)
        }) {
            Ok(length) => Ok(length == 0),
            Err(error) if is_transient(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing is there to be read, and the peer has not closed its sending half; of bytes that are encrypted nothing is known.
    pub fn is_silent(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = self.stream.try_io(Interest::READABLE, || {
            SockRef::from(&self.stream).peek(&mut byte)
        });
        peeked.is_err_and(|error| is_transient(&error))
    }

    /// Writes everything. Dropped before its end, [`Self::written_bytes`] tells how much was written.
    ///
    /// # Errors
    /// Those of `send`; `WriteZero` if the socket takes nothing.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        if rest.is_empty() {
            return Ok(());
        }
        let mut written = self.write_now(rest);
        loop {
            match written {
                Ok(len) => {
                    rest = rest.get(len..).unwrap_or_default();
                    if rest.is_empty() {
                        return Ok(());
                    }
                    if len == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
            self.stream.writable().await?;
            written = self.try_write(rest);
        }
    }

    /// Writes what there is room for, together with others of this thread where it is short. Awaited, it gives the rest, to be written next.
    pub fn post<'a>(&'a self, outbox: &'a Outbox, bytes: &[u8]) -> Post<'a> {
        Post::new(self, outbox, bytes)
    }

    /// A post was written.
    pub(super) fn posted(&self, written: io::Result<usize>) {
        let _ = self.count_written(written);
    }

    /// Waits for bytes and appends up to [`READ_CHUNK`] of them to `buf`; 0 is the end of the stream. Dropped before its end,
    /// it has read nothing.
    ///
    /// # Errors
    /// Those of `recv`.
    pub async fn fill(&self, buf: &mut BytesMut) -> io::Result<usize> {
        loop {
            self.readable().await?;
            // Read first and then appended, so that `buf` holds no more memory than bytes: parts of it live as long as a session.
            let mut chunk = [0; READ_CHUNK];
            match self.try_read(&mut chunk) {
                Err(error) if is_transient(&error) => {}
                Ok(length) => {
                    buf.extend_from_slice(chunk.get(..length).unwrap_or_default());
                    return Ok(length);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes its last bytes and ends the stream towards the peer, both in one segment where it can: the peer is woken once.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room for all of it, or those of `send` and `shutdown`.
    pub fn finish(&self, bytes: &[u8]) -> io::Result<()> {
        let written = match self.tls.get() {
            None => self.count_written(self.send(bytes, SendFlags::MORE)),
            Some(tls) => self.write_tls(tls, bytes, true),
        };
        let ended = self.shutdown_write();
        if written? < bytes.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        ended
    }

    /// Ends the stream towards the peer; reading goes on.
    ///
    /// # Errors
    /// Those of `shutdown`.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.say_goodbye();
        SockRef::from(&self.stream).shutdown(Shutdown::Write)
    }

    /// Tells a peer with TLS that nothing follows.
    fn say_goodbye(&self) {
        if let Some(tls) = self.tls.get() {
            tls.say_goodbye(self.socket(true));
        }
    }

    fn count_read(&self, read: io::Result<usize>) -> io::Result<usize> {
        calls::note_read(&read);
        count(&self.counts.read, read)
    }

    fn count_written(&self, written: io::Result<usize>) -> io::Result<usize> {
        calls::note_written(&written);
        count(&self.counts.written, written)
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

impl AsRawFd for Leg {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl AsFd for Leg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Adds a call's bytes to a counter that only one task writes.
fn count(counter: &AtomicU64, result: io::Result<usize>) -> io::Result<usize> {
    if let Ok(len) = result {
        counter.store(
            counter.load(Ordering::Relaxed).saturating_add(len as u64),
            Ordering::Relaxed,
        );
    }
    result
}

/// Whether to wait and try again. A socket in a sock map can say so after a wake-up (sockmap.md).
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::net::pair;

    #[tokio::test]
    async fn every_byte_is_counted_whichever_way_it_went() {
        let (near, far) = pair().await;
        assert_eq!(near.peer_addr(), far.local_addr());
        let big = vec![7; 4 << 20];
        let reader = async {
            let mut buf = BytesMut::new();
            while buf.len() < big.len() {
                assert!(far.fill(&mut buf).await.unwrap() <= READ_CHUNK);
            }
            buf.len()
        };
        let (written, read) = tokio::join!(near.write_all(&big), reader);
        written.unwrap();
        assert_eq!(
            (near.written_bytes(), far.read_bytes()),
            (big.len() as u64, read as u64)
        );

        near.writable().await.unwrap();
        assert_eq!(near.try_write(b"abc").unwrap(), 3);
        far.readable().await.unwrap();
        let mut buf = [0; 2];
        assert_eq!(far.try_read(&mut buf).unwrap(), 2);
        assert_eq!(far.read_now(&mut buf).unwrap(), 1);
        assert_eq!(
            far.read_now(&mut buf).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(
            (near.written_bytes(), far.read_bytes()),
            (big.len() as u64 + 3, read as u64 + 3)
        );
    }

    #[tokio::test]
    async fn an_end_is_seen_behind_bytes_and_a_reset_as_one() {
        let (near, far) = pair().await;
        near.write_all(b"last").await.unwrap();
        assert!(
            timeout(LOOK_AGAIN / 2, far.read_closed()).await.is_err(),
            "closed too early"
        );
        near.shutdown_write().unwrap();
        far.read_closed().await.unwrap();
        let mut buf = BytesMut::new();
        assert_eq!(far.fill(&mut buf).await.unwrap(), 4);

        let (near, far) = pair().await;
        SockRef::from(&near.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(near);
        let error = far.read_closed().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_peer_that_vanishes_is_asked_for() {
        let (near, _far) = pair().await;
        let options = || {
            let socket = SockRef::from(&near.stream);
            assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
            (
                socket.tcp_keepalive_time().unwrap().as_secs(),
                socket.tcp_keepalive_interval().unwrap().as_secs(),
                socket.tcp_keepalive_retries().unwrap(),
            )
        };
        assert_eq!(options(), (60, 10, 3));
        near.keep_alive(Duration::from_secs(20)).unwrap();
        assert_eq!(options(), (20, 3, 3));
        near.keep_alive(Duration::from_millis(1)).unwrap();
        assert_eq!(options(), (1, 1, 3));
    }

    #[tokio::test]
    async fn the_last_bytes_and_the_end_are_one() {
        let (near, far) = pair().await;
        near.finish(b"quit").unwrap();
        assert_eq!(near.written_bytes(), 4);
        let mut buf = BytesMut::new();
        assert_eq!(far.fill(&mut buf).await.unwrap(), 4);
        assert_eq!(far.fill(&mut buf).await.unwrap(), 0);
        assert_eq!(buf, b"quit"[..]);
    }

    #[tokio::test]
    async fn a_read_that_empties_the_socket_is_not_followed_by_one_that_finds_nothing() {
        let (near, far) = pair().await;
        near.write_all(b"first").await.unwrap();
        far.readable().await.unwrap();
        let mut buf = [0; 64];
        assert_eq!(far.try_read(&mut buf).unwrap(), 5);
        let wait = timeout(LOOK_AGAIN / 2, far.readable());
        assert!(wait.await.is_err(), "readable with nothing to read");
        // What comes later is seen, and so is the end.
        near.write_all(b"second").await.unwrap();
        far.readable().await.unwrap();
        assert_eq!(far.try_read(&mut buf).unwrap(), 6);
        near.finish(b"last").unwrap();
        let mut rest = BytesMut::new();
        while far.fill(&mut rest).await.unwrap() > 0 {}
        assert_eq!(rest, b"last"[..]);
    }

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other() {
        let (near, far) = pair().await;
        near.shutdown_write().unwrap();
        let mut buf = BytesMut::new();
        assert_eq!(far.fill(&mut buf).await.unwrap(), 0);
        far.write_all(b"late").await.unwrap();
        assert_eq!(near.fill(&mut buf).await.unwrap(), 4);
    }
}
