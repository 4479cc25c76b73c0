//! `SHOW PROCESSLIST` and `SHOW FULL PROCESSLIST`: what sessions do, also those that the kernel moves.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    client::mariadb_prints,
    path::Path,
    server::{Kind, PASSWORD, USER, USER_OPEN, USER_PLAIN, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Login, column, command},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// OceanBase and MariaDB: the list is the same.
const KINDS: &[Kind] = &[Kind::MariaDb, Kind::SeekDb];

pub(crate) const CASES: &[Case] = &[
    Case::new("columns", columns).with(KINDS).daemon(),
    Case::new("running", running).with(KINDS).daemon(),
    Case::new("executing", executing)
        .with(&[Kind::MariaDb, Kind::MySql])
        .daemon(),
    Case::new("large_answer", large_answer).daemon(),
    Case::new("attributes_of_a_busy_session", attributes_of_a_busy_session).daemon(),
    Case::new("ones_own_user", ones_own_user).daemon(),
    Case::new("process_info", process_info).daemon(),
    Case::new("stock_client", stock_client).daemon(),
    Case::new("stat", stat).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(15);

type Row = BTreeMap<String, Option<String>>;

/// The rows of an answer by their `Id`.
fn rows(connection: &mut Connection, sql: &str) -> Result<BTreeMap<u32, Row>> {
    let answer = connection.run(sql)?;
    let names: Vec<_> = answer
        .columns()?
        .into_iter()
        .map(|column| column.name)
        .collect();
    let row = |cells: Vec<Option<String>>| -> Result<(u32, Row)> {
        let row: Row = names.iter().cloned().zip(cells).collect();
        Ok((text(&row, "Id")?.parse()?, row))
    };
    answer.texts()?.into_iter().map(row).collect()
}

fn text<'a>(row: &'a Row, name: &str) -> Result<&'a str> {
    row.get(name)
        .and_then(Option::as_deref)
        .with_context(|| format!("no {name} in {row:?}"))
}

fn id(connection: &Connection) -> u32 {
    connection.greeting().thread_id
}

/// Waits until a session's row in the full list is as wanted.
fn wait_for(
    watcher: &mut Connection,
    id: u32,
    what: &str,
    wanted: impl Fn(&Row) -> Result<bool>,
) -> Result<Row> {
    let mut last = None;
    let found = wait::until(what, DEADLINE, || {
        let row = rows(watcher, "SHOW FULL PROCESSLIST")?.remove(&id);
        let fits = row.as_ref().map(&wanted).transpose()?;
        last.clone_from(&row);
        Ok(row.filter(|_| fits == Some(true)))
    });
    found.with_context(|| format!("the last row was {last:?}"))
}

fn shows(row: &Row, command: &str, state: &str, info: Option<&str>) -> Result<bool> {
    Ok(text(row, "Command")? == command
        && text(row, "State")? == state
        && row.get("Info").and_then(Option::as_deref) == info)
}

fn columns(stage: &Stage) -> Result<()> {
    use column::{LONG, LONGLONG, VARCHAR};
    let mut connection = stage.open()?;
    for (sql, names, kinds) in [
        (
            "SHOW PROCESSLIST",
            "Id Tenant User Host db trans_count svr_session_count state tid pid",
            &[
                LONGLONG, VARCHAR, VARCHAR, VARCHAR, VARCHAR, LONGLONG, LONGLONG, VARCHAR,
                LONGLONG, LONG,
            ][..],
        ),
        (
            "SHOW FULL PROCESSLIST",
            "Id User Tenant Host db Command Time State Info Ip Port Proxy_sessid",
            &[
                LONGLONG, VARCHAR, VARCHAR, VARCHAR, VARCHAR, VARCHAR, LONGLONG, VARCHAR, VARCHAR,
                VARCHAR, LONG, LONGLONG,
            ],
        ),
    ] {
        let columns = connection.run(sql)?.columns()?;
        let found: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(found.join(" "), names);
        let found: Vec<_> = columns.iter().map(|column| column.kind).collect();
        assert_eq!(found, kinds, "{sql}");
    }
    let own = id(&connection);
    let short = rows(&mut connection, "SHOW PROCESSLIST")?;
    let short = short.get(&own).context("not in its own list")?;
    assert_eq!(text(short, "state")?, "MCS_ACTIVE_READER");
    assert_eq!(text(short, "svr_session_count")?, "1");
    let full = rows(&mut connection, "show full processlist;")?;
    let full = full.get(&own).context("not in its own list")?;
    ensure!(
        shows(full, "Query", "ACTIVE", Some("show full processlist;"))?,
        "{full:?}"
    );
    assert_eq!(text(full, "Ip")?, stage.node().ip().to_string());
    assert_eq!(text(full, "Port")?, stage.node().port().to_string());
    let session = connection.run("SHOW PROXYSESSION")?.texts()?;
    let proxy_session_id = session
        .iter()
        .find(|row| row.get(1) == Some(&Some(own.to_string())))
        .and_then(|row| row.first()?.clone());
    assert_eq!(full.get("Proxy_sessid"), Some(&proxy_session_id));
    Ok(())
}

