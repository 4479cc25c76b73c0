//! What the automata over a statement's bytes are made of: the classes of bytes, and rows that are written at compile time.
//!
//! A table is plain bytes in `.rodata` for the BPF programs. It has room for every state and class, so that the kernel's
//! verifier sees the bound of every index and no panic is compiled in.

pub(crate) mod builder;
pub(crate) mod class;

use builder::STATES_MAX;
use class::COLUMNS;

/// Length of a table: a row for each state; behind the last one what a class of any byte would reach, so that no index needs a mask.
pub(crate) const NEXT_LEN: usize = STATES_MAX * COLUMNS + (256 - COLUMNS);

/// The class of every byte.
pub(crate) static CLASS: [u8; 256] = class::table();

/// The state of `next` after one more byte. An addition: of an "or" the verifiers of kernels before 6.10 do not know the bounds.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
#[expect(
    clippy::indexing_slicing,
    reason = "the table has room for every state and class: no check is left, and the verifier sees the bound"
)]
pub(crate) const fn step(next: &[u8; NEXT_LEN], state: u8, byte: u8) -> u8 {
    let class = CLASS[byte as usize] as usize;
    next[((state as usize) << class::CLASS_BITS) + class]
}
