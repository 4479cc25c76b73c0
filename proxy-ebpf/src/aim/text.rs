//! The states of a text. Its verb does not matter: the first automaton has looked at it.

use super::Aim;
use super::words::{
    BEGINNINGS, BEHIND_DOT, CLOSED, EXACT, FUNCTIONS, KEYWORDS, LAST, PERFORMANCE, QUOTED,
    QUOTED_BEGINNINGS, Tree,
};
use crate::table::builder::{Builder, UNCLEAR};
use crate::table::class::{
    self, AT, BACKSLASH, BACKTICK, CLOSE, COMMA, DASH, DIGIT, DOLLAR, DOT, DOUBLE_QUOTE, EQUALS,
    HASH, HIGH, NUL, ONE, PARENTHESIS, PLAIN, PLUS, QUOTE, SEMICOLON, SLASH, SPACES, STAR, STRANGE,
    UNDERSCORE,
};

/// An absorbing state: nothing that follows makes it a replica's.
pub(super) const WRITER: u8 = UNCLEAR;
/// The other one: nothing that follows takes the hint back.
const HINTED: u8 = 1;

const READER: u8 = Aim::Reader as u8;

/// The states that the rules share.
#[derive(Clone, Copy)]
struct States {
    /// Between tokens, where a parenthesis may stand.
    between: u8,
    /// Between tokens, where a parenthesis would make a call of what is before.
    no_call: u8,
    /// Behind a `)` and white space, where OVER is no function's name.
    closed: u8,
    /// In a word that no parenthesis may follow.
    word: u8,
    /// Right behind `'…'` or a name in backticks.
    quoted: u8,
    /// Behind `"…"`, which may be a name, and white space.
    named: u8,
    /// Behind a `.` and white space.
    dot: u8,
    number: u8,
    /// In a number, where no more `.` may stand.
    fraction: u8,
    /// Behind a byte that is part of a word or white space.
    high: u8,
    /// One `-` behind a word or a string: where OceanBase knows tokens with comments in them, none may begin.
    word_dash: u8,
    /// Behind `FOUND_ROWS` and white space: a call whatever is between.
    last_blank: u8,
    /// Where a name in backticks begins, and further in it.
    name: u8,
    in_name: u8,
}

/// All states; returns the first one and the one for a text with query attributes.
pub(super) const fn text(b: &mut Builder) -> [u8; 2] {
    let between = b.state(WRITER, READER);
    let s = States {
        between,
        no_call: b.like(between),
        closed: b.like(between),
        word: b.like(between),
        quoted: b.like(between),
        named: b.like(between),
        dot: b.like(between),
        number: b.like(between),
        fraction: b.like(between),
        high: b.like(between),
        word_dash: b.like(between),
        last_blank: b.like(between),
        name: b.inside(),
        in_name: b.inside(),
    };
    symbols(b, s);
    names(b, s);

    let attributes = b.state(WRITER, Aim::Writer as u8);
    let sets = b.like(attributes);
    b.on(attributes, NUL, sets);
    b.on(sets, ONE, between);
    [between, attributes]
}

/// What a byte that begins no word does between tokens, and the states that it leads to.
const fn symbols(b: &mut Builder, s: States) {
    let between = s.between;
    let [slash, dash] = [b.like(between), b.like(between)];
    let tail = b.state(WRITER, READER);
    b.on_each(tail, &SPACES, tail);
    let comment = b.comment(s.no_call, HINTED);
    let line = b.line(s.no_call, READER);

    b.fill(between, between);
    b.on_word(between, s.word);
    b.on_each(between, &[AT, NUL, ONE, STRANGE, BACKSLASH, DOLLAR], WRITER);
    b.on(between, DIGIT, s.number);
    b.on(between, DOT, s.dot);
    b.on(between, CLOSE, s.closed);
    b.on(between, HIGH, s.high);
    b.on(between, SEMICOLON, tail);
    b.on(between, HASH, line);
    b.on(between, SLASH, slash);
    b.on(between, DASH, dash);
    b.on(between, BACKTICK, s.name);
    string(b, s, QUOTE, s.quoted);
    string(b, s, DOUBLE_QUOTE, s.named);

    b.copy(between, s.word);
    b.on_word(s.word, s.word);
    b.on(s.word, DIGIT, s.word);
    b.on(s.word, DASH, s.word_dash);
    b.on(s.word, HASH, WRITER);
    b.on(s.word, PARENTHESIS, WRITER);
    b.on_each(s.word, &SPACES, s.no_call);

    words(b, s);
    b.copy(between, slash);
    b.on(slash, STAR, comment);
    b.dashes(dash, between, line);
    b.copy(between, s.word_dash);
    b.on(s.word_dash, DASH, WRITER);
    after(b, s);
}

