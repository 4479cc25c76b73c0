//! Which variables a text may change, if it succeeds: names only, for what their values are then only the server knows.

mod set;

use super::lexer::{Lexeme, Lexer};

/// The longest name of a variable, in characters (`MySQL` manual, "Identifier Length Limits").
const NAME_CHARACTERS_MAX: usize = 64;
/// The most names that are taken from one text.
const NAMES_MAX: usize = 256;
/// How deep texts within texts are read (`EXECUTE IMMEDIATE`, `SET STATEMENT … FOR`).
const DEPTH_MAX: u8 = 4;
/// Objects with a body, which is kept and not run.
const BODIES: [&str; 5] = ["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"];
/// What may stand between CREATE and what is created.
const BEFORE_OBJECT_MAX: usize = 12;
/// First words of `MariaDB`'s compound statements outside of stored programs.
const COMPOUND: [&str; 6] = ["IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR"];

/// The variables that a text may change.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Assigned {
    /// System variables of the session, in small letters, in the order of the text.
    pub system: Vec<String>,
    /// User variables, as written.
    pub user: Vec<String>,
    /// Names of statements that it makes (`PREPARE`), in small letters, and what those may change.
    pub prepared: Vec<(String, Assigned)>,
    /// Names of statements that it runs (`EXECUTE`), in small letters.
    pub executed: Vec<String>,
    /// It may change others, too: what it does cannot be read from it.
    pub unclear: bool,
    /// It is more than one statement: where it fails, some of them may have succeeded.
    pub is_batch: bool,
}

impl Assigned {
    /// Reads a text; statements of a batch count as if all of them ran.
    pub fn of(text: &[u8]) -> Self {
        Self::within(text, 0)
    }

    /// What a text changes that cannot be read.
    pub fn unclear() -> Self {
        Self {
            unclear: true,
            ..Self::default()
        }
    }

    /// Nothing at all.
    pub fn is_none(&self) -> bool {
        !self.unclear
            && self.system.is_empty()
            && self.user.is_empty()
            && self.prepared.is_empty()
            && self.executed.is_empty()
    }

    fn within(text: &[u8], depth: u8) -> Self {
        if depth > DEPTH_MAX {
            return Self::unclear();
        }
        let (mut found, lexer) = Self::read(Lexer::new(text), depth);
        if !lexer.is_doubtful() {
            return found;
        }
        let (other, literal) = Self::read(Lexer::without_escapes(text), depth);
        // What has no end in one reading the server has not executed in that one.
        match (lexer.is_unfinished(), literal.is_unfinished()) {
            _ if lexer.is_ambiguous() => found.unclear = true,
            (false, true) => {}
            (true, false) => return other,
            _ => found.unclear |= found != other || lexer.is_unfinished(),
        }
        found
    }

    fn read(lexer: Lexer<'_>, depth: u8) -> (Self, Lexer<'_>) {
        let mut reader = Reader {
            lexer,
            ahead: None,
            found: Self::default(),
            depth,
        };
        reader.batch();
        (reader.found, reader.lexer)
    }

    fn add_system(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if !self.system.contains(&name) && self.has_room(&name) {
            self.system.push(name);
        }
    }

    fn add_user(&mut self, name: &[u8]) {
        let Ok(name) = String::from_utf8(name.to_vec()) else {
            // In another character set, it could not be asked for by this name.
            self.unclear = true;
            return;
        };
        let is_known = self.user.iter().any(|known| is_same_name(known, &name));
        if !is_known && self.has_room(&name) {
            self.user.push(name);
        }
    }

    /// Whether another name is taken; too many are unclear. (A name that is too long the server refuses.)
    fn has_room(&mut self, name: &str) -> bool {
        let is_room = self.system.len() + self.user.len() < NAMES_MAX;
        self.unclear |= !is_room;
        is_room && !name.is_empty() && name.chars().count() <= NAME_CHARACTERS_MAX
    }

    /// Adds what another text may change.
    pub fn add_all(&mut self, other: Self) {
        for name in &other.system {
            self.add_system(name);
        }
        for name in &other.user {
            self.add_user(name.as_bytes());
        }
        self.prepared.extend(other.prepared);
        self.executed.extend(other.executed);
        self.unclear |= other.unclear;
    }
}

/// Whether two user variables are one: their names are compared without case (`MySQL` manual, "User-Defined Variables").
pub fn is_same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || (!one.is_ascii() && !other.is_ascii() && one.to_lowercase() == other.to_lowercase())
}

