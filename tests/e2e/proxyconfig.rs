//! `SHOW PROXYCONFIG` and `ALTER PROXYCONFIG SET`, with a file and a daemon of the test's own.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    path::Path,
    pattern::Random,
    place,
    server::{PASSWORD, USER, USER_ROOT},
    sluice::Line,
    stage::{Front, Stage},
    wait,
    wire::{Connection, Outcome, command, frame},
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("kept_and_in_force", kept_and_in_force).daemon(),
    Case::new("refused", refused).daemon(),
    Case::new("not_for_everybody", not_for_everybody).daemon(),
    Case::new("at_once", at_once).daemon(),
    Case::new("path_at_once", path_at_once).only(Path::Spliced),
    Case::new("wire_too_late", wire_too_late).only(Path::Spliced),
    Case::new("splice_off_and_back", splice_off_and_back).splicing(),
    Case::new("splice_off_in_mid_command", splice_off_in_mid_command).splicing(),
    Case::new("read_again", read_again).daemon(),
    Case::new("off_from_the_start", off_from_the_start)
        .only(Path::Relayed)
        .local(),
];

const DEADLINE: Duration = Duration::from_secs(30);

/// What the tests change, and what must survive.
const FILE: &str = "\
# The shop's proxy: ask Ann before you change it.
max_connections = 300    # as many as the node takes
login_timeout = \"9s\"

[log]                    # goes to the journal
level = \"info\"
";

/// The same when it has been changed.
const CHANGED: &str = "\
# The shop's proxy: ask Ann before you change it.
max_connections = 250    # as many as the node takes
login_timeout = \"8s\"
connect_timeout = \"750ms\"
splice_limit = \"128KiB\"
default_tenant = \"sys\"
workers = 3
listen = \"127.0.0.1:1\"

[log]                    # goes to the journal
level = \"debug\"
";

/// The file, a daemon that was started with it, and an operator's connection.
struct Site {
    file: PathBuf,
    front: Front,
    operator: Connection,
}

impl Site {
    fn new(stage: &Stage, text: &str) -> Result<Self> {
        let file = place::fresh("config")?.join("sluice.toml");
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
        Self::start(stage, file)
    }

    fn start(stage: &Stage, file: PathBuf) -> Result<Self> {
        let path = file.display().to_string();
        let front = stage.private(stage.node(), &["--config", &path])?;
        let operator = front.open(USER_ROOT, "")?;
        Ok(Self {
            file,
            front,
            operator,
        })
    }

    /// Changes a key; returns the text of the OK.
    fn alter(&mut self, assignment: &str) -> Result<String> {
        let answer = self
            .operator
            .run(&format!("ALTER PROXYCONFIG SET {assignment}"))?;
        let packet = answer.packets.last().context("no answer")?;
        Ok(String::from_utf8_lossy(packet).into_owned())
    }

    /// The error that a change is refused with, once it is sure that it has changed nothing.
    fn refusal(&mut self, assignment: &str) -> Result<String> {
        let (before, values) = (fs::read_to_string(&self.file)?, self.values("")?);
        let outcome = self
            .operator
            .query(&format!("ALTER PROXYCONFIG SET {assignment}"))?
            .outcome;
        assert_eq!(fs::read_to_string(&self.file)?, before, "{assignment}");
        assert_eq!(self.values("")?, values, "{assignment}");
        Ok(outcome.to_string())
    }

    /// Keys and values of `SHOW PROXYCONFIG`.
    fn values(&mut self, tail: &str) -> Result<BTreeMap<String, String>> {
        let rows = self
            .operator
            .run(&format!("SHOW PROXYCONFIG {tail}"))?
            .texts()?;
        let cell = |cell: Option<&Option<String>>| cell.cloned().flatten().context("no cell");
        rows.iter()
            .map(|row| Ok((cell(row.first())?, cell(row.get(1))?)))
            .collect()
    }

    fn value(&mut self, key: &str) -> Result<String> {
        let values = self.values(&format!("LIKE '{key}'"))?;
        values.get(key).cloned().context("no such key")
    }
}

