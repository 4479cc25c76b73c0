//! What a worker knows of nodes: their addresses and, for the proxy's own greeting, what they greet with.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{net::lookup_host, sync::Mutex};

use crate::{
    config::NodeAddress,
    node::{Remembered, greeting_probe},
    protocol::{error::MysqlError, handshake::Greeting},
};

/// The last greeting, which also serves clients that arrive while a new one is fetched.
#[derive(Default)]
pub(super) struct Nodes {
    remembered: Mutex<Option<Remembered>>,
}

impl Nodes {
    /// What a node greets with, not older than a minute. One client asks it, the others wait for the answer.
    ///
    /// # Errors
    /// Error 2003, for the client.
    pub(super) async fn greeting(
        &self,
        node: &NodeAddress,
        timeout: Duration,
    ) -> Result<Greeting, MysqlError> {
        let cannot = |reason: &dyn ToString| MysqlError::cannot_connect(node, reason.to_string());
        let mut remembered = self.remembered.lock().await;
        let address = resolve(node).await.map_err(|error| cannot(&error))?;
        if let Some(known) = remembered
            .as_ref()
            .filter(|known| known.is_fresh(address, Instant::now().into()))
        {
            return Ok(known.greeting.clone());
        }
        match greeting_probe(address, timeout).await {
            Ok(greeting) => {
                *remembered = Some(Remembered {
                    address,
                    greeting: greeting.clone(),
                    at: Instant::now().into(),
                });
                Ok(greeting)
            }
            Err(error) => {
                *remembered = None;
                Err(cannot(&error))
            }
        }
    }
}

/// The address of a node's name; names are asked for every time, so that they may move.
pub(super) async fn resolve(node: &NodeAddress) -> io::Result<SocketAddr> {
    if let Ok(address) = node.to_string().parse() {
        return Ok(address);
    }
    let mut found = lookup_host(node.to_string()).await?;
    found
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}
