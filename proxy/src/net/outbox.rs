//! What the sessions of one thread write goes to the kernel together: one system call (`io_uring`) for all of it.
//!
//! A write wakes the thread of a peer. Where there is more to do than there are cores, that thread takes the writer's place as soon as the
//! call returns, so writes that are made one by one cost a switch of threads each, and writes that are made together one for all. Where
//! the kernel lets us have no `io_uring`, every write is made at once.

use std::{
    cell::RefCell,
    fmt, io,
    os::fd::{AsRawFd as _, RawFd},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use io_uring::{IoUring, opcode, register::Restriction, types::Fd};

use super::{Leg, is_transient};

/// The longest message that waits for others, in bytes: a longer one is worth a call of its own.
const MESSAGE_BYTES: usize = 4 * 1024;
/// How many messages wait at most. tokio's `LocalSet` runs 61 tasks in a round.
const MESSAGES: u32 = 64;
/// How many bytes wait at most.
const WAITING_BYTES: usize = 64 * 1024;
/// How often the kernel is asked again when it has no room for a call.
const TRIES: u32 = 100;

/// The writes of one thread that are to be made together.
#[derive(Debug, Default)]
pub struct Outbox(RefCell<Batch>);

#[derive(Default)]
struct Batch {
    /// None where every write is made at once.
    ring: Option<IoUring>,
    /// What waits. It is neither moved nor changed while the kernel may read it.
    bytes: Vec<u8>,
    /// By place.
    messages: Vec<Message>,
    /// Places that are free.
    free: Vec<usize>,
    /// Places of those that wait, in the order of their writes.
    waiting: Vec<usize>,
}

enum Message {
    Free,
    Waiting {
        fd: RawFd,
        /// Where it lies in [`Batch::bytes`].
        at: usize,
        length: usize,
        waker: Option<Waker>,
    },
    /// What there was no room for.
    Written(io::Result<BytesMut>),
}

impl Outbox {
    /// With a ring of its own, for the thread that calls.
    ///
    /// # Errors
    /// The kernel has no `io_uring` that can be restricted (5.10), or not for us. [`Outbox::default`] makes every write at once.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder().setup_r_disabled().build(MESSAGES)?;
        // It is good for nothing else, whoever gets at it.
        let only_send = &mut [Restriction::sqe_op(opcode::Send::CODE)];
        ring.submitter().register_restrictions(only_send)?;
        ring.submitter().register_enable_rings()?;
        let places = 0..MESSAGES as usize;
        Ok(Self(RefCell::new(Batch {
            ring: Some(ring),
            bytes: Vec::with_capacity(WAITING_BYTES),
            messages: places.clone().map(|_place| Message::Free).collect(),
            free: places.collect(),
            waiting: Vec::with_capacity(MESSAGES as usize),
        })))
    }

    /// Whether nothing is there: no message that waits, and none of which its task has yet to hear.
    pub fn is_empty(&self) -> bool {
        let batch = self.0.borrow();
        batch.free.len() == batch.messages.len()
    }

    /// Makes the writes that wait, and wakes their tasks.
    pub fn flush(&self) {
        self.0.borrow_mut().flush();
    }

    /// Has the bytes written with the next flush; returns the message's place. None where they are to be written at once.
    fn enter(&self, leg: &Leg, bytes: &[u8]) -> Option<usize> {
        let batch = &mut *self.0.borrow_mut();
        batch.ring.as_ref()?;
        let at = batch.bytes.len();
        if bytes.len() > MESSAGE_BYTES || at + bytes.len() > WAITING_BYTES {
            return None;
        }
        let place = batch.free.pop()?;
        batch.bytes.extend_from_slice(bytes);
        batch.waiting.push(place);
        *batch.messages.get_mut(place)? = Message::Waiting {
            fd: leg.as_raw_fd(),
            at,
            length: bytes.len(),
            waker: None,
        };
        Some(place)
    }

    /// What has become of a message, once that is known.
    fn poll(&self, place: usize, context: &Context<'_>) -> Poll<io::Result<BytesMut>> {
        let mut batch = self.0.borrow_mut();
        if let Some(Message::Waiting { waker, .. }) = batch.messages.get_mut(place) {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(batch.leave(place).unwrap_or_else(|| Ok(BytesMut::new())))
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} waiting", self.waiting.len())
    }
}

impl Batch {
    /// Takes a message out; returns what has become of it if it was written.
    fn leave(&mut self, place: usize) -> Option<io::Result<BytesMut>> {
        let message = std::mem::replace(self.messages.get_mut(place)?, Message::Free);
        self.free.push(place);
        match message {
            Message::Written(outcome) => Some(outcome),
            Message::Waiting { .. } => {
                self.waiting.retain(|waiting| *waiting != place);
                None
            }
            Message::Free => None,
        }
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if let Err(error) = self.write() {
            tracing::warn!(%error, "io_uring is given up: writes are made one by one");
            // What the kernel may still read stays where it is for ever.
            std::mem::forget(self.ring.take());
            std::mem::forget(std::mem::take(&mut self.bytes));
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            for place in std::mem::take(&mut self.waiting) {
                self.written(place, -code);
            }
        }
        self.waiting.clear();
        self.bytes.clear();
    }

