//! Tells the capture program whose sockets are whose: addresses of this host, connections of sessions.
#![expect(unsafe_code, reason = "a socket option that std does not offer")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsRawFd, BorrowedFd},
};

use aya::maps::{HashMap, Map, MapData, MapError, SkStorage};
use sluice_ebpf::record::{Binding, Connection, Listener, Role, Tuple};

use super::KernelError;

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h` (kernel 5.14 and later).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// What is there already stays (`BPF_NOEXIST` of `linux/bpf.h`).
const BPF_NOEXIST: u64 = 1;

/// The connections of one worker's sessions.
#[derive(Debug)]
pub struct Bindings {
    map: HashMap<MapData, Tuple, Connection>,
    ends: SkStorage<MapData, Connection>,
}

impl Bindings {
    pub(super) fn new(map: MapData, ends: MapData) -> Result<Self, KernelError> {
        Ok(Self {
            map: HashMap::try_from(Map::HashMap(map))
                .map_err(|error| KernelError::Map("BINDINGS", error))?,
            ends: SkStorage::try_from(Map::SkStorage(ends))
                .map_err(|error| KernelError::Map("ENDS", error))?,
        })
    }

    /// Whether this thread may use the maps.
    pub fn work(&self) -> bool {
        let nobody = Tuple::default();
        matches!(self.map.get(&nobody, 0), Ok(_) | Err(MapError::KeyNotFound))
    }

    /// Says that the connection of `client` with `listener` belongs to a session. `socket` is the listener's end of it, where the client's may be captured
    /// ([`super::Kernel::capture_clients`]): the programs demand a proof of that one.
    ///
    /// # Errors
    /// Where the map is full, or the program has not seen the connection of `socket`: it was there before the program, or it came by another address
    /// than those that were known at the start.
    pub fn accepted(
        &mut self,
        socket: Option<BorrowedFd<'_>>,
        client: SocketAddr,
        listener: SocketAddr,
        session: u64,
        slot: u32,
    ) -> Result<(), KernelError> {
        let of_socket = socket.map(|socket| self.ends.get(&socket, 0));
        let mut connection = of_socket
            .transpose()
            .map_err(|error| KernelError::Map("ENDS", error))?
            .unwrap_or_default();
        connection.binding = Binding {
            session,
            slot,
            role: Role::Client as u32,
        };
        self.map
            .insert(tuple(client, listener), connection, 0)
            .map_err(|error| KernelError::Map("BINDINGS", error))
    }

    /// Says that the connection which `socket` is about to open to a node belongs to a session. The program does the rest when it is
    /// established; [`Bindings::remove`] ends it. `role` says whether the node's end is captured if it is on this host.
    ///
    /// # Errors
    /// What the kernel says, memory mostly.
    pub fn dialling(
        &mut self,
        socket: BorrowedFd<'_>,
        session: u64,
        slot: u32,
        role: Role,
    ) -> Result<(), KernelError> {
        let connection = Connection {
            binding: Binding {
                session,
                slot,
                role: role as u32,
            },
            ..Connection::default()
        };
        self.ends
            .insert(&socket, connection, 0)
            .map_err(|error| KernelError::Map("ENDS", error))
    }

    /// Says that this socket, by which a client has come, is the daemon's own. It may be said already.
    ///
    /// # Errors
    /// What the kernel says, memory mostly.
    pub fn own(&mut self, socket: BorrowedFd<'_>) -> Result<(), KernelError> {
        match self
            .ends
            .insert(&socket, Connection::default(), BPF_NOEXIST)
        {
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::EEXIST) =>
            {
                Ok(())
            }
            said => said.map_err(|error| KernelError::Map("ENDS", error)),
        }
    }

    /// Says that this connection with a node, which is there already, belongs to a session from now on. Its app socket, if it is captured, knows its session
    /// by itself.
    ///
    /// # Errors
    /// Where the map is full.
    pub fn assign(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        binding: Binding,
    ) -> Result<(), KernelError> {
        let connection = Connection {
            binding,
            ..Connection::default()
        };
        self.map
            .insert(tuple(local, remote), connection, 0)
            .map_err(|error| KernelError::Map("BINDINGS", error))
    }

    /// Forgets a connection if it is this session's still: the tuple may be another's by now.
    pub fn remove_of(&mut self, session: u64, local: SocketAddr, remote: SocketAddr) {
        let found = self.map.get(&tuple(local, remote), 0);
        if found.is_ok_and(|connection| connection.binding.session == session) {
            self.remove(local, remote);
        }
    }

    /// Forgets the connection that its app socket sees as `local` to `remote`; nothing happens if it is not there.
    pub fn remove(&mut self, local: SocketAddr, remote: SocketAddr) {
        match self.map.remove(&tuple(local, remote)) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(error) => tracing::debug!(%error, "a connection's entry could not be removed"),
        }
    }
}

/// A connection as one of its ends sees it, in the maps' form.
pub fn tuple(local: SocketAddr, remote: SocketAddr) -> Tuple {
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
