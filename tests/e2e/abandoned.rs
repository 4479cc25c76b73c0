//! Logins that clients give up, at every stage: they must not make the node block the proxy's address.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    host::Host,
    mariadb,
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    wire::{Connection, Login, Outcome, frame},
};
use std::net::{SocketAddr, TcpStream};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_thousand_block_nobody", a_thousand_block_nobody)
        .daemon()
        .local()
        .root(),
];

/// `ER_HOST_IS_BLOCKED`.
const BLOCKED: u16 = 1129;
const EACH: usize = 200;

fn a_thousand_block_nobody(stage: &Stage) -> Result<()> {
    let host = Host::alone()?;
    let server = mariadb::start(&["--max-connect-errors=10"], &host)?;
    let front = Front::start(stage.setting(), &host, server.address(), &[])?;
    let login = Login::new(USER, PASSWORD);
    host.enter(|| -> Result<()> {
        for abandon in [
            at_once,
            after_greeting,
            in_login_packet,
            after_login_packet,
            after_auth_switch,
        ] {
            for _ in 0..EACH {
                abandon(front.address())?;
            }
            let mut connection =
                Connection::open(front.address(), &login).context("after logins given up")?;
            assert_eq!(connection.run("SELECT 1")?.text()?, "1");
        }
        Connection::open(server.address(), &login).context("the node blocks the address")?;
        // The same without the proxy: the server does count, so the test could have failed.
        for _ in 0..20 {
            // Refused itself from the tenth on.
            drop(after_greeting(server.address()));
        }
        let blocked = Connection::open(server.address(), &login)
            .err()
            .context("the server counts nothing")?;
        let code = blocked.downcast_ref::<Outcome>().map(Outcome::code);
        ensure!(code == Some(BLOCKED), "{blocked:#}");
        Ok(())
    })?
}

fn at_once(address: SocketAddr) -> Result<()> {
    TcpStream::connect(address)?;
    Ok(())
}

fn after_greeting(address: SocketAddr) -> Result<()> {
    Connection::greet(address)?;
    Ok(())
}

fn in_login_packet(address: SocketAddr) -> Result<()> {
    let mut connection = Connection::greet(address)?;
    let (bytes, _) = frame(&connection.login_packet(&Login::new(USER, PASSWORD))?, 1);
    let half = bytes.get(..bytes.len() / 2).context("half a packet")?;
    connection.send_raw(half)
}

fn after_login_packet(address: SocketAddr) -> Result<()> {
    let mut connection = Connection::greet(address)?;
    let payload = connection.login_packet(&Login::new(USER, PASSWORD))?;
    connection.send_packet(&payload)
}

fn after_auth_switch(address: SocketAddr) -> Result<()> {
    let mut connection = Connection::greet(address)?;
    let payload = connection.login_packet(&Login::new(USER, PASSWORD))?;
    connection.send_packet(&payload)?;
    let answer = connection.read_packet()?;
    ensure!(
        answer.first() == Some(&0xFE),
        "no AuthSwitchRequest: {answer:?}"
    );
    Ok(())
}
