//! Server sessions: listed, ended one by one, and replaced so that the client does not notice (odp.md, F11).

use crate::{
    attribute,
    case::Case,
    kill::{computes, interruptible},
};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    pattern::Random,
    server::{Kind, PASSWORD, USER, USER_MONITOR, USER_OPEN},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Outcome, command, frame},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("listed", listed).daemon(),
    Case::new("f11_ended_and_replaced", f11_ended_and_replaced).daemon(),
    Case::new("own", own).daemon(),
    Case::new("state_follows", state_follows).daemon(),
    Case::new("autocommit_follows", autocommit_follows).daemon(),
    Case::new("exact_values_follow", exact_values_follow)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("again_and_again", again_and_again).daemon(),
    Case::new("ends_of_moved_sessions", ends_of_moved_sessions).splicing(),
    Case::new("under_load", under_load).daemon(),
    Case::new("refused_where_state_would_be_lost", refused).daemon(),
    Case::new("refused_without_a_credential", without_credential).daemon(),
    Case::new("with_a_configured_password", with_a_password)
        .with(&[Kind::MariaDb, Kind::MySql])
        .daemon(),
    Case::new("forced", forced).daemon(),
    Case::new("of_others", of_others).daemon(),
];

/// The operator in front of MariaDB.
const ROOT: &str = "root";
const DEADLINE: Duration = Duration::from_secs(10);

/// A daemon with a monitor account.
fn monitored(stage: &Stage) -> Result<Front> {
    let cluster = Cluster::mysql("east", &[stage.node()]).monitor(USER_MONITOR, PASSWORD);
    stage.private_with_config(&Config::new().cluster(cluster), &[])
}

fn id(connection: &Connection) -> u32 {
    connection.greeting().thread_id
}

fn node_id(connection: &mut Connection) -> Result<String> {
    connection.run("SELECT CONNECTION_ID()")?.text()
}

/// The one server session that the connection sees of its own.
fn server(connection: &mut Connection) -> Result<Vec<String>> {
    let rows = connection.run("SHOW PROXYSESSION SERVER")?.texts()?;
    let [row] = rows.as_slice() else {
        bail!("{} server sessions", rows.len())
    };
    row.iter()
        .map(|cell| cell.clone().context("a NULL"))
        .collect()
}

/// The `ss_id` of that one.
pub(crate) fn ss_id(connection: &mut Connection) -> Result<String> {
    server(connection)?.first().cloned().context("no ss_id")
}

fn error(outcome: &Outcome) -> Result<(u16, &str)> {
    match outcome {
        Outcome::Error { code, message, .. } => Ok((*code, message)),
        other @ Outcome::Ok { .. } => bail!("no error: {other}"),
    }
}

fn listed(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let mut connection = front.open(USER, PASSWORD)?;
    let row = server(&mut connection)?;
    let wanted = [
        stage.node().to_string(),
        node_id(&mut connection)?,
        id(&connection).to_string(),
        "sys".to_owned(),
        USER.to_owned(),
        "last used".to_owned(),
        "MSS_KA_CLIENT_SLAVE".to_owned(),
        "0".to_owned(),
        "0".to_owned(),
    ];
    assert_eq!(row.get(1..10), Some(&wanted[..]));
    connection.run("BEGIN")?;
    assert_eq!(
        server(&mut connection)?.get(9).map(String::as_str),
        Some("1")
    );
    connection.run("COMMIT")?;
    // Others see their own only; the operator sees all.
    let mut other = front.open(USER_OPEN, "")?;
    assert_ne!(ss_id(&mut other)?, row.first().cloned().unwrap_or_default());
    let mut root = front.open(ROOT, "")?;
    let all = root.run("SHOW PROXYSESSION SERVER")?.texts()?;
    assert_eq!(all.len(), 3, "{all:?}");
    let node = stage.node().ip().to_string();
    let (start, _) = node.split_once('.').context("IPv4")?;
    let one = format!(
        "SHOW PROXYSESSION SERVER {} LIKE '{start}.%'",
        id(&connection)
    );
    assert_eq!(root.run(&one)?.texts()?.len(), 1);
    Ok(())
}

