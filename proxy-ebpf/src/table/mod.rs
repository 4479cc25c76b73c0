//! What the automata over a statement's bytes are made of: the classes of bytes, and rows that are written at compile time.
//!
//! A table is plain bytes in `.rodata` for the BPF programs. It has room for every state and class, so that the kernel's
//! verifier sees the bound of every index and no panic is compiled in.

pub(crate) mod builder;
pub(crate) mod class;

use crate::response::format;
use builder::STATES_MAX;
use class::COLUMNS;

/// Length of a table: a row for each state; behind the last one what a class of any byte would reach, so that no index needs a mask.
pub(crate) const NEXT_LEN: usize = STATES_MAX * COLUMNS + (256 - COLUMNS);

/// The class of every byte, by what a backslash is.
pub(crate) static CLASS: [u8; 512] = class::table();

/// What is known of a backslash in a text.
///
/// Only in `'…'` does it make a difference: in `"…"` a backslash escapes or not by `ANSI_QUOTES` as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backslash(u16);

impl Backslash {
    /// Nothing: with `sql_mode` `NO_BACKSLASH_ESCAPES` it stands for itself.
    pub const UNKNOWN: Self = Self(0);
    /// It escapes: the session's `sql_mode` has no `NO_BACKSLASH_ESCAPES`.
    pub const ESCAPES: Self = Self(256);

    /// As a session's [`format`] bits say.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "one bound for the verifier")]
    pub const fn of_format(bits: u32) -> Self {
        // Without a branch, which the verifier would follow twice.
        let known = bits & format::BACKSLASH_ESCAPES as u32;
        Self((known << ESCAPES_SHIFT & 256) as u16)
    }
}

/// From the bit to the second half of [`CLASS`].
const ESCAPES_SHIFT: u32 = 5;
const _: () = assert!((format::BACKSLASH_ESCAPES as u32) << ESCAPES_SHIFT == 256);

/// The state of `next` after one more byte. An addition: of an "or" the verifiers of kernels before 6.10 do not know the bounds.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
#[expect(
    clippy::indexing_slicing,
    reason = "the table has room for every state and class: no check is left, and the verifier sees the bound"
)]
pub(crate) const fn step(next: &[u8; NEXT_LEN], backslash: Backslash, state: u8, byte: u8) -> u8 {
    let class = CLASS[(backslash.0 & 256) as usize + byte as usize] as usize;
    next[((state as usize) << class::CLASS_BITS) + class]
}
