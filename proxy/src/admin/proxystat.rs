//! `SHOW PROXYSTAT`: counters of the whole daemon since its start.

use std::borrow::Cow;

use super::parse::{self, Mismatch};
use super::{Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who};
use crate::{
    session::{Session, Totals, sticky::StickyReason},
    sql::{Tokens, like::like},
};

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SHOW", "PROXYSTAT"],
    grammar: "SHOW PROXYSTAT [REFRESH] [LIKE 'pattern']",
    help: "Shows counters of all sessions since the start, those that have ended included. They are always fresh.",
    who: Who::Operator,
    scope: Scope::Daemon,
    example: "SHOW PROXYSTAT LIKE '%bytes%'",
    parse: parse_stat,
    answer,
}];

fn parse_stat(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    tokens.accept_word("REFRESH");
    parse::like(tokens)
}

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let daemon = snapshot.daemon;
    let mut totals = Totals::default();
    for report in &daemon.reports {
        totals.add(&report.closed);
    }
    for session in snapshot.sessions {
        totals.add_session(session);
    }
    let rows = all(&totals, snapshot);
    let pattern = arguments.like.as_deref().unwrap_or_default();
    let rows = rows
        .into_iter()
        .filter(|(name, _)| like(pattern, name.as_bytes()))
        // ODP's word for a counter that a restart sets back.
        .map(|(name, value)| {
            vec![
                Value::Text(name.into_owned()),
                Value::Unsigned(value),
                Value::text("NULL"),
            ]
        });
    Answer::Rows {
        columns: vec![
            Column::new("stat_name", ColumnKind::Varchar),
            Column::new("value", ColumnKind::LongLong),
            Column::new("persist_type", ColumnKind::Varchar),
        ],
        rows: rows.collect(),
    }
}

/// Every counter.
fn all(totals: &Totals, snapshot: &Snapshot<'_>) -> Vec<(Cow<'static, str>, u64)> {
    let daemon = snapshot.daemon;
    let servers: usize = snapshot
        .sessions
        .iter()
        .map(|session| session.servers.len())
        .sum();
    let traps: u64 = totals.traffic.traps.iter().map(|(_, count)| count).sum();
    let traffic = &totals.traffic;
    let counters = [
        ("current_client_connections", daemon.client_count as u64),
        (
            "max_client_connections",
            daemon.settings.max_connections.into(),
        ),
        ("resident_bytes", daemon.resident_bytes),
        ("refused_by_total_limit", daemon.refused_for_total),
        ("refused_by_memory_limit", daemon.refused_for_memory),
        (
            "refused_by_tenant_limit",
            daemon.occupancy.refused_for_tenant,
        ),
        ("refused_by_user_limit", daemon.occupancy.refused_for_user),
        ("current_server_connections", servers as u64),
        ("total_client_sessions", totals.sessions),
        ("total_transaction_count", totals.transactions),
        (
            "client_requests",
            traffic.spliced_commands + traffic.relayed_commands,
        ),
        ("spliced_commands", traffic.spliced_commands),
        ("relayed_commands", traffic.relayed_commands),
        ("retried_commands", traffic.retried_commands),
        ("spliced_bytes_to_node", traffic.spliced_bytes_to_node),
        ("spliced_bytes_to_client", traffic.spliced_bytes_to_client),
        ("relayed_bytes_to_node", traffic.relayed_bytes_to_node),
        ("relayed_bytes_to_client", traffic.relayed_bytes_to_client),
        ("traps", traps),
        ("spills", traffic.spills),
        ("splice_offers", traffic.offers),
        ("splice_regimes", traffic.regimes),
        ("uptime_sec", daemon.uptime_ms / 1000),
        ("latency_p50_us", traffic.latency.percentile_us(50)),
        ("latency_p99_us", traffic.latency.percentile_us(99)),
    ];
    let buckets = traffic.latency.buckets();
    let buckets =
        buckets.map(|(from, count)| (Cow::Owned(format!("latency_from_{from}us")), count));
    let traps = traffic.traps.iter();
    let traps = traps.map(|(reason, count)| (Cow::Owned(name("traps", reason.text())), count));
    let tied: Vec<_> = snapshot
        .sessions
        .iter()
        .map(Session::sticky_reasons)
        .collect();
    let sticky = StickyReason::ALL.map(|reason| {
        let count = tied.iter().filter(|reasons| reasons.contains(&reason));
        let name = name("sticky_sessions", reason.text());
        (Cow::Owned(name), count.count() as u64)
    });
    let certificate = daemon
        .certificate_expires_in_s
        .map(|left| (Cow::Borrowed("tls_certificate_expires_sec"), left));
    let counters = counters.map(|(name, value)| (Cow::Borrowed(name), value));
    counters
        .into_iter()
        .chain(certificate)
        .chain(sticky)
        .chain(traps)
        .chain(buckets)
        .collect()
}

/// The name of a counter by reasons: its own, and the reason's text, as far as it is letters.
fn name(counter: &str, reason: &str) -> String {
    let words = reason.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.fold(counter.to_owned(), |name, word| {
        name + "_" + &word.to_ascii_lowercase()
    })
}

#[cfg(test)]
mod tests {
    use sluice_ebpf::reason::TrapReason;

    use crate::{
        admin::fixture::{ask, manual, table},
        session::sticky::{Knot, StickyReason},
    };

    #[test]
    fn counters_add_up_over_workers_and_closed_sessions() {
        let mut sessions = manual();
        sessions[0].traffic.spliced_commands = 5;
        sessions[1].traffic.relayed_commands = 7;
        sessions[2].transactions = 2;
        (sessions[0].traffic.offers, sessions[1].traffic.offers) = (3, 4);
        sessions[1].traffic.regimes = 2;
        let tie = Knot::Tie(StickyReason::TemporaryTable, None);
        sessions[0].ties.apply(vec![tie]);
        sessions[0].traffic.trap(TrapReason::Verb);
        sessions[2].traffic.trap(TrapReason::Verb);
        sessions[0].traffic.latency.count(40_000);
        sessions[1].traffic.latency.count(50_000);
        let table = table(ask(&sessions, 1_048_577, "SHOW PROXYSTAT REFRESH"));
        for line in [
            "stat_name | value | persist_type",
            "current_client_connections | 3 | NULL",
            "max_client_connections | 500 | NULL",
            "refused_by_total_limit | 4 | NULL",
            "current_server_connections | 3 | NULL",
            "total_client_sessions | 13 | NULL",
            "total_transaction_count | 6 | NULL",
            "client_requests | 1012 | NULL",
            "spliced_commands | 1005 | NULL",
            "splice_offers | 7 | NULL",
            "splice_regimes | 2 | NULL",
            "sticky_sessions_temporary_table | 1 | NULL",
            "sticky_sessions_set_transaction | 0 | NULL",
            "traps_statement_verb | 2 | NULL",
            "traps_not_one_whole_packet | 0 | NULL",
            "uptime_sec | 90 | NULL",
            "tls_certificate_expires_sec | 86400 | NULL",
            "latency_p50_us | 64 | NULL",
            "latency_from_16us | 0 | NULL",
            "latency_from_32us | 2 | NULL",
        ] {
            assert!(table.lines().any(|found| found == line), "{line}: {table}");
        }
    }

    #[test]
    fn like_chooses() {
        let table = table(ask(&manual(), 1_048_577, "SHOW PROXYSTAT LIKE 'spliced%'"));
        assert_eq!(table.lines().count(), 1 + 3);
    }
}
