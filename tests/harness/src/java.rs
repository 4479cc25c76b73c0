//! Java programs that drive the server through `MariaDB` Connector/J, as Debian packages it.

use crate::{place, server};
use anyhow::{Context as _, Result};
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

/// The driver (package `libmariadb-java`).
pub const DRIVER: &str = "/usr/share/java/mariadb-java-client.jar";
/// For a program, as `timeout` reads it.
const DEADLINE: &str = "5m";

/// Compiles a program whose class is `Client` and runs it with host and port as its first arguments; returns what it printed.
///
/// # Errors
///
/// When there is no compiler, or when it or the program fail, with their words.
pub fn run(program: &str, address: SocketAddr, arguments: &[&str]) -> Result<String> {
    let folder = place::fresh("java")?;
    let file = folder.join("Client.java");
    fs::write(&file, program)?;
    server::run(
        Command::new("javac")
            .args(["-J-Xmx256m", "-cp", DRIVER, "-d"])
            .arg(&folder)
            .arg(&file),
    )
    .context("javac")?;
    // A machine may have little memory, and short programs gain nothing from the second compiler.
    // One that waits for ever is an error of whom it waits for.
    let printed = server::run(
        Command::new("timeout")
            .args([DEADLINE, "java"])
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{DRIVER}:{}", folder.display()))
            .arg("Client")
            .args([address.ip().to_string(), address.port().to_string()])
            .args(arguments)
            .stdin(Stdio::null()),
    )?;
    Ok(printed.trim_end().to_owned())
}
