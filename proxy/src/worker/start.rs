//! From settings to running workers, and their end.

use std::{
    cell::{Cell, RefCell},
    net::{SocketAddr, TcpListener},
    num::NonZero,
    rc::Rc,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::thread::CapabilitySet;
use sluice_ebpf::reason::RelayReason;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, unbounded_channel},
    },
    task::LocalSet,
};

use super::{
    Process, RunError, SCRATCH_BYTES, Worker, accept,
    admission::Admissions,
    certificate, configure,
    cover::{self, Cover, Lacks},
    daemon,
    keeper::Keeper,
    linger,
    mailbox::{self, Mail},
    nodes::{self, Nodes},
    overdue,
    registry::Registry,
    rounds, vanished,
};
use crate::{
    config::{Namespaces, Origin, PathChoice, Settings, Splice},
    kernel::{Kernel, KernelError, capture::Bindings, record::Records, self_test},
    log::LogHandle,
    net::{self, outbox::Outbox, tls::Trust},
    node::{Health, Monitor},
    privilege,
    session::IdSequence,
};

/// How long a worker's end waits for what blocks a thread: a change of the configuration's file is done by then, a name server that is silent
/// is not waited for.
const PATIENCE_WITH_BLOCKING: Duration = Duration::from_secs(1);

/// Runs the proxy until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`]: why it could not start or go on.
pub fn run(settings: &Settings, origin: Origin, log: LogHandle) -> Result<(), RunError> {
    allow_descriptors(settings.max_connections);
    let certificate = certificate::load(settings)?;
    let (mut half, splicing) = splicing(settings)?;
    let workers = workers(settings);
    let listeners = listen(settings.listen, workers)?;
    let address = listeners
        .first()
        .and_then(|listener| listener.local_addr().ok())
        .unwrap_or(settings.listen);
    let (cover, lacks) = stand_by(&mut half, settings, &listeners, address)?;
    let mut settled = settle(half.map(|half| half.kernel), workers)?;
    // A thread: not before capabilities are given up.
    let _lines = log.gather().map_err(failed)?;
    let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded_channel()).unzip();
    let process = Arc::new(Process {
        settings: RwLock::new(Arc::new(settings.clone())),
        origin: Arc::new(origin),
        change: Mutex::new(settings.clone()),
        configured: Notify::new(),
        log,
        splice_off: AtomicBool::new(settings.splice == Splice::Off),
        host: Arc::new(daemon::host(address, workers)),
        is_retiring: AtomicBool::new(false),
        retires_at_ms: AtomicU64::new(0),
        is_stopping: AtomicBool::new(false),
        splicing: settled.records.ok_or(splicing),
        captures_clients: AtomicBool::new(settled.captures_clients),
        has_wire: cover.is_ready(),
        lacks,
        can_loop: cover.can_loop(),
        admissions: Mutex::new(admissions(settings)?),
        session_count: AtomicU64::new(0),
        server_session_count: AtomicU64::new(0),
        occupancy: Mutex::default(),
        load: Mutex::default(),
        nonce: nonce(),
        mailboxes,
        defaults: super::defaults::Known::default(),
        certificate,
        trust: Trust::default(),
        monitor: Monitor::start().map_err(failed)?,
        health: Arc::new(Health::new(Instant::now())),
        back_off: Mutex::default(),
        guesses: Mutex::default(),
        accounts: Mutex::default(),
        last_seen: Mutex::default(),
    });
    process.watch_nodes();
    let mut threads = Vec::with_capacity(workers);
    if let Some(keeper) = &mut settled.keeper {
        keeper.start(&process);
    }
    let posts = listeners.into_iter().zip(inboxes).zip(settled.bindings);
    for (index, ((listener, inbox), bindings)) in posts.enumerate() {
        let process = Arc::clone(&process);
        let work = move || work(index, process, listener, inbox, bindings);
        threads.push(
            thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(work)
                .map_err(failed)?,
        );
    }
    tracing::info!(addr = %address, workers, "listening");
    wait_for_signal(settled.keeper.as_mut(), &process)?;
    process.is_stopping.store(true, Ordering::Relaxed);
    for mailbox in &process.mailboxes {
        // A worker that is gone already needs no mail.
        let _ = mailbox.send(Mail::Stop);
    }
    join(threads)
}

