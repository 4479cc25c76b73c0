//! Dialling a node. Whoever captures the node's end is told of the socket before the first SYN.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::config::NodeAddress;
use crate::net::{Leg, path::limit_segments};

/// Who must know a connection to a node as long as it exists. If the node is on this host its end is captured when it is
/// established, at its SYN's answer: by then the connection must be known.
pub trait Announce {
    /// This socket is about to connect to a node.
    fn dialling(&self, socket: BorrowedFd<'_>);
    /// That connection, as `local` to `node`, is to be forgotten. Called for those that never became a session's only.
    fn given_up(&self, node: SocketAddr, local: SocketAddr);
    /// A login was answered by this node.
    fn answered(&self, _node: &NodeAddress) {}
    /// A login got no answer of this node.
    fn failed(&self, _node: &NodeAddress, _cause: &str) {}
    /// Payload bytes that the node's segments may carry at most: what the path to the client carries, where they go there as they are
    /// ([`crate::net::path::segment_of`]).
    fn segment_max(&self) -> Option<u32> {
        None
    }
}

impl Announce for () {
    fn dialling(&self, _socket: BorrowedFd<'_>) {}
    fn given_up(&self, _node: SocketAddr, _local: SocketAddr) {}
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

/// A connection to a node. Dropped before [`Dialled::keep`], it is forgotten and then closed.
pub struct Dialled<'a, A: Announce> {
    announced: Announced<'a, A>,
    leg: Leg,
}

impl<A: Announce> Dialled<'_, A> {
    /// The connection.
    pub const fn leg(&self) -> &Leg {
        &self.leg
    }

    /// Takes the connection over, and with it the duty to have it forgotten before the socket is closed.
    pub fn keep(self) -> Leg {
        self.announced.keep();
        self.leg
    }
}

/// An announced connection, given up when dropped.
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
            self.to.given_up(self.node, local);
        }
    }
}

/// Connects to a node before `deadline`.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect<A: Announce>(
    address: SocketAddr,
    deadline: Instant,
    announce: &A,
) -> Result<Dialled<'_, A>, ConnectError> {
    match timeout_at(deadline, dial(reachable(address), announce)).await {
        Ok(connected) => Ok(connected?),
        Err(_elapsed) => Err(ConnectError::Timeout),
    }
}

async fn dial<A: Announce>(address: SocketAddr, announce: &A) -> io::Result<Dialled<'_, A>> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if let Some(bytes) = announce.segment_max() {
        limit_segments(&socket, Some(bytes))?;
    }
    announce.dialling(socket.as_fd());
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // It may be established already. Declared before the stream, and so dropped after it: once the socket is closed nothing can be
    // established that nobody would forget. (Another connection that takes the port in between is forgotten too; its session is relayed.)
    let local = socket.local_addr()?.as_socket();
    let local = local.ok_or(io::ErrorKind::Unsupported)?;
    let announced = Announced {
        to: announce,
        node: address,
        local: Some(local),
    };
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    Ok(Dialled {
        announced,
        leg: Leg::dialled(stream, local, address)?,
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
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    use super::*;

    /// Sockets that were announced, and those given up.
    #[derive(Default)]
    struct Book {
        dialling: Cell<usize>,
        given_up: RefCell<Vec<(SocketAddr, SocketAddr)>>,
    }

    impl Announce for Book {
        fn dialling(&self, socket: BorrowedFd<'_>) {
            let socket = socket2::SockRef::from(&socket);
            assert_eq!(
                socket.peer_addr().unwrap_err().kind(),
                io::ErrorKind::NotConnected
            );
            self.dialling.set(self.dialling.get() + 1);
        }
        fn given_up(&self, node: SocketAddr, local: SocketAddr) {
            self.given_up.borrow_mut().push((node, local));
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_connection_is_announced_before_and_given_up_with_its_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Book::default();
        let dialled = connect(address, soon(), &book).await.unwrap();
        assert_eq!(book.dialling.get(), 1);
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(dialled.leg().local_addr(), peer);
        assert_eq!(*book.given_up.borrow(), []);
        drop(dialled);
        assert_eq!(*book.given_up.borrow(), [(address, peer)]);
        let kept = connect(address, soon(), &book).await.unwrap().keep();
        drop(kept);
        assert_eq!(book.given_up.borrow().len(), 1);
    }

    #[tokio::test]
    async fn a_refused_connection_is_given_up_and_named() {
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let book = Book::default();
        let Err(error) = connect(address, soon(), &book).await else {
            panic!("somebody listens at {address}")
        };
        assert_eq!(error.to_string(), "connection refused");
        assert_eq!(book.dialling.get(), 1);
    }

    struct Narrow;

    impl Announce for Narrow {
        fn dialling(&self, _socket: BorrowedFd<'_>) {}
        fn given_up(&self, _node: SocketAddr, _local: SocketAddr) {}
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

    #[tokio::test]
    async fn a_connection_that_takes_too_long_is_given_up() {
        // Its backlog is full: the second connection's handshake is never answered.
        let listener = tokio::net::TcpSocket::new_v4().unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let book = Book::default();
        let soon = Instant::now() + Duration::from_millis(50);
        let Err(error) = connect(address, soon, &book).await else {
            panic!("the backlog has room")
        };
        assert_eq!(error.to_string(), "connect timed out");
        assert!(matches!(book.given_up.borrow()[..], [(node, _)] if node == address));
    }
}
