//! The daemon as a process: its address, its log, its signals.

use crate::{
    config::Config,
    host::Host,
    memory, place,
    process::{self, Process},
    rights::Rights,
    wait,
};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{
    env,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Loading the programs on a very busy machine of two cores: half a minute was seen.
const START: Duration = Duration::from_mins(2);

/// The daemon's binary: `SLUICE_BIN`, else what cargo built last for release, else for debugging.
///
/// # Errors
///
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    let named = env::var_os("SLUICE_BIN").map(PathBuf::from);
    let built = ["release/sluice", "debug/sluice"].map(|path| place::target().join(path));
    let found = named.into_iter().chain(built).find(|path| path.exists());
    found.context("there is no daemon to test: `cargo xtask build` makes it")
}

/// A command that runs the daemon's binary with these arguments.
///
/// # Errors
///
/// When there is none.
pub fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    Ok(command)
}

/// One line of the log.
#[derive(Debug, Clone)]
pub struct Line(Value);

impl Line {
    /// The message.
    pub fn message(&self) -> &str {
        self.0
            .pointer("/fields/message")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The level: `ERROR`, `WARN`, `INFO`, …
    pub fn level(&self) -> &str {
        self.0
            .get("level")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// A field as text, whatever its JSON type.
    pub fn field(&self, name: &str) -> Option<String> {
        match self.0.get("fields")?.get(name)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub struct Sluice {
    process: Mutex<Process>,
    pid: u32,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    host: Host,
    rights: Rights,
    flags: Vec<String>,
}

impl Sluice {
    /// Starts `sluice run` on `host` in front of `node`, on a port of the kernel's choice where no flag names one, and waits until it listens. `path` are the flags
    /// about the way that bytes take.
    ///
    /// # Errors
    ///
    /// With the daemon's log, when it ends or does not listen in time.
    pub fn start(
        host: &Host,
        rights: Rights,
        node: SocketAddr,
        path: &[&str],
        flags: &[&str],
    ) -> Result<Self> {
        let server = node.to_string();
        Self::run(
            host,
            rights,
            &[path, &["--server", &server], flags].concat(),
        )
    }

    /// The same with a configuration file, which names the nodes.
    ///
    /// # Errors
    ///
    /// As [`Sluice::start`].
    pub fn start_with_config(
        host: &Host,
        rights: Rights,
        config: &Config,
        path: &[&str],
        flags: &[&str],
    ) -> Result<Self> {
        let file = config.write()?.display().to_string();
        Self::start_with_file(host, rights, &file, path, flags)
    }

    /// The same with a configuration file that is there already.
    ///
    /// # Errors
    ///
    /// As [`Sluice::start`].
    pub fn start_with_file(
        host: &Host,
        rights: Rights,
        file: &str,
        path: &[&str],
        flags: &[&str],
    ) -> Result<Self> {
        Self::run(host, rights, &[path, &["--config", file], flags].concat())
    }

    /// Starts the same once more, at the same address: for after its end.
    ///
    /// # Errors
    ///
    /// As [`Sluice::start`].
    pub fn start_again(&self) -> Result<Self> {
        let listen = self.address.to_string();
        let mut flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        if !flags.contains(&"--listen") {
            flags.extend(["--listen", &listen]);
        }
        Self::run(&self.host, self.rights, &flags)
    }

    fn run(host: &Host, rights: Rights, flags: &[&str]) -> Result<Self> {
        let listen = SocketAddr::new(host.address(), 0).to_string();
        let mut arguments = vec!["run", "--log-format", "json"];
        if !flags.contains(&"--listen") {
            arguments.extend(["--listen", &listen]);
        }
        arguments.extend(flags);
        let file = flags.windows(2).find_map(|pair| match pair {
            ["--config", file] => Some(Path::new(*file)),
            _ => None,
        });
        let command = rights.limit(command(&arguments)?, file.as_slice())?;
        let mut command = host.inside(command)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = process::spawn("sluice", command)?;
        let stderr = process
            .child()
            .stderr
            .take()
            .context("the daemon's stderr")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut sluice = Self {
            pid: process.pid(),
            process: Mutex::new(process),
            address: unknown,
            log,
            host: host.clone(),
            rights,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        };
        let address = wait::until("the daemon listens", START, || {
            if let Some(status) = sluice.process().ended()? {
                bail!("the daemon ended ({status}): {}", sluice.log_text());
            }
            Ok(sluice
                .lines()
                .iter()
                .find(|line| line.message() == "listening")
                .and_then(|line| line.field("addr")))
        });
        let address =
            address.with_context(|| format!("the daemon's log: {}", sluice.log_text()))?;
        sluice.address = address
            .parse()
            .with_context(|| format!("`listening` says {address}"))?;
        Ok(sluice)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A process is as good after a panic elsewhere as before.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// All that it wrote to stderr.
    pub fn log_text(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// The log's lines that are JSON, so far.
    pub fn lines(&self) -> Vec<Line> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter()
            .filter_map(|line| serde_json::from_str(line).ok().map(Line))
            .collect()
    }

    /// Waits for a line of the log.
    ///
    /// # Errors
    ///
    /// At the deadline, with the end of the log.
    pub fn wait_for_line(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<Line> {
        wait::until(&format!("a log line: {what}"), deadline, || {
            Ok(self.lines().into_iter().find(&wanted))
        })
        .with_context(|| {
            let text = self.log_text();
            let lines: Vec<_> = text.lines().rev().take(10).map(str::to_owned).collect();
            format!("the log ends (last first): {}", lines.join("\n"))
        })
    }

    /// The line that tells of the end of a session.
    ///
    /// # Errors
    ///
    /// When there is none within ten seconds.
    pub fn closing_line(&self, cs_id: u32) -> Result<Line> {
        let id = cs_id.to_string();
        self.wait_for_line(
            &format!("`session closed` of {id}"),
            Duration::from_secs(10),
            |line| line.message() == "session closed" && line.field("cs_id").as_ref() == Some(&id),
        )
    }

    /// Bytes of memory that it holds.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        memory::resident_bytes(self.pid)
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.process().signal(signal)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// When waitpid(2) fails.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.process().ended()
    }

    /// Kills it at once (SIGKILL).
    ///
    /// # Errors
    ///
    /// When waitpid(2) fails.
    pub fn kill(&self) -> Result<()> {
        self.process().kill()
    }

    /// Asks it to stop (SIGTERM) and returns its exit code.
    ///
    /// # Errors
    ///
    /// When it does not end within twenty seconds.
    pub fn stop(&self) -> Result<i32> {
        self.process()
            .terminate(Duration::from_secs(20))
            .with_context(|| self.log_text())
    }
}