/// Waits for the workers' ends.
fn join(threads: Vec<thread::JoinHandle<()>>) -> Result<(), RunError> {
    let panicked = threads
        .into_iter()
        .filter_map(|thread| thread.join().err())
        .count();
    if panicked == 0 {
        Ok(())
    } else {
        Err(failed(format!("{panicked} workers panicked")))
    }
}

/// The kernel's half.
struct Half {
    kernel: Kernel,
    /// How the test of the local path went.
    local: Result<self_test::Found, String>,
}

/// Loads the kernel's half and tests the local path, as `--splice` and `--path` demand; where nothing can be had, says why in one log line.
fn splicing(settings: &Settings) -> Result<(Option<Half>, RelayReason), RunError> {
    if settings.splice == Splice::Off {
        tracing::info!(mode = "relay", reason = RelayReason::Off.text(), "splice");
        return Ok((None, RelayReason::Off));
    }
    let own_namespace_only = settings.namespaces == Namespaces::Own;
    let error = match self_test::load(settings.max_connections, own_namespace_only) {
        Ok(mut kernel) => {
            let local = self_test::test_local(&mut kernel);
            let local = local.map_err(|error| self_test::explain(&error));
            match local {
                Err(error) if settings.path == PathChoice::Local => error,
                local => return Ok((Some(Half { kernel, local }), RelayReason::Login)),
            }
        }
        Err(error) => self_test::explain(&error),
    };
    if settings.splice == Splice::Require {
        return Err(RunError::SpliceUnavailable(error));
    }
    tracing::warn!(mode = "relay", reason = error, "splice");
    Ok((None, RelayReason::Unavailable))
}

/// Has the programs look out for this daemon's clients and nodes, and says in one log line which ways there are. Sessions of which a self-test has failed
/// take the next best way, and a second line says why, unless that is none and they must be spliced.
fn stand_by(
    half: &mut Option<Half>,
    settings: &Settings,
    listeners: &[TcpListener],
    address: SocketAddr,
) -> Result<(Cover, Lacks), RunError> {
    let Some(Half { kernel, local }) = half else {
        return Ok((Cover::NotNeeded, Lacks::default()));
    };
    let has_local = local.is_ok();
    kernel.capture_clients(has_local && cover::captures_clients(settings));
    kernel.listen(address).map_err(failed)?;
    let covered = cover::cover(kernel, settings, has_local, listeners, address);
    let why_not = covered.as_ref().err().map(self_test::explain);
    let cover = covered.unwrap_or(Cover::Failed);
    if let Some(reason) = &why_not
        && settings.splice == Splice::Require
    {
        return Err(RunError::SpliceUnavailable(format!(
            "sessions with a remote end: {reason}"
        )));
    }
    let mode = mode(settings.path, has_local, &cover);
    match settings.path {
        PathChoice::Relay => {
            tracing::info!(mode, reason = RelayReason::NotChosen.text(), "splice");
        }
        PathChoice::Wire if why_not.is_some() => tracing::warn!(mode, reason = why_not, "splice"),
        _ => tracing::info!(mode, reason = "self-test passed", "splice"),
    }
    if settings.path == PathChoice::Auto {
        if let Err(reason) = local {
            tracing::warn!(
                reason,
                "sessions of this host alone are not spliced from socket to socket"
            );
        }
        if let Some(reason) = why_not {
            tracing::warn!(reason, "sessions with a remote end are relayed");
        }
    }
    if kernel.captures_clients() && matches!(local, Ok(found) if !found.counts_unread_bytes) {
        tracing::info!(
            "FIONREAD on the sockets of clients on this host counts spliced bytes only, a defect of this kernel"
        );
    }
    let lacks = Lacks {
        local: !has_local,
        wire: matches!(cover, Cover::Failed),
    };
    Ok((cover, lacks))
}

/// The ways that new sessions have, for the log.
const fn mode(choice: PathChoice, has_local: bool, cover: &Cover) -> &'static str {
    match (choice, has_local, cover.is_ready()) {
        (PathChoice::Auto | PathChoice::Local, true, false) | (PathChoice::Local, true, true) => {
            "local"
        }
        (PathChoice::Auto, true, true) => "local and wire",
        (PathChoice::Auto, false, true) | (PathChoice::Wire, _, true) => "wire",
        (PathChoice::Auto | PathChoice::Local, false, _)
        | (PathChoice::Wire, _, false)
        | (PathChoice::Relay, ..) => "relay",
    }
}

