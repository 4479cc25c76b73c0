//! Sessions for tests, and how to ask about them.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{
    Answer, Caller, Calls, Connection, ConnectionKind, Daemon, Host, Report, Snapshot, Value, parse,
};
use crate::config::{NodeAddress, Origin, Overrides, settings};
use crate::route::{
    health::{Book, Probe},
    occupancy::{Group, Occupancy},
};
use crate::session::{
    Accepted, ClientState, ConnectionId, CsId, Login, ProxySessionId, ServerSession, Session, SsId,
    Totals, Traffic,
    variable::defaults::{self, Default},
};

/// `user@tenant#cluster`.
pub(super) fn login(name: &str) -> Login {
    let (user, rest) = name.split_once('@').unwrap();
    let (tenant, cluster) = rest.split_once('#').unwrap();
    Login {
        user: user.to_owned(),
        tenant: tenant.to_owned(),
        cluster: cluster.to_owned(),
    }
}

/// A client that has logged in.
pub(super) fn client(cs_id: u32, name: &str) -> Session {
    let client = "10.0.0.7:39012".parse().unwrap();
    let accepted = Accepted {
        cs_id: CsId(cs_id),
        client,
        worker_tid: 73180,
        pid: 73104,
        opened_at_ms: 0,
        opened_at_ns: 0,
    };
    Session {
        login: login(name),
        ..Session::new(accepted)
    }
}

/// A connection to a node.
pub(super) fn server(ss_id: u64, connection_id: u64) -> ServerSession {
    ServerSession::new(
        SsId(ss_id),
        "10.0.0.9:2881".parse().unwrap(),
        ConnectionId(connection_id),
    )
}

/// The three sessions of ODP's manual.
pub(super) fn manual() -> Vec<Session> {
    let session = |proxy_session_id, cs_id, name, host: &str, db: &str, worker_tid| {
        let mut session = client(cs_id, name);
        session.proxy_session_id = Some(ProxySessionId(proxy_session_id));
        session.client = host.parse().unwrap();
        session.db = Some(db.to_owned());
        session.state = ClientState::ActiveReader;
        session.worker_tid = worker_tid;
        session.bind(server(u64::from(cs_id), 0x8001_0000 + u64::from(cs_id)));
        session
    };
    vec![
        session(
            838_175_694_068_187_151,
            1_048_577,
            "root@sys#obn",
            "10.3.6.9:39012",
            "oceanbase",
            73180,
        ),
        session(
            838_175_694_068_187_149,
            5,
            "root@mysql#obn",
            "10.3.6.9:38027",
            "test",
            73104,
        ),
        session(
            838_175_694_068_187_150,
            524_297,
            "root@mysql#obn",
            "[fe80::1]:38270",
            "oceanbase",
            73179,
        ),
    ]
}

/// Some system variables, as `MariaDB` lists them.
fn defaults() -> Vec<Default> {
    let rows = [
        [
            "auto_increment_increment",
            "1",
            "SESSION",
            "BIGINT UNSIGNED",
            "NO",
        ],
        ["autocommit", "ON", "SESSION", "BOOLEAN", "NO"],
        [
            "last_insert_id",
            "0",
            "SESSION ONLY",
            "BIGINT UNSIGNED",
            "NO",
        ],
        ["sql_mode", "ANSI", "SESSION", "SET", "NO"],
        ["version", "11.4", "GLOBAL", "VARCHAR", "YES"],
    ];
    let rows = rows.map(|row| row.map(|cell| Some(cell.into())).to_vec());
    defaults::read(&rows)
}

/// A client's connection, a node's, and a client's of another worker.
fn connections() -> [Connection; 3] {
    let client = Connection {
        kind: ConnectionKind::Accepted(CsId(5)),
        fd: 21,
        local: "127.0.0.1:2883".parse().unwrap(),
        remote: "10.0.0.7:39012".parse().unwrap(),
        read_bytes: 100,
        written_bytes: 200,
        age_s: 61,
    };
    let node = Connection {
        kind: ConnectionKind::Connected(SsId(9)),
        fd: 22,
        local: "127.0.0.1:41000".parse().unwrap(),
        remote: "10.0.0.9:2881".parse().unwrap(),
        read_bytes: 190,
        written_bytes: 90,
        age_s: 60,
    };
    let other = Connection {
        kind: ConnectionKind::Accepted(CsId(6)),
        ..client
    };
    [client, node, other]
}

