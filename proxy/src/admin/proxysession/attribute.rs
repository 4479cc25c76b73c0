//! `SHOW PROXYSESSION ATTRIBUTE`: all of one session (odp.md, section 3), then how its bytes move.

use std::fmt::Display;

use super::{database, proxy_session_id};
use crate::admin::{
    Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who, access, parse,
};
use crate::session::{
    ServerSession, ServerState, Session, StickyReason, Versions, own_writes::Wanted,
};
use crate::sql::like::like;
use sluice_ebpf::{
    response::{Doubt, Status},
    wire::phase,
};

pub(super) const SPEC: Spec = Spec {
    words: &["SHOW", "PROXYSESSION", "ATTRIBUTE"],
    grammar: "SHOW PROXYSESSION ATTRIBUTE [id] [LIKE 'pattern']",
    help: "Shows one client session, its server sessions and how its bytes move; one's own without an id.",
    who: Who::Anyone,
    scope: Scope::Named,
    example: "SHOW PROXYSESSION ATTRIBUTE 262145 LIKE '%id%'",
    parse: parse::id_and_like,
    answer,
};

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let session = match access::find_visible(snapshot, arguments.id) {
        Ok(session) => session,
        Err(error) => return error.into(),
    };
    let mut attributes = Attributes {
        rows: Vec::new(),
        like: arguments.like.as_deref().unwrap_or_default(),
    };
    let zone = snapshot.daemon.settings.zone.as_deref();
    client_session(&mut attributes, session, zone.unwrap_or_default());
    for (info, server) in groups(session) {
        server_session(&mut attributes, &info, server);
    }
    splice(&mut attributes, session, snapshot.daemon.now_ns);
    let columns = ["attribute_name", "value", "info"];
    Answer::Rows {
        columns: columns
            .map(|name| Column::new(name, ColumnKind::Varchar))
            .to_vec(),
        rows: attributes.rows,
    }
}

/// The rows that match the LIKE.
struct Attributes<'a> {
    rows: Vec<Vec<Value>>,
    like: &'a [u8],
}

impl Attributes<'_> {
    fn add(&mut self, info: &str, name: &str, value: impl Display) {
        if like(self.like, name.as_bytes()) {
            self.rows.push(vec![
                Value::text(name),
                Value::Text(value.to_string()),
                Value::text(info),
            ]);
        }
    }

    fn add_versions(&mut self, info: &str, versions: &Versions) {
        self.add(info, "hot_sys_var_version", versions.hot_sys_var);
        self.add(info, "sys_var_version", versions.sys_var);
        self.add(info, "user_var_version", versions.user_var);
        self.add(info, "last_insert_id_version", versions.last_insert_id);
        self.add(info, "db_name_version", versions.db_name);
    }
}

/// `zone`: where the proxy stands.
fn client_session(rows: &mut Attributes<'_>, session: &Session, zone: &str) {
    let info = "cs common";
    rows.add(info, "proxy_sessid", proxy_session_id(session));
    rows.add(info, "cs_id", session.cs_id);
    rows.add(info, "cluster", &session.login.cluster);
    rows.add(info, "tenant", &session.login.tenant);
    rows.add(info, "user", &session.login.user);
    rows.add(info, "host_ip", session.client.ip().to_canonical());
    rows.add(info, "host_port", session.client.port());
    rows.add(info, "db", database(session));
    rows.add(info, "total_trans_cnt", session.transactions);
    rows.add(info, "svr_session_cnt", session.servers.len());
    rows.add(info, "active", session.is_active());
    rows.add(info, "read_state", session.state.text());
    rows.add(info, "tid", session.worker_tid);
    rows.add(info, "pid", session.pid);
    rows.add(info, "idc_name", zone);
    rows.add("cs stat", "modified_time", 0);
    rows.add("cs stat", "reported_time", 0);
    rows.add_versions("cs var version", &session.versions);
}

/// The server sessions with the texts that ODP names them by: first the one in use or last used, then the pool.
fn groups(session: &Session) -> Vec<(String, &ServerSession)> {
    let is_bound = |server: &&ServerSession| session.bound == Some(server.ss_id);
    let holds_id = |server: &ServerSession| session.last_insert_id_holder == Some(server.ss_id);
    let bound = session.servers.iter().filter(is_bound).map(|server| {
        let use_ = if server.state == ServerState::Active {
            "curr"
        } else {
            "last"
        };
        let tag = if holds_id(server) { " && lii" } else { "" };
        (format!("{use_} used{tag} ss"), server)
    });
    let pooled = session
        .servers
        .iter()
        .filter(|server| !is_bound(server))
        .enumerate();
    let pooled = pooled.map(|(at, server)| {
        let tag = if holds_id(server) { " && lii ss" } else { "" };
        (format!("ss pool{tag} [{at}]"), server)
    });
    bound.chain(pooled).collect()
}

fn server_session(rows: &mut Attributes<'_>, info: &str, server: &ServerSession) {
    rows.add(info, "server_ip", server.node.ip().to_canonical());
    rows.add(info, "server_port", server.node.port());
    rows.add(info, "server_sessid", server.connection_id);
    rows.add(info, "ss_id", server.ss_id);
    rows.add(info, "state", server.state.text());
    rows.add(info, "transact_count", server.transactions);
    // Rather too often 1 than not often enough: "in_transaction" below says when it is not known.
    let in_transaction = server.status.may_be_in_transaction();
    rows.add(info, "server_trans_stat", u8::from(in_transaction));
    rows.add_versions(info, &server.versions);
    // OceanBase's checksums of packets, which Sluice does not negotiate: off, unsupported, and the switch unknown.
    rows.add(info, "is_checksum_supported", 0);
    rows.add(info, "is_safe_read_weak_supported", 0);
    rows.add(info, "is_checksum_switch_supported", 0);
    rows.add(info, "checksum_switch", -1);
    rows.add(info, "enable_extra_ok_packet_for_stats", 0);
}

