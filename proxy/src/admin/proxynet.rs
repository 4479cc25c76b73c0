//! `SHOW PROXYNET`: the worker threads and their TCP connections (odp.md, section 1.5). ODP counts things that Sluice does not have, or
//! that its runtime does not tell: those are NULL.

use super::parse::{self, Limit, Mismatch};
use super::{
    Answer, Arguments, Column, ColumnKind, Connection, ConnectionKind, Report, Scope, Snapshot,
    Spec, Value, Who,
};
use crate::sql::{Token, Tokens};

pub(super) const STATEMENTS: &[Spec] = &[
    Spec {
        words: &["SHOW", "PROXYNET", "THREAD"],
        grammar: "SHOW PROXYNET THREAD",
        help: "Lists the worker threads with their connections, and what they have read and written themselves.",
        who: Who::Operator,
        scope: Scope::Daemon,
        example: "SHOW PROXYNET THREAD",
        parse: parse::nothing,
        answer: threads,
    },
    Spec {
        words: &["SHOW", "PROXYNET", "CONNECTION"],
        grammar: "SHOW PROXYNET CONNECTION [thread_id [LIMIT n | LIMIT offset, n | LIMIT n OFFSET offset]]",
        help: "Lists the TCP connections of all threads or of one. Bytes that the kernel splices are not among those read and written.",
        who: Who::Operator,
        scope: Scope::Daemon,
        example: "SHOW PROXYNET CONNECTION 0 LIMIT 10",
        parse: parse_connections,
        answer: connections,
    },
];

const THREAD_COLUMNS: [&str; 23] = [
    "net_thread_id",
    "current_connection_count",
    "current_client_connection_count",
    "global_current_client_connection_count",
    "global_current_connection_count",
    "global_current_do_accept_count",
    "total_epoll_wait",
    "last_epoll_size",
    "total_cop_lock_failure",
    "total_lru_timeout_count",
    "total_lru_timeout_time-sec",
    "total_set_default_inactive",
    "total_calls_read_from_net",
    "total_calls_read",
    "total_calls_read_nodata",
    "total_read_bytes",
    "total_calls_write_to_net",
    "total_calls_write",
    "total_calls_write_nodata",
    "total_write_bytes",
    "protected_queue_al_size",
    "protected_queue_local_size",
    "priority_queue_size",
];

fn threads(_: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let reports = &snapshot.daemon.reports;
    let clients = |report: &Report| {
        let connections = report.connections.iter();
        connections
            .filter(|connection| matches!(connection.kind, ConnectionKind::Accepted(_)))
            .count()
    };
    let all: usize = reports.iter().map(|report| report.connections.len()).sum();
    let all_clients: usize = reports.iter().map(clients).sum();
    let rows = reports.iter().map(|report| {
        let count = |name: &str| match name {
            "net_thread_id" => Some(report.worker as u64),
            "current_connection_count" => Some(report.connections.len() as u64),
            "current_client_connection_count" => Some(clients(report) as u64),
            "global_current_client_connection_count" => Some(all_clients as u64),
            "global_current_connection_count" => Some(all as u64),
            "total_calls_read" => Some(report.calls.reads),
            "total_calls_read_nodata" => Some(report.calls.empty_reads),
            "total_read_bytes" => Some(report.calls.read_bytes),
            "total_calls_write" => Some(report.calls.writes),
            "total_calls_write_nodata" => Some(report.calls.empty_writes),
            "total_write_bytes" => Some(report.calls.written_bytes),
            _ => None,
        };
        let values = THREAD_COLUMNS
            .iter()
            .map(|name| count(name).map_or(Value::Null, Value::Unsigned));
        values.collect()
    });
    Answer::Rows {
        columns: THREAD_COLUMNS
            .map(|name| Column::new(name, ColumnKind::LongLong))
            .to_vec(),
        rows: rows.collect(),
    }
}

/// Columns and whether they are texts.
const CONNECTION_COLUMNS: [(&str, bool); 25] = [
    ("thread_id", false),
    ("connect_id", false),
    ("socket_fd", false),
    ("type", true),
    ("src_ip", true),
    ("src_port", false),
    ("dst_ip", true),
    ("dst_port", false),
    ("virtual_ip", true),
    ("virtual_port", false),
    ("virtual_vid", false),
    ("bind_style", true),
    ("read_enabled", false),
    ("read_nbytes", false),
    ("read_ndone", false),
    ("write_enabled", false),
    ("write_nbyte", false),
    ("write_ndone", false),
    ("alive_time(sec)", false),
    ("activity_timeout_in(sec)", false),
    ("inactivity_timeout_in(sec)", false),
    ("timeout_close_in(sec)", false),
    ("last_error_no", false),
    ("shutdown", false),
    ("comments", true),
];

/// A LIMIT stands behind a thread's id only, as with ODP.
fn parse_connections(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    let mut arguments = Arguments::default();
    let mut ahead = tokens.clone();
    if let Some(Token::Integer(id)) = ahead.next() {
        *tokens = ahead;
        arguments.id = Some(id);
        arguments.limit = Limit::parse(tokens)?;
    }
    tokens
        .is_at_end()
        .then_some(arguments)
        .ok_or(Mismatch::Malformed)
}

