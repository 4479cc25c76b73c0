//! `SHOW PROXYCONGESTION`: the nodes that cannot be reached, as far as logins have found out (odp.md, section 1.5).

use super::parse::Mismatch;
use super::{
    Answer, Arguments, Column, ColumnKind, NodeHealth, Scope, Snapshot, Spec, Value, Who, moment,
};
use crate::{
    config::NodeAddress,
    sql::{Token, Tokens},
};

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SHOW", "PROXYCONGESTION"],
    grammar: "SHOW PROXYCONGESTION [ALL] [cluster]",
    help: "Lists the nodes that did not answer the last login; with ALL every node. Only connections and logins tell Sluice of a node; what it does not know is NULL.",
    who: Who::Operator,
    scope: Scope::Daemon,
    example: "SHOW PROXYCONGESTION ALL east",
    parse: parse_congestion,
    answer,
}];

const ALL: &str = "ALL";

fn parse_congestion(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    let mut arguments = Arguments::default();
    if tokens.accept_word(ALL) {
        arguments.word = Some(ALL);
    }
    if tokens.is_at_end() {
        return Ok(arguments);
    }
    let Some(
        Token::Word(name)
        | Token::Quoted {
            quote: b'\'' | b'"',
            text: name,
        },
    ) = tokens.next()
    else {
        return Err(Mismatch::Malformed);
    };
    arguments.name = Some(name.to_vec());
    tokens
        .is_at_end()
        .then_some(arguments)
        .ok_or(Mismatch::Malformed)
}

/// Columns and whether they are numbers.
const COLUMNS: [(&str, bool); 20] = [
    ("cluster_name", false),
    ("zone_name", false),
    ("region_name", false),
    ("zone_state", false),
    ("server_ip", false),
    ("cr_version", true),
    ("server_state", false),
    ("alive_congested", true),
    ("last_alive_congested", false),
    ("dead_congested", true),
    ("last_dead_congested", false),
    ("stat_alive_failures", true),
    ("stat_conn_failures", true),
    ("conn_last_fail_time", false),
    ("conn_failure_events", true),
    ("alive_last_fail_time", false),
    ("alive_failure_events", true),
    ("ref_count", true),
    ("detect_congested", true),
    ("last_detect_congested", false),
];

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let daemon = snapshot.daemon;
    let all = arguments.word == Some(ALL);
    let clusters = daemon.settings.clusters.iter().filter(|cluster| {
        let name = arguments.name.as_deref();
        name.is_none_or(|name| cluster.name.as_bytes() == name)
    });
    let nodes = clusters.flat_map(|cluster| {
        cluster
            .nodes
            .iter()
            .map(|node| (cluster.name.as_str(), node))
    });
    let rows = nodes.filter_map(|(cluster, node)| {
        let health = of_all_workers(snapshot, node);
        let is_shown = all || health.is_down();
        is_shown.then(|| row(cluster, node, &health, daemon.host.started_at))
    });
    let kind = |is_number| {
        if is_number {
            ColumnKind::LongLong
        } else {
            ColumnKind::Varchar
        }
    };
    Answer::Rows {
        columns: COLUMNS
            .map(|(name, is_number)| Column::new(name, kind(is_number)))
            .to_vec(),
        rows: rows.collect(),
    }
}

/// What the workers have found out together.
fn of_all_workers(snapshot: &Snapshot<'_>, node: &NodeAddress) -> NodeHealth {
    let reports = snapshot.daemon.reports.iter();
    reports
        .flat_map(|report| &report.nodes)
        .filter(|(known, _)| known == node)
        .fold(NodeHealth::default(), |sum, (_, health)| sum.with(health))
}

/// The words for a server's state are ODP's; a time that never was is 0.
fn row(cluster: &str, node: &NodeAddress, health: &NodeHealth, started_at: u64) -> Vec<Value> {
    let time = |at_ms: Option<u64>| {
        at_ms.map_or_else(
            || "0".to_owned(),
            |at_ms| moment::text(started_at.saturating_add(at_ms / 1000)),
        )
    };
    let failed_at = time(health.failed_at_ms);
    let values = COLUMNS.iter().map(|(name, _)| match *name {
        "cluster_name" => Value::text(cluster),
        "server_ip" => Value::text(node.to_string()),
        "server_state" if health.is_down() => Value::text("DETECT_DEAD"),
        "server_state" if health.reached_at_ms.is_some() => Value::text("ACTIVE"),
        "dead_congested" => Value::Unsigned(health.is_down().into()),
        "last_dead_congested" | "conn_last_fail_time" => Value::text(&failed_at),
        "stat_conn_failures" => Value::Unsigned(health.failures),
        "conn_failure_events" => Value::Unsigned(health.failures_in_a_row),
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

    fn rows(tail: &str) -> Vec<String> {
        let text = format!("SHOW PROXYCONGESTION {tail}");
        let table = table(ask(&manual(), 1_048_577, &text));
        table.lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn only_nodes_that_are_down_are_shown() {
        let down = "east | (null) | (null) | (null) | db2:2881 | (null) | DETECT_DEAD | (null) | (null) | 1 | 2023-11-14 22:13:27 | (null) | 5 | \
                    2023-11-14 22:13:27 | 3 | (null) | (null) | (null) | (null) | (null)";
        assert_eq!(rows(""), [down]);
        assert_eq!(rows("'east'"), [down]);
        assert_eq!(rows("west"), [""; 0]);
    }

    #[test]
    fn all_shows_what_is_known_of_each() {
        let all = rows("ALL");
        assert_eq!(all.len(), 3);
        assert!(all[0].contains(
            "10.0.0.9:2881 | (null) | ACTIVE | (null) | (null) | 0 | 0 | (null) | 0 | 0 | 0 |"
        ));
        // Nobody has tried it yet.
        assert!(all[2].contains("10.0.0.10:3306 | (null) | (null) | (null) | (null) | 0 | 0 |"));
        assert_eq!(rows("all WEST"), [""; 0]);
        assert_eq!(rows("ALL west;").len(), 1);
        for tail in ["ALL east west", "5", "`east`"] {
            let text = format!("SHOW PROXYCONGESTION {tail}");
            let error = parse(text.as_bytes()).expect(tail).expect_err(tail);
            assert_eq!(error, AdminError::bad_command(), "{tail}");
        }
    }
}
