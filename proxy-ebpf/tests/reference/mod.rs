//! A second lexer of MySQL's language, written apart from the automaton and in another way: by modes and tokens, as the servers'
//! own lexers are. A value of [`Reference`] is all it remembers of a text, so there are finitely many.

mod statement;
mod word;

use sluice_ebpf::automaton::Kind;
pub(crate) use statement::Offence;
use statement::{Statement, Token};
use word::Word;

/// How the server at hand reads a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent of each other; all combinations are walked"
)]
pub(crate) struct Server {
    /// Backslashes escape in strings; not so with `sql_mode` `NO_BACKSLASH_ESCAPES`.
    pub(crate) escapes: bool,
    /// `"` quotes identifiers (`sql_mode` `ANSI_QUOTES`).
    pub(crate) ansi_quotes: bool,
    /// Bytes from 0x80 up are white space, as 0xa0 is in latin1, not part of identifiers.
    pub(crate) high_is_space: bool,
    /// The lexer is OceanBase's (`sql_parser_mysql_mode.l`), not MySQL's or MariaDB's (`sql_lex.cc`).
    pub(crate) oceanbase: bool,
}

impl Server {
    pub(crate) fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..16).map(|bits| Self {
            escapes: bits & 1 != 0,
            ansi_quotes: bits & 2 != 0,
            high_is_space: bits & 4 != 0,
            oceanbase: bits & 8 != 0,
        })
    }

    fn is_space(self, byte: u8) -> bool {
        matches!(byte, b' ' | 9..=13) || byte >= 0x80 && self.high_is_space
    }

    /// Whether this quote is of identifiers.
    fn names(self, quote: u8) -> bool {
        quote == b'`' || quote == b'"' && self.ansi_quotes
    }

    fn is_word(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'$')
            || byte >= 0x80 && !self.high_is_space
    }
}

/// Where in the text the lexer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Mode {
    /// Between tokens. `date`: the last one is DATE, TIME or TIMESTAMP.
    Between {
        date: bool,
    },
    /// `high`: the last byte is not ASCII.
    Word {
        word: Word,
        high: bool,
    },
    Number(Number),
    /// One `-`. `joined`: right after what OceanBase may read as one token with a comment.
    Minus {
        joined: bool,
    },
    /// Two `-`.
    MinusMinus {
        joined: bool,
    },
    Slash,
    /// After `/*`.
    Open,
    /// After `/*M`.
    OpenM,
    Block {
        star: bool,
    },
    Hint {
        star: bool,
    },
    /// OceanBase: only white space since `--`.
    LineBlank,
    Line,
    Quoted {
        quote: u8,
        name: Word,
        escapes: bool,
    },
    /// After a backslash that escapes.
    Escaped {
        quote: u8,
    },
    /// After what is the closing quote unless another one follows.
    Closed {
        quote: u8,
        name: Word,
    },
}

/// Where in a number. What looks like a number but is none is an identifier (`1a`, `1e`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Number {
    Integer,
    /// After `.`.
    Fraction,
    /// After `e`: without a digit behind it an identifier, or after a fraction an error for MySQL, an identifier for OceanBase.
    Exponent,
    /// After `e+`.
    Sign,
    ExponentDigits,
}

/// All that the lexer remembers of a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Reference {
    mode: Mode,
    statement: Statement,
}

const BETWEEN: Mode = Mode::Between { date: false };

impl Reference {
    pub(crate) const START: Self = Self {
        mode: BETWEEN,
        statement: Statement::Nothing,
    };

    /// What the text so far is, if it ends here.
    pub(crate) fn end(self) -> Result<Kind, Offence> {
        match self.mode {
            Mode::Open
            | Mode::OpenM
            | Mode::Block { .. }
            | Mode::Hint { .. }
            | Mode::Quoted { .. }
            | Mode::Escaped { .. } => self.statement.end().and(Err(Offence::Unterminated)),
            Mode::Between { .. } | Mode::LineBlank | Mode::Line => self.statement.end(),
            _ => self.token().statement.end(),
        }
    }

