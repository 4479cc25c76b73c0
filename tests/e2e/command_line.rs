//! The command line and its exit codes.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    path::Path,
    place,
    process::{self, Process},
    server::{PASSWORD, USER},
    sluice,
    stage::Stage,
    wait,
    wire::{Connection, Login},
};
use std::{fs, net::TcpListener, process::Stdio, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("exit_codes", exit_codes)
        .only(Path::Relayed)
        .local(),
    Case::new("configuration_file", configuration_file)
        .only(Path::Relayed)
        .local(),
    Case::new("require_without_privileges", require_without_privileges)
        .only(Path::Relayed)
        .local(),
    Case::new("doctor", doctor).only(Path::Spliced).local(),
    Case::new("starts_with_what_it_says", starts_with_what_it_says)
        .daemon()
        .local(),
];

/// Exit code, and all that was printed.
fn run(mut command: std::process::Command) -> Result<(i32, String)> {
    let file = place::fresh("command")?.join("output");
    let output = fs::File::create(&file)?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    let mut process: Process = process::spawn("sluice", command)?;
    let status = wait::until("the command ended", Duration::from_secs(30), || {
        process.ended()
    })
    .with_context(|| fs::read_to_string(&file).unwrap_or_default())?;
    Ok((
        status.code().context("ended by a signal")?,
        fs::read_to_string(&file)?,
    ))
}

fn exit_codes(stage: &Stage) -> Result<()> {
    let node = stage.node().to_string();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let unknown = place::fresh("config")?.join("sluice.toml");
    fs::write(&unknown, "listen = \"127.0.0.1:0\"\nno_such_key = 1\n")?;
    let unknown = unknown.display().to_string();
    for (arguments, code, words) in [
        (vec!["run", "--no-such-flag"], 2, "no-such-flag"),
        (vec!["no-such-command"], 2, "no-such-command"),
        (
            vec!["run", "--listen", "nonsense", "--server", &node],
            2,
            "nonsense",
        ),
        (vec!["run", "--config", &unknown], 2, "no_such_key"),
        (vec!["check-config", "--config", &unknown], 2, "no_such_key"),
        (
            vec!["check-config", "--config", "/no/such/file"],
            2,
            "/no/such/file",
        ),
        (
            vec![
                "run", "--listen", &taken, "--server", &node, "--splice", "off",
            ],
            4,
            taken.as_str(),
        ),
        (vec!["--help"], 0, "check-config"),
        (vec!["--version"], 0, "sluice"),
    ] {
        let (got, printed) = run(sluice::command(&arguments)?)?;
        assert_eq!(got, code, "{arguments:?}: {printed}");
        ensure!(
            printed.contains(words),
            "{arguments:?} prints nothing of {words}: {printed}"
        );
    }
    Ok(())
}

fn configuration_file(stage: &Stage) -> Result<()> {
    let file = place::fresh("config")?.join("sluice.toml");
    let text = "listen = \"127.0.0.1:1\"\nsplice = \"off\"\n";
    fs::write(&file, text)?;
    let path = file.display().to_string();
    // The command line wins: the file's port is one that cannot be what the daemon says.
    let front = stage.private(stage.node(), &["--config", &path])?;
    let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
    assert_eq!(connection.run("SELECT 1")?.text()?, "1");
    assert_ne!(front.address().port(), 1);
    let (code, printed) = run(sluice::command(&["check-config", "--config", &path])?)?;
    // Whether a file without a node is whole is the daemon's affair; that it can be read is not.
    ensure!(
        code == 0 || printed.contains("cluster") || printed.contains("server"),
        "{code}: {printed}"
    );
    Ok(())
}

/// Nobody may load programs: `require` says so and `auto` goes on without.
fn require_without_privileges(stage: &Stage) -> Result<()> {
    let node = stage.node().to_string();
    let powerless = |splice: &str| -> Result<std::process::Command> {
        let mut command = std::process::Command::new("setpriv");
        command
            .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
            .arg(sluice::binary()?);
        command.args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--server",
            &node,
            "--splice",
            splice,
            "--log-format",
            "json",
        ]);
        Ok(command)
    };
    let (code, printed) = run(powerless("require")?)?;
    assert_eq!(code, 3, "{printed}");
    ensure!(
        printed.to_lowercase().contains("cap"),
        "it does not say what is missing: {printed}"
    );
    let file = place::fresh("command")?.join("output");
    let mut command = powerless("auto")?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&file)?);
    let mut process = process::spawn("sluice", command)?;
    wait::until_true("it listens", Duration::from_secs(30), || {
        ensure!(
            process.ended()?.is_none(),
            "it ended: {}",
            fs::read_to_string(&file)?
        );
        Ok(fs::read_to_string(&file)?.contains("\"listening\""))
    })?;
    let log = fs::read_to_string(&file)?;
    ensure!(
        log.contains("\"relay\""),
        "it does not say that it relays: {log}"
    );
    assert_eq!(process.terminate(Duration::from_secs(20))?, 0);
    Ok(())
}

fn doctor(_: &Stage) -> Result<()> {
    let (code, printed) = run(sluice::command(&["doctor", "--splice", "require"])?)?;
    assert_eq!(code, 0, "{printed}");
    for word in [
        "cgroup v2",
        "capabilities",
        "self-test, local",
        "self-test, wire",
        "client here, node elsewhere",
        "node here, client elsewhere",
        "client and node elsewhere",
    ] {
        ensure!(printed.contains(word), "nothing of {word}: {printed}");
    }
    Ok(())
}

fn starts_with_what_it_says(stage: &Stage) -> Result<()> {
    let daemon = stage.daemon()?;
    let lines = daemon.lines();
    let listening: Vec<_> = lines
        .iter()
        .filter(|line| line.message() == "listening")
        .collect();
    assert_eq!(listening.len(), 1, "{listening:?}");
    let splice = lines
        .iter()
        .find(|line| line.message() == "splice")
        .context("no line about splicing")?;
    let mode = if stage.path().splices() {
        "local"
    } else {
        "relay"
    };
    assert_eq!(splice.field("mode").as_deref(), Some(mode), "{splice:?}");
    ensure!(
        splice
            .field("reason")
            .is_some_and(|reason| !reason.is_empty()),
        "{splice:?}"
    );
    Ok(())
}
