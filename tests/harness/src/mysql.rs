//! MySQL 9.7, unpacked into a folder of its own (`SLUICE_TEST_MYSQL_ROOT`, made by `cargo xtask setup`) and started through that folder's
//! own dynamic loader, because it is built for a newer C library than this machine's.

use crate::{
    client::Printed,
    host::Host,
    place,
    server::{
        self, Kind, PASSWORD, PLAIN_RIGHTS, Recipe, Server, USER, USER_MONITOR, USER_OPEN,
        USER_PLAIN, USER_ROOT,
    },
    wire::Login,
};
use anyhow::{Context as _, Result};
use std::{
    env, fs,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder that holds the server, if there is one.
pub fn root() -> Option<PathBuf> {
    env::var_os("SLUICE_TEST_MYSQL_ROOT")
        .map(PathBuf::from)
        .filter(|root| root.join("usr/sbin/mysqld").exists())
}

/// One of its programs, by the path under its root.
fn program(root: &Path, name: &str) -> Command {
    let library = |folder: &str| {
        root.join(folder)
            .join("x86_64-linux-gnu")
            .display()
            .to_string()
    };
    let loader = [
        root.join("usr/lib64/ld-linux-x86-64.so.2"),
        root.join("lib64/ld-linux-x86-64.so.2"),
    ]
    .into_iter()
    .find(|loader| loader.exists())
    .unwrap_or_else(|| library("usr/lib").into());
    let mut command = Command::new(loader);
    command
        .arg("--library-path")
        .arg(format!("{}:{}", library("usr/lib"), library("lib")));
    command.arg(root.join(name));
    command.arg("--no-defaults");
    command
}

/// Runs a statement with the stock command-line client of MySQL 9, over TCP.
///
/// # Errors
///
/// When there is no MySQL; that the client fails is part of what it printed.
pub fn client(
    address: SocketAddr,
    user: &str,
    password: &str,
    options: &[&str],
    sql: &str,
) -> Result<Printed> {
    let root = root().context("SLUICE_TEST_MYSQL_ROOT names no MySQL")?;
    let mut command = program(&root, "usr/bin/mysql");
    command
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--user={user}"))
        .arg(format!("--password={password}"));
    command.args(["--protocol=tcp", "--batch", "--skip-column-names"]);
    command.args(options).arg(format!("--execute={sql}"));
    Printed::new(command.stdin(Stdio::null()).output()?)
}

fn mysqld(root: &Path, data: &Path) -> Command {
    let mut command = program(root, "usr/sbin/mysqld");
    command.args([
        "--user=root",
        "--secure-file-priv=NULL",
        "--pid-file=pid",
        "--mysqlx=OFF",
    ]);
    command.arg(format!(
        "--lc-messages-dir={}",
        root.join("usr/share/mysql").display()
    ));
    command.arg(format!(
        "--character-sets-dir={}",
        root.join("usr/share/mysql/charsets").display()
    ));
    command.arg(format!(
        "--plugin-dir={}",
        root.join("usr/lib/mysql/plugin").display()
    ));
    command.arg(format!("--datadir={}", data.display()));
    command
}

/// One statement a line: that is how `init-file` is read.
fn accounts() -> String {
    let sha2 = "IDENTIFIED WITH caching_sha2_password";
    [
        // Each server of a cluster makes its own.
        "SET sql_log_bin = 0".to_owned(),
        format!("CREATE USER IF NOT EXISTS '{USER}'@'%' {sha2} BY '{PASSWORD}'"),
        format!("GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION"),
        format!("CREATE USER IF NOT EXISTS '{USER_OPEN}'@'%' {sha2} BY ''"),
        format!("CREATE USER IF NOT EXISTS '{USER_PLAIN}'@'%' {sha2} BY '{PASSWORD}'"),
        format!("GRANT {PLAIN_RIGHTS} ON *.* TO '{USER_PLAIN}'@'%'"),
        format!("CREATE USER IF NOT EXISTS '{USER_MONITOR}'@'%' {sha2} BY '{PASSWORD}'"),
        format!(
            "GRANT PROCESS, CONNECTION_ADMIN, REPLICATION CLIENT ON *.* TO '{USER_MONITOR}'@'%'"
        ),
        // Also for clients that come from other hosts.
        format!("CREATE USER IF NOT EXISTS '{USER_ROOT}'@'%' {sha2} BY ''"),
        format!("GRANT ALL ON *.* TO '{USER_ROOT}'@'%' WITH GRANT OPTION"),
    ]
    .map(|statement| statement + ";\n")
    .concat()
}

/// Starts a server on `host`, without a binary log.
///
/// # Errors
///
/// When it is not on this machine or does not come up.
pub fn start(host: &Host) -> Result<Server> {
    start_with(&["--skip-log-bin"], host)
}

/// Starts a server with these options on `host`.
///
/// # Errors
///
/// As [`start`].
pub fn start_with(options: &[&str], host: &Host) -> Result<Server> {
    let root = root().context("SLUICE_TEST_MYSQL_ROOT names no MySQL")?;
    let template = place::template("mysql", |folder| {
        server::run(
            mysqld(&root, &folder.join("data"))
                .args(["--initialize-insecure", "--innodb-redo-log-capacity=16M"]),
        )?;
        Ok(())
    })?;
    Server::start(&Recipe {
        kind: Kind::MySql,
        prepare: &|folder| {
            fs::write(folder.join("init.sql"), accounts())?;
            server::copy_folder(&template, folder)?;
            // It makes an id of its own: replication refuses two servers with one.
            fs::remove_file(folder.join("data/auto.cnf")).or_else(|error| {
                (error.kind() == ErrorKind::NotFound)
                    .then_some(())
                    .ok_or(error)
            })?;
            Ok(())
        },
        command: &|folder, address| {
            let mut command = mysqld(&root, &folder.join("data"));
            command.args([
                "--socket=s",
                "--max-connections=1200",
                "--max-connect-errors=1000000",
                "--max-allowed-packet=256M",
                "--local-infile=ON",
            ]);
            command.args([
                "--innodb-buffer-pool-size=24M",
                "--innodb-redo-log-capacity=16M",
            ]);
            command.args(options);
            command.arg(format!("--init-file={}", folder.join("init.sql").display()));
            command
                .arg(format!("--port={}", address.port()))
                .arg(format!("--bind-address={}", server::bind_address(host)));
            Ok(command)
        },
        finish: &|_| Ok(()),
        probe: Login::new(USER, PASSWORD),
        host,
    })
}
