//! A session's connections in the kernel's map of connections: by them the programs know whose an app socket is.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    sync::atomic::Ordering,
};

use sluice_ebpf::{
    record::{Binding, Role, Seat},
    wire::Side,
};

use super::{
    Worker,
    registry::{Entry, Place},
    way,
};
use crate::{
    config::{NodeAddress, PathChoice},
    kernel::{KernelError, interfaces::LOOPBACK, record::Slot},
    net::{Leg, facts::Facts, path::segment_of},
    node::Announce,
    session::CsId,
};

/// A connection in the map, for as long as this lives. It goes before its socket: no stale entry meets a reused port. Where bytes have bypassed
/// the socket it stays, until both ends of the connection are done.
pub(super) struct Bound<'a> {
    worker: &'a Worker,
    whose: Whose<'a>,
    local: SocketAddr,
    remote: SocketAddr,
}

/// Where a connection's session is.
enum Whose<'a> {
    /// Wherever it has moved to: the client's connection goes along.
    Session(&'a Entry),
    /// There: the connection with this node.
    Place(Place, Seat),
    /// Nowhere: the programs let it alone.
    Nobody,
}

impl<'a> Bound<'a> {
    /// The client's connection, as its own socket sees it. Told before the greeting goes out: the client's first message finds it.
    pub(super) fn client(worker: &'a Worker, entry: &'a Entry, leg: &Leg) -> Self {
        let bound = Self {
            worker,
            whose: Whose::Session(entry),
            local: leg.peer_addr(),
            remote: leg.local_addr(),
        };
        let captures = worker.process.captures_clients.load(Ordering::Relaxed);
        tell_client(worker, entry.cs_id, &entry.place(), leg, captures);
        bound
    }

    /// A node's connection, told by [`Capture`] already.
    pub(super) const fn node(worker: &'a Worker, place: Place, seat: Seat, leg: &Leg) -> Self {
        Self {
            worker,
            whose: Whose::Place(place, seat),
            local: leg.peer_addr(),
            remote: leg.local_addr(),
        }
    }

    /// Has the programs let this node's connection alone.
    pub(super) fn leave(&mut self) {
        if let Whose::Place(place, _) = &self.whose {
            remove(self.worker, place, self.local, self.remote);
            self.whose = Whose::Nobody;
        }
    }

    /// This node's connection is the reader's at another place from now on.
    ///
    /// # Errors
    /// The kernel cannot be told. It stays where it was.
    pub(super) fn be_readers(&mut self, place: Place) -> Result<(), KernelError> {
        if let (Some(bindings), Some(slot)) = (&self.worker.bindings, &place.slot) {
            let binding = Binding {
                session: place.number,
                slot: slot.index(),
                role: Role::ReaderLeftAlone as u32,
            };
            let mut bindings = bindings.borrow_mut();
            bindings.assign(self.local, self.remote, binding)?;
        }
        self.whose = Whose::Place(place, Seat::Reader);
        Ok(())
    }

    /// Says how this node's connection is to be closed ([`way::settle`]).
    pub(super) fn settle(&self, leg: &Leg) {
        if let Whose::Place(place, seat) = &self.whose {
            way::settle(self.worker, place, Side::Node(*seat), leg);
        }
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let (place, side) = match &self.whose {
            Whose::Session(entry) => (entry.place(), Side::Client),
            Whose::Place(place, seat) => (place.clone(), Side::Node(*seat)),
            Whose::Nobody => return,
        };
        let is_used = match side {
            // A session may go on without its reader.
            Side::Node(Seat::Reader) => place.is_reader_used_below(),
            Side::Client | Side::Node(Seat::Writer) => place.is_used_below(),
        };
        if is_used {
            let mut lingerers = self.worker.lingerers.borrow_mut();
            lingerers.add_tuple(&place, self.local, self.remote);
        } else if let Some(bindings) = &self.worker.bindings
            && place.has_tuple(side)
        {
            bindings.borrow_mut().remove(self.local, self.remote);
        } else {
            remove(self.worker, &place, self.local, self.remote);
        }
    }
}

