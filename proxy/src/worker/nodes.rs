//! What a worker knows of nodes: their addresses and, for the proxy's own greeting, what they greet with.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{net::lookup_host, sync::Mutex, time::Instant};

use crate::{
    config::NodeAddress,
    node::{Remembered, greeting_probe},
    protocol::{error::MysqlError, handshake::Greeting},
};

/// The last greeting of a node, or that it had none.
#[derive(Default)]
pub(super) struct Nodes {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    greeting: Option<Remembered>,
    failure: Option<(Instant, MysqlError)>,
}

impl Nodes {
    /// What a node greets with, not older than a minute. One client asks it; those that come meanwhile wait for the same answer.
    ///
    /// # Errors
    /// Error 2003, for the client.
    pub(super) async fn greeting(
        &self,
        node: &NodeAddress,
        timeout: Duration,
    ) -> Result<Greeting, MysqlError> {
        let came = Instant::now();
        let mut known = self.known.lock().await;
        if let Some((at, error)) = known.failure.as_ref().filter(|(at, _)| *at >= came) {
            tracing::debug!(
                age_ms = at.elapsed().as_millis(),
                "a node's failure is shared"
            );
            return Err(error.clone());
        }
        let asked = async {
            let address = resolve(node)
                .await
                .map_err(|error| MysqlError::cannot_connect(node, error))?;
            if let Some(fresh) = known
                .greeting
                .as_ref()
                .filter(|known| known.is_fresh(address, Instant::now()))
            {
                return Ok((address, fresh.greeting.clone()));
            }
            let greeting = greeting_probe(address, timeout).await;
            Ok((
                address,
                greeting.map_err(|error| MysqlError::cannot_connect(node, error))?,
            ))
        };
        match asked.await {
            Ok((address, greeting)) => {
                if known
                    .greeting
                    .as_ref()
                    .is_none_or(|known| !known.is_fresh(address, Instant::now()))
                {
                    known.greeting = Some(Remembered {
                        address,
                        greeting: greeting.clone(),
                        at: Instant::now(),
                    });
                }
                Ok(greeting)
            }
            Err(error) => {
                known.greeting = None;
                known.failure = Some((Instant::now(), MysqlError::clone(&error)));
                Err(error)
            }
        }
    }

    /// A login has seen a node's greeting: it need not be asked for another minute.
    pub(super) async fn saw(&self, address: SocketAddr, greeting: &Greeting) {
        let mut known = self.known.lock().await;
        if let Some(remembered) = known
            .greeting
            .as_mut()
            .filter(|remembered| remembered.address == address)
        {
            remembered.greeting = greeting.clone();
            remembered.at = Instant::now();
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
