//! A network of one's own, whose only host has an address outside of 127.0.0.0/8.
//!
//! Servers treat the loopback address specially: MariaDB keeps no record of failed handshakes for it (`is_ip_loopback` in
//! `sql/hostname.cc`), so what a proxy does to `max_connect_errors` shows only from another address.

use crate::{place, server, wait};
use anyhow::{Context as _, Result};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd as _,
    path::PathBuf,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

/// A named network namespace; dropping it removes it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one; needs root.
    ///
    /// # Errors
    ///
    /// When `ip` fails.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sluice-e2e-{}-{}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        server::run(Command::new("ip").args(["netns", "add", &name]))?;
        let netns = Self { name };
        server::run(Command::new("ip").args(["-n", &netns.name, "link", "set", "lo", "up"]))?;
        netns.add(netns.address())?;
        Ok(netns)
    }

    /// The host's address.
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1))
    }

    /// Gives the host one more address.
    ///
    /// # Errors
    ///
    /// When `ip` fails.
    pub fn add(&self, address: IpAddr) -> Result<()> {
        let address = format!("{address}/32");
        server::run(
            Command::new("ip").args(["-n", &self.name, "address", "add", &address, "dev", "lo"]),
        )?;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// The same command, run in this network, where the address has a name: a server that cannot look it up for the moment counts
    /// nothing either. (`ip netns exec` would do this too, but hides the cgroup mounts.)
    ///
    /// # Errors
    ///
    /// When the file of names cannot be written.
    pub fn inside(&self, command: &Command) -> Result<Command> {
        let hosts = place::fresh("netns")?.join("hosts");
        fs::write(
            &hosts,
            format!("127.0.0.1 localhost\n{} e2e-host\n", self.address()),
        )?;
        let mut outer = Command::new("nsenter");
        outer
            .arg(format!("--net={}", self.path().display()))
            .args(["--", "unshare", "--mount", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"")
            .arg(hosts)
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            outer.current_dir(folder);
        }
        Ok(outer)
    }

    /// Runs `body` on a thread of this network: the sockets that it makes are of this network.
    ///
    /// # Errors
    ///
    /// When the network cannot be entered or `body` panics.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let file = fs::File::open(self.path())
            .with_context(|| format!("open {}", self.path().display()))?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                #[expect(unsafe_code, reason = "setns(2) has no safe wrapper in std")]
                // SAFETY: the descriptor is open; the call changes this thread's network only, and the thread ends with `body`.
                let code = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
                if code != 0 {
                    return Err(io::Error::last_os_error()).context("setns");
                }
                Ok(body())
            });
            wait::joined(inside.join(), "the thread within the network")?
        })
    }

    /// Removes the networks of test processes that are gone.
    pub fn sweep() {
        let Ok(entries) = fs::read_dir("/run/netns") else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name
                .strip_prefix("sluice-e2e-")
                .and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|pid| !PathBuf::from("/proc").join(pid).exists()) {
                drop(Self { name });
            }
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // What is left is removed at the next start.
        drop(server::run(
            Command::new("ip").args(["netns", "delete", &self.name]),
        ));
    }
}
