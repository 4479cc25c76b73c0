//! What a fresh server session must be told to be in the state of the one that it replaces: one `SET` of all changed variables. (The database
//! travels in the login.)

use super::variable::{
    Kind, Value, Variable, Variables,
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

/// The statement that tells them all, and the last insert id; none where there is nothing to tell.
///
/// # Errors
/// [`Untold`].
pub fn statement(variables: &Variables, last_insert_id: u64) -> Result<Option<String>, Untold> {
    if variables.unclear > 0 || variables.not_kept > 0 {
        return Err(Untold::Unclear);
    }
    let system = variables.system().map(|variable| (Kind::System, variable));
    let user = variables.user().map(|variable| (Kind::User, variable));
    let mut assignments = Vec::new();
    for (kind, variable) in system.chain(user) {
        if kind == Kind::System && NOT_TOLD.contains(&&*variable.name) {
            continue;
        }
        assignments.push(assignment(kind, variable)?);
    }
    if last_insert_id != 0 {
        assignments.push(format!("@@SESSION.last_insert_id = {last_insert_id}"));
    }
    Ok((!assignments.is_empty()).then(|| format!("SET {}", assignments.join(", "))))
}

fn assignment(kind: Kind, variable: &Variable) -> Result<String, Untold> {
    let is_clock = kind == Kind::System && variable.name == CLOCK;
    let Value::Literal(literal) = &variable.value else {
        return Err(Untold::Value(variable.name.clone()));
    };
    if is_clock || !variable.is_read() {
        return Err(Untold::Value(variable.name.clone()));
    }
    let name = quoted(&variable.name);
    Ok(match kind {
        Kind::System => format!("@@SESSION.{name} = {}", portable(literal)),
        Kind::User => format!("@{name} = {}", portable(literal)),
    })
}

/// A name between backticks; the parts of a system variable's name with a dot each by itself.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The literal in a form that means the same whatever the connection's character set is.
fn portable(literal: &str) -> String {
    match unquote(literal) {
        Some(text) if !text.is_ascii() => {
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

    #[test]
    fn all_that_has_changed_is_told_in_one_statement() {
        let variables = variables(&[
            ("SET autocommit = 0", Kind::System, "autocommit", "0"),
            (
                "SET sql_mode = 'ANSI'",
                Kind::System,
                "sql_mode",
                "'ANSI_QUOTES'",
            ),
            ("SET @a = 1", Kind::User, "a", "1"),
            ("SET @`b c` = 'x'", Kind::User, "b c", "'é'"),
        ]);
        let wanted = "SET @@SESSION.`autocommit` = 0, @@SESSION.`sql_mode` = 'ANSI_QUOTES', @`a` = 1, @`b c` = _utf8mb4 X'C3A9', @@SESSION.last_insert_id = 9";
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
