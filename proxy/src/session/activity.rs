//! What a session is doing: its last command, whether it still runs, and since when. The same for commands that the kernel spliced and for
//! those that the daemon saw.

use std::fmt;

use super::prepared::Prepared;
use crate::{
    protocol::{command, statement::behind_attributes},
    sql::secret,
};

/// Bytes of a text that are kept to be shown.
pub const TEXT_BYTES: usize = 256;

/// The front of a text, as much of it as is kept to be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    length: usize,
    bytes: [u8; TEXT_BYTES],
}

impl Head {
    /// The front of `text`.
    pub fn new(text: &[u8]) -> Self {
        let mut bytes = [0; TEXT_BYTES];
        let length = text.len().min(TEXT_BYTES);
        if let (Some(to), Some(from)) = (bytes.get_mut(..length), text.get(..length)) {
            to.copy_from_slice(from);
        }
        Self { length, bytes }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The front of a statement's text, without the passwords that it sets.
    fn of_statement(text: &[u8]) -> Self {
        let text = text.get(..TEXT_BYTES).unwrap_or(text);
        let shown = secret::shown(text);
        if shown.len() == text.len() {
            return Self::new(text);
        }
        Self::new(&[shown, " …".as_bytes()].concat())
    }

    /// As text, without the character that the limit may have cut. Empty: none.
    pub fn to_text(&self) -> String {
        let bytes = self.as_bytes();
        let whole = match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => bytes.get(..error.valid_up_to()),
            Ok(_) | Err(_) => Some(bytes),
        };
        String::from_utf8_lossy(whole.unwrap_or_default()).into_owned()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_text())
    }
}

/// Who answers a command.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AnsweredBy {
    /// The node.
    Node,
    /// Sluice itself.
    Proxy,
}

/// The last command of a session. Times are nanoseconds of `CLOCK_MONOTONIC`, the clock of the kernel's programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The command's byte; [`command::CONNECT`] for the login.
    pub byte: u8,
    /// The front of its text, without passwords that it sets; of a command for a prepared statement, that statement's. Empty where there is none or it is not known.
    pub text: Head,
    /// Bytes of its packets, headers included, as far as they have come.
    pub bytes: u64,
    /// Who answers it.
    pub answered_by: AnsweredBy,
    /// When it began.
    pub began_at_ns: u64,
    /// When its answer was complete. None: it still runs.
    pub ended_at_ns: Option<u64>,
    /// Rows that it changed, as the node says; 0 for one that returned rows. None: not known, as after an ERR.
    pub affected_rows: Option<u64>,
}

impl Command {
    /// The login of a client that was accepted at this time.
    pub fn login(began_at_ns: u64) -> Self {
        Self {
            byte: command::CONNECT,
            text: Head::new(b""),
            bytes: 0,
            answered_by: AnsweredBy::Proxy,
            began_at_ns,
            ended_at_ns: None,
            affected_rows: None,
        }
    }

    /// The command with this payload, or the front of one, that begins now. `prepared` are the session's statements.
    pub fn begun(
        payload: &[u8],
        prepared: &Prepared,
        answered_by: AnsweredBy,
        began_at_ns: u64,
    ) -> Self {
        Self {
            byte: payload.first().copied().unwrap_or_default(),
            text: text(payload, prepared),
            answered_by,
            ..Self::login(began_at_ns)
        }
    }

    /// Whether it still runs.
    pub const fn is_running(&self) -> bool {
        self.ended_at_ns.is_none()
    }

    /// Its answer is complete; what has ended stays so.
    pub fn end(&mut self, now_ns: u64) {
        self.ended_at_ns.get_or_insert(now_ns);
    }

    /// How long it took, or has run until `now_ns`.
    pub fn duration_ns(&self, now_ns: u64) -> u64 {
        self.ended_at_ns
            .unwrap_or(now_ns)
            .saturating_sub(self.began_at_ns)
    }

    /// How long the session has been in this state at `now_ns`: since the command began or, where it has ended, since then.
    pub fn state_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.ended_at_ns.unwrap_or(self.began_at_ns))
    }

    /// The command's name, as process lists write it.
    pub fn name(&self) -> &'static str {
        command::name(self.byte).unwrap_or("Error")
    }
}

