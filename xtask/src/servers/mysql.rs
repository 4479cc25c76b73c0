//! MySQL 9 (`caching_sha2_password`, query attributes, no `mysql_native_password`), from Debian's suite `sid`, without touching the
//! machine's own packages: apt works on private lists and a private, empty record of installed packages, so that it resolves all
//! dependencies down to libc; the packages are unpacked into a folder, and the server is started through that folder's dynamic loader
//! (the machine's libc is older).
//!
//! To start it, `LOADER --library-path ROOT/usr/lib/x86_64-linux-gnu ROOT/usr/sbin/mysqld` with `--no-defaults --secure-file-priv=NULL
//! --pid-file= --mysqlx=OFF --lc-messages-dir= --character-sets-dir= --plugin-dir=`, before that with `--initialize-insecure`. The suite
//! changes daily, so no version is pinned; 61 packages, 65 MB to fetch, ten seconds on a good line.

use super::fill_once;
use crate::{place, run};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The folder that stands for MySQL's root file system.
///
/// # Errors
/// Not an x86-64 Debian, the archive out of reach, or a server that does not start.
pub(super) fn prepare(cache: &Path) -> Result<PathBuf> {
    fill_once(cache, "mysql", starts, |root| {
        ensure!(cfg!(target_arch = "x86_64"), "the recipe is for x86-64");
        ensure!(
            Path::new(KEYRING).is_file(),
            "the recipe needs Debian's archive key, {KEYRING}"
        );
        let apt = root.join("apt");
        download(&apt)?;
        unpack(&apt.join("cache/archives"), root)?;
        fs::remove_dir_all(&apt)?;
        // Since usr was merged no package ships these links.
        for name in ["lib", "lib64"] {
            symlink(Path::new("usr").join(name), root.join(name))?;
        }
        Ok(())
    })
}

fn starts(root: &Path) -> bool {
    let mut server = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
    server
        .arg("--library-path")
        .arg(root.join("usr/lib/x86_64-linux-gnu"));
    run::succeeds(server.arg(root.join("usr/sbin/mysqld")).arg("--version"))
}

/// Puts server, client and all that they depend on into `apt/cache/archives`, checked against the archive's signatures.
fn download(apt: &Path) -> Result<()> {
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(folder))?;
    }
    let sources = apt.join("sources.list");
    fs::write(
        &sources,
        format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian sid main\n"),
    )?;
    let status = apt.join("status");
    fs::write(&status, "")?;
    apt_get(apt, &sources, &status, &["update"])?;
    apt_get(
        apt,
        &sources,
        &status,
        &[
            "install",
            "--yes",
            "--download-only",
            "mysql-server-core",
            "mysql-client-core",
        ],
    )
}

fn apt_get(apt: &Path, sources: &Path, status: &Path, arguments: &[&str]) -> Result<()> {
    let program = place::find_program("apt-get").context("the recipe needs apt-get")?;
    let mut command = Command::new(program);
    let nowhere = Path::new("/dev/null");
    let folders = [
        ("Dir::Etc::sourcelist", sources),
        ("Dir::Etc::sourceparts", nowhere),
        ("Dir::Etc::preferences", nowhere),
        ("Dir::Etc::preferencesparts", nowhere),
        ("Dir::State::status", status),
    ];
    for (option, path) in folders {
        command
            .arg("-o")
            .arg(format!("{option}={}", path.display()));
    }
    command
        .arg("-o")
        .arg(format!("Dir::State::lists={}", apt.join("lists").display()));
    command
        .arg("-o")
        .arg(format!("Dir::Cache={}", apt.join("cache").display()));
    // Only package lists are wanted, in English; the sandbox user cannot write to the cache folder; from a mirror that lags
    // behind, an older server will do (the signature is checked all the same).
    for option in [
        "Acquire::Check-Valid-Until=false",
        "Acquire::Languages=none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        "APT::Sandbox::User=",
        "APT::Install-Recommends=false",
        "Debug::NoLocking=true",
    ] {
        command.args(["-o", option]);
    }
    run::run_quietly(command.arg("--quiet").args(arguments))
}

fn unpack(archives: &Path, root: &Path) -> Result<()> {
    for file in archives.read_dir()? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            run::run_quietly(Command::new("dpkg").arg("--extract").arg(&file).arg(root))?;
        }
    }
    Ok(())
}
