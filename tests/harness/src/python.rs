//! Python scripts that drive the server through PyMySQL.

use crate::{place, server};
use anyhow::Result;
use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

/// An interpreter that has PyMySQL: `SLUICE_TEST_PYTHON`, else one made under `target/`.
///
/// # Errors
///
/// When it cannot be made.
pub fn interpreter() -> Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| find().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn find() -> Result<PathBuf> {
    if let Some(named) = env::var_os("SLUICE_TEST_PYTHON") {
        return Ok(PathBuf::from(named));
    }
    let folder = place::template("python", |folder| {
        server::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        server::run(
            Command::new(folder.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "PyMySQL"]),
        )?;
        Ok(())
    })?;
    Ok(folder.join("bin/python"))
}

/// Runs a script with host and port as its first arguments; returns what it printed.
///
/// # Errors
///
/// When the script fails, with its traceback.
pub fn run(script: &str, address: SocketAddr, arguments: &[&str]) -> Result<String> {
    let file = place::fresh("python")?.join("script.py");
    fs::write(&file, script)?;
    let printed = server::run(
        Command::new(interpreter()?)
            .arg(&file)
            .args([address.ip().to_string(), address.port().to_string()])
            .args(arguments)
            .stdin(Stdio::null()),
    )?;
    Ok(printed.trim_end().to_owned())
}
