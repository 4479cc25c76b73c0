//! The kernel's half, from the daemon: loads and attaches the programs, keeps their maps. One [`Kernel`] a process; when it is dropped
//! (or the process dies) every program, link and map is gone, nothing is pinned. But for filters on kernels without TCX (before 6.6): behind a process that is killed these stay, and pass
//! everything, as what they would go on in is gone ([`interfaces`]).

pub mod btf;
pub mod capture;
pub mod cgroup;
pub mod interfaces;
mod listeners;
pub mod loopback;
pub mod probe;
pub mod quiesce;
pub mod record;
mod reroute;
pub mod self_test;
mod strays;
#[cfg(test)]
pub(crate) mod test_network;

use std::{
    collections::BTreeSet,
    fs::File,
    future::pending,
    io, mem,
    net::SocketAddr,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, Map, MapData, SockHash},
    programs::{CgroupAttachMode, SkMsg, SockOps},
};
use rustix::thread::CapabilitySet;
use sluice_ebpf::record::NODE_PORTS;

use self::{
    btf::Types,
    capture::Bindings,
    interfaces::{Changes, Coverage, Legs},
    listeners::Listeners,
    record::{Records, Slot},
    reroute::{Found, Turn},
    strays::{Stray, Strays},
};
use crate::pause::pause;

/// The programs, built by `build.rs` from `proxy-ebpf/programs`.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(env!("SLUICE_EBPF_OBJECT"));

