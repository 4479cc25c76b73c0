//! The station between accept and serve: from the proxy's greeting to a client and a node that are logged in to each other.

mod failure;
mod proxy;
mod reach;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use self::failure::{Failure, broken_login, client_failure, no_route, no_tls, unsafe_node};
pub(super) use self::proxy::{ProxyDoor, admin_password};
pub(super) use self::reach::Candidate;
use self::reach::reach;
use super::auth::{converse, dismiss, part_from_node, secrecy};
use crate::config::NodeAddress;
use crate::net::{
    Leg,
    outbox::Outbox,
    tls::{Certificate, Encryption},
};
use crate::node::{Announce, Greeted, LegError, LoginLeg, SecureError, secure};
use crate::protocol::capability::Capabilities;
use crate::protocol::error::{CANNOT_CONNECT, MysqlError};
use crate::protocol::handshake::{Greeting, LoginPacket, TLS_REQUEST_LEN};
use crate::protocol::proxy_header::Ends;
use crate::protocol::reply::{OkPacket, encode_error};
use crate::session::auth_exchange::{Exchange, Request, Scramble, Style};
use crate::session::credential::{Credential, Proof};
use crate::session::login_end::{LoginReason, Side};
use crate::session::login_name::{LoginName, Rules};
use crate::session::proxy_login::ProxyUser;

/// The version that nodes are told.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the proxy brings to every login.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    /// The proxy's own greeting: version, character set and plugin of the node, [`Capabilities::advertise`] of its capabilities,
    /// `cs_id` as thread id, a scramble of its own.
    pub greeting: &'a Greeting,
    /// How user names are read.
    pub names: Rules<'a>,
    /// From the greeting to OK.
    pub login_timeout: Duration,
    /// From the dialling of the node to its greeting.
    pub connect_timeout: Duration,
    /// The client session's id, for the node's connection attributes.
    pub cs_id: u32,
    /// The client's connection, as it is told to nodes.
    pub ends: Ends,
    /// TLS towards the client, if the greeting offers it.
    pub tls: Option<Tls<'a>>,
    /// Where its packets are left.
    pub outbox: &'a Outbox,
}

/// TLS towards clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tls<'a> {
    /// What they are shown.
    pub certificate: &'a Certificate,
    /// Those without it are refused.
    pub require: bool,
}

/// Where a login has gone.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The node, by the configuration's name.
    pub node: Arc<NodeAddress>,
    /// Where it is.
    pub address: SocketAddr,
    /// Whether the node is told the tenant (`user@tenant`, for `OceanBase`) or the bare user name.
    pub with_tenant: bool,
    /// How the node's scramble reaches the client.
    pub style: Style,
    /// TLS towards the node, if it is to have any.
    pub encryption: Option<Arc<Encryption>>,
}

/// Whom a login is for.
pub(super) enum Destination {
    /// A node.
    Node {
        /// The first of these that takes it.
        candidates: Vec<Candidate>,
        /// The account's password, where the configuration gives it.
        password: Option<String>,
        /// What answers the node in the client's place, where that follows from the client's answer to the proxy.
        credential: Option<Credential>,
    },
    /// The proxy itself.
    Proxy(ProxyDoor),
}

/// Why a login goes nowhere.
pub(super) struct Refusal {
    /// For the client.
    pub error: MysqlError,
    /// For the log.
    pub reason: LoginReason,
    /// More about it, for the log alone.
    pub detail: Option<String>,
}

impl From<MysqlError> for Refusal {
    fn from(error: MysqlError) -> Self {
        let reason = if error.code == CANNOT_CONNECT {
            LoginReason::NodeUnreachable
        } else {
            LoginReason::ProxyRefused
        };
        Self {
            error,
            reason,
            detail: None,
        }
    }
}

/// Who is logged in.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A client to a node.
    Node(Box<LoggedIn>),
    /// One of the proxy's own users to the proxy.
    Proxy(Box<ProxyLogin>),
}

/// A session of the proxy's own that is about to be served.
#[derive(Debug)]
pub(super) struct ProxyLogin {
    /// The client's leg.
    pub client: Leg,
    /// What the client has sent beyond its login.
    pub client_rest: BytesMut,
    /// The OK packet, not sent yet.
    pub welcome: BytesMut,
    /// What holds on the client's leg.
    pub capabilities: Capabilities,
    /// The client reads errors 5000 to 5999 as a server's.
    pub reads_odp_errors: bool,
    /// The name that it has logged in with.
    pub name: LoginName,
    /// Which of the users that is.
    pub user: ProxyUser,
}

