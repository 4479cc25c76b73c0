//! TLS between Sluice and servers, alone and together with TLS towards clients.

use crate::{
    case::Case,
    tls::{NAMES, cold_account, printed, refused},
};
use anyhow::{Result, ensure};
use sluice_tests::{
    client::{self, Printed},
    config::{Cluster, Config},
    mariadb::USER_ED25519,
    mysql,
    server::{Kind, PASSWORD, Server, USER, USER_MONITOR},
    stage::{Front, Stage},
    tls::Authority,
    wait,
    wire::{Connection, Login},
};
use std::{net::SocketAddr, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("modes", modes).splicing().local(),
    Case::new("verify", verify).splicing().local(),
    Case::new("of_a_single_server", single_server)
        .splicing()
        .local(),
    Case::new("native_and_ed25519", native_and_ed25519)
        .splicing()
        .local(),
    Case::new("monitor_and_switch", monitor_and_switch)
        .splicing()
        .local(),
    Case::new("caching_sha2", caching_sha2)
        .with(&[Kind::MySql])
        .splicing()
        .local(),
];

const WHO: &str = "SELECT CURRENT_USER()";
/// Of a session: the TLS of its server's connection, and why it is relayed.
const HOW: &str = "SHOW STATUS LIKE 'Ssl_version'; SHOW PROXYSESSION ATTRIBUTE LIKE 'relay_reason'";
const DEADLINE: Duration = Duration::from_secs(20);

/// A server with a certificate of its own.
struct Safe {
    authority: Authority,
    server: Server,
}

impl Safe {
    fn start(stage: &Stage) -> Result<Self> {
        let authority = Authority::new()?;
        let pair = authority.issue("server", &NAMES, 2100)?;
        let own = [
            format!("--ssl-cert={}", pair.cert.display()),
            format!("--ssl-key={}", pair.key.display()),
            format!("--ssl-ca={}", authority.file().display()),
        ];
        let options: Vec<_> = own.iter().map(String::as_str).collect();
        let server = stage.start_server(&options)?;
        Ok(Self { authority, server })
    }
}

/// A daemon in front of a node, with these lines in the cluster's table.
fn front(stage: &Stage, node: SocketAddr, lines: &str) -> Result<Front> {
    let cluster = Cluster::mysql("main", &[node]).line(lines);
    stage.private_with_config(&Config::new().cluster(cluster), &[])
}

fn plain(front: &Front, user: &str, password: &str, sql: &str) -> Result<Printed> {
    client::mariadb(front.address(), user, password, &["--skip-ssl"], sql)
}

fn modes(stage: &Stage) -> Result<()> {
    let safe = Safe::start(stage)?;
    let address = safe.server.address();
    for mode in ["preferred", "required"] {
        let front = front(stage, address, &format!("tls = \"{mode}\""))?;
        let said = plain(&front, USER, PASSWORD, HOW)?;
        let expected = "Ssl_version\tTLSv1.3\nrelay_reason\tTLS\tsplice";
        assert_eq!(printed(&said)?, expected, "{mode}");
        refused(&plain(&front, USER, "wrong", WHO)?, "1045")?;
    }
    let off = front(stage, address, "tls = \"off\"")?;
    let expected = "Ssl_version\t\nrelay_reason\t\tsplice";
    assert_eq!(
        printed(&plain(&off, USER, PASSWORD, HOW)?)?,
        expected,
        "off"
    );
    // A server without.
    let preferred = front(stage, stage.node(), "tls = \"preferred\"")?;
    assert_eq!(printed(&plain(&preferred, USER, PASSWORD, HOW)?)?, expected);
    let required = front(stage, stage.node(), "tls = \"required\"")?;
    let said = plain(&required, USER, PASSWORD, WHO)?;
    refused(
        &said,
        "the server offers no TLS, and the cluster's tls asks for it",
    )?;
    Ok(())
}

