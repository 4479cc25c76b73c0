//! With the real programs, in network namespaces of their own.

use std::{net::SocketAddr, process::Command, time::Duration};

use aya::{
    maps::HashMap,
    programs::{SchedClassifier, TcAttachType},
};
use sluice_ebpf::record::Listener;
use tokio::{runtime, time::Instant};

use super::{
    interfaces::{Front, State, Way},
    loopback::Loopback,
    self_test::SelfTestError,
    test_network::{Network, network},
    *,
};
use crate::pause::pause;

/// The programs, where this process may load them.
fn loaded() -> Option<Kernel> {
    Kernel::load(1, false)
        .inspect_err(|error| println!("left out: {}", chain(error)))
        .ok()
}

/// The same, where the object has the wire's.
fn loaded_wire() -> Option<Kernel> {
    loaded().filter(Kernel::can_cover)
}

/// The map of listeners, looked at while the daemon's half has it too.
struct Known(HashMap<MapData, Listener, u32>);

impl Known {
    fn of(kernel: &Kernel) -> Self {
        let Some(Map::HashMap(data)) = kernel.ebpf.map("LISTENERS") else {
            panic!("no LISTENERS")
        };
        let fd = data.fd().as_fd().try_clone_to_owned().unwrap();
        let data = MapData::from_fd(fd).unwrap();
        Self(HashMap::try_from(Map::HashMap(data)).unwrap())
    }

    fn has(&self, address: &str) -> bool {
        let address: SocketAddr = address.parse().unwrap();
        self.0.get(&capture::listener(address), 0).is_ok()
    }
}

#[test]
fn a_wildcard_listener_follows_the_hosts_addresses() {
    network(|network| {
        let Some(mut kernel) = loaded() else { return };
        let known = Known::of(&kernel);
        network.ip("address add 10.78.0.1/32 dev lo");
        kernel.listen("0.0.0.0:3306".parse().unwrap()).unwrap();
        assert!(known.has("127.0.0.1:3306") && known.has("10.78.0.1:3306"));
        assert!(!known.has("10.78.0.2:3306"));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            network.ip("address add 10.78.0.2/32 dev lo");
            network.ip("address del 10.78.0.1/32 dev lo");
            let deadline = Instant::now() + Duration::from_secs(10);
            let seen = async {
                while !known.has("10.78.0.2:3306") || known.has("10.78.0.1:3306") {
                    assert!(Instant::now() < deadline, "the change is not seen");
                    pause(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                () = seen => {}
                Err(error) = kernel.follow() => panic!("{error}"),
            }
        });
        kernel.unlisten("0.0.0.0:3306".parse().unwrap());
        assert!(!known.has("127.0.0.1:3306") && !known.has("10.78.0.2:3306"));
    });
}

const LEGS: Legs = Legs {
    loopback: true,
    ipv4: true,
    ipv6: true,
};

/// The programs on an interface's hooks: those of TCX by name, filters by priority and handle.
fn hooks(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (label, hook) in [
        ("ingress", TcAttachType::Ingress),
        ("egress", TcAttachType::Egress),
    ] {
        let (_, programs) = SchedClassifier::query_tcx(name, hook).unwrap();
        let names = programs
            .iter()
            .map(|program| program.name_as_str().unwrap());
        found.extend(names.map(|name| format!("{label} {name}")));
        let filters = Command::new("tc")
            .args(["filter", "show", "dev", name, label])
            .output()
            .unwrap();
        let filters = String::from_utf8(filters.stdout).unwrap();
        for line in filters.lines().filter(|line| line.contains("handle")) {
            let (_, told) = line.split_once("pref ").unwrap();
            let words: Vec<_> = told.split(' ').collect();
            found.push(format!("{label} filter {} {}", words[0], words[5]));
        }
    }
    found
}

/// How the interface with this name stands.
fn state(kernel: &Kernel, name: &str) -> Option<State> {
    let host = interfaces::interfaces().unwrap();
    let index = host.iter().find(|known| known.name == name)?.index;
    kernel.coverage()?.state(index).cloned()
}

fn near(network: &Network) {
    network.ip("link add near type veth peer name far");
    network.ip("address add 10.78.0.1/24 dev near");
    network.ip("link set near up");
}

const BOTH: [&str; 2] = ["ingress wire_ingress", "egress wire_egress"];

#[test]
fn interfaces_are_covered_as_they_come_and_go() {
    network(|network| {
        let Some(mut kernel) = loaded_wire() else {
            return;
        };
        kernel.cover(LEGS, 3306).unwrap();
        assert_eq!(hooks("lo"), BOTH);
        near(network);
        kernel.refresh();
        let ethernet = Some(State::Covered(Way::Tcx, Front::Ethernet));
        assert_eq!(state(&kernel, "near"), ethernet);
        assert_eq!(hooks("near"), BOTH);
        // Looked at again, nothing comes twice.
        kernel.refresh();
        assert_eq!(hooks("near"), BOTH);
        network.ip("link set near name other");
        kernel.refresh();
        assert_eq!(hooks("other"), BOTH);
        // Sessions may go on to use it.
        network.ip("address flush dev other");
        kernel.refresh();
        assert_eq!(hooks("other"), BOTH);
        network.ip("link add bridge type bridge");
        network.ip("link set other master bridge");
        kernel.refresh();
        assert_eq!(hooks("other"), BOTH);
        network.ip("address add 10.78.0.1/24 dev bridge");
        network.ip("link set bridge up");
        kernel.refresh();
        assert!(hooks("other").is_empty());
        assert_eq!(hooks("bridge"), BOTH);
        network.ip("link del other");
        kernel.refresh();
        assert_eq!(state(&kernel, "other"), None);
        near(network);
        kernel.refresh();
        assert_eq!(hooks("near"), BOTH);
        drop(kernel);
        assert!(hooks("near").is_empty() && hooks("lo").is_empty());
    });
}

