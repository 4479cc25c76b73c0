//! The proxy's own users, `root@proxysys` and `inspector@proxysys`: their login, with a node or without, and what they may say.

use crate::{attribute::splice_of, case::Case, driver, login::refusal};
use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::{Row, Value, prelude::Queryable as _};
use sluice_tests::{
    config::{Cluster, Config},
    host::Host,
    place,
    server::{Kind, PASSWORD, USER},
    sluice::Line,
    stage::{Front, Stage},
    wait,
    wire::{Connection, Login, Outcome, capability, command},
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("login", login).with(&Kind::ALL).daemon(),
    Case::new("plugins", plugins)
        .with(&[Kind::MariaDb, Kind::MySql])
        .daemon(),
    Case::new("refused", refused).daemon(),
    Case::new("back_off", back_off).daemon(),
    Case::new("password_file", password_file).daemon(),
    Case::new("public_address", public_address)
        .local()
        .daemon()
        .root(),
    Case::new("node_never_started", node_never_started).daemon(),
    Case::new("node_killed", node_killed).daemon(),
    Case::new("node_hangs", node_hangs).daemon(),
    Case::new("full_house", full_house).daemon(),
    Case::new("clients", clients).daemon(),
    Case::new("commands", commands).daemon(),
    Case::new("every_statement", every_statement).daemon(),
    Case::new("prepared", prepared).daemon(),
    Case::new("kills", kills).daemon(),
    Case::new("inspector", inspector).daemon(),
];

const ROOT: &str = "root@proxysys";
const SECRET: &str = "open sesame";
const DEADLINE: Duration = Duration::from_secs(10);
/// Well below the timeouts that a node could make a login wait for.
const AT_ONCE: Duration = Duration::from_millis(1500);

fn config(node: SocketAddr) -> Config {
    Config::new()
        .line("[admin]")
        .line(&format!("password = {SECRET:?}"))
        .cluster(Cluster::mysql("east", &[node]))
}

fn front(stage: &Stage, node: SocketAddr) -> Result<Front> {
    stage.private_with_config(&config(node), &[])
}

/// The value of one row of the connection's own attributes.
fn attribute(connection: &mut Connection, name: &str) -> Result<String> {
    let sql = format!("SHOW PROXYSESSION ATTRIBUTE LIKE '{name}'");
    let table = connection.run(&sql)?.table()?;
    let row = table.first().with_context(|| format!("no {name}"))?;
    let value = row.get(1).context("no value")?.clone();
    Ok(String::from_utf8(value.unwrap_or_default())?)
}

/// The detail in the closing line of a login that was refused with 1045.
fn detail_of_refusal(front: &Front, user: &str, password: &str) -> Result<String> {
    let mut connection = Connection::greet(front.address())?;
    let id = connection.greeting().thread_id;
    match connection.log_in(&Login::new(user, password))? {
        Outcome::Error {
            code: 1045,
            state,
            message,
        } => {
            assert_eq!(state, "28000");
            let from = connection.stream().local_addr()?.ip();
            let expected =
                format!("Access denied for user '{user}'@'{from}' (using password: YES)");
            assert_eq!(message, expected);
        }
        other => bail!("{user}: {other}"),
    }
    let line = front.daemon()?.closing_line(id)?;
    assert_eq!(
        line.field("reason").as_deref(),
        Some("login refused by proxy")
    );
    line.field("detail").context("no detail")
}

