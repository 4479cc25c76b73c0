//! The text of a `COM_QUERY` or `COM_STMT_PREPARE`, classified by a finite automaton over its bytes.
//!
//! A false trap costs microseconds, a false splice loses session state: where lexers differ (`sql_mode`, character set, MySQL's
//! `sql_lex.cc`, MariaDB's, OceanBase's `sql_parser_mysql_mode.l`), the automaton traps rather than choose. `tests/proof.rs`
//! shows for every text of every length that what it splices is one statement of an allowed kind for all of them; what it holds
//! for are character sets in which no byte below 0x80 but a letter is part of a longer character (not gbk, gb18030, big5,
//! sjis), and MySQL's syntax (not OceanBase's Oracle mode).
//!
//! The tables are plain bytes, 17 KiB in all, in `.rodata` for the BPF programs; every index is masked to its array's size, so
//! that the kernel's verifier sees its bound and no panic is compiled in.

mod body;
mod head;
#[cfg(test)]
mod tests;
mod trap;

use crate::reason::TrapReason;
pub use crate::table::Backslash;
use crate::table::builder::{Builder, STATES_MAX};
use crate::table::class::{CLASSES, COLUMNS};
use crate::table::{self, CLASS, NEXT_LEN};

/// What a statement does that may be spliced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Any node with the data may answer.
    Read = code::READ,
    /// The node that takes writes: it changes or locks rows.
    Write = code::WRITE,
    /// It begins or ends a transaction.
    Transaction = code::TRANSACTION,
}

/// What to do with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TextVerdict {
    /// The daemon must see it.
    Trap(TrapReason),
    /// The kernel may pass it on.
    Splice(Kind),
}

/// Verdicts as one byte, as the BPF programs and map records hold them: a `TrapReason`'s number, or one of these.
pub mod code {
    /// From here on a verdict is to splice.
    pub const SPLICE: u8 = 0x80;
    /// Splice: it reads.
    pub const READ: u8 = 0x81;
    /// Splice: it writes or locks.
    pub const WRITE: u8 = 0x82;
    /// Splice: transaction control.
    pub const TRANSACTION: u8 = 0x83;
}

impl TextVerdict {
    /// The verdict of a byte made by [`code()`]; anything else traps.
    pub const fn from_code(code: u8) -> Self {
        match code {
            code::READ => Self::Splice(Kind::Read),
            code::WRITE => Self::Splice(Kind::Write),
            code::TRANSACTION => Self::Splice(Kind::Transaction),
            reason => match TrapReason::from_u32(reason as u32) {
                Some(reason) => Self::Trap(reason),
                None => Self::Trap(TrapReason::Unclear),
            },
        }
    }
}

const BUILT: Built = build();

/// The state before the first byte of a text.
pub const START: u8 = BUILT.start;
/// The same for a session with `CLIENT_QUERY_ATTRIBUTES` (MySQL 8.0.23), whose text has a count of parameters (0) and of sets of
/// them (1) in front; any other count traps.
pub const START_WITH_ATTRIBUTES: u8 = BUILT.start_with_attributes;
/// States in use; all others trap.
pub const STATES: usize = BUILT.states;
/// Size in bytes of all tables.
pub const TABLE_BYTES: usize = NEXT_LEN + CODE.len() + CLASS.len();
/// Classes of bytes.
pub const BYTE_CLASSES: usize = CLASSES;

static NEXT: [u8; NEXT_LEN] = BUILT.next;
static CODE: [u8; STATES_MAX] = BUILT.code;

const _: () = assert!(STATES_MAX == 256 && STATES <= 255 && BYTE_CLASSES <= COLUMNS);

/// The state after one more byte, where nothing is known of backslashes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
pub const fn step(state: u8, byte: u8) -> u8 {
    step_with(Backslash::UNKNOWN, state, byte)
}

/// The state after one more byte.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
pub const fn step_with(backslash: Backslash, state: u8, byte: u8) -> u8 {
    table::step(&NEXT, backslash, state, byte)
}

/// Whether no further byte changes the verdict: a loop may stop.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
pub const fn is_final(state: u8) -> bool {
    (state as usize) < trap::REASON.len()
}

/// The verdict, as a byte of [`mod@code`], of a text that ends in this state.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
#[expect(
    clippy::indexing_slicing,
    reason = "the table has a row for every byte"
)]
pub const fn code(state: u8) -> u8 {
    CODE[state as usize]
}

/// The verdict of a text that ends in this state.
pub const fn verdict(state: u8) -> TextVerdict {
    TextVerdict::from_code(code(state))
}

/// The verdict of a whole text, from its first state ([`START`] or [`START_WITH_ATTRIBUTES`]), where nothing is known of backslashes.
pub fn scan(start: u8, text: &[u8]) -> TextVerdict {
    scan_with(Backslash::UNKNOWN, start, text)
}

/// The verdict of a whole text.
pub fn scan_with(backslash: Backslash, start: u8, text: &[u8]) -> TextVerdict {
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
    let mut b = Builder::new(&trap::REASON, trap::EXECUTABLE_COMMENT, trap::UNTERMINATED);
    let tails = [
        head::tail(&mut b, code::READ),
        head::tail(&mut b, code::WRITE),
        head::tail(&mut b, code::TRANSACTION),
    ];
    let write = body::body(&mut b, code::WRITE, tails[1], None);
    let read = body::body(&mut b, code::READ, tails[0], Some(write));
    let [start, start_with_attributes] = head::head(&mut b, read, write, tails[2]);
    Built {
        next: b.rows(),
        code: b.code,
        start,
        start_with_attributes,
        states: b.len,
    }
}
