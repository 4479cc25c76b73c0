//! What a worker knows of nodes: their addresses and, for the proxy's own greeting, what they greet with.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    net::lookup_host,
    sync::Mutex,
    task::spawn_local,
    time::{Instant, timeout},
};

use super::{SharedWorker, sender};

use crate::{
    config::NodeAddress,
    node::{Remembered, greeting_probe},
    protocol::{
        capability::Capabilities,
        error::{CANNOT_CONNECT, MysqlError},
        handshake::Greeting,
        proxy_header::Version,
    },
};

/// How long a client waits for the greeting of a node that did not greet when it was asked last.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long what another node of the cluster has greeted with is believed: it only bounds what the proxy's greeting offers.
const OTHERS_FRESH: Duration = Duration::from_mins(10);

/// The last greetings of nodes.
#[derive(Default)]
pub(super) struct Nodes {
    /// Each is locked while its node is asked.
    known: RefCell<HashMap<NodeAddress, Rc<Mutex<Known>>>>,
}

/// What is known of the default cluster whoever has asked it: all workers share it.
#[derive(Default)]
pub(super) struct LastSeen {
    /// The last greeting, however old.
    greeting: Option<Greeting>,
    /// Why no node has greeted, if none did when they were asked last.
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
    fn of(&self, node: &NodeAddress) -> Rc<Mutex<Known>> {
        let mut known = self.known.borrow_mut();
        Rc::clone(known.entry(node.clone()).or_default())
    }