fn running(stage: &Stage) -> Result<()> {
    let mut watcher = stage.open()?;
    let mut busy = stage.open()?;
    let busy_id = id(&busy);
    busy.run("SELECT 1")?;
    wait_for(&mut watcher, busy_id, "an idle session sleeps", |row| {
        shows(row, "Sleep", "SLEEP", None)
    })?;
    let sql = format!("SELECT SLEEP(5), '{}'", "x".repeat(300));
    busy.send_command(&command::query(sql.as_bytes()))?;
    let head = sql.get(..256).context("a shorter text")?;
    wait_for(&mut watcher, busy_id, "it runs", |row| {
        shows(row, "Query", "ACTIVE", Some(head))
    })?;
    wait_for(&mut watcher, busy_id, "its time grows", |row| {
        Ok(shows(row, "Query", "ACTIVE", Some(head))? && text(row, "Time")?.parse::<u64>()? >= 2)
    })?;
    busy.read_response(b"")?.outcome.ok()?;
    let row = wait_for(&mut watcher, busy_id, "it sleeps again", |row| {
        shows(row, "Sleep", "SLEEP", None)
    })?;
    ensure!(
        text(&row, "Time")?.parse::<u64>()? <= 4,
        "counted from the command's begin: {row:?}"
    );
    wait_for(&mut watcher, busy_id, "its sleep is timed", |row| {
        Ok(text(row, "Time")? == "2")
    })?;
    Ok(())
}

fn executing(stage: &Stage) -> Result<()> {
    let mut watcher = stage.open()?;
    let mut busy = stage.open()?;
    let other = busy.prepare("SELECT 'another one'")?;
    let sleep = busy.prepare("SELECT SLEEP(?)")?;
    busy.execute(&other, &[])?.outcome.ok()?;
    busy.send_command(&command::execute(sleep.id, 0, &[Some(b"2")]))?;
    wait_for(&mut watcher, id(&busy), "the statement's text", |row| {
        shows(row, "Execute", "ACTIVE", Some("SELECT SLEEP(?)"))
    })?;
    busy.read_response(b"")?.outcome.ok()?;
    // The statement has gone, and with it its text.
    busy.send_command(&command::close(sleep.id))?;
    busy.send_command(&command::query(b"SELECT SLEEP(1)"))?;
    wait_for(&mut watcher, id(&busy), "the next statement", |row| {
        shows(row, "Query", "ACTIVE", Some("SELECT SLEEP(1)"))
    })?;
    busy.read_response(b"")?.outcome.ok()
}

/// A reader that stops: on the spliced path the answer spills, and the daemon takes over a command that it has not seen.
fn large_answer(stage: &Stage) -> Result<()> {
    const SQL: &str = "SELECT REPEAT('k', 100000) FROM mysql.seq_1_to_100000";
    let mut watcher = Connection::open(
        stage.address(),
        &Login::new(&format!("{USER_ROOT}@sys"), ""),
    )?;
    let mut busy = stage.open()?;
    busy.run("SELECT 1")?;
    busy.send_command(&command::query(SQL.as_bytes()))?;
    for _ in 0..20 {
        busy.read_packet()?;
    }
    let running = |row: &Row| shows(row, "Query", "ACTIVE", Some(SQL));
    wait_for(&mut watcher, id(&busy), "the large answer", running)?;
    // Who reads slowly on the wire keeps the node waiting, and nobody's memory busy.
    if stage.path() == Path::Spliced {
        wait::until_true("the answer spills", DEADLINE, || {
            let splice = attribute::splice_of(&mut watcher, id(&busy))?;
            Ok(splice.number("spills")? == 1 && splice.text("mode")? == "relayed")
        })?;
    }
    wait_for(
        &mut watcher,
        id(&busy),
        "the large answer, relayed",
        |row| Ok(running(row)? && text(row, "Time")?.parse::<u64>()? >= 1),
    )?;
    Ok(())
}

