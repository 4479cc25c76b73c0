//! `tc` programs of the wire: each segment of a session's two connections goes through the tracker, and then where that says.

mod act;
mod cut;
mod guard;
pub(crate) mod header;
mod icmp;
mod ledger;
mod options;
mod payload;
mod skb;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::ProgramArray,
    macros::classifier,
    programs::TcContext,
};
use sluice_ebpf::{
    record::{Hop, Listener, NODES, Role, Seat, Session, Tuple, path},
    response::Status,
    wire::{Content, Offer, Side, tcp},
};

use self::header::{ETHERNET_BYTES, NO_HEADER, Packet};
use crate::{
    maps::{LOCAL, SEGMENT},
    sys::{self, context, publish, shared},
};

/// Goes on to whoever comes behind us: with any other verdict programs behind ours would be blind.
const NEXT: i32 = TC_ACT_UNSPEC;
/// Dropped: TCP sends it again.
const DROP: i32 = TC_ACT_SHOT;

/// Segments of peers, wherever they are seen first. A program of its own that the others go on in, as the verifier's work is nearly all here: so it is done once. And what
/// stays on a hook behind a killed daemon translates nothing. The packet's [`link`](Packet::link) is in the scratch memory.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn wire_segment(ctx: TcContext) -> i32 {
    from_peer(ctx.skb.skb).unwrap_or(NEXT)
}

/// Segments of local sockets: the same as [`wire_segment`] for what leaves.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn wire_local(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    match from_local(skb) {
        Some(action) => action,
        None if is_on_loopback(skb) && header::may_be_ours::<ETHERNET_BYTES>(skb, true) => {
            hand_over(&ctx, &SEGMENT, ETHERNET_BYTES)
        }
        None => NEXT,
    }
}

/// Stands in for both while the hooks move from one interface to another that sees the same packets: none is translated twice, or not at all.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn wire_hold(ctx: TcContext) -> i32 {
    hold(ctx.skb.skb).unwrap_or(NEXT)
}

/// Goes on in the program of [`SEGMENT`], for what is from a peer, or of [`LOCAL`], for what is from a local socket. Comes back where it is not there any more: behind a
/// killed daemon, whose filters of `clsact` stay.
#[inline(always)]
fn hand_over(ctx: &TcContext, program: &ProgramArray<1>, link: u32) -> i32 {
    if let Some(scratch) = sys::scratch() {
        // SAFETY: a map value of this CPU's own; the program is of this one's type.
        unsafe {
            (*scratch).packet.link = link;
            program.tail_call(ctx, 0);
        }
    }
    NEXT
}

/// Segments that arrive, before the sockets.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn wire_ingress(ctx: TcContext) -> i32 {
    arriving::<ETHERNET_BYTES>(&ctx)
}

/// The same of interfaces whose packets begin with their IP header.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn wire_ingress_ip(ctx: TcContext) -> i32 {
    arriving::<NO_HEADER>(&ctx)
}

#[inline(always)]
fn arriving<const LINK: u32>(ctx: &TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if skb::is_marked(skb) {
        // A copy for a local socket, or what has bypassed the sockets on its way to a program on this host: it has its numbers.
        skb::unmark(skb);
        return NEXT;
    }
    // What a peer on this host sends was seen where it left.
    if is_on_loopback(skb) || !header::may_be_ours::<LINK>(skb, true) {
        if !icmp::may_be::<LINK>(skb) {
            return NEXT;
        }
        return match icmp::find::<LINK>(skb) {
            icmp::OURS => icmp::deliver::<LINK>(skb),
            icmp::OTHERS => icmp::forward::<LINK>(skb),
            _ => NEXT,
        };
    }
    hand_over(ctx, &SEGMENT, LINK)
}

/// Whether the packet is on the loopback interface.
#[inline(always)]
fn is_on_loopback(skb: *mut __sk_buff) -> bool {
    context!((*skb).ifindex) == skb::LOOPBACK
}

