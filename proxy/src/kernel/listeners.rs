//! The addresses that the daemon listens on, in the programs' map. A wildcard stands for every address of this host, also for those that
//! come later.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use sluice_ebpf::record::{Listener, listener};

use super::{KernelError, capture, interfaces::Interface};

/// What was asked for and what the map has of it.
#[derive(Debug)]
pub(super) struct Listeners {
    asked: BTreeSet<SocketAddr>,
    /// Bits of [`listener`] that hold for all.
    bits: u32,
    /// With the bits that the map has.
    told: BTreeMap<SocketAddr, u32>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            asked: BTreeSet::new(),
            bits: listener::CAPTURES,
            told: BTreeMap::new(),
        }
    }
}

impl Listeners {
    /// Whether clients of this host are captured, from the next refresh on.
    pub(super) const fn capture(&mut self, captures: bool) {
        self.bits = if captures { listener::CAPTURES } else { 0 };
    }

    /// Whether they are, as of the last refresh.
    pub(super) const fn captures(&self) -> bool {
        self.bits & listener::CAPTURES != 0
    }

    pub(super) fn add(&mut self, address: SocketAddr) {
        self.asked.insert(address);
    }

    pub(super) fn remove(&mut self, address: SocketAddr) {
        self.asked.remove(&address);
    }

    /// Brings the map to what this host has now.
    ///
    /// # Errors
    /// Where the map is full; what has room is there.
    pub(super) fn refresh(
        &mut self,
        ebpf: &mut Ebpf,
        host: &[Interface],
    ) -> Result<(), KernelError> {
        let wanted: BTreeSet<_> = self
            .asked
            .iter()
            .flat_map(|asked| reached_by(*asked, host))
            .collect();
        let mut map = map(ebpf)?;
        self.told.retain(|told, _bits| {
            let stays = wanted.contains(told);
            if !stays {
                // It is there; and if it is not, nothing is to be done.
                let _ = map.remove(&capture::listener(*told));
            }
            stays
        });
        for address in wanted {
            if self.told.get(&address) != Some(&self.bits) {
                map.insert(capture::listener(address), self.bits, 0)
                    .map_err(|error| KernelError::Map("LISTENERS", error))?;
                self.told.insert(address, self.bits);
            }
        }
        Ok(())
    }
}

fn map(ebpf: &mut Ebpf) -> Result<HashMap<&mut MapData, Listener, u32>, KernelError> {
    let map = ebpf
        .map_mut("LISTENERS")
        .ok_or(KernelError::Missing("map LISTENERS"))?;
    HashMap::try_from(map).map_err(|error| KernelError::Map("LISTENERS", error))
}

/// The addresses under which this host's clients reach a listener.
fn reached_by(listener: SocketAddr, host: &[Interface]) -> Vec<SocketAddr> {
    if !listener.ip().is_unspecified() {
        return vec![listener];
    }
    let loopback = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    host.iter()
        .flat_map(|interface| interface.addresses.iter().copied())
        .chain(loopback)
        .map(|ip| SocketAddr::new(ip, listener.port()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_every_address_and_no_other_for_more_than_itself() {
        let host = [Interface {
            addresses: vec![[10, 0, 0, 1].into(), [127, 0, 0, 1].into()],
            ..Interface::default()
        }];
        let wildcard = SocketAddr::from(([0, 0, 0, 0], 3306));
        let reached: BTreeSet<_> = reached_by(wildcard, &host).into_iter().collect();
        let expected = ["10.0.0.1:3306", "127.0.0.1:3306", "[::1]:3306"];
        let expected: BTreeSet<SocketAddr> =
            expected.iter().map(|it| it.parse().unwrap()).collect();
        assert_eq!(reached, expected);
        let one = SocketAddr::from(([10, 0, 0, 9], 3306));
        assert_eq!(reached_by(one, &host), [one]);
    }
}
