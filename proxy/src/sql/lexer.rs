//! Lexemes of any statement, for who wants to know what a text may do rather than whether it is one of ours: doubled quotes, backslashes and
//! executable comments are read, not refused. Where the text may mean something else under another `sql_mode` or character set, the reading is
//! one of several, and [`Lexer::is_doubtful`] says so: [`Lexer::without_escapes`] is the other one.
//!
//! Source: MySQL manual, "Language Structure"; MariaDB's page "Comment Syntax" (`/*M!`).

use std::borrow::Cow;

/// One lexeme.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lexeme<'a> {
    /// A keyword, a bare identifier or a number's digits.
    Word(&'a [u8]),
    /// `` `name` ``, quotes undone.
    Name(Cow<'a, [u8]>),
    /// Text in `'` or `"`, quotes and backslashes undone. (Under `ANSI_QUOTES` the latter is a name.)
    Text(Cow<'a, [u8]>),
    /// `@name`, `` @`name` ``, `@'name'`: a user variable.
    User(Cow<'a, [u8]>),
    /// `@@`: the name of a system variable follows.
    System,
    /// `:=`.
    Assign,
    /// Any other byte.
    Symbol(u8),
}

impl Lexeme<'_> {
    /// Whether this is that keyword, in whatever case.
    pub fn is_word(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }
}

/// The lexemes of a text. White space and comments only separate them; the content of executable comments counts as if it were outside.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    rest: &'a [u8],
    /// Inside how many executable comments.
    executable: usize,
    has_executable: bool,
    /// A backslash in quotes stands for nothing but itself.
    is_literal: bool,
    doubts: Doubts,
}

/// What makes a reading one of several.
#[derive(Clone, Copy, Debug)]
struct Doubts {
    /// A backslash stood before a quote or another one.
    escapes: bool,
    unfinished: bool,
    ambiguous: bool,
}

impl<'a> Lexer<'a> {
    /// The lexemes of this text.
    pub const fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            executable: 0,
            has_executable: false,
            is_literal: false,
            doubts: Doubts {
                escapes: false,
                unfinished: false,
                ambiguous: false,
            },
        }
    }

    /// The lexemes of this text where the `sql_mode` has `NO_BACKSLASH_ESCAPES`.
    pub const fn without_escapes(text: &'a [u8]) -> Self {
        Self {
            is_literal: true,
            ..Self::new(text)
        }
    }

    /// Whether something so far may also be read otherwise: a quote or comment without an end, or a backslash before a quote
    /// (`NO_BACKSLASH_ESCAPES`).
    pub const fn is_doubtful(&self) -> bool {
        self.doubts.escapes || self.doubts.unfinished
    }

    /// Whether a quote or comment so far has no end: a server that reads the text this way refuses it.
    pub const fn is_unfinished(&self) -> bool {
        self.doubts.unfinished
    }

    /// Whether such a backslash may be the second half of a character (gbk, sjis): then neither reading need be the server's.
    pub const fn is_ambiguous(&self) -> bool {
        self.doubts.ambiguous
    }

    /// Whether there was an executable comment so far, which servers of another version or make leave out.
    pub const fn has_executable(&self) -> bool {
        self.has_executable
    }

    /// Takes the next lexeme if it is that keyword.
    pub fn accept_word(&mut self, keyword: &str) -> bool {
        let mut ahead = self.clone();
        let found = ahead.next().is_some_and(|lexeme| lexeme.is_word(keyword));
        if found {
            *self = ahead;
        }
        found
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, test: impl Fn(u8) -> bool) -> &'a [u8] {
        self.take(self.rest.iter().take_while(|&&byte| test(byte)).count())
    }

    /// Passes white space, comments and the marks of executable comments.
    fn skip_blank(&mut self) {
        loop {
            self.take_while(|byte| byte.is_ascii_whitespace() || byte == 0x0b);
            match self.rest {
                [b'/', b'*', b'!', ..] => self.enter(3),
                [b'/', b'*', b'M', b'!', ..] => self.enter(4),
                [b'*', b'/', ..] if self.executable > 0 => {
                    self.executable -= 1;
                    self.take(2);
                }
                [b'/', b'*', text @ ..] => {
                    let length = text.windows(2).position(|pair| pair == b"*/");
                    self.end_missing(length.is_none());
                    self.take(length.map_or(self.rest.len(), |length| 2 + length + 2));
                }
                [b'#', ..] | [b'-', b'-'] => {
                    self.take_while(|byte| byte != b'\n');
                }
                // The server takes `--` for a comment only before white space or a control character.
                [b'-', b'-', next, ..] if next.is_ascii_whitespace() || next.is_ascii_control() => {
                    self.take_while(|byte| byte != b'\n');
                }
                _ => return,
            }
        }
    }

    fn end_missing(&mut self, is_missing: bool) {
        self.doubts.unfinished |= is_missing;
    }

    /// Goes into an executable comment: its mark, then the version from which on servers read it (five or six digits).
    fn enter(&mut self, mark: usize) {
        self.executable += 1;
        self.has_executable = true;
        self.take(mark);
        let digits = self
            .rest
            .iter()
            .take(6)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.take(if digits < 5 { 0 } else { digits });
    }

    /// A quoted text, whose opening quote comes next.
    fn quoted(&mut self, quote: u8) -> Cow<'a, [u8]> {
        self.take(1);
        let is_literal = self.is_literal;
        let plain = self.take_while(|byte| byte != quote && (is_literal || byte != b'\\'));
        if let [end, behind @ ..] = self.rest
            && *end == quote
            && behind.first() != Some(&quote)
        {
            self.take(1);
            return Cow::Borrowed(plain);
        }
        let mut text = plain.to_vec();
        let mut before = text.last().copied().unwrap_or_default();
        loop {
            let last = before;
            before = self.rest.first().copied().unwrap_or_default();
            match *self.rest {
                [b'\\', next, ..] if quote != b'`' && !self.is_literal => {
                    let is_doubtful = matches!(next, b'\'' | b'"' | b'\\');
                    self.doubts.escapes |= is_doubtful;
                    self.doubts.ambiguous |= is_doubtful && last >= 0x80;
                    before = 0;
                    text.push(unescaped(next));
                    self.take(2);
                }
                [first, second, ..] if first == quote && second == quote => {
                    text.push(quote);
                    self.take(2);
                }
                [first, ..] if first == quote => {
                    self.take(1);
                    return Cow::Owned(text);
                }
                [first, ..] => {
                    text.push(first);
                    self.take(1);
                }
                [] => {
                    self.end_missing(true);
                    return Cow::Owned(text);
                }
            }
        }
    }

    /// What an `@` begins.
    fn at(&mut self) -> Lexeme<'a> {
        self.take(1);
        match *self.rest {
            [b'@', ..] => {
                self.take(1);
                Lexeme::System
            }
            [quote @ (b'`' | b'\'' | b'"'), ..] => Lexeme::User(self.quoted(quote)),
            [first, ..] if is_variable_byte(first) => {
                Lexeme::User(Cow::Borrowed(self.take_while(is_variable_byte)))
            }
            _ => Lexeme::Symbol(b'@'),
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Lexeme<'a>;

    fn next(&mut self) -> Option<Lexeme<'a>> {
        self.skip_blank();
        Some(match *self.rest {
            [] => return None,
            [b'`', ..] => Lexeme::Name(self.quoted(b'`')),
            [quote @ (b'\'' | b'"'), ..] => Lexeme::Text(self.quoted(quote)),
            [b'@', ..] => self.at(),
            [b':', b'=', ..] => {
                self.take(2);
                Lexeme::Assign
            }
            [first, ..] if is_word_byte(first) => Lexeme::Word(self.take_while(is_word_byte)),
            [first, ..] => {
                self.take(1);
                Lexeme::Symbol(first)
            }
        })
    }
}

