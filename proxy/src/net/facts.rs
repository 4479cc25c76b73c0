//! What a connection's two ends have agreed on (`TCP_INFO`), and whether the wire can join two of them.

use std::{fmt, io, os::fd::AsRawFd, time::Duration};

use sluice_ebpf::record::Joint;

/// Bits of `tcpi_options` (`linux/tcp.h`).
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const WINDOW_SCALE: u8 = 4;
const ECN: u8 = 8;
/// `TCP_ESTABLISHED` of `net/tcp_states.h`.
const ESTABLISHED: u8 = 1;

/// What one connection has negotiated, as this host's socket sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of TCP of its own"
)]
pub struct Facts {
    /// Neither end has closed.
    pub is_established: bool,
    /// Timestamps (RFC 7323): each segment has one of a clock that only its sender knows.
    pub timestamps: bool,
    /// Selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: bool,
    /// Bits by which the window in the peer's segments is shifted left; 0 where the connection has no scaling.
    pub peer_window_scale: u8,
    /// The same for this socket's segments.
    pub own_window_scale: u8,
    /// Payload bytes of a segment to the peer, without options: the least of what the peer takes, what the path is known to carry, and half of the
    /// largest window that the peer has ever offered.
    pub sent_segment: u32,
    /// An estimate of the payload bytes of the peer's segments.
    pub received_segment: u32,
    /// What this socket would have the peer send at most: from its route, not cut by `TCP_MAXSEG`.
    pub advertised_segment: u32,
    /// Bytes of an IP packet that the path to the peer is known to carry.
    pub path_mtu: u32,
}

/// Where the bytes are that were written to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The peer has acknowledged all of them.
    Complete,
    /// Some have not been sent: the peer's window is shut, or nothing leaves by the way to it just now.
    Unsent,
    /// What was sent, or a question whether the window is still shut, waits for the peer, which has acknowledged nothing for so long.
    Unacknowledged(Duration),
}

impl Facts {
    /// Asks a TCP socket.
    ///
    /// # Errors
    /// Those of `getsockopt`; `InvalidData` from a kernel that tells less than these fields.
    pub fn of(socket: &impl AsRawFd) -> io::Result<Self> {
        Ok(Self::read(&information(socket)?))
    }

    /// What has become of what was written to a TCP socket.
    ///
    /// # Errors
    /// As [`Facts::of`].
    pub fn delivery(socket: &impl AsRawFd) -> io::Result<Delivery> {
        let info = information(socket)?;
        Ok(if info.tcpi_unacked > 0 || info.tcpi_probes > 0 {
            Delivery::Unacknowledged(Duration::from_millis(info.tcpi_last_ack_recv.into()))
        } else if info.tcpi_notsent_bytes > 0 {
            Delivery::Unsent
        } else {
            Delivery::Complete
        })
    }

    fn read(info: &libc::tcp_info) -> Self {
        let has = |option| info.tcpi_options & option != 0;
        let (peer, own) = window_scales(info.tcpi_snd_rcv_wscale);
        // The fields hold nothing of worth where the connection has no scaling.
        let scale = |bits| if has(WINDOW_SCALE) { bits } else { 0 };
        Self {
            is_established: info.tcpi_state == ESTABLISHED,
            timestamps: has(TIMESTAMPS),
            sack: has(SACK),
            ecn: has(ECN),
            peer_window_scale: scale(peer),
            own_window_scale: scale(own),
            sent_segment: info.tcpi_snd_mss,
            received_segment: info.tcpi_rcv_mss,
            advertised_segment: info.tcpi_advmss,
            path_mtu: info.tcpi_pmtu,
        }
    }
}

/// The peer's and this socket's scale, from two bit fields that C puts into one byte: the first at its low end on little-endian
/// machines, at its high end on others.
const fn window_scales(byte: u8) -> (u8, u8) {
    if cfg!(target_endian = "little") {
        (byte & 0xf, byte >> 4)
    } else {
        (byte >> 4, byte & 0xf)
    }
}

/// `getsockopt(TCP_INFO)`. An older kernel writes less than the whole structure; what it leaves is 0.
#[expect(unsafe_code, reason = "std and socket2 have no TCP_INFO")]
fn information(socket: &impl AsRawFd) -> io::Result<libc::tcp_info> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or_default();
    // SAFETY: the kernel writes at most `size` bytes to `info`, and says in `size` how many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (size as usize) < std::mem::offset_of!(libc::tcp_info, tcpi_reordering) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: integers only, all of them zeroed or written by the kernel.
    Ok(unsafe { info.assume_init() })
}

/// One of a session's two connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The client's.
    Client,
    /// The node's.
    Node,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Node => "node",
        })
    }
}

/// Why the wire cannot join two connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unjoinable {
    /// A connection has timestamps: no program of ours took the option out of its SYN, so none stands on the interface that it uses.
    #[error("the {0}'s connection has TCP timestamps: its interface is not covered")]
    Timestamps(End),
    /// A connection is closing, or not open yet.
    #[error("the {0}'s connection is not established")]
    NotEstablished(End),
}

