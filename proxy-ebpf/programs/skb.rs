//! `sk_skb` on captured app sockets. It passes everything: its presence alone makes `FIONREAD` count what came over TCP on kernels
//! whose `tcp_bpf_ioctl` otherwise forgets it (6.12.75, 6.18.14 and others; repaired in 6.12.114 by "Account for receive queue in
//! FIONREAD without a verdict program"). The daemon attaches it where its self-test finds that defect.

use aya_ebpf::{bindings::sk_action::SK_PASS, macros::stream_verdict, programs::SkBuffContext};

/// Passes.
#[stream_verdict]
pub(crate) fn pass(_ctx: SkBuffContext) -> u32 {
    SK_PASS
}
