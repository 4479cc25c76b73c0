//! `SHOW PROXYSESSION`: the client sessions, a row each (odp.md, section 2).

mod alter;
mod attribute;
pub(super) mod server;
mod stat;
mod variables;

use std::net::SocketAddr;

use super::{
    Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who, access, parse,
};
use crate::session::Session;

pub(super) const STATEMENTS: &[Spec] = &[
    SPEC,
    attribute::SPEC,
    stat::SPEC,
    variables::SPEC,
    server::SHOW,
    server::KILL,
    alter::SPEC,
];

pub(super) const SPEC: Spec = Spec {
    words: &["SHOW", "PROXYSESSION"],
    grammar: "SHOW PROXYSESSION",
    help: "Lists client sessions: all of them for users of the tenant sys, else one's own.",
    who: Who::Anyone,
    scope: Scope::AllWorkers,
    example: "SHOW PROXYSESSION",
    parse: parse::nothing,
    answer,
};

pub(super) use variables::{is_about_variables, subject as variables_subject};

/// What ODP prints where there is no database: a text, not SQL NULL.
const NO_DATABASE: &str = "NULL";

const COLUMNS: [Column; 13] = {
    use ColumnKind::{Long, LongLong, Varchar};
    [
        Column::new("proxy_sessid", LongLong),
        Column::new("Id", LongLong),
        Column::new("Cluster", Varchar),
        Column::new("Tenant", Varchar),
        Column::new("User", Varchar),
        Column::new("Host", Varchar),
        Column::new("db", Varchar),
        Column::new("trans_count", LongLong),
        Column::new("svr_session_count", LongLong),
        Column::new("state", Varchar),
        Column::new("tid", LongLong),
        Column::new("pid", Long),
        Column::new("using_ssl", Long),
    ]
};

fn answer(_: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let rows = access::visible(snapshot).into_iter().map(row).collect();
    Answer::Rows {
        columns: COLUMNS.to_vec(),
        rows,
    }
}

fn row(session: &Session) -> Vec<Value> {
    vec![
        Value::Unsigned(proxy_session_id(session)),
        Value::Unsigned(session.cs_id.0.into()),
        Value::text(&session.login.cluster),
        Value::text(&session.login.tenant),
        Value::text(&session.login.user),
        Value::Text(host_of(session.client)),
        Value::text(database(session)),
        Value::Unsigned(session.transactions),
        Value::Unsigned(session.servers.len() as u64),
        Value::text(session.state.text()),
        Value::Unsigned(session.worker_tid.into()),
        Value::Unsigned(session.pid.into()),
        Value::Unsigned(session.using_ssl.into()),
    ]
}

pub(super) fn proxy_session_id(session: &Session) -> u64 {
    session.proxy_session_id.map_or(0, |id| id.0)
}

/// `ip:port`; IPv6 too goes without brackets, as in ODP.
pub(super) fn host(session: &Session) -> String {
    host_of(session.client)
}

fn host_of(address: SocketAddr) -> String {
    format!("{}:{}", address.ip().to_canonical(), address.port())
}

pub(super) fn database(session: &Session) -> &str {
    session.db.as_deref().unwrap_or(NO_DATABASE)
}

#[cfg(test)]
mod tests;
