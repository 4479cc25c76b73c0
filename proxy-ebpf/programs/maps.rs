//! Every map, once. Sizes are set by the daemon when it loads them.

use aya_ebpf::{
    btf_maps::{Array, HashMap, SkStorage, SockHash},
    macros::btf_map,
};
use sluice_ebpf::record::{Binding, Leg, Listener, Session, Tuple};

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

/// Which session a connection belongs to, by the tuple that its app socket sees.
#[btf_map]
pub(crate) static BINDINGS: HashMap<Tuple, Binding, 2> = HashMap::new();

/// What each captured app socket carries with it.
#[btf_map]
pub(crate) static LEGS: SkStorage<Leg> = SkStorage::new();
