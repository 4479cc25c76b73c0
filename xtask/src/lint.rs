//! `cargo xtask lint`: format, lints, documentation, dependencies, and the rules of this tree.

use crate::{place, run, setup, tidy};
use anyhow::{Result, bail};
use std::process::Command;
use std::time::Instant;

/// Runs every check, also after one has failed, and ends with a list.
pub(crate) fn run() -> Result<()> {
    setup::ensure(setup::Goal::Lint)?;
    let mut failed = Vec::new();
    let mut check = |name: &'static str, result: &dyn Fn() -> Result<()>| {
        let start = Instant::now();
        let result = result();
        println!(
            "lint: {name}: {} ({:.0} s)",
            if result.is_ok() { "passed" } else { "FAILED" },
            start.elapsed().as_secs_f64()
        );
        if let Err(error) = result {
            println!("{error:#}");
            failed.push(name);
        }
    };
    check("tidy", &tidy::run);
    check("rustfmt", &|| {
        run::run(&mut run::cargo(&["fmt", "--all", "--check"]))
    });
    check("clippy", &|| {
        run::run(&mut clippy(&["--workspace", "--all-targets"], &[]))
    });
    // On the host's target, where clippy has a core library; programs without one must abort on panic.
    check("clippy of the BPF programs", &|| {
        let programs = [
            "--package",
            "sluice-ebpf",
            "--features",
            "bpf",
            "--bin",
            "sluice-ebpf",
        ];
        run::run(&mut clippy(&programs, &["-C", "panic=abort"]))
    });
    check("rustdoc", &|| run::run(&mut rustdoc()));
    if place::find_program("cargo-deny").is_some() {
        check("cargo-deny", &|| {
            run::run(&mut run::cargo(&[
                "deny", "check", "bans", "licenses", "sources",
            ]))
        });
    } else {
        println!(
            "lint: cargo-deny: not installed, so licences and duplicates of dependencies were not checked"
        );
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    Ok(())
}

fn clippy(packages: &[&str], flags: &[&str]) -> Command {
    let mut command = run::cargo(&["clippy", "--quiet", "--locked", "--keep-going"]);
    command
        .args(packages)
        .args(["--", "--deny", "warnings"])
        .args(flags);
    command
}

fn rustdoc() -> Command {
    let mut command = run::cargo(&[
        "doc",
        "--quiet",
        "--locked",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    command.env("RUSTDOCFLAGS", "--deny warnings");
    command
}
