//! Reads at a replica, everything else at the primary: which node a statement reaches, and what a session takes along.

use crate::{
    attribute,
    case::Case,
    nodes::{known, patient},
};
use anyhow::{Result, ensure};
use sluice_tests::{
    cluster::Cluster,
    config::{self, Config},
    path::Path,
    place,
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    topology::Hosts,
    wait,
    wire::{Connection, command, frame},
};
use std::{path::PathBuf, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("reads_and_writes", reads_and_writes).daemon(),
    Case::new("state_follows", state_follows).daemon(),
    Case::new("ties_keep_reads_at_the_primary", ties).daemon(),
    Case::new("pipelined", pipelined).daemon(),
    Case::new("kills", kills).daemon(),
    Case::new("hints", hints).daemon(),
    Case::new("read_consistency", read_consistency).daemon(),
    Case::new("most_is_spliced", most_is_spliced).splicing(),
    Case::new("turns_are_spliced", turns_are_spliced).only(Path::Wire),
];

const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const POLICY: &str = "policy = \"read-write-split\"";

/// A read that tells which node has answered: 1 is the primary, 2 and 3 are its replicas.
const NODE: &str = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID'";

/// Nodes with a table, and a daemon in front of them that splits reads from writes.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) front: Front,
    /// The daemon's configuration.
    pub(crate) file: PathBuf,
}

/// The proxy's zone in front of [`near`] nodes.
pub(crate) const ZONE: &str = "zone = \"near\"";

/// Of three nodes the second takes reads as long as it can, then the third.
pub(crate) fn near(cluster: config::Cluster) -> config::Cluster {
    let far = "zone = \"far\"";
    cluster.node(0, ZONE).node(1, ZONE).node(2, far)
}

impl Site {
    /// A primary and two replicas, [`near`] and far.
    pub(crate) fn new(stage: &Stage) -> Result<Self> {
        Self::with(stage, "")
    }

    /// The same, with a line of the cluster's.
    pub(crate) fn with(stage: &Stage, line: &str) -> Result<Self> {
        Self::of(stage, 2, ZONE, |cluster| near(cluster).line(line))
    }

    /// A primary and one replica, for what is about these two only: whoever else could read makes no difference.
    pub(crate) fn pair(stage: &Stage) -> Result<Self> {
        Self::of(stage, 1, "", |cluster| cluster)
    }

    /// So many replicas, a line of the proxy's own, and a cluster of which `say` says more.
    pub(crate) fn of(
        stage: &Stage,
        replicas: usize,
        line: &str,
        say: impl FnOnce(config::Cluster) -> config::Cluster,
    ) -> Result<Self> {
        let cluster = Self::cluster(stage.hosts(), replicas)?;
        let configured = cluster.configured("east").line(POLICY);
        Self::behind(stage, cluster, &patient(say(configured)).line(line))
    }

    /// These servers behind a daemon of this configuration.
    pub(crate) fn behind(stage: &Stage, cluster: Cluster, config: &Config) -> Result<Self> {
        let file = place::fresh("config")?.join("sluice.toml");
        config.write_to(&file)?;
        let front = stage.private_of_file(&file.display().to_string(), &[])?;
        let replicas = ";replica".repeat(cluster.servers() - 1);
        known(&front, &format!("primary{replicas}"))?;
        Ok(Self {
            cluster,
            front,
            file,
        })
    }

    /// Has a session's reads go to this replica from now on, as a hint does that names it.
    pub(crate) fn reads_from(&self, client: &mut Connection, replica: usize) -> Result<String> {
        let address = self.cluster.address(replica)?;
        let wanted = (replica + 1).to_string();
        let found = hinted(client, &format!("ROUTE({address})"))?;
        ensure!(found == wanted, "routed to node {found}, not {wanted}");
        at(client, &wanted)?;
        Ok(wanted)
    }

    /// The servers on these hosts.
    pub(crate) fn cluster(hosts: &Hosts, replicas: usize) -> Result<Cluster> {
        let cluster = Cluster::start(&hosts.node, replicas)?;
        Self::fill(hosts, &cluster)?;
        Ok(cluster)
    }

