//! Whether this daemon's sessions may need the wire, and what stands ready for it then: programs at the interfaces, proven by a session of the
//! daemon's own, segments that either path carries, and a loopback that takes back what it has lost the route of.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsFd,
};

use crate::{
    config::{Cluster, Namespaces, NodeAddress, PathChoice, Settings},
    kernel::{
        Kernel, KernelError,
        interfaces::{Interface, Legs, interfaces},
        loopback::Loopback,
        self_test::{self, SelfTestError},
    },
    net::path::{is_local, limit_segments, segment_to_all, source_to},
};

/// Ways of which the self-test has failed.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lacks {
    /// Sessions with both ends on this host cannot be spliced between their sockets.
    pub(super) local: bool,
    /// Sessions with a remote end would need the wire.
    pub(super) wire: bool,
}

/// How the wire stands.
#[derive(Debug)]
pub(super) enum Cover {
    /// No session needs it.
    NotNeeded,
    /// It is proven, and lo is set as far as it can be.
    Ready(Loopback),
    /// It is needed and cannot be had.
    Failed,
}

impl Cover {
    /// Whether sessions may use the wire.
    pub(super) const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }

    /// Whether IPv4 sessions with an end on this host may use it.
    pub(super) const fn can_loop(&self) -> bool {
        matches!(self, Self::Ready(loopback) if loopback.is_open())
    }
}

/// Has the programs of the wire see the segments of this daemon's clients and nodes, where some of them may be on other hosts, or those on this one
/// cannot be spliced otherwise (not `has_local`).
///
/// # Errors
/// Where the programs cannot be loaded or the self-test failed: nothing is covered then. What stands against single interfaces is logged.
pub(super) fn cover(
    kernel: &mut Kernel,
    settings: &Settings,
    has_local: bool,
    listeners: &[TcpListener],
    address: SocketAddr,
) -> Result<Cover, SelfTestError> {
    if !is_needed(settings, has_local, address) {
        return Ok(Cover::NotNeeded);
    }
    let legs = Legs {
        loopback: true,
        ipv4: address.is_ipv4() || address.ip().is_unspecified(),
        ipv6: address.is_ipv6(),
    };
    watch_nodes(kernel, settings)?;
    kernel.cover(legs, address.port())?;
    let loopback = Loopback::open();
    if let Err(error) = self_test::test_wire(kernel, loopback.is_open()) {
        kernel.uncover();
        return Err(error);
    }
    let limit = segment_to_all(nodes(settings).filter_map(ip));
    for listener in listeners {
        if let Err(error) = limit_segments(&listener.as_fd(), limit) {
            tracing::debug!(%error, "larger commands of clients on this host are relayed");
        }
    }
    Ok(Cover::Ready(loopback.keep()))
}

/// Has the programs of the wire look at what comes from the nodes' ports. Ports that no node has any more cost a look, no more.
///
/// # Errors
/// Where the kernel does not take a port.
pub(super) fn watch_nodes(kernel: &mut Kernel, settings: &Settings) -> Result<(), KernelError> {
    nodes(settings).try_for_each(|node| kernel.watch_port(node.port))
}

/// Whether an end of some session may be on another host, there is nothing better on this one, or the operator wants the wire in any case. `address`: at
/// which clients come.
pub(super) fn is_needed(settings: &Settings, has_local: bool, address: SocketAddr) -> bool {
    match settings.path {
        PathChoice::Local | PathChoice::Relay => false,
        PathChoice::Wire => true,
        PathChoice::Auto => {
            let is_elsewhere = |node: &NodeAddress| !ip(node).is_some_and(is_local);
            !has_local
                || !address.ip().to_canonical().is_loopback()
                || nodes(settings).any(is_elsewhere)
        }
    }
}

