//! Sessions below the sockets while the host's routes change. The programs know the way to a peer by what the local socket has sent there last, and in a regime
//! that one sends nothing: so where the way leads is asked for when anything has changed that may have moved it.

use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use super::{
    interfaces::{Interface, LOOPBACK, Ways},
    record::{Records, Slot, WayOut},
    strays::Stray,
};

/// Accepted sockets take their routes by the client's mark where this is on; what that is nobody can ask for.
const MARKS: &str = "/proc/sys/net/ipv4/tcp_fwmark_accept";

/// A session's connection of which the way to the peer leads by another interface than its segments, or by one that is not covered.
pub(super) struct Turn {
    slot: Slot,
    way: WayOut,
    interface: u32,
}

impl Turn {
    /// The interface by which the way leads now.
    pub(super) const fn interface(&self) -> u32 {
        self.interface
    }

    /// The session, where that one is not covered.
    pub(super) fn stray(&self) -> Stray {
        Stray {
            slot: self.slot.index(),
            session: self.slot.session(),
            is_used: self.way.is_used,
            is_lost: false,
        }
    }

    /// Has the segments leave by it; whether they did not before.
    pub(super) fn take(&self) -> bool {
        self.way.interface != self.interface && self.slot.lead(&self.way, self.interface)
    }
}

/// What was found of sessions' ways.
#[derive(Default)]
pub(super) struct Found {
    /// Those that lead elsewhere now, or over interfaces that are not covered.
    pub(super) turns: Vec<Turn>,
    /// Sessions that have no way to a peer just now.
    pub(super) lost: Vec<Stray>,
}

/// Where all sessions' ways lead now. `is_covered`: the interface with this number is.
///
/// # Errors
/// Where the kernel cannot be asked.
pub(super) fn turns(
    records: &Arc<Records>,
    host: &[Interface],
    is_covered: impl Fn(u32) -> bool,
) -> io::Result<Found> {
    let ways = Ways::open()?;
    let may_be_marked = fs::read_to_string(MARKS).is_ok_and(|value| value.trim() != "0");
    // Many sessions have the same peers.
    let mut known = HashMap::new();
    let mut all = Found::default();
    for index in 0..records.count() {
        let Some(slot) = Slot::new(records, index) else {
            continue;
        };
        for way in slot.ways_out() {
            if way.interface == LOOPBACK || may_be_marked && way.is_clients() {
                continue;
            }
            let asked = question(&way, host);
            let found = if let Some(found) = known.get(&asked) {
                *found
            } else {
                let (from, to, vrf) = asked;
                let found = ways.find(from, to, vrf)?;
                known.insert(asked, found);
                found
            };
            let Some(interface) = found else {
                all.lost.push(Stray {
                    slot: index,
                    session: slot.session(),
                    is_used: way.is_used,
                    is_lost: true,
                });
                continue;
            };
            let is_turn = interface != way.interface || !is_covered(interface);
            if interface != LOOPBACK
                && is_turn
                && let Some(slot) = Slot::new(records, index)
            {
                all.turns.push(Turn {
                    slot,
                    way,
                    interface,
                });
            }
        }
    }
    Ok(all)
}

/// From where to where, and in which VRF.
fn question(way: &WayOut, host: &[Interface]) -> (IpAddr, IpAddr, Option<u32>) {
    let named = |index| host.iter().find(|known| known.index == index);
    let vrf = named(way.interface)
        .and_then(|interface| interface.master)
        .filter(|master| named(*master).is_some_and(|it| it.kind.as_deref() == Some("vrf")));
    (ip(way.end.remote_ip), ip(way.end.local_ip), vrf)
}

/// An address of the maps.
fn ip(words: [u32; 4]) -> IpAddr {
    let mut bytes = [0; 16];
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::capture::tuple;

    #[test]
    fn addresses_come_back_as_they_went_in() {
        for (client, proxy) in [("10.0.0.1:7", "10.0.0.2:8"), ("[fd00::1]:7", "[fd00::2]:8")] {
            let (client, proxy) = (client.parse().unwrap(), proxy.parse().unwrap());
            let end = tuple(client, proxy);
            assert_eq!(ip(end.local_ip), client.ip());
            assert_eq!(ip(end.remote_ip), proxy.ip());
        }
    }
}
