//! `SELECT PROXY_VERSION()`, by which database tools notice a proxy.

use std::borrow::Cow;

use super::parse::Mismatch;
use super::{Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who};
use crate::sql::{Token, Tokens};

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SELECT", "PROXY_VERSION"],
    grammar: "SELECT PROXY_VERSION() [AS name]",
    help: "Shows the version of Sluice.",
    who: Who::Anyone,
    scope: Scope::Own,
    example: "SELECT PROXY_VERSION() AS version",
    parse,
    answer,
}];

/// Any other use of the function is an expression, and thus the node's to refuse.
fn parse(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    if (tokens.next(), tokens.next()) != (Some(Token::Symbol(b'(')), Some(Token::Symbol(b')'))) {
        return Err(Mismatch::NotOurs);
    }
    let mut arguments = Arguments::default();
    if tokens.accept_word("AS") {
        let Some(Token::Word(name) | Token::Quoted { text: name, .. }) = tokens.next() else {
            return Err(Mismatch::NotOurs);
        };
        arguments.alias = Some(String::from_utf8_lossy(name).into_owned());
    }
    tokens
        .is_at_end()
        .then_some(arguments)
        .ok_or(Mismatch::NotOurs)
}

fn answer(arguments: &Arguments, _: &Snapshot<'_>) -> Answer {
    let name = arguments
        .alias
        .clone()
        .map_or(Cow::Borrowed("proxy_version()"), Cow::Owned);
    Answer::Rows {
        columns: vec![Column {
            name,
            kind: ColumnKind::Binary,
        }],
        rows: vec![vec![Value::text(env!("CARGO_PKG_VERSION"))]],
    }
}
