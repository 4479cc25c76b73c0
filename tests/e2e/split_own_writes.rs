//! Sessions whose reads go to a replica, and that read their own writes if they ask.

use crate::{attribute, case::Case, split::Site};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    mysql, place,
    server::{Kind, USER_OPEN, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Login},
};
use std::{fs, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("replica_behind", replica_behind).daemon(),
    Case::new("waited_for", waited_for).daemon(),
    Case::new("another_writer", another_writer).daemon(),
    Case::new("of_mysql", of_mysql)
        .with(&[Kind::MySql])
        .daemon()
        .local(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// How many rows there are, and which node says so: 1 is the primary, 2 and 3 are its replicas.
const ROWS: &str = "SELECT COUNT(*), (SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID') FROM shop.t";
const WRITE: &str = "INSERT INTO shop.t (a) VALUES (1)";

/// The answer to [`ROWS`]: rows, node.
fn rows(client: &mut Connection) -> Result<(u32, String)> {
    let table = client.run(ROWS)?.texts()?;
    let [Some(count), Some(node)] = table.first().context("no row")?.as_slice() else {
        anyhow::bail!("{table:?}");
    };
    Ok((count.parse()?, node.clone()))
}

fn sees(client: &mut Connection, count: u32, node: &str) -> Result<()> {
    let found = rows(client)?;
    ensure!(
        found == (count, node.to_owned()),
        "{} rows at node {}, not {count} at {node}",
        found.0,
        found.1
    );
    Ok(())
}

/// The first replica stands still, until this connection lets it go on.
pub(crate) fn held(stage: &Stage, site: &Site) -> Result<Connection> {
    stage.hosts().node.enter(|| {
        let mut holder = site.cluster.open(1)?;
        // What comes from the primary waits for this; reads do not.
        holder.run("FLUSH TABLES WITH READ LOCK")?;
        Ok(holder)
    })?
}

fn replica_behind(stage: &Stage) -> Result<()> {
    let site = Site::with(stage, "")?;
    let mut client = site.client()?;
    let mut other = site.client()?;
    sees(&mut client, 0, "2")?;
    let mut holder = held(stage, &site)?;
    client.run(WRITE)?;
    // It has not asked for more.
    sees(&mut client, 0, "2")?;
    client.run("ALTER PROXYSESSION SET wait_for_my_writes = '0s'")?;
    let shown = attribute::splice(&mut client)?
        .text("wait_for_my_writes")?
        .to_owned();
    assert_eq!(shown, "0s");
    sees(&mut client, 1, "1")?;
    sees(&mut client, 1, "1")?;
    client.run("BEGIN")?;
    client.run(WRITE)?;
    client.run("COMMIT")?;
    sees(&mut client, 2, "1")?;
    // What others have written nobody waits for.
    other.run("ALTER PROXYSESSION SET wait_for_my_writes = '0s'")?;
    sees(&mut other, 0, "2")?;
    client.run("ALTER PROXYSESSION SET wait_for_my_writes = off")?;
    sees(&mut client, 0, "2")?;
    // The other replica has it, or will soon.
    client.run("ALTER PROXYSESSION SET wait_for_my_writes = '1m'")?;
    site.reads_from(&mut client, 2)?;
    sees(&mut client, 2, "3")?;
    client.run("ALTER PROXYSESSION SET wait_for_my_writes = off")?;
    site.reads_from(&mut client, 1)?;
    sees(&mut client, 0, "2")?;
    client.run("ALTER PROXYSESSION SET wait_for_my_writes = '0s'")?;
    sees(&mut client, 2, "1")?;
    // A session that is reset has said nothing.
    client.command(b"\x1f")?.outcome.ok()?;
    sees(&mut client, 0, "2")?;
    client.run("ALTER PROXYSESSION SET wait_for_my_writes = '100ms'")?;
    sees(&mut client, 2, "1")?;
    stage.hosts().node.enter(|| holder.run("UNLOCK TABLES"))??;
    wait::until_true("the replica reads", DEADLINE, || {
        let (count, node) = rows(&mut client)?;
        ensure!(count == 2, "{count} rows at {node}");
        Ok(node == "2")
    })?;
    let wrong = client.query("ALTER PROXYSESSION SET wait_for_my_writes = soon")?;
    assert_eq!(wrong.outcome.code(), 1231);
    Ok(())
}

/// Each read is a replica's, and none is older than the write before it.
fn waited_for(stage: &Stage) -> Result<()> {
    let site = Site::with(stage, "wait_for_my_writes = \"1m\"")?;
    let mut client = site.client()?;
    for (round, replica) in (0..20).zip([1, 1, 2, 2].into_iter().cycle()) {
        let reader = site.reads_from(&mut client, replica)?;
        sees(&mut client, 3 * round, &reader)?;
        client.run(WRITE)?;
        sees(&mut client, 3 * round + 1, &reader)?;
        sees(&mut client, 3 * round + 1, &reader)?;
        client.run("BEGIN")?;
        client.run(WRITE)?;
        client.run(WRITE)?;
        sees(&mut client, 3 * round + 3, "1")?;
        client.run("COMMIT")?;
    }
    let reads_at = attribute::splice(&mut client)?.text("reads_at")?.to_owned();
    assert_eq!(reads_at, site.cluster.address(2)?.to_string());
    Ok(())
}

/// A session whose connection for writes is another one waits for what the first one has written. There is one replica only: nobody else could have it.
fn another_writer(stage: &Stage) -> Result<()> {
    let own = "wait_for_my_writes = \"0s\"";
    let site = Site::of(stage, 1, "", |cluster| cluster.line(own))?;
    let mut client = site.client()?;
    sees(&mut client, 0, "2")?;
    let _holder = held(stage, &site)?;
    client.run(WRITE)?;
    let primary = site.cluster.address(0)?;
    let writer = |client: &mut Connection| {
        let listed = client.run(&format!("SHOW PROXYSESSION SERVER LIKE '{primary}'"))?;
        let id = listed.texts()?.first().and_then(|row| row.first()?.clone());
        id.context("no connection to the primary")
    };
    let before = writer(&mut client)?;
    client.run(&format!("KILL PROXYSESSION SERVER {before}"))?;
    ensure!(
        writer(&mut client)? != before,
        "the session has kept its connection"
    );
    sees(&mut client, 1, "1")
}

/// One server in both parts, as MySQL tells its GTIDs in other words.
fn of_mysql(stage: &Stage) -> Result<()> {
    let server = mysql::start(&stage.hosts().node)?;
    let mut direct = Connection::open(server.address(), &Login::new(USER_ROOT, ""))?;
    direct.run("CREATE DATABASE shop")?;
    direct.run("CREATE TABLE shop.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")?;
    direct.run(&format!("GRANT ALL ON shop.* TO '{USER_OPEN}'@'%'"))?;
    let port = server.address().port();
    let file = place::fresh("config")?.join("sluice.toml");
    let (first, second) = (server.address(), format!("localhost:{port}"));
    fs::write(
        &file,
        format!(
            "[[cluster]]\nname = \"east\"\nkind = \"mysql\"\npolicy = \"read-write-split\"\nwait_for_my_writes = \"1m\"\n\
             nodes = [{{ address = \"{first}\", role = \"primary\" }}, {{ address = \"{second}\", role = \"replica\" }}]\n"
        ),
    )?;
    let front = stage.private_of_file(&file.display().to_string(), &[])?;
    let reads_at = |client: &mut Connection| -> Result<String> {
        client.run(WRITE)?;
        client.run("SELECT COUNT(*) FROM shop.t")?;
        Ok(attribute::splice(client)?.text("reads_at")?.to_owned())
    };
    // Without GTIDs nobody can tell. What the server begins with is its version's choice.
    for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"] {
        direct.query(&format!("SET GLOBAL gtid_mode = {mode}"))?;
    }
    assert_eq!(direct.run("SELECT @@gtid_mode")?.text()?, "OFF");
    let mut client = front.open(USER_OPEN, "")?;
    let shown = reads_at(&mut client)?;
    ensure!(shown.contains("does not tell"), "{shown}");
    direct.run("SET GLOBAL enforce_gtid_consistency = ON")?;
    for mode in ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"] {
        direct.run(&format!("SET GLOBAL gtid_mode = {mode}"))?;
    }
    let mut client = front.open(USER_OPEN, "")?;
    assert_eq!(reads_at(&mut client)?, second);
    client.run("ALTER PROXYSESSION SET wait_for_my_writes = '0s'")?;
    assert_eq!(reads_at(&mut client)?, second);
    Ok(())
}
