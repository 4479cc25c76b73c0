//! Helpers on packets: thin, one kernel fact each.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, BPF_F_PSEUDO_HDR, bpf_sock},
    helpers::generated::{
        bpf_clone_redirect, bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect,
        bpf_redirect_neigh, bpf_sk_fullsock, bpf_skb_change_head, bpf_skb_change_tail,
        bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
};

use crate::sys::context;

/// Index of the loopback interface in every network namespace (`LOOPBACK_IFINDEX` of `net/flow.h`).
pub(super) const LOOPBACK: u32 = 1;

/// Says that a packet has its numbers: from where it is redirected to where it is seen next, and no further. Set by the daemon to a
/// number that nobody guesses.
#[unsafe(no_mangle)]
static WIRE_MARK: u32 = 0;

#[inline(always)]
fn mark_value() -> u32 {
    // SAFETY: a static of this object, aligned and initialised. Volatile: the compiler only knows the zero.
    unsafe { core::ptr::read_volatile(&raw const WIRE_MARK) }
}

#[inline(always)]
pub(super) fn is_marked(skb: *mut __sk_buff) -> bool {
    context!((*skb).mark) == mark_value()
}

#[inline(always)]
pub(super) fn mark(skb: *mut __sk_buff) {
    // SAFETY: the context is valid for the program's run; `mark` may be written.
    unsafe { core::ptr::write_volatile(&raw mut (*skb).mark, mark_value()) };
}

/// Whether the packet has bypassed and is on its way by an address that the kernel has looked up: a segment's is to be remembered.
#[inline(always)]
pub(super) fn is_to_learn(skb: *mut __sk_buff) -> bool {
    let mark = mark_value();
    context!((*skb).cb[3]) == mark && context!((*skb).cb[4]) == !mark
}

/// Says so in the packet's control block: the kernel looks an address up by the packet's mark too, which stays its own.
#[inline(always)]
pub(super) fn note_to_learn(skb: *mut __sk_buff) {
    let mark = mark_value();
    set_note(skb, mark, !mark);
}

/// Takes that back.
#[inline(always)]
pub(super) fn forget_to_learn(skb: *mut __sk_buff) {
    set_note(skb, 0, 0);
}

#[inline(always)]
fn set_note(skb: *mut __sk_buff, first: u32, second: u32) {
    // SAFETY: as for `mark`; so may `cb`.
    unsafe {
        core::ptr::write_volatile(&raw mut (*skb).cb[3], first);
        core::ptr::write_volatile(&raw mut (*skb).cb[4], second);
    }
}

#[inline(always)]
pub(super) fn unmark(skb: *mut __sk_buff) {
    // SAFETY: as for `mark`.
    unsafe { core::ptr::write_volatile(&raw mut (*skb).mark, 0) };
}

/// The socket that the packet comes from, null where there is none or it is not a full one.
#[inline(always)]
pub(super) fn socket(skb: *mut __sk_buff) -> *mut bpf_sock {
    // SAFETY: the context is valid; the verifier types `sk`.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return sk;
    }
    // SAFETY: `sk` is not null.
    unsafe { bpf_sk_fullsock(sk) }
}

/// Copies a value from the packet. Works wherever its bytes lie.
#[inline(always)]
pub(super) fn load<T: Copy>(skb: *mut __sk_buff, offset: u32, to: &mut T) -> bool {
    // SAFETY: as many bytes as `T` has, integers in all uses.
    unsafe {
        bpf_skb_load_bytes(
            skb.cast(),
            offset,
            core::ptr::from_mut(to).cast(),
            size_of::<T>() as u32,
        ) == 0
    }
}

/// Copies `length` bytes from the packet; the caller has bounded them by what `to` points to.
#[inline(always)]
pub(super) fn load_bytes(skb: *mut __sk_buff, offset: u32, to: *mut u8, length: u32) -> bool {
    // SAFETY: the verifier checks place and length.
    unsafe { bpf_skb_load_bytes(skb.cast(), offset, to.cast(), length) == 0 }
}