impl Target {
    /// The name under which this node is logged in to.
    pub(super) fn user(&self, name: &LoginName) -> Bytes {
        if self.with_tenant {
            name.user_at_tenant()
        } else {
            name.user.clone()
        }
    }
}

/// Who has logged in and how: what it takes to log in again in his place.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The login packet, and the name in it taken apart.
    pub request: Request,
    /// How the client has answered the node.
    pub proof: Option<Proof>,
}

impl Identity {
    /// The login packet for a node that has greeted with these capabilities; `client` is the client's address.
    pub(super) fn packet(
        &self,
        node: Capabilities,
        target: &Target,
        client: IpAddr,
        cs_id: u32,
    ) -> LoginPacket {
        packet(&self.request, node, target, client, cs_id)
    }
}

/// The login packet for a node, with what the node is told about the client.
fn packet(
    request: &Request,
    node: Capabilities,
    target: &Target,
    client: IpAddr,
    cs_id: u32,
) -> LoginPacket {
    let attributes = [
        ("_client_ip", client.to_canonical().to_string()),
        ("proxy_name", "sluice".to_owned()),
        ("proxy_version", VERSION.to_owned()),
        ("proxy_session_id", cs_id.to_string()),
    ];
    let attributes = attributes
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    request.towards_node(node, target.user(&request.name), &attributes)
}

/// A session that is about to be served.
#[derive(Debug)]
pub(super) struct LoggedIn {
    /// The client's leg.
    pub client: Leg,
    /// What the client has sent beyond its login.
    pub client_rest: BytesMut,
    /// The node's OK as a packet for the client, not sent yet: from then on it sends commands.
    pub welcome: BytesMut,
    /// The node's leg.
    pub node: Leg,
    /// What the node has sent beyond its OK.
    pub node_rest: BytesMut,
    /// Who has logged in.
    pub identity: Identity,
    /// The node's greeting: version, connection id, capabilities. Newer than the one that the client was shown.
    pub node_greeting: Greeting,
    /// The node.
    pub target: Target,
    /// The node's OK.
    pub ok: OkPacket,
}

/// A login that failed, with what the log line needs.
#[derive(Debug)]
pub(super) struct LoginEnd {
    /// The client's leg.
    pub client: Leg,
    /// Why, and by whose doing.
    pub reason: LoginReason,
    /// More about it.
    pub detail: Option<String>,
    /// What the client was told: number and text.
    pub told: Option<(u16, String)>,
    /// The user, once known.
    pub name: Option<LoginName>,
    /// The node, once chosen.
    pub node: Option<SocketAddr>,
    /// The node's connection id, once it has greeted.
    pub node_connection_id: Option<u32>,
}

/// What becomes known on the way.
#[derive(Default)]
struct Known {
    name: Option<LoginName>,
    node: Option<SocketAddr>,
    node_connection_id: Option<u32>,
    is_mariadbs_library: bool,
}

/// The node's half of a session.
struct NodeSide {
    leg: Leg,
    rest: BytesMut,
    greeting: Greeting,
    target: Target,
    ok: OkPacket,
    proof: Option<Proof>,
}

/// What a client asks of a node.
struct Wish<'a> {
    request: &'a Request,
    target: &'a Target,
    /// The account's password, where the configuration gives it.
    password: Option<String>,
    /// What answers the node in the client's place.
    credential: Option<Credential>,
    /// Until when all must be done.
    deadline: Instant,
}

/// What an attempt to log in has come to.
enum Attempted {
    Node(Request, Box<NodeSide>),
    Proxy(Request, ProxyUser),
}

