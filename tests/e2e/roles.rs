//! Several nodes of a set take writes: one of them is the primary, and stays it.

use crate::{
    case::Case,
    failover::Site,
    nodes::{congestion, known, port, roles, watchful},
};
use anyhow::Result;
use sluice_tests::{
    cluster::Cluster,
    config,
    server::{PASSWORD, USER, USER_MONITOR, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::Connection,
};
use std::{net::SocketAddr, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("an_old_primary_that_returns_is_none", old_primary)
        .daemon()
        .local(),
    Case::new("a_replica_that_takes_writes_is_none", writable_replica)
        .daemon()
        .local(),
    Case::new("who_begins_to_follow_is_none", begins_to_follow)
        .daemon()
        .local(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// A node's state and why it is not the primary, as the proxy shows them.
fn shown(operator: &mut Connection, node: SocketAddr) -> Result<[Option<String>; 2]> {
    let row = congestion(operator, node)?;
    Ok([6, 26].map(|at| row.get(at).cloned().flatten()))
}

/// Whether sessions that log in now come to this node.
fn logs_in_at(front: &Front, cluster: &Cluster, at: usize) -> Result<()> {
    for _ in 0..3 {
        let mut client = front.open(USER, PASSWORD)?;
        assert_eq!(port(&mut client)?, cluster.address(at)?.port());
    }
    Ok(())
}

/// It is the first in the file, takes writes, and follows nobody.
fn old_primary(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.front.open(USER, PASSWORD)?;
    site.cluster.server(0)?.kill()?;
    site.cluster.promote(1)?;
    wait::until_true("the session has moved", DEADLINE, || {
        Ok(port(&mut client)? == site.cluster.address(1)?.port())
    })?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    wait::until_true("the new primary is known", DEADLINE, || {
        Ok(roles(&mut operator)?.split(';').nth(1) == Some("primary"))
    })?;
    site.cluster.follow(2, 1)?;
    site.cluster.server(0)?.start_again()?;
    let old = site.cluster.address(0)?;
    wait::until_true("the old primary answers", DEADLINE, || {
        let [state, _] = shown(&mut operator, old)?;
        Ok(state.as_deref() == Some("ACTIVE"))
    })?;
    logs_in_at(&site.front, &site.cluster, 1)?;
    assert_eq!(port(&mut client)?, site.cluster.address(1)?.port());
    known(&site.front, "writable;primary;replica")?;
    let [_, why] = shown(&mut operator, old)?;
    let new = site.cluster.address(1)?;
    assert_eq!(why, Some(format!("takes writes, but {new} is the primary")));
    // A daemon that has seen nothing of it knows by whom the replica follows.
    let another = stage.private_of_file(&site.file.display().to_string(), &[])?;
    known(&another, "writable;primary;replica")?;
    logs_in_at(&another, &site.cluster, 1)?;
    // As it should have been.
    site.cluster.follow(0, 1)?;
    known(&site.front, "replica;primary;replica")?;
    Ok(())
}

/// It is the first in the file.
fn writable_replica(stage: &Stage) -> Result<()> {
    let cluster = Cluster::start(&stage.hosts().node, 1)?;
    let nodes = [cluster.address(1)?, cluster.address(0)?];
    let configured = config::Cluster::mysql("east", &nodes).monitor(USER_MONITOR, PASSWORD);
    let config = watchful(configured);
    let front = stage.private_with_config(&config, &[])?;
    known(&front, "replica;primary")?;
    cluster.set_read_only(1, false)?;
    let mut operator = front.open(USER_ROOT, "")?;
    let why = Some("takes writes, but replicates from another node".to_owned());
    let is_told = |operator: &mut Connection| {
        wait::until_true("the replica takes writes", DEADLINE, || {
            Ok(shown(operator, cluster.address(1)?)?[1] == why)
        })
    };
    is_told(&mut operator)?;
    logs_in_at(&front, &cluster, 0)?;
    assert_eq!(roles(&mut operator)?, "replica;primary");
    // So it is for a daemon that has seen it no other way.
    let front = stage.private_with_config(&config, &[])?;
    known(&front, "replica;primary")?;
    is_told(&mut front.open(USER_ROOT, "")?)?;
    logs_in_at(&front, &cluster, 0)
}

/// Roles change, and nobody sets `read_only`: the old primary follows the new one.
fn begins_to_follow(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &[])?;
    let mut client = site.front.open(USER, PASSWORD)?;
    site.cluster.promote(1)?;
    site.cluster.follow(0, 1)?;
    site.cluster.set_read_only(0, false)?;
    known(&site.front, "replica;primary")?;
    wait::until_true("the session has moved", DEADLINE, || {
        Ok(port(&mut client)? == site.cluster.address(1)?.port())
    })?;
    logs_in_at(&site.front, &site.cluster, 1)
}