/// Which way bytes move, and why not by another. ODP has nothing of it.
fn way(rows: &mut Attributes<'_>, info: &str, session: &Session) {
    rows.add(info, "path", session.path.text());
    rows.add(info, "mode", session.mode.text());
    rows.add(
        info,
        "relay_reason",
        session.relay_reason.map_or("", |reason| reason.text()),
    );
    rows.add(
        info,
        "waits_for",
        session.waits_for.map_or("", |reason| reason.text()),
    );
    if let Some(below) = session.below {
        rows.add(info, "wire_phase", phase::text(below.phase));
        rows.add(
            info,
            "wire_unacknowledged_to_client",
            below.unacknowledged_to_client,
        );
        rows.add(
            info,
            "wire_unacknowledged_to_node",
            below.unacknowledged_to_node,
        );
    }
    let sticky: Vec<_> = session
        .sticky_reasons()
        .into_iter()
        .map(StickyReason::text)
        .collect();
    rows.add(info, "sticky_reason", sticky.join(", "));
    rows.add(
        info,
        "stays_reason",
        session.stays.as_deref().unwrap_or_default(),
    );
    if let Some(reads_at) = session.reads_at.as_deref() {
        rows.add(info, "reads_at", reads_at);
    }
    if let Some(consistency) = session.read_consistency {
        rows.add(info, "read_consistency", consistency.text());
    }
    match session.own_writes {
        Wanted::AsCluster => {}
        Wanted::No => rows.add(info, "wait_for_my_writes", "off"),
        Wanted::Within(time) => {
            rows.add(info, "wait_for_my_writes", humantime::format_duration(time));
        }
    }
}

/// What the responses of the server session in use tell of it. ODP has of this `server_trans_stat` alone.
fn status(rows: &mut Attributes<'_>, info: &str, session: &Session) {
    let status = session.bound_server().map(|server| server.status);
    let text = |fact: Option<bool>, [no, yes]: [&'static str; 2]| match fact {
        Some(true) => yes,
        Some(false) => no,
        None => "unknown",
    };
    let in_transaction = status.and_then(Status::in_transaction);
    rows.add(info, "in_transaction", text(in_transaction, ["no", "yes"]));
    let autocommit = status.and_then(Status::autocommit);
    rows.add(info, "autocommit", text(autocommit, ["off", "on"]));
    let changed = status
        .filter(|status| status.doubt == Doubt::None)
        .map(|status| status.flags & Status::STATE_CHANGED != 0);
    rows.add(info, "session_state_changed", text(changed, ["no", "yes"]));
}

/// How bytes move, and what the session does.
fn splice(rows: &mut Attributes<'_>, session: &Session, now_ns: u64) {
    let info = "splice";
    let traffic = &session.traffic;
    way(rows, info, session);
    status(rows, info, session);
    for (name, value) in [
        ("spliced_commands", traffic.spliced_commands),
        ("relayed_commands", traffic.relayed_commands),
        ("answered_commands", traffic.answered_commands),
        ("spliced_bytes_to_node", traffic.spliced_bytes_to_node),
        ("spliced_bytes_to_client", traffic.spliced_bytes_to_client),
        ("relayed_bytes_to_node", traffic.relayed_bytes_to_node),
        ("relayed_bytes_to_client", traffic.relayed_bytes_to_client),
        ("spliced_packets_to_node", traffic.spliced_packets_to_node),
        (
            "spliced_packets_to_client",
            traffic.spliced_packets_to_client,
        ),
        ("relayed_packets_to_node", traffic.relayed_packets_to_node),
        (
            "relayed_packets_to_client",
            traffic.relayed_packets_to_client,
        ),
        ("spills", traffic.spills),
        ("latency_p50_us", traffic.latency.percentile_us(50)),
        ("latency_p99_us", traffic.latency.percentile_us(99)),
    ] {
        rows.add(info, name, value);
    }
    rows.add(info, "latency_histogram", traffic.latency);
    let variables = &session.variables;
    rows.add(info, "variables_stale", variables.stale_count());
    rows.add(info, "variables_not_kept", variables.not_kept);
    rows.add(info, "variables_unclear", variables.unclear);
    rows.add(
        info,
        "last_trap",
        traffic.last_trap.map_or("", |reason| reason.text()),
    );
    for (reason, count) in traffic.traps.iter().filter(|(_, count)| *count != 0) {
        rows.add(info, &format!("trap: {}", reason.text()), count);
    }
    let command = &session.command;
    rows.add(info, "last_command", command.name());
    rows.add(info, "last_command_text", command.text.to_text());
    rows.add(info, "last_command_bytes", command.bytes);
    rows.add(info, "last_command_running", command.is_running());
    rows.add(info, "last_command_us", command.duration_ns(now_ns) / 1000);
    let affected = command.affected_rows.map(|rows| rows.to_string());
    rows.add(info, "last_command_rows", affected.unwrap_or_default());
    rows.add(info, "last_insert", session.insert_id.value);
}
