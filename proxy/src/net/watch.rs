//! What others may know of a leg, and do about it.

use std::{
    io,
    net::SocketAddr,
    os::fd::{BorrowedFd, RawFd},
    sync::{
        Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::facts::{Delivery, Facts};

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) read: AtomicU64,
    pub(super) written: AtomicU64,
    /// `written` when the peer was last seen to have all of it.
    arrived: AtomicU64,
    /// When something was first seen not to have been acknowledged since, in milliseconds of the leg's age; 0: never.
    waits_since_ms: AtomicU64,
}

/// What others may know of a leg, as long as it is open.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The socket's file descriptor.
    pub fd: RawFd,
    /// The other end's address.
    pub peer: SocketAddr,
    /// This end's address.
    pub local: SocketAddr,
    /// When the connection was taken over.
    pub opened: Instant,
    pub(super) counts: Weak<Counts>,
}

impl Watch {
    /// Bytes read and written so far; none once the leg is closed.
    pub fn moved(&self) -> Option<(u64, u64)> {
        let counts = self.counts.upgrade()?;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some((load(&counts.read), load(&counts.written)))
    }

    /// How long the peer has been seen to acknowledge nothing of what it has yet to; `None` where that is nothing. Looked at again and again: it counts from the
    /// first look on that found something. For the thread that the leg belongs to: nobody closes the socket meanwhile.
    pub fn unacknowledged_for(&self, now: Instant) -> Option<Duration> {
        let counts = self.counts.upgrade()?;
        let written = counts.written.load(Ordering::Relaxed);
        if counts.arrived.load(Ordering::Relaxed) == written {
            return None;
        }
        let delivery = Facts::delivery(&self.fd).unwrap_or(Delivery::Complete);
        let Delivery::Unacknowledged(silence) = delivery else {
            if delivery == Delivery::Complete {
                counts.arrived.store(written, Ordering::Relaxed);
            }
            counts.waits_since_ms.store(0, Ordering::Relaxed);
            return None;
        };
        // The last word may have come long before this was sent.
        let age = now.saturating_duration_since(self.opened);
        let since_ms = counts.waits_since_ms.load(Ordering::Relaxed);
        let seen = age.saturating_sub(Duration::from_millis(since_ms));
        if since_ms > 0 && seen <= silence {
            return Some(seen);
        }
        let now_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1);
        counts.waits_since_ms.store(now_ms, Ordering::Relaxed);
        Some(Duration::ZERO)
    }

    /// Has the connection end as if the peer had reset it, which it cannot any more. For the thread that the leg belongs to.
    ///
    /// # Errors
    /// Those of `connect`.
    #[expect(
        unsafe_code,
        reason = "the leg is another's, which is known to have it open"
    )]
    pub fn give_up(&self) -> io::Result<()> {
        if self.counts.strong_count() == 0 {
            return Ok(());
        }
        // SAFETY: the leg is open, as its counts are there, and closes in no other thread than this one.
        let socket = unsafe { BorrowedFd::borrow_raw(self.fd) };
        Ok(rustix::net::connect_unspec(socket)?)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
        sync::Arc,
    };

    use super::*;

    #[test]
    fn what_has_not_been_sent_has_not_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, peer) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut written = 0;
        let block = vec![0; 65_536];
        while let Ok(bytes) = near.write(&block) {
            written += bytes;
        }
        let counts = Arc::new(Counts::default());
        counts.written.store(written as u64, Ordering::Relaxed);
        let watch = Watch {
            fd: near.as_raw_fd(),
            peer,
            local: near.local_addr().unwrap(),
            opened: Instant::now(),
            counts: Arc::downgrade(&counts),
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        let look_when = |wanted| {
            while Facts::delivery(&near).unwrap() != wanted {
                assert!(Instant::now() < deadline, "not yet {wanted:?}");
                std::thread::yield_now();
            }
            watch.unacknowledged_for(Instant::now())
        };
        look_when(Delivery::Unsent);
        assert_eq!(counts.arrived.load(Ordering::Relaxed), 0);
        far.read_exact(&mut vec![0; written]).unwrap();
        assert_eq!(look_when(Delivery::Complete), None);
        assert_eq!(counts.arrived.load(Ordering::Relaxed), written as u64);
    }
}
