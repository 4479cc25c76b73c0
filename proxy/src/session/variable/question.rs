//! How the server is asked for values, and what its answer is as literals of SQL.
//!
//! `IF(TRUE, NULL, x)` has the type of `x` and sends nothing; bytes are cast to BINARY, so that no `character_set_results` converts them; a
//! user variable's come as HEX with the name of their collation. (Tried with MariaDB 10.11, MySQL 9.7 and seekdb 1.4.)

use std::fmt::Write as _;

use bytes::Bytes;

use super::{Kind, Value};
use crate::protocol::rows::{Definition, Rows};

/// `UNSIGNED_FLAG` of a column.
const UNSIGNED: u16 = 32;
/// The longest value that is fetched, in bytes.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// What the server answers for a longer one.
const LONG: &[u8] = b"-";
/// Errors with which a server says that there is no such variable to read in a session: `ER_UNKNOWN_SYSTEM_VARIABLE`,
/// `ER_INCORRECT_GLOBAL_LOCAL_VAR`, `ER_VAR_CANT_BE_READ`, `ER_SPECIFIC_ACCESS_DENIED_ERROR`, `ER_PARSE_ERROR`.
const UNREADABLE: [u16; 5] = [1193, 1238, 1233, 1227, 1064];

/// Whether an error means that a name need not be asked for again.
pub fn is_unreadable(error: u16) -> bool {
    UNREADABLE.contains(&error)
}

/// One statement that asks for all of these.
pub fn ask(names: &[(Kind, String)]) -> String {
    let mut sql = "SELECT".to_owned();
    for (at, (kind, name)) in names.iter().enumerate() {
        let comma = if at == 0 { " " } else { ", " };
        // To a String every write succeeds.
        let _ = match kind {
            Kind::System => {
                let name = system(name);
                write!(sql, "{comma}IF(TRUE, NULL, {name}), CAST({name} AS BINARY)")
            }
            Kind::User => {
                let name = format!("@`{}`", name.replace('`', "``"));
                write!(
                    sql,
                    "{comma}IF(TRUE, NULL, {name}), CAST(IF(LENGTH({name}) > {VALUE_BYTES_MAX}, '-', HEX(CONCAT({name}))) AS BINARY), \
                     CAST(COLLATION({name}) AS BINARY)"
                )
            }
        };
    }
    // For who has set sql_select_limit.
    sql.push_str(" LIMIT 1");
    sql
}

/// A system variable in an expression; the parts of a name with a dot are quoted apart.
fn system(name: &str) -> String {
    let parts: Vec<_> = name
        .split('.')
        .map(|part| format!("`{}`", part.replace('`', "``")))
        .collect();
    format!("@@{}", parts.join("."))
}

/// The values in the answer to [`ask`]; none for those that the answer does not hold.
pub fn values(names: &[(Kind, String)], answer: &Rows) -> Vec<Option<Value>> {
    let mut cells = answer.columns.iter().zip(answer.first());
    names
        .iter()
        .map(|(kind, _)| {
            let (definition, _) = cells.next()?;
            let is_number = is_number(definition.column_type);
            let (_, value) = cells.next()?;
            let collation = match kind {
                Kind::System => None,
                Kind::User => Some(cells.next()?.1),
            };
            Some(match (value, collation) {
                (None, None) => Value::Literal("NULL".to_owned()),
                (None, Some(_)) => Value::User {
                    shown: "NULL".to_owned(),
                    exact: "NULL".to_owned(),
                },
                (Some(value), None) => system_literal(value, is_number),
                (Some(value), Some(_)) if value == LONG => Value::Long,
                (Some(value), Some(collation)) => {
                    let collation = collation.as_deref().unwrap_or_default();
                    let collation = std::str::from_utf8(collation).ok()?;
                    let shown = user_literal(value, charset_of(collation), is_number)?;
                    match exact(definition, value, collation) {
                        Some(exact) => Value::User { shown, exact },
                        None => Value::Literal(shown),
                    }
                }
            })
        })
        .collect()
}

/// Whether a column's type is one of numbers (`enum_field_types`): integers, decimals and floating point.
const fn is_number(column_type: u8) -> bool {
    matches!(column_type, 0..=5 | 8 | 9 | 13 | 246)
}

