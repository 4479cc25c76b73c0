//! Kernel helpers and raw context reads: thin, one kernel fact each.

use aya_ebpf::{
    bindings::{
        BPF_F_INGRESS, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_ops, sk_action::SK_PASS,
        sk_msg_md,
    },
    helpers::generated::{
        bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_loop,
        bpf_map_lookup_elem, bpf_msg_apply_bytes, bpf_msg_pull_data, bpf_msg_redirect_hash,
        bpf_probe_read_kernel, bpf_sk_storage_get, bpf_skc_to_tcp_sock, bpf_sock_hash_update,
        bpf_spin_lock, bpf_spin_unlock,
    },
};
use sluice_ebpf::record::{Connection, HEAD_BYTES, Leg, Listener, Session, Tuple, listener};

use crate::maps::{
    BINDINGS, COVERED, ENDS, HANDSHAKES, LEGS, LISTENERS, LOCKS, Lock, PORTS, SCRATCH, SESSIONS,
    SOCKETS, Scratch,
};

/// `bpf_sock_hash_update` flag: the cookie is new.
const BPF_NOEXIST: u64 = 1;

/// Offsets of kernel fields, from that kernel's BTF, set before the programs are loaded; the verifier sees constants.
#[unsafe(no_mangle)]
static OFFSET_COPIED_SEQ: u32 = 0;
/// `struct tcp_sock.write_seq`.
#[unsafe(no_mangle)]
static OFFSET_WRITE_SEQ: u32 = 0;
/// `struct sock.sk_backlog.rmem_alloc`.
#[unsafe(no_mangle)]
static OFFSET_RMEM_ALLOC: u32 = 0;
/// The daemon's network namespace (`SO_NETNS_COOKIE`): only there our listeners are ours.
#[unsafe(no_mangle)]
static NETNS_COOKIE: u64 = 0;

/// Not 0: sockets of other network namespaces are left alone.
#[unsafe(no_mangle)]
static OWN_NAMESPACE_ONLY: u32 = 0;

/// A constant that the daemon has set. Volatile: the compiler only knows the zero.
macro_rules! constant {
    ($name:ident) => {
        // SAFETY: a static of this object, aligned and initialised.
        unsafe { core::ptr::read_volatile(&raw const $name) }
    };
}

/// Reads a field that another writer may change meanwhile.
macro_rules! shared {
    ($place:expr) => {
        // SAFETY: the place lies in a map value that the verifier has bounded; aligned; integers have no invalid value.
        unsafe { core::ptr::read_volatile(&raw const $place) }
    };
}

/// Writes a field that others read.
macro_rules! publish {
    ($place:expr, $value:expr) => {
        // SAFETY: as for `shared!`; this program is the field's one writer.
        unsafe { core::ptr::write_volatile(&raw mut $place, $value) }
    };
}

/// Reads a field of the context. Volatile: a compiler that merges two loads into one through a computed address makes the verifier
/// refuse the program ("dereference of modified ctx ptr").
macro_rules! context {
    ($place:expr) => {
        // SAFETY: the context is valid for the program's run, and the verifier allows each of these loads.
        unsafe { core::ptr::read_volatile(&raw const $place) }
    };
}

/// The connection as the context's socket sees it. A macro: `bpf_sock_ops` and `sk_msg_md` name the same fields but are two types.
macro_rules! tuple {
    ($context:expr) => {{
        let v4 = context!((*$context).family) == crate::sys::AF_INET;
        let local = [
            context!((*$context).local_ip4),
            context!((*$context).local_ip6[0]),
            context!((*$context).local_ip6[1]),
            context!((*$context).local_ip6[2]),
            context!((*$context).local_ip6[3]),
        ];
        let remote = [
            context!((*$context).remote_ip4),
            context!((*$context).remote_ip6[0]),
            context!((*$context).remote_ip6[1]),
            context!((*$context).remote_ip6[2]),
            context!((*$context).remote_ip6[3]),
        ];
        sluice_ebpf::record::Tuple {
            local_ip: crate::sys::mapped(v4, local),
            remote_ip: crate::sys::mapped(v4, remote),
            local_port: context!((*$context).local_port),
            remote_port: u32::from_be(context!((*$context).remote_port)),
        }
    }};
}
pub(crate) use {context, publish, shared, tuple};

/// The address family of IPv4 sockets; all else in the maps' eyes is IPv6.
pub(crate) const AF_INET: u32 = 2;

