//! Carries out a verdict.

use aya_ebpf::bindings::__sk_buff;
use sluice_ebpf::{
    record::{NODES, Session, Tuple},
    wire::{Side, To, tcp::FIN},
};

use super::{
    DROP, NEXT,
    cut::cut,
    options::shift_sack,
    skb::{self, LOOPBACK},
};
use crate::{maps::Scratch, sys::shared};

/// What is done with the packet: the program's return value.
#[inline(always)]
pub(super) fn on(skb: *mut __sk_buff, scratch: &mut Scratch, record: &Session, side: Side) -> i32 {
    match scratch.verdict.to {
        To::Untouched => NEXT,
        To::Dropped => DROP,
        To::Addressee => deliver(skb, scratch),
        To::OtherPeer => bypass(skb, scratch, record, side).unwrap_or(DROP),
    }
}

/// On its way, with new numbers.
#[inline(always)]
fn deliver(skb: *mut __sk_buff, scratch: &mut Scratch) -> i32 {
    let (seq, ack) = (scratch.verdict.seq, scratch.verdict.ack);
    let segment = scratch.packet.segment();
    let length = scratch.verdict.length;
    if !cut(skb, scratch, length) {
        return DROP;
    }
    let same = seq == segment.seq && ack == segment.ack;
    let shift = scratch.verdict.sack_shift;
    if same || (shift_sack(skb, scratch, shift) && scratch.packet.renumber(skb, seq, ack)) {
        NEXT
    } else {
        DROP
    }
}

/// To the other leg's peer. None: it cannot be; TCP sends it again.
#[inline(always)]
fn bypass(skb: *mut __sk_buff, scratch: &mut Scratch, record: &Session, side: Side) -> Option<i32> {
    let mut sack_shift = scratch.verdict.sack_shift;
    if let Some((seq, ack)) = scratch.verdict.copy {
        let sent = shared!(record.wire.leg(side).snd_bypassed);
        // As the local socket counts.
        if !shift_sack(skb, scratch, sent.wrapping_neg()) || !scratch.packet.renumber(skb, seq, ack)
        {
            return None;
        }
        sack_shift = sack_shift.wrapping_add(sent);
        skb::mark(skb);
        // Where it fails the local socket asks again.
        let _ = skb::copy_to_stack(skb);
        skb::unmark(skb);
    }
    let length = scratch.verdict.length;
    if !cut(skb, scratch, length) {
        return None;
    }
    // Read back: one number for the verifier, which sees it bounded by the mask.
    let seat = shared!(scratch.verdict.seat) as usize & (NODES - 1);
    let (end, ifindex, window_shift) = match side {
        Side::Client => (
            shared!(record.host.node_end[seat]),
            shared!(record.wire.nodes[seat].ifindex),
            shared!(record.host.joint[seat].window_to_node),
        ),
        Side::Node(_) => (
            shared!(record.host.client_end),
            shared!(record.wire.client.ifindex),
            shared!(record.host.joint[seat].window_to_client),
        ),
    };
    let keeps_ecn = shared!(record.host.joint[seat].ecn) != 0;
    let done = shift_sack(skb, scratch, sack_shift)
        && rewrite(skb, scratch, &end, window_shift)
        && (keeps_ecn || scratch.packet.clear_ecn(skb));
    if !done {
        return None;
    }
    skb::mark(skb);
    if ifindex == LOOPBACK {
        // Addresses of nobody, as on every packet there.
        if !skb::store(skb, 0, &[0_u8; 12]) {
            return None;
        }
        return Some(skb::loop_back());
    }
    Some(skb::send(ifindex))
}

/// Addresses, ports, numbers and window of the other leg.
#[inline(always)]
fn rewrite(skb: *mut __sk_buff, scratch: &mut Scratch, end: &Tuple, window_shift: i32) -> bool {
    let mut tcp = scratch.packet.tcp;
    tcp.source = (end.remote_port as u16).to_be_bytes();
    tcp.destination = (end.local_port as u16).to_be_bytes();
    tcp.seq = scratch.verdict.seq.to_be_bytes();
    tcp.ack = scratch.verdict.ack.to_be_bytes();
    tcp.window = window(u16::from_be_bytes(tcp.window), window_shift).to_be_bytes();
    // A FIN is for the local socket: this is what was sent before it.
    tcp.flags &= !FIN;
    scratch.packet.replace(skb, tcp) && scratch.packet.readdress(skb, end.remote_ip, end.local_ip)
}

/// A window in the other leg's scale (RFC 7323, section 2.3).
#[inline(always)]
fn window(window: u16, shift: i32) -> u16 {
    let wide = u32::from(window);
    if shift >= 0 {
        let moved = wide << (shift.unsigned_abs() & 15);
        if moved > 0xffff { 0xffff } else { moved as u16 }
    } else {
        (wide >> (shift.unsigned_abs() & 15)) as u16
    }
}
