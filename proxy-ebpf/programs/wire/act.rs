//! Carries out a verdict.

use aya_ebpf::bindings::__sk_buff;
use sluice_ebpf::{
    record::{NODES, Seat, Session, Tuple},
    wire::{Side, To, tcp::FIN},
};

use super::{
    DROP, NEXT,
    cut::cut,
    options::shift_sack,
    skb::{self, LOOPBACK},
};
use crate::{
    client::{ID_AT, STATEMENT_BYTES},
    maps::Scratch,
    sys::shared,
};

/// What is done with the packet: the program's return value.
#[inline(always)]
pub(super) fn on(
    skb: *mut __sk_buff,
    scratch: &mut Scratch,
    record: &Session,
    side: Side,
    now: u64,
) -> i32 {
    match scratch.verdict.to {
        To::Untouched => NEXT,
        To::Dropped => DROP,
        To::Addressee => deliver(skb, scratch),
        To::OtherPeer => bypass(skb, scratch, record, side, now).unwrap_or(DROP),
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
fn bypass(
    skb: *mut __sk_buff,
    scratch: &mut Scratch,
    record: &Session,
    side: Side,
    now: u64,
) -> Option<i32> {
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
    if !scratch.packet.frame(skb) {
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
    let way = way(scratch, ifindex, now);
    let done = shift_sack(skb, scratch, sack_shift)
        && rewrite(skb, scratch, &end, window_shift, way != Way::Unknown)
        && (keeps_ecn || scratch.packet.clear_ecn(skb))
        && name_statement(skb, scratch, side);
    if !done {
        return None;
    }
    Some(match way {
        Way::Loopback => {
            skb::mark(skb);
            skb::loop_back()
        }
        Way::Known => {
            skb::mark(skb);
            skb::send_frame(ifindex)
        }
        Way::Unknown => {
            skb::note_to_learn(skb);
            skb::send(ifindex)
        }
    })
}

/// Has an execution that goes to the reader name its statement as that one does. It stands at the segment's front, also where it is sent again: what is passed
/// on without having been looked at this time the reader has acknowledged, and passes over.
#[inline(always)]
fn name_statement(skb: *mut __sk_buff, scratch: &mut Scratch, side: Side) -> bool {
    let id = shared!(scratch.reader_id);
    let is_named = matches!(side, Side::Client)
        && id != 0
        && shared!(scratch.verdict.seat) == Seat::Reader as u32
        && scratch.packet.length >= STATEMENT_BYTES;
    !is_named || scratch.packet.change_payload(skb, ID_AT, id.to_le())
}

/// How a packet gets to the other peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// That one is on this host.
    Loopback,
    /// By the addresses of the frame before it.
    Known,
    /// By those that the kernel looks up.
    Unknown,
}

/// Finds the way by this interface, and has the packet's front name the frame's addresses where they are known.
#[inline(always)]
fn way(scratch: &mut Scratch, ifindex: u32, now: u64) -> Way {
    if ifindex == LOOPBACK {
        // Addresses of nobody, as on every packet there.
        scratch.packet.front.ethernet = [0; 6];
        return Way::Loopback;
    }
    if !scratch.hop.is_known(ifindex, now) {
        return Way::Unknown;
    }
    scratch.packet.front.ethernet = scratch.hop.ethernet;
    Way::Known
}

/// Addresses, ports, numbers and window of the other leg; `framed`: and the frame's addresses.
#[inline(always)]
fn rewrite(
    skb: *mut __sk_buff,
    scratch: &mut Scratch,
    end: &Tuple,
    window_shift: i32,
    framed: bool,
) -> bool {
    let mut tcp = scratch.packet.front.tcp;
    tcp.source = (end.remote_port as u16).to_be();
    tcp.destination = (end.local_port as u16).to_be();
    tcp.seq = scratch.verdict.seq.to_be();
    tcp.ack = scratch.verdict.ack.to_be();
    tcp.window = window(u16::from_be(tcp.window), window_shift).to_be();
    // A FIN is for the local socket: this is what was sent before it.
    tcp.flags &= !FIN;
    let (source, destination) = (end.remote_ip, end.local_ip);
    scratch
        .packet
        .rewrite(skb, tcp, source, destination, framed)
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
