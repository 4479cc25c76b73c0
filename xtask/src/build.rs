//! `cargo xtask build`, `cargo xtask build-ebpf`.

use crate::toolchain::{OBJECT, Toolchain};
use crate::{place, run, setup};
use anyhow::{Result, anyhow};
use std::path::PathBuf;

/// Builds the release daemon, BPF programs included.
pub(crate) fn build() -> Result<()> {
    build_daemon()?;
    println!("{}", place::daemon().display());
    Ok(())
}

/// What other tasks run first: the same without a word on success.
pub(crate) fn build_daemon() -> Result<()> {
    setup::ensure(setup::Goal::Build)?;
    run::run(&mut run::cargo(&[
        "build",
        "--locked",
        "--release",
        "--package",
        "sluice",
    ]))
}

/// Builds a program of the tests, which works as hard as the daemon does: for release.
pub(crate) fn build_test_program(name: &str) -> Result<PathBuf> {
    run::run(&mut run::cargo(&[
        "build",
        "--locked",
        "--release",
        "--package",
        "sluice-tests",
        "--bin",
        name,
    ]))?;
    Ok(place::target().join("release").join(name))
}

/// Builds the BPF object by itself, with cargo's full output.
pub(crate) fn build_ebpf() -> Result<()> {
    setup::ensure(setup::Goal::Build)?;
    let toolchain = Toolchain::find().map_err(|sentence| anyhow!(sentence))?;
    let target_dir = place::target().join("bpf");
    println!(
        "compiler: {}, linker: {}",
        toolchain.compiler.name(),
        toolchain.linker.display()
    );
    run::run(&mut toolchain.build_command(&place::cargo(), place::root(), &target_dir))?;
    println!("{}", target_dir.join(OBJECT).display());
    Ok(())
}