/// Says where the session of a client's connection is, anew where it has moved. `may_be_captured` the client's socket. Where the kernel cannot be told
/// the session is relayed.
pub(super) fn tell_client(
    worker: &Worker,
    cs_id: CsId,
    place: &Place,
    leg: &Leg,
    may_be_captured: bool,
) {
    if let (Some(bindings), Some(slot)) = (&worker.bindings, &place.slot) {
        let (client, listener) = (leg.peer_addr(), leg.local_addr());
        let told = bindings.borrow_mut().accepted(
            may_be_captured.then(|| leg.as_fd()),
            client,
            listener,
            place.number,
            slot.index(),
        );
        warn(cs_id, told);
    }
}

/// Tells the kernel of a node's connection before it is opened.
pub(super) struct Capture<'a> {
    pub(super) worker: &'a Worker,
    pub(super) cs_id: CsId,
    /// Where its session is, or will be.
    pub(super) place: Place,
    /// What the node is to the session.
    pub(super) seat: Seat,
    /// Payload bytes that the node's segments may carry at most, if the client is on another host.
    pub(super) segment_max: Option<u32>,
    /// What the client's connection has agreed on, where that was asked for it.
    pub(super) client: Option<Facts>,
    /// The client is known to be captured. Else its own record says so, as it has spoken before a node is dialled.
    pub(super) is_client_captured: bool,
}

impl<'a> Capture<'a> {
    /// For a session that stays where it is.
    pub(super) fn of(worker: &'a Worker, entry: &Entry, client: &Leg) -> Self {
        let facts = worker.process.has_wire.then(|| Facts::of(client).ok());
        let facts = facts.flatten();
        Self {
            segment_max: facts.as_ref().and_then(segment_of),
            client: facts,
            worker,
            cs_id: entry.cs_id,
            place: entry.place(),
            seat: Seat::Writer,
            is_client_captured: false,
        }
    }

    /// The node's end of a connection of this session is captured only where the client's is: nothing goes from socket to socket else.
    fn role(&self, slot: &Slot) -> Role {
        let path = self.worker.process.settings().path;
        let is_chosen = matches!(path, PathChoice::Auto | PathChoice::Local);
        let is_captured = is_chosen && (self.is_client_captured || slot.progress().client_captured);
        match (self.seat, is_captured) {
            (Seat::Writer, true) => Role::Node,
            (Seat::Writer, false) => Role::NodeLeftAlone,
            (Seat::Reader, true) => Role::Reader,
            (Seat::Reader, false) => Role::ReaderLeftAlone,
        }
    }
}

/// What a node's segments may carry so that the client's path carries them too, where they may go there as they are. Not where the client is known to
/// be on this host, by the record of its session.
pub(super) fn segment_max(worker: &Worker, slot: Option<&Slot>, client: &Leg) -> Option<u32> {
    if !worker.process.has_wire || slot.is_some_and(is_looped) {
        return None;
    }
    segment_of(&Facts::of(client).ok()?)
}

/// Whether segments to the client stay on this host.
fn is_looped(slot: &Slot) -> bool {
    slot.wire().client.ifindex == LOOPBACK
}

impl Announce for Capture<'_> {
    fn answered(&self, node: &NodeAddress) {
        self.worker.process.health.login_answered(node);
    }

    fn failed(&self, node: &NodeAddress, cause: &str) {
        self.worker.process.login_failed(node, cause);
    }

    fn segment_max(&self) -> Option<u32> {
        // The client has been greeted by now.
        let slot = self.place.slot.as_ref()?;
        self.segment_max.filter(|_| !is_looped(slot))
    }

    fn dialling(&self, socket: BorrowedFd<'_>) {
        if let (Some(bindings), Some(slot)) = (&self.worker.bindings, &self.place.slot) {
            let mut bindings = bindings.borrow_mut();
            warn(
                self.cs_id,
                bindings.dialling(socket, self.place.number, slot.index(), self.role(slot)),
            );
        }
    }

    fn given_up(&self, node: SocketAddr, local: SocketAddr) {
        remove(self.worker, &self.place, node, local);
    }
}

fn warn(cs_id: CsId, told: Result<(), KernelError>) {
    if let Err(error) = told {
        tracing::warn!(cs_id = cs_id.0, %error, "a session cannot be spliced");
    }
}

/// Forgets a session's connection, but not another session's: who reuses a port may be known already.
fn remove(worker: &Worker, place: &Place, local: SocketAddr, remote: SocketAddr) {
    if let Some(bindings) = &worker.bindings {
        bindings.borrow_mut().remove_of(place.number, local, remote);
    }
}
