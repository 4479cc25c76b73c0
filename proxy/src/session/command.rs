//! What a command that came to the daemon asks of it, from the command's bytes alone. Everything that is not named here is forwarded
//! unseen.

use bytes::Bytes;
use sluice_ebpf::{
    automaton::{START, TextVerdict},
    classify::{SCAN_BYTES_MAX, classify_text},
};

use super::charset;
use crate::{
    protocol::{command, packet::HEADER_LEN, statement::behind_attributes},
    sql::{Token, Tokens},
};

/// Bytes of a `COM_CHANGE_USER` that the daemon is ready to hold: names, an answer and 64 KiB of attributes.
const CHANGE_USER_BYTES_MAX: usize = 1 << 17;
/// The longest text that is held to be looked at, in bytes, unless its first word says that it carries data.
const TEXT_BYTES_MAX: usize = 1 << 16;
/// Bytes of a long text that its first word must be found in.
const LONG_TEXT_HEAD_BYTES: usize = 256;
/// First words of long texts that cannot change the client's character set.
const DATA_VERBS: [&str; 7] = [
    "INSERT", "REPLACE", "SELECT", "UPDATE", "DELETE", "WITH", "LOAD",
];

/// What to do with a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Its decisive bytes have not come yet.
    Wait,
    /// Ask the admin surface; what it does not answer is forwarded with this effect.
    Text {
        /// The statement's text.
        text: Bytes,
        /// See [`Plan::Forward`].
        effect: Effect,
    },
    /// `COM_STMT_PREPARE`: ask the admin surface about the text, which is all here unless it is too long to be one of ours. What it does not
    /// answer is forwarded with this effect.
    Prepare(Effect),
    /// `COM_PROCESS_INFO`.
    ProcessInfo,
    /// `COM_PROCESS_KILL` of this id.
    Kill(u32),
    /// `COM_CHANGE_USER`, the whole payload.
    ChangeUser(Bytes),
    /// To the node.
    Forward(Effect),
    /// To the node, and from then on there are no commands: a replication stream.
    Stream,
    /// To the node, which closes.
    Quit,
}

/// What a command that the node has accepted changes in the session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Effect {
    /// Nothing that the daemon keeps.
    #[default]
    None,
    /// The current database.
    Database(String),
    /// A prepared statement, and whether its executions may be spliced.
    Prepared {
        /// They may.
        spliceable: bool,
    },
    /// A prepared statement is gone. (Never answered: true as soon as it is sent.)
    Closed(u32),
    /// All session state is gone.
    Reset,
    /// The client's character set may be one that the classifier cannot read ([`charset`]).
    Charset {
        /// It surely is not.
        safe: bool,
    },
}

/// Looks at the front of what the client has sent. `attributes`: the session has query attributes.
pub fn plan(bytes: &[u8], attributes: bool) -> Plan {
    let Some((&[a, b, c, _, byte], _)) = bytes.split_first_chunk() else {
        return match bytes {
            // A command without a command byte: the node answers it.
            [0, 0, 0, _] => Plan::Forward(Effect::None),
            _ => Plan::Wait,
        };
    };
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    let payload = bytes.get(HEADER_LEN..HEADER_LEN + length);
    let small = length <= SCAN_BYTES_MAX;
    match byte {
        command::QUIT => Plan::Quit,
        command::BINLOG_DUMP | command::BINLOG_DUMP_GTID | command::TABLE_DUMP => Plan::Stream,
        command::RESET_CONNECTION => Plan::Forward(Effect::Reset),
        command::CHANGE_USER if length > CHANGE_USER_BYTES_MAX => Plan::Quit,
        command::CHANGE_USER => payload.map_or(Plan::Wait, |payload| {
            Plan::ChangeUser(Bytes::copy_from_slice(payload))
        }),
        command::PROCESS_INFO => Plan::ProcessInfo,
        command::PROCESS_KILL => number(bytes, length).map_or(Plan::Wait, Plan::Kill),
        // Which statement it runs says what it changes.
        command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => {
            number(bytes, length).map_or(Plan::Wait, |_id| Plan::Forward(Effect::None))
        }
        command::STMT_CLOSE => {
            number(bytes, length).map_or(Plan::Wait, |id| Plan::Forward(Effect::Closed(id)))
        }
        command::QUERY if small => payload.map_or(Plan::Wait, |payload| query(payload, attributes)),
        command::STMT_PREPARE if small => {
            payload.map_or(Plan::Wait, |payload| Plan::Prepare(prepare(payload)))
        }
        command::INIT_DB if small => payload.map_or(Plan::Wait, |payload| {
            let name = payload.get(1..).unwrap_or_default();
            Plan::Forward(Effect::Database(String::from_utf8_lossy(name).into_owned()))
        }),
        command::QUERY => match bytes.get(HEADER_LEN + 1..LONG_TEXT_HEAD_BYTES) {
            None => Plan::Wait,
            Some(head) if is_data(text_of(head, attributes).unwrap_or(head)) => {
                Plan::Forward(Effect::None)
            }
            Some(_) if length <= TEXT_BYTES_MAX => {
                payload.map_or(Plan::Wait, |payload| query(payload, attributes))
            }
            // It may be a batch that changes anything.
            Some(_) => Plan::Forward(Effect::Charset { safe: false }),
        },
        command::STMT_PREPARE => Plan::Prepare(Effect::Prepared { spliceable: false }),
        _ => Plan::Forward(Effect::None),
    }
}

