//! `mysql_async`, from tests that are not asynchronous.

use anyhow::Result;
use mysql_async::{Conn, OptsBuilder};
use std::{future::Future, net::SocketAddr};

/// Runs a future to its end on this thread.
pub(crate) fn run<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// How to connect over TCP.
pub(crate) fn options(address: SocketAddr, user: &str, password: &str) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(user))
        .pass((!password.is_empty()).then_some(password))
        // Else the driver leaves TCP for the socket file that a local server tells it of, and so passes the proxy by.
        .prefer_socket(false)
}

/// Logs in.
pub(crate) async fn open(address: SocketAddr, user: &str, password: &str) -> Result<Conn> {
    Ok(Conn::new(options(address, user, password)).await?)
}
