//! TCP options (RFC 9293, section 3.1): timestamps leave the SYNs, SACK blocks are shifted as acknowledgements are.

use aya_ebpf::bindings::__sk_buff;
use sluice_ebpf::checksum;

use super::{
    header::{TCP_BYTES, TCP_CHECKSUM},
    skb,
};
use crate::{
    maps::Scratch,
    sys::{self, publish, shared},
};

/// The longest options that a header has room for.
const OPTION_BYTES_MAX: u32 = 40;
const END: u8 = 0;
const NOP: u8 = 1;
/// RFC 2018, section 3.
const SACK: u8 = 5;
/// RFC 7323, section 3.2: kind, length, two clocks.
const TIMESTAMPS: u8 = 8;
const TIMESTAMPS_BYTES: u8 = 10;
/// The most blocks that one option holds.
const BLOCKS_MAX: u32 = 4;

/// The way through a header's options. How far it has got is in the scratch memory, where the verifier does not follow it.
struct Search {
    skb: *mut __sk_buff,
    scratch: *mut Scratch,
    /// Offset of the options in the packet.
    start: u32,
    kind: u8,
}

/// An option's place in the packet and its length.
struct Found {
    offset: u32,
    length: u32,
}

/// Finds an option of this kind.
#[inline(always)]
fn find(skb: *mut __sk_buff, scratch: &mut Scratch, kind: u8) -> Option<Found> {
    let start = scratch.packet.l4 + TCP_BYTES;
    publish!(scratch.position, 0);
    publish!(scratch.end, scratch.packet.option_bytes());
    publish!(scratch.found, 0);
    let mut search = Search {
        skb,
        scratch: &raw mut *scratch,
        start,
        kind,
    };
    sys::repeat(OPTION_BYTES_MAX, step, &mut search);
    let length = shared!(scratch.found);
    (length != 0).then_some(Found {
        offset: start + shared!(scratch.position),
        length,
    })
}

/// One option; called by the kernel's loop, so that the verifier looks at it once.
extern "C" fn step(_index: u32, search: &mut Search) -> i64 {
    // SAFETY: this CPU's scratch memory, which the verifier follows through the loop's context.
    let scratch = unsafe { &mut *search.scratch };
    let (at, end) = (shared!(scratch.position), shared!(scratch.end));
    let mut head = [0_u8; 2];
    if at >= end || !skb::load(search.skb, search.start + at, &mut head) || head[0] == END {
        return 1;
    }
    let length = if head[0] == NOP {
        1
    } else {
        u32::from(head[1])
    };
    if length == 0 || at + length > end {
        return 1;
    }
    if head[0] == search.kind {
        publish!(scratch.found, length);
        return 1;
    }
    publish!(scratch.position, at + length);
    0
}

/// Overwrites the timestamps option with NOPs: two clocks cannot be joined. The option was the SYN's to offer; without it neither side uses it.
#[inline(never)]
pub(super) fn strip_timestamps(skb: *mut __sk_buff, scratch: &mut Scratch) {
    let Some(found) = find(skb, scratch, TIMESTAMPS) else {
        return;
    };
    if found.length != u32::from(TIMESTAMPS_BYTES) {
        return;
    }
    let l4 = scratch.packet.l4;
    let nops = [NOP; TIMESTAMPS_BYTES as usize];
    let mut old = [NOP; TIMESTAMPS_BYTES as usize];
    if !skb::load(skb, found.offset, &mut old) {
        return;
    }
    let odd = (found.offset - l4) & 1 != 0;
    let (from, to) = (padded(&old, odd), padded(&nops, odd));
    let change = checksum::difference(&from, &to, 0);
    let _ = skb::change_l4(skb, l4 + TCP_CHECKSUM, change, false)
        && skb::store(skb, found.offset, &nops);
}

/// Ten bytes as the checksum's words see them: behind one byte where they begin at an odd place.
#[inline(always)]
fn padded(bytes: &[u8; TIMESTAMPS_BYTES as usize], odd: bool) -> [u32; 3] {
    let b = bytes;
    let word = |a, b, c, d| u32::from_ne_bytes([a, b, c, d]);
    if odd {
        [
            word(0, b[0], b[1], b[2]),
            word(b[3], b[4], b[5], b[6]),
            word(b[7], b[8], b[9], 0),
        ]
    } else {
        [
            word(b[0], b[1], b[2], b[3]),
            word(b[4], b[5], b[6], b[7]),
            word(b[8], b[9], 0, 0),
        ]
    }
}

/// Adds `shift` to both edges of every SACK block.
#[inline(never)]
pub(super) fn shift_sack(skb: *mut __sk_buff, scratch: &mut Scratch, shift: u32) -> bool {
    if scratch.packet.option_bytes() == 0 || shift == 0 {
        return true;
    }
    let Some(found) = find(skb, scratch, SACK) else {
        return true;
    };
    let l4 = scratch.packet.l4;
    for block in 0..BLOCKS_MAX {
        if 2 + block * 8 + 8 > found.length {
            break;
        }
        let offset = found.offset + 2 + block * 8;
        let mut from = [0_u32; 2];
        if !skb::load(skb, offset, &mut from) {
            return false;
        }
        let to = from.map(|edge| u32::from_be(edge).wrapping_add(shift).to_be());
        let mut change = checksum::difference(&from, &to, 0);
        if (offset - l4) & 1 != 0 {
            change = change.rotate_left(8);
        }
        if !skb::change_l4(skb, l4 + TCP_CHECKSUM, change, false) || !skb::store(skb, offset, &to) {
            return false;
        }
    }
    true
}
