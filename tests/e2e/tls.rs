//! TLS between clients and Sluice, and what a login is when one leg has it and the other has not.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    client::{self, Printed},
    config::{Cluster, Config},
    mariadb::USER_ED25519,
    mysql, python,
    server::{Kind, PASSWORD, USER},
    stage::{Front, Stage},
    tls::{Authority, Pair},
    wait,
    wire::{Connection, Login, Outcome, frame},
};
use std::{
    fs,
    io::Read as _,
    net::{Shutdown, SocketAddr},
    process::{Command, Stdio},
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("clients", clients)
        .with(&[Kind::MariaDb, Kind::MySql])
        .splicing()
        .local(),
    Case::new("openssl", openssl)
        .splicing()
        .local()
        .tool("openssl"),
    Case::new("required", required).splicing().local(),
    Case::new("injected", injected).splicing().local(),
    Case::new("certificate_changes", certificate_changes)
        .splicing()
        .local(),
    Case::new("client_certificate", client_certificate)
        .splicing()
        .local(),
    Case::new("administrator", administrator).splicing().local(),
    Case::new("ed25519", ed25519).splicing().local(),
    Case::new("cold_caching_sha2", cold_caching_sha2)
        .with(&[Kind::MySql])
        .splicing()
        .local(),
];

const WHO: &str = "SELECT CURRENT_USER()";
const REASON: &str = "SHOW PROXYSESSION ATTRIBUTE LIKE 'relay_reason'";
const DEADLINE: Duration = Duration::from_secs(20);
/// Of names that the certificates are for.
pub(crate) const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A daemon with a certificate, in front of the stage's server.
struct Door {
    authority: Authority,
    pair: Pair,
    front: Front,
}

impl Door {
    fn open(stage: &Stage, more: &str) -> Result<Self> {
        let authority = Authority::new()?;
        let pair = authority.issue("proxy", &NAMES, 2100)?;
        Self::with(stage, authority, pair, more)
    }

    fn with(stage: &Stage, authority: Authority, pair: Pair, more: &str) -> Result<Self> {
        let config = Config::new()
            .line(&format!(
                "[tls]\ncert = '{}'\nkey = '{}'\n{more}",
                pair.cert.display(),
                pair.key.display()
            ))
            .cluster(Cluster::mysql("main", &[stage.node()]));
        let front = stage.private_with_config(&config, &[])?;
        Ok(Self {
            authority,
            pair,
            front,
        })
    }

    fn address(&self) -> SocketAddr {
        self.front.address()
    }

    fn ca(&self) -> String {
        format!("--ssl-ca={}", self.authority.file().display())
    }

    /// What MariaDB's client prints, over TLS.
    fn mariadb(&self, user: &str, password: &str, sql: &str) -> Result<Printed> {
        let options = ["--ssl", "--ssl-verify-server-cert", &self.ca()];
        client::mariadb(self.address(), user, password, &options, sql)
    }

    /// What MySQL's client prints.
    fn mysql(&self, user: &str, password: &str, options: &[&str], sql: &str) -> Result<Printed> {
        mysql::client(self.address(), user, password, options, sql)
    }

    fn closing_line(&self, detail: &str) -> Result<()> {
        let daemon = self.front.daemon()?;
        daemon.wait_for_line(detail, DEADLINE, |line| {
            line.message() == "session closed"
                && line
                    .field("detail")
                    .is_some_and(|text| text.contains(detail))
        })?;
        Ok(())
    }
}

pub(crate) fn printed(printed: &Printed) -> Result<&str> {
    ensure!(printed.success, "{printed:?}");
    Ok(printed.stdout.trim_end())
}

pub(crate) fn refused(printed: &Printed, words: &str) -> Result<()> {
    ensure!(
        !printed.success && printed.stderr.contains(words),
        "{printed:?}"
    );
    Ok(())
}

/// A session without TLS through the same daemon stays as it was.
fn check_plain(door: &Door) -> Result<()> {
    let mut plain = door.front.open(USER, PASSWORD)?;
    plain.run("SELECT 1")?;
    let rows = plain.run(REASON)?.table()?;
    let reason = rows.first().and_then(|row| row.get(1).cloned().flatten());
    assert_eq!(reason, Some(Vec::new()), "a plain session is spliced");
    Ok(())
}

