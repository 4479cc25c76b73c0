//! Which of a session's nodes a command that came to the daemon is for, where reads go to another one than writes.

use sluice_ebpf::{
    aim::{self, Aim},
    automaton::{self, Backslash, Kind, TextVerdict},
    classify::SCAN_BYTES_MAX,
};

use super::{
    command::{Text, query_text, text},
    hint::{Hint, hint, without_hints},
};
use crate::{
    protocol::{command, packet::HEADER_LEN},
    sql::lexer::{Lexeme, Lexer},
};

/// `SHOW` of these, and `SHOW COUNT(*)` of them, is about the statement before.
const OF_LAST: [&str; 3] = ["WARNINGS", "ERRORS", "COUNT"];
/// Functions that tell of the statement before.
const LAST_FUNCTIONS: [&str; 2] = ["ROW_COUNT", "FOUND_ROWS"];
/// Variables that tell of the statement before.
const LAST_VARIABLES: [&str; 2] = ["warning_count", "error_count"];

/// Bytes of a command that must be here before it is known what it asks for.
const LOOKED_AT: usize = SCAN_BYTES_MAX;

/// The node that a command is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// The one that takes writes.
    Writer,
    /// The one that was used last.
    Last,
    /// A replica, where the session does not ask for the newest data.
    Reader,
    /// A replica: the statement says that it will do.
    AnyReader,
    /// The one of this name, where it may answer.
    Named(String),
}

/// The node that the command at the front of `bytes` is for. `attributes`: the session has query attributes. What is not certain is the writer's.
pub fn place_of(bytes: &[u8], attributes: bool) -> Place {
    match bytes.get(HEADER_LEN) {
        Some(&command::QUERY) => query_text(bytes, attributes).map_or(Place::Writer, place_of_text),
        // They ask for nothing that a node has, or about the connection that was used last.
        Some(&(command::PING | command::STATISTICS)) => Place::Last,
        _ => Place::Writer,
    }
}

/// Whether the text of the command at the front of `bytes`, which is the writer's as [`place_of`] has it, is a replica's if backslashes escape there.
pub fn reads_if_escaped(bytes: &[u8], attributes: bool) -> bool {
    let escapes = Backslash::ESCAPES;
    query_text(bytes, attributes).is_some_and(|text| {
        text.contains(&b'\\')
            && automaton::scan_with(escapes, automaton::START, text)
                == TextVerdict::Splice(Kind::Read)
            && aim::scan_with(escapes, aim::START, text) == Aim::Reader
    })
}

/// The node that executions of the statement are for that the `COM_STMT_PREPARE` at the front of `bytes` prepares.
pub fn place_of_prepared(bytes: &[u8]) -> Place {
    match (bytes.get(HEADER_LEN), text(bytes, false)) {
        (Some(&command::STMT_PREPARE), Some(Text::Whole(text))) => place_of_text(text),
        _ => Place::Writer,
    }
}

fn place_of_text(text: &[u8]) -> Place {
    match automaton::scan(automaton::START, text) {
        TextVerdict::Splice(Kind::Read) => match aim::scan(aim::START, text) {
            Aim::Hinted => place_by_hint(text),
            aim => place(aim),
        },
        TextVerdict::Trap(_) if is_about_last(text) => Place::Last,
        TextVerdict::Splice(Kind::Write | Kind::Transaction) | TextVerdict::Trap(_) => {
            Place::Writer
        }
    }
}

/// What a hint asks for holds for what a replica may answer at all.
fn place_by_hint(text: &[u8]) -> Place {
    match (
        place(aim::scan(aim::START, &without_hints(text))),
        hint(text),
    ) {
        (Place::Reader, Hint::Strong) => Place::Writer,
        (Place::Reader, Hint::Weak) => Place::AnyReader,
        (Place::Reader, Hint::Node(name)) => {
            Place::Named(String::from_utf8_lossy(name).into_owned())
        }
        (place, _) => place,
    }
}

/// Whether a schema's tables are about the node itself: what a text reads there without naming the schema, its writer must answer.
pub fn is_each_nodes_own(schema: &str) -> bool {
    ["mysql", "performance_schema", "information_schema", "sys"]
        .iter()
        .any(|own| schema.eq_ignore_ascii_case(own))
}

const fn place(aim: Aim) -> Place {
    match aim {
        Aim::Reader => Place::Reader,
        Aim::Last => Place::Last,
        Aim::Writer | Aim::Hinted | Aim::AtReader | Aim::AtWriter => Place::Writer,
    }
}

