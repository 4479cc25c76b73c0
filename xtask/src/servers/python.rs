//! A Python with PyMySQL, one of the clients that the tests drive, and the way to packages that come from PyPI.

use crate::place::fill_once;
use crate::run;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that can make virtual environments. seekdb's package needs 3.11, Debian 12's version.
fn system_python() -> Option<&'static str> {
    const CAPABLE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(|python| run::succeeds(Command::new(python).args(["-c", CAPABLE])))
}

/// True where there is none.
pub(crate) fn is_missing() -> bool {
    system_python().is_none()
}

/// The Python of a virtual environment in which `import pymysql` works.
///
/// # Errors
/// No Python to start from, or PyPI out of reach.
pub(super) fn prepare(cache: &Path) -> Result<PathBuf> {
    let python = |folder: &Path| folder.join("bin/python");
    // The environment's `python` is a link to the system's, so moving the folder leaves it whole; only its scripts (pip) would
    // keep the old path, and nobody calls those.
    let folder = fill_once(
        cache,
        "python",
        |folder| run::succeeds(Command::new(python(folder)).args(["-c", "import pymysql"])),
        |folder| {
            let system = system_python().context("no Python 3.11 or later with venv")?;
            run::run_quietly(Command::new(system).args(["-m", "venv"]).arg(folder))?;
            pip_install(&python(folder), &["PyMySQL"])
        },
    )?;
    Ok(python(&folder))
}

/// `pip install` with the given Python.
pub(super) fn pip_install(python: &Path, arguments: &[&str]) -> Result<()> {
    run::run_quietly(
        Command::new(python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(arguments),
    )
}