fn kept_and_in_force(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage, FILE)?;
    for (assignment, key, value, told) in [
        (
            "max_connections = 250",
            "max_connections",
            "250",
            "holds for logins from now on",
        ),
        ("login_timeout = 8s", "login_timeout", "8s", "kept in "),
        (
            "connect_timeout = '750ms'",
            "connect_timeout",
            "750ms",
            "kept in ",
        ),
        (
            "splice_limit = 128KiB",
            "splice_limit",
            "128KiB",
            "holds for sessions from now on",
        ),
        (
            "default_tenant = \"sys\"",
            "default_tenant",
            "sys",
            "kept in ",
        ),
        (
            "log.level = debug",
            "log.level",
            "debug",
            "log.level = debug holds; kept in ",
        ),
    ] {
        let text = site.alter(assignment)?;
        ensure!(text.contains(told), "{assignment}: {text}");
        assert_eq!(site.value(key)?, value, "{assignment}");
    }
    // What needs a restart is only kept; what the command line gives wins there.
    let text = site.alter("workers = 3")?;
    ensure!(text.contains("holds after a restart"), "{text}");
    assert_eq!(site.value("workers")?, "one per core");
    let text = site.alter("listen = '127.0.0.1:1'")?;
    ensure!(
        text.contains("the command line gives --listen, which wins at the next start"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&site.file)?, CHANGED);
    assert_eq!(
        fs::metadata(&site.file)?.permissions().mode() & 0o7777,
        0o640
    );
    assert_eq!(site.front.daemon()?.stop()?, 0);
    let mut again = Site::start(stage, site.file)?;
    let values = again.values("DIFF")?;
    let value = |key: &str| values.get(key).map(String::as_str);
    assert_eq!(value("max_connections"), Some("250"));
    assert_eq!(value("login_timeout"), Some("8s"));
    assert_eq!(value("workers"), Some("3"));
    assert_eq!(value("log.level"), Some("debug"));
    assert_eq!(value("default_tenant"), None, "it is the default");
    ensure!(value("listen") != Some("127.0.0.1:1"), "{values:?}");
    Ok(())
}

fn refused(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage, FILE)?;
    for (assignment, code, words) in [
        ("no_such_key = 1", 1193, "SHOW PROXYCONFIG lists them"),
        (
            "max_connections = 0",
            1231,
            "max_connections: \"0\" is no integer from 1 to 262143",
        ),
        ("login_timeout = 10", 1231, "write 10s or 500ms"),
        ("splice = 'perhaps'", 1231, "none of auto, off, require"),
        ("splice_limit = 1", 1231, "no size from 4KiB to 1GiB"),
        (
            "log.level = loud",
            1231,
            "none of error, warn, info, debug, trace",
        ),
        ("default_tenant = 'a@b'", 1231, "no name"),
        ("listen = 'nowhere'", 1231, "no IP:PORT"),
        ("cluster = 1", 1238, "in the configuration file only"),
        ("splice", 5010, "bad internal cmd"),
    ] {
        let error = site.refusal(assignment)?;
        ensure!(
            error.contains(&format!("error {code} ")) && error.contains(words),
            "{assignment}: {error}"
        );
    }
    // A folder in the way of the new file stops root too.
    let blocked = site.file.with_file_name("sluice.toml.new");
    fs::create_dir(&blocked)?;
    let error = site.refusal("max_connections = 7")?;
    ensure!(error.contains("error 1026 (HY000)"), "{error}");
    fs::remove_dir(&blocked)?;
    // A file that somebody has broken meanwhile is not written over.
    let broken = format!("max_conections = 1\n{FILE}");
    fs::write(&site.file, &broken)?;
    let error = site.refusal("max_connections = 7")?;
    ensure!(error.contains("wrong as it is: line 1"), "{error}");
    fs::remove_file(&site.file)?;
    let outcome = site
        .operator
        .query("ALTER PROXYCONFIG SET max_connections = 7")?
        .outcome;
    assert_eq!(outcome.code(), 1026, "{outcome}");
    // Without a file there is nowhere to keep it.
    let front = stage.private(stage.node(), &[])?;
    let outcome = front
        .open(USER_ROOT, "")?
        .query("ALTER PROXYCONFIG SET max_connections = 7")?
        .outcome;
    ensure!(
        matches!(&outcome, Outcome::Error { code: 1290, message, .. } if message.contains("--config FILE")),
        "{outcome}"
    );
    Ok(())
}