/// Logs a client in to the node that `route` chooses, or to the proxy. The node is dialled once the login packet is in hand, not before.
///
/// # Errors
/// [`LoginEnd`]. The client has been told, and the node's leg is closed.
pub(super) async fn login<A: Announce>(
    client: Leg,
    client_rest: BytesMut,
    terms: Terms<'_>,
    route: impl AsyncFnOnce(&LoginName, &Proof) -> Result<Destination, Refusal>,
    announce: &A,
) -> Result<Arrival, Box<LoginEnd>> {
    let mut known = Known::default();
    let mut client_leg = LoginLeg::new(&client, client_rest, 0).posting(terms.outbox);
    let failure = match attempt(&mut client_leg, terms, route, announce, &mut known).await {
        Ok(Attempted::Proxy(request, user)) => {
            let welcome = client_leg.take_held();
            let client_rest = client_leg.into_rest();
            return Ok(Arrival::Proxy(Box::new(ProxyLogin {
                client,
                client_rest,
                welcome,
                capabilities: request.agreed,
                reads_odp_errors: request.reads_odp_errors(),
                name: request.name,
                user,
            })));
        }
        Ok(Attempted::Node(request, node)) => {
            let node = *node;
            let welcome = client_leg.take_held();
            let client_rest = client_leg.into_rest();
            return Ok(Arrival::Node(Box::new(LoggedIn {
                client,
                client_rest,
                welcome,
                node: node.leg,
                node_rest: node.rest,
                identity: Identity {
                    request,
                    proof: node.proof,
                },
                node_greeting: node.greeting,
                target: node.target,
                ok: node.ok,
            })));
        }
        Err(failure) => failure,
    };
    tell(&mut client_leg, &failure, known.is_mariadbs_library).await;
    let told = failure
        .tell
        .map(|error| (error.code.number, error.message))
        .or_else(|| failure.refused.map(|err| (err.number, err.message_lossy())));
    let Known {
        name,
        node,
        node_connection_id,
        ..
    } = known;
    let (reason, detail) = (failure.reason, failure.detail);
    Err(Box::new(LoginEnd {
        client,
        reason,
        detail,
        told,
        name,
        node,
        node_connection_id,
    }))
}

/// Tells the client why it is not let in, if it is to be told.
async fn tell(client: &mut LoginLeg<'_>, failure: &Failure, is_mariadbs_library: bool) {
    if failure.tell.is_none() && failure.refused.is_none() {
        return;
    }
    let error = failure.tell.as_ref();
    let error = error.map(|error| error.readable_by(is_mariadbs_library));
    dismiss(client, error.as_deref().map(encode_error).as_deref()).await;
}

async fn attempt<A: Announce>(
    client: &mut LoginLeg<'_>,
    terms: Terms<'_>,
    route: impl AsyncFnOnce(&LoginName, &Proof) -> Result<Destination, Refusal>,
    announce: &A,
    known: &mut Known,
) -> Result<Attempted, Failure> {
    let deadline = Instant::now() + terms.login_timeout;
    let payload = match timeout_at(deadline, hear(client, terms)).await {
        Ok(heard) => heard?,
        Err(_elapsed) => {
            return Err(Failure::new(LoginReason::ClientTimeout).detail("no login packet"));
        }
    };
    let request = Request::read(&payload, terms.greeting.capabilities, terms.names)
        .map_err(|error| Failure::new(LoginReason::ClientProtocol).telling(error))?;
    known.name = Some(request.name.clone());
    known.is_mariadbs_library = request.is_of_mariadbs_library();
    let proof = request.first_answer(&terms.greeting.scramble);
    let routed = timeout_at(deadline, route(&request.name, &proof)).await;
    let (candidates, password, credential) = match routed {
        Ok(Ok(Destination::Node {
            candidates,
            password,
            credential,
        })) => (candidates, password, credential),
        Ok(Ok(Destination::Proxy(door))) => {
            let user = match timeout_at(deadline, door.pass(client, &request, terms.greeting)).await
            {
                Ok(passed) => passed?,
                Err(_elapsed) => {
                    return Err(Failure::new(LoginReason::ClientTimeout).detail("authentication"));
                }
            };
            return Ok(Attempted::Proxy(request, user));
        }
        Ok(Err(refusal)) => return Err(refusal.into()),
        Err(_elapsed) => return Err(no_route()),
    };
    let reached = reach(&request, terms, candidates, deadline, announce, known).await?;
    let node = Arc::clone(&reached.target.node);
    let wish = Wish {
        request: &request,
        target: &reached.target,
        password,
        credential,
        deadline,
    };
    let joined = join(client, wish, terms, &reached.node).await;
    match &joined {
        Err(failure) => failure.tell_of(&node, announce),
        Ok(_) => announce.answered(&node),
    }
    let (ok, proof, rest) = joined?;
    let node = NodeSide {
        leg: reached.node.dialled.keep(),
        rest,
        greeting: reached.node.greeting,
        target: reached.target,
        ok,
        proof,
    };
    Ok(Attempted::Node(request, Box::new(node)))
}

