//! What may follow the verb of a statement that reads or writes.
#![expect(clippy::indexing_slicing, reason = "evaluated at compile time only")]

use super::trap;
use crate::table::builder::Builder;
use crate::table::class::{
    self, AT, BACKSLASH, BACKTICK, DASH, DIGIT, DOLLAR, DOUBLE_QUOTE, HASH, HIGH, NUL, ONE,
    PARENTHESIS, QUOTE, SEMICOLON, SLASH, SPACES, STAR, STRANGE,
};

/// The states of a statement's text after its verb that the rest of the rules must know.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// Between tokens, also inside a number: a digit ends a word and begins none (`1e5INTO` is a number and a word).
    pub(super) between: u8,
    /// In a word that is none of those that matter.
    pub(super) word: u8,
    /// Right after a closing quote.
    pub(super) quoted: u8,
}

/// Functions that the daemon answers or whose effect it must know. A prefix that no other function has is enough. In quotes they
/// are the same functions (MariaDB 10.11 runs `` `get_lock`('a', 1) `` and, with `ANSI_QUOTES`, `"get_lock"('a', 1)`), hence no
/// parenthesis may follow a quoted word.
const FUNCTIONS: [&[u8]; 5] = [
    b"GET_LO",
    b"RELEASE_L",
    b"RELEASE_AL",
    b"PROXY_VE",
    b"PROXY_ST",
];

/// The states of a statement's text after its verb. The end of the text has the verdict `code`; `tail` is what follows a `;`.
/// A statement that reads has `writes`: the states that it goes over to once a word says that it writes.
pub(super) const fn body(b: &mut Builder, code: u8, tail: u8, writes: Option<Body>) -> Body {
    let between = b.state(trap::UNCLEAR, code);
    let body = Body {
        between,
        word: b.like(between),
        quoted: b.like(between),
    };
    let [word_dash, no_call, high, slash, dash] = [
        b.like(between),
        b.like(between),
        b.like(between),
        b.like(between),
        b.like(between),
    ];
    let hint = b.hint(no_call);
    let comment = b.comment(no_call, hint);
    let line = b.line(no_call, code);

    b.fill(between, between);
    b.on_word(between, body.word);
    b.on(between, AT, trap::VARIABLE);
    b.on(between, SEMICOLON, tail);
    // MySQL 9: `$$` and `$tag$` quote where a token begins (MY_LEX_IDENT_OR_DOLLAR_QUOTED_TEXT).
    b.on_each(
        between,
        &[NUL, ONE, STRANGE, BACKSLASH, DOLLAR],
        trap::UNCLEAR,
    );
    b.on(between, SLASH, slash);
    b.on(between, DASH, dash);
    b.on(between, HASH, line);
    b.on(between, HIGH, high);
    quotes(b, body);
    words(b, body, word_dash, writes);

    // Between tokens as well, but with less allowed.
    b.dashes(dash, between, line);
    b.copy(between, word_dash);
    b.on(word_dash, DASH, trap::UNCLEAR);
    b.copy(between, no_call);
    b.on(no_call, PARENTHESIS, trap::FUNCTION);
    b.on_each(no_call, &SPACES, no_call);
    // White space, or part of an alias.
    b.on(no_call, HIGH, trap::UNCLEAR);
    b.copy(no_call, body.quoted);
    b.on(body.quoted, DASH, word_dash);
    b.on(body.quoted, HASH, trap::UNCLEAR);
    // OceanBase reads a byte from 0x81 up and any from 0x40 up as one character of an identifier, a backtick included.
    b.copy(between, high);
    b.on(high, BACKTICK, trap::UNCLEAR);
    b.copy(between, slash);
    b.on(slash, STAR, comment);
    body
}

/// Words outside quotes.
///
/// OceanBase knows tokens of a word, a comment and a string (`Date{whitespace}?'[^']*'`) or of strings and a comment
/// (`'{whitespace}'`), where a comment does not end with its line: no line comment right behind a word or a string.
const fn words(b: &mut Builder, body: Body, word_dash: u8, writes: Option<Body>) {
    let Body { between, word, .. } = body;
    b.copy(between, word);
    b.on_word(word, word);
    b.on(word, DASH, word_dash);
    b.on(word, HASH, trap::UNCLEAR);
    // OUTFILE and DUMPFILE stand nowhere but behind INTO, and the only INTO that does not trap (`head::insert`) names a table.
    let into = b.state(trap::INTO, trap::code(trap::INTO));
    b.on_word(into, word);
    b.on(into, DIGIT, between);
    b.word(between, b"INTO", word, into);
    let mut i = 0;
    while i < FUNCTIONS.len() {
        b.word(between, FUNCTIONS[i], word, trap::FUNCTION);
        i += 1;
    }
    let [dated, blank] = dates(b, body);
    if let Some(write) = writes {
        let end = b.like(write.word);
        b.on_word(end, word);
        b.on(end, DIGIT, between);
        b.word(between, b"UPDATE", word, end);
        // Words that end alike share states.
        let [updat, upda] = [b.walk(between, b"UPDAT"), b.walk(between, b"UPDA")];
        b.word(between, b"DELE", dated, upda);
        b.word(between, b"SHAR", word, updat);
    }
    // All words may follow.
    let date = b.next(blank, QUOTE);
    b.copy(between, blank);
    b.on_each(blank, &SPACES, blank);
    b.on(blank, QUOTE, date);
}

/// In a word that begins with `D` or `T`, and behind it and white space. OceanBase knows tokens `Date{whitespace}?'[^']*'`, also with TIME and
/// TIMESTAMP, in which no backslash escapes: behind such a word a string that has one traps. (A comment in between is none of that token, and
/// a line comment traps.)
const fn dates(
    b: &mut Builder,
    Body {
        between,
        word,
        quoted,
    }: Body,
) -> [u8; 2] {
    let [dated, blank] = [b.like(word), b.like(between)];
    b.on_each(between, &[class::of(b'D'), class::of(b'T')], dated);
    b.on_word(dated, dated);
    b.on_each(dated, &SPACES, blank);
    let date = b.inside();
    b.on(date, NUL, date);
    b.on(date, BACKSLASH, trap::BACKSLASH);
    b.on(date, QUOTE, quoted);
    b.on(dated, QUOTE, date);
    b.on(blank, QUOTE, date);
    [dated, blank]
}

/// Strings and quoted identifiers. A doubled quote is the end of one and the begin of the next: for what is inside, the same.
///
/// Backslashes escape in `'…'` and `"…"` (`get_text()` in `sql_lex.cc`), but not with `NO_BACKSLASH_ESCAPES`, nor in `"…"` with
/// `ANSI_QUOTES`: one that would escape the closing quote traps, unless it is known to escape, in `'…'`. Quoted identifiers end at the byte 0 (`scan_ident_delimited()`).
const fn quotes(
    b: &mut Builder,
    Body {
        between, quoted, ..
    }: Body,
) {
    let quotes = [QUOTE, DOUBLE_QUOTE, BACKTICK];
    let mut i = 0;
    while i < quotes.len() {
        let inside = b.inside();
        b.on(inside, quotes[i], quoted);
        if quotes[i] == QUOTE {
            b.on(inside, NUL, inside);
        }
        if quotes[i] != BACKTICK {
            let escape = b.like(inside);
            b.on(escape, BACKSLASH, inside);
            b.on(escape, quotes[i], trap::BACKSLASH);
            b.on(inside, BACKSLASH, escape);
        }
        if quotes[i] == QUOTE {
            b.escapes(inside);
        }
        b.on(between, quotes[i], inside);
        i += 1;
    }
}
