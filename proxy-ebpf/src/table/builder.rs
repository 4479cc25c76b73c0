//! Rows of an automaton while they are written, at compile time only: a mistake here is a compile error, never a panic.
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::large_stack_arrays,
    reason = "evaluated at compile time only"
)]

use super::NEXT_LEN;
use super::class::{
    self, BACKSLASH, BACKTICK, CLASS_BITS, COLUMNS, DASH, DOLLAR, ESCAPE, NUL, ONE, QUOTE, SLASH,
    STAR, STRANGE, UNDERSCORE,
};

/// States that fit a `u8`.
pub(crate) const STATES_MAX: usize = 256;

/// The first absorbing state, where a text goes that lexers may read differently; also the state of every row that is not used.
pub(crate) const UNCLEAR: u8 = 0;

/// The automaton under construction.
pub(crate) struct Builder {
    pub(crate) next: [[u8; COLUMNS]; STATES_MAX],
    pub(crate) code: [u8; STATES_MAX],
    pub(crate) len: usize,
    /// The number of absorbing states, which are the first.
    absorbing: usize,
    /// The absorbing state of a comment that is executed.
    executable: u8,
    /// The verdict of a text that ends inside quotes or a block comment.
    unterminated: u8,
}

impl Builder {
    /// Only the absorbing states, one for each of `verdicts`: [`UNCLEAR`] is the first, `executable` that of a comment that is executed.
    /// A text that ends inside quotes or a block comment has the verdict `unterminated`.
    pub(crate) const fn new(verdicts: &[u8], executable: u8, unterminated: u8) -> Self {
        let mut builder = Self {
            next: [[UNCLEAR; COLUMNS]; STATES_MAX],
            code: [verdicts[UNCLEAR as usize]; STATES_MAX],
            len: 0,
            absorbing: verdicts.len(),
            executable,
            unterminated,
        };
        while builder.len < verdicts.len() {
            let state = builder.len as u8;
            builder.next[builder.len] = [state; COLUMNS];
            builder.code[builder.len] = verdicts[builder.len];
            builder.len += 1;
        }
        builder
    }

    /// The rows one behind the other.
    pub(crate) const fn rows(&self) -> [u8; NEXT_LEN] {
        let mut next = [0; NEXT_LEN];
        let mut i = 0;
        while i < STATES_MAX * COLUMNS {
            next[i] = self.next[i >> CLASS_BITS][i & (COLUMNS - 1)];
            i += 1;
        }
        next
    }

    /// A new state in which every byte leads to `default`, and the end of the text means `code`.
    pub(crate) const fn state(&mut self, default: u8, code: u8) -> u8 {
        assert!(self.len < STATES_MAX, "more states than a byte can name");
        let state = self.len as u8;
        self.next[self.len] = [default; COLUMNS];
        self.code[self.len] = code;
        self.len += 1;
        state
    }

    /// A new state in which every byte leads back to it, except the byte 0: text inside quotes or a comment.
    pub(crate) const fn inside(&mut self) -> u8 {
        let state = self.state(UNCLEAR, self.unterminated);
        self.fill(state, state);
        self.on(state, NUL, UNCLEAR);
        state
    }

    /// Makes `to` behave like `from` from here on (its verdict excepted).
    pub(crate) const fn copy(&mut self, from: u8, to: u8) {
        self.next[to as usize] = self.next[from as usize];
    }

    /// A new state that behaves like `from`.
    pub(crate) const fn like(&mut self, from: u8) -> u8 {
        let state = self.state(UNCLEAR, self.code[from as usize]);
        self.copy(from, state);
        state
    }

    /// Takes back the newest state, to which nothing leads.
    pub(crate) const fn drop_last(&mut self) {
        self.len -= 1;
        self.next[self.len] = [UNCLEAR; COLUMNS];
        self.code[self.len] = self.code[UNCLEAR as usize];
    }

    pub(crate) const fn next(&self, state: u8, class: u8) -> u8 {
        self.next[state as usize][class as usize]
    }

    pub(crate) const fn fill(&mut self, state: u8, target: u8) {
        self.next[state as usize] = [target; COLUMNS];
    }

    pub(crate) const fn on(&mut self, state: u8, class: u8, target: u8) {
        self.next[state as usize][class as usize] = target;
        if class == BACKSLASH {
            self.next[state as usize][ESCAPE as usize] = target;
        }
    }

    /// The state of a string, `inside`, in which a backslash that is known to escape passes over the next byte, whatever it is.
    pub(crate) const fn escapes(&mut self, inside: u8) {
        let escaped = self.inside();
        self.fill(escaped, inside);
        self.next[inside as usize][ESCAPE as usize] = escaped;
    }

    /// The state behind these letters, from `from` on.
    pub(crate) const fn walk(&self, from: u8, letters: &[u8]) -> u8 {
        let mut state = from;
        let mut i = 0;
        while i < letters.len() {
            state = self.next(state, class::of(letters[i]));
            i += 1;
        }
        state
    }