/// Writes a value into the packet, whose data is made its own first where it is shared with the sender's queue.
#[inline(always)]
pub(super) fn store<T: Copy>(skb: *mut __sk_buff, offset: u32, from: &T) -> bool {
    // SAFETY: as many bytes as `T` has.
    unsafe {
        bpf_skb_store_bytes(
            skb,
            offset,
            core::ptr::from_ref(from).cast(),
            size_of::<T>() as u32,
            0,
        ) == 0
    }
}

/// Writes `length` bytes into the packet; the caller has bounded them by what `from` points to.
#[inline(always)]
pub(super) fn store_bytes(skb: *mut __sk_buff, offset: u32, from: *const u8, length: u32) -> bool {
    // SAFETY: the verifier checks place and length.
    unsafe { bpf_skb_store_bytes(skb, offset, from.cast(), length, 0) == 0 }
}

/// The Internet checksum's sum over `bytes` at `from`, a multiple of 4 and at most 512, added to `seed`.
///
/// # Safety
/// `from` must be followed by as many bytes.
#[inline(always)]
#[expect(
    clippy::cast_sign_loss,
    reason = "a sum of 32 bits: it fails only for lengths that no caller has"
)]
pub(super) unsafe fn sum(from: *mut u8, bytes: u32, seed: u32) -> u32 {
    // SAFETY: the caller's promise; the helper takes nothing from a null pointer with no length.
    unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, from.cast(), bytes, seed) as u32 }
}

/// Applies a change to the IPv4 header's checksum at `offset`.
#[inline(always)]
pub(super) fn change_l3(skb: *mut __sk_buff, offset: u32, difference: u32) -> bool {
    // SAFETY: the context is valid.
    unsafe { bpf_l3_csum_replace(skb, offset, 0, difference.into(), 0) == 0 }
}

/// Applies a change to the TCP checksum at `offset`; `pseudo`: of the pseudo header, which a checksum that the device is still to complete
/// (`CHECKSUM_PARTIAL`) holds already.
#[inline(always)]
pub(super) fn change_l4(skb: *mut __sk_buff, offset: u32, difference: u32, pseudo: bool) -> bool {
    let flags = if pseudo { BPF_F_PSEUDO_HDR } else { 0 };
    // SAFETY: the context is valid.
    unsafe { bpf_l4_csum_replace(skb, offset, 0, difference.into(), flags.into()) == 0 }
}

/// Cuts the packet off behind this many bytes.
#[inline(always)]
pub(super) fn cut(skb: *mut __sk_buff, length: u32) -> bool {
    // SAFETY: the context is valid.
    unsafe { bpf_skb_change_tail(skb, length, 0) == 0 }
}

/// Puts this many zeros in front of the packet, as a link layer's header.
#[inline(always)]
pub(super) fn add_head(skb: *mut __sk_buff, bytes: u32) -> bool {
    // SAFETY: the context is valid.
    unsafe { bpf_skb_change_head(skb, bytes, 0) == 0 }
}

/// Gives this host's stack a copy, as if it had come in by the same interface.
#[inline(always)]
pub(super) fn copy_to_stack(skb: *mut __sk_buff) -> bool {
    let ifindex = context!((*skb).ifindex);
    // SAFETY: the context is valid.
    unsafe { bpf_clone_redirect(skb, ifindex, BPF_F_INGRESS.into()) == 0 }
}

/// Sends the packet out by an interface; the kernel finds the neighbour by the packet's own address.
#[inline(always)]
pub(super) fn send(ifindex: u32) -> i32 {
    // SAFETY: without parameters the helper takes nothing of ours.
    unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32 }
}

/// Sends the packet out by an interface, as the frame that it is.
#[inline(always)]
pub(super) fn send_frame(ifindex: u32) -> i32 {
    // SAFETY: it takes numbers only.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}

/// Gives the packet to this host's stack by the loopback interface.
#[inline(always)]
pub(super) fn loop_back() -> i32 {
    // SAFETY: it takes numbers only.
    unsafe { bpf_redirect(LOOPBACK, BPF_F_INGRESS.into()) as i32 }
}
