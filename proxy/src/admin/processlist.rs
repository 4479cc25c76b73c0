//! `SHOW PROCESSLIST`, as ODP shows it (odp.md, section 1.4), and `SHOW FULL PROCESSLIST`, in the columns of OceanBase's own: what each session
//! is doing, also where the kernel splices it.

use super::{
    Answer, Arguments, Column, ColumnKind, Order, Scope, Snapshot, Spec, Value, Who, access,
    parse::Mismatch,
    proxysession::{database, host, proxy_session_id},
};
use crate::{
    session::{ClientState, Session},
    sql::Tokens,
};

pub(super) const STATEMENTS: &[Spec] = &[SHORT, FULL];

pub(super) const SHORT: Spec = Spec {
    words: &["SHOW", "PROCESSLIST"],
    grammar: "SHOW PROCESSLIST",
    help: "Lists client sessions: all of them for users of the tenant sys, else those of one's own user, with the privilege PROCESS those of one's tenant.",
    who: Who::Anyone,
    scope: Scope::AllWorkers,
    example: "SHOW PROCESSLIST",
    parse: nothing_or_leave,
    answer: |_, snapshot| list(&SHORT_COLUMNS, snapshot, short_row),
};

pub(super) const FULL: Spec = Spec {
    words: &["SHOW", "FULL", "PROCESSLIST"],
    grammar: "SHOW FULL PROCESSLIST",
    help: "Lists the same sessions with what each is doing: its command, for how long, and the first 256 bytes of the statement.",
    example: "SHOW FULL PROCESSLIST",
    answer: |_, snapshot| list(&FULL_COLUMNS, snapshot, full_row),
    ..SHORT
};

const SHORT_COLUMNS: [Column; 10] = {
    use ColumnKind::{Long, LongLong, Varchar};
    [
        Column::new("Id", LongLong),
        Column::new("Tenant", Varchar),
        Column::new("User", Varchar),
        Column::new("Host", Varchar),
        Column::new("db", Varchar),
        Column::new("trans_count", LongLong),
        Column::new("svr_session_count", LongLong),
        Column::new("state", Varchar),
        Column::new("tid", LongLong),
        Column::new("pid", Long),
    ]
};

const FULL_COLUMNS: [Column; 12] = {
    use ColumnKind::{Long, LongLong, Varchar};
    [
        Column::new("Id", LongLong),
        Column::new("User", Varchar),
        Column::new("Tenant", Varchar),
        Column::new("Host", Varchar),
        Column::new("db", Varchar),
        Column::new("Command", Varchar),
        Column::new("Time", LongLong),
        Column::new("State", Varchar),
        Column::new("Info", Varchar),
        Column::new("Ip", Varchar),
        Column::new("Port", Long),
        Column::new("Proxy_sessid", LongLong),
    ]
};

/// Servers know these statements too: what else is written behind them is theirs to refuse.
fn nothing_or_leave(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    tokens
        .is_at_end()
        .then(Arguments::default)
        .ok_or(Mismatch::NotOurs)
}

fn list(
    columns: &[Column],
    snapshot: &Snapshot<'_>,
    row: fn(&Session, u64) -> Vec<Value>,
) -> Answer {
    let now_ns = snapshot.daemon.now_ns;
    let Some(sessions) = access::listed(snapshot) else {
        return Answer::Orders(vec![Order::LearnPrivileges]);
    };
    let rows = sessions.into_iter().map(|session| row(session, now_ns));
    Answer::Rows {
        columns: columns.to_vec(),
        rows: rows.collect(),
    }
}

fn short_row(session: &Session, _: u64) -> Vec<Value> {
    vec![
        Value::Unsigned(session.cs_id.0.into()),
        Value::text(&session.login.tenant),
        Value::text(&session.login.user),
        Value::Text(host(session)),
        Value::text(database(session)),
        Value::Unsigned(session.transactions),
        Value::Unsigned(session.servers.len() as u64),
        Value::text(session.state.text()),
        Value::Unsigned(session.worker_tid.into()),
        Value::Unsigned(session.pid.into()),
    ]
}

