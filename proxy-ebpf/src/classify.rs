//! What one command of the client/server protocol is, and whether the kernel may pass it on.
//!
//! The BPF programs build their verdict of the same parts ([`command_class`], [`automaton::step`], [`autocommit::step`]) over
//! the bytes of a message; [`classify`] is the whole of it, for the daemon and for the tests.

use crate::autocommit;
use crate::automaton::{self, Kind, TextVerdict};
use crate::reason::TrapReason;

/// The longest text, in bytes, that is scanned; a longer one traps.
pub const SCAN_BYTES_MAX: usize = 4096;

/// The statement id by which MariaDB means the last statement prepared (`MARIADB_STMT_DIRECT`, 10.2).
pub const LAST_PREPARED: u32 = u32::MAX;

/// The commands' numbers (`enum_server_command` in MySQL's `my_command.h`).
mod command {
    pub(super) const QUERY: u8 = 0x03;
    pub(super) const STATISTICS: u8 = 0x09;
    pub(super) const PING: u8 = 0x0e;
    pub(super) const STMT_EXECUTE: u8 = 0x17;
    pub(super) const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub(super) const STMT_CLOSE: u8 = 0x19;
    pub(super) const STMT_RESET: u8 = 0x1a;
    pub(super) const STMT_FETCH: u8 = 0x1c;
}

/// A command that names a prepared statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum StatementCommand {
    /// `COM_STMT_EXECUTE`.
    Execute = command::STMT_EXECUTE,
    /// `COM_STMT_FETCH`: rows of an open cursor.
    Fetch = command::STMT_FETCH,
    /// `COM_STMT_RESET`.
    Reset = command::STMT_RESET,
    /// `COM_STMT_SEND_LONG_DATA`: has no response.
    SendLongData = command::STMT_SEND_LONG_DATA,
    /// `COM_STMT_CLOSE`: has no response. The record tells the daemon of it ([`Client::closed`](crate::record::Client::closed)).
    Close = command::STMT_CLOSE,
}

impl StatementCommand {
    /// Whether its payload may have this many bytes, the command's byte included: its id must be there, and of a close nothing else.
    #[inline]
    pub const fn may_have(self, length: u32) -> bool {
        match self {
            Self::Close => length == 5,
            Self::Execute | Self::Fetch | Self::Reset | Self::SendLongData => length >= 5,
        }
    }
}

/// A command that stands for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum SimpleCommand {
    /// `COM_PING`.
    Ping = command::PING,
    /// `COM_STATISTICS`: its response is a bare text without a header.
    Statistics = command::STATISTICS,
}

/// What the first byte of a command says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CommandClass {
    /// `COM_QUERY`: its text decides.
    Text,
    /// What the daemon knows of the statement decides; its id is in the next four bytes, little endian.
    Statement(StatementCommand),
    /// May be spliced.
    Simple(SimpleCommand),
    /// The daemon must see it: all other commands.
    Trap(TrapReason),
}

/// What a command's first byte says.
#[inline]
pub const fn command_class(byte: u8) -> CommandClass {
    match byte {
        command::QUERY => CommandClass::Text,
        command::STMT_EXECUTE => CommandClass::Statement(StatementCommand::Execute),
        command::STMT_FETCH => CommandClass::Statement(StatementCommand::Fetch),
        command::STMT_RESET => CommandClass::Statement(StatementCommand::Reset),
        command::STMT_SEND_LONG_DATA => CommandClass::Statement(StatementCommand::SendLongData),
        command::STMT_CLOSE => CommandClass::Statement(StatementCommand::Close),
        command::PING => CommandClass::Simple(SimpleCommand::Ping),
        command::STATISTICS => CommandClass::Simple(SimpleCommand::Statistics),
        _ => CommandClass::Trap(TrapReason::Command),
    }
}

/// What to do with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Verdict {
    /// The daemon must see it.
    Trap(TrapReason),
    /// A text of this kind.
    Text(Kind),
    /// A command for a prepared statement of this kind.
    Statement(StatementCommand, Kind),
    /// A command that stands for itself.
    Simple(SimpleCommand),
}

/// Classifies a command from its whole payload (the command's byte and the rest). `statement` tells the kind of a prepared
/// statement that may be spliced, by its id.
pub fn classify(payload: &[u8], statement: impl Fn(u32) -> Option<Kind>) -> Verdict {
    classify_from(automaton::START, payload, statement)
}

/// [`classify`] with the automaton's first state: [`automaton::START_WITH_ATTRIBUTES`] where the session has negotiated
/// `CLIENT_QUERY_ATTRIBUTES`.
pub fn classify_from(
    start: u8,
    payload: &[u8],
    statement: impl Fn(u32) -> Option<Kind>,
) -> Verdict {
    let Some((&byte, rest)) = payload.split_first() else {
        return Verdict::Trap(TrapReason::Framing);
    };
    match command_class(byte) {
        CommandClass::Text => match classify_text(start, rest) {
            TextVerdict::Trap(reason) => Verdict::Trap(reason),
            TextVerdict::Splice(kind) => Verdict::Text(kind),
        },
        CommandClass::Statement(command) => {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            let Some(&id) = rest.first_chunk().filter(|_| command.may_have(length)) else {
                return Verdict::Trap(TrapReason::Framing);
            };
            let id = u32::from_le_bytes(id);
            match statement(id) {
                Some(kind) if id != LAST_PREPARED => Verdict::Statement(command, kind),
                Some(_) | None => Verdict::Trap(TrapReason::UnknownStatement),
            }
        }
        CommandClass::Simple(_) if !rest.is_empty() => Verdict::Trap(TrapReason::Framing),
        CommandClass::Simple(command) => Verdict::Simple(command),
        CommandClass::Trap(reason) => Verdict::Trap(reason),
    }
}