fn login(stage: &Stage) -> Result<()> {
    let front = front(stage, stage.node())?;
    let node = stage.open_direct()?.greeting().clone();
    let node_version = node.version;
    // OceanBase does not offer it, and the proxy offers what its nodes do.
    let flags = capability::DEPRECATE_EOF & node.capabilities;
    for flags in [0, flags] {
        let login = Login::new(ROOT, SECRET).with(flags);
        let mut root = Connection::open(front.address(), &login)?;
        assert_eq!(root.greeting().version, node_version);
        assert_eq!(attribute(&mut root, "svr_session_cnt")?, "0");
        assert_eq!(attribute(&mut root, "proxy_sessid")?, "0");
        assert_eq!(attribute(&mut root, "tenant")?, "proxysys");
        assert_eq!(
            attribute(&mut root, "relay_reason")?,
            "session of the proxy itself"
        );
        let all = root.run("SHOW PROXYSESSION ATTRIBUTE")?.table()?;
        let before_splice = all
            .iter()
            .position(|row| row.get(2) == Some(&Some(b"splice".to_vec())));
        assert_eq!(before_splice, Some(22));
        let version = root.run("SELECT VERSION()")?.text()?;
        assert_eq!(version, node_version);
        let id = root.greeting().thread_id;
        root.send_command(&[0x01])?;
        ensure!(root.closed_within(DEADLINE)?, "not closed");
        let line = front.daemon()?.closing_line(id)?;
        assert_eq!(line.field("reason").as_deref(), Some("quit"));
        assert_eq!(line.field("tenant").as_deref(), Some("proxysys"));
    }
    Ok(())
}

fn plugins(stage: &Stage) -> Result<()> {
    for node in [stage.node(), stage.nowhere()?] {
        let front = front(stage, node)?;
        for plugin in [
            "mysql_native_password",
            "caching_sha2_password",
            "client_ed25519",
            "",
        ] {
            let mut root = Connection::greet(front.address())?;
            root.log_in_naming(&Login::new(ROOT, SECRET), plugin)?
                .ok()
                .with_context(|| format!("{plugin:?}"))?;
            ensure!(
                !root.password_sent(),
                "{plugin}: the password was asked for"
            );
            root.run("PING PROXY")?;
            let mut guess = Connection::greet(front.address())?;
            let outcome = guess.log_in_naming(&Login::new(ROOT, "wrong"), plugin)?;
            assert_eq!(outcome.code(), 1045, "{plugin}");
            // The right one again, or the address would have to wait soon.
            front.open(ROOT, SECRET)?;
        }
    }
    Ok(())
}

fn refused(stage: &Stage) -> Result<()> {
    let with_password = front(stage, stage.node())?;
    let without = stage.private(stage.node(), &[])?;
    for (front, user, password, detail) in [
        (&with_password, ROOT, "wrong", "wrong password"),
        (
            &with_password,
            "app@proxysys",
            SECRET,
            "the proxy has no such user",
        ),
        (
            &with_password,
            "Root@proxysys",
            SECRET,
            "the proxy has no such user",
        ),
        (&without, ROOT, SECRET, "no admin.password is configured"),
    ] {
        let got = detail_of_refusal(front, user, password)?;
        assert_eq!(got, detail, "{user}");
    }
    let empty = refusal(with_password.address(), &Login::new(ROOT, ""))?;
    assert_eq!(empty.code(), 1045, "{empty}");
    // Nobody else's password opens it, and its own opens nothing else.
    let app = refusal(with_password.address(), &Login::new(ROOT, PASSWORD))?;
    assert_eq!(app.code(), 1045, "{app}");
    let other = refusal(with_password.address(), &Login::new("root@sys", SECRET))?;
    assert_eq!(other.code(), 1045, "{other}");
    with_password.open(ROOT, SECRET)?;
    Ok(())
}

fn back_off(stage: &Stage) -> Result<()> {
    let front = front(stage, stage.node())?;
    for _ in 0..5 {
        // The fifth may be refused already, unread.
        detail_of_refusal(&front, ROOT, "wrong")?;
    }
    let detail = detail_of_refusal(&front, ROOT, SECRET)?;
    let from = stage.hosts().client.address();
    ensure!(
        detail.starts_with(&format!("too many wrong passwords from {from}: ")),
        "{detail}"
    );
    // Others are not concerned.
    front.open(USER, PASSWORD)?;
    wait::until("the wait is over", DEADLINE, || {
        Ok(front.open(ROOT, SECRET).ok())
    })?;
    detail_of_refusal(&front, ROOT, "wrong")?;
    front.open(ROOT, SECRET)?;
    Ok(())
}