fn attributes_of_a_busy_session(stage: &Stage) -> Result<()> {
    let mut watcher = Connection::open(
        stage.address(),
        &Login::new(&format!("{USER_ROOT}@sys"), ""),
    )?;
    let mut busy = stage.open()?;
    let busy_id = id(&busy);
    let ask = |watcher: &mut Connection| -> Result<Vec<Vec<String>>> {
        let answer = watcher.run(&format!("SHOW PROXYSESSION ATTRIBUTE {busy_id}"))?;
        let row =
            |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect();
        Ok(answer.texts()?.into_iter().map(row).collect())
    };
    let has = |rows: &[Vec<String>], wanted: [&str; 3]| rows.iter().any(|row| *row == wanted);
    busy.run("SELECT 'done'")?;
    let idle = [
        ["active", "false", "cs common"],
        ["read_state", "MCS_ACTIVE_READER", "cs common"],
        ["state", "MSS_KA_CLIENT_SLAVE", "last used ss"],
        ["server_trans_stat", "0", "last used ss"],
        ["last_command", "Query", "splice"],
        ["last_command_text", "SELECT 'done'", "splice"],
        ["last_command_bytes", "18", "splice"],
        ["last_command_running", "false", "splice"],
    ];
    wait::until_true("it is idle", DEADLINE, || {
        let rows = ask(&mut watcher)?;
        Ok(idle.iter().all(|wanted| has(&rows, *wanted)))
    })?;
    // Who may see a session does not thereby learn passwords. The server refuses it; no such user is there.
    let secret = busy.query("ALTER USER nobody_here IDENTIFIED BY 'secret'")?;
    ensure!(secret.outcome.code() != 0, "{}", secret.outcome);
    assert_eq!(
        attribute::splice_of(&mut watcher, busy_id)?.text("last_command_text")?,
        "ALTER USER nobody_here IDENTIFIED …"
    );
    busy.run("BEGIN")?;
    busy.send_command(&command::query(b"SELECT SLEEP(2)"))?;
    let running = [
        ["active", "true", "cs common"],
        ["read_state", "MCS_ACTIVE_READER", "cs common"],
        ["state", "MSS_ACTIVE", "curr used ss"],
        ["last_command_text", "SELECT SLEEP(2)", "splice"],
        ["last_command_running", "true", "splice"],
    ];
    wait::until_true("it runs", DEADLINE, || {
        let rows = ask(&mut watcher)?;
        Ok(running.iter().all(|wanted| has(&rows, *wanted)))
    })?;
    busy.read_response(b"")?.outcome.ok()?;
    let splice = attribute::splice_of(&mut watcher, busy_id)?;
    let micros = splice.number("last_command_us")?;
    ensure!((1_900_000..60_000_000).contains(&micros), "{micros} us");
    assert_eq!(splice.text("sticky_reason")?, "transaction");
    busy.run("SET @a = 1")?;
    busy.run("COMMIT")?;
    let splice = attribute::splice_of(&mut watcher, busy_id)?;
    assert_eq!(splice.text("sticky_reason")?, "");
    if stage.path().splices() {
        ensure!(splice.number("trap: statement verb")? >= 1, "{splice:?}");
    }
    Ok(())
}

fn ones_own_user(stage: &Stage) -> Result<()> {
    let plain = Login::new(USER_PLAIN, PASSWORD);
    let mut mine = Connection::open(stage.address(), &plain)?;
    let same = Connection::open(stage.address(), &plain)?;
    let mut other = Connection::open(stage.address(), &Login::new(USER_OPEN, ""))?;
    // Its account has the privilege PROCESS.
    let mut watcher = stage.open()?;
    let mut sys = Connection::open(
        stage.address(),
        &Login::new(&format!("{USER_ROOT}@sys"), ""),
    )?;
    // Whoever writes `@sys` without being root of it gains nothing.
    let mut pretender = Connection::open(
        stage.address(),
        &Login::new(&format!("{USER_OPEN}@sys"), ""),
    )?;
    let (mine_id, same_id, other_id) = (id(&mine), id(&same), id(&other));
    let (sys_id, pretender_id) = (id(&sys), id(&pretender));
    for sql in ["SHOW PROCESSLIST", "SHOW FULL PROCESSLIST"] {
        let seen = rows(&mut mine, sql)?;
        ensure!(
            seen.contains_key(&mine_id) && seen.contains_key(&same_id),
            "{seen:?}"
        );
        ensure!(
            !seen.contains_key(&other_id) && !seen.contains_key(&sys_id),
            "{seen:?}"
        );
        for row in seen.values() {
            assert_eq!(text(row, "User")?, USER_PLAIN);
        }
        let seen = rows(&mut watcher, sql)?;
        for id in [mine_id, same_id, other_id, sys_id] {
            ensure!(seen.contains_key(&id), "{id} is not in {seen:?}");
        }
        // The tenant of who names none is `sys`.
        for own in [&mut other, &mut pretender] {
            let seen = rows(own, sql)?.into_keys().collect::<BTreeSet<_>>();
            assert_eq!(seen, BTreeSet::from([other_id, pretender_id]));
        }
        let seen = rows(&mut sys, sql)?;
        for id in [mine_id, same_id, other_id, sys_id, pretender_id] {
            ensure!(seen.contains_key(&id), "{id} is not in {seen:?}");
        }
    }
    Ok(())
}

