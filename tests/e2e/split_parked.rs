//! Sessions that are led from replica to replica by hints: each replica is logged in to once, and what is there stays, until it is ended or not used for long.

use crate::{
    attribute,
    case::Case,
    failover_ids::text,
    nodes::patient,
    split::{POLICY, Site, at},
    split_prepared::{NODE, executed, says},
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{USER, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, command},
};
use std::{collections::BTreeMap, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("opened_once", opened_once).daemon(),
    Case::new("state_follows", state_follows).daemon(),
    Case::new("statements_follow", statements_follow).daemon(),
    Case::new("ended_at_the_node", ended_at_the_node).daemon(),
    Case::new("ended_by_an_operator", ended_by_an_operator).daemon(),
    Case::new("the_replica_goes", the_replica_goes).daemon(),
    Case::new("drained", drained).daemon(),
    Case::new("idle", idle).daemon(),
    Case::new("spliced_again", spliced_again).splicing(),
];

const DEADLINE: Duration = Duration::from_secs(20);
/// `MYSQL_TYPE_LONG`.
const LONG: u8 = 3;

/// A primary with two replicas.
pub(crate) fn site(stage: &Stage) -> Result<Site> {
    Site::of(stage, 2, "", |cluster| cluster)
}

/// The text with a hint for this node.
fn routed(site: &Site, replica: usize, text: &str) -> Result<String> {
    let address = site.cluster.address(replica)?;
    Ok(text.replacen("SELECT ", &format!("SELECT /*+ ROUTE({address}) */ "), 1))
}

/// A read that this replica answers.
pub(crate) fn lead(site: &Site, client: &mut Connection, replica: usize) -> Result<()> {
    let text = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID'";
    let found = client.run(&routed(site, replica, text)?)?.text()?;
    let wanted = (replica + 1).to_string();
    ensure!(found == wanted, "led to node {wanted}, answered by {found}");
    Ok(())
}

/// A session's server sessions: the nodes' ports, their ids there, and the proxy's.
fn servers_in(rows: &[Vec<Option<String>>]) -> Result<BTreeMap<u16, (u64, u64)>> {
    let value = |wanted: &str, info: &str| {
        let mut rows = rows.iter();
        rows.find_map(|row| match row.as_slice() {
            [Some(name), value, Some(own)] if name == wanted && own == info => value.clone(),
            _ => None,
        })
        .with_context(|| format!("no {wanted} of {info}"))
    };
    let ports = rows.iter().filter_map(|row| match row.as_slice() {
        [Some(name), _, Some(info)] if name == "server_port" => Some(info),
        _ => None,
    });
    let servers = ports.map(|info| {
        Ok((
            value("server_port", info)?.parse()?,
            (
                value("server_sessid", info)?.parse()?,
                value("ss_id", info)?.parse()?,
            ),
        ))
    });
    servers.collect()
}

fn servers(client: &mut Connection) -> Result<BTreeMap<u16, (u64, u64)>> {
    servers_in(&client.run("SHOW PROXYSESSION ATTRIBUTE")?.texts()?)
}

/// Waits until a session has so many server sessions.
fn has_servers(operator: &mut Connection, client: &Connection, count: usize) -> Result<()> {
    let id = client.greeting().thread_id;
    wait::until_true(&format!("{count} server sessions"), DEADLINE, || {
        let shown = operator.run(&format!("SHOW PROXYSESSION ATTRIBUTE {id}"))?;
        Ok(servers_in(&shown.texts()?)?.len() == count)
    })
}

/// How many connections a node has of users.
fn connections(stage: &Stage, site: &Site, node: usize) -> Result<String> {
    stage.hosts().node.enter(|| {
        let others = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}' AND id <> CONNECTION_ID()"
        );
        site.cluster.open(node)?.run(&others)?.text()
    })?
}

fn opened_once(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut client = site.client()?;
    lead(&site, &mut client, 1)?;
    lead(&site, &mut client, 2)?;
    let before = servers(&mut client)?;
    assert_eq!(before.len(), 3);
    for round in 0..4 {
        for replica in [1, 2] {
            lead(&site, &mut client, replica)?;
            // It goes on to take the session's reads.
            at(&mut client, &(replica + 1).to_string())?;
            if round % 2 == 0 {
                client.run("INSERT INTO shop.t (a) VALUES (1)")?;
                at(&mut client, &(replica + 1).to_string())?;
            }
            lead(&site, &mut client, replica)?;
        }
    }
    assert_eq!(servers(&mut client)?, before);
    for replica in [1, 2] {
        assert_eq!(connections(stage, &site, replica)?, "1", "at {replica}");
    }
    // In a transaction nobody is led anywhere.
    client.run("BEGIN")?;
    ensure!(lead(&site, &mut client, 1).is_err(), "led in a transaction");
    client.run("COMMIT")?;
    lead(&site, &mut client, 1)?;
    drop(client);
    for replica in [1, 2] {
        wait::until_true("it is closed", DEADLINE, || {
            Ok(connections(stage, &site, replica)? == "0")
        })?;
    }
    Ok(())
}

