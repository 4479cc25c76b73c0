//! What the node says of an account's privileges, from the rows of its `SHOW GRANTS`.

use crate::sql::{Token, Tokens};

/// The privileges that decide what a user may see and do of others' sessions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Privileges {
    /// He may end other users' sessions: `SUPER`, or what newer servers have made of it, `CONNECTION ADMIN` (`MariaDB`) and
    /// `CONNECTION_ADMIN` (`MySQL`).
    pub ends_others: bool,
    /// He may see other users' sessions: `PROCESS`.
    pub sees_others: bool,
}

impl Privileges {
    /// The statement whose rows [`Privileges::read`] reads.
    pub const STATEMENT: &'static str = "SHOW GRANTS";

    /// Reads the grants. Only those on `*.*` count, and what is not understood grants nothing.
    pub fn read<'a>(grants: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Self::default();
        for grant in grants {
            let one = Self::global(Tokens::new(grant)).unwrap_or_default();
            all.ends_others |= one.ends_others;
            all.sees_others |= one.sees_others;
        }
        all
    }

    /// `GRANT privilege, … ON *.* TO …`. A list of columns (in parentheses) is none of `*.*`.
    fn global(mut tokens: Tokens<'_>) -> Option<Self> {
        let mut found = Self::default();
        if !tokens.accept_word("GRANT") {
            return None;
        }
        let mut words = Vec::new();
        loop {
            let token = tokens.next()?;
            match token {
                Token::Word(_) if token.is_word("ON") => break,
                Token::Word(word) if words.len() < 4 => words.push(word.to_ascii_uppercase()),
                Token::Symbol(b',') => found.add(&std::mem::take(&mut words)),
                _ => return None,
            }
        }
        found.add(&words);
        let everywhere = [
            Token::Symbol(b'*'),
            Token::Symbol(b'.'),
            Token::Symbol(b'*'),
        ];
        let is_global = everywhere.iter().all(|part| tokens.next() == Some(*part));
        (is_global && tokens.accept_word("TO")).then_some(found)
    }

    fn add(&mut self, words: &[Vec<u8>]) {
        let name = words.join(&b' ');
        let is_all = [&b"ALL"[..], b"ALL PRIVILEGES"].contains(&&*name);
        self.ends_others |=
            is_all || [&b"SUPER"[..], b"CONNECTION ADMIN", b"CONNECTION_ADMIN"].contains(&&*name);
        self.sees_others |= is_all || name == b"PROCESS";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(grant: &str, ends_others: bool, sees_others: bool) {
        let wanted = Privileges {
            ends_others,
            sees_others,
        };
        assert_eq!(Privileges::read([grant.as_bytes()]), wanted, "{grant}");
    }

    #[test]
    fn global_grants_count() {
        // MariaDB, MySQL, OceanBase, as they print them.
        check(
            "GRANT ALL PRIVILEGES ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*14E65' WITH GRANT OPTION",
            true,
            true,
        );
        check(
            "GRANT SELECT, PROCESS, CONNECTION ADMIN ON *.* TO `app`@`%`",
            true,
            true,
        );
        check(
            "GRANT SELECT, SHOW DATABASES, SUPER ON *.* TO `app`@`%`",
            true,
            false,
        );
        check(
            "GRANT BACKUP_ADMIN,CONNECTION_ADMIN,XA_RECOVER_ADMIN ON *.* TO `root`@`localhost`",
            true,
            false,
        );
        check("GRANT SELECT, PROCESS ON *.* TO 'app'", false, true);
        check("GRANT USAGE ON *.* TO `app`@`%`", false, false);
    }

    #[test]
    fn other_grants_do_not() {
        for grant in [
            "GRANT ALL PRIVILEGES ON `shop`.* TO `app`@`%`",
            "GRANT ALL PRIVILEGES ON *.`x` TO `app`@`%`",
            "GRANT SELECT (`SUPER ON *.* TO `), SUPER ON `a`.`b` TO `app`@`%`",
            "GRANT SELECT (`a`), INSERT (`x`) ON *.* TO `app`@`%`",
            "GRANT `SUPER` ON *.* TO `app`@`%`",
            "GRANT `SUPER`@`%` TO `app`@`%`",
            "GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION",
            "REVOKE SUPER ON *.* FROM `app`@`%`",
            "GRANT SUPER",
            "GRANT NOT SUPER ON *.* TO `app`@`%`",
            "SUPER ON *.* TO `app`@`%`",
            "",
        ] {
            check(grant, false, false);
        }
    }

    #[test]
    fn grants_add_up() {
        let grants: [&[u8]; 2] = [
            b"GRANT PROCESS ON *.* TO `a`@`%`",
            b"GRANT SUPER ON *.* TO `a`@`%`",
        ];
        let all = Privileges::read(grants);
        assert!(all.ends_others && all.sees_others);
    }
}
