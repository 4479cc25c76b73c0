//! A node goes with a command under way: what the client may be told of it, where the transaction that it was given in is known and where not.

use crate::{
    case::Case,
    failover::{Site, is_unknown},
    failover_dropped::executes_at,
    nodes::port,
};
use anyhow::{Result, ensure};
use sluice_tests::{
    server::{PASSWORD, USER},
    stage::Stage,
    wire::command,
};

pub(crate) const CASES: &[Case] =
    &[Case::new("only_what_is_known_is_said_to_be_rolled_back", outcomes).daemon()];

fn outcomes(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut primary = site.cluster.open(0)?;
    primary.run("CREATE DATABASE IF NOT EXISTS test")?;
    primary.run("CREATE TABLE test.t (a INT)")?;
    site.cluster.catch_up(1, 0)?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = site.front.open(USER, PASSWORD)?;
        client.run("BEGIN")?;
        client.run("INSERT INTO test.t VALUES (0)")?;
        clients.push(client);
    }
    let [within, behind, commits] = clients.as_mut_slice() else {
        anyhow::bail!("not three");
    };
    // It commits, and then it fails: the error does not tell.
    let outcome = behind.query("CREATE TABLE test.t (a INT)")?.outcome;
    assert_eq!(outcome.code(), 1050, "{outcome}");
    primary.run("FLUSH TABLES WITH READ LOCK")?;
    let mut watch = site.cluster.open(0)?;
    for (client, sql) in [
        (&mut *within, "INSERT INTO test.t VALUES (1)"),
        (&mut *behind, "INSERT INTO test.t VALUES (2)"),
        (&mut *commits, "COMMIT"),
    ] {
        client.send_command(&command::query(sql.as_bytes()))?;
        executes_at(&mut watch, sql)?;
    }
    site.cluster.server(0)?.kill()?;
    let outcome = within.read_response(&[])?.outcome;
    ensure!(outcome.code() == 1213, "{outcome}");
    for client in [&mut *behind, &mut *commits] {
        is_unknown(&client.read_response(&[])?.outcome)?;
    }
    site.cluster.promote(1)?;
    for client in &mut clients {
        assert_eq!(port(client)?, site.cluster.address(1)?.port());
        client.run("SELECT 1")?;
    }
    Ok(())
}
