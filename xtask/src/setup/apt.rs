//! Debian's packages. Each is known by what it must provide, not by the package manager's records: a machine that has the same
//! program from elsewhere needs no package.

use super::{Goal, bpf_linker};
use crate::bench::proxies::NGINX_STREAM;
use crate::servers::python;
use crate::toolchain::Compiler;
use crate::{place, run, vm};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Where Debian puts MariaDB Connector/J.
const CONNECTOR_J: &str = "/usr/share/java/mariadb-java-client.jar";

/// A package, what is missing without it, and what for.
struct Package {
    name: &'static str,
    goal: Goal,
    why: &'static str,
    is_missing: fn() -> bool,
}

/// In the order in which they are reported.
const PACKAGES: &[Package] = &[
    Package {
        name: "rustc-web",
        goal: Goal::Build,
        why: "a compiler that knows the target bpfel",
        is_missing: no_compiler,
    },
    Package {
        name: "libstd-rust-web-dev-bpf",
        goal: Goal::Build,
        why: "core for that target",
        is_missing: no_compiler,
    },
    Package {
        name: "llvm-22-dev",
        goal: Goal::Build,
        why: "bpf-linker is built against it",
        is_missing: bpf_linker::is_missing,
    },
    Package {
        name: "mariadb-server-core",
        goal: Goal::Demo,
        why: "a private MariaDB",
        is_missing: || no_program("mariadbd"),
    },
    Package {
        name: "mariadb-client-core",
        goal: Goal::Demo,
        why: "the stock client",
        is_missing: || no_program("mariadb"),
    },
    Package {
        name: "mariadb-server",
        goal: Goal::Demo,
        why: "MariaDB's login plugins",
        is_missing: no_mariadb_plugins,
    },
    Package {
        name: "g++",
        goal: Goal::Fuzz,
        why: "libFuzzer is built with it",
        is_missing: || no_program("c++"),
    },
    Package {
        name: "iproute2",
        goal: Goal::Test,
        why: "network namespaces",
        is_missing: || no_program("ip"),
    },
    Package {
        name: "bpftool",
        goal: Goal::Test,
        why: "what is left in the kernel",
        is_missing: || no_program("bpftool"),
    },
    Package {
        name: "python3",
        goal: Goal::Test,
        why: "PyMySQL as a client",
        is_missing: python::is_missing,
    },
    Package {
        name: "python3-venv",
        goal: Goal::Test,
        why: "a private folder for PyMySQL",
        is_missing: python::is_missing,
    },
    Package {
        name: "default-jdk-headless",
        goal: Goal::Test,
        why: "a Java client, compiled and run",
        is_missing: || no_program("javac"),
    },
    Package {
        name: "libmariadb-java",
        goal: Goal::Test,
        why: "its driver, MariaDB Connector/J",
        is_missing: || !Path::new(CONNECTOR_J).is_file(),
    },
    Package {
        name: "qemu-system-x86",
        goal: Goal::Test,
        why: "machines for other kernels",
        is_missing: vm::is_missing,
    },
    Package {
        name: "busybox-static",
        goal: Goal::Test,
        why: "their first process",
        is_missing: || no_program("busybox"),
    },
    Package {
        name: "kmod",
        goal: Goal::Test,
        why: "which modules they need",
        is_missing: || no_program("modprobe"),
    },
    Package {
        name: "xz-utils",
        goal: Goal::Test,
        why: "compressed modules",
        is_missing: || no_program("xz"),
    },
    Package {
        name: "sysbench",
        goal: Goal::Bench,
        why: "load",
        is_missing: || no_program("sysbench"),
    },
    Package {
        name: "haproxy",
        goal: Goal::Bench,
        why: "a proxy to compare with",
        is_missing: || no_program("haproxy"),
    },
    Package {
        name: "nginx",
        goal: Goal::Bench,
        why: "a proxy to compare with",
        is_missing: || no_program("nginx"),
    },
    Package {
        name: "libnginx-mod-stream",
        goal: Goal::Bench,
        why: "nginx without HTTP",
        is_missing: || !Path::new(NGINX_STREAM).is_file(),
    },
    Package {
        name: "iproute2",
        goal: Goal::Bench,
        why: "network namespaces",
        is_missing: || no_program("ip"),
    },
];

/// Installs what a goal lacks, in one go; returns how many packages that were.
pub(crate) fn install_missing(goal: Goal) -> Result<usize> {
    let missing: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| goal.includes(package.goal) && (package.is_missing)())
        .collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let whys: Vec<String> = missing
        .iter()
        .map(|package| format!("{}: {}", package.name, package.why))
        .collect();
    super::step("Debian packages", &whys.join("; "), || install(&names))?;
    Ok(names.len())
}

fn install(names: &[&str]) -> Result<()> {
    // A fresh machine or container has no package lists at all.
    let steps: [&[&str]; 2] = [
        &["update"],
        &["install", "--yes", "--no-install-recommends"],
    ];
    for (arguments, names) in steps.iter().zip([&[], names]) {
        let Some(mut command) = apt_get() else {
            bail!(
                "as root on Debian 12, install these, then try again: {}",
                names.join(" ")
            );
        };
        run::run_quietly(command.args(*arguments).args(names))?;
    }
    Ok(())
}

/// `apt-get` as root, without questions.
fn apt_get() -> Option<Command> {
    // mariadb-server's scripts start its service, which nobody asked for: systemctl heeds SYSTEMD_OFFLINE, SysV's scripts RUNLEVEL.
    let environment = [
        "DEBIAN_FRONTEND=noninteractive",
        "SYSTEMD_OFFLINE=1",
        "RUNLEVEL=1",
    ];
    let apt_get = place::find_program("apt-get")?;
    let mut command = if place::is_root() {
        Command::new("env")
    } else {
        let mut command = Command::new(place::find_program("sudo")?);
        command.arg("env");
        command
    };
    command.args(environment).arg(apt_get).arg("--quiet");
    Some(command)
}

fn no_compiler() -> bool {
    Compiler::find().is_none()
}

fn no_program(name: &str) -> bool {
    place::find_program(name).is_none()
}

fn no_mariadb_plugins() -> bool {
    !Path::new("/usr/lib/mysql/plugin/auth_ed25519.so").is_file()
}
