//! The stock `mariadb` command-line client.

use crate::process::{self, Process};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::{ChildStdin, ChildStdout, Command, Output, Stdio},
};

/// Who connects where, and with which options.
#[derive(Debug, Clone)]
pub struct Client {
    options: Vec<String>,
}

impl Client {
    /// A client of this user (`user@tenant#cluster` too).
    pub fn new(address: SocketAddr, user: &str, password: &str) -> Self {
        let options = vec![
            "--no-defaults".to_owned(),
            "--protocol=tcp".to_owned(),
            "--connect-timeout=20".to_owned(),
            format!("--host={}", address.ip()),
            format!("--port={}", address.port()),
            format!("--user={user}"),
            format!("--password={password}"),
        ];
        Self { options }
    }

    /// The same with one more option, such as `--force` or `--table`.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Runs statements given on the command line.
    ///
    /// # Errors
    ///
    /// When the client is not installed; that it fails is part of what it printed.
    pub fn execute(&self, sql: &str) -> Result<Printed> {
        let output = self
            .command()
            .arg(format!("--execute={sql}"))
            .stdin(Stdio::null())
            .output()
            .context(MISSING)?;
        Printed::new(output)
    }

    /// Runs statements given on the standard input, a line or more each.
    ///
    /// # Errors
    ///
    /// As [`Client::execute`].
    pub fn script(&self, text: &str) -> Result<Printed> {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(MISSING)?;
        let mut stdin = child.stdin.take().context("the client's stdin")?;
        // A client that ends early has closed its end; what it printed says why.
        let _unread = stdin.write_all(text.as_bytes());
        drop(stdin);
        Printed::new(child.wait_with_output()?)
    }

    /// Starts a client that is told one statement after another.
    ///
    /// # Errors
    ///
    /// When the client is not installed.
    pub fn start(&self) -> Result<Dialogue> {
        let mut command = self.command();
        command
            .args(["--batch", "--unbuffered", "--skip-reconnect", "--force"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = process::spawn("mariadb", command).context(MISSING)?;
        let child = process.child();
        let stdin = child.stdin.take().context("the client's stdin")?;
        let stdout = child.stdout.take().context("the client's stdout")?;
        Ok(Dialogue {
            stdin,
            stdout: BufReader::new(stdout),
            process,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("mariadb");
        command.args(&self.options);
        command
    }
}

const MISSING: &str = "the mariadb client is missing: `cargo xtask setup` installs it";

/// A client that runs, and goes on after errors; dropping it kills it.
#[derive(Debug)]
pub struct Dialogue {
    process: Process,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What the client prints behind an answer.
const MARK: &str = "end of the answer";

impl Dialogue {
    /// Runs a statement; returns the lines that it prints, split at tabs: columns' names, then rows. An error prints none.
    ///
    /// # Errors
    ///
    /// When the client ends, with what it said.
    pub fn ask(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        writeln!(self.stdin, "{sql};\nSELECT '{MARK}' AS '{MARK}';")?;
        let mut lines = Vec::new();
        let mut marks = 0;
        while marks < 2 {
            let mut line = String::new();
            if self.stdout.read_line(&mut line)? == 0 {
                bail!("the client ended: {}", read_all(&mut self.process)?);
            }
            let line = line.trim_end_matches('\n');
            if line == MARK {
                marks += 1;
            } else {
                lines.push(line.split('\t').map(str::to_owned).collect());
            }
        }
        Ok(lines)
    }

    /// Runs the last statements, whatever comes of them; returns the errors of all that it was told, as [`Printed::errors`].
    ///
    /// # Errors
    ///
    /// As [`Printed::errors`].
    pub fn end(mut self, sql: &str) -> Result<Vec<String>> {
        writeln!(self.stdin, "{sql};")?;
        // The client ends at the end of its input.
        let Self {
            mut process, stdin, ..
        } = self;
        drop(stdin);
        errors(&read_all(&mut process)?)
    }
}

fn read_all(process: &mut Process) -> Result<String> {
    let mut text = String::new();
    if let Some(mut stderr) = process.child().stderr.take() {
        stderr.read_to_string(&mut text)?;
    }
    Ok(text)
}

/// What the client printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// It ended with 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error, without the client's warnings.
    pub stderr: String,
}

impl Printed {
    pub(crate) fn new(output: Output) -> Result<Self> {
        Ok(Self {
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// The lines of the standard output, split at tabs: with `--batch` the names of the columns, then the rows. SQL NULL and the text
    /// `NULL` look the same here.
    ///
    /// # Errors
    ///
    /// The client's words, when it failed.
    pub fn lines(&self) -> Result<Vec<Vec<String>>> {
        ensure!(self.success, "mariadb: {}", self.stderr);
        let cells = |line: &str| line.split('\t').map(str::to_owned).collect();
        Ok(self.stdout.lines().map(cells).collect())
    }

    /// The lines but the first, which must be these names.
    ///
    /// # Errors
    ///
    /// As [`Printed::lines`], and when the names are others.
    pub fn rows(&self, names: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut lines = self.lines()?;
        ensure!(!lines.is_empty(), "nothing was printed");
        let first = lines.remove(0);
        ensure!(first == names, "the columns are {first:?}");
        Ok(lines)
    }

    /// The errors that it printed, as `number (SQLSTATE) text`.
    ///
    /// # Errors
    ///
    /// When an error has no text.
    pub fn errors(&self) -> Result<Vec<String>> {
        errors(&self.stderr)
    }
}

/// `1094 (HY000) Unknown thread id: 7` of `ERROR 1094 (HY000) at line 1: Unknown thread id: 7`; the client also repeats the statement.
fn errors(text: &str) -> Result<Vec<String>> {
    let errors = text.lines().filter_map(|line| line.strip_prefix("ERROR "));
    let read = errors.map(|error| {
        let (head, text) = error
            .split_once(": ")
            .with_context(|| format!("an error without a text: {error}"))?;
        let head = head.split_once(" at line").map_or(head, |(head, _)| head);
        Ok(format!("{head} {text}"))
    });
    read.collect()
}

/// Runs statements as a user would at a shell, without the names of columns.
///
/// # Errors
///
/// When the client is not installed; that it fails is part of the output.
pub fn mariadb(
    address: SocketAddr,
    user: &str,
    password: &str,
    options: &[&str],
    sql: &str,
) -> Result<Printed> {
    let mut client = Client::new(address, user, password)
        .option("--batch")
        .option("--skip-column-names");
    for option in options {
        client = client.option(option);
    }
    client.execute(sql)
}

/// What the statements printed.
///
/// # Errors
///
/// When the client fails, with its words.
pub fn mariadb_prints(
    address: SocketAddr,
    user: &str,
    password: &str,
    options: &[&str],
    sql: &str,
) -> Result<String> {
    let printed = mariadb(address, user, password, options, sql)?;
    ensure!(printed.success, "mariadb: {}", printed.stderr);
    Ok(printed.stdout.trim_end().to_owned())
}