/// What a backslash and this byte stand for (MySQL manual, "String Literals").
const fn unescaped(byte: u8) -> u8 {
    match byte {
        b'0' => 0,
        b'b' => 8,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'Z' => 26,
        other => other,
    }
}

/// Bytes of unquoted identifiers and keywords; all of non-ASCII UTF-8 belongs to them.
const fn is_word_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80..)
}

/// Bytes of unquoted user variables' names.
const fn is_variable_byte(byte: u8) -> bool {
    is_word_byte(byte) || byte == b'.'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(text: &str) -> String {
        let mut lexer = Lexer::new(text.as_bytes());
        let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut shown: Vec<_> = lexer
            .by_ref()
            .map(|lexeme| match lexeme {
                Lexeme::Word(word) => utf8(word),
                Lexeme::Name(name) => format!("`{}`", utf8(&name)),
                Lexeme::Text(text) => format!("'{}'", utf8(&text)),
                Lexeme::User(name) => format!("@{}", utf8(&name)),
                Lexeme::System => "@@".to_owned(),
                Lexeme::Assign => ":=".to_owned(),
                Lexeme::Symbol(byte) => char::from(byte).to_string(),
            })
            .collect();
        if lexer.is_doubtful() {
            shown.push("?".to_owned());
        }
        shown.join(" ")
    }

    #[test]
    fn texts_have_these_lexemes() {
        for (text, expected) in [
            ("SET @a:=1, b = 'x'", "SET @a := 1 , b = 'x'"),
            (
                "@@session.x @`a b` @'c''d' @\"e\" @.f$",
                "@@ session . x @a b @c'd @e @.f$",
            ),
            ("'it''s' \"a\"\"b\" `c``d`", "'it's' 'a\"b' `c`d`"),
            (r"'a\nb' 'c\d'", "'a\nb' 'cd'"),
            (r"'a\'b'", "'a'b' ?"),
            ("a/*b*/c -- d\n-e #f\n--g", "a c - e - - g"),
            ("/*!40101 SET NAMES utf8 */;", "SET NAMES utf8 ;"),
            ("/*M!100100 a /* b */ c*/ d */", "a c d * /"),
            ("/*!1 x*/", "1 x"),
            ("'open", "'open' ?"),
            ("a /* open", "a ?"),
            ("u@h @ x", "u @h @ x"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    #[test]
    fn a_backslash_may_be_one() {
        let read = |text: &'static str, lexer: fn(&'static [u8]) -> Lexer<'static>| {
            let mut lexer = lexer(text.as_bytes());
            let count = lexer.by_ref().count();
            (count, lexer.is_unfinished(), lexer.is_ambiguous())
        };
        for (text, escaped, literal) in [
            (r"'a\'b'", (1, false, false), (3, true, false)),
            (r"'a\\', 'b'", (3, false, false), (3, false, false)),
            (r"'a\', b", (1, true, false), (3, false, false)),
            (r"'é\'s'", (1, false, true), (3, true, false)),
            (r"'é\n'", (1, false, false), (1, false, false)),
        ] {
            assert_eq!(read(text, Lexer::new), escaped, "{text}");
            assert_eq!(read(text, Lexer::without_escapes), literal, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(text in any::<Vec<u8>>()) {
            prop_assert!(Lexer::new(&text).count() <= text.len());
        }

        #[test]
        fn likely_texts_too(text in "(SET|@|@@|'|\"|`|\\\\|/\\*!|/\\*|\\*/|--| |:=|a){0,30}") {
            prop_assert!(Lexer::new(text.as_bytes()).count() <= text.len());
        }
    }
}