/// The text of a command, as far as it is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Text<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Its first bytes: it is longer than what is scanned, or has query attributes in front that cannot be read.
    Head(&'a [u8]),
}

/// The text of the `COM_QUERY` or `COM_STMT_PREPARE` at the front of `bytes`; none of other commands. `attributes`: the session has query
/// attributes.
pub fn text(bytes: &[u8], attributes: bool) -> Option<Text<'_>> {
    let (&[a, b, c, _, byte], behind) = bytes.split_first_chunk()?;
    if !matches!(byte, command::QUERY | command::STMT_PREPARE) {
        return None;
    }
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    let whole = (length <= SCAN_BYTES_MAX)
        .then(|| behind.get(..length.saturating_sub(1)))
        .flatten();
    let has_attributes = byte == command::QUERY && attributes;
    let text = |rest| text_of(rest, has_attributes);
    let head = behind.get(..LONG_TEXT_HEAD_BYTES).unwrap_or(behind);
    Some(match whole {
        Some(whole) => text(whole).map_or(Text::Head(whole), Text::Whole),
        None => Text::Head(text(head).unwrap_or(head)),
    })
}

/// The text in `rest`, a `COM_QUERY` without its first byte, or the front of one; none where its query attributes cannot be read.
pub fn text_of(rest: &[u8], attributes: bool) -> Option<&[u8]> {
    if attributes {
        behind_attributes(rest).ok()
    } else {
        Some(rest)
    }
}

/// All of the text of the `COM_QUERY` at the front of `bytes`; none where it is longer than what is scanned.
pub fn query_text(bytes: &[u8], attributes: bool) -> Option<&[u8]> {
    let is_query = bytes.get(HEADER_LEN) == Some(&command::QUERY);
    match text(bytes, attributes).filter(|_| is_query)? {
        Text::Whole(text) => Some(text),
        Text::Head(_) => None,
    }
}

/// Whether the command at the front of `bytes` is a `COM_INIT_DB`.
pub fn changes_database(bytes: &[u8]) -> bool {
    bytes.get(HEADER_LEN) == Some(&command::INIT_DB)
}

/// Whether a text's first word is of those that only read or write data.
pub fn begins_with_data_verb(head: &[u8]) -> bool {
    let mut tokens = Tokens::new(head);
    DATA_VERBS.iter().any(|verb| tokens.accept_word(verb))
}

/// The 4-byte number after the command's byte; none while it has not come. A packet too short for one has the number 0, which no
/// session or statement has.
fn number(bytes: &[u8], length: usize) -> Option<u32> {
    if length < 5 {
        return Some(0);
    }
    bytes
        .get(HEADER_LEN + 1..)?
        .first_chunk()
        .map(|id| u32::from_le_bytes(*id))
}

/// A `COM_QUERY` that is all here.
fn query(payload: &[u8], attributes: bool) -> Plan {
    let rest = payload.get(1..).unwrap_or_default();
    let Some(text) = text_of(rest, attributes) else {
        return Plan::Forward(charset_effect(rest));
    };
    Plan::Text {
        text: Bytes::copy_from_slice(text),
        effect: text_effect(text),
    }
}

/// A `COM_STMT_PREPARE` that is all here. Its text has no attributes in front.
fn prepare(payload: &[u8]) -> Effect {
    let text = payload.get(1..).unwrap_or_default();
    if charset::mentions_unsafe(text) {
        // An execution is forwarded unseen: from here on the session may have the character set.
        return Effect::Charset { safe: false };
    }
    let spliceable = matches!(classify_text(START, text), TextVerdict::Splice(_));
    Effect::Prepared { spliceable }
}

/// What a text that succeeds changes.
fn text_effect(text: &[u8]) -> Effect {
    let mut tokens = Tokens::new(text);
    if tokens.accept_word("USE") {
        let name = match tokens.next() {
            Some(Token::Word(name)) => name.to_vec(),
            Some(Token::Quoted { text, .. }) => text.to_vec(),
            _ => return charset_effect(text),
        };
        if tokens.is_at_end() {
            return Effect::Database(String::from_utf8_lossy(&name).into_owned());
        }
    }
    charset_effect(text)
}

/// Whether a long text is one that carries data, by its head: such a text changes no character set, and is not held to be looked at.
fn is_data(head: &[u8]) -> bool {
    let mut tokens = Tokens::new(head);
    DATA_VERBS.iter().any(|verb| tokens.accept_word(verb))
}