#[test]
fn an_interface_without_ethernet_header_has_programs_of_its_own() {
    network(|network| {
        let Some(mut kernel) = loaded_wire() else {
            return;
        };
        network.ip("tuntap add tunnel mode tun");
        network.ip("address add 10.78.2.1/24 dev tunnel");
        network.ip("link set tunnel up");
        kernel.cover(LEGS, 3306).unwrap();
        let state = state(&kernel, "tunnel").unwrap();
        assert_eq!(state, State::Covered(Way::Tcx, Front::Ip));
        assert_eq!(state.text(), "covered (TCX), without Ethernet header");
        let own = ["ingress wire_ingress_ip", "egress wire_egress_ip"];
        assert_eq!(hooks("tunnel"), own);
        let host = interfaces::interfaces().unwrap();
        let tunnel = host.iter().find(|known| known.name == "tunnel").unwrap();
        assert_eq!(interfaces::foreign_programs(tunnel), []);
        drop(kernel);
        assert!(hooks("tunnel").is_empty());
    });
}

#[test]
fn two_daemons_share_an_interface() {
    network(|_network| {
        let (Some(mut one), Some(mut other)) = (loaded_wire(), loaded_wire()) else {
            return;
        };
        one.cover(LEGS, 3306).unwrap();
        other.cover(LEGS, 3307).unwrap();
        assert_eq!(hooks("lo"), [BOTH[0], BOTH[0], BOTH[1], BOTH[1]]);
        drop(one);
        assert_eq!(hooks("lo"), BOTH);
    });
}

#[test]
fn without_tcx_they_are_filters_that_leave_others_alone() {
    network(|network| {
        near(network);
        let (Some(mut one), Some(mut other)) = (loaded_wire(), loaded_wire()) else {
            return;
        };
        let filter = |kernel: &mut Kernel, port| {
            // Loads the programs; nothing is covered for these legs.
            let none = Legs {
                loopback: false,
                ipv4: false,
                ipv6: false,
            };
            kernel.cover(none, port).unwrap();
            let front = Front::Ethernet;
            interfaces::attach::both(&mut kernel.ebpf, "near", front, Way::Filter(port)).unwrap()
        };
        let first = filter(&mut one, 3306);
        let ours = ["ingress filter 20816 0xcea", "egress filter 20816 0xcea"];
        assert_eq!(hooks("near"), ours);
        let second = filter(&mut other, 3307);
        assert_eq!(hooks("near").len(), 4);
        let host = interfaces::interfaces().unwrap();
        let near = host.iter().find(|known| known.name == "near").unwrap();
        for (name, hook) in interfaces::attach::programs(Front::Ethernet) {
            let listed = interfaces::filters::of(near.index, hook).unwrap();
            let names: Vec<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, [name; 2]);
            assert!(listed.iter().all(|(_, id)| id.is_some()), "{listed:?}");
            assert_eq!(
                interfaces::filters::of(interfaces::LOOPBACK, hook).unwrap(),
                []
            );
        }
        assert_eq!(interfaces::foreign_programs(near), []);
        drop(second);
        assert_eq!(hooks("near"), ours);
        // As if the first one had been killed: its filters stay, and who comes to the same port takes their place.
        mem::forget(first);
        let next = filter(&mut other, 3306);
        assert_eq!(hooks("near"), ours);
        drop(next);
        assert!(hooks("near").is_empty());
    });
}

/// Also: lo takes a packet without a route back only with [`Loopback`], and the test sees it.
#[test]
fn the_wire_is_believed_only_once_it_has_spliced() {
    network(|_| {
        let Some(mut kernel) = loaded_wire() else {
            return;
        };
        let failed = self_test::test_wire(&mut kernel, true).unwrap_err();
        assert_eq!(failed.to_string(), "lo: not covered");
        kernel.cover(LEGS, 1).unwrap();
        let failed = self_test::test_wire(&mut kernel, true).unwrap_err();
        let silent = matches!(failed, SelfTestError::Silence("spliced command"));
        assert!(silent, "{failed}");
        assert_eq!(
            failed.to_string(),
            "spliced command: nothing came for 2 seconds"
        );
        self_test::test_wire(&mut kernel, false).unwrap();
        let loopback = Loopback::open();
        assert!(loopback.is_open());
        self_test::test_wire(&mut kernel, true).unwrap();
        kernel.uncover();
        assert_eq!(hooks("lo"), Vec::<String>::new());
    });
}
