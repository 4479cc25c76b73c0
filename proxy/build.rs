//! Builds the BPF programs of `proxy-ebpf` and tells the daemon where the object is (`SLUICE_EBPF_OBJECT`), which embeds it.

#[path = "build/toolchain.rs"]
mod toolchain;

use std::env;
use std::path::{Path, PathBuf};

/// What the object is made of, relative to the workspace: a change of any of it runs this script again.
const SOURCES: [&str; 6] = [
    "proxy-ebpf/src",
    "proxy-ebpf/programs",
    "proxy-ebpf/Cargo.toml",
    "proxy/build",
    "Cargo.toml",
    "Cargo.lock",
];

fn main() {
    match build() {
        Ok(object) => println!("cargo::rustc-env=SLUICE_EBPF_OBJECT={}", object.display()),
        Err(sentence) => println!("cargo::error={sentence}"),
    }
}

/// Builds the object and returns its path; an error is one sentence for the person who builds.
fn build() -> Result<PathBuf, String> {
    let manifest_dir = variable("CARGO_MANIFEST_DIR")?;
    let root = manifest_dir
        .parent()
        .ok_or("the package has no parent folder")?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!(
        "cargo::rerun-if-changed={}",
        manifest_dir.join("build.rs").display()
    );
    let target_dir = variable("OUT_DIR")?.join("bpf");
    let toolchain = toolchain::Toolchain::find()?;
    run(&toolchain, root, &target_dir)?;
    Ok(target_dir.join(toolchain::OBJECT))
}

fn run(toolchain: &toolchain::Toolchain, root: &Path, target_dir: &Path) -> Result<(), String> {
    let cargo = variable("CARGO")?;
    let status = toolchain
        .build_command(&cargo, root, target_dir)
        .status()
        .map_err(|error| format!("cannot start cargo for the BPF programs: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "the BPF programs do not build with {} (see above)",
            toolchain.compiler.name()
        ))
    }
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("cargo did not set {name}"))
}
