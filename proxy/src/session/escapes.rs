//! Whether a backslash in `'…'` escapes: it does not with `sql_mode` `NO_BACKSLASH_ESCAPES`. The classifier needs to know it for texts in which a
//! backslash stands before a quote, as most drivers write apostrophes.
//!
//! The status flag `SERVER_STATUS_NO_BACKSLASH_ESCAPES` is no proof. A stored function that sets `sql_mode` in its body leaves the flag as its own
//! SET made it, while the session has its old mode back (tried: MariaDB 10.11, MySQL 9.7); and `init_connect` runs behind the login's OK. So the
//! server is asked for `@@sql_mode`, once, by a session that writes such texts. From then on nothing changes it but statements that the
//! daemon sees, as the kernel passes no SET on, and functions and triggers end with the mode that they began with.

use sluice_ebpf::{
    automaton::{self, Backslash, START, TextVerdict},
    classify::SCAN_BYTES_MAX,
    reason::TrapReason,
};

use crate::sql::assigned::Assigned;

/// The mode's name in `sql_mode`.
const NO_BACKSLASH_ESCAPES: &[u8] = b"NO_BACKSLASH_ESCAPES";
/// The variable.
const SQL_MODE: &str = "sql_mode";

/// The statement by which the server is asked.
pub const QUESTION: &str = "SELECT @@sql_mode";

/// What is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Escapes {
    /// Nothing, and no text of the session has depended on it.
    #[default]
    Unknown,
    /// Nothing, but texts depend on it: with the next one the server is asked.
    Wanted,
    /// Backslashes escape.
    Known,
    /// They do not, or the server does not say.
    Off,
}

impl Escapes {
    /// A text has trapped, if this is one that would be spliced if backslashes were known to escape. Returns whether to ask the server: the
    /// first such text of a session is not worth it.
    pub fn trapped(&mut self, text: &[u8]) -> bool {
        let before = *self;
        if !matches!(before, Self::Unknown | Self::Wanted) || !depends(text) {
            return false;
        }
        *self = Self::Wanted;
        before == Self::Wanted
    }

    /// The server's answer; none where it gives none.
    pub fn answered(&mut self, sql_mode: Option<&[u8]>) {
        let holds = |mode: &[u8]| {
            mode.split(|byte| *byte == b',')
                .any(|name| name.trim_ascii().eq_ignore_ascii_case(NO_BACKSLASH_ESCAPES))
        };
        *self = match sql_mode {
            Some(mode) if !holds(mode) => Self::Known,
            Some(_) | None => Self::Off,
        };
    }

    /// The command that is about to go to the node changes these variables, whether it succeeds or fails; `is_read`: all of its text has been
    /// read, if it has one.
    pub fn forwarded(&mut self, changes: Option<&Assigned>, is_read: bool) {
        let touches = |changes: &Assigned| {
            changes.unclear
                || !changes.executed.is_empty()
                || changes.system.iter().any(|name| name == SQL_MODE)
        };
        if !is_read || changes.is_some_and(touches) {
            self.changed();
        }
    }

    /// The server may have another `sql_mode` by now.
    pub fn changed(&mut self) {
        if *self != Self::Unknown {
            *self = Self::Wanted;
        }
    }

    /// A response has come with status flags that say that backslashes do not escape. Be it true or not, it is not worth the doubt.
    pub fn denied(&mut self) {
        if *self == Self::Known {
            *self = Self::Off;
        }
    }

    /// Whether the server has been asked.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Known | Self::Off)
    }

    /// Whether the kernel may take a backslash for an escape.
    pub const fn is_known(self) -> bool {
        matches!(self, Self::Known)
    }
}

/// Whether a text traps for its backslashes alone.
fn depends(text: &[u8]) -> bool {
    let verdict = |backslash| automaton::scan_with(backslash, START, text);
    text.len() <= SCAN_BYTES_MAX
        && text.contains(&b'\\')
        && verdict(Backslash::UNKNOWN) == TextVerdict::Trap(TrapReason::Backslash)
        && matches!(verdict(Backslash::ESCAPES), TextVerdict::Splice(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESCAPED: &[u8] = b"INSERT INTO t VALUES ('it\\'s')";

    fn known() -> Escapes {
        let mut escapes = Escapes::default();
        assert!(!escapes.trapped(ESCAPED) && escapes.trapped(ESCAPED));
        escapes.answered(Some(b"STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"));
        assert!(escapes.is_known());
        escapes
    }

    #[test]
    fn the_second_text_that_depends_on_it_asks() {
        let mut escapes = known();
        assert!(!escapes.trapped(ESCAPED), "it is known");
        escapes = Escapes::default();
        for text in [
            &b"SELECT 'a\\nb'"[..],
            b"SELECT 1",
            b"SET @a = 'it\\'s'",
            b"SELECT \"it\\\"s\"",
            b"SELECT DATE'\\'",
        ] {
            assert!(!escapes.trapped(text) && !escapes.trapped(text));
            assert_eq!(escapes, Escapes::Unknown);
        }
    }

    #[test]
    fn the_servers_word_is_taken() {
        for (mode, wanted) in [
            (Some(&b""[..]), Escapes::Known),
            (Some(b"ANSI_QUOTES"), Escapes::Known),
            (Some(b"NO_BACKSLASH_ESCAPES"), Escapes::Off),
            (
                Some(b"ANSI,no_backslash_escapes,STRICT_ALL_TABLES"),
                Escapes::Off,
            ),
            (None, Escapes::Off),
        ] {
            let mut escapes = Escapes::Wanted;
            escapes.answered(mode);
            assert_eq!(escapes, wanted);
            assert!(!escapes.trapped(ESCAPED));
        }
    }

    #[test]
    fn what_may_change_the_mode_makes_it_unknown() {
        for text in [
            "SET sql_mode = ''",
            "SET @@SESSION.SQL_MODE = 'x'",
            "SET @a = 1, SESSION sql_mode = 'x'",
            "SELECT 1; SET sql_mode = ''",
            "CALL p()",
            "EXECUTE s",
            "BEGIN NOT ATOMIC SET sql_mode = ''; END",
            "/*!40101 SET SQL_MODE='' */",
        ] {
            let mut escapes = known();
            escapes.forwarded(Some(&Assigned::of(text.as_bytes())), true);
            assert_eq!(escapes, Escapes::Wanted, "{text}");
        }
        for (text, is_read) in [("SET @a = 1", true), ("SET autocommit = 0", true)] {
            let mut escapes = known();
            escapes.forwarded(Some(&Assigned::of(text.as_bytes())), is_read);
            assert!(escapes.is_known(), "{text}");
        }
        let mut escapes = known();
        escapes.forwarded(None, false);
        assert_eq!(escapes, Escapes::Wanted);
        let mut escapes = known();
        escapes.denied();
        assert_eq!(escapes, Escapes::Off);
        let mut escapes = Escapes::Unknown;
        escapes.forwarded(None, false);
        assert_eq!(escapes, Escapes::Unknown);
    }
}