fn password_file(stage: &Stage) -> Result<()> {
    let file = place::fresh("password")?.join("password");
    let text = format!("password_file = {:?}", file.display().to_string());
    let config = Config::new()
        .line("[admin]")
        .line(&text)
        .cluster(Cluster::mysql("east", &[stage.node()]));
    let front = stage.private_with_config(&config, &[])?;
    let detail = detail_of_refusal(&front, ROOT, SECRET)?;
    ensure!(detail.starts_with("admin.password_file: "), "{detail}");
    for password in [SECRET, "another"] {
        fs::write(&file, format!("{password}\n"))?;
        front.open(ROOT, password)?;
    }
    assert_eq!(detail_of_refusal(&front, ROOT, SECRET)?, "wrong password");
    fs::write(&file, "\n")?;
    let detail = detail_of_refusal(&front, ROOT, "x")?;
    assert_eq!(detail, "admin.password_file: is empty");
    Ok(())
}

fn public_address(stage: &Stage) -> Result<()> {
    let private = Host::alone()?;
    // TEST-NET-2 (RFC 5737).
    let public = private.at(Ipv4Addr::new(198, 51, 100, 1).into());
    let netns = public.netns().context("no network")?;
    netns.add(public.address())?;
    let file = config(stage.nowhere()?).write()?.display().to_string();
    for (host, expected) in [(private, 0), (public, 1045)] {
        let node = SocketAddr::new(host.address(), 1);
        let flags = ["--config", &file];
        let front = Front::start(stage.setting(), &host, node, &flags);
        let Ok(front) = front else {
            bail!("{:#}", front.err().context("no error")?)
        };
        let (id, outcome) = host.enter(|| -> Result<_> {
            let mut root = Connection::greet(front.address())?;
            let outcome = root.log_in(&Login::new(ROOT, SECRET))?;
            Ok((root.greeting().thread_id, outcome))
        })??;
        assert_eq!(outcome.code(), expected, "{host:?}: {outcome}");
        let line = front.daemon()?.closing_line(id)?;
        if expected != 0 {
            let detail = format!("{} is not a private address", host.address());
            assert_eq!(line.field("detail"), Some(detail));
        }
    }
    Ok(())
}

/// Everything about a daemon whose node has never been there.
fn node_never_started(stage: &Stage) -> Result<()> {
    let node = stage.nowhere()?;
    let front = front(stage, node)?;
    let start = Instant::now();
    let mut root = front.open(ROOT, SECRET)?;
    ensure!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    let greeted = root.greeting().version.clone();
    ensure!(greeted.starts_with("8.0.0-sluice-"), "{greeted}");
    assert_eq!(root.run("SELECT VERSION()")?.text()?, greeted);
    let Outcome::Error { code, message, .. } =
        refusal(front.address(), &Login::new(USER, PASSWORD))?
    else {
        bail!("let in without a node")
    };
    assert_eq!(code, 2003, "{message}");
    let expected = format!("Can't connect to MySQL server on '{node}' (");
    ensure!(message.starts_with(&expected), "{message}");
    let told = |line: &Line| line.field("reason").as_deref() == Some("node unreachable");
    front
        .daemon()?
        .wait_for_line("the refusal", DEADLINE, told)?;
    let printed = front
        .client(ROOT, SECRET)
        .execute("SHOW PROXYSESSION; PING PROXY; SELECT PROXY_STATUS()")?;
    printed.lines()?;
    Ok(())
}

fn node_killed(stage: &Stage) -> Result<()> {
    let node = stage.start_server(&[])?;
    let front = front(stage, node.address())?;
    let version = front.open(USER, PASSWORD)?.greeting().version.clone();
    drop(node);
    for _ in 0..2 {
        let mut root = front.open(ROOT, SECRET)?;
        assert_eq!(
            root.greeting().version,
            version,
            "the node's, as long as it is known"
        );
        root.run("SHOW PROXYSESSION")?;
        let refused = refusal(front.address(), &Login::new(USER, PASSWORD))?;
        assert_eq!(refused.code(), 2003, "{refused}");
        // MariaDB's C library takes 2003 for an error of its own.
        let stock = front.client(USER, PASSWORD).execute("SELECT 1")?;
        let told = stock.stderr.contains("1105 (HY000): Can't connect to")
            && stock.stderr.contains("(error 2003)");
        ensure!(told, "{}", stock.stderr);
    }
    Ok(())
}

