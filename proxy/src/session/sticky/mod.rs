//! Why a session may not move to another server session: state that lives in the node's connection and that nobody can put into another one.
//! Read from the texts of statements that have succeeded; every statement that makes such state traps, so the daemon sees them all.
//!
//! A tie that cannot be named is kept until the client resets its session: moving it would lose what the client relies on.

mod prepare;

use std::borrow::Cow;

use self::prepare::DEPTH_MAX;
use super::command;
use crate::sql::lexer::{Lexeme, Lexer};

/// Names kept of one kind; one more makes the tie last until a reset.
const NAMES_MAX: usize = 64;

/// The end of a statement that another one follows.
const END: Lexeme<'_> = Lexeme::Symbol(b';');
/// The tie of `LOCK TABLES`.
const TABLES: &[u8] = b"tables";
/// Variables of which `@@name` without a scope means the next transaction's.
const NEXT_TRANSACTION: [&str; 4] = [
    "transaction_isolation",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
];

/// Why a session stays on its server session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StickyReason {
    /// A transaction is open, or the node's status could not be known.
    Transaction,
    /// `SET TRANSACTION` was said for a transaction that has not begun.
    NextTransaction,
    /// `CREATE TEMPORARY TABLE`.
    TemporaryTable,
    /// `LOCK TABLES`, `FLUSH TABLES … WITH READ LOCK` and their like.
    TableLock,
    /// `GET_LOCK()`.
    UserLock,
    /// A prepared statement, of the binary protocol or `PREPARE`.
    PreparedStatement,
    /// `HANDLER … OPEN`.
    Handler,
    /// `XA PREPARE` without its end.
    Xa,
    /// `SET ROLE`.
    Role,
    /// `CALL`, a compound statement, or `EXECUTE` of a text that is not known: what it has done is not known.
    Routine,
    /// A statement that could not be read.
    Unread,
}

impl StickyReason {
    /// All of them, in their order.
    pub const ALL: [Self; 11] = [
        Self::Transaction,
        Self::NextTransaction,
        Self::TemporaryTable,
        Self::TableLock,
        Self::UserLock,
        Self::PreparedStatement,
        Self::Handler,
        Self::Xa,
        Self::Role,
        Self::Routine,
        Self::Unread,
    ];

    /// The text that users see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::NextTransaction => "SET TRANSACTION",
            Self::TemporaryTable => "temporary table",
            Self::TableLock => "table lock",
            Self::UserLock => "user lock",
            Self::PreparedStatement => "prepared statement",
            Self::Handler => "handler",
            Self::Xa => "XA transaction",
            Self::Role => "role",
            Self::Routine => "routine",
            Self::Unread => "unread statement",
        }
    }
}

/// What a statement ties or unties once it has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Knot {
    /// This tie is made, under a name where it has one.
    Tie(StickyReason, Option<Vec<u8>>),
    /// The tie of this name is gone.
    Untie(StickyReason, Vec<u8>),
    /// All ties of this kind are gone.
    UntieAll(StickyReason),
    /// Names of this kind may mean something else from now on: no tie is let go by its name any more.
    Blur(StickyReason),
    /// A statement of this name is made (`PREPARE`), and what an execution of it does, if its text is known.
    Prepare(Vec<u8>, Option<Vec<Self>>),
    /// The statement of this name is executed.
    Execute(Vec<u8>),
}

/// A session's ties, but for those that status flags and the table of prepared statements tell.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ties {
    /// What can be taken more than once stands here as often.
    named: Vec<(StickyReason, Vec<u8>)>,
    unnamed: Vec<StickyReason>,
    /// What executions of the statements do that `PREPARE` has made of known texts, by their names.
    prepared: Vec<(Vec<u8>, Vec<Knot>)>,
    /// How many transactions had ended when this was last told, and when something was last said for the next one.
    ended: u64,
    said_at: u64,
}

