//! The classes of bytes that the automaton tells apart.

/// Number of bits of a class: `NEXT` has `1 << CLASS_BITS` columns.
pub(super) const CLASS_BITS: usize = 6;
/// Columns of a row of the automaton; more than there are classes.
pub(super) const COLUMNS: usize = 1 << CLASS_BITS;

// Classes 0 to 25 are the letters, in both cases.
/// `_`.
pub(super) const UNDERSCORE: u8 = 26;
/// `0` to `9`.
pub(super) const DIGIT: u8 = 27;
/// `$`: part of an identifier, and MySQL 9's dollar quote where a token begins.
pub(super) const DOLLAR: u8 = 28;
/// Space and tab.
pub(super) const BLANK: u8 = 29;
/// Line feed.
pub(super) const LINE_FEED: u8 = 30;
/// Carriage return: the end of a line comment for OceanBase, not for MySQL.
pub(super) const CARRIAGE_RETURN: u8 = 31;
/// Vertical tab and form feed: white space for MySQL (`my_isspace`), not all of it for OceanBase.
pub(super) const OTHER_SPACE: u8 = 32;
/// `'`.
pub(super) const QUOTE: u8 = 33;
/// `"`.
pub(super) const DOUBLE_QUOTE: u8 = 34;
/// The backtick.
pub(super) const BACKTICK: u8 = 35;
/// `\`.
pub(super) const BACKSLASH: u8 = 36;
/// `/`.
pub(super) const SLASH: u8 = 37;
/// `*`.
pub(super) const STAR: u8 = 38;
/// `-`.
pub(super) const DASH: u8 = 39;
/// `#`.
pub(super) const HASH: u8 = 40;
/// `!`.
pub(super) const BANG: u8 = 41;
/// `+`.
pub(super) const PLUS: u8 = 42;
/// `@`.
pub(super) const AT: u8 = 43;
/// `;`.
pub(super) const SEMICOLON: u8 = 44;
/// `(`.
pub(super) const PARENTHESIS: u8 = 45;
/// `.`.
pub(super) const DOT: u8 = 46;
/// `,`.
pub(super) const COMMA: u8 = 47;
/// ASCII that only ever stands for itself: `) % & : < = > ? ^ | ~`.
pub(super) const PLAIN: u8 = 48;
/// The byte 0: MySQL's lexer ends line comments and quoted identifiers there.
pub(super) const NUL: u8 = 49;
/// The byte 1: the number of parameter sets in front of a text with query attributes.
pub(super) const ONE: u8 = 50;
/// Bytes that no plain statement has outside quotes: other control bytes, and `[ ] { }`, which are quotes or escapes in some
/// mode (ODBC's `{fn …}`; `[` quotes identifiers under MariaDB's `sql_mode` MSSQL).
pub(super) const STRANGE: u8 = 51;
/// Bytes from 128 up: identifiers in UTF-8, possibly white space in a one-byte character set (0xa0 in latin1).
pub(super) const HIGH: u8 = 52;
/// Number of classes in use.
pub(super) const CLASSES: usize = 53;

const _: () = assert!(CLASSES <= COLUMNS);

/// Every class that is white space to MySQL.
pub(super) const SPACES: [u8; 4] = [BLANK, LINE_FEED, CARRIAGE_RETURN, OTHER_SPACE];

/// The class of a letter, or of `_`.
pub(super) const fn of(byte: u8) -> u8 {
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
        b')' | b'%' | b'&' | b':' | b'<' | b'=' | b'>' | b'?' | b'^' | b'|' | b'~' => PLAIN,
        0 => NUL,
        1 => ONE,
        2..=8 | 0x0e..=0x1f | 0x7f | b'[' | b']' | b'{' | b'}' => STRANGE,
        0x80..=0xff => HIGH,
    }
}

/// `of` for every byte.
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time, bounded by the loop"
)]
pub(super) const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = of(byte as u8);
        byte += 1;
    }
    table
}