/// Segments that leave, behind the sockets; and those of a peer on this host: here they are still in the order in which its socket sends them. Behind lo each CPU
/// has a queue of its own, and a socket sends on whichever CPU its process or an acknowledgement for it is.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn wire_egress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if skb::is_marked(skb) {
        // Bypassed: it was seen where it came in.
        skb::unmark(skb);
        return NEXT;
    }
    if skb::is_to_learn(skb) {
        skb::forget_to_learn(skb);
        let _ = learn(skb);
        return NEXT;
    }
    if header::may_be_ours::<ETHERNET_BYTES>(skb, false) {
        return hand_over(&ctx, &LOCAL, ETHERNET_BYTES);
    }
    if is_on_loopback(skb) && header::may_be_ours::<ETHERNET_BYTES>(skb, true) {
        return hand_over(&ctx, &SEGMENT, ETHERNET_BYTES);
    }
    NEXT
}

/// The same of interfaces whose packets begin with their IP header. There is no frame with addresses to be remembered: the kernel looks up the way of each
/// bypassed packet, and many a tunnel's driver finds its other end by what it has found.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn wire_egress_ip(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if skb::is_to_learn(skb) {
        skb::forget_to_learn(skb);
        return NEXT;
    }
    if skb::is_marked(skb) {
        skb::unmark(skb);
        return NEXT;
    }
    if header::may_be_ours::<NO_HEADER>(skb, false) {
        return hand_over(&ctx, &LOCAL, NO_HEADER);
    }
    NEXT
}

/// Where a connection's session is.
struct Place {
    slot: u32,
    side: Side,
}

/// The record and lock of a connection, if it is one of ours: `tuple` as its peer sees it.
#[inline(always)]
fn place(packet: &Packet, from_peer: bool) -> Option<Place> {
    of(&packet.tuple(from_peer))
}

/// The same by the tuple that the peer sees.
#[inline(always)]
fn of(tuple: &Tuple) -> Option<Place> {
    let binding = sys::connection(tuple)?.binding;
    let record = sys::session(binding.slot)?;
    // SAFETY: the verifier has bounded the record; fields of other writers are only touched through `shared!`.
    let record = unsafe { &*record };
    if binding.session == 0 || shared!(record.host.session) != binding.session {
        return None;
    }
    let side = if binding.role == Role::Client as u32 {
        Side::Client
    } else if Role::seat_of(binding.role) == Seat::Reader as u32 {
        Side::Node(Seat::Reader)
    } else {
        Side::Node(Seat::Writer)
    };
    Some(Place {
        slot: binding.slot,
        side,
    })
}

/// What the daemon offers.
#[inline(always)]
fn offer(record: &Session) -> Offer {
    let armed = shared!(record.host.armed);
    let offsets = shared!(record.host.offsets);
    let (seat, takes) = (shared!(record.host.seat), shared!(record.host.takes));
    let status = Status::from_word(shared!(record.host.status));
    Offer {
        // It may have been replaced between these reads.
        armed: if shared!(record.host.armed) == armed {
            armed
        } else {
            0
        },
        stopped: shared!(record.host.stopped),
        offsets,
        seat,
        takes,
        status,
        allowed: shared!(record.host.path) == path::WIRE,
    }
}

#[inline(always)]
fn from_peer(skb: *mut __sk_buff) -> Option<i32> {
    // SAFETY: a map value of this CPU's own.
    let scratch = unsafe { &mut *sys::scratch()? };
    let link = shared!(scratch.packet.link);
    scratch.packet.read(skb, link)?;
    let packet = &scratch.packet;
    if packet.flags & (tcp::SYN | tcp::ACK) == tcp::SYN {
        let tuple = packet.tuple(false);
        if sys::is_listener(&Listener {
            ip: tuple.local_ip,
            port: tuple.local_port,
        }) {
            options::strip_timestamps(skb, scratch);
        }
    }
    let Place { slot, side } = place(&scratch.packet, true)?;
    if scratch.packet.is_fragment {
        // Its numbers cannot be put right.
        return Some(DROP);
    }
    let record = sys::session(slot)?;
    // SAFETY: as in `place`.
    let record = unsafe { &mut *record };
    let lock = sys::lock(slot)?;
    let offer = offer(record);
    publish!(scratch.reader_id, 0);
    let content = if scratch.packet.length != 0 && record.wire.wants_content(side, &offer) {
        payload::content(skb, scratch, record, side)
    } else {
        Content::Unknown
    };
    let segment = scratch.packet.segment();
    let now = sys::now();
    sys::acquire(lock);
    let outstanding = record.client.commands != record.node.answered;
    let content = match content {
        Content::Walked(_) if !payload::still_stands(scratch, record) => Content::Unknown,
        Content::Command(bytes) => {
            payload::placed(scratch, record, &segment, bytes, &offer, outstanding)
        }
        content => content,
    };
    scratch.verdict = record
        .wire
        .from_peer(side, &segment, content, &offer, outstanding);
    match side {
        Side::Client => ledger::client(record, scratch),
        Side::Node(_) => ledger::node(record, scratch, now),
    }
    // Read back: one number for the verifier, which sees it bounded by the mask.
    let seat = shared!(scratch.verdict.seat) as usize & (NODES - 1);
    scratch.hop = match side {
        Side::Client => record.hops.nodes[seat],
        Side::Node(_) => record.hops.client,
    };
    sys::release(lock);
    if scratch.verdict.passed && matches!(side, Side::Client) {
        payload::note(record, scratch, now);
    }
    Some(act::on(skb, scratch, record, side, now))
}

