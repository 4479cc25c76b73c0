//! SET in all its forms (`MySQL` manual, "SET Statements"; `MariaDB`'s pages "SET" and "SET STATEMENT").

use super::{Assigned, Lexeme, Reader};

/// What `SET NAMES` and `SET CHARACTER SET` change.
const CHARACTER_SETS: [&str; 4] = [
    "character_set_client",
    "character_set_results",
    "character_set_connection",
    "collation_connection",
];
/// Variables that hold for the next statement or transaction only: no state of the session.
const ONE_SHOT: [&str; 4] = ["insert_id", "rand_seed1", "rand_seed2", "gtid_next"];
/// Scopes of the server, not of the session.
const GLOBAL: [&str; 3] = ["GLOBAL", "PERSIST", "PERSIST_ONLY"];
/// Scopes of the session.
const SESSION: [&str; 2] = ["SESSION", "LOCAL"];

/// Whose variable is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Session,
    Global,
}

impl Reader<'_> {
    /// What follows SET, up to the statement's end.
    pub(super) fn set(&mut self) {
        if self.accept("STATEMENT") {
            return self.set_statement();
        }
        // A scope's word holds for the names behind it, too, until the next one (tried with MariaDB 10.11 and MySQL 9.7).
        let mut scope = Scope::Session;
        loop {
            let explicit = self.scope();
            scope = explicit.unwrap_or(scope);
            if self.accept("TRANSACTION") {
                self.transaction(explicit);
            } else if self.peek().is_some_and(|next| next.is_word("ROLE"))
                || self.accept_any(&["DEFAULT", "RESOURCE"])
            {
                return;
            } else {
                self.assignment(scope);
            }
            self.pass(b",");
            if !self.accept_symbol(b',') {
                return;
            }
        }
    }

    /// `SET STATEMENT x = 1 FOR …`: its variables come back by themselves, what the statement does stays.
    fn set_statement(&mut self) {
        let mut depth = 0_usize;
        while let Some(lexeme) = self.peek() {
            match lexeme {
                Lexeme::Symbol(b';') => return,
                Lexeme::Symbol(b'(') => depth += 1,
                Lexeme::Symbol(b')') => depth = depth.saturating_sub(1),
                lexeme if depth == 0 && lexeme.is_word("FOR") => {
                    self.next();
                    if self.depth > super::DEPTH_MAX {
                        self.found.unclear = true;
                        return;
                    }
                    self.depth += 1;
                    self.statement();
                    self.depth -= 1;
                    return;
                }
                _ => {}
            }
            self.next();
        }
    }

    /// A scope's word, if one comes next.
    fn scope(&mut self) -> Option<Scope> {
        if self.accept_any(&GLOBAL) {
            Some(Scope::Global)
        } else if self.accept_any(&SESSION) {
            Some(Scope::Session)
        } else {
            None
        }
    }

    /// `TRANSACTION ISOLATION LEVEL …, READ ONLY`. Without a scope it is for the next transaction only.
    fn transaction(&mut self, scope: Option<Scope>) {
        let is_session = scope == Some(Scope::Session);
        loop {
            let name = if self.accept("ISOLATION") {
                "transaction_isolation"
            } else if self.accept("READ") {
                "transaction_read_only"
            } else {
                self.found.unclear |= is_session;
                return;
            };
            if is_session {
                self.found.add_system(name);
            }
            self.pass(b",");
            if !self.accept_symbol(b',') {
                return;
            }
        }
    }

    /// One of the list's members, up to its value.
    fn assignment(&mut self, scope: Scope) {
        let Some(first) = self.next() else { return };
        match first {
            Lexeme::User(name) => self.found.add_user(&name),
            Lexeme::System => {
                let scope = match self.scope() {
                    Some(explicit) => {
                        self.accept_symbol(b'.');
                        explicit
                    }
                    None => Scope::Session,
                };
                match self.next() {
                    Some(Lexeme::Word(name)) => self.system(scope, name),
                    Some(Lexeme::Name(name) | Lexeme::Text(name)) => self.system(scope, &name),
                    _ => self.found.unclear = true,
                }
            }
            Lexeme::Word(name) if self.is_assigned() => self.system(scope, name),
            Lexeme::Word(name) if name.eq_ignore_ascii_case(b"PASSWORD") => {}
            Lexeme::Word(name)
                if [&b"NAMES"[..], b"CHARACTER", b"CHAR", b"CHARSET"]
                    .iter()
                    .any(|word| name.eq_ignore_ascii_case(word)) =>
            {
                for name in CHARACTER_SETS {
                    self.found.add_system(name);
                }
            }
            Lexeme::Word(name) => self.system(scope, name),
            Lexeme::Name(name) | Lexeme::Text(name) => self.system(scope, &name),
            Lexeme::Assign | Lexeme::Symbol(_) => self.found.unclear = true,
        }
    }

    /// Whether `=` or `:=` comes next. (`SET PASSWORD = …` is not a variable's.)
    fn is_assigned(&mut self) -> bool {
        matches!(self.peek(), Some(Lexeme::Assign | Lexeme::Symbol(b'=')))
    }

    /// A system variable, of whose name the first part is read.
    fn system(&mut self, scope: Scope, first: &[u8]) {
        let mut name = String::from_utf8_lossy(first).to_ascii_lowercase();
        if self.accept_symbol(b'.')
            && let Some(Lexeme::Word(part)) = self.next()
        {
            name = format!("{name}.{}", String::from_utf8_lossy(part));
        }
        if !self.is_assigned() {
            self.found.unclear = true;
        } else if scope == Scope::Session
            && name != "password"
            && !ONE_SHOT.contains(&name.as_str())
        {
            self.found.add_system(&name);
        }
    }
}

impl Assigned {
    /// The names that this text may change, for tests and logs: `name`, `@name`, `?` where it is unclear.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let mut shown = self.system.clone();
        shown.extend(self.user.iter().map(|name| format!("@{name}")));
        shown.extend(
            self.prepared
                .iter()
                .map(|(name, changes)| format!("{name}({})", changes.shown())),
        );
        shown.extend(self.executed.iter().map(|name| format!("!{name}")));
        if self.unclear {
            shown.push("?".to_owned());
        }
        shown.join(" ")
    }
}
