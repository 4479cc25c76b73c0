//! What responses tell of a session.

/// What is known of a session from the status flags of its responses ("Status Flags"), at a command boundary.
///
/// An ERR packet has none. What may have changed with one was tried with MariaDB 10.11, MySQL 9.7 and OceanBase seekdb 1.4, whose next OK
/// tells: a transaction that was open may be gone (a deadlock; DDL, which commits before it fails), and without autocommit a statement that
/// failed may have begun one (a duplicate key). With autocommit and outside a transaction only what runs other statements can (`CALL`, `EXECUTE`,
/// compound statements). The kernel passes none of those on; of them the daemon says [`Doubt::All`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// Those of the last OK or EOF.
    pub flags: u16,
    /// What an ERR since then may have changed.
    pub doubt: Doubt,
}

/// Which of the flags may be others by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Doubt {
    /// None.
    #[default]
    None = 0,
    /// Whether a transaction is open.
    Transaction = 1,
    /// Autocommit as well.
    All = 2,
}

impl Status {
    /// `SERVER_STATUS_IN_TRANS`: a transaction is open.
    pub const IN_TRANSACTION: u16 = 0x0001;
    /// `SERVER_STATUS_AUTOCOMMIT`.
    pub const AUTOCOMMIT: u16 = 0x0002;
    /// `SERVER_STATUS_LAST_ROW_SENT`: the cursor that rows were fetched of has no more, and is closed.
    pub const LAST_ROW_SENT: u16 = 0x0080;
    /// `SERVER_STATUS_NO_BACKSLASH_ESCAPES`.
    pub const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
    /// `SERVER_SESSION_STATE_CHANGED`.
    pub const STATE_CHANGED: u16 = 0x4000;
    /// What is the session's and not one response's, `SERVER_STATUS_IN_TRANS_READONLY` and MariaDB's `SERVER_STATUS_ANSI_QUOTES` among it.
    const LASTING: u16 =
        Self::IN_TRANSACTION | Self::AUTOCOMMIT | Self::NO_BACKSLASH_ESCAPES | 0x2000 | 0x8000;

    /// These flags have just been heard.
    pub const fn of(flags: u16) -> Self {
        Self {
            flags,
            doubt: Doubt::None,
        }
    }

    /// Whether a transaction is open; none: unknown.
    pub const fn in_transaction(self) -> Option<bool> {
        match self.doubt {
            Doubt::None => Some(self.flags & Self::IN_TRANSACTION != 0),
            Doubt::Transaction | Doubt::All => None,
        }
    }

    /// Whether every statement is a transaction of its own; none: unknown.
    pub const fn autocommit(self) -> Option<bool> {
        match self.doubt {
            Doubt::None | Doubt::Transaction => Some(self.flags & Self::AUTOCOMMIT != 0),
            Doubt::All => None,
        }
    }

    /// Whether a transaction may be open.
    pub const fn may_be_in_transaction(self) -> bool {
        !matches!(self.in_transaction(), Some(false))
    }

    /// Whether the next statement is surely neither in a transaction nor begins one that lasts.
    #[inline(always)]
    pub const fn is_outside_transaction(self) -> bool {
        self.flags & (Self::IN_TRANSACTION | Self::AUTOCOMMIT) == Self::AUTOCOMMIT
            && matches!(self.doubt, Doubt::None)
    }

    /// The flags for an answer of the proxy's own: those that are the session's, a transaction rather too often than not often enough.
    pub const fn lasting_flags(self) -> u16 {
        let flags = self.flags & Self::LASTING;
        if self.may_be_in_transaction() {
            flags | Self::IN_TRANSACTION
        } else {
            flags
        }
    }

    /// What [`Status::to_word`] has made one number.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self {
            flags: (word & 0xffff) as u16,
            doubt: match word >> 16 & 0xff {
                0 => Doubt::None,
                1 => Doubt::Transaction,
                _ => Doubt::All,
            },
        }
    }

    /// As one number, for a map record.
    pub const fn to_word(self) -> u32 {
        self.flags as u32 | (self.doubt as u32) << 16
    }
}
