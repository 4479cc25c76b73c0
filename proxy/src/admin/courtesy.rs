//! What drivers and tools say to any server when they connect, for sessions without one: `SET` and transactions, which have nothing to change
//! there, and `SELECT` of variables and constants.

use super::{AdminError, Answer, Column, ColumnKind, Value};
use crate::sql::{Token, Tokens};

/// The most values of one `SELECT`: Connector/J asks for some twenty.
const ITEMS_MAX: usize = 64;
/// Longer names are cut, as the servers do.
const NAME_CHARACTERS_MAX: usize = 256;

/// What is true of the session that asks.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The version in the greeting.
    pub version: &'a str,
    /// The id in the greeting.
    pub connection_id: u32,
    /// `user@host`.
    pub user: &'a str,
    /// The longest command that is read, in bytes.
    pub packet_bytes_max: usize,
}

/// The answer to a text, `None` if it is nothing of the kind.
pub fn answer(text: &[u8], facts: &Facts<'_>) -> Option<Answer> {
    let mut tokens = Tokens::new(text);
    let first = tokens.next()?;
    let is = |word| first.is_word(word);
    if is("SELECT") {
        return select(tokens, facts);
    }
    let changes_nothing = is("SET")
        || is("USE")
        || is("BEGIN")
        || is("COMMIT")
        || is("ROLLBACK")
        || is("START") && tokens.accept_word("TRANSACTION");
    (changes_nothing && is_one_statement(tokens)).then_some(Answer::OK)
}

/// Whether nothing but semicolons follows the first of them, and everything can be read.
fn is_one_statement(mut tokens: Tokens<'_>) -> bool {
    for token in tokens.by_ref() {
        match token {
            Token::Symbol(b';') => break,
            Token::Unclear => return false,
            _ => {}
        }
    }
    tokens.is_at_end()
}

/// `SELECT item [[AS] alias], … [LIMIT n]`.
fn select(mut tokens: Tokens<'_>, facts: &Facts<'_>) -> Option<Answer> {
    let (mut columns, mut row) = (Vec::new(), Vec::new());
    loop {
        let (title, value) = match item(&mut tokens, facts)? {
            Ok(item) => item,
            Err(error) => return Some(error.into()),
        };
        let name = alias(&mut tokens)?.unwrap_or(title);
        let name: String = name.chars().take(NAME_CHARACTERS_MAX).collect();
        let kind = match value {
            Value::Integer(_) | Value::Unsigned(_) => ColumnKind::LongLong,
            Value::Text(_) | Value::Null => ColumnKind::Varchar,
        };
        columns.push(Column {
            name: name.into(),
            kind,
        });
        row.push(value);
        let mut ahead = tokens.clone();
        if ahead.next() != Some(Token::Symbol(b',')) {
            break;
        }
        if row.len() >= ITEMS_MAX {
            return None;
        }
        tokens = ahead;
    }
    let mut rows = vec![row];
    if tokens.accept_word("LIMIT") {
        let Some(Token::Integer(limit)) = tokens.next() else {
            return None;
        };
        rows.truncate(usize::try_from(limit).ok()?);
    }
    tokens.is_at_end().then_some(Answer::Rows { columns, rows })
}

/// What a column is called unless it has an alias, and its value.
type Item = (String, Value);

/// One item. `None`: it is more than a constant or a variable.
fn item(tokens: &mut Tokens<'_>, facts: &Facts<'_>) -> Option<Result<Item, AdminError>> {
    let found = match tokens.next()? {
        Token::Symbol(b'@') => return variable(tokens, facts),
        Token::Integer(number) => (number.to_string(), Value::Integer(number)),
        Token::Quoted {
            quote: b'\'' | b'"',
            text,
        } => {
            let text = String::from_utf8_lossy(text).into_owned();
            (text.clone(), Value::Text(text))
        }
        Token::Word(word) if word.eq_ignore_ascii_case(b"NULL") => ("NULL".to_owned(), Value::Null),
        Token::Word(word) => {
            if (tokens.next(), tokens.next())
                != (Some(Token::Symbol(b'(')), Some(Token::Symbol(b')')))
            {
                return None;
            }
            let word = str::from_utf8(word).ok()?;
            (format!("{word}()"), function(word, facts)?)
        }
        Token::LongInteger | Token::Quoted { .. } | Token::Symbol(_) | Token::Unclear => {
            return None;
        }
    };
    Some(Ok(found))
}