fn clients(stage: &Stage) -> Result<()> {
    let door = Door::open(stage, "")?;
    let sql = format!("{WHO}; {REASON}");
    let expected = "app@%\nrelay_reason\tTLS\tsplice";
    let options = ["--ssl-mode=VERIFY_IDENTITY", &door.ca()];
    if stage.kind() == Kind::MySql {
        let said = door.mysql(USER, PASSWORD, &options, &sql)?;
        assert_eq!(printed(&said)?, expected, "mysql");
    } else {
        let said = door.mariadb(USER, PASSWORD, &sql)?;
        assert_eq!(printed(&said)?, expected, "mariadb");
        // The password is checked as ever.
        refused(&door.mariadb(USER, "wrong", WHO)?, "1045")?;
    }
    let ca = door.authority.file().display().to_string();
    let script = include_str!("python/tls.py");
    assert_eq!(
        python::run(script, door.address(), &[USER, PASSWORD, &ca])?,
        "TLS"
    );
    check_plain(&door)
}

fn openssl(stage: &Stage) -> Result<()> {
    let door = Door::open(stage, "")?;
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-starttls",
            "mysql",
            "-brief",
            "-verify_return_error",
        ])
        .args(["-verify_ip", "127.0.0.1"])
        .arg("-CAfile")
        .arg(door.authority.file())
        .arg("-connect")
        .arg(door.address().to_string())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(text.contains("CONNECTION ESTABLISHED"), "{text}");
    ensure!(text.contains("Verification: OK"), "{text}");
    // It leaves without a login.
    let daemon = door.front.daemon()?;
    daemon.wait_for_line("its end", DEADLINE, |line| {
        line.message() == "session closed" && line.field("side").as_deref() == Some("client")
    })?;
    Ok(())
}

fn required(stage: &Stage) -> Result<()> {
    let door = Door::open(stage, "require = true")?;
    let words = "ERROR 3159 (HY000): Connections using insecure transport are prohibited while --require_secure_transport=ON.";
    let plain = client::mariadb(door.address(), USER, PASSWORD, &["--skip-ssl"], WHO)?;
    refused(&plain, words)?;
    assert_eq!(printed(&door.mariadb(USER, PASSWORD, WHO)?)?, "app@%");
    Ok(())
}

/// What stands behind the request for TLS, in plain text, is never read as if it had been encrypted.
fn injected(stage: &Stage) -> Result<()> {
    let door = Door::open(stage, "")?;
    let mut connection = Connection::greet(door.address())?;
    let login = connection.login_packet(&Login::new(USER, PASSWORD))?;
    let mut request = login.get(..32).context("a short login")?.to_vec();
    // `CLIENT_SSL`.
    if let Some(byte) = request.get_mut(1) {
        *byte |= 0x08;
    }
    let (mut bytes, sequence) = frame(&request, 1);
    bytes.extend(frame(&login, sequence).0);
    bytes.extend(frame(b"\x03SELECT 1", 0).0);
    connection.send_raw(&bytes)?;
    let mut heard = Vec::new();
    // The end may come as a reset, as not all is read.
    let _ = connection.stream().read_to_end(&mut heard);
    // At most an alert of TLS.
    ensure!(
        heard.is_empty() || heard.first() == Some(&0x15),
        "heard {heard:?}"
    );
    door.closing_line("TLS handshake")?;
    let sessions = door
        .front
        .open(USER, PASSWORD)?
        .run("SHOW PROXYSESSION")?
        .table()?;
    assert_eq!(sessions.len(), 1, "nobody else has logged in");
    // Nor does a client that leaves in its handshake disturb anybody.
    let mut connection = Connection::greet(door.address())?;
    connection.send_raw(&frame(&request, 1).0)?;
    connection.stream().shutdown(Shutdown::Both)?;
    door.closing_line("TLS handshake: unexpected end of file")
}

fn expires_in_days(door: &Door) -> Result<u64> {
    let sql = "SHOW PROXYSTAT LIKE 'tls_certificate_expires_sec'";
    let said = client::mariadb(
        door.address(),
        "root@proxysys",
        "admin",
        &["--skip-ssl"],
        sql,
    )?;
    let seconds = printed(&said)?.split('\t').nth(1).map(str::to_owned);
    Ok(seconds.context("no value")?.parse::<u64>()? / 86_400)
}

