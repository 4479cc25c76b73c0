//! What `sluice doctor` says of the wire: how each interface stands with the programs on it, and what an operator should know.

use crate::kernel::{
    Kernel,
    interfaces::{self, LOOPBACK, Legs, State},
    loopback::Loopback,
    self_test::{self, SelfTestError},
};

/// Whatever legs there may be.
const LEGS: Legs = Legs {
    loopback: true,
    ipv4: true,
    ipv6: true,
};

/// A line of the report.
type Line = (&'static str, String);

/// What sessions with a remote end find on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// IPv4 ones with an end on this host may use the wire.
    can_loop: bool,
    /// Names of the covered interfaces, lo aside.
    interfaces: Vec<String>,
}

/// Proves the wire, and says how the interfaces stand. Puts the programs on them for as long as `kernel` lives: without sessions they pass
/// everything.
pub(super) fn look(
    kernel: &mut Kernel,
) -> (Result<(), SelfTestError>, Result<Found, String>, Vec<Line>) {
    let loopback = Loopback::open();
    let can_loop = loopback.is_open();
    let covered = kernel.cover(LEGS, 0).map_err(SelfTestError::from);
    let tested = covered.and_then(|()| self_test::test_wire(kernel, can_loop));
    let (mut lines, interfaces) = stand(kernel);
    lines.push(("lo takes packets back", loopback.text()));
    lines.push((
        "firewall",
        "what goes over the wire passes this host's netfilter and conntrack by".to_owned(),
    ));
    let found = match &tested {
        Ok(()) => Ok(Found {
            can_loop,
            interfaces,
        }),
        Err(error) => Err(error.to_string()),
    };
    (tested, found, lines)
}

/// What becomes of sessions with a remote end, by where their ends are.
pub(super) fn remote(found: &Result<Found, String>) -> Vec<Line> {
    let by = |has_end_here: bool| match found {
        Err(reason) => format!("relayed: {reason}"),
        Ok(found) if found.interfaces.is_empty() => {
            "relayed: no interface but lo is covered".to_owned()
        }
        Ok(found) => {
            let names = found.interfaces.join(", ");
            let text = format!("spliced below the sockets (path wire) by {names}");
            if has_end_here && !found.can_loop {
                text + "; with IPv4 relayed: lo does not take packets back"
            } else {
                text
            }
        }
    };
    vec![
        ("client here, node elsewhere", by(true)),
        ("node here, client elsewhere", by(true)),
        ("client and node elsewhere", by(false)),
    ]
}

/// How each interface stands, and which are covered beside lo.
fn stand(kernel: &Kernel) -> (Vec<Line>, Vec<String>) {
    let (mut lines, mut covered) = (Vec::new(), Vec::new());
    let host = interfaces::interfaces().unwrap_or_default();
    for interface in &host {
        let state = kernel
            .coverage()
            .and_then(|coverage| coverage.state(interface.index));
        if let Some(state) = state {
            lines.push(("interface", line(&interface.name, state)));
            if matches!(state, State::Covered(..)) && interface.index != LOOPBACK {
                covered.push(interface.name.clone());
            }
        }
    }
    (lines, covered)
}

fn line(name: &str, state: &State) -> String {
    let text = format!("{name}: {}", state.text());
    if !matches!(state, State::Covered(..)) {
        return text;
    }
    match interfaces::has_lro(name) {
        Ok(true) => text + "; LRO is on and should be off: ethtool -K " + name + " lro off",
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::test_network::network;

    #[test]
    fn what_becomes_of_a_session_is_said_by_where_its_ends_are() {
        let texts = |found: Result<Found, String>| -> Vec<String> {
            remote(&found).into_iter().map(|(_, text)| text).collect()
        };
        let found = |can_loop, interfaces: &[&str]| {
            let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
            Ok(Found {
                can_loop,
                interfaces,
            })
        };
        let spliced = "spliced below the sockets (path wire) by eth0, eth1";
        assert_eq!(texts(found(true, &["eth0", "eth1"])), [spliced; 3]);
        let no_loop = format!("{spliced}; with IPv4 relayed: lo does not take packets back");
        assert_eq!(
            texts(found(false, &["eth0", "eth1"])),
            [&no_loop, &no_loop, spliced]
        );
        assert_eq!(
            texts(found(true, &[])),
            ["relayed: no interface but lo is covered"; 3]
        );
        assert_eq!(texts(Err("trap: no".to_owned())), ["relayed: trap: no"; 3]);
    }

    #[test]
    fn every_interface_has_a_line() {
        network(|network| {
            network.ip("link add spare type veth peer name other");
            let Ok(mut kernel) = Kernel::load(1, false) else {
                return println!("left out: the programs cannot be loaded");
            };
            if !kernel.can_cover() {
                return println!("left out: no programs of the wire");
            }
            let (tested, found, lines) = look(&mut kernel);
            assert!(tested.is_ok(), "{tested:?}");
            let none = Found {
                can_loop: true,
                interfaces: Vec::new(),
            };
            assert_eq!(found, Ok(none));
            let told = |text: &str| lines.iter().any(|(_, told)| told == text);
            assert!(told("lo: covered (TCX)") || told("lo: covered (clsact filter)"));
            assert!(told("spare: left out: down"), "{lines:?}");
            assert!(told(
                "net.ipv4.conf.lo.route_localnet is 0, net.ipv4.conf.lo.accept_local is 0; the daemon sets it to 1"
            ));
        });
    }
}