/// Whether a SYN is of a connection that the daemon opens to a node: its socket says so, as its tuple is not known yet.
#[inline(always)]
fn is_dialling(skb: *mut __sk_buff) -> bool {
    let sk = skb::socket(skb);
    !sk.is_null() && sys::end(sk).is_some()
}

#[inline(always)]
fn from_local(skb: *mut __sk_buff) -> Option<i32> {
    // SAFETY: a map value of this CPU's own.
    let scratch = unsafe { &mut *sys::scratch()? };
    let link = shared!(scratch.packet.link);
    scratch.packet.read(skb, link)?;
    if scratch.packet.flags & tcp::SYN != 0 {
        if is_dialling(skb) {
            options::strip_timestamps(skb, scratch);
        }
        return None;
    }
    let Place { slot, side } = place(&scratch.packet, false)?;
    if scratch.packet.is_fragment {
        return Some(DROP);
    }
    let record = sys::session(slot)?;
    // SAFETY: as in `place`.
    let record = unsafe { &mut *record };
    let lock = sys::lock(slot)?;
    let offer = offer(record);
    let segment = scratch.packet.segment();
    let ifindex = context!((*skb).ifindex);
    sys::acquire(lock);
    scratch.verdict = record.wire.from_local(side, &segment, &offer);
    record.wire.leg_mut(side).ifindex = ifindex;
    ledger::local(record, &scratch.verdict);
    sys::release(lock);
    // What a local socket sends bypasses nothing: no way is looked for, and the moment is of no use.
    Some(act::on(skb, scratch, record, side, 0))
}

/// Drops what is of a connection that bytes have bypassed, either way; TCP sends it again.
#[inline(always)]
fn hold(skb: *mut __sk_buff) -> Option<i32> {
    // SAFETY: a map value of this CPU's own.
    let scratch = unsafe { &mut *sys::scratch()? };
    let link = shared!(scratch.packet.link);
    scratch.packet.read(skb, link)?;
    let place = match place(&scratch.packet, true) {
        Some(place) => place,
        None => place(&scratch.packet, false)?,
    };
    let record = sys::session(place.slot)?;
    // SAFETY: as in `of`.
    let is_used = unsafe { (*record).wire.leg(place.side).is_used() };
    is_used.then_some(DROP)
}

/// Remembers the frame's addresses that the kernel has found for a bypassed packet.
#[inline(always)]
fn learn(skb: *mut __sk_buff) -> Option<()> {
    // SAFETY: a map value of this CPU's own.
    let scratch = unsafe { &mut *sys::scratch()? };
    scratch.packet.read(skb, ETHERNET_BYTES)?;
    let mut hop = Hop::found(context!((*skb).ifindex), sys::now());
    if !skb::load(skb, 0, &mut hop.ethernet) {
        return None;
    }
    let Place { slot, side } = place(&scratch.packet, false)?;
    let record = sys::session(slot)?;
    // SAFETY: as in `place`.
    let record = unsafe { &mut *record };
    let lock = sys::lock(slot)?;
    sys::acquire(lock);
    match side {
        Side::Client => record.hops.client = hop,
        Side::Node(Seat::Writer) => record.hops.nodes[0] = hop,
        Side::Node(Seat::Reader) => record.hops.nodes[1] = hop,
    }
    sys::release(lock);
    Some(())
}
