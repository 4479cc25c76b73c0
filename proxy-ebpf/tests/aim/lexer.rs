//! MySQL's lexer (`sql_lex.cc`), over a whole text.

/// How a server reads a text, as far as it depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// Backslashes escape in strings; not so with `sql_mode` `NO_BACKSLASH_ESCAPES`.
    pub(crate) escapes: bool,
    /// `"` quotes identifiers (`sql_mode` `ANSI_QUOTES`).
    ansi_quotes: bool,
    /// Bytes from 0x80 up are white space, not part of identifiers.
    high_is_space: bool,
}

impl Server {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self {
            escapes: bits & 1 != 0,
            ansi_quotes: bits & 2 != 0,
            high_is_space: bits & 4 != 0,
        })
    }

    fn is_space(self, byte: u8) -> bool {
        matches!(byte, b' ' | 9..=13) || byte >= 0x80 && self.high_is_space
    }

    fn is_word(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'$')
            || byte >= 0x80 && !self.high_is_space
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Outside quotes, in capitals.
    Word(String),
    /// In quotes, in capitals.
    Name(String),
    Number,
    Text,
    Symbol(u8),
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Nothing is between it and the token before.
    pub(crate) joined: bool,
}

/// The text cannot be read, or executes a comment.
#[derive(Debug)]
pub(crate) struct Unclear;

pub(crate) fn tokens(server: Server, text: &[u8]) -> Result<Vec<Token>, Unclear> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    let mut joined = false;
    while at < text.len() {
        let rest = &text[at..];
        if let Some(length) = blank(server, rest)? {
            at += length;
            joined = false;
            continue;
        }
        let behind_dot = tokens
            .last()
            .is_some_and(|token| token.kind == Kind::Symbol(b'.'));
        let (kind, length) = token(server, rest, behind_dot && joined)?;
        tokens.push(Token { kind, joined });
        joined = true;
        at += length;
    }
    Ok(tokens)
}

/// The length of white space or of a comment.
fn blank(server: Server, rest: &[u8]) -> Result<Option<usize>, Unclear> {
    let to_line_end = || rest.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
    match rest {
        [space, ..] if server.is_space(*space) => Ok(Some(1)),
        [b'#', ..] | [b'-', b'-'] => Ok(Some(to_line_end().unwrap_or(rest.len()))),
        [b'-', b'-', next, ..] if server.is_space(*next) || next.is_ascii_control() => {
            Ok(Some(to_line_end().unwrap_or(rest.len())))
        }
        [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => Err(Unclear),
        [b'/', b'*', inside @ ..] => match inside.windows(2).position(|pair| pair == b"*/") {
            Some(length) => Ok(Some(length + 4)),
            None => Err(Unclear),
        },
        _ => Ok(None),
    }
}

fn token(server: Server, rest: &[u8], behind_dot: bool) -> Result<(Kind, usize), Unclear> {
    let word = rest
        .iter()
        .position(|&byte| !server.is_word(byte))
        .unwrap_or(rest.len());
    match rest[0] {
        quote @ (b'\'' | b'"' | b'`') => quoted(server, rest, quote),
        b'0'..=b'9' if !behind_dot => Ok(number(server, rest, word)),
        b'.' if !behind_dot && rest.get(1).is_some_and(u8::is_ascii_digit) => {
            Ok(real(rest, 1 + digits(&rest[1..])))
        }
        first if server.is_word(first) => Ok((Kind::Word(capitals(&rest[..word])), word)),
        0..=0x1f | 0x7f | b'\\' | b'[' | b']' | b'{' | b'}' => Err(Unclear),
        symbol => Ok((Kind::Symbol(symbol), 1)),
    }
}

fn capitals(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_ascii_uppercase()
}

fn digits(text: &[u8]) -> usize {
    text.iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len())
}

/// What begins with a digit: `word` bytes of it could be an identifier.
fn number(server: Server, rest: &[u8], word: usize) -> (Kind, usize) {
    let whole = digits(rest);
    match rest.get(whole) {
        Some(b'.') => real(rest, whole + 1 + digits(&rest[whole + 1..])),
        Some(b'e' | b'E') if exponent(&rest[whole..]) > 0 => real(rest, whole),
        Some(b'x' | b'X' | b'b' | b'B') if whole == 1 && rest[0] == b'0' => {
            let hex = rest[2..word].iter().all(u8::is_ascii_hexdigit);
            if hex && word > 2 {
                (Kind::Number, word)
            } else {
                (Kind::Word(capitals(&rest[..word])), word)
            }
        }
        Some(&next) if server.is_word(next) => (Kind::Word(capitals(&rest[..word])), word),
        _ => (Kind::Number, whole),
    }
}

/// The length of an exponent.
fn exponent(text: &[u8]) -> usize {
    match text {
        [b'e' | b'E', b'+' | b'-', rest @ ..] if digits(rest) > 0 => 2 + digits(rest),
        [b'e' | b'E', rest @ ..] if digits(rest) > 0 => 1 + digits(rest),
        _ => 0,
    }
}

fn real(rest: &[u8], mantissa: usize) -> (Kind, usize) {
    (Kind::Number, mantissa + exponent(&rest[mantissa..]))
}

fn quoted(server: Server, rest: &[u8], quote: u8) -> Result<(Kind, usize), Unclear> {
    let name = quote == b'`' || quote == b'"' && server.ansi_quotes;
    let mut inside = Vec::new();
    let mut at = 1;
    loop {
        match &rest[at..] {
            [] => return Err(Unclear),
            [0, ..] if name => return Err(Unclear),
            [b'\\', escaped, ..] if !name && server.escapes => {
                inside.push(*escaped);
                at += 2;
            }
            [one, two, ..] if *one == quote && *two == quote => {
                inside.push(quote);
                at += 2;
            }
            [one, ..] if *one == quote => break,
            [byte, ..] => {
                inside.push(*byte);
                at += 1;
            }
        }
    }
    let kind = if name {
        Kind::Name(capitals(&inside))
    } else {
        Kind::Text
    };
    Ok((kind, at + 1))
}
