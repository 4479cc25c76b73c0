//! Connections that are ended in order though their peers have yet to read. A socket that is closed belongs to the kernel alone; this one stays the daemon's, so that it ends at
//! once with a daemon that is killed.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::ioctl::{Getter, Opcode, ioctl};
use socket2::SockRef;

/// The terminals' number is the sockets' too.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a number of 16 bits, whatever its type in libc"
)]
const SIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;

/// Dropped before it is done, it resets the connection.
#[derive(Debug)]
pub struct Parting(OwnedFd);

impl Parting {
    /// Ends a connection's stream towards the peer. None: the peer has acknowledged everything, and the socket may simply be closed.
    ///
    /// # Errors
    /// Those of `ioctl`, `dup`, `setsockopt` and `shutdown`.
    pub fn begin(socket: impl AsFd) -> io::Result<Option<Self>> {
        if unacknowledged(&socket)? == 0 {
            return Ok(None);
        }
        let socket = socket.as_fd().try_clone_to_owned()?;
        let options = SockRef::from(&socket);
        options.set_linger(Some(Duration::ZERO))?;
        options.shutdown(Shutdown::Write)?;
        Ok(Some(Self(socket)))
    }

    /// Whether the peer has acknowledged everything, the end too, or there is no connection any more.
    pub fn is_done(&self) -> bool {
        unacknowledged(&self.0).map_or(true, |bytes| bytes == 0)
    }

    /// Closes the socket in order.
    pub fn close(self) {
        // What fails has failed for a connection that is gone.
        let _ = SockRef::from(&self.0).set_linger(None);
    }
}

/// Bytes that the peer has not acknowledged, the end counted as one (`SIOCOUTQ`, tcp(7)).
#[expect(unsafe_code, reason = "std has no SIOCOUTQ")]
fn unacknowledged(socket: impl AsFd) -> io::Result<i32> {
    // SAFETY: this call writes an `int`.
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, i32>::new()) };
    Ok(bytes?)
}
