use crate::admin::fixture::{ask, client, manual, server, table};
use crate::admin::{AdminError, Answer, ColumnKind};
use crate::session::variable::{self, Kind, Variables};
use crate::session::{
    AnsweredBy, Below, ClientState, Command, Mode, Path, Prepared, ProxySessionId, ServerState,
    Session, SsId, Versions,
};
use crate::sql::assigned::Assigned;
use sluice_ebpf::{
    reason::{TrapReason, WaitReason},
    response::Status,
    wire,
};
use std::sync::Arc;

/// One session with one server session, every value different.
fn detailed() -> Session {
    let mut session = client(262_146, "app@shop#east");
    session.proxy_session_id = Some(ProxySessionId(756_006_681_247_547_396));
    session.client = "[::ffff:127.0.0.1]:22540".parse().unwrap();
    session.state = ClientState::ActiveReader;
    session.transactions = 31;
    session.versions = Versions {
        hot_sys_var: 1,
        sys_var: 2,
        user_var: 3,
        last_insert_id: 4,
        db_name: 5,
    };
    let mut bound = server(4, 2_147_549_201);
    bound.state = ServerState::KeepAliveBound;
    bound.transactions = 30;
    bound.status = Status::of(Status::IN_TRANSACTION | Status::AUTOCOMMIT);
    bound.versions = Versions {
        hot_sys_var: 6,
        sys_var: 7,
        user_var: 8,
        last_insert_id: 9,
        db_name: 10,
    };
    session.bind(bound);
    session.path = Path::Local;
    session.mode = Mode::Spliced;
    session.relay_reason = None;
    session.traffic.trap(TrapReason::Variable);
    let traffic = &mut session.traffic;
    traffic.spliced_commands = 41;
    traffic.spliced_bytes_to_node = 42;
    traffic.spliced_bytes_to_client = 43;
    traffic.relayed_bytes_to_node = 44;
    traffic.relayed_bytes_to_client = 45;
    traffic.spliced_packets_to_node = 49;
    traffic.spliced_packets_to_client = 50;
    traffic.relayed_packets_to_node = 51;
    traffic.relayed_packets_to_client = 52;
    traffic.spills = 46;
    for microseconds in [40, 70, 70] {
        traffic.latency.count(microseconds * 1000);
    }
    traffic.relayed_commands = 47;
    traffic.answered_commands = 48;
    session.insert_id.value = 77;
    session.command = Command {
        bytes: 20,
        affected_rows: Some(12),
        ..Command::begun(
            b"\x03SELECT SLEEP(9)",
            &Prepared::default(),
            AnsweredBy::Node,
            1_000_000_000,
        )
    };
    session
}

#[track_caller]
fn check_table(answer: Answer, expected: &str) {
    let expected: Vec<_> = expected.trim().lines().map(str::trim).collect();
    let table = table(answer);
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    assert_eq!(lines.join("\n"), expected.join("\n"));
}

#[test]
fn proxysession_lists_all_to_tenant_sys() {
    check_table(
        ask(&manual(), 1_048_577, "show proxysession;"),
        "
        proxy_sessid | Id | Cluster | Tenant | User | Host | db | trans_count | svr_session_count | state | tid | pid | using_ssl
        838175694068187149 | 5 | obn | mysql | root | 10.3.6.9:38027 | test | 0 | 1 | MCS_ACTIVE_READER | 73104 | 73104 | 0
        838175694068187150 | 524297 | obn | mysql | root | fe80::1:38270 | oceanbase | 0 | 1 | MCS_ACTIVE_READER | 73179 | 73104 | 0
        838175694068187151 | 1048577 | obn | sys | root | 10.3.6.9:39012 | oceanbase | 0 | 1 | MCS_ACTIVE_READER | 73180 | 73104 | 0
        ",
    );
}

#[test]
fn proxysession_lists_ones_own_to_others() {
    let mut sessions = manual();
    sessions[1].db = None;
    sessions[1].proxy_session_id = None;
    sessions[1].transactions = 12;
    sessions[1].using_ssl = true;
    sessions[1].servers.clear();
    sessions[1].state = ClientState::HalfClose;
    check_table(
        ask(&sessions, 5, "SHOW PROXYSESSION"),
        "
        proxy_sessid | Id | Cluster | Tenant | User | Host | db | trans_count | svr_session_count | state | tid | pid | using_ssl
        0 | 5 | obn | mysql | root | 10.3.6.9:38027 | NULL | 12 | 0 | MCS_HALF_CLOSE | 73104 | 73104 | 1
        ",
    );
}

