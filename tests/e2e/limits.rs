//! How many sessions there may be: of each user, of each tenant. (Of all: `fixtures::f14` and `proxysys`.)

use crate::case::Case;
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    path::Path,
    place,
    server::{PASSWORD, USER, USER_OPEN, USER_PLAIN, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Login, Outcome},
};
use std::{path::PathBuf, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("of_users", of_users).daemon().local(),
    Case::new("of_tenants", of_tenants).daemon().local(),
    Case::new("change_user", change_user).daemon().local(),
    Case::new("changes_at_once", changes_at_once)
        .daemon()
        .local(),
    Case::new("of_memory", of_memory)
        .daemon()
        .only(Path::Spliced)
        .local(),
    Case::new("all_but_the_administrator", all_but_the_administrator)
        .daemon()
        .only(Path::Spliced)
        .local(),
    Case::new("only_who_is_let_in_counts", only_who_is_let_in)
        .daemon()
        .local(),
    Case::new("wrong_passwords_must_wait", wrong_passwords)
        .daemon()
        .local(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// A daemon with these keys.
struct Site {
    front: Front,
    file: PathBuf,
    node: std::net::SocketAddr,
}

impl Site {
    fn new(stage: &Stage, keys: &[&str]) -> Result<Self> {
        let file = place::fresh("config")?.join("sluice.toml");
        let node = stage.node();
        write(&file, node, keys)?;
        let front = stage.private_of_file(&file.display().to_string(), &[])?;
        Ok(Self { front, file, node })
    }

    /// One may log in as soon as who has left is gone.
    fn open_soon(&self, user: &str, password: &str) -> Result<Connection> {
        wait::until("there is a place", DEADLINE, || {
            Ok(self.front.open(user, password).ok())
        })
    }

    fn refused(&self, user: &str, password: &str) -> Result<String> {
        match self.front.open(user, password) {
            Ok(_) => bail!("{user} was let in"),
            Err(error) => {
                let outcome = error.downcast_ref::<Outcome>();
                outcome.context("no error packet")?.error()
            }
        }
    }
}

/// Waits until the proxy counts so many sessions of a group, and these may be so many.
fn counted(operator: &mut Connection, group: &str, used: &str, max: &str) -> Result<()> {
    let statement = format!("SHOW PROXYLIMIT LIKE '{group}'");
    let what = format!("{group} has {used} of {max}");
    wait::until_true(&what, DEADLINE, || {
        let rows = operator.run(&statement)?.texts()?;
        let cell = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
        Ok(match rows.as_slice() {
            [] => used == "0",
            [row] => {
                cell(row, 2).as_deref() == Some(used)
                    && cell(row, 3).as_deref().unwrap_or("NULL") == max
            }
            _ => bail!("{rows:?}"),
        })
    })
}

fn write(file: &std::path::Path, node: std::net::SocketAddr, keys: &[&str]) -> Result<()> {
    let lines = keys
        .iter()
        .fold(Config::new(), |config, key| config.line(key));
    lines
        .cluster(Cluster::mysql("east", &[node]))
        .write_to(file)
}

const NO_MORE_OF_APP: &str =
    "1203 (42000) User 'app' already has more than 'max_user_connections' active connections";

fn of_users(stage: &Stage) -> Result<()> {
    let site = Site::new(stage, &["max_user_connections = 2"])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let first = site.front.open(USER, PASSWORD)?;
    let mut second = site.front.open(USER, PASSWORD)?;
    // Whatever tenant he names: here these are but words.
    for user in [USER.to_owned(), format!("{USER}@shop")] {
        assert_eq!(site.refused(&user, PASSWORD)?, NO_MORE_OF_APP);
    }
    counted(&mut operator, "app#east", "2", "2")?;
    site.front.open(USER_OPEN, "")?.run("SELECT 1")?;
    second.run("SELECT 1")?;
    drop(first);
    let mut third = site.open_soon(USER, PASSWORD)?;
    third.run("SELECT 1")?;
    assert_eq!(site.refused(USER, PASSWORD)?, NO_MORE_OF_APP);
    drop((second, third));
    counted(&mut operator, "app#east", "0", "2")
}

fn of_tenants(stage: &Stage) -> Result<()> {
    let site = Site::new(stage, &["max_tenant_connections = 2"])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut app = site.front.open(&format!("{USER}@shop"), PASSWORD)?;
    let _other = site.front.open(&format!("{USER_OPEN}@shop"), "")?;
    assert_eq!(
        site.refused(&format!("{USER_PLAIN}@shop"), PASSWORD)?,
        "1040 (08004) Too many connections (tenant 'shop')"
    );
    counted(&mut operator, "shop#east", "2", "2")?;
    site.front
        .open(&format!("{USER_PLAIN}@bank"), PASSWORD)?
        .run("SELECT 1")?;
    app.run("SELECT 1")?;
    drop(app);
    site.open_soon(&format!("{USER_PLAIN}@shop"), PASSWORD)?
        .run("SELECT 1")?;
    Ok(())
}

/// A session that changes its user gives one place back and takes another; as the same user again it needs none.
fn change_user(stage: &Stage) -> Result<()> {
    let site = Site::new(stage, &["max_user_connections = 1"])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut session = site.front.open(USER, PASSWORD)?;
    session.change_user(USER, PASSWORD, "")?.ok()?;
    session.change_user(USER_PLAIN, PASSWORD, "")?.ok()?;
    counted(&mut operator, "app#east", "0", "1")?;
    counted(&mut operator, "plain#east", "1", "1")?;
    let mut app = site.front.open(USER, PASSWORD)?;
    let refused = session.change_user(USER, PASSWORD, "")?;
    assert_eq!(refused.error()?, NO_MORE_OF_APP);
    // It goes on as who it was.
    let user = session.run("SELECT USER()")?.text()?;
    assert_eq!(user.split('@').next(), Some(USER_PLAIN));
    counted(&mut operator, "plain#east", "1", "1")?;
    // A wrong password takes no place away.
    assert_eq!(app.change_user(USER_OPEN, "wrong", "")?.code(), 1045);
    counted(&mut operator, "open#east", "0", "1")?;
    counted(&mut operator, "app#east", "1", "1")?;
    app.run("SELECT 1")?;
    Ok(())
}

fn changes_at_once(stage: &Stage) -> Result<()> {
    let site = Site::new(stage, &[])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut sessions = [USER; 3].map(|user| site.front.open(user, PASSWORD));
    counted(&mut operator, "app#east", "3", "NULL")?;
    operator.run("ALTER PROXYCONFIG SET max_user_connections = 1")?;
    assert_eq!(site.refused(USER, PASSWORD)?, NO_MORE_OF_APP);
    for session in &mut sessions {
        let session = session
            .as_mut()
            .map_err(|error| anyhow::anyhow!("{error:#}"))?;
        session.run("SELECT 1")?;
    }
    let stat = operator.run("SHOW PROXYSTAT LIKE 'refused_by_user_limit'")?;
    let row = stat.texts()?.into_iter().next().context("no counter")?;
    assert_eq!(row.get(1).cloned().flatten().as_deref(), Some("1"));
    write(&site.file, site.node, &["max_user_connections = 4"])?;
    site.front.daemon()?.signal(libc::SIGHUP)?;
    counted(&mut operator, "app#east", "3", "4")?;
    let _fourth = site.front.open(USER, PASSWORD)?;
    assert_eq!(site.refused(USER, PASSWORD)?, NO_MORE_OF_APP);
    Ok(())
}

/// A number of `SHOW PROXYSTAT`.
fn number(operator: &mut Connection, name: &str) -> Result<u64> {
    let rows = operator.run(&format!("SHOW PROXYSTAT LIKE '{name}'"))?;
    let row = rows.texts()?.into_iter().next().context("no counter")?;
    Ok(row.get(1).cloned().flatten().context("NULL")?.parse()?)
}

/// Where there is an administrator, everybody else is told at the login.
fn all_but_the_administrator(stage: &Stage) -> Result<()> {
    let site = Site::new(
        stage,
        &["admin.password = \"open sesame\"", "max_connections = 1"],
    )?;
    let mut session = site.front.open(USER, PASSWORD)?;
    let refused = site.refused(USER, PASSWORD)?;
    ensure!(refused.contains("1203"), "{refused}");
    let mut root = site.open_soon("root@proxysys", "open sesame")?;
    // The administrator may have come before the one that was refused was gone.
    ensure!(number(&mut root, "refused_by_total_limit")? > 0);
    root.run("ALTER PROXYCONFIG SET max_memory = '16MiB'")?;
    root.run("ALTER PROXYCONFIG SET max_connections = 100")?;
    let refused = site.refused(USER, PASSWORD)?;
    ensure!(refused.contains("1041"), "{refused}");
    drop(site.front.open("root@proxysys", "open sesame")?);
    assert_eq!(number(&mut root, "refused_by_memory_limit")?, 1);
    session.run("SELECT 1")?;
    Ok(())
}

/// The records of its sessions alone are more than the least that a daemon can be told; who is there stays, and can raise it again.
fn of_memory(stage: &Stage) -> Result<()> {
    let site = Site::new(stage, &[])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut session = site.front.open(USER, PASSWORD)?;
    ensure!(number(&mut operator, "resident_bytes")? > 16 << 20);
    operator.run("ALTER PROXYCONFIG SET max_memory = '16MiB'")?;
    let refused = site.refused(USER, PASSWORD)?;
    ensure!(refused.contains("1041"), "{refused}");
    assert_eq!(number(&mut operator, "refused_by_memory_limit")?, 1);
    session.run("SELECT 1")?;
    operator.run("ALTER PROXYCONFIG SET max_memory = '1TiB'")?;
    site.front.open(USER, PASSWORD)?.run("SELECT 1")?;
    Ok(())
}

/// Nobody takes places away from a user whose password he does not know.
fn only_who_is_let_in(stage: &Stage) -> Result<()> {
    let site = Site::new(stage, &["max_user_connections = 1"])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    for _ in 0..3 {
        assert_eq!(site.refused(USER, "wrong")?.split(' ').next(), Some("1045"));
    }
    // One that has said who he wants to be, and leaves.
    let mut leaves = Connection::greet(site.front.address())?;
    let login = leaves.login_packet(&Login::new(USER, "wrong"))?;
    leaves.send_packet(&login)?;
    let mut app = site.front.open(USER, PASSWORD)?;
    app.run("SELECT 1")?;
    counted(&mut operator, "app#east", "1", "1")
}

/// Who guesses is kept from the node for a while, and only he.
fn wrong_passwords(stage: &Stage) -> Result<()> {
    const WAITS: &str = "too many wrong passwords of this user";
    let site = Site::new(stage, &["max_login_failures = 2"])?;
    let daemon = site.front.daemon()?;
    let waits = || {
        let mut details = daemon.lines().into_iter();
        details.any(|line| {
            line.field("detail")
                .is_some_and(|text| text.starts_with(WAITS))
        })
    };
    for _ in 0..2 {
        assert_eq!(site.refused(USER, "wrong")?.split(' ').next(), Some("1045"));
    }
    ensure!(!waits(), "a person mistypes");
    wait::until_true("the user must wait", DEADLINE, || {
        let refused = site.refused(USER, "wrong")?;
        assert_eq!(refused.split(' ').next(), Some("1045"), "{refused}");
        Ok(waits())
    })?;
    site.front.open(USER_OPEN, "")?.run("SELECT 1")?;
    site.open_soon(USER, PASSWORD)?.run("SELECT 1")?;
    Ok(())
}