    /// Hands all that waits to the kernel, and learns what has become of each. None of it waits for room: each is over when the call returns.
    fn write(&mut self) -> io::Result<()> {
        let mut ring = self.ring.take().ok_or(io::ErrorKind::Unsupported)?;
        let written = self.write_by(&mut ring);
        self.ring = Some(ring);
        written
    }

    fn write_by(&mut self, ring: &mut IoUring) -> io::Result<()> {
        let mut left = 0;
        for place in &self.waiting {
            if let Some(Message::Waiting { fd, at, length, .. }) = self.messages.get(*place) {
                let bytes = self.bytes.get(*at..at + length).unwrap_or_default();
                push(ring, *fd, bytes, *place)?;
                left += 1;
            }
        }
        let mut tries = 0;
        while left > 0 {
            if let Err(error) = ring.submit_and_wait(left) {
                tries += 1;
                if tries == TRIES {
                    return Err(error);
                }
            }
            for entry in ring.completion() {
                left = left.saturating_sub(1);
                let place = usize::try_from(entry.user_data()).unwrap_or(usize::MAX);
                self.written(place, entry.result());
            }
        }
        Ok(())
    }

    /// The kernel has said what became of a message: the bytes that it took, or its error's number below zero.
    fn written(&mut self, place: usize, result: i32) {
        let Some(message) = self.messages.get_mut(place) else {
            return;
        };
        let Message::Waiting {
            at, length, waker, ..
        } = message
        else {
            return;
        };
        let waker = waker.take();
        let bytes = self.bytes.get(*at..*at + *length).unwrap_or_default();
        let outcome = match usize::try_from(result) {
            Ok(taken) => Ok(BytesMut::from(bytes.get(taken..).unwrap_or_default())),
            Err(_negative) => Err(io::Error::from_raw_os_error(-result)),
        };
        *message = Message::Written(match outcome {
            Err(error) if is_transient(&error) => Ok(BytesMut::from(bytes)),
            outcome => outcome,
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Puts one write among those that the next call makes.
#[expect(
    unsafe_code,
    reason = "io_uring reads memory behind the compiler's back"
)]
fn push(ring: &mut IoUring, fd: RawFd, bytes: &[u8], place: usize) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let send = opcode::Send::new(Fd(fd), bytes.as_ptr(), length)
        .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
        .build()
        .user_data(place as u64);
    // SAFETY: the bytes are `Batch::bytes`, which stay as they are until the kernel has said what became of this, or for ever. The socket is
    // open: a message that waits is taken out before its leg is dropped.
    unsafe { ring.submission().push(&send) }.map_err(|_full| io::ErrorKind::StorageFull.into())
}

/// A write, to be awaited; dropped before the next flush, it is not made. Its outcome is what there was no room for, to be written next.
#[must_use = "it is made only if it is awaited"]
pub struct Post<'a> {
    leg: &'a Leg,
    outbox: &'a Outbox,
    state: State,
}

enum State {
    Made(io::Result<BytesMut>),
    /// At this place, so many bytes.
    Posted(usize, usize),
    Over,
}

impl<'a> Post<'a> {
    /// Leaves bytes in the outbox, or has them written at once where it takes none.
    pub(super) fn new(leg: &'a Leg, outbox: &'a Outbox, bytes: &[u8]) -> Self {
        let place = (!leg.is_tls()).then(|| outbox.enter(leg, bytes)).flatten();
        let state = match place {
            Some(place) => State::Posted(place, bytes.len()),
            None => State::Made(match leg.write_now(bytes) {
                Ok(written) => Ok(BytesMut::from(bytes.get(written..).unwrap_or_default())),
                Err(error) if is_transient(&error) => Ok(BytesMut::from(bytes)),
                Err(error) => Err(error),
            }),
        };
        Self { leg, outbox, state }
    }

    fn count(&self, length: usize, outcome: &io::Result<BytesMut>) {
        self.leg.posted(match outcome {
            Ok(rest) if rest.len() == length => Err(io::ErrorKind::WouldBlock.into()),
            Ok(rest) => Ok(length.saturating_sub(rest.len())),
            Err(error) => Err(error.kind().into()),
        });
    }
}

impl Future for Post<'_> {
    type Output = io::Result<BytesMut>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Made(outcome) => Poll::Ready(outcome),
            State::Posted(place, length) => {
                let polled = self.outbox.poll(place, context);
                match &polled {
                    Poll::Ready(outcome) => self.count(length, outcome),
                    Poll::Pending => self.state = State::Posted(place, length),
                }
                polled
            }
            State::Over => Poll::Pending,
        }
    }
}

