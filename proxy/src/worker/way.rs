//! By which way a session may be spliced: decided when it has both its connections, and again when it gets another.

use std::{cell::RefCell, os::fd::AsFd, sync::atomic::Ordering, time::Duration};

use sluice_ebpf::{
    reason::RelayReason,
    record::{Joint, Seat},
    wire::{Side, flag},
};
use tokio::time::Instant;

use super::{Worker, registry::Place};
use crate::{
    config::PathChoice,
    kernel::{
        capture::{Bindings, tuple},
        interfaces::LOOPBACK,
        record::Slot,
    },
    net::{
        Leg, Parting,
        facts::{Facts, joint},
        path::is_local,
    },
    pause::pause,
    session::Path,
};

/// A session's connection with its client and one with a node, as far as they decide its way.
pub(super) struct Connections<'a> {
    pub(super) client: &'a Leg,
    /// What the client's has agreed on, where that is known already.
    pub(super) client_facts: Option<Facts>,
    pub(super) node: &'a Leg,
    /// The client's app socket is captured.
    pub(super) is_client_captured: bool,
}

/// The way, written into the session's record.
///
/// # Errors
/// Why there is none.
pub(super) fn choose(
    worker: &Worker,
    place: &Place,
    connections: &Connections<'_>,
    seat: Seat,
) -> Result<Path, RelayReason> {
    // The kernel cannot read what is encrypted for the daemon.
    if connections.client.is_tls() || connections.node.is_tls() {
        return Err(RelayReason::Tls);
    }
    worker.process.splicing.as_ref().map_err(|reason| *reason)?;
    let Some(slot) = &place.slot else {
        return Err(RelayReason::NoRecord);
    };
    let choice = worker.process.settings().path;
    if choice == PathChoice::Relay {
        return Err(RelayReason::NotChosen);
    }
    if choice == PathChoice::Local && worker.process.lacks.local {
        return Err(RelayReason::Unavailable);
    }
    let is_direct = connections.is_client_captured && slot.is_captured(seat);
    // Both of a session's nodes are reached by one way, or the second one through the daemon. The writer's is chosen first.
    let is_joined = slot.is_joined();
    if seat == Seat::Reader && !is_joined && !is_direct {
        return Err(remote_end(connections));
    }
    if choice != PathChoice::Wire && !is_joined && is_direct {
        return Ok(Path::Local);
    }
    if choice != PathChoice::Local && worker.process.lacks.wire {
        return Err(RelayReason::NoWire);
    }
    if choice == PathChoice::Local {
        return Err(if is_direct {
            RelayReason::NotChosen
        } else {
            remote_end(connections)
        });
    }
    if !worker.process.has_wire {
        return Err(RelayReason::WireNotReady);
    }
    let joint = joint_of(slot, connections, seat)?;
    if !worker.process.can_loop && needs_loopback(slot, connections, seat) {
        return Err(RelayReason::Loopback);
    }
    // Whoever stops what is sent past the programs knows our sockets by that; a node's it has already.
    let own = |bindings: &RefCell<Bindings>| {
        let client = connections.client.as_fd();
        bindings.borrow_mut().own(client).is_ok()
    };
    if !worker.bindings.as_ref().is_some_and(own) {
        return Err(RelayReason::NoRecord);
    }
    for leg in [connections.client, connections.node] {
        // Without it the peers of a daemon that is killed learn of it with their next segments.
        let _ = leg.reset_on_close(true);
    }
    let end = |leg: &Leg| tuple(leg.peer_addr(), leg.local_addr());
    slot.join(seat, joint, end(connections.client), end(connections.node));
    Ok(Path::Wire)
}

/// How long to wait, at a session's end, for what bypassed to arrive; a peer acknowledges within its delay (40 ms on Linux).
const ARRIVAL: Duration = Duration::from_secs(1);
/// How often to look.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until all peers have acknowledged what bypassed towards them, but not for ever: a FIN would wait behind it.
pub(super) async fn arrived(slot: &Slot) {
    let deadline = Instant::now() + ARRIVAL;
    let is_owed = |side| is_owed(slot, side);
    while is_owed(Side::Client)
        || is_owed(Side::Node(Seat::Writer))
        || is_owed(Side::Node(Seat::Reader))
    {
        if Instant::now() > deadline {
            return;
        }
        pause(LOOK).await;
    }
}

/// How one of a session's connections is closed, once its regime is over: in order, but where bytes are under way that bypassed. Who sent them may
/// be gone, and the peer would wait for them, and for the FIN behind them, for ever.
pub(super) fn settle(worker: &Worker, place: &Place, side: Side, leg: &Leg) {
    let Some(slot) = place.slot.as_ref().filter(|slot| slot.is_joined()) else {
        return;
    };
    // A daemon that stops translates no last segments: a reset needs none.
    if worker.process.is_stopping.load(Ordering::Relaxed) {
        return;
    }
    // Where the way is not covered nothing gets through in order.
    let is_owed = is_owed(slot, side) || slot.is_paused() && slot.wire().is_used();
    if side == Side::Client
        && !is_owed
        && place.is_used_below()
        && let Ok(Some(parting)) = Parting::begin(leg)
    {
        // A client may take its time with what it has not read, and is not understood without us.
        worker.lingerers.borrow_mut().add_parting(place, parting);
        return;
    }
    // A socket that is closed already takes no options.
    let _ = leg.reset_on_close(is_owed);
}

/// Whether bytes that bypassed towards this side's peer are not acknowledged.
fn is_owed(slot: &Slot, side: Side) -> bool {
    slot.is_joined() && slot.wire().is_owed(side)
}

/// Which end is no socket of this host's programs, where one is not.
fn remote_end(connections: &Connections<'_>) -> RelayReason {
    // A client of this host is left alone where no node is here.
    if connections.is_client_captured
        || is_local(connections.client.peer_addr().ip().to_canonical())
    {
        RelayReason::NodeRemote
    } else {
        RelayReason::ClientRemote
    }
}

/// Whether IPv4 segments are to be put back into lo: a peer is on this host.
fn needs_loopback(slot: &Slot, connections: &Connections<'_>, seat: Seat) -> bool {
    let known = slot.wire();
    let is_looped = |side| known.leg(side).ifindex == LOOPBACK;
    is_v4(connections.client) && (is_looped(Side::Client) || is_looped(Side::Node(seat)))
}

fn is_v4(leg: &Leg) -> bool {
    leg.peer_addr().ip().to_canonical().is_ipv4()
}

/// What the wire must know of both connections.
fn joint_of(slot: &Slot, connections: &Connections<'_>, seat: Seat) -> Result<Joint, RelayReason> {
    if is_v4(connections.client) != is_v4(connections.node) {
        return Err(RelayReason::Families);
    }
    // Both ends have spoken by now, so the programs have seen segments of either direction, where they stand in the way.
    let seen = flag::KNOWN | flag::HEARD | flag::SPOKEN;
    let known = slot.wire();
    if !known.client.is(seen) || !known.leg(Side::Node(seat)).is(seen) {
        return Err(RelayReason::Interface);
    }
    let facts = |leg: &Leg| Facts::of(leg).ok();
    let client = connections.client_facts;
    client
        .or_else(|| facts(connections.client))
        .zip(facts(connections.node))
        .and_then(|(client, node)| joint(&client, &node).ok())
        .ok_or(RelayReason::Interface)
}