/// SIGHUP: what the file says of clusters holds for logins from then on, and a session that is there notices nothing.
fn read_again(stage: &Stage) -> Result<()> {
    let file = place::fresh("config")?.join("sluice.toml");
    let cluster = |name: &str, node: std::net::SocketAddr| {
        format!("[[cluster]]\nname = \"{name}\"\nkind = \"mysql\"\nnodes = [\"{node}\"]\n")
    };
    let nowhere = stage.nowhere()?;
    fs::write(&file, cluster("east", stage.node()))?;
    let path = file.display().to_string();
    let front = stage.private_of_file(&path, &[])?;
    let daemon = front.daemon()?;
    let mut old = front.open(USER, PASSWORD)?;
    let west = format!("{USER}@sys#west");
    ensure!(front.open(&west, PASSWORD).is_err());
    fs::write(&file, "listn = 1\n")?;
    daemon.signal(libc::SIGHUP)?;
    let line = daemon.wait_for_line("the file is refused", DEADLINE, |line| {
        line.message() == "the configuration stays as it was"
    })?;
    ensure!(
        line.field("error")
            .is_some_and(|error| error.starts_with("line 1: "))
    );
    front.open(USER, PASSWORD)?.run("SELECT 1")?;
    // The cluster that the session came by is gone, and its name's place taken by one that does not answer.
    let text =
        "workers = 7\n".to_owned() + &cluster("west", stage.node()) + &cluster("east", nowhere);
    fs::write(&file, text)?;
    daemon.signal(libc::SIGHUP)?;
    let line = daemon.wait_for_line("the file is read", DEADLINE, |line| {
        line.message() == "configuration read again"
    })?;
    assert_eq!(line.field("needs_restart").as_deref(), Some("workers"));
    front.open(&west, PASSWORD)?.run("SELECT 1")?;
    ensure!(front.open(&format!("{USER}@sys#east"), PASSWORD).is_err());
    old.run("SELECT 1")?;
    Ok(())
}

/// Of others it is the node's, as with ODP, and the node knows no such statement.
fn not_for_everybody(stage: &Stage) -> Result<()> {
    let site = Site::new(stage, FILE)?;
    let mut user = site.front.open(USER, PASSWORD)?;
    for statement in ["SHOW PROXYCONFIG", "ALTER PROXYCONFIG SET splice = off"] {
        assert_eq!(user.query(statement)?.outcome.code(), 1064, "{statement}");
    }
    assert_eq!(fs::read_to_string(&site.file)?, FILE);
    Ok(())
}

fn at_once(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage, FILE)?;
    let debug_lines = |site: &Site| -> Result<usize> {
        let lines = site.front.daemon()?.lines();
        Ok(lines.iter().filter(|line| line.level() == "DEBUG").count())
    };
    assert_eq!(debug_lines(&site)?, 0);
    site.alter("log.level = debug")?;
    site.front.open(USER, PASSWORD)?.run("SELECT 1")?;
    wait::until_true("debugging is logged", DEADLINE, || {
        Ok(debug_lines(&site)? > 0)
    })?;
    site.alter("max_connections = 2")?;
    let _second = wait::until("the session before is gone", DEADLINE, || {
        Ok(site.front.open(USER, PASSWORD).ok())
    })?;
    let error = site
        .front
        .open(USER, PASSWORD)
        .err()
        .context("a third session")?;
    let outcome = error.downcast_ref::<Outcome>().context("no error packet")?;
    assert_eq!(outcome.code(), 1203, "{outcome}");
    site.alter("max_connections = 20")?;
    site.front.open(USER, PASSWORD)?.run("SELECT 1")?;
    Ok(())
}

/// Clients are captured, or left alone, by the path that holds when they connect.
fn path_at_once(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage, &format!("path = \"relay\"\n{FILE}"))?;
    for (path, way) in [
        ("local", "local"),
        ("relay", "relay"),
        ("auto", "local"),
        ("relay", "relay"),
    ] {
        site.alter(&format!("path = {path}"))?;
        wait::until_true(&format!("sessions take the path {way}"), DEADLINE, || {
            let mut session = site.front.open(USER, PASSWORD)?;
            session.run("SELECT 1")?;
            Ok(attribute::splice(&mut session)?.text("path")? == way)
        })?;
    }
    Ok(())
}

