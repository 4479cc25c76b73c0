//! KILL QUERY, by the ids that the proxy and the node gave; and who may kill whom.

use crate::{
    case::Case,
    kill::{computes, id, interrupted, interruptible, monitor_account, monitored, node_id},
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    path::Path,
    server::{Kind, PASSWORD, USER, USER_MONITOR, USER_PLAIN, USER_ROOT},
    stage::{Front, Stage},
    wire::{Connection, Login, Outcome, command},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("with_a_monitor", with_a_monitor)
        .with(&Kind::ALL)
        .daemon(),
    Case::new("monitor_is_cut_off", monitor_is_cut_off).daemon(),
    Case::new("without_a_monitor", without_a_monitor).daemon(),
    Case::new("rights_of_the_moment", rights_of_the_moment).daemon(),
    Case::new("nothing_runs", nothing_runs).daemon(),
    Case::new("another_user", another_user).daemon(),
    Case::new("another_tenant", another_tenant).daemon(),
];

/// A victim is interrupted by each of its ids, and lives on.
fn interrupt(stage: &Stage, front: &Front) -> Result<()> {
    let mut direct = stage.open_direct()?;
    let mut killer = front.open(USER, PASSWORD)?;
    let mut victim = front.open(USER, PASSWORD)?;
    let node_id = node_id(&mut victim)?;
    for victim_id in [id(&victim).to_string(), node_id.clone()] {
        victim.send_command(&command::query(interruptible(stage).as_bytes()))?;
        computes(&mut direct, &node_id, true)?;
        killer.run("BEGIN")?;
        killer.run(&format!("KILL QUERY {victim_id}"))?;
        let outcome = victim.read_response(&[])?.outcome;
        assert_eq!(outcome.code(), 1317, "the victim of {victim_id}: {outcome}");
        assert_eq!(victim.run("SELECT 'alive'")?.text()?, "alive");
        let Outcome::Ok { status } = killer.run("SELECT 1")?.outcome else {
            anyhow::bail!("no OK")
        };
        assert_eq!(status & 1, 1, "the killer's transaction is gone");
        killer.run("ROLLBACK")?;
    }
    Ok(())
}

fn with_a_monitor(stage: &Stage) -> Result<()> {
    let (user, password) = monitor_account(stage);
    let front = monitored(stage, user, password)?;
    interrupt(stage, &front)?;
    let log = front.daemon()?.log_text();
    ensure!(!log.contains("the monitor account failed"), "{log}");
    Ok(())
}

/// The node ends the monitor's connections, that for orders and that by which the node is watched: the next order finds another.
fn monitor_is_cut_off(stage: &Stage) -> Result<()> {
    let name = format!("cut_{}", stage.setting().name());
    let mut direct = stage.open_direct()?;
    direct.run(&format!(
        "CREATE OR REPLACE USER {name} IDENTIFIED BY '{PASSWORD}'"
    ))?;
    direct.run(&format!("GRANT CONNECTION ADMIN ON *.* TO {name}"))?;
    let front = monitored(stage, &name, PASSWORD)?;
    interrupt(stage, &front)?;
    let own = format!("SELECT id FROM information_schema.processlist WHERE user = '{name}'");
    let connections = |direct: &mut Connection| -> Result<Vec<String>> {
        let rows = direct.run(&own)?.texts()?;
        Ok(rows.into_iter().flatten().flatten().collect())
    };
    let cut = connections(&mut direct)?;
    ensure!(!cut.is_empty(), "no connection is kept");
    for id in &cut {
        direct.run(&format!("KILL {id}"))?;
        stage.gone_from_node(id)?;
    }
    interrupt(stage, &front)?;
    let now = connections(&mut direct)?;
    ensure!(now.iter().all(|id| !cut.contains(id)), "{now:?}, {cut:?}");
    let log = front.daemon()?.log_text();
    ensure!(!log.contains("the monitor account failed"), "{log}");
    Ok(())
}

/// The killer's own connection carries it.
fn without_a_monitor(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    interrupt(stage, &front)
}

fn nothing_runs(stage: &Stage) -> Result<()> {
    let mut killer = stage.open()?;
    let mut idle = stage.open()?;
    let idle_node_id = node_id(&mut idle)?;
    for target in [id(&idle).to_string(), idle_node_id, id(&killer).to_string()] {
        killer.run(&format!("KILL QUERY {target}"))?;
    }
    assert_eq!(idle.run("SELECT 'alive'")?.text()?, "alive");
    for unknown in ["123456789", "-1", "0"] {
        let outcome = killer.query(&format!("KILL QUERY {unknown}"))?.outcome;
        let wanted = Outcome::Error {
            code: 1094,
            state: "HY000".to_owned(),
            message: format!("Unknown thread id: {unknown}"),
        };
        assert_eq!(outcome, wanted);
    }
    Ok(())
}

fn refused(killer: &mut Connection, sql: &str, code: u16) -> Result<()> {
    let outcome = killer.query(sql)?.outcome;
    assert_eq!(outcome.code(), code, "{sql}: {outcome}");
    Ok(())
}