    /// What a node greets with, not older than a minute. One client asks it; those that come meanwhile wait for the same answer.
    ///
    /// # Errors
    /// Error 2003, for the client.
    async fn greeting(
        &self,
        node: &NodeAddress,
        timeout: Duration,
        header: Option<Version>,
    ) -> Result<Greeting, MysqlError> {
        let came = Instant::now();
        let known = self.of(node);
        let mut known = known.lock().await;
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
            let greeting = greeting_probe(address, timeout, header).await;
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

    /// What nodes have greeted with in the last minutes; not of those that are being asked.
    fn recent(&self, nodes: &[NodeAddress]) -> Vec<Greeting> {
        let known = self.known.borrow();
        let recent = nodes.iter().filter_map(|node| {
            let known = known.get(node)?.try_lock().ok()?;
            let remembered = known.greeting.as_ref()?;
            (remembered.at.elapsed() < OTHERS_FRESH).then(|| remembered.greeting.clone())
        });
        recent.collect()
    }

    /// A login has seen a node's greeting: it need not be asked for another minute.
    pub(super) async fn saw(&self, node: &NodeAddress, address: SocketAddr, greeting: &Greeting) {
        let known = self.of(node);
        let mut known = known.lock().await;
        let mut remembered = known.greeting.as_mut();
        if let Some(remembered) = remembered.take_if(|remembered| remembered.address == address) {
            remembered.greeting = greeting.clone();
            remembered.at = Instant::now();
        }
    }
}

/// What there is to greet with: what the fittest of these nodes that answers offers, as far as the others do too. Nodes that do not answer are
/// waited for once, and from then on only as long as nobody notices; they are asked all the same, for who comes later.
pub(super) async fn front(
    worker: &SharedWorker,
    nodes: Vec<NodeAddress>,
    connect_timeout: Duration,
) -> Front {
    let patience = match worker.process.last_seen().failure {
        Some(_) => PATIENCE.min(connect_timeout),
        None => connect_timeout * u32::try_from(nodes.len()).unwrap_or(1),
    };
    let asked = spawn_local(ask_all(Rc::clone(worker), nodes, connect_timeout));
    let error = match timeout(patience, asked).await {
        Ok(Ok(Ok(greeting))) => return Front::Node(greeting),
        Ok(Ok(Err(error))) => error,
        Ok(Err(failed)) => no_node(failed),
        Err(_elapsed) => no_node("no greeting in time"),
    };
    let last_seen = worker.process.last_seen();
    match &last_seen.greeting {
        Some(greeting) => Front::Node(greeting.clone()),
        None => Front::Unknown(last_seen.failure.clone().unwrap_or(error)),
    }
}

fn no_node(why: impl std::fmt::Display) -> MysqlError {
    MysqlError::new(
        CANNOT_CONNECT,
        format!("Can't connect to MySQL server ({why})"),
    )
}

/// Asks nodes until one greets, and remembers for all workers what has come of it.
///
/// # Errors
/// Error 2003: none has.
pub(super) async fn ask_all(
    worker: SharedWorker,
    nodes: Vec<NodeAddress>,
    connect_timeout: Duration,
) -> Result<Greeting, MysqlError> {
    let mut failure = None;
    let header = sender::of_default_cluster(&worker.process.settings());
    for node in &nodes {
        match worker.nodes.greeting(node, connect_timeout, header).await {
            Ok(greeting) => {
                if nodes.len() > 1 {
                    spawn_local(ask_others(
                        Rc::clone(&worker),
                        nodes.clone(),
                        connect_timeout,
                    ));
                }
                let greeting = lowest(greeting, &worker.nodes.recent(&nodes));
                let mut last_seen = worker.process.last_seen();
                last_seen.greeting = Some(greeting.clone());
                last_seen.failure = None;
                return Ok(greeting);
            }
            Err(error) => {
                worker.process.login_failed(node, &error.message);
                failure.get_or_insert(error);
            }
        }
    }
    let failure = failure.unwrap_or_else(|| no_node("the cluster has no node"));
    worker.process.last_seen().failure = Some(failure.clone());
    Err(failure)
}

/// Asks those of which nothing recent is known, so that later greetings offer what they do.
async fn ask_others(worker: SharedWorker, nodes: Vec<NodeAddress>, connect_timeout: Duration) {
    let header = sender::of_default_cluster(&worker.process.settings());
    for node in &nodes {
        let is_asked = worker.nodes.of(node).try_lock().is_err();
        let is_alive = !worker.process.health.book().get(node).is_listed();
        if is_alive && !is_asked && worker.nodes.recent(std::slice::from_ref(node)).is_empty() {
            // What it does not say it does not lower.
            let _ = worker.nodes.greeting(node, connect_timeout, header).await;
        }
    }
}

/// A greeting that all of these nodes can keep: the lowest version, and what all are capable of.
fn lowest(greeting: Greeting, others: &[Greeting]) -> Greeting {
    let mut lowest = greeting;
    for other in others {
        let common = lowest.capabilities.bits() & other.capabilities.bits();
        lowest.capabilities = Capabilities::from_bits(common);
        if numbers(&other.version) < numbers(&lowest.version) {
            lowest.version = other.version.clone();
        }
    }
    lowest
}

/// The numbers of a version: `8.0.36-log` is 8, 0, 36. MariaDB's may begin with `5.5.5-`, which is no part of it.
fn numbers(version: &[u8]) -> Vec<u32> {
    let version = version.strip_prefix(b"5.5.5-").unwrap_or(version);
    let end = version
        .iter()
        .position(|byte| !byte.is_ascii_digit() && *byte != b'.');
    let front = version
        .get(..end.unwrap_or(version.len()))
        .unwrap_or_default();
    let parts = front.split(|byte| *byte == b'.');
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse().ok();
    parts.map_while(number).collect()
}

/// Has the worker's sessions look where they belong whenever something becomes known of nodes. Never ends.
pub(super) async fn follow(worker: SharedWorker) {
    let mut changes = worker.process.health.changes();
    while changes.changed().await.is_ok() {
        worker.registry.tell_news();
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, wanted) in [
            ("8.0.36-log", vec![8, 0, 36]),
            ("5.5.5-10.11.6-MariaDB-log", vec![10, 11, 6]),
            ("10.4", vec![10, 4]),
            ("5.7.25-OceanBase-v4.2.1.0", vec![5, 7, 25]),
            ("none", vec![]),
        ] {
            assert_eq!(numbers(version.as_bytes()), wanted, "{version}");
        }
        assert!(numbers(b"9.7.0") > numbers(b"8.0.36") && numbers(b"10.2") > numbers(b"9.7.0"));
    }

    #[test]
    fn the_lowest_node_is_what_is_greeted_with() {
        let greeting = |version: &'static str, capabilities| Greeting {
            version: Bytes::from_static(version.as_bytes()),
            thread_id: 1,
            scramble: Bytes::from_static(b"gggggggggggggggggggg"),
            capabilities: Capabilities::from_wire(capabilities, 0),
            charset: 45,
            status: 2,
            plugin: Bytes::from_static(b"mysql_native_password"),
        };
        let one = greeting("8.4.0", 0b1110);
        let both = lowest(one.clone(), &[one, greeting("8.0.36", 0b0111)]);
        assert_eq!(both, greeting("8.0.36", 0b0110));
    }
}
