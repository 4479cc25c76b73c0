//! What a fresh server session must be told to be in the state of the one that it replaces: one `SET` of all changed variables. (The database
//! travels in the login.)

use super::variable::{
    Value, Variable, Variables,
    question::{hex, unquote},
};

/// The question for the last insert id, whoever has set it.
pub const LAST_INSERT_ID: &str = "SELECT @@last_insert_id";
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

/// The statement that tells them all, and the last insert id; none where there is nothing to tell.
///
/// # Errors
/// [`Untold`].
pub fn statement(variables: &Variables, last_insert_id: u64) -> Result<Option<String>, Untold> {
    let mut assignments = system_assignments(variables)?;
    for variable in variables.user() {
        let exact = match &variable.value {
            Value::User { exact, .. } if variable.is_read() => exact,
            _ => return Err(Untold::Value(variable.name.clone())),
        };
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
        let literal = known(variable)?;
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

/// The literal of a system variable whose value is known.
fn known(variable: &Variable) -> Result<&str, Untold> {
    match &variable.value {
        Value::Literal(literal) if variable.name != CLOCK && variable.is_read() => Ok(literal),
        _ => Err(Untold::Value(variable.name.clone())),
    }
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
    use crate::session::variable::{Kind, question::quote};
    use crate::sql::assigned::Assigned;
    use proptest::prelude::*;

    /// Variables that these texts have changed, with these values.
    fn variables(changes: &[(&str, Kind, &str, &str)]) -> Variables {
        let mut variables = Variables::default();
        for (text, kind, name, literal) in changes {
            variables.change(&Assigned::of(text.as_bytes()));
            let literal = (*literal).to_owned();
            let value = match kind {
                Kind::System => Value::Literal(literal),
                Kind::User => Value::User {
                    shown: String::new(),
                    exact: literal,
                },
            };
            variables.read(*kind, name, value);
        }
        variables
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
            (
                "SET @`b c` = 'x'",
                Kind::User,
                "b c",
                "_utf8mb4 X'C3A9' COLLATE utf8mb4_bin",
            ),
        ]);
        let wanted = r"SET @@SESSION.`autocommit` = 0, @@SESSION.`x` = _utf8mb4 X'615C62', @@SESSION.`collation_connection` = 'latin1_bin', @`a` = 1, @`b c` = _utf8mb4 X'C3A9' COLLATE utf8mb4_bin, @@SESSION.last_insert_id = 9";
        assert_eq!(statement(&variables, 9), Ok(Some(wanted.to_owned())));
        assert_eq!(statement(&Variables::default(), 0), Ok(None));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut stale = Variables::default();
        stale.change(&Assigned::of(b"SET @a = 1"));
        assert_eq!(statement(&stale, 0), Err(Untold::Value("a".to_owned())));
        let clock = variables(&[("SET timestamp = 1", Kind::System, "timestamp", "1.5")]);
        assert_eq!(
            statement(&clock, 0),
            Err(Untold::Value("timestamp".to_owned()))
        );
        let mut unclear = Variables::default();
        unclear.unclear = 1;
        assert_eq!(statement(&unclear, 0), Err(Untold::Unclear));
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_found_again(text in any::<String>()) {
            prop_assert_eq!(unquote(&quote(&text)), Some(text));
        }
    }
}
