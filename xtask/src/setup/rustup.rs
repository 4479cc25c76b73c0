//! Components of the Rust toolchain that runs us.

use crate::run;
use anyhow::Result;
use std::process::Command;

/// rustup's names for the components that `cargo xtask lint` uses and this toolchain lacks.
pub(crate) fn missing_components() -> impl Iterator<Item = &'static str> {
    let components = [("rustfmt", "fmt"), ("clippy", "clippy")];
    components
        .into_iter()
        .filter(|(_, task)| !run::succeeds(&mut run::cargo(&[task, "--version"])))
        .map(|(name, _)| name)
}

/// Adds a component to the toolchain in use.
pub(crate) fn install(component: &str) -> Result<()> {
    run::run(Command::new("rustup").args(["component", "add", component]))
}