fn process_info(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let answer = connection.command(&[0x0a])?;
    let names: Vec<_> = answer
        .columns()?
        .into_iter()
        .map(|column| column.name)
        .collect();
    assert_eq!(names.first().map(String::as_str), Some("Id"));
    assert_eq!(names.len(), 10, "{names:?}");
    let own = Some(id(&connection).to_string());
    ensure!(answer.texts()?.iter().any(|row| row.first() == Some(&own)));
    // What is not ours to read is the node's to refuse, and the node's own list is there too.
    assert_eq!(
        connection.query("SHOW PROCESSLIST ONCE")?.outcome.code(),
        1064
    );
    let node_id = connection.run("SELECT CONNECTION_ID()")?.text()?;
    let seen = connection
        .run("SELECT id FROM information_schema.processlist")?
        .texts()?;
    ensure!(seen.contains(&vec![Some(node_id)]), "{seen:?}");
    Ok(())
}

fn stock_client(stage: &Stage) -> Result<()> {
    let printed = mariadb_prints(
        stage.address(),
        USER,
        PASSWORD,
        &["--table", "--column-names"],
        "SELECT 'first'; SHOW FULL PROCESSLIST; SHOW PROXYSESSION STAT LIKE 'server_re%s'",
    )?;
    ensure!(
        printed.contains("| Query   |") && printed.contains("| SHOW FULL PROCESSLIST"),
        "{printed}"
    );
    ensure!(
        printed.contains("| server_requests            |"),
        "{printed}"
    );
    ensure!(
        printed.contains("| server_resultset_responses |  NULL |"),
        "{printed}"
    );
    Ok(())
}

fn stat(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let stats = |connection: &mut Connection| -> Result<BTreeMap<String, Option<String>>> {
        let rows = connection.run("SHOW PROXYSESSION STAT")?.texts()?;
        assert_eq!(rows.len(), 91);
        let pair = |row: Vec<Option<String>>| {
            let mut cells = row.into_iter();
            Some((cells.next()??, cells.next()?))
        };
        rows.into_iter()
            .map(pair)
            .collect::<Option<_>>()
            .context("not two columns")
    };
    let before = stats(&mut connection)?;
    for _ in 0..10 {
        connection.run("SELECT REPEAT('s', 1000)")?;
    }
    connection.run("SET @a = 1")?;
    let after = stats(&mut connection)?;
    let grown = |name: &str| -> Result<u64> {
        let number = |stats: &BTreeMap<String, Option<String>>| -> Result<u64> {
            let value = stats.get(name).cloned().flatten();
            Ok(value.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(number(&after)? - number(&before)?)
    };
    for (name, by) in [
        ("client_requests", 12),
        ("client_internal_requests", 1),
        ("client_completed_requests", 12),
        ("server_requests", 11),
        ("server_responses", 11),
        ("total_transaction_count", 11),
        ("client_missing_pk_requests", 0),
    ] {
        assert_eq!(grown(name)?, by, "{name}");
    }
    let (to_node, from_node) = (
        grown("server_request_total_size")?,
        grown("server_response_total_size")?,
    );
    let query = u64::try_from("SELECT REPEAT('s', 1000)".len() + 5)?;
    assert_eq!(to_node, 10 * query + u64::try_from("SET @a = 1".len() + 5)?);
    ensure!(
        (10_000..20_000).contains(&from_node),
        "{from_node} bytes from the node"
    );
    ensure!(grown("client_response_total_size")? > from_node + 1000);
    assert_eq!(after.get("client_select_requests"), Some(&None));
    Ok(())
}