fn node_hangs(stage: &Stage) -> Result<()> {
    // The kernel completes the connection; nobody ever reads or writes it.
    let silent = stage.listen_as_node()?;
    let flags = ["--connect-timeout", "4s"];
    let front = stage.private_with_config(&config(silent.local_addr()?), &flags)?;
    // The first waits for the node as everybody does.
    front.open(ROOT, SECRET)?;
    // A busy machine may hold up any of them, but not all.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        front.open(ROOT, SECRET)?;
        fastest = fastest.min(start.elapsed());
    }
    ensure!(fastest < AT_ONCE, "the fastest took {fastest:?}");
    Ok(())
}

/// Who can raise the limit gets in where nobody else does.
fn full_house(stage: &Stage) -> Result<()> {
    let config = Config::new()
        .line("max_connections = 1")
        .line("[admin]")
        .line(&format!("password = {SECRET:?}"))
        .cluster(Cluster::mysql("east", &[stage.node()]));
    let front = stage.private_with_config(&config, &[])?;
    let mut guest = front.open(USER, PASSWORD)?;
    let code = |refused: anyhow::Error| -> Result<u16> {
        let outcome: &Outcome = refused.downcast_ref().context("no error packet")?;
        Ok(outcome.code())
    };
    let Err(refused) = front.open(USER, PASSWORD) else {
        bail!("a second session")
    };
    assert_eq!(code(refused)?, 1203);
    let mut root = wait::until("the refused one has left", DEADLINE, || {
        Ok(front.open(ROOT, SECRET).ok())
    })?;
    for user in [ROOT, USER] {
        let Err(refused) = front.open(user, SECRET) else {
            bail!("a third session: {user}")
        };
        assert_eq!(code(refused)?, 1203, "{user}");
    }
    root.run("ALTER PROXYCONFIG SET max_connections = 5")?;
    let mut another = front.open(USER, PASSWORD)?;
    assert_eq!(another.run("SELECT 1")?.text()?, "1");
    assert_eq!(guest.run("SELECT 1")?.text()?, "1");
    Ok(())
}

fn clients(stage: &Stage) -> Result<()> {
    for node in [stage.node(), stage.nowhere()?] {
        let front = front(stage, node)?;
        let printed = front
            .client(ROOT, SECRET)
            .option("--batch")
            .execute("SELECT 1; SHOW PROXYSESSION; SET NAMES utf8mb4; BEGIN; COMMIT")?;
        let rows = printed.lines()?;
        let own = rows.last().context("no rows")?;
        assert_eq!(
            own.get(3..5),
            Some(&["proxysys".to_owned(), "root".to_owned()][..])
        );
        driver::run(async {
            // It asks for variables, and prepares everything.
            let mut connection = driver::open(front.address(), ROOT, SECRET).await?;
            let rows: Vec<Row> = connection.exec("SHOW PROXYSESSION", ()).await?;
            assert_eq!(rows.len(), 1);
            connection.ping().await?;
            connection.reset().await?;
            let variables: Option<(u64, String)> = connection
                .query_first("SELECT @@max_allowed_packet, @@character_set_client")
                .await?;
            assert_eq!(variables, Some((65_536, "utf8mb4".to_owned())));
            connection.disconnect().await?;
            Ok(())
        })?;
    }
    Ok(())
}