/// Classifies a text, as of a `COM_QUERY` or `COM_STMT_PREPARE` without its first byte.
pub fn classify_text(start: u8, text: &[u8]) -> TextVerdict {
    if text.len() > SCAN_BYTES_MAX {
        return TextVerdict::Trap(TrapReason::TooLong);
    }
    match automaton::scan(start, text) {
        TextVerdict::Trap(TrapReason::Verb) if sets_autocommit(start, text) => {
            TextVerdict::Splice(Kind::Transaction)
        }
        verdict => verdict,
    }
}

/// `start` is the first automaton's.
fn sets_autocommit(start: u8, text: &[u8]) -> bool {
    let start = if start == automaton::START_WITH_ATTRIBUTES {
        autocommit::START_WITH_ATTRIBUTES
    } else {
        autocommit::START
    };
    autocommit::scan(start, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(id: u32) -> Option<Kind> {
        (id == 7 || id == LAST_PREPARED).then_some(Kind::Write)
    }

    #[test]
    fn commands() {
        use TrapReason::{Command, Framing, TooLong, UnknownStatement};
        let mut long = b"\x03SELECT '".to_vec();
        long.resize(1 + SCAN_BYTES_MAX, b'x');
        *long.last_mut().unwrap() = b'\'';
        let mut too_long = long.clone();
        too_long.push(b' ');
        let cases: &[(&[u8], Verdict)] = &[
            (b"", Verdict::Trap(Framing)),
            (b"\x03SELECT 1", Verdict::Text(Kind::Read)),
            (b"\x03SET @a = 1", Verdict::Trap(TrapReason::Verb)),
            (b"\x03SET autocommit = 0", Verdict::Text(Kind::Transaction)),
            (&long, Verdict::Text(Kind::Read)),
            (&too_long, Verdict::Trap(TooLong)),
            (b"\x0e", Verdict::Simple(SimpleCommand::Ping)),
            (b"\x0e1", Verdict::Trap(Framing)),
            (b"\x09", Verdict::Simple(SimpleCommand::Statistics)),
            (
                b"\x17\x07\0\0\0\0\x01\0\0\0",
                Verdict::Statement(StatementCommand::Execute, Kind::Write),
            ),
            (
                b"\x1c\x07\0\0\0\x01\0\0\0",
                Verdict::Statement(StatementCommand::Fetch, Kind::Write),
            ),
            (
                b"\x1a\x07\0\0\0",
                Verdict::Statement(StatementCommand::Reset, Kind::Write),
            ),
            (
                b"\x18\x07\0\0\0\0\0x",
                Verdict::Statement(StatementCommand::SendLongData, Kind::Write),
            ),
            (b"\x17\x07\0\0", Verdict::Trap(Framing)),
            (b"\x17\x08\0\0\0", Verdict::Trap(UnknownStatement)),
            (b"\x17\xff\xff\xff\xff", Verdict::Trap(UnknownStatement)),
            (
                b"\x19\x07\0\0\0",
                Verdict::Statement(StatementCommand::Close, Kind::Write),
            ),
            (b"\x19\x07\0\0\0\0", Verdict::Trap(Framing)),
            (b"\x19\x08\0\0\0", Verdict::Trap(UnknownStatement)),
            (b"\x01", Verdict::Trap(Command)),
        ];
        for (payload, expected) in cases {
            assert_eq!(
                classify(payload, statements),
                *expected,
                "{:?}",
                payload.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn every_other_command_traps() {
        let spliced = [0x03, 0x09, 0x0e, 0x17, 0x18, 0x19, 0x1a, 0x1c];
        for byte in 0..=u8::MAX {
            let traps = command_class(byte) == CommandClass::Trap(TrapReason::Command);
            assert_eq!(traps, !spliced.contains(&byte), "{byte:#x}");
        }
    }

    #[test]
    fn query_attributes() {
        let start = automaton::START_WITH_ATTRIBUTES;
        let cases: &[(&[u8], Verdict)] = &[
            (b"\x03\0\x01SELECT 1", Verdict::Text(Kind::Read)),
            (
                b"\x03\0\x01SET autocommit=1",
                Verdict::Text(Kind::Transaction),
            ),
            (b"\x03SELECT 1", Verdict::Trap(TrapReason::Unclear)),
            (
                b"\x03\x01\x01\0\x01SELECT 1",
                Verdict::Trap(TrapReason::Unclear),
            ),
            (b"\x03\0\x02SELECT 1", Verdict::Trap(TrapReason::Unclear)),
            (b"\x03\0", Verdict::Trap(TrapReason::Unclear)),
        ];
        for (payload, expected) in cases {
            assert_eq!(
                classify_from(start, payload, statements),
                *expected,
                "{:?}",
                payload.escape_ascii().to_string()
            );
        }
        assert_eq!(
            classify(b"\x03\0\x01SELECT 1", statements),
            Verdict::Trap(TrapReason::Verb)
        );
    }
}
