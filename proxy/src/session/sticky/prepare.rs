//! `PREPARE`, `EXECUTE` and `EXECUTE IMMEDIATE`: what is executed does what its text says, where that stands in the statement itself.

use std::borrow::Cow;

use super::{END, Knot, StickyReason, identifier, knots_within};
use crate::sql::lexer::{Lexeme, Lexer};

/// How deep texts within texts are read.
pub(super) const DEPTH_MAX: u8 = 4;

/// What follows `PREPARE`.
pub(super) fn prepare(mut tokens: Lexer<'_>, depth: u8) -> Knot {
    let Some(name) = name(&mut tokens) else {
        return Knot::Tie(StickyReason::PreparedStatement, None);
    };
    let text = tokens
        .accept_word("FROM")
        .then(|| literal(tokens))
        .flatten()
        // Which other names are this one, only the server knows.
        .filter(|_| name.is_ascii());
    let does = text.map(|text| all_at_once(knots_within(&text, depth)));
    Knot::Prepare(name, does)
}

/// What follows `EXECUTE`.
pub(super) fn execute(mut tokens: Lexer<'_>, depth: u8) -> Vec<Knot> {
    let unknown = || vec![Knot::Tie(StickyReason::Routine, None)];
    if tokens.accept_word("IMMEDIATE") {
        let text = literal(tokens);
        return text.map_or_else(unknown, |text| all_at_once(knots_within(&text, depth)));
    }
    name(&mut tokens).map_or_else(unknown, |name| vec![Knot::Execute(name)])
}

fn name(tokens: &mut Lexer<'_>) -> Option<Vec<u8>> {
    Some(identifier(tokens.next())?.to_ascii_lowercase())
}

/// The text that comes next, if nothing but values for its parameters follows: with anything else behind it is an expression.
fn literal(mut tokens: Lexer<'_>) -> Option<Cow<'_, [u8]>> {
    let Some(Lexeme::Text(text)) = tokens.next() else {
        return None;
    };
    let behind = tokens.next();
    let is_whole = behind
        .as_ref()
        .is_none_or(|lexeme| *lexeme == END || lexeme.is_word("USING"));
    is_whole.then_some(text)
}

/// What a text does that is executed as one: what it executes itself may be anything.
fn all_at_once(knots: Vec<Knot>) -> Vec<Knot> {
    let plain = knots.into_iter().map(|knot| match knot {
        Knot::Execute(_) => Knot::Tie(StickyReason::Routine, None),
        Knot::Prepare(name, _) => Knot::Prepare(name, None),
        Knot::Tie(..) | Knot::Untie(..) | Knot::UntieAll(_) | Knot::Blur(_) => knot,
    });
    plain.collect()
}