/// Whether the command at the front of `bytes`, or as much of it as is here, may ask about the statement before it, or leaves what that one has left to be asked
/// for. `attributes`: the session has query attributes. `text_of` has the texts of prepared statements, or their fronts, by the client's ids.
pub fn asks_back(bytes: &[u8], attributes: bool, text_of: impl Fn(u32) -> Option<Vec<u8>>) -> bool {
    let Some((&[a, b, c, _, byte], rest)) = bytes.split_first_chunk() else {
        return true;
    };
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    match byte {
        // All of a text that is not too long must be here.
        command::QUERY | command::STMT_PREPARE if rest.len() + 1 < length.min(LOOKED_AT) => true,
        command::QUERY | command::STMT_PREPARE => match text(bytes, attributes) {
            Some(Text::Whole(text) | Text::Head(text)) => text_asks_back(text),
            None => true,
        },
        command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => {
            let id = rest.first_chunk().copied().map(u32::from_le_bytes);
            id.is_none_or(|id| text_of(id).is_some_and(|text| text_asks_back(&text)))
        }
        // They have no answer, or one that is about nothing.
        command::QUIT | command::STMT_CLOSE | command::STMT_SEND_LONG_DATA => true,
        _ => false,
    }
}

fn text_asks_back(text: &[u8]) -> bool {
    if is_about_last(text) {
        return true;
    }
    let mut lexer = Lexer::new(text);
    while let Some(lexeme) = lexer.next() {
        let is_function = LAST_FUNCTIONS.iter().any(|name| lexeme.is_word(name));
        if is_function && lexer.clone().next() == Some(Lexeme::Symbol(b'(')) {
            return true;
        }
        if LAST_VARIABLES.iter().any(|name| lexeme.is_word(name)) {
            return true;
        }
    }
    false
}

