//! `cargo xtask fuzz`: the targets of `proxy/fuzz` under libFuzzer, guided by coverage, with the stable compiler.

use crate::{place, run, setup};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that fails on purpose: how its runs end says whether the fuzzer sees coverage.
const CANARY: &str = "canary";
/// Runs in which the canary is found with coverage; without, none would do.
const CANARY_RUNS: u64 = 5_000_000;
/// What each target gets in `cargo xtask test`. The time only bounds what a slow machine spends: how far it came is no verdict.
const TESTED: Bound = Bound {
    runs: 20_000,
    seconds: 15,
};
/// An input that takes longer, in seconds, is a finding: one of `session` takes a second of a busy machine.
const INPUT_SECONDS: u64 = 200;
/// Memory beyond this, in MiB, is a finding.
const MEMORY_MEBIBYTES: u64 = 1024;

/// Look for inputs that break something.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target: the name of a folder in proxy/fuzz/seeds. All of them, one after another, if none is named
    target: Option<String>,
    /// For how long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Run this file once instead, such as one that was found before
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

/// When a run ends that finds nothing. 0: not by that.
#[derive(Clone, Copy)]
struct Bound {
    runs: u64,
    seconds: u64,
}

/// Runs what the arguments say.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Goal::Fuzz)?;
    let programs = build()?;
    if let (Some(target), Some(input)) = (&arguments.target, &arguments.input) {
        let input = std::path::absolute(input)?;
        return run::run(Command::new(programs.join(target)).arg(input));
    }
    let bound = Bound {
        runs: 0,
        seconds: arguments.seconds,
    };
    let known = targets()?;
    let chosen = match &arguments.target {
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => bail!("no target {target}; there are: {}", known.join(", ")),
        None => known,
    };
    fuzz_all(&programs, &chosen, bound)
}

/// Runs every target for as long as a test may.
pub(crate) fn test() -> Result<()> {
    let programs = build()?;
    fuzz_all(&programs, &targets()?, TESTED)
}

fn fuzz_all(programs: &Path, targets: &[String], bound: Bound) -> Result<()> {
    check_coverage(programs)?;
    let mut failed = Vec::new();
    for target in targets {
        if let Err(error) = fuzz(programs, target, bound) {
            println!("{error:#}");
            failed.push(target.as_str());
        }
    }
    ensure!(
        failed.is_empty(),
        "fuzzing found something in: {}",
        failed.join(", ")
    );
    Ok(())
}

/// Builds all targets with coverage; returns the folder of their programs. Dependencies are those of any other build.
fn build() -> Result<PathBuf> {
    let mut command = run::cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--package=sluice-fuzz",
        "--features=libfuzzer",
        "--bins",
    ]);
    command.env("RUSTC_WORKSPACE_WRAPPER", sources().join("instrument.sh"));
    run::run(&mut command)?;
    Ok(place::target().join("debug"))
}

/// Where inputs and findings are.
fn folder() -> PathBuf {
    place::target().join("fuzz")
}

fn sources() -> PathBuf {
    place::root().join("proxy/fuzz")
}

/// The targets' names.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(sources().join("seeds"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Makes sure that the fuzzer sees what an input leads to: else it would find nothing and all would look well.
fn check_coverage(programs: &Path) -> Result<()> {
    let output = Command::new(programs.join(CANARY))
        .args([
            format!("-runs={CANARY_RUNS}"),
            "-seed=1".to_owned(),
            "-use_value_profile=1".to_owned(),
        ])
        .arg(prefix(CANARY)?)
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && text.contains("canary: found"),
        "the fuzzer does not see coverage: its canary was not found\n{text}"
    );
    Ok(())
}

/// libFuzzer's argument that says where findings go.
fn prefix(target: &str) -> Result<String> {
    let findings = folder().join("findings").join(target);
    fs::create_dir_all(&findings)?;
    Ok(format!("-artifact_prefix={}/", findings.display()))
}

/// Runs one target. Inputs that lead to new places are kept for its next run, and no seed is written to.
fn fuzz(programs: &Path, target: &str, bound: Bound) -> Result<()> {
    let kept = folder().join("inputs").join(target);
    fs::create_dir_all(&kept)?;
    let log = folder().join(format!("{target}.log"));
    let output = fs::File::create(&log)?;
    let mut command = Command::new(programs.join(target));
    command
        .args([
            format!("-timeout={INPUT_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MEBIBYTES}"),
            "-use_value_profile=1".to_owned(),
            "-print_final_stats=1".to_owned(),
            format!("-dict={}", sources().join("sql.dict").display()),
            prefix(target)?,
        ])
        .arg(&kept)
        .arg(sources().join("seeds").join(target))
        .stdout(output.try_clone()?)
        .stderr(output);
    if bound.runs != 0 {
        command.arg(format!("-runs={}", bound.runs)).arg("-seed=1");
    }
    if bound.seconds != 0 {
        command.arg(format!("-max_total_time={}", bound.seconds));
    }
    let status = command
        .status()
        .with_context(|| format!("cannot start the target {target}"))?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    println!("fuzz: {target}: {}", outcome(&text));
    if !status.success() {
        let lines: Vec<&str> = text.lines().collect();
        let last = lines
            .get(lines.len().saturating_sub(60)..)
            .unwrap_or_default();
        bail!(
            "{}\n{}{target} failed; run the file named above again with: cargo xtask fuzz {target} --input FILE",
            last.join("\n"),
            finding(&text)
        );
    }
    Ok(())
}

/// The input that was found, in a form that outlives the machine which found it: a run is bounded by time and need not find it again.
fn finding(log: &str) -> String {
    let path = log
        .rsplit_once("Test unit written to ")
        .and_then(|(_, rest)| rest.lines().next());
    let encoded = path.and_then(|path| {
        let output = Command::new("base64").args(["-w0", path]).output();
        output.ok().filter(|output| output.status.success())
    });
    encoded.map_or_else(String::new, |output| {
        format!(
            "the input (base64 -d > FILE): {}\n",
            String::from_utf8_lossy(&output.stdout)
        )
    })
}

/// Runs and coverage, from libFuzzer's own words.
fn outcome(log: &str) -> String {
    let behind = |mark: &str| {
        let found = log.rfind(mark).and_then(|at| log.get(at + mark.len()..));
        found
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or("?")
    };
    format!(
        "{} runs, {} a second, {} places, {} inputs kept",
        behind("stat::number_of_executed_units:"),
        behind("stat::average_exec_per_sec:"),
        behind(" cov: "),
        behind(" corp: ").split('/').next().unwrap_or("?")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_whole() {
        let path = std::env::temp_dir().join(format!("sluice-finding-{}", std::process::id()));
        fs::write(&path, b"\x00found").unwrap();
        let log = format!("SUMMARY\nTest unit written to {}\nstat::", path.display());
        let told = finding(&log);
        fs::remove_file(&path).unwrap();
        assert_eq!(told, "the input (base64 -d > FILE): AGZvdW5k\n");
        assert_eq!(finding("#512 INITED"), "");
    }

    #[test]
    fn outcomes_are_read_from_the_log() {
        let log = "#512 INITED cov: 7 ft: 8 corp: 2/9b\n#999\tDONE   cov: 812 ft: 4000 corp: 301/12Kb lim: 4096\nstat::number_of_executed_units: 999\nstat::average_exec_per_sec:     333\n";
        assert_eq!(
            outcome(log),
            "999 runs, 333 a second, 812 places, 301 inputs kept"
        );
        assert_eq!(outcome(""), "? runs, ? a second, ? places, ? inputs kept");
    }
}