/// Ends the server session of `victim` as `statement` of its ids says, and checks that the next query runs on another one.
fn replaced(
    stage: &Stage,
    killer: &mut Connection,
    victim: &mut Connection,
    statement: impl Fn(u32, &str, &str) -> String,
) -> Result<()> {
    let (old, old_id) = (ss_id(victim)?, node_id(victim)?);
    killer.run(&statement(id(victim), &old, &old_id))?;
    stage.gone_from_node(&old_id)?;
    let new_id = node_id(victim)?;
    assert_ne!(new_id, old_id);
    assert_ne!(ss_id(victim)?, old);
    assert_eq!(server(victim)?.get(2), Some(&new_id));
    Ok(())
}

fn f11_ended_and_replaced(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let mut root = front.open(ROOT, "")?;
    let mut victim = front.open(USER, PASSWORD)?;
    victim.run("SELECT 1")?;
    replaced(stage, &mut root, &mut victim, |cs_id, ss_id, _| {
        format!("KILL PROXYSESSION {cs_id} {ss_id}")
    })?;
    replaced(stage, &mut root, &mut victim, |_, ss_id, _| {
        format!("KILL PROXYSESSION SERVER {ss_id}")
    })?;
    replaced(stage, &mut root, &mut victim, |_, _, node_id| {
        format!("KILL PROXYSESSION SERVER {node_id}")
    })?;
    // Spliced before, spliced after.
    if stage.path().splices() {
        let before = attribute::splice(&mut victim)?;
        for _ in 0..5 {
            victim.run("SELECT 1")?;
        }
        let after = attribute::splice(&mut victim)?;
        assert!(after.grown(&before, "spliced_commands")? >= 4, "{after:?}");
    }
    // The stock client says the same.
    let printed = front.client(ROOT, "").execute(&format!(
        "KILL PROXYSESSION {} {}",
        id(&victim),
        ss_id(&mut victim)?
    ))?;
    assert_eq!(printed.errors()?, [""; 0]);
    assert_eq!(
        root.query("KILL PROXYSESSION SERVER 999999999")?
            .outcome
            .code(),
        1094
    );
    assert_eq!(victim.run("SELECT 'alive'")?.text()?, "alive");
    Ok(())
}

fn own(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let mut connection = front.open(USER, PASSWORD)?;
    let (old, old_id) = (ss_id(&mut connection)?, node_id(&mut connection)?);
    connection.run(&format!("KILL PROXYSESSION SERVER {old}"))?;
    assert_ne!(node_id(&mut connection)?, old_id);
    stage.gone_from_node(&old_id)
}

fn state_follows(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let name = stage.database()?;
    let mut connection = front.open(USER, PASSWORD)?;
    connection.run(&format!("USE {name}"))?;
    connection.run("CREATE TABLE t (a INT)")?;
    for text in [
        "SET NAMES latin1",
        "SET autocommit = 0",
        "SET SESSION sql_mode = 'ANSI_QUOTES', @@wait_timeout = 1234",
        "SET @number = 7, @text = 'it''s', @bytes = x'ff00', @null = NULL",
        "SET @@time_zone = '+03:00'",
    ] {
        connection.run(text)?;
    }
    let look = "SELECT DATABASE(), @@character_set_client, @@autocommit, @@sql_mode, @@wait_timeout, @number + 1, @text, HEX(@bytes), @null, @@time_zone";
    let before = connection.run(look)?.texts()?;
    connection.run("COMMIT")?;
    let old_id = node_id(&mut connection)?;
    connection.run("COMMIT")?;
    let own = ss_id(&mut connection)?;
    connection.run(&format!("KILL PROXYSESSION SERVER {own}"))?;
    assert_eq!(connection.run(look)?.texts()?, before);
    assert_ne!(node_id(&mut connection)?, old_id);
    assert_eq!(connection.run("SELECT COUNT(*) FROM t")?.text()?, "0");
    Ok(())
}