/// Whether a text that the kernel does not splice asks about the statement before it.
fn is_about_last(text: &[u8]) -> bool {
    let mut lexer = Lexer::new(text);
    if lexer.accept_word("SHOW") {
        return lexer
            .next()
            .is_some_and(|word| OF_LAST.iter().any(|of| word.is_word(of)));
    }
    if lexer.accept_word("GET") {
        return true;
    }
    let mut words = Lexer::new(text).filter(|lexeme| matches!(lexeme, Lexeme::Word(_)));
    words.next().is_some_and(|verb| verb.is_word("SELECT"))
        && words.any(|word| LAST_VARIABLES.iter().any(|name| word.is_word(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_that_escape_may_make_it_a_read() {
        for (text, wanted) in [
            (r"SELECT c FROM t WHERE v = 'it\'s'", true),
            (r"SELECT a FROM s.t WHERE a = 'A' AND 'it\'s' <> ''", true),
            (r"SELECT 'it\'s' FOR UPDATE", false),
            (r"SELECT f('it\'s')", false),
            (r#"SELECT "it\"s""#, false),
            (r"SELECT FOUND_ROWS(), 'it\'s'", false),
            (r"INSERT INTO t VALUES ('it\'s')", false),
            ("SELECT 1", false),
        ] {
            let mut bytes = vec![u8::try_from(1 + text.len()).unwrap(), 0, 0, 0, 3];
            bytes.extend(text.as_bytes());
            assert_eq!(reads_if_escaped(&bytes, false), wanted, "{text}");
            let place = place_of(&bytes, false);
            assert!(!wanted || place == Place::Writer, "{text}: {place:?}");
        }
        assert!(!reads_if_escaped(b"\x0f\0\0\0\x16SELECT 'it\\'s'", false));
    }

    #[test]
    fn a_text_is_for_the_writer_unless_it_surely_reads() {
        for (text, wanted) in [
            ("SELECT c FROM sbtest1 WHERE id = 7", Place::Reader),
            ("SELECT c FROM t WHERE id = 7 FOR UPDATE", Place::Writer),
            ("SELECT f(1)", Place::Writer),
            ("SELECT @a", Place::Writer),
            ("SELECT LAST_INSERT_ID()", Place::Writer),
            ("SELECT FOUND_ROWS()", Place::Last),
            ("show warnings", Place::Last),
            ("SHOW COUNT(*) ERRORS", Place::Last),
            ("SHOW TABLES", Place::Writer),
            ("GET DIAGNOSTICS @n = NUMBER", Place::Last),
            ("SELECT @@warning_count", Place::Last),
            ("SELECT @@server_id", Place::Writer),
            ("UPDATE t SET a = 1", Place::Writer),
            ("BEGIN", Place::Writer),
            ("SELECT /*+ MAX_EXECUTION_TIME(9) */ 1", Place::Reader),
            ("SELECT /*+ READ_CONSISTENCY(STRONG) */ 1", Place::Writer),
            ("SELECT /*+ READ_CONSISTENCY(WEAK) */ 1", Place::AnyReader),
            ("SELECT /*+ READ_CONSISTENCY(WEAK) */ f(1)", Place::Writer),
            (
                "SELECT /*+ READ_CONSISTENCY(WEAK) */ FOUND_ROWS()",
                Place::Last,
            ),
            (
                "UPDATE /*+ READ_CONSISTENCY(WEAK) */ t SET a = 1",
                Place::Writer,
            ),
            (
                "SELECT /*+ ROUTE(db2:3306) */ 1",
                Place::Named("db2:3306".to_owned()),
            ),
            ("SELECT /*+ ROUTE(db2:3306) */ 1 FOR UPDATE", Place::Writer),
            ("SELECT /*+ ROUTE('db2') */ 1", Place::Writer),
        ] {
            assert_eq!(place_of_text(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn commands_may_ask_about_the_statement_before() {
        let packet = |payload: &[u8]| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[length, 0, 0, 0], payload].concat()
        };
        let asks = |payload: &[u8], attributes| {
            asks_back(&packet(payload), attributes, |id| {
                (id == 7).then(|| b"SELECT ROW_COUNT()".to_vec())
            })
        };
        for (text, wanted) in [
            ("SELECT 1", false),
            ("SELECT row_count (), 1", true),
            ("INSERT INTO log SELECT FOUND_ROWS()", true),
            ("SET @n = ROW_COUNT()", true),
            ("SHOW WARNINGS", true),
            ("show count(*) errors", true),
            ("GET DIAGNOSTICS @n = NUMBER", true),
            ("SELECT @@session.warning_count", true),
            ("SELECT row_count FROM 'ROW_COUNT()'", false),
            ("SELECT @@port", false),
            ("COMMIT", false),
        ] {
            for byte in [command::QUERY, command::STMT_PREPARE] {
                let payload = [&[byte], text.as_bytes()].concat();
                assert_eq!(asks(&payload, false), wanted, "{text}");
            }
            let payload = [b"\x03\0\x01", text.as_bytes()].concat();
            assert_eq!(asks(&payload, true), wanted, "{text}");
        }
        for (payload, wanted) in [
            (&b"\x17\x07\0\0\0\0\x01\0\0\0"[..], true),
            (b"\x17\x08\0\0\0\0\x01\0\0\0", false),
            (b"\x17\x07\0", true),
            (b"\x19\x08\0\0\0", true),
            (b"\x01", true),
            (b"\x0e", false),
            (b"\x02shop", false),
            (b"\x1f", false),
        ] {
            assert_eq!(asks(payload, false), wanted, "{payload:?}");
        }
        // What has not come may be anything.
        let cut = packet(b"\x03SELECT 1");
        assert!((0..cut.len()).all(|length| asks_back(&cut[..length], false, |_| None)));
    }

    #[test]
    fn other_commands_are_for_the_writer_but_those_that_ask_for_nothing() {
        for (bytes, wanted) in [
            (&b"\x01\0\0\0\x0e"[..], Place::Last),
            (b"\x09\0\0\0\x03SELECT 1", Place::Reader),
            (b"\x0b\0\0\0\x03\0\x01SELECT 1", Place::Writer),
            (b"\x05\0\0\0\x17\x01\0\0\0", Place::Writer),
            (b"\x02\0\0\0\x02a", Place::Writer),
            (b"\x09\0\0\0\x16SELECT 1", Place::Writer),
            (b"", Place::Writer),
        ] {
            assert_eq!(place_of(bytes, false), wanted, "{bytes:?}");
        }
        for bytes in [
            &b"\x0b\0\0\0\x03\0\x01SELECT 1"[..],
            b"\x13\0\0\0\x03\x01\x01\0\x01\x0f\0\x01a\x01bSELECT 1",
        ] {
            assert_eq!(place_of(bytes, true), Place::Reader);
        }
        for (bytes, wanted) in [
            (&b"\x09\0\0\0\x16SELECT ?"[..], Place::Reader),
            (b"\x0e\0\0\0\x16SHOW WARNINGS", Place::Last),
            (b"\x0a\0\0\0\x16SELECT @a", Place::Writer),
            (b"\x09\0\0\0\x03SELECT 1", Place::Writer),
            (b"\x09\0\0\0\x16SELECT", Place::Writer),
        ] {
            assert_eq!(place_of_prepared(bytes), wanted, "{bytes:?}");
        }
    }
}
