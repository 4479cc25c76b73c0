//! What a command may do to the session's variables, and whether it overwrites what the command before it left to be asked for
//! (`ROW_COUNT()`, `FOUND_ROWS()`, `SHOW WARNINGS`): only before such a command may the daemon run a statement of its own.

use std::collections::BTreeMap;

use super::{command::text_of, variable::AUTOCOMMIT};
use crate::{
    protocol::{command, packet::HEADER_LEN},
    sql::{Token, Tokens, assigned::Assigned},
};

/// The most prepared statements of a session that are known.
const STATEMENTS_MAX: usize = 4_096;
/// The id by which `MariaDB` means the last statement prepared (`MARIADB_STMT_DIRECT`).
const LAST_PREPARED: u32 = u32::MAX;
/// First words of statements that change variables only by `@` or another statement behind a `;`.
const DATA_VERBS: [&str; 12] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "TABLE", "BEGIN", "START",
    "COMMIT", "ROLLBACK",
];
/// What a text has in it that looks at what the statement before left.
const LOOKS_BACK: [&[u8]; 2] = [b"ROW_COUNT", b"FOUND_ROWS"];

/// What a command may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trace {
    /// Nothing to variables.
    None {
        /// It overwrites what the command before it left, and does not look at it.
        overwrites: bool,
    },
    /// A text that may change variables.
    Text(Assigned),
    /// A text to be prepared.
    Prepare {
        /// What its executions may change.
        assigned: Assigned,
        /// Whether they overwrite what the command before them left.
        overwrites: bool,
    },
    /// An execution of this statement.
    Execute(u32),
    /// A statement is gone.
    Close(u32),
}

impl Trace {
    /// Looks at the front of what the client has sent: a command whose text, if it is not a long one, is all there. `attributes`: the
    /// session has query attributes. Without allocation for what changes nothing.
    pub fn of(bytes: &[u8], attributes: bool) -> Self {
        let length = match bytes.first_chunk() {
            Some(&[a, b, c]) => usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16,
            None => 0,
        };
        let payload = bytes.get(HEADER_LEN..).unwrap_or_default();
        let is_whole = payload.len() >= length;
        let payload = payload.get(..length).unwrap_or(payload);
        let Some((&byte, rest)) = payload.split_first() else {
            return Self::NONE;
        };
        let id = || rest.first_chunk().copied().map_or(0, u32::from_le_bytes);
        match byte {
            command::QUERY => {
                let Some(text) = text_of(rest, attributes) else {
                    return Self::Text(Assigned::unclear());
                };
                match read(text, is_whole) {
                    Ok(overwrites) => Self::None { overwrites },
                    Err(assigned) => Self::Text(assigned),
                }
            }
            command::STMT_PREPARE => match read(rest, is_whole) {
                Ok(overwrites) => Self::Prepare {
                    assigned: Assigned::default(),
                    overwrites,
                },
                Err(assigned) => Self::Prepare {
                    assigned,
                    overwrites: false,
                },
            },
            command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => Self::Execute(id()),
            command::STMT_CLOSE => Self::Close(id()),
            _ => Self::NONE,
        }
    }

    const NONE: Self = Self::None { overwrites: false };
}

/// What a text changes; for one that changes nothing, whether it overwrites what the one before left.
fn read(text: &[u8], is_whole: bool) -> Result<bool, Assigned> {
    let mut tokens = Tokens::new(text);
    let is_data = match tokens.next() {
        Some(Token::Word(word)) => DATA_VERBS
            .iter()
            .any(|verb| word.eq_ignore_ascii_case(verb.as_bytes())),
        Some(Token::Symbol(b'(')) => true,
        _ => false,
    };
    // Some mappers end every statement so.
    let body = text.trim_ascii_end();
    let body = body.strip_suffix(b";").unwrap_or(body);
    let has = |byte: u8| body.contains(&byte);
    if is_data && !has(b'@') && !has(b';') && !is_compound(&tokens) {
        let looks_back = LOOKS_BACK.iter().any(|word| {
            text.windows(word.len())
                .any(|part| part.eq_ignore_ascii_case(word))
        });
        return Ok(is_whole && !looks_back);
    }
    if !is_whole {
        // Long data is not worth the doubt; any other text of that length may be a batch.
        return if is_data {
            Ok(false)
        } else {
            Err(Assigned::unclear())
        };
    }
    let assigned = Assigned::of(text);
    if assigned.is_none() {
        Ok(false)
    } else {
        Err(assigned)
    }
}

/// `BEGIN NOT ATOMIC`.
fn is_compound(behind_verb: &Tokens<'_>) -> bool {
    behind_verb.clone().accept_word("NOT")
}

