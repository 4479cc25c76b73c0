//! `SHOW PROXYCONGESTION`: the nodes that are on one of the three lists that keep sessions away (odp.md, sections 1.5 and 7.1).

use super::parse::Mismatch;
use super::{Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who, moment};
use crate::{
    config::{Cluster, Listing, Node},
    route::health::{Book, NodeHealth, Role},
    sql::{Token, Tokens},
};

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SHOW", "PROXYCONGESTION"],
    grammar: "SHOW PROXYCONGESTION [ALL] [cluster]",
    help: "Lists the nodes that serve no sessions: dead ones, as logins (alive_congested) or the monitor account (detect_congested) have found, those that do not serve by their own or their cluster's words (dead_congested), and those that take writes beside the primary (not_primary); with ALL every node.",
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

/// Columns and whether they are numbers. The last ones are Sluice's own.
const COLUMNS: [(&str, bool); 27] = [
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
    ("role", false),
    ("replication", false),
    ("lag_sec", true),
    ("origin", false),
    ("listed", false),
    ("last_failure", false),
    ("not_primary", false),
];

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let daemon = snapshot.daemon;
    let all = arguments.word == Some(ALL);
    let clusters = daemon.settings.clusters.iter().filter(|cluster| {
        let name = arguments.name.as_deref();
        name.is_none_or(|name| cluster.name.as_bytes() == name)
    });
    let nodes = clusters.flat_map(|cluster| cluster.nodes.iter().map(move |node| (cluster, node)));
    let rows = nodes.filter_map(|(cluster, node)| {
        let health = daemon.nodes.get(&node.address);
        let role = daemon.nodes.role(cluster, node);
        let is_none = matches!(role, Role::Promoted | Role::Rival);
        let is_shown = all || health.is_listed() || says_no(node) || is_none;
        is_shown.then(|| {
            row(
                &daemon.nodes,
                &health,
                cluster,
                node,
                daemon.host.started_at,
            )
        })
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

/// The words for a server's state are ODP's; a time that never was is 0. Failures of connections are those of logins, failures of being alive
/// those of the monitor account.
fn row(
    book: &Book,
    health: &NodeHealth,
    cluster: &Cluster,
    node: &Node,
    started_at: u64,
) -> Vec<Value> {
    let time = |at_ms: Option<u64>| {
        Value::text(at_ms.map_or_else(
            || "0".to_owned(),
            |at_ms| moment::text(started_at.saturating_add(at_ms / 1000)),
        ))
    };
    let flag = |since: Option<u64>| Value::Unsigned(since.is_some().into());
    let NodeHealth { logins, probes, .. } = health;
    let unfit_since = health.unfit.map(|(_, since)| since);
    let values = COLUMNS.iter().map(|(name, _)| match *name {
        "cluster_name" => Value::text(&cluster.name),
        "zone_name" => node.zone.as_ref().map_or(Value::Null, Value::text),
        "server_ip" => Value::text(node.address.to_string()),
        "server_state" => state(node, health).map_or(Value::Null, Value::text),
        "alive_congested" => flag(logins.listed_at_ms),
        "last_alive_congested" => time(logins.listed_at_ms),
        "dead_congested" => Value::Unsigned((unfit_since.is_some() || says_no(node)).into()),
        "last_dead_congested" => time(unfit_since),
        "detect_congested" => flag(probes.listed_at_ms),
        "last_detect_congested" => time(probes.listed_at_ms),
        "stat_conn_failures" => Value::Unsigned(logins.failures),
        "conn_last_fail_time" => time(logins.failed_at_ms),
        "conn_failure_events" => Value::Unsigned(logins.failures_in_a_row),
        "stat_alive_failures" => Value::Unsigned(probes.failures),
        "alive_last_fail_time" => time(probes.failed_at_ms),
        "alive_failure_events" => Value::Unsigned(probes.failures_in_a_row),
        "role" => Value::text(book.role(cluster, node).text()),
        "replication" => replication(health).map_or(Value::Null, Value::text),
        "lag_sec" => health
            .lag
            .map_or(Value::Null, |lag| Value::Unsigned(lag.as_secs())),
        "origin" if node.is_discovered => Value::text("discovery"),
        "origin" => Value::text("configuration"),
        "listed" => node.listing.text().map_or(Value::Null, Value::text),
        "not_primary" => book
            .aside(cluster, node)
            .map_or(Value::Null, |(why, writer)| Value::Text(why.text(writer))),
        "last_failure" => health.cause.as_ref().map_or(Value::Null, Value::text),
        _ => Value::Null,
    });
    values.collect()
}

/// Whether its cluster says that a node does not serve.
const fn says_no(node: &Node) -> bool {
    !matches!(node.listing, Listing::Unasked | Listing::Active)
}

/// None: the node follows nobody, or the monitor account may not see it.
const fn replication(health: &NodeHealth) -> Option<&'static str> {
    match health.lag {
        _ if health.is_replication_stopped => Some("stopped"),
        Some(_) => Some("running"),
        None => None,
    }
}

/// None: nobody has tried the node yet.
const fn state(node: &Node, health: &NodeHealth) -> Option<&'static str> {
    if health.is_detected_dead() {
        Some("DETECT_DEAD")
    } else if health.logins.listed_at_ms.is_some() {
        Some("ACTIVE_CONGESTED")
    } else if health.unfit.is_some() {
        Some("INACTIVE")
    } else if says_no(node) {
        node.listing.text()
    } else if health.logins.reached_at_ms.is_some() || health.probes.reached_at_ms.is_some() {
        Some("ACTIVE")
    } else {
        None
    }
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
        let down = "east | b | (null) | (null) | db2:2881 | (null) | DETECT_DEAD | 0 | 0 | 0 | 0 | 5 | 2 | \
                    2023-11-14 22:13:25 | 2 | 2023-11-14 22:13:27 | 3 | (null) | 1 | 2023-11-14 22:13:27 | replica | running | 7 | configuration | (null) | connection refused | (null)";
        assert_eq!(rows(""), [down]);
        assert_eq!(rows("'east'"), [down]);
        assert_eq!(rows("west"), [""; 0]);
    }

    #[test]
    fn all_shows_what_is_known_of_each() {
        let all = rows("ALL");
        assert_eq!(all.len(), 3);
        assert!(
            all[0].contains("10.0.0.9:2881 | (null) | ACTIVE | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |")
        );
        // Nobody has tried it yet.
        assert!(all[2].contains("10.0.0.10:3306 | (null) | (null) | 0 | 0 | 0 | 0 |"));
        assert!(
            all[2].ends_with(
                " | unknown | (null) | (null) | configuration | (null) | (null) | (null)"
            )
        );
        assert_eq!(rows("all WEST"), [""; 0]);
        assert_eq!(rows("ALL west;").len(), 1);
        for tail in ["ALL east west", "5", "`east`"] {
            let text = format!("SHOW PROXYCONGESTION {tail}");
            let error = parse(text.as_bytes()).expect(tail).expect_err(tail);
            assert_eq!(error, AdminError::bad_command(), "{tail}");
        }
    }
}
