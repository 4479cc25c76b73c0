//! A node goes, hangs, becomes read-only or is drained: what becomes of the sessions that it had.

use crate::{
    attribute,
    case::Case,
    failover_dropped::executes_at,
    nodes::{known, port, watchful},
};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    cluster::Cluster,
    ha, place,
    server::{PASSWORD, USER, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Outcome, command, frame},
};
use std::{path::PathBuf, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("idle_sessions_survive", idle_sessions_survive).daemon(),
    Case::new("a_transaction_is_told_that_it_is_gone", transaction).daemon(),
    Case::new("a_command_under_way_is_answered", under_way).daemon(),
    Case::new("two_commands_under_way_are_answered", two_under_way).daemon(),
    Case::new("a_hanging_node_is_left", hanging).daemon(),
    Case::new("sessions_follow_the_primary", follow_the_primary).daemon(),
    Case::new("a_drained_node_is_left", drained).daemon(),
    Case::new("state_that_cannot_move_ends_with_its_node", stuck).daemon(),
    Case::new("a_read_under_way_is_asked_again", asked_again).daemon(),
    Case::new("a_read_is_asked_again_once", asked_again_once).daemon(),
    Case::new("half_a_command_is_answered", half_a_command).daemon(),
    Case::new("prepared_statements_survive", prepared_statements).daemon(),
    Case::new(
        "parameters_that_nobody_knows_end_a_session",
        unknown_parameters,
    )
    .daemon(),
    Case::new("each_trouble_once", each_trouble_once)
        .daemon()
        .local(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// A primary and its replicas, and a daemon in front of them that knows them.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) front: Front,
    /// The daemon's configuration.
    pub(crate) file: PathBuf,
}

impl Site {
    /// With two replicas: a session that has lost one node has a choice, and may lose the next one, too.
    pub(crate) fn new(stage: &Stage) -> Result<Self> {
        Self::of(stage, 2, &[])
    }

    /// So many replicas, of servers with these options.
    pub(crate) fn of(stage: &Stage, replicas: usize, options: &[&str]) -> Result<Self> {
        let cluster = Cluster::start_with(&stage.hosts().node, replicas, options)?;
        let file = place::fresh("config")?.join("sluice.toml");
        watchful(cluster.configured("east")).write_to(&file)?;
        let front = stage.private_of_file(&file.display().to_string(), &[])?;
        known(&front, &format!("primary{}", ";replica".repeat(replicas)))?;
        Ok(Self {
            cluster,
            front,
            file,
        })
    }

    /// A session at the primary, with state that is to follow it.
    fn client(&self) -> Result<Connection> {
        let mut client = self.front.open(USER, PASSWORD)?;
        client.run("SET sort_buffer_size = 65536")?;
        client.run("USE mysql")?;
        client.run("SELECT 1")?;
        assert_eq!(port(&mut client)?, self.port(0)?);
        Ok(client)
    }

    /// A session of whose last commands the kernel has moved some, where it moves any.
    fn spliced_client(&self, stage: &Stage) -> Result<Connection> {
        let mut client = self.client()?;
        let before = attribute::splice(&mut client)?;
        for _ in 0..20 {
            client.run("SELECT 1")?;
        }
        let after = attribute::splice(&mut client)?;
        let spliced = after.grown(&before, "spliced_commands")?;
        assert_eq!(spliced > 0, stage.path().splices());
        client.run("SELECT 1")?;
        Ok(client)
    }

    /// Waits until the kernel, where it moves anything, has handed up a command that the client sent while another is under way.
    fn handed_up(&self, stage: &Stage, client: &Connection) -> Result<()> {
        if !stage.path().splices() {
            return Ok(());
        }
        let cs_id = client.greeting().thread_id;
        let mut operator = self.front.open(USER_ROOT, "")?;
        wait::until_true("the command is handed up", DEADLINE, || {
            let splice = attribute::splice_of(&mut operator, cs_id)?;
            Ok(splice.text("mode")? == "relayed")
        })
    }

    fn port(&self, at: usize) -> Result<u16> {
        Ok(self.cluster.address(at)?.port())
    }

    /// The session is at this node, with its state.
    fn check(&self, client: &mut Connection, at: usize) -> Result<()> {
        let row = client
            .run("SELECT @@port, DATABASE(), @@sort_buffer_size")?
            .texts()?;
        let wanted = [
            self.port(at)?.to_string(),
            "mysql".to_owned(),
            "65536".to_owned(),
        ];
        assert_eq!(row, [wanted.map(Some).to_vec()]);
        Ok(())
    }

    /// Waits until the session is at this node.
    fn moved(&self, client: &mut Connection, at: usize) -> Result<()> {
        let wanted = self.port(at)?;
        wait::until_true("the session has moved", DEADLINE, || {
            Ok(port(client)? == wanted)
        })?;
        self.check(client, at)
    }

    /// Waits until the proxy has found so many nodes dead.
    fn listed(&self, count: usize) -> Result<()> {
        let mut operator = self.front.open(USER_ROOT, "")?;
        wait::until_true("the node is listed", DEADLINE, || {
            Ok(operator.run("SHOW PROXYCONGESTION")?.texts()?.len() == count)
        })
    }

    /// A node dies, and an operator makes the next one the primary.
    fn fail_over(&self, from: usize) -> Result<()> {
        self.cluster.server(from)?.kill()?;
        self.cluster.promote(from + 1)
    }
}

fn error(outcome: &Outcome) -> Result<(u16, &str)> {
    match outcome {
        Outcome::Error { code, message, .. } => Ok((*code, message)),
        other @ Outcome::Ok { .. } => bail!("no error: {other}"),
    }
}

/// What is asked of user variables.
const VARIABLES: &str =
    "SELECT @number + 1, @text, HEX(@bytes), @none, @half, CHARSET(@text), COLLATION(@bytes)";

/// They go on at the second node, and when that one is gone, at the third.
fn idle_sessions_survive(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut clients = [site.client()?, site.client()?];
    let mut variables = site.client()?;
    variables
        .run("SET @number = 7, @text = 'it''s', @bytes = x'ff00', @none = NULL, @half = 0.5")?;
    let before = variables.run(VARIABLES)?.texts()?;
    for from in [0, 1] {
        let at = from + 1;
        // The values are asked for now.
        variables.run("SELECT 1")?;
        site.fail_over(from)?;
        let [first, second] = &mut clients;
        site.check(first, at)?;
        first.run(&format!("CREATE DATABASE after_failover_{at}"))?;
        // An answer, not an error, whether or not the monitor has found it out by then.
        site.listed(at)?;
        site.check(second, at)?;
        site.check(&mut variables, at)?;
        assert_eq!(variables.run(VARIABLES)?.texts()?, before);
        for client in &mut clients {
            for _ in 0..20 {
                client.run("SELECT 1")?;
            }
            let splice = attribute::splice(client)?;
            assert_eq!(splice.text("path")?, stage.path().shown());
        }
    }
    Ok(())
}

fn transaction(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    with_table(&site)?;
    let mut told = site.client()?;
    let mut rolls_back = site.client()?;
    for from in [0, 1] {
        let at = from + 1;
        for client in [&mut told, &mut rolls_back] {
            client.run("BEGIN")?;
            client.run("INSERT INTO test.t VALUES (1)")?;
        }
        site.fail_over(from)?;
        let outcome = told.query("COMMIT")?.outcome;
        let (code, message) = error(&outcome)?;
        ensure!(
            code == 1213 && message.contains("was rolled back"),
            "{outcome}"
        );
        site.check(&mut told, at)?;
        // Who rolls back gets what he asks for.
        rolls_back.run("ROLLBACK")?;
        for client in [&mut told, &mut rolls_back] {
            site.check(client, at)?;
            assert_eq!(client.run("SELECT COUNT(*) FROM test.t")?.text()?, "1");
            client.run("INSERT INTO test.t VALUES (2)")?;
            client.run("DELETE FROM test.t WHERE a = 2")?;
        }
    }
    Ok(())
}

/// A statement that no replica may answer, and that takes longer than any case.
pub(crate) const SLEEP: &str = "SELECT SLEEP(100)";

/// Waits until a node executes a statement.
fn executes(site: &Site, at: usize, sql: &str) -> Result<()> {
    executes_at(&mut site.cluster.open(at)?, sql)
}

/// Whether an error leaves open what became of the command.
pub(crate) fn is_unknown(outcome: &Outcome) -> Result<()> {
    let (code, message) = error(outcome)?;
    ensure!(
        [2013, 1105].contains(&code) && message.contains("it may have been executed"),
        "{outcome}"
    );
    Ok(())
}

/// One client has not said much before; of the other one's commands the kernel has moved some, and what it has seen of their responses is nothing of this one's.
fn under_way(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut clients = [site.client()?, site.spliced_client(stage)?];
    for from in [0, 1] {
        for (client, seconds) in clients.iter_mut().zip(100..) {
            let sleep = format!("SELECT SLEEP({seconds})");
            client.send_command(&command::query(sleep.as_bytes()))?;
            executes(&site, from, &sleep)?;
        }
        site.cluster.server(from)?.kill()?;
        for client in &mut clients {
            is_unknown(&client.read_response(&[])?.outcome)?;
        }
        site.cluster.promote(from + 1)?;
        for client in &mut clients {
            site.check(client, from + 1)?;
            client.run("SELECT 1")?;
        }
    }
    Ok(())
}

/// A client that does not wait for an answer before it says more.
fn two_under_way(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.spliced_client(stage)?;
    client.send_command(&command::query(SLEEP.as_bytes()))?;
    executes(&site, 0, SLEEP)?;
    client.send_command(&command::query(b"SELECT @@port"))?;
    // It waits at the proxy, or on its way there.
    site.handed_up(stage, &client)?;
    site.cluster.server(0)?.kill()?;
    is_unknown(&client.read_response(&[])?.outcome)?;
    client.expect_answer(1);
    let port = client.read_response(&[])?.text()?;
    assert_eq!(port, site.port(1)?.to_string());
    site.check(&mut client, 1)
}

fn hanging(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut idle = site.client()?;
    let mut waiting = site.client()?;
    let primary = site.cluster.server(0)?;
    waiting.send_command(&command::query(SLEEP.as_bytes()))?;
    executes(&site, 0, SLEEP)?;
    primary.signal(libc::SIGSTOP)?;
    is_unknown(&waiting.read_response(&[])?.outcome)?;
    site.cluster.promote(1)?;
    site.check(&mut waiting, 1)?;
    site.check(&mut idle, 1)?;
    primary.signal(libc::SIGCONT)
}

/// Of the two other nodes they go to the one that is the primary now.
fn follow_the_primary(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut idle = site.client()?;
    let mut busy = site.client()?;
    busy.run("BEGIN")?;
    busy.run("SELECT COUNT(*) FROM mysql.user")?;
    site.cluster.open(0)?.run("SET GLOBAL read_only = ON")?;
    site.cluster.promote(2)?;
    site.cluster.follow(1, 2)?;
    site.moved(&mut idle, 2)?;
    // In a transaction it stays, and moves when that ends.
    assert_eq!(port(&mut busy)?, site.port(0)?);
    busy.run("COMMIT")?;
    site.moved(&mut busy, 2)?;
    // And back, with a primary that dies.
    site.cluster.follow(0, 2)?;
    site.cluster.server(2)?.kill()?;
    site.cluster.promote(1)?;
    site.moved(&mut idle, 1)?;
    site.moved(&mut busy, 1)
}

fn drained(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut idle = site.client()?;
    let mut stays = site.client()?;
    stays.run("CREATE TEMPORARY TABLE kept (a INT)")?;
    let drain = "drain = true";
    let first = site.cluster.configured("east").node(0, drain);
    watchful(first.clone()).write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)?;
    site.moved(&mut idle, 1)?;
    let reason = wait::until("it is said why it stays", DEADLINE, || {
        let splice = attribute::splice(&mut stays)?;
        let reason = splice.text("stays_reason")?.to_owned();
        Ok((!reason.is_empty()).then_some(reason))
    })?;
    ensure!(reason.contains("temporary table"), "{reason}");
    assert_eq!(port(&mut stays)?, site.port(0)?);
    let mut new = site.front.open(USER, PASSWORD)?;
    assert_eq!(port(&mut new)?, site.port(1)?);
    // The one that it has gone to is drained, too.
    watchful(first.node(1, drain)).write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)?;
    site.moved(&mut idle, 2)?;
    assert_eq!(port(&mut stays)?, site.port(0)?);
    Ok(())
}