impl Ties {
    /// Takes in what a successful statement has done.
    pub fn apply(&mut self, knots: Vec<Knot>) {
        for knot in knots {
            match knot {
                Knot::Tie(reason, Some(name)) if self.has_room(reason) => {
                    let tie = (reason, name);
                    // Taken twice, it is to be given back twice ("GET_LOCK", MySQL's manual).
                    if reason == StickyReason::UserLock || !self.named.contains(&tie) {
                        self.named.push(tie);
                    }
                }
                Knot::Tie(reason, _) => {
                    if reason == StickyReason::NextTransaction {
                        self.said_at = self.ended;
                    }
                    if !self.unnamed.contains(&reason) {
                        self.unnamed.push(reason);
                    }
                }
                Knot::Untie(reason, name) => {
                    if reason == StickyReason::PreparedStatement {
                        self.prepared.retain(|(known, _)| *known != name);
                    }
                    let tie = (reason, name);
                    if let Some(at) = self.named.iter().position(|known| *known == tie) {
                        self.named.remove(at);
                    }
                }
                Knot::Prepare(name, does) => self.prepare(name, does),
                Knot::Execute(name) => {
                    let does = self.prepared.iter().find(|(known, _)| *known == name);
                    let unknown = || vec![Knot::Tie(StickyReason::Routine, None)];
                    let does = does.map_or_else(unknown, |(_, does)| does.clone());
                    self.apply(does);
                }
                Knot::Blur(reason) => {
                    let before = self.named.len();
                    self.named.retain(|(of, _)| *of != reason);
                    if self.named.len() < before {
                        self.apply(vec![Knot::Tie(reason, None)]);
                    }
                }
                Knot::UntieAll(reason) => {
                    self.named.retain(|(of, _)| *of != reason);
                    self.unnamed.retain(|of| *of != reason);
                }
            }
        }
    }

    /// A statement of this name is made, in the place of one that may have had it.
    fn prepare(&mut self, name: Vec<u8>, does: Option<Vec<Knot>>) {
        self.prepared.retain(|(known, _)| *known != name);
        let tie = Knot::Tie(StickyReason::PreparedStatement, Some(name.clone()));
        if let Some(does) = does.filter(|_| self.prepared.len() < NAMES_MAX) {
            self.prepared.push((name, does));
        }
        self.apply(vec![tie]);
    }

    /// So many transactions have ended in the session, relayed and spliced: with the next one's end, what was said for it is used up.
    pub fn transactions_ended(&mut self, count: u64) {
        self.ended = count;
        if count > self.said_at {
            self.unnamed
                .retain(|of| *of != StickyReason::NextTransaction);
        }
    }

    /// Whether the end of a transaction unties something.
    pub fn waits_for_transaction(&self) -> bool {
        self.unnamed.contains(&StickyReason::NextTransaction)
    }

    /// The session was reset.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Every kind of tie that there is, each once, in a fixed order.
    pub fn reasons(&self) -> Vec<StickyReason> {
        let named = self.named.iter().map(|(reason, _)| *reason);
        let mut reasons: Vec<_> = named.chain(self.unnamed.iter().copied()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }

    fn has_room(&self, reason: StickyReason) -> bool {
        self.named.iter().filter(|(of, _)| *of == reason).count() < NAMES_MAX
    }
}

/// What a command ties or unties, once it is known how it went.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Knots {
    knots: Vec<Knot>,
    is_batch: bool,
}

impl Knots {
    /// Whether it neither ties nor unties anything, however it goes.
    pub const fn is_empty(&self) -> bool {
        self.knots.is_empty()
    }

    /// Those that hold after the command's last response. Of a batch that has failed the statements before the failed one have been executed:
    /// what they may have tied holds.
    pub fn after(self, is_ok: bool) -> Vec<Knot> {
        if is_ok {
            return self.knots;
        }
        let ties = self.knots.into_iter().filter_map(perhaps);
        ties.filter(|_| self.is_batch).collect()
    }
}

/// What the statements of this text tie or untie if they succeed.
pub fn knots(text: &[u8]) -> Vec<Knot> {
    knots_within(text, 0)
}

