//! Three servers, and who sees to it that one of them is the primary.

use crate::{
    host::Host,
    mariadb,
    pattern::Random,
    server::{PASSWORD, Server, USER, USER_PLAIN, USER_ROOT},
    stage::Front,
    wait,
    wire::{Connection, Login},
};
use anyhow::{Context as _, Result, anyhow, ensure};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

const COUNT: usize = 3;
/// For servers to start, to catch up, to follow.
const DEADLINE: Duration = Duration::from_mins(1);
/// For a node that is looked at to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A commit waits for a replica as long as it takes; the log is written at each, so that a server that is killed has it. A server that comes back
/// gives up what no replica has (`init-rpl-role`).
const SAFE: [&str; 11] = [
    "--log-bin=b",
    "--relay-log=r",
    "--log-slave-updates=ON",
    "--gtid-strict-mode=ON",
    "--skip-slave-start=ON",
    "--read-only=ON",
    "--innodb-flush-log-at-trx-commit=2",
    "--init-rpl-role=SLAVE",
    "--rpl-semi-sync-slave-enabled=ON",
    "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
    "--rpl-semi-sync-master-timeout=3600000",
];

/// A trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The primary is killed, another takes its place.
    KillPrimary,
    /// A replica is killed and comes back.
    KillReplica,
    /// The primary stops in its tracks; another takes its place, and it is killed before it can go on.
    HangPrimary,
    /// The primary stops in its tracks for a moment, and nobody takes its place.
    PausePrimary,
    /// The same with a replica.
    PauseReplica,
    /// Primary and replica change places, as an operator has them do.
    SwitchOver,
}

impl Event {
    pub(super) const ALL: [Self; 6] = [
        Self::KillPrimary,
        Self::SwitchOver,
        Self::HangPrimary,
        Self::KillReplica,
        Self::PausePrimary,
        Self::PauseReplica,
    ];

    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::KillPrimary => "primary killed",
            Self::KillReplica => "replica killed",
            Self::HangPrimary => "primary hangs",
            Self::PausePrimary => "primary pauses",
            Self::PauseReplica => "replica pauses",
            Self::SwitchOver => "switch-over",
        }
    }
}

/// The servers.
pub(super) struct Nodes {
    host: Host,
    servers: Vec<Server>,
    primary: AtomicUsize,
}