/// Of prepared statements that is a text that would mean something else by now, and long data.
fn stuck(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut temporary = site.client()?;
    temporary.run("CREATE TEMPORARY TABLE kept (a INT)")?;
    let mut elsewhere = site.spliced_client(stage)?;
    elsewhere.prepare("SELECT COUNT(*) FROM user")?;
    elsewhere.run("USE information_schema")?;
    let mut long = site.spliced_client(stage)?;
    let statement = long.prepare("SELECT ?")?;
    long.send_command(&command::long_data(statement.id, 0, b"long"))?;
    long.run("SELECT 1")?;
    site.cluster.server(0)?.kill()?;
    for (client, reason) in [
        (&temporary, "temporary table"),
        (&elsewhere, "prepared statement"),
        (&long, "prepared statement"),
    ] {
        let cs_id = client.greeting().thread_id;
        let line = site.front.daemon()?.closing_line(cs_id)?;
        let detail = line.field("detail").context("no detail")?;
        ensure!(detail.contains(reason), "{detail}");
    }
    ensure!(temporary.query("SELECT 1").is_err());
    Ok(())
}

/// Has a read wait for a lock at the first node, whose session keeps it.
fn blocked(site: &Site, client: &mut Connection, sql: &str) -> Result<Connection> {
    let mut blocker = site.cluster.open(0)?;
    blocker.run("LOCK TABLES test.t WRITE")?;
    client.send_command(&command::query(sql.as_bytes()))?;
    executes(site, 0, sql)?;
    Ok(blocker)
}

