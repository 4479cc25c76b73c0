//! bpf-linker: turns the compiler's LLVM bitcode into a BPF object with BTF.

use crate::run;
use crate::toolchain::{LLVM_MAJOR, find_linker};
use anyhow::Result;

/// What it is for.
pub(crate) const WHY: &str = "building the BPF programs; compiles for about 40 s";

/// True where there is none that starts.
pub(crate) fn is_missing() -> bool {
    find_linker().is_none()
}

/// Builds it against Debian's LLVM, which `apt` has installed before.
pub(crate) fn install() -> Result<()> {
    let feature = format!("llvm-{LLVM_MAJOR}");
    let mut command = run::cargo(&[
        "install",
        "bpf-linker",
        "--version",
        "0.13.0",
        "--locked",
        "--force",
    ]);
    command.args(["--no-default-features", "--features", &feature]);
    // Its build script looks for llvm-config in PATH, where Debian has none for a numbered LLVM, unless this names the place.
    let llvm = format!("/usr/lib/llvm-{LLVM_MAJOR}");
    command.env("LLVM_PREFIX", &llvm);
    // llvm-sys is told not to link (feature no-llvm-linking), so nothing but this names the folder of libLLVM.
    command.env("RUSTFLAGS", format!("-L native={llvm}/lib"));
    command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    run::run(&mut command)
}