/// Of the same tenant: with SUPER, or what newer servers have in its place.
fn another_user(stage: &Stage) -> Result<()> {
    let mut direct = stage.open_direct()?;
    let mut plain = Connection::open(stage.address(), &Login::new(USER_PLAIN, PASSWORD))?;
    let mut app = stage.open()?;
    let app_id = node_id(&mut app)?;
    let plain_id = node_id(&mut plain)?;
    app.send_command(&command::query(interruptible(stage).as_bytes()))?;
    computes(&mut direct, &app_id, true)?;
    for statement in ["KILL", "KILL CONNECTION", "KILL QUERY"] {
        refused(&mut plain, &format!("{statement} {}", id(&app)), 1095)?;
        refused(&mut plain, &format!("{statement} {app_id}"), 1095)?;
    }
    refused(&mut plain, &format!("KILL PROXYSESSION {}", id(&app)), 5010)?;
    let mut monitor = Connection::open(stage.address(), &Login::new(USER_MONITOR, PASSWORD))?;
    monitor.run(&format!("KILL QUERY {}", id(&app)))?;
    assert_eq!(app.read_response(&[])?.outcome.code(), 1317);
    assert_eq!(app.run("SELECT 'alive'")?.text()?, "alive");
    app.run(&format!("KILL {plain_id}"))?;
    monitor.run(&format!("KILL {app_id}"))?;
    stage.daemon()?.closing_line(id(&app))?;
    stage.daemon()?.closing_line(id(&plain))?;
    Ok(())
}

/// Tenants of a cluster of MySQL servers are the proxy's; `root` of `sys` ends the sessions of all, and interrupts those of none.
fn another_tenant(stage: &Stage) -> Result<()> {
    let cluster = Cluster::mysql("east", &[stage.node()]).monitor(USER_MONITOR, PASSWORD);
    let front = stage.private_with_config(&Config::new().cluster(cluster), &[])?;
    let mut direct = stage.open_direct()?;
    let mut shop = front.open("app@shop", PASSWORD)?;
    let mut bank = front.open("app@bank", PASSWORD)?;
    let mut nobody = front.open("app@sys", PASSWORD)?;
    let mut sys = front.open(&format!("{USER_ROOT}@sys"), "")?;
    let shop_id = node_id(&mut shop)?;
    shop.send_command(&command::query(interruptible(stage).as_bytes()))?;
    computes(&mut direct, &shop_id, true)?;
    // Not even its existence is told.
    for statement in ["KILL", "KILL CONNECTION", "KILL QUERY"] {
        for target in [id(&shop).to_string(), shop_id.clone()] {
            refused(&mut bank, &format!("{statement} {target}"), 1094)?;
            refused(&mut nobody, &format!("{statement} {target}"), 1094)?;
        }
    }
    refused(&mut sys, &format!("KILL QUERY {}", id(&shop)), 1094)?;
    computes(&mut direct, &shop_id, true)?;
    sys.run(&format!("KILL PROXYSESSION {}", id(&shop)))?;
    computes(&mut direct, &shop_id, false)?;
    let words = crate::kill::last_words(&mut shop)?;
    let told = (stage.path() == Path::Relayed).then(interrupted);
    ensure!(words == told, "the victim was told {words:?}");
    front
        .daemon()?
        .closing_line(id(&shop))
        .context("the victim")?;
    Ok(())
}

/// What the node grants at that very moment counts: roles only where they are set, and nothing that was revoked.
fn rights_of_the_moment(stage: &Stage) -> Result<()> {
    let name = format!("grantee_{}", stage.setting().name());
    let role = format!("killers_{}", stage.setting().name());
    let mut direct = stage.open_direct()?;
    for text in [
        format!("CREATE OR REPLACE USER {name} IDENTIFIED BY '{PASSWORD}'"),
        format!("CREATE OR REPLACE ROLE `{role}`"),
        format!("GRANT CONNECTION ADMIN, PROCESS ON *.* TO `{role}`"),
        format!("GRANT `{role}` TO {name}"),
        format!("GRANT ALL PRIVILEGES ON `SUPER`.* TO {name}"),
    ] {
        direct.run(&text)?;
    }
    let idle = stage.open()?;
    let mut killer = Connection::open(stage.address(), &Login::new(&name, PASSWORD))?;
    let sql = format!("KILL QUERY {}", id(&idle));
    let mut tries = |granted: bool, text: Option<&str>| -> Result<()> {
        if let Some(text) = text {
            killer.run(text)?;
        }
        assert_eq!(
            killer.query(&sql)?.outcome.code(),
            if granted { 0 } else { 1095 }
        );
        let listed = killer.run("SHOW PROCESSLIST")?.texts()?.len();
        assert_eq!(listed > 1, granted, "{listed}");
        Ok(())
    };
    tries(false, None)?;
    tries(true, Some(&format!("SET ROLE `{role}`")))?;
    tries(false, Some("SET ROLE NONE"))?;
    direct.run(&format!("GRANT SUPER, PROCESS ON *.* TO {name}"))?;
    tries(true, None)?;
    direct.run(&format!("REVOKE SUPER, PROCESS ON *.* FROM {name}"))?;
    tries(false, None)
}
