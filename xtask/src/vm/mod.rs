//! `cargo xtask vm-test`: Sluice on other kernels. Each is Debian's own, boots in an emulated machine on this host's file system (read only, changes
//! are kept in the machine's memory), and there the daemon proves its paths (`sluice doctor`) and passes end-to-end tests.

mod initramfs;
mod kernels;
mod machine;
mod report;

use crate::{build, place, run, servers, setup, torture};
use anyhow::{Context as _, Result, bail};
use kernels::{Kernel, Unpacked};
use machine::{Done, Size, Work};
use report::{Doctor, Row, Tests};
use serde_json::Value;
use sluice_tests::{host::Host, mariadb};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What is tested where time is short: each path and topology, with reclaim, spill, kill, transactions and sessions that change.
const SOME: &str = "mariadb::login::good,mariadb::transaction,mariadb::spill::huge_row,spliced::mariadb::spill::reader,spliced::mariadb::kill::,gateway::mariadb::kill::,\
spliced::mariadb::session,spliced::mariadb::close,node_side::mariadb::close,sidecar::mariadb::prepared,gateway::mariadb::pipelined,\
spliced::mariadb::pipelined,mariadb::on_the_wire";
/// How many times slower the machine is than this one, for the tests' deadlines. Seen here: about ten times.
const SLOWNESS: &str = "10";
/// For the start alone, or for doctor.
const PATIENCE: Duration = Duration::from_mins(10);

/// Test Sluice on other kernels, in emulated machines.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The kernels; without it all: 5.10, 6.1, 6.12, sid
    #[arg(long, num_args = 1..)]
    kernel: Vec<String>,
    /// Parts of the names of end-to-end tests, with commas; `all` for all of them (hours)
    #[arg(long, default_value = SOME, hide_default_value = true)]
    tests: String,
    /// Seconds of torture behind the tests; 0: none
    #[arg(long, default_value_t = 60)]
    torture_seconds: u64,
    /// Megabytes of memory of a machine; what the tests write is in it
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Minutes that the tests on one kernel may take
    #[arg(long, default_value_t = 120)]
    minutes: u64,
}

/// What runs in the machines.
struct Programs {
    daemon: PathBuf,
    tests: PathBuf,
    torture: Option<PathBuf>,
    servers: Vec<(&'static str, PathBuf)>,
}

/// Tests on each kernel, and tells it in a table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let kernels = chosen(&arguments.kernel)?;
    setup::ensure(setup::Goal::Test)?;
    let programs = Programs::prepare(arguments.torture_seconds != 0)?;
    let mut rows = Vec::new();
    for kernel in kernels {
        let row = match kernel.unpack() {
            Ok(unpacked) => on(&unpacked, &programs, arguments),
            Err(error) => Row::absent(kernel.name, &error),
        };
        println!("{}\n{}", report::HEAD, row.text());
        rows.push(row);
    }
    sluice_tests::place::clear()?;
    println!("\n{}", report::HEAD);
    for row in &rows {
        println!("{}", row.text());
    }
    if rows.iter().any(Row::is_failure) {
        bail!("tests failed, or a kernel could not be tested");
    }
    Ok(())
}

/// What belongs to `cargo xtask test`; the daemon has been built: the oldest kernel whose sessions are spliced loads the programs, as its verifier takes
/// much less than a new one's, and has both paths.
///
/// # Errors
/// It does not, or there is no such machine.
pub(crate) fn test() -> Result<()> {
    let oldest = kernels::ALL.iter().find(|kernel| kernel.splices);
    let kernel = oldest.context("no kernel splices")?.unpack()?;
    let size = Size {
        memory: 1024,
        processors: 2,
    };
    println!("Linux {}: doctor, in an emulated machine", kernel.release);
    let doctor = doctor(&kernel, &size, &place::daemon())?;
    sluice_tests::place::clear()?;
    doctor.both_paths().map_err(|why| {
        println!("{}", doctor.text());
        anyhow::anyhow!("Linux {}: {why}", kernel.release)
    })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(kernels::ALL.iter().collect());
    }
    let find = |name: &String| {
        let known = kernels::ALL.iter().find(|kernel| kernel.name == name);
        known.with_context(|| format!("unknown kernel {name}"))
    };
    names.iter().map(find).collect()
}

impl Programs {
    /// Builds daemon and tests. `SLUICE_BIN` names a daemon that was built before.
    fn prepare(tortures: bool) -> Result<Self> {
        let daemon = if let Some(named) = env::var_os("SLUICE_BIN") {
            PathBuf::from(named)
        } else {
            build::build_daemon()?;
            place::daemon()
        };
        let servers = servers::prepare();
        for (name, why) in &servers.absent {
            println!("not tested against {name}: {why}");
        }
        // A new MariaDB's files take a minute to make in the machine; here they are kept.
        drop(mariadb::start(&[], &Host::here())?);
        Ok(Self {
            daemon,
            tests: tests()?,
            torture: tortures.then(torture::program).transpose()?,
            servers: servers.environment,
        })
    }
}