fn system_literal(value: &Bytes, is_number: bool) -> Value {
    match std::str::from_utf8(value) {
        _ if value.len() > VALUE_BYTES_MAX => Value::Long,
        // What MariaDB makes of a boolean's bytes.
        Ok("ON") if is_number => Value::Literal("1".to_owned()),
        Ok("OFF") if is_number => Value::Literal("0".to_owned()),
        Ok(text) if is_number => Value::Literal(text.to_owned()),
        Ok(text) => Value::Literal(quote(text)),
        Err(_other) => Value::Literal(format!("X'{}'", hex(value))),
    }
}

/// The character set of a collation: the front of its name.
fn charset_of(collation: &str) -> &str {
    collation.split('_').next().unwrap_or_default()
}

/// None where the answer is not HEX.
fn user_literal(value: &Bytes, charset: &str, is_number: bool) -> Option<String> {
    let bytes = unhex(value)?;
    let is_text = matches!(charset, "utf8" | "utf8mb3" | "utf8mb4" | "ascii" | "");
    Some(match String::from_utf8(bytes) {
        Ok(text) if is_number => text,
        Ok(text) if is_text => quote(&text),
        _ => format!("_{charset} X'{}'", String::from_utf8_lossy(value)),
    })
}

/// A user variable's value as an expression of the same type, character set and collation. None where the answer does not tell.
fn exact(kind: &Definition, hex: &[u8], collation: &str) -> Option<String> {
    let digits = || String::from_utf8(unhex(hex)?).ok();
    Some(match kind.column_type {
        1..=3 | 8 | 9 if kind.flags & UNSIGNED != 0 => format!("CAST({} AS UNSIGNED)", digits()?),
        1..=3 | 8 | 9 | 13 => digits()?,
        4 | 5 => {
            let number = digits()?;
            let exponent = if number.contains('e') { "" } else { "e0" };
            number + exponent
        }
        0 | 246 => {
            let number = digits()?;
            let point = if number.contains('.') { "" } else { "." };
            number + point
        }
        _ => {
            let hex = std::str::from_utf8(hex).ok()?;
            let charset = charset_of(collation);
            if collation.is_empty() {
                return None;
            }
            if charset == collation {
                format!("_{charset} X'{hex}'")
            } else {
                format!("_{charset} X'{hex}' COLLATE {collation}")
            }
        }
    })
}