/// The same of a text that stands so deep in others.
fn knots_within(text: &[u8], depth: u8) -> Vec<Knot> {
    if depth > DEPTH_MAX {
        return vec![Knot::Tie(StickyReason::Unread, None)];
    }
    let (knots, lexer) = read(Lexer::new(text), depth);
    if !lexer.is_doubtful() {
        return knots;
    }
    let (others, literal) = read(Lexer::without_escapes(text), depth);
    // What has no end in one reading the server has not executed in that one.
    match (lexer.is_unfinished(), literal.is_unfinished()) {
        (false, true) if !lexer.is_ambiguous() => knots,
        (true, false) if !lexer.is_ambiguous() => others,
        _ if knots == others && !lexer.is_ambiguous() => knots,
        _ => {
            let ties = knots.into_iter().chain(others).filter_map(perhaps);
            let unread = SUSPICIOUS.iter().any(|word| mentions(text, word));
            let unread = unread.then_some(Knot::Tie(StickyReason::Unread, None));
            ties.chain(unread).collect()
        }
    }
}

/// Words that a text which cannot be read must not hold, or it may tie the session.
const SUSPICIOUS: [&[u8]; 10] = [
    b"get_lock",
    b"temporary",
    b"lock table",
    b"read lock",
    b"prepare",
    b"handler",
    b"call",
    b"execute",
    b"role",
    b"xa ",
];

/// What holds of this where nobody knows whether it was executed, if anything does.
fn perhaps(knot: Knot) -> Option<Knot> {
    match knot {
        Knot::Tie(..) | Knot::Blur(_) => Some(knot),
        Knot::Untie(..) | Knot::UntieAll(_) => None,
        Knot::Prepare(name, _) => Some(Knot::Prepare(name, None)),
        Knot::Execute(_) => Some(Knot::Tie(StickyReason::Routine, None)),
    }
}

/// One reading of a text, which stands so deep in others. What an executable comment unties may be tied still.
fn read(mut lexer: Lexer<'_>, depth: u8) -> (Vec<Knot>, Lexer<'_>) {
    let mut knots = statement(lexer.clone(), depth);
    while let Some(lexeme) = lexer.next() {
        match lexeme {
            Lexeme::Symbol(b';') => knots.extend(statement(lexer.clone(), depth)),
            Lexeme::Word(word) if word.len() >= "GET_LOCK".len() => {
                knots.extend(user_lock(&lexeme, lexer.clone()));
            }
            _ => {}
        }
    }
    if lexer.has_executable() {
        knots = knots.into_iter().filter_map(perhaps).collect();
    }
    (knots, lexer)
}

/// `GET_LOCK('name', …)`, `RELEASE_LOCK('name')` and `RELEASE_ALL_LOCKS()`, wherever they stand.
fn user_lock(function: &Lexeme<'_>, mut behind: Lexer<'_>) -> Option<Knot> {
    use StickyReason::UserLock;
    let name = |lexer: &mut Lexer<'_>| match (lexer.next(), lexer.next()) {
        (Some(Lexeme::Symbol(b'(')), Some(Lexeme::Text(text))) => Some(text.to_ascii_lowercase()),
        _ => None,
    };
    if function.is_word("GET_LOCK") {
        Some(Knot::Tie(UserLock, name(&mut behind)))
    } else if function.is_word("RELEASE_LOCK") {
        // Which lock an expression names is not known: none is let go.
        name(&mut behind).map(|name| Knot::Untie(UserLock, name))
    } else if function.is_word("RELEASE_ALL_LOCKS") {
        Some(Knot::UntieAll(UserLock))
    } else {
        None
    }
}

/// What the command at the front of `bytes` ties or unties if it succeeds. `attributes`: the session has query attributes. Of a prepared
/// statement's text it is assumed that it will be executed: its executions are forwarded unseen.
pub fn knots_of_command(bytes: &[u8], attributes: bool) -> Knots {
    match command::text(bytes, attributes) {
        Some(command::Text::Whole(text)) => Knots {
            knots: knots(text),
            is_batch: text.contains(&b';'),
        },
        Some(command::Text::Head(head)) if !command::begins_with_data_verb(head) => Knots {
            knots: vec![Knot::Tie(StickyReason::Unread, None)],
            is_batch: true,
        },
        None if command::changes_database(bytes) => Knots {
            knots: vec![Knot::Blur(StickyReason::TemporaryTable)],
            is_batch: false,
        },
        Some(command::Text::Head(_)) | None => Knots::default(),
    }
}

/// Whether the rest of the statement has one of these words.
fn has_word(tokens: &Lexer<'_>, words: &[&str]) -> bool {
    let mut rest = tokens.clone().take_while(|lexeme| *lexeme != END);
    rest.any(|lexeme| words.iter().any(|word| lexeme.is_word(word)))
}

