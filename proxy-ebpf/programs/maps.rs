//! Every map, once. Sizes are set by the daemon when it loads them.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, SkStorage, SockHash},
    macros::btf_map,
};
use sluice_ebpf::record::{Connection, Leg, Listener, Session, Tuple};

/// `BPF_F_MMAPABLE`: the daemon reads and writes records without a system call.
const MMAPABLE: usize = 1 << 10;

/// One record a session, by slot.
#[btf_map]
pub(crate) static SESSIONS: Array<Session, 1, MMAPABLE> = Array::new();

/// Captured app sockets by cookie.
#[btf_map]
pub(crate) static SOCKETS: SockHash<u64, 2> = SockHash::new();

/// Addresses that the daemon listens on.
#[btf_map]
pub(crate) static LISTENERS: HashMap<Listener, u32, 256> = HashMap::new();

/// Clients whose SYN one of our listeners is answering just now, by the tuple that the client sees. What never gets further is pushed out by
/// others.
#[btf_map]
pub(crate) static HANDSHAKES: LruHashMap<Tuple, u32, 4096> = LruHashMap::new();

/// Which session a connection belongs to, by the tuple that its app socket sees.
#[btf_map]
pub(crate) static BINDINGS: HashMap<Tuple, Connection, 2> = HashMap::new();

/// What the daemon's own sockets carry with them. On one that dials a node the daemon has written the session; on one that a listener of ours
/// has accepted the program has written what its client must have.
#[btf_map]
pub(crate) static ENDS: SkStorage<Connection> = SkStorage::new();

/// What each captured app socket carries with it.
#[btf_map]
pub(crate) static LEGS: SkStorage<Leg> = SkStorage::new();
