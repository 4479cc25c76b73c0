//! Cuts a segment off at its end, checksums included: what is behind is for another socket, or for none.

use aya_ebpf::bindings::__sk_buff;
use sluice_ebpf::checksum;

use super::{header::TCP_CHECKSUM, skb};
use crate::{
    maps::{Scratch, TEXT_BYTES},
    sys::{self, context, publish, shared},
};

/// Bytes that one call of `bpf_csum_diff` takes (`MAX_BPF_STACK`).
const CHUNK: u32 = 512;
/// Chunks of the scratch memory.
const CHUNKS: u32 = TEXT_BYTES as u32 / CHUNK;

/// Cuts the payload to `length` bytes. False where it cannot be done: the packet must be dropped then, TCP sends it again.
#[inline(always)]
pub(super) fn cut(skb: *mut __sk_buff, scratch: &mut Scratch, length: u32) -> bool {
    let (payload, old) = (scratch.packet.payload, scratch.packet.length);
    if length >= old {
        return length == old;
    }
    let gone = old - length;
    // A segment of several pieces has a checksum that is still to be completed (`tcp_gro_complete`): it holds no payload.
    let sum = if context!((*skb).gso_size) != 0 {
        0
    } else {
        match sum(skb, scratch, payload + length, gone) {
            Some(sum) => sum,
            None => return false,
        }
    };
    let l4 = scratch.packet.l4;
    let before = tcp_bytes(payload - l4 + old);
    let after = tcp_bytes(payload - l4 + length);
    let pseudo = checksum::difference(&[before], &[after], 0);
    scratch.packet.length = length;
    skb::cut(skb, payload + length)
        && skb::change_l4(skb, l4 + TCP_CHECKSUM, pseudo, true)
        && skb::change_l4(skb, l4 + TCP_CHECKSUM, !sum, false)
        && scratch.packet.shorten(skb, payload + length)
}

/// The length of a TCP packet as the pseudo header has it.
#[inline(always)]
const fn tcp_bytes(bytes: u32) -> u32 {
    bytes.to_be()
}

/// The checksum's share of `bytes` at `offset` in the packet. None: more than there is room for.
#[inline(always)]
fn sum(skb: *mut __sk_buff, scratch: &mut Scratch, offset: u32, bytes: u32) -> Option<u32> {
    let odd = (offset - scratch.packet.l4) & 1 != 0;
    // The sum is taken in whole chunks, the last one filled with zeros.
    let mut bytes = bytes;
    if bytes == 0 || bytes > TEXT_BYTES as u32 - CHUNK {
        return None;
    }
    let whole = bytes.div_ceil(CHUNK);
    for place in 0..CHUNK / 8 {
        let at = (whole * CHUNK - CHUNK + place * 8) as usize & (TEXT_BYTES - 8);
        #[expect(clippy::cast_ptr_alignment, reason = "see below")]
        // SAFETY: inside the scratch text, as the mask shows, and aligned to 8 bytes.
        unsafe {
            scratch
                .text
                .as_mut_ptr()
                .add(at)
                .cast::<u64>()
                .write_volatile(0);
        }
    }
    // Read back, and less one: as in `payload`.
    publish!(scratch.end, bytes - 1);
    let last = shared!(scratch.end);
    if last >= TEXT_BYTES as u32 - CHUNK {
        return None;
    }
    bytes = last + 1;
    if !skb::load_bytes(skb, offset, scratch.text.as_mut_ptr(), bytes) {
        return None;
    }
    publish!(scratch.position, 0);
    publish!(scratch.end, whole);
    publish!(scratch.found, 0);
    let mut adding = Adding {
        scratch: &raw mut *scratch,
    };
    sys::repeat(CHUNKS, add, &mut adding);
    let sum = shared!(scratch.found);
    Some(if odd {
        checksum::at_odd_place(sum)
    } else {
        sum
    })
}

/// The way over the chunks. What it changes is in the scratch memory, where the verifier does not follow it.
struct Adding {
    scratch: *mut Scratch,
}

/// One chunk; called by the kernel's loop, so that the verifier looks at it once.
extern "C" fn add(_index: u32, adding: &mut Adding) -> i64 {
    // SAFETY: this CPU's scratch memory, which the verifier follows through the loop's context.
    let scratch = unsafe { &mut *adding.scratch };
    let chunk = shared!(scratch.position);
    let seed = shared!(scratch.found);
    let at = (chunk * CHUNK) as usize & (TEXT_BYTES - CHUNK as usize);
    // SAFETY: a whole chunk inside the scratch text, as the mask shows.
    let sum = unsafe { skb::sum(scratch.text.as_mut_ptr().add(at), CHUNK, seed) };
    publish!(scratch.found, sum);
    publish!(scratch.position, chunk + 1);
    i64::from(chunk + 1 >= shared!(scratch.end))
}