/// Greets the client and waits for its login packet, over TLS where it asks for that.
async fn hear(client: &mut LoginLeg<'_>, terms: Terms<'_>) -> Result<Bytes, Failure> {
    let heard = match client.write(&terms.greeting.encode()).await {
        Ok(()) => client.read().await,
        Err(error) => Err(LegError::Io(error)),
    };
    let payload = heard.map_err(|error| match error {
        LegError::Closed | LegError::Io(_) if !client.has_heard() => {
            Failure::new(LoginReason::Probe)
        }
        error => client_failure(&error),
    })?;
    match terms.tls {
        Some(tls) if LoginPacket::wants_tls(&payload) => {
            if payload.len() != TLS_REQUEST_LEN {
                let error = MysqlError::bad_handshake();
                return Err(Failure::new(LoginReason::ClientProtocol).telling(error));
            }
            let connection = tls
                .certificate
                .connection()
                .map_err(|error| Failure::new(LoginReason::ProxyRefused).detail(&error))?;
            let shaken = client.start_tls(connection).await;
            shaken.map_err(|error| no_tls(&error))?;
            client.read().await.map_err(|error| client_failure(&error))
        }
        Some(Tls { require: true, .. }) => {
            let error = MysqlError::secure_transport_required();
            Err(Failure::new(LoginReason::ProxyRefused).telling(error))
        }
        _ => Ok(payload),
    }
}

/// Logs the client in to a node that has greeted. Besides the node's OK: how the client has answered, and what the node has said beyond.
async fn join<A: Announce>(
    client: &mut LoginLeg<'_>,
    wish: Wish<'_>,
    terms: Terms<'_>,
    greeted: &Greeted<'_, A>,
) -> Result<(OkPacket, Option<Proof>, BytesMut), Failure> {
    let mut node = greeted.login_leg().posting(terms.outbox);
    let (ok, proof) = authenticate(client, &mut node, wish, &greeted.greeting, terms).await?;
    Ok((ok, proof, node.into_rest()))
}

/// The dialogue with a node that has greeted.
async fn authenticate(
    client: &mut LoginLeg<'_>,
    node: &mut LoginLeg<'_>,
    wish: Wish<'_>,
    greeting: &Greeting,
    terms: Terms<'_>,
) -> Result<(OkPacket, Option<Proof>), Failure> {
    let Wish {
        request, target, ..
    } = wish;
    let offered = greeting.capabilities;
    let mut packet = packet(
        request,
        offered,
        target,
        terms.ends.source.ip(),
        terms.cs_id,
    );
    let encryption = target.encryption.as_deref();
    if let Err(error) = secure(node, offered, encryption, &mut packet, wish.deadline).await {
        if matches!(error, SecureError::NotOffered) {
            // The node waits for a login, and counts who leaves without one.
            part_from_node(node, Some(packet.encode().freeze())).await;
        }
        return Err(unsafe_node(&error, target.address));
    }
    let scramble = Scramble {
        plugin: greeting.plugin.clone(),
        scramble: greeting.scramble.clone(),
    };
    let secrecy = secrecy(client, node);
    let answer = wish.credential.and_then(|known| known.answer(&scramble));
    let (mut exchange, first) = match answer {
        Some(answer) => {
            let proof = request.first_answer(&terms.greeting.scramble);
            Exchange::answered(&packet, &scramble, answer, proof, secrecy)
        }
        None => Exchange::login(packet, &scramble, target.style, secrecy),
    };
    exchange.know(wish.password);
    let talk = converse(client, node, &mut exchange, first, request.agreed);
    let failure = match timeout_at(wish.deadline, talk).await {
        Ok(Ok(ok)) => return Ok((ok, exchange.into_proof())),
        Ok(Err(broken)) => broken_login(broken, target.address),
        Err(_elapsed) if exchange.client_owes() => {
            Failure::new(LoginReason::ClientTimeout).detail("authentication")
        }
        Err(_elapsed) => {
            Failure::of_node(LoginReason::NodeTimeout, target.address, "login timed out")
        }
    };
    if failure.reason.side() != Side::Node {
        part_from_node(node, exchange.farewell()).await;
    }
    Err(failure)
}