#[test]
fn proxysession_column_types() {
    use ColumnKind::{Long as L, LongLong as LL, Varchar as V};
    let Answer::Rows { columns, .. } = ask(&manual(), 5, "SHOW PROXYSESSION") else {
        panic!()
    };
    let kinds: Vec<_> = columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [LL, LL, V, V, V, V, V, LL, LL, V, LL, L, L]);
}

/// The rows of [`detailed`].
const ATTRIBUTES: &str = "
        attribute_name | value | info
        proxy_sessid | 756006681247547396 | cs common
        cs_id | 262146 | cs common
        cluster | east | cs common
        tenant | shop | cs common
        user | app | cs common
        host_ip | 127.0.0.1 | cs common
        host_port | 22540 | cs common
        db | NULL | cs common
        total_trans_cnt | 31 | cs common
        svr_session_cnt | 1 | cs common
        active | true | cs common
        read_state | MCS_ACTIVE_READER | cs common
        tid | 73180 | cs common
        pid | 73104 | cs common
        idc_name |  | cs common
        modified_time | 0 | cs stat
        reported_time | 0 | cs stat
        hot_sys_var_version | 1 | cs var version
        sys_var_version | 2 | cs var version
        user_var_version | 3 | cs var version
        last_insert_id_version | 4 | cs var version
        db_name_version | 5 | cs var version
        server_ip | 10.0.0.9 | last used ss
        server_port | 2881 | last used ss
        server_sessid | 2147549201 | last used ss
        ss_id | 4 | last used ss
        state | MSS_KA_CLIENT_SLAVE | last used ss
        transact_count | 30 | last used ss
        server_trans_stat | 1 | last used ss
        hot_sys_var_version | 6 | last used ss
        sys_var_version | 7 | last used ss
        user_var_version | 8 | last used ss
        last_insert_id_version | 9 | last used ss
        db_name_version | 10 | last used ss
        is_checksum_supported | 0 | last used ss
        is_safe_read_weak_supported | 0 | last used ss
        is_checksum_switch_supported | 0 | last used ss
        checksum_switch | -1 | last used ss
        enable_extra_ok_packet_for_stats | 0 | last used ss
        path | local | splice
        mode | spliced | splice
        relay_reason |  | splice
        waits_for |  | splice
        sticky_reason | transaction | splice
        stays_reason |  | splice
        in_transaction | yes | splice
        autocommit | on | splice
        session_state_changed | no | splice
        spliced_commands | 41 | splice
        relayed_commands | 47 | splice
        answered_commands | 48 | splice
        spliced_bytes_to_node | 42 | splice
        spliced_bytes_to_client | 43 | splice
        relayed_bytes_to_node | 44 | splice
        relayed_bytes_to_client | 45 | splice
        spliced_packets_to_node | 49 | splice
        spliced_packets_to_client | 50 | splice
        relayed_packets_to_node | 51 | splice
        relayed_packets_to_client | 52 | splice
        spills | 46 | splice
        latency_p50_us | 128 | splice
        latency_p99_us | 128 | splice
        latency_histogram | 2^5us:1 2^6us:2 | splice
        variables_stale | 0 | splice
        variables_not_kept | 0 | splice
        variables_unclear | 0 | splice
        last_trap | variable | splice
        trap: variable | 1 | splice
        last_command | Query | splice
        last_command_text | SELECT SLEEP(9) | splice
        last_command_bytes | 20 | splice
        last_command_running | true | splice
        last_command_us | 3999999 | splice
        last_command_rows | 12 | splice
        last_insert | 77 | splice
        ";

#[test]
fn attribute_shows_39_rows_and_the_splice() {
    check_table(
        ask(&[detailed()], 262_146, "SHOW PROXYSESSION ATTRIBUTE"),
        ATTRIBUTES,
    );
}