    fn with(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    fn and(self, token: Token) -> Self {
        Self {
            mode: BETWEEN,
            statement: self.statement.and(token),
        }
    }

    fn offend(self, offence: Offence) -> Self {
        match self.statement {
            Statement::Offends(_) => self.with(BETWEEN),
            _ => Self {
                mode: BETWEEN,
                statement: Statement::Offends(offence),
            },
        }
    }

    /// Ends the token that is under way.
    fn token(self) -> Self {
        match self.mode {
            Mode::Word { word, .. } => {
                let date = matches!(word.text(), "DATE" | "TIME" | "TIMESTAMP");
                self.and(Token::Word(word.text()))
                    .with(Mode::Between { date })
            }
            Mode::Number(Number::Exponent) => self.and(Token::Word("")),
            Mode::Number(_) => self.and(Token::Number),
            Mode::Minus { .. } => self.and(Token::Symbol(b'-')),
            Mode::MinusMinus { .. } => self.and(Token::Symbol(b'-')).and(Token::Symbol(b'-')),
            Mode::Slash => self.and(Token::Symbol(b'/')),
            Mode::Closed { quote: b'\'', .. } => self.and(Token::Text),
            Mode::Closed { name, .. } => self.and(Token::Name(name.text())),
            _ => self.with(BETWEEN),
        }
    }

    /// The text with one more byte.
    #[must_use]
    pub(crate) fn feed(self, server: Server, byte: u8) -> Self {
        let next = match self.mode {
            Mode::Between { date } => self.between(server, date, byte),
            Mode::Word { word, .. } if server.is_word(byte) => self.with(Mode::Word {
                word: word.and(byte),
                high: byte >= 0x80,
            }),
            Mode::Word { word, high } => self.after_word(server, word, high, byte),
            Mode::Number(number) => self.number(server, number, byte),
            Mode::Minus { joined } | Mode::MinusMinus { joined } => {
                self.minus(server, joined, byte)
            }
            Mode::Slash if byte == b'*' => self.with(Mode::Open),
            Mode::Slash => self.token().feed(server, byte),
            Mode::Open | Mode::OpenM | Mode::Block { .. } | Mode::Hint { .. } => self.block(byte),
            Mode::LineBlank | Mode::Line => self.line(server, byte),
            Mode::Quoted { .. } | Mode::Escaped { .. } | Mode::Closed { .. } => {
                self.quoted(server, byte)
            }
        };
        // After an offence nothing matters any more.
        if matches!(next.statement, Statement::Offends(_)) {
            next.with(BETWEEN)
        } else {
            next
        }
    }

    /// `state_map` in MySQL's `sql_chars.cc`, MariaDB's `charset.c`.
    fn between(self, server: Server, date: bool, byte: u8) -> Self {
        match byte {
            // OceanBase: space [ \t\n\r\f]
            _ if server.is_space(byte) => self.with(Mode::Between {
                date: date && matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c),
            }),
            // MySQL 9: $$ … $$ quotes.
            b'$' => self.offend(Offence::Unclear),
            b'0'..=b'9' => self.with(Mode::Number(Number::Integer)),
            _ if server.is_word(byte) => self.with(Mode::Word {
                word: Word::EMPTY.and(byte),
                high: byte >= 0x80,
            }),
            b'\'' | b'"' | b'`' => {
                // OceanBase: Date{whitespace}?'[^']*'
                let identifier = server.names(byte);
                let escapes = server.escapes && !identifier && !(server.oceanbase && date);
                let name = if identifier { Word::EMPTY } else { Word::Other };
                self.with(Mode::Quoted {
                    quote: byte,
                    name,
                    escapes,
                })
            }
            b'-' => self.with(Mode::Minus { joined: false }),
            b'/' => self.with(Mode::Slash),
            b'#' => self.with(Mode::Line),
            b'.' => self.with(Mode::Number(Number::Fraction)),
            0..=0x1f | 0x7f | b'\\' | b'[' | b']' | b'{' | b'}' => self.offend(Offence::Unclear),
            _ => self.and(Token::Symbol(byte)),
        }
    }

    fn after_word(self, server: Server, word: Word, high: bool, byte: u8) -> Self {
        let joined =
            server.oceanbase && matches!(word.text(), "DATE" | "TIME" | "TIMESTAMP" | "WITH");
        match byte {
            // OceanBase: GB_1 GB_2, two bytes that are one character in some set.
            b'`' if high && server.oceanbase => self.offend(Offence::Unclear),
            b'#' if joined => self.offend(Offence::Unclear),
            b'-' => self.token().with(Mode::Minus { joined }),
            _ => self.token().feed(server, byte),
        }
    }

