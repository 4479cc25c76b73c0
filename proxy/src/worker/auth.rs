//! Carries the packets of one authentication between client and node; what they mean is `session::auth_exchange`'s.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::node::{LegError, LoginLeg};
use crate::protocol::capability::Capabilities;
use crate::protocol::command;
use crate::protocol::reply::{ERR, ErrPacket, OK, OkPacket};
use crate::session::auth_exchange::{Exchange, ExchangeError, Outcome, ROUNDS_MAX, Secrecy, Send};
use crate::session::login_end::LoginReason;

/// How long a client that is refused may take to read why.
const DISMISS: Duration = Duration::from_secs(1);
/// How long a client that has been asked for something may take to send it, where the node is done with it already: what the client reads next it
/// expects to be numbered behind what it sends.
const OWED: Duration = Duration::from_secs(1);
/// How long a node may take to say what it wants from a client that has gone: it may be looking up a name.
const PARTING: Duration = Duration::from_secs(5);
/// How many bytes of a client that is refused are read and forgotten.
const DISMISS_READ_MAX: u64 = 1 << 20;

/// Why a dialogue ended without OK.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client's leg.
    Client(LegError),
    /// The node's leg.
    Node(LegError),
    /// What one of them said.
    Exchange(ExchangeError),
    /// The node said no; the client knows.
    Refused(ErrPacket),
}

impl Broken {
    /// The reason for the log.
    pub(super) const fn reason(&self) -> LoginReason {
        match self {
            Self::Client(error) => client_reason(error),
            Self::Node(error) => node_reason(error),
            Self::Exchange(ExchangeError::Mismatch(_)) => LoginReason::ProxyRefused,
            Self::Exchange(_) => LoginReason::NodeProtocol,
            Self::Refused(_) => LoginReason::NodeRefused,
        }
    }
}

/// Which of the two legs have TLS.
pub(super) fn secrecy(client: &LoginLeg<'_>, node: &LoginLeg<'_>) -> Secrecy {
    Secrecy {
        client: client.is_tls(),
        node: node.is_tls(),
    }
}

/// Why a client's leg gave no packet.
pub(super) const fn client_reason(error: &LegError) -> LoginReason {
    match error {
        LegError::Closed | LegError::Io(_) => LoginReason::ClientClosed,
        LegError::TooLong | LegError::OutOfOrder => LoginReason::ClientProtocol,
    }
}

/// Why a node's leg gave no packet.
pub(super) const fn node_reason(error: &LegError) -> LoginReason {
    match error {
        LegError::Closed | LegError::Io(_) => LoginReason::NodeClosed,
        LegError::TooLong | LegError::OutOfOrder => LoginReason::NodeProtocol,
    }
}

/// Carries packets until OK, which the client's leg then holds back ([`LoginLeg::hold`]). It may be dropped at any time: [`Exchange::client_owes`] tells whom it
/// waited for.
pub(super) async fn converse(
    client: &mut LoginLeg<'_>,
    node: &mut LoginLeg<'_>,
    exchange: &mut Exchange,
    first: Send,
    agreed: Capabilities,
) -> Result<OkPacket, Broken> {
    let talk = carry(client, node, exchange, first, agreed).await;
    if matches!(talk, Err(Broken::Node(_))) && exchange.client_owes() {
        take_owed(client).await;
    }
    talk
}

/// Waits for what the client owes, and forgets it.
async fn take_owed(client: &mut LoginLeg<'_>) {
    // One that sends nothing counts on from what it has read last.
    let _ = timeout(OWED, client.read()).await;
}

/// The dialogue itself.
async fn carry(
    client: &mut LoginLeg<'_>,
    node: &mut LoginLeg<'_>,
    exchange: &mut Exchange,
    first: Send,
    agreed: Capabilities,
) -> Result<OkPacket, Broken> {
    let io = LegError::Io;
    match first {
        Send::Client(payload) => client
            .write(&payload)
            .await
            .map_err(io)
            .map_err(Broken::Client)?,
        Send::Node(payload) => node
            .write(&payload)
            .await
            .map_err(io)
            .map_err(Broken::Node)?,
    }
    loop {
        if exchange.client_owes()
            && let Some(payload) = client.take().map_err(Broken::Client)?
        {
            let payload = exchange.client_packet(payload).map_err(Broken::Exchange)?;
            node.write(&payload)
                .await
                .map_err(io)
                .map_err(Broken::Node)?;
        } else if let Some(payload) = node.take().map_err(Broken::Node)? {
            let is_owed = exchange.client_owes();
            let (payload, outcome) = exchange
                .node_packet(payload, agreed)
                .map_err(Broken::Exchange)?;
            match outcome {
                Outcome::Open => client
                    .write(&payload)
                    .await
                    .map_err(io)
                    .map_err(Broken::Client)?,
                Outcome::Answered(answer) => {
                    if !payload.is_empty() {
                        client
                            .write(&payload)
                            .await
                            .map_err(io)
                            .map_err(Broken::Client)?;
                    }
                    node.write(&answer)
                        .await
                        .map_err(io)
                        .map_err(Broken::Node)?;
                }
                Outcome::Accepted(ok) => {
                    client.hold(&payload);
                    return Ok(ok);
                }
                Outcome::Refused(err) => {
                    if is_owed {
                        take_owed(client).await;
                    }
                    // A client that left right before is found by whoever reads from it next.
                    let _ = client.write(&payload).await;
                    return Err(Broken::Refused(err));
                }
            }
        } else {
            tokio::select! {
                filled = node.fill() => filled.map_err(Broken::Node)?,
                filled = client.fill(), if client.has_room() => filled.map_err(Broken::Client)?,
            }
        }
    }
}

/// Ends a node's side of a dialogue whose client is out, so that the node does not count it as given up: `farewell` and then
/// nothing is answered to whatever it asks, until its ERR; should it say OK, it is told to quit.
pub(super) async fn part_from_node(node: &mut LoginLeg<'_>, farewell: Option<Bytes>) {
    let words = async {
        if let Some(payload) = farewell {
            node.write(&payload).await?;
        }
        for _ in 0..ROUNDS_MAX {
            match node.read().await?.first() {
                Some(&ERR) => break,
                Some(&OK) => {
                    node.restart();
                    node.write(&[command::QUIT]).await?;
                    break;
                }
                _ => node.write(&[]).await?,
            }
        }
        Ok::<_, LegError>(())
    };
    // Whether the node listens changes nothing: its leg is closed next.
    let _ = timeout(PARTING, words).await;
}

/// Says the last word to a client and waits, not for long, until it has closed: so that it can read that word.
pub(super) async fn dismiss(client: &mut LoginLeg<'_>, payload: Option<&[u8]>) {
    let words = async {
        if let Some(payload) = payload {
            client.write(payload).await?;
        }
        client.drain(DISMISS_READ_MAX).await
    };
    // A client that does not read has had its chance.
    let _ = timeout(DISMISS, words).await;
}