/// What is known of nodes: `db2` is lost.
fn nodes() -> Book {
    let [up, down]: [NodeAddress; 2] =
        ["10.0.0.9:2881", "db2:2881"].map(|node| node.parse().unwrap());
    let mut book = Book::default();
    book.login_answered(&up, 10);
    for at_ms in [1000, 2000] {
        book.probe_failed(&down, "connection refused", at_ms, 3);
    }
    let replica = Probe {
        is_read_only: true,
        lag: Some(Duration::from_secs(7)),
        ..Probe::default()
    };
    book.probed(&down, replica, None, 3000);
    for at_ms in [5000, 6000, 7000] {
        book.probe_failed(&down, "connection refused", at_ms, 3);
    }
    for at_ms in [4000, 5000] {
        book.login_failed(&down, "connection refused", at_ms, 3);
    }
    book
}

/// Two sessions of a user.
fn occupancy() -> Occupancy {
    let login = login("app@shop#east");
    let mut occupancy = Occupancy::default();
    let groups = [
        Group::Tenant {
            tenant: login.tenant.clone(),
            cluster: login.cluster.clone(),
        },
        Group::User {
            user: login.user,
            tenant: Some(login.tenant),
            cluster: login.cluster,
        },
    ];
    occupancy.enter(&groups);
    occupancy.enter(&groups);
    occupancy
}

/// What two workers report.
fn reports() -> Vec<Report> {
    let closed = Totals {
        sessions: 5,
        transactions: 2,
        traffic: Traffic {
            spliced_commands: 500,
            ..Traffic::default()
        },
    };
    let [client, node, other] = connections();
    vec![
        Report {
            worker: 0,
            connections: vec![client, node],
            calls: Calls {
                reads: 9,
                empty_reads: 2,
                read_bytes: 700,
                writes: 8,
                empty_writes: 1,
                written_bytes: 650,
            },
            closed: closed.clone(),
        },
        Report {
            worker: 1,
            connections: vec![other],
            calls: Calls::default(),
            closed,
        },
    ]
}

/// A daemon with two clusters.
pub(super) fn daemon() -> &'static Daemon {
    static DAEMON: LazyLock<Daemon> = LazyLock::new(|| {
        let text = r#"
            max_connections = 500
            max_user_connections = 40
            log = { level = "debug" }
            [[cluster]]
            name = "east"
            kind = "oceanbase"
            tenants = ["sys", "shop"]
            nodes = ["10.0.0.9:2881", { address = "db2:2881", zone = "b" }]
            monitor = { user = "monitor@sys", password = "hunter2" }
            [[cluster]]
            name = "west"
            kind = "mysql"
            nodes = ["10.0.0.10:3306"]
        "#;
        Daemon {
            settings: Arc::new(settings(text, Overrides::default()).unwrap()),
            defaults: BTreeMap::from([("east".to_owned(), Arc::new(Ok(defaults())))]),
            origin: Arc::new(Origin::default()),
            host: Arc::new(Host {
                binary: "/usr/bin/sluice".into(),
                build: "release, x86_64".to_owned(),
                pid: 4711,
                kernel: "6.18.0".to_owned(),
                listen: "127.0.0.1:2883".parse().unwrap(),
                workers: 2,
                started_at: 1_700_000_000,
            }),
            no_splice: None,
            is_stopping: false,
            retires_at_ms: None,
            client_count: 3,
            refused_for_total: 4,
            refused_for_memory: 0,
            resident_bytes: 70_000_000,
            occupancy: occupancy(),
            certificate_expires_in_s: Some(86_400),
            nodes: nodes(),
            uptime_ms: 90_250,
            now_ns: 4_999_999_999,
            fleet: None,
            reports: reports(),
        }
    });
    &DAEMON
}

/// What `caller` gets for a text that is a statement.
pub(super) fn ask(sessions: &[Session], caller: u32, text: &str) -> Answer {
    let nobody = login("nobody@none#none");
    let login = sessions
        .iter()
        .find(|session| session.cs_id.0 == caller)
        .map_or(&nobody, |session| &session.login);
    let caller = Caller {
        cs_id: CsId(caller),
        login,
        has_tenant: true,
        privileges: None,
    };
    let statement = parse(text.as_bytes()).expect(text).expect(text);
    statement.answer(&Snapshot {
        sessions,
        caller,
        daemon: daemon(),
    })
}

/// A result set as text: a line a row, blanks around the bars squeezed.
pub(super) fn table(answer: Answer) -> String {
    let Answer::Rows { columns, rows } = answer else {
        panic!("{answer:?}")
    };
    let mut lines = vec![
        columns
            .iter()
            .map(|column| column.name.to_string())
            .collect::<Vec<_>>()
            .join(" | "),
    ];
    for row in rows {
        assert_eq!(row.len(), columns.len());
        let cells = row.into_iter().map(|value| match value {
            Value::Integer(value) => value.to_string(),
            Value::Unsigned(value) => value.to_string(),
            Value::Text(value) => value,
            Value::Null => "(null)".to_owned(),
        });
        lines.push(cells.collect::<Vec<_>>().join(" | "));
    }
    lines.join("\n")
}
