//! What the running daemon may still do: nothing, but on kernels without TCX for the one thread that puts programs on interfaces that come later.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    path::Path,
    process,
    rights::{self, Rights},
    server::{PASSWORD, USER},
    sluice,
    sluice::Sluice,
    stage::Stage,
    topology::Topology,
    wait,
    wire::{Connection, Login},
};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("given_up", given_up).daemon(),
    Case::new("interface_that_comes_later", interface_that_comes_later)
        .splicing()
        .except(
            |setting| setting.topology == Topology::Local,
            "all on one host, no interface is covered",
        ),
    Case::new("without_perfmon", without_perfmon)
        .only(Path::Spliced)
        .local(),
];

/// `CAP_NET_ADMIN`, as `/proc` shows sets.
const NET_ADMIN: u64 = 1 << 12;

/// The fields of a thread's `/proc/PID/task/TID/status`.
type Status = BTreeMap<String, String>;

/// Every thread's, by the thread's name.
fn threads(daemon: &Sluice) -> Result<Vec<(String, Status)>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        // One that has ended meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        let status: Status = fields
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let name = status.get("Name").cloned().unwrap_or_default();
        found.push((name, status));
    }
    Ok(found)
}

fn given_up(stage: &Stage) -> Result<()> {
    let daemon = stage.daemon()?;
    // A look-up and an answered statement: threads that start late are there.
    let mut connection = stage.open()?;
    connection.run("SET @a = 1")?;
    connection.run("SHOW PROXYSESSION")?;
    let threads = threads(daemon)?;
    ensure!(threads.len() >= 3, "{threads:?}");
    let has_filters = daemon.log_text().contains("covered (clsact filter)");
    let kept = if has_filters { NET_ADMIN } else { 0 };
    for (name, status) in &threads {
        let field = |field: &str| status.get(field).map(String::as_str);
        let set = |field: &str| -> Result<u64> {
            let text = status.get(field).with_context(|| format!("no {field}"))?;
            Ok(u64::from_str_radix(text, 16)?)
        };
        let expected = if name == "interfaces" { kept } else { 0 };
        assert_eq!(set("CapPrm")?, expected, "{name}");
        assert_eq!(set("CapEff")?, expected, "{name}");
        assert_eq!((set("CapInh")?, set("CapAmb")?), (0, 0), "{name}");
        assert_eq!(field("NoNewPrivs"), Some("1"), "{name}");
        if stage.setting().rights == Rights::Unit {
            let filter = if rights::filters_calls()? { "2" } else { "0" };
            assert_eq!(field("Seccomp"), Some(filter), "{name}");
            let user = field("Uid").context("no Uid")?;
            ensure!(
                !user.split_whitespace().any(|id| id == "0"),
                "{name}: {user}"
            );
        }
    }
    let keepers = threads.iter().filter(|(name, _)| name == "interfaces");
    // `--splice off` has no programs to keep.
    let is_off = stage.setting().topology == Topology::Local && !stage.path().splices();
    assert_eq!(keepers.count(), usize::from(!is_off));
    // And it goes on to splice.
    if stage.path().splices() {
        let before = attribute::splice(&mut connection)?;
        for _ in 0..10 {
            connection.run("SELECT 1")?;
        }
        let after = attribute::splice(&mut connection)?;
        ensure!(
            after.grown(&before, "spliced_commands")? >= 9,
            "{before:?} {after:?}"
        );
    }
    Ok(())
}

fn interface_that_comes_later(stage: &Stage) -> Result<()> {
    let netns = stage.hosts().proxy.netns().context("no network")?;
    let front = stage.private(stage.node(), &[])?;
    let names = ["near", "far"].map(|end| format!("{end}{}", stage.setting().topology.name()));
    let [near, far] = &names;
    netns.ip(&["link", "add", near, "type", "veth", "peer", "name", far])?;
    let address = format!("10.79.{}.1/24", stage.setting().topology as u8);
    netns.ip(&["address", "add", &address, "dev", near])?;
    netns.ip(&["link", "set", near, "up"])?;
    let line = front.daemon()?.wait_for_line(
        "the new interface is looked at",
        Duration::from_secs(10),
        |line| {
            let is_covered = |state: String| state.starts_with("covered");
            line.message() == "wire"
                && line.field("interface").as_ref() == Some(near)
                && line.field("state").is_some_and(is_covered)
        },
    );
    netns.ip(&["link", "del", near])?;
    line.map(|_| ())
}

/// With two of the three capabilities no path can be loaded on any kernel: everything is relayed, and log and doctor say for want of what.
fn without_perfmon(stage: &Stage) -> Result<()> {
    let two = "-all,+bpf,+net_admin";
    let limited = |arguments: &[&str]| -> Result<Command> {
        let mut command = Command::new("setpriv");
        command
            .args([
                &format!("--bounding-set={two}"),
                "--inh-caps=-all",
                "--ambient-caps=-all",
                "--",
            ])
            .arg(sluice::binary()?)
            .args(arguments);
        Ok(command)
    };
    let doctor = limited(&["doctor"])?.output()?;
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let relayed = "relayed: missing capabilities: CAP_PERFMON";
    assert_eq!(told.matches(relayed).count(), 4, "{told}");
    // A free port that the log names.
    let node = stage.node().to_string();
    let flags = ["run", "--listen", "127.0.0.1:0", "--server", &node];
    let mut command = limited(&[&flags[..], &["--log-format", "json"]].concat())?;
    let log = sluice_tests::place::fresh("rights")?.join("log");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?);
    let mut process = process::spawn("sluice", command)?;
    let address = wait::until("it listens", Duration::from_secs(30), || {
        let text = fs::read_to_string(&log)?;
        ensure!(process.ended()?.is_none(), "it ended: {text}");
        let (_, rest) = text.split_once("\"addr\":\"").unwrap_or_default();
        Ok(rest.split_once('"').map(|(address, _)| address.to_owned()))
    })?;
    let address: SocketAddr = address.parse()?;
    let mut connection = Connection::open(address, &Login::new(USER, PASSWORD))?;
    assert_eq!(connection.run("SELECT 'whole'")?.text()?, "whole");
    let splice = attribute::splice(&mut connection)?;
    assert_eq!(splice.text("path")?, "relay", "{splice:?}");
    let text = fs::read_to_string(&log)?;
    ensure!(text.contains("missing capabilities: CAP_PERFMON"), "{text}");
    assert_eq!(process.terminate(Duration::from_secs(20))?, 0);
    Ok(())
}
