//! With what rights the daemon runs: the tests' own, or those that its unit for systemd gives it.

use crate::{place, server, sluice};
use anyhow::{Context as _, Result, bail, ensure};
use seccompiler::TargetArch;
use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

/// The user of a daemon without the tests' rights: `nobody`, who owns nothing.
const NOBODY: u32 = 65_534;
/// First argument of a test program that is to become another one, under a filter of system calls.
const UNDER_FILTER: &str = "--under-filter";

/// The same, under a filter that refuses `io_uring` as a kernel does that has none (`kernel.io_uring_disabled` is the whole machine's).
const WITHOUT_RING: &str = "--without-ring";

/// The daemon's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rights {
    /// Those of the tests.
    Tests,
    /// Those of `sluice unit`: a user other than root with three capabilities and, where `systemd-analyze` can tell which they are, no more than
    /// that file's system calls.
    Unit,
    /// Those of the tests, where the kernel has no `io_uring` for the daemon.
    NoRing,
}

impl Rights {
    /// Those of this run: `SLUICE_TEST_RIGHTS=unit` takes the tests' own away from all its daemons.
    pub fn of_this_run() -> Self {
        match env::var_os("SLUICE_TEST_RIGHTS") {
            Some(value) if value == "unit" => Self::Unit,
            _ => Self::Tests,
        }
    }

    /// The daemon's command, to be run with these rights. `files` are what it shall be able to write.
    ///
    /// # Errors
    ///
    /// When the files cannot be given to it, or its unit file cannot be read.
    pub fn limit(self, command: Command, files: &[&Path]) -> Result<Command> {
        match self {
            Self::Tests => return Ok(command),
            Self::NoRing => {
                let mut outer = Command::new(env::current_exe()?);
                outer.arg(WITHOUT_RING).arg(command.get_program());
                outer.args(command.get_args());
                return Ok(outer);
            }
            Self::Unit => {}
        }
        for file in files {
            let folder = file.parent().context("no folder")?;
            for path in [file, folder] {
                chown(path, Some(NOBODY), Some(NOBODY))
                    .with_context(|| format!("give away {}", path.display()))?;
            }
        }
        let unit = Unit::get()?;
        let capabilities = unit.capabilities();
        let mut outer = Command::new("setpriv");
        outer.args([
            format!("--reuid={NOBODY}"),
            format!("--regid={NOBODY}"),
            "--clear-groups".to_owned(),
            format!("--inh-caps={capabilities}"),
            format!("--ambient-caps={capabilities}"),
            format!("--bounding-set={capabilities}"),
            "--no-new-privs".to_owned(),
            // What was set before goes with the change of users.
            "--pdeathsig=KILL".to_owned(),
        ]);
        outer.arg("--");
        if let Some(filter) = &unit.filter {
            outer.arg(env::current_exe()?).arg(UNDER_FILTER).arg(filter);
        }
        outer.arg(command.get_program()).args(command.get_args());
        Ok(outer)
    }
}

/// Whether [`Rights::Unit`] has a filter of system calls.
///
/// # Errors
///
/// When the unit file cannot be read.
pub fn filters_calls() -> Result<bool> {
    Ok(Unit::get()?.filter.is_some())
}

/// Why no daemon can run with the rights of its unit here, if so.
pub fn missing() -> Option<&'static str> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let is_possible = *KNOWN.get_or_init(is_possible);
    (!is_possible).then_some("user `nobody` cannot run what is in the target folder")
}

/// Others may have no way to the binaries: root's home is closed.
fn is_possible() -> bool {
    let reaches = |path: &Path| {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={NOBODY}"))
            .args(["--clear-groups", "--", "test"]);
        server::run(command.arg("-x").arg(path)).is_ok()
    };
    let own = env::current_exe().ok().zip(sluice::binary().ok());
    own.is_some_and(|(tests, daemon)| reaches(&tests) && reaches(&daemon))
}

/// What the tests take from `sluice unit`.
#[derive(Debug, Clone)]
struct Unit {
    /// Names without `CAP_`, in small letters.
    capabilities: Vec<String>,
    /// A file with the names of its system calls, a line each.
    filter: Option<PathBuf>,
}