fn connections(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let wanted = |report: &&Report| {
        let index = i64::try_from(report.worker).ok();
        arguments.id.is_none() || arguments.id == index
    };
    let rows = snapshot
        .daemon
        .reports
        .iter()
        .filter(wanted)
        .flat_map(|report| {
            let of_thread = report.connections.iter();
            of_thread.map(|connection| row(report.worker, connection))
        });
    let kind = |is_text| {
        if is_text {
            ColumnKind::Varchar
        } else {
            ColumnKind::LongLong
        }
    };
    Answer::Rows {
        columns: CONNECTION_COLUMNS
            .map(|(name, is_text)| Column::new(name, kind(is_text)))
            .to_vec(),
        rows: arguments.limit.unwrap_or(Limit::NONE).apply(rows).collect(),
    }
}

/// The source is whoever has opened the connection.
fn row(worker: usize, connection: &Connection) -> Vec<Value> {
    let (kind, id, source, target) = match connection.kind {
        ConnectionKind::Accepted(cs_id) => (
            "accepted",
            cs_id.0.into(),
            connection.remote,
            connection.local,
        ),
        ConnectionKind::Connected(ss_id) => {
            ("connected", ss_id.0, connection.local, connection.remote)
        }
    };
    let values = CONNECTION_COLUMNS.iter().map(|(name, _)| match *name {
        "thread_id" => Value::Unsigned(worker as u64),
        "connect_id" => Value::Unsigned(id),
        "socket_fd" => Value::Integer(connection.fd.into()),
        "type" => Value::text(kind),
        "src_ip" => Value::text(source.ip().to_canonical().to_string()),
        "src_port" => Value::Unsigned(source.port().into()),
        "dst_ip" => Value::text(target.ip().to_canonical().to_string()),
        "dst_port" => Value::Unsigned(target.port().into()),
        "read_ndone" => Value::Unsigned(connection.read_bytes),
        "write_ndone" => Value::Unsigned(connection.written_bytes),
        "alive_time(sec)" => Value::Unsigned(connection.age_s),
        "comments" => Value::text("not closed"),
        _ => Value::Null,
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use crate::admin::{
        AdminError,
        fixture::{ask, manual, table},
        parse,
    };

    fn ids(tail: &str) -> Vec<String> {
        let text = format!("SHOW PROXYNET CONNECTION {tail}");
        let table = table(ask(&manual(), 1_048_577, &text));
        let rows = table.lines().skip(1);
        rows.map(|row| {
            let cells: Vec<_> = row.split(" | ").collect();
            format!("{}/{}", cells[0], cells[1])
        })
        .collect()
    }

    #[test]
    fn threads_tell_what_they_have_done() {
        let table = table(ask(&manual(), 1_048_577, "SHOW PROXYNET THREAD"));
        let rows: Vec<_> = table.lines().skip(1).collect();
        assert_eq!(
            rows[0],
            "0 | 2 | 1 | 2 | 3 | (null) | (null) | (null) | (null) | (null) | (null) | (null) | (null) | 9 | 2 | 700 | (null) | 8 | 1 | 650 | \
             (null) | (null) | (null)"
        );
        assert!(rows[1].starts_with("1 | 1 | 1 | 2 | 3 | "));
    }

    #[test]
    fn connections_are_those_of_the_sessions() {
        let table = table(ask(&manual(), 1_048_577, "SHOW PROXYNET CONNECTION 0"));
        let rows: Vec<_> = table.lines().skip(1).collect();
        assert_eq!(
            rows,
            [
                "0 | 5 | 21 | accepted | 10.0.0.7 | 39012 | 127.0.0.1 | 2883 | (null) | (null) | (null) | (null) | (null) | (null) | 100 | \
                 (null) | (null) | 200 | 61 | (null) | (null) | (null) | (null) | (null) | not closed",
                "0 | 9 | 22 | connected | 127.0.0.1 | 41000 | 10.0.0.9 | 2881 | (null) | (null) | (null) | (null) | (null) | (null) | 190 | \
                 (null) | (null) | 90 | 60 | (null) | (null) | (null) | (null) | (null) | not closed",
            ]
        );
    }

    #[test]
    fn limits_come_behind_a_thread() {
        assert_eq!(ids(""), ["0/5", "0/9", "1/6"]);
        assert_eq!(ids("1;"), ["1/6"]);
        assert_eq!(ids("0 LIMIT 1"), ["0/5"]);
        assert_eq!(ids("0 LIMIT 1, 5"), ["0/9"]);
        assert_eq!(ids("0 limit 5 OFFSET 1"), ["0/9"]);
        assert_eq!(ids("0 LIMIT -1"), ["0/5", "0/9"]);
        assert_eq!(ids("7"), [""; 0]);
        assert_eq!(ids("-1"), [""; 0]);
        for tail in [
            "LIMIT 1",
            "0 LIMIT",
            "0 LIMIT x",
            "0 LIMIT 1,",
            "0 LIMIT -2",
            "0 LIMIT 1 OFFSET -1",
            "0 1",
        ] {
            let text = format!("SHOW PROXYNET CONNECTION {tail}");
            let error = parse(text.as_bytes()).expect(tail).expect_err(tail);
            assert_eq!(error, AdminError::bad_command(), "{tail}");
        }
    }
}
