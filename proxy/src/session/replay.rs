//! What a fresh server session must be told to be in the state of the one that it replaces: one `SET` of all changed variables. (The database
//! travels in the login.)

use std::fmt::Write as _;

use super::variable::{
    Kind, Value, Variable, Variables,
    question::{hex, unhex, unquote},
};
use crate::protocol::rows::{Definition, Rows};

/// The question for the last insert id, whoever has set it.
pub const LAST_INSERT_ID: &str = "SELECT @@last_insert_id";
/// Names that are asked for in one question.
const NAMES_AT_ONCE: usize = 64;
/// `UNSIGNED_FLAG` of a column.
const UNSIGNED: u16 = 32;
/// System variables that are told otherwise, or say nothing when read back: the seeds of `RAND()` read 0.
const NOT_TOLD: [&str; 4] = ["last_insert_id", "identity", "rand_seed1", "rand_seed2"];
/// A system variable whose value, where it was never frozen, is another at every look.
const CLOCK: &str = "timestamp";

/// Why the variables cannot be told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Untold {
    /// A value is not known, too long to be kept, or changes by itself.
    #[error("the value of {0} cannot be carried over")]
    Value(String),
    /// A statement may have changed variables that nobody has seen.
    #[error("a statement may have changed variables that its text does not show")]
    Unclear,
}

/// The questions for the user variables, for [`statement`].
pub fn questions(variables: &Variables) -> Vec<String> {
    let names: Vec<_> = variables.user().map(user).collect();
    names.chunks(NAMES_AT_ONCE).map(question).collect()
}

/// Asks for each variable's type, bytes and collation: what `SHOW PROXYSESSION VARIABLES` shows may be of another type or collation when
/// read back.
fn question(names: &[String]) -> String {
    let mut sql = "SELECT".to_owned();
    for (at, name) in names.iter().enumerate() {
        let comma = if at == 0 { " " } else { ", " };
        // To a String every write succeeds.
        let _ = write!(
            sql,
            "{comma}IF(TRUE, NULL, {name}), CAST(HEX(CONCAT({name})) AS BINARY), CAST(COLLATION({name}) AS BINARY)"
        );
    }
    sql.push_str(" LIMIT 1");
    sql
}

/// The statement that tells the system variables alone; none where none has changed.
///
/// # Errors
/// [`Untold`].
pub fn system_statement(variables: &Variables) -> Result<Option<String>, Untold> {
    Ok(set(&system_assignments(variables)?))
}

fn set(assignments: &[String]) -> Option<String> {
    (!assignments.is_empty()).then(|| format!("SET {}", assignments.join(", ")))
}

/// The statement that tells them all, and the last insert id; none where there is nothing to tell. `answers` are those to [`questions`].
///
/// # Errors
/// [`Untold`].
pub fn statement(
    variables: &Variables,
    answers: &[Rows],
    last_insert_id: u64,
) -> Result<Option<String>, Untold> {
    let mut assignments = system_assignments(variables)?;
    for (at, variable) in variables.user().enumerate() {
        known(Kind::User, variable)?;
        let exact = answers
            .get(at / NAMES_AT_ONCE)
            .and_then(|answer| exact_at(answer, at % NAMES_AT_ONCE))
            .ok_or_else(|| Untold::Value(variable.name.clone()))?;
        assignments.push(format!("{} = {exact}", user(variable)));
    }
    if last_insert_id != 0 {
        assignments.push(format!("@@SESSION.last_insert_id = {last_insert_id}"));
    }
    Ok(set(&assignments))
}

fn system_assignments(variables: &Variables) -> Result<Vec<String>, Untold> {
    if variables.unclear > 0 || variables.not_kept > 0 {
        return Err(Untold::Unclear);
    }
    let mut system: Vec<_> = variables
        .system()
        .filter(|variable| !NOT_TOLD.contains(&&*variable.name))
        .collect();
    system.sort_by_key(|variable| is_told_late(&variable.name));
    let assignments = system.into_iter().map(|variable| {
        let literal = known(Kind::System, variable)?;
        Ok(format!(
            "@@SESSION.{} = {}",
            quoted(&variable.name),
            portable(literal)
        ))
    });
    assignments.collect()
}

/// Whether a variable is another after one that is told before: a character set brings its collation, a bound for joins the leave to exceed it.
fn is_told_late(name: &str) -> bool {
    name.starts_with("collation_") || name == "sql_big_selects"
}

/// The literal of a variable whose value is known.
fn known(kind: Kind, variable: &Variable) -> Result<&str, Untold> {
    let is_clock = kind == Kind::System && variable.name == CLOCK;
    match &variable.value {
        Value::Literal(literal) if !is_clock && variable.is_read() => Ok(literal),
        _ => Err(Untold::Value(variable.name.clone())),
    }
}

/// The value of a question's variable at this place.
fn exact_at(answer: &Rows, at: usize) -> Option<String> {
    let kind = answer.columns.get(3 * at)?;
    let [_, bytes, collation] = answer.first().get(3 * at..)?.first_chunk()?;
    exact(kind, bytes.as_deref(), collation.as_deref())
}

