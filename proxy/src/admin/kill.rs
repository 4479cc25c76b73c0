//! `KILL`, `KILL CONNECTION`, `KILL PROXYSESSION` and `KILL QUERY` (odp.md, section 5).

use super::parse::{self, Mismatch};
use super::proxysession::server;
use super::{AdminError, Answer, Arguments, Order, Scope, Snapshot, Spec, Who, access, fleet};
use crate::sql::{Token, Tokens};

pub(super) const STATEMENTS: &[Spec] = &[KILL, KILL_CONNECTION, KILL_QUERY, KILL_PROXYSESSION];

pub(super) const KILL: Spec = Spec {
    words: &["KILL"],
    grammar: "KILL id",
    help: "Closes a client session, named by its Id or by the CONNECTION_ID() of one of its server sessions.",
    who: Who::Anyone,
    scope: Scope::Named,
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
    grammar: "KILL QUERY id",
    help: "Stops what a client session's node is executing for it; the session lives on. Not for root@proxysys.",
    example: "KILL QUERY 262145",
    answer: answer_query,
    ..KILL
};

const KILL_PROXYSESSION: Spec = Spec {
    words: &["KILL", "PROXYSESSION"],
    grammar: "KILL PROXYSESSION id [ss_id [FORCE]]",
    help: "The same as KILL id; with an ss_id, ends that server session of it: see KILL PROXYSESSION SERVER.",
    who: Who::OperatorOnly,
    example: "KILL PROXYSESSION 262145",
    parse: parse_ids,
    answer: answer_ids,
    ..KILL
};

/// Grammar: `id [ss_id [FORCE]]`.
fn parse_ids(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    let mut ahead = tokens.clone();
    let (Some(Token::Integer(id)), Some(Token::Integer(second))) = (ahead.next(), ahead.next())
    else {
        return parse::id(tokens);
    };
    let arguments = Arguments {
        id: Some(id),
        second: Some(second),
        is_wide: ahead.accept_word("FORCE"),
        ..Arguments::default()
    };
    let is_all = ahead.is_at_end();
    is_all.then_some(arguments).ok_or(Mismatch::Malformed)
}

fn answer_ids(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    match (arguments.id, arguments.second) {
        (Some(cs_id), Some(ss_id)) => server::kill_of(snapshot, cs_id, ss_id, arguments.is_wide),
        _ => answer(arguments, snapshot),
    }
}

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
    match fleet::find(snapshot, id, access::find_to_kill) {
        Ok((None, session)) => Answer::Orders(vec![Order::Kill {
            cs_id: session.cs_id,
            own: session.cs_id == snapshot.caller.cs_id,
            running: session.running(),
        }]),
        Ok((Some(peer), session)) => Answer::Orders(vec![Order::KillAt {
            peer,
            cs_id: session.cs_id,
        }]),
        Err(answer) => answer,
    }
}

fn answer_query(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let Some(id) = arguments.id else {
        return AdminError::bad_command().into();
    };
    if access::is_proxy_root(&snapshot.caller) {
        return AdminError::bad_command().into();
    }
    match fleet::find(snapshot, id, access::find_to_interrupt) {
        Ok((_, session)) if session.cs_id == snapshot.caller.cs_id => Answer::OK,
        // Whichever proxy it is at: the nodes are the same for all.
        Ok((_, session)) => session.running().map_or(Answer::OK, |running| {
            Answer::Orders(vec![Order::KillQuery(running)])
        }),
        Err(answer) => answer,
    }
}

