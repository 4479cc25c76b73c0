//! seekdb, OceanBase's single-node edition: the one OceanBase that fits on a test machine (250 MB resident, up in seconds).
//!
//! The Python package `pylibseekdb` carries the server's binary; nothing in Python is needed to run it:
//! `seekdb --nodaemon --port P --base-dir D --parameter datafile_size=256M --parameter datafile_maxsize=2G
//! --parameter log_disk_size=2G --log-level WARN`, then log in as `root@sys` without a password.

use super::python;
use crate::place::fill_once;
use crate::run;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The binary; the libraries that it brings lie beside it.
///
/// # Errors
/// PyPI out of reach, no package for this machine, or a server that does not start.
pub(super) fn prepare(cache: &Path) -> Result<PathBuf> {
    let binary = |folder: &Path| folder.join("pylibseekdb/seekdb");
    let folder = fill_once(
        cache,
        "seekdb",
        |folder| run::succeeds(Command::new(binary(folder)).arg("--version")),
        |folder| {
            let python = python::prepare(cache)?;
            let target = folder
                .to_str()
                .context("the cache folder's name is not UTF-8")?;
            // Its dependencies serve its Python part only.
            python::pip_install(&python, &["--no-deps", "--target", target, "pylibseekdb"])
        },
    )?;
    Ok(binary(&folder))
}