/// What the session has set holds at each before its next statement there.
fn state_follows(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut client = site.client()?;
    let reads = |client: &mut Connection, replica, wanted: &str| -> Result<()> {
        let read = routed(&site, replica, "SELECT at FROM t")?;
        lead(&site, client, replica)?;
        let found = client.run(&read)?.text()?;
        ensure!(found == wanted, "{found} at {replica}, not {wanted}");
        Ok(())
    };
    client.run("USE other")?;
    client.run("SET time_zone = '+05:00'")?;
    reads(&mut client, 1, "2001-09-09 06:46:40")?;
    reads(&mut client, 2, "2001-09-09 06:46:40")?;
    client.run("SET time_zone = '+01:00'")?;
    reads(&mut client, 2, "2001-09-09 02:46:40")?;
    reads(&mut client, 1, "2001-09-09 02:46:40")?;
    client.run("USE shop")?;
    client.run("SET sql_mode = 'PIPES_AS_CONCAT'")?;
    for replica in [2, 1] {
        let read = routed(&site, replica, "SELECT COUNT(*) || 'x' FROM t")?;
        assert_eq!(client.run(&read)?.text()?, "0x", "at {replica}");
    }
    let before = servers(&mut client)?;
    // A session that is reset has nothing of it any more, at any node.
    client.command(b"\x1f")?.outcome.ok()?;
    client.run("USE other")?;
    let direct = stage.hosts().node.enter(|| {
        let mut primary = site.cluster.open(0)?;
        primary.run("SELECT at FROM other.t")?.text()
    })??;
    for replica in [1, 2, 1] {
        reads(&mut client, replica, &direct)?;
    }
    assert_eq!(servers(&mut client)?, before);
    let shown = attribute::splice(&mut client)?;
    let reads_at = shown.text("reads_at")?;
    assert_eq!(reads_at, site.cluster.address(1)?.to_string());
    Ok(())
}

/// Each replica has the statements that it was asked for, by ids of its own, and is told the types that it has not heard.
fn statements_follow(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut client = site.client()?;
    let first = client.prepare(&routed(&site, 1, NODE)?)?;
    let second = client.prepare(&routed(&site, 2, NODE)?)?;
    // Where there is no hint the reader of the moment answers.
    let plain = client.prepare(NODE)?;
    let bare = |client: &mut Connection, wanted: &str| -> Result<()> {
        let found = executed(client, &plain, None, b"\x04bare")?;
        ensure!(found == format!("{wanted}/bare"), "{found}, not {wanted}");
        Ok(())
    };
    for _ in 0..3 {
        says(&mut client, &first, "a", "2")?;
        says(&mut client, &plain, "b", "2")?;
        says(&mut client, &second, "c", "3")?;
        bare(&mut client, "3")?;
        says(&mut client, &first, "d", "2")?;
        bare(&mut client, "2")?;
        let number = executed(&mut client, &plain, Some(LONG), &[9, 0, 0, 0])?;
        assert_eq!(number, "2/9");
        says(&mut client, &second, "e", "3")?;
        let number = executed(&mut client, &plain, None, &[8, 0, 0, 0])?;
        assert_eq!(number, "3/8");
        says(&mut client, &plain, "f", "3")?;
        says(&mut client, &first, "g", "2")?;
        bare(&mut client, "2")?;
    }
    let servers = servers(&mut client)?;
    assert_eq!(servers.len(), 3);
    // What is closed while it is parked it forgets when it is asked for another one.
    says(&mut client, &second, "h", "3")?;
    for closed in [&first, &plain] {
        client.send_command(&command::close(closed.id))?;
    }
    let next = client.prepare(&routed(&site, 1, NODE)?)?;
    says(&mut client, &next, "i", "2")?;
    let behind = client.prepare("SELECT 'behind'")?;
    assert_eq!(text(&client.execute(&behind, &[])?)?, "behind");
    let prepared = stage.hosts().node.enter(|| {
        let status = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'PREPARED_STMT_COUNT'";
        site.cluster.open(1)?.run(status)?.text()
    })??;
    assert_eq!(prepared, "2", "statements at the replica");
    says(&mut client, &second, "j", "3")
}

