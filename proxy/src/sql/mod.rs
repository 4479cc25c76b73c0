//! The little SQL that Sluice reads: tokens of a short statement. Lazy, without allocation: looking at the head of a text costs no more
//! than the head.

pub mod assigned;
pub mod lexer;
pub mod like;
pub mod secret;

/// One token of a statement's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token<'a> {
    /// A keyword or a bare identifier.
    Word(&'a [u8]),
    /// An optional sign and 1 to 17 digits.
    Integer(i64),
    /// An optional sign and more digits than that.
    LongInteger,
    /// What stands between two quotes (`'`, `"` or `` ` ``), which does not hold such a quote nor a backslash.
    Quoted {
        /// The quote.
        quote: u8,
        /// What stands between.
        text: &'a [u8],
    },
    /// Any other byte.
    Symbol(u8),
    /// Nothing that this tokenizer knows the meaning of: an executable comment, a quoted text with a backslash or a doubled quote, or a
    /// quote or comment without an end. No token follows.
    Unclear,
}

impl Token<'_> {
    /// Whether this is that keyword, in whatever case.
    pub fn is_word(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }
}

/// The tokens of a text. White space and comments (`/* */`, `-- `, `#`) only separate them.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a [u8],
    /// What stands for the question marks that come.
    parameters: &'a [Token<'a>],
}

impl<'a> Tokens<'a> {
    /// The most digits of an [`Token::Integer`], as in ODP.
    const INTEGER_DIGITS_MAX: usize = 17;

    /// The tokens of this text.
    pub const fn new(text: &'a [u8]) -> Self {
        Self::with_parameters(text, &[])
    }

    /// The tokens of a prepared statement's text: each question mark is the next one of `parameters`. Those that have none, and those in
    /// quotes and comments, are what they are.
    pub const fn with_parameters(text: &'a [u8], parameters: &'a [Token<'a>]) -> Self {
        Self {
            rest: text,
            parameters,
        }
    }

    /// Passes the white space and comments before the next token, for who will look at it more than once.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        // What is unclear stays where it is: the next token says so.
        let (Ok(()) | Err(Unclear)) = self.skip_blank();
        self
    }

    /// Takes the next token if it is that keyword.
    pub fn accept_word(&mut self, keyword: &str) -> bool {
        let mut ahead = self.clone();
        let found = ahead.next().is_some_and(|token| token.is_word(keyword));
        if found {
            *self = ahead;
        }
        found
    }

    /// Whether nothing but semicolons is left.
    pub fn is_at_end(&self) -> bool {
        self.clone().all(|token| token == Token::Symbol(b';'))
    }

    /// Takes `length` bytes.
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

    /// Leaves nothing to read behind something of unclear meaning.
    fn unclear(&mut self) -> Token<'a> {
        self.rest = &[];
        Token::Unclear
    }

    /// Passes white space and comments.
    fn skip_blank(&mut self) -> Result<(), Unclear> {
        loop {
            self.take_while(is_space);
            match self.rest {
                [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => return Err(Unclear),
                [b'/', b'*', text @ ..] => {
                    let length = text
                        .windows(2)
                        .position(|pair| pair == b"*/")
                        .ok_or(Unclear)?;
                    self.take(2 + length + 2);
                }
                [b'#', ..] | [b'-', b'-'] => {
                    self.take_while(|byte| byte != b'\n');
                }
                // The server takes `--` for a comment only before white space or a control character.
                [b'-', b'-', next, ..] if is_space(*next) || next.is_ascii_control() => {
                    self.take_while(|byte| byte != b'\n');
                }
                _ => return Ok(()),
            }
        }
    }

    fn quoted(&mut self, quote: u8) -> Token<'a> {
        self.take(1);
        let text = self.take_while(|byte| byte != quote && byte != b'\\');
        match self.rest {
            [end, next, ..] if *end == quote && *next == quote => self.unclear(),
            [end, ..] if *end == quote => {
                self.take(1);
                Token::Quoted { quote, text }
            }
            _ => self.unclear(),
        }
    }

    /// An integer, or a word that begins with digits.
    fn number(&mut self, sign: &'a [u8]) -> Token<'a> {
        let digits = self.take_while(is_word_byte);
        if !digits.iter().all(u8::is_ascii_digit) {
            return if sign.is_empty() {
                Token::Word(digits)
            } else {
                self.unclear()
            };
        }
        if digits.len() > Self::INTEGER_DIGITS_MAX {
            return Token::LongInteger;
        }
        let value = digits
            .iter()
            .fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        Token::Integer(if sign == b"-" { -value } else { value })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if self.skip_blank().is_err() {
            return Some(self.unclear());
        }
        Some(match *self.rest {
            [] => return None,
            [quote @ (b'\'' | b'"' | b'`'), ..] => self.quoted(quote),
            [b'0'..=b'9', ..] => self.number(&[]),
            [b'+' | b'-', b'0'..=b'9', ..] => {
                let sign = self.take(1);
                self.number(sign)
            }
            [first, ..] if is_word_byte(first) => Token::Word(self.take_while(is_word_byte)),
            [first, ..] => {
                self.take(1);
                match self.parameters.split_first() {
                    Some((parameter, rest)) if first == b'?' => {
                        self.parameters = rest;
                        *parameter
                    }
                    _ => Token::Symbol(first),
                }
            }
        })
    }
}

/// Something of unclear meaning comes next.
struct Unclear;

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Bytes of unquoted identifiers and keywords; all of non-ASCII UTF-8 belongs to them.
const fn is_word_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80..)
}

#[cfg(test)]
mod tests;
