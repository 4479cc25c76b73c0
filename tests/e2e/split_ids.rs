//! Prepared statements of a session whose nodes know them by other ids: servers count them in each connection, and `MariaDB`'s reused threads count on.
//! The kernel writes the replica's id into the executions that go there.

use crate::{
    attribute,
    case::Case,
    failover_ids::{text, used_threads},
    nodes::{known, watchful},
    split::Site,
    split_prepared::{NODE, executed, says},
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    capture::Capture,
    cluster::Cluster,
    faults::Faults,
    network::{CLIENT_INTERFACE, Family, Link, NODE_INTERFACE, Network},
    offload::{self, Offload},
    path::Path,
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    wait,
    wire::{Connection, command},
};
use std::{sync::Arc, thread};

pub(crate) const CASES: &[Case] = &[
    Case::new("at_the_replica", other_ids).daemon(),
    Case::new("most_is_spliced", most_is_spliced).splicing(),
    Case::new("links_err", links_err)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("checksums", checksums)
        .only(Path::Wire)
        .between_hosts(),
];

/// A session that has used up more ids than the replicas, each of which has counted on for itself.
fn other_ids(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    used_threads(stage.hosts(), &site.cluster, 2, 50)?;
    let mut client = site.client()?;
    use_up(&mut client, 1100)?;
    let statement = client.prepare(NODE)?;
    let other = client.prepare(NODE)?;
    ensure!(statement.id > 1024, "{}", statement.id);
    for (round, replica) in (0..6).zip([1, 1, 2, 2, 1, 2]) {
        let reader = site.reads_from(&mut client, replica)?;
        says(&mut client, &statement, "one", &reader)?;
        client.run("BEGIN")?;
        says(&mut client, &statement, "one", "1")?;
        client.run("COMMIT")?;
        says(&mut client, &other, &round.to_string(), &reader)?;
        let untyped = executed(&mut client, &statement, None, b"\x01x")?;
        ensure!(untyped == format!("{reader}/x"), "{untyped}");
    }
    Ok(())
}

/// Has the session's next statement have an id behind so many others.
fn use_up(client: &mut Connection, ids: usize) -> Result<()> {
    for _ in 0..ids {
        let statement = client.prepare("DO 1")?;
        client.send_command(&command::close(statement.id))?;
    }
    Ok(())
}

/// How often a session executes all its statements.
const ROUNDS: u64 = 10;

/// Whichever of the nodes has counted on before the session came, and whichever statement is executed first.
fn most_is_spliced(stage: &Stage) -> Result<()> {
    let site = Site::pair(stage)?;
    for (used_by_others, used_up) in [(0, 0), (50, 0), (0, 1500)] {
        used_threads(stage.hosts(), &site.cluster, 1, used_by_others)?;
        let mut client = site.client()?;
        use_up(&mut client, used_up)?;
        let (spliced, relayed) = in_any_order(&mut client)
            .with_context(|| format!("{used_by_others} used by others, {used_up} used up"))?;
        // The first one after each change of node; on the wire besides few whose acknowledgements are late.
        let most = if stage.path() == Path::Spliced {
            2 * ROUNDS + 1
        } else {
            45
        };
        ensure!(relayed <= most, "{relayed} relayed, {spliced} not");
    }
    Ok(())
}

