//! Logins: each plugin, each refusal, and what the server learns of the client.

use crate::{
    case::Case,
    driver,
    kill::{DEADLINE, monitored},
    server_session::ss_id,
};
use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::prelude::Queryable as _;
use sluice_tests::{
    client,
    config::{Cluster, Config},
    mariadb::USER_ED25519,
    python,
    server::{Kind, PASSWORD, USER, USER_MONITOR, USER_OPEN, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Login, Outcome},
};
use std::{collections::BTreeMap, net::SocketAddr};

pub(crate) const CASES: &[Case] = &[
    Case::new("good", good).with(&Kind::ALL),
    Case::new("drivers", drivers).with(&Kind::ALL),
    Case::new("refusals_equal_direct", refusals_equal_direct).with(&Kind::ALL),
    Case::new("empty_password", empty_password).with(&Kind::ALL),
    Case::new("database", database).with(&Kind::ALL),
    Case::new("ed25519", ed25519),
    Case::new("caching_sha2", caching_sha2).with(&[Kind::MySql]),
    Case::new("tenant_and_cluster", tenant_and_cluster).daemon(),
    Case::new("member_of_a_set", member_of_a_set).daemon(),
    Case::new("known_account", known_account).daemon(),
    Case::new("changed_password", changed_password).daemon(),
    Case::new("configured_password", configured_password).daemon(),
    Case::new("attributes", attributes)
        .with(&[Kind::MariaDb, Kind::MySql])
        .daemon(),
    Case::new("greeting", greeting).with(&Kind::ALL).daemon(),
];

const WHO: &str = "SELECT CURRENT_USER()";

fn good(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    assert_eq!(connection.run(WHO)?.text()?, "app@%");
    connection
        .command(&[0x0E])?
        .outcome
        .ok()
        .context("COM_PING")
}

fn drivers(stage: &Stage) -> Result<()> {
    let address = stage.address();
    assert_eq!(
        client::mariadb_prints(address, USER, PASSWORD, &[], WHO)?,
        "app@%",
        "mariadb"
    );
    assert_eq!(
        python::run(include_str!("python/who.py"), address, &[USER, PASSWORD])?,
        "app@%",
        "PyMySQL"
    );
    let who: Option<String> = driver::run(async {
        let mut connection = driver::open(address, USER, PASSWORD).await?;
        let who = connection.query_first(WHO).await?;
        connection.disconnect().await?;
        Ok(who)
    })?;
    assert_eq!(who.as_deref(), Some("app@%"), "mysql_async");
    Ok(())
}

/// What is said to a login that must be refused.
pub(crate) fn refusal(address: SocketAddr, login: &Login) -> Result<Outcome> {
    let mut connection = match Connection::greet(address) {
        Ok(connection) => connection,
        Err(error) => return error.downcast::<Outcome>(),
    };
    match connection.log_in(login)? {
        Outcome::Ok { .. } => bail!("{} was let in", login.user),
        refused @ Outcome::Error { .. } => Ok(refused),
    }
}

fn refusals_equal_direct(stage: &Stage) -> Result<()> {
    for (code, login) in [
        (1045, Login::new(USER, "wrong")),
        (1045, Login::new(USER, "")),
        (1045, Login::new("nobody", "secret")),
        (1045, Login::new(USER_OPEN, "not empty")),
        (
            1049,
            Login::new(USER, PASSWORD).database("no_such_database"),
        ),
    ] {
        let refused = refusal(stage.address(), &login).with_context(|| format!("{login:?}"))?;
        assert_eq!(refused.code(), code, "{login:?}: {refused}");
        // The server names the host that it sees.
        let refused_direct = || refusal(stage.node(), &login);
        let direct = stage.where_node_sees_sessions_from(refused_direct)??;
        assert_eq!(refused, direct, "{login:?}");
    }
    stage.open()?.run(WHO)?;
    Ok(())
}

