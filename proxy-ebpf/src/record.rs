//! The layout of the maps that kernel programs and daemon share. Every field has one writer, and the field's group names it:
//! [`Host`] the daemon, [`Client`] the program on the client's app socket, [`Node`] the program on the node's app socket.
//!
//! A *regime* is the time from one arm to the next trap, spill or stop; its generation numbers grow. Generation `g` is live while
//! `g == client.begun` and none of the three who may end it has: `client.ended < g`, `node.spilled < g`, `host.stopped < g`. So no
//! field needs a second writer, and an end is final whoever else looks at the same moment.

use crate::{
    aim::Aim,
    latency::Histogram,
    response::{Response, Status},
    wire::Wire,
};

/// Entries of the statement table: prepared statements whose `EXECUTE` the kernel may splice, by `id % STATEMENTS`.
pub const STATEMENTS: usize = 64;
/// Slots for counts by [`TrapReason`](crate::reason::TrapReason).
pub const TRAPS: usize = 32;
/// Bytes of a command's payload that are kept to be shown: its first byte, what may stand before a text (query attributes), 256 bytes of
/// the text; and then to whole words.
pub const HEAD_BYTES: usize = 264;

/// A TCP connection as one of its ends sees it: IPv4 addresses in their IPv4-mapped IPv6 form, all in network byte order, so that
/// a dual-stack socket and an IPv4 one have the same key; ports in host byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct Tuple {
    /// Address of the end that looks.
    pub local_ip: [u32; 4],
    /// Address of the other end.
    pub remote_ip: [u32; 4],
    /// Port of the end that looks.
    pub local_port: u32,
    /// Port of the other end.
    pub remote_port: u32,
}

impl Tuple {
    /// The same connection as its other end sees it.
    #[inline]
    #[must_use]
    pub const fn mirrored(&self) -> Self {
        Self {
            local_ip: self.remote_ip,
            remote_ip: self.local_ip,
            local_port: self.remote_port,
            remote_port: self.local_port,
        }
    }
}

/// An address that the daemon listens on; the form of the addresses is that of [`Tuple`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct Listener {
    /// The address.
    pub ip: [u32; 4],
    /// The port.
    pub port: u32,
}

/// Words of the map of ports that the wire's programs look at, 64 ports each, the lowest in its lowest bit: those of our listeners, then those
/// of nodes.
pub const PORT_WORDS: u32 = 2 * NODE_PORTS;
/// The first word of nodes' ports.
pub const NODE_PORTS: u32 = 1024;

/// Bits of a listener's value in the map.
pub mod listener {
    /// Clients of this host that connect to it are captured: their node may be on this host, too.
    pub const CAPTURES: u32 = 1;
}

/// Connections to nodes that a session may have at once.
pub const NODES: usize = 2;

/// Which of its nodes a connection of a session's is with: an index of what the record has for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum Seat {
    /// The one that takes every statement.
    #[default]
    Writer = 0,
    /// One that takes reads only.
    Reader = 1,
}

/// Which end of a session an app socket is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Role {
    /// The client program's socket.
    Client = 1,
    /// The database server's socket.
    Node = 2,
    /// The same of a session that cannot take the local path: it is not captured.
    NodeLeftAlone = 3,
    /// The socket of the database server that takes the session's reads.
    Reader = 4,
    /// As [`Role::NodeLeftAlone`].
    ReaderLeftAlone = 5,
}

impl Role {
    /// The [`Seat`] of the node whose end the role with this number is; a client's means nothing.
    #[inline]
    pub const fn seat_of(role: u32) -> u32 {
        if role >= Self::Reader as u32 {
            Seat::Reader as u32
        } else {
            Seat::Writer as u32
        }
    }

    /// Whether the socket of the role with this number is captured once it is established.
    #[inline]
    pub const fn is_captured_node(role: u32) -> bool {
        role == Self::Node as u32 || role == Self::Reader as u32
    }
}

/// Says which session an app socket belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Binding {
    /// The session's number, unique in the daemon's life; a record of another session in the same slot is not this one's.
    pub session: u64,
    /// Index of the session's record.
    pub slot: u32,
    /// A [`Role`] as its number.
    pub role: u32,
}

