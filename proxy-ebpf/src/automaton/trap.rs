//! The absorbing states, one for each reason to trap, numbered from 0.

use crate::reason::TrapReason;
use crate::table::builder;

pub(super) const UNCLEAR: u8 = builder::UNCLEAR;
pub(super) const VERB: u8 = 1;
pub(super) const VARIABLE: u8 = 2;
pub(super) const MULTI_STATEMENT: u8 = 3;
pub(super) const EXECUTABLE_COMMENT: u8 = 4;
pub(super) const INTO: u8 = 5;
pub(super) const FUNCTION: u8 = 6;
pub(super) const BACKSLASH: u8 = 7;

/// The verdicts of the absorbing states.
pub(super) const REASON: [u8; 8] = [
    TrapReason::Unclear as u8,
    TrapReason::Verb as u8,
    TrapReason::Variable as u8,
    TrapReason::MultiStatement as u8,
    TrapReason::ExecutableComment as u8,
    TrapReason::Into as u8,
    TrapReason::Function as u8,
    TrapReason::Backslash as u8,
];

/// The verdict of an absorbing state.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time only")]
pub(super) const fn code(state: u8) -> u8 {
    REASON[state as usize]
}

/// The verdict of a text that ends inside quotes or a block comment.
pub(super) const UNTERMINATED: u8 = TrapReason::Unterminated as u8;
