//! Nodes of a Galera cluster: one that is out of step with its cluster serves no sessions until it is back.

use crate::{
    case::Case,
    nodes::{known, patient, port},
};
use anyhow::{Context as _, Result};
use sluice_tests::{
    config::Cluster,
    mariadb,
    server::{PASSWORD, Server, USER, USER_MONITOR, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Login},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[Case::new("a_node_out_of_step_is_left", out_of_step)
    .daemon()
    .local()
    .tool(PROVIDER)];

/// Galera's library, where Debian has it.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
const DEADLINE: Duration = Duration::from_secs(20);

/// A node that is a cluster of its own: it takes writes, as all nodes of Galera do.
fn start(stage: &Stage) -> Result<Server> {
    let host = &stage.hosts().node;
    let group = host.free_address()?;
    let options = [
        "--wsrep-on=ON".to_owned(),
        format!("--wsrep-provider={PROVIDER}"),
        "--wsrep-cluster-address=gcomm://".to_owned(),
        format!("--wsrep-node-address={}", group.ip()),
        format!("--wsrep-provider-options=gmcast.listen_addr=tcp://{group};gcache.size=1M"),
        "--binlog-format=ROW".to_owned(),
    ];
    mariadb::start(&options.each_ref().map(String::as_str), host)
}

fn out_of_step(stage: &Stage) -> Result<()> {
    let nodes = [start(stage)?, start(stage)?];
    let addresses = nodes.each_ref().map(Server::address);
    let [first, second] = addresses;
    let configured = Cluster::mysql("east", &addresses).monitor(USER_MONITOR, PASSWORD);
    let front = stage.private_with_config(&patient(configured), &[])?;
    known(&front, "primary;primary")?;
    let mut operator = front.open(USER_ROOT, "")?;
    let mut listed = || -> Result<Vec<[String; 2]>> {
        let rows = operator.run("SHOW PROXYCONGESTION")?.texts()?;
        let cells = rows
            .iter()
            .map(|row| [4, 9].map(|at| row.get(at).cloned().flatten().unwrap_or_default()));
        Ok(cells.collect())
    };
    let mut session = front.open(USER, PASSWORD)?;
    assert_eq!(port(&mut session)?, first.port());
    let mut direct = Connection::open(first, &Login::new(USER, PASSWORD))?;
    direct.run("SET GLOBAL wsrep_desync = ON")?;
    let wanted = [[first.to_string(), "1".to_owned()]];
    wait::until_true("the node is listed", DEADLINE, || Ok(listed()? == wanted))
        .with_context(|| format!("{:?}", direct.run("SHOW STATUS LIKE 'wsrep_local_state%'")))?;
    assert_eq!(port(&mut front.open(USER, PASSWORD)?)?, second.port());
    wait::until_true("its session has left", DEADLINE, || {
        Ok(port(&mut session)? == second.port())
    })?;
    direct.run("SET GLOBAL wsrep_desync = OFF")?;
    wait::until_true(
        "it is listed no more",
        DEADLINE,
        || Ok(listed()?.is_empty()),
    )?;
    assert_eq!(port(&mut front.open(USER, PASSWORD)?)?, first.port());
    Ok(())
}