/// The one variable whose SET the daemon may not have seen.
fn autocommit_follows(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let mut connection = front.open(USER, PASSWORD)?;
    for value in ["0", "1", "0"] {
        connection.run("SELECT 1")?;
        connection.run("SELECT 1")?;
        connection.run(&format!("SET autocommit={value}"))?;
        connection.run("COMMIT")?;
        let own = ss_id(&mut connection)?;
        connection.run(&format!("KILL PROXYSESSION SERVER {own}"))?;
        assert_ne!(ss_id(&mut connection)?, own);
        assert_eq!(connection.run("SELECT @@autocommit")?.text()?, value);
        connection.run("COMMIT")?;
    }
    Ok(())
}

/// Values whose types, character sets and collations differ.
const VALUES: &[&str] = &[
    r#"'it''s "x" \\ \n\r\t\0\Z `%\_'"#,
    "'日本語 😀'",
    "_latin1 X'E9FF'",
    "_utf8mb4 'Straße' COLLATE utf8mb4_bin",
    "_latin1 'abc' COLLATE latin1_bin",
    "_binary X'00FF27'",
    "''",
    "NULL",
    "REPEAT('long ', 3000)",
    "1.50",
    "CAST(5 AS DECIMAL(10,0))",
    "-12345678901234567890123456789.123456789",
    "18446744073709551615",
    "-9223372036854775808",
    "CAST(5 AS UNSIGNED)",
    "-7",
    "TRUE",
    "5e0",
    "-0e0",
    "0.1e0 + 0.2e0",
    "1.7976931348623157e308",
    "5e-324 + 2.5e-300",
    "0x41",
    "DATE'2026-02-28'",
    "TIMESTAMP'2026-02-28 23:59:59.000001'",
    "TIME'-838:59:59'",
    "UUID()",
];
/// Behind them.
const SETTINGS: &[&str] = &[
    "SET SESSION sql_mode = 'NO_UNSIGNED_SUBTRACTION,NO_BACKSLASH_ESCAPES,ANSI_QUOTES'",
    "SET @after = 'a\\b''c'",
    "SET character_set_results = NULL, collation_connection = latin1_swedish_ci",
    "SET @@SESSION.group_concat_max_len = 18446744073709551615",
    "SET SESSION lc_time_names = 'de_DE'",
    "SET SESSION transaction_isolation = 'READ-COMMITTED', SESSION div_precision_increment = 7",
    "SET LAST_INSERT_ID = 77, @@foreign_key_checks = OFF, unique_checks = 0",
];

