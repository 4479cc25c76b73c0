//! MariaDB from the distribution.

use crate::{
    host::Host,
    place,
    server::{
        self, Kind, PASSWORD, PLAIN_RIGHTS, Recipe, Server, USER, USER_MODEST, USER_MONITOR,
        USER_OPEN, USER_PLAIN, USER_ROOT,
    },
    wire::Login,
};
use anyhow::{Context as _, Result};
use std::{fs, process::Command};

/// The account whose plugin is `client_ed25519`; its password is [`PASSWORD`].
pub const USER_ED25519: &str = "ed";

/// Starts a server on `host` with options of one's own besides the usual ones.
///
/// # Errors
///
/// When it does not come up.
pub fn start(options: &[&str], host: &Host) -> Result<Server> {
    let template = place::template(&format!("mariadb-{}", version()?), |folder| {
        let mut command = Command::new("mariadb-install-db");
        command.args([
            "--no-defaults",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ]);
        command.args(user());
        command
            .arg(format!("--datadir={}", folder.join("data").display()))
            .arg("--innodb-log-file-size=16M");
        server::run(&mut command)?;
        Ok(())
    })?;
    Server::start(&Recipe {
        kind: Kind::MariaDb,
        prepare: &|folder| {
            // A server that starts removes the temporary tables that it finds: they must not be another's.
            fs::create_dir(folder.join("tmp"))?;
            server::copy_folder(&template, folder)?;
            Ok(fs::write(folder.join("init.sql"), accounts())?)
        },
        command: &|folder, address| {
            let mut command = Command::new(daemon());
            command.args([
                "--no-defaults",
                "--plugin-load-add=auth_ed25519",
                "--local-infile=ON",
            ]);
            // One server stands behind several settings, and in each a test may open 500 at once. Where the machine stands still for a while, what
            // times out must not have the server block the whole setting.
            command.args([
                "--max-connections=2400",
                "--max-connect-errors=1000000",
                "--max-allowed-packet=256M",
                "--performance-schema=ON",
            ]);
            command.args([
                "--innodb-buffer-pool-size=24M",
                "--innodb-log-file-size=16M",
                "--innodb-flush-log-at-trx-commit=0",
            ]);
            // Relative, and so under the data folder: a whole path can be longer than a socket's name may be (unix(7)).
            command.args(["--socket=s", "--pid-file=pid"]);
            command.arg(format!("--datadir={}", folder.join("data").display()));
            command.arg(format!("--tmpdir={}", folder.join("tmp").display()));
            command.arg(format!("--init-file={}", folder.join("init.sql").display()));
            command
                .arg(format!("--port={}", address.port()))
                .arg(format!("--bind-address={}", server::bind_address(host)));
            command.args(user());
            command.args(options);
            Ok(command)
        },
        finish: &|_| Ok(()),
        probe: Login::new(USER, PASSWORD),
        host,
    })
}

/// One statement a line: that is how `init-file` is read.
fn accounts() -> String {
    [
        // Each server of a cluster makes its own.
        "SET sql_log_bin = 0".to_owned(),
        "DELETE FROM mysql.global_priv WHERE User=''".to_owned(),
        "FLUSH PRIVILEGES".to_owned(),
        format!("CREATE OR REPLACE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"),
        format!("GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION"),
        format!(
            "CREATE OR REPLACE USER '{USER_ED25519}'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}')"
        ),
        format!("CREATE OR REPLACE USER '{USER_OPEN}'@'%'"),
        format!("CREATE OR REPLACE USER '{USER_PLAIN}'@'%' IDENTIFIED BY '{PASSWORD}'"),
        format!("GRANT {PLAIN_RIGHTS} ON *.* TO '{USER_PLAIN}'@'%'"),
        format!("CREATE OR REPLACE USER '{USER_MODEST}'@'%' IDENTIFIED BY '{PASSWORD}'"),
        format!("GRANT ALL ON *.* TO '{USER_MODEST}'@'%'"),
        format!("REVOKE READ ONLY ADMIN, SUPER ON *.* FROM '{USER_MODEST}'@'%'"),
        format!("CREATE OR REPLACE USER '{USER_MONITOR}'@'%' IDENTIFIED BY '{PASSWORD}'"),
        format!("GRANT PROCESS, CONNECTION ADMIN, SLAVE MONITOR ON *.* TO '{USER_MONITOR}'@'%'"),
        // The hashes that a login in a client's place needs.
        format!("GRANT SELECT ON mysql.user TO '{USER_MONITOR}'@'%'"),
        // Also for clients that come from other hosts.
        format!("CREATE OR REPLACE USER '{USER_ROOT}'@'%'"),
        format!("GRANT ALL ON *.* TO '{USER_ROOT}'@'%' WITH GRANT OPTION"),
    ]
    .map(|statement| statement + ";\n")
    .concat()
}

fn version() -> Result<String> {
    let text = server::run(Command::new(daemon()).args(["--no-defaults", "--version"]))
        .context("MariaDB is missing: `cargo xtask setup` installs it")?;
    let version = text
        .split_whitespace()
        .skip_while(|word| *word != "Ver")
        .nth(1)
        .context("MariaDB's version")?;
    Ok(version.to_owned())
}

/// Servers refuse to run as root unless told to; to others the option is forbidden.
fn user() -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt as _;
    // The kernel gives /proc/self to the effective user.
    fs::metadata("/proc/self")
        .is_ok_and(|metadata| metadata.uid() == 0)
        .then_some("--user=root")
}

/// Debian keeps servers where only root's `PATH` leads.
fn daemon() -> &'static str {
    let debian = "/usr/sbin/mariadbd";
    if fs::exists(debian).unwrap_or(false) {
        debian
    } else {
        "mariadbd"
    }
}
