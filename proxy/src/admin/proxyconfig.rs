//! `SHOW PROXYCONFIG`: every key of the configuration with its value now. `ALTER PROXYCONFIG SET`: changes one.

use super::parse::{self, Mismatch};
use super::{AdminError, Answer, Arguments, Order, Scope, Snapshot, Spec, Value, Who};
use crate::{
    config::key::{self, Entry, Key},
    sql::{Tokens, like::like},
};

pub(super) const STATEMENTS: &[Spec] = &[SHOW, ALTER];

/// Only what differs from the default.
const DIFF: &str = "DIFF";

const SHOW: Spec = Spec {
    words: &["SHOW", "PROXYCONFIG"],
    grammar: "SHOW PROXYCONFIG [ALL | DIFF [USER]] [LIKE 'pattern']",
    help: "Shows every key of the configuration, its value now and whether a change of it needs a restart; DIFF only what differs from the default.",
    who: Who::Operator,
    scope: Scope::Own,
    example: "SHOW PROXYCONFIG DIFF LIKE '%timeout'",
    parse: parse_show,
    answer: show,
};

/// ODP's ALL adds rows of virtual addresses, which do not exist here; its DIFF USER is DIFF.
fn parse_show(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    let word = ["ALL", DIFF]
        .into_iter()
        .find(|word| tokens.accept_word(word));
    if word == Some(DIFF) {
        tokens.accept_word("USER");
    }
    let arguments = Arguments {
        word,
        ..Arguments::default()
    };
    parse::like_and_end(tokens, arguments)
}

fn show(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let only_changed = arguments.word == Some(DIFF);
    let pattern = arguments.like.as_deref().unwrap_or_default();
    let entries = key::entries(&snapshot.daemon.settings)
        .into_iter()
        .filter(|entry| {
            !(only_changed && entry.is_default) && like(pattern, entry.name.as_bytes())
        });
    Answer::texts(
        [
            "name",
            "value",
            "info",
            "need_reboot",
            "visible_level",
            "range",
            "config_level",
        ],
        entries.map(row),
    )
}

/// The words of the last columns but one are ODP's.
fn row(entry: Entry) -> [Value; 7] {
    let level = if entry.of_cluster {
        "LEVEL_CLUSTER"
    } else {
        "LEVEL_GLOBAL"
    };
    [
        Value::Text(entry.name),
        Value::Text(entry.value),
        Value::text(entry.help),
        Value::text(entry.needs_restart.to_string()),
        Value::text("USER"),
        Value::text(entry.range),
        Value::text(level),
    ]
}

const ALTER: Spec = Spec {
    words: &["ALTER", "PROXYCONFIG", "SET"],
    grammar: "ALTER PROXYCONFIG SET key = value",
    help: "Changes a key of the configuration, at once where it can be, and keeps it in the configuration file.",
    who: Who::Operator,
    scope: Scope::Own,
    example: "ALTER PROXYCONFIG SET connect_timeout = '2s'",
    parse: parse::assignment,
    answer: alter,
};

fn alter(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let Some((name, value)) = &arguments.assignment else {
        return AdminError::bad_command().into();
    };
    if let Some(key) = Key::find(name) {
        return Answer::Orders(vec![Order::Configure {
            key: key.name,
            value: value.clone(),
        }]);
    }
    let entries = key::entries(&snapshot.daemon.settings);
    if name == "cluster" || entries.iter().any(|entry| entry.name == *name) {
        return AdminError::key_of_file(name).into();
    }
    AdminError::unknown_key(name).into()
}

#[cfg(test)]
mod tests {
    use crate::admin::{
        AdminError, Answer, Order,
        fixture::{ask, manual, table},
        parse,
    };

