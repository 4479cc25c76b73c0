//! By which interfaces a session's segments leave that bypass its sockets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sluice_ebpf::{
    record::{Seat, Tuple, path},
    wire::Side,
};

use super::Slot;

/// The way to one of a session's peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WayOut {
    side: Side,
    /// The connection, as the peer sees it.
    pub end: Tuple,
    /// The number of the interface.
    pub interface: u32,
    /// Bytes have bypassed the connection's local socket.
    pub is_used: bool,
}

impl WayOut {
    /// Whether it leads to the client.
    pub const fn is_clients(&self) -> bool {
        matches!(self.side, Side::Client)
    }
}

impl Slot {
    /// The ways of the record's session; none where it has none below the sockets.
    pub fn ways_out(&self) -> impl Iterator<Item = WayOut> {
        let is_live = word!(self, host.session).load(Ordering::Acquire) != 0 && self.is_joined();
        let sides = [
            Side::Client,
            Side::Node(Seat::Writer),
            Side::Node(Seat::Reader),
        ];
        let wire = self.wire();
        let ways = sides.map(|side| WayOut {
            side,
            end: self.end_of(side),
            interface: self.way_of(side).load(Ordering::Acquire),
            is_used: wire.leg(side).is_used(),
        });
        let is_used = |way: &WayOut| way.interface != 0 && way.end.local_port != 0;
        ways.into_iter().filter(move |way| is_live && is_used(way))
    }

    /// Has the segments take another interface, unless the connection is another by now or its local socket has found its way meanwhile.
    pub fn lead(&self, way: &WayOut, interface: u32) -> bool {
        self.end_of(way.side) == way.end
            && self
                .way_of(way.side)
                .compare_exchange(
                    way.interface,
                    interface,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
    }

    /// The number of the session that has the record; 0: none.
    pub fn session(&self) -> u64 {
        word!(self, host.session).load(Ordering::Acquire)
    }

    /// Has no regime begin, until [`Slot::resume`].
    pub fn pause(&self) {
        self.turn_path(path::WIRE, path::WIRE_PAUSED);
    }

    /// The end of [`Slot::pause`].
    pub fn resume(&self) {
        self.turn_path(path::WIRE_PAUSED, path::WIRE);
    }

    /// Whether no regime begins, as the way to a peer is not covered.
    pub fn is_paused(&self) -> bool {
        self.path().load(Ordering::Acquire) == path::WIRE_PAUSED
    }

    /// From one of [`path`] to another, if it is that one still.
    pub(super) fn turn_path(&self, from: u32, to: u32) {
        let turned = (self.path()).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        // Another one stands by what it has found.
        let _ = turned;
    }

    fn path(&self) -> &AtomicU32 {
        half_word!(self, host.path)
    }

    /// Torn where the connection is being replaced.
    fn end_of(&self, side: Side) -> Tuple {
        let at = self.at();
        // SAFETY: aligned, in the mapping, and there are as many as seats; every bit pattern is a value.
        unsafe {
            match side {
                Side::Client => (&raw const (*at).host.client_end).read_volatile(),
                Side::Node(seat) => (&raw const (*at).host.node_end)
                    .cast::<Tuple>()
                    .add(seat as usize)
                    .read_volatile(),
            }
        }
    }

    /// The one field of the programs' that is written here too: whoever has found the way last is right.
    fn way_of(&self, side: Side) -> &AtomicU32 {
        match side {
            Side::Client => half_word!(self, wire.client.ifindex),
            Side::Node(seat) => half_word!(self, wire.nodes[seat as usize].ifindex),
        }
    }
}