/// The one error that a privilege makes good: with it unknown, it is asked for first.
pub(super) fn unless_unknown(error: AdminError, snapshot: &Snapshot<'_>) -> Answer {
    if error.is_not_owner() && snapshot.caller.privileges.is_none() {
        Answer::Orders(vec![Order::LearnPrivileges])
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fixture::{ask, client, server};
    use crate::session::{AnsweredBy, Command, Prepared};
    use crate::{admin::Privileges, session::Session};

    const APP: &str = "app@shop#east";

    /// The caller 1, his like 2 (busy) and 3 (idle), another user 4, another tenant 5 (busy), `sys` 6 and `proxysys` 7.
    fn sessions() -> Vec<Session> {
        let names = [
            APP,
            APP,
            APP,
            "root@shop#east",
            "app@bank#east",
            "root@sys#east",
            "root@proxysys#east",
        ];
        let mut sessions: Vec<_> = (1..)
            .zip(names)
            .map(|(id, name)| client(id, name))
            .collect();
        for (session, connection) in sessions.iter_mut().zip(900..) {
            session.bind(server(connection, connection));
            session.command.end(1);
        }
        for busy in [1, 4] {
            sessions[busy].command =
                Command::begun(b"\x03SELECT 1", &Prepared::default(), AnsweredBy::Node, 5);
        }
        sessions
    }

    fn outcome(caller: u32, text: &str) -> String {
        match ask(&sessions(), caller, text) {
            Answer::Ok { .. } => "OK".to_owned(),
            Answer::Error(error) => error.code.to_string(),
            Answer::Orders(orders) => {
                let names = orders.iter().map(|order| match order {
                    Order::Kill {
                        cs_id,
                        own,
                        running,
                    } => {
                        let running = running.as_ref().map(|running| running.connection.0);
                        format!("kill {cs_id} {own} {}", running.unwrap_or_default())
                    }
                    Order::KillQuery(running) => format!("query {}", running.connection.0),
                    Order::LearnPrivileges => "privileges".to_owned(),
                    Order::Configure { key, .. } => format!("configure {key}"),
                    Order::EndServer { ss_id, .. } => format!("server {ss_id}"),
                    Order::AskFleet => "fleet".to_owned(),
                    Order::WaitForMyWrites(wanted) => format!("wait {wanted:?}"),
                    Order::ReadConsistency(wanted) => format!("read {wanted:?}"),
                    Order::KillAt { peer, cs_id } => format!("kill {cs_id} at {peer}"),
                    Order::Forward => "forward".to_owned(),
                });
                names.collect::<Vec<_>>().join(", ")
            }
            other @ Answer::Rows { .. } => format!("{other:?}"),
        }
    }

    #[test]
    fn kill_stops_what_runs() {
        for (caller, text, expected) in [
            (1, "KILL 3", "kill 3 false 0"),
            (1, "KILL 902", "kill 3 false 0"),
            (1, "KILL 2", "kill 2 false 901"),
            (2, "KILL 2", "kill 2 true 901"),
            (1, "KILL 4", "privileges"),
            (1, "KILL 5", "1094"),
            (6, "KILL 5", "kill 5 false 904"),
            (7, "KILL PROXYSESSION 5", "kill 5 false 904"),
            (1, "KILL PROXYSESSION 3", "5010"),
        ] {
            assert_eq!(outcome(caller, text), expected, "{caller}: {text}");
        }
    }

    #[test]
    fn kill_query_has_rights_of_its_own() {
        for (caller, text, expected) in [
            (1, "KILL QUERY 2", "query 901"),
            (1, "KILL QUERY 901", "query 901"),
            (1, "KILL QUERY 3", "OK"),
            (1, "KILL QUERY 1", "OK"),
            (1, "KILL QUERY 4", "privileges"),
            (1, "KILL QUERY 5", "1094"),
            (1, "KILL QUERY 99", "1094"),
            (1, "KILL QUERY -1", "1094"),
            // Unlike KILL, it gives `sys` nothing.
            (6, "KILL QUERY 5", "1094"),
            (7, "KILL QUERY 2", "5010"),
        ] {
            assert_eq!(outcome(caller, text), expected, "{caller}: {text}");
        }
    }

    #[test]
    fn privileges_are_asked_for_once() {
        let error = AdminError::not_owner(4);
        let sessions = sessions();
        let daemon = crate::admin::fixture::daemon();
        let caller = |privileges| crate::admin::Caller {
            cs_id: sessions[0].cs_id,
            login: &sessions[0].login,
            has_tenant: true,
            privileges,
        };
        let unless = |privileges| {
            let snapshot = Snapshot {
                sessions: &sessions,
                caller: caller(privileges),
                daemon,
            };
            unless_unknown(error.clone(), &snapshot)
        };
        assert_eq!(unless(None), Answer::Orders(vec![Order::LearnPrivileges]));
        assert_eq!(
            unless(Some(Privileges::default())),
            Answer::Error(error.clone())
        );
    }
}