/// The text that a command shows.
fn text(payload: &[u8], prepared: &Prepared) -> Head {
    let Some((&byte, rest)) = payload.split_first() else {
        return Head::new(b"");
    };
    match byte {
        command::QUERY => Head::of_statement(match rest {
            // Query attributes: a count of 0 and the number of sets, always 1.
            [0, 1, text @ ..] => text,
            // Some attributes: no statement begins with such a byte.
            [..=8, ..] => behind_attributes(rest).unwrap_or_default(),
            text => text,
        }),
        command::STMT_PREPARE => Head::of_statement(rest),
        command::INIT_DB => Head::new(rest),
        command::STMT_EXECUTE
        | command::STMT_BULK_EXECUTE
        | command::STMT_FETCH
        | command::STMT_RESET
        | command::STMT_SEND_LONG_DATA => rest
            .first_chunk()
            .and_then(|id| prepared.text(u32::from_le_bytes(*id)))
            .copied()
            .unwrap_or(Head::new(b"")),
        _ => Head::new(b""),
    }
}

#[cfg(test)]
mod tests {
    use sluice_ebpf::record::HEAD_BYTES;

    use super::*;

    #[test]
    fn the_kernel_keeps_enough() {
        let payload = [&b"\x03\0\x01"[..], &[b'x'; 4096]].concat();
        let kept = &payload[..HEAD_BYTES];
        let of = |payload| Command::begun(payload, &Prepared::default(), AnsweredBy::Node, 0);
        assert_eq!(of(kept), of(&payload));
        assert_eq!(of(kept).text.as_bytes().len(), TEXT_BYTES);
    }

    fn shown(payload: &[u8]) -> (u8, String) {
        let mut prepared = Prepared::default();
        prepared.remember(7, Head::new(b"SELECT ?"), None);
        let command = Command::begun(payload, &prepared, AnsweredBy::Node, 5);
        (command.byte, command.text.to_text())
    }

    #[test]
    fn commands_show_their_text() {
        for (payload, text) in [
            (&b"\x03SELECT 1"[..], "SELECT 1"),
            (b"\x03\0\x01SELECT 1", "SELECT 1"),
            (b"\x03\x01\x01\0\x01\xfd\0\x01a\x01bSELECT 1", "SELECT 1"),
            (b"\x03\x01\x01\0\x01\xfd\0\x01a\x09b", ""),
            (b"\x16SELECT ?", "SELECT ?"),
            (b"\x03SET PASSWORD = 'geheim'", "SET PASSWORD …"),
            (b"\x16SET PASSWORD = 'geheim'", "SET PASSWORD …"),
            (b"\x02shop", "shop"),
            (b"\x17\x07\0\0\0\0\x01\0\0\0", "SELECT ?"),
            (b"\x17\xff\xff\xff\xff\0\x01\0\0\0", "SELECT ?"),
            (b"\x17\x08\0\0\0", ""),
            (b"\x17\x07\0", ""),
            (b"\x0e", ""),
            (b"", ""),
        ] {
            let byte = payload.first().copied().unwrap_or_default();
            assert_eq!(shown(payload), (byte, text.to_owned()), "{payload:?}");
        }
    }

    #[test]
    fn a_head_ends_before_the_character_that_it_cuts() {
        let text = format!("{}é", "x".repeat(TEXT_BYTES - 1));
        assert_eq!(
            Head::new(text.as_bytes()).to_text(),
            "x".repeat(TEXT_BYTES - 1)
        );
        assert_eq!(Head::new(b"a\xffb").to_text(), "a\u{fffd}b");
        assert_eq!(Head::new(text.as_bytes()).as_bytes().len(), TEXT_BYTES);
    }

    #[test]
    fn times_are_counted_from_begin_or_end() {
        let mut command = Command::begun(b"\x0e", &Prepared::default(), AnsweredBy::Node, 100);
        assert!(command.is_running());
        assert_eq!((command.duration_ns(130), command.state_ns(130)), (30, 30));
        command.end(150);
        command.end(190);
        assert!(!command.is_running());
        assert_eq!((command.duration_ns(200), command.state_ns(200)), (50, 50));
        assert_eq!(
            (command.name(), Command::login(0).name()),
            ("Ping", "Connect")
        );
    }
}
