//! With real interfaces, in network namespaces of their own.

use std::time::Duration;

use tokio::{runtime, time::timeout};

use super::*;
use crate::kernel::test_network::{Network, network};

const LEGS: Legs = Legs {
    loopback: true,
    ipv4: true,
    ipv6: true,
};

/// How each interface is chosen now, by its name.
fn chosen() -> BTreeMap<String, String> {
    let host = interfaces().unwrap();
    let text = |choice| match choice {
        Choice::Cover(Front::Ethernet) => "cover".to_owned(),
        Choice::Cover(Front::Ip) => "cover, no Ethernet header".to_owned(),
        Choice::LeaveOut(why) => why.to_string(),
    };
    choose(&host, LEGS, &BTreeSet::new())
        .into_iter()
        .map(|(interface, choice)| (interface.name.clone(), text(choice)))
        .collect()
}

/// Two interfaces, joined; `near` has an address.
fn pair(network: &Network) {
    network.ip("link add near type veth peer name far");
    network.ip("address add 10.78.0.1/24 dev near");
    network.ip("link set near up");
    network.ip("link set far up");
}

#[test]
fn what_the_kernel_lists_is_read_and_chosen_from() {
    network(|network| {
        pair(network);
        network.ip("link add bridge type bridge");
        network.ip("address add 10.78.1.1/24 dev bridge");
        network.ip("link set bridge up");
        network.ip("link set far master bridge");
        network.ip("link add link near name above type macvlan");
        network.ip("address add 10.78.0.2/24 dev above");
        network.ip("link set above up");
        network.ip("tuntap add tunnel mode tun");
        network.ip("address add 10.78.2.1/24 dev tunnel");
        network.ip("link set tunnel up");
        let chosen = chosen();
        let expected = [
            ("above", "above near, which is covered"),
            ("bridge", "cover"),
            ("far", "part of bridge"),
            ("lo", "cover"),
            ("near", "cover"),
            ("tunnel", "cover, no Ethernet header"),
        ];
        for (name, state) in expected {
            assert_eq!(chosen[name], state, "{name}: {chosen:?}");
        }
        let host = interfaces().unwrap();
        let find = |name| host.iter().find(|known| known.name == name).unwrap();
        assert_eq!(find("far").master, Some(find("bridge").index));
        assert_eq!(find("above").lower, Some(find("near").index));
        assert_eq!(find("near").kind.as_deref(), Some("veth"));
        assert!(find("near").addresses.contains(&[10, 78, 0, 1].into()));
    });
}

#[test]
fn each_kind_of_change_is_told_and_nothing_else() {
    network(|network| {
        pair(network);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let changes = Changes::subscribe().unwrap();
        runtime.block_on(async {
            let watch = changes.watch().unwrap();
            let changed = || timeout(Duration::from_secs(10), watch.changed());
            for change in [
                "address add 10.78.0.9/24 dev near",
                "-6 address add fd00::9/64 dev near nodad",
                "address del 10.78.0.9/24 dev near",
                "route add 10.79.0.0/24 dev near",
                "-6 route add fd01::/64 dev near",
                "rule add pref 77 to 10.79.0.0/24 table 77",
                "-6 rule add pref 77 to fd01::/64 table 77",
                "nexthop add id 7 dev near",
                "nexthop replace id 7 blackhole",
                "link set near down",
                "link del near",
            ] {
                network.ip(change);
                changed().await.expect(change).unwrap();
            }
        });
    });
}