/// Values, types, character sets and collations: what the client would notice.
fn exact_values_follow(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    // The one login that the proxy can repeat with every make of server.
    let mut connection = front.open(USER_OPEN, "")?;
    let set = |connection: &mut Connection, text: &str| match stage.kind() {
        Kind::MariaDb | Kind::MySql => connection.run(text).map(drop),
        // It does not know all of them.
        Kind::SeekDb => connection.query(text).map(drop),
    };
    set(&mut connection, "SET collation_connection = 'latin1_bin'")?;
    set(&mut connection, "SET NAMES utf8mb4")?;
    let mut looks = Vec::new();
    for (number, value) in VALUES.iter().enumerate() {
        let name = format!("@`v {number}.``ü'`");
        set(&mut connection, &format!("SET {name} = {value}"))?;
        looks.push(format!(
            "SELECT {name}, HEX({name}), {name} / 3, {name} - 1"
        ));
        looks.push(format!(
            "SELECT CHARSET({name}), COLLATION({name}), {name} = 'STRASSE', {name} = 'ABC'"
        ));
    }
    for text in SETTINGS {
        let text = match stage.kind() {
            Kind::MariaDb => text.replace("transaction_isolation", "tx_isolation"),
            Kind::MySql | Kind::SeekDb => (*text).to_owned(),
        };
        set(&mut connection, &text)?;
    }
    looks
        .push("SELECT HEX(@after), CHARSET(@after), LAST_INSERT_ID(), @@last_insert_id".to_owned());
    looks.push("SELECT @@sql_mode, @@character_set_results, @@collation_connection, @@character_set_client, @@group_concat_max_len, @@lc_time_names, @@div_precision_increment, @@foreign_key_checks, @@unique_checks, DATE_FORMAT('2026-03-01', '%M')".to_owned());
    let all = |connection: &mut Connection| {
        let answers = looks.iter().map(|look| connection.query(look));
        answers.collect::<Result<Vec<_>>>()
    };
    let before = all(&mut connection)?;
    let (own, old_id) = (ss_id(&mut connection)?, node_id(&mut connection)?);
    connection.run(&format!("KILL PROXYSESSION SERVER {own}"))?;
    assert_ne!(node_id(&mut connection)?, old_id);
    let after = all(&mut connection)?;
    let mut lost = Vec::new();
    for (look, (before, after)) in looks.iter().zip(before.iter().zip(&after)) {
        if before.packets != after.packets {
            let (before, after) = (before.texts()?, after.texts()?);
            lost.push(format!("{look}\n  before {before:?}\n  after  {after:?}"));
        }
    }
    ensure!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

fn again_and_again(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let mut root = front.open(ROOT, "")?;
    let mut victim = front.open(USER_OPEN, "")?;
    for round in 0..30 {
        let answer = victim.run(&format!("SELECT {round}, REPEAT('x', {})", round * 1000))?;
        assert!(answer.wire_bytes() > round * 1000);
        if round % 3 == 0 {
            let own = ss_id(&mut victim)?;
            // Right behind a spliced answer.
            victim.run("SELECT 2")?;
            root.run(&format!("KILL PROXYSESSION SERVER {own}"))?;
        }
    }
    Ok(())
}

/// A session that has moved to another record ends: who has its first record by now keeps it alone, though every other is taken.
fn ends_of_moved_sessions(stage: &Stage) -> Result<()> {
    const SESSIONS: usize = 8;
    let cluster = Cluster::mysql("east", &[stage.node()]).monitor(USER_MONITOR, PASSWORD);
    let max = (SESSIONS + 1).to_string();
    let front = stage.private_with_config(
        &Config::new().cluster(cluster),
        &["--workers", "1", "--max-connections", &max],
    )?;
    let mut moved = front.open(USER_OPEN, "")?;
    moved.run("SELECT 1")?;
    moved.run("SELECT 1")?;
    let own = ss_id(&mut moved)?;
    moved.run(&format!("KILL PROXYSESSION SERVER {own}"))?;
    moved.run("SELECT 1")?;
    let moved_id = node_id(&mut moved)?;
    let open = |_| front.open(USER_OPEN, "");
    let mut others = (0..SESSIONS).map(open).collect::<Result<Vec<_>>>()?;
    all_are_spliced(&mut others)?;
    drop(moved);
    stage.gone_from_node(&moved_id)?;
    others.push(front.open(USER_OPEN, "")?);
    all_are_spliced(&mut others)
}

/// Takes turns with all connections, and checks that each gets its own answers and is spliced.
fn all_are_spliced(connections: &mut [Connection]) -> Result<()> {
    let before = connections.iter_mut().map(attribute::splice);
    let before = before.collect::<Result<Vec<_>>>()?;
    for turn in 0..6 {
        for (number, connection) in connections.iter_mut().enumerate() {
            let text = format!("turn {turn}, session {number}");
            let answer = connection.run(&format!("SELECT '{text}'"))?.text()?;
            assert_eq!(answer, text);
        }
    }
    for (number, (connection, before)) in connections.iter_mut().zip(&before).enumerate() {
        let after = attribute::splice(connection)?;
        let spliced = after.grown(before, "spliced_commands")?;
        ensure!(spliced >= 5, "session {number}: {after:?}");
    }
    Ok(())
}

/// A client that sends one to four commands at once, of all sizes, and now and then one in two pieces, until it is told to stop. Returns how many
/// answers it has verified.
fn sends_at_once(mut connection: Connection, stop: &AtomicBool) -> Result<u64> {
    const SIZES: [usize; 4] = [1, 500, 5000, 70_000];
    let mut number = 0_u64;
    let mut random = Random::new(71);
    connection.run("SET @mine = 'mine'")?;
    connection.run("SELECT 1")?;
    while !stop.load(Ordering::Relaxed) {
        let texts: Vec<_> = (0..=random.below(4))
            .map(|_| {
                number += 1;
                let size = SIZES
                    .get(random.below(SIZES.len()))
                    .copied()
                    .unwrap_or_default();
                // What names a variable is the daemon's, the others the kernel's.
                let mark = if random.below(4) == 0 {
                    "@mine"
                } else {
                    "'mine'"
                };
                (
                    number,
                    size,
                    format!("SELECT {number}, {mark}, REPEAT('z', {size})"),
                )
            })
            .collect();
        let bytes: Vec<u8> = texts
            .iter()
            .flat_map(|(_, _, text)| frame(&command::query(text.as_bytes()), 0).0)
            .collect();
        let (first, second) = match random.below(4) {
            0 => bytes.split_at(random.below(bytes.len())),
            _ => bytes.split_at(bytes.len()),
        };
        connection.send_raw(first)?;
        connection.send_raw(second)?;
        for (number, size, text) in texts {
            connection.expect_answer(1);
            let answer = connection.read_response(&[]).context(text)?;
            let wanted = [number.to_string(), "mine".to_owned(), "z".repeat(size)].map(Some);
            ensure!(
                answer.texts()? == [wanted],
                "the answer to {number} is another"
            );
        }
        // A moment at a boundary, in which it can be moved.
        wait::throughout(Duration::from_micros(random.below(3000) as u64), || Ok(()))?;
    }
    Ok(number)
}

/// Its server session is replaced again and again while a client works on it: every answer is whole and in its place.
fn under_load(stage: &Stage) -> Result<()> {
    const SWITCHES: usize = 150;
    let front = monitored(stage)?;
    let mut root = front.open(ROOT, "")?;
    let victim = front.open(USER_OPEN, "")?;
    let list = format!("SHOW PROXYSESSION SERVER {}", id(&victim));
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let client = thread::spawn(move || sends_at_once(victim, &told));
    let mut switches = 0;
    let start = Instant::now();
    while switches < SWITCHES && !client.is_finished() {
        let rows = root.run(&list)?.texts()?;
        let row = rows.first().and_then(|row| row.first()?.clone());
        let ss_id = row.context("the client has gone")?;
        match root
            .query(&format!("KILL PROXYSESSION SERVER {ss_id}"))?
            .outcome
        {
            Outcome::Ok { .. } => switches += 1,
            Outcome::Error { code: 1105, .. } => {}
            other @ Outcome::Error { .. } => bail!("{other}"),
        }
        ensure!(start.elapsed() < DEADLINE * 6, "{switches} switches only");
    }
    stop.store(true, Ordering::Relaxed);
    let answers = wait::joined(client.join(), "the client")??;
    ensure!(answers > 0 && switches == SWITCHES);
    Ok(())
}

fn refused(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let mut root = front.open(ROOT, "")?;
    let name = stage.database()?;
    for (begin, end, reason) in [
        ("BEGIN", "COMMIT", "transaction"),
        (
            "CREATE TEMPORARY TABLE t (a INT)",
            "DROP TEMPORARY TABLE t",
            "temporary table",
        ),
        (
            "SELECT GET_LOCK('sluice', 0)",
            "SELECT RELEASE_ALL_LOCKS()",
            "user lock",
        ),
        (
            "PREPARE s FROM 'SELECT 1'",
            "DEALLOCATE PREPARE s",
            "prepared statement",
        ),
        (
            "SET TRANSACTION READ ONLY",
            "BEGIN; COMMIT",
            "SET TRANSACTION",
        ),
    ] {
        let mut victim = front.open(USER, PASSWORD)?;
        victim.run(&format!("USE {name}"))?;
        let (own, own_id) = (ss_id(&mut victim)?, node_id(&mut victim)?);
        victim.run(begin)?;
        let outcome = root
            .query(&format!("KILL PROXYSESSION SERVER {own}"))?
            .outcome;
        let (code, message) = error(&outcome)?;
        assert_eq!(code, 1105, "{begin}: {message}");
        ensure!(message.contains(reason), "{begin}: {message}");
        assert_eq!(node_id(&mut victim)?, own_id, "{begin}");
        for end in end.split("; ") {
            victim.run(end)?;
        }
        // What the last row of a statement has said is taken in with its successor at the latest.
        root.run(&format!("KILL PROXYSESSION SERVER {own}"))?;
        assert_ne!(node_id(&mut victim)?, own_id, "{begin}");
    }
    let mut busy = front.open(USER, PASSWORD)?;
    let (own, own_id) = (ss_id(&mut busy)?, node_id(&mut busy)?);
    busy.send_command(&command::query(interruptible(stage).as_bytes()))?;
    // Until the command has come to the daemon, the session may be moved.
    computes(&mut stage.open_direct()?, &own_id, true)?;
    let outcome = root
        .query(&format!("KILL PROXYSESSION SERVER {own}"))?
        .outcome;
    let (code, message) = error(&outcome)?;
    assert_eq!(
        (code, message.contains("executing a command")),
        (1105, true),
        "{message}"
    );
    root.run(&format!("KILL QUERY {}", id(&busy)))?;
    assert_eq!(busy.read_response(&[])?.outcome.code(), 1317);
    Ok(())
}

/// Without a monitor account the password's hash cannot be had.
fn without_credential(stage: &Stage) -> Result<()> {
    let cluster = Cluster::mysql("east", &[stage.node()]);
    let front = stage.private_with_config(&Config::new().cluster(cluster), &[])?;
    let mut connection = front.open(USER, PASSWORD)?;
    let (own, own_id) = (ss_id(&mut connection)?, node_id(&mut connection)?);
    let outcome = connection
        .query(&format!("KILL PROXYSESSION SERVER {own}"))?
        .outcome;
    let (code, message) = error(&outcome)?;
    assert_eq!(code, 1105);
    ensure!(message.contains("monitor"), "{message}");
    assert_eq!(node_id(&mut connection)?, own_id);
    Ok(())
}

/// The password itself answers plugins that the hash does not.
fn with_a_password(stage: &Stage) -> Result<()> {
    let user = format!("[[user]]\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"");
    let config = Config::new()
        .cluster(Cluster::mysql("east", &[stage.node()]))
        .line(&user);
    let front = stage.private_with_config(&config, &[])?;
    let mut connection = front.open(USER, PASSWORD)?;
    connection.run("SET @a = 7")?;
    let (own, own_id) = (ss_id(&mut connection)?, node_id(&mut connection)?);
    connection.run(&format!("KILL PROXYSESSION SERVER {own}"))?;
    assert_ne!(node_id(&mut connection)?, own_id);
    assert_eq!(connection.run("SELECT @a")?.text()?, "7");
    Ok(())
}

fn forced(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let mut root = front.open(ROOT, "")?;
    let mut victim = front.open(USER, PASSWORD)?;
    victim.run("BEGIN")?;
    let (own, own_id) = (ss_id(&mut victim)?, node_id(&mut victim)?);
    root.run(&format!("KILL PROXYSESSION SERVER {own} FORCE"))?;
    // It reads why at its next command.
    victim.expect_answer(1);
    let farewell = victim.read_packet()?;
    assert_eq!(farewell.first(), Some(&0xff), "{farewell:?}");
    ensure!(victim.closed_within(DEADLINE)?, "the client is not closed");
    stage.gone_from_node(&own_id)
}

fn of_others(stage: &Stage) -> Result<()> {
    let front = monitored(stage)?;
    let mut victim = front.open(USER, PASSWORD)?;
    let mut other = front.open(USER_OPEN, "")?;
    let own = ss_id(&mut victim)?;
    let statement = format!("KILL PROXYSESSION SERVER {own}");
    assert_eq!(other.query(&statement)?.outcome.code(), 1095);
    let statement = format!("KILL PROXYSESSION {} {own}", id(&victim));
    assert_eq!(other.query(&statement)?.outcome.code(), 5010);
    Ok(())
}