/// A user variable's value as an expression of the same type, character set and collation. None where the answer is not one to [`questions`].
fn exact(kind: &Definition, hex: Option<&[u8]>, collation: Option<&[u8]>) -> Option<String> {
    let Some(hex) = hex else {
        return Some("NULL".to_owned());
    };
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
            let collation = std::str::from_utf8(collation?).ok()?;
            match collation.split_once('_') {
                Some((charset, _)) => format!("_{charset} X'{hex}' COLLATE {collation}"),
                None => format!("_{collation} X'{hex}'"),
            }
        }
    })
}

fn user(variable: &Variable) -> String {
    format!("@{}", quoted(&variable.name))
}

/// A name between backticks.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The literal in a form that means the same whatever the connection's character set and `sql_mode` are.
fn portable(literal: &str) -> String {
    match unquote(literal) {
        Some(text) if !text.is_ascii() || literal.contains('\\') => {
            format!("_utf8mb4 X'{}'", hex(text.as_bytes()))
        }
        Some(_) | None => literal.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::variable::question::quote;
    use crate::sql::assigned::Assigned;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// Variables that these texts have changed, with these values.
    fn variables(changes: &[(&str, Kind, &str, &str)]) -> Variables {
        let mut variables = Variables::default();
        for (text, kind, name, literal) in changes {
            variables.change(&Assigned::of(text.as_bytes()));
            variables.read(*kind, name, Value::Literal((*literal).to_owned()));
        }
        variables
    }

    fn answer(cells: &[(u8, u16, Option<&'static str>, &'static str)]) -> Rows {
        let mut answer = Rows::default();
        let mut row = Vec::new();
        for &(column_type, flags, hex, collation) in cells {
            let column = |column_type, flags| Definition {
                name: Bytes::new(),
                collation: 63,
                column_type,
                flags,
            };
            answer
                .columns
                .extend([column(column_type, flags), column(253, 0), column(253, 0)]);
            row.extend([None, hex.map(Bytes::from), Some(Bytes::from(collation))]);
        }
        answer.rows.push(row);
        answer
    }

    #[test]
    fn all_that_has_changed_is_told_in_one_statement() {
        let variables = variables(&[
            (
                "SET collation_connection = 'latin1_bin'",
                Kind::System,
                "collation_connection",
                "'latin1_bin'",
            ),
            ("SET autocommit = 0", Kind::System, "autocommit", "0"),
            ("SET x = 'a'", Kind::System, "x", r"'a\\b'"),
            ("SET @a = 1", Kind::User, "a", "1"),
            ("SET @`b c` = 'x'", Kind::User, "b c", "'é'"),
        ]);
        assert_eq!(
            questions(&variables),
            [
                "SELECT IF(TRUE, NULL, @`a`), CAST(HEX(CONCAT(@`a`)) AS BINARY), CAST(COLLATION(@`a`) AS BINARY), \
                 IF(TRUE, NULL, @`b c`), CAST(HEX(CONCAT(@`b c`)) AS BINARY), CAST(COLLATION(@`b c`) AS BINARY) LIMIT 1"
            ]
        );
        let answers = [answer(&[
            (8, 0, Some("31"), "binary"),
            (253, 0, Some("C3A9"), "utf8mb4_bin"),
        ])];
        let wanted = r"SET @@SESSION.`autocommit` = 0, @@SESSION.`x` = _utf8mb4 X'615C62', @@SESSION.`collation_connection` = 'latin1_bin', @`a` = 1, @`b c` = _utf8mb4 X'C3A9' COLLATE utf8mb4_bin, @@SESSION.last_insert_id = 9";
        assert_eq!(
            statement(&variables, &answers, 9),
            Ok(Some(wanted.to_owned()))
        );
        assert_eq!(statement(&Variables::default(), &[], 0), Ok(None));
        assert_eq!(questions(&Variables::default()), [""; 0]);
        assert_eq!(
            statement(&variables, &[], 9),
            Err(Untold::Value("a".to_owned()))
        );
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
            let answer = answer(&[(column_type, flags, Some(hex), collation)]);
            assert_eq!(exact_at(&answer, 0).as_deref(), Some(expected));
            assert_eq!(exact_at(&answer, 1), None);
        }
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut stale = Variables::default();
        stale.change(&Assigned::of(b"SET @a = 1"));
        assert_eq!(
            statement(&stale, &[], 0),
            Err(Untold::Value("a".to_owned()))
        );
        let clock = variables(&[("SET timestamp = 1", Kind::System, "timestamp", "1.5")]);
        assert_eq!(
            statement(&clock, &[], 0),
            Err(Untold::Value("timestamp".to_owned()))
        );
        let mut unclear = Variables::default();
        unclear.unclear = 1;
        assert_eq!(statement(&unclear, &[], 0), Err(Untold::Unclear));
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_found_again(text in any::<String>()) {
            prop_assert_eq!(unquote(&quote(&text)), Some(text));
        }
    }
}
