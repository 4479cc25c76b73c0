//! The interfaces of this network namespace as the kernel lists them (rtnetlink): one dump of the links, one of the addresses.

use std::{io, net::IpAddr, os::fd::OwnedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NlasIterator};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink,
    recv, send, socket_with,
};

/// Message types and attributes of `linux/rtnetlink.h`, `linux/if_link.h` and `linux/if_addr.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `NLMSG_ERROR` and `NLMSG_DONE` of `linux/netlink.h`: both begin with an error number.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Bytes of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// Bytes of a netlink message's header.
const HEADER: usize = 16;
/// The kernel fills up to 32 kB with one read of a dump (`netlink_dump`).
const READ: usize = 32 * 1024;

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Interface {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name; it may change.
    pub name: String,
    /// It is administratively up.
    pub is_up: bool,
    /// What its packets begin with: an `ARPHRD_` number of `linux/if_arp.h`.
    pub link_layer: u16,
    /// The driver of a virtual one: `bridge`, `veth`, `macvlan`, …
    pub kind: Option<String>,
    /// The interface of this namespace that it stands on, where it does.
    pub lower: Option<u32>,
    /// The bridge, bond or VRF that it is part of.
    pub master: Option<u32>,
    /// This host's addresses on it.
    pub addresses: Vec<IpAddr>,
}

/// All of them.
///
/// # Errors
/// Those of the socket; `InvalidData` where the kernel's answer cannot be read.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let socket = open(0)?;
    let mut interfaces = Vec::new();
    dump(&socket, RTM_GETLINK, &[0; LINK_HEADER], |kind, payload| {
        if kind == RTM_NEWLINK {
            interfaces.extend(link(payload));
        }
    })?;
    dump(
        &socket,
        RTM_GETADDR,
        &[0; ADDRESS_HEADER],
        |kind, payload| {
            if kind == RTM_NEWADDR
                && let Some((index, ip)) = address(payload)
                && let Some(interface) = interfaces.iter_mut().find(|known| known.index == index)
            {
                interface.addresses.push(ip);
            }
        },
    )?;
    Ok(interfaces)
}

/// A socket to the kernel's routing tables that is sent what these groups (a mask of `RTMGRP_` bits) are told.
pub(super) fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC
        | if groups == 0 {
            SocketFlags::empty()
        } else {
            SocketFlags::NONBLOCK
        };
    // No protocol is NETLINK_ROUTE, whose number is 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Asks for everything of a kind and hands over each message's type and payload. `header` says of what.
pub(super) fn dump(
    socket: &OwnedFd,
    question: u16,
    header: &[u8],
    mut each: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    let length = HEADER + header.len();
    let mut request = vec![0; length];
    let mut message = NetlinkBuffer::new(&mut request);
    message.set_length(u32::try_from(length).map_err(|_too_long| unreadable())?);
    message.set_message_type(question);
    message.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    message.payload_mut().copy_from_slice(header);
    send(socket, &request, SendFlags::empty())?;
    let mut buffer = vec![0; READ];
    loop {
        let (_, length) = recv(socket, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
        let mut rest = buffer.get(..length).ok_or_else(unreadable)?;
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(|_short| unreadable())?;
            let payload = message.payload();
            match message.message_type() {
                DONE | ERROR => return failure(payload),
                kind => each(kind, payload),
            }
            let next = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(next..).unwrap_or_default();
        }
    }
}

/// The error number at the front of a message: 0, or a negative one.
fn failure(payload: &[u8]) -> io::Result<()> {
    match word(payload, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
        None => Err(unreadable()),
    }
}

/// An `RTM_NEWLINK` message.
fn link(payload: &[u8]) -> Option<Interface> {
    let mut interface = Interface {
        link_layer: u16::from_ne_bytes(payload.get(2..4)?.try_into().ok()?),
        index: word(payload, 4)?,
        is_up: word(payload, 8)? & 1 == 1,
        ..Interface::default()
    };
    let mut is_elsewhere = false;
    for (kind, value) in attributes(payload.get(LINK_HEADER..)?) {
        match kind {
            IFLA_IFNAME => interface.name = text(value),
            IFLA_LINK => interface.lower = word(value, 0),
            IFLA_LINK_NETNSID => is_elsewhere = true,
            IFLA_MASTER => interface.master = word(value, 0),
            IFLA_LINKINFO => {
                interface.kind = attributes(value)
                    .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                    .map(|(_, value)| text(value));
            }
            _ => {}
        }
    }
    if is_elsewhere {
        interface.lower = None;
    }
    Some(interface)
}

/// The interface and the address of an `RTM_NEWADDR` message. On a point-to-point link the first attribute is the other end's address, the
/// second this host's.
fn address(payload: &[u8]) -> Option<(u32, IpAddr)> {
    let index = word(payload, 4)?;
    let find = |wanted| {
        attributes(payload.get(ADDRESS_HEADER..)?)
            .find(|(kind, _)| *kind == wanted)
            .and_then(|(_, value)| ip(value))
    };
    Some((index, find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?))
}

pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|found| {
        let (kind, length) = (found.kind(), usize::from(found.length()));
        (kind, found.into_inner().get(4..length).unwrap_or_default())
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}

pub(super) fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn unreadable() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_loopback_interface_is_there_with_its_address() {
        let found = interfaces().unwrap();
        let lo = found.iter().find(|known| known.name == "lo").unwrap();
        assert_eq!((lo.index, lo.link_layer, &lo.kind), (1, 772, &None));
        assert!(lo.is_up && lo.lower.is_none() && lo.master.is_none());
        assert!(lo.addresses.contains(&Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn an_error_is_told_and_cut_messages_are_nothing() {
        let refused = (-libc::EPERM).to_ne_bytes();
        assert_eq!(
            failure(&refused).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        assert!(failure(&[0; 4]).is_ok());
        assert!(failure(&[0; 3]).is_err());
        for length in 0..LINK_HEADER {
            assert_eq!(link(&vec![1; length]), None);
        }
        assert_eq!(address(&[0; 7]), None);
        // An attribute that says to be longer than what is left.
        let mut payload = vec![0; ADDRESS_HEADER];
        payload.extend([200, 0, 2, 0, 127]);
        assert_eq!(address(&payload), None);
    }

    #[test]
    fn the_other_end_of_a_point_to_point_link_is_not_this_hosts() {
        let mut payload = vec![0, 0, 0, 0, 7, 0, 0, 0];
        payload.extend([8, 0, 1, 0, 10, 0, 0, 2]);
        payload.extend([8, 0, 2, 0, 10, 0, 0, 1]);
        assert_eq!(address(&payload), Some((7, [10, 0, 0, 1].into())));
    }
}