    fn names(text: &str) -> Vec<String> {
        let table = table(ask(&manual(), 1_048_577, text));
        let rows = table.lines().skip(1);
        rows.map(|row| row.split(" | ").next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_key_has_a_row() {
        let all = table(ask(&manual(), 1_048_577, "SHOW PROXYCONFIG LIKE 'max%'"));
        assert_eq!(
            all.lines().collect::<Vec<_>>(),
            [
                "name | value | info | need_reboot | visible_level | range | config_level",
                "max_connections | 500 | Client sessions at once; one more is answered error 1203. | false | USER | [1, 262143] | LEVEL_GLOBAL",
                "max_tenant_connections | 0 | Client sessions of one tenant at once; one more is answered error 1040. 0: any number. | false | USER | [0, 262143] | LEVEL_GLOBAL",
                "max_user_connections | 40 | Client sessions of one user at once; one more is answered error 1203. 0: any number. | false | USER | [0, 262143] | LEVEL_GLOBAL",
                "max_memory | 0 | Memory that the daemon may have (its resident set, records in shared memory included) before new clients are answered error 1041. 0: any. | false | USER | 0, [16MiB, 1TiB] | LEVEL_GLOBAL",
                "max_login_failures | 0 | Wrong passwords in a row of one user from one address, after which he must wait, from a second up to a minute, as error 1045. 0: any number. | false | USER | [0, 1000] | LEVEL_GLOBAL",
            ]
        );
        assert_eq!(names("SHOW PROXYCONFIG"), names("show proxyconfig all;"));
        assert_eq!(names("SHOW PROXYCONFIG").len(), 43 + 2 * 14);
    }

    #[test]
    fn values_are_quoted_or_bare() {
        for (text, key, value) in [
            ("splice = 'off'", "splice", "off"),
            ("splice=off;", "splice", "off"),
            ("max_connections = 900", "max_connections", "900"),
            ("max_connections = -1", "max_connections", "-1"),
            ("login_timeout = 10s", "login_timeout", "10s"),
            ("login_timeout = \"1m 30s\"", "login_timeout", "1m 30s"),
            ("splice_limit = 64KiB", "splice_limit", "64KiB"),
            ("log.level = debug", "log.level", "debug"),
            ("log_level = debug", "log.level", "debug"),
            ("listen = '0.0.0.0:2883'", "listen", "0.0.0.0:2883"),
        ] {
            let value = value.to_owned();
            let answer = ask(
                &manual(),
                1_048_577,
                &format!("ALTER PROXYCONFIG SET {text}"),
            );
            assert_eq!(
                answer,
                Answer::Orders(vec![Order::Configure { key, value }])
            );
        }
        for text in [
            "",
            "splice",
            "splice =",
            "splice = a b",
            "splice = off, workers = 1",
            "= 1",
            "log. = 1",
            "log.level.x = 1",
            "splice = `off`",
            "splice = 'it''s'",
            "splice = 0.0.0.0:1",
        ] {
            let text = format!("ALTER PROXYCONFIG SET {text}");
            let error = parse(text.as_bytes()).expect(&text).expect_err(&text);
            assert_eq!(error, AdminError::bad_command());
        }
        assert!(parse(b"ALTER PROXYCONFIG splice = off").is_none());
    }

    #[test]
    fn keys_that_cannot_be_altered_are_refused() {
        let code = |text: &str| match ask(&manual(), 1_048_577, text) {
            Answer::Error(error) => error.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code("ALTER PROXYCONFIG SET no_such = 1"), 1193);
        assert_eq!(code("ALTER PROXYCONFIG SET Splice = off"), 1193);
        assert_eq!(code("ALTER PROXYCONFIG SET cluster = 1"), 1238);
        assert_eq!(code("ALTER PROXYCONFIG SET user = 1"), 1238);
        let forward = Answer::Orders(vec![Order::Forward]);
        assert_eq!(
            ask(&manual(), 5, "ALTER PROXYCONFIG SET splice = off"),
            forward
        );
    }

    #[test]
    fn diff_shows_what_somebody_has_set() {
        let expected = [
            "max_connections",
            "max_user_connections",
            "log.level",
            "cluster.east.kind",
            "cluster.east.tenants",
            "cluster.east.nodes",
            "cluster.east.monitor",
            "cluster.west.kind",
            "cluster.west.nodes",
        ];
        assert_eq!(names("SHOW PROXYCONFIG DIFF"), expected);
        assert_eq!(
            names("SHOW PROXYCONFIG DIFF USER LIKE 'log%'"),
            ["log.level"]
        );
    }
}
