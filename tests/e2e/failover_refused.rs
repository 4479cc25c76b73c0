//! Where a session cannot go, and where it goes last: a node that refuses its state, one of a standby cluster.

use crate::{
    attribute,
    case::Case,
    failover::Site,
    nodes::{known, port, watchful},
};
use anyhow::{Result, ensure};
use sluice_tests::{
    cluster::Cluster,
    place,
    server::{PASSWORD, USER, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Login, Outcome},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("state_that_a_node_refuses", refused).daemon(),
    Case::new("a_standby_is_the_last", standby).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// The server's own error answers nothing that the client has asked.
const DENIED: u16 = 1227;

/// A replica does not let the session have a variable that the primary has let it change: the other one has it, as long as that one is there.
fn refused(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut replica = Connection::open(site.cluster.address(1)?, &Login::new(USER_ROOT, ""))?;
    replica.run("SET sql_log_bin = 0")?;
    replica.run(&format!(
        "REVOKE SUPER, BINLOG ADMIN ON *.* FROM '{USER}'@'%'"
    ))?;
    let mut clients = [
        site.front.open(USER, PASSWORD)?,
        site.front.open(USER, PASSWORD)?,
    ];
    for client in &mut clients {
        client.run("SET SESSION binlog_format = 'STATEMENT'")?;
        client.run("SELECT 1")?;
    }
    let drain = "drain = true";
    let first = site.cluster.configured("east").node(0, drain);
    watchful(first.clone()).write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)?;
    let other = site.cluster.address(2)?.port();
    for client in &mut clients {
        wait::until_true("the session is where it can be", DEADLINE, || {
            Ok(port(client)? == other)
        })?;
        let format = client.run("SELECT @@SESSION.binlog_format")?.text()?;
        assert_eq!(format, "STATEMENT");
    }
    site.cluster.server(0)?.kill()?;
    watchful(first.node(2, drain)).write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    for client in &mut clients {
        let id = client.greeting().thread_id;
        wait::until_true("the session says why it stays", DEADLINE, || {
            client.run("SELECT 1")?;
            let now = attribute::splice_of(&mut operator, id)?;
            Ok(now.text("stays_reason")?.contains("BINLOG ADMIN"))
        })?;
        assert_eq!(port(client)?, other);
    }
    site.cluster.server(2)?.kill()?;
    site.cluster.promote(1)?;
    for client in &mut clients {
        match client.query("SELECT 1")?.outcome {
            Outcome::Error { code, message, .. } => ensure!(
                code != DENIED && message.contains("BINLOG ADMIN"),
                "{code} {message}"
            ),
            other @ Outcome::Ok { .. } => anyhow::bail!("{other}"),
        }
    }
    let mut fresh = site.front.open(USER, PASSWORD)?;
    assert_eq!(port(&mut fresh)?, site.cluster.address(1)?.port());
    Ok(())
}

/// As long as a primary or a replica is there, nobody is sent to the standby; once it is back, sessions return to it.
fn standby(stage: &Stage) -> Result<()> {
    let cluster = Cluster::start(&stage.hosts().node, 2)?;
    let file = place::fresh("config")?.join("sluice.toml");
    watchful(cluster.configured("east").node(1, "role = \"standby\"")).write_to(&file)?;
    let front = stage.private_of_file(&file.display().to_string(), &[])?;
    known(&front, "primary;standby;replica")?;
    let mut clients = [front.open(USER, PASSWORD)?, front.open(USER, PASSWORD)?];
    for client in &mut clients {
        assert_eq!(port(client)?, cluster.address(0)?.port());
    }
    for at in [0, 2] {
        cluster.server(at)?.kill()?;
        let next = if at == 0 { 2 } else { 1 };
        for client in &mut clients {
            assert_eq!(port(client)?, cluster.address(next)?.port());
            assert_eq!(client.run("SELECT @@read_only")?.text()?, "1");
        }
    }
    cluster.server(0)?.start_again()?;
    for client in &mut clients {
        wait::until_true("the session has returned", DEADLINE, || {
            Ok(port(client)? == cluster.address(0)?.port())
        })?;
        client.run("SELECT 1")?;
    }
    Ok(())
}
