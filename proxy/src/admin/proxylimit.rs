//! `SHOW PROXYLIMIT`: how many sessions there are, and how many there may be.

use super::{Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who, parse};
use crate::sql::like::like;

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SHOW", "PROXYLIMIT"],
    grammar: "SHOW PROXYLIMIT [LIKE 'pattern']",
    help: "Shows how many sessions there are in total, of each tenant and of each user, how many bytes of memory the daemon has, and how many there may be; NULL: any number. The pattern is for names.",
    who: Who::Operator,
    scope: Scope::Own,
    example: "SHOW PROXYLIMIT LIKE 'app%'",
    parse: parse::like,
    answer,
}];

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let daemon = snapshot.daemon;
    let pattern = arguments.like.as_deref().unwrap_or_default();
    let row = |scope: &str, name: String, used: u64, max: Option<u64>| {
        vec![
            Value::text(scope),
            Value::Text(name),
            Value::Unsigned(used),
            max.map_or(Value::Null, Value::Unsigned),
        ]
    };
    let settings = &daemon.settings;
    let whole = [
        (
            "total",
            String::new(),
            daemon.client_count as u64,
            Some(settings.max_connections.into()),
        ),
        (
            "memory",
            String::new(),
            daemon.resident_bytes,
            settings.max_memory,
        ),
    ];
    let groups = daemon.occupancy.iter().map(|(group, used)| {
        let max = group.limit(settings).map(u64::from);
        (group.kind(), group.to_string(), used, max)
    });
    let rows = whole
        .into_iter()
        .chain(groups)
        .filter(|(_, name, ..)| like(pattern, name.as_bytes()))
        .map(|(scope, name, used, max)| row(scope, name, used, max));
    Answer::Rows {
        columns: vec![
            Column::new("scope", ColumnKind::Varchar),
            Column::new("name", ColumnKind::Varchar),
            Column::new("used", ColumnKind::LongLong),
            Column::new("max", ColumnKind::LongLong),
        ],
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::admin::fixture::{ask, manual, table};

    #[test]
    fn total_tenants_and_users() {
        assert_eq!(
            table(ask(&manual(), 1_048_577, "SHOW PROXYLIMIT")),
            "scope | name | used | max\n\
             total |  | 3 | 500\n\
             memory |  | 70000000 | (null)\n\
             tenant | shop#east | 2 | (null)\n\
             user | app@shop#east | 2 | 40"
        );
        let one = table(ask(&manual(), 1_048_577, "SHOW PROXYLIMIT LIKE 'app%'"));
        assert_eq!(one.lines().count(), 2);
    }
}