/// What the statement at the front of `tokens` ties or unties, in a text that stands so deep in others.
fn statement(mut tokens: Lexer<'_>, depth: u8) -> Vec<Knot> {
    use StickyReason::{PreparedStatement, Role, Routine, TableLock, Xa};
    let Some(Lexeme::Word(verb)) = tokens.next() else {
        return Vec::new();
    };
    let tie = |reason| vec![Knot::Tie(reason, None)];
    match &*verb.to_ascii_uppercase() {
        b"CREATE" => create(tokens),
        // `t` is another table then.
        b"USE" | b"RENAME" => vec![Knot::Blur(StickyReason::TemporaryTable)],
        b"ALTER" if has_word(&tokens, &["RENAME"]) => {
            vec![Knot::Blur(StickyReason::TemporaryTable)]
        }
        b"DROP" | b"DEALLOCATE" if tokens.accept_word("PREPARE") => {
            untie(PreparedStatement, tokens.next())
        }
        b"DROP" => drop_table(tokens),
        b"LOCK" if tokens.accept_word("TABLE") || tokens.accept_word("TABLES") => {
            vec![Knot::Tie(TableLock, Some(TABLES.to_vec()))]
        }
        b"LOCK" | b"BACKUP" => tie(TableLock),
        b"FLUSH" if has_word(&tokens, &["LOCK", "EXPORT"]) => tie(TableLock),
        b"PREPARE" => vec![prepare::prepare(tokens, depth + 1)],
        b"EXECUTE" => prepare::execute(tokens, depth + 1),
        b"HANDLER" => handler(tokens),
        b"XA" if tokens.accept_word("PREPARE") => tie(Xa),
        b"XA" if tokens.accept_word("COMMIT") || tokens.accept_word("ROLLBACK") => {
            vec![Knot::UntieAll(Xa)]
        }
        b"SET" if tokens.accept_word("TRANSACTION") => tie(StickyReason::NextTransaction),
        b"SET" if tokens.accept_word("ROLE") => tie(Role),
        b"SET" if sets_next_transaction(tokens.clone()) => tie(StickyReason::NextTransaction),
        // MariaDB's: variables for one statement.
        b"SET" if tokens.accept_word("STATEMENT") => set_statement(tokens, depth),
        b"CALL" => tie(Routine),
        b"BEGIN" if tokens.accept_word("NOT") => tie(Routine),
        b"UNLOCK" => vec![Knot::UntieAll(TableLock)],
        // A transaction's begin frees tables that are locked, but not the global read lock (the manual, "LOCK TABLES").
        b"BEGIN" => vec![Knot::Untie(TableLock, TABLES.to_vec())],
        b"START" if tokens.accept_word("TRANSACTION") => {
            vec![Knot::Untie(TableLock, TABLES.to_vec())]
        }
        _ => Vec::new(),
    }
}

/// `SET STATEMENT name = value, … FOR statement`.
fn set_statement(mut tokens: Lexer<'_>, depth: u8) -> Vec<Knot> {
    let mut open = 0_usize;
    while let Some(lexeme) = tokens.next().filter(|lexeme| *lexeme != END) {
        match lexeme {
            Lexeme::Symbol(b'(') => open += 1,
            Lexeme::Symbol(b')') => open = open.saturating_sub(1),
            lexeme if open == 0 && lexeme.is_word("FOR") => {
                return if depth < DEPTH_MAX {
                    statement(tokens, depth + 1)
                } else {
                    vec![Knot::Tie(StickyReason::Unread, None)]
                };
            }
            _ => {}
        }
    }
    Vec::new()
}

/// `SET @@transaction_isolation = …`: without a scope's word this is for the next transaction only, unlike without the `@@` (the manual,
/// "SET TRANSACTION").
fn sets_next_transaction(tokens: Lexer<'_>) -> bool {
    let mut names_one = false;
    let mut is_system = false;
    for lexeme in tokens.take_while(|lexeme| *lexeme != END) {
        if names_one && matches!(lexeme, Lexeme::Assign | Lexeme::Symbol(b'=')) {
            return true;
        }
        names_one = is_system && NEXT_TRANSACTION.iter().any(|name| lexeme.is_word(name));
        is_system = lexeme == Lexeme::System;
    }
    false
}