/// A text in single quotes; escapes as in the manual's "String Literals".
pub fn quote(text: &str) -> String {
    let mut literal = "'".to_owned();
    for character in text.chars() {
        match character {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str(r"\\"),
            '\0' => literal.push_str(r"\0"),
            '\n' => literal.push_str(r"\n"),
            '\r' => literal.push_str(r"\r"),
            '\u{1a}' => literal.push_str(r"\Z"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// The text that [`quote`] has made this literal of; none if it is another literal.
pub fn unquote(literal: &str) -> Option<String> {
    let mut rest = literal.strip_prefix('\'')?.strip_suffix('\'')?.chars();
    let mut text = String::with_capacity(literal.len());
    while let Some(character) = rest.next() {
        text.push(match character {
            '\'' => rest.next()?,
            '\\' => match rest.next()? {
                '0' => '\0',
                'n' => '\n',
                'r' => '\r',
                'Z' => '\u{1a}',
                other => other,
            },
            other => other,
        });
    }
    Some(text)
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    })
}

/// The bytes of hexadecimal digits; none of other text.
pub fn unhex(hex: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = hex.as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::rows::Definition;

    const LONGLONG: u8 = 8;
    const VAR_STRING: u8 = 253;

    fn answer(cells: &[(u8, Option<&'static str>)]) -> Rows {
        let column = |(column_type, _): &(u8, _)| Definition {
            name: Bytes::new(),
            collation: 63,
            column_type: *column_type,
            flags: 0,
        };
        Rows {
            columns: cells.iter().map(column).collect(),
            rows: vec![
                cells
                    .iter()
                    .map(|(_, value)| value.map(Bytes::from))
                    .collect(),
            ],
        }
    }

    fn one(
        kind: Kind,
        column_type: u8,
        value: Option<&'static str>,
        collation: &'static str,
    ) -> Option<Value> {
        let mut cells = vec![(column_type, None), (VAR_STRING, value)];
        if kind == Kind::User {
            cells.push((VAR_STRING, Some(collation)));
        }
        values(&[(kind, "x".to_owned())], &answer(&cells)).remove(0)
    }

    #[test]
    fn all_names_are_in_one_statement() {
        let names = [
            (Kind::System, "sql_mode".to_owned()),
            (Kind::System, "a.b".to_owned()),
            (Kind::User, "it`s".to_owned()),
        ];
        assert_eq!(
            ask(&names),
            "SELECT IF(TRUE, NULL, @@`sql_mode`), CAST(@@`sql_mode` AS BINARY), \
             IF(TRUE, NULL, @@`a`.`b`), CAST(@@`a`.`b` AS BINARY), \
             IF(TRUE, NULL, @`it``s`), CAST(IF(LENGTH(@`it``s`) > 16384, '-', HEX(CONCAT(@`it``s`))) AS BINARY), \
             CAST(COLLATION(@`it``s`) AS BINARY) LIMIT 1"
        );
    }

    #[test]
    fn values_become_literals() {
        use Kind::{System, User};
        for (column_type, value, expected) in [
            (LONGLONG, Some("7"), "7"),
            (LONGLONG, Some("ON"), "1"),
            (VAR_STRING, Some("ON"), "'ON'"),
            (VAR_STRING, Some("it's"), "'it''s'"),
            (VAR_STRING, None, "NULL"),
        ] {
            let expected = Some(Value::Literal(expected.to_owned()));
            assert_eq!(one(System, column_type, value, ""), expected, "{value:?}");
        }
        for (column_type, value, collation, shown, exact) in [
            (LONGLONG, Some("2D37"), "binary", "-7", "-7"),
            (246, Some("312E35"), "binary", "1.5", "1.5"),
            (
                VAR_STRING,
                Some("C3A95C0A"),
                "utf8mb4_bin",
                r"'é\\\n'",
                "_utf8mb4 X'C3A95C0A' COLLATE utf8mb4_bin",
            ),
            (
                VAR_STRING,
                Some(""),
                "utf8mb3_bin",
                "''",
                "_utf8mb3 X'' COLLATE utf8mb3_bin",
            ),
            (
                VAR_STRING,
                Some("E9"),
                "latin1_bin",
                "_latin1 X'E9'",
                "_latin1 X'E9' COLLATE latin1_bin",
            ),
            (
                VAR_STRING,
                Some("61"),
                "binary",
                "_binary X'61'",
                "_binary X'61'",
            ),
            (VAR_STRING, None, "binary", "NULL", "NULL"),
        ] {
            let expected = Value::User {
                shown: shown.to_owned(),
                exact: exact.to_owned(),
            };
            assert_eq!(one(User, column_type, value, collation), Some(expected));
        }
        assert_eq!(
            one(User, VAR_STRING, Some("-"), "utf8mb4_bin"),
            Some(Value::Long)
        );
        assert_eq!(one(User, VAR_STRING, Some("4"), "utf8mb4_bin"), None);
        assert_eq!(values(&[(User, "x".to_owned())], &Rows::default()), [None]);
    }

    #[test]
    fn user_variables_keep_their_types() {
        for (column_type, flags, hex, collation, expected) in [
            (8, 0, "2D37", "binary", "-7"),
            (8, UNSIGNED, "35", "binary", "CAST(5 AS UNSIGNED)"),
            (5, 0, "35", "binary", "5e0"),
            (5, 0, "2D30", "binary", "-0e0"),
            (5, 0, "31652D333030", "binary", "1e-300"),
            (246, 0, "35", "binary", "5."),
            (246, 0, "312E3530", "binary", "1.50"),
            (253, 0, "00FF", "binary", "_binary X'00FF'"),
            (251, 0, "", "latin1_bin", "_latin1 X'' COLLATE latin1_bin"),
        ] {
            let kind = Definition {
                name: Bytes::new(),
                collation: 63,
                column_type,
                flags,
            };
            let found = exact(&kind, hex.as_bytes(), collation);
            assert_eq!(found.as_deref(), Some(expected));
        }
    }
}