/// What a daemon that had no use for the wire has not made ready, it says so of, and tells who wants it now.
fn wire_too_late(stage: &Stage) -> Result<()> {
    const REASON: &str = "wire not ready until a restart";
    let mut site = Site::new(stage, FILE)?;
    let text = site.alter("path = wire")?;
    ensure!(text.contains(REASON), "{text}");
    let mut session = site.front.open(USER, PASSWORD)?;
    let splice = attribute::splice(&mut session)?;
    assert_eq!(splice.text("relay_reason")?, REASON, "{splice:?}");
    let warned = |line: &Line| line.field("reason").as_deref() == Some(REASON);
    site.front
        .daemon()?
        .wait_for_line("the log says so", DEADLINE, warned)?;
    let text = site.alter("path = auto")?;
    ensure!(!text.contains(REASON), "{text}");
    wait::until_true("sessions are spliced again", DEADLINE, || {
        let mut session = site.front.open(USER, PASSWORD)?;
        Ok(attribute::splice(&mut session)?.text("path")? == "local")
    })
}

/// A session that runs statement after statement and checks each answer.
struct Busy {
    cs_id: u32,
    answers: Arc<AtomicU64>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Busy {
    fn start(front: &Front, stop: &Arc<AtomicBool>) -> Result<Self> {
        let mut connection = front.open(USER, PASSWORD)?;
        let cs_id = connection.greeting().thread_id;
        let answers = Arc::new(AtomicU64::new(0));
        let (counter, stop) = (Arc::clone(&answers), Arc::clone(stop));
        let thread = thread::spawn(move || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let number = counter.fetch_add(1, Ordering::Relaxed);
                // From a few bytes to several messages.
                let length = 10 + number % 7 * 40_000;
                let answer = connection.run(&format!("SELECT {number}, REPEAT('s', {length})"))?;
                let row = answer.texts()?.pop().context("no row")?;
                ensure!(
                    row == [
                        Some(number.to_string()),
                        Some("s".repeat(usize::try_from(length)?))
                    ],
                    "the answer to {number} is another"
                );
            }
            Ok(())
        });
        Ok(Self {
            cs_id,
            answers,
            thread,
        })
    }
}

/// Waits until a counter of each session has grown by this much.
fn all_grow(operator: &mut Connection, sessions: &[Busy], counter: &str, by: u64) -> Result<()> {
    for session in sessions {
        let before = attribute::splice_of(operator, session.cs_id)?;
        wait::until_true(&format!("{counter} grows"), DEADLINE, || {
            let now = attribute::splice_of(operator, session.cs_id)?;
            Ok(now.grown(&before, counter)? >= by)
        })?;
    }
    Ok(())
}

fn splice_off_and_back(stage: &Stage) -> Result<()> {
    const ROWS: usize = 3000;
    let mut site = Site::new(stage, FILE)?;
    let stop = Arc::new(AtomicBool::new(false));
    let sessions: Vec<_> = (0..4)
        .map(|_| Busy::start(&site.front, &stop))
        .collect::<Result<_>>()?;
    let mut idle = site.front.open(USER, PASSWORD)?;
    idle.run("SELECT 'idle'")?;
    for round in 0..5 {
        all_grow(&mut site.operator, &sessions, "spliced_commands", 20)?;
        // One is in the middle of an answer of 120 MB.
        let mut reader = site.front.open(USER, PASSWORD)?;
        reader.run("SELECT 'spliced'")?;
        reader.send_command(&command::query(
            format!("SELECT REPEAT('k', 40000) FROM mysql.seq_1_to_{ROWS}").as_bytes(),
        ))?;
        let mut packets = (0..10)
            .map(|_| reader.read_packet())
            .collect::<Result<Vec<_>>>()?;
        let text = site.alter("splice = 'off'")?;
        ensure!(text.contains("splice = off holds; kept in "), "{text}");
        let before: Vec<_> = sessions
            .iter()
            .map(|session| attribute::splice_of(&mut site.operator, session.cs_id))
            .collect::<Result<_>>()?;
        all_grow(
            &mut site.operator,
            &sessions,
            "relayed_bytes_to_node",
            20 * 30,
        )?;
        for (session, before) in sessions.iter().zip(&before) {
            let now = attribute::splice_of(&mut site.operator, session.cs_id)?;
            assert_eq!(
                now.grown(before, "spliced_commands")?,
                0,
                "round {round}: {now:?}"
            );
            assert_eq!(now.text("path")?, "relay");
            assert_eq!(now.text("relay_reason")?, "splice off");
        }
        let idle_before = attribute::splice(&mut idle)?;
        assert_eq!(idle.run("SELECT 'still here'")?.text()?, "still here");
        let idle_after = attribute::splice(&mut idle)?;
        assert_eq!(idle_after.grown(&idle_before, "spliced_commands")?, 0);
        reader.read_rows(&mut packets)?.ok()?;
        let long = packets.iter().filter(|packet| packet.len() > 40_000);
        assert_eq!(long.count(), ROWS, "round {round}");
        assert_eq!(reader.run("SELECT 'whole'")?.text()?, "whole");
        let text = site.alter("splice = auto")?;
        ensure!(text.contains("splice = auto holds; kept in "), "{text}");
    }
    all_grow(&mut site.operator, &sessions, "spliced_commands", 20)?;
    stop.store(true, Ordering::Relaxed);
    for session in sessions {
        wait::joined(session.thread.join(), "a busy session")??;
        ensure!(session.answers.load(Ordering::Relaxed) > 100);
    }
    ensure!(fs::read_to_string(&site.file)?.contains("splice = \"auto\""));
    Ok(())
}