/// One of the daemon's connections, as the app socket at its other end must see it. Two network namespaces of a host may hold sockets with
/// one and the same tuple; what both ends of a connection share, and nobody else, are its two initial sequence numbers, 64 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Connection {
    /// The session; `session` is 0 where the daemon has not told it yet.
    pub binding: Binding,
    /// The app socket's [`Leg::received_base`].
    pub received_base: u32,
    /// The app socket's [`Leg::sent_base`].
    pub sent_base: u32,
}

/// What a captured app socket carries with it (socket storage: it dies with the socket).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Leg {
    /// The session, once the daemon has told; `session` is 0 before.
    pub binding: Binding,
    /// The socket's key in the sock hash: its cookie.
    pub cookie: u64,
    /// `tcp_sock.copied_seq` when the connection was established.
    pub received_base: u32,
    /// `tcp_sock.write_seq` when the connection was established.
    pub sent_base: u32,
    /// What the program's last run has said of this socket's message: [`Leg::MARKED`], [`Leg::CUT`].
    pub said: u32,
    /// For the alignment.
    pub reserved: u32,
}

impl Leg {
    /// The message, or its front, is to be redirected.
    pub const MARKED: u32 = 1;
    /// Only its front: the program runs again on the rest of it.
    pub const CUT: u32 = 2;

    /// Whether this app socket is the other end of the daemon's connection.
    #[inline]
    pub const fn is_end_of(&self, connection: &Connection) -> bool {
        self.received_base == connection.received_base && self.sent_base == connection.sent_base
    }
}

/// Bytes of both TCP streams that went through the daemon, each counted from its connection's first byte, modulo 2^32. Equal to
/// what the app sockets count themselves exactly when nothing is under way or unread in either direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Offsets {
    /// Read by the daemon from the client.
    pub read_from_client: u32,
    /// Written by the daemon to the client.
    pub written_to_client: u32,
    /// Read by the daemon from the regime's node.
    pub read_from_node: u32,
    /// Written by the daemon to it.
    pub written_to_node: u32,
}

/// The node that is not offered: on the wire a regime may go on with it, or begin, where a statement is for that one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Aside {
    /// Which statements it takes: [`takes::READS`] or [`takes::WRITES`]; with anything else a regime is not with it.
    pub takes: u32,
    /// Bytes that the daemon has read from it, as in [`Offsets`].
    pub read_from_node: u32,
    /// Bytes that the daemon has written to it.
    pub written_to_node: u32,
}

impl Aside {
    /// A regime is with the node that is offered.
    pub const NONE: Self = Self {
        takes: takes::NOTHING,
        read_from_node: 0,
        written_to_node: 0,
    };
}

impl Default for Aside {
    fn default() -> Self {
        Self::NONE
    }
}

/// Values of [`Host::takes`]: what of a client's statements goes to the node of the regime. Anything else traps.
pub mod takes {
    /// Whatever may be spliced.
    pub const ALL: u32 = 0;
    /// What only the writer can answer, and everything in its transactions.
    pub const WRITES: u32 = 1;
    /// What a reader can answer, outside transactions.
    pub const READS: u32 = 2;
    /// Whatever may be spliced, but for texts with a hint.
    pub const UNHINTED: u32 = 3;
    /// Nothing: the session is at the node for one statement.
    pub const NOTHING: u32 = 4;
}

/// Whether the node of a regime that takes `takes` takes a statement that is aimed so, where this is known of the session. In doubt
/// it is the writer's.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one function for the verifier")]
pub const fn is_taken(takes: u32, status: Status, aim: Aim) -> bool {
    if matches!(aim, Aim::AtReader) {
        return takes == takes::READS && status.is_outside_transaction();
    }
    if takes == takes::ALL {
        return true;
    }
    if takes == takes::NOTHING {
        return false;
    }
    if !status.is_outside_transaction() {
        return takes != takes::READS;
    }
    match aim {
        Aim::Reader => takes != takes::WRITES,
        Aim::Writer => takes != takes::READS,
        Aim::Last => true,
        Aim::AtWriter => takes == takes::UNHINTED,
        Aim::Hinted | Aim::AtReader => false,
    }
}