fn certificate_changes(stage: &Stage) -> Result<()> {
    let door = Door::open(stage, "[admin]\npassword = \"admin\"")?;
    let daemon = door.front.daemon()?;
    ensure!(expires_in_days(&door)? > 10_000);
    let works = |door: &Door| -> Result<()> {
        assert_eq!(printed(&door.mariadb(USER, PASSWORD, WHO)?)?, "app@%");
        Ok(())
    };
    let said = |message: &str, count: usize| -> Result<()> {
        let seen = || {
            let lines = daemon.lines();
            Ok(lines
                .iter()
                .filter(|line| line.message() == message)
                .count()
                == count)
        };
        wait::until_true(&format!("{count} x {message}"), DEADLINE, seen)
    };
    works(&door)?;
    let key = fs::read(&door.pair.key)?;
    fs::write(&door.pair.key, "no key")?;
    for _ in 0..3 {
        works(&door)?;
    }
    said(
        "the TLS certificate cannot be used; the one before it stays",
        1,
    )?;
    fs::write(&door.pair.key, key)?;
    works(&door)?;
    said("TLS certificate read", 1)?;
    // Another authority's, which the client then does not know.
    let other = Authority::new()?;
    let stranger = other.issue("other", &NAMES, 2090)?;
    fs::copy(&stranger.cert, &door.pair.cert)?;
    fs::copy(&stranger.key, &door.pair.key)?;
    daemon.signal(libc::SIGHUP)?;
    said("TLS certificate read", 2)?;
    ensure!(
        !door.mariadb(USER, PASSWORD, WHO)?.success,
        "an unknown authority"
    );
    Ok(())
}

fn client_certificate(stage: &Stage) -> Result<()> {
    let authority = Authority::new()?;
    let pair = authority.issue("proxy", &NAMES, 2100)?;
    let clients = Authority::new()?;
    let more = format!("client_ca = '{}'", clients.file().display());
    let door = Door::with(stage, authority, pair, &more)?;
    ensure!(
        !door.mariadb(USER, PASSWORD, WHO)?.success,
        "without a certificate"
    );
    let own = clients.issue("client", &["client"], 2100)?;
    let options = [
        "--ssl".to_owned(),
        "--ssl-verify-server-cert".to_owned(),
        door.ca(),
        format!("--ssl-cert={}", own.cert.display()),
        format!("--ssl-key={}", own.key.display()),
    ];
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let said = client::mariadb(door.address(), USER, PASSWORD, &options, WHO)?;
    assert_eq!(printed(&said)?, "app@%");
    Ok(())
}

fn administrator(stage: &Stage) -> Result<()> {
    let door = Door::open(stage, "[admin]\npassword = \"admin\"")?;
    let mut held = door.front.open(USER, PASSWORD)?;
    held.run("SELECT 1")?;
    let said = door.mariadb("root@proxysys", "admin", "SHOW PROXYSESSION")?;
    let rows: Vec<Vec<&str>> = printed(&said)?
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let using_ssl = |user: &str| {
        let row = rows.iter().find(|row| row.get(4) == Some(&user));
        row.and_then(|row| row.last().copied())
    };
    assert_eq!(
        (using_ssl("root"), using_ssl(USER)),
        (Some("1"), Some("0")),
        "{rows:?}"
    );
    Ok(())
}

fn ed25519(stage: &Stage) -> Result<()> {
    let door = Door::open(stage, "")?;
    assert_eq!(
        printed(&door.mariadb(USER_ED25519, PASSWORD, WHO)?)?,
        "ed@%"
    );
    refused(&door.mariadb(USER_ED25519, "wrong", WHO)?, "1045")
}

/// An account whose password the server has not seen yet.
pub(crate) fn cold_account(stage: &Stage) -> Result<String> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let user = format!("cold_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    stage.open_direct()?.run(&format!(
        "CREATE USER '{user}'@'%' IDENTIFIED WITH caching_sha2_password BY 'sha secret'"
    ))?;
    Ok(user)
}

/// The node's connection has no TLS: the proxy seals with the node's key what the client says over TLS.
fn cold_caching_sha2(stage: &Stage) -> Result<()> {
    let door = Door::open(stage, "")?;
    let options = ["--ssl-mode=REQUIRED"];
    for client in ["mysql", "mariadb"] {
        let user = cold_account(stage)?;
        let log_in = |password: &str| match client {
            "mysql" => door.mysql(&user, password, &options, WHO),
            _ => door.mariadb(&user, password, WHO),
        };
        refused(&log_in("wrong")?, "1045")?;
        // Cold, then warm.
        for _ in 0..2 {
            assert_eq!(
                printed(&log_in("sha secret")?)?,
                format!("{user}@%"),
                "{client}"
            );
        }
        refused(&log_in("wrong")?, "1045")?;
    }
    // Without TLS on either leg the client does it itself.
    let user = cold_account(stage)?;
    let options = ["--ssl-mode=DISABLED", "--get-server-public-key"];
    let said = door.mysql(&user, "sha secret", &options, WHO)?;
    assert_eq!(printed(&said)?, format!("{user}@%"));
    // A wrong password is refused as ever.
    let outcome = Connection::greet(door.address())?.log_in(&Login::new(&user, "sha wrong"))?;
    ensure!(matches!(outcome, Outcome::Error { .. }), "{outcome:?}");
    Ok(())
}