fn commands(stage: &Stage) -> Result<()> {
    let front = front(stage, stage.node())?;
    let mut root = front.open(ROOT, SECRET)?;
    for (payload, code) in [
        (&b"\x0e"[..], 0),
        (b"\x02shop", 0),
        (b"\x1f", 0),
        (b"\x03SET autocommit = 0", 0),
        (b"\x03START TRANSACTION", 0),
        (b"\x03ROLLBACK", 0),
        (b"\x03SELECT @@version_comment LIMIT 1", 0),
        (b"\x03SELECT @@no_such_thing", 1193),
        (b"\x03INSERT INTO t VALUES (1)", 5010),
        (b"\x03SELECT * FROM t", 5010),
        (b"\x03SHOW TABLES", 5010),
        (b"\x03SHOW PROXYSESSION x", 5010),
        (b"\x03KILL QUERY 5", 5010),
        (b"\x03ALTER PROXYCONFIG SET default_tenant = 'shop'", 0),
        (b"\x03ALTER PROXYCONFIG SET admin.password = 'shown'", 1231),
        (b"\x03", 5010),
        (b"\x16SELECT 1", 5010),
        (b"\x17\x01\0\0\0\0\x01\0\0\0", 1243),
        (b"\x1a\x01\0\0\xf0", 1243),
        (b"\x0c\x7b\0\0\0", 1094),
        (b"\x11root\0", 1047),
        (b"\x09", 1047),
        (b"\xfd", 1047),
        (b"", 1047),
    ] {
        let outcome = root.command(payload)?.outcome;
        assert_eq!(outcome.code(), code, "{payload:?}: {outcome}");
    }
    // The password in a statement that was refused is nobody's to read.
    let id = root.greeting().thread_id;
    root.query("ALTER PROXYCONFIG SET admin.password = 'shown'")?;
    let seen = splice_of(&mut front.open(ROOT, SECRET)?, id)?;
    assert_eq!(
        seen.text("last_command_text")?,
        "ALTER PROXYCONFIG SET admin.password …"
    );
    // The answers of pipelined commands come in order; some have none.
    let mut bytes = Vec::new();
    for payload in [
        &b"\x0e"[..],
        b"\x19\x01\0\0\xf0",
        b"\x03SELECT 'second'",
        b"\x03KILL 5",
    ] {
        bytes.extend(sluice_tests::wire::frame(payload, 0).0);
    }
    root.send_raw(&bytes)?;
    let mut codes = Vec::new();
    for _ in 0..3 {
        root.expect_answer(1);
        codes.push(root.read_response(&[])?.outcome.code());
    }
    assert_eq!(codes, [0, 0, 1094]);
    // Longer than any command that it takes.
    let outcome = root.command(&command::query(&vec![b' '; 70_000]))?.outcome;
    assert_eq!(outcome.code(), 1153, "{outcome}");
    Ok(())
}

/// Whatever SHOW PROXYHELP offers is answered, without a node.
fn every_statement(stage: &Stage) -> Result<()> {
    let front = front(stage, stage.nowhere()?)?;
    // The id in the examples is the first client's.
    let first = front.open(ROOT, SECRET)?;
    let id = first.greeting().thread_id;
    drop(first);
    front.daemon()?.closing_line(id)?;
    let mut root = front.open(ROOT, SECRET)?;
    let help = root.run("SHOW PROXYHELP")?.table()?;
    ensure!(help.len() > 10, "only {} statements", help.len());
    for row in help {
        let example = row.last().context("no example")?.clone();
        let example = String::from_utf8(example.unwrap_or_default())?;
        let as_text = root.query(&example)?.outcome;
        let known = [0, 1094, 1235, 5010];
        ensure!(known.contains(&as_text.code()), "{example}: {as_text}");
        let statement = root.prepare(&example)?;
        let prepared = root.execute(&statement, &[])?.outcome;
        assert_eq!(prepared.code(), as_text.code(), "{example}: {prepared}");
    }
    root.run("PING PROXY")?;
    Ok(())
}