fn empty_password(stage: &Stage) -> Result<()> {
    let mut connection = Connection::open(stage.address(), &Login::new(USER_OPEN, ""))?;
    assert_eq!(connection.run(WHO)?.text()?, "open@%");
    assert_eq!(
        client::mariadb_prints(stage.address(), USER_OPEN, "", &[], WHO)?,
        "open@%"
    );
    Ok(())
}

fn database(stage: &Stage) -> Result<()> {
    let name = stage.database()?;
    let mut connection =
        Connection::open(stage.address(), &Login::new(USER, PASSWORD).database(&name))?;
    assert_eq!(connection.run("SELECT DATABASE()")?.text()?, name);
    connection.run("CREATE TABLE here (a INT)")?;
    stage
        .open_direct()?
        .run(&format!("SELECT * FROM {name}.here"))?;
    Ok(())
}

fn ed25519(stage: &Stage) -> Result<()> {
    assert_eq!(
        client::mariadb_prints(stage.address(), USER_ED25519, PASSWORD, &[], WHO)?,
        "ed@%"
    );
    let refused = client::mariadb(stage.address(), USER_ED25519, "wrong", &[], WHO)?;
    ensure!(
        !refused.success && refused.stderr.contains("1045"),
        "a wrong password: {refused:?}"
    );
    Ok(())
}

fn caching_sha2(stage: &Stage) -> Result<()> {
    let user = format!("sha_{}", stage.setting().name());
    stage.open_direct()?.run(&format!(
        "CREATE USER '{user}'@'%' IDENTIFIED WITH caching_sha2_password BY 'sha secret'"
    ))?;
    let login = Login::new(&user, "sha secret");
    let wrong = Login::new(&user, "sha wrong");
    for full_path in [true, false] {
        assert_eq!(refusal(stage.address(), &wrong)?.code(), 1045);
        let mut connection = Connection::open(stage.address(), &login)?;
        // The server knows no hash of the password until the first login, and asks for the password itself.
        assert_eq!(connection.password_sent(), full_path, "full path");
        assert_eq!(connection.run(WHO)?.text()?, format!("{user}@%"));
    }
    // The stock client, on the full path. (Forgetting all passwords would disturb the same test on another path.)
    let other = format!("{user}_cold");
    stage.open_direct()?.run(&format!(
        "CREATE USER '{other}'@'%' IDENTIFIED WITH caching_sha2_password BY 'sha secret'"
    ))?;
    let printed =
        client::mariadb_prints(stage.address(), &other, "sha secret", &["--skip-ssl"], WHO)?;
    assert_eq!(printed, format!("{other}@%"));
    Ok(())
}

fn tenant_and_cluster(stage: &Stage) -> Result<()> {
    let mut connection =
        Connection::open(stage.address(), &Login::new("app@shop#orders", PASSWORD))?;
    assert_eq!(
        connection.run(WHO)?.text()?,
        "app@%",
        "the node is given the bare name"
    );
    let id = connection.greeting().thread_id.to_string();
    let sessions = connection.run("SHOW PROXYSESSION")?.table()?;
    let text = |cell: &Option<Vec<u8>>| {
        cell.as_ref()
            .map(|cell| String::from_utf8_lossy(cell).into_owned())
    };
    let own: Vec<_> = sessions
        .iter()
        .filter(|row| row.get(1).and_then(text) == Some(id.clone()))
        .collect();
    let [row] = own.as_slice() else {
        bail!("{} rows with Id {id} of {sessions:?}", own.len())
    };
    assert_eq!(row.len(), 13, "columns");
    let named: Vec<_> = row.iter().skip(2).take(3).filter_map(text).collect();
    assert_eq!(named, ["orders", "shop", "app"], "Cluster, Tenant, User");
    let port = connection.stream().local_addr()?;
    assert_eq!(row.get(5).and_then(text), Some(port.to_string()), "Host");
    Ok(())
}