/// Of a configuration that names one server only, and where it shows.
fn single_server(stage: &Stage) -> Result<()> {
    const SHOWN: &str = "SHOW PROXYSESSION SERVER";
    let safe = Safe::start(stage)?;
    let server = safe.server.address();
    let with = |lines: &[&str]| {
        let config = Config::new().line(&format!("server = \"{server}\""));
        let config = lines.iter().fold(config, |config, line| config.line(line));
        let file = config.write()?.display().to_string();
        stage.private_of_file(&file, &[])
    };
    let using_ssl = |front: &Front| -> Result<Option<String>> {
        let mut client = front.open(USER, PASSWORD)?;
        client.run("SELECT 1")?;
        let rows = client.run(SHOWN)?.texts()?;
        Ok(rows.first().and_then(|row| row.last().cloned().flatten()))
    };
    let off = with(&[])?;
    assert_eq!(using_ssl(&off)?.as_deref(), Some("0"));
    let ca = format!("server_tls_ca = '{}'", safe.authority.file().display());
    let verified = with(&["server_tls = \"verify\"", &ca])?;
    assert_eq!(using_ssl(&verified)?.as_deref(), Some("1"));
    let said = plain(&verified, USER, PASSWORD, HOW)?;
    assert_eq!(
        printed(&said)?,
        "Ssl_version\tTLSv1.3\nrelay_reason\tTLS\tsplice"
    );
    let other = Authority::new()?;
    let ca = format!("server_tls_ca = '{}'", other.file().display());
    let stranger = with(&["server_tls = \"verify\"", &ca])?;
    refused(
        &plain(&stranger, USER, PASSWORD, WHO)?,
        "TLS: invalid peer certificate",
    )?;
    Ok(())
}

fn verify(stage: &Stage) -> Result<()> {
    let safe = Safe::start(stage)?;
    let address = safe.server.address();
    let with = |ca: &Authority, more: &str| {
        let ca = ca.file();
        front(
            stage,
            address,
            &format!("tls = \"verify\"\ntls_ca = '{}'\n{more}", ca.display()),
        )
    };
    let good = with(&safe.authority, "")?;
    assert_eq!(printed(&plain(&good, USER, PASSWORD, WHO)?)?, "app@%");
    let named = with(&safe.authority, "tls_server_name = \"localhost\"")?;
    assert_eq!(printed(&plain(&named, USER, PASSWORD, WHO)?)?, "app@%");
    let stranger = with(&Authority::new()?, "")?;
    refused(
        &plain(&stranger, USER, PASSWORD, WHO)?,
        "TLS: invalid peer certificate",
    )?;
    let other = with(&safe.authority, "tls_server_name = \"db.example\"")?;
    refused(
        &plain(&other, USER, PASSWORD, WHO)?,
        "TLS: invalid peer certificate",
    )?;
    // Nobody on this host knows the authority.
    let system = front(stage, address, "tls = \"verify\"")?;
    ensure!(!plain(&system, USER, PASSWORD, WHO)?.success);
    let daemon = stranger.daemon()?;
    daemon.wait_for_line("why", DEADLINE, |line| {
        line.message() == "session closed" && line.field("side").as_deref() == Some("node")
    })?;
    Ok(())
}

/// A daemon with TLS towards clients, and the authority of its certificate.
fn both(stage: &Stage, node: SocketAddr, lines: &str, more: &str) -> Result<(Front, Authority)> {
    let authority = Authority::new()?;
    let pair = authority.issue("proxy", &NAMES, 2100)?;
    let config = Config::new()
        .line(&format!(
            "[tls]\ncert = '{}'\nkey = '{}'\n{more}",
            pair.cert.display(),
            pair.key.display()
        ))
        .cluster(Cluster::mysql("main", &[node]).line(lines));
    Ok((stage.private_with_config(&config, &[])?, authority))
}

/// Plugins whose dialogue is the same with TLS and without: every pair of legs.
fn native_and_ed25519(stage: &Stage) -> Result<()> {
    let safe = Safe::start(stage)?;
    for lines in ["tls = \"required\"", "tls = \"off\""] {
        let (front, authority) = both(stage, safe.server.address(), lines, "")?;
        let ca = format!("--ssl-ca={}", authority.file().display());
        let with_tls = ["--ssl", "--ssl-verify-server-cert", &ca];
        for options in [&with_tls[..], &["--skip-ssl"]] {
            for (user, expected) in [(USER, "app@%"), (USER_ED25519, "ed@%")] {
                let log_in =
                    |password| client::mariadb(front.address(), user, password, options, WHO);
                assert_eq!(
                    printed(&log_in(PASSWORD)?)?,
                    expected,
                    "{lines} {options:?}"
                );
                refused(&log_in("wrong")?, "1045")?;
            }
        }
    }
    Ok(())
}