/// The program of the end-to-end tests.
fn tests() -> Result<PathBuf> {
    let mut command = run::cargo(&["test", "--locked", "--package", "sluice-tests"]);
    command.args(["--test", "e2e", "--no-run", "--message-format", "json"]);
    let messages = run::capture(command.stderr(Stdio::inherit()))?;
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name")? == "e2e";
        is_it.then(|| message.get("executable")?.as_str().map(PathBuf::from))?
    });
    executable.context("cargo names no program of the end-to-end tests")
}

/// All that is done on one kernel.
fn on(kernel: &Unpacked, programs: &Programs, arguments: &Arguments) -> Row {
    let size = Size {
        memory: arguments.memory,
        processors: 2,
    };
    let start = Instant::now();
    println!("{}: doctor", kernel.release);
    let doctor = match doctor(kernel, &size, &programs.daemon) {
        Ok(doctor) => doctor,
        Err(error) => return Row::absent(&kernel.release, &error),
    };
    println!("{}", doctor.text());
    println!("{}: tests", kernel.release);
    let patience = Duration::from_secs(arguments.minutes * 60);
    let work = work(programs, arguments, &doctor);
    let tests = match machine::run(kernel, &size, &work, patience) {
        Ok(done) => {
            let (text, code) = done.step("tests");
            println!("{text}");
            let torture = programs.torture.as_ref().map(|_| done.step("torture"));
            if let Some((text, _)) = &torture {
                println!("{text}");
            }
            let torture = torture.map(|(_, code)| report::torture(code));
            Tests::read(&text, code, torture, complaints(&done))
        }
        Err(error) => Tests::none(&error),
    };
    Row::new(kernel, doctor, tests, start.elapsed())
}

fn doctor(kernel: &Unpacked, size: &Size, daemon: &Path) -> Result<Doctor> {
    let mut work = Work::default();
    let daemon = daemon.display().to_string();
    // A link besides lo, for the wire to be on.
    work.step(
        "link",
        &[
            "ip", "link", "add", "test0", "type", "veth", "peer", "name", "test1",
        ],
    );
    work.step(
        "address",
        &["ip", "address", "add", "192.0.2.1/24", "dev", "test0"],
    );
    work.step("up", &["ip", "link", "set", "test0", "up"]);
    work.step("other", &["ip", "link", "set", "test1", "up"]);
    work.step("doctor", &[&daemon, "doctor"]);
    let done = machine::run(kernel, size, &work, PATIENCE)?;
    let (text, code) = done.step("doctor");
    if code.is_none() {
        bail!("doctor did not end: {}", done.last_words());
    }
    Ok(Doctor::read(&text, complaints(&done)))
}

fn work(programs: &Programs, arguments: &Arguments, doctor: &Doctor) -> Work {
    let mut work = Work::default();
    work.set("HOME", &env::var("HOME").unwrap_or_default());
    work.set("SLUICE_BIN", &programs.daemon.display().to_string());
    work.set("SLUICE_TEST_SLOWNESS", SLOWNESS);
    if arguments.tests != "all" {
        work.set("SLUICE_TEST_ONLY", &arguments.tests);
    }
    for (name, path) in &programs.servers {
        work.set(name, &path.display().to_string());
    }
    let program = programs.tests.display().to_string();
    let mut words = vec![program.as_str(), "--test-threads", "2"];
    // What the kernel cannot do the tests cannot ask for.
    if !doctor.has_local() {
        words.extend(["--skip", "spliced::"]);
    }
    if !doctor.has_wire() {
        work.set("SLUICE_TEST_WIRE", "0");
    }
    work.step("tests", &words);
    if let Some(torture) = &programs.torture {
        let seconds = arguments.torture_seconds.to_string();
        let torture = torture.display().to_string();
        // Two worlds are what the memory has room for. Without troubles: a daemon takes half a minute there to start again.
        let mut words = vec![&*torture, "--seconds", &seconds, "--clients", "2"];
        words.extend(["--topology", "local,gateway", "--no-troubles"]);
        if !doctor.has_local() {
            words.extend(["--path", "relay"]);
        }
        work.step("torture", &words);
    }
    work
}

/// How often the kernel complained of itself; how, is shown.
fn complaints(done: &Done) -> usize {
    let lines = done.complaints();
    for line in &lines {
        println!("{line}");
    }
    lines.len()
}

/// True where the emulator is not installed.
pub(crate) fn is_missing() -> bool {
    place::find_program(machine::QEMU).is_none()
}
