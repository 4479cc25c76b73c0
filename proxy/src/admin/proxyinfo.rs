//! What the proxy says of itself: `SHOW PROXYINFO BINARY`, `PING PROXY`, `SELECT PROXY_STATUS()` and `SELECT PROXY_VERSION()`, by which
//! database tools notice a proxy.

use std::{borrow::Cow, time::Duration};

use super::parse::{self, Mismatch};
use super::{Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who, moment};
use crate::sql::{Token, Tokens};

pub(super) const STATEMENTS: &[Spec] = &[
    Spec {
        words: &["SHOW", "PROXYINFO", "BINARY"],
        grammar: "SHOW PROXYINFO BINARY",
        help: "Shows version, build, process, kernel and whether sessions are spliced.",
        who: Who::Operator,
        scope: Scope::Own,
        example: "SHOW PROXYINFO BINARY",
        parse: parse::nothing,
        answer: binary,
    },
    Spec {
        words: &["PING", "PROXY"],
        grammar: "PING PROXY",
        help: "Is answered OK by a proxy that lives; no node is asked.",
        who: Who::Anyone,
        scope: Scope::Own,
        example: "PING PROXY",
        parse: parse::nothing,
        answer: |_, _| Answer::OK,
    },
    Spec {
        words: &["SELECT", "PROXY_VERSION"],
        grammar: "SELECT PROXY_VERSION() [AS name]",
        help: "Shows the version of Sluice.",
        who: Who::Anyone,
        scope: Scope::Own,
        example: "SELECT PROXY_VERSION() AS version",
        parse: parse_call,
        answer: |arguments, _| single(arguments, "proxy_version()", env!("CARGO_PKG_VERSION")),
    },
    Spec {
        words: &["SELECT", "PROXY_STATUS"],
        grammar: "SELECT PROXY_STATUS() [AS name]",
        help: "Shows ACTIVE; while the daemon stops BE_INACTIVE, and INACTIVE once no other client is left.",
        who: Who::Anyone,
        scope: Scope::Own,
        example: "SELECT PROXY_STATUS()",
        parse: parse_call,
        answer: status,
    },
];

/// Any other use of a function is an expression, and thus the node's to refuse.
fn parse_call(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
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

/// One row, one column, as ODP types it.
fn single(arguments: &Arguments, name: &'static str, value: &str) -> Answer {
    let name = arguments
        .alias
        .clone()
        .map_or(Cow::Borrowed(name), Cow::Owned);
    Answer::Rows {
        columns: vec![Column {
            name,
            kind: ColumnKind::Binary,
        }],
        rows: vec![vec![Value::text(value)]],
    }
}

fn status(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let daemon = snapshot.daemon;
    let status = match (daemon.is_stopping, daemon.client_count) {
        (false, _) => "ACTIVE",
        (true, 0 | 1) => "INACTIVE",
        (true, _) => "BE_INACTIVE",
    };
    single(arguments, "proxy_status", status)
}

fn binary(_: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let daemon = snapshot.daemon;
    let host = &daemon.host;
    let file = daemon.origin.file.as_ref();
    let rows = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("build", host.build.clone()),
        ("binary_path", host.binary.display().to_string()),
        ("pid", host.pid.to_string()),
        ("kernel", host.kernel.clone()),
        ("started", moment::text(host.started_at) + " UTC"),
        ("uptime", uptime(daemon.uptime_ms)),
        (
            "config_file",
            file.map_or_else(String::new, |file| file.display().to_string()),
        ),
        ("listen", host.listen.to_string()),
        ("workers", host.workers.to_string()),
        (
            "splice_mode",
            if daemon.no_splice.is_some() {
                "relay"
            } else {
                "local"
            }
            .to_owned(),
        ),
        (
            "splice_reason",
            daemon
                .no_splice
                .map_or("self-test passed", |reason| reason.text())
                .to_owned(),
        ),
    ];
    Answer::texts(
        ["name", "info"],
        rows.map(|(name, info)| [Value::text(name), Value::Text(info)]),
    )
}

/// Seconds are enough.
fn uptime(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(milliseconds / 1000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{
        Caller,
        fixture::{ask, daemon, login, manual, table},
        parse,
    };
    use crate::session::CsId;

    #[test]
    fn functions_have_the_columns_of_odp() {
        for (text, name, value) in [
            (
                "select Proxy_Version()",
                "proxy_version()",
                env!("CARGO_PKG_VERSION"),
            ),
            (
                "SELECT PROXY_VERSION ( ) AS v;",
                "v",
                env!("CARGO_PKG_VERSION"),
            ),
            (
                "SELECT PROXY_VERSION() as `the version`",
                "the version",
                env!("CARGO_PKG_VERSION"),
            ),
            ("SELECT PROXY_STATUS()", "proxy_status", "ACTIVE"),
        ] {
            let Answer::Rows { columns, rows } = ask(&[], 1, text) else {
                panic!("{text}")
            };
            assert_eq!(
                (&*columns[0].name, columns[0].kind, columns.len()),
                (name, ColumnKind::Binary, 1)
            );
            assert_eq!(rows, [[Value::text(value)]]);
        }
    }

    #[test]
    fn a_proxy_that_stops_says_so() {
        let login = login("app@shop#east");
        let caller = Caller {
            cs_id: CsId(1),
            login: &login,
            has_tenant: true,
            privileges: None,
        };
        for (client_count, expected) in [(1, "INACTIVE"), (2, "BE_INACTIVE")] {
            let daemon = super::super::Daemon {
                is_stopping: true,
                client_count,
                ..daemon().clone()
            };
            let snapshot = Snapshot {
                sessions: &[],
                caller,
                daemon: &daemon,
            };
            let statement = parse(b"SELECT PROXY_STATUS()").unwrap().unwrap();
            assert_eq!(
                table(statement.answer(&snapshot)),
                format!("proxy_status\n{expected}")
            );
        }
    }

    #[test]
    fn ping_is_answered_ok_without_text() {
        assert_eq!(ask(&[], 1, "ping proxy;"), Answer::OK);
    }

    #[test]
    fn binary_tells_what_runs() {
        let expected = format!(
            "name | info\nversion | {}\nbuild | release, x86_64\nbinary_path | /usr/bin/sluice\npid | 4711\nkernel | 6.18.0\n\
             started | 2023-11-14 22:13:20 UTC\nuptime | 1m 30s\nconfig_file | \nlisten | 127.0.0.1:2883\nworkers | 2\n\
             splice_mode | local\nsplice_reason | self-test passed",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(
            table(ask(&manual(), 1_048_577, "SHOW PROXYINFO BINARY")),
            expected
        );
    }
}
