//! `SHOW PROXYSESSION STAT`: the counters of one session under ODP's names (odp.md, section 8.4).

use self::Stat::{Counted, Never, Uncounted};
use crate::admin::{
    Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who, access, parse,
};
use crate::session::Session;
use crate::sql::like::like;

pub(super) const SPEC: Spec = Spec {
    words: &["SHOW", "PROXYSESSION", "STAT"],
    grammar: "SHOW PROXYSESSION STAT [id] [LIKE 'pattern']",
    help: "Shows the counters of one session, spliced and relayed together: 0 is what has not happened or never does in Sluice, NULL what it does not count.",
    who: Who::Anyone,
    scope: Scope::Named,
    example: "SHOW PROXYSESSION STAT 262145 LIKE '%_requests'",
    parse: parse::id_and_like,
    answer,
};

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let session = match access::find_visible(snapshot, arguments.id) {
        Ok(session) => session,
        Err(error) => return error.into(),
    };
    let pattern = arguments.like.as_deref().unwrap_or_default();
    let rows = STATS
        .iter()
        .filter(|(name, _)| like(pattern, name.as_bytes()))
        .map(|(name, stat)| vec![Value::text(*name), stat.value(session)])
        .collect();
    Answer::Rows {
        columns: vec![
            Column::new("stat_name", ColumnKind::Varchar),
            Column::new("value", ColumnKind::LongLong),
        ],
        rows,
    }
}

/// What is known of one of ODP's counters.
enum Stat {
    /// Its value.
    Counted(fn(&Session) -> u64),
    /// What it counts never happens in Sluice.
    Never,
    /// It happens, and nobody counts it.
    Uncounted,
}

impl Stat {
    fn value(&self, session: &Session) -> Value {
        match self {
            Self::Counted(count) => Value::Unsigned(count(session)),
            Self::Never => Value::Unsigned(0),
            Self::Uncounted => Value::Null,
        }
    }
}

fn requests(session: &Session) -> u64 {
    session.traffic.spliced_commands + session.traffic.relayed_commands
}

fn bytes_to_node(session: &Session) -> u64 {
    session.traffic.spliced_bytes_to_node + session.traffic.relayed_bytes_to_node
}

fn bytes_to_client(session: &Session) -> u64 {
    session.traffic.spliced_bytes_to_client + session.traffic.relayed_bytes_to_client
}

