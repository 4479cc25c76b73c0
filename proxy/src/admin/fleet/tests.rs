use super::*;
use crate::admin::{
    Caller, Daemon,
    fixture::{client, daemon, login, server, table},
    parse,
};
use crate::config::{Overrides, settings};
use std::sync::Arc;

/// The caller's proxy has this number, the peer the next.
const OWN: u32 = 1;
const PEER: &str = "10.0.0.2:2883";

fn rows(lines: &str) -> Rows {
    let lines = lines.trim().lines().map(str::trim);
    let cells = |line: &str| {
        let cells = line.split(" | ");
        let cells = cells.map(|cell| (cell != "(null)").then(|| cell.as_bytes().to_vec()));
        cells.collect()
    };
    lines.map(cells).collect()
}

fn proxy_id(id: u32) -> Rows {
    rows(&format!("proxy_id | {id}"))
}

/// Two sessions of the tenant `shop` and one of `bank`; two executing.
fn answers(question: Question) -> Vec<Rows> {
    let sessions = rows(
        "
        91 | 524289 | east | shop | app | 10.0.0.7:1000 | NULL | 0 | 1 | MCS_ACTIVE_READER | 9 | 8 | 0
        92 | 524290 | east | shop | root | fe80::1:1001 | db | 3 | 1 | MCS_ACTIVE_READER | 9 | 8 | 0
        93 | 524291 | east | bank | app | 10.0.0.7:1002 | NULL | 0 | 1 | MCS_ACTIVE_READER | 9 | 8 | 0",
    );
    let servers = rows(
        "
        1 | 10.0.0.9:2881 | 71 | 524289 | shop | app | last used | x | 0 | 0 | 1 | 1 | 0
        2 | 10.0.0.9:2881 | 72 | 524290 | shop | root | last used | x | 0 | 0 | 1 | 1 | 0
        3 | 10.0.0.9:2881 | 73 | 524291 | bank | app | last used | x | 0 | 0 | 1 | 1 | 0",
    );
    let processes = rows(
        "
        524289 | app | shop | 10.0.0.7:1000 | (null) | Query | 3 | ACTIVE | SELECT SLEEP(9) | 10.0.0.9 | 2881 | 91
        524290 | root | shop | fe80::1:1001 | db | Sleep | 1 | SLEEP | (null) | 10.0.0.9 | 2881 | 92
        524291 | app | bank | 10.0.0.7:1002 | (null) | Ping | 0 | ACTIVE | (null) | 10.0.0.9 | 2881 | 93",
    );
    let of = |statement| match statement {
        PROXY_ID => proxy_id(2),
        SESSIONS => sessions.clone(),
        "SHOW PROXYSESSION SERVER" => servers.clone(),
        "SHOW FULL PROCESSLIST" => processes.clone(),
        other => panic!("{other}"),
    };
    question.statements().into_iter().map(of).collect()
}