impl Nodes {
    /// Starts them, with the table that clients write to.
    pub(super) fn start(host: &Host) -> Result<Self> {
        let servers: Vec<Result<Server>> = thread::scope(|scope| {
            let starts: Vec<_> = (1..=COUNT)
                .map(|number| {
                    scope.spawn(move || {
                        let id = format!("--server-id={number}");
                        let options: Vec<&str> = SAFE.into_iter().chain([&*id]).collect();
                        mariadb::start(&options, host)
                    })
                })
                .collect();
            let joined = starts.into_iter().map(|start| {
                let joined = start.join();
                joined.unwrap_or_else(|_panic| Err(anyhow!("a server's thread panicked")))
            });
            joined.collect()
        });
        let nodes = Self {
            host: host.clone(),
            servers: servers.into_iter().collect::<Result<_>>()?,
            primary: AtomicUsize::new(0),
        };
        nodes.host.enter(|| {
            nodes.enthrone(0, None)?;
            let mut primary = nodes.open(0)?;
            primary.run("CREATE DATABASE ha")?;
            primary.run(
                "CREATE TABLE ha.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, client INT, seq BIGINT, KEY (client, seq))",
            )?;
            primary.run("CREATE TABLE ha.pulse (id INT PRIMARY KEY, at TIMESTAMP(6))")?;
            Ok::<_, anyhow::Error>(())
        })??;
        nodes.come_to_rest()?;
        Ok(nodes)
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    /// Waits until the daemon knows the roles that the nodes have at the start.
    pub(super) fn known_to(front: &Front) -> Result<()> {
        let mut operator = front.open(USER_ROOT, "")?;
        wait::until_true("the roles are known", DEADLINE, || {
            let rows = operator.run("SHOW PROXYCLUSTER")?.texts()?;
            let roles = rows.first().and_then(|row| row.get(4)).cloned().flatten();
            Ok(roles.as_deref() == Some("primary;replica;replica"))
        })
    }

    /// Has the primary commit something, as a client without the proxy.
    pub(super) fn commits(&self) -> Result<()> {
        let login = Login::new(USER_PLAIN, PASSWORD);
        let mut primary = self.open_as(self.primary(), &login)?;
        primary.set_patience(PATIENCE)?;
        primary.run("REPLACE INTO ha.pulse VALUES (1, NOW(6))")?;
        Ok(())
    }

    /// What each says of itself, in words.
    pub(super) fn picture(&self) -> Vec<String> {
        let primary = self.primary();
        let all = (0..COUNT).map(|at| {
            let role = if at == primary { "primary" } else { "replica" };
            let said = self.says(at).unwrap_or_else(|error| format!("{error:#}"));
            format!("node {at} ({role}): {said}")
        });
        all.collect()
    }

    fn says(&self, at: usize) -> Result<String> {
        let mut node = self.open(at)?;
        node.set_patience(PATIENCE)?;
        let mut said = vec![self.server(at)?.address().to_string()];
        for question in [
            "SELECT @@read_only, @@gtid_current_pos",
            "SHOW STATUS LIKE 'Rpl_semi_sync_master_%'",
            "SELECT ID, USER, HOST, COMMAND, TIME, STATE, INFO FROM information_schema.PROCESSLIST",
        ] {
            for row in node.run(question)?.texts()? {
                let cells: Vec<_> = row.into_iter().flatten().collect();
                said.push(cells.join(" "));
            }
        }
        Ok(said.join("; "))
    }

    /// A connection to each, by itself.
    pub(super) fn connections(&self) -> Result<Vec<(Connection, String)>> {
        let all = (0..COUNT).map(|at| Ok((self.open(at)?, format!("node {at}"))));
        all.collect()
    }

    fn server(&self, at: usize) -> Result<&Server> {
        self.servers.get(at).context("no such server")
    }

    fn open(&self, at: usize) -> Result<Connection> {
        self.open_as(at, &Login::new(USER, PASSWORD))
    }

    fn open_as(&self, at: usize, login: &Login) -> Result<Connection> {
        let address = self.server(at)?.address();
        self.host.enter(|| Connection::open(address, login))?
    }

    fn primary(&self) -> usize {
        self.primary.load(Ordering::Relaxed)
    }

    fn replicas(&self) -> Vec<usize> {
        let primary = self.primary();
        (0..COUNT).filter(|at| *at != primary).collect()
    }

    /// Has one trouble happen.
    pub(super) fn suffer(&self, event: Event, random: &mut Random) -> Result<()> {
        let primary = self.primary();
        let replicas = self.replicas();
        let replica = *replicas
            .get(random.below(replicas.len()))
            .context("a replica")?;
        let millis = u64::try_from(200 + random.below(3000))?;
        let moment = Duration::from_millis(millis);
        let pause = |at: usize| {
            let server = self.server(at)?;
            server.signal(libc::SIGSTOP)?;
            wait::throughout(moment, || Ok(()))?;
            server.signal(libc::SIGCONT)
        };
        match event {
            Event::KillPrimary => {
                self.server(primary)?.kill()?;
                self.succeed()?;
                self.server(primary)?.start_again()
            }
            Event::HangPrimary => {
                let server = self.server(primary)?;
                server.signal(libc::SIGSTOP)?;
                wait::throughout(moment, || Ok(()))?;
                self.succeed()?;
                wait::throughout(moment, || Ok(()))?;
                // It must not go on as a primary.
                server.kill()?;
                server.start_again()
            }
            Event::KillReplica => {
                self.server(replica)?.kill()?;
                wait::throughout(moment, || Ok(()))?;
                self.server(replica)?.start_again()
            }
            Event::PausePrimary => pause(primary),
            Event::PauseReplica => pause(replica),
            Event::SwitchOver => self.switch_over(primary, replica),
        }
    }

    /// Gives a primary that is gone its successor: the replica that has received most.
    fn succeed(&self) -> Result<()> {
        let mut best: Option<(u64, usize, String)> = None;
        for at in self.replicas() {
            let mut replica = self.open(at)?;
            replica.run("STOP SLAVE IO_THREAD")?;
            let position = column(&mut replica, "SHOW SLAVE STATUS", "Gtid_IO_Pos")?;
            let number = position.rsplit('-').next().unwrap_or_default();
            let number: u64 = number.parse().context(position.clone())?;
            if best.as_ref().is_none_or(|(most, ..)| number > *most) {
                best = Some((number, at, position));
            }
        }
        let (_, at, position) = best.context("no replica")?;
        self.reached(at, &position)?;
        self.enthrone(at, Some(self.primary()))
    }

    fn switch_over(&self, from: usize, to: usize) -> Result<()> {
        let mut old = self.open(from)?;
        old.run("SET GLOBAL read_only = ON")?;
        let position = old.run("SELECT @@gtid_binlog_pos")?.text()?;
        self.reached(to, &position)?;
        self.enthrone(to, None)
    }

    /// Waits until a replica has applied all up to a position.
    fn reached(&self, at: usize, position: &str) -> Result<()> {
        let mut replica = self.open(at)?;
        let question = format!("SELECT MASTER_GTID_WAIT('{position}', 0) = 0");
        wait::until_true("a replica has all", DEADLINE, || {
            Ok(replica.run(&question)?.text()? == "1")
        })
    }

    /// Makes a node the primary; the others that are there follow it before it takes writes.
    fn enthrone(&self, at: usize, absent: Option<usize>) -> Result<()> {
        let mut primary = self.open(at)?;
        for statement in [
            "STOP SLAVE",
            "RESET SLAVE ALL",
            "SET GLOBAL rpl_semi_sync_master_enabled = ON",
        ] {
            primary.run(statement)?;
        }
        self.primary.store(at, Ordering::Relaxed);
        for replica in self.replicas() {
            // Who is gone is told when he is back.
            if Some(replica) != absent {
                self.follow(replica)?;
            }
        }
        primary.run("SET GLOBAL read_only = OFF")?;
        Ok(())
    }

    /// Has a node follow the primary, which it may have been itself.
    fn follow(&self, at: usize) -> Result<()> {
        let primary = self.server(self.primary())?.address();
        let mut replica = self.open(at)?;
        for statement in [
            "SET GLOBAL read_only = ON",
            "SET GLOBAL rpl_semi_sync_master_enabled = OFF",
            "STOP SLAVE",
        ] {
            replica.run(statement)?;
        }
        let was_primary = replica.run("SHOW SLAVE STATUS")?.texts()?.is_empty();
        let demote = if was_primary {
            "MASTER_DEMOTE_TO_SLAVE = 1"
        } else {
            "MASTER_USE_GTID = slave_pos"
        };
        replica.run(&format!(
            "CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {}, MASTER_USER = '{USER}', MASTER_PASSWORD = '{PASSWORD}', \
             MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1, {demote}",
            primary.ip(),
            primary.port()
        ))?;
        replica.run("START SLAVE")?;
        Ok(())
    }

    /// Waits until both replicas follow the primary and have what it has.
    pub(super) fn come_to_rest(&self) -> Result<()> {
        for at in self.replicas() {
            let mut replica = self.open(at)?;
            let is_follower = |replica: &mut Connection| -> Result<bool> {
                let primary = self.server(self.primary())?.address().port().to_string();
                let is = |replica: &mut Connection, name: &str, value: &str| {
                    let found = column(replica, "SHOW SLAVE STATUS", name);
                    found.is_ok_and(|found| found == value)
                };
                Ok(is(replica, "Master_Port", &primary)
                    && is(replica, "Slave_IO_Running", "Yes")
                    && is(replica, "Slave_SQL_Running", "Yes"))
            };
            if !is_follower(&mut replica)? {
                self.follow(at)?;
            }
            wait::until_true("a replica follows", DEADLINE, || is_follower(&mut replica))
                .with_context(|| format!("node {at}: {}", self.why(at)))?;
        }
        let mut primary = self.open(self.primary())?;
        wait::until_true("both replicas acknowledge", DEADLINE, || {
            let rows = primary.run("SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'")?;
            let rows = rows.texts()?;
            let count = rows.first().and_then(|row| row.get(1)).cloned().flatten();
            Ok(count.as_deref() == Some("2"))
        })?;
        let position = primary.run("SELECT @@gtid_binlog_pos")?.text()?;
        for at in self.replicas() {
            self.reached(at, &position)
                .with_context(|| format!("node {at}: {}", self.why(at)))?;
        }
        Ok(())
    }

    fn why(&self, at: usize) -> String {
        let ask = || -> Result<String> {
            let mut replica = self.open(at)?;
            let io = column(&mut replica, "SHOW SLAVE STATUS", "Last_IO_Error")?;
            let sql = column(&mut replica, "SHOW SLAVE STATUS", "Last_SQL_Error")?;
            Ok(format!("{io} {sql}"))
        };
        ask().unwrap_or_else(|error| format!("{error:#}"))
    }
}

/// A column of an answer's first row.
fn column(connection: &mut Connection, question: &str, name: &str) -> Result<String> {
    let answer = connection.run(question)?;
    let columns = answer.columns()?;
    let at = columns.iter().position(|column| column.name == name);
    let at = at.with_context(|| format!("no column {name}"))?;
    let rows = answer.texts()?;
    let row = rows.first().context("no row")?;
    ensure!(at < row.len(), "a short row");
    Ok(row.get(at).cloned().flatten().unwrap_or_default())
}
