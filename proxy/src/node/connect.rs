//! Dialling a node. Where the node is on this host, the kernel's capture is told this end's address before the first SYN.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpSocket;
use tokio::time::{Instant, timeout_at};

use crate::net::{
    Leg,
    path::{is_local, limit_segments},
};

/// How often a port is chosen anew before the socket is connected without being announced.
const ATTEMPTS: usize = 4;

/// Who must know the local address of a connection to a node on this host as long as it exists. The node's end is captured
/// when it is established, at its SYN's answer: by then the address must be known.
pub trait Announce {
    /// A socket is bound to `local` and about to connect to `node`.
    fn bound(&self, node: SocketAddr, local: SocketAddr);
    /// That socket is about to be closed. Called for sockets that never became a session's only.
    fn unbound(&self, node: SocketAddr, local: SocketAddr);
    /// Payload bytes that the node's segments may carry at most: what the path to the client carries, where they go there as they are
    /// ([`crate::net::path::segment_of`]).
    fn segment_max(&self) -> Option<u32> {
        None
    }
}

impl Announce for () {
    fn bound(&self, _node: SocketAddr, _local: SocketAddr) {}
    fn unbound(&self, _node: SocketAddr, _local: SocketAddr) {}
}

/// Why a node cannot be reached; the texts are the reasons in the client's error 2003.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The node or its host refused, or there is no way to it.
    #[error("{}", reason(.0))]
    Io(#[from] io::Error),
    /// Nothing happened in time.
    #[error("connect timed out")]
    Timeout,
}

/// A connection to a node. Dropped before [`Dialled::keep`], its address is revoked and then its socket closed.
pub struct Dialled<'a, A: Announce> {
    announced: Option<Announced<'a, A>>,
    leg: Leg,
}

impl<A: Announce> Dialled<'_, A> {
    /// The connection.
    pub const fn leg(&self) -> &Leg {
        &self.leg
    }

    /// Whether its local address was announced: the node is on this host.
    pub const fn is_announced(&self) -> bool {
        self.announced.is_some()
    }

    /// Takes the connection over, and with it the duty to revoke its address before the socket is closed.
    pub fn keep(self) -> Leg {
        if let Some(announced) = self.announced {
            announced.keep();
        }
        self.leg
    }
}

/// An announced address, revoked when dropped.
struct Announced<'a, A: Announce> {
    to: &'a A,
    node: SocketAddr,
    local: Option<SocketAddr>,
}

impl<A: Announce> Announced<'_, A> {
    fn keep(mut self) {
        self.local = None;
    }
}

impl<A: Announce> Drop for Announced<'_, A> {
    fn drop(&mut self) {
        if let Some(local) = self.local {
            self.to.unbound(self.node, local);
        }
    }
}

/// Connects to a node before `deadline`.
///
/// The socket to a node on this host is bound to the node's own address and a free port, and announced before it connects. If no
/// port can be had so (each is taken until its last connection has left `TIME_WAIT`), it is connected without: the session is
/// then relayed instead of refused.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect<A: Announce>(
    address: SocketAddr,
    deadline: Instant,
    announce: &A,
) -> Result<Dialled<'_, A>, ConnectError> {
    let address = reachable(address);
    let attempt = async {
        if is_local(address.ip()) {
            for attempt in 0..ATTEMPTS {
                match connect_bound(address, announce, attempt > 0).await {
                    Ok(dialled) => return Ok(dialled),
                    Err(error) if is_port_taken(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let socket = socket(address, announce)?;
        let leg = Leg::new(socket.connect(address).await?)?;
        Ok(Dialled {
            announced: None,
            leg,
        })
    };
    match timeout_at(deadline, attempt).await {
        Ok(connected) => Ok(connected?),
        Err(_elapsed) => Err(ConnectError::Timeout),
    }
}

/// A socket that is not connected yet.
fn socket(address: SocketAddr, announce: &impl Announce) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(bytes) = announce.segment_max() {
        limit_segments(&socket, Some(bytes))?;
    }
    Ok(socket)
}

async fn connect_bound<A: Announce>(
    address: SocketAddr,
    announce: &A,
    reuse: bool,
) -> io::Result<Dialled<'_, A>> {
    let socket = socket(address, announce)?;
    // Where no port is free, one whose last connection is in TIME_WAIT will do.
    socket.set_reuseaddr(reuse)?;
    let mut source = address;
    source.set_port(0);
    socket.bind(source)?;
    let local = socket.local_addr()?;
    announce.bound(address, local);
    // Declared before the stream exists and dropped after it on failure: the address is then stale for the moment in between,
    // in which no connection with it can be established.
    let announced = Announced {
        to: announce,
        node: address,
        local: Some(local),
    };
    let leg = Leg::new(socket.connect(address).await?)?;
    Ok(Dialled {
        announced: Some(announced),
        leg,
    })
}

/// The address that stands for "this host" where a server would listen at it, as `connect` reads it too.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

fn is_port_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

/// An error's reason in a few words, without the number that the operating system adds.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connect timed out".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Book(RefCell<Vec<SocketAddr>>);

    impl Announce for Book {
        fn bound(&self, _node: SocketAddr, local: SocketAddr) {
            self.0.borrow_mut().push(local);
        }
        fn unbound(&self, _node: SocketAddr, local: SocketAddr) {
            self.0.borrow_mut().retain(|known| *known != local);
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_local_node_is_announced_until_the_connection_goes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Book::default();
        let dialled = connect(address, soon(), &book).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(dialled.leg().local_addr(), peer);
        assert_eq!(peer.ip(), address.ip());
        assert!(dialled.is_announced());
        assert_eq!(*book.0.borrow(), [peer]);
        drop(dialled);
        assert!(book.0.borrow().is_empty());
        let kept = connect(address, soon(), &book).await.unwrap().keep();
        assert_eq!(*book.0.borrow(), [kept.local_addr()]);
    }

    #[tokio::test]
    async fn a_refused_connection_is_revoked_and_named() {
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let book = Book::default();
        let Err(error) = connect(address, soon(), &book).await else {
            panic!("somebody listens at {address}")
        };
        assert_eq!(error.to_string(), "connection refused");
        assert!(book.0.borrow().is_empty());
    }

    struct Narrow;

    impl Announce for Narrow {
        fn bound(&self, _node: SocketAddr, _local: SocketAddr) {}
        fn unbound(&self, _node: SocketAddr, _local: SocketAddr) {}
        fn segment_max(&self) -> Option<u32> {
            Some(1_380)
        }
    }

    #[tokio::test]
    async fn a_node_is_told_what_the_clients_path_carries() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _dialled = connect(address, soon(), &Narrow).await.unwrap();
        let (node, _) = listener.accept().await.unwrap();
        let facts = crate::net::facts::Facts::of(&node).unwrap();
        let options = if facts.timestamps { 12 } else { 0 };
        assert_eq!(facts.sent_segment + options, 1_380);
    }
}