/// Whether the node that a regime is not with, or not offered with, takes a statement with which it may turn there: only what is certain to be that one's. What
/// asks about the statement before is for the node that was used last.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one function for the verifier")]
pub const fn is_taken_aside(takes: u32, status: Status, aim: Aim) -> bool {
    status.is_outside_transaction()
        && match aim {
            Aim::Reader | Aim::AtReader => takes == takes::READS,
            Aim::Writer => takes == takes::WRITES,
            Aim::Last | Aim::Hinted | Aim::AtWriter => false,
        }
}

/// Values of [`Host::path`].
pub mod path {
    /// From app socket to app socket, where both are on this host.
    pub const LOCAL: u32 = 0;
    /// Below the sockets.
    pub const WIRE: u32 = 1;
    /// Below the sockets, but not now: the way to a peer leads over an interface on which the wire's programs are not. No regime begins.
    pub const WIRE_PAUSED: u32 = 2;
}

/// What the wire must know of a session's two connections (from their `TCP_INFO`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Joint {
    /// Bits by which the window in a client's segment is shifted left for the node: the client's window scale less the scale that the
    /// daemon's socket has announced to the node. Negative: to the right.
    pub window_to_node: i32,
    /// The same for a node's segment on its way to the client.
    pub window_to_client: i32,
    /// Payload bytes that a segment to the node may have on its path.
    pub segment_to_node: u32,
    /// Payload bytes that a segment to the client may have on its path.
    pub segment_to_client: u32,
    /// Not 0: both connections have negotiated ECN; else its bits are cleared.
    pub ecn: u32,
}

/// What the daemon writes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Host {
    /// The session that uses this record; 0: none.
    pub session: u64,
    /// The regime that the daemon offers; 0: none. Written after `offsets`.
    pub armed: u64,
    /// Regimes up to this one are over.
    pub stopped: u64,
    /// The one moment at which `armed` may begin.
    pub offsets: Offsets,
    /// The node that its commands go to: a [`Seat`] as its number.
    pub seat: u32,
    /// Which statements that node takes: one of [`takes`].
    pub takes: u32,
    /// Bytes outstanding towards a reader at which the kernel stops to splice.
    pub outstanding_bytes_max: u32,
    /// The session's [`format`](crate::response::format) bits.
    pub format: u32,
    /// By which way the session may be spliced: one of [`path`].
    pub path: u32,
    /// What is known of the session as `armed` begins: a [`Status`] as one number. Written before it.
    pub status: u32,
    /// The other node, as long as `armed` is the regime's. Written before it.
    pub aside: Aside,
    /// By [`Seat`]. Set before `path` says [`path::WIRE`], as are the next two.
    pub joint: [Joint; NODES],
    /// The client's connection, as the client sees it.
    pub client_end: Tuple,
    /// The nodes' connections, as they see them, by [`Seat`].
    pub node_end: [Tuple; NODES],
    /// What the daemon has seen of [`Client::closed`].
    pub closed_seen: u64,
    /// Prepared statements that may be spliced: words of [`statement`](crate::statement), or 0. One that is closed may stay: the node answers its executions
    /// with an error. It goes when its id or its place is given to another, before the client hears of that one.
    pub statements: [u64; STATEMENTS],
    /// The types of their parameters, where they surely read; of those that are followed, what is said of their notes ([`notes`](crate::notes)). Written before
    /// the word.
    pub types: [u64; STATEMENTS],
    /// By which ids the reader knows those that it can execute. Written before the word.
    pub reader_ids: [u32; STATEMENTS],
}