/// What the wire must know to join the two connections of a session.
///
/// Selective acknowledgements may be agreed on one of them only: an end that has not agreed to them ignores the option (RFC 2018). Window
/// scales may differ, segments may: a larger one is not spliced.
///
/// # Errors
/// What stands against it.
pub fn joint(client: &Facts, node: &Facts) -> Result<Joint, Unjoinable> {
    for (facts, end) in [(client, End::Client), (node, End::Node)] {
        if !facts.is_established {
            return Err(Unjoinable::NotEstablished(end));
        }
        if facts.timestamps {
            return Err(Unjoinable::Timestamps(end));
        }
    }
    let shift = |sender: &Facts, receiver: &Facts| {
        i32::from(sender.peer_window_scale) - i32::from(receiver.own_window_scale)
    };
    Ok(Joint {
        window_to_node: shift(client, node),
        window_to_client: shift(node, client),
        segment_to_node: node.sent_segment,
        segment_to_client: client.sent_segment,
        ecn: u32::from(client.ecn && node.ecn),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use socket2::SockRef;

    use super::*;

    fn open() -> Facts {
        Facts {
            is_established: true,
            ..Facts::default()
        }
    }

    #[test]
    fn windows_are_shifted_from_the_senders_scale_to_the_one_that_the_receiver_was_told() {
        let client = Facts {
            peer_window_scale: 7,
            own_window_scale: 10,
            sent_segment: 32_741,
            ..open()
        };
        let node = Facts {
            peer_window_scale: 9,
            own_window_scale: 3,
            sent_segment: 1_460,
            ..open()
        };
        let expected = Joint {
            window_to_node: 7 - 3,
            window_to_client: 9 - 10,
            segment_to_node: 1_460,
            segment_to_client: 32_741,
            ecn: 0,
        };
        assert_eq!(joint(&client, &node), Ok(expected));
    }

    #[test]
    fn ecn_is_for_two_connections_that_have_it() {
        let with = Facts {
            ecn: true,
            ..open()
        };
        let ecn = |client, node| joint(client, node).unwrap().ecn;
        let without = open();
        assert_eq!(ecn(&with, &with), 1);
        assert_eq!(ecn(&with, &without), 0);
        assert_eq!(ecn(&without, &with), 0);
    }

    #[test]
    fn what_stands_against_it_names_the_connection() {
        let stamped = Facts {
            timestamps: true,
            ..open()
        };
        assert_eq!(
            joint(&stamped, &open()),
            Err(Unjoinable::Timestamps(End::Client))
        );
        let error = joint(&open(), &stamped).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the node's connection has TCP timestamps: its interface is not covered"
        );
        assert_eq!(
            joint(&open(), &Facts::default()),
            Err(Unjoinable::NotEstablished(End::Node))
        );
    }

    #[test]
    fn bit_fields_are_read_and_scales_without_scaling_are_not() {
        // SAFETY: integers only.
        #[expect(unsafe_code, reason = "the structure has no constructor")]
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        info.tcpi_state = 1;
        info.tcpi_snd_rcv_wscale = 0x97;
        info.tcpi_options = TIMESTAMPS | SACK | ECN;
        let facts = Facts::read(&info);
        assert!(facts.timestamps && facts.sack && facts.ecn && facts.is_established);
        assert_eq!((facts.peer_window_scale, facts.own_window_scale), (0, 0));
        info.tcpi_options = WINDOW_SCALE;
        let facts = Facts::read(&info);
        assert!(!facts.timestamps && !facts.sack && !facts.ecn);
        assert_eq!((facts.peer_window_scale, facts.own_window_scale), (7, 9));
    }

    #[test]
    fn two_ends_of_one_connection_tell_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // A small buffer makes for a small scale: the two differ.
        let near =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        near.set_recv_buffer_size(4096).unwrap();
        near.connect(&listener.local_addr().unwrap().into())
            .unwrap();
        let near: TcpStream = near.into();
        let (far, _) = listener.accept().unwrap();
        let (near, far) = (Facts::of(&near).unwrap(), Facts::of(&far).unwrap());
        assert!(near.is_established && far.is_established);
        assert_eq!(
            (near.timestamps, near.sack, near.ecn),
            (far.timestamps, far.sack, far.ecn)
        );
        assert_eq!(near.peer_window_scale, far.own_window_scale);
        assert_eq!(near.own_window_scale, far.peer_window_scale);
        assert_ne!(near.own_window_scale, near.peer_window_scale);
        assert!(near.path_mtu == far.path_mtu && near.path_mtu > near.sent_segment);
    }

    #[test]
    fn a_segment_is_what_the_peer_has_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_tcp_mss(1_400).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let facts = Facts::of(&near).unwrap();
        // Timestamps take 12 bytes of what the peer has asked for.
        let options = if facts.timestamps { 12 } else { 0 };
        assert_eq!(facts.sent_segment, 1_400 - options);
    }

    #[test]
    fn a_socket_without_a_connection_is_not_established() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!Facts::of(&listener).unwrap().is_established);
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Facts::of(&udp).is_err());
    }
}
