//! By which interface the way to an address leads, as the kernel finds it for a socket of this host (rtnetlink).

use std::{io, net::IpAddr, os::fd::OwnedFd};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::host::{attributes, open, word};

/// Message types and attributes of `linux/rtnetlink.h`.
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
/// A route to another host (`RTN_UNICAST`).
const UNICAST: u8 = 1;
/// Bytes of a netlink message's header and of `struct rtmsg`, and where in that its type is.
const HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const TYPE_AT: usize = 7;

/// Asks the kernel for ways, in the network namespace of the thread that has made it.
#[derive(Debug)]
pub struct Ways {
    socket: OwnedFd,
}

impl Ways {
    /// Opens a socket to the kernel's routing tables.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn open() -> io::Result<Self> {
        let socket = open(0)?;
        Ok(Self { socket })
    }

    /// The interface by which packets go from an address of this host to another host's; none where it cannot be reached, or is this one. `vrf`: by the tables
    /// of the VRF with this number.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn find(&self, from: IpAddr, to: IpAddr, vrf: Option<u32>) -> io::Result<Option<u32>> {
        let request = question(from, to, vrf).ok_or(io::ErrorKind::InvalidInput)?;
        send(&self.socket, &request, SendFlags::empty())?;
        let mut buffer = [0; 1024];
        let (_, length) = recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC)?;
        let answer = buffer.get(..length).unwrap_or_default();
        let Ok(message) = NetlinkBuffer::new_checked(answer) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        // Else it says why there is none.
        let is_route = message.message_type() == RTM_NEWROUTE;
        Ok(is_route.then(|| interface(message.payload())).flatten())
    }
}

/// An `RTM_GETROUTE` message.
fn question(from: IpAddr, to: IpAddr, vrf: Option<u32>) -> Option<Vec<u8>> {
    let (family, from, to) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (libc::AF_INET, from.octets().to_vec(), to.octets().to_vec())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            (libc::AF_INET6, from.octets().to_vec(), to.octets().to_vec())
        }
        _ => return None,
    };
    let bits = u8::try_from(to.len() * 8).ok()?;
    let mut payload = vec![u8::try_from(family).ok()?, bits, bits];
    payload.resize(ROUTE_HEADER, 0);
    let vrf = vrf.map(|index| index.to_ne_bytes().to_vec());
    let told = [(RTA_DST, Some(to)), (RTA_SRC, Some(from)), (RTA_OIF, vrf)];
    for (kind, value) in told {
        // Each is a multiple of 4 bytes long, as the next one's place must be.
        let Some(value) = value else { continue };
        let length = u16::try_from(4 + value.len()).ok()?;
        payload.extend(length.to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(value);
    }
    let length = HEADER + payload.len();
    let mut request = vec![0; length];
    let mut message = NetlinkBuffer::new(&mut request);
    message.set_length(u32::try_from(length).ok()?);
    message.set_message_type(RTM_GETROUTE);
    message.set_flags(NLM_F_REQUEST);
    message.payload_mut().copy_from_slice(&payload);
    Some(request)
}

/// The interface that an `RTM_NEWROUTE` message names.
fn interface(payload: &[u8]) -> Option<u32> {
    if payload.get(TYPE_AT) != Some(&UNICAST) {
        return None;
    }
    attributes(payload.get(ROUTE_HEADER..)?)
        .find(|(kind, _)| *kind == RTA_OIF)
        .and_then(|(_, value)| word(value, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{interfaces::interfaces, test_network::network};

    #[test]
    fn cut_messages_are_nothing() {
        for length in 0..ROUTE_HEADER {
            assert_eq!(interface(&vec![1; length]), None);
        }
        let mut payload = vec![0; ROUTE_HEADER];
        payload.extend([8, 0, 4, 0, 7, 0, 0, 0]);
        assert_eq!(interface(&payload), None);
        payload[TYPE_AT] = UNICAST;
        assert_eq!(interface(&payload), Some(7));
        assert_eq!(interface(&payload[..payload.len() - 1]), None);
    }

    #[test]
    fn the_way_follows_the_routes() {
        network(|network| {
            for (number, name) in [(1, "one"), (2, "two")] {
                network.ip(&format!("link add {name} type veth peer name {name}far"));
                network.ip(&format!("address add 10.78.{number}.1/24 dev {name}"));
                network.ip(&format!(
                    "address add fd78::{number}:1/112 dev {name} nodad"
                ));
                network.ip(&format!("link set {name} up"));
                network.ip(&format!("link set {name}far up"));
            }
            let index = |name: &str| {
                let host = interfaces().unwrap();
                host.iter()
                    .find(|known| known.name == name)
                    .map(|it| it.index)
            };
            let ways = Ways::open().unwrap();
            let find = |from: &str, to: &str| {
                let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
                ways.find(from, to, None).unwrap()
            };
            assert_eq!(find("10.78.1.1", "10.78.1.2"), index("one"));
            assert_eq!(find("fd78::1:1", "fd78::1:2"), index("one"));
            network.ip("route add 10.78.1.2 dev two");
            network.ip("route add fd78::1:2 dev two");
            assert_eq!(find("10.78.1.1", "10.78.1.2"), index("two"));
            assert_eq!(find("fd78::1:1", "fd78::1:2"), index("two"));
            network.ip("route add unreachable 10.78.1.3");
            assert_eq!(find("10.78.1.1", "10.78.1.3"), None);
            assert_eq!(find("10.78.1.1", "10.78.2.1"), None, "this host");
            assert_eq!(find("10.78.9.9", "10.78.1.2"), None, "not this host's");
            // As of a VRF.
            let (from, to) = ("10.78.1.1".parse().unwrap(), "10.78.1.2".parse().unwrap());
            let by = index("one");
            assert_eq!(ways.find(from, to, by).unwrap(), by);
        });
    }
}