/// What the program on the client's app socket writes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Client {
    /// Key of the client's app socket in the sock hash; 0 until it is bound to the session.
    pub cookie: u64,
    /// Address of its `struct sock`, to read its fields by; it may be stale, so what is read is a bound and never a proof.
    pub sock: u64,
    /// The regime that began last.
    pub begun: u64,
    /// The regime that a trap, or the first message behind the daemon's stop, ended last.
    pub ended: u64,
    /// Commands spliced that have a response.
    pub commands: u64,
    /// Commands spliced that have none.
    pub silent_commands: u64,
    /// Bytes spliced towards the node.
    pub bytes: u64,
    /// A bit for each place of [`Host::statements`]: it differs from [`Host::closed_seen`] where a `COM_STMT_CLOSE` of that statement was spliced
    /// since the daemon looked. So no close is lost, however many there are, and none needs the daemon at once.
    pub closed: u64,
    /// The program's own place for what the command at hand changes in the note of a statement, and for that one's place; nobody's: [`STATEMENTS`].
    pub change: u64,
    /// See `change`.
    pub noting: u32,
    /// The program's own place for the id by which the reader knows the statement that the command at hand executes; 0: none that it can execute.
    pub reader_id: u32,
    /// The node that the last command of `begun` went to: a [`Seat`] as its number. Written before it.
    pub seat: u32,
    /// Why the last command was handed up: a [`TrapReason`](crate::reason::TrapReason) as its number; 0: none yet.
    pub trap: u32,
    /// The program's own places to count in; they mean nothing between messages.
    pub scanned: u32,
    /// See `scanned`.
    pub scan_state: u32,
    /// Bytes of the command under way that are still to come.
    pub remaining: u32,
    /// What the last spliced command is answered with: an [`Expect`](crate::response::Expect) as its number.
    pub expect: u32,
    /// Odd while the fields after `notes` are being written. Whoever reads them finds the same even number before
    /// and after, or reads again: half of one command and half of the next are never shown as one.
    pub head_sequence: u32,
    /// Commands handed up, by reason.
    pub traps: [u32; TRAPS],
    /// What was spliced of the statements in [`Host::statements`] that are followed: [`notes`](crate::notes).
    pub notes: [u64; STATEMENTS],
    /// When the last spliced command began, in nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`).
    pub began_at: u64,
    /// Bytes of that command's one packet, its header included.
    pub command_bytes: u32,
    /// Bytes of `head` that are that command's.
    pub head_length: u32,
    /// The front of its payload: a text, or as much of another command as had to be looked at.
    pub head: [u8; HEAD_BYTES],
}

/// One of a session's nodes: what the program on its app socket writes of that socket.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct NodeEnd {
    /// Key of the node's app socket in the sock hash; 0 until it is captured.
    pub cookie: u64,
    /// Address of its `struct sock`; see [`Client::sock`].
    pub sock: u64,
    /// Bytes that the node's server had read of its TCP stream when it last wrote.
    pub consumed: u32,
    /// Bytes that it had written to its TCP stream then, what it wrote at that moment included.
    pub passed: u32,
}

/// What the program on the app socket of the regime's node writes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Node {
    /// The regime that a spill ended last.
    pub spilled: u64,
    /// The regime whose unfinished response was handed to the daemon last, `handed` saying where it stood.
    pub handed_over: u64,
    /// The regime that `response` belongs to; of an earlier one it tells nothing of the session.
    pub regime: u64,
    /// `client.commands` up to which responses have begun.
    pub started: u64,
    /// `client.commands` up to which responses are complete or handed over.
    pub answered: u64,
    /// Bytes spliced towards the client.
    pub bytes: u64,
    /// Packets spliced towards the client, each counted with its header.
    pub packets: u64,
    /// Spliced commands after which no transaction was open: the transactions that ended so.
    pub transactions: u64,
    /// When the last response was complete, in nanoseconds of `CLOCK_MONOTONIC`; not for one that was handed over.
    pub answered_at: u64,
    /// Times that a response was spilled.
    pub spills: u32,
    /// The program's own place to count in; means nothing between messages.
    pub position: u32,
    /// The response under way.
    pub response: Response,
    /// The response that was handed over, as it stood before its first byte that went to the daemon.
    pub handed: Response,
    /// The insert id that a spliced response has named last ([`Response::last_insert_id`]).
    pub insert_id: u64,
    /// When that response was complete, in nanoseconds of `CLOCK_MONOTONIC`; written after the id. 0: none has named one.
    pub insert_id_at: u64,
    /// Spliced commands by the time until their response was complete.
    pub latency: Histogram,
}