/// An address in the form of [`Tuple`]: the IPv4 word first, then IPv6's four.
#[inline(always)]
pub(crate) fn mapped(v4: bool, words: [u32; 5]) -> [u32; 4] {
    let [four, a, b, c, d] = words;
    if v4 {
        [0, 0, 0xffff_u32.to_be(), four]
    } else {
        [a, b, c, d]
    }
}

/// Positions in a socket's two byte streams.
pub(crate) struct Streams {
    /// Next byte that the socket's owner will read (`tcp_sock.copied_seq`).
    pub(crate) received: u32,
    /// Next byte that the socket's owner will write (`tcp_sock.write_seq`).
    pub(crate) sent: u32,
}

/// The stream positions of a message's own socket.
#[inline(always)]
#[expect(
    clippy::cast_ptr_alignment,
    reason = "BTF gives the offsets of aligned fields"
)]
pub(crate) fn streams(msg: *mut sk_msg_md) -> Option<Streams> {
    // SAFETY: the context is valid for the program's run; the verifier types `sk`.
    let tcp = unsafe { bpf_skc_to_tcp_sock((*msg).__bindgen_anon_3.sk.cast()) }.cast::<u8>();
    if tcp.is_null() {
        return None;
    }
    let (received, sent) = (
        constant!(OFFSET_COPIED_SEQ) as usize,
        constant!(OFFSET_WRITE_SEQ) as usize,
    );
    // SAFETY: the verifier checks both loads against the BTF of `struct tcp_sock`.
    unsafe {
        Some(Streams {
            received: tcp.add(received).cast::<u32>().read(),
            sent: tcp.add(sent).cast::<u32>().read(),
        })
    }
}

/// The address of a message's own `struct sock`, as a number.
#[inline(always)]
pub(crate) fn address(msg: *mut sk_msg_md) -> u64 {
    // SAFETY: the context is valid for the program's run.
    unsafe { (*msg).__bindgen_anon_3.sk as u64 }
}

/// Bytes that wait in the receive queues of the socket at `address`, or none where it cannot be read. The socket may be gone: what
/// is read is a bound and never a proof.
#[inline(always)]
pub(crate) fn outstanding(address: u64) -> Option<u32> {
    let mut bytes = 0_u32;
    let field = address + u64::from(constant!(OFFSET_RMEM_ALLOC));
    // SAFETY: the helper checks the address itself and fails where nothing is mapped.
    let failed = unsafe { bpf_probe_read_kernel((&raw mut bytes).cast(), 4, field as *const _) };
    (failed == 0).then_some(bytes)
}

/// Copies the first `length` bytes at `from`, a place in a message's window. Cheaper than a store for each byte of the scan: the kernel
/// copies words.
#[inline(always)]
pub(crate) fn copy_head(to: &mut [u8; HEAD_BYTES], from: usize, length: u32) {
    // SAFETY: the verifier bounds the length by the record's field. The caller has looked at the bytes up to there, so the helper cannot
    // fail.
    unsafe { bpf_probe_read_kernel(to.as_mut_ptr().cast(), length, from as *const _) };
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

/// What a message's own socket carries with it, if it was captured.
#[inline(always)]
pub(crate) fn leg(msg: *mut sk_msg_md) -> Option<*mut Leg> {
    // SAFETY: the verifier types `sk`; the storage lives as long as the socket.
    let leg = unsafe {
        bpf_sk_storage_get(
            (&raw const LEGS).cast_mut().cast(),
            (*msg).__bindgen_anon_3.sk.cast(),
            core::ptr::null_mut(),
            0,
        )
    };
    (!leg.is_null()).then_some(leg.cast())
}

/// Creates what a captured socket carries with it.
#[inline(always)]
pub(crate) fn create_leg(sk: *mut bpf_sock, leg: &mut Leg) -> bool {
    // SAFETY: `sk` is not null (checked by the caller, demanded by the verifier); `leg` is copied.
    let stored = unsafe {
        bpf_sk_storage_get(
            (&raw const LEGS).cast_mut().cast(),
            sk.cast(),
            core::ptr::from_mut(leg).cast(),
            BPF_SK_STORAGE_GET_F_CREATE.into(),
        )
    };
    !stored.is_null()
}

/// A session's record.
#[inline(always)]
pub(crate) fn session(slot: u32) -> Option<*mut Session> {
    SESSIONS.get_ptr_mut(slot)
}

/// A session's lock.
#[inline(always)]
pub(crate) fn lock(slot: u32) -> Option<*mut Lock> {
    LOCKS.get_ptr_mut(slot)
}

/// Takes a session's lock. Until it is released no helper may be called.
#[inline(always)]
pub(crate) fn acquire(lock: *mut Lock) {
    // SAFETY: a map value; the verifier sees that it is released on every path.
    unsafe { bpf_spin_lock(&raw mut (*lock).lock) };
}

/// Releases a session's lock.
#[inline(always)]
pub(crate) fn release(lock: *mut Lock) {
    // SAFETY: as for `acquire`.
    unsafe { bpf_spin_unlock(&raw mut (*lock).lock) };
}

/// Whether a port is in the map of ports, from this word on.
#[inline(always)]
pub(crate) fn is_known_port(first_word: u32, port: u16) -> bool {
    let word = PORTS.get(first_word + u32::from(port >> 6));
    word.is_some_and(|word| shared!(*word) >> (port & 63) & 1 != 0)
}

/// Whether the `tc` programs see the packets of the interface with this number.
#[inline(always)]
pub(crate) fn is_covered(interface: u32) -> bool {
    COVERED.get_ptr(interface).is_some()
}

/// This CPU's working memory.
#[inline(always)]
pub(crate) fn scratch() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(0)
}

