//! What else is to be known of an interface: whether its hardware glues segments together, and whose programs share our hooks.
#![expect(unsafe_code, reason = "an ioctl that no library of ours offers")]

use std::{io, net::UdpSocket, os::fd::AsRawFd};

use aya::programs::{SchedClassifier, TcAttachType};

use super::{Front, Interface, attach::programs, filters};

/// `ETHTOOL_GFLAGS` and `ETH_FLAG_LRO` of `linux/ethtool.h`.
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether large receive offload is on. It loses where segments began, so what the wire sends on may be larger than the path.
///
/// # Errors
/// Those of the call; `EOPNOTSUPP` where the driver has no such flags.
pub fn has_lro(name: &str) -> io::Result<bool> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut value = Value {
        command: ETHTOOL_GFLAGS,
        data: 0,
    };
    // SAFETY: integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // A name of the kernel's is shorter than the field, which stays terminated.
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the call reads `command` and writes `data`, both alive until it returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 {
        Ok(value.data & ETH_FLAG_LRO != 0)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A program or filter on an interface that is not Sluice's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// `ingress` or `egress`.
    pub hook: &'static str,
    /// The program's name, or the kind of a filter that has none.
    pub name: String,
    /// The kernel's number of the program; none of a filter that is no program.
    pub id: Option<u32>,
    /// It sees packets before ours; none where ours is not there.
    pub is_before: Option<bool>,
}

/// Who shares our hooks: programs of TCX, and behind them the filters of `clsact`.
pub fn foreign_programs(interface: &Interface) -> Vec<Foreign> {
    let mut found = Vec::new();
    let Some(front) = Front::of(interface.link_layer) else {
        return found;
    };
    for (own, hook) in programs(front) {
        // A kernel without TCX has none, and names take `CAP_SYS_ADMIN`.
        let programs = match SchedClassifier::query_tcx(&interface.name, hook) {
            Ok((_revision, programs)) => programs,
            Err(_) => Vec::new(),
        };
        let programs = programs.iter().map(|program| {
            let name = program.name_as_str().unwrap_or("without a name");
            (name.to_owned(), Some(program.id()))
        });
        let filters = filters::of(interface.index, hook).unwrap_or_default();
        let in_turn: Vec<_> = programs.chain(filters).collect();
        found.extend(others(in_turn, own, hook_name(hook)));
    }
    found
}

const fn hook_name(hook: TcAttachType) -> &'static str {
    match hook {
        TcAttachType::Egress => "egress",
        TcAttachType::Ingress | TcAttachType::Custom(_) => "ingress",
    }
}

/// Those of a hook's programs, in the order in which they run, that are not ours.
fn others(programs: Vec<filters::Named>, own: &str, hook: &'static str) -> Vec<Foreign> {
    // The kernel keeps 15 bytes of a program's name.
    let is_own =
        |name: &str| !name.is_empty() && name.len() >= own.len().min(15) && own.starts_with(name);
    let at = programs.iter().position(|(name, _)| is_own(name));
    programs
        .into_iter()
        .enumerate()
        .filter(|(_, (name, _))| !is_own(name))
        .map(|(index, (name, id))| Foreign {
            hook,
            name,
            id,
            is_before: at.map(|at| index < at),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_are_told_from_ours_by_name_and_place() {
        let named = |names: &[&str]| -> Vec<filters::Named> {
            names
                .iter()
                .zip(1..)
                .map(|(name, id)| ((*name).to_owned(), Some(id)))
                .collect()
        };
        let programs = named(&["filter", "wire_ingress", "count"]);
        let found = others(programs, "wire_ingress", "ingress");
        let told: Vec<_> = found
            .iter()
            .map(|foreign| (foreign.name.as_str(), foreign.id, foreign.is_before))
            .collect();
        assert_eq!(
            told,
            [
                ("filter", Some(1), Some(true)),
                ("count", Some(3), Some(false))
            ]
        );
        let found = others(named(&["filter"]), "wire_egress", "egress");
        assert_eq!((found[0].hook, found[0].is_before), ("egress", None));
        assert!(others(named(&["wire_egress"]), "wire_egress", "egress").is_empty());
        // Those for the one kind of interface and for the other.
        let ip = "wire_ingress_ip";
        assert!(others(named(&[ip]), ip, "ingress").is_empty());
        for (there, own) in [(ip, "wire_ingress"), ("wire_ingress", ip)] {
            assert_eq!(others(named(&[there]), own, "ingress").len(), 1);
        }
    }

    #[test]
    fn loopback_glues_nothing() {
        assert!(!has_lro("lo").unwrap());
        assert!(has_lro("no-such-one").is_err());
    }
}
