//! A cluster of servers of one make in replication: one primary, the others read-only replicas of it (GTID).

use crate::{
    config,
    host::Host,
    mariadb, mysql,
    server::{Kind, PASSWORD, Server, USER, USER_MONITOR},
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
    kind: Kind,
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts a primary of MariaDB and so many replicas on `host`, and has the replicas follow.
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
            // Whichever becomes the primary, the others can go on from it.
            let log = ["--log-bin=b", "--relay-log=r", "--log-slave-updates=ON"];
            let own = [&log[..], &[&id, read_only]].concat();
            mariadb::start(&[&own, options].concat(), host)
        };
        Self::of(Kind::MariaDb, host, replicas, start)
    }

    /// The same of MySQL's servers.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`], and when there is no MySQL.
    pub fn mysql(host: &Host, replicas: usize) -> Result<Self> {
        let start = |number: usize| {
            let id = format!("--server-id={number}");
            let own = ["--log-bin=b", "--relay-log=r", "--gtid-mode=ON"];
            let more = ["--enforce-gtid-consistency=ON", &id];
            mysql::start_with(&[&own[..], &more].concat(), host)
        };
        Self::of(Kind::MySql, host, replicas, start)
    }

    fn of(
        kind: Kind,
        host: &Host,
        replicas: usize,
        start: impl Fn(usize) -> Result<Server> + Sync,
    ) -> Result<Self> {
        let start = &start;
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
            kind,
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

    /// How many there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
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

    /// This or that statement, as the make has it.
    fn by_make<T>(&self, mariadb: T, mysql: T) -> T {
        if self.kind == Kind::MySql {
            mysql
        } else {
            mariadb
        }
    }

    /// Has a server follow another one, and take no writes but that one's.
    ///
    /// # Errors
    ///
    /// When one of them does not answer.
    pub fn follow(&self, replica: usize, primary: usize) -> Result<()> {
        let primary = self.address(primary)?;
        let (ip, port) = (primary.ip(), primary.port());
        let mut connection = self.open(replica)?;
        let change = self.by_make(
            format!(
                "CHANGE MASTER TO MASTER_HOST = '{ip}', MASTER_PORT = {port}, MASTER_USER = '{USER}', MASTER_PASSWORD = '{PASSWORD}', \
                 MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1"
            ),
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{ip}', SOURCE_PORT = {port}, SOURCE_USER = '{USER}', \
                 SOURCE_PASSWORD = '{PASSWORD}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1"
            ),
        );
        let [stop, start] = self.by_make(
            ["STOP SLAVE", "START SLAVE"],
            ["STOP REPLICA", "START REPLICA"],
        );
        for statement in [stop, &change, start] {
            connection.run(statement)?;
        }
        self.set_read_only(replica, true)
    }

    /// Has a server take writes of nobody but its primary, or of everybody. In MySQL that is `super_read_only`, which implies the other one.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn set_read_only(&self, at: usize, is_so: bool) -> Result<()> {
        let variable = self.by_make(
            "read_only",
            if is_so {
                "super_read_only"
            } else {
                "read_only"
            },
        );
        let value = if is_so { "ON" } else { "OFF" };
        self.open(at)?
            .run(&format!("SET GLOBAL {variable} = {value}"))?;
        Ok(())
    }

    /// Makes a replica the primary, as an operator does whose primary is gone.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn promote(&self, at: usize) -> Result<()> {
        let mut connection = self.open(at)?;
        let statements = self.by_make(
            ["STOP SLAVE", "RESET SLAVE ALL"],
            ["STOP REPLICA", "RESET REPLICA ALL"],
        );
        for statement in statements {
            connection.run(statement)?;
        }
        self.set_read_only(at, false)
    }

    /// Waits until a replica has all that a primary has.
    ///
    /// # Errors
    ///
    /// When it does not in twenty seconds.
    pub fn catch_up(&self, replica: usize, primary: usize) -> Result<()> {
        let position = self.by_make("SELECT @@gtid_binlog_pos", "SELECT @@GLOBAL.gtid_executed");
        let position = self.open(primary)?.run(position)?.text()?;
        let mut connection = self.open(replica)?;
        let reached = self.by_make(
            format!("SELECT MASTER_GTID_WAIT('{position}', 0) = 0"),
            format!("SELECT GTID_SUBSET('{position}', @@GLOBAL.gtid_executed)"),
        );
        wait::until_true("the replica has caught up", CATCH_UP, || {
            Ok(connection.run(&reached)?.text()? == "1")
        })
    }
}