/// ODP's counters in its order.
const STATS: [(&str, Stat); 91] = [
    (
        "total_transaction_count",
        Counted(|session| session.transactions),
    ),
    ("total_user_transaction_count", Uncounted),
    ("total_query_count", Uncounted),
    ("total_client_request_reread_count", Uncounted),
    ("total_server_response_reread_count", Uncounted),
    (
        "client_request_total_size",
        Counted(|session| bytes_to_node(session) + session.traffic.answered_bytes_from_client),
    ),
    ("client_response_total_size", Counted(bytes_to_client)),
    ("server_request_total_size", Counted(bytes_to_node)),
    (
        "server_response_total_size",
        Counted(|session| {
            bytes_to_client(session).saturating_sub(session.traffic.answered_bytes_to_client)
        }),
    ),
    ("total_transactions_time", Uncounted),
    ("total_user_transactions_time", Uncounted),
    ("total_client_request_read_time", Uncounted),
    ("total_client_response_write_time", Uncounted),
    ("total_client_request_analyze_time", Uncounted),
    ("total_client_transaction_idle_time", Uncounted),
    // Responses are passed on as they are.
    ("total_ok_packet_trim_time", Never),
    ("total_server_process_request_time", Uncounted),
    ("total_server_response_read_time", Uncounted),
    ("total_server_response_analyze_time", Uncounted),
    ("total_send_saved_login_time", Uncounted),
    ("total_send_all_session_vars_time", Uncounted),
    ("total_send_use_database_time", Uncounted),
    ("total_send_changed_session_vars_time", Uncounted),
    ("total_send_changed_session_user_vars_time", Uncounted),
    ("total_send_last_insert_id_time", Uncounted),
    // A transaction begins on the node when the client begins it, and so does an XA one.
    ("total_send_start_trans_time", Never),
    ("total_send_xa_start_time", Never),
    // Tables and partitions are not looked up.
    ("total_pl_lookup_time", Never),
    ("total_congestion_control_time", Never),
    ("total_server_connect_time", Uncounted),
    ("client_requests", Counted(requests)),
    ("client_large_requests", Uncounted),
    (
        "client_internal_requests",
        Counted(|session| session.traffic.answered_commands),
    ),
    ("local_session_state_requests", Never),
    ("client_missing_pk_requests", Never),
    (
        "client_completed_requests",
        Counted(|session| session.traffic.responses + session.traffic.answered_commands),
    ),
    ("client_connection_abort_count", Uncounted),
    ("client_select_requests", Uncounted),
    ("client_insert_requests", Uncounted),
    ("client_update_requests", Uncounted),
    ("client_delete_requests", Uncounted),
    ("client_other_requests", Uncounted),
    ("request_size_100_count", Uncounted),
    ("request_size_1K_count", Uncounted),
    ("request_size_3K_count", Uncounted),
    ("request_size_5K_count", Uncounted),
    ("request_size_10K_count", Uncounted),
    ("request_size_1M_count", Uncounted),
    ("request_size_inf_count", Uncounted),
    ("response_size_100_count", Uncounted),
    ("response_size_1K_count", Uncounted),
    ("response_size_3K_count", Uncounted),
    ("response_size_5K_count", Uncounted),
    ("response_size_10K_count", Uncounted),
    ("response_size_1M_count", Uncounted),
    ("response_size_inf_count", Uncounted),
    ("client_speed_bytes_per_sec_100", Uncounted),
    ("client_speed_bytes_per_sec_1K", Uncounted),
    ("client_speed_bytes_per_sec_10K", Uncounted),
    ("client_speed_bytes_per_sec_100K", Uncounted),
    ("client_speed_bytes_per_sec_1M", Uncounted),
    ("client_speed_bytes_per_sec_10M", Uncounted),
    ("client_speed_bytes_per_sec_100M", Uncounted),
    ("server_speed_bytes_per_sec_100", Uncounted),
    ("server_speed_bytes_per_sec_1K", Uncounted),
    ("server_speed_bytes_per_sec_10K", Uncounted),
    ("server_speed_bytes_per_sec_100K", Uncounted),
    ("server_speed_bytes_per_sec_1M", Uncounted),
    ("server_speed_bytes_per_sec_10M", Uncounted),
    ("server_speed_bytes_per_sec_100M", Uncounted),
    ("server_connect_count", Uncounted),
    ("server_connect_retries", Uncounted),
    ("server_pl_lookup_count", Never),
    ("server_pl_lookup_retries", Never),
    ("broken_server_connections", Uncounted),
    (
        "server_requests",
        Counted(|session| requests(session).saturating_sub(session.traffic.answered_commands)),
    ),
    (
        "server_responses",
        Counted(|session| session.traffic.responses),
    ),
    ("server_error_responses", Uncounted),
    ("server_resultset_responses", Uncounted),
    ("server_ok_responses", Uncounted),
    ("server_other_responses", Uncounted),
    ("send_saved_login_requests", Uncounted),
    ("send_all_session_vars_requests", Uncounted),
    ("send_use_database_requests", Uncounted),
    ("send_changed_session_vars_requests", Uncounted),
    ("send_changed_session_user_vars_requests", Uncounted),
    ("send_last_insert_id_requests", Uncounted),
    ("send_start_trans_requests", Never),
    ("send_xa_start_requests", Never),
    // There are no virtual addresses to find a tenant by.
    ("vip_to_tenant_cache_hit", Never),
    ("vip_to_tenant_cache_miss", Never),
];
