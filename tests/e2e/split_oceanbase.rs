//! Reads at a replica of OceanBase: a server that is not told to reads at the leader, wherever it is asked.

use crate::{case::Case, split::POLICY};
use anyhow::Result;
use sluice_tests::{
    config::{Cluster, Config},
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::Connection,
};
use std::net::{Ipv4Addr, SocketAddr};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_replica_reads_its_own", a_replica_reads_its_own)
        .with(&[Kind::SeekDb])
        .daemon()
        .local(),
];

/// What the server session is told that is asked.
fn told(client: &mut Connection, hint: &str) -> Result<String> {
    let sql = format!(
        "SELECT {hint} VARIABLE_VALUE FROM information_schema.SESSION_VARIABLES WHERE VARIABLE_NAME = 'ob_read_consistency'"
    );
    client.run(&sql)?.text()
}

/// One server, by two addresses: as the primary and as its replica.
fn a_replica_reads_its_own(stage: &Stage) -> Result<()> {
    let primary = stage.node();
    let replica = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), primary.port()));
    let cluster = Cluster::oceanbase("east", &[primary, replica])
        .node(0, "role = \"primary\"")
        .node(1, "role = \"replica\"")
        .user(USER, PASSWORD)
        .line(POLICY);
    let front = stage.private_with_config(&Config::new().cluster(cluster), &[])?;
    let mut client = front.open(USER, PASSWORD)?;
    let [weak, strong] = ["WEAK", "STRONG"].map(|it| format!("/*+ READ_CONSISTENCY({it}) */"));
    for reset in [false, true] {
        if reset {
            client.command(b"\x1f")?.outcome.ok()?;
        }
        assert_eq!(told(&mut client, &weak)?, "WEAK");
        assert_eq!(told(&mut client, &strong)?, "STRONG");
    }
    // Who says so himself is believed.
    for said in ["STRONG", "WEAK"] {
        client.run(&format!("SET ob_read_consistency = '{said}'"))?;
        assert_eq!(told(&mut client, &weak)?, said);
    }
    Ok(())
}