/// How many commands the daemon has asked of a second node.
fn retried(operator: &mut Connection) -> Result<u64> {
    let rows = operator
        .run("SHOW PROXYSTAT LIKE 'retried_commands'")?
        .texts()?;
    let count = rows.first().and_then(|row| row.get(1)).cloned().flatten();
    Ok(count.context("no counter")?.parse()?)
}

/// A table that all nodes have.
fn with_table(site: &Site) -> Result<()> {
    let mut setup = site.cluster.open(0)?;
    setup.run("CREATE DATABASE IF NOT EXISTS test")?;
    setup.run("CREATE TABLE test.t (a INT)")?;
    setup.run("INSERT INTO test.t VALUES (7)")?;
    site.cluster.catch_up(1, 0)?;
    site.cluster.catch_up(2, 0)
}

const READ: &str = "SELECT a FROM test.t";

fn asked_again(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    with_table(&site)?;
    let mut killed = site.spliced_client(stage)?;
    let mut in_transaction = site.spliced_client(stage)?;
    in_transaction.run("BEGIN")?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let _blocker = blocked(&site, &mut killed, READ)?;
    let mut long = site.spliced_client(stage)?;
    let text = format!(
        "SELECT a + 2 FROM test.t WHERE '{0}' = '{0}'",
        "x".repeat(1000)
    );
    let id = long.greeting().thread_id;
    let before = attribute::splice_of(&mut operator, id)?;
    long.send_command(&command::query(text.as_bytes()))?;
    executes(&site, 0, &text.replace('\'', "\\'"))?;
    let sent = attribute::splice_of(&mut operator, id)?;
    // On the wire it may have been relayed for lack of an acknowledgement.
    let is_spliced = sent.grown(&before, "spliced_commands")? > 0;
    ensure!(stage.path().splices() || !is_spliced);
    let other = "SELECT a + 1 FROM test.t";
    in_transaction.send_command(&command::query(other.as_bytes()))?;
    executes(&site, 0, other)?;
    site.cluster.server(0)?.kill()?;
    assert_eq!(killed.read_response(&[])?.text()?, "7");
    // All of it is known only where it went through the daemon.
    let answer = long.read_response(&[])?;
    if is_spliced {
        is_unknown(&answer.outcome)?;
    } else {
        assert_eq!(answer.text()?, "9");
    }
    let expected = if is_spliced { 1 } else { 2 };
    assert_eq!(retried(&mut operator)?, expected);
    // In a transaction other reads would see other rows.
    let outcome = in_transaction.read_response(&[])?.outcome;
    assert_eq!(error(&outcome)?.0, 1213, "{outcome}");
    site.cluster.promote(1)?;
    for client in [&mut killed, &mut in_transaction, &mut long] {
        site.check(client, 1)?;
    }
    assert_eq!(retried(&mut operator)?, expected);
    Ok(())
}

