//! The stations of a connection's life. Each worker is one thread with its own listener, runtime and sessions; a session never leaves
//! its worker, others reach it by mail.

mod accept;
mod accounts;
mod admin_session;
mod admission;
mod alone;
mod answer;
mod ask;
mod auth;
mod backslashes;
mod bell;
mod beside;
mod bound;
mod certificate;
mod change_user;
mod clock;
mod close;
mod config_file;
mod configure;
mod cover;
mod daemon;
mod defaults;
mod drain;
mod end_reader;
mod execution;
mod fleet;
mod follow;
mod form;
mod greeting;
mod guess;
mod keeper;
mod kill;
mod leave;
mod linger;
mod login;
mod mailbox;
mod memory;
mod named;
mod nodes;
mod outstanding;
mod overdue;
mod own_writes;
mod parked;
mod quit;
mod quota;
mod reader;
mod reads;
mod registry;
mod relay;
mod report;
mod rounds;
mod seat;
mod sender;
mod serve;
mod splice;
mod stand_in;
mod start;
mod statement;
mod stop;
mod survive;
mod switch;
mod vanished;
mod variables;
mod way;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sluice_ebpf::reason::RelayReason;
pub use start::run;
use tokio::{
    sync::{Notify, mpsc::UnboundedSender},
    task::AbortHandle,
};

use self::{
    admission::Admissions,
    cover::Lacks,
    linger::Lingerers,
    mailbox::Mail,
    nodes::{LastSeen, Nodes},
    registry::Registry,
};
use crate::{
    admin::Host,
    config::{NodeAddress, Origin, Settings},
    kernel::{capture::Bindings, record::Records},
    log::LogHandle,
    net::{
        outbox::Outbox,
        tls::{Certificate, Trust},
    },
    node::{Health, Monitor},
    route::{load::Load, occupancy::Occupancy},
    session::{SsId, Totals, accounts::Accounts, back_off::BackOff},
};

/// Bytes that a worker reads at once. One buffer a worker, not one a session: it is never held across an await.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Why the daemon ended otherwise than by a signal. `main` makes an exit code of it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `--splice require`, and the host cannot.
    #[error("sessions cannot be spliced on this host: {0}")]
    SpliceUnavailable(String),
    /// The listening address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// What all workers share. Nothing here is touched while bytes move.
struct Process {
    /// Replaced as a whole when an operator changes one: see [`Process::settings`].
    settings: RwLock<Arc<Settings>>,
    /// Where they were read from.
    origin: Arc<Origin>,
    host: Arc<Host>,
    /// Those of the configuration, without what clusters have said of themselves; held while one is changed.
    change: Mutex<Settings>,
    /// Woken when one has changed.
    configured: Notify,
    log: LogHandle,
    /// Set while no session is to be spliced; looked at at command boundaries.
    splice_off: AtomicBool,
    /// The daemon has been told to stop, and its sessions may end by themselves, until then (as [`Process::now_ms`]).
    is_retiring: AtomicBool,
    retires_at_ms: AtomicU64,
    /// The daemon stops.
    is_stopping: AtomicBool,
    /// Where session records are, or why there are none.
    splicing: Result<Arc<Records>, RelayReason>,
    /// Clients of this host may have their sockets captured. Set before the programs are told so, and taken back behind them.
    captures_clients: AtomicBool,
    /// The programs of the wire stand at this host's interfaces.
    has_wire: bool,
    /// The ways that cannot be had.
    lacks: Lacks,
    /// IPv4 packets may be put back into lo.
    can_loop: bool,
    admissions: Mutex<Admissions>,
    session_count: AtomicU64,
    server_session_count: AtomicU64,
    /// How many sessions tenants and users have.
    occupancy: Mutex<Occupancy>,
    /// How many sessions read from each replica.
    load: Mutex<Load>,
    nonce: u64,
    mailboxes: Vec<UnboundedSender<Mail>>,
    /// What nodes say of their system variables.
    defaults: defaults::Known,
    /// What nodes' certificates are checked against.
    trust: Trust,
    /// What clients that ask for TLS are shown.
    certificate: Option<Certificate>,
    /// What is done on nodes by the clusters' monitor accounts.
    monitor: Monitor,
    /// What is known of nodes.
    health: Arc<Health>,
    /// Who has given wrong passwords of the proxy's own users.
    back_off: Mutex<BackOff>,
    /// Whose passwords nodes have found wrong.
    guesses: Mutex<BackOff>,
    /// What nodes keep of clients' passwords.
    accounts: Mutex<Accounts>,
    /// What the default node has greeted with last.
    last_seen: Mutex<LastSeen>,
}

impl Process {
    /// The settings that hold now. A login keeps those that it began with.
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who has given wrong passwords of the proxy's own users.
    fn back_off(&self) -> MutexGuard<'_, BackOff> {
        self.back_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the default node has greeted with last.
    fn last_seen(&self) -> MutexGuard<'_, LastSeen> {
        self.last_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the daemon's start.
    fn now_ms(&self) -> u64 {
        self.health.now_ms()
    }

    /// Time since the daemon's start.
    fn uptime(&self) -> Duration {
        Duration::from_millis(self.now_ms())
    }

    /// A login got no answer of this node.
    fn login_failed(&self, node: &NodeAddress, cause: &str) {
        let limit = self.settings().health.failures;
        self.health.login_failed(node, cause, limit);
    }

    /// A number that no other session of this process has or had.
    fn session_number(&self) -> u64 {
        self.session_count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A new server session's id.
    fn server_session_id(&self) -> SsId {
        SsId(self.server_session_count.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// One worker's own.
struct Worker {
    process: Arc<Process>,
    index: usize,
    tid: u32,
    registry: Registry,
    nodes: Nodes,
    /// What the sessions that have ended did.
    closed: RefCell<Totals>,
    bindings: Option<RefCell<Bindings>>,
    /// Records that no session uses; the longest unused comes first.
    free_slots: RefCell<VecDeque<u32>>,
    /// Sessions that have ended, but whose connections have not.
    lingerers: RefCell<Lingerers>,
    scratch: RefCell<Box<[u8]>>,
    /// What its sessions write, until the round of tasks is over.
    outbox: Outbox,
    /// The task that lets clients in.
    accepting: Cell<Option<AbortHandle>>,
}

type SharedWorker = Rc<Worker>;
