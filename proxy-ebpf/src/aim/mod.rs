//! Which node may answer a text that [`automaton`](crate::automaton) says reads, by a second finite automaton over its bytes.
//!
//! What a replica may answer is known by default deny: no parenthesis may follow a word unless the word is a reserved one that
//! is no function (`words::KEYWORDS`) or, right before it, a native function that gives the same everywhere
//! (`words::FUNCTIONS`). Any other call may be one of a stored function, which may write; so may every qualified call (`d.f()`),
//! and every call by a quoted name. Besides there are words that need no parenthesis (`words::BEGINNINGS`, `words::EXACT`).
//!
//! A text that the first automaton does not call a read has no meaning here. The answer still errs on the side of the writer.
//! What a text cannot show: the default schema (`performance_schema` and its like), temporary tables, transactions.

#[cfg(test)]
mod tests;
mod text;
mod words;

use crate::table::builder::{Builder, STATES_MAX};
use crate::table::{self, Backslash, NEXT_LEN};

/// Which node a statement that reads should go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Aim {
    /// The node that takes writes: only there the answer is surely right, or it has an effect.
    #[default]
    Writer = 0,
    /// The node that the session used last: it asks about the statement before it (`FOUND_ROWS()`, `ROW_COUNT()`).
    Last = 1,
    /// Any replica with the data: the answer is the writer's, but for the lag.
    Reader = 2,
    /// It has a hint (`/*+`), which may say so: the daemon reads it.
    Hinted = 3,
    /// As [`Aim::Reader`], an execution of a prepared statement that only the reader can execute by now, whose ever it is.
    AtReader = 4,
    /// The same, and only the writer can.
    AtWriter = 5,
}

impl Aim {
    /// The aim of a byte made by [`code()`]; any other byte is the writer's.
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Last,
            2 => Self::Reader,
            3 => Self::Hinted,
            4 => Self::AtReader,
            5 => Self::AtWriter,
            _ => Self::Writer,
        }
    }
}

const BUILT: Built = build();

/// The state before the first byte of a text.
pub const START: u8 = BUILT.start;
/// The same for a session with `CLIENT_QUERY_ATTRIBUTES`, as [`automaton::START_WITH_ATTRIBUTES`](crate::automaton::START_WITH_ATTRIBUTES).
pub const START_WITH_ATTRIBUTES: u8 = BUILT.start_with_attributes;
/// States in use; all others mean the writer.
pub const STATES: usize = BUILT.states;

static NEXT: [u8; NEXT_LEN] = BUILT.next;
static CODE: [u8; STATES_MAX] = BUILT.code;

const _: () = assert!(STATES <= STATES_MAX);

/// The state after one more byte.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
pub const fn step_with(backslash: Backslash, state: u8, byte: u8) -> u8 {
    table::step(&NEXT, backslash, state, byte)
}

/// The aim of a text that ends in this state, as the byte of an [`Aim`].
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
#[expect(
    clippy::indexing_slicing,
    reason = "the table has a row for every byte"
)]
pub const fn code(state: u8) -> u8 {
    CODE[state as usize]
}

/// The aim of a text that ends in this state.
pub const fn verdict(state: u8) -> Aim {
    Aim::from_code(code(state))
}

/// The aim of a whole text, from its first state ([`START`] or [`START_WITH_ATTRIBUTES`]), where nothing is known of backslashes.
pub fn scan(start: u8, text: &[u8]) -> Aim {
    scan_with(Backslash::UNKNOWN, start, text)
}

/// The aim of a whole text.
pub fn scan_with(backslash: Backslash, start: u8, text: &[u8]) -> Aim {
    let step = |state, &byte| step_with(backslash, state, byte);
    verdict(text.iter().fold(start, step))
}

struct Built {
    next: [u8; NEXT_LEN],
    code: [u8; STATES_MAX],
    start: u8,
    start_with_attributes: u8,
    states: usize,
}

const fn build() -> Built {
    let writer = Aim::Writer as u8;
    let mut b = Builder::new(&[writer, Aim::Hinted as u8], text::WRITER, writer);
    let [start, start_with_attributes] = text::text(&mut b);
    Built {
        next: b.rows(),
        code: b.code,
        start,
        start_with_attributes,
        states: b.len,
    }
}