/// Why the kernel cannot splice for us.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Field offsets are not known.
    #[error(transparent)]
    Btf(#[from] btf::BtfError),
    /// The kernel is too old for the programs.
    #[error("this kernel ({0}) has no bpf_loop, the programs need 5.17 or later")]
    NoLoop(String),
    /// No cgroup v2 to attach to.
    #[error("no cgroup v2 is mounted (looked in /proc/mounts)")]
    NoCgroup,
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program was refused.
    #[error("{what}: {source}")]
    Program {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: aya::programs::ProgramError,
    },
    /// The object was refused.
    #[error("loading the BPF maps: {0}")]
    Load(#[from] aya::EbpfError),
    /// A map operation failed.
    #[error("map {0}: {1}")]
    Map(&'static str, aya::maps::MapError),
    /// The object has no such part: daemon and programs were not built together.
    #[error("the BPF object has no {0}")]
    Missing(&'static str),
}

/// How many times longer than a look at the host the pause behind it is, and how long at most: sessions stand still meanwhile.
const PAUSE: u32 = 20;
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The loaded programs and their maps.
#[derive(Debug)]
pub struct Kernel {
    listeners: Listeners,
    coverage: Option<Coverage>,
    changes: Changes,
    ebpf: Ebpf,
    records: Arc<Records>,
    strays: Strays,
    /// How long those may wait.
    patience: Duration,
    /// Those that have, by their numbers, to be told of.
    lost: Vec<u64>,
}

impl Kernel {
    /// Loads and attaches everything, with room for `sessions` sessions at once. From then on connections to
    /// [`Kernel::listen`]ed addresses are captured, `own_namespace_only` says from where.
    ///
    /// # Errors
    /// What is missing: capability, kernel option or cgroup v2.
    pub fn load(sessions: u32, own_namespace_only: bool) -> Result<Self, KernelError> {
        if !probe::has_loop() {
            return Err(KernelError::NoLoop(probe::release()));
        }
        let types = Types::of_this_kernel()?;
        let copied_seq = types.offset_of("tcp_sock", "copied_seq")?;
        let write_seq = types.offset_of("tcp_sock", "write_seq")?;
        let rmem_alloc = types.offset_of("sock", "sk_backlog.rmem_alloc")?;
        // Before anything of the host is looked at: what changes after that is told.
        let changes = Changes::subscribe().map_err(io_error("rtnetlink"))?;
        let namespace = capture::namespace_cookie().map_err(io_error("SO_NETNS_COOKIE"))?;
        let own_namespace_only = u32::from(own_namespace_only);
        let mut ebpf = EbpfLoader::new()
            .verifier_log_level(VerifierLogLevel::STATS)
            .override_global("OFFSET_COPIED_SEQ", &copied_seq, true)
            .override_global("OFFSET_WRITE_SEQ", &write_seq, true)
            .override_global("OFFSET_RMEM_ALLOC", &rmem_alloc, true)
            .override_global("NETNS_COOKIE", &namespace, true)
            .override_global("OWN_NAMESPACE_ONLY", &own_namespace_only, true)
            .override_global("WIRE_MARK", &wire_mark()?, true)
            .map_max_entries("SESSIONS", sessions)
            .map_max_entries("SOCKETS", sessions.saturating_mul(2))
            .map_max_entries("BINDINGS", sessions.saturating_mul(2))
            .map_max_entries("LOCKS", sessions)
            .load(PROGRAMS)?;
        let records = match ebpf.map("SESSIONS") {
            Some(Map::Array(data)) => {
                Records::map(data.fd().as_fd(), sessions).map_err(io_error("mmap of SESSIONS"))?
            }
            _ => return Err(KernelError::Missing("map SESSIONS")),
        };
        attach(&mut ebpf)?;
        Ok(Self {
            listeners: Listeners::default(),
            coverage: None,
            changes,
            ebpf,
            records: Arc::new(records),
            strays: Strays::default(),
            patience: Duration::ZERO,
            lost: Vec::new(),
        })
    }

    /// Has the programs know this address as the daemon's, and connections of this host to it captured (see [`Kernel::capture_clients`]); for a
    /// wildcard that is every address of this host, also (see [`Kernel::follow`]) those that come later.
    ///
    /// # Errors
    /// Where the map is full.
    pub fn listen(&mut self, address: SocketAddr) -> Result<(), KernelError> {
        self.listeners.add(address);
        self.set_port(0, address.port())?;
        let host = interfaces::interfaces().map_err(io_error("interfaces of this host"))?;
        self.listeners.refresh(&mut self.ebpf, &host)
    }

    /// Whether clients of this host that connect from now on have their sockets captured; at first they have.
    pub fn capture_clients(&mut self, captures: bool) {
        self.listeners.capture(captures);
        self.refresh();
    }

    /// Whether they have.
    pub const fn captures_clients(&self) -> bool {
        self.listeners.captures()
    }

    /// Has connections to this address left alone again.
    fn unlisten(&mut self, address: SocketAddr) {
        self.listeners.remove(address);
        self.refresh();
    }

    /// Puts the wire's programs on every interface that may carry such legs. `port` is the one that the daemon listens on. What stands against
    /// single interfaces is logged, and told by [`Kernel::coverage`].
    ///
    /// # Errors
    /// Where the programs cannot be loaded or the interfaces not be listed.
    pub fn cover(&mut self, legs: Legs, port: u16) -> Result<(), KernelError> {
        let host = interfaces::interfaces().map_err(io_error("interfaces of this host"))?;
        let mut coverage = Coverage::load(&mut self.ebpf, legs, port)?;
        coverage.refresh(&mut self.ebpf, &host, &BTreeSet::new());
        self.coverage = Some(coverage);
        Ok(())
    }

    /// Has the wire's programs look at packets between this host and this port of a node. Those of other ports they let pass unseen, but for
    /// the listeners' (see [`Kernel::listen`]).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch_port(&mut self, port: u16) -> Result<(), KernelError> {
        self.set_port(NODE_PORTS, port)
    }

    fn set_port(&mut self, first_word: u32, port: u16) -> Result<(), KernelError> {
        let map = self
            .ebpf
            .map_mut("PORTS")
            .ok_or(KernelError::Missing("map PORTS"))?;
        let failed = |error| KernelError::Map("PORTS", error);
        let mut words: Array<&mut MapData, u64> = Array::try_from(map).map_err(failed)?;
        let index = first_word + u32::from(port / 64);
        let word = words.get(&index, 0).map_err(failed)?;
        words.set(index, word | 1 << (port % 64), 0).map_err(failed)
    }

    /// Takes the wire's programs off every interface again.
    pub fn uncover(&mut self) {
        self.coverage = None;
    }

    /// Whether there are programs of the wire.
    pub fn can_cover(&self) -> bool {
        interfaces::all_programs().all(|name| self.ebpf.program(name).is_some())
    }

    /// Our program on the cgroup.
    pub fn captures_by(&self) -> Option<cgroup::Identity> {
        let program = self.ebpf.program("capture")?.info().ok()?;
        Some(cgroup::Identity {
            id: program.id(),
            tag: program.tag(),
        })
    }

    /// What [`Kernel::follow`], and the end, still take of what loading took.
    pub fn needed_later(&self) -> CapabilitySet {
        match &self.coverage {
            Some(coverage) if !coverage.is_free() => CapabilitySet::NET_ADMIN,
            _ => CapabilitySet::empty(),
        }
    }

    /// How interfaces stand, after [`Kernel::cover`].
    pub const fn coverage(&self) -> Option<&Coverage> {
        self.coverage.as_ref()
    }

    /// How long sessions on the wire may wait for a way over covered interfaces.
    pub const fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Keeps up with this host's interfaces, addresses and routes for as long as it is polled, in the network namespace of the thread that loaded the
    /// programs. Returns the numbers of sessions on the wire that have waited too long for a way over covered interfaces.
    ///
    /// # Errors
    /// Where the kernel tells of changes no more.
    pub async fn follow(&mut self) -> io::Result<Vec<u64>> {
        let watch = self.changes.watch()?;
        loop {
            if !self.lost.is_empty() {
                return Ok(mem::take(&mut self.lost));
            }
            let next_look = self.strays.next_look(self.patience);
            let wait = async {
                match next_look {
                    Some(at) => pause(at.saturating_duration_since(Instant::now())).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = watch.changed() => changed?,
                () = wait => {}
            }
            let began = Instant::now();
            self.refresh();
            // Where routes change all the time (a router's, by thousands) most of the time is left for others.
            let rest = PAUSE_MAX.min(began.elapsed() * PAUSE);
            pause(rest).await;
        }
    }

    /// Looks at the host's interfaces anew.
    fn refresh(&mut self) {
        let host = match interfaces::interfaces() {
            Ok(host) => host,
            Err(error) => {
                tracing::warn!(%error, "the interfaces of this host cannot be listed");
                return;
            }
        };
        if let Err(error) = self.listeners.refresh(&mut self.ebpf, &host) {
            tracing::warn!(
                error = chain(&error),
                "clients of some addresses are relayed"
            );
        }
        let Some(coverage) = &mut self.coverage else {
            return;
        };
        let ask = |coverage: &Coverage| {
            let found = reroute::turns(&self.records, &host, |index| {
                coverage.seen().contains(&index)
            });
            found.unwrap_or_else(|error| {
                tracing::warn!(%error, "the ways of sessions on the wire are not known");
                Found::default()
            })
        };
        let mut found = ask(coverage);
        let used = found.turns.iter().map(Turn::interface).collect();
        let before = coverage.seen().clone();
        coverage.refresh(&mut self.ebpf, &host, &used);
        if !before.is_subset(coverage.seen()) {
            // Ways may lead over one that was let go.
            found = ask(coverage);
        }
        // Behind the programs, which what comes back by the new way must meet.
        let is_covered = |turn: &&Turn| coverage.seen().contains(&turn.interface());
        let covered = found.turns.iter().filter(is_covered);
        let connections = covered.filter(|turn| turn.take()).count();
        if connections > 0 {
            tracing::info!(connections, "wire: they leave by another interface");
        }
        let strays = found.turns.iter().filter(|turn| !is_covered(turn));
        let strays: Vec<Stray> = strays.map(Turn::stray).chain(found.lost).collect();
        let patience = if coverage.is_guarded() {
            self.patience
        } else {
            Duration::ZERO
        };
        self.take_care(strays, patience);
    }

    /// Has no regime begin where a peer is reached by what is not covered, nor any session wait for ever.
    fn take_care(&mut self, strays: Vec<Stray>, patience: Duration) {
        let steps = self.strays.look(strays, Instant::now(), patience);
        let slot = |index: &u32| Slot::new(&self.records, *index);
        let resumed: Vec<_> = steps.resume.iter().filter_map(slot).collect();
        resumed.iter().for_each(Slot::resume);
        steps
            .pause
            .iter()
            .filter_map(slot)
            .for_each(|slot| slot.pause());
        if !resumed.is_empty() {
            let sessions = resumed.len();
            tracing::info!(
                sessions,
                "wire: spliced again, as the ways to the peers are covered"
            );
        }
        if steps.paused > 0 {
            tracing::info!(
                sessions = steps.paused,
                "wire: not spliced, as the way to a peer leads over an interface that is not covered"
            );
        }
        if steps.held > 0 {
            tracing::warn!(
                sessions = steps.held,
                "wire: held, as the way to a peer leads over an interface that is not covered"
            );
        }
        self.lost = steps.end;
    }

    /// The sessions' records.
    pub const fn records(&self) -> &Arc<Records> {
        &self.records
    }

    /// A handle to say which connections belong to which session; each worker has its own.
    ///
    /// # Errors
    /// Where file descriptors run out.
    pub fn bindings(&self) -> Result<Bindings, KernelError> {
        Bindings::new(self.copy("BINDINGS")?, self.copy("ENDS")?)
    }

    /// A descriptor of one's own for a map.
    fn copy(&self, name: &'static str) -> Result<MapData, KernelError> {
        let Some(Map::HashMap(data) | Map::SkStorage(data)) = self.ebpf.map(name) else {
            return Err(KernelError::Missing(name));
        };
        let fd = data
            .fd()
            .as_fd()
            .try_clone_to_owned()
            .map_err(io_error(name))?;
        MapData::from_fd(fd).map_err(|error| KernelError::Map(name, error))
    }
}

/// A mark of this daemon's own: another one on the host must not take its packets for those that it has seen itself. Never 0, which is no mark.
fn wire_mark() -> Result<u32, KernelError> {
    let mark = getrandom::u32().map_err(|error| KernelError::Io {
        what: "random numbers",
        source: error.into(),
    })?;
    Ok(mark | 1)
}

/// An error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

/// Names what was tried.
fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::Io { what, source }
}

/// Loads the programs and attaches them: first to the sock hash, then to the cgroup, so that no socket enters before them.
fn attach(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let sockets = match ebpf.map("SOCKETS") {
        Some(map @ Map::SockHash(_)) => {
            let hash: SockHash<&MapData, u64> =
                SockHash::try_from(map).map_err(|error| KernelError::Map("SOCKETS", error))?;
            hash.fd().try_clone().map_err(io_error("SOCKETS"))?
        }
        _ => return Err(KernelError::Missing("map SOCKETS")),
    };
    let failed = |what| move |source| KernelError::Program { what, source };
    let msg: &mut SkMsg = program(ebpf, "msg")?;
    msg.load().map_err(failed("loading sk_msg"))?;
    msg.attach(&sockets).map_err(failed("attaching sk_msg"))?;
    let cgroup = probe::cgroup_root().ok_or(KernelError::NoCgroup)?;
    let cgroup = File::open(cgroup).map_err(io_error("opening the cgroup v2 root"))?;
    let capture: &mut SockOps = program(ebpf, "capture")?;
    capture.load().map_err(failed("loading sock_ops"))?;
    // A link, and links stack: other programs on this cgroup go on (with any other flag the kernel refuses).
    capture
        .attach(cgroup, CgroupAttachMode::Single)
        .map_err(failed("attaching sock_ops to the cgroup"))?;
    Ok(())
}

/// A program by its name and kind.
fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    let program = ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
    program
        .try_into()
        .map_err(|_other_kind| KernelError::Missing(name))
}

#[cfg(test)]
mod tests;
