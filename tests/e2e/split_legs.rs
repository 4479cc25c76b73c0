//! Sessions whose reads go to a replica, on the wire and off it: links that err, and one reader after another.

use crate::{
    attribute,
    case::{Case, is_no_gateway},
    nodes::known,
    split::{Site, at},
};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    config::Config,
    faults::Faults,
    network::{Link, Network},
    path::Path,
    server::{PASSWORD, USER, USER_ROOT},
    stage::{Front, Stage},
    topology::Hosts,
    torture::{
        text,
        verdict::{self, Fault},
    },
    wait,
    wire::command,
};
use std::{thread, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("links_err", links_err).only(Path::Wire).except(
        is_no_gateway,
        "all three on hosts of their own, both its links err",
    ),
    Case::new("another_reader", another_reader).daemon(),
    Case::new("killed_in_an_answer", killed_in_an_answer).daemon(),
    Case::new("an_idle_reader_is_closed", idle_reader).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// How many clients there are, and how often each turns from one node to the other.
const ERRING: (usize, usize) = (4, 40);

/// Sessions that turn from node to node, while links lose, double and swap segments: every answer is the right one, and most are spliced.
fn links_err(stage: &Stage) -> Result<()> {
    let network = Network::with_faults(&[Link::Client, Link::Node], Faults::each(10), 3)?;
    let hosts = Hosts::private(stage.setting().topology, network);
    let cluster = Site::cluster(&hosts, 1)?;
    let configured = cluster
        .configured("east")
        .line("policy = \"read-write-split\"");
    let config = Config::new().cluster(configured);
    let front = Front::start_with_config(stage.setting(), &hosts.proxy, &config, &[])?;
    let spliced = hosts.client.enter(|| -> Result<u64> {
        known(&front, "primary;replica")?;
        thread::scope(|scope| {
            let clients: Vec<_> = (0..ERRING.0)
                .map(|number| {
                    let front = &front;
                    scope.spawn(move || turn_about(front, number))
                })
                .collect();
            let joined = clients.into_iter();
            joined
                .map(|client| wait::joined(client.join(), "a client")?)
                .sum()
        })
    })??;
    let least = (ERRING.0 * ERRING.1 * 4) as u64;
    ensure!(spliced > least, "{spliced} spliced, not {least}");
    drop(front);
    Ok(())
}

/// Reads and writes in turn, and checks every answer. Returns how many commands were spliced.
fn turn_about(front: &Front, number: usize) -> Result<u64> {
    let mut client = front.open(USER, PASSWORD)?;
    client.run("INSERT INTO shop.t (a) VALUES (0)")?;
    let id = client.run("SELECT LAST_INSERT_ID()")?.text()?;
    for round in 0..ERRING.1 {
        for bytes in [0, 1, 1447, 20_000, 200_000] {
            let text = format!("SELECT REPEAT('{}', {bytes})", number % 10);
            let answer = client.run(&text)?.cell()?;
            let wanted = b'0' + u8::try_from(number % 10)?;
            ensure!(
                answer == vec![wanted; bytes],
                "{bytes} bytes in round {round}"
            );
        }
        at(&mut client, "2")?;
        for _ in 0..2 {
            client.run("BEGIN")?;
            client.run(&format!("UPDATE shop.t SET a = a + 1 WHERE id = {id}"))?;
            at(&mut client, "1")?;
            let seen = client.run(&format!("SELECT a FROM shop.t WHERE id = {id} FOR UPDATE"))?;
            seen.text()?;
            client.run("COMMIT")?;
        }
    }
    let counted = client
        .run(&format!("SELECT a FROM shop.t WHERE id = {id} FOR UPDATE"))?
        .text()?;
    assert_eq!(counted, (ERRING.1 * 2).to_string());
    attribute::splice(&mut client)?.number("spliced_commands")
}

/// A session that has used its reader loses it, and gets another one by a new connection: at the nearest replica, whichever it was at.
fn another_reader(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.client()?;
    let mut earlier = Vec::new();
    for round in 0..4 {
        for _ in 0..3 {
            client.run("INSERT INTO shop.t (a) VALUES (1)")?;
            let reader = site.reads_from(&mut client, 1 + round / 2)?;
            at(&mut client, &reader)?;
        }
        // Used last, or standing aside.
        let group = if round % 2 == 0 {
            "last used"
        } else {
            client.run("INSERT INTO shop.t (a) VALUES (1)")?;
            "pool"
        };
        let rows = client.run("SHOW PROXYSESSION SERVER")?.texts()?;
        // The last one that was opened: those before it are parked.
        let row = rows
            .into_iter()
            .rev()
            .find(|row| row.iter().flatten().any(|cell| cell == group))
            .context("no reader")?;
        let id = row.into_iter().flatten().next().context("no id")?;
        ensure!(!earlier.contains(&id), "{id} again");
        client.run(&format!("KILL PROXYSESSION SERVER {id}"))?;
        earlier.push(id);
        at(&mut client, "2")?;
    }
    Ok(())
}

/// The rows of an answer that cannot lie in buffers, and how many bytes times eight each has.
const ROWS: (usize, usize) = (200_000, 100);

/// Answers of which at least one must stay on the wire until it is read in part.
const ATTEMPTS: usize = 20;

/// The replica is killed while it answers: the client reads what is right, then an error or the end of its connection. Other sessions read at the other one.
fn killed_in_an_answer(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut other = site.client()?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    for _ in 0..3 {
        at(&mut other, "2")?;
    }
    let sql = text::rows_sql_in("shop", ROWS.0, ROWS.1, None);
    for attempt in 0.. {
        let mut client = site.client()?;
        for _ in 0..3 {
            at(&mut client, "2")?;
        }
        let cs_id = client.greeting().thread_id;
        client.send_command(&command::query(sql.as_bytes()))?;
        let mut number = 0;
        let mut handed_up = None;
        let ended = client.read_each_row(|row| {
            number += 1;
            if number == 1000 {
                let shown = attribute::splice_of(&mut operator, cs_id)?;
                // The kernel hands the answer up where a reader that is as slow as this one lies near.
                if stage.path() == Path::Wire && shown.text("mode")? != "spliced" {
                    handed_up = Some(format!("{shown:?}"));
                    bail!("not on the wire");
                }
                site.cluster.server(1)?.kill()?;
            }
            text::same("a row", row, &text::row(number, ROWS.1, false, false))
        });
        if let Some(shown) = handed_up {
            // So it does on the wire where a segment comes before the one in front of it ("missing segment"): then another answer is tried.
            ensure!(attempt < ATTEMPTS, "never on the wire, at last {shown}");
            continue;
        }
        match ended {
            Ok(outcome) => ensure!(
                outcome.code() != 0,
                "{number} rows, and an OK of a node that is gone"
            ),
            Err(error) => ensure!(verdict::of(&error) == Fault::Lost, "{error:#}"),
        }
        ensure!((1000..ROWS.0).contains(&number), "{number} rows");
        break;
    }
    at(&mut other, "3")?;
    other.run("INSERT INTO shop.t (a) VALUES (1)")?;
    stage.hosts().node.enter(|| site.cluster.catch_up(2, 0))??;
    assert_eq!(other.run("SELECT COUNT(*) FROM shop.t")?.text()?, "1");
    at(&mut site.client()?, "3")
}

/// A client that sends nothing for a while keeps no connection to the replica, and reads there as before when it does.
fn idle_reader(stage: &Stage) -> Result<()> {
    let own = "reader_idle_timeout = \"200ms\"";
    let site = Site::of(stage, 1, "", |cluster| cluster.line(own))?;
    let mut client = site.client()?;
    client.run("SET time_zone = '+05:00'")?;
    let statement = client.prepare("SELECT CONCAT(VARIABLE_VALUE, '/') FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID'")?;
    let others = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}' AND id <> CONNECTION_ID()"
    );
    for _ in 0..3 {
        for _ in 0..5 {
            at(&mut client, "2")?;
            let executed = client.execute(&statement, &[])?;
            executed.outcome.ok()?;
            ensure!(
                executed
                    .packets
                    .iter()
                    .any(|packet| packet.ends_with(b"2/")),
                "{executed:?}"
            );
            let read = client.run("SELECT at FROM other.t")?;
            assert_eq!(read.text()?, "2001-09-09 06:46:40");
        }
        stage.hosts().node.enter(|| {
            let mut replica = site.cluster.open(1)?;
            wait::until_true("the replica is left", DEADLINE, || {
                Ok(replica.run(&others)?.text()? == "0")
            })
        })??;
    }
    client.run("INSERT INTO shop.t (a) VALUES (1)")?;
    Ok(())
}
