//! Tells the capture program whose sockets are whose: addresses of this host, connections of sessions.
#![expect(unsafe_code, reason = "a socket option that std does not offer")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsRawFd,
};

use aya::maps::{HashMap, Map, MapData};
use sluice_ebpf::record::{Binding, Listener, Role, Tuple};

use super::KernelError;

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h` (kernel 5.14 and later).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The connections of one worker's sessions.
#[derive(Debug)]
pub struct Bindings {
    map: HashMap<MapData, Tuple, Binding>,
}

impl Bindings {
    pub(super) fn new(data: MapData) -> Result<Self, KernelError> {
        let map = HashMap::try_from(Map::HashMap(data))
            .map_err(|error| KernelError::Map("BINDINGS", error))?;
        Ok(Self { map })
    }

    /// Says that the connection which its app socket sees as `local` to `remote` belongs to a session. For a node's connection this
    /// must be said before it is opened: the program looks when it is established, and only then.
    ///
    /// # Errors
    /// Where the map is full.
    pub fn insert(
        &mut self,
        role: Role,
        local: SocketAddr,
        remote: SocketAddr,
        session: u64,
        slot: u32,
    ) -> Result<(), KernelError> {
        let binding = Binding {
            session,
            slot,
            role: role as u32,
        };
        self.map
            .insert(tuple(local, remote), binding, 0)
            .map_err(|error| KernelError::Map("BINDINGS", error))
    }

    /// Forgets a connection; nothing happens if it is not there.
    pub fn remove(&mut self, local: SocketAddr, remote: SocketAddr) {
        match self.map.remove(&tuple(local, remote)) {
            Ok(()) | Err(aya::maps::MapError::KeyNotFound) => {}
            Err(error) => tracing::debug!(%error, "a connection's entry could not be removed"),
        }
    }
}

/// A connection as one of its ends sees it, in the maps' form.
fn tuple(local: SocketAddr, remote: SocketAddr) -> Tuple {
    Tuple {
        local_ip: words(local.ip()),
        remote_ip: words(remote.ip()),
        local_port: local.port().into(),
        remote_port: remote.port().into(),
    }
}

/// An address that the daemon listens on, in the maps' form.
pub(super) fn listener(address: SocketAddr) -> Listener {
    Listener {
        ip: words(address.ip()),
        port: address.port().into(),
    }
}

/// An address as four words in network byte order, IPv4 in its IPv4-mapped form.
fn words(ip: IpAddr) -> [u32; 4] {
    let ip = match ip {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    };
    let bits = ip.to_bits();
    [96, 64, 32, 0].map(|shift| {
        let word = bits >> shift & u128::from(u32::MAX);
        u32::try_from(word).unwrap_or_default().to_be()
    })
}

/// The cookie of the network namespace that this process is in.
pub(super) fn namespace_cookie() -> io::Result<u64> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut cookie = 0_u64;
    let mut size: libc::socklen_t = 8;
    // SAFETY: the option writes 8 bytes to `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}
