//! Networks of one's own: Linux's network namespaces, without names.
//!
//! A namespace lives as long as a descriptor of it, a process or a socket in it. This process holds the descriptor and its children die
//! with it ([`crate::process`]), so that nothing is left however the test process ends.

use crate::{place, server, wait};
use anyhow::{Context as _, Result};
use std::{
    fs::{self, File},
    io,
    net::IpAddr,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
    process::{self, Command},
    sync::{Mutex, PoisonError},
    thread,
};

/// A network namespace; it goes when this is dropped and the last process in it has ended.
#[derive(Debug)]
pub struct Netns {
    file: File,
    /// What `/etc/hosts` holds for the programs that [`Netns::inside`] starts.
    names: Mutex<String>,
    /// What `/etc/resolv.conf` holds for them; none: the machine's.
    resolver: Mutex<Option<String>>,
}

impl Netns {
    /// Makes one that has nothing but loopback; needs root.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn new() -> Result<Self> {
        let made = thread::spawn(|| -> Result<File> {
            #[expect(unsafe_code, reason = "unshare(2) has no safe wrapper in std")]
            // SAFETY: it changes the network of this thread only, which ends right behind.
            let code = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            if code != 0 {
                return Err(io::Error::last_os_error()).context("a new network namespace");
            }
            current()
        });
        let netns = Self {
            file: wait::joined(made.join(), "the thread that makes a network")??,
            names: Mutex::new("127.0.0.1 localhost\n::1 localhost\n".to_owned()),
            resolver: Mutex::default(),
        };
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Runs `ip` with these arguments in this network; returns what it printed.
    ///
    /// # Errors
    ///
    /// When `ip` fails, with its words.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        self.enter(|| server::run(Command::new("ip").args(arguments)))?
            .with_context(|| format!("ip {}", arguments.join(" ")))
    }

    /// Gives loopback one more address.
    ///
    /// # Errors
    ///
    /// When `ip` fails.
    pub fn add(&self, address: IpAddr) -> Result<()> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        self.ip(&["address", "add", &format!("{address}/{bits}"), "dev", "lo"])?;
        self.name(address, "e2e-host");
        Ok(())
    }

    /// Gives an address a name that the programs of [`Netns::inside`] find: a server that cannot look an address up takes it for nobody's,
    /// or waits.
    pub fn name(&self, address: IpAddr, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.extend([&address.to_string(), " ", name, "\n"]);
    }

    /// Has the programs of [`Netns::inside`] ask the name server at this address for other names, once each, and wait half a minute.
    pub fn ask_at(&self, name_server: IpAddr) {
        let text = format!("nameserver {name_server}\noptions attempts:1 timeout:30\n");
        *self.resolver.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// Its descriptor's name, for programs that take one where others take a namespace's.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            process::id(),
            self.file.as_raw_fd()
        ))
    }

    /// The same command, run in this network, with its names in `/etc/hosts` and its name server in `/etc/resolv.conf`. (`ip netns exec` would do this too, but hides the cgroup
    /// mounts.)
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn inside(&self, command: &Command) -> Result<Command> {
        let place = place::fresh("netns")?;
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        fs::write(place.join("hosts"), &*names)?;
        let resolver = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        let mount = |file| format!("mount --bind \"$0/{file}\" /etc/{file} && ");
        let mut mounts = mount("hosts");
        if let Some(resolver) = &*resolver {
            fs::write(place.join("resolv.conf"), resolver)?;
            mounts += &mount("resolv.conf");
        }
        let mut outer = Command::new("nsenter");
        outer
            .arg(format!("--net={}", self.path().display()))
            .args(["--", "unshare", "--mount", "sh", "-c"])
            .arg(mounts + "exec \"$@\"")
            .arg(place)
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            outer.current_dir(folder);
        }
        Ok(outer)
    }

    /// Runs `body` on a thread of this network: the sockets, threads and processes that it makes are of this network.
    ///
    /// # Errors
    ///
    /// When the network cannot be entered or `body` panics.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        on_a_thread_in(&self.file, body)
    }
}

/// Runs `body` on a thread of the machine's own network, wherever the caller is: for what needs the Internet.
///
/// # Errors
///
/// As [`Netns::enter`].
pub fn at_home<T: Send>(body: impl FnOnce() -> T + Send) -> Result<T> {
    match foreign()? {
        // The first thread of the process never enters a network.
        Some(_) => on_a_thread_in(&File::open("/proc/self/ns/net")?, body),
        None => Ok(body()),
    }
}

/// The caller's network, if it is not the machine's own.
///
/// # Errors
///
/// When /proc cannot be read.
pub(crate) fn foreign() -> Result<Option<File>> {
    let own = current()?;
    let home = fs::metadata("/proc/self/ns/net")?.ino();
    Ok((own.metadata()?.ino() != home).then_some(own))
}

fn current() -> Result<File> {
    File::open("/proc/thread-self/ns/net").context("this thread's network namespace")
}

fn on_a_thread_in<T: Send>(netns: &File, body: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let inside = scope.spawn(move || {
            set(netns).context("enter a network namespace")?;
            Ok(body())
        });
        wait::joined(inside.join(), "the thread within the network")?
    })
}

/// Moves the calling thread. Async-signal-safe.
pub(crate) fn set(netns: &File) -> io::Result<()> {
    #[expect(unsafe_code, reason = "setns(2) has no safe wrapper in std")]
    // SAFETY: the descriptor is open while it is borrowed; the call changes this thread's network only.
    let code = unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
