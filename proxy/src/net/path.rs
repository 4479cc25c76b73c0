//! The paths that connections take: whether an address is this host's own, and how much a segment may carry.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use rustix::net::sockopt;
use socket2::SockRef;

use super::facts::Facts;

/// What `TCP_MAXSEG` takes: `TCP_MIN_MSS` to `MAX_TCP_WINDOW` of `net/tcp.h`.
const SEGMENTS: std::ops::RangeInclusive<u32> = 88..=32_767;
/// Bytes of the headers of IP and TCP without options.
const IPV4_HEADERS: u32 = 40;
const IPV6_HEADERS: u32 = 60;

/// Whether an address is this host's: only those can be bound to.
pub fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// Payload bytes of a TCP segment, without options, that the path to an address is known to carry now.
///
/// # Errors
/// Where there is no route.
pub fn segment_to(ip: IpAddr) -> io::Result<u32> {
    let ip = ip.to_canonical();
    let socket = towards(ip)?;
    let (mtu, headers) = match ip {
        IpAddr::V4(_) => (sockopt::ip_mtu(&socket)?, IPV4_HEADERS),
        IpAddr::V6(_) => (sockopt::ipv6_mtu(&socket)?, IPV6_HEADERS),
    };
    Ok(mtu.saturating_sub(headers))
}

/// This host's address on the way to another: that of the interface by which the way leads, as a rule.
///
/// # Errors
/// Where there is no route.
pub fn source_to(ip: IpAddr) -> io::Result<IpAddr> {
    Ok(towards(ip.to_canonical())?.local_addr()?.ip())
}

/// A socket that sends nothing: the kernel has looked up the way.
fn towards(ip: IpAddr) -> io::Result<UdpSocket> {
    let any = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    // The port means nothing: a datagram socket that connects sends nothing.
    socket.connect(SocketAddr::new(ip, 9))?;
    Ok(socket)
}

/// What clients' segments may carry at most so that each of these nodes' paths carries them too. Clients on this host send up to
/// 64 kB at once otherwise. `None`: all nodes are on this host, or there is no route to any other.
pub fn segment_to_all(nodes: impl IntoIterator<Item = IpAddr>) -> Option<u32> {
    let remote = nodes.into_iter().filter(|ip| !is_local(*ip));
    remote.filter_map(|ip| segment_to(ip).ok()).min()
}

/// What a node's segments may carry so that the path to a client, or to whoever this connection leads, carries them too. `None` where that is
/// more than a node is to be told.
pub fn segment_of(client: &Facts) -> Option<u32> {
    let bytes = client.sent_segment;
    SEGMENTS.contains(&bytes).then_some(bytes)
}

/// Has the peers of a socket (of a listener: of those that connect from now on) send no more than this in one segment, and sends no more itself. To be
/// said before it connects. More than 32,767 bytes is no limit, as is `None`.
///
/// # Errors
/// Those of `setsockopt`.
pub fn limit_segments(socket: &impl AsFd, bytes: Option<u32>) -> io::Result<()> {
    let bytes = bytes.map_or(0, |bytes| bytes.max(*SEGMENTS.start()));
    // 0 takes a limit back.
    let bytes = if SEGMENTS.contains(&bytes) { bytes } else { 0 };
    SockRef::from(socket).set_tcp_mss(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::listen;

    /// What each end of a connection to this listener may send, without options.
    fn agreed(listener: &TcpListener) -> (u32, u32) {
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (far, _) = listener.accept().unwrap();
        let segment = |stream: &TcpStream| {
            let facts = Facts::of(stream).unwrap();
            // Timestamps take 12 bytes.
            facts.sent_segment + if facts.timestamps { 12 } else { 0 }
        };
        (segment(&near), segment(&far))
    }

    #[test]
    fn only_addresses_of_this_host_are_local() {
        assert!(is_local(Ipv4Addr::LOCALHOST.into()));
        // TEST-NET-3 (RFC 5737) is nobody's.
        assert!(!is_local(Ipv4Addr::new(203, 0, 113, 1).into()));
    }

    #[test]
    fn loopback_carries_64_kilobytes_of_either_family() {
        assert!(segment_to(Ipv4Addr::LOCALHOST.into()).unwrap() >= 65_000);
        assert!(segment_to(Ipv6Addr::LOCALHOST.into()).unwrap() >= 65_000);
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let four = segment_to(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(segment_to(mapped.into()).unwrap(), four);
    }

    #[test]
    fn nodes_of_this_host_set_no_limit() {
        assert_eq!(segment_to_all([Ipv4Addr::LOCALHOST.into()]), None);
        assert_eq!(segment_to_all([]), None);
    }

    #[test]
    fn those_who_connect_are_told_the_listeners_limit() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listen(address.parse().unwrap(), false).unwrap();
            let (near, _) = agreed(&listener);
            assert!(near > 30_000, "{near}");
            limit_segments(&listener, Some(1_460)).unwrap();
            assert_eq!(agreed(&listener), (1_460, 1_460));
            for none in [None, Some(65_495)] {
                limit_segments(&listener, Some(1_000)).unwrap();
                limit_segments(&listener, none).unwrap();
                assert_eq!(agreed(&listener).0, near);
            }
            limit_segments(&listener, Some(1)).unwrap();
            assert_eq!(agreed(&listener).0, 88);
        }
    }
}
