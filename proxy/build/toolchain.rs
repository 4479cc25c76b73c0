//! Which tools on this machine can build BPF programs, and the command that does it. The build script of `sluice` and `xtask` both
//! compile this file, so that they never disagree; it uses nothing but `std`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The major version of LLVM that `cargo xtask setup` gives to bpf-linker. The linker reads the compiler's bitcode, so a compiler of
/// another LLVM is no candidate.
pub(crate) const LLVM_MAJOR: u32 = 22;

/// The object's place below the target directory.
pub(crate) const OBJECT: &str = "bpfel-unknown-none/release/sluice-ebpf";

/// Debian's compiler. It is named by its path because rustup's proxy usually comes first in `PATH`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler that has `core` for `bpfel-unknown-none`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compiler {
    /// rustup's nightly, which builds `core` itself from its component `rust-src`.
    Nightly,
    /// Debian's `rustc-web`; `libstd-rust-web-dev-bpf` ships `core` ready-made.
    Debian,
}

impl Compiler {
    /// The first compiler that will do: a nightly that someone equipped for this on purpose, else Debian's.
    pub(crate) fn find() -> Option<Self> {
        if nightly_will_do() {
            Some(Self::Nightly)
        } else if debian_will_do() {
            Some(Self::Debian)
        } else {
            None
        }
    }

    /// What to call it in front of users.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nightly => "rustup's nightly with rust-src",
            Self::Debian => "Debian's rustc-web",
        }
    }
}

/// Everything that a build of the BPF object needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Toolchain {
    /// Compiles Rust to LLVM bitcode.
    pub(crate) compiler: Compiler,
    /// `bpf-linker`: bitcode to a BPF object with BTF.
    pub(crate) linker: PathBuf,
}

impl Toolchain {
    /// Searches this machine.
    ///
    /// # Errors
    /// One sentence that says what is missing and which command installs it.
    pub(crate) fn find() -> Result<Self, String> {
        let missing = match (Compiler::find(), find_linker()) {
            (Some(compiler), Some(linker)) => return Ok(Self { compiler, linker }),
            (None, Some(_)) => "no compiler here has `core` for bpfel-unknown-none",
            (Some(_), None) => "bpf-linker is not installed",
            (None, None) => {
                "there is neither a compiler with `core` for bpfel-unknown-none nor bpf-linker here"
            }
        };
        Err(format!(
            "cannot build the BPF programs: {missing}; `cargo xtask setup` installs what is missing"
        ))
    }

    /// The command that leaves the object at [`OBJECT`] below `target_dir`. `cargo` is the one that runs us (`$CARGO`), `root`
    /// the workspace's folder.
    pub(crate) fn build_command(&self, cargo: &Path, root: &Path, target_dir: &Path) -> Command {
        let mut command = match self.compiler {
            Compiler::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]);
                command
            }
            Compiler::Debian => Command::new(cargo),
        };
        forget_outer_build(&mut command);
        command.args([
            "build",
            "--locked",
            "--package",
            "sluice-ebpf",
            "--bin",
            "sluice-ebpf",
            "--features",
            "bpf",
        ]);
        command.args(["--release", "--target", "bpfel-unknown-none"]);
        command.arg("--manifest-path").arg(root.join("Cargo.toml"));
        command.arg("--target-dir").arg(target_dir);
        // bpf-linker derives BTF from full debug information; the daemon's release profile has line tables only.
        for setting in [
            "debug=2",
            "opt-level=3",
            "codegen-units=1",
            "lto=false",
            "overflow-checks=false",
            "debug-assertions=false",
            "panic='abort'",
        ] {
            command
                .arg("--config")
                .arg(format!("profile.release.{setting}"));
        }
        match self.compiler {
            Compiler::Nightly => command.arg("-Zbuild-std=core"),
            // aya-ebpf uses unstable features, which a stable compiler allows with RUSTC_BOOTSTRAP only.
            Compiler::Debian => command
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1"),
        };
        command.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags().join("\x1f"));
        command
    }

    fn rustflags(&self) -> [String; 4] {
        [
            format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
            format!("-Clinker={}", self.linker.display()),
            "-Clink-arg=--btf".to_owned(),
            // Else each memset is a call, and before 6.9 a kernel allows none under a spin lock.
            "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        ]
    }
}

/// Where `bpf-linker` is: in `PATH`, else where `cargo install` puts programs. A linker that does not start (its libLLVM was removed)
/// counts as missing.
pub(crate) fn find_linker() -> Option<PathBuf> {
    let in_path = env::var_os("PATH")
        .into_iter()
        .flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    in_path
        .chain(cargo_home.or(home).map(|folder| folder.join("bin")))
        .map(|folder| folder.join("bpf-linker"))
        .find(|linker| linker.is_file() && output(Command::new(linker).arg("--version")).is_some())
}

fn nightly_will_do() -> bool {
    let rustc = |argument: &[&str]| {
        output(
            Command::new("rustup")
                .args(["run", "nightly", "rustc"])
                .args(argument),
        )
    };
    let Some(sysroot) = rustc(&["--print", "sysroot"]) else {
        return false;
    };
    Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
        && rustc(&["-vV"]).is_some_and(|version| llvm_major(&version) == Some(LLVM_MAJOR))
}

fn debian_will_do() -> bool {
    let rustc = |argument: &[&str]| output(Command::new(DEBIAN_RUSTC).args(argument));
    let core = rustc(&["--print", "target-libdir", "--target", "bpfel-unknown-none"])
        .and_then(|folder| Path::new(folder.trim()).read_dir().ok())
        .is_some_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
            })
        });
    core && rustc(&["-vV"]).is_some_and(|version| llvm_major(&version) == Some(LLVM_MAJOR))
}

/// The major version in `rustc -vV`'s line `LLVM version: 22.1.4`.
fn llvm_major(version: &str) -> Option<u32> {
    version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// What cargo and clippy set for their own build is wrong for the nested one: another compiler, other flags, another package's
/// features. What configures cargo itself (its home, registries, proxies, the job server) stays.
fn forget_outer_build(command: &mut Command) {
    const NAMES: [&str; 9] = [
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 6] = [
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "DEP_",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NAMES.contains(&text.as_ref()) || PREFIXES.iter().any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
}

/// Standard output, where the command exists and succeeds. Without `RUSTUP_TOOLCHAIN`, which the cargo that runs us sets.
fn output(command: &mut Command) -> Option<String> {
    let output = command.env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
