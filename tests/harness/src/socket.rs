//! What a program may ask of a socket besides reads and writes: poll(2), epoll(7), flags of recv(2), a low-water mark.

use anyhow::{Context as _, Result};
use std::{
    io,
    net::TcpStream,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// The events that poll(2) reports of the socket now, of those that a program can ask for (`POLLIN`, `POLLOUT`, `POLLRDHUP`) and those that come
/// unasked (`POLLERR`, `POLLHUP`).
///
/// # Errors
///
/// When poll(2) fails.
pub fn events(stream: &TcpStream) -> Result<libc::c_short> {
    let mut asked = libc::pollfd {
        fd: stream.as_raw_fd(),
        events: libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP,
        revents: 0,
    };
    #[expect(unsafe_code, reason = "poll(2) has no safe wrapper in std")]
    // SAFETY: one entry, which lives through the call.
    let code = unsafe { libc::poll(&raw mut asked, 1, 0) };
    if code < 0 {
        return Err(io::Error::last_os_error()).context("poll");
    }
    Ok(asked.revents)
}

/// recv(2) with these flags: how many bytes, or the error.
///
/// # Errors
///
/// Those of recv(2).
pub fn receive(stream: &TcpStream, buffer: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    #[expect(unsafe_code, reason = "recv(2) with flags has no safe wrapper in std")]
    // SAFETY: the kernel writes at most the buffer's length.
    let count = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags,
        )
    };
    usize::try_from(count).map_err(|_negative| io::Error::last_os_error())
}

/// Sets `SO_RCVLOWAT`: from how many bytes on the socket counts as readable.
///
/// # Errors
///
/// When the kernel refuses.
pub fn set_low_water(stream: &TcpStream, bytes: libc::c_int) -> Result<()> {
    #[expect(unsafe_code, reason = "SO_RCVLOWAT has no safe wrapper in std")]
    // SAFETY: the kernel reads one int, which `bytes` is.
    let code = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            libc::socklen_t::try_from(size_of_val(&bytes))?,
        )
    };
    if code != 0 {
        return Err(io::Error::last_os_error()).context("SO_RCVLOWAT");
    }
    Ok(())
}

/// An epoll(7) descriptor that tells once of each arrival at a socket (`EPOLLET`).
#[derive(Debug)]
pub struct Arrivals {
    epoll: OwnedFd,
}

impl Arrivals {
    /// Watches a socket.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn of(stream: &TcpStream) -> Result<Self> {
        let mut interest = libc::epoll_event {
            events: u32::try_from(libc::EPOLLIN)? | libc::EPOLLET.cast_unsigned(),
            u64: 0,
        };
        #[expect(unsafe_code, reason = "epoll(7) has no safe wrapper in std")]
        // SAFETY: the first call makes a descriptor that nobody else has; the second reads one event, which lives through it.
        let (epoll, code) = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error()).context("epoll_create1");
            }
            let code = libc::epoll_ctl(
                fd,
                libc::EPOLL_CTL_ADD,
                stream.as_raw_fd(),
                &raw mut interest,
            );
            (OwnedFd::from_raw_fd(fd), code)
        };
        if code != 0 {
            return Err(io::Error::last_os_error()).context("epoll_ctl");
        }
        Ok(Self { epoll })
    }

    /// Whether something has come since the last look.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn any(&self) -> Result<bool> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        #[expect(unsafe_code, reason = "epoll(7) has no safe wrapper in std")]
        // SAFETY: the kernel writes one event at most, for which there is room.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &raw mut event, 1, 0) };
        if count < 0 {
            return Err(io::Error::last_os_error()).context("epoll_wait");
        }
        Ok(count > 0)
    }
}
