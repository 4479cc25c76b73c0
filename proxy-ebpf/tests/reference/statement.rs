//! What a statement's tokens say about it.

use sluice_ebpf::automaton::Kind;

/// Why a text must not be spliced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Offence {
    Verb,
    Variable,
    SecondStatement,
    ExecutableComment,
    Into,
    Function,
    /// A byte or a comment that this server may read in more than one way.
    Unclear,
    Unterminated,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// A word outside quotes: its text if it is one that matters.
    Word(&'static str),
    /// A quoted identifier.
    Name(&'static str),
    Number,
    Text,
    Symbol(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Statement {
    /// Nothing yet but parentheses.
    Nothing,
    /// `writes`: a word was seen by which it locks or writes. `call`: the last token is the quoted name of a function that traps.
    Reads {
        writes: bool,
        call: bool,
    },
    /// `into`: INTO may follow. `table`: the next name is the table's, which no parenthesis makes a call.
    Writes {
        into: bool,
        table: bool,
        call: bool,
    },
    /// After BEGIN.
    Begin,
    /// After START.
    Start,
    /// After RELEASE.
    Release,
    /// After COMMIT, ROLLBACK, START TRANSACTION, SAVEPOINT, RELEASE SAVEPOINT.
    Control,
    /// After BEGIN WORK.
    Complete,
    /// After the `;`.
    Ended(Kind),
    Offends(Offence),
}

const FUNCTIONS: [&str; 5] = [
    "GET_LOCK",
    "RELEASE_LOCK",
    "RELEASE_ALL_LOCKS",
    "PROXY_VERSION",
    "PROXY_STATUS",
];
const MODIFIERS: [&str; 4] = ["LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE"];

impl Statement {
    pub(crate) fn end(self) -> Result<Kind, Offence> {
        match self {
            Self::Nothing | Self::Start | Self::Release => Err(Offence::Verb),
            Self::Reads { writes: false, .. } => Ok(Kind::Read),
            Self::Reads { writes: true, .. } | Self::Writes { .. } => Ok(Kind::Write),
            Self::Begin | Self::Control | Self::Complete => Ok(Kind::Transaction),
            Self::Ended(kind) => Ok(kind),
            Self::Offends(offence) => Err(offence),
        }
    }

    #[must_use]
    pub(crate) fn and(self, token: Token) -> Self {
        match (self, token) {
            (Self::Offends(offence), _) => Self::Offends(offence),
            (Self::Ended(_), _) => Self::Offends(Offence::SecondStatement),
            (_, Token::Symbol(b'@')) => Self::Offends(Offence::Variable),
            (_, Token::Symbol(b';')) => match self.end() {
                Ok(kind) => Self::Ended(kind),
                Err(offence) => Self::Offends(offence),
            },
            (Self::Nothing, Token::Symbol(b'(')) => Self::Nothing,
            (Self::Nothing, Token::Word(word)) => Self::verb(word),
            (Self::Reads { writes, call }, _) => match in_body(token, call) {
                Err(offence) => Self::Offends(offence),
                Ok(_) if token == Token::Word("INTO") => Self::Offends(Offence::Into),
                Ok(call) => Self::Reads {
                    writes: writes || matches!(token, Token::Word("UPDATE" | "DELETE" | "SHARE")),
                    call,
                },
            },
            (Self::Writes { into, table, call }, _) => match (in_body(token, call), token) {
                (Err(offence), _) => Self::Offends(offence),
                (Ok(_), Token::Word("INTO")) if !into => Self::Offends(Offence::Into),
                (Ok(_), Token::Word("INTO")) => Self::Writes {
                    into: false,
                    table,
                    call: false,
                },
                (Ok(_), Token::Word(word)) => {
                    let modifier = into && MODIFIERS.contains(&word);
                    Self::Writes {
                        into: modifier,
                        table: table && modifier,
                        call: false,
                    }
                }
                // The `.` between two names is a `Number`.
                (Ok(_), Token::Name(_) | Token::Number) if table => Self::Writes {
                    into: false,
                    table,
                    call: false,
                },
                (Ok(call), _) => Self::Writes {
                    into: false,
                    table: false,
                    call,
                },
            },
            (Self::Begin, Token::Word("WORK")) => Self::Complete,
            (Self::Start, Token::Word("TRANSACTION"))
            | (Self::Release, Token::Word("SAVEPOINT")) => Self::Control,
            (
                Self::Control,
                Token::Word(_) | Token::Name(_) | Token::Number | Token::Symbol(b','),
            ) => self,
            (
                Self::Nothing
                | Self::Begin
                | Self::Start
                | Self::Release
                | Self::Control
                | Self::Complete,
                _,
            ) => Self::Offends(Offence::Verb),
        }
    }

    fn verb(word: &str) -> Self {
        match word {
            "SELECT" | "VALUES" | "TABLE" | "WITH" => Self::Reads {
                writes: false,
                call: false,
            },
            "UPDATE" | "DELETE" => Self::Writes {
                into: false,
                table: false,
                call: false,
            },
            "INSERT" | "REPLACE" => Self::Writes {
                into: true,
                table: true,
                call: false,
            },
            "BEGIN" => Self::Begin,
            "START" => Self::Start,
            "RELEASE" => Self::Release,
            "COMMIT" | "ROLLBACK" | "SAVEPOINT" => Self::Control,
            _ => Self::Offends(Offence::Verb),
        }
    }
}

/// Checks a token of a body; `Ok(true)` if it is the quoted name of a function.
fn in_body(token: Token, call: bool) -> Result<bool, Offence> {
    match token {
        Token::Word(word) if FUNCTIONS.contains(&word) => Err(Offence::Function),
        Token::Symbol(b'(') if call => Err(Offence::Function),
        Token::Name(name) => Ok(FUNCTIONS.contains(&name)),
        Token::Word(_) | Token::Number | Token::Text | Token::Symbol(_) => Ok(false),
    }
}
