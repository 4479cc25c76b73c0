//! Prepared statements of a session that has lost its server session, where the node does not count statements from 1.

use crate::{case::Case, failover::Site, nodes::port};
use anyhow::{Result, ensure};
use sluice_tests::{
    server::{PASSWORD, USER},
    stage::Stage,
    wait,
    wire::{Connection, command},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("of_reused_threads", of_reused_threads).daemon(),
    Case::new("at_no_replica", at_no_replica).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// So many of the primary's threads will be reused, which have given so many statements ids.
fn used_threads(stage: &Stage, site: &Site, statements: usize) -> Result<()> {
    stage.hosts().node.enter(|| {
        let mut used = Vec::new();
        for _ in 0..30 {
            let mut connection = site.cluster.open(0)?;
            for _ in 0..statements {
                connection.prepare("SELECT 1")?;
            }
            used.push(connection);
        }
        Ok(())
    })?
}

/// A session with a statement of this id, whose server session is then killed at the primary.
fn bereft(stage: &Stage, site: &Site, id: u32) -> Result<(Connection, u32)> {
    let mut client = site.front.open(USER, PASSWORD)?;
    let node_id = client.run("SELECT CONNECTION_ID()")?.text()?;
    let mut last = client.prepare("SELECT 'kept'")?;
    while last.id < id {
        client.send_command(&command::close(last.id))?;
        last = client.prepare("SELECT 'kept'")?;
    }
    let gone =
        format!("SELECT COUNT(*) = 0 FROM information_schema.processlist WHERE id = {node_id}");
    stage.hosts().node.enter(|| {
        let mut primary = site.cluster.open(0)?;
        primary.run(&format!("KILL {node_id}"))?;
        wait::until_true("the server session is gone", DEADLINE, || {
            Ok(primary.run(&gone)?.text()? == "1")
        })
    })??;
    Ok((client, last.id))
}

/// MariaDB's connections go on counting where one before them in the same thread has stopped: a statement whose id is yet to come gets it.
fn of_reused_threads(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    used_threads(stage, &site, 3)?;
    for _ in 0..5 {
        let (mut client, id) = bereft(stage, &site, 400)?;
        let kept = client.command(&command::execute(id, 0, &[]))?;
        kept.outcome.ok()?;
        assert_eq!(port(&mut client)?, site.cluster.address(0)?.port());
    }
    Ok(())
}

/// A statement whose id has been given already nobody can have: the session ends, and does not go to the replica with its writes.
fn at_no_replica(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(bereft(stage, &site, 1)?);
    }
    used_threads(stage, &site, 3)?;
    for (mut client, _) in clients {
        // A thread that is new is right for it.
        if let Ok(port) = port(&mut client) {
            ensure!(
                port == site.cluster.address(0)?.port(),
                "the session is at the replica"
            );
        }
    }
    Ok(())
}
