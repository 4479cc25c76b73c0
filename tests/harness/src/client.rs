//! The stock `mariadb` command-line client.

use anyhow::{Context as _, Result};
use std::{
    net::SocketAddr,
    process::{Command, Output, Stdio},
};

/// Runs statements as a user would at a shell.
///
/// # Errors
///
/// When the client is not installed; that it fails is part of the output.
pub fn mariadb(
    address: SocketAddr,
    user: &str,
    password: &str,
    options: &[&str],
    sql: &str,
) -> Result<Output> {
    Command::new("mariadb")
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "--batch",
            "--skip-column-names",
            "--connect-timeout=20",
        ])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--user={user}"))
        .arg(format!("--password={password}"))
        .args(options)
        .arg(format!("--execute={sql}"))
        .stdin(Stdio::null())
        .output()
        .context("the mariadb client is missing: `cargo xtask setup` installs it")
}

/// What the statements printed.
///
/// # Errors
///
/// When the client fails, with its words.
pub fn mariadb_prints(
    address: SocketAddr,
    user: &str,
    password: &str,
    options: &[&str],
    sql: &str,
) -> Result<String> {
    let output = mariadb(address, user, password, options, sql)?;
    anyhow::ensure!(
        output.status.success(),
        "mariadb: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