fn full_row(session: &Session, now_ns: u64) -> Vec<Value> {
    let command = &session.command;
    let (name, state) = if session.state == ClientState::HalfClose || !command.is_running() {
        ("Sleep", "SLEEP")
    } else {
        (command.name(), "ACTIVE")
    };
    let info = command.text.to_text();
    let node = session.bound_server().map(|server| server.node);
    vec![
        Value::Unsigned(session.cs_id.0.into()),
        Value::text(&session.login.user),
        Value::text(&session.login.tenant),
        Value::Text(host(session)),
        session.db.as_ref().map_or(Value::Null, Value::text),
        Value::text(name),
        Value::Unsigned(command.state_ns(now_ns) / 1_000_000_000),
        Value::text(state),
        if command.is_running() && !info.is_empty() {
            Value::Text(info)
        } else {
            Value::Null
        },
        node.map_or(Value::Null, |node| {
            Value::Text(node.ip().to_canonical().to_string())
        }),
        node.map_or(Value::Null, |node| Value::Unsigned(node.port().into())),
        Value::Unsigned(proxy_session_id(session)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::fixture::{ask, client, manual, server, table},
        session::{AnsweredBy, Command, Prepared, ProxySessionId},
    };

    fn check(answer: Answer, expected: &str) {
        let expected: Vec<_> = expected.trim().lines().map(str::trim).collect();
        assert_eq!(table(answer), expected.join("\n"));
    }

    #[test]
    fn the_short_list_has_the_columns_of_odp() {
        use ColumnKind::{Long as L, LongLong as LL, Varchar as V};
        let answer = ask(&manual(), 5, "show processlist;");
        let Answer::Rows { columns, .. } = &answer else {
            panic!("{answer:?}")
        };
        let kinds: Vec<_> = columns.iter().map(|column| column.kind).collect();
        assert_eq!(kinds, [LL, V, V, V, V, LL, LL, V, LL, L]);
        check(
            answer,
            "
            Id | Tenant | User | Host | db | trans_count | svr_session_count | state | tid | pid
            5 | mysql | root | 10.3.6.9:38027 | test | 0 | 1 | MCS_ACTIVE_READER | 73104 | 73104
            524297 | mysql | root | fe80::1:38270 | oceanbase | 0 | 1 | MCS_ACTIVE_READER | 73179 | 73104
            ",
        );
    }

    /// One that runs, one that sleeps, one that logs in.
    fn busy() -> Vec<Session> {
        let mut runs = client(1, "app@shop#east");
        runs.bind(server(1, 70));
        runs.db = Some("shop".to_owned());
        runs.proxy_session_id = Some(ProxySessionId(838_175_694_068_187_149));
        let mut prepared = Prepared::default();
        prepared.remember(
            3,
            crate::session::activity::Head::new(b"SELECT SLEEP(?)"),
            None,
        );
        runs.command = Command::begun(
            b"\x17\x03\0\0\0",
            &prepared,
            AnsweredBy::Node,
            1_000_000_000,
        );
        let mut sleeps = client(2, "app@shop#east");
        sleeps.bind(server(2, 71));
        sleeps.command = Command::begun(b"\x03SELECT 1", &prepared, AnsweredBy::Node, 5);
        sleeps.command.end(2_500_000_000);
        let mut pings = client(4, "app@shop#east");
        pings.command = Command::begun(b"\x0e", &prepared, AnsweredBy::Node, 4_000_000_000);
        vec![runs, sleeps, client(3, "app@shop#east"), pings]
    }

    #[test]
    fn the_full_list_says_what_a_session_does() {
        check(
            ask(&busy(), 1, "SHOW FULL PROCESSLIST"),
            "
            Id | User | Tenant | Host | db | Command | Time | State | Info | Ip | Port | Proxy_sessid
            1 | app | shop | 10.0.0.7:39012 | shop | Execute | 3 | ACTIVE | SELECT SLEEP(?) | 10.0.0.9 | 2881 | 838175694068187149
            2 | app | shop | 10.0.0.7:39012 | (null) | Sleep | 2 | SLEEP | (null) | 10.0.0.9 | 2881 | 0
            3 | app | shop | 10.0.0.7:39012 | (null) | Connect | 4 | ACTIVE | (null) | (null) | (null) | 0
            4 | app | shop | 10.0.0.7:39012 | (null) | Ping | 0 | ACTIVE | (null) | (null) | (null) | 0
            ",
        );
    }
}