/// The second node goes, too: the third is asked for what comes next.
fn asked_again_once(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    with_table(&site)?;
    let mut client = site.spliced_client(stage)?;
    let _blocker = blocked(&site, &mut client, READ)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut second = site.cluster.open(1)?;
    second.run("STOP SLAVE")?;
    second.run("LOCK TABLES test.t WRITE")?;
    let mut watch = site.cluster.open(1)?;
    site.cluster.server(0)?.kill()?;
    let running =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE info = '{READ}'");
    wait::until_true("the second node is asked", DEADLINE, || {
        Ok(watch.run(&running)?.text()? == "1")
    })?;
    assert_eq!(retried(&mut operator)?, 1);
    site.cluster.server(1)?.kill()?;
    is_unknown(&client.read_response(&[])?.outcome)?;
    site.check(&mut client, 2)?;
    assert_eq!(retried(&mut operator)?, 1);
    Ok(())
}

/// The node stops in its tracks while the client sends, which goes on.
fn half_a_command(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.spliced_client(stage)?;
    let primary = site.cluster.server(0)?;
    // Shorter than one packet.
    let text = format!("SELECT LENGTH('{}')", "x".repeat(15 << 20));
    let (bytes, _) = frame(&command::query(text.as_bytes()), 0);
    let (front, rest) = bytes.split_at(4 << 20);
    let id = client.greeting().thread_id;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let before = attribute::splice_of(&mut operator, id)?;
    client.send_raw(front)?;
    wait::until_true("a part of it is with the node", DEADLINE, || {
        let now = attribute::splice_of(&mut operator, id)?;
        Ok(now.grown(&before, "relayed_bytes_to_node")? > 1 << 20)
    })?;
    primary.signal(libc::SIGSTOP)?;
    client.send_raw(rest)?;
    client.expect_answer(1);
    is_unknown(&client.read_response(&[])?.outcome)?;
    site.cluster.promote(1)?;
    site.check(&mut client, 1)?;
    primary.signal(libc::SIGCONT)
}