#[test]
fn attribute_of_a_session_on_the_wire_has_rows_of_its_own() {
    let mut session = detailed();
    session.path = Path::Wire;
    session.mode = Mode::Armed;
    session.waits_for = Some(WaitReason::ToNode);
    session.below = Some(Below {
        phase: wire::phase::DRAINING,
        unacknowledged_to_client: 1448,
        unacknowledged_to_node: 9,
    });
    check_table(
        ask(&[session], 262_146, "SHOW PROXYSESSION ATTRIBUTE LIKE 'w%'"),
        "
            attribute_name | value | info
            waits_for | acknowledgement by the node | splice
            wire_phase | draining | splice
            wire_unacknowledged_to_client | 1448 | splice
            wire_unacknowledged_to_node | 9 | splice
        ",
    );
}

#[test]
fn attribute_like_filters_names() {
    for id in ["262146", "2147549201", "", "-1"] {
        check_table(
            ask(
                &[detailed()],
                262_146,
                &format!("SHOW PROXYSESSION ATTRIBUTE {id} like '%id%'"),
            ),
            "
            attribute_name | value | info
            proxy_sessid | 756006681247547396 | cs common
            cs_id | 262146 | cs common
            tid | 73180 | cs common
            pid | 73104 | cs common
            idc_name |  | cs common
            last_insert_id_version | 4 | cs var version
            server_sessid | 2147549201 | last used ss
            ss_id | 4 | last used ss
            last_insert_id_version | 9 | last used ss
            ",
        );
    }
    check_table(
        ask(
            &[detailed()],
            262_146,
            "SHOW PROXYSESSION ATTRIBUTE LIKE 'ID'",
        ),
        "attribute_name | value | info",
    );
}

