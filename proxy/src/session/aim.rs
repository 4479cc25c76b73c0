//! Which of a session's nodes a command that came to the daemon is for, where reads go to another one than writes.

use sluice_ebpf::{
    aim::{self, Aim},
    automaton::{self, Kind, TextVerdict},
};

use super::command::{Text, text};
use crate::{
    protocol::{command, packet::HEADER_LEN},
    sql::lexer::{Lexeme, Lexer},
};

/// `SHOW` of these, and `SHOW COUNT(*)` of them, is about the statement before.
const OF_LAST: [&str; 3] = ["WARNINGS", "ERRORS", "COUNT"];
/// Variables that tell of the statement before.
const LAST_VARIABLES: [&str; 2] = ["warning_count", "error_count"];

/// The node that the command at the front of `bytes` is for. `attributes`: the session has query attributes. What is not certain is the writer's.
pub fn aim_of(bytes: &[u8], attributes: bool) -> Aim {
    match bytes.get(HEADER_LEN) {
        Some(&command::QUERY) => match text(bytes, attributes) {
            Some(Text::Whole(text)) => aim_of_text(text),
            Some(Text::Head(_)) | None => Aim::Writer,
        },
        // They ask for nothing that a node has, or about the connection that was used last.
        Some(&(command::PING | command::STATISTICS)) => Aim::Last,
        _ => Aim::Writer,
    }
}

fn aim_of_text(text: &[u8]) -> Aim {
    match automaton::scan(automaton::START, text) {
        TextVerdict::Splice(Kind::Read) => aim::scan(aim::START, text),
        TextVerdict::Trap(_) if is_about_last(text) => Aim::Last,
        TextVerdict::Splice(Kind::Write | Kind::Transaction) | TextVerdict::Trap(_) => Aim::Writer,
    }
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
    fn a_text_is_for_the_writer_unless_it_surely_reads() {
        for (text, wanted) in [
            ("SELECT c FROM sbtest1 WHERE id = 7", Aim::Reader),
            ("SELECT c FROM t WHERE id = 7 FOR UPDATE", Aim::Writer),
            ("SELECT f(1)", Aim::Writer),
            ("SELECT @a", Aim::Writer),
            ("SELECT LAST_INSERT_ID()", Aim::Writer),
            ("SELECT FOUND_ROWS()", Aim::Last),
            ("show warnings", Aim::Last),
            ("SHOW COUNT(*) ERRORS", Aim::Last),
            ("SHOW TABLES", Aim::Writer),
            ("GET DIAGNOSTICS @n = NUMBER", Aim::Last),
            ("SELECT @@warning_count", Aim::Last),
            ("SELECT @@server_id", Aim::Writer),
            ("UPDATE t SET a = 1", Aim::Writer),
            ("BEGIN", Aim::Writer),
        ] {
            assert_eq!(aim_of_text(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn other_commands_are_for_the_writer_but_those_that_ask_for_nothing() {
        for (bytes, wanted) in [
            (&b"\x01\0\0\0\x0e"[..], Aim::Last),
            (b"\x09\0\0\0\x03SELECT 1", Aim::Reader),
            (b"\x0b\0\0\0\x03\0\x01SELECT 1", Aim::Writer),
            (b"\x05\0\0\0\x17\x01\0\0\0", Aim::Writer),
            (b"\x02\0\0\0\x02a", Aim::Writer),
            (b"\x09\0\0\0\x16SELECT 1", Aim::Writer),
            (b"", Aim::Writer),
        ] {
            assert_eq!(aim_of(bytes, false), wanted, "{bytes:?}");
        }
        assert_eq!(aim_of(b"\x0b\0\0\0\x03\0\x01SELECT 1", true), Aim::Reader);
    }
}
