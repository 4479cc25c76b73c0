//! `sock_ops`: which app sockets are ours. A client's socket, when its connection to one of our listeners is established; a node's,
//! when it accepts one of our outgoing connections (bound, and told to the map, before the SYN went out).

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, bpf_sock_ops,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};
use sluice_ebpf::record::{Binding, Leg, Listener};

use crate::sys::{self, context, publish, shared, tuple};

/// Runs on every TCP event of the host that a program may see; all but two kinds leave at once.
#[sock_ops]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn capture(ctx: SockOpsContext) -> u32 {
    let op = context!((*ctx.ops).op);
    if op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB {
        client(ctx.ops);
    } else if op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        node(ctx.ops);
    }
    1
}

/// A connection that this host opened: ours if it leads to one of our listeners.
#[inline(always)]
fn client(ops: *mut bpf_sock_ops) {
    let tuple = tuple!(ops);
    if sys::is_listener(&Listener {
        ip: tuple.remote_ip,
        port: tuple.remote_port,
    }) && sys::is_our_namespace(ops)
    {
        keep(ops, Binding::default());
    }
}

/// A connection that this host accepted: ours if the daemon opened it.
#[inline(always)]
fn node(ops: *mut bpf_sock_ops) {
    let tuple = tuple!(ops);
    let Some(binding) = sys::binding(&tuple) else {
        return;
    };
    if !sys::is_our_namespace(ops) {
        return;
    }
    let Some(record) = sys::session(binding.slot) else {
        return;
    };
    // SAFETY: the verifier has bounded the record; see `shared!` and `publish!`.
    let record = unsafe { &mut *record };
    if shared!(record.host.session) != binding.session {
        return;
    }
    let Some((cookie, sock)) = keep(ops, binding) else {
        return;
    };
    publish!(record.node.sock, sock);
    publish!(record.node.cookie, cookie);
}

/// Captures the socket: from its next message on the `sk_msg` program runs. Returns its cookie and address.
#[inline(always)]
fn keep(ops: *mut bpf_sock_ops, binding: Binding) -> Option<(u64, u64)> {
    let sk = context!((*ops).__bindgen_anon_2.sk);
    if sk.is_null() {
        return None;
    }
    let cookie = sys::cookie(ops);
    // Nothing has been read or written on the established connection yet: the next expected byte is the first one
    // (tcp_rcv_synsent_state_process, tcp_create_openreq_child).
    let mut leg = Leg {
        binding,
        cookie,
        received_base: context!((*ops).rcv_nxt),
        sent_base: context!((*ops).snd_nxt),
    };
    let address = sk as u64;
    (sys::create_leg(sk, &mut leg) && sys::capture(ops, cookie)).then_some((cookie, address))
}