#[test]
fn attribute_groups_server_sessions() {
    let rows = |session: &Session| {
        let text = table(ask(
            std::slice::from_ref(session),
            7,
            "SHOW PROXYSESSION ATTRIBUTE LIKE 'ss_id'",
        ));
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut session = client(7, "app@shop#east");
    assert!(rows(&session).is_empty());
    for ss_id in [1, 2, 3] {
        session.bind(server(ss_id, 100 + ss_id));
    }
    assert_eq!(
        rows(&session),
        [
            "ss_id | 3 | last used ss",
            "ss_id | 1 | ss pool [0]",
            "ss_id | 2 | ss pool [1]"
        ]
    );
    let all = table(ask(
        std::slice::from_ref(&session),
        7,
        "SHOW PROXYSESSION ATTRIBUTE",
    ));
    assert_eq!(
        all.lines()
            .filter(|line| !line.ends_with("| splice"))
            .count(),
        1 + 73
    );
    session.server_mut(SsId(3)).unwrap().state = ServerState::Active;
    session.last_insert_id_holder = Some(SsId(3));
    assert_eq!(rows(&session)[0], "ss_id | 3 | curr used && lii ss");
    session.last_insert_id_holder = Some(SsId(2));
    assert_eq!(rows(&session)[2], "ss_id | 2 | ss pool && lii ss [1]");
}

#[test]
fn attribute_of_others_is_unknown() {
    let unknown = |id: i64| Answer::Error(AdminError::unknown_thread(id));
    for id in [524_297, 1_048_577, 0x8001_0000 + 524_297, 6] {
        assert_eq!(
            ask(&manual(), 5, &format!("SHOW PROXYSESSION ATTRIBUTE {id}")),
            unknown(id)
        );
    }
}

#[test]
fn stat_has_the_names_of_odp() {
    let mut session = detailed();
    let traffic = &mut session.traffic;
    traffic.answered_bytes_from_client = 49;
    traffic.answered_bytes_to_client = 5;
    traffic.responses = 50;
    let all = table(ask(
        std::slice::from_ref(&session),
        262_146,
        "SHOW PROXYSESSION STAT",
    ));
    assert_eq!(all.lines().count(), 1 + 91);
    assert!(all.starts_with("stat_name | value\ntotal_transaction_count | 31\n"));
    assert!(all.ends_with("\nvip_to_tenant_cache_hit | 0\nvip_to_tenant_cache_miss | 0"));
    check_table(
        ask(
            std::slice::from_ref(&session),
            262_146,
            "SHOW PROXYSESSION STAT 262146 LIKE '%_total_size'",
        ),
        "
        stat_name | value
        client_request_total_size | 135
        client_response_total_size | 88
        server_request_total_size | 86
        server_response_total_size | 83
        ",
    );
    check_table(
        ask(
            &[session],
            262_146,
            "SHOW PROXYSESSION STAT LIKE 'server_re%s'",
        ),
        "
        stat_name | value
        server_requests | 40
        server_responses | 50
        server_resultset_responses | (null)
        ",
    );
}

#[test]
fn stat_of_others_is_unknown() {
    assert_eq!(
        ask(&manual(), 5, "SHOW PROXYSESSION STAT 524297"),
        Answer::Error(AdminError::unknown_thread(524_297))
    );
}

/// A session that has changed some variables.
fn changed() -> Session {
    let mut session = detailed();
    let text = b"SET autocommit = 0, sql_mode = 'X', last_insert_id = 5, max_statement_time = 1, @a = 1, @`b c` = 'it''s'";
    let mut variables = Variables::default();
    variables.change(&Assigned::of(text));
    for (kind, name, value) in [
        (Kind::System, "autocommit", "0"),
        (Kind::System, "sql_mode", "'X'"),
        (Kind::System, "last_insert_id", "5"),
        (Kind::User, "a", "1"),
    ] {
        variables.read(kind, name, variable::Value::Literal(value.to_owned()));
    }
    variables.read(Kind::User, "b c", variable::Value::Long);
    session.variables = Arc::new(variables);
    session
}

#[test]
fn variables_are_the_changed_ones_with_odps_words() {
    let expected = "
        variable_name | value | info | modified_type | sys_variable_flag
        autocommit | 0 | changed sys var | hot modified vars |  && global_scope && session_scope
        sql_mode | 'X' | changed sys var | cold modified vars |  && global_scope && session_scope
        last_insert_id | 5 | changed sys var | last insert id modified vars |  && session_scope
        max_statement_time | (null) | changed sys var | cold modified vars |  && global_scope && session_scope
        a | 1 | user var | cold modified vars | 
        b c | ---value length is large then 128bytes--- | user var | cold modified vars | 
        ";
    for id in ["", "262146", "2147549201", "-1"] {
        let text = format!("SHOW PROXYSESSION VARIABLES {id}");
        check_table(ask(&[changed()], 262_146, &text), expected);
    }
    check_table(
        ask(
            &[changed()],
            262_146,
            "show proxysession variables like '%o%mode'",
        ),
        "variable_name | value | info | modified_type | sys_variable_flag",
    );
    check_table(
        ask(&[detailed()], 262_146, "SHOW PROXYSESSION VARIABLES"),
        "variable_name | value | info | modified_type | sys_variable_flag",
    );
}

#[test]
fn all_adds_the_defaults_between() {
    check_table(
        ask(&[changed()], 262_146, "SHOW PROXYSESSION VARIABLES ALL 262146"),
        "
        variable_name | value | info | modified_type | sys_variable_flag
        autocommit | 0 | sys var | hot modified vars |  && global_scope && session_scope
        sql_mode | 'X' | sys var | cold modified vars |  && global_scope && session_scope
        last_insert_id | 5 | sys var | last insert id modified vars |  && session_scope
        max_statement_time | (null) | sys var | cold modified vars |  && global_scope && session_scope
        auto_increment_increment | 1 | sys var | cold modified vars |  && global_scope && session_scope
        version | '11.4' | sys var | cold modified vars |  && global_scope && readonly
        a | 1 | user var | cold modified vars | 
        b c | ---value length is large then 128bytes--- | user var | cold modified vars | 
        ",
    );
    let Answer::Error(error) = ask(
        &[client(9, "app@shop#west")],
        9,
        "SHOW PROXYSESSION VARIABLES ALL",
    ) else {
        panic!("an answer without defaults")
    };
    assert!(error.text.contains("cluster 'west'"), "{error}");
}

#[test]
fn variables_of_others_are_unknown() {
    for id in [524_297, 1_048_577, 6] {
        assert_eq!(
            ask(
                &manual(),
                5,
                &format!("SHOW PROXYSESSION VARIABLES ALL {id}")
            ),
            Answer::Error(AdminError::unknown_thread(id))
        );
    }
}
