//! A connection in a network of its own that has the very tuple of one of the daemon's connections.

use super::hosts::{Hosts, ip};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{memory, wait, wire};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{FromRawFd as _, OwnedFd},
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(20);

pub(super) struct Double {
    opened: TcpStream,
    accepted: TcpStream,
}

impl Double {
    /// Opens it, `from` one address and port `to` another.
    pub(super) fn open(hosts: &Hosts, from: SocketAddr, to: SocketAddr) -> Result<Self> {
        hosts.double.enter(|| {
            let listener = TcpListener::bind(to)?;
            let opened = connect(from, to)?;
            let (accepted, peer) = listener.accept()?;
            assert_eq!(peer, from);
            Ok(Self { opened, accepted })
        })?
    }

    /// Sends what a client and a node would, there and back.
    pub(super) fn talk(&mut self) -> Result<()> {
        let command = wire::frame(&wire::command::query(b"SELECT 1"), 0).0;
        let answer = vec![7; 20_000];
        pass(&mut self.opened, &mut self.accepted, &command)?;
        pass(&mut self.accepted, &mut self.opened, &answer)
    }

    /// Whether its sockets behave as any: some kernels (6.18 is one) do not count what comes over TCP to a socket of a sock map.
    pub(super) fn is_left_alone(&mut self) -> Result<()> {
        let Self { opened, accepted } = self;
        count(opened, accepted)?;
        count(accepted, opened)
    }
}

fn count(from: &mut TcpStream, to: &mut TcpStream) -> Result<()> {
    from.write_all(b"pending")?;
    wait::until_true("FIONREAD says 7", DEADLINE, || {
        Ok(memory::pending_bytes(to)? == 7)
    })?;
    Ok(to.read_exact(&mut [0; 7])?)
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    from.write_all(bytes)?;
    let mut got = vec![0; bytes.len()];
    to.set_read_timeout(Some(DEADLINE))?;
    to.read_exact(&mut got)?;
    ensure!(got == bytes, "arrived as others");
    Ok(())
}

/// The port of the one connection of this thread's network to `port` that is not established yet.
pub(super) fn port_of_unanswered(port: u16) -> Result<u16> {
    let mut found = 0;
    wait::until_true("a SYN is out", DEADLINE, || {
        let table = fs::read_to_string("/proc/thread-self/net/tcp")?;
        for line in table.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            // Address and port in hexadecimal, of here and of there; then the state, SYN_SENT.
            if let [_, here, there, "02", ..] = words.as_slice()
                && there.ends_with(&format!(":{port:04X}"))
            {
                found = u16::from_str_radix(here.rsplit(':').next().context("a port")?, 16)?;
            }
        }
        Ok(found != 0)
    })?;
    Ok(found)
}

/// Sends what the daemon's network has for the client elsewhere, or to him again.
pub(super) fn lose_answers(hosts: &Hosts, client: &str, lose: bool) -> Result<()> {
    let what = if lose {
        format!("neigh replace {client} lladdr 02:00:00:00:00:01 dev bridge nud permanent")
    } else {
        format!("neigh del {client} dev bridge")
    };
    ip(&hosts.own, &what).map(drop)
}

#[expect(unsafe_code, reason = "std cannot bind a socket and then connect it")]
fn connect(from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    let raw = |address: SocketAddr| {
        let SocketAddr::V4(address) = address else {
            anyhow::bail!("not an IPv4 address")
        };
        Ok(libc::sockaddr_in {
            sin_family: u16::try_from(libc::AF_INET)?,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from(*address.ip()).to_be(),
            },
            sin_zero: [0; 8],
        })
    };
    let (from, to) = (raw(from)?, raw(to)?);
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>())?;
    // SAFETY: the descriptor is new and nobody else's; the addresses live through the calls and have that size.
    let (socket, done) = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        ensure!(socket >= 0, "socket: {}", std::io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(socket);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let bound = libc::bind(fd, (&raw const from).cast(), size) == 0;
        (
            socket,
            bound && libc::connect(fd, (&raw const to).cast(), size) == 0,
        )
    };
    ensure!(done, "connect: {}", std::io::Error::last_os_error());
    Ok(socket.into())
}