/// What is known of a prepared statement.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Prepared {
    /// It changes nothing.
    Plain {
        overwrites: bool,
    },
    Changes(Box<Assigned>),
}

/// The prepared statements of a session, as far as they matter to its variables.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Statements {
    by_id: BTreeMap<u32, Prepared>,
    /// Those of `PREPARE name FROM`.
    by_name: BTreeMap<String, Assigned>,
    last: u32,
    /// There were more than are kept.
    has_overflowed: bool,
}

impl Statements {
    /// A statement was prepared, and answered with this id.
    pub fn prepare(&mut self, id: u32, assigned: Assigned, overwrites: bool) {
        self.last = id;
        if self.by_id.len() >= STATEMENTS_MAX && !self.by_id.contains_key(&id) {
            self.has_overflowed |= !assigned.is_none();
            return;
        }
        let prepared = if assigned.is_none() {
            Prepared::Plain { overwrites }
        } else {
            Prepared::Changes(Box::new(assigned))
        };
        self.by_id.insert(id, prepared);
    }

    /// A statement is closed.
    pub fn close(&mut self, id: u32) {
        self.by_id.remove(&id);
    }

    /// What a text's `PREPARE name FROM` makes.
    pub fn name(&mut self, assigned: &Assigned) {
        for (name, changes) in &assigned.prepared {
            if self.by_name.len() < STATEMENTS_MAX || self.by_name.contains_key(name) {
                self.by_name.insert(name.clone(), changes.clone());
            }
        }
    }

    /// Whether the command overwrites what the one before left.
    pub fn overwrites(&self, trace: &Trace) -> bool {
        match trace {
            Trace::None { overwrites } => *overwrites,
            Trace::Execute(id) => matches!(
                self.by_id.get(&self.resolve(*id)),
                Some(Prepared::Plain { overwrites: true })
            ),
            Trace::Text(_) | Trace::Prepare { .. } | Trace::Close(_) => false,
        }
    }

    /// All that the command may change, statements that it runs included.
    pub fn changes(&self, trace: &Trace) -> Option<Assigned> {
        match trace {
            Trace::None { .. } | Trace::Prepare { .. } | Trace::Close(_) => None,
            Trace::Execute(id) => match self.by_id.get(&self.resolve(*id)) {
                Some(Prepared::Changes(assigned)) => Some(self.with_named(assigned)),
                Some(Prepared::Plain { .. }) => None,
                None => self.has_overflowed.then(Assigned::unclear),
            },
            Trace::Text(assigned) => Some(self.with_named(assigned)),
        }
    }

    fn resolve(&self, id: u32) -> u32 {
        if id == LAST_PREPARED { self.last } else { id }
    }

    fn with_named(&self, assigned: &Assigned) -> Assigned {
        let mut all = assigned.clone();
        for name in &assigned.executed {
            let own = assigned.prepared.iter().rfind(|(known, _)| known == name);
            match own
                .map(|(_, changes)| changes)
                .or_else(|| self.by_name.get(name))
            {
                Some(changes) => all.add_all(changes.clone()),
                None => all.unclear = true,
            }
        }
        all
    }
}