/// The next node gives them the ids that the client knows, whichever it has closed, and so does the one after that.
fn prepared_statements(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.spliced_client(stage)?;
    let plain = client.prepare("SELECT 'plain'")?;
    let closed = client.prepare("SELECT 'closed'")?;
    let taken = client.prepare("SELECT CONCAT(?, 'x'), ?")?;
    client.send_command(&command::close(closed.id))?;
    let values = [Some(&b"one"[..]), Some(b"two")];
    let both = |client: &mut Connection| -> Result<_> {
        let plain = client.execute(&plain, &[])?.packets;
        Ok([plain, client.execute(&taken, &values)?.packets])
    };
    let before = both(&mut client)?;
    let mut ids = vec![plain.id, taken.id];
    for from in [0, 1] {
        site.fail_over(from)?;
        assert_eq!(both(&mut client)?, before);
        site.check(&mut client, from + 1)?;
        // The kernel takes them again, and a new one is another.
        let counted = attribute::splice(&mut client)?;
        for _ in 0..3 {
            both(&mut client)?;
        }
        let splice = attribute::splice(&mut client)?;
        let spliced = splice.grown(&counted, "spliced_commands")?;
        assert_eq!(spliced >= 5, stage.path().splices(), "{spliced} of 6");
        let new = client.prepare("SELECT 'new'")?;
        ensure!(!ids.contains(&new.id), "{} of {ids:?}", new.id);
        ids.push(new.id);
        let row = client.execute(&new, &[])?.packets;
        ensure!(row.iter().any(|packet| packet.ends_with(b"\x03new")));
        let outcome = client.execute(&closed, &[])?.outcome;
        assert_eq!(outcome.code(), 1243);
    }
    Ok(())
}

/// An execution without types means what an earlier one said: with more parameters than the kernel notes, that went with the node.
fn unknown_parameters(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.spliced_client(stage)?;
    let values = [Some(&b"x"[..]); 11];
    let statement = client.prepare("SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?")?;
    let whole = command::execute(statement.id, 0, &values);
    client.command(&whole)?.outcome.ok()?;
    // Command, id, flags, iterations and bitmap; then a 0, and the values.
    let mut bare = whole.get(..12).context("a short command")?.to_vec();
    bare.push(0);
    bare.extend(b"\x01x".repeat(values.len()));
    let answer = client.command(&bare)?;
    answer.outcome.ok()?;
    site.cluster.server(0)?.kill()?;
    site.cluster.promote(1)?;
    site.check(&mut client, 1)?;
    if !stage.path().splices() {
        // The daemon has seen what was said of them.
        for _ in 0..2 {
            assert_eq!(client.command(&bare)?.packets, answer.packets);
        }
        return Ok(());
    }
    ensure!(client.command(&bare).is_err());
    let line = site
        .front
        .daemon()?
        .closing_line(client.greeting().thread_id)?;
    assert_eq!(
        line.field("reason").as_deref(),
        Some("prepared statement lost")
    );
    Ok(())
}

/// `cargo xtask ha` in the small.
fn each_trouble_once(stage: &Stage) -> Result<()> {
    let options = ha::Options {
        span: None,
        seed: 1,
        clients: 4,
        idle: 4,
    };
    let start = |config: &_| stage.private_with_config(config, &[]);
    let report = ha::run(options, &stage.hosts().node, start, &|_| {})?;
    ensure!(report.wrong.is_empty(), "{report}");
    ensure!(
        report.tally.committed() > 0 && report.idle_answers > 0,
        "{report}"
    );
    Ok(())
}