    /// Makes the tables that all of them have.
    pub(crate) fn fill(hosts: &Hosts, cluster: &Cluster) -> Result<()> {
        hosts.node.enter(|| {
            let mut primary = cluster.open(0)?;
            primary.run("CREATE DATABASE shop")?;
            primary.run("CREATE TABLE shop.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")?;
            primary.run("CREATE DATABASE other")?;
            primary.run("CREATE TABLE other.t (at TIMESTAMP)")?;
            primary.run("INSERT INTO other.t VALUES (FROM_UNIXTIME(1000000000))")?;
            for replica in 1..cluster.servers() {
                cluster.catch_up(replica, 0)?;
            }
            Ok(())
        })?
    }

    pub(crate) fn client(&self) -> Result<Connection> {
        self.front.open(USER, PASSWORD)
    }
}

/// Which node answers a read.
pub(crate) fn node(client: &mut Connection) -> Result<String> {
    client.run(NODE)?.text()
}

pub(crate) fn at(client: &mut Connection, wanted: &str) -> Result<()> {
    let found = node(client)?;
    ensure!(found == wanted, "read from node {found}, not {wanted}");
    Ok(())
}

fn reads_and_writes(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    at(&mut client, "2")?;
    for replica in [1, 2, 1] {
        let reader = site.reads_from(&mut client, replica)?;
        client.run("INSERT INTO shop.t (a) VALUES (1)")?;
        at(&mut client, &reader)?;
        at(&mut client, &reader)?;
        client.run("BEGIN")?;
        at(&mut client, "1")?;
        client.run("UPDATE shop.t SET a = a + 1")?;
        at(&mut client, "1")?;
        client.run("COMMIT")?;
        at(&mut client, &reader)?;
        client.run("SET autocommit = 0")?;
        at(&mut client, "1")?;
        client.run("ROLLBACK")?;
        at(&mut client, "1")?;
        client.run("SET autocommit = 1")?;
        at(&mut client, &reader)?;
        // What reads but locks, or may write, is the primary's.
        let locked = client.run("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID' FOR UPDATE")?;
        assert_eq!(locked.text()?, "1");
    }
    stage.hosts().node.enter(|| site.cluster.catch_up(1, 0))??;
    assert_eq!(
        client.run("SELECT SUM(a) FROM shop.t")?.text()?,
        (4 + 3 + 2).to_string()
    );
    let shown = client.run("SHOW PROXYSESSION")?.texts()?;
    ensure!(
        shown
            .iter()
            .flatten()
            .any(|cell| cell.as_deref() == Some("3")),
        "{shown:?}"
    );
    let reads_at = attribute::splice(&mut client)?.text("reads_at")?.to_owned();
    assert_eq!(reads_at, site.cluster.address(1)?.to_string());
    Ok(())
}

fn state_follows(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    client.run("USE shop")?;
    assert_eq!(client.run("SELECT COUNT(*) FROM t")?.text()?, "0");
    at(&mut client, "2")?;
    client.run("USE other")?;
    assert_eq!(client.run("SELECT COUNT(*) FROM t")?.text()?, "1");
    at(&mut client, "2")?;
    let read = "SELECT at FROM t";
    client.run("SET time_zone = '+05:00'")?;
    assert_eq!(client.run(read)?.text()?, "2001-09-09 06:46:40");
    at(&mut client, "2")?;
    // To a node that the session has not been at, and back.
    site.reads_from(&mut client, 2)?;
    assert_eq!(client.run(read)?.text()?, "2001-09-09 06:46:40");
    client.run("SET time_zone = '+01:00', sql_mode = 'PIPES_AS_CONCAT'")?;
    for replica in [2, 1] {
        site.reads_from(&mut client, replica)?;
        assert_eq!(
            client.run("SELECT at || 'x' FROM t")?.text()?,
            "2001-09-09 02:46:40x"
        );
    }
    at(&mut client, "2")?;
    // Each node has tables of its own about itself.
    client.run("USE mysql")?;
    at(&mut client, "1")?;
    client.run("USE other")?;
    at(&mut client, "2")?;
    // A session that is reset has nothing of it any more, at either node.
    client.command(b"\x1f")?.outcome.ok()?;
    let direct = stage.hosts().node.enter(|| {
        let mut primary = site.cluster.open(0)?;
        primary.run("USE other")?;
        primary.run(read)?.text()
    })??;
    assert_eq!(client.run(read)?.text()?, direct);
    at(&mut client, "2")?;
    client.change_user(USER, PASSWORD, "shop")?.ok()?;
    assert_eq!(client.run("SELECT COUNT(*) FROM t")?.text()?, "0");
    at(&mut client, "2")
}