/// Whether the server has to be asked behind these changes: for more than what the status flags tell, or nobody can name.
pub fn needs_asking(assigned: &Assigned) -> bool {
    !assigned.user.is_empty() || assigned.system.iter().any(|name| name != AUTOCOMMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
        bytes[3] = 0;
        bytes.extend(payload);
        bytes
    }

    fn text(text: &str) -> Trace {
        Trace::of(&packet(&[b"\x03", text.as_bytes()].concat()), false)
    }

    #[test]
    fn texts_that_change_nothing_may_overwrite() {
        for (sql, expected) in [
            ("SELECT 1", true),
            ("SELECT 1; ", true),
            (" /* app */ (select 1)", true),
            ("INSERT INTO t VALUES (1)", true),
            ("COMMIT", true),
            ("START TRANSACTION", true),
            ("SELECT ROW_COUNT()", false),
            ("INSERT INTO t SELECT found_rows()", false),
            ("SELECT @@warning_count", false),
            ("SELECT 1; SHOW WARNINGS", false),
            ("SELECT 1; SHOW WARNINGS;", false),
            ("SHOW WARNINGS", false),
            ("USE x", false),
            ("", false),
        ] {
            assert_eq!(
                text(sql),
                Trace::None {
                    overwrites: expected
                },
                "{sql}"
            );
        }
    }

    #[test]
    fn texts_that_change_variables_are_read() {
        for sql in [
            "SET @a = 1",
            "SELECT @a := 1",
            "SELECT 1; SET @a = 2",
            "/*!40101 SET @a = 1 */",
        ] {
            let Trace::Text(assigned) = text(sql) else {
                panic!("{sql}")
            };
            assert_eq!(
                (assigned.user, assigned.unclear),
                (vec!["a".to_owned()], false)
            );
        }
        for sql in ["CALL p()", "BEGIN NOT ATOMIC SET @a = 1; END"] {
            assert!(
                matches!(text(sql), Trace::Text(assigned) if assigned.unclear),
                "{sql}"
            );
        }
        let cut = |sql: &str| {
            let bytes = packet(&[b"\x03", sql.as_bytes()].concat());
            Trace::of(&bytes[..bytes.len() - 1], false)
        };
        assert_eq!(cut("SELECT @a := 'xx"), Trace::NONE);
        assert_eq!(cut("SET @a = 'xx"), Trace::Text(Assigned::unclear()));
    }

    #[test]
    fn query_attributes_stand_before_the_text() {
        let with = |payload: &[u8]| Trace::of(&packet(payload), true);
        assert_eq!(
            with(b"\x03\0\x01SELECT 1"),
            Trace::None { overwrites: true }
        );
        assert!(matches!(with(b"\x03\x01\x01..."), Trace::Text(assigned) if assigned.unclear));
        assert!(matches!(with(b"\x16SET @a = 1"), Trace::Prepare { .. }));
        // One of type VAR_STRING, with a name.
        let one = b"\x03\x01\x01\0\x01\xfd\0\x01a\x01b";
        assert_eq!(
            with(&[one, &b"SELECT 1"[..]].concat()),
            Trace::None { overwrites: true }
        );
        let set = with(&[one, &b"SET @a = 1"[..]].concat());
        assert!(matches!(set, Trace::Text(assigned) if !assigned.unclear));
    }

    #[test]
    fn statements_are_known_by_id_and_by_name() {
        let mut statements = Statements::default();
        let prepare = |sql: &str| Trace::of(&packet(&[b"\x16", sql.as_bytes()].concat()), false);
        for (id, sql) in [
            (1, "SELECT ?"),
            (2, "SET @a = ?"),
            (3, "SELECT FOUND_ROWS()"),
        ] {
            let Trace::Prepare {
                assigned,
                overwrites,
            } = prepare(sql)
            else {
                panic!("{sql}")
            };
            statements.prepare(id, assigned, overwrites);
        }
        let execute =
            |id: u32| Trace::of(&packet(&[b"\x17", &id.to_le_bytes()[..]].concat()), false);
        assert!(statements.overwrites(&execute(1)) && !statements.overwrites(&execute(3)));
        assert_eq!(statements.changes(&execute(1)), None);
        assert_eq!(statements.changes(&execute(2)).unwrap().user, ["a"]);
        statements.prepare(9, Assigned::of(b"SET @b = ?"), false);
        assert_eq!(
            statements.changes(&execute(LAST_PREPARED)).unwrap().user,
            ["b"]
        );
        statements.close(2);
        assert_eq!(statements.changes(&execute(2)), None);

        statements.name(&Assigned::of(b"PREPARE s FROM 'SET @c = 1, sql_mode = 2'"));
        let changes = statements.changes(&text("EXECUTE S")).unwrap();
        assert_eq!(
            (changes.system, changes.user, changes.unclear),
            (vec!["sql_mode".to_owned()], vec!["c".to_owned()], false)
        );
        assert!(
            statements
                .changes(&text("EXECUTE unknown"))
                .unwrap()
                .unclear
        );
    }

    #[test]
    fn the_number_of_statements_is_bounded() {
        let mut statements = Statements::default();
        for id in 0..5_000 {
            statements.prepare(id, Assigned::default(), true);
        }
        assert_eq!(statements.changes(&Trace::Execute(4_999)), None);
        statements.prepare(6_000, Assigned::of(b"SET @a = 1"), false);
        assert_eq!(statements.by_id.len(), STATEMENTS_MAX);
        assert!(statements.changes(&Trace::Execute(6_000)).unwrap().unclear);
    }

    #[test]
    fn autocommit_is_known_without_asking() {
        assert!(!needs_asking(&Assigned::of(b"SET autocommit = 0")));
        assert!(needs_asking(&Assigned::of(b"SET autocommit = 0, @a = 1")));
        assert!(needs_asking(&Assigned::of(b"CALL p(@out)")));
        assert!(!needs_asking(&Assigned::of(b"CALL p()")));
    }
}
