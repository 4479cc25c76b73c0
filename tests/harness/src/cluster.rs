//! A cluster of MariaDB servers in replication: one primary, the others read-only replicas of it (GTID).

use crate::{
    config,
    host::Host,
    mariadb,
    server::{PASSWORD, Server, USER, USER_MONITOR},
    wait,
    wire::{Connection, Login},
};
use anyhow::{Context as _, Result, anyhow};
use std::{net::SocketAddr, thread, time::Duration};

/// For a replica to have what the primary has.
const CATCH_UP: Duration = Duration::from_secs(20);

/// The servers; the first is the primary at the start.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts a primary and so many replicas on `host`, and has the replicas follow.
    ///
    /// # Errors
    ///
    /// When a server does not come up.
    pub fn start(host: &Host, replicas: usize) -> Result<Self> {
        Self::start_with(host, replicas, &[])
    }

    /// The same, of servers with these options.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`].
    pub fn start_with(host: &Host, replicas: usize, options: &[&str]) -> Result<Self> {
        let start = |number: usize| {
            let id = format!("--server-id={number}");
            let read_only = if number == 1 {
                "--read-only=OFF"
            } else {
                "--read-only=ON"
            };
            let own = [&id, "--log-bin=b", "--relay-log=r", read_only];
            mariadb::start(&[&own, options].concat(), host)
        };
        let servers: Vec<Result<Server>> = thread::scope(|scope| {
            let starts: Vec<_> = (1..=replicas + 1)
                .map(|number| scope.spawn(move || start(number)))
                .collect();
            let joined = starts.into_iter().map(|start| {
                let joined = start.join();
                joined.unwrap_or_else(|_panic| Err(anyhow!("a server's thread panicked")))
            });
            joined.collect()
        });
        let cluster = Self {
            servers: servers.into_iter().collect::<Result<_>>()?,
        };
        host.enter(|| {
            for at in 1..=replicas {
                cluster.follow(at, 0)?;
            }
            Ok::<_, anyhow::Error>(())
        })??;
        Ok(cluster)
    }

    /// The server of this number; 0 was the primary at the start.
    ///
    /// # Errors
    ///
    /// When there are not so many.
    pub fn server(&self, at: usize) -> Result<&Server> {
        self.servers.get(at).context("no such server")
    }

    /// Where that server listens.
    ///
    /// # Errors
    ///
    /// As [`Cluster::server`].
    pub fn address(&self, at: usize) -> Result<SocketAddr> {
        Ok(self.server(at)?.address())
    }

    /// A connection to that server itself.
    ///
    /// # Errors
    ///
    /// When the login fails.
    pub fn open(&self, at: usize) -> Result<Connection> {
        Connection::open(self.address(at)?, &Login::new(USER, PASSWORD))
    }

    /// The servers as a daemon's cluster with a monitor account.
    pub fn configured(&self, name: &str) -> config::Cluster {
        let nodes: Vec<_> = self.servers.iter().map(Server::address).collect();
        config::Cluster::mysql(name, &nodes).monitor(USER_MONITOR, PASSWORD)
    }

    /// Has a server follow another one.
    ///
    /// # Errors
    ///
    /// When one of them does not answer.
    pub fn follow(&self, replica: usize, primary: usize) -> Result<()> {
        let primary = self.address(primary)?;
        let mut connection = self.open(replica)?;
        connection.run("STOP SLAVE")?;
        connection.run(&format!(
            "CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {}, MASTER_USER = '{USER}', MASTER_PASSWORD = '{PASSWORD}', \
             MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
            primary.ip(),
            primary.port()
        ))?;
        connection.run("START SLAVE")?;
        Ok(())
    }

    /// Makes a replica the primary, as an operator does whose primary is gone.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn promote(&self, at: usize) -> Result<()> {
        let mut connection = self.open(at)?;
        connection.run("STOP SLAVE")?;
        connection.run("RESET SLAVE ALL")?;
        connection.run("SET GLOBAL read_only = OFF")?;
        Ok(())
    }

    /// Waits until a replica has all that a primary has.
    ///
    /// # Errors
    ///
    /// When it does not in twenty seconds.
    pub fn catch_up(&self, replica: usize, primary: usize) -> Result<()> {
        let position = self
            .open(primary)?
            .run("SELECT @@gtid_binlog_pos")?
            .text()?;
        let mut connection = self.open(replica)?;
        let reached = format!("SELECT MASTER_GTID_WAIT('{position}', 0) = 0");
        wait::until_true("the replica has caught up", CATCH_UP, || {
            Ok(connection.run(&reached)?.text()? == "1")
        })
    }
}