/// The words that decide: they begin in `between`, and some behind a dot.
const fn words(b: &mut Builder, s: States) {
    let open = answers(b);
    b.on(s.last_blank, PARENTHESIS, open);
    let exact = b.state(WRITER, Aim::Writer as u8);
    b.on_word(exact, s.word);
    b.on(exact, DIGIT, s.word);
    let performance = leap(b, s.word);
    let keyword = b.like(s.word);
    b.on(keyword, PARENTHESIS, s.between);
    b.on_each(keyword, &SPACES, s.between);
    let function = b.like(s.word);
    b.on(function, PARENTHESIS, s.between);
    let last = b.like(s.word);
    b.on(last, PARENTHESIS, open);
    b.on_each(last, &SPACES, s.last_blank);

    let mut tree = Tree::new();
    let root = tree.root();
    tree.words(root, &KEYWORDS, s.word, keyword);
    tree.words(root, &FUNCTIONS, s.word, function);
    tree.words(root, &LAST, s.word, last);
    tree.words(root, &EXACT, s.word, exact);
    tree.words(root, &BEGINNINGS, s.word, WRITER);
    tree.words(root, &BEHIND_DOT, s.word, WRITER);
    tree.words(root, &PERFORMANCE, s.word, performance);
    let behind_dot = tree.root();
    tree.words(behind_dot, &BEHIND_DOT, s.word, WRITER);
    let closed = tree.root();
    tree.words(closed, &CLOSED, s.word, keyword);
    let states = tree.states(b, exact);
    tree.begin(b, &states, root, s.between);
    b.copy(s.between, s.closed);
    b.on_each(s.closed, &SPACES, s.closed);
    tree.begin(b, &states, closed, s.closed);
    // No function is native behind a dot.
    b.copy(s.between, s.dot);
    b.on_word(s.dot, s.word);
    tree.begin(b, &states, behind_dot, s.dot);
}

/// What may stand behind the `(` of a function that asks about the statement before: its `)`, then words and names, no other call and no
/// FOR (`NEXT VALUE FOR s`), not even as part of a word.
const fn answers(b: &mut Builder) -> u8 {
    let answer = b.state(WRITER, Aim::Last as u8);
    b.on_word(answer, answer);
    b.on_each(answer, &SPACES, answer);
    b.on_each(
        answer,
        &[DIGIT, COMMA, EQUALS, PLAIN, CLOSE, PLUS, STAR, HIGH],
        answer,
    );
    let tail = b.state(WRITER, Aim::Last as u8);
    b.on_each(tail, &SPACES, tail);
    b.on(answer, SEMICOLON, tail);
    b.on(answer, DOLLAR, WRITER);
    let [f, o] = [b.like(answer), b.like(answer)];
    b.on(answer, class::of(b'F'), f);
    b.copy(answer, f);
    b.on(f, class::of(b'O'), o);
    b.copy(answer, o);
    b.on(o, class::of(b'R'), WRITER);
    let name = b.inside();
    b.on(name, BACKTICK, answer);
    b.on(answer, BACKTICK, name);
    b.on(f, BACKTICK, name);
    b.on(o, BACKTICK, name);

    let open = b.state(WRITER, Aim::Writer as u8);
    b.on_each(open, &SPACES, open);
    b.on(open, CLOSE, answer);
    open
}

