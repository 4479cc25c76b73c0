//! Which interfaces the wire's programs belong on. Pure: from what the kernel lists to what is to be done.
//!
//! A packet must meet one of our hooks once in each direction, or it is moved twice. So what stands above another covered interface, or is
//! part of one, is left out: a bridge's ports, a `macvlan` whose lower interface is covered. A VLAN is covered beside its lower interface,
//! which sees the same packets with a tag (`__sk_buff.vlan_present`): the programs leave tagged packets alone.

use std::{collections::BTreeSet, fmt, iter, net::IpAddr};

use super::host::Interface;

/// Link layers of `linux/if_arp.h` whose packets the programs read: those with an Ethernet header, and those that begin with their IP header: tunnels of IP in
/// IP and of GRE, `WireGuard` and `tun`, PPP, modems (as in `dev_is_mac_header_xmit`).
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
const ARPHRD_PPP: u16 = 512;
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_TUNNEL: u16 = 768;
const ARPHRD_TUNNEL6: u16 = 769;
const ARPHRD_SIT: u16 = 776;
const ARPHRD_IPGRE: u16 = 778;
const ARPHRD_IP6GRE: u16 = 823;
const ARPHRD_NONE: u16 = 0xfffe;

/// What an interface's packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Front {
    /// An Ethernet header.
    Ethernet,
    /// The IP header.
    Ip,
}

impl Front {
    /// Of a link layer, an `ARPHRD_` number; none that the programs cannot read.
    pub const fn of(link_layer: u16) -> Option<Self> {
        match link_layer {
            ARPHRD_ETHER | ARPHRD_LOOPBACK => Some(Self::Ethernet),
            ARPHRD_PPP | ARPHRD_RAWIP | ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT
            | ARPHRD_IPGRE | ARPHRD_IP6GRE | ARPHRD_NONE => Some(Self::Ip),
            _ => None,
        }
    }
}

/// What legs there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Legs {
    /// Some have both ends on this host: clients here and nodes elsewhere, or the other way round.
    pub loopback: bool,
    /// Some are of IPv4.
    pub ipv4: bool,
    /// Some are of IPv6.
    pub ipv6: bool,
}

/// What is to be done with an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The programs for such packets belong on it.
    Cover(Front),
    /// They do not.
    LeaveOut(Why),
}

/// Why an interface is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// It is down.
    Down,
    /// It has no address of a family that legs have.
    NoAddress,
    /// Its packets begin with a header that the programs cannot read; the number is its `ARPHRD_` one.
    LinkLayer(u16),
    /// It is the loopback interface, and no leg needs it.
    Loopback,
    /// It is part of this one, which sees its packets.
    PartOf(String),
    /// This one is below it, covered, and sees its packets.
    Above(String),
    /// The packets of a VRF are seen at its interfaces.
    Vrf,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("down"),
            Self::NoAddress => f.write_str("no address"),
            Self::LinkLayer(number) => {
                write!(f, "its link layer ({number}) is not Ethernet's, nor none")
            }
            Self::Loopback => f.write_str("no session needs it"),
            Self::PartOf(master) => write!(f, "part of {master}"),
            Self::Above(lower) => write!(f, "above {lower}, which is covered"),
            Self::Vrf => f.write_str("a VRF: its interfaces are covered"),
        }
    }
}

/// Decides for each. An interface that is `covered`, or that sessions have come to use, is so from then on, whatever its addresses. Until another one that is covered sees its packets.
pub fn choose<'a>(
    interfaces: &'a [Interface],
    legs: Legs,
    covered: &BTreeSet<u32>,
) -> Vec<(&'a Interface, Choice)> {
    let host = Host {
        all: interfaces,
        legs,
        covered,
    };
    interfaces
        .iter()
        .map(|interface| {
            let choice = host.stands_alone(interface).and_then(|front| {
                match host.covered_below(interface) {
                    Some(why) => Err(why),
                    None => Ok(front),
                }
            });
            (
                interface,
                choice.map_or_else(Choice::LeaveOut, Choice::Cover),
            )
        })
        .collect()
}

/// How many interfaces the kernel stacks (`MAX_NEST_DEV`).
const STACKED_MAX: usize = 8;

/// What is decided from.
struct Host<'a> {
    all: &'a [Interface],
    legs: Legs,
    covered: &'a BTreeSet<u32>,
}

