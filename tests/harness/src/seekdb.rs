//! seekdb, OceanBase's single-node edition (`SLUICE_TEST_SEEKDB` names the binary, which `cargo xtask setup` fetches).

use crate::{
    host::Host,
    server::{
        Kind, PASSWORD, PLAIN_RIGHTS, Recipe, Server, USER, USER_MONITOR, USER_OPEN, USER_PLAIN,
    },
    wire::{Connection, Login},
};
use anyhow::{Context as _, Result};
use std::{env, path::PathBuf, process::Command};

/// The server's binary, if there is one.
pub fn binary() -> Option<PathBuf> {
    env::var_os("SLUICE_TEST_SEEKDB")
        .map(PathBuf::from)
        .filter(|binary| binary.exists())
}

/// Starts a server on `host`.
///
/// # Errors
///
/// When it is not on this machine or does not come up.
pub fn start(host: &Host) -> Result<Server> {
    let binary = binary().context("SLUICE_TEST_SEEKDB names no seekdb")?;
    Server::start(&Recipe {
        kind: Kind::SeekDb,
        prepare: &|_| Ok(()),
        command: &|folder, address| {
            let mut command = Command::new(&binary);
            command
                .current_dir(folder)
                .args(["--nodaemon", "--log-level", "WARN", "--port"])
                .arg(address.port().to_string());
            command.arg("--base-dir").arg(folder.join("data"));
            for parameter in [
                "datafile_size=256M",
                "datafile_maxsize=2G",
                "log_disk_size=2G",
            ] {
                command.args(["--parameter", parameter]);
            }
            Ok(command)
        },
        finish: &|address| {
            let mut root = Connection::open(address, &Login::new("root@sys", ""))?;
            for (user, rights) in [
                (USER, "ALL"),
                (USER_PLAIN, PLAIN_RIGHTS),
                (USER_MONITOR, "PROCESS, SUPER, SELECT"),
            ] {
                root.run(&format!(
                    "CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'"
                ))?;
                root.run(&format!("GRANT {rights} ON *.* TO '{user}'@'%'"))?;
            }
            root.run(&format!("CREATE USER '{USER_OPEN}'@'%'"))?;
            Ok(())
        },
        probe: Login::new("root@sys", ""),
        host,
    })
}
