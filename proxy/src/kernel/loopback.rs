//! Whether lo takes back an IPv4 packet that a program puts into it. Such a packet has lost its route, and the kernel looks for one as if it had
//! come from outside: it refuses 127/8 addresses there unless `net.ipv4.conf.lo.route_localnet` is on (drop reason `IP_LOCALNET`), and any source
//! address of this host's own unless `net.ipv4.conf.lo.accept_local` is (`fib_validate_source`). Without them it passes only while the receiving
//! socket has a route cached, and any change of addresses or routes on the host takes that away. IPv6 has no such checks.

use std::{fs, io, path::PathBuf};

/// Where the kernel shows the settings of the network namespace of the thread that looks.
const FOLDER: &str = "/proc/sys/net/ipv4/conf";
/// The settings. The kernel takes either of `lo`'s and `all`'s for on.
const SETTINGS: [&str; 2] = ["route_localnet", "accept_local"];

/// How the settings stand, and the duty to put them back.
#[derive(Debug)]
pub enum Loopback {
    /// They are on.
    Open,
    /// They are on since now; put back when this is dropped. A daemon keeps them ([`Loopback::keep`]).
    OpenUntilDropped(Restore),
    /// One is off and stays so.
    Closed(&'static str, io::Error),
}

/// Puts settings back when it is dropped.
#[derive(Debug)]
pub struct Restore(Vec<&'static str>);

impl Drop for Restore {
    fn drop(&mut self) {
        for setting in &self.0 {
            if let Err(error) = fs::write(path("lo", setting), "0") {
                tracing::debug!(setting, %error, "a setting of lo stays on");
            }
        }
    }
}

impl Loopback {
    /// Turns them on in the namespace of this thread, where they are not; one log line where that fails. Drop the result in the same namespace.
    pub fn open() -> Self {
        let mut set = Restore(Vec::new());
        for setting in SETTINGS {
            if ["all", "lo"].into_iter().any(|name| is_on(name, setting)) {
                continue;
            }
            if let Err(error) = fs::write(path("lo", setting), "1") {
                let closed = Self::Closed(setting, error);
                tracing::warn!(
                    reason = closed.text(),
                    "IPv4 sessions with a client or node on this host are not spliced below the sockets"
                );
                return closed;
            }
            set.0.push(setting);
        }
        if set.0.is_empty() {
            return Self::Open;
        }
        Self::OpenUntilDropped(set)
    }

    /// Leaves the settings on for good; one log line where some were off. Another daemon in the namespace may have come to need them by the time that this
    /// one ends; and for lo alone they open nothing, as only this host sends there.
    #[must_use]
    pub fn keep(self) -> Self {
        match self {
            Self::OpenUntilDropped(mut set) => {
                tracing::info!(
                    settings = set.0.join(", "),
                    "net.ipv4.conf.lo: these are 1 from now on"
                );
                set.0.clear();
                Self::Open
            }
            Self::Open | Self::Closed(..) => self,
        }
    }

    /// Whether IPv4 sessions with an end on this host may use the wire.
    pub const fn is_open(&self) -> bool {
        !matches!(self, Self::Closed(..))
    }

    /// In words, for operators.
    pub fn text(&self) -> String {
        let name = |setting: &str| format!("net.ipv4.conf.lo.{setting}");
        match self {
            Self::Open => SETTINGS.map(|setting| name(setting) + " is 1").join(", "),
            Self::OpenUntilDropped(Restore(set)) => {
                let set: Vec<_> = set.iter().map(|setting| name(setting) + " is 0").collect();
                set.join(", ") + "; the daemon sets it to 1"
            }
            Self::Closed(setting, error) => {
                format!("{} is 0 and cannot be set: {error}", name(setting))
            }
        }
    }
}

fn path(interface: &str, setting: &str) -> PathBuf {
    [FOLDER, interface, setting].iter().collect()
}

fn is_on(interface: &str, setting: &str) -> bool {
    fs::read_to_string(path(interface, setting)).is_ok_and(|value| value.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::test_network::network;

    #[test]
    fn what_is_off_is_turned_on_and_put_back_by_who_did_so() {
        network(|_network| {
            let are = |value: bool| assert!(SETTINGS.iter().all(|name| is_on("lo", name) == value));
            are(false);
            let first = Loopback::open();
            assert!(matches!(first, Loopback::OpenUntilDropped(_)) && first.is_open());
            are(true);
            let second = Loopback::open();
            assert!(matches!(second, Loopback::Open) && second.is_open());
            drop(second);
            are(true);
            drop(first);
            are(false);
            fs::write(path("all", "route_localnet"), "1").unwrap();
            let third = Loopback::open();
            let text = "net.ipv4.conf.lo.accept_local is 0; the daemon sets it to 1";
            assert_eq!(third.text(), text);
            assert!(!is_on("lo", "route_localnet"));
            fs::write(path("all", "accept_local"), "1").unwrap();
            assert!(matches!(Loopback::open(), Loopback::Open));
        });
    }

    #[test]
    fn a_daemon_leaves_them_on_for_others() {
        network(|_network| {
            let first = Loopback::open().keep();
            assert!(matches!(first, Loopback::Open) && first.is_open());
            drop(first);
            assert!(SETTINGS.iter().all(|name| is_on("lo", name)));
        });
    }

    #[test]
    fn what_cannot_be_set_is_said() {
        let closed = Loopback::Closed("accept_local", io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(!closed.is_open());
        let text = "net.ipv4.conf.lo.accept_local is 0 and cannot be set: read-only";
        assert!(closed.text().starts_with(text), "{}", closed.text());
    }
}
