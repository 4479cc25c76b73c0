//! Which of two replicas reads, and who reads when one goes, falls behind or is drained.

use crate::{
    attribute,
    case::Case,
    nodes::{follows, patient},
    split::{POLICY, Site, ZONE, at, near, node},
};
use anyhow::{Result, ensure};
use sluice_tests::{server::USER_ROOT, stage::Stage, wait};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("zones", zones).daemon(),
    Case::new("least_connections", least_connections).daemon(),
    Case::new("one_goes", one_goes).daemon(),
    Case::new("one_falls_behind_or_is_drained", falls_behind).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

fn zones(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 2, "zone = \"near\"", |cluster| {
        cluster
            .node(1, "zone = \"far\", weight = 100")
            .node(2, "zone = \"near\"")
    })?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(site.client()?);
    }
    for client in &mut clients {
        at(client, "3")?;
    }
    let shown = site
        .client()?
        .run("SHOW PROXYSESSION ATTRIBUTE LIKE 'idc_name'")?
        .texts()?;
    let zone = shown.first().and_then(|row| row.get(1)?.as_deref());
    assert_eq!(zone, Some("near"));
    // Another zone's is better than none.
    site.cluster.server(2)?.kill()?;
    for client in &mut clients {
        wait::until_true("another replica reads", DEADLINE, || {
            Ok(node(client)? == "2")
        })?;
    }
    Ok(())
}

fn least_connections(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 2, "", |cluster| {
        cluster.line("reader_choice = \"least-connections\"")
    })?;
    let mut clients = Vec::new();
    for count in 1..=6 {
        let mut client = site.client()?;
        node(&mut client)?;
        clients.push(client);
        let mut third = 0;
        for client in &mut clients {
            third += usize::from(node(client)? == "3");
        }
        ensure!(
            third.abs_diff(count - third) <= 1,
            "{third} of {count} sessions read at one replica"
        );
    }
    Ok(())
}

/// Its sessions read at the other one, and at the primary when that one is gone, too.
fn one_goes(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let (mut reads, mut writes) = (site.client()?, site.client()?);
    at(&mut reads, "2")?;
    at(&mut writes, "2")?;
    writes.run("INSERT INTO shop.t (a) VALUES (1)")?;
    for (replica, next) in [(1, "3"), (2, "1")] {
        site.cluster.server(replica)?.kill()?;
        // Neither was at a command: neither hears of it.
        at(&mut reads, next)?;
        at(&mut writes, next)?;
    }
    writes.run("INSERT INTO shop.t (a) VALUES (2)")?;
    assert_eq!(reads.run("SELECT COUNT(*) FROM shop.t")?.text()?, "2");
    // Whatever makes sessions look again, they have not read since.
    let mut operator = site.front.open(USER_ROOT, "")?;
    operator.run("ALTER PROXYCONFIG SET connect_timeout = '3s'")?;
    let shown = attribute::splice(&mut reads)?.text("reads_at")?.to_owned();
    ensure!(shown.starts_with("own node: "), "{shown}");
    Ok(())
}

/// Reads go to the other replica, not to the primary as long as there is one.
fn falls_behind(stage: &Stage) -> Result<()> {
    let lag = "max_lag = \"10s\"";
    let site = Site::with(stage, lag)?;
    let mut client = site.client()?;
    let mut until = |wanted: &str| {
        wait::until_true(&format!("node {wanted} reads"), DEADLINE, || {
            Ok(node(&mut client)? == wanted)
        })
    };
    let replica = |number: usize, sql: &str| {
        let run = || site.cluster.open(number)?.run(sql).map(drop);
        stage.hosts().node.enter(run)?
    };
    until("2")?;
    // One that stands still may be any far behind.
    replica(1, "STOP SLAVE")?;
    until("3")?;
    replica(2, "STOP SLAVE")?;
    until("1")?;
    replica(1, "START SLAVE")?;
    until("2")?;
    replica(2, "START SLAVE")?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let far = site.cluster.address(2)?;
    wait::until_true("the other one follows", DEADLINE, || {
        let [_, replication, lag] = follows(&mut operator, far)?;
        Ok(replication.as_deref() == Some("running") && lag.as_deref() == Some("0"))
    })?;
    let configured = site.cluster.configured("east").line(POLICY).line(lag);
    let drained = near(configured).node(1, "drain = true");
    patient(drained).line(ZONE).write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)?;
    wait::until_true("the other one reads", DEADLINE, || {
        let found = node(&mut client)?;
        ensure!(found != "1", "the primary reads");
        Ok(found == "3")
    })?;
    at(&mut site.client()?, "3")
}