/// Whether clients of this host are to have their sockets captured: some session may take the local path. A name may lead anywhere.
pub(super) fn captures_clients(settings: &Settings) -> bool {
    match settings.path {
        PathChoice::Wire | PathChoice::Relay => false,
        PathChoice::Local => true,
        PathChoice::Auto => {
            let containers = settings.namespaces == Namespaces::All;
            // Where interfaces cannot be listed no container is known.
            let host = interfaces().unwrap_or_default();
            let may_be_here = |ip| is_local(ip) || containers && is_behind_pair(ip, &host);
            nodes(settings).any(|node| ip(node).is_none_or(may_be_here))
        }
    }
}

/// Whether the way to an address leaves by an interface of the kinds that lead to other network namespaces of a host.
fn is_behind_pair(ip: IpAddr, host: &[Interface]) -> bool {
    let Ok(source) = source_to(ip) else {
        return false;
    };
    host.iter()
        .filter(|interface| interface.addresses.contains(&source))
        .any(|interface| {
            matches!(
                interface.kind.as_deref(),
                Some("veth" | "bridge" | "openvswitch" | "macvlan" | "ipvlan" | "netkit")
            )
        })
}

fn nodes(settings: &Settings) -> impl Iterator<Item = &NodeAddress> {
    settings.clusters.iter().flat_map(Cluster::addresses)
}

/// A node's address, where it is given by one. What a name leads to may change.
fn ip(node: &NodeAddress) -> Option<IpAddr> {
    if node.host == "localhost" {
        return Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    }
    node.host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};

    fn settings(listen: &str, server: &str, path: &str) -> Settings {
        let line = Overrides {
            listen: listen.parse().ok(),
            server: server.parse().ok(),
            path: path.parse().ok(),
            ..Overrides::default()
        };
        config::settings("", line).unwrap()
    }

    fn needs(listen: &str, server: &str, path: &str) -> bool {
        let settings = settings(listen, server, path);
        is_needed(&settings, true, settings.listen)
    }

    fn captures(server: &str, path: &str) -> bool {
        captures_clients(&settings("127.0.0.1:0", server, path))
    }

    #[test]
    fn clients_are_captured_where_a_node_may_be_here() {
        for here in [
            "127.0.0.1:3306",
            "localhost:3306",
            "[::1]:3306",
            "0.0.0.0:3306",
        ] {
            assert!(captures(here, "auto"), "{here}");
        }
        assert!(captures("db.example:3306", "auto"));
        assert!(captures("203.0.113.1:3306", "local"));
        for path in ["wire", "relay"] {
            assert!(!captures("127.0.0.1:3306", path));
        }
    }

    #[test]
    fn a_node_behind_a_pair_of_interfaces_may_be_in_a_container() {
        let interface = |kind: Option<&str>| Interface {
            kind: kind.map(str::to_owned),
            addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
            ..Interface::default()
        };
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        assert!(!is_behind_pair(ip, &[interface(None)]));
        assert!(!is_behind_pair(ip, &[interface(Some("vlan"))]));
        assert!(is_behind_pair(ip, &[interface(Some("veth"))]));
        let elsewhere = Interface {
            addresses: vec![std::net::Ipv4Addr::new(203, 0, 113, 1).into()],
            ..interface(Some("veth"))
        };
        assert!(!is_behind_pair(ip, &[elsewhere]));
    }

    #[test]
    fn only_a_daemon_with_an_end_elsewhere_covers_interfaces() {
        assert!(!needs("127.0.0.1:0", "127.0.0.1:3306", "auto"));
        assert!(!needs("127.0.0.1:0", "localhost:3306", "auto"));
        assert!(needs("0.0.0.0:0", "127.0.0.1:3306", "auto"));
        // TEST-NET-3 (RFC 5737) is nobody's.
        assert!(needs("127.0.0.1:0", "203.0.113.1:3306", "auto"));
        assert!(needs("127.0.0.1:0", "db.example:3306", "auto"));
        assert!(needs("127.0.0.1:0", "127.0.0.1:3306", "wire"));
        assert!(!needs("0.0.0.0:0", "203.0.113.1:3306", "local"));
        assert!(!needs("0.0.0.0:0", "203.0.113.1:3306", "relay"));
    }
}