fn function(name: &str, facts: &Facts<'_>) -> Option<Value> {
    Some(match &*name.to_ascii_uppercase() {
        "VERSION" => Value::text(facts.version),
        "CONNECTION_ID" => Value::Unsigned(facts.connection_id.into()),
        "USER" | "CURRENT_USER" | "SESSION_USER" => Value::text(facts.user),
        "DATABASE" | "SCHEMA" => Value::Null,
        _ => return None,
    })
}

/// What follows the first `@` of `@@[scope.]name`.
fn variable(tokens: &mut Tokens<'_>, facts: &Facts<'_>) -> Option<Result<Item, AdminError>> {
    if tokens.next() != Some(Token::Symbol(b'@')) {
        return None;
    }
    let word = |token| match token {
        Some(Token::Word(word)) => str::from_utf8(word).ok(),
        _ => None,
    };
    let mut name = word(tokens.next())?;
    let mut title = format!("@@{name}");
    let is_scope = ["SESSION", "LOCAL", "GLOBAL"]
        .iter()
        .any(|scope| name.eq_ignore_ascii_case(scope));
    if is_scope {
        if tokens.next() != Some(Token::Symbol(b'.')) {
            return None;
        }
        name = word(tokens.next())?;
        title = format!("{title}.{name}");
    }
    let value = system_variable(&name.to_ascii_lowercase(), facts);
    Some(match value {
        Some(value) => Ok((title, value)),
        None => Err(AdminError::unknown_variable(name)),
    })
}

/// The variables that clients ask for when they connect. There is no data and nothing to configure here: the values are those of a server that
/// takes what this session takes.
fn system_variable(name: &str, facts: &Facts<'_>) -> Option<Value> {
    /// The longest that there is; nothing here ends an idle session.
    const TIMEOUT_SECONDS: u64 = 31_536_000;
    Some(match name {
        "version" => Value::text(facts.version),
        "version_comment" => Value::text("Sluice, the proxy's own administration"),
        "version_compile_os" => Value::text("Linux"),
        "max_allowed_packet" => Value::Unsigned(facts.packet_bytes_max as u64),
        "wait_timeout" | "interactive_timeout" | "net_write_timeout" | "net_read_timeout" => {
            Value::Unsigned(TIMEOUT_SECONDS)
        }
        "autocommit" | "auto_increment_increment" => Value::Unsigned(1),
        "lower_case_table_names"
        | "performance_schema"
        | "tx_read_only"
        | "transaction_read_only"
        | "query_cache_size" => Value::Unsigned(0),
        "query_cache_type" => Value::text("OFF"),
        "character_set_client"
        | "character_set_connection"
        | "character_set_results"
        | "character_set_database"
        | "character_set_server" => Value::text("utf8mb4"),
        "collation_connection" | "collation_database" | "collation_server" => {
            Value::text("utf8mb4_general_ci")
        }
        "init_connect" | "sql_mode" => Value::text(""),
        "license" => Value::text("MIT OR Apache-2.0"),
        "system_time_zone" | "time_zone" => Value::text("UTC"),
        "transaction_isolation" | "tx_isolation" => Value::text("REPEATABLE-READ"),
        // A driver would leave TCP for it.
        "socket" => Value::Null,
        _ => return None,
    })
}

