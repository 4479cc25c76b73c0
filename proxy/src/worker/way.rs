//! By which way a session may be spliced: decided when it has both its connections, and again when it gets another.

use std::net::{IpAddr, SocketAddr};

use sluice_ebpf::{
    reason::RelayReason,
    record::Joint,
    wire::{self, flag},
};

use super::{Worker, registry::Place};
use crate::{
    config::PathChoice,
    kernel::{capture::tuple, record::Slot},
    net::{
        Leg,
        facts::{Facts, joint},
    },
    session::Path,
};

/// A session's two connections, as far as they decide its way.
pub(super) struct Connections<'a> {
    pub(super) client: &'a Leg,
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
) -> Result<Path, RelayReason> {
    worker.process.splicing.as_ref().map_err(|reason| *reason)?;
    let Some(slot) = &place.slot else {
        return Err(RelayReason::NoRecord);
    };
    let choice = worker.process.settings().path;
    if choice == PathChoice::Relay {
        return Err(RelayReason::NotChosen);
    }
    let local = local(slot, connections);
    if choice != PathChoice::Wire && local.is_ok() {
        return Ok(Path::Local);
    }
    if choice == PathChoice::Local || !worker.process.has_wire {
        return Err(local.err().unwrap_or(RelayReason::NotChosen));
    }
    let has_loopback = |leg: &Leg| {
        let is_loopback = |address: SocketAddr| matches!(address.ip().to_canonical(), IpAddr::V4(ip) if ip.is_loopback());
        is_loopback(leg.peer_addr()) || is_loopback(leg.local_addr())
    };
    if !worker.process.can_loop
        && (has_loopback(connections.client) || has_loopback(connections.node))
    {
        return Err(RelayReason::RouteLocalnet);
    }
    let joint = joint_of(slot, connections)?;
    for leg in [connections.client, connections.node] {
        // Without it the peers of a daemon that is killed learn of it with their next segments.
        let _ = leg.reset_on_close(true);
    }
    let end = |leg: &Leg| tuple(leg.peer_addr(), leg.local_addr());
    slot.join(joint, end(connections.client), end(connections.node));
    Ok(Path::Wire)
}

/// How a session's connections are closed, once its regime is over: in order, but where one peer has reset its connection with bytes under way
/// that bypassed. Nobody sends those again, and the other peer would wait for them for ever.
pub(super) fn settle(slot: &Slot, client: &Leg, node: &Leg) {
    if !slot.is_joined() {
        return;
    }
    let known = slot.wire();
    let is_lost =
        |gone: &wire::Leg, left: &wire::Leg| gone.is(flag::RESET) && left.snd_una != left.snd_nxt;
    // A socket that is closed already takes no options.
    let _ = client.reset_on_close(is_lost(&known.node, &known.client));
    let _ = node.reset_on_close(is_lost(&known.client, &known.node));
}

/// Whether both ends are sockets of this host's programs.
fn local(slot: &Slot, connections: &Connections<'_>) -> Result<(), RelayReason> {
    if !connections.is_client_captured {
        Err(RelayReason::ClientRemote)
    } else if !slot.progress().node_captured {
        Err(RelayReason::NodeRemote)
    } else {
        Ok(())
    }
}

/// What the wire must know of both connections.
fn joint_of(slot: &Slot, connections: &Connections<'_>) -> Result<Joint, RelayReason> {
    let family = |leg: &Leg| leg.peer_addr().ip().to_canonical().is_ipv4();
    if family(connections.client) != family(connections.node) {
        return Err(RelayReason::Families);
    }
    // Both ends have spoken by now, so the programs have seen segments of either direction, where they stand in the way.
    let seen = flag::KNOWN | flag::HEARD | flag::SPOKEN;
    let known = slot.wire();
    if !known.client.is(seen) || !known.node.is(seen) {
        return Err(RelayReason::Interface);
    }
    let facts = |leg: &Leg| Facts::of(leg).ok();
    facts(connections.client)
        .zip(facts(connections.node))
        .and_then(|(client, node)| joint(&client, &node).ok())
        .ok_or(RelayReason::Interface)
}
