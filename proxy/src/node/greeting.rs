//! A node's greeting: read before a login, or on its own to learn what the proxy's greeting must say.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::connect::{Announce, ConnectError, Dialled, connect};
use super::login_leg::{LegError, LoginLeg};
use crate::protocol::Malformed;
use crate::protocol::auth::ASK_PLUGIN;
use crate::protocol::capability::Capabilities;
use crate::protocol::handshake::{Greeting, LoginPacket};
use crate::protocol::proxy_header::{Ends, Version, encode};
use crate::protocol::reply::{ERR, ErrPacket};

/// How long a greeting is believed.
const FRESH: Duration = Duration::from_mins(1);
/// How many packets of its own a probe reads before it closes: an `AuthSwitchRequest` and an ERR.
const PROBE_ROUNDS: usize = 3;

/// Why there is no greeting.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    /// The node cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The node said ERR instead: too many connections, host blocked, host not allowed.
    #[error("error {}: {}", .0.number, .0.message_lossy())]
    Refused(ErrPacket),
    /// It is no `MySQL` server, or speaks another protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The connection broke.
    #[error(transparent)]
    Leg(#[from] LegError),
    /// It is connected and says nothing.
    #[error("no greeting in time")]
    Timeout,
}

/// A node that has greeted.
pub struct Greeted<'a, A: Announce> {
    /// The connection.
    pub dialled: Dialled<'a, A>,
    /// What the node has said beyond its greeting.
    pub rest: BytesMut,
    /// What it has said.
    pub greeting: Greeting,
}

impl<A: Announce> Greeted<'_, A> {
    /// The connection, for the login.
    pub fn login_leg(&self) -> LoginLeg<'_> {
        // The greeting was packet 0.
        LoginLeg::new(self.dialled.leg(), self.rest.clone(), 1)
    }
}

/// Connects to a node and reads its greeting. Where the node expects a PROXY header it gets one first, about the client's connection, or, without
/// one, about the proxy itself.
///
/// # Errors
/// [`GreetError`].
pub async fn meet<A: Announce>(
    address: SocketAddr,
    header: Option<Version>,
    ends: Option<Ends>,
    deadline: Instant,
    announce: &A,
) -> Result<Greeted<'_, A>, GreetError> {
    let dialled = connect(address, deadline, announce).await?;
    if let Some(version) = header {
        let written = dialled.leg().write_all(&encode(version, ends)).await;
        written.map_err(ConnectError::Io)?;
    }
    let mut node = LoginLeg::new(dialled.leg(), BytesMut::new(), 0);
    let greeting = greet(&mut node, deadline).await?;
    let rest = node.into_rest();
    Ok(Greeted {
        dialled,
        rest,
        greeting,
    })
}

async fn greet(node: &mut LoginLeg<'_>, deadline: Instant) -> Result<Greeting, GreetError> {
    let payload = match timeout_at(deadline, node.read()).await {
        Ok(payload) => payload?,
        Err(_elapsed) => return Err(GreetError::Timeout),
    };
    if payload.first() == Some(&ERR) {
        return Err(GreetError::Refused(ErrPacket::parse(&payload)?));
    }
    Ok(Greeting::parse(&payload)?)
}

/// Learns a node's version, capabilities, character set and plugin from one greeting.
///
/// The greeting is answered with a login without name and password: a node counts greetings that are not answered, and in the end
/// blocks the address they come from (error 1129). Where it expects a PROXY header, the proxy speaks for itself.
///
/// # Errors
/// [`GreetError`].
pub async fn greeting_probe(
    address: SocketAddr,
    timeout: Duration,
    header: Option<Version>,
) -> Result<Greeting, GreetError> {
    let deadline = Instant::now() + timeout;
    let node = meet(address, header, None, deadline, &()).await?;
    // What the node says to the login changes nothing about what it has said already.
    let _ = timeout_at(deadline, decline(&mut node.login_leg(), &node.greeting)).await;
    Ok(node.greeting)
}

/// Logs in as nobody, and answers everything with nothing until the node closes.
async fn decline(node: &mut LoginLeg<'_>, greeting: &Greeting) -> Result<(), LegError> {
    let wanted = Capabilities::advertise(Capabilities::default());
    let nobody = LoginPacket {
        capabilities: wanted.with(Capabilities::MYSQL),
        max_packet: 1 << 24,
        charset: greeting.charset,
        filler: [0; 23],
        user: Bytes::new(),
        auth: Bytes::new(),
        database: None,
        plugin: Some(Bytes::from_static(ASK_PLUGIN.as_bytes())),
        attributes: None,
        zstd_level: None,
    };
    node.write(&nobody.encode()).await?;
    for _ in 0..PROBE_ROUNDS {
        if node.read().await?.first() == Some(&ERR) {
            break;
        }
        node.write(&[]).await?;
    }
    Ok(())
}

/// The last greeting of a node, for the greetings of the proxy.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The node.
    pub address: SocketAddr,
    /// What it said.
    pub greeting: Greeting,
    /// When.
    pub at: Instant,
}

impl Remembered {
    /// Whether this is the greeting of `address` and younger than a minute.
    pub fn is_fresh(&self, address: SocketAddr, now: Instant) -> bool {
        self.address == address && now.saturating_duration_since(self.at) < FRESH
    }
}