/// An alias, if there is one; the outer `None`: something that is none follows AS.
#[expect(
    clippy::option_option,
    reason = "no alias, and something in its place that is none, are two things"
)]
fn alias(tokens: &mut Tokens<'_>) -> Option<Option<String>> {
    let has_as = tokens.accept_word("AS");
    let mut ahead = tokens.clone();
    match ahead.next() {
        Some(token) if !has_as && token.is_word("LIMIT") => Some(None),
        Some(Token::Word(name) | Token::Quoted { text: name, .. }) => {
            *tokens = ahead;
            Some(Some(String::from_utf8_lossy(name).into_owned()))
        }
        _ if has_as => None,
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fixture::table;
    use proptest::prelude::*;

    const FACTS: Facts<'_> = Facts {
        version: "8.0.0-sluice-1",
        connection_id: 7,
        user: "root@::1",
        packet_bytes_max: 65_536,
    };

    fn ask(text: &str) -> Option<Answer> {
        answer(text.as_bytes(), &FACTS)
    }

    #[test]
    fn what_clients_ask_when_they_connect() {
        for (text, expected) in [
            (
                "select @@version_comment limit 1",
                "@@version_comment\nSluice, the proxy's own administration",
            ),
            (
                "SELECT @@max_allowed_packet,@@wait_timeout,@@socket",
                "@@max_allowed_packet | @@wait_timeout | @@socket\n65536 | 31536000 | (null)",
            ),
            (
                "/* mysql-connector-j */SELECT  @@session.auto_increment_increment AS a, @@character_set_client AS b",
                "a | b\n1 | utf8mb4",
            ),
            (
                "SELECT DATABASE(), USER();",
                "DATABASE() | USER()\n(null) | root@::1",
            ),
            (
                "select Version(), connection_id() id",
                "Version() | id\n8.0.0-sluice-1 | 7",
            ),
            ("SELECT 1", "1\n1"),
            (
                "SELECT 'x' AS `the x`, NULL, -3",
                "the x | NULL | -3\nx | (null) | -3",
            ),
            ("SELECT 1 LIMIT 0", "1"),
        ] {
            assert_eq!(table(ask(text).expect(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_changes_nothing_is_ok() {
        for text in [
            "SET NAMES utf8mb4",
            "set autocommit=0;",
            "SET @@session.sql_mode = 'x', @a = (SELECT 1)",
            "BEGIN",
            "START TRANSACTION READ ONLY",
            "COMMIT",
            "ROLLBACK TO SAVEPOINT a",
            "USE shop",
        ] {
            assert_eq!(ask(text), Some(Answer::OK), "{text}");
        }
    }

    #[test]
    fn everything_else_is_not_answered() {
        for text in [
            "",
            "SELECT",
            "SELECT 1 + 1",
            "SELECT * FROM t",
            "SELECT 1 FROM dual",
            "SELECT @a",
            "SELECT @@",
            "SELECT VERSION(1)",
            "SELECT SLEEP()",
            "SELECT 1,",
            "SELECT 1 LIMIT x",
            "SELECT 1; SELECT 2",
            "SELECT 1 UNION SELECT 2",
            "SET a = 1; DROP TABLE t",
            "SET a = 'x",
            "START SLAVE",
            "INSERT INTO t VALUES (1)",
            "SHOW TABLES",
        ] {
            assert_eq!(ask(text), None, "{text}");
        }
        let Some(Answer::Error(error)) = ask("SELECT @@no_such_thing") else {
            panic!("known")
        };
        let expected = "1193 (HY000): Unknown system variable 'no_such_thing'";
        assert_eq!(error.to_string(), expected);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_an_end(tail in "[ 0-9a-zA-Z@.,'\"`\\\\;()*/#?-]{0,60}", bytes: Vec<u8>) {
            let _ = answer(&bytes, &FACTS);
            if let Some(Answer::Rows { columns, rows }) = ask(&format!("SELECT {tail}")) {
                prop_assert!(rows.iter().all(|row| row.len() == columns.len()));
            }
        }
    }
}