/// Whether a text may change the client's character set, and to what.
fn charset_effect(text: &[u8]) -> Effect {
    if charset::mentions_unsafe(text) {
        return Effect::Charset { safe: false };
    }
    let mut tokens = Tokens::new(text);
    let names = tokens.accept_word("SET") && tokens.accept_word("NAMES");
    if names && tokens.accept_word("DEFAULT") {
        // The server's own default may be any.
        return Effect::Charset { safe: false };
    }
    // Only the plainest form is believed.
    let safe = names
        && matches!(tokens.next(), Some(Token::Word(_) | Token::Quoted { .. }))
        && tokens.is_at_end();
    if safe {
        Effect::Charset { safe: true }
    } else {
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a = 'b'`, a VARCHAR.
    const ONE_ATTRIBUTE: &str = "\x01\x01\0\x01\x0f\0\x01a\x01b";

    fn packet(payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
        bytes[3] = 0;
        bytes.extend(payload);
        bytes
    }

    fn forward(effect: Effect) -> Plan {
        Plan::Forward(effect)
    }

    #[test]
    fn commands_are_planned_by_their_first_bytes() {
        let cases: [(&[u8], Plan); 14] = [
            (b"\x01", Plan::Quit),
            (b"\x02shop", forward(Effect::Database("shop".to_owned()))),
            (b"\x0a", Plan::ProcessInfo),
            (b"\x0c\x07\0\0\0", Plan::Kill(7)),
            (b"\x0c", Plan::Kill(0)),
            (b"\x0e", forward(Effect::None)),
            (
                b"\x11user\0",
                Plan::ChangeUser(Bytes::from_static(b"\x11user\0")),
            ),
            (b"\x12", Plan::Stream),
            (
                b"\x16SELECT ?",
                Plan::Prepare(Effect::Prepared { spliceable: true }),
            ),
            (
                b"\x16SET @a = ?",
                Plan::Prepare(Effect::Prepared { spliceable: false }),
            ),
            (
                b"\x16SET NAMES gbk",
                Plan::Prepare(Effect::Charset { safe: false }),
            ),
            (b"\x19\x01\x02\0\0", forward(Effect::Closed(513))),
            (b"\x1f", forward(Effect::Reset)),
            (b"\xfa\x01", forward(Effect::None)),
        ];
        for (payload, expected) in cases {
            assert_eq!(plan(&packet(payload), false), expected, "{payload:?}");
        }
        assert_eq!(plan(&packet(b""), false), forward(Effect::None));
    }

    #[test]
    fn it_waits_for_what_decides() {
        for payload in [
            &b"\x03SHOW PROXYSESSION"[..],
            b"\x16SELECT 1",
            b"\x11user\0",
            b"\x0c\x07\0\0\0",
            b"\x19\x07\0\0\0",
            b"\x17\x07\0\0\0",
        ] {
            let bytes = packet(payload);
            for cut in 0..bytes.len() {
                assert_eq!(
                    plan(&bytes[..cut], false),
                    Plan::Wait,
                    "{payload:?} at {cut}"
                );
            }
            assert_ne!(plan(&bytes, false), Plan::Wait);
        }
    }

    #[test]
    fn texts_tell_what_they_change() {
        let cases = [
            ("SELECT 1", Effect::None),
            ("use shop;", Effect::Database("shop".to_owned())),
            ("USE `my shop`", Effect::Database("my shop".to_owned())),
            ("USE a; SELECT 1", Effect::None),
            ("set names utf8mb4", Effect::Charset { safe: true }),
            ("SET NAMES 'latin1';", Effect::Charset { safe: true }),
            ("SET NAMES utf8mb4, @a = 1", Effect::None),
            ("SET NAMES Big5", Effect::Charset { safe: false }),
            ("SET NAMES DEFAULT", Effect::Charset { safe: false }),
        ];
        for (text, effect) in cases {
            let expected = Plan::Text {
                text: Bytes::from(text.to_owned()),
                effect,
            };
            let payload = [b"\x03", text.as_bytes()].concat();
            assert_eq!(plan(&packet(&payload), false), expected);
            for front in ["\0\x01", ONE_ATTRIBUTE] {
                let payload = [b"\x03", front.as_bytes(), text.as_bytes()].concat();
                assert_eq!(plan(&packet(&payload), true), expected);
            }
        }
    }

    #[test]
    fn long_texts_are_judged_by_their_verb() {
        for (verb, length, expected) in [
            ("INSERT", SCAN_BYTES_MAX, forward(Effect::None)),
            (" select", TEXT_BYTES_MAX, forward(Effect::None)),
            ("SET", SCAN_BYTES_MAX, Plan::Wait),
            (
                "SET",
                TEXT_BYTES_MAX,
                forward(Effect::Charset { safe: false }),
            ),
        ] {
            for (attributes, front) in [(false, ""), (true, "\0\x01"), (true, ONE_ATTRIBUTE)] {
                let payload = format!("\x03{front}{verb} {}", "x".repeat(length));
                let bytes = packet(payload.as_bytes());
                let planned = plan(&bytes[..300], attributes);
                assert_eq!(planned, expected, "{front:?}{verb}");
                assert_ne!(plan(&bytes, attributes), Plan::Wait, "{front:?}{verb}");
            }
        }
    }
}
