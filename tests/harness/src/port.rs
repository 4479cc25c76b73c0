//! Ports of a test's own choice.

use socket2::{Domain, Socket, Type};
use std::{io, net::SocketAddr};

/// A TCP socket at this address, in the caller's network. Several may have the same one; who holds one that is not connected keeps its port from whoever takes
/// any that is free.
///
/// # Errors
///
/// Those of `socket` and `bind`.
pub fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
