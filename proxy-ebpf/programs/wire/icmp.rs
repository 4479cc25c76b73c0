//! ICMP messages that say that a segment was too big for the path (RFC 1191, RFC 8201). They come to the host that the segment was sent from, which
//! is this one, and name numbers that a peer sees. Of a segment that bypassed the sockets they must go on to who sent it, as if a router between
//! the two had said so, or it would send the same again for ever; of others the local socket must be able to read them.

use aya_ebpf::bindings::__sk_buff;
use sluice_ebpf::{
    checksum,
    record::{NODES, Tuple},
    wire::{Side, To},
};

use super::{
    DROP, NEXT, Place,
    header::{IPV4, IPV6, NO_HEADER, TCP, frame, word},
    of,
    skb::{self, LOOPBACK},
};
use crate::{
    maps::Scratch,
    sys::{self, context, publish, shared},
};

/// Protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// "Destination unreachable: fragmentation needed and DF set" (RFC 792), and "packet too big" (RFC 4443): type and code.
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
const PACKET_TOO_BIG: [u8; 2] = [2, 0];
/// What [`find`] says: nothing of ours; of a segment of the local socket; of one that bypassed it.
pub(super) const NOT_OURS: i32 = 0;
pub(super) const OURS: i32 = 1;
pub(super) const OTHERS: i32 = 2;
/// Bytes of its header; behind it the packet begins that was too big.
const ICMP_BYTES: u32 = 8;
/// Version and length of an IPv4 header without options.
const PLAIN_IPV4: u8 = 0x45;

/// Whether a packet may be such a message: a glance, where its headers lie ready.
#[inline(always)]
pub(super) fn may_be<const LINK: u32>(skb: *mut __sk_buff) -> bool {
    let start = context!((*skb).data) as usize;
    let end = context!((*skb).data_end) as usize;
    let (at, wanted) = match u32::from(u16::from_be(context!((*skb).protocol) as u16)) {
        IPV4 => (start + LINK as usize + 9, ICMP),
        IPV6 => (start + LINK as usize + 6, ICMPV6),
        _ => return false,
    };
    if at + 1 > end {
        return false;
    }
    // SAFETY: inside the packet's front, as the comparison shows to the verifier too.
    unsafe { *(at as *const u8) == wanted }
}

/// Where things stand in such a message.
#[derive(Clone, Copy)]
struct Layout {
    v4: bool,
    /// The ICMP header.
    icmp: u32,
    /// The inner IP header's source address; the destination follows.
    addresses: u32,
    /// The inner TCP header.
    tcp: u32,
}

/// Ports and sequence number: all of a TCP header that surely is in such a message.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Front {
    source: u16,
    destination: u16,
    seq: u32,
}

impl Front {
    const fn words(self) -> [u32; 2] {
        [word(self.source, self.destination), self.seq]
    }
}

/// Finds out whose segment it was: what was found lies in the scratch memory. A function of its own, as the next: together with a caller that
/// holds a segment they have no room on the stack.
#[inline(never)]
pub(super) fn find<const LINK: u32>(skb: *mut __sk_buff) -> i32 {
    look::<LINK>(skb).unwrap_or(NOT_OURS)
}

#[inline(always)]
fn look<const LINK: u32>(skb: *mut __sk_buff) -> Option<i32> {
    if context!((*skb).vlan_present) != 0 {
        return None;
    }
    let layout = layout::<LINK>(skb)?;
    // SAFETY: a map value of this CPU's own.
    let scratch = unsafe { &mut *sys::scratch()? };
    let packet = &mut scratch.packet;
    if layout.v4 {
        let mut pair = [0_u32; 2];
        load(skb, layout.addresses, &mut pair)?;
        packet.source = [0, 0, 0xffff_u32.to_be(), pair[0]];
        packet.destination = [0, 0, 0xffff_u32.to_be(), pair[1]];
    } else {
        load(skb, layout.addresses, &mut packet.source)?;
        load(skb, layout.addresses + 16, &mut packet.destination)?;
    }
    let mut front = Front::default();
    load(skb, layout.tcp, &mut front)?;
    packet.front.tcp.source = front.source;
    packet.front.tcp.destination = front.destination;
    packet.front.tcp.seq = front.seq;
    // As the peer sees it whom the segment was for.
    let Place { slot, side } = of(&packet.tuple(false))?;
    let record = sys::session(slot)?;
    // SAFETY: as in `place`.
    let record = unsafe { &mut *record };
    let lock = sys::lock(slot)?;
    sys::acquire(lock);
    let (to, seq) = record.wire.too_big(side, u32::from_be(front.seq));
    let seat = record.wire.seat;
    sys::release(lock);
    publish!(scratch.position, slot);
    publish!(scratch.found, u32::from(matches!(side, Side::Client)));
    scratch.verdict.seat = seat;
    scratch.verdict.seq = seq;
    Some(if to == To::Addressee { OURS } else { OTHERS })
}

/// To the local socket, with its number.
#[inline(never)]
pub(super) fn deliver<const LINK: u32>(skb: *mut __sk_buff) -> i32 {
    let done = layout::<LINK>(skb)
        .zip(sys::scratch())
        .is_some_and(|(layout, scratch)| {
            // SAFETY: a map value of this CPU's own.
            let scratch = unsafe { &mut *scratch };
            let (from, mut to) = fronts(scratch);
            to.source = from.source;
            to.destination = from.destination;
            rewrite(skb, layout, from, to)
        });
    if done { NEXT } else { DROP }
}

/// To the peer that sent the segment.
#[inline(never)]
pub(super) fn forward<const LINK: u32>(skb: *mut __sk_buff) -> i32 {
    pass_on::<LINK>(skb).unwrap_or(DROP)
}

