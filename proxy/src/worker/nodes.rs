//! What a worker knows of nodes: their addresses and, for the proxy's own greeting, what they greet with.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    net::lookup_host,
    sync::Mutex,
    task::spawn_local,
    time::{Instant, timeout},
};

use super::SharedWorker;

use crate::{
    admin::NodeHealth,
    config::NodeAddress,
    node::{Remembered, greeting_probe},
    protocol::{error::MysqlError, handshake::Greeting},
};

/// How long a client waits for the greeting of a node that did not greet when it was asked last.
const PATIENCE: Duration = Duration::from_millis(250);

/// The last greeting of a node, or that it had none.
#[derive(Default)]
pub(super) struct Nodes {
    /// Locked while the node is asked.
    known: Mutex<Known>,
    health: RefCell<Vec<(NodeAddress, NodeHealth)>>,
}

/// What is known of the default node whoever has asked it: all workers share it.
#[derive(Default)]
pub(super) struct LastSeen {
    /// The last greeting, however old.
    greeting: Option<Greeting>,
    /// Why the node did not greet, if it did not when it was asked last.
    failure: Option<MysqlError>,
}

/// What the proxy's greeting is made of where it must greet in any case.
pub(super) enum Front {
    /// The node's greeting, perhaps an old one: the node may be unreachable now.
    Node(Greeting),
    /// It has never greeted, for this reason.
    Unknown(MysqlError),
}

#[derive(Default)]
struct Known {
    greeting: Option<Remembered>,
    failure: Option<(Instant, MysqlError)>,
}

impl Nodes {
    /// What logins of this worker have found out about nodes.
    pub(super) fn health(&self) -> Vec<(NodeAddress, NodeHealth)> {
        self.health.borrow().clone()
    }

    /// Writes down what has become of a connection to a node of the configuration.
    pub(super) fn note(&self, node: &NodeAddress, has_answered: bool, now_ms: u64) {
        let mut all = self.health.borrow_mut();
        let mut health = all
            .iter()
            .find(|(known, _)| known == node)
            .map_or_else(NodeHealth::default, |(_, health)| *health);
        if has_answered {
            health.reached(now_ms);
        } else {
            health.failed(now_ms);
        }
        all.retain(|(known, _)| known != node);
        all.push((node.clone(), health));
    }

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

/// What there is to greet with. A node that does not answer is waited for once, and from then on only as long as nobody notices; it is
/// asked all the same, for who comes later.
pub(super) async fn front(
    worker: &SharedWorker,
    node: &NodeAddress,
    connect_timeout: Duration,
) -> Front {
    let patience = match worker.process.last_seen().failure {
        Some(_) => PATIENCE.min(connect_timeout),
        None => connect_timeout,
    };
    let asked = spawn_local(ask(Rc::clone(worker), node.clone(), connect_timeout));
    let error = match timeout(patience, asked).await {
        Ok(Ok(Ok(greeting))) => return Front::Node(greeting),
        Ok(Ok(Err(error))) => error,
        Ok(Err(failed)) => MysqlError::cannot_connect(node, failed),
        Err(_elapsed) => MysqlError::cannot_connect(node, "no greeting in time"),
    };
    let last_seen = worker.process.last_seen();
    match &last_seen.greeting {
        Some(greeting) => Front::Node(greeting.clone()),
        None => Front::Unknown(last_seen.failure.clone().unwrap_or(error)),
    }
}

/// Asks a node, and remembers for all workers what has come of it.
async fn ask(
    worker: SharedWorker,
    node: NodeAddress,
    connect_timeout: Duration,
) -> Result<Greeting, MysqlError> {
    let greeting = worker.nodes.greeting(&node, connect_timeout).await;
    let mut last_seen = worker.process.last_seen();
    match &greeting {
        Ok(greeting) => {
            last_seen.greeting = Some(greeting.clone());
            last_seen.failure = None;
        }
        Err(error) => last_seen.failure = Some(error.clone()),
    }
    greeting
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