    /// `MY_LEX_NUMBER_IDENT` and `MY_LEX_REAL`. A `.` alone is taken for a number too: what matters is that a word may follow.
    fn number(self, server: Server, number: Number, byte: u8) -> Self {
        let next = match (number, byte) {
            (Number::Integer | Number::Fraction, b'0'..=b'9') => Mode::Number(number),
            (Number::Integer, b'.') => Mode::Number(Number::Fraction),
            (Number::Integer | Number::Fraction, b'e' | b'E') => Mode::Number(Number::Exponent),
            (Number::Exponent | Number::Sign | Number::ExponentDigits, b'0'..=b'9') => {
                Mode::Number(Number::ExponentDigits)
            }
            (Number::Exponent, b'+') => Mode::Number(Number::Sign),
            // Not followed into the exponent: the minus may as well begin a comment.
            (Number::Integer | Number::Exponent, _) if server.is_word(byte) => Mode::Word {
                word: Word::Other,
                high: byte >= 0x80,
            },
            _ => return self.token().feed(server, byte),
        };
        self.with(next)
    }

    /// `MY_LEX_MINUS_OR_COMMENT`; OceanBase: `"--"{space}+{non_newline}*`.
    fn minus(self, server: Server, joined: bool, byte: u8) -> Self {
        let comment = if server.oceanbase {
            matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
        } else {
            server.is_space(byte) || byte.is_ascii_control()
        };
        match self.mode {
            Mode::Minus { .. } if byte == b'-' => self.with(Mode::MinusMinus { joined }),
            Mode::MinusMinus { .. } if byte == b'-' => self
                .and(Token::Symbol(b'-'))
                .with(Mode::MinusMinus { joined: false }),
            Mode::MinusMinus { .. } if comment && joined => self.offend(Offence::Unclear),
            Mode::MinusMinus { .. } if comment && server.oceanbase => self.with(Mode::LineBlank),
            Mode::MinusMinus { .. } if comment => self.with(Mode::Line).line(server, byte),
            _ => self.token().feed(server, byte),
        }
    }

    fn line(self, server: Server, byte: u8) -> Self {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c if self.mode == Mode::LineBlank => self,
            b'\n' => self.with(BETWEEN),
            b'\r' if server.oceanbase => self.with(BETWEEN),
            // MySQL ends the comment here and goes on behind it.
            0 => self.offend(Offence::Unclear),
            _ => self.with(Mode::Line),
        }
    }

    /// `MY_LEX_LONG_COMMENT` and `consume_comment()`; hints: `Hint_scanner`.
    fn block(self, byte: u8) -> Self {
        match (self.mode, byte) {
            (Mode::Open | Mode::OpenM, b'!') => self.offend(Offence::ExecutableComment),
            (Mode::Open, b'M') => self.with(Mode::OpenM),
            (Mode::Open, b'+') => self.with(Mode::Hint { star: false }),
            (Mode::Block { star: true } | Mode::Hint { star: true }, b'/') => self.with(BETWEEN),
            // Whether this is a hint, in which quotes hide `*/`, depends on the server and on what is before it.
            (Mode::Hint { .. }, b'\'' | b'"' | b'`' | b'/') => self.offend(Offence::Unclear),
            (Mode::Hint { .. }, _) => self.with(Mode::Hint { star: byte == b'*' }),
            _ => self.with(Mode::Block { star: byte == b'*' }),
        }
    }

    /// `get_text()` and `scan_ident_delimited()`.
    fn quoted(self, server: Server, byte: u8) -> Self {
        match self.mode {
            Mode::Quoted {
                quote,
                name,
                escapes: _,
            } if byte == quote => self.with(Mode::Closed { quote, name }),
            Mode::Quoted {
                quote,
                escapes: true,
                ..
            } if byte == b'\\' => self.with(Mode::Escaped { quote }),
            Mode::Quoted { quote, .. } if byte == 0 && server.names(quote) => {
                self.offend(Offence::Unclear)
            }
            Mode::Quoted {
                quote,
                name,
                escapes,
            } => self.with(Mode::Quoted {
                quote,
                name: name.and(byte),
                escapes,
            }),
            Mode::Escaped { quote } => self.with(Mode::Quoted {
                quote,
                name: Word::Other,
                escapes: true,
            }),
            // Behind OceanBase's DATE '…' the next quote begins another string, not of that token.
            Mode::Closed { quote, .. } if byte == quote => self.with(Mode::Quoted {
                quote,
                name: Word::Other,
                escapes: server.escapes && !server.names(quote),
            }),
            // OceanBase joins strings with {whitespace} between them, which may be a comment that does not end with its line.
            Mode::Closed {
                quote: b'\'' | b'"',
                ..
            } if byte == b'#' && server.oceanbase => self.offend(Offence::Unclear),
            Mode::Closed { quote, .. } if byte == b'-' => self.token().with(Mode::Minus {
                joined: server.oceanbase && quote != b'`',
            }),
            _ => self.token().feed(server, byte),
        }
    }
}