/// One listener a worker, all on the same address.
fn listen(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, RunError> {
    let mut address = address;
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let listener = net::listen(address, workers > 1)
            .map_err(|source| RunError::Bind { address, source })?;
        // Port 0 has become a real one.
        address = listener
            .local_addr()
            .map_err(|source| RunError::Bind { address, source })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// A worker's thread.
fn work(
    index: usize,
    process: Arc<Process>,
    listener: TcpListener,
    inbox: UnboundedReceiver<Mail>,
    bindings: Option<Bindings>,
) {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(worker = index, %error, "a worker cannot start");
            return;
        }
    };
    let slots = process
        .splicing
        .as_ref()
        .map_or(0, |records| records.count());
    let workers = u32::try_from(process.mailboxes.len()).unwrap_or(1);
    let own = (0..slots).filter(|slot| (slot % workers) as usize == index);
    let worker = Rc::new(Worker {
        index,
        tid: thread_id(),
        registry: Registry::default(),
        nodes: Nodes::default(),
        closed: RefCell::default(),
        bindings: bindings.map(RefCell::new),
        free_slots: RefCell::new(own.collect()),
        lingerers: RefCell::default(),
        scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
        outbox: outbox(index),
        accepting: Cell::default(),
        process,
    });
    let tasks = LocalSet::new();
    let accepting = tasks.spawn_local(accept::accept(Rc::clone(&worker), listener));
    worker.accepting.set(Some(accepting.abort_handle()));
    tasks.spawn_local(overdue::enforce(Rc::clone(&worker)));
    tasks.spawn_local(vanished::enforce(Rc::clone(&worker)));
    tasks.spawn_local(nodes::follow(Rc::clone(&worker)));
    if index == 0 {
        let process = Arc::clone(&worker.process);
        tasks.spawn_local(configure::follow_discoveries(process));
    }
    if worker.process.has_wire {
        tasks.spawn_local(linger::sweep(Rc::clone(&worker)));
    }
    // Ends with `Mail::Stop`; the set's other tasks, and with them the sessions, are dropped then.
    runtime.block_on(rounds::run(
        &worker.outbox,
        &tasks,
        mailbox::serve(&worker, inbox),
    ));
    tracing::info!(
        worker = index,
        sessions = worker.registry.len(),
        "worker stopped"
    );
    drop(tasks);
    runtime.shutdown_timeout(PATIENCE_WITH_BLOCKING);
}

/// What a worker's sessions write together, where the kernel can.
fn outbox(worker: usize) -> Outbox {
    Outbox::new().unwrap_or_else(|error| {
        tracing::info!(worker, %error, "no io_uring: writes are made one by one");
        Outbox::default()
    })
}

/// Reads the configuration again with every SIGHUP. Never ends.
async fn reload(mut hangup: Signal, process: &Process) {
    while hangup.recv().await.is_some() {
        process.reload();
        if process.is_splice_off() {
            mailbox::stop_splicing(process).await;
        }
    }
    std::future::pending::<()>().await;
}

/// Waits for SIGTERM or SIGINT.
fn wait_for_signal(keeper: Option<&mut Keeper>, process: &Process) -> Result<(), RunError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let keeper_ended = async {
            match keeper {
                Some(keeper) => keeper.ended().await,
                None => std::future::pending().await,
            }
        };
        let hangup = signal(SignalKind::hangup()).map_err(failed)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = certificate::look_after(process) => {}
            () = keeper_ended => {
                return Err(failed("the thread that keeps the programs has ended"));
            }
            () = reload(hangup, process) => {}
        }
        process.retire(&mut terminate, &mut interrupt).await;
        Ok(())
    })
}

/// The numbers that this proxy gives out.
fn admissions(settings: &Settings) -> Result<Admissions, RunError> {
    let sequence = IdSequence::new(settings.proxy_id);
    let sequence = sequence.ok_or_else(|| failed("proxy_id has more than 13 bits"))?;
    Ok(Admissions::new(sequence))
}

/// The kernel's half when everything stands.
struct Settled {
    /// Clients of this host have their sockets captured.
    captures_clients: bool,
    records: Option<Arc<Records>>,
    /// One for each worker.
    bindings: Vec<Option<Bindings>>,
    keeper: Option<Keeper>,
}