fn prepared(stage: &Stage) -> Result<()> {
    let front = front(stage, stage.nowhere()?)?;
    driver::run(async {
        let mut root = driver::open(front.address(), ROOT, SECRET).await?;
        let id = root.id();
        let sql = "SHOW PROXYSESSION ATTRIBUTE ? LIKE ?";
        let rows: Vec<Row> = root.exec(sql, (id, "cs_id")).await?;
        let texts: Vec<_> = rows.iter().map(|row| row.get::<Value, _>(1)).collect();
        assert_eq!(texts, [Some(Value::from(id.to_string()))]);
        let rows: Vec<Row> = root.exec("SHOW PROXYSESSION", ()).await?;
        let count = rows.first().and_then(|row| row.get("svr_session_count"));
        assert_eq!(count, Some(0));
        let list = "SHOW FULL PROCESSLIST";
        let rows: Vec<Row> = root.exec(list, ()).await?;
        let info = rows.first().and_then(|row| row.get("Info"));
        assert_eq!(info, Some(list.to_owned()));
        root.disconnect().await?;
        Ok(())
    })?;
    let mut root = front.open(ROOT, SECRET)?;
    let statement = root.prepare("SELECT PROXY_VERSION()")?;
    root.execute(&statement, &[])?.outcome.ok()?;
    root.command(b"\x1f")?.outcome.ok()?;
    assert_eq!(root.execute(&statement, &[])?.outcome.code(), 1243);
    Ok(())
}

fn kills(stage: &Stage) -> Result<()> {
    let front = front(stage, stage.node())?;
    let mut root = front.open(ROOT, SECRET)?;
    for by in [
        "KILL {}",
        "KILL CONNECTION {}",
        "KILL PROXYSESSION {}",
        "COM",
    ] {
        let mut victim = front.open(USER, PASSWORD)?;
        victim.run("SELECT 1")?;
        let id = victim.greeting().thread_id;
        let sessions = root.run("SHOW PROXYSESSION")?.table()?;
        let column = |row: &Vec<Option<Vec<u8>>>| row.get(1).cloned().flatten();
        let seen = sessions
            .iter()
            .any(|row| column(row) == Some(id.to_string().into_bytes()));
        ensure!(seen, "{id} is not to be seen");
        if by == "COM" {
            let payload = [&[0x0C][..], &id.to_le_bytes()].concat();
            root.command(&payload)?.outcome.ok()?;
        } else {
            root.run(&by.replace("{}", &id.to_string()))?;
        }
        front.daemon()?.closing_line(id)?;
    }
    let own = root.greeting().thread_id;
    let outcome = root.query(&format!("KILL {own}"))?.outcome;
    assert_eq!(outcome.code(), 1317, "{outcome}");
    ensure!(root.closed_within(DEADLINE)?, "still open");
    // And is no more to be ended than seen by others.
    let root = front.open(ROOT, SECRET)?;
    let mut user = front.open(USER, PASSWORD)?;
    let id = root.greeting().thread_id;
    let outcome = user.query(&format!("KILL {id}"))?.outcome;
    assert_eq!(outcome.code(), 1094, "{outcome}");
    assert_eq!(user.run("SHOW PROXYSESSION")?.table()?.len(), 1);
    Ok(())
}

fn inspector(stage: &Stage) -> Result<()> {
    for node in [stage.node(), stage.nowhere()?] {
        let front = front(stage, node)?;
        let mut inspector = front.open("inspector@proxysys", SECRET)?;
        for (sql, code) in [
            ("PING PROXY", 0),
            ("ping proxy;", 0),
            ("SHOW PROXYSESSION", 5010),
            ("KILL 5", 5010),
            ("SET autocommit = 1", 5010),
            ("SELECT 1", 5010),
        ] {
            let outcome = inspector.query(sql)?.outcome;
            assert_eq!(outcome.code(), code, "{sql}: {outcome}");
        }
        inspector.command(b"\x0e")?.outcome.ok()?;
        let prepared = inspector.command(b"\x16SHOW PROXYSESSION")?.outcome;
        assert_eq!(prepared.code(), 5010);
        let ping = inspector.prepare("PING PROXY")?;
        inspector.execute(&ping, &[])?.outcome.ok()?;
        assert_eq!(
            detail_of_refusal(&front, "inspector@proxysys", "wrong")?,
            "wrong password"
        );
    }
    Ok(())
}
