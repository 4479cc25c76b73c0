//! Every map, once. Sizes are set by the daemon when it loads them.

use aya_ebpf::{
    bindings::bpf_spin_lock,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, SkStorage, SockHash},
    macros::btf_map,
};
use sluice_ebpf::{
    classify::SCAN_BYTES_MAX,
    record::{Connection, Hop, Leg, Listener, PORT_WORDS, Session, Tuple},
    response::Response,
    wire::Verdict,
};

use crate::wire::header::Packet;

/// `BPF_F_MMAPABLE`: the daemon reads and writes records without a system call.
const MMAPABLE: usize = 1 << 10;

/// One record a session, by slot.
#[btf_map]
pub(crate) static SESSIONS: Array<Session, 1, MMAPABLE> = Array::new();

/// Captured app sockets by cookie.
#[btf_map]
pub(crate) static SOCKETS: SockHash<u64, 2> = SockHash::new();

/// Addresses that the daemon listens on, with bits of [`sluice_ebpf::record::listener`].
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

/// The ports of our listeners and of nodes, a bit each: what has neither is nobody of ours, and told so before it is looked at.
#[btf_map]
pub(crate) static PORTS: Array<u64, { PORT_WORDS as usize }> = Array::new();

/// Guards what the `tc` programs write into a session's record. A map of its own: one with locks cannot be mapped into the daemon.
#[repr(C)]
pub(crate) struct Lock {
    pub(crate) lock: bpf_spin_lock,
}

/// One lock a session, by slot.
#[btf_map]
pub(crate) static LOCKS: Array<Lock, 1> = Array::new();

/// Room on demand, not ahead (`BPF_F_NO_PREALLOC`).
const NO_PREALLOC: usize = 1;

/// Interfaces whose packets the `tc` programs see, by their number.
#[btf_map]
pub(crate) static COVERED: HashMap<u32, u32, 65_536, NO_PREALLOC> = HashMap::new();

/// Bytes of a segment's front that are copied to be looked at: more than the longest text. A power of two: an index can be masked.
pub(crate) const TEXT_BYTES: usize = 8192;

const _: () = assert!(TEXT_BYTES.is_power_of_two() && TEXT_BYTES > SCAN_BYTES_MAX + 64);

/// Bytes of a node's payload that are copied at once to be looked at: most answers' first packets. A power of two: an index can be masked.
pub(crate) const WINDOW_BYTES: usize = 256;

/// What a `tc` program works with: more than its stack holds.
#[repr(C)]
pub(crate) struct Scratch {
    /// The session's response, taken over the segment. First: the compiler knows bounds of indices into it that the verifier does not, which sees
    /// that they stay inside the whole.
    pub(crate) response: Response,
    /// The front of the segment's payload.
    pub(crate) text: [u8; TEXT_BYTES],
    /// The packet's headers. Here, as the next, and not on the stack: what is there the verifier follows along every path.
    pub(crate) packet: Packet,
    /// What the tracker says.
    pub(crate) verdict: Verdict,
    /// The way to the other peer.
    pub(crate) hop: Hop,
    /// Where the response stood that `response` was taken from.
    pub(crate) walked_from: Response,
    /// The part of a node's payload that was looked at last.
    pub(crate) window: [u8; WINDOW_BYTES],
    /// Where in the payload it begins.
    pub(crate) window_at: u32,
    /// Bytes of it.
    pub(crate) window_length: u32,
    /// How far a loop has got.
    pub(crate) position: u32,
    /// Where it ends.
    pub(crate) end: u32,
    /// What it has found: the automaton's state, or the length of an option.
    pub(crate) found: u32,
    /// Commands without a response that stand before the last one in a client's segment.
    pub(crate) silent: u32,
    /// Whose the client's segment is: an [`Aim`](sluice_ebpf::aim::Aim) as its number.
    pub(crate) aim: u32,
    /// The place of the followed statement that the segment is about: [`STATEMENTS`](sluice_ebpf::record::STATEMENTS) where it is about none.
    pub(crate) noting: u32,
    /// What it changes in its note ([`notes`](sluice_ebpf::notes)).
    pub(crate) change: u64,
    /// The id by which the reader knows the statement that the segment executes; 0: it is nothing that goes there.
    pub(crate) reader_id: u32,
    /// The bits of the statements that the segment closes ([`Client::closed`](sluice_ebpf::record::Client::closed)).
    pub(crate) closes: u64,
}

/// Each CPU's own: these programs do not interrupt each other.
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// The program that the others of the wire go on in for segments of peers: [`wire_segment`](crate::wire::wire_segment). The kernel empties it when the daemon that has it is gone.
#[btf_map]
pub(crate) static SEGMENT: ProgramArray<1> = ProgramArray::new();

/// The same for segments of local sockets: [`wire_local`](crate::wire::wire_local), which goes on in the other one at times. Not in one map with that: what holds
/// itself goes only once the kernel has emptied it, and somebody who lists maps meanwhile (`bpftool`) may have it kept for ever (6.18).
#[btf_map]
pub(crate) static LOCAL: ProgramArray<1> = ProgramArray::new();