    pub(crate) const fn on_each(&mut self, state: u8, classes: &[u8], target: u8) {
        let mut i = 0;
        while i < classes.len() {
            self.on(state, classes[i], target);
            i += 1;
        }
    }

    /// Letters, `_` and `$`: what goes on with a word.
    pub(crate) const fn on_word(&mut self, state: u8, target: u8) {
        let mut letter = 0;
        while letter < UNDERSCORE {
            self.on(state, letter, target);
            letter += 1;
        }
        self.on_each(state, &[UNDERSCORE, DOLLAR], target);
    }

    /// Adds `word` to the words that are looked for from `from` on: its last byte leads to `target`, and a byte that does not
    /// go on with the word does what it does in `other`.
    pub(crate) const fn word(&mut self, from: u8, word: &[u8], other: u8, target: u8) {
        let mut state = from;
        let mut i = 0;
        while i + 1 < word.len() {
            let class = class::of(word[i]) as usize;
            let known = self.next[state as usize][class];
            if known == self.next[other as usize][class] {
                let node = self.like(other);
                self.next[state as usize][class] = node;
                state = node;
            } else {
                assert!(
                    known as usize >= self.absorbing,
                    "a longer word of a shorter one that traps"
                );
                state = known;
            }
            i += 1;
        }
        let class = class::of(word[i]) as usize;
        assert!(
            self.next[state as usize][class] == self.next[other as usize][class],
            "the start of another word"
        );
        self.next[state as usize][class] = target;
    }

    /// The states inside a block comment, from the byte after `/*` on; `after` is where its end leads, `hint` where `/*+` does.
    ///
    /// MySQL and MariaDB: `MY_LEX_LONG_COMMENT` and `consume_comment()` in `sql_lex.cc`: no nesting, and `/*/` is not closed.
    pub(crate) const fn comment(&mut self, after: u8, hint: u8) -> u8 {
        let body = self.inside();
        let star = self.inside();
        self.copy(body, star);
        self.on(body, STAR, star);
        self.on(star, STAR, star);
        self.on(star, SLASH, after);
        let maria = self.inside();
        self.copy(body, maria);
        self.on(maria, class::BANG, self.executable);
        let start = self.inside();
        self.copy(maria, start);
        self.on(start, class::of(b'M'), maria);
        self.on(start, class::PLUS, hint);
        start
    }

    /// The states inside an optimizer hint. MySQL's `Hint_scanner` and OceanBase's `<hint>` know quotes there, in which `*/`
    /// does not end the comment: quotes trap, and so does what only starts to look like another comment.
    pub(crate) const fn hint(&mut self, after: u8) -> u8 {
        let body = self.inside();
        let star = self.inside();
        let traps = [
            QUOTE,
            class::DOUBLE_QUOTE,
            BACKTICK,
            BACKSLASH,
            SLASH,
            NUL,
            ONE,
            STRANGE,
        ];
        self.on_each(body, &traps, UNCLEAR);
        self.copy(body, star);
        self.on(body, STAR, star);
        self.on(star, STAR, star);
        self.on(star, SLASH, after);
        body
    }

    /// The states of a line comment, from its first byte on; the line feed leads to `after`.
    ///
    /// MySQL ends it at a line feed or the byte 0 (`MY_LEX_COMMENT`), OceanBase at a carriage return too: where they differ it
    /// traps.
    pub(crate) const fn line(&mut self, after: u8, code: u8) -> u8 {
        let line = self.inside();
        self.code[line as usize] = code;
        self.on(line, class::LINE_FEED, after);
        self.on(line, class::CARRIAGE_RETURN, UNCLEAR);
        line
    }

    /// Fills the state after a first `-` where a comment may begin; what is no comment does what it does in `body`.
    ///
    /// MySQL begins one at `--` and white space or a control byte (`MY_LEX_MINUS_OR_COMMENT`). OceanBase's `"--"{space}+` swallows
    /// line feeds and then the line after: `--` with nothing behind it traps.
    pub(crate) const fn dashes(&mut self, dash: u8, body: u8, line: u8) {
        self.copy(body, dash);
        let two = self.like(body);
        let blank = self.like(line);
        self.on(dash, DASH, two);
        let unclear = [
            class::LINE_FEED,
            class::CARRIAGE_RETURN,
            class::OTHER_SPACE,
            NUL,
            ONE,
            STRANGE,
            class::HIGH,
        ];
        self.on_each(two, &unclear, UNCLEAR);
        // The first of three is a minus, which is nothing to begin with.
        self.on(
            two,
            DASH,
            if (body as usize) < self.absorbing {
                body
            } else {
                two
            },
        );
        self.on(two, class::BLANK, blank);
        self.on_each(
            blank,
            &[class::LINE_FEED, class::CARRIAGE_RETURN, class::OTHER_SPACE],
            UNCLEAR,
        );
        self.on(blank, class::BLANK, blank);
    }
}