/// What one of the daemon's own sockets carries with it.
#[inline(always)]
pub(crate) fn end(sk: *mut bpf_sock) -> Option<*mut Connection> {
    // SAFETY: `sk` is not null (checked by the caller, demanded by the verifier); the storage lives as long as the socket.
    let end = unsafe {
        bpf_sk_storage_get(
            (&raw const ENDS).cast_mut().cast(),
            sk.cast(),
            core::ptr::null_mut(),
            0,
        )
    };
    (!end.is_null()).then_some(end.cast())
}

/// Creates what one of the daemon's own sockets carries with it. Without it a connection is relayed.
#[inline(always)]
pub(crate) fn create_end(sk: *mut bpf_sock, end: &mut Connection) {
    // SAFETY: `sk` is not null (checked by the caller, demanded by the verifier); `end` is copied.
    unsafe {
        bpf_sk_storage_get(
            (&raw const ENDS).cast_mut().cast(),
            sk.cast(),
            core::ptr::from_mut(end).cast(),
            BPF_SK_STORAGE_GET_F_CREATE.into(),
        )
    };
}

/// Remembers that a listener of ours answers a client's SYN.
#[inline(always)]
pub(crate) fn begin_handshake(client: &Tuple) {
    // An LRU map makes room; if it cannot, a client of another namespace is relayed.
    let _ = HANDSHAKES.insert(client, 0, 0);
}

/// Forgets a handshake. Whether there was one: of several who ask, one is told so.
#[inline(always)]
pub(crate) fn end_handshake(client: &Tuple) -> bool {
    HANDSHAKES.remove(client).is_ok()
}

/// Says to which session a connection belongs.
#[inline(always)]
pub(crate) fn bind(app: &Tuple, connection: &Connection) {
    // Where the map is full the session is relayed.
    let _ = BINDINGS.insert(app, connection, 0);
}

/// The daemon's connection that an app socket with this tuple may be the other end of.
#[inline(always)]
pub(crate) fn connection(tuple: &Tuple) -> Option<Connection> {
    // SAFETY: the map holds only plain integers; a torn read is impossible, entries are written once.
    let found = unsafe {
        bpf_map_lookup_elem(
            (&raw const BINDINGS).cast_mut().cast(),
            core::ptr::from_ref(tuple).cast(),
        )
    };
    // SAFETY: not null, typed by the map.
    (!found.is_null()).then(|| unsafe { *found.cast::<Connection>() })
}

/// What is said of this address if the daemon listens on it: bits of [`listener`].
#[inline(always)]
fn listener_bits(listener: &Listener) -> Option<u32> {
    // SAFETY: the key is only read.
    let found = unsafe {
        bpf_map_lookup_elem(
            (&raw const LISTENERS).cast_mut().cast(),
            core::ptr::from_ref(listener).cast(),
        )
    };
    // SAFETY: not null, typed by the map.
    (!found.is_null()).then(|| unsafe { found.cast::<u32>().read_volatile() })
}

