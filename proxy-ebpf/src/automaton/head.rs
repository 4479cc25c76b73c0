//! How a text begins: white space, comments, parentheses, then the verb; and what stands between some verbs and their body.

use super::body::Body;
use super::{code, trap};
use crate::table::builder::Builder;
use crate::table::class::{
    self, AT, BACKTICK, COMMA, DASH, DIGIT, DOT, HASH, HIGH, NUL, ONE, PARENTHESIS, SEMICOLON,
    SLASH, SPACES, STAR,
};

/// The verdict of a text that ends before its verb.
const NO_VERB: u8 = trap::code(trap::VERB);

/// The states before the verb; returns the first one and the one for a text with query attributes.
pub(super) const fn head(b: &mut Builder, read: Body, write: Body, tail: u8) -> [u8; 2] {
    let start = b.state(trap::VERB, NO_VERB);
    let other = trap::VERB;
    let comment = b.comment(start, trap::EXECUTABLE_COMMENT);
    let line = b.line(start, NO_VERB);
    let [slash, dash] = [b.like(other), b.like(other)];
    b.on(slash, STAR, comment);
    b.dashes(dash, other, line);
    b.on_each(start, &SPACES, start);
    b.on(start, PARENTHESIS, start);
    b.on(start, SLASH, slash);
    b.on(start, DASH, dash);
    b.on(start, HASH, line);
    b.on(start, AT, trap::VARIABLE);
    b.on(start, SEMICOLON, trap::MULTI_STATEMENT);

    let reads = verb(b, read);
    b.word(start, b"SELECT", other, reads);
    b.word(start, b"VALUES", other, reads);
    b.word(start, b"TABLE", other, reads);
    b.word(start, b"WITH", other, reads);
    let writes = verb(b, write);
    b.word(start, b"UPDATE", other, writes);
    // Words that end alike share states, as below.
    let upda = b.walk(start, b"UPDA");
    b.word(start, b"DELE", other, upda);
    let inserts = insert(b, write);
    b.word(start, b"INSERT", other, inserts);
    b.word(start, b"REPLACE", other, inserts);
    transaction(b, start, tail);

    // A client that negotiated CLIENT_QUERY_ATTRIBUTES puts the numbers of parameters (0) and of parameter sets (1) in front.
    let attributes = b.state(trap::UNCLEAR, trap::code(trap::UNCLEAR));
    let sets = b.like(attributes);
    b.on(attributes, NUL, sets);
    b.on(sets, ONE, start);
    [start, attributes]
}

/// The state at the end of a verb that `body` follows.
const fn verb(b: &mut Builder, body: Body) -> u8 {
    let verb = b.like(body.word);
    b.on_word(verb, trap::VERB);
    b.on_each(verb, &[DIGIT, HIGH], trap::VERB);
    verb
}

/// The state at the end of INSERT or REPLACE: the one INTO that does not trap is behind it or its modifiers.
const fn insert(b: &mut Builder, write: Body) -> u8 {
    let modifiers = b.like(write.between);
    let target = target(b, write);
    let into = b.like(write.word);
    b.on_each(into, &SPACES, target);
    b.on(into, BACKTICK, b.next(target, BACKTICK));

    let hint = b.hint(modifiers);
    let comment = b.comment(modifiers, hint);
    let slash = b.state(trap::UNCLEAR, trap::code(trap::UNCLEAR));
    b.on(slash, STAR, comment);
    b.on_each(modifiers, &SPACES, modifiers);
    b.on(modifiers, SLASH, slash);
    b.on(modifiers, BACKTICK, b.next(target, BACKTICK));

    let modifier = b.like(write.word);
    b.on_each(modifier, &SPACES, modifiers);
    b.on(modifier, SLASH, slash);
    // The words of `write` that begin like these are none that a table may be called. DELAYED, LOW_PRIORITY and HIGH_PRIORITY, which matter to
    // MyISAM only, are not worth the states that they would take: INTO behind them traps.
    b.on(modifiers, class::of(b'I'), write.word);
    b.word(modifiers, b"INTO", write.word, into);
    b.word(modifiers, b"IGNORE", write.word, modifier);

    let verb = verb(b, write);
    b.on_each(verb, &SPACES, modifiers);
    b.on(verb, SLASH, slash);
    b.on(verb, BACKTICK, b.next(target, BACKTICK));
    verb
}

/// The state before the name of an INSERT's table: a parenthesis may follow it, quoted or not.
const fn target(b: &mut Builder, write: Body) -> u8 {
    let target = b.like(write.between);
    let named = b.like(write.quoted);
    let inside = b.inside();
    b.on(inside, BACKTICK, named);
    b.on_each(target, &SPACES, target);
    b.on(target, BACKTICK, inside);
    b.on_each(named, &SPACES, named);
    b.on(named, PARENTHESIS, write.between);
    b.on(named, BACKTICK, inside);
    b.on(named, DOT, target);
    target
}

/// Transaction control: `BEGIN [WORK]`, `START TRANSACTION …`, `COMMIT …`, `ROLLBACK …`, `SAVEPOINT …`, `RELEASE SAVEPOINT …`, where `…` is
/// words, names and commas.
/// MariaDB's `BEGIN NOT ATOMIC` is a compound statement, and START also starts replication.
const fn transaction(b: &mut Builder, start: u8, tail: u8) {
    let other = trap::VERB;
    let rest = b.state(other, code::TRANSACTION);
    let verb = b.state(other, code::TRANSACTION);
    b.on_each(verb, &SPACES, rest);
    b.on(verb, SEMICOLON, tail);
    let name = b.inside();
    b.on(name, BACKTICK, rest);
    b.copy(verb, rest);
    b.on_word(rest, rest);
    b.on(rest, class::DOLLAR, trap::UNCLEAR);
    b.on_each(rest, &[DIGIT, COMMA], rest);
    b.on(rest, BACKTICK, name);
    b.word(start, b"COMMIT", other, verb);
    b.word(start, b"ROLLBACK", other, verb);
    let commi = b.walk(start, b"COMMI");
    b.word(start, b"SAVEPOIN", other, commi);
    let starts = before(b, b"TRANSACTION", verb);
    b.word(start, b"START", other, starts);
    let sa = b.walk(start, b"SA");
    let releases = before(b, b"SA", sa);
    b.word(start, b"RELEASE", other, releases);

    let end = b.like(verb);
    b.on_each(end, &SPACES, end);
    let begin = b.like(verb);
    let work = b.like(verb);
    b.on_each(begin, &SPACES, work);
    b.on_each(work, &SPACES, work);
    b.word(work, b"WORK", other, end);
    b.word(start, b"BEGIN", other, begin);
}

/// The state at the end of a word that white space and this word, or the front of it, must follow, which leads to `verb`.
const fn before(b: &mut Builder, word: &[u8], verb: u8) -> u8 {
    let end = b.state(trap::VERB, NO_VERB);
    let blank = b.state(trap::VERB, NO_VERB);
    b.on_each(end, &SPACES, blank);
    b.on_each(blank, &SPACES, blank);
    b.word(blank, word, trap::VERB, verb);
    end
}

/// The state after a `;`: only white space may follow.
pub(super) const fn tail(b: &mut Builder, code: u8) -> u8 {
    let tail = b.state(trap::MULTI_STATEMENT, code);
    b.on_each(tail, &SPACES, tail);
    tail
}
