//! Whether a text does nothing but set autocommit for its session, by a third finite automaton over its bytes.
//!
//! `SET` is the daemon's business, as what a session has set must follow it. Autocommit is the exception: every OK says in its status flags what it is,
//! so that the daemon need not see the statement. Drivers send it around each transaction (`setAutoCommit()` of JDBC, Django's `atomic()`).
//!
//! Default deny: what is not one of these forms is none of them, whatever it is.
//!
//! ```text
//! SET [SESSION | LOCAL] autocommit = value [;]
//! SET @@[SESSION. | LOCAL.]autocommit = value [;]
//! ```
//!
//! A value is a digit, `ON`, `OFF`, `TRUE` or `FALSE`; white space and block comments may stand in front, white space between words and behind. A digit
//! that is neither 0 nor 1 is an error to the server, and changes nothing.

#[cfg(test)]
mod tests;

use crate::table::builder::{Builder, STATES_MAX, UNCLEAR};
use crate::table::class::{AT, DIGIT, DOT, EQUALS, NUL, ONE, PLUS, SEMICOLON, SLASH, SPACES, STAR};
use crate::table::{self, Backslash, NEXT_LEN};

/// The longest text, in bytes, that is looked at: a comment of a hundred bytes may stand in front.
pub const TEXT_BYTES_MAX: usize = 128;

/// The verdict of a text that is none.
const NO: u8 = 0;
const YES: u8 = 1;

const BUILT: Built = build();

/// The state before the first byte of a text.
pub const START: u8 = BUILT.start;
/// The same for a session with `CLIENT_QUERY_ATTRIBUTES`, as [`automaton::START_WITH_ATTRIBUTES`](crate::automaton::START_WITH_ATTRIBUTES).
pub const START_WITH_ATTRIBUTES: u8 = BUILT.start_with_attributes;

static NEXT: [u8; NEXT_LEN] = BUILT.next;
static CODE: [u8; STATES_MAX] = BUILT.code;

/// The state after one more byte.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
pub const fn step(state: u8, byte: u8) -> u8 {
    // No string may be there, so no backslash escapes.
    table::step(&NEXT, Backslash::UNKNOWN, state, byte)
}

/// Whether a text that ends in this state sets autocommit.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one loop body for the verifier")]
#[expect(
    clippy::indexing_slicing,
    reason = "the table has a row for every byte"
)]
pub const fn is_set(state: u8) -> bool {
    CODE[state as usize] == YES
}

/// Whether a whole text sets autocommit, from its first state ([`START`] or [`START_WITH_ATTRIBUTES`]).
pub fn scan(start: u8, text: &[u8]) -> bool {
    text.len() <= TEXT_BYTES_MAX
        && is_set(text.iter().fold(start, |state, &byte| step(state, byte)))
}

struct Built {
    next: [u8; NEXT_LEN],
    code: [u8; STATES_MAX],
    start: u8,
    start_with_attributes: u8,
}

const fn build() -> Built {
    let mut b = Builder::new(&[NO], UNCLEAR, NO);
    let name = name(&mut b);
    let set = set(&mut b, name);
    let start = b.state(UNCLEAR, NO);
    let comment = b.comment(start, UNCLEAR);
    // A hint is no comment to a server that knows some.
    b.on(comment, PLUS, UNCLEAR);
    let slash = b.state(UNCLEAR, NO);
    b.on(slash, STAR, comment);
    b.on(start, SLASH, slash);
    b.on_each(start, &SPACES, start);
    b.word(start, b"SET", UNCLEAR, set);
    let attributes = b.state(UNCLEAR, NO);
    let sets = b.like(attributes);
    b.on(attributes, NUL, sets);
    b.on(sets, ONE, start);
    Built {
        next: b.rows(),
        code: b.code,
        start,
        start_with_attributes: attributes,
    }
}

/// The state behind the name, for an equals sign and a value.
const fn name(b: &mut Builder) -> u8 {
    let end = b.state(UNCLEAR, YES);
    let tail = b.state(UNCLEAR, YES);
    b.on_each(end, &SPACES, end);
    b.on(end, SEMICOLON, tail);
    b.on_each(tail, &SPACES, tail);

    let value = b.state(UNCLEAR, NO);
    b.on_each(value, &SPACES, value);
    b.on(value, DIGIT, end);
    b.word(value, b"ON", UNCLEAR, end);
    b.word(value, b"OFF", UNCLEAR, end);
    b.word(value, b"TRUE", UNCLEAR, end);
    b.word(value, b"FALSE", UNCLEAR, end);

    let name = b.state(UNCLEAR, NO);
    b.on_each(name, &SPACES, name);
    b.on(name, EQUALS, value);
    name
}

/// The state behind SET; `name` is the one behind the variable's name.
const fn set(b: &mut Builder, name: u8) -> u8 {
    let set = b.state(UNCLEAR, NO);
    let blank = b.state(UNCLEAR, NO);
    b.on_each(set, &SPACES, blank);
    b.on_each(blank, &SPACES, blank);
    b.word(blank, b"AUTOCOMMIT", UNCLEAR, name);
    // Behind a scope only the name, without @.
    let [scope, scoped] = [b.state(UNCLEAR, NO), b.state(UNCLEAR, NO)];
    b.on_each(scope, &SPACES, scoped);
    b.on_each(scoped, &SPACES, scoped);
    b.word(blank, b"SESSION", UNCLEAR, scope);
    b.word(blank, b"LOCAL", UNCLEAR, scope);
    b.word(scoped, b"AUTOCOMMIT", UNCLEAR, name);

    let [at, system] = [b.state(UNCLEAR, NO), b.state(UNCLEAR, NO)];
    let [dot, dotted] = [b.state(UNCLEAR, NO), b.state(UNCLEAR, NO)];
    b.on(blank, AT, at);
    b.on(set, AT, at);
    b.on(at, AT, system);
    b.word(system, b"AUTOCOMMIT", UNCLEAR, name);
    b.word(system, b"SESSION", UNCLEAR, dot);
    b.word(system, b"LOCAL", UNCLEAR, dot);
    b.on(dot, DOT, dotted);
    b.word(dotted, b"AUTOCOMMIT", UNCLEAR, name);
    set
}