/// What the daemon knows when its peers were asked; the second is silent if its reason is given.
fn asked(question: Question, silent: Option<&str>) -> Daemon {
    let text = "
        proxy_id = 1
        server = \"a:1\"
        admin = { password = \"x\" }
        fleet = { peers = [\"proxies:2883\"] }";
    let told = Question::read(question, OWN, answers(question));
    let mut fleet = vec![Peer {
        name: PEER.to_owned(),
        address: PEER.parse().ok(),
        told,
    }];
    fleet.extend(silent.map(|why| Peer {
        name: "10.0.0.3:2883".to_owned(),
        address: None,
        told: Err(why.to_owned()),
    }));
    Daemon {
        settings: Arc::new(settings(text, Overrides::default()).unwrap()),
        fleet: Some(fleet),
        ..daemon().clone()
    }
}

/// The answer to a caller whose session has the id 262145 and the server connection 71.
fn answer(daemon: &Daemon, who: &str, text: &str) -> Answer {
    let login = login(who);
    let mut own = client(262_145, who);
    own.bind(server(1, 71));
    let statement = parse(text.as_bytes()).expect(text).expect(text);
    statement.answer(&Snapshot {
        sessions: &[own],
        caller: Caller {
            cs_id: CsId(262_145),
            login: &login,
            has_tenant: true,
            privileges: None,
        },
        daemon,
    })
}

/// The ids in a list, and the peers' errors.
fn ids(answer: Answer) -> Vec<String> {
    let Answer::Rows { columns, rows } = answer else {
        return vec![format!("{answer:?}")];
    };
    let id = columns
        .iter()
        .position(|column| column.name == "Id" || column.name == "cs_id");
    rows.into_iter()
        .map(|row| match (&row[id.unwrap()], row.last()) {
            (Value::Unsigned(id), Some(Value::Null)) => id.to_string(),
            (Value::Null, Some(Value::Text(why))) => why.clone(),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn lists_hold_what_the_caller_may_see() {
    for (who, text, wanted) in [
        (
            "root@sys#east",
            "SHOW PROXYSESSION GLOBAL",
            &["262145", "524289", "524290", "524291", "refused"][..],
        ),
        (
            "app@shop#east",
            "SHOW PROXYSESSION GLOBAL",
            &["262145", "refused"],
        ),
        (
            "root@proxysys#east",
            "SHOW PROXYSESSION SERVER GLOBAL",
            &["262145", "524289", "524290", "524291", "refused"],
        ),
        (
            "app@bank#east",
            "SHOW FULL PROCESSLIST GLOBAL",
            &["262145", "524291", "refused"],
        ),
        (
            "app@bank#west",
            "SHOW FULL PROCESSLIST GLOBAL",
            &["262145", "refused"],
        ),
        // Whether he sees root's depends on a privilege.
        (
            "app@shop#east",
            "SHOW FULL PROCESSLIST GLOBAL",
            &["Orders([LearnPrivileges])"],
        ),
    ] {
        let statement = parse(text.as_bytes()).unwrap().unwrap();
        let Scope::Fleet(list) = statement.spec().scope else {
            panic!("{text}")
        };
        let daemon = asked(Question::List(list), Some("refused"));
        assert_eq!(ids(answer(&daemon, who, text)), wanted, "{who}: {text}");
    }
}

#[test]
fn rows_say_whose_they_are() {
    let daemon = asked(Question::List("SHOW FULL PROCESSLIST"), Some("no route"));
    let list = answer(&daemon, "root@sys#east", "SHOW FULL PROCESSLIST GLOBAL");
    let list = table(list);
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].ends_with(" | Proxy_sessid | proxy_id | proxy | proxy_error"));
    assert!(lines[1].ends_with(" | 1 | 127.0.0.1:2883 | (null)"));
    assert_eq!(
        lines[2],
        "524289 | app | shop | 10.0.0.7:1000 | (null) | Query | 3 | ACTIVE | SELECT SLEEP(9) | 10.0.0.9 | 2881 | 91 | 2 | 10.0.0.2:2883 | (null)"
    );
    assert!(lines[5].ends_with(" | (null) | (null) | 10.0.0.3:2883 | no route"));
}

fn outcome(daemon: &Daemon, who: &str, text: &str) -> String {
    match answer(daemon, who, text) {
        Answer::Error(error) => error.code.to_string(),
        Answer::Orders(orders) => match &orders[..] {
            [Order::Kill { cs_id, .. }] => format!("own {cs_id}"),
            [Order::KillAt { peer, cs_id }] => format!("{cs_id} at {peer}"),
            [Order::KillQuery(running)] => format!("query {}", running.connection),
            other => format!("{other:?}"),
        },
        Answer::Ok { .. } => "OK".to_owned(),
        other @ Answer::Rows { .. } => format!("{other:?}"),
    }
}

#[test]
fn ids_are_looked_for_in_the_whole_fleet() {
    let daemon = asked(Question::Kill, None);
    for (who, text, wanted) in [
        ("root@sys#east", "KILL 524290", "524290 at 10.0.0.2:2883"),
        ("root@sys#east", "KILL 72", "524290 at 10.0.0.2:2883"),
        (
            "root@proxysys#east",
            "KILL PROXYSESSION 524291",
            "524291 at 10.0.0.2:2883",
        ),
        ("app@shop#east", "KILL 524289", "524289 at 10.0.0.2:2883"),
        ("app@shop#east", "KILL 524290", "[LearnPrivileges]"),
        ("app@shop#east", "KILL 524291", "1094"),
        ("app@shop#west", "KILL 524289", "1094"),
        ("app@shop#east", "KILL 262145", "own 262145"),
        // Both have a connection of this id, at their nodes.
        ("app@shop#east", "KILL 71", "1105"),
        ("app@bank#east", "KILL 71", "own 262145"),
        ("app@shop#east", "KILL 99", "1094"),
        ("app@shop#east", "KILL QUERY 524289", "query 71"),
        ("root@shop#east", "KILL QUERY 524290", "OK"),
        ("root@sys#east", "KILL QUERY 524289", "1094"),
    ] {
        assert_eq!(outcome(&daemon, who, text), wanted, "{who}: {text}");
    }
    let unasked = Daemon {
        fleet: None,
        ..daemon
    };
    for (text, wanted) in [
        ("KILL 524289", "[AskFleet]"),
        ("KILL QUERY 524289", "[AskFleet]"),
        ("KILL 71", "[AskFleet]"),
        ("KILL 262145", "own 262145"),
    ] {
        assert_eq!(outcome(&unasked, "app@shop#east", text), wanted, "{text}");
    }
}

#[test]
fn who_did_not_answer_is_named() {
    let daemon = asked(Question::Kill, Some("connection refused"));
    let who = "root@sys#east";
    assert_eq!(
        outcome(&daemon, who, "KILL 524290"),
        "524290 at 10.0.0.2:2883"
    );
    let unknown = answer(&daemon, who, "KILL 786433");
    assert_eq!(
        unknown,
        Answer::Error(AdminError::unknown_in_fleet(
            786_433,
            &["10.0.0.3:2883: connection refused".to_owned()]
        ))
    );
}

#[test]
fn a_peer_must_be_another_sluice() {
    let read = |id| Question::Kill.read(OWN, [vec![id], answers(Question::Kill)].concat());
    for (id, wanted) in [
        (proxy_id(OWN), "it has this proxy's own proxy_id, 1"),
        (rows("x | y"), "it does not answer as a Sluice does"),
        (Rows::new(), "it does not answer as a Sluice does"),
    ] {
        let why = read(id).unwrap_err();
        assert!(why.starts_with(wanted), "{why}");
    }
}