fn ties(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    for replica in [1, 2] {
        let reader = site.reads_from(&mut client, replica)?;
        for (tie, untie) in [
            (
                "CREATE TEMPORARY TABLE shop.mine (a INT)",
                "DROP TEMPORARY TABLE shop.mine",
            ),
            ("SELECT GET_LOCK('a', 1)", "SELECT RELEASE_LOCK('a')"),
            ("LOCK TABLES shop.t READ", "UNLOCK TABLES"),
        ] {
            at(&mut client, &reader)?;
            client.run(tie)?;
            if !tie.starts_with("LOCK") {
                at(&mut client, "1")?;
            }
            client.run(untie)?;
            at(&mut client, &reader)?;
        }
        // Prepared statements tie no reads.
        let prepared = client.prepare(NODE)?;
        at(&mut client, &reader)?;
        let execution = command::execute(prepared.id, 0, &[]);
        client.command(&execution)?.outcome.ok()?;
        at(&mut client, &reader)?;
        about_the_last(stage, &site, &mut client, replica)?;
    }
    Ok(())
}

/// What is asked of the statement before is asked of the node that had it, a replica or the primary.
fn about_the_last(
    stage: &Stage,
    site: &Site,
    client: &mut Connection,
    replica: usize,
) -> Result<()> {
    let reader = (replica + 1).to_string();
    client.run("INSERT INTO shop.t (a) VALUES (7)")?;
    let id = client.run("SELECT LAST_INSERT_ID()")?.text()?;
    at(client, &reader)?;
    assert_eq!(client.run("SELECT LAST_INSERT_ID()")?.text()?, id);
    let caught_up = || site.cluster.catch_up(replica, 0);
    stage.hosts().node.enter(caught_up)??;
    // The replica has warned, and counted.
    client.run("SELECT CAST('x' AS SIGNED)")?;
    assert_eq!(client.run("SHOW WARNINGS")?.texts()?.len(), 1);
    client.run("SELECT a FROM shop.t WHERE a = 7")?;
    assert_eq!(client.run("SELECT FOUND_ROWS()")?.text()?, "1");
    client.run("UPDATE shop.t SET a = 8 WHERE a = 7")?;
    assert_eq!(client.run("SELECT ROW_COUNT()")?.text()?, "1");
    at(client, &reader)
}

fn with_hint(hint: &str) -> String {
    NODE.replacen("SELECT ", &format!("SELECT /*+ {hint} */ "), 1)
}

/// Which node answers a read with this hint.
fn hinted(client: &mut Connection, hint: &str) -> Result<String> {
    client.run(&with_hint(hint))?.text()
}

fn hints(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 2, "", |cluster| cluster.node(2, "weight = 0"))?;
    let mut client = site.client()?;
    let [primary, replica, unused] = [0, 1, 2].map(|at| site.cluster.address(at));
    let (primary, replica, unused) = (primary?, replica?, unused?);
    for (hint, wanted) in [
        ("READ_CONSISTENCY(STRONG)".to_owned(), "1"),
        ("READ_CONSISTENCY(WEAK)".to_owned(), "2"),
        ("MAX_EXECUTION_TIME(60000)".to_owned(), "2"),
        (format!("ROUTE({primary})"), "1"),
        (format!("ROUTE({replica})"), "2"),
        // One that takes no reads, and one that there is not.
        (format!("ROUTE({unused})"), "2"),
        ("ROUTE(nowhere:1)".to_owned(), "2"),
    ] {
        let found = hinted(&mut client, &hint)?;
        ensure!(found == wanted, "{hint}: node {found}, not {wanted}");
        at(&mut client, "2")?;
        client.run("INSERT INTO shop.t (a) VALUES (1)")?;
        let found = hinted(&mut client, &hint)?;
        ensure!(
            found == wanted,
            "{hint}, behind a write: node {found}, not {wanted}"
        );
    }
    // A transaction is the primary's, whatever its statements say.
    client.run("BEGIN")?;
    assert_eq!(hinted(&mut client, "READ_CONSISTENCY(WEAK)")?, "1");
    assert_eq!(hinted(&mut client, &format!("ROUTE({replica})"))?, "1");
    client.run("COMMIT")?;
    at(&mut client, "2")?;

    let site = Site::of(stage, 2, "", |cluster| cluster)?;
    let mut client = site.client()?;
    for replica in [1, 2, 1, 2] {
        let address = site.cluster.address(replica)?;
        let number = (replica + 1).to_string();
        assert_eq!(hinted(&mut client, &format!("ROUTE({address})"))?, number);
        // It goes on to take the session's reads.
        at(&mut client, &number)?;
    }
    Ok(())
}