/// The second login of a user whose account the monitor may read takes as many packets as a direct one.
fn known_account(stage: &Stage) -> Result<()> {
    let front = monitored(stage, USER_MONITOR, PASSWORD)?;
    let login = Login::new(USER, PASSWORD).database("mysql");
    let first = Connection::open(front.address(), &login)?;
    assert_eq!(first.switches(), 1, "the first login is asked");
    let mut known = at_once(front.address(), &login)?;
    assert_eq!(known.run(WHO)?.text()?, "app@%");
    assert_eq!(known.run("SELECT DATABASE()")?.text()?, "mysql");
    // It can still be logged in again in its place.
    let ss_id = ss_id(&mut known)?;
    known.run(&format!("KILL PROXYSESSION SERVER {ss_id}"))?;
    assert_eq!(known.run(WHO)?.text()?, "app@%");
    let wrong = Login::new(USER, "wrong");
    assert_eq!(refusal(front.address(), &wrong)?.code(), 1045);
    let nobody = Login::new("nobody", PASSWORD);
    assert_eq!(refusal(front.address(), &nobody)?.code(), 1045);
    // Another plugin than the hash is for.
    let other = Connection::open(front.address(), &Login::new(USER_OPEN, ""))?;
    assert_eq!(other.switches(), 1);
    Ok(())
}

/// What is known of an account is the node's to believe: a new password lets in, an old one does not.
fn changed_password(stage: &Stage) -> Result<()> {
    let front = monitored(stage, USER_MONITOR, PASSWORD)?;
    let user = format!("changing_{}", stage.setting().name());
    let mut direct = stage.open_direct()?;
    let set = |password| format!("SET PASSWORD FOR '{user}'@'%' = PASSWORD('{password}')");
    direct.run(&format!(
        "CREATE OR REPLACE USER '{user}'@'%' IDENTIFIED BY 'old'"
    ))?;
    drop(at_once(front.address(), &Login::new(&user, "old"))?);
    direct.run(&set("new"))?;
    let refused = refusal(front.address(), &Login::new(&user, "old"))?;
    assert_eq!(refused.code(), 1045, "{refused}");
    let new = Connection::open(front.address(), &Login::new(&user, "new"))?;
    assert_eq!(
        new.switches(),
        1,
        "the hash that is known is another password's"
    );
    // The node asks for another plugin than the one that is answered.
    direct.run(&set("old"))?;
    drop(at_once(front.address(), &Login::new(&user, "old"))?);
    direct.run(&format!(
        "ALTER USER '{user}'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('old')"
    ))?;
    let printed = client::mariadb_prints(front.address(), &user, "old", &[], WHO)?;
    assert_eq!(printed, format!("{user}@%"));
    direct.run(&format!("DROP USER '{user}'@'%'"))?;
    Ok(())
}

