//! Sockets: the listener that workers share and the legs of sessions.

mod calls;
pub mod facts;
mod leg;
pub mod outbox;
mod parting;
pub mod path;
pub mod tls;
mod watch;

pub use calls::{Calls, calls};
pub(crate) use leg::is_transient;
pub use leg::{Leg, READ_CHUNK};
pub use parting::Parting;
pub use watch::Watch;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::KEEPALIVE_IDLE_DEFAULT;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that wait to be accepted, per listener. The kernel cuts it to `net.core.somaxconn` (4096 since Linux 5.4).
const BACKLOG: i32 = 4096;
/// The time between such questions at most.
const KEEPALIVE_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// How many of them may stay unanswered before the connection is dead.
const KEEPALIVE_RETRIES: u32 = 3;

/// A listening socket at `address`, not blocking and ready for `tokio::net::TcpListener::from_std`.
///
/// With `reuse_port` every worker opens one of its own at the same address, and the kernel spreads connections over them; all
/// must be open before the first is accepted from, or a connection that waits at one that closes is lost. An address
/// with port 0 gets a free port: open the first listener with it, the others with the `local_addr` that came of it.
///
/// # Errors
/// Those of `socket`, `bind` and `listen`.
pub fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // A daemon that starts again must not wait for the last one's connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    // Connections that it accepts inherit them.
    set_options(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Options that every leg has: no delay (commands are small and waited for), keep-alive (a peer that vanished is found).
fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    keep_alive(socket, KEEPALIVE_IDLE_DEFAULT)
}

/// Has the kernel ask whether the peer still lives after so much silence, a second at least.
fn keep_alive(socket: &SockRef<'_>, idle: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(idle.max(SECOND))
        .with_interval(keepalive_interval(idle))
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)
}

/// The unit in which the kernel takes these times.
const SECOND: Duration = Duration::from_secs(1);

/// The time between two questions, if the first is asked after so much silence.
fn keepalive_interval(idle: Duration) -> Duration {
    (idle / 6).clamp(SECOND, KEEPALIVE_INTERVAL_MAX)
}

/// After how much silence a peer counts as gone, if the kernel asks for the first time after so much of it.
pub fn keepalive_limit(idle: Duration) -> Duration {
    idle.max(SECOND) + keepalive_interval(idle) * KEEPALIVE_RETRIES
}

#[cfg(test)]
impl Leg {
    /// A leg of any new connection.
    pub(crate) fn new(stream: tokio::net::TcpStream) -> io::Result<Self> {
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        Self::dialled(stream, local, peer)
    }
}

/// Two legs of one connection over loopback.
#[cfg(test)]
pub(crate) async fn pair() -> (Leg, Leg) {
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (Leg::new(near).unwrap(), Leg::new(far).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0)), true).unwrap();
        let address = first.local_addr().unwrap();
        let second = listen(address, true).unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
        assert!(listen(address, false).is_err());
    }

    #[tokio::test]
    async fn accepted_connections_have_their_listeners_options() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE_DEFAULT);
        let interval = socket.tcp_keepalive_interval().unwrap();
        assert_eq!(interval, KEEPALIVE_INTERVAL_MAX);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_RETRIES);
    }

    #[test]
    fn a_peer_is_asked_three_times_within_half_as_long_again() {
        for (idle, limit) in [(0, 4), (1, 4), (6, 9), (20, 29), (60, 90), (600, 630)] {
            let found = keepalive_limit(Duration::from_secs(idle)).as_secs();
            assert_eq!(found, limit, "{idle}");
        }
    }
}