#[inline(always)]
fn pass_on<const LINK: u32>(skb: *mut __sk_buff) -> Option<i32> {
    let layout = layout::<LINK>(skb)?;
    // SAFETY: a map value of this CPU's own.
    let scratch = unsafe { &mut *sys::scratch()? };
    let record = sys::session(shared!(scratch.position))?;
    // SAFETY: as in `place`.
    let record = unsafe { &*record };
    let seat = shared!(scratch.verdict.seat) as usize & (NODES - 1);
    let (end, ifindex) = if shared!(scratch.found) != 0 {
        (
            shared!(record.host.node_end[seat]),
            shared!(record.wire.nodes[seat].ifindex),
        )
    } else {
        (
            shared!(record.host.client_end),
            shared!(record.wire.client.ifindex),
        )
    };
    // What the peer has sent: from itself to us.
    let (from, mut to) = fronts(scratch);
    to.source = (end.local_port as u16).to_be();
    to.destination = (end.remote_port as u16).to_be();
    if !rewrite(skb, layout, from, to) || !readdress(skb, layout, scratch, &end) {
        return None;
    }
    if LINK == NO_HEADER && !frame(skb, layout.v4) {
        return None;
    }
    if ifindex == LOOPBACK {
        skb::mark(skb);
        return skb::store(skb, 0, &[0_u8; 12]).then(skb::loop_back);
    }
    skb::note_to_learn(skb);
    Some(skb::send(ifindex))
}

/// What [`find`] has read, and the same with the number that it is to have.
#[inline(always)]
fn fronts(scratch: &Scratch) -> (Front, Front) {
    let tcp = &scratch.packet.front.tcp;
    let from = Front {
        source: tcp.source,
        destination: tcp.destination,
        seq: tcp.seq,
    };
    let to = Front {
        seq: scratch.verdict.seq.to_be(),
        ..from
    };
    (from, to)
}

/// None: no such message, or not in a form that we read.
#[inline(always)]
fn layout<const LINK: u32>(skb: *mut __sk_buff) -> Option<Layout> {
    let mut version_length = 0_u8;
    load(skb, LINK, &mut version_length)?;
    let v4 = version_length >> 4 == 4;
    let ip = if v4 { 20 } else { 40 };
    let icmp = LINK + ip;
    let inner = icmp + ICMP_BYTES;
    let mut kind = [0_u8; 2];
    load(skb, icmp, &mut kind)?;
    let (mut inner_version, mut protocol) = (0_u8, 0_u8);
    load(skb, inner, &mut inner_version)?;
    load(skb, inner + if v4 { 9 } else { 6 }, &mut protocol)?;
    let is_read = if v4 {
        version_length == PLAIN_IPV4 && inner_version == PLAIN_IPV4 && kind == FRAGMENTATION_NEEDED
    } else {
        inner_version >> 4 == 6 && kind == PACKET_TOO_BIG
    };
    (is_read && protocol == TCP).then_some(Layout {
        v4,
        icmp,
        addresses: inner + if v4 { 12 } else { 8 },
        tcp: inner + ip,
    })
}

/// Writes the front of the inner TCP header.
#[inline(always)]
fn rewrite(skb: *mut __sk_buff, layout: Layout, from: Front, to: Front) -> bool {
    let change = checksum::difference(&from.words(), &to.words(), 0);
    change_icmp(skb, layout, change) && skb::store(skb, layout.tcp, &to)
}

/// Writes the inner packet's addresses, from `end`'s peer to us, and has the message go the other way.
#[inline(always)]
fn readdress(skb: *mut __sk_buff, layout: Layout, scratch: &mut Scratch, end: &Tuple) -> bool {
    let outer = layout.icmp - if layout.v4 { 8 } else { 32 };
    let (sender, ours) = (end.local_ip, end.remote_ip);
    let inner = &mut scratch.packet;
    if layout.v4 {
        let mut old = [0_u32; 2];
        if !skb::load(skb, outer, &mut old) {
            return false;
        }
        let outer_change = checksum::difference(&old, &[ours[3], sender[3]], 0);
        let old = [inner.source[3], inner.destination[3]];
        let inner_change = checksum::difference(&old, &[sender[3], ours[3]], 0);
        // The inner header's own checksum takes its change up: the message's stays.
        return skb::change_l3(skb, outer - 2, outer_change)
            && skb::store(skb, outer, &[ours[3], sender[3]])
            && skb::change_l3(skb, layout.addresses - 2, inner_change)
            && skb::store(skb, layout.addresses, &[sender[3], ours[3]]);
    }
    let mut change = checksum::difference(&inner.source, &sender, 0);
    change = checksum::difference(&inner.destination, &ours, change);
    if !skb::load(skb, outer, &mut inner.source)
        || !skb::load(skb, outer + 16, &mut inner.destination)
    {
        return false;
    }
    change = checksum::difference(&inner.source, &ours, change);
    change = checksum::difference(&inner.destination, &sender, change);
    change_icmp(skb, layout, change)
        && skb::store(skb, outer, &ours)
        && skb::store(skb, outer + 16, &sender)
        && skb::store(skb, layout.addresses, &sender)
        && skb::store(skb, layout.addresses + 16, &ours)
}

/// Applies a change to the message's checksum.
#[inline(always)]
fn change_icmp(skb: *mut __sk_buff, layout: Layout, change: u32) -> bool {
    skb::change_l4(skb, layout.icmp + 2, change, false)
}

#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, offset: u32, to: &mut T) -> Option<()> {
    skb::load(skb, offset, to).then_some(())
}