/// A password in the configuration does as well, without a monitor account.
fn configured_password(stage: &Stage) -> Result<()> {
    let account = format!("[[user]]\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"");
    let config = Config::new()
        .cluster(Cluster::mysql("east", &[stage.node()]))
        .line(&account);
    let front = stage.private_with_config(&config, &[])?;
    let first = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
    assert_eq!(first.switches(), 0);
    let wrong = Login::new(USER, "wrong");
    assert_eq!(refusal(front.address(), &wrong)?.code(), 1045);
    Ok(())
}

/// `#cluster:id` is one member of a primary and standby set, and nobody else.
fn member_of_a_set(stage: &Stage) -> Result<()> {
    let standby = stage.start_server(&[])?;
    let config = Config::new()
        .cluster(Cluster::mysql("east", &[stage.node()]))
        .cluster(Cluster::mysql("east:2", &[standby.address()]));
    let front = stage.private_with_config(&config, &[])?;
    for (cluster, node) in [("east", stage.node()), ("east:2", standby.address())] {
        let mut client = front.open(&format!("{USER}@shop#{cluster}"), PASSWORD)?;
        let port = client.run("SELECT @@port")?.text()?;
        assert_eq!(port, node.port().to_string(), "{cluster}");
    }
    let unknown = Login::new(&format!("{USER}@shop#east:3"), PASSWORD);
    let refused = refusal(front.address(), &unknown)?;
    assert_eq!(refused.code(), 4669);
    let mut operator = front.open(USER_ROOT, "")?;
    let shown = operator.run("SHOW PROXYCLUSTER")?.texts()?;
    let ids: Vec<_> = shown
        .iter()
        .filter_map(|row| Some((row.first()?.as_deref()?, row.get(1)?.as_deref())))
        .collect();
    assert_eq!(ids, [("east", None), ("east", Some("2"))]);
    Ok(())
}

/// Logs in until it is asked for nothing beyond the greeting's answer.
fn at_once(address: SocketAddr, login: &Login) -> Result<Connection> {
    wait::until("a login that is not asked", DEADLINE, || {
        let connection = Connection::open(address, login)?;
        Ok((connection.switches() == 0).then_some(connection))
    })
}

fn attributes(stage: &Stage) -> Result<()> {
    let login = Login::new(USER, PASSWORD)
        .attribute("program_name", "e2e")
        .attribute("_platform", "q".repeat(300).as_str());
    let mut connection = Connection::open(stage.address(), &login)?;
    let rows = connection.run(
        "SELECT attr_name, attr_value FROM performance_schema.session_connect_attrs WHERE processlist_id = CONNECTION_ID()",
    )?;
    let mut seen = BTreeMap::new();
    for row in rows.table()? {
        let [Some(name), Some(value)] = row.as_slice() else {
            bail!("not a pair: {row:?}")
        };
        seen.insert(
            String::from_utf8(name.clone())?,
            String::from_utf8(value.clone())?,
        );
    }
    assert_eq!(
        seen.get("program_name").map(String::as_str),
        Some("e2e"),
        "{seen:?}"
    );
    assert_eq!(
        seen.get("_platform").map(String::len),
        Some(300),
        "{seen:?}"
    );
    let from = connection.stream().local_addr()?.ip().to_string();
    assert_eq!(
        seen.get("_client_ip").map(String::as_str),
        Some(from.as_str()),
        "{seen:?}"
    );
    Ok(())
}

/// The greeting is the node's, but for the id, which is the session's in the proxy, and the scramble.
fn greeting(stage: &Stage) -> Result<()> {
    // The proxy may learn the node's greeting from its first login.
    drop(stage.open()?);
    let node = stage.open_direct()?;
    let (mut first, second) = (stage.open()?, stage.open()?);
    let [a, b] = [first.greeting().clone(), second.greeting().clone()];
    assert_eq!(a.version, node.greeting().version);
    assert_eq!(a.collation, node.greeting().collation);
    assert_eq!(a.plugin, node.greeting().plugin);
    assert_eq!(
        a.capabilities & !node.greeting().capabilities,
        0,
        "offered beyond the node's capabilities"
    );
    assert_ne!(a.thread_id, b.thread_id);
    assert_ne!(a.scramble, b.scramble);
    let ids: Vec<_> = first
        .run("SHOW PROXYSESSION")?
        .table()?
        .into_iter()
        .filter_map(|row| row.into_iter().nth(1)?)
        .collect();
    ensure!(
        ids.contains(&a.thread_id.to_string().into_bytes()),
        "{} is not among {ids:?}",
        a.thread_id
    );
    // Forwarded: this is the node's own id of the server session.
    let id = first.run("SELECT CONNECTION_ID()")?.text()?;
    let mut direct = stage.open_direct()?;
    let seen = direct.run("SHOW PROCESSLIST")?.table()?;
    ensure!(
        seen.iter()
            .any(|row| row.first() == Some(&Some(id.clone().into_bytes()))),
        "the node has no {id}: {seen:?}"
    );
    Ok(())
}
