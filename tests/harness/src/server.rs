//! A database server of any make, private to the tests.

use crate::{
    host::Host,
    place, port,
    process::{self, Process},
    wait,
    wire::{Connection, Login},
};
use anyhow::{Context as _, Result, bail};
use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The account of the tests: may do everything. The plugin is the server's usual one.
pub const USER: &str = "app";
/// [`USER`]'s password.
pub const PASSWORD: &str = "secret";
/// An account without a password.
pub const USER_OPEN: &str = "open";
/// An account that reads and writes all tables and has no other right (no SUPER, no PROCESS); its password is [`PASSWORD`].
pub const USER_PLAIN: &str = "plain";
/// An account that may do everything but write at a server that is read-only (MariaDB only); its password is [`PASSWORD`].
pub const USER_MODEST: &str = "modest";
/// The account for a cluster's `monitor`: it sees and ends the sessions of others. Its password is [`PASSWORD`].
pub const USER_MONITOR: &str = "monitor";
/// The administrator, without a password; of OceanBase's tenant `sys`, if that is what the server is.
pub const USER_ROOT: &str = "root";
/// What [`USER_PLAIN`] may do.
pub(crate) const PLAIN_RIGHTS: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP";

/// A server that was killed puts its data in order first, on a machine that may be very busy.
const START: Duration = Duration::from_mins(2);

/// Makes of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// MariaDB from the distribution; must be there.
    MariaDb,
    /// MySQL 9.7; where it can be had.
    MySql,
    /// OceanBase's single-node edition; where it can be had.
    SeekDb,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MariaDb, Self::MySql, Self::SeekDb];

    /// As part of a test's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
            Self::SeekDb => "seekdb",
        }
    }
}

/// A running server; dropping it kills it and removes its files.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    address: SocketAddr,
    folder: PathBuf,
    process: Mutex<Process>,
    host: Host,
    program: OsString,
    arguments: Vec<OsString>,
    probe: Login,
}

/// How one make of server is started.
pub struct Recipe<'a> {
    /// Make.
    pub kind: Kind,
    /// Makes a data folder's content ready.
    pub prepare: &'a dyn Fn(&Path) -> Result<()>,
    /// The command for a data folder, an address and a port.
    pub command: &'a dyn Fn(&Path, SocketAddr) -> Result<Command>,
    /// Ran once it accepts connections, with its address.
    pub finish: &'a (dyn Fn(SocketAddr) -> Result<()> + Sync),
    /// Who can log in once it is up.
    pub probe: Login,
    /// Where it runs.
    pub host: &'a Host,
}

impl Server {
    /// Starts a server and waits until it can be logged in to.
    ///
    /// # Errors
    ///
    /// With the end of the server's log.
    pub fn start(recipe: &Recipe<'_>) -> Result<Self> {
        let mut last = None;
        for _ in 0..2 {
            match Self::try_start(recipe) {
                Ok(server) => return Ok(server),
                // Someone else can take a free port before the server binds it.
                Err(error) if format!("{error:#}").contains("in use") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.context("no attempt")?)
    }

    fn try_start(recipe: &Recipe<'_>) -> Result<Self> {
        let folder = place::fresh(recipe.kind.name())?;
        (recipe.prepare)(&folder)?;
        let address = recipe.host.free_address()?;
        // Until it listens nobody else may: a daemon that takes any port would answer in its place, with another server's accounts.
        let _held = recipe.host.enter(|| port::bound(address))??;
        let command = (recipe.command)(&folder, address)?;
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let process = launch(recipe.kind, recipe.host, &folder, command)?;
        let server = Self {
            kind: recipe.kind,
            address,
            folder,
            process: Mutex::new(process),
            host: recipe.host.clone(),
            program,
            arguments,
            probe: recipe.probe.clone(),
        };
        server.wait_until_up()?;
        recipe.host.enter(|| (recipe.finish)(address))??;
        Ok(server)
    }

    /// Starts a server again that has ended, with the same data and at the same address, and waits until it can be logged in to.
    ///
    /// # Errors
    ///
    /// With the end of the server's log.
    pub fn start_again(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        *self.process() = launch(self.kind, &self.host, &self.folder, command)?;
        self.wait_until_up()
    }

    fn wait_until_up(&self) -> Result<()> {
        let mut refused = None;
        let up = wait::until_true(&format!("{} is up", self.kind.name()), START, || {
            if let Some(status) = self.process().ended()? {
                bail!("{} ended ({status}): {}", self.kind.name(), self.log_tail());
            }
            let probe = || Connection::open(self.address, &self.probe).map(drop);
            refused = self.host.enter(probe)?.err();
            Ok(refused.is_none())
        });
        up.with_context(|| format!("{}\nthe last login: {refused:#?}", self.log_tail()))
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A process is as good after a panic elsewhere as before.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_tail(&self) -> String {
        let text = fs::read(self.folder.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Its make.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it at once (SIGKILL).
    ///
    /// # Errors
    ///
    /// When waitpid(2) fails.
    pub fn kill(&self) -> Result<()> {
        self.process().kill()
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end within a minute.
    pub fn stop(&self) -> Result<()> {
        self.process().terminate(Duration::from_mins(1)).map(drop)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.process().signal(signal)
    }
}

/// Starts the server's process, with its log behind what the log holds.
fn launch(kind: Kind, host: &Host, folder: &Path, command: Command) -> Result<Process> {
    let mut command = host.inside(command)?;
    let file = folder.join("log");
    let log = fs::File::options().create(true).append(true).open(file)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    process::spawn(kind.name(), command)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(process) = self.process.get_mut() {
            drop(process.kill());
        }
        // What cannot be removed now goes with the whole folder at the end.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The address that a server is told to bind: in a network of its own all, so that it can also be reached by others than its main one.
pub(crate) fn bind_address(host: &Host) -> String {
    match host.netns() {
        Some(_) => "*".to_owned(),
        None => host.address().to_string(),
    }
}

/// Copies a prepared data folder.
///
/// # Errors
///
/// When `cp` fails.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(from.join("."))
        .arg(to)
        .status()?;
    if !status.success() {
        bail!("cp {} {}: {status}", from.display(), to.display());
    }
    Ok(())
}

/// Runs a command to its end.
///
/// # Errors
///
/// When it fails, with what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{} ended with {}: {text}{}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}