/// Executes a statement again and again whose value comes in pieces, in the command or before it; returns how many answers were right.
fn executes_in_pieces(mut connection: Connection, seed: u64, stop: &AtomicBool) -> Result<u64> {
    const SIZE_MAX: usize = 300_000;
    let mut random = Random::new(seed);
    let statement = connection.prepare("SELECT ?")?;
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let size = 1 + random.below(SIZE_MAX);
        let value = random.letters(size);
        let payloads = if random.below(2) == 0 {
            vec![command::execute(statement.id, 0, &[Some(&value)])]
        } else {
            let (left, right) = value.split_at(random.below(size));
            vec![
                command::long_data(statement.id, 0, left),
                command::long_data(statement.id, 0, right),
                command::execute(statement.id, 0, &[None]),
            ]
        };
        for payload in &payloads {
            let (bytes, _) = frame(payload, 0);
            let mut rest = &bytes[..];
            for _ in 0..random.below(5) {
                let (piece, next) = rest.split_at(random.below(rest.len()));
                connection.send_raw(piece)?;
                wait::throughout(Duration::from_micros(random.below(3000) as u64), || Ok(()))?;
                rest = next;
            }
            connection.send_raw(rest)?;
        }
        connection.expect_answer(1);
        let answer = connection
            .read_response(&[])
            .with_context(|| format!("answer {answers}"))?;
        let row = answer
            .rows
            .first()
            .and_then(|rows| answer.packets.get(rows.start))
            .context("a row")?;
        ensure!(row.ends_with(&value), "answer {answers} is another");
        let reset = [&[0x1a][..], &statement.id.to_le_bytes()].concat();
        connection.command(&reset)?.outcome.ok()?;
        answers += 1;
        if answers % 16 == 0 {
            // Who has lost the boundary relays on, and only the node answers.
            attribute::splice(&mut connection)?;
        }
    }
    let spliced = attribute::splice(&mut connection)?;
    ensure!(spliced.number("spliced_commands")? > 0, "{spliced:?}");
    Ok(answers)
}

/// Splicing goes off and on while commands are under way that are larger than a message.
fn splice_off_in_mid_command(stage: &Stage) -> Result<()> {
    const ROUNDS: usize = 100;
    let mut site = Site::new(stage, FILE)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for seed in 80..83 {
        let connection = site.front.open(USER, PASSWORD)?;
        let told = Arc::clone(&stop);
        clients.push(thread::spawn(move || {
            executes_in_pieces(connection, seed, &told)
        }));
    }
    let mut random = Random::new(83);
    for _ in 0..ROUNDS {
        for value in ["'off'", "auto"] {
            site.alter(&format!("splice = {value}"))?;
            wait::throughout(
                Duration::from_micros(random.below(20_000) as u64),
                || Ok(()),
            )?;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        ensure!(wait::joined(client.join(), "a client")?? > 0);
    }
    Ok(())
}

/// A daemon that has loaded no programs cannot splice before a restart, and says so.
fn off_from_the_start(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage, FILE)?;
    let text = site.alter("splice = auto")?;
    ensure!(text.contains("holds after a restart"), "{text}");
    assert_eq!(site.value("splice")?, "off");
    ensure!(fs::read_to_string(&site.file)?.contains("splice = \"auto\""));
    Ok(())
}
