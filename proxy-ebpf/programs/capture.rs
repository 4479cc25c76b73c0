//! `sock_ops`: which app sockets are ours. A client's socket, when its connection to one of our listeners is established; a node's,
//! when it accepts one of our outgoing connections.
//!
//! An app socket may be in any network namespace of the host, and another namespace may hold a socket with the very same tuple. So a tuple
//! is never enough: app socket and daemon's socket must have each other's sequence numbers ([`Connection`]). The daemon's end of a node's
//! connection is established first, so a node's socket is proven before it is captured. The daemon's end of a client's connection is
//! established last, and the kernel lets a socket into a sock hash at this moment only (`sock_map_op_okay`): a client of another namespace
//! is captured where a listener of ours is answering this very SYN, and proven with its first message (`msg`); until then all it sends
//! passes.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_TIMEOUT_INIT, bpf_sock_ops,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};
use sluice_ebpf::record::{Binding, Connection, Leg, Listener, NODES, Role, Tuple};

use crate::sys::{self, context, publish, shared, tuple};

/// Runs on every TCP event of the host that a program may see; all but three kinds leave at once.
#[sock_ops]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn capture(ctx: SockOpsContext) -> u32 {
    let op = context!((*ctx.ops).op);
    if op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB {
        let tuple = tuple!(ctx.ops);
        dialled(ctx.ops, &tuple);
        client(ctx.ops, &tuple);
    } else if op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        let tuple = tuple!(ctx.ops);
        node(ctx.ops, &tuple);
        accepted(ctx.ops, &tuple);
    } else if op == BPF_SOCK_OPS_TIMEOUT_INIT {
        asked(ctx.ops);
    }
    // With the reply untouched TCP's own timeout stands (`tcp_timeout_init`).
    1
}

/// A connection that the daemon opened: from now on the node's end is known. Its own callback comes after this one, with the acknowledgement that
/// this end has yet to send (`tcp_rcv_synsent_state_process`).
#[inline(always)]
fn dialled(ops: *mut bpf_sock_ops, tuple: &Tuple) {
    let sk = context!((*ops).__bindgen_anon_2.sk);
    if sk.is_null() {
        return;
    }
    let Some(end) = sys::end(sk) else {
        return;
    };
    // SAFETY: socket storage, written by the daemon before the socket was connected.
    let binding = unsafe { (*end).binding };
    sys::bind(&tuple.mirrored(), &other_end(ops, binding));
}

/// A connection that this host opened: ours if it leads to one of our listeners that captures clients. Where no node can be on this host, none
/// does: a captured socket costs its owner something in vain.
#[inline(always)]
fn client(ops: *mut bpf_sock_ops, tuple: &Tuple) {
    let leads_to_us = sys::captures_clients(&Listener {
        ip: tuple.remote_ip,
        port: tuple.remote_port,
    }) && (sys::is_our_namespace(ops)
        || sys::may_be_elsewhere() && sys::end_handshake(tuple));
    if leads_to_us {
        keep(ops, leg(ops));
    }
}

/// A connection that this host accepted: ours if the daemon opened it.
#[inline(always)]
fn node(ops: *mut bpf_sock_ops, tuple: &Tuple) {
    let Some(connection) = sys::connection(tuple) else {
        return;
    };
    if !Role::is_captured_node(connection.binding.role) {
        return;
    }
    let leg = Leg {
        binding: connection.binding,
        ..leg(ops)
    };
    let may_be_here = sys::may_be_elsewhere() || sys::is_our_namespace(ops);
    if !may_be_here || !leg.is_end_of(&connection) {
        return;
    }
    let Some(record) = sys::session(connection.binding.slot) else {
        return;
    };
    // SAFETY: the verifier has bounded the record; see `shared!` and `publish!`.
    let record = unsafe { &mut *record };
    if shared!(record.host.session) != connection.binding.session {
        return;
    }
    let Some((cookie, sock)) = keep(ops, leg) else {
        return;
    };
    let end = &mut record.ends[Role::seat_of(leg.binding.role) as usize & (NODES - 1)];
    publish!(end.sock, sock);
    publish!(end.cookie, cookie);
}

/// A connection that one of our listeners accepted: says what its client must have, where it may be captured.
#[inline(always)]
fn accepted(ops: *mut bpf_sock_ops, tuple: &Tuple) {
    let captures = sys::captures_clients(&Listener {
        ip: tuple.local_ip,
        port: tuple.local_port,
    });
    if !captures || !sys::is_our_namespace(ops) {
        return;
    }
    let sk = context!((*ops).__bindgen_anon_2.sk);
    if sk.is_null() {
        return;
    }
    sys::end_handshake(&tuple.mirrored());
    sys::create_end(sk, &mut other_end(ops, Binding::default()));
}

/// A SYN that a listener is about to answer (`tcp_conn_request`): the socket of this event is a mere request yet.
#[inline(always)]
fn asked(ops: *mut bpf_sock_ops) {
    if context!((*ops).is_fullsock) != 0 {
        return;
    }
    let tuple = tuple!(ops);
    let captures = sys::captures_clients(&Listener {
        ip: tuple.local_ip,
        port: tuple.local_port,
    });
    if captures && sys::is_our_namespace(ops) {
        sys::begin_handshake(&tuple.mirrored());
    }
}

/// What this socket carries with it if it is an app's. Nothing has been read or written on the established connection yet: the next
/// expected byte is the first one (`tcp_rcv_synsent_state_process`, `tcp_create_openreq_child`).
#[inline(always)]
fn leg(ops: *mut bpf_sock_ops) -> Leg {
    Leg {
        binding: Binding::default(),
        cookie: sys::cookie(ops),
        received_base: context!((*ops).rcv_nxt),
        sent_base: context!((*ops).snd_nxt),
        said: 0,
        reserved: 0,
    }
}

/// This socket's connection, as its other end sees it.
#[inline(always)]
fn other_end(ops: *mut bpf_sock_ops, binding: Binding) -> Connection {
    Connection {
        binding,
        received_base: context!((*ops).snd_nxt),
        sent_base: context!((*ops).rcv_nxt),
    }
}

/// Captures the socket: from its next message on the `sk_msg` program runs. Returns its cookie and address.
#[inline(always)]
fn keep(ops: *mut bpf_sock_ops, mut leg: Leg) -> Option<(u64, u64)> {
    let sk = context!((*ops).__bindgen_anon_2.sk);
    if sk.is_null() {
        return None;
    }
    let address = sk as u64;
    (sys::create_leg(sk, &mut leg) && sys::capture(ops, leg.cookie))
        .then_some((leg.cookie, address))
}
