//! Which node a login reaches: the first of its candidates that greets.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::failure::{Failure, no_greeting, no_route};
use super::{Known, Target, Terms};
use crate::config::NodeAddress;
use crate::net::tls::Encryption;
use crate::node::{Announce, Greeted, meet};
use crate::protocol::handshake::{Greeting, LoginPacket};
use crate::protocol::proxy_header::{Ends, Version};
use crate::session::auth_exchange::{Request, Style};
use crate::session::login_end::LoginReason;
use crate::worker::auth::part_from_node;
use crate::worker::nodes::resolve;

/// A node that a login may go to.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Candidate {
    /// The node, by the configuration's name.
    pub node: Arc<NodeAddress>,
    /// Whether the node is told the tenant (`user@tenant`, for `OceanBase`) or the bare user name.
    pub with_tenant: bool,
    /// TLS towards the node, if it is to have any.
    pub encryption: Option<Arc<Encryption>>,
    /// The PROXY header that it is sent, if it is.
    pub proxy_header: Option<Version>,
}

impl Candidate {
    /// The node, found at this address and with this greeting.
    pub(in crate::worker) fn found(self, address: SocketAddr, greeting: &Greeting) -> Target {
        Target {
            node: self.node,
            address,
            with_tenant: self.with_tenant,
            style: style(greeting),
            encryption: self.encryption,
        }
    }
}

/// How the node's scramble reaches the client. MariaDB and MySQL 8 ask for the account's own plugin where they do not know the one that
/// they are offered. OceanBase takes an account without a password at that point whatever the client has typed; it greets as a MySQL of
/// old does, whose accounts have the plugin of its greeting as a rule.
fn style(greeting: &Greeting) -> Style {
    let is_mariadb = greeting.version.windows(7).any(|part| part == b"MariaDB");
    if greeting.plugin == "mysql_native_password" && !is_mariadb {
        Style::Forward
    } else {
        Style::Ask
    }
}

/// A node that has greeted and can be logged in to.
pub(super) struct Reached<'a, A: Announce> {
    pub(super) node: Greeted<'a, A>,
    pub(super) target: Target,
}

/// Dials nodes until one greets. The client has heard of none of them by then, so that it is all one to it which.
pub(super) async fn reach<'a, A: Announce>(
    request: &Request,
    terms: Terms<'_>,
    candidates: Vec<Candidate>,
    deadline: Instant,
    announce: &'a A,
    known: &mut Known,
) -> Result<Reached<'a, A>, Failure> {
    let mut failure = None;
    let count = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
    for (candidate, left) in candidates.into_iter().zip((1..=count).rev()) {
        // Each has its share of the time that is left.
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        let until = Instant::now() + share.min(terms.connect_timeout);
        let node = Arc::clone(&candidate.node);
        match dial(request, candidate, terms.ends, until, announce, known).await {
            Ok(reached) => return Ok(reached),
            Err(refused) if refused.is_final() => {
                refused.tell_of(&node, announce);
                return Err(refused);
            }
            Err(unreachable) => {
                unreachable.tell_of(&node, announce);
                if left > 1 {
                    let cause = unreachable.detail.as_deref();
                    tracing::debug!(cs_id = terms.cs_id, %node, cause, "login goes on to the next node");
                }
                failure.get_or_insert(unreachable);
            }
        }
    }
    Err(failure.unwrap_or_else(no_route))
}

/// Dials one node and waits for its greeting.
async fn dial<'a, A: Announce>(
    request: &Request,
    candidate: Candidate,
    ends: Ends,
    until: Instant,
    announce: &'a A,
    known: &mut Known,
) -> Result<Reached<'a, A>, Failure> {
    let address = match timeout_at(until, resolve(&candidate.node)).await {
        Ok(Ok(address)) => address,
        Ok(Err(error)) => {
            return Err(Failure::of_node(
                LoginReason::NodeUnreachable,
                &*candidate.node,
                &error,
            ));
        }
        Err(_elapsed) => return Err(no_route()),
    };
    known.node = Some(address);
    let met = meet(address, candidate.proxy_header, Some(ends), until, announce).await;
    let node = met.map_err(|error| no_greeting(error, address))?;
    known.node_connection_id = Some(node.greeting.thread_id);
    let target = candidate.found(address, &node.greeting);
    let greeting = &node.greeting;
    if !request.fits(greeting.capabilities) {
        let refusal = request.towards_node(greeting.capabilities, target.user(&request.name), &[]);
        let refusal = LoginPacket {
            plugin: Some(greeting.plugin.clone()),
            ..refusal
        };
        part_from_node(&mut node.login_leg(), Some(refusal.encode().freeze())).await;
        let text = "the server has changed, connect again";
        return Err(Failure::of_node(LoginReason::NodeChanged, address, text));
    }
    Ok(Reached { node, target })
}