fn read_consistency(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    at(&mut client, "2")?;
    client.run("ALTER PROXYSESSION SET read_consistency = strong")?;
    let before = attribute::splice(&mut client)?;
    for _ in 0..10 {
        at(&mut client, "1")?;
    }
    let after = attribute::splice(&mut client)?;
    assert_eq!(after.text("read_consistency")?, "strong");
    if stage.path() == Path::Spliced {
        let relayed = after.grown(&before, "relayed_commands")?;
        ensure!(relayed <= 2, "{relayed} relayed");
    }
    for _ in 0..2 {
        assert_eq!(hinted(&mut client, "READ_CONSISTENCY(WEAK)")?, "2");
        at(&mut client, "1")?;
    }
    assert_eq!(hinted(&mut client, "READ_CONSISTENCY(WEAK)")?, "2");
    assert_eq!(hinted(&mut client, "READ_CONSISTENCY(WEAK)")?, "2");
    client.run("SELECT a FROM shop.t")?;
    client.run("ALTER PROXYSESSION SET read_consistency = default")?;
    at(&mut client, "2")
}

/// Commands for all nodes in one go: the answers come in their order.
fn pipelined(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    client.run("INSERT INTO shop.t (a) VALUES (0)")?;
    let rounds = 20;
    let replicas = [site.cluster.address(1)?, site.cluster.address(2)?];
    for (round, (replica, reader)) in (0..rounds).zip(replicas.iter().zip(["2", "3"]).cycle()) {
        let texts = [
            with_hint(&format!("ROUTE({replica})")),
            "UPDATE shop.t SET a = a + 1".to_owned(),
            NODE.to_owned(),
            NODE.to_owned(),
            format!("SELECT {round}"),
            "BEGIN".to_owned(),
            NODE.to_owned(),
            "COMMIT".to_owned(),
            NODE.to_owned(),
        ];
        let bytes: Vec<u8> = texts
            .iter()
            .flat_map(|text| frame(&command::query(text.as_bytes()), 0).0)
            .collect();
        client.send_raw(&bytes)?;
        let mut answers = Vec::new();
        for _ in &texts {
            client.expect_answer(1);
            answers.push(client.read_response(&[])?);
        }
        for (answer, wanted) in answers.iter().zip([
            Some(reader.to_owned()),
            None,
            Some(reader.to_owned()),
            Some(reader.to_owned()),
            Some(round.to_string()),
            None,
            Some("1".to_owned()),
            None,
            Some(reader.to_owned()),
        ]) {
            match wanted {
                Some(text) => assert_eq!(answer.text()?, text, "round {round}"),
                None => answer.outcome.ok()?,
            }
        }
    }
    let counted = client.run("SELECT a FROM shop.t FOR UPDATE")?.text()?;
    assert_eq!(counted, rounds.to_string());
    Ok(())
}

/// What is asked for is done at the replica that reads.
fn kills(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut victim = site.client()?;
    let mut other = site.client()?;
    let id = crate::kill::id(&victim);
    let long = "SELECT COUNT(*) FROM information_schema.COLUMNS a, information_schema.COLUMNS b, information_schema.COLUMNS c, information_schema.COLUMNS d";
    for replica in [1, 2] {
        let reader = site.reads_from(&mut victim, replica)?;
        victim.send_command(&command::query(long.as_bytes()))?;
        wait::until_true("it runs at the replica", DEADLINE, || {
            stage.hosts().node.enter(|| {
                let running = site
                    .cluster
                    .open(replica)?
                    .run("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT COUNT(*) FROM information_schema.COLUMNS a%'")?
                    .text()?;
                Ok(running == "1")
            })?
        })?;
        other.run(&format!("KILL QUERY {id}"))?;
        victim.expect_answer(1);
        assert_eq!(victim.read_response(&[])?.outcome.code(), 1317);
        at(&mut victim, &reader)?;
    }
    other.run(&format!("KILL {id}"))?;
    let gone = victim.run(NODE);
    ensure!(gone.is_err(), "alive after KILL: {gone:?}");
    Ok(())
}