/// Reads through a text once.
struct Reader<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Lexeme<'a>>,
    found: Assigned,
    depth: u8,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Lexeme<'a>> {
        self.ahead.take().or_else(|| self.lexer.next())
    }

    fn peek(&mut self) -> Option<&Lexeme<'a>> {
        if self.ahead.is_none() {
            self.ahead = self.lexer.next();
        }
        self.ahead.as_ref()
    }

    fn accept(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|lexeme| lexeme.is_word(keyword));
        if found {
            self.ahead = None;
        }
        found
    }

    fn accept_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.accept(keyword))
    }

    fn accept_symbol(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(&Lexeme::Symbol(byte));
        if found {
            self.ahead = None;
        }
        found
    }

    /// All statements, up to the text's end.
    fn batch(&mut self) {
        let mut statements = 0;
        while self.peek().is_some() {
            if !self.accept_symbol(b';') {
                self.statement();
                statements += 1;
            }
        }
        self.found.is_batch = statements > 1;
    }

    /// One statement, up to its `;`.
    fn statement(&mut self) {
        if self.accept("SET") {
            self.set();
        } else if self.accept("CALL") {
            // What a procedure does to other variables no text shows.
            self.found.unclear = true;
            self.every_user_variable();
        } else if self.accept_any(&["LOAD", "GET"]) {
            self.every_user_variable();
        } else if self.accept("PREPARE") {
            self.prepare();
        } else if self.accept("EXECUTE") {
            self.execute();
        } else if self.accept("CREATE") || self.accept("ALTER") {
            self.create();
        } else if self.accept("BEGIN") {
            self.found.unclear |= self.accept("NOT");
        } else if self.accept_any(&COMPOUND) {
            self.found.unclear = true;
        }
        self.pass(b";");
    }

    /// Up to one of these symbols outside of parentheses (`;` anywhere), which stays; takes what is assigned on the way.
    fn pass(&mut self, until: &[u8]) {
        let mut depth = 0_usize;
        let mut before = None;
        while let Some(lexeme) = self.peek() {
            match lexeme {
                Lexeme::Symbol(b';') => return,
                Lexeme::Symbol(byte) if depth == 0 && until.contains(byte) => return,
                Lexeme::Symbol(b'(') => depth += 1,
                Lexeme::Symbol(b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            let Some(lexeme) = self.next() else { return };
            match (&lexeme, before) {
                (Lexeme::Assign, Some(Lexeme::User(name))) => self.found.add_user(&name),
                (lexeme, _) if lexeme.is_word("INTO") => self.into(),
                _ => {}
            }
            before = Some(lexeme);
        }
    }

    /// The variables behind an INTO; nothing where it is followed by something else.
    fn into(&mut self) {
        while let Some(Lexeme::User(name)) = self.peek() {
            let name = name.to_vec();
            self.next();
            self.found.add_user(&name);
            if !self.accept_symbol(b',') {
                return;
            }
        }
    }

    /// Up to the `;`: every user variable named may be written to.
    fn every_user_variable(&mut self) {
        while self
            .peek()
            .is_some_and(|next| *next != Lexeme::Symbol(b';'))
        {
            if let Some(Lexeme::User(name)) = self.next() {
                self.found.add_user(&name);
            }
        }
    }

    fn prepare(&mut self) {
        let Some(name) = self.statement_name() else {
            return;
        };
        let changes = if self.accept("FROM") {
            match self.next() {
                Some(Lexeme::Text(text)) => Assigned::within(&text, self.depth + 1),
                _ => Assigned::unclear(),
            }
        } else {
            Assigned::unclear()
        };
        if self.found.prepared.len() < NAMES_MAX {
            self.found.prepared.push((name, changes));
        }
    }

    fn execute(&mut self) {
        if self.accept("IMMEDIATE") {
            let Some(Lexeme::Text(text)) = self.next() else {
                self.found.unclear = true;
                return;
            };
            // Anything behind but USING makes it an expression.
            let is_whole =
                matches!(self.peek(), None | Some(Lexeme::Symbol(b';'))) || self.accept("USING");
            let inner = Assigned::within(&text, self.depth + 1);
            self.found.add_all(inner);
            self.found.unclear |= !is_whole;
        } else if let Some(name) = self.statement_name()
            && self.found.executed.len() < NAMES_MAX
        {
            self.found.executed.push(name);
        } else {
            self.found.unclear = true;
        }
        self.every_user_variable();
    }

    fn statement_name(&mut self) -> Option<String> {
        let name = match self.next()? {
            Lexeme::Word(name) => name.to_vec(),
            Lexeme::Name(name) => name.into_owned(),
            _ => return None,
        };
        Some(String::from_utf8_lossy(&name).to_lowercase())
    }

    /// What is created with a body is kept: where the body ends is not read, what follows it is unclear.
    fn create(&mut self) {
        for _ in 0..BEFORE_OBJECT_MAX {
            match self.peek() {
                None | Some(Lexeme::Symbol(b';' | b'(')) => return,
                Some(_) => {}
            }
            if self.accept_any(&BODIES) {
                while let Some(lexeme) = self.next() {
                    self.found.unclear |= lexeme == Lexeme::Symbol(b';') && self.peek().is_some();
                }
                return;
            }
            self.next();
        }
    }
}

#[cfg(test)]
mod tests;