impl Drop for Post<'_> {
    /// What was written although nobody waits for it any more is counted all the same.
    fn drop(&mut self) {
        if let State::Posted(place, length) = self.state {
            let outcome = self.outbox.0.borrow_mut().leave(place);
            if let Some(outcome) = outcome {
                self.count(length, &outcome);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::net::pair;

    /// One with a ring: these tests need `io_uring`.
    fn outbox() -> Outbox {
        Outbox::new().expect("io_uring")
    }

    /// Looks at a post once.
    async fn look(post: &mut Pin<&mut Post<'_>>) -> Option<io::Result<BytesMut>> {
        std::future::poll_fn(|context| match post.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    async fn read(leg: &Leg, length: usize) -> BytesMut {
        let mut read = BytesMut::new();
        while read.len() < length {
            assert_ne!(leg.fill(&mut read).await.unwrap(), 0);
        }
        read
    }

    #[tokio::test]
    async fn writes_are_made_together_and_counted() {
        let outbox = outbox();
        let (near, far) = pair().await;
        let (other, its_far) = pair().await;
        let mut first = pin!(near.post(&outbox, b"first"));
        let mut second = pin!(other.post(&outbox, b"second"));
        assert!(look(&mut first).await.is_none() && look(&mut second).await.is_none());
        assert_eq!((near.written_bytes(), outbox.is_empty()), (0, false));
        outbox.flush();
        assert!(look(&mut first).await.unwrap().unwrap().is_empty());
        assert!(look(&mut second).await.unwrap().unwrap().is_empty());
        assert_eq!((near.written_bytes(), other.written_bytes()), (5, 6));
        assert_eq!(read(&far, 5).await, "first");
        assert_eq!(read(&its_far, 6).await, "second");
        assert!(outbox.is_empty());
    }

    #[tokio::test]
    async fn one_that_is_dropped_is_not_made() {
        let outbox = outbox();
        let (near, far) = pair().await;
        drop(near.post(&outbox, b"dropped"));
        let mut kept = pin!(near.post(&outbox, b"kept"));
        assert!(look(&mut kept).await.is_none());
        outbox.flush();
        assert!(look(&mut kept).await.unwrap().unwrap().is_empty());
        assert_eq!(near.written_bytes(), 4);
        assert_eq!(read(&far, 4).await, "kept");
    }

    #[tokio::test]
    async fn one_that_was_made_and_is_dropped_then_is_counted() {
        let outbox = outbox();
        let (near, far) = pair().await;
        {
            let mut post = pin!(near.post(&outbox, b"made"));
            assert!(look(&mut post).await.is_none());
            outbox.flush();
        }
        assert_eq!(near.written_bytes(), 4);
        assert_eq!(read(&far, 4).await, "made");
    }

    #[tokio::test]
    async fn what_has_no_room_comes_back() {
        let outbox = outbox();
        let (near, far) = pair().await;
        let chunk = [7; MESSAGE_BYTES];
        let mut sent = 0;
        let rest = loop {
            let mut post = pin!(near.post(&outbox, &chunk));
            outbox.flush();
            let rest = look(&mut post).await.unwrap().unwrap();
            sent += chunk.len() - rest.len();
            if !rest.is_empty() {
                break rest;
            }
        };
        assert_eq!(near.written_bytes(), sent as u64);
        let reading = read(&far, sent + rest.len());
        let (written, read) = tokio::join!(near.write_all(&rest), reading);
        written.unwrap();
        assert!(read.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error_and_no_signal() {
        let outbox = outbox();
        let (near, far) = pair().await;
        far.reset_on_close(true).unwrap();
        drop(far);
        near.readable().await.unwrap();
        let mut post = pin!(near.post(&outbox, b"late"));
        assert!(look(&mut post).await.is_none());
        outbox.flush();
        let error = look(&mut post).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn more_than_it_takes_is_written_at_once() {
        let outbox = outbox();
        let (near, far) = pair().await;
        let long = vec![1; MESSAGE_BYTES + 1];
        let mut made = pin!(near.post(&outbox, &long));
        assert!(look(&mut made).await.unwrap().unwrap().is_empty());
        assert_eq!(read(&far, long.len()).await, long);
        let posts: Vec<_> = (0..MESSAGES).map(|_| near.post(&outbox, b"x")).collect();
        let mut made = pin!(near.post(&outbox, b"y"));
        assert!(look(&mut made).await.unwrap().unwrap().is_empty());
        drop(posts);
        assert!(outbox.is_empty());
        let without_ring = Outbox::default();
        let mut made = pin!(near.post(&without_ring, b"z"));
        assert!(look(&mut made).await.unwrap().unwrap().is_empty());
        assert_eq!(read(&far, 2).await, "yz");
    }
}
