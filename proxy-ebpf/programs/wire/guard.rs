//! `cgroup_skb` on the daemon's cgroup. Once bytes have bypassed a connection's local socket, its numbers are the peer's only behind the `tc` programs; a
//! route may lead past them. Between socket and interface, in either direction, this is where such a packet is stopped: TCP sends it again, until the
//! interface is covered.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use sluice_ebpf::record::Tuple;

use super::{of, skb};
use crate::sys::{self, AF_INET, context, mapped};

/// Verdicts of programs of this kind.
const PASS: i32 = 1;
const STOP: i32 = 0;

/// What the daemon's sockets send, and what is for them.
#[cgroup_skb]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn wire_guard(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    if sys::is_covered(context!((*skb).ifindex)) || !has_bypassed(skb) {
        PASS
    } else {
        STOP
    }
}

/// Whether the packet's socket is one of the daemon's that bytes have bypassed.
#[inline(always)]
fn has_bypassed(skb: *mut __sk_buff) -> bool {
    let sk = skb::socket(skb);
    // The daemon's own have that. Of others there may be some with the same tuple, in other network namespaces.
    if sk.is_null() || sys::end(sk).is_none() {
        return false;
    }
    let Some(place) = of(&tuple(sk).mirrored()) else {
        return false;
    };
    let Some(record) = sys::session(place.slot) else {
        return false;
    };
    // SAFETY: as in `of`.
    unsafe { (*record).wire.leg(place.side).is_used() }
}

/// The connection as the socket sees it.
#[inline(always)]
fn tuple(sk: *mut bpf_sock) -> Tuple {
    let v4 = context!((*sk).family) == AF_INET;
    let local = [
        context!((*sk).src_ip4),
        context!((*sk).src_ip6[0]),
        context!((*sk).src_ip6[1]),
        context!((*sk).src_ip6[2]),
        context!((*sk).src_ip6[3]),
    ];
    let remote = [
        context!((*sk).dst_ip4),
        context!((*sk).dst_ip6[0]),
        context!((*sk).dst_ip6[1]),
        context!((*sk).dst_ip6[2]),
        context!((*sk).dst_ip6[3]),
    ];
    Tuple {
        local_ip: mapped(v4, local),
        remote_ip: mapped(v4, remote),
        local_port: context!((*sk).src_port),
        remote_port: u32::from(u16::from_be(context!((*sk).dst_port))),
    }
}