/// Whether the daemon listens on this address.
#[inline(always)]
pub(crate) fn is_listener(listener: &Listener) -> bool {
    listener_bits(listener).is_some()
}

/// Whether clients of this host that connect to this address are captured.
#[inline(always)]
pub(crate) fn captures_clients(listener: &Listener) -> bool {
    listener_bits(listener).is_some_and(|bits| bits & listener::CAPTURES != 0)
}

/// Puts the established socket into the sock hash under its cookie.
#[inline(always)]
pub(crate) fn capture(ops: *mut bpf_sock_ops, mut cookie: u64) -> bool {
    // SAFETY: the context is valid; the key is copied.
    unsafe {
        bpf_sock_hash_update(
            ops,
            (&raw const SOCKETS).cast_mut().cast(),
            (&raw mut cookie).cast(),
            BPF_NOEXIST,
        ) == 0
    }
}

/// The cookie of the socket of a sock-ops event.
#[inline(always)]
pub(crate) fn cookie(ops: *mut bpf_sock_ops) -> u64 {
    // SAFETY: the context is valid.
    unsafe { bpf_get_socket_cookie(ops.cast()) }
}

/// Whether the socket of a sock-ops event is in the daemon's network namespace.
#[inline(always)]
pub(crate) fn is_our_namespace(ops: *mut bpf_sock_ops) -> bool {
    // SAFETY: the context is valid.
    let cookie = unsafe { bpf_get_netns_cookie(ops.cast()) };
    cookie == constant!(NETNS_COOKIE)
}

/// Whether sockets of other network namespaces may be ours.
#[inline(always)]
pub(crate) fn may_be_elsewhere() -> bool {
    constant!(OWN_NAMESPACE_ONLY) == 0
}

/// Marks the message for the ingress queue of the socket with this cookie. False where there is none: then the message must pass.
#[inline(always)]
pub(crate) fn redirect(msg: *mut sk_msg_md, cookie: u64) -> bool {
    mark(msg, cookie, BPF_F_INGRESS.into())
}

/// Has the rest of a message pass whose front was redirected. The kernel keeps the mark of the front: without a mark of its own the rest would
/// follow it, whatever the verdict (`sk_psock_msg_verdict` does not clear `sk_redir`). Marked for the socket's own egress it takes the way that
/// it takes unmarked.
#[inline(always)]
pub(crate) fn pass_rest(msg: *mut sk_msg_md, own_cookie: u64) {
    mark(msg, own_cookie, 0);
}

#[inline(always)]
fn mark(msg: *mut sk_msg_md, mut cookie: u64, flags: u64) -> bool {
    // SAFETY: the context is valid; the key is copied.
    let verdict = unsafe {
        bpf_msg_redirect_hash(
            msg,
            (&raw const SOCKETS).cast_mut().cast(),
            (&raw mut cookie).cast(),
            flags,
        )
    };
    verdict == i64::from(SK_PASS)
}

/// Limits this run's verdict to the first `bytes`; the program runs again on what follows. 0 is no limit. The number stays in the
/// message from run to run, and what a verdict leaves of it is taken off the *next* message without running the program
/// (`sk_psock_msg_verdict`, `sk_msg_apply_bytes`): every run must set it.
#[inline(always)]
pub(crate) fn apply_bytes(msg: *mut sk_msg_md, bytes: u32) {
    // SAFETY: the context is valid. The helper cannot fail (`bpf_msg_apply_bytes` only stores the number).
    unsafe { bpf_msg_apply_bytes(msg, bytes) };
}

/// Makes the first `bytes` contiguous, so that `data` reaches over them.
#[inline(always)]
pub(crate) fn pull(msg: *mut sk_msg_md, bytes: u32) -> bool {
    // SAFETY: the context is valid; the verifier forgets all earlier data pointers.
    unsafe { bpf_msg_pull_data(msg, 0, bytes, 0) == 0 }
}

/// Calls `body` up to `times` times, until it returns 1 (`bpf_loop`, kernel 5.17 and later).
#[inline(always)]
pub(crate) fn repeat<T>(times: u32, body: extern "C" fn(u32, &mut T) -> i64, state: &mut T) {
    // SAFETY: `body` has the form that the helper calls (index, context); `state` outlives the call.
    unsafe { bpf_loop(times, body as *mut _, core::ptr::from_mut(state).cast(), 0) };
}
