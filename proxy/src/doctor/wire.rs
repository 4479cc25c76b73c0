//! What `sluice doctor` says of the wire: how each interface stands with the programs on it, and what an operator should know.

use crate::kernel::{
    Kernel,
    interfaces::{self, Foreign, Legs, State},
    route_localnet::RouteLocalnet,
};

/// Whatever legs there may be.
const LEGS: Legs = Legs {
    loopback: true,
    ipv4: true,
    ipv6: true,
};

/// Lines of the report. Puts the programs on the interfaces for as long as `kernel` lives: without sessions they pass everything.
pub(super) fn lines(kernel: &mut Kernel) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Err(error) = kernel.cover(LEGS, 0) {
        lines.push(("wire", error.to_string()));
    }
    let host = interfaces::interfaces().unwrap_or_default();
    for interface in &host {
        let state = kernel
            .coverage()
            .and_then(|coverage| coverage.state(interface.index));
        if let Some(state) = state {
            lines.push(("interface", line(&interface.name, state)));
        }
    }
    lines.push(("127/8 on the wire", RouteLocalnet::turn_on().text()));
    lines.push((
        "firewall",
        "what goes over the wire passes this host's netfilter and conntrack by".to_owned(),
    ));
    lines
}

fn line(name: &str, state: &State) -> String {
    let text = format!("{name}: {}", state.text());
    if !matches!(state, State::Covered(_)) {
        return text;
    }
    let has_lro = interfaces::has_lro(name).unwrap_or(false);
    text + &remarks(name, has_lro, &interfaces::foreign_programs(name))
}

/// What an operator should know of a covered interface.
fn remarks(name: &str, has_lro: bool, foreign: &[Foreign]) -> String {
    let lro = has_lro.then(|| format!("; LRO is on and should be off: ethtool -K {name} lro off"));
    let programs = foreign.iter().map(|foreign| {
        let place = match foreign.is_before {
            Some(true) => " before ours",
            Some(false) => " behind ours",
            None => "",
        };
        format!("; program {} at {}{place}", foreign.name, foreign.hook)
    });
    lro.into_iter().chain(programs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::test_network::network;

    #[test]
    fn what_an_operator_should_know_stands_behind_the_state() {
        assert_eq!(remarks("eth0", false, &[]), "");
        let foreign = |hook, is_before| Foreign {
            hook,
            name: "count".to_owned(),
            is_before,
        };
        let all = [foreign("ingress", Some(true)), foreign("egress", None)];
        assert_eq!(
            remarks("eth0", true, &all),
            "; LRO is on and should be off: ethtool -K eth0 lro off; program count at ingress before ours; program count at egress"
        );
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
            let lines = lines(&mut kernel);
            let told = |text: &str| lines.iter().any(|(_, told)| told == text);
            assert!(told("lo: covered (TCX)") || told("lo: covered (clsact filter)"));
            assert!(told("spare: left out: down"), "{lines:?}");
            assert!(told(
                "net.ipv4.conf.lo.route_localnet is 0; the daemon sets it while it runs"
            ));
        });
    }
}
