//! `KILL`, `KILL CONNECTION`, `KILL PROXYSESSION` and, for the node, `KILL QUERY`.

use super::parse::{self, Mismatch};
use super::{AdminError, Answer, Arguments, Order, Scope, Snapshot, Spec, Who, access};
use crate::sql::{Token, Tokens};

pub(super) const STATEMENTS: &[Spec] = &[KILL, KILL_CONNECTION, KILL_QUERY, KILL_PROXYSESSION];

pub(super) const KILL: Spec = Spec {
    words: &["KILL"],
    grammar: "KILL id",
    help: "Closes a client session, named by its Id or by the CONNECTION_ID() of one of its server sessions.",
    who: Who::Anyone,
    scope: Scope::AllWorkers,
    example: "KILL 262145",
    parse: parse_id_or_leave,
    answer,
};

const KILL_CONNECTION: Spec = Spec {
    words: &["KILL", "CONNECTION"],
    grammar: "KILL CONNECTION id",
    help: "The same as KILL id.",
    example: "KILL CONNECTION 262145",
    ..KILL
};

const KILL_QUERY: Spec = Spec {
    words: &["KILL", "QUERY"],
    grammar: "KILL QUERY connection_id",
    help: "Goes to the node unchanged: the id is the node's.",
    scope: Scope::Own,
    example: "KILL QUERY 7",
    answer: |_, _| Answer::Orders(vec![Order::Forward]),
    ..KILL
};

const KILL_PROXYSESSION: Spec = Spec {
    words: &["KILL", "PROXYSESSION"],
    grammar: "KILL PROXYSESSION id",
    help: "The same as KILL id.",
    who: Who::OperatorOnly,
    example: "KILL PROXYSESSION 262145",
    parse: parse::id,
    ..KILL
};

/// The servers know more forms of KILL (`HARD`, `SOFT`, `QUERY ID`, `USER`, an expression for the id): those are theirs. What begins
/// with a number is ours.
fn parse_id_or_leave(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    match tokens.clone().next() {
        Some(Token::Integer(_) | Token::LongInteger) => parse::id(tokens),
        _ => Err(Mismatch::NotOurs),
    }
}

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let Some(id) = arguments.id else {
        return AdminError::bad_command().into();
    };
    match access::find_to_kill(snapshot, id) {
        Ok(session) => {
            let own = session.cs_id == snapshot.caller.cs_id;
            Answer::Orders(vec![Order::Kill {
                cs_id: session.cs_id,
                own,
            }])
        }
        Err(error) => error.into(),
    }
}