impl Host<'_> {
    fn named(&self, index: u32) -> Option<&Interface> {
        self.all.iter().find(|known| known.index == index)
    }

    fn is_covered(&self, interface: &Interface) -> bool {
        self.covered.contains(&interface.index)
    }

    /// The number of what it is part of, which sees its packets: a VRF does not.
    fn master(&self, interface: &Interface) -> Option<u32> {
        interface.master.filter(|index| {
            let kind = self.named(*index).and_then(|it| it.kind.as_deref());
            kind != Some("vrf")
        })
    }

    fn has_address(&self, interface: &Interface) -> bool {
        let Legs { ipv4, ipv6, .. } = self.legs;
        let is_used = |ip: &IpAddr| if ip.is_ipv4() { ipv4 } else { ipv6 };
        interface.addresses.iter().any(is_used)
    }

    /// What its packets begin with or else what stands against it, whatever is below it.
    fn stands_alone(&self, interface: &Interface) -> Result<Front, Why> {
        let is_covered = self.is_covered(interface);
        if !interface.is_up && !is_covered {
            return Err(Why::Down);
        }
        if let Some(index) = self.master(interface)
            && (!is_covered || self.is_seen_above(interface))
        {
            let master = self.named(index);
            let name = master.map_or_else(|| format!("interface {index}"), |it| it.name.clone());
            return Err(Why::PartOf(name));
        }
        if interface.kind.as_deref() == Some("vrf") {
            return Err(Why::Vrf);
        }
        if interface.link_layer == ARPHRD_LOOPBACK && !self.legs.loopback {
            return Err(Why::Loopback);
        }
        let front = Front::of(interface.link_layer).ok_or(Why::LinkLayer(interface.link_layer))?;
        if is_covered || self.has_address(interface) {
            Ok(front)
        } else {
            Err(Why::NoAddress)
        }
    }

    /// Whether its packets are seen where it is part of, or where that is part of: there the programs are, or belong.
    fn is_seen_above(&self, interface: &Interface) -> bool {
        let above = |lower: &&Interface| self.named(self.master(lower)?);
        iter::successors(above(&interface), above)
            .take(STACKED_MAX)
            .any(|upper| {
                let belongs = upper.is_up
                    && self.master(upper).is_none()
                    && self.has_address(upper)
                    && Front::of(upper.link_layer).is_some();
                self.is_covered(upper) || belongs
            })
    }

    /// Whether it hands its packets to a covered interface, and gets them from there.
    fn covered_below(&self, interface: &Interface) -> Option<Why> {
        let kind = interface.kind.as_deref()?;
        if !matches!(kind, "macvlan" | "macvtap" | "ipvlan" | "ipvtap") {
            return None;
        }
        // The kernel stacks these one high: below is no other of their kind.
        let lower = self.named(interface.lower?)?;
        self.stands_alone(lower)
            .is_ok()
            .then(|| Why::Above(lower.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Legs = Legs {
        loopback: true,
        ipv4: true,
        ipv6: true,
    };

    fn ethernet(index: u32, name: &str) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            is_up: true,
            link_layer: ARPHRD_ETHER,
            addresses: vec![[10, 0, 0, u8::try_from(index).unwrap()].into()],
            ..Interface::default()
        }
    }

    fn of_kind(kind: &str, interface: Interface) -> Interface {
        Interface {
            kind: Some(kind.to_owned()),
            ..interface
        }
    }

    fn why(interfaces: &[Interface], legs: Legs) -> Vec<String> {
        once(interfaces, legs, &[])
    }

    /// Where these are covered.
    fn once(interfaces: &[Interface], legs: Legs, covered: &[u32]) -> Vec<String> {
        let covered = covered.iter().copied().collect();
        let text = |choice| match choice {
            Choice::Cover(Front::Ethernet) => "cover".to_owned(),
            Choice::Cover(Front::Ip) => "cover, no Ethernet header".to_owned(),
            Choice::LeaveOut(why) => why.to_string(),
        };
        choose(interfaces, legs, &covered)
            .into_iter()
            .map(|(_, choice)| text(choice))
            .collect()
    }

    #[test]
    fn it_takes_a_known_link_layer_an_address_and_to_be_up() {
        let mut host = [1, 2, 3, 4, 5].map(|index| ethernet(index, "x"));
        host[1].is_up = false;
        host[2].addresses.clear();
        // A tunnel, and InfiniBand.
        host[3].link_layer = 65_534;
        host[4].link_layer = 32;
        let expected = [
            "cover",
            "down",
            "no address",
            "cover, no Ethernet header",
            "its link layer (32) is not Ethernet's, nor none",
        ];
        assert_eq!(why(&host, ALL), expected);
    }

    #[test]
    fn an_address_counts_if_legs_have_its_family() {
        let four = ethernet(2, "four");
        let mut six = ethernet(3, "six");
        six.addresses = vec!["fe80::1".parse().unwrap()];
        let host = [four, six];
        let only_four = Legs { ipv6: false, ..ALL };
        assert_eq!(why(&host, only_four), ["cover", "no address"]);
        let only_six = Legs { ipv4: false, ..ALL };
        assert_eq!(why(&host, only_six), ["no address", "cover"]);
    }

    #[test]
    fn loopback_is_covered_only_where_legs_use_it() {
        let mut lo = ethernet(1, "lo");
        lo.link_layer = ARPHRD_LOOPBACK;
        let host = [lo];
        assert_eq!(why(&host, ALL), ["cover"]);
        let remote = Legs {
            loopback: false,
            ..ALL
        };
        assert_eq!(why(&host, remote), ["no session needs it"]);
    }

    #[test]
    fn a_port_is_left_to_its_bridge_even_with_an_address() {
        let bridge = of_kind("bridge", ethernet(4, "br0"));
        let mut port = ethernet(2, "eth0");
        port.master = Some(4);
        assert_eq!(why(&[port.clone(), bridge], ALL), ["part of br0", "cover"]);
        assert_eq!(why(&[port], ALL), ["part of interface 4"]);
    }

    #[test]
    fn the_interfaces_of_a_vrf_are_covered_and_it_is_not() {
        let vrf = of_kind("vrf", ethernet(4, "blue"));
        let mut inside = ethernet(2, "eth0");
        inside.master = Some(4);
        let expected = ["cover", "a VRF: its interfaces are covered"];
        assert_eq!(why(&[inside, vrf], ALL), expected);
    }

    #[test]
    fn one_of_two_that_see_the_same_packets_is_covered() {
        let mut lower = ethernet(2, "eth0");
        let mut upper = of_kind("macvlan", ethernet(3, "mac0"));
        upper.lower = Some(2);
        let expected = ["cover", "above eth0, which is covered"];
        assert_eq!(why(&[lower.clone(), upper.clone()], ALL), expected);
        // The lower one sees tagged packets, which are not its own.
        let vlan = of_kind("vlan", upper.clone());
        assert_eq!(why(&[lower.clone(), vlan], ALL), ["cover", "cover"]);
        // A veth names its other end in the same field.
        let veth = of_kind("veth", upper.clone());
        assert_eq!(why(&[lower.clone(), veth], ALL), ["cover", "cover"]);
        lower.addresses.clear();
        assert_eq!(why(&[lower, upper], ALL), ["no address", "cover"]);
    }

    #[test]
    fn a_covered_one_stays_until_another_one_sees_its_packets() {
        let mut port = ethernet(2, "eth0");
        let mut bridge = of_kind("bridge", ethernet(4, "br0"));
        port.is_up = false;
        port.addresses.clear();
        assert_eq!(once(&[port.clone()], ALL, &[2]), ["cover"]);
        port.is_up = true;
        port.master = Some(4);
        let address = std::mem::take(&mut bridge.addresses);
        let host = [port.clone(), bridge.clone()];
        assert_eq!(once(&host, ALL, &[2]), ["cover", "no address"]);
        bridge.addresses = address;
        bridge.is_up = false;
        let host = [port.clone(), bridge.clone()];
        assert_eq!(once(&host, ALL, &[2]), ["cover", "down"]);
        bridge.is_up = true;
        let host = [port.clone(), bridge.clone()];
        let moved = ["part of br0", "cover"];
        assert_eq!(once(&host, ALL, &[2]), moved);
        assert_eq!(once(&host, ALL, &[4]), moved);
        bridge.addresses.clear();
        assert_eq!(once(&[port.clone(), bridge.clone()], ALL, &[4]), moved);
        // A bond that is part of a bridge.
        let mut bond = of_kind("bond", ethernet(3, "bond0"));
        bond.addresses.clear();
        bond.master = Some(4);
        port.master = Some(3);
        let host = [port, bond, bridge];
        let expected = ["part of bond0", "part of br0", "cover"];
        assert_eq!(once(&host, ALL, &[2, 4]), expected);
    }

    #[test]
    fn a_covered_one_below_keeps_the_packets_of_one_above() {
        let mut lower = ethernet(2, "eth0");
        lower.addresses.clear();
        let mut upper = of_kind("macvlan", ethernet(3, "mac0"));
        upper.lower = Some(2);
        let host = [lower, upper];
        let expected = ["cover", "above eth0, which is covered"];
        assert_eq!(once(&host, ALL, &[2]), expected);
        assert_eq!(once(&host, ALL, &[3]), ["no address", "cover"]);
    }
}
