//! `SHOW PROXYCONFIG`: every key of the configuration with its value now.

use super::parse::{self, Mismatch};
use super::{Answer, Arguments, Scope, Snapshot, Spec, Value, Who};
use crate::{
    config::key::{self, Entry},
    sql::{Tokens, like::like},
};

pub(super) const STATEMENTS: &[Spec] = &[SHOW];

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

#[cfg(test)]
mod tests {
    use crate::admin::fixture::{ask, manual, table};

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
            ]
        );
        assert_eq!(names("SHOW PROXYCONFIG"), names("show proxyconfig all;"));
        assert_eq!(names("SHOW PROXYCONFIG").len(), 15 + 2 * 4);
    }

    #[test]
    fn diff_shows_what_somebody_has_set() {
        let expected = [
            "max_connections",
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