/// A node ends one that is parked: the session notices, its client does not, and it is opened anew when it is needed.
fn ended_at_the_node(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut client = site.client()?;
    for _ in 0..2 {
        lead(&site, &mut client, 1)?;
        lead(&site, &mut client, 2)?;
        let port = site.cluster.address(1)?.port();
        let known = servers(&mut client)?;
        let (id, _) = known.get(&port).context("none at the replica")?;
        stage
            .hosts()
            .node
            .enter(|| site.cluster.open(1)?.run(&format!("KILL {id}")))??;
        has_servers(&mut operator, &client, 2)?;
        at(&mut client, "3")?;
        lead(&site, &mut client, 1)?;
        let again = servers(&mut client)?;
        ensure!(again.len() == 3 && again.get(&port) != known.get(&port));
    }
    Ok(())
}

fn ended_by_an_operator(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut client = site.client()?;
    let cs_id = client.greeting().thread_id;
    for own in [false, true] {
        for killed in [1, 0] {
            lead(&site, &mut client, 1)?;
            lead(&site, &mut client, 2)?;
            at(&mut client, "3")?;
            let port = site.cluster.address(killed)?.port();
            let known = servers(&mut client)?;
            assert_eq!(known.len(), 3);
            let (_, ss_id) = known.get(&port).context("none at the node")?;
            if own {
                client.run(&format!("KILL PROXYSESSION SERVER {ss_id}"))?;
            } else {
                operator.run(&format!("KILL PROXYSESSION {cs_id} {ss_id}"))?;
            }
            let left = servers(&mut client)?;
            // With another writer the session has another record, and those that were parked belong to the last one.
            let wanted = if killed == 0 { 1 } else { 2 };
            ensure!(left.len() == wanted, "{left:?}");
            ensure!(left.get(&port) != known.get(&port), "{left:?}");
            client.run("INSERT INTO shop.t (a) VALUES (1)")?;
        }
    }
    lead(&site, &mut client, 2)?;
    lead(&site, &mut client, 1)?;
    assert_eq!(servers(&mut client)?.len(), 3);
    Ok(())
}

fn the_replica_goes(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut client = site.client()?;
    lead(&site, &mut client, 2)?;
    lead(&site, &mut client, 1)?;
    site.cluster.server(2)?.kill()?;
    has_servers(&mut operator, &client, 2)?;
    at(&mut client, "2")?;
    client.run("INSERT INTO shop.t (a) VALUES (1)")?;
    at(&mut client, "2")
}

fn drained(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut client = site.client()?;
    lead(&site, &mut client, 1)?;
    lead(&site, &mut client, 2)?;
    let configured = site.cluster.configured("east").line(POLICY);
    patient(configured.node(1, "drain = true")).write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)?;
    has_servers(&mut operator, &client, 2)?;
    at(&mut client, "3")
}

/// One that is not used for as long as an idle reader is kept goes, while its session goes on.
fn idle(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 2, "", |cluster| {
        cluster.line("reader_idle_timeout = \"2s\"")
    })?;
    let mut client = site.client()?;
    for _ in 0..2 {
        lead(&site, &mut client, 1)?;
        lead(&site, &mut client, 2)?;
        wait::until_true("the parked one is left", DEADLINE, || {
            at(&mut client, "3")?;
            Ok(connections(stage, &site, 1)? == "0")
        })?;
        assert_eq!(servers(&mut client)?.len(), 2);
    }
    Ok(())
}

/// Bytes of answers that are read at each replica, each time that the session is there.
const ANSWERS: [usize; 4] = [1, 1447, 20_000, 200_000];

/// A replica that a session comes back to is spliced as before.
fn spliced_again(stage: &Stage) -> Result<()> {
    let site = site(stage)?;
    let mut client = site.client()?;
    for replica in [1, 2] {
        lead(&site, &mut client, replica)?;
    }
    let (rounds, reads) = (5, 10);
    let known = servers(&mut client)?;
    let before = attribute::splice(&mut client)?;
    for round in 0..rounds {
        for replica in [1, 2] {
            lead(&site, &mut client, replica)?;
            for _ in 0..reads {
                at(&mut client, &(replica + 1).to_string())?;
            }
            for bytes in ANSWERS {
                let read = format!("SELECT REPEAT('{round}', {bytes})");
                let answer = client.run(&read)?.cell()?;
                let wanted = b'0' + u8::try_from(round)?;
                ensure!(answer == vec![wanted; bytes], "{bytes} bytes");
            }
            client.run("INSERT INTO shop.t (a) VALUES (1)")?;
            at(&mut client, &(replica + 1).to_string())?;
        }
    }
    let after = attribute::splice(&mut client)?;
    assert_eq!(servers(&mut client)?, known);
    let spliced = after.grown(&before, "spliced_commands")?;
    let all = rounds * 2 * (reads + ANSWERS.len() as u64);
    ensure!(spliced * 10 >= all * 8, "{spliced} of {all} spliced");
    Ok(())
}
