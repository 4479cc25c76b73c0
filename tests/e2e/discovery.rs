//! A cluster of OceanBase says which servers and tenants it has. The servers are MariaDB's, with tables of the names and columns that OceanBase's views
//! have, and with accounts whose names end with a tenant's, as nodes of this kind are told.

use crate::{case::Case, nodes::port};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    config::{self, Config},
    place,
    server::{PASSWORD, Server, USER},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Login},
};
use std::{path::PathBuf, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("servers_are_found", servers_are_found).daemon(),
    Case::new("sessions_follow_their_tenant", follow_tenant)
        .daemon()
        .local(),
    Case::new("servers_that_stop_are_left", stopped)
        .daemon()
        .local(),
    Case::new("a_tenants_only_server_is_kept", only_server)
        .daemon()
        .local(),
    Case::new("what_is_found_survives_a_reload", reloaded)
        .daemon()
        .local(),
    Case::new("garbled_rows_are_refused", garbled)
        .daemon()
        .local(),
    Case::new("a_cluster_that_lists_nothing", unlisted)
        .daemon()
        .local(),
    Case::new("version_3", version_3).daemon().local(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// OceanBase's views as tables, and accounts of two tenants.
const SCHEMA: &str = "
    CREATE DATABASE oceanbase;
    CREATE TABLE oceanbase.DBA_OB_SERVERS (SVR_IP VARCHAR(46), SVR_PORT BIGINT, ID BIGINT, ZONE VARCHAR(128), SQL_PORT BIGINT, STATUS VARCHAR(64), START_SERVICE_TIME DATETIME(6), STOP_TIME DATETIME(6));
    CREATE TABLE oceanbase.DBA_OB_TENANTS (TENANT_ID BIGINT, TENANT_NAME VARCHAR(128), TENANT_TYPE VARCHAR(4), TENANT_ROLE VARCHAR(64));
    CREATE TABLE oceanbase.CDB_OB_LS_LOCATIONS (TENANT_ID BIGINT, LS_ID BIGINT, SVR_IP VARCHAR(46), SVR_PORT BIGINT, SQL_PORT BIGINT, ZONE VARCHAR(128), ROLE VARCHAR(8), REPLICA_TYPE VARCHAR(18));
    INSERT INTO oceanbase.DBA_OB_TENANTS VALUES (1, 'sys', 'SYS', 'PRIMARY'), (1001, 'META$1002', 'META', 'PRIMARY'), (1002, 'shop', 'USER', 'PRIMARY')";

/// Three servers, one of which the daemon is told of.
struct Site {
    servers: Vec<Server>,
    file: PathBuf,
}

impl Site {
    fn new(stage: &Stage) -> Result<Self> {
        let servers = (0..3)
            .map(|_| stage.start_server(&[]))
            .collect::<Result<Vec<_>>>()?;
        let site = Self {
            servers,
            file: place::fresh("config")?.join("sluice.toml"),
        };
        for tenant in ["sys", "shop"] {
            for (user, password) in [(USER, PASSWORD), ("root", "")] {
                site.everywhere(&format!(
                    "CREATE USER '{user}@{tenant}'@'%' IDENTIFIED BY '{password}'"
                ))?;
                site.everywhere(&format!("GRANT ALL ON *.* TO '{user}@{tenant}'@'%'"))?;
            }
        }
        for statement in SCHEMA.split(';') {
            site.everywhere(statement)?;
        }
        for at in 0..3 {
            let (ip, port) = site.place(at)?;
            site.everywhere(&format!(
                "INSERT INTO oceanbase.DBA_OB_SERVERS VALUES ('{ip}', 2882, {at}, 'zone{at}', {port}, 'ACTIVE', NOW(6), NULL)"
            ))?;
            for (tenant, leader) in [(1, 0), (1002, 1)] {
                let role = if at == leader { "LEADER" } else { "FOLLOWER" };
                site.everywhere(&format!(
                    "INSERT INTO oceanbase.CDB_OB_LS_LOCATIONS VALUES ({tenant}, 1, '{ip}', 2882, {port}, 'zone{at}', '{role}', 'FULL')"
                ))?;
            }
        }
        site.config("").write_to(&site.file)?;
        Ok(site)
    }

    /// What the daemon is told, with more of the one node that it is told of.
    fn config(&self, said: &str) -> Config {
        let nodes: Vec<_> = self.servers.iter().take(1).map(Server::address).collect();
        let cluster = config::Cluster::oceanbase("east", &nodes).monitor(USER, PASSWORD);
        let cluster = if said.is_empty() {
            cluster
        } else {
            cluster.node(0, said)
        };
        Config::new()
            .line("health.interval = \"100ms\"")
            .line("health.discovery = \"100ms\"")
            .cluster(cluster)
    }

    fn front(&self, stage: &Stage) -> Result<Front> {
        stage.private_of_file(&self.file.display().to_string(), &[])
    }

    fn place(&self, at: usize) -> Result<(String, u16)> {
        let address = self.servers.get(at).context("no such server")?.address();
        Ok((address.ip().to_string(), address.port()))
    }

    /// Runs a statement on each server: they have the same tables.
    fn everywhere(&self, sql: &str) -> Result<()> {
        for server in &self.servers {
            let mut direct = Connection::open(server.address(), &Login::new(USER, PASSWORD))?;
            direct.run(sql)?;
        }
        Ok(())
    }

    /// Has a server lead a tenant, and no other.
    fn lead(&self, tenant: u32, at: usize) -> Result<()> {
        let (_, port) = self.place(at)?;
        self.everywhere(&format!(
            "UPDATE oceanbase.CDB_OB_LS_LOCATIONS SET ROLE = IF(SQL_PORT = {port}, 'LEADER', 'FOLLOWER') WHERE TENANT_ID = {tenant}"
        ))
    }

    /// Has the cluster say something of a server.
    fn say(&self, at: usize, assignment: &str) -> Result<()> {
        let (_, port) = self.place(at)?;
        self.everywhere(&format!(
            "UPDATE oceanbase.DBA_OB_SERVERS SET {assignment} WHERE SQL_PORT = {port}"
        ))
    }

    /// Waits until a session is at a server.
    fn at(&self, client: &mut Connection, at: usize) -> Result<()> {
        let (_, wanted) = self.place(at)?;
        wait::until_true("the session is at its server", DEADLINE, || {
            Ok(port(client)? == wanted)
        })
    }
}

fn operator(front: &Front) -> Result<Connection> {
    front.open("root@sys", "")
}

/// Waits until these nodes are known: zone, origin and what is listed of each.
fn known(front: &Front, wanted: &[&str]) -> Result<()> {
    let mut operator = operator(front)?;
    let mut last = Vec::new();
    let done = wait::until_true("the servers are known", DEADLINE, || {
        let rows = operator.run("SHOW PROXYCONGESTION ALL")?.texts()?;
        let cells = rows.iter().map(|row| {
            let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
            format!("{} {} {}", cell(1), cell(23), cell(24))
        });
        last = cells.collect();
        Ok(last == wanted)
    });
    done.with_context(|| format!("{last:?}"))
}

const ALL: [&str; 3] = [
    "zone0 configuration ACTIVE",
    "zone1 discovery ACTIVE",
    "zone2 discovery ACTIVE",
];

fn servers_are_found(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let front = site.front(stage)?;
    known(&front, &ALL)?;
    for (tenant, at) in [("sys", 0), ("shop", 1)] {
        let mut client = front.open(&format!("{USER}@{tenant}"), PASSWORD)?;
        assert_eq!(port(&mut client)?, site.place(at)?.1, "{tenant}");
        client.run("SELECT 1")?;
    }
    let rows = operator(&front)?.run("SHOW PROXYCLUSTER")?.texts()?;
    let row = rows.first().context("no cluster")?;
    let tenants = row.get(6).cloned().flatten().context("no tenants")?;
    let place = |at| site.place(at).map(|(ip, port)| format!("{ip}:{port}"));
    let (zero, one, two) = (place(0)?, place(1)?, place(2)?);
    assert_eq!(
        tenants,
        format!(
            "shop ({zero} replica, {one} primary, {two} replica);sys ({zero} primary, {one} replica, {two} replica)"
        )
    );
    // Those that were found take its place.
    site.servers.first().context("no server")?.kill()?;
    let mut client = front.open(&format!("{USER}@sys"), PASSWORD)?;
    ensure!(port(&mut client)? != site.place(0)?.1);
    Ok(())
}

fn follow_tenant(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let front = site.front(stage)?;
    known(&front, &ALL)?;
    let user = format!("{USER}@shop");
    let mut idle = front.open(&user, PASSWORD)?;
    let mut busy = front.open(&user, PASSWORD)?;
    let mut other = front.open(&format!("{USER}@sys"), PASSWORD)?;
    site.at(&mut idle, 1)?;
    busy.run("BEGIN")?;
    busy.run("SELECT COUNT(*) FROM mysql.user")?;
    site.lead(1002, 2)?;
    site.at(&mut idle, 2)?;
    assert_eq!(port(&mut busy)?, site.place(1)?.1);
    busy.run("COMMIT")?;
    site.at(&mut busy, 2)?;
    assert_eq!(port(&mut other)?, site.place(0)?.1);
    // A server that has nothing of the tenant any more is none of its.
    let (_, gone) = site.place(2)?;
    site.everywhere(&format!(
        "DELETE FROM oceanbase.CDB_OB_LS_LOCATIONS WHERE TENANT_ID = 1002 AND SQL_PORT = {gone}"
    ))?;
    site.lead(1002, 0)?;
    site.at(&mut idle, 0)?;
    site.at(&mut busy, 0)
}

fn stopped(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let front = site.front(stage)?;
    known(&front, &ALL)?;
    let user = format!("{USER}@shop");
    let mut idle = front.open(&user, PASSWORD)?;
    let mut stays = front.open(&user, PASSWORD)?;
    stays.run("CREATE TEMPORARY TABLE mysql.kept (a INT)")?;
    site.at(&mut idle, 1)?;
    site.say(1, "STOP_TIME = NOW(6)")?;
    known(&front, &[ALL[0], "zone1 discovery STOPPED", ALL[2]])?;
    wait::until_true("the session has left", DEADLINE, || {
        Ok(port(&mut idle)? != site.place(1)?.1)
    })?;
    let mut new = front.open(&user, PASSWORD)?;
    ensure!(port(&mut new)? != site.place(1)?.1);
    // Nobody is cut off.
    assert_eq!(port(&mut stays)?, site.place(1)?.1);
    stays.run("SELECT * FROM mysql.kept")?;
    let rows = operator(&front)?.run("SHOW PROXYCONGESTION")?.texts()?;
    assert_eq!(rows.len(), 1);
    site.say(1, "STOP_TIME = NULL, STATUS = 'INACTIVE'")?;
    known(&front, &[ALL[0], "zone1 discovery INACTIVE", ALL[2]])?;
    site.say(1, "STATUS = 'ACTIVE'")?;
    known(&front, &ALL)?;
    site.at(&mut idle, 1)?;
    // One that is not listed any more is left, too.
    let (_, gone) = site.place(1)?;
    site.everywhere(&format!(
        "DELETE FROM oceanbase.DBA_OB_SERVERS WHERE SQL_PORT = {gone}"
    ))?;
    known(&front, &[ALL[0], ALL[2]])?;
    wait::until_true("the session has left", DEADLINE, || {
        Ok(port(&mut idle)? != gone)
    })?;
    assert_eq!(port(&mut stays)?, gone);
    Ok(())
}

/// A tenant's sessions see its servers alone: that the cluster has others gives them none to go to, and nobody is ended for it.
fn only_server(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let (_, only) = site.place(1)?;
    site.everywhere(&format!(
        "DELETE FROM oceanbase.CDB_OB_LS_LOCATIONS WHERE TENANT_ID = 1002 AND SQL_PORT <> {only}"
    ))?;
    let config = site.config("").line("drain_timeout = \"1ms\"");
    config.write_to(&site.file)?;
    let front = site.front(stage)?;
    known(&front, &ALL)?;
    let mut client = front.open(&format!("{USER}@shop"), PASSWORD)?;
    assert_eq!(port(&mut client)?, only);
    site.say(1, "STOP_TIME = NOW(6)")?;
    known(&front, &[ALL[0], "zone1 discovery STOPPED", ALL[2]])?;
    let mut operator = operator(&front)?;
    wait::throughout(Duration::from_millis(300), || {
        client.run("SELECT 1")?;
        let leaving = operator.run("SHOW PROXYDRAIN")?.texts()?;
        ensure!(leaving.is_empty(), "{leaving:?}");
        Ok(())
    })
}

fn reloaded(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let front = site.front(stage)?;
    known(&front, &ALL)?;
    let mut client = front.open(&format!("{USER}@shop"), PASSWORD)?;
    let id = client.run("SELECT CONNECTION_ID()")?.text()?;
    site.config("zone = \"own\"").write_to(&site.file)?;
    front.daemon()?.signal(libc::SIGHUP)?;
    known(&front, &["own configuration ACTIVE", ALL[1], ALL[2]])?;
    operator(&front)?.run("ALTER PROXYCONFIG SET connect_timeout = '3s'")?;
    known(&front, &["own configuration ACTIVE", ALL[1], ALL[2]])?;
    assert_eq!(client.run("SELECT CONNECTION_ID()")?.text()?, id);
    // Asked for no longer, the cluster is that of the configuration.
    let text = std::fs::read_to_string(&site.file)?;
    std::fs::write(&site.file, format!("{text}discovery = false\n"))?;
    front.daemon()?.signal(libc::SIGHUP)?;
    known(&front, &["own configuration "])?;
    site.at(&mut client, 0)
}

fn garbled(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    site.everywhere(
        "INSERT INTO oceanbase.DBA_OB_SERVERS VALUES ('nowhere', 2882, 7, 'zone1', 2881, 'ACTIVE', NOW(6), NULL), \
         ('10.0.0.9', 2882, 8, 'zone1', 0, 'ACTIVE', NOW(6), NULL), (NULL, NULL, 9, NULL, NULL, NULL, NULL, NULL)",
    )?;
    let front = site.front(stage)?;
    known(&front, &ALL)?;
    let refused = "what a node says of its cluster is refused";
    let lines = |front: &Front| -> Result<usize> {
        let lines = front.daemon()?.lines();
        Ok(lines
            .iter()
            .filter(|line| line.message() == refused)
            .count())
    };
    assert_eq!(lines(&front)?, 1);
    site.say(1, "STATUS = 'FISHING'")?;
    // It is none of the servers that are known then.
    known(&front, &[ALL[0], ALL[2]])?;
    assert_eq!(lines(&front)?, 2);
    site.say(1, "STATUS = 'ACTIVE'")?;
    known(&front, &ALL)
}

fn unlisted(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    site.everywhere("DROP DATABASE oceanbase")?;
    let front = site.front(stage)?;
    let message = "the cluster does not list its servers: those known stand";
    front
        .daemon()?
        .wait_for_line(message, DEADLINE, |line| line.message() == message)?;
    known(&front, &[" configuration "])?;
    let mut client = front.open(&format!("{USER}@shop"), PASSWORD)?;
    assert_eq!(port(&mut client)?, site.place(0)?.1);
    Ok(())
}

fn version_3(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    site.everywhere("CREATE TABLE oceanbase.__all_server (svr_ip VARCHAR(46), svr_port BIGINT, id BIGINT, zone VARCHAR(128), inner_port BIGINT, status VARCHAR(64), start_service_time BIGINT, stop_time BIGINT)")?;
    site.everywhere("INSERT INTO oceanbase.__all_server SELECT SVR_IP, SVR_PORT, ID, ZONE, SQL_PORT, LOWER(STATUS), 1600000000000000, 0 FROM oceanbase.DBA_OB_SERVERS")?;
    site.everywhere(
        "CREATE TABLE oceanbase.__all_tenant (tenant_id BIGINT, tenant_name VARCHAR(128))",
    )?;
    site.everywhere("INSERT INTO oceanbase.__all_tenant VALUES (1, 'sys'), (1001, 'shop')")?;
    site.everywhere("DROP TABLE oceanbase.DBA_OB_SERVERS")?;
    let front = site.front(stage)?;
    known(&front, &ALL)?;
    let rows = operator(&front)?.run("SHOW PROXYCLUSTER")?.texts()?;
    let tenants = rows.first().and_then(|row| row.get(6)).cloned().flatten();
    assert_eq!(tenants.as_deref(), Some("shop;sys"));
    Ok(())
}
