//! `net.ipv4.conf.lo.route_localnet`: whether a packet with 127/8 addresses that a program puts back into lo is accepted. Such a packet has
//! lost its route. Without this it passes only while the receiving socket has a route cached, and any change of addresses or
//! routes on the host takes that away (the packet is then dropped with reason `IP_LOCALNET`).

use std::{fs, io, path::PathBuf};

/// Where the kernel shows the settings of the network namespace of the thread that looks.
const SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// How the setting stands, and the duty to put it back.
#[derive(Debug)]
pub enum RouteLocalnet {
    /// It was on.
    WasOn,
    /// It is on since now; put back when this is dropped. (Another daemon in the same namespace that finds it on then loses it.)
    SetUntilDropped(Restore),
    /// It is off and stays so.
    Off(io::Error),
}

/// Puts the setting back when it is dropped.
#[derive(Debug)]
pub struct Restore(());

impl Drop for Restore {
    fn drop(&mut self) {
        if let Err(error) = fs::write(path("lo"), "0") {
            tracing::debug!(%error, "route_localnet stays on");
        }
    }
}

impl RouteLocalnet {
    /// Turns it on in the namespace of this thread, if it is not; one log line where that fails or something was changed. Drop
    /// the result in the same namespace.
    pub fn turn_on() -> Self {
        // The kernel takes either for on.
        if ["all", "lo"].into_iter().any(is_on) {
            return Self::WasOn;
        }
        match fs::write(path("lo"), "1") {
            Ok(()) => {
                tracing::info!("net.ipv4.conf.lo.route_localnet is 1 until the end");
                Self::SetUntilDropped(Restore(()))
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "net.ipv4.conf.lo.route_localnet is 0 and cannot be set: sessions with 127/8 addresses do not use the wire"
                );
                Self::Off(error)
            }
        }
    }

    /// Whether sessions with 127/8 addresses may use the wire.
    pub const fn can_loop(&self) -> bool {
        !matches!(self, Self::Off(_))
    }

    /// In words, for operators.
    pub fn text(&self) -> String {
        match self {
            Self::WasOn => "net.ipv4.conf.lo.route_localnet is 1".to_owned(),
            Self::SetUntilDropped(_) => {
                "net.ipv4.conf.lo.route_localnet is 0; the daemon sets it while it runs".to_owned()
            }
            Self::Off(error) => {
                format!("net.ipv4.conf.lo.route_localnet is 0 and cannot be set: {error}")
            }
        }
    }
}

fn path(interface: &str) -> PathBuf {
    [SETTINGS, interface, "route_localnet"].iter().collect()
}

fn is_on(interface: &str) -> bool {
    fs::read_to_string(path(interface)).is_ok_and(|value| value.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::test_network::network;

    #[test]
    fn it_is_turned_on_once_and_put_back_by_who_did_so() {
        network(|_network| {
            assert!(!is_on("lo"));
            let first = RouteLocalnet::turn_on();
            assert!(matches!(first, RouteLocalnet::SetUntilDropped(_)) && first.can_loop());
            assert!(is_on("lo"));
            let second = RouteLocalnet::turn_on();
            assert!(matches!(second, RouteLocalnet::WasOn) && second.can_loop());
            drop(second);
            assert!(is_on("lo"));
            drop(first);
            assert!(!is_on("lo"));
            fs::write(path("all"), "1").unwrap();
            assert!(matches!(RouteLocalnet::turn_on(), RouteLocalnet::WasOn));
        });
    }

    #[test]
    fn what_cannot_be_set_is_said() {
        let off = RouteLocalnet::Off(io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(!off.can_loop());
        assert!(
            off.text().contains("cannot be set: read-only"),
            "{}",
            off.text()
        );
    }
}
