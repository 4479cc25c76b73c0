//! What the kernel leaves to the network card (ethtool(8)), switched on and off.

use crate::netns::Netns;
use anyhow::{Context as _, Result};
use std::{io, net::UdpSocket, os::fd::AsRawFd as _};

/// A task of the card's. The numbers are those of `linux/ethtool.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Fills in checksums. Without it, segments are also cut before the card (`ETHTOOL_STXCSUM`).
    Checksum = 0x17,
    /// Cuts large TCP segments (`ETHTOOL_STSO`).
    Segmentation = 0x1f,
    /// Joins what arrives to large segments (`ETHTOOL_SGRO`).
    Joining = 0x2c,
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches a task of an interface in `netns`.
///
/// # Errors
///
/// When there is no such interface, or it cannot be switched.
pub fn set(netns: &Netns, interface: &str, offload: Offload, is_on: bool) -> Result<()> {
    netns
        .enter(|| set_here(interface, offload, is_on))?
        .with_context(|| format!("{offload:?} of {interface}"))
}

fn set_here(interface: &str, offload: Offload, is_on: bool) -> Result<()> {
    // Any socket will do: it names the network.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut value = Value {
        command: offload as u32,
        data: is_on.into(),
    };
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::try_from(from)?;
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut value).cast(),
        },
    };
    #[expect(unsafe_code, reason = "ioctl(2) has no safe wrapper in std")]
    // SAFETY: the request and the value that it points to live as long as the call, and are what SIOCETHTOOL takes.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if code != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}