impl Unit {
    /// Read once.
    fn get() -> Result<Self> {
        static KNOWN: Mutex<Option<Unit>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unit) = &*known {
            return Ok(unit.clone());
        }
        let text = server::run(&mut sluice::command(&["unit"])?)?;
        let words = |key: &str| -> Result<Vec<String>> {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let words = line.with_context(|| format!("no {key} in the unit"))?;
            Ok(words.split_whitespace().map(str::to_owned).collect())
        };
        let capabilities = words("AmbientCapabilities=")?;
        ensure!(
            capabilities == words("CapabilityBoundingSet=")?,
            "more can be had than is given: {text}"
        );
        let unit = Self {
            capabilities: capabilities
                .iter()
                .map(|name| name.trim_start_matches("CAP_").to_lowercase())
                .collect(),
            filter: filter(&words("SystemCallFilter=")?)?,
        };
        *known = Some(unit.clone());
        Ok(unit)
    }

    /// In the words of setpriv(1).
    fn capabilities(&self) -> String {
        let each = self.capabilities.iter().map(|name| format!(",+{name}"));
        std::iter::once("-all".to_owned()).chain(each).collect()
    }
}

/// A file with the system calls that a unit's words stand for; none where nobody can tell.
fn filter(words: &[String]) -> Result<Option<PathBuf>> {
    let mut calls = Vec::new();
    let mut left: Vec<String> = words.to_vec();
    while let Some(word) = left.pop() {
        if !word.starts_with('@') {
            calls.push(word);
            continue;
        }
        let mut command = Command::new("systemd-analyze");
        let Ok(text) = server::run(command.args(["syscall-filter", &word])) else {
            return Ok(None);
        };
        let members = text.lines().filter(|line| line.starts_with(' '));
        let members = members.map(str::trim).filter(|name| !name.starts_with('#'));
        left.extend(members.map(str::to_owned));
    }
    // systemd knows the calls of every architecture.
    calls.retain(|call| compile(std::slice::from_ref(call)).is_ok());
    ensure!(calls.len() > 100, "{words:?} stand for {calls:?}");
    let file = place::fresh("unit")?.join("calls");
    fs::write(&file, calls.join("\n"))?;
    Ok(Some(file))
}

/// A filter that kills who calls anything else.
fn compile(calls: &[String]) -> Result<seccompiler::BpfProgram> {
    let rules: Vec<_> = calls
        .iter()
        .map(|call| serde_json::json!({ "syscall": call }))
        .collect();
    compile_filter(&serde_json::json!({
        "mismatch_action": "kill_process",
        "match_action": "allow",
        "filter": rules,
    }))
}

/// A filter that answers `io_uring_setup` with `ENOSYS`.
fn compile_without_ring() -> Result<seccompiler::BpfProgram> {
    compile_filter(&serde_json::json!({
        "mismatch_action": "allow",
        "match_action": { "errno": libc::ENOSYS },
        "filter": [{ "syscall": "io_uring_setup" }],
    }))
}

fn compile_filter(filter: &serde_json::Value) -> Result<seccompiler::BpfProgram> {
    let filter = serde_json::json!({ "daemon": filter });
    let architecture = TargetArch::try_from(env::consts::ARCH)?;
    let mut compiled = seccompiler::compile_from_json(filter.to_string().as_bytes(), architecture)?;
    compiled.remove("daemon").context("no filter")
}

/// To be called first by a test program: where it was started to become the daemon under a filter, it does so and never returns.
///
/// # Errors
///
/// When the filter or the program is not to be had.
pub fn become_daemon_if_asked() -> Result<()> {
    let mut words = env::args_os().skip(1);
    let first = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    if first == WITHOUT_RING {
        let (program, arguments) = words.split_first().context("no program")?;
        seccompiler::apply_filter(&compile_without_ring()?)?;
        return Err(Command::new(program).args(arguments).exec()).context("become the daemon");
    }
    if first != UNDER_FILTER {
        return Ok(());
    }
    let [file, program, arguments @ ..] = words.as_slice() else {
        bail!("{UNDER_FILTER} FILE PROGRAM …");
    };
    let calls: Vec<_> = fs::read_to_string(file)?
        .lines()
        .map(str::to_owned)
        .collect();
    seccompiler::apply_filter(&compile(&calls)?)?;
    Err(Command::new(program).args(arguments).exec()).context("become the daemon")
}
