//! Word of changes: links, addresses and routes that come, go or change.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::host;
use crate::pause::pause;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of `linux/rtnetlink.h`.
const HOST: u32 = 0x1 | 0x10 | 0x100;
/// `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV4_RULE`, `RTMGRP_IPV6_ROUTE`, and `RTNLGRP_IPV6_RULE` (19) and `RTNLGRP_NEXTHOP` (32), which have no such names.
const ROUTES: u32 = 0x40 | 0x80 | 0x400 | 1 << 18 | 1 << 31;
/// Changes come in bursts (a container is a dozen): what follows within this time is the same one.
const SETTLE: Duration = Duration::from_millis(50);

/// A subscription. What changes after it was made is told, so make it before you look.
#[derive(Debug)]
pub struct Changes {
    socket: OwnedFd,
}

impl Changes {
    /// Subscribes, in the network namespace of this thread.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn subscribe() -> io::Result<Self> {
        let socket = host::open(HOST | ROUTES)?;
        Ok(Self { socket })
    }

    /// To be waited for on a runtime.
    ///
    /// # Errors
    /// Where descriptors run out.
    #[expect(
        unsafe_code,
        reason = "tokio asks for an oath on the descriptor that it watches"
    )]
    pub fn watch(&self) -> io::Result<Watch> {
        let socket = self.socket.try_clone()?;
        // SAFETY: the value that is handed over owns the descriptor, which is open and never replaced.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Watch { socket })
    }
}

/// A subscription on a runtime.
#[derive(Debug)]
pub struct Watch {
    socket: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Waits until something has changed and the burst is over. What it was must be looked up: messages may be lost where too many come.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn changed(&self) -> io::Result<()> {
        self.told().await?;
        pause(SETTLE).await;
        drain(self.socket.get_ref()).map(|_told| ())
    }

    /// Waits for a message.
    async fn told(&self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            if drain(self.socket.get_ref())? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}

/// Reads what is there; whether anything was.
fn drain(socket: &OwnedFd) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let mut was_told = false;
    loop {
        match recv(socket, &mut buffer[..], RecvFlags::TRUNC) {
            // Messages were lost, so something has changed.
            Ok(_) | Err(Errno::NOBUFS) => was_told = true,
            Err(Errno::AGAIN) => return Ok(was_told),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