/// A session executes reads in another order than it has prepared them in, and writes. Returns how many commands were spliced, and how many relayed.
fn in_any_order(client: &mut Connection) -> Result<(u64, u64)> {
    let mut statements = Vec::new();
    for number in 0..5 {
        statements.push(client.prepare(&NODE.replace("'/'", &format!("'/{number}/'")))?);
    }
    let write = client.prepare("UPDATE shop.t SET a = a + ?")?;
    let read = |client: &mut Connection, number: usize| -> Result<()> {
        let statement = statements.get(number).context("no such statement")?;
        let found = text(&client.execute(statement, &[Some(b"x")])?)?;
        ensure!(found == format!("2/{number}/x"), "{found} of {number}");
        let found = executed(client, statement, None, b"\x01y")?;
        ensure!(found == format!("2/{number}/y"), "{found} of {number}");
        Ok(())
    };
    let order = [3, 1, 4, 0, 2];
    for number in order {
        read(client, number)?;
    }
    client.execute(&write, &[Some(b"1")])?.outcome.ok()?;
    let before = attribute::splice(client)?;
    for _ in 0..ROUNDS {
        for number in order.into_iter().chain(0..5) {
            read(client, number)?;
        }
        for _ in 0..5 {
            client.execute(&write, &[Some(b"1")])?.outcome.ok()?;
        }
    }
    let after = attribute::splice(client)?;
    let (spliced, relayed) = (
        after.grown(&before, "spliced_commands")?,
        after.grown(&before, "relayed_commands")?,
    );
    ensure!(
        spliced + relayed == ROUNDS * 25 + 1,
        "{spliced} + {relayed}"
    );
    Ok((spliced, relayed))
}

/// Primary and replica on these hosts, the replica with threads that others have used, and a daemon in front of them.
fn site(stage: &Stage, hosts: &Hosts) -> Result<(Cluster, Front)> {
    let cluster = Site::cluster(hosts, 1)?;
    used_threads(hosts, &cluster, 1, 50)?;
    let configured = cluster
        .configured("east")
        .line("policy = \"read-write-split\"");
    let config = watchful(configured);
    let front = Front::start_with_config(stage.setting(), &hosts.proxy, &config, &[])?;
    Ok((cluster, front))
}

/// Links lose, double and swap segments: what is sent again names the replica's id again.
fn links_err(stage: &Stage) -> Result<()> {
    let network = Network::with_faults(&[Link::Client, Link::Node], Faults::each(20), 5)?;
    let hosts = Hosts::private(stage.setting().topology, network);
    let (cluster, front) = site(stage, &hosts)?;
    let spliced = hosts.client.enter(|| -> Result<u64> {
        known(&front, "primary;replica")?;
        thread::scope(|scope| {
            let sessions = (0..4).map(|_| {
                scope.spawn(|| -> Result<u64> {
                    let mut client = front.open(USER, PASSWORD)?;
                    let mut spliced = 0;
                    for _ in 0..4 {
                        spliced += in_any_order(&mut client)?.0;
                    }
                    Ok(spliced)
                })
            });
            let sessions: Vec<_> = sessions.collect();
            let joined = sessions.into_iter();
            joined
                .map(|session| wait::joined(session.join(), "a session")?)
                .sum()
        })
    })??;
    ensure!(spliced > 16 * ROUNDS * 10, "{spliced} spliced");
    drop((front, cluster));
    Ok(())
}

/// With checksums that a card would fill in, and with whole ones.
fn checksums(stage: &Stage) -> Result<()> {
    let network = Arc::new(Network::new()?);
    for family in [Family::V4, Family::V6] {
        let hosts = Hosts::of(Topology::Gateway, &network, family);
        let (cluster, front) = site(stage, &hosts)?;
        for is_whole in [false, true] {
            let client = (network.client(), CLIENT_INTERFACE);
            offload::set(client.0, client.1, Offload::Checksum, !is_whole)?;
            let capture = Capture::start(network.node(), NODE_INTERFACE)?;
            let moved = hosts.client.enter(|| {
                known(&front, "primary;replica")?;
                in_any_order(&mut front.open(USER, PASSWORD)?)
            })?;
            let arrived = capture.end()?;
            ensure!(arrived.wrong == 0, "{family:?}: {arrived:?}");
            let seen = if is_whole {
                arrived.whole
            } else {
                arrived.partial
            };
            ensure!(seen > 100, "{family:?}: {arrived:?}");
            let (spliced, relayed) = moved.with_context(|| format!("{family:?}: {arrived:?}"))?;
            ensure!(spliced > relayed, "{relayed} relayed, {spliced} not");
        }
        drop((front, cluster));
    }
    Ok(())
}
