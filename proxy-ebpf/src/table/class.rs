//! The classes of bytes that the automata tell apart.

/// Number of bits of a class: `NEXT` has `1 << CLASS_BITS` columns.
pub(crate) const CLASS_BITS: usize = 6;
/// Columns of a row of the automaton; more than there are classes.
pub(crate) const COLUMNS: usize = 1 << CLASS_BITS;

// Classes 0 to 25 are the letters, in both cases.
/// `_`.
pub(crate) const UNDERSCORE: u8 = 26;
/// `0` to `9`.
pub(crate) const DIGIT: u8 = 27;
/// `$`: part of an identifier, and MySQL 9's dollar quote where a token begins.
pub(crate) const DOLLAR: u8 = 28;
/// Space and tab.
pub(crate) const BLANK: u8 = 29;
/// Line feed.
pub(crate) const LINE_FEED: u8 = 30;
/// Carriage return: the end of a line comment for OceanBase, not for MySQL.
pub(crate) const CARRIAGE_RETURN: u8 = 31;
/// Vertical tab and form feed: white space for MySQL (`my_isspace`), not all of it for OceanBase.
pub(crate) const OTHER_SPACE: u8 = 32;
/// `'`.
pub(crate) const QUOTE: u8 = 33;
/// `"`.
pub(crate) const DOUBLE_QUOTE: u8 = 34;
/// The backtick.
pub(crate) const BACKTICK: u8 = 35;
/// `\`.
pub(crate) const BACKSLASH: u8 = 36;
/// `/`.
pub(crate) const SLASH: u8 = 37;
/// `*`.
pub(crate) const STAR: u8 = 38;
/// `-`.
pub(crate) const DASH: u8 = 39;
/// `#`.
pub(crate) const HASH: u8 = 40;
/// `!`.
pub(crate) const BANG: u8 = 41;
/// `+`.
pub(crate) const PLUS: u8 = 42;
/// `@`.
pub(crate) const AT: u8 = 43;
/// `;`.
pub(crate) const SEMICOLON: u8 = 44;
/// `(`.
pub(crate) const PARENTHESIS: u8 = 45;
/// `.`.
pub(crate) const DOT: u8 = 46;
/// `,`.
pub(crate) const COMMA: u8 = 47;
/// ASCII that only ever stands for itself: `% & : < > ? ^ | ~`.
pub(crate) const PLAIN: u8 = 48;
/// The byte 0: MySQL's lexer ends line comments and quoted identifiers there.
pub(crate) const NUL: u8 = 49;
/// The byte 1: the number of parameter sets in front of a text with query attributes.
pub(crate) const ONE: u8 = 50;
/// Bytes that no plain statement has outside quotes: other control bytes, and `[ ] { }`, which are quotes or escapes in some
/// mode (ODBC's `{fn …}`; `[` quotes identifiers under MariaDB's `sql_mode` MSSQL).
pub(crate) const STRANGE: u8 = 51;
/// Bytes from 128 up: identifiers in UTF-8, possibly white space in a one-byte character set (0xa0 in latin1).
pub(crate) const HIGH: u8 = 52;
/// `)`.
pub(crate) const CLOSE: u8 = 53;
/// The backslash where it is known to escape ([`Backslash`](super::Backslash)); elsewhere it is a [`BACKSLASH`].
pub(crate) const ESCAPE: u8 = 54;
/// `=`: what assigns.
pub(crate) const EQUALS: u8 = 55;
/// Number of classes in use.
pub(crate) const CLASSES: usize = 56;

const _: () = assert!(CLASSES <= COLUMNS);

/// Every class that is white space to MySQL.
pub(crate) const SPACES: [u8; 4] = [BLANK, LINE_FEED, CARRIAGE_RETURN, OTHER_SPACE];

/// The class of a letter, or of `_`.
pub(crate) const fn of(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a',
        b'_' => UNDERSCORE,
        b'0'..=b'9' => DIGIT,
        b'$' => DOLLAR,
        b' ' | b'\t' => BLANK,
        b'\n' => LINE_FEED,
        b'\r' => CARRIAGE_RETURN,
        0x0b | 0x0c => OTHER_SPACE,
        b'\'' => QUOTE,
        b'"' => DOUBLE_QUOTE,
        b'`' => BACKTICK,
        b'\\' => BACKSLASH,
        b'/' => SLASH,
        b'*' => STAR,
        b'-' => DASH,
        b'#' => HASH,
        b'!' => BANG,
        b'+' => PLUS,
        b'@' => AT,
        b';' => SEMICOLON,
        b'(' => PARENTHESIS,
        b'.' => DOT,
        b',' => COMMA,
        b')' => CLOSE,
        b'=' => EQUALS,
        b'%' | b'&' | b':' | b'<' | b'>' | b'?' | b'^' | b'|' | b'~' => PLAIN,
        0 => NUL,
        1 => ONE,
        2..=8 | 0x0e..=0x1f | 0x7f | b'[' | b']' | b'{' | b'}' => STRANGE,
        0x80..=0xff => HIGH,
    }
}

/// `of` for every byte, then the same for texts in which a backslash is known to escape.
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time, bounded by the loop"
)]
pub(crate) const fn table() -> [u8; 512] {
    let mut table = [0; 512];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = of(byte as u8);
        table[256 + byte] = of(byte as u8);
        byte += 1;
    }
    table[256 + b'\\' as usize] = ESCAPE;
    table
}
