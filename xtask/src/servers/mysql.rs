//! MySQL 9 (`caching_sha2_password`, query attributes, no `mysql_native_password`), from Debian's suite `sid`, without touching the
//! machine's own packages: apt works on private lists and a private, empty record of installed packages, so that it resolves all
//! dependencies down to libc; the packages are unpacked into a folder, and the server is started through that folder's dynamic loader
//! (the machine's libc is older).
//!
//! To start it, `LOADER --library-path ROOT/usr/lib/x86_64-linux-gnu ROOT/usr/sbin/mysqld` with `--no-defaults --secure-file-priv=NULL
//! --pid-file= --mysqlx=OFF --lc-messages-dir= --character-sets-dir= --plugin-dir=`, before that with `--initialize-insecure`. The suite
//! changes daily, so no version is pinned; 61 packages, 65 MB to fetch, ten seconds on a good line.

use crate::archive::Archive;
use crate::place::fill_once;
use crate::run;
use anyhow::{Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITE: &str = "http://deb.debian.org/debian sid main";

/// The folder that stands for MySQL's root file system.
///
/// # Errors
/// Not an x86-64 Debian, the archive out of reach, or a server that does not start.
pub(super) fn prepare(cache: &Path) -> Result<PathBuf> {
    fill_once(cache, "mysql", starts, |root| {
        ensure!(cfg!(target_arch = "x86_64"), "the recipe is for x86-64");
        let apt = root.join("apt");
        let archive = Archive::open(apt.clone(), &[SUITE])?;
        archive.fetch_with_all(&["mysql-server-core", "mysql-client-core"])?;
        archive.unpack(root)?;
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