/// Hands the kernel's half to the one thread that keeps it, and gives up what loading it took.
fn settle(kernel: Option<Kernel>, workers: usize) -> Result<Settled, RunError> {
    let bindings = bindings(kernel.as_ref(), workers).map_err(failed)?;
    let records = kernel.as_ref().map(|kernel| Arc::clone(kernel.records()));
    let captures_clients = kernel.as_ref().is_some_and(Kernel::captures_clients);
    let kept = kept_by_all(&bindings);
    let needed_later = kernel.as_ref().map(Kernel::needed_later);
    let kept_by_one = kept.union(needed_later.unwrap_or(CapabilitySet::empty()));
    let keeper = kernel.map(|kernel| Keeper::new(kernel, kept_by_one));
    let keeper = keeper.transpose().map_err(failed)?;
    give_up(kept, kept_by_one);
    Ok(Settled {
        captures_clients,
        records,
        bindings,
        keeper,
    })
}

/// A handle for each worker.
fn bindings(kernel: Option<&Kernel>, workers: usize) -> Result<Vec<Option<Bindings>>, KernelError> {
    let one = |_worker| kernel.map(Kernel::bindings).transpose();
    (0..workers).map(one).collect()
}

/// Gives up what the daemon was started with, for this thread and all that start after it.
fn give_up(kept: CapabilitySet, kept_by_one: CapabilitySet) {
    let before = privilege::held().unwrap_or(CapabilitySet::empty());
    if let Err(error) = privilege::keep_only(kept) {
        tracing::warn!(%error, "capabilities could not be given up");
    } else if !before.is_empty() {
        tracing::info!(
            all_threads = privilege::names(before.intersection(kept)),
            one_thread = privilege::names(before.intersection(kept_by_one)),
            "capabilities kept"
        );
    }
}

/// What no thread can do without: nothing, but where the kernel lets nobody without `CAP_BPF` touch a map (before 6.0, with
/// `kernel.unprivileged_bpf_disabled` on).
fn kept_by_all(bindings: &[Option<Bindings>]) -> CapabilitySet {
    let Some(Some(bindings)) = bindings.first() else {
        return CapabilitySet::empty();
    };
    let works = thread::scope(|scope| {
        let without = || privilege::keep_only(CapabilitySet::empty()).is_ok() && bindings.work();
        scope.spawn(without).join().unwrap_or(false)
    });
    if works {
        CapabilitySet::empty()
    } else {
        CapabilitySet::BPF
    }
}

/// How many workers there are to be.
fn workers(settings: &Settings) -> usize {
    settings
        .workers
        .map_or_else(default_workers, |workers| workers as usize)
}

/// One worker a core.
fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// A number that two starts on one or two hosts hardly share.
fn nonce() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or_default();
    nanoseconds.rotate_left(17) ^ u64::from(std::process::id()) << 40
}

/// Raises the limit of open files as far as it goes: a session has two sockets, and distributions start daemons with 1,024. Says where it is too
/// low for `sessions`.
#[expect(unsafe_code, reason = "std does not set resource limits")]
pub(super) fn allow_descriptors(sessions: u32) {
    let wanted = libc::rlim_t::from(sessions) * 2 + 256;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls only use the structure that they are given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 || limit.rlim_cur >= wanted {
            return;
        }
        let raised = libc::rlimit {
            rlim_cur: wanted,
            rlim_max: limit.rlim_max.max(wanted),
        };
        // Beyond the hard limit only with CAP_SYS_RESOURCE.
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            return;
        }
        limit.rlim_cur = wanted.min(limit.rlim_max);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    if limit.rlim_cur < wanted {
        tracing::warn!(
            limit = limit.rlim_cur,
            wanted,
            sessions = limit.rlim_cur.saturating_sub(256) / 2,
            "fewer open files are allowed than max_connections needs"
        );
    }
}

/// The kernel's id of this thread, as `top -H` shows it.
#[expect(unsafe_code, reason = "std does not tell the kernel's thread id")]
fn thread_id() -> u32 {
    // SAFETY: no arguments, cannot fail.
    u32::try_from(unsafe { libc::gettid() }).unwrap_or_default()
}

/// Anything that has no exit code of its own.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: impl ToString) -> RunError {
    RunError::Failed(error.to_string())
}