/// A string. Which backslash escapes depends on `sql_mode`: one that would escape the closing quote means the writer, unless it is known to
/// escape (OceanBase's `DATE '…'`, where it does not, the first automaton has looked at), and in `"…"`, where `ANSI_QUOTES` matters as well, any
/// does: no state is left for more. A doubled quote is the end of one string and the begin of the next.
const fn string(b: &mut Builder, s: States, quote: u8, after: u8) {
    let inside = b.inside();
    b.on(inside, quote, after);
    b.on(inside, BACKSLASH, WRITER);
    if quote == QUOTE {
        b.on(inside, NUL, inside);
        let escape = b.like(inside);
        b.on(escape, BACKSLASH, inside);
        b.on(escape, quote, WRITER);
        b.on(inside, BACKSLASH, escape);
        b.escapes(inside);
    }
    b.on(s.between, quote, inside);
}

/// Fills the states between tokens in which less is allowed than in `between`.
const fn after(b: &mut Builder, s: States) {
    b.copy(s.between, s.no_call);
    b.on(s.no_call, PARENTHESIS, WRITER);
    b.on_each(s.no_call, &SPACES, s.no_call);

    b.copy(s.no_call, s.quoted);
    b.on(s.quoted, DASH, s.word_dash);
    b.on(s.quoted, HASH, WRITER);
    // With ANSI_QUOTES it is a name, in which no word is looked for: of a schema if a dot follows, of its table behind one.
    b.copy(s.quoted, s.named);
    b.on_each(s.named, &SPACES, s.named);
    b.on_each(s.named, &[DOT, SLASH, HIGH], WRITER);

    b.copy(s.quoted, s.high);
    b.on_word(s.high, WRITER);
    b.on_each(s.high, &[DIGIT, QUOTE, DOUBLE_QUOTE, BACKTICK], WRITER);
    b.on(s.high, HIGH, s.high);

    // A number is part of a word if a letter follows it, or the word begins behind it (`1.5FOR`).
    b.copy(s.no_call, s.fraction);
    b.on_word(s.fraction, WRITER);
    b.on(s.fraction, DIGIT, s.fraction);
    b.on(s.fraction, DOT, WRITER);
    let exponent = b.like(s.fraction);
    b.on(s.fraction, class::of(b'E'), exponent);
    b.copy(s.fraction, s.number);
    b.on(s.number, DIGIT, s.number);
    b.on(s.number, DOT, s.fraction);
    b.on_each(s.number, &[class::of(b'X'), class::of(b'B')], s.word);

    let open = b.next(s.last_blank, PARENTHESIS);
    b.copy(s.no_call, s.last_blank);
    b.on(s.last_blank, PARENTHESIS, open);
    b.on_each(s.last_blank, &SPACES, s.last_blank);

    b.on(s.dot, DIGIT, s.fraction);
    b.on_each(s.dot, &SPACES, s.dot);
    let unclear = [
        PARENTHESIS,
        DOT,
        SLASH,
        DASH,
        HASH,
        QUOTE,
        DOUBLE_QUOTE,
        DOLLAR,
        HIGH,
    ];
    b.on_each(s.dot, &unclear, WRITER);
}

/// Names in backticks: MySQL's `scan_ident_delimited()` ends them at the byte 0.
const fn names(b: &mut Builder, s: States) {
    b.on(s.in_name, BACKTICK, s.quoted);
    let end = b.like(s.in_name);
    b.on(end, BACKTICK, WRITER);
    let performance = leap(b, s.in_name);
    let mut tree = Tree::new();
    let root = tree.root();
    tree.words(root, &QUOTED, s.in_name, end);
    tree.words(root, &QUOTED_BEGINNINGS, s.in_name, WRITER);
    tree.words(root, &PERFORMANCE, s.in_name, performance);
    let states = tree.states(b, s.in_name);
    b.copy(s.in_name, s.name);
    tree.begin(b, &states, root, s.name);
}

/// The state at the end of `PERF`, from which `_S` somewhere behind in the same word means the writer: the schema's name has more letters than
/// there are states to spare.
const fn leap(b: &mut Builder, word: u8) -> u8 {
    let leap = b.like(word);
    b.on_word(leap, leap);
    let underscore = b.like(leap);
    b.on(leap, UNDERSCORE, underscore);
    b.on(underscore, class::of(b'S'), WRITER);
    leap
}