/// The proxy's own connections have TLS too: the server takes no others.
fn monitor_and_switch(stage: &Stage) -> Result<()> {
    let safe = Safe::start(stage)?;
    Connection::open(safe.server.address(), &Login::new(USER, PASSWORD))?
        .run("SET GLOBAL require_secure_transport = ON")?;
    let ca = safe.authority.file();
    let lines = format!("tls = \"verify\"\ntls_ca = '{}'", ca.display());
    let cluster = Cluster::mysql("main", &[safe.server.address()])
        .monitor(USER_MONITOR, PASSWORD)
        .line(&lines);
    let front = stage.private_with_config(&Config::new().cluster(cluster), &[])?;
    let mut session = front.open(USER, PASSWORD)?;
    session.run("SET @kept = 7")?;
    let first = session.run("SELECT CONNECTION_ID()")?.text()?;
    session.run(&format!("KILL PROXYSESSION SERVER {first}"))?;
    let second = session.run("SELECT CONNECTION_ID()")?.text()?;
    ensure!(first != second, "the server session is the same");
    assert_eq!(session.run("SELECT @kept")?.text()?, "7");
    let status = session.run("SHOW STATUS LIKE 'Ssl_version'")?.table()?;
    let version = status.first().and_then(|row| row.get(1).cloned().flatten());
    assert_eq!(version.as_deref(), Some(&b"TLSv1.3"[..]));
    // The monitor stops what a client that has left was executing.
    session.send_command(b"\x03SELECT SLEEP(1000)")?;
    drop(session);
    let mut other = front.open(USER, PASSWORD)?;
    let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'";
    wait::until_true("the query is stopped", DEADLINE, || {
        Ok(other.run(sql)?.text()? == "0")
    })
}

/// `caching_sha2_password`, cold and warm, on every pair of legs.
fn caching_sha2(stage: &Stage) -> Result<()> {
    let node = stage.node();
    let (front, authority) = both(stage, node, "tls = \"required\"", "")?;
    let ca = format!("--ssl-ca={}", authority.file().display());
    let with_tls = ["--ssl-mode=VERIFY_IDENTITY", &ca];
    let without = ["--ssl-mode=DISABLED", "--get-server-public-key"];
    let log_in = |front: &Front, user: &str, password: &str, options: &[&str]| {
        mysql::client(front.address(), user, password, options, WHO)
    };
    // TLS on both legs: the password goes through as it is.
    let user = cold_account(stage)?;
    refused(&log_in(&front, &user, "wrong", &with_tls)?, "1045")?;
    for _ in 0..2 {
        let said = log_in(&front, &user, "sha secret", &with_tls)?;
        assert_eq!(printed(&said)?, format!("{user}@%"));
    }
    // Warm, the client needs no TLS.
    let said = log_in(&front, &user, "sha secret", &without)?;
    assert_eq!(printed(&said)?, format!("{user}@%"));
    // Cold, it cannot say what the server asks for, and is told so.
    let user = cold_account(stage)?;
    let said = log_in(&front, &user, "sha secret", &without)?;
    refused(
        &said,
        "ERROR 3159 (HY000): Authentication requires secure connection",
    )?;
    // With the account in the configuration it can, if it knows the password itself.
    let account = format!("[[user]]\nuser = \"{user}\"\npassword = \"sha secret\"");
    let (known, _authority) = both(stage, node, "tls = \"required\"", &account)?;
    refused(&log_in(&known, &user, "wrong", &without)?, "3159")?;
    for _ in 0..2 {
        let said = log_in(&known, &user, "sha secret", &without)?;
        assert_eq!(printed(&said)?, format!("{user}@%"));
    }
    // The client of the tests, which is none of MySQL's.
    let mut connection = Connection::open(known.address(), &Login::new(&user, "sha secret"))?;
    assert_eq!(connection.run(WHO)?.text()?, format!("{user}@%"));
    Ok(())
}