/// The Ethernet addresses by which frames get to a leg's peer, as the kernel has found them: its routes and neighbours may change, so they are not
/// believed for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Hop {
    /// Destination and source, as they stand in a frame.
    pub ethernet: [u16; 6],
    /// The interface that they are of; 0: nothing is known.
    pub ifindex: u32,
    /// When they were found, in units of 2^20 nanoseconds of `CLOCK_MONOTONIC`, modulo 2^32.
    pub found: u32,
}

impl Hop {
    /// How long they are believed, in the same units: no longer than TCP waits before it sends again what was lost by an old one (268 ms).
    pub const BELIEVED: u32 = 256;

    /// Of this interface, found now; the addresses are to be filled in. `now`: in nanoseconds of `CLOCK_MONOTONIC`.
    #[inline]
    #[must_use]
    pub const fn found(ifindex: u32, now: u64) -> Self {
        Self {
            ethernet: [0; 6],
            ifindex,
            found: Self::moment(now),
        }
    }

    /// Whether frames may still be sent so by this interface.
    #[inline]
    #[must_use]
    pub const fn is_known(&self, ifindex: u32, now: u64) -> bool {
        self.ifindex == ifindex && Self::moment(now).wrapping_sub(self.found) < Self::BELIEVED
    }

    /// In units of [`Hop::found`].
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32")]
    const fn moment(now: u64) -> u32 {
        (now >> 20) as u32
    }
}

/// The ways to a session's peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(64))]
pub struct Hops {
    /// To the client.
    pub client: Hop,
    /// To the nodes, by [`Seat`].
    pub nodes: [Hop; NODES],
}

/// One session's record, the whole of what a message needs. Each writer has cache lines of its own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Session {
    /// Written by the daemon.
    pub host: Host,
    /// Written by the program on the client's app socket.
    pub client: Client,
    /// Written by the program on the app socket of the regime's node.
    pub node: Node,
    /// Written by the programs on the nodes' app sockets, each its own.
    pub ends: [NodeEnd; NODES],
    /// Written by the `tc` programs, under the session's lock; on the wire they write `client` and `node` too.
    pub wire: Wire,
    /// Written by the same, under the same lock.
    pub hops: Hops,
}

const _: () = assert!(size_of::<Tuple>() == 40 && size_of::<Listener>() == 20);
const _: () = assert!(size_of::<Binding>() == 16 && size_of::<Leg>() == 40);
const _: () = assert!(size_of::<Connection>() == 24);
const _: () = assert!(
    size_of::<Session>() == 3456,
    "what a session costs in the kernel; ARCHITECTURE.md names the figure"
);

const _: () = assert!(STATEMENTS == 64, "a bit each of `closed`");

/// The bit in [`Client::closed`] of the statement with this id.
#[inline]
pub const fn closed_bit(id: u32) -> u64 {
    1 << (id as usize & (STATEMENTS - 1))
}

/// [`Client::closed`] after closes of the statements whose bits these are.
#[inline]
pub const fn close(closed: u64, seen: u64, bits: u64) -> u64 {
    (closed & !bits) | (!seen & bits)
}

impl Session {
    /// Whether generation `begun` is live, as the programs see it.
    #[inline]
    pub const fn is_live(begun: u64, ended: u64, spilled: u64, stopped: u64) -> bool {
        begun != 0 && ended < begun && spilled < begun && stopped < begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frames_addresses_are_believed_for_a_moment() {
        const MOMENT: u64 = (Hop::BELIEVED as u64) << 20;
        assert!(!Hop::default().is_known(2, 0));
        // Also where the count of moments begins anew.
        for found in [0, MOMENT * 7, (1 << 52) - 1] {
            let hop = Hop::found(2, found);
            assert!(hop.is_known(2, found) && hop.is_known(2, found + MOMENT - (1 << 20)));
            assert!(!hop.is_known(3, found));
            assert!(!hop.is_known(2, found + MOMENT) && !hop.is_known(2, found + 9 * MOMENT));
        }
    }
}

#[cfg(feature = "user")]
#[expect(
    unsafe_code,
    reason = "aya asks for its marker on what it copies to and from maps"
)]
mod pod {
    // SAFETY: `repr(C)` of integers without padding, as the size assertions show; every bit pattern is a value.
    unsafe impl aya::Pod for super::Tuple {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Listener {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Connection {}
}