/// `HANDLER [schema.]table OPEN [[AS] alias]`, `HANDLER name CLOSE`. Without an alias its name is the table's, without the schema's.
fn handler(mut tokens: Lexer<'_>) -> Vec<Knot> {
    let mut name = tokens.next();
    let mut ahead = tokens.clone();
    if ahead.next() == Some(Lexeme::Symbol(b'.')) {
        name = ahead.next();
        tokens = ahead;
    }
    if tokens.accept_word("OPEN") {
        tokens.accept_word("AS");
        let alias = tokens.next().filter(|token| *token != END);
        named(StickyReason::Handler, alias.or(name))
    } else if tokens.accept_word("CLOSE") {
        untie(StickyReason::Handler, name)
    } else {
        Vec::new()
    }
}

/// `CREATE [OR REPLACE] TEMPORARY TABLE [IF NOT EXISTS] name`.
fn create(mut tokens: Lexer<'_>) -> Vec<Knot> {
    if tokens.accept_word("OR") {
        tokens.accept_word("REPLACE");
    }
    if !tokens.accept_word("TEMPORARY") {
        return Vec::new();
    }
    if !tokens.accept_word("TABLE") {
        // MariaDB's temporary sequences, and whatever else there will be.
        return vec![Knot::Tie(StickyReason::TemporaryTable, None)];
    }
    if tokens.accept_word("IF") {
        tokens.accept_word("NOT");
        tokens.accept_word("EXISTS");
    }
    vec![Knot::Tie(
        StickyReason::TemporaryTable,
        table_name(&mut tokens),
    )]
}

/// `DROP [TEMPORARY] TABLE [IF EXISTS] name, …`.
fn drop_table(mut tokens: Lexer<'_>) -> Vec<Knot> {
    tokens.accept_word("TEMPORARY");
    if !tokens.accept_word("TABLE") && !tokens.accept_word("TABLES") {
        return Vec::new();
    }
    if tokens.accept_word("IF") {
        tokens.accept_word("EXISTS");
    }
    let mut knots = Vec::new();
    while let Some(name) = table_name(&mut tokens) {
        knots.push(Knot::Untie(StickyReason::TemporaryTable, name));
        if tokens.next() != Some(Lexeme::Symbol(b',')) {
            break;
        }
    }
    knots
}

/// `table` or `schema.table`, as it is written but for its quotes.
fn table_name(tokens: &mut Lexer<'_>) -> Option<Vec<u8>> {
    let mut name = identifier(tokens.next())?.into_owned();
    let mut ahead = tokens.clone();
    if ahead.next() == Some(Lexeme::Symbol(b'.')) {
        name.push(b'.');
        name.extend_from_slice(&identifier(ahead.next())?);
        *tokens = ahead;
    }
    Some(name)
}

fn identifier(lexeme: Option<Lexeme<'_>>) -> Option<Cow<'_, [u8]>> {
    match lexeme {
        Some(Lexeme::Word(name)) => Some(Cow::Borrowed(name)),
        Some(Lexeme::Name(name) | Lexeme::Text(name)) => Some(name),
        _ => None,
    }
}

/// A tie under a name that is compared without case.
fn named(reason: StickyReason, name: Option<Lexeme<'_>>) -> Vec<Knot> {
    let name = identifier(name).map(|name| name.to_ascii_lowercase());
    vec![Knot::Tie(reason, name)]
}

/// The end of a tie under a name that is compared without case.
fn untie(reason: StickyReason, name: Option<Lexeme<'_>>) -> Vec<Knot> {
    let name = identifier(name).map(|name| name.to_ascii_lowercase());
    name.map(|name| Knot::Untie(reason, name))
        .into_iter()
        .collect()
}

/// Whether a text holds this word, which is in lower case, in whatever case. Most of a text is passed by its first byte alone.
fn mentions(text: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else {
        return true;
    };
    let mut rest = text;
    while let Some(at) = rest
        .iter()
        .position(|byte| byte.eq_ignore_ascii_case(first))
    {
        let found = rest.get(at..at + word.len());
        if found.is_some_and(|found| found.eq_ignore_ascii_case(word)) {
            return true;
        }
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests;