/// Runs of statements for one node trap once.
fn most_is_spliced(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    at(&mut client, "2")?;
    client.run("INSERT INTO shop.t (a) VALUES (1)")?;
    let before = attribute::splice(&mut client)?;
    for _ in 0..4 {
        for _ in 0..25 {
            at(&mut client, "2")?;
        }
        for _ in 0..5 {
            client.run("BEGIN")?;
            at(&mut client, "1")?;
            client.run("UPDATE shop.t SET a = a + 1")?;
            client.run("COMMIT")?;
        }
    }
    let after = attribute::splice(&mut client)?;
    let (spliced, relayed) = (
        after.grown(&before, "spliced_commands")?,
        after.grown(&before, "relayed_commands")?,
    );
    ensure!(
        spliced + relayed == 4 * (25 + 20) + 1,
        "{spliced} + {relayed}"
    );
    // The first command after each change of node; on a busy machine up to 12 were seen, on every path.
    let most = 16;
    ensure!(
        relayed <= most,
        "{relayed} of {} relayed",
        spliced + relayed
    );
    Ok(())
}

/// Reads and writes in turn: on the wire a regime goes on from node to node. So it does where a client does not wait for its answers, or they are
/// relayed, but never out of order.
fn turns_are_spliced(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    let mut client = site.client()?;
    let rounds = 40;
    client.run("INSERT INTO shop.t (a) VALUES (0)")?;
    at(&mut client, "2")?;
    let before = attribute::splice(&mut client)?;
    for _ in 0..rounds {
        at(&mut client, "2")?;
        client.run("UPDATE shop.t SET a = a + 1")?;
        at(&mut client, "2")?;
        client.run("BEGIN")?;
        at(&mut client, "1")?;
        client.run("COMMIT")?;
    }
    let after = attribute::splice(&mut client)?;
    let (spliced, relayed) = (
        after.grown(&before, "spliced_commands")?,
        after.grown(&before, "relayed_commands")?,
    );
    assert_eq!(spliced + relayed, rounds * 6 + 1);
    // The first one behind the daemon's own answer, and few whose acknowledgements are late.
    ensure!(
        relayed <= rounds * 6 / 20,
        "{relayed} relayed, {spliced} not"
    );
    // No two for the same node, from the first one on: the writer was used last.
    let before = after;
    for _ in 0..rounds {
        at(&mut client, "2")?;
        client.run("UPDATE shop.t SET a = a + 1")?;
    }
    let after = attribute::splice(&mut client)?;
    let relayed = after.grown(&before, "relayed_commands")?;
    ensure!(relayed <= rounds * 2 / 10, "{relayed} relayed by turns");
    for _ in 0..rounds {
        for text in ["UPDATE shop.t SET a = a + 1", NODE] {
            client.send_command(&command::query(text.as_bytes()))?;
        }
        client.expect_answer(1);
        client.read_response(&[])?.outcome.ok()?;
        client.expect_answer(1);
        assert_eq!(client.read_response(&[])?.text()?, "2");
    }
    // What is about the statement before is asked of the node that had it.
    client.run("SELECT SQL_CALC_FOUND_ROWS a FROM shop.t LIMIT 0")?;
    assert_eq!(client.run("SELECT FOUND_ROWS()")?.text()?, "1");
    client.run("UPDATE shop.t SET a = a + 1")?;
    assert_eq!(client.run("SELECT ROW_COUNT()")?.text()?, "1");
    at(&mut client, "2")?;
    let counted = client.run("SELECT a FROM shop.t FOR UPDATE")?.text()?;
    assert_eq!(counted, (rounds * 3 + 1).to_string());
    Ok(())
}
