//! `SHOW PROXYDRAIN`: sessions that are to leave a drained node, or a daemon that is to stop, and what keeps them.

use super::{
    Answer, Arguments, Column, ColumnKind, Daemon, Scope, Snapshot, Spec, Value, Who, access, parse,
};
use crate::session::Session;

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SHOW", "PROXYDRAIN"],
    grammar: "SHOW PROXYDRAIN",
    help: "Lists the sessions that are still at a drained node, or in a daemon that is to stop, with what keeps them and the seconds until they are ended; NULL: they are not.",
    who: Who::Operator,
    scope: Scope::AllWorkers,
    example: "SHOW PROXYDRAIN",
    parse: parse::nothing,
    answer,
}];

fn answer(_: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let daemon = snapshot.daemon;
    let visible = access::visible(snapshot);
    let rows = visible.into_iter().filter_map(|session| {
        let node = session.node.as_deref()?;
        let since_ms = session.leaves_since_ms;
        if since_ms.is_none() && daemon.retires_at_ms.is_none() {
            return None;
        }
        let until_ms = deadline(session, daemon);
        Some(vec![
            Value::text(node),
            Value::Unsigned(session.cs_id.0.into()),
            Value::text(&session.login.tenant),
            Value::text(&session.login.user),
            Value::Text(session.client.to_string()),
            Value::Text(reason(session)),
            until_ms.map_or(Value::Null, |until_ms| {
                Value::Unsigned(until_ms.saturating_sub(daemon.uptime_ms).div_ceil(1000))
            }),
        ])
    });
    let text = |name| Column::new(name, ColumnKind::Varchar);
    let number = |name| Column::new(name, ColumnKind::LongLong);
    Answer::Rows {
        columns: vec![
            text("node"),
            number("Id"),
            text("Tenant"),
            text("User"),
            text("Host"),
            text("reason"),
            number("ends_in_sec"),
        ],
        rows: rows.collect(),
    }
}

/// Until when a session that is to leave may stay; none: for ever.
fn deadline(session: &Session, daemon: &Daemon) -> Option<u64> {
    if daemon.retires_at_ms.is_some() {
        return daemon.retires_at_ms;
    }
    let since_ms = session.leaves_since_ms?;
    let patience = daemon.settings.drain_timeout.as_millis();
    let patience = u64::try_from(patience).unwrap_or(u64::MAX);
    (patience > 0).then(|| since_ms.saturating_add(patience))
}

fn reason(session: &Session) -> String {
    let ties: Vec<_> = session
        .sticky_reasons()
        .iter()
        .map(|reason| reason.text())
        .collect();
    match &session.stays {
        _ if session.command.is_running() => "it is executing a command".to_owned(),
        _ if !ties.is_empty() => ties.join(", "),
        Some(stays) => stays.clone(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::admin::fixture::{ask, manual, table};

    #[test]
    fn only_who_is_to_leave_is_listed() {
        let mut sessions = manual();
        for session in &mut sessions {
            session.node = Some("db2:2881".to_owned());
            session.command.end(1);
        }
        sessions[1].leaves_since_ms = Some(80_000);
        sessions[1].stays = Some("the node does not let it in".to_owned());
        sessions[2].leaves_since_ms = Some(90_000);
        sessions[2].has_prepared = true;
        let table = table(ask(&sessions, 1_048_577, "SHOW PROXYDRAIN"));
        assert_eq!(
            table,
            "node | Id | Tenant | User | Host | reason | ends_in_sec\n\
             db2:2881 | 5 | mysql | root | 10.3.6.9:38027 | the node does not let it in | (null)\n\
             db2:2881 | 524297 | mysql | root | [fe80::1]:38270 | prepared statement | (null)"
        );
    }
}
